//! Threads and ticks: the edge where decisions of `tactus-control` meet clocks, Zenoh and drivers.
//!
//! Read in data order:
//! - [`engine`]: ingest, inference thread, chunks out.
//! - [`arm`]: the arm host: control thread, its messages in and out; orders, leases and stops come through `orders`.
//! - [`tick`]: absolute deadlines and real-time permissions of the control thread.
//! - [`account`]: what every tick and chunk took, against the budget.
//! - [`motion`]: how smooth the commanded motion was.
//! - [`lockstep`]: the same decisions on a virtual clock, one process, for tests and fast evaluation.
//!
//! Decides nothing about the arm. A policy comes in as a trait object: this crate never sees ONNX Runtime.

pub mod account;
pub mod arm;
pub mod engine;
pub mod lockstep;
mod messenger;
pub mod motion;
mod orders;
pub mod tick;

pub use account::{Account, ChunkTimes, Quantiles};
pub use arm::{ArmHostError, ArmOptions, run_arm};
pub use engine::{EngineOptions, run_engine};
pub use lockstep::{Lockstep, LockstepSpec, Plant, PlantError};
pub use motion::MotionMeter;
pub use tick::{Realtime, Ticker};
