//! Opening graphs: one provider for all of them, said aloud; a stated number of threads; no spinning.
//!
//! "CUDA is available" means only that a library was compiled with it. What counts is whether registering it and
//! creating a session succeed, and either can fail: libraries missing, no driver, no device. So all graphs are tried
//! on CUDA, and at the first failure there is one warning and all of them are opened on the CPU instead. Graphs that
//! share buffers are never split between providers.

use std::path::{Path, PathBuf};

use ort::{
    ep::ExecutionProvider,
    session::{
        Session as OrtSession,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};
use tactus_bundle::Graph;

use crate::{error::OnnxError, library::OnnxRuntime, signature::TensorSpec};

/// What executes the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl Provider {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// How graphs are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Provider to try first.
    pub provider: Provider,
    /// Whether another provider than that is an error. Otherwise the CPU is the fallback, with one warning.
    pub required: bool,
    /// Threads of one operator, 1 or more. ONNX Runtime's 0, "all cores", is refused.
    pub intra_threads: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            provider: Provider::Cpu,
            required: false,
            intra_threads: 1,
        }
    }
}

/// An open graph.
#[derive(Debug)]
pub struct Session {
    graph: Graph,
    provider: Provider,
    pub(crate) session: OrtSession,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

impl Session {
    /// Which graph this is.
    pub fn graph(&self) -> Graph {
        self.graph
    }

    /// Provider that runs it.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Its inputs.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// Its outputs.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }
}

/// Graphs that were opened together.
#[derive(Debug)]
pub struct Sessions {
    /// The sessions, in the order they were asked for.
    pub sessions: Vec<Session>,
    /// Provider that runs all of them.
    pub provider: Provider,
}

/// Opens every graph of `files` on one provider.
///
/// # Errors
/// [`OnnxError::Threads`] for no thread; [`OnnxError::Open`] when a graph cannot be opened on the CPU either, or not on
/// the required provider.
pub fn open_all(
    runtime: &OnnxRuntime,
    files: &[(Graph, PathBuf)],
    options: SessionOptions,
) -> Result<Sessions, OnnxError> {
    if options.intra_threads == 0 {
        return Err(OnnxError::Threads { actual: 0 });
    }
    let open_on = |provider: Provider| {
        files
            .iter()
            .map(|(graph, file)| open(runtime, *graph, file, provider, options.intra_threads))
            .collect::<Result<Vec<_>, _>>()
            .map(|sessions| Sessions { sessions, provider })
    };
    match options.provider {
        Provider::Cpu => open_on(Provider::Cpu),
        Provider::Cuda => open_on(Provider::Cuda).or_else(|error| match options.required {
            true => Err(error),
            false => {
                tracing::warn!("CUDA cannot be used, all graphs run on the CPU instead: {error}");
                open_on(Provider::Cpu)
            }
        }),
    }
}

fn open(
    runtime: &OnnxRuntime,
    graph: Graph,
    file: &Path,
    provider: Provider,
    intra_threads: usize,
) -> Result<Session, OnnxError> {
    let error = |reason: String| OnnxError::Open {
        graph: graph.name(),
        file: file.to_path_buf(),
        provider: provider.name(),
        reason,
    };
    let mut builder = builder(runtime, intra_threads).map_err(&error)?;
    if provider == Provider::Cuda {
        // Registered by hand: the builder's own way logs a failure and carries on.
        ort::ep::CUDA::default()
            .register(&mut builder)
            .map_err(|e| error(e.to_string()))?;
    }
    let session = builder
        .commit_from_file(file)
        .map_err(|e| error(e.to_string()))?;
    Ok(Session {
        graph,
        provider,
        inputs: session.inputs().iter().map(TensorSpec::of).collect(),
        outputs: session.outputs().iter().map(TensorSpec::of).collect(),
        session,
    })
}

/// A builder with our options. The error is a text because `ort`'s carries the builder, which cannot be sent.
pub(crate) fn builder(
    runtime: &OnnxRuntime,
    intra_threads: usize,
) -> Result<SessionBuilder, String> {
    OrtSession::builder(runtime.environment())
        .map_err(|e| e.to_string())?
        .with_intra_threads(intra_threads)
        .map_err(|e| e.to_string())?
        .with_inter_threads(1)
        .map_err(|e| e.to_string())?
        .with_intra_op_spinning(false)
        .map_err(|e| e.to_string())?
        .with_inter_op_spinning(false)
        .map_err(|e| e.to_string())?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|e| e.to_string())
}
