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

use super::args::JointsVerb;

/// Dispatches.
pub fn joints(verb: &JointsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        JointsVerb::Home(args) => home::home(args).map(|()| ExitCode::SUCCESS),
        JointsVerb::Signs(args) => signs::signs(args),
        JointsVerb::Zeros(args) => zeros::zeros(args),
    }
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
