//! Does what a live cell shows look like what its policy was trained on?
//!
//! Decides, from one joint state and one picture of each camera, which misfit explains them better than a healthy cell
//! does: joints swapped, a sign or a unit wrong, the gripper's sense, a picture mirrored, turned, of another camera, or
//! lit as none in training was. A *reference* holds what that takes: moments of states and pictures of recorded
//! episodes, learnt once, kept in the bundle. Does not decide what follows from a misfit, and reads no wire and no camera.
//!
//! Read in data order:
//! - [`look`]: what a picture is reduced to; [`turn`]: the eight ways to lay it.
//! - [`gauss`] (private): a normal distribution that is learnt from few samples.
//! - [`state`]: where a joint state belongs, and which mistake would explain one that belongs nowhere.
//! - [`picture`]: how likely a picture is where the arm stands.
//! - [`reference`]: all of it, learnt from episodes; [`file`]: as bytes.
//! - [`judge`]: what is wrong with a cell.
#![forbid(unsafe_code)]

pub mod file;
mod gauss;
pub mod judge;
pub mod look;
pub mod picture;
pub mod reference;
pub mod state;
pub mod turn;

pub use file::FileError;
pub use judge::{Live, Misfit, judge};
pub use look::{Light, Look};
pub use reference::{LearnError, Reference, Sample, learn};
