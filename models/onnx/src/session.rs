//! Opening graphs: one provider for all of them, said aloud; a stated number of threads; no spinning.
//!
//! "CUDA is available" means only that a library was compiled with it. What counts is whether registering it and
//! creating a session succeed and a product can be made, and each can fail: libraries missing, no driver, no device, a
//! device too old. So all graphs are tried on CUDA, and at the first failure there is one warning and all of them are
//! opened on the CPU instead. Graphs that share buffers are never split between providers. TensorRT is tried the same way,
//! and CUDA after it.
//!
//! On CUDA a graph is opened so that its runs can be captured: the first run of a binding records what ONNX Runtime puts
//! into the stream, and every later one puts all of it there at once. ONNX Runtime refuses that for a graph of which a
//! node runs on the CPU; such a graph is opened without, which is slower and said aloud. A wrapped graph is opened without in
//! any case.
//!
//! TensorFloat-32 is off: its ten bits are about 1e-3, and a single-precision graph may differ from PyTorch by 1e-4. Norms
//! that add are asked to sum in single precision: older ONNX Runtimes do not by themselves.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::AtomicU32},
};

use ort::{
    ep::{CUDA, ExecutionProvider, TensorRT},
    logging::LogLevel,
    session::{
        Session as OrtSession,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};
use tactus_bundle::Graph;

use crate::{
    device::{Laps, Stream, calm, one_line},
    error::OnnxError,
    library::OnnxRuntime,
    signature::TensorSpec,
    trial::computes,
};

/// What executes the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An NVIDIA GPU, through engines that TensorRT builds of the graphs; what it does not take runs on CUDA.
    TensorRt,
}

impl Provider {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }

    /// What is tried where this one does not work.
    fn next(self) -> Option<Self> {
        match self {
            Self::Cpu => None,
            Self::Cuda => Some(Self::Cpu),
            Self::TensorRt => Some(Self::Cuda),
        }
    }
}

/// How graphs are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Provider to try first.
    pub provider: Provider,
    /// Whether the CPU instead is an error. Otherwise it is the fallback, with one warning. TensorRT falls back to CUDA
    /// either way.
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
    /// Where copies and runs are put on a device.
    pub(crate) stream: Option<&'static Stream>,
    /// Whether runs are captured.
    pub(crate) captures: bool,
    /// Bindings that were made for it.
    pub(crate) bindings: AtomicU32,
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

    /// Bytes of the device's memory that are taken, by whomever; `None` on the CPU.
    pub fn device_memory_used(&self) -> Option<u64> {
        self.stream.and_then(Stream::memory_used)
    }

    /// So many points of time on the device; `None` on the CPU, where a run is over when it returns.
    ///
    /// # Errors
    /// [`OnnxError::Run`] when the device has none left.
    pub fn laps(&self, points: usize) -> Result<Option<Laps>, OnnxError> {
        let laps = self.stream.map(|stream| Laps::new(stream, points));
        laps.transpose().map_err(|reason| OnnxError::Run {
            graph: self.graph.name(),
            reason,
        })
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
    let mut provider = options.provider;
    let mut reasons: Vec<String> = Vec::new();
    loop {
        let opened = open_on(runtime, files, provider, options.intra_threads);
        let (error, next) = match (opened, provider.next()) {
            (Ok(sessions), _) => {
                if provider != options.provider {
                    warn_once(options.provider, provider, reasons.join("; "));
                }
                return Ok(Sessions { sessions, provider });
            }
            (Err(error), Some(next)) => (error, next),
            (Err(error), None) => return Err(error),
        };
        if next == Provider::Cpu && options.required {
            return Err(error);
        }
        let reason = match &error {
            OnnxError::Open { reason, .. } => one_line(reason).to_owned(),
            other => other.to_string(),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
        provider = next;
    }
}

/// What stands in for the provider on which a graph was opened and did not run, as one with convolutions does not where
/// cuDNN is missing: the CPU, with the one warning. `None` where there is nothing to fall back to, or it is not wanted.
pub fn after_failed_run(
    (ran_on, options): (Provider, SessionOptions),
    error: &OnnxError,
) -> Option<SessionOptions> {
    if ran_on == Provider::Cpu || options.required {
        return None;
    }
    let reason = match error {
        OnnxError::Run { reason, .. } => one_line(reason).to_owned(),
        other => other.to_string(),
    };
    warn_once(options.provider, Provider::Cpu, reason);
    Some(SessionOptions {
        provider: Provider::Cpu,
        ..options
    })
}

/// Says why `used` runs the graphs in the place of `wanted`; the same reason is said once in a process, which opens a policy
/// and its words one after the other.
fn warn_once(wanted: Provider, used: Provider, reason: String) {
    static SAID: Mutex<String> = Mutex::new(String::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if *said != reason {
        let (wanted, used) = (wanted.name(), used.name());
        tracing::warn!("{wanted} cannot be used, all graphs run on {used} instead: {reason}");
        *said = reason;
    }
}

/// Opens every graph on `provider`, on a device in one stream.
fn open_on(
    runtime: &OnnxRuntime,
    files: &[(Graph, PathBuf)],
    provider: Provider,
    intra_threads: usize,
) -> Result<Vec<Session>, OnnxError> {
    let stream = match (provider, files.first()) {
        (Provider::Cpu, _) | (_, None) => None,
        (Provider::Cuda | Provider::TensorRt, Some((graph, file))) => {
            let computing = Stream::new(runtime).and_then(|stream| {
                computes(runtime, stream)?;
                Ok(stream)
            });
            let stream = computing.map_err(|reason| OnnxError::Open {
                graph: graph.name(),
                file: file.clone(),
                provider: provider.name(),
                reason,
            })?;
            Some(stream)
        }
    };
    let files = files.iter();
    let open = |(graph, file): &(Graph, PathBuf)| {
        open(runtime, (*graph, file), (provider, stream), intra_threads)
    };
    files.map(open).collect()
}

fn open(
    runtime: &OnnxRuntime,
    (graph, file): (Graph, &Path),
    (provider, stream): (Provider, Option<&'static Stream>),
    intra_threads: usize,
) -> Result<Session, OnnxError> {
    let error = |reason: String| OnnxError::Open {
        graph: graph.name(),
        file: file.to_path_buf(),
        provider: provider.name(),
        reason,
    };
    let commit = |captures: bool| {
        let mut builder = builder(runtime, intra_threads)?;
        if let Some(stream) = stream {
            // What a session without captures will say again, or will not.
            let level = match captures {
                true => LogLevel::Fatal,
                false => LogLevel::Error,
            };
            let leveled = builder.with_log_level(level);
            builder = leveled.map_err(|e| e.to_string())?;
            register(&mut builder, provider, stream, (runtime, captures))?;
        }
        let _calm = stream.map(|_| calm());
        builder.commit_from_file(file).map_err(|e| e.to_string())
    };
    // In a captured run, an operator that hands the device a list (of matrices, of parts) through the host's memory reads it
    // there in every later run, when ONNX Runtime has long given that memory back. Exported graphs have none of those; of a graph
    // that somebody else made nobody knows.
    let mut captures = provider == Provider::Cuda && graph != Graph::Policy;
    let mut session = commit(captures);
    if let (Err(refused), true) = (&session, captures) {
        captures = false;
        let plain = commit(captures);
        if plain.is_ok() {
            let (graph, provider) = (graph.name(), provider.name());
            tracing::warn!(
                "graph `{graph}`: runs on {provider} node by node, which is slower: {refused}"
            );
        }
        session = plain;
    }
    let session = session.map_err(&error)?;
    Ok(Session {
        graph,
        provider,
        stream,
        captures,
        bindings: AtomicU32::new(0),
        inputs: session.inputs().iter().map(TensorSpec::of).collect(),
        outputs: session.outputs().iter().map(TensorSpec::of).collect(),
        session,
    })
}

/// Registers the device's providers by hand: the builder's own way logs a failure and carries on.
pub(crate) fn register(
    builder: &mut SessionBuilder,
    provider: Provider,
    stream: &'static Stream,
    (runtime, captures): (&OnnxRuntime, bool),
) -> Result<(), String> {
    let handle = stream.handle().cast::<()>();
    if provider == Provider::TensorRt {
        // Building an engine takes minutes, so it is kept, beside the library that it is for.
        let folder = runtime.path().with_file_name("tensorrt");
        // SAFETY: the stream lives as long as the process.
        unsafe { TensorRT::default().with_compute_stream(handle) }
            .with_engine_cache(true)
            .with_engine_cache_path(folder.display())
            .with_timing_cache(true)
            .with_timing_cache_path(folder.display())
            .register(builder)
            .map_err(|e| e.to_string())?;
    }
    // SAFETY: as above.
    unsafe { CUDA::default().with_compute_stream(handle) }
        .with_tf32(false)
        .with_skip_layer_norm_strict_mode(true)
        .with_cuda_graph(captures)
        .register(builder)
        .map_err(|e| e.to_string())
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
