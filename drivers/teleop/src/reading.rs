//! What a device in someone's hand says at one time, in one form for all devices. Decides nothing.

use tactus_types::{JointVec, Time};

use crate::TeleopError;

/// Axes of a deflection: forward, left, up; roll about forward, pitch about left, yaw about up. The seventh moves only an arm
/// that is jogged joint by joint.
pub const AXES: usize = 7;

/// How far sticks are pushed: a share of the full speed along each axis.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Deflection {
    /// -1..1 each, in the order of [`AXES`]; joint by joint, the arm's joints in their order.
    pub axes: [f64; AXES],
    /// Of the gripper, -1 (closes) to 1 (opens).
    pub opening: f64,
}

/// What moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Motion {
    /// The device has joints of its own: where they are.
    Joints {
        /// rad, in the arm's joint order.
        q: JointVec,
        /// Gripper opening, 0..1; `None` when the device has none.
        opening: Option<f64>,
    },
    /// The device says how fast.
    Deflection(Deflection),
}

/// What a button asks for, once per press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Take over.
    TakeOver,
    /// Hand back.
    HandBack,
    /// Brake and hold.
    Hold,
    /// Brake and stay stopped.
    Stop,
    /// Open or close the clutch.
    Clutch,
}

impl Wish {
    /// Every wish.
    pub const ALL: [Self; 5] = [
        Self::TakeOver,
        Self::HandBack,
        Self::Hold,
        Self::Stop,
        Self::Clutch,
    ];

    /// One word, as it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::TakeOver => "take-over",
            Self::HandBack => "hand-back",
            Self::Hold => "hold",
            Self::Stop => "stop",
            Self::Clutch => "clutch",
        }
    }
}

/// What a device says at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When it was measured. One that is not newer than the last is no news and is not sent.
    pub captured_at: Time,
    /// What moves.
    pub motion: Motion,
    /// The dead man's switch is held; true for a device without one.
    pub engaged: bool,
    /// What was asked for since the last reading, the newest if there was more.
    pub wish: Option<Wish>,
}

/// A device in someone's hand.
pub trait Source: Send {
    /// What it is, for the operator: `leader so101-leader`, `gamepad Xbox Wireless Controller`.
    fn name(&self) -> &str;

    /// What it says at `now`; returns without waiting for anything to happen.
    ///
    /// # Errors
    /// [`TeleopError`]: it is gone, or says what it cannot. Nothing is sent from then on, and the arm holds.
    fn read(&mut self, now: Time) -> Result<Reading, TeleopError>;
}
