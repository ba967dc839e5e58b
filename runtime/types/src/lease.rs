//! Command authority: who may begin motion on an arm. What follows from it is decided in `tactus-control`.
//!
//! Its number is no secret on the wire: a lease is worth something only from whom it was given to.

use std::sync::Arc;

use crate::Time;

/// What a holder commands for. A higher rank takes a lease over from a lower one; the order is that of the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Episodes of a policy, and whoever starts and ends them.
    Policy,
    /// A program of another system that commands the arm, as over ROS 2: over a policy, under a human.
    Outside,
    /// A human who commands the arm.
    Teleop,
}

impl Rank {
    /// One word, for display.
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Outside => "outside",
            Self::Teleop => "teleop",
        }
    }
}

/// Number of a lease: unique among all leases of all boots of an arm host, with high probability. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u64);

/// What a command says of the lease it is given under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Under {
    /// The lease.
    pub lease: LeaseId,
    /// Grows strictly from command to command under one lease.
    pub sequence: u64,
    /// The motion that the command begins ends with the lease: if the holder dies, the arm holds. Without it the motion
    /// goes on unattended, which has to be wanted.
    pub bound: bool,
}

/// A lease as everyone may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Who holds it: the name that it gave itself.
    pub holder: Arc<str>,
    /// What for.
    pub rank: Rank,
    /// When it ends unless it is renewed.
    pub expires: Time,
}

/// How a lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEnd {
    /// It was not renewed in time.
    Expired,
    /// Its holder gave it back.
    Released,
    /// A higher rank took it over.
    TakenOver {
        /// Who.
        by: Arc<str>,
    },
}

impl std::fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired => write!(f, "expired"),
            Self::Released => write!(f, "was given back"),
            Self::TakenOver { by } => write!(f, "was taken over by `{by}`"),
        }
    }
}
