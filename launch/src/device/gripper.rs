//! `tactus device gripper`: a gripper that is a device of its own, on the bench.
//!
//! Decides how long a motion may take. Only `activate` and `move` move fingers, and only while nobody else has the port.

use std::time::{Duration, Instant};

use anyhow::bail;
use tactus_drivers_api::Gripper;
use tactus_robotiq::{Settings, Status, TwoFinger};

use crate::cell::GripperLine;
use crate::cli::{GripperPort, GripperVerb};
use crate::result;

/// Longest that an activation, or a motion at the slowest speed, takes.
const WITHIN: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// A gripper that was told something says so in its next status; its fingers begin to move a little later.
const BEGUN: Duration = Duration::from_millis(100);

pub fn gripper(verb: &GripperVerb) -> anyhow::Result<()> {
    match verb {
        GripperVerb::Check { port } => check(port),
        GripperVerb::Activate {
            port,
            fingers_are_clear,
        } => activate(port, *fingers_are_clear),
        GripperVerb::Move {
            port,
            opening,
            speed,
            force,
        } => move_to(port, *opening, *speed, *force),
    }
}

fn open(port: &GripperPort, speed: f64, force: f64) -> anyhow::Result<TwoFinger> {
    let settings = Settings {
        baud: port.baud,
        slave: port.slave,
        speed,
        force,
    };
    let line = match (&port.port, &port.host) {
        (Some(port), _) => GripperLine::Port(port.clone()),
        (None, Some(host)) => GripperLine::of_host(host),
        (None, None) => bail!("give --port PORT, or --host HOST"),
    };
    line.open(settings)
}

fn resting(port: &GripperPort) -> anyhow::Result<TwoFinger> {
    let Settings { speed, force, .. } = Settings::default();
    open(port, speed, force)
}

fn check(port: &GripperPort) -> anyhow::Result<()> {
    let status = resting(port)?.status()?;
    result::line(said(&status))?;
    match status.fault() {
        Some(fault) => bail!("the gripper has a fault: {fault}"),
        None => Ok(()),
    }
}

fn said(status: &Status) -> String {
    let active = match (status.active(), status.told_active) {
        (true, _) => "active",
        (false, true) => "activation in progress",
        (false, false) => "not active (`tactus device gripper activate` moves its fingers)",
    };
    let fingers = match status.following {
        true => format!(", {}", status.object),
        false => String::new(),
    };
    format!(
        "{active}; opening {:.2} (position {} of 255){fingers}; {} mA",
        status.opening(),
        status.position,
        status.current_ma
    )
}

/// Looks at the gripper until `done`.
fn wait(
    gripper: &mut TwoFinger,
    what: &str,
    done: impl Fn(&Status) -> bool,
) -> anyhow::Result<Status> {
    let until = Instant::now() + WITHIN;
    loop {
        std::thread::sleep(LOOK);
        let status = gripper.status()?;
        if let Some(fault) = status.fault() {
            bail!("the gripper has a fault: {fault}");
        }
        if done(&status) {
            return Ok(status);
        }
        if Instant::now() > until {
            bail!(
                "{what} took more than {} s: {}",
                WITHIN.as_secs(),
                said(&status)
            );
        }
    }
}

fn activate(port: &GripperPort, fingers_are_clear: bool) -> anyhow::Result<()> {
    if !fingers_are_clear {
        bail!(
            "activation moves the fingers through their whole stroke: see that nothing is between them and say --fingers-are-clear"
        );
    }
    let mut gripper = resting(port)?;
    if gripper.status()?.active() {
        return result::line("it is active already: nothing moved");
    }
    gripper.activate()?;
    let status = wait(&mut gripper, "its activation", Status::active)?;
    result::line(said(&status))
}

fn move_to(port: &GripperPort, opening: f64, speed: f64, force: f64) -> anyhow::Result<()> {
    for (name, value) in [("OPENING", opening), ("--speed", speed), ("--force", force)] {
        if !(0.0..=1.0).contains(&value) {
            bail!("{name}: expected 0 to 1, got {value}");
        }
    }
    let mut gripper = open(port, speed, force)?;
    if !gripper.status()?.active() {
        bail!("the gripper is not active: `tactus device gripper activate` first");
    }
    gripper.go_to(opening)?;
    std::thread::sleep(BEGUN);
    let rests = |status: &Status| status.object != tactus_robotiq::Object::Moving;
    let status = wait(&mut gripper, "the motion", rests)?;
    result::line(said(&status))
}
