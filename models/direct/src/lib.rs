//! The `direct` family: one ONNX graph from pictures and state to a chunk, whoever exported it.
//!
//! Decides how an observation becomes the graph's inputs as its bundle declares them, what its output means as a chunk, and
//! ([`wrap`]) what a graph that comes without any declaration takes and makes. Does not decide when to infer, or whether
//! an action may be executed; what actions mean, and normalisation, are the VLA family's code.
//!
//! The modules read as the path:
//! - [`bilinear`]: pixels to another size.
//! - [`picture`]: a camera's frame to the numbers of an input.
//! - [`past`]: observations before the present one.
//! - [`graph`]: the graph over bound buffers.
//! - [`policy`]: [`DirectPolicy`], all of it together.
//! - [`probe`]: what a chunk costs.
//! - [`verify`](mod@verify): the same path against golden tensors.
//! - [`wrap`]: from an ONNX file to a bundle.
#![forbid(unsafe_code)]

pub mod bilinear;
pub mod graph;
pub mod past;
pub mod picture;
pub mod policy;
pub mod probe;
pub mod verify;
pub mod wrap;

pub use policy::DirectPolicy;
pub use probe::measure;
pub use verify::verify;
