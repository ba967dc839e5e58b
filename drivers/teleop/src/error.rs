//! What can be wrong with a device in someone's hand, or with using it on this arm.

use std::path::PathBuf;

use tactus_drivers_api::DeviceError;
use tactus_kinematics::KinematicsError;

/// Why a source cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum TeleopError {
    /// Its joints are not the arm's.
    #[error(
        "leader `{leader}` and arm `{arm}` do not fit joint to joint: expected the joints {expected}, got {actual}"
    )]
    Joints {
        /// Model of the leader.
        leader: String,
        /// Model of the arm.
        arm: String,
        /// The arm's joints.
        expected: String,
        /// The leader's.
        actual: String,
    },
    /// It says what is no position.
    #[error("`{source_name}` reports a position that is no number")]
    NotFinite {
        /// Which.
        source_name: String,
    },
    /// The leader's bus failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The kernel does not let this user read input devices.
    #[error(
        "input device {}: permission denied; join the group `input` (sudo usermod -aG input $USER) and log in again",
        device.display()
    )]
    Permission {
        /// Its node.
        device: PathBuf,
    },
    /// The node cannot be opened or read.
    #[error("input device {}: {reason}", device.display())]
    Input {
        /// Its node.
        device: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// It is another kind of device.
    #[error("input device {} (`{name}`) is no {expected}: it has no {missing}", device.display())]
    Kind {
        /// Its node.
        device: PathBuf,
        /// What it calls itself.
        name: String,
        /// What was wanted.
        expected: &'static str,
        /// What tells such a device.
        missing: &'static str,
    },
    /// None is plugged in.
    #[error("no {expected} among the input devices ({found}); name one with --device")]
    None {
        /// What was wanted.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// The arm cannot be jogged in space.
    #[error("arm `{arm}` is jogged joint by joint only: {reason}")]
    NoSpace {
        /// Its model.
        arm: String,
        /// Why.
        reason: SpaceReason,
    },
}

/// Why an arm cannot be jogged in space.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpaceReason {
    /// Fewer joints than a pose has numbers.
    #[error("it has {joints} joints, and six are needed to move along every axis")]
    Joints {
        /// How many.
        joints: usize,
    },
    /// Its description is missing or not usable.
    #[error(transparent)]
    Geometry(#[from] KinematicsError),
}
