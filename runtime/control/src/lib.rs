//! What is decided on the path from camera to command, without IO and without a clock: every decision is a function
//! of state and `now`. The same code runs in real time (`tactus-host`), in lock-step and in replay.
//!
//! Read in data order:
//! - [`assemble`]: newest frames and joint states -> observation, or which stream is missing or stale.
//! - [`dispatch`]: engine side; which request is answered when. [`fleet`]: several arms on one engine, by deadline;
//!   [`admit`]: which of them it can serve, by what [`service`] measures.
//! - [`pair`]: two arms as one policy sees them, and what of a chunk is whose; [`rendezvous`]: their requests, answered together.
//! - [`request`]: arm side; when to ask for the next chunk.
//! - [`schedule`]: chunks -> the setpoint that is due now; with [`strategy`], what becomes of a chunk that arrives while
//!   another is executed, and [`plan`], the smooth motion between its actions.
//! - [`supervise`]: faults -> mode; whose setpoint counts. [`ladder`] is the table that it follows.
//! - [`limit`]: setpoint -> command inside the arm's limits; [`limit::guard`]: those in space, by `tactus-kinematics`.
//! - [`authority`]: who may begin motion; [`bearer`]: whose a lease is; [`enable`]: torque on and off; [`goto`]: a motion to a named pose;
//!   [`teleop`]: a human in command.
//! - [`cycle`]: one control tick through the last four, and the counters.
//! - [`feasible`]: before anything moves, whether the times of all of it fit together.
//!
//! What is not here: threads, Zenoh, drivers, models.
#![forbid(unsafe_code)]

pub mod admit;
pub mod assemble;
pub mod authority;
pub mod bearer;
pub mod cycle;
pub mod dispatch;
pub mod enable;
pub mod feasible;
pub mod fleet;
pub mod goto;
pub mod ladder;
pub mod limit;
pub mod pair;
pub mod plan;
pub mod rendezvous;
pub mod request;
pub mod schedule;
pub mod service;
pub mod strategy;
pub mod supervise;
pub mod teleop;

pub use admit::{Demand, Load, Overload, share, sustainable};
pub use assemble::{Assembled, Assembler, AssemblySpec, CLOCK_TOLERANCE};
pub use authority::{Authority, Grant, LeaseRefused};
pub use bearer::{Bearers, Stolen};
pub use cycle::{
    ArmCycle, ArmSpec, Counters, Order, OrderRefused, Partner, PartnerMode, StartPose, TickInput,
    TickOutput,
};
pub use dispatch::{Dispatcher, Job};
pub use enable::EnableSpec;
pub use feasible::{Caution, ChunkShape, Feasible, Infeasible, Timing, feasible};
pub use fleet::{Fleet, Standing};
pub use goto::Pose;
pub use ladder::{LadderSpec, Noticed, Rule, Rung, is_the_arms, rule};
pub use limit::guard::{Guard, GuardSpec};
pub use limit::{LimitSpec, Limiter};
pub use pair::{Pair, PairArm, PairError};
pub use plan::State;
pub use rendezvous::{Joined, Rendezvous, Together};
pub use request::{RequestSpec, Requester, Trigger};
pub use schedule::{Discard, Due, ScheduleSpec, Scheduler, Seam};
pub use service::{ServiceTimes, Slack};
pub use strategy::Strategy;
pub use supervise::{Decision, Health, Resume, Supervisor};
pub use teleop::{SetpointRefused, TeleopSpec};
