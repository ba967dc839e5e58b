//! Modes of an arm host. What changes them is decided in `tactus-control`.

use crate::Fault;

/// What an arm host is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// Started; holds the measured pose and waits for an operator's *enable*.
    Boot,
    /// Enabled; holds, and waits for an episode.
    Ready,
    /// Executes chunks.
    Policy,
    /// Moves to a pose that an operator named, under the limits.
    Goto,
    /// A human has taken over and does not command yet: the arm holds, or goes to meet the leader.
    Align,
    /// Executes what a human asks for.
    Teleop,
    /// Holds because of a fault during a motion, because it was told to, or until a policy that was handed the arm back
    /// has answered.
    Hold(HoldReason),
    /// Stopped for good; only a restart leaves it.
    Stopped,
}

impl Mode {
    /// One word, for wire and display.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Ready => "ready",
            Self::Policy => "policy",
            Self::Goto => "goto",
            Self::Align => "align",
            Self::Teleop => "teleop",
            Self::Hold(_) => "hold",
            Self::Stopped => "stopped",
        }
    }
}

/// Why an arm holds: the fault in the words an operator reads.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldReason(pub Fault);

impl std::fmt::Display for HoldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
