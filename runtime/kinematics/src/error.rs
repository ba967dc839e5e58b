//! Why a description of an arm cannot be used. Decides the words only; every error names the element that is at fault.

/// What is wrong with a robot's description or with what was asked of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KinematicsError {
    /// Not a URDF at all.
    #[error("URDF: expected a robot description, got one that cannot be read: {reason}")]
    Unreadable {
        /// What the parser said.
        reason: String,
    },
    /// A link that was asked for does not exist.
    #[error("URDF: link `{link}`: expected one of {known}, which is all there are")]
    UnknownLink {
        /// The name asked for.
        link: String,
        /// The links there are.
        known: String,
    },
    /// The tip is not reached from the base.
    #[error("URDF: link `{tip}`: expected a link below `{base}`, got one below `{root}`")]
    NotBelow {
        /// Link that should be the tip.
        tip: String,
        /// Link that should be above it.
        base: String,
        /// The topmost link above the tip.
        root: String,
    },
    /// A joint that moves the chain is not one of the arm's.
    #[error("URDF: joint `{joint}` moves the chain: expected it among the arm's joints, got {arm}")]
    JointMissing {
        /// Joint of the chain.
        joint: String,
        /// The arm's joints.
        arm: String,
    },
    /// One of the arm's joints does not move the chain.
    #[error("joint `{joint}`: expected a movable joint between `{base}` and `{tip}`, got {actual}")]
    JointNotInChain {
        /// Joint of the arm.
        joint: String,
        /// First link of the chain.
        base: String,
        /// Last link of the chain.
        tip: String,
        /// What it is instead.
        actual: String,
    },
    /// A value of one element cannot be used.
    #[error("URDF: {element}: expected {expected}, got {actual}")]
    Element {
        /// The element, for example "joint `elbow`, limit".
        element: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// A value given in code or by a configuration cannot be used.
    #[error("field `{field}`: expected {expected}, got {actual}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
}
