//! Has a camera moved, and has its light changed, since a picture of the scene was kept?
//!
//! Decides from two pictures of the same camera. What moved in the scene itself (the arm, what lies about) is told from the
//! camera's own motion by what most of the picture agrees on. Does not decide how much is too much.
//!
//! - [`grey`]: pictures as levels, made smaller.
//! - [`patch`]: which parts of a picture can be found again, and where they are in the other one.
//! - [`drift`]: what their motions have in common.
#![forbid(unsafe_code)]

pub mod drift;
pub mod grey;
pub mod patch;

pub use drift::{Drift, DriftError, drift};
pub use grey::{Grey, LightDrift, light_drift};
