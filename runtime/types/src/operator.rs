//! What a human who moves an arm sends. What becomes of it is decided in `tactus-control`.

use crate::{JointVec, LeaseId, Time};

/// How a human's device and the arm come together when the human takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Joint to joint: the human moves the leader to where the arm is.
    Leader,
    /// Joint to joint: the arm goes to where the leader is, under its limits.
    Slide,
    /// Only how far the device moves since it was engaged counts.
    Clutch,
}

impl Reference {
    /// Every reference.
    pub const ALL: [Self; 3] = [Self::Leader, Self::Slide, Self::Clutch];

    /// One word, for command lines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Slide => "slide",
            Self::Clutch => "clutch",
        }
    }
}

/// Where a human wants the arm, or the arm's likeness in their hand is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatorSetpoint {
    /// The lease that it is sent under.
    pub lease: LeaseId,
    /// Grows strictly from setpoint to setpoint under one lease.
    pub sequence: u64,
    /// When it was read from the device.
    pub captured_at: Time,
    /// Joint positions, rad, in the arm's joint order.
    pub q: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
    /// The human wants the arm to move: the clutch is closed, the dead man's switch is held.
    pub engaged: bool,
}
