//! How much later one thing happens than another: a joint than its command, a picture than the light.
//!
//! Decides from time series and instants, and reads no clock. Does not decide what is moved or lit, nor what the result is
//! used for.
//!
//! - [`lag`]: by how much one series of numbers follows another, by cross-correlation.
//! - [`edges`]: how long after each change of a light the pictures show it, by the pictures on both sides of the change.
#![forbid(unsafe_code)]

pub mod edges;
pub mod lag;

pub use edges::{EdgeError, Edges, edges};
pub use lag::{Lag, LagError, Sampled, lag};
