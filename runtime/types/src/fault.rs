//! What can go wrong, in the words an operator reads. What follows from it is decided in `tactus-control`.
//!
//! A [`Fault`] is what happened; its [`FaultKind`] is its row in the ladder's table, which the documentation and the
//! drill share. Cloning a fault never allocates: the control thread does it.

use std::{sync::Arc, time::Duration};

use crate::LeaseEnd;

/// Something that may not go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The engine's liveliness token is gone.
    EngineDead,
    /// Nothing has come from the engine's host for longer than the link's bound.
    LinkLost {
        /// Time since its last sign of life.
        silent: Duration,
    },
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
    /// The engine serves other arms, and has no time for this one besides.
    EngineBusy {
        /// What would be too much.
        reason: Arc<str>,
    },
    /// A stream that the policy needs has never delivered.
    StreamMissing {
        /// `camera/<name>` or `proprioception`.
        stream: Arc<str>,
    },
    /// A camera's liveliness token is gone.
    CameraDead {
        /// Which camera.
        camera: Arc<str>,
    },
    /// The newest message of a stream that the engine needs is older than its bound.
    StreamStale {
        /// `camera/<name>` or `proprioception`, as the engine sees it.
        stream: Arc<str>,
        /// Its age.
        age: Duration,
        /// The bound.
        limit: Duration,
    },
    /// A camera sends the same picture although the arm moves.
    CameraFrozen {
        /// `camera/<name>`.
        stream: Arc<str>,
        /// For how long.
        still: Duration,
    },
    /// A time stamp lies in the future: a clock was set, or is not the cell's.
    ClockStep {
        /// `camera/<name>` or `proprioception`.
        stream: Arc<str>,
        /// How far ahead.
        ahead: Duration,
    },
    /// The newest joint state is older than its bound.
    ProprioStale {
        /// Its age.
        age: Duration,
    },
    /// The newest joint state holds a number that is not finite, or another number of joints.
    ProprioBad,
    /// The measured arm does not follow the command.
    Tracking {
        /// Index of the joint that is furthest behind.
        joint: usize,
        /// How far, rad.
        behind: f64,
    },
    /// The policy asks, for longer than the bound, for motion that the limits do not allow.
    LimitStorm {
        /// How far the command is from what is asked for, rad.
        behind: f64,
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
    /// The human who commanded sends nothing any more.
    OperatorLost {
        /// Time since the last setpoint.
        silent: Duration,
    },
    /// Nothing is wrong: a human has handed the arm back, and the policy has not answered yet.
    HandedBack,
    /// Of two arms that one policy moves, the other does not run it.
    PartnerHeld {
        /// The other arm.
        partner: Arc<str>,
        /// What it does instead.
        state: PartnerState,
    },
}

/// What keeps the other arm of a pair from running the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerState {
    /// Its arm host is not there.
    Gone,
    /// Its arm host has said nothing for this long.
    Silent(Duration),
    /// It is in this mode.
    Mode(&'static str),
}

impl std::fmt::Display for PartnerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => write!(f, "is not there"),
            Self::Silent(silent) => write!(f, "has said nothing for {} ms", silent.as_millis()),
            Self::Mode(mode) => write!(f, "is in mode `{mode}`"),
        }
    }
}

/// A row of the ladder's table: [`Fault`] without what differs from case to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the fault of the same name")]
pub enum FaultKind {
    EngineDead,
    LinkLost,
    EngineLate,
    EngineRefused,
    EngineBusy,
    StreamMissing,
    CameraDead,
    StreamStale,
    CameraFrozen,
    ClockStep,
    ProprioStale,
    ProprioBad,
    Tracking,
    LimitStorm,
    Exhausted,
    BadChunk,
    DeviceRestarted,
    Driver,
    TorqueLost,
    Goto,
    Held,
    LeaseEnded,
    OperatorLost,
    HandedBack,
    PartnerHeld,
}

impl FaultKind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 25] = [
        Self::EngineDead,
        Self::LinkLost,
        Self::EngineLate,
        Self::EngineRefused,
        Self::EngineBusy,
        Self::StreamMissing,
        Self::CameraDead,
        Self::StreamStale,
        Self::CameraFrozen,
        Self::ClockStep,
        Self::ProprioStale,
        Self::ProprioBad,
        Self::Tracking,
        Self::LimitStorm,
        Self::Exhausted,
        Self::BadChunk,
        Self::DeviceRestarted,
        Self::Driver,
        Self::TorqueLost,
        Self::Goto,
        Self::Held,
        Self::LeaseEnded,
        Self::OperatorLost,
        Self::HandedBack,
        Self::PartnerHeld,
    ];

    /// Name in tables, recordings and drills.
    pub fn name(self) -> &'static str {
        match self {
            Self::EngineDead => "engine-dead",
            Self::LinkLost => "link-lost",
            Self::EngineLate => "engine-late",
            Self::EngineRefused => "engine-refused",
            Self::EngineBusy => "engine-busy",
            Self::StreamMissing => "stream-missing",
            Self::CameraDead => "camera-dead",
            Self::StreamStale => "stream-stale",
            Self::CameraFrozen => "camera-frozen",
            Self::ClockStep => "clock-step",
            Self::ProprioStale => "proprio-stale",
            Self::ProprioBad => "proprio-bad",
            Self::Tracking => "tracking",
            Self::LimitStorm => "limit-storm",
            Self::Exhausted => "exhausted",
            Self::BadChunk => "bad-chunk",
            Self::DeviceRestarted => "device-restarted",
            Self::Driver => "driver",
            Self::TorqueLost => "torque-lost",
            Self::Goto => "goto",
            Self::Held => "held",
            Self::LeaseEnded => "lease-ended",
            Self::OperatorLost => "operator-lost",
            Self::HandedBack => "handed-back",
            Self::PartnerHeld => "partner-held",
        }
    }
}

impl FaultKind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Fault {
    /// Its row in the ladder's table.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::EngineDead => FaultKind::EngineDead,
            Self::LinkLost { .. } => FaultKind::LinkLost,
            Self::EngineLate { .. } => FaultKind::EngineLate,
            Self::EngineRefused { .. } => FaultKind::EngineRefused,
            Self::EngineBusy { .. } => FaultKind::EngineBusy,
            Self::StreamMissing { .. } => FaultKind::StreamMissing,
            Self::CameraDead { .. } => FaultKind::CameraDead,
            Self::StreamStale { .. } => FaultKind::StreamStale,
            Self::CameraFrozen { .. } => FaultKind::CameraFrozen,
            Self::ClockStep { .. } => FaultKind::ClockStep,
            Self::ProprioStale { .. } => FaultKind::ProprioStale,
            Self::ProprioBad => FaultKind::ProprioBad,
            Self::Tracking { .. } => FaultKind::Tracking,
            Self::LimitStorm { .. } => FaultKind::LimitStorm,
            Self::Exhausted => FaultKind::Exhausted,
            Self::BadChunk(_) => FaultKind::BadChunk,
            Self::DeviceRestarted => FaultKind::DeviceRestarted,
            Self::Driver { .. } => FaultKind::Driver,
            Self::TorqueLost => FaultKind::TorqueLost,
            Self::Goto(_) => FaultKind::Goto,
            Self::Held => FaultKind::Held,
            Self::LeaseEnded { .. } => FaultKind::LeaseEnded,
            Self::OperatorLost { .. } => FaultKind::OperatorLost,
            Self::HandedBack => FaultKind::HandedBack,
            Self::PartnerHeld { .. } => FaultKind::PartnerHeld,
        }
    }
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
            Self::LinkLost { silent } => {
                let silent = silent.as_millis();
                write!(f, "nothing from the engine's host for {silent} ms")
            }
            Self::EngineLate { waited } => {
                write!(
                    f,
                    "the engine has not answered for {} ms",
                    waited.as_millis()
                )
            }
            Self::EngineRefused { reason } => write!(f, "the engine refused: {reason}"),
            Self::EngineBusy { reason } => {
                write!(f, "the engine has no time for this arm: {reason}")
            }
            Self::CameraDead { camera } => write!(f, "the process of camera `{camera}` is gone"),
            Self::StreamMissing { stream } => write!(f, "nothing has ever come from {stream}"),
            Self::StreamStale { stream, age, limit } => {
                let (age, limit) = (age.as_millis(), limit.as_millis());
                write!(f, "{stream} is stale: {age} ms old, limit {limit} ms")
            }
            Self::CameraFrozen { stream, still } => {
                let still = still.as_millis();
                write!(
                    f,
                    "{stream} is frozen: the same picture for {still} ms while the arm moved"
                )
            }
            Self::ClockStep { stream, ahead } => {
                let ahead = ahead.as_millis();
                write!(
                    f,
                    "{stream} is {ahead} ms ahead of this clock: a clock was set"
                )
            }
            Self::ProprioBad => write!(f, "joint states hold numbers that are no positions"),
            Self::Tracking { joint, behind } => {
                write!(
                    f,
                    "joint {joint} does not follow: {behind:.2} rad behind its command"
                )
            }
            Self::LimitStorm { behind } => write!(
                f,
                "the policy asks for more than the limits allow: {behind:.2} rad beyond the command"
            ),
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
            Self::OperatorLost { silent } => {
                let silent = silent.as_millis();
                write!(f, "nothing from the operator for {silent} ms")
            }
            Self::HandedBack => {
                write!(
                    f,
                    "the arm was handed back, the policy has not answered yet"
                )
            }
            Self::PartnerHeld { partner, state } => {
                write!(f, "the other arm of the pair, `{partner}`, {state}")
            }
        }
    }
}
