//! Arms of Universal Robots: CB3 (software 3) and e-Series, UR20, UR30 (software 5), over the network.
//!
//! # How the arm is led
//! RTDE carries both directions: joint states come at the controller's rate, joint positions go into input registers. A
//! short program of ours (`src/follow.script`) runs on the controller, reads the registers once a period and hands them to
//! `servoj`. It was chosen over the reverse interface, where a program on the controller connects back to us, because
//!
//! - both directions are one connection that this machine opens: nothing listens here, no second port passes a firewall,
//!   and there is no state in which one direction works and the other does not;
//! - the controller knows one writer per register: a second commander is refused by the controller itself (`IN_USE`);
//! - commands are numbered, so the program knows a new command from an old one, counts the periods that had none, and never
//!   extrapolates: it stays at the last command, and after [`program::PATIENCE`] without a new one it brakes and ends;
//! - a program that has ended cannot resume. Every enabling uploads a new one, with a number of its own ([`program`]).
//!
//! The price is one period: a command goes out when the next state comes in, so that each period of the controller finds
//! exactly one new command, whatever the two clocks do.
//!
//! # What torque means
//! The arm has brakes, and a controller that holds it whenever it is powered. *Torque on* is: our program runs, follows us
//! and began where the arm is. *Torque off* is: it does not, and the controller holds the arm by itself. Power, brakes and
//! protective stops are the operator's, by verbs of their own ([`bench`]); nothing here does any of it by itself.
//!
//! Read straight down: [`model`] (joints, limits), [`modes`] (what the controller says of itself), [`rtde`] (frames),
//! [`recipe`] (variables), [`program`], [`dashboard`], [`connection`] (one RTDE session), [`link`] (the thread that keeps
//! one), [`follow`] (what to make of a state; pure), [`device`] (the arm in service), [`bench`] (an arm at rest).
#![forbid(unsafe_code)]

pub mod bench;
pub mod connection;
pub mod dashboard;
pub mod device;
pub mod error;
pub mod follow;
pub mod link;
pub mod model;
pub mod modes;
pub mod program;
pub mod recipe;
pub mod rtde;

pub use bench::Bench;
pub use connection::Host;
pub use device::{UrArm, UrSpec};
pub use error::UrError;
pub use model::Model;
