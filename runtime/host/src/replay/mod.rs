//! A recording decided again, by the live code: what a policy infers from the recorded observations, what the control loop
//! decides from the recorded ticks, and what of both differs.
//!
//! - [`control`]: scheduler, supervisor, limiter, tick by tick; equal bit for bit or not.
//! - [`observed`]: what is behind each chunk.
//! - [`inference`]: chunk by chunk; equal bit for bit, or by how much not.
//!
//! Decides nothing about the arm, and moves none: there is no driver here. Both go through a file once, in its order, and
//! keep no more of it than they need.

pub mod control;
pub mod inference;
pub mod observed;

pub use control::{Control, ControlReport};
pub use inference::{ChunkReport, Inference, InferenceReport};
pub use observed::{Behind, Observed};
