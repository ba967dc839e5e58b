//! Threads and ticks: the edge where decisions of `tactus-control` meet clocks, Zenoh and drivers.
//!
//! Read in data order:
//! - [`engine`]: inference thread, chunks out; what it takes in comes through `intake`; [`pairing`]: two arms of one policy.
//! - [`explain`]: words about what it sees, when nothing else is to do.
//! - [`shadow`]: another policy beside it, compared and never heard.
//! - [`arm`]: the arm host: control thread, its messages in and out; orders, leases and stops come through `orders`.
//! - [`tick`]: absolute deadlines of the control thread; [`realtime`]: what the operating system grants it; [`beat`]: how
//!   punctual that makes it.
//! - [`account`]: what every tick and chunk took, against the budget.
//! - [`load`]: what the host is doing; [`witness`]: which deadline was missed by what, and the load around it.
//! - [`motion`]: how smooth the commanded motion was.
//! - [`lockstep`]: the same decisions on a virtual clock, one process, for tests and fast evaluation; [`tamper`] breaks
//!   what passes between them, [`invariants`] says what must hold all the same.
//!
//! - [`scribe`]: a lock-step run as a recording; [`replay`]: a recording decided again, and what differs.
//!
//! Decides nothing about the arm. A policy comes in as a trait object: this crate never sees ONNX Runtime.

pub mod account;
pub mod arm;
pub mod beat;
pub mod engine;
pub mod explain;
mod intake;
pub mod invariants;
pub mod load;
pub mod lockstep;
mod messenger;
pub mod motion;
mod orders;
pub mod pairing;
pub mod realtime;
pub mod replay;
pub mod scribe;
pub mod shadow;
pub mod tamper;
pub mod tick;
pub mod witness;

pub use account::{Account, ChunkTimes, Quantiles};
pub use arm::{ArmHostError, ArmOptions, digest, run_arm};
pub use engine::{EngineArm, EngineOptions, run_engine};
pub use explain::Explaining;
pub use invariants::{Invariants, Violation};
pub use load::LoadMeter;
pub use lockstep::{Lockstep, LockstepSpec, Plant, PlantError};
pub use motion::MotionMeter;
pub use pairing::Second;
pub use realtime::{Realtime, RealtimeSpec};
pub use scribe::Scribe;
pub use shadow::{Comparison, Disagreement, ShadowOptions, Shadowed, Skip, run_shadow};
pub use tamper::{Act, Injection, Random, Tamper};
pub use tick::Ticker;
