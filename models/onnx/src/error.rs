//! Every way ONNX Runtime can be missing, unfit or failing.

use std::path::PathBuf;

/// What went wrong, with what was expected and found.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The library is nowhere.
    #[error(
        "libonnxruntime.so was not found: looked for {}; `./launch/setup` places it in third_party/onnxruntime",
        list(searched)
    )]
    LibraryNotFound {
        /// Every path that was tried.
        searched: Vec<PathBuf>,
    },
    /// There is a file, but it is not an ONNX Runtime that can be loaded.
    #[error("{}: cannot be loaded as ONNX Runtime: {reason}", path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The library is too old.
    #[error("{}: expected ONNX Runtime {expected} or newer, got {actual}", path.display())]
    LibraryVersion {
        /// The file.
        path: PathBuf,
        /// Lowest version that would do.
        expected: String,
        /// Version of the file.
        actual: String,
    },
    /// A process can load one ONNX Runtime only, and has loaded another.
    #[error(
        "{}: this process has already loaded ONNX Runtime from {}: expected one library per process",
        asked.display(), loaded.display()
    )]
    AlreadyLoaded {
        /// The library in use.
        loaded: PathBuf,
        /// The library that was asked for.
        asked: PathBuf,
    },
    /// The library was loaded but would not start.
    #[error("{}: ONNX Runtime did not start: {reason}", path.display())]
    Environment {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// No thread, or ONNX Runtime's "0 = all cores", which must never happen beside a control loop.
    #[error("intra-op threads: expected 1 or more, got {actual}")]
    Threads {
        /// What was asked for.
        actual: usize,
    },
    /// A graph could not be opened.
    #[error("graph `{graph}` ({}): cannot be opened on provider `{provider}`: {reason}", file.display())]
    Open {
        /// Name of the graph.
        graph: &'static str,
        /// ONNX file.
        file: PathBuf,
        /// Provider that was tried last.
        provider: &'static str,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// A graph's precision does not exist on the provider.
    #[error(
        "graph `{graph}`: expected provider `cuda` for precision `bf16`, got `cpu`: ONNX Runtime has no such \
         arithmetic on a CPU; export the bundle with fp16 or fp32 for a host without a GPU"
    )]
    Precision {
        /// Name of the graph.
        graph: &'static str,
    },
    /// A graph's tensor is not what the bundle says.
    #[error("graph `{graph}`: {side} `{tensor}`: expected {expected}, got {actual}")]
    Tensor {
        /// Name of the graph.
        graph: &'static str,
        /// `input` or `output`.
        side: &'static str,
        /// Name of the tensor.
        tensor: String,
        /// Type and shape, or presence, that was expected.
        expected: String,
        /// What the graph has.
        actual: String,
    },
    /// A buffer could not be made, bound, read or written.
    #[error("graph `{graph}`: buffer `{tensor}`: {reason}")]
    Buffer {
        /// Name of the graph.
        graph: &'static str,
        /// Name of the tensor.
        tensor: String,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// A run failed.
    #[error("graph `{graph}`: run failed: {reason}")]
    Run {
        /// Name of the graph.
        graph: &'static str,
        /// What ONNX Runtime said.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
