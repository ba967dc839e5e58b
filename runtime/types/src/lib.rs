//! The nouns of Tactus: what travels from camera to command, and nothing that decides.
//!
//! Read in data order:
//! - [`time`]: instants of the cell's clock, stamps of any host's clock.
//! - [`joints`]: joint vectors of fixed capacity, so that a control tick never allocates.
//! - [`observe`]: [`CameraFrame`], [`JointState`], [`Observation`].
//! - [`infer`]: [`InferenceRequest`], [`ActionChunk`], [`Refusal`], the [`Policy`] trait.
//! - [`explain`]: [`Explain`], which thinks aloud beside a policy.
//! - [`act`]: [`Setpoint`], [`Command`], [`Applied`], the [`Driver`] trait.
//! - [`operator`]: [`OperatorSetpoint`] of a human, [`Reference`]; [`lease`]: who may command.
//! - [`arm`]: [`ArmInfo`] and its limits.
//! - [`fault`]: [`Fault`], [`ChunkFlaw`]; [`mode`]: [`Mode`], [`HoldReason`].
//! - [`budget`]: [`Stage`], [`StageTimes`], [`Budget`].
//! - [`motion`], [`host`]: [`MotionQuality`]; [`HostLoad`], [`Misses`].
//!
//! What is not here: encodings (`tactus-wire`), decisions (`tactus-control`), clocks that really run (`tactus-host`).
#![forbid(unsafe_code)]

pub mod act;
pub mod arm;
pub mod budget;
pub mod explain;
pub mod fault;
pub mod host;
pub mod infer;
pub mod joints;
pub mod lease;
pub mod mode;
pub mod motion;
pub mod observe;
pub mod operator;
pub mod time;

pub use act::{Applied, ClampedBy, Command, Driver, DriverError, Setpoint, Source, Torque};
pub use arm::{ArmGeometry, ArmInfo, ArmInfoError, JointLimits, MAX_URDF_BYTES};
pub use budget::{Budget, Stage, StageTimes};
pub use explain::{Explain, Thought};
pub use fault::{ChunkFlaw, Fault, FaultKind, GotoFlaw, PartnerState};
pub use host::{Culprit, HostLoad, Misses};
pub use infer::{
    Action, ActionChunk, Conditioning, FrameRef, Generation, InferenceRequest, Jacobian, Leftover,
    MAX_LEFTOVER, Policy, PolicyError, Refusal, RefusalReason, TimedAction,
};
pub use joints::{JointVec, MAX_JOINTS};
pub use lease::{LeaseEnd, LeaseHolder, LeaseId, Rank, Under};
pub use mode::{HoldReason, Mode};
pub use motion::MotionQuality;
pub use observe::{Camera, CameraError, CameraFrame, Encoding, JointState, Observation};
pub use operator::{OperatorSetpoint, Reference};
pub use time::{Clock, ClockId, Followed, ForeignClock, Reading, Stamp, Time};
