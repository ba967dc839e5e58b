//! Why an arm cannot be used: one sentence each, with the servo's name and what to do.

use std::path::PathBuf;

use super::bus::BusError;
use crate::PortError;

/// Why an arm cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A servo cannot be talked to.
    #[error("port {}: {servo}: {reason}", port.display())]
    Servo {
        /// The port.
        port: PathBuf,
        /// Id and name.
        servo: String,
        /// Why.
        reason: BusError,
    },
    /// No servo answers.
    #[error("port {}: no servo answers at {baud} baud or any other: are the servos powered, and is the cable in?", port.display())]
    Nobody {
        /// The port.
        port: PathBuf,
        /// Bits per second asked for.
        baud: u32,
    },
    /// Servos answer at another rate.
    #[error("port {}: no servo answers at {baud} baud, but {servo} does at {actual}: set device.baud = {actual}", port.display())]
    Baud {
        /// The port.
        port: PathBuf,
        /// Bits per second asked for.
        baud: u32,
        /// Who answered.
        servo: String,
        /// At how many.
        actual: u32,
    },
    /// Not the servo that the arm is made of.
    #[error("port {}: {servo} has model number {actual}, expected {expected} ({model})", port.display())]
    Model {
        /// The port.
        port: PathBuf,
        /// Id and name.
        servo: String,
        /// The model number that it should have.
        expected: u16,
        /// What has it.
        model: &'static str,
        /// The servo's.
        actual: i32,
    },
    /// The servos are not set as the calibration says.
    #[error(
        "port {}: {servo}: register {register} holds {actual}, expected {expected}{}: the calibration is of another arm, or was not written to this one (`tactus device setup` writes it)",
        port.display(), more(others)
    )]
    Settings {
        /// The port.
        port: PathBuf,
        /// Id and name.
        servo: String,
        /// Name of the register.
        register: &'static str,
        /// What the calibration or the configuration says.
        expected: i32,
        /// What the servo says.
        actual: i32,
        /// How many more registers differ.
        others: usize,
    },
    /// Torque is on where it may not be.
    #[error("port {}: {servo} has torque on, and {why}: support the arm and say `tactus device torque-off --arm-is-supported`", port.display())]
    Torque {
        /// The port.
        port: PathBuf,
        /// Id and name.
        servo: String,
        /// Why it may not.
        why: &'static str,
    },
    /// A register does not keep what was written.
    #[error("port {}: {servo}: register {register} was set to {expected} and holds {actual}", port.display())]
    NotKept {
        /// The port.
        port: PathBuf,
        /// Id and name.
        servo: String,
        /// Name of the register.
        register: &'static str,
        /// What was written.
        expected: i32,
        /// What it holds.
        actual: i32,
    },
}

fn more(others: &usize) -> String {
    match others {
        0 => String::new(),
        n => format!(" (and {n} more differ)"),
    }
}
