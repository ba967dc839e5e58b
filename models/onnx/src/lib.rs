//! ONNX Runtime as the rest of Tactus sees it: a library that is found or clearly missing, sessions with a stated
//! provider and thread count, and runs over bound, preallocated buffers.
//!
//! Decides where the library is looked for, which provider really runs the graphs, and whether a graph has the
//! tensors it should have. Does not decide which graphs there are, what they mean, or in which order they run
//! (`tactus-vla` does). No type of `ort` appears in this crate's interface.
//!
//! Read in order of use:
//! - [`error`]: every way this can fail.
//! - [`library`]: [`OnnxRuntime`], the loaded library.
//! - `device`: the one stream of a process on a GPU, and [`Laps`] of what runs in it.
//! - `trial`: whether that GPU computes at all.
//! - [`session`]: [`Session`]; opening all graphs of a bundle on one [`Provider`].
//! - [`signature`]: names, types and shapes of a graph's tensors, and their check.
//! - [`bind`]: [`Buffer`], [`Binding`] and the run.
//! - [`cache`]: what one run of a graph leaves to its next.
//! - [`ceiling`]: what the machine does at best, for benchmarks.

pub mod bind;
pub mod cache;
pub mod ceiling;
mod device;
pub mod error;
pub mod library;
pub mod session;
pub mod signature;
mod trial;

pub use bind::{Binding, Buffer, Place, Scalar};
pub use cache::Cache;
pub use ceiling::Ceiling;
pub use device::Laps;
pub use error::OnnxError;
pub use library::OnnxRuntime;
pub use session::{Provider, Session, SessionOptions, Sessions, after_failed_run, open_all};
pub use signature::{Dim, Element, Side, TensorSpec, check_tensors};
