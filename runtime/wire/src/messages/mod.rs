//! The messages: encodings of the nouns of `tactus-types`, and the nouns that only travel.
//!
//! - [`camera`] holds [`tactus_types::CameraFrame`], [`ClockedFrame`], [`CameraInfo`], [`CameraStatus`].
//! - [`device`] holds [`tactus_types::JointState`], [`DeviceCommand`], [`tactus_types::ArmInfo`].
//! - [`infer`] holds [`tactus_types::InferenceRequest`], [`ChunkReply`].
//! - [`engine`] holds [`EngineStatus`].
//! - [`reasoning`] holds [`Reasoning`].
//! - [`applied`] holds [`AppliedBatch`].
//! - [`mode`] holds [`ModeReport`], [`ModeOrder`], [`LeasedOrder`], [`ModeOrderReply`].
//! - [`operator`] holds [`tactus_types::OperatorSetpoint`].
//! - [`lease`] holds [`LeaseRequest`], [`LeaseReply`].
//! - [`ticks`] holds [`TickBatch`].
//! - [`telemetry`] holds [`Telemetry`].
//! - [`episode`] holds [`EpisodeEvent`].
//! - [`eval`] holds [`EvalReport`], [`EvalAnswer`], [`EvalReply`], [`EvalPicture`].
//! - [`sim`] holds [`SimWorld`], [`SimReset`], [`SimResetReply`].

pub mod applied;
pub mod camera;
pub mod device;
pub mod engine;
pub mod episode;
pub mod eval;
pub mod infer;
pub mod lease;
pub mod mode;
pub mod operator;
pub mod reasoning;
pub mod sim;
pub mod telemetry;
pub mod ticks;

pub use applied::AppliedBatch;
pub use camera::{CameraInfo, CameraStatus, CaptureClock, ClockedFrame};
pub use device::DeviceCommand;
pub use engine::{EngineStatus, Service, SlackNanos};
pub use episode::{EpisodeEvent, EpisodePhase};
pub use eval::{EvalAnswer, EvalPhase, EvalPicture, EvalReply, EvalReport, EvalSaid};
pub use infer::ChunkReply;
pub use lease::{LeaseReply, LeaseRequest};
pub use mode::{Counters, LeasedOrder, ModeOrder, ModeOrderReply, ModeReport, ModeWord};
pub use reasoning::{MAX_REASONING_BYTES, Reasoning};
pub use sim::{SimReset, SimResetReply, SimWorld};
pub use telemetry::{Lateness, Telemetry};
pub use ticks::{Asked, ReplyRef, TickBatch, TickNote};
