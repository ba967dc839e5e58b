//! Why something of ROS 2 cannot be used.

use tactus_drivers_api::lock::Holder;
use tactus_drivers_api::wire::SessionError;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RosError {
    /// A name that ROS 2 does not take.
    #[error("expected {expected}, got `{actual}`")]
    Name {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// Bytes that are not a message of the type.
    #[error("{ty}: {reason}")]
    Bytes {
        /// Name of the type.
        ty: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The network cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nothing came within the time.
    #[error(
        "`{topic}`: nothing came within {within_millis} ms; is the node up, in domain {domain}, on RMW rmw_zenoh_cpp?"
    )]
    Silent {
        /// The topic.
        topic: String,
        /// The domain.
        domain: u8,
        /// How long.
        within_millis: u128,
    },
    /// The joints are not the cell's.
    #[error("`{topic}`: expected the joints {expected}, each once; {actual}")]
    Joints {
        /// The topic.
        topic: String,
        /// The cell's.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// Another process of this machine has the arm.
    #[error("the arm of `{topic}` is served already, by {holder}")]
    Busy {
        /// Where the arm says its joints.
        topic: String,
        /// Who has it.
        holder: Holder,
    },
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        reason: String,
    },
}
