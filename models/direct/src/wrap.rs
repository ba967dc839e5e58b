//! From an ONNX file that anybody exported to a bundle: what its inputs and output mean is read out of names, ranks, shapes and
//! statistics where that is certain, and asked for where it is not.
//!
//! Decides what counts as certain ([`infer`]), and that no bundle is left behind that does not open and make a chunk
//! ([`write`](mod@write)). Does not talk to anybody: what it cannot know it returns as questions, whose answers are lines of a
//! map ([`map`]).
//!
//! - [`onnx`]: what a file says of itself before ONNX Runtime sees it.
//! - [`stats`]: statistics as LeRobot and others write them.
//! - [`package`]: `policy_package` folders.
//! - [`map`]: what a user says.
//! - [`infer`]: all of it to a mapping, or to questions.
//! - [`write`](mod@write): a mapping to a bundle.

pub mod infer;
pub mod map;
pub mod onnx;
pub mod package;
pub mod stats;
pub mod write;

use std::path::PathBuf;

pub use infer::{Known, Mapping, Question, Resolved, infer};
pub use map::Map;
pub use onnx::Scan;
pub use package::Package;
pub use stats::FeatureStats;
pub use write::{Contents, write};

/// Why a graph cannot be wrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: expected {expected}, got {actual}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// Something of the map, or of the graph under it, does not fit.
    #[error("{field}: expected {expected}, got {actual}")]
    Field {
        /// Which: an input, the output, a field of the map or of a manifest.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// What was made does not open, or makes no chunk.
    #[error(transparent)]
    Policy(#[from] tactus_vla::VlaError),
    /// ONNX Runtime does not take the graph.
    #[error(transparent)]
    Onnx(#[from] tactus_onnx::OnnxError),
}

impl WrapError {
    pub(crate) fn field(
        field: impl Into<String>,
        expected: impl Into<String>,
        actual: impl std::fmt::Display,
    ) -> Self {
        Self::Field {
            field: field.into(),
            expected: expected.into(),
            actual: actual.to_string(),
        }
    }
}
