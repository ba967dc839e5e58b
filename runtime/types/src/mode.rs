//! Modes of an arm host and the faults that change them. What follows from a fault is decided in `tactus-control`.

use std::{sync::Arc, time::Duration};

use crate::LeaseEnd;

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
    /// Holds because of a fault during [`Mode::Policy`] or [`Mode::Goto`], or because it was told to.
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
            Self::Hold(_) => "hold",
            Self::Stopped => "stopped",
        }
    }
}

/// Why an arm holds: the fault in the words an operator reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldReason(pub Fault);

impl std::fmt::Display for HoldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that may not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The engine's liveliness token is gone.
    EngineDead,
    /// The engine did not answer before the request's deadline.
    EngineLate {
        /// Time since the request was sent.
        waited: Duration,
    },
    /// The engine answered without a chunk.
    EngineRefused {
        /// Its reason.
        reason: Arc<str>,
    },
    /// A camera's liveliness token is gone.
    CameraDead {
        /// Which camera.
        camera: Arc<str>,
    },
    /// A camera's newest frame is older than its bound.
    CameraStale {
        /// Which camera, and how old; the engine's words.
        reason: Arc<str>,
    },
    /// The newest joint state is older than its bound.
    ProprioStale {
        /// Its age.
        age: Duration,
    },
    /// No action is due any more.
    Exhausted,
    /// A chunk held something that may not be executed; it never entered the queue.
    BadChunk(ChunkFlaw),
    /// The device restarted or its world was reset: what was commanded before no longer counts.
    DeviceRestarted,
    /// The driver could not take a command.
    Driver {
        /// What it said.
        reason: Arc<str>,
    },
    /// The motors lost their torque without an order.
    TorqueLost,
    /// A motion to a pose cannot be carried out.
    Goto(GotoFlaw),
    /// Nothing is wrong: an operator asked for a hold.
    Held,
    /// What moved the arm had no authority any more.
    LeaseEnded {
        /// Who held the lease.
        holder: Arc<str>,
        /// How it ended.
        how: LeaseEnd,
    },
}

/// Why a motion to a pose was given up. Distances are in thousandths of a radian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GotoFlaw {
    /// The measured arm stayed away from the motion.
    Tracking {
        /// Index of the joint.
        joint: usize,
        /// How far.
        away_mrad: u32,
        /// How far it may be.
        limit_mrad: u32,
    },
    /// The motion is over and the arm is not there.
    NotArrived {
        /// Index of the joint.
        joint: usize,
        /// How far it is away.
        away_mrad: u32,
        /// How far it may be.
        limit_mrad: u32,
    },
}

impl std::fmt::Display for GotoFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rad = |mrad: &u32| f64::from(*mrad) * 1e-3;
        match self {
            Self::Tracking {
                joint,
                away_mrad,
                limit_mrad,
            } => write!(
                f,
                "joint {joint} does not follow: {:.3} rad behind, at most {:.3}",
                rad(away_mrad),
                rad(limit_mrad)
            ),
            Self::NotArrived {
                joint,
                away_mrad,
                limit_mrad,
            } => write!(
                f,
                "joint {joint} did not arrive: {:.3} rad away, at most {:.3}",
                rad(away_mrad),
                rad(limit_mrad)
            ),
        }
    }
}

/// Why a chunk of the current generation may not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkFlaw {
    /// No action, or more than a scheduler holds.
    Length {
        /// Actions in the chunk.
        actual: usize,
    },
    /// An action has another number of joints than the arm.
    Joints {
        /// Joints of the arm.
        expected: usize,
        /// Joints of the action.
        actual: usize,
    },
    /// An action holds NaN or infinity.
    NotFinite,
    /// An action is further outside the joint limits than the tolerance.
    OutOfRange {
        /// Index of the joint.
        joint: usize,
    },
    /// The period is zero.
    Period,
    /// It was observed later than now.
    Future,
    /// Another bundle than the one that the episode began with made it.
    Bundle,
}

impl std::fmt::Display for ChunkFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length { actual } => write!(f, "{actual} actions"),
            Self::Joints { expected, actual } => {
                write!(f, "an action of {actual} joints for an arm of {expected}")
            }
            Self::NotFinite => write!(f, "an action is NaN or infinite"),
            Self::OutOfRange { joint } => write!(f, "joint {joint} far outside its limits"),
            Self::Period => write!(f, "its period is zero"),
            Self::Future => write!(f, "observed in the future"),
            Self::Bundle => write!(f, "made by another bundle than the episode began with"),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EngineDead => write!(f, "the engine process is gone"),
            Self::EngineLate { waited } => {
                write!(
                    f,
                    "the engine has not answered for {} ms",
                    waited.as_millis()
                )
            }
            Self::EngineRefused { reason } => write!(f, "the engine refused: {reason}"),
            Self::CameraDead { camera } => write!(f, "the process of camera `{camera}` is gone"),
            Self::CameraStale { reason } => write!(f, "{reason}"),
            Self::ProprioStale { age } => {
                write!(
                    f,
                    "joint states are stale: the newest is {} ms old",
                    age.as_millis()
                )
            }
            Self::Exhausted => write!(f, "the action chunk ran out"),
            Self::BadChunk(flaw) => write!(f, "chunk refused: {flaw}"),
            Self::DeviceRestarted => write!(f, "the device restarted"),
            Self::Driver { reason } => write!(f, "driver: {reason}"),
            Self::TorqueLost => write!(f, "the motors have lost their torque"),
            Self::Goto(flaw) => write!(f, "goto: {flaw}"),
            Self::Held => write!(f, "an operator asked for it"),
            Self::LeaseEnded { holder, how } => write!(f, "the lease of `{holder}` {how}"),
        }
    }
}
