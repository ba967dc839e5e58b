//! Franka Research 3, over the Franka Control Interface (FCI), by the crate `franka-rs`: FCI in Rust, without libfranka; or
//! through a `franka-node` on the robot's own host, over Zenoh ([`node`]).
//!
//! # How the arm is led
//! The controller runs at 1 kHz, and so does a thread here ([`link`]): it reads a state and answers it with joint positions,
//! in each millisecond, for as long as the arm follows. What it answers is not the goal itself but a step of [`stream`]
//! towards it, inside the velocities, accelerations and jerks that the controller checks. So goals may come at any rate, late
//! or not at all: when they stop, the stream brakes and stays, and the controller is still answered.
//!
//! FCI's joint impedance follows joint positions. Torques of our own, Cartesian motions, payloads and collision thresholds
//! are not used; payload, tool and thresholds stay what they were set to in Desk.
//!
//! # What torque means
//! The arm has brakes, and a controller that holds it while it is unlocked. *Torque on* is: our motion runs and began where
//! the arm is. *Torque off* is: it does not, and the controller holds the arm by itself. Unlocking the joints, activating
//! FCI and the enabling device are the operator's, in Desk; a reflex is recovered from by a verb ([`operator`]), never by
//! itself.
//!
//! Read straight down: [`model`] (joints, limits), [`modes`] (what the controller says of itself), [`stream`] (goals in,
//! positions out; pure), [`session`] (one connection), [`link`] (the thread that keeps one), [`device`] (the arm in service),
//! [`operator`] (what an operator asks of it), [`bench`] (an arm at rest), [`hand`] (the Franka Hand), [`node`] (another way to
//! the same arm).
#![forbid(unsafe_code)]

pub mod bench;
pub mod device;
pub mod error;
pub mod hand;
pub mod link;
pub mod model;
pub mod modes;
pub mod node;
pub mod operator;
pub mod session;
pub mod stream;

pub use bench::Bench;
pub use device::{FrankaArm, FrankaSpec};
pub use error::FrankaError;
pub use hand::{Hand, HandSettings};
pub use node::{NodeArm, NodeBench, NodeSpec};
pub use session::Host;
