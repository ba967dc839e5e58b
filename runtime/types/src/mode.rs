//! Modes of an arm host and the faults that change them. What follows from a fault is decided in `tactus-control`.

use std::time::Duration;

/// What an arm host is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// Started; holds the measured pose and waits for an operator's *enable*.
    Boot,
    /// Enabled; holds, and waits for an episode.
    Ready,
    /// Executes chunks.
    Policy,
    /// Holds because of a fault during [`Mode::Policy`].
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
        reason: String,
    },
    /// A camera's liveliness token is gone.
    CameraDead {
        /// Which camera.
        camera: String,
    },
    /// A camera's newest frame is older than its bound.
    CameraStale {
        /// Which camera, and how old; the engine's words.
        reason: String,
    },
    /// The newest joint state is older than its bound.
    ProprioStale {
        /// Its age.
        age: Duration,
    },
    /// No action is due any more.
    Exhausted,
    /// A chunk held actions that may not be executed.
    BadChunk {
        /// What is wrong with it.
        reason: String,
    },
    /// The driver could not take a command.
    Driver {
        /// What it said.
        reason: String,
    },
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
            Self::BadChunk { reason } => write!(f, "chunk refused: {reason}"),
            Self::Driver { reason } => write!(f, "driver: {reason}"),
        }
    }
}
