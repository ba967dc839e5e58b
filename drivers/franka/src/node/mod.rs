//! An FR3 behind [`franka-node`](https://crates.io/crates/franka-node): a process on the robot's own host that holds FCI's
//! millisecond and takes joint targets over Zenoh. This is its client; the millisecond is not ours then.
//!
//! # How the arm is led
//! A Zenoh session of its own goes to the node's endpoint. The client declares its liveliness token and acquires the arm; the
//! node frees it when the token ends, which it does with this process or its link. Only an operator's
//! enabling starts the node's *joints session*: its impedance law follows what a generator of its own makes of the targets,
//! inside `joint_budget_fraction` of the limits. Targets go out once per tick of the device, walked from the last one that the
//! node accepted ([`pace`]), so that its gate on steps is never met. It is the node that holds the arm when they stop: after
//! `stop_after_ms` it ends the session where the arm is.
//!
//! # What torque means
//! *Torque on* is: the node's joints session runs, and is ours. *Torque off* is: it does not, and the controller holds the
//! arm. Whatever else the node reports (its session stopped, faulted, another holder, targets that it refuses until it holds,
//! silence) ends following by name; recovery is the operator's ([`bench`]).
//!
//! What the node does not say: which robot it serves, and how its gates are set. The cell file repeats them ([`Gates`]).
//!
//! Read straight down: [`wire`] (bytes), [`watch`] (what a state means; pure), [`pace`] (targets; pure), [`inbox`] (what came),
//! [`link`] (the thread), [`network`] (the keys on Zenoh), [`bench`] (an arm at rest). The device is [`crate::device`]'s.

pub mod bench;
pub mod inbox;
pub mod link;
pub mod network;
pub mod pace;
pub mod watch;
pub mod wire;

use crate::model::JOINTS;

pub use bench::NodeBench;
pub use inbox::Inbox;
pub use link::{NodeArm, Wire};
pub use pace::Gates;

/// Where a node's arm is, and how it is served.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// The node's Zenoh endpoint, for example `tcp/192.168.1.10:7447`.
    pub endpoint: String,
    /// What the node calls the arm: letters, digits, `_` and `-`.
    pub arm: String,
    /// States and targets per second; one of [`RATES_HZ`].
    pub rate_hz: u32,
    /// What the node permits.
    pub gates: Gates,
}

/// States and targets per second that the device may have: the node's own gate takes 250 targets a second.
pub const RATES_HZ: [u32; 4] = [50, 100, 125, 200];

/// Joint positions or velocities.
pub(crate) type Joints = [f64; JOINTS];
