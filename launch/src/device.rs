//! `tactus device`: the arm of a cell's `[device]` section as a process; and the same arm on the bench, without a cell
//! around it: checked, set up, its calibration written to a file, released.
//!
//! Decides which verb needs what; what an arm is and may do is the driver's. Only `device` without a verb lets anything move,
//! and only `setup` writes what survives power-off.

mod franka;
mod franka_node;
mod gripper;
mod ros;
mod ur;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use tactus_drivers_api::servo::{Bench, Calibration, GRIPPER, Unit};
use tactus_drivers_api::{Device, DeviceOptions, DeviceReport, WithGripper, serve_device};
use tactus_dynamixel::device::{DynamixelArm, Options};
use tactus_feetech::ServoArm;
use tactus_host::{Realtime, RealtimeSpec};
use tactus_types::{Clock, Time};
use tactus_wire::Role;

use crate::cell::{self, Cell, CellDevice, CellServos, Make};
use crate::cli::{DeviceArgs, DeviceVerb, RoleArgs};
use crate::result;
use crate::roles::{self, Joined};

/// How often a device looks whether it may leave, and how long it outlives a supervisor at most for its arm host.
const LOOK: Duration = Duration::from_millis(5);
const OUTLIVE: Duration = Duration::from_secs(1);
/// An arm host is gone when its token has been for this long: tokens of processes that live were seen to go when another
/// died.
const FLICKER: Duration = Duration::from_millis(150);

/// Dispatches; without a verb the device is served.
pub fn device(args: &DeviceArgs) -> anyhow::Result<()> {
    match (&args.verb, &args.role) {
        (Some(DeviceVerb::Gripper { verb }), _) => gripper::gripper(verb),
        (Some(verb), _) => on_the_bench(verb),
        (None, Some(role)) => {
            let cell = cell::load_arm(&role.cell)?;
            let Some(arm) = &cell.hardware else {
                bail!("cell file {}: no section [device]", role.cell.display());
            };
            // Before anything is joined: what is wrong with the file is said at once.
            let options = options(&cell)?;
            match arm {
                CellDevice::Servos(arm) => serve(role, &cell, &options, arm),
                CellDevice::Ur(arm) => ur::serve(role, &cell, &options, arm),
                CellDevice::Franka(arm) => franka::serve(role, &cell, &options, arm),
                CellDevice::FrankaNode(arm) => franka_node::serve(role, &cell, &options, arm),
                CellDevice::Ros(arm) => ros::serve(role, &cell, &options, arm),
            }
        }
        (None, None) => {
            bail!("give --cell FILE to serve its device, or a verb; see `tactus device --help`")
        }
    }
}

/// Where the arm of `cell` is served; of links that the file describes it says which limits in space there are with them.
fn options(cell: &Cell) -> anyhow::Result<DeviceOptions> {
    let geometry = cell.geometry()?;
    if let Some(links) = &cell.links {
        tracing::info!(urdf = %links.urdf.display(), "links: {}", cell.says_of_space());
    }
    Ok(DeviceOptions {
        cell: cell.wire.clone(),
        name: cell.device.clone(),
        geometry,
    })
}

/// An arm on the bench has no cell around it: of its file only the section `[device]` is read.
fn on_the_bench(verb: &DeviceVerb) -> anyhow::Result<()> {
    let file = verb.cell().context("a verb of a cell file")?;
    let (device, links) = cell::described_device_of(file)?;
    if let (DeviceVerb::Check { .. }, Some(links)) = (verb, &links) {
        let joints = links.describe(file, &device)?.joints.len();
        let urdf = links.urdf.display();
        result::line(format_args!("links: {urdf} has the arm's {joints} joints"))?;
    }
    let arm = match device {
        CellDevice::Servos(arm) => arm,
        CellDevice::Ur(arm) => return ur::bench(verb, &arm),
        CellDevice::Franka(arm) => return franka::bench(verb, &arm),
        CellDevice::FrankaNode(arm) => return franka_node::bench(verb, &arm),
        CellDevice::Ros(arm) => return ros::bench(verb, arm),
    };
    match verb {
        DeviceVerb::Check { .. } => check(&arm),
        DeviceVerb::Setup { .. } => set_up(&arm),
        DeviceVerb::Calibration { out, .. } => calibration(&arm, out),
        DeviceVerb::TorqueOff {
            arm_is_supported, ..
        } => torque_off(&arm, *arm_is_supported),
        _ => bail!("`device {}` is for another kind of arm", verb.word()),
    }
}

impl DeviceVerb {
    /// Its cell file; a gripper's verbs have one of their own.
    fn cell(&self) -> Option<&Path> {
        match self {
            Self::Check { cell }
            | Self::Setup { cell }
            | Self::Calibration { cell, .. }
            | Self::PowerOn { cell }
            | Self::PowerOff { cell }
            | Self::BrakeRelease { cell }
            | Self::UnlockProtectiveStop { cell }
            | Self::Recover { cell }
            | Self::TorqueOff { cell, .. } => Some(cell),
            Self::Gripper { .. } => None,
        }
    }

    /// As it is written.
    fn word(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Setup { .. } => "setup",
            Self::Calibration { .. } => "calibration",
            Self::PowerOn { .. } => "power-on",
            Self::PowerOff { .. } => "power-off",
            Self::BrakeRelease { .. } => "brake-release",
            Self::UnlockProtectiveStop { .. } => "unlock-protective-stop",
            Self::Recover { .. } => "recover",
            Self::TorqueOff { .. } => "torque-off",
            Self::Gripper { .. } => "gripper",
        }
    }
}

/// Opens the arm's port and finds its servos there.
fn bench(arm: &CellServos) -> anyhow::Result<Bench> {
    Ok(arm.bench(&arm.calibration()?)?)
}

/// The role.
fn serve(
    args: &RoleArgs,
    cell: &Cell,
    options: &DeviceOptions,
    arm: &CellServos,
) -> anyhow::Result<()> {
    // Before anything is joined, as the options.
    let calibration = arm.calibration()?;
    let joined = roles::join(args, &format!("device/{}", cell.device))?;
    let mut device = start(arm, &calibration, joined.clock.now())?;
    if let Some(gripper) = &cell.gripper {
        device = Box::new(WithGripper::start(device, gripper.open()?)?);
    }
    hurry(cell);
    let report = leave_last(args, cell, &joined, |end| {
        Ok(serve_device(&mut *device, options, &joined.session, end)?)
    });
    let DeviceReport {
        ticks,
        skipped,
        holds,
        ..
    } = report?;
    tracing::info!(ticks, skipped, holds, "stopped; torque is as it was");
    Ok(())
}

/// Asks for the calling thread what the control thread asks for itself: states that wait behind the engine for a core
/// are stale before anyone saw them.
pub fn hurry(cell: &Cell) {
    let realtime = Realtime::request(&RealtimeSpec {
        cpu: None,
        spin: Duration::ZERO,
        ..cell.realtime
    });
    for missing in realtime.missing() {
        tracing::warn!("states and commands will be later: {missing}");
    }
}

/// Serves an arm whose controller holds it by itself, and the gripper of the cell beside it, until this process is to end;
/// what the arm counted is told to `counted`, where there is no gripper.
fn serve_beside_gripper<D: Device + 'static>(
    args: &RoleArgs,
    cell: &Cell,
    options: &DeviceOptions,
    joined: &Joined,
    mut device: D,
    counted: impl FnOnce(&D),
) -> anyhow::Result<()> {
    let report = match &cell.gripper {
        None => {
            let report = leave_last(args, cell, joined, |end| {
                Ok(serve_device(&mut device, options, &joined.session, end)?)
            });
            counted(&device);
            report
        }
        Some(gripper) => {
            let mut device = WithGripper::start(Box::new(device), gripper.open()?)?;
            leave_last(args, cell, joined, |end| {
                Ok(serve_device(&mut device, options, &joined.session, end)?)
            })
        }
    };
    let DeviceReport {
        ticks,
        skipped,
        holds,
        ..
    } = report?;
    tracing::info!(
        ticks,
        skipped,
        holds,
        "stopped; the controller holds the arm"
    );
    Ok(())
}

/// Puts the arm into service. Moves nothing.
pub fn start(
    arm: &CellServos,
    calibration: &Calibration,
    now: Time,
) -> anyhow::Result<Box<dyn Device>> {
    let bench = arm.bench(calibration)?;
    let (part, rate_hz) = (arm.part, arm.rate_hz);
    Ok(match arm.make {
        Make::Feetech(model) => Box::new(ServoArm::start(bench, model, part, rate_hz, now)?),
        Make::Dynamixel {
            model,
            watchdog_millis,
            gripper_current_ma,
        } => {
            let options = Options {
                rate_hz,
                watchdog_millis,
                gripper_current_ma,
            };
            Box::new(DynamixelArm::start(bench, model, part, options, now)?)
        }
    })
}

/// Runs `serve` until this process is to end. One that is supervised is told to end at the same time as its arm host, as
/// when whoever supervises both has died; the arm that is being braked is its own, so it leaves last.
pub fn leave_last<T>(
    args: &RoleArgs,
    cell: &Cell,
    joined: &Joined,
    serve: impl FnOnce(&AtomicBool) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let end = AtomicBool::new(false);
    let arm_lives = Arc::new(AtomicBool::new(false));
    let (seen, arm) = (arm_lives.clone(), cell.arm.clone());
    let _watch = joined
        .session
        .watch_alive(&cell.wire, move |role, name, alive| {
            if role == Role::Arm && *name == arm {
                seen.store(alive, Ordering::Relaxed);
            }
        })?;
    std::thread::scope(|scope| {
        let _ending = roles::Stopping(&end);
        let wait = || {
            while !(joined.stop.load(Ordering::Relaxed) || end.load(Ordering::Relaxed)) {
                std::thread::sleep(LOOK);
            }
            let until = Instant::now() + OUTLIVE;
            let mut lived = arm_lives.load(Ordering::Relaxed).then(Instant::now);
            while args.supervised
                && !end.load(Ordering::Relaxed)
                && lived.is_some_and(|at| at.elapsed() < FLICKER)
                && Instant::now() < until
            {
                std::thread::sleep(LOOK);
                if arm_lives.load(Ordering::Relaxed) {
                    lived = Some(Instant::now());
                }
            }
            end.store(true, Ordering::Relaxed);
        };
        std::thread::Builder::new()
            .name("leave-last".into())
            .spawn_scoped(scope, wait)
            .context("thread `leave-last`")?;
        serve(&end)
    })
}

/// What every servo says, and how it compares with calibration and configuration. Fails when they do not fit.
fn check(arm: &CellServos) -> anyhow::Result<()> {
    let mut bench = bench(arm)?;
    let mismatches = bench.mismatches()?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "servo",
        "id",
        "firmware",
        "tick",
        "position",
        "torque",
        "load",
        "supply",
        "heat",
        "says",
        "registers",
    ]);
    for (index, servo) in bench.servos.clone().iter().enumerate() {
        let report = bench.report(index)?;
        let (servo_calibration, tick) = (servo.calibration, report.position);
        let position = match servo.name {
            GRIPPER => format!("{:.0} %", servo_calibration.value(tick, Unit::Percent)),
            _ => format!(
                "{:.3} rad, {:.1} deg, {:.1} of +-100",
                servo_calibration.rad(tick),
                servo_calibration.value(tick, Unit::Degrees),
                servo_calibration.value(tick, Unit::Range100)
            ),
        };
        let differ: Vec<String> = mismatches
            .iter()
            .filter(|m| m.servo == index)
            .map(|m| {
                format!(
                    "{} {} (not {})",
                    m.setting.register.name, m.actual, m.setting.value
                )
            })
            .collect();
        table.add_row([
            servo.name.to_owned(),
            servo_calibration.id.to_string(),
            report.firmware,
            tick.to_string(),
            position,
            if report.torque { "on" } else { "off" }.to_owned(),
            format!("{:.0} %", 100.0 * report.load),
            format!("{:.1} V", report.voltage_v),
            format!("{:.0} C", report.temperature_c),
            match report.alarms.is_none() {
                true => "-".to_owned(),
                false => report.alarms.to_string(),
            },
            match differ.is_empty() {
                true => "as they have to be".to_owned(),
                false => differ.join(", "),
            },
        ]);
    }
    result::line(table)?;
    bench.check()?;
    Ok(())
}

fn set_up(arm: &CellServos) -> anyhow::Result<()> {
    let mut bench = bench(arm)?;
    let changed = bench.set_up()?;
    for m in &changed {
        result::line(format_args!(
            "{}: register {}: {} -> {}",
            bench.servos[m.servo],
            m.setting.register.name,
            m.actual,
            m.setting.over(m.actual)
        ))?;
    }
    result::line(format_args!(
        "{} registers written; calibration {}",
        changed.len(),
        arm.calibration_file()?.display()
    ))
}

/// Writes the calibration that the servos hold to `out`; ids are those of the cell's calibration, else from 1 on.
fn calibration(arm: &CellServos, out: &Path) -> anyhow::Result<()> {
    let known = arm.calibration().unwrap_or_else(|e| {
        tracing::warn!("{e:#}; taking the servos to have the ids from 1 on");
        Calibration::unknown(&arm.motors())
    });
    if out.exists() {
        bail!("calibration {}: there is one already", out.display());
    }
    let mut bench = arm.bench(&known)?;
    bench.calibration()?.write(out)?;
    result::line(format_args!(
        "calibration of {} servos: {}",
        arm.motors().len(),
        out.display()
    ))
}

fn torque_off(arm: &CellServos, arm_is_supported: bool) -> anyhow::Result<()> {
    if !arm_is_supported {
        bail!("the arm has no brakes and falls: support it and say --arm-is-supported");
    }
    bench(arm)?.torque_off()?;
    result::line("torque is off")
}
