//! `tactus calibrate joints`: whether the joints are what the arm says.
//!
//! - [`home`]: homing and ranges of servos, by hand, without torque: LeRobot's calibration.
//! - [`signs`]: each joint turns by a little; a camera, or the operator, says whether it was that joint, that way, that far.
//! - [`zeros`]: by how much each joint's zero is off, from poses at which a board was seen or a point touched.
//!
//! Decides which of them is asked for, and what an operator's answer means. What follows from what was seen is
//! `tactus-joints`'.

mod home;
mod signs;
mod zeros;

use std::io::{BufRead, stdin};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::Context;
use tactus_types::ArmInfo;

use super::args::JointsVerb;

/// Dispatches.
pub fn joints(verb: &JointsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        JointsVerb::Home(args) => home::home(args).map(|()| ExitCode::SUCCESS),
        JointsVerb::Signs(args) => signs::signs(args),
        JointsVerb::Zeros(args) => zeros::zeros(args),
    }
}

/// Whether joint `joint` slides, by the arm's description; one that has none is taken to turn.
pub(super) fn slides(info: &ArmInfo, joint: usize) -> bool {
    tactus_control::limit::guard::chain(info).is_ok_and(|chain| chain.slides(joint))
}

/// The lines that an operator types, as they come; the channel ends with them.
fn lines() -> anyhow::Result<Receiver<String>> {
    let (sender, lines) = sync_channel(16);
    let read = move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("operator".into())
        .spawn(read)
        .context("thread `operator`")?;
    Ok(lines)
}

/// An arm on a rail, for tests: a joint that slides, then one that turns.
#[cfg(test)]
pub(super) fn on_a_rail() -> ArmInfo {
    let limits = tactus_types::JointLimits {
        lower: -1.0,
        upper: 1.0,
        velocity: 1.0,
        acceleration: 5.0,
        jerk: 50.0,
    };
    let urdf = "<robot name='r'><link name='base'/><link name='cart'/><link name='tool'/>\
        <joint name='rail' type='prismatic'><parent link='base'/><child link='cart'/><axis xyz='1 0 0'/>\
        <limit lower='-1' upper='1' effort='1' velocity='1'/></joint>\
        <joint name='turn' type='revolute'><parent link='cart'/><child link='tool'/><axis xyz='0 0 1'/>\
        <limit lower='-1' upper='1' effort='1' velocity='1'/></joint></robot>";
    ArmInfo {
        model: "rail".into(),
        joints: vec!["rail".into(), "turn".into()],
        limits: vec![limits; 2],
        gripper: false,
        state_rate_hz: 500.0,
        brakes: true,
        torque_switch: false,
        command_deadline_secs: 0.1,
        geometry: Some(tactus_types::ArmGeometry {
            urdf: urdf.into(),
            base_link: "base".into(),
            tool_link: "tool".into(),
            workspace: None,
        }),
    }
}
