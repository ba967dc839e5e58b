//! Why an arm cannot be used: one sentence each, with the host's name and what to do.

use std::io;

use tactus_drivers_api::lock::Holder;

use crate::model::Misfit;

/// Why an arm cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrankaError {
    /// Nobody knows the host.
    #[error("host `{host}`: {reason}: is the name right? an IP address does too")]
    Resolve {
        /// What was asked for.
        host: String,
        /// What the system said.
        reason: io::Error,
    },
    /// Nobody is there.
    #[error("host {host}: nobody answers: {reason}: is the controller on, and this its address?")]
    Unreachable {
        /// The host.
        host: String,
        /// libfranka's word.
        reason: String,
    },
    /// Somebody is there and does not want to.
    #[error(
        "host {host}: the connection is refused: is FCI activated in Desk, and does no other client hold the control?"
    )]
    Inactive {
        /// The host.
        host: String,
    },
    /// Somebody accepts and says nothing.
    #[error(
        "host {host}: no answer within {secs} s: another client holds the control, or this is no FCI"
    )]
    Occupied {
        /// The host.
        host: String,
        /// For how long it was waited.
        secs: u64,
    },
    /// Another generation of controllers.
    #[error(
        "host {host}: the robot speaks FCI version {actual}, expected {expected} (Franka Research 3, system 5.9 or later)"
    )]
    Version {
        /// The host.
        host: String,
        /// What is spoken here.
        expected: u16,
        /// The robot's.
        actual: u16,
    },
    /// Another arm.
    #[error(
        "host {host}: the robot calls itself `{actual}`, expected an {expected}: device.model or device.host is wrong"
    )]
    Model {
        /// The host.
        host: String,
        /// The cell's.
        expected: &'static str,
        /// The robot's word.
        actual: String,
    },
    /// An arm with other limits.
    #[error("host {host}: the robot's limits are not those of an FR3: {reason}")]
    Limits {
        /// The host.
        host: String,
        /// The first that is not.
        reason: Misfit,
    },
    /// The controller does not do what is asked of it.
    #[error("host {host}: {reason}")]
    Fci {
        /// The host.
        host: String,
        /// Its words.
        reason: String,
    },
    /// The Hand does not do what is asked of it, or there is none.
    #[error("host {host}: Franka Hand: {reason}")]
    Hand {
        /// The host, with the Hand's port.
        host: String,
        /// The controller's words.
        reason: String,
    },
    /// No node is reached.
    #[error("franka-node at {endpoint}: {reason}: does it run, and listen there?")]
    NodeUnreachable {
        /// Where it should be.
        endpoint: String,
        /// The network's words.
        reason: String,
    },
    /// Somebody is reached, and the arm is not there.
    #[error(
        "franka-node at {endpoint}: no state of the arm `{arm}` within {secs} s{}: is that its name in the node's configuration?",
        heard.as_ref().map(|heard| format!(" (but {heard})")).unwrap_or_default()
    )]
    NodeSilent {
        /// The node.
        endpoint: String,
        /// The arm.
        arm: String,
        /// For how long it was waited.
        secs: u64,
        /// What came instead.
        heard: Option<String>,
    },
    /// The node does not do what is asked of it.
    #[error("franka-node at {endpoint}: `{verb}` of the arm `{arm}`: {reason}")]
    NodeRefused {
        /// The node.
        endpoint: String,
        /// The arm.
        arm: String,
        /// What was asked.
        verb: &'static str,
        /// The node's words.
        reason: String,
    },
    /// It has an owner.
    #[error("host {host}: the robot is in use by {holder}: an arm has one owner")]
    Busy {
        /// The host.
        host: String,
        /// Its owner.
        holder: Holder,
    },
    /// Operators cannot be listened to.
    #[error("socket {path}: {reason}")]
    Socket {
        /// Its file.
        path: String,
        /// What the system said.
        reason: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        reason: io::Error,
    },
}
