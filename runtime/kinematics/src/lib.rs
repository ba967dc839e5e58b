//! Geometry of one arm: where its links are, which joints reach a pose, how near it is to itself.
//!
//! Read in data order:
//! - [`urdf`]: what is read of a robot's description, and what is refused by name.
//! - [`chain`]: [`Chain`], the joints between two links: forward kinematics, frames of the links.
//! - [`jacobian`]: [`Jacobian`] and how near to a singularity it is.
//! - [`inverse`]: [`Inverse`], from a tip pose to joints by damped least squares.
//! - [`rotation`]: [`RotationFormat`], the numbers in which policies write a rotation.
//! - [`capsule`], [`collide`]: [`SelfCollision`], the distance of an arm from itself; [`workspace`]: [`WorkspaceBox`].
//!
//! What is not here: limits of speed and whose setpoint counts (`tactus-control`), dynamics, planning, meshes.
//!
//! Terms. *Base frame* B, *tip frame* T: the frames of the two links that a chain is made between; `X_BT` is the pose of
//! T in B. *Body*: what one joint of the chain moves, together with all that is fixed to it; body 0 is fixed to the base.
//! *The arm's order*: the order of joints in every [`JointVec`](tactus_types::JointVec), which the arm's driver gives and
//! which need not be the order along the chain. Units: m, rad; a prismatic joint's value is in m.
//!
//! Everything is checked when it is made. What a control thread calls afterwards ([`Chain::forward`],
//! [`Chain::jacobian`], [`Inverse::follow`], [`SelfCollision::nearest`], ...) never allocates and takes bounded time.
#![forbid(unsafe_code)]

pub mod urdf;

pub mod chain;
pub mod jacobian;

pub mod inverse;

pub mod rotation;

pub mod capsule;
pub mod collide;
pub mod workspace;

pub mod error;

pub use capsule::Capsule;
pub use chain::{Chain, Frames};
pub use collide::{Distances, LeftOut, LeftOutBecause, MAX_SHAPES, Nearest, Placed, SelfCollision};
pub use error::KinematicsError;
pub use inverse::{Followed, Inverse, InverseSpec};
pub use jacobian::Jacobian;
pub use rotation::{RotationError, RotationFormat};
pub use workspace::WorkspaceBox;
