//! Bundles and their language models.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tactus_policies::Provider;

use super::number::{share, temperature};

/// `tactus bundle`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: BundleVerb,
}

/// What can be done with a bundle.
#[derive(Debug, Subcommand)]
pub enum BundleVerb {
    /// Say what a bundle is: model, cameras, prompt, actions, graphs. Checks every hash; runs nothing.
    Inspect {
        /// Bundle directory.
        bundle: PathBuf,
    },
    /// Check hashes and graphs, and replay the golden tensors through the whole path. Exit code 3 when one is off.
    Verify {
        /// Bundle directory.
        bundle: PathBuf,
        /// How graphs are run.
        #[command(flatten)]
        run: GraphArgs,
        /// Write the comparisons to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Write a copy whose weights carry noise: a policy that is known to be worse, to try an evaluation on. Its golden tensors
    /// no longer fit, and `verify` says so.
    Degrade {
        /// Bundle directory.
        bundle: PathBuf,
        /// Directory to write; must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Each weight is multiplied by 1 plus a normal number of this standard deviation, above 0 to 10.
        #[arg(long, value_name = "SIGMA")]
        noise: f64,
        /// Seed of the noise.
        #[arg(long, value_name = "S", default_value_t = 1)]
        seed: u64,
    },
    /// Write a copy that also knows what joint states and pictures were like in recorded episodes, so that `tactus doctor` and
    /// `tactus run` can say what of a cell is not as it was: joints swapped, a picture mirrored.
    Reference {
        /// Bundle directory.
        bundle: PathBuf,
        /// Recordings of episodes as the policy was trained on, or of its own that went well.
        #[arg(required = true, value_name = "FILE.mcap")]
        recordings: Vec<PathBuf>,
        /// Directory to write; must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Instants of each episode that count, its first among them.
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
        each: u16,
    },
    /// Make a bundle of an ONNX file that anybody exported (ACT, Diffusion Policy, ..), or of a `policy_package` folder: one
    /// graph from pictures and state to a chunk.
    ///
    /// What its inputs and output mean is inferred from names, shapes and statistics where that is certain, asked at a terminal
    /// where it is not, and otherwise said by --map and --set. The bundle is opened and run once before it is put there. See
    /// models/direct/README.md.
    Wrap(WrapArgs),
    /// Vouch for a bundle: write a signature over its id beside its manifest. A cell with `bundle_signers` lets only bundles act
    /// that one of those keys signed.
    Sign {
        /// Bundle directory.
        bundle: PathBuf,
        /// Private key, as `tactus keys signer` makes it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Measure what a chunk costs, stage by stage, beside what the machine does at best.
    Bench {
        /// Bundle directory.
        bundle: PathBuf,
        /// How graphs are run.
        #[command(flatten)]
        run: GraphArgs,
        /// Chunks to measure, after a few that do not count.
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        chunks: u32,
        /// Write the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// `tactus bundle wrap`.
#[derive(Debug, Args)]
pub struct WrapArgs {
    /// ONNX file, or folder of a `policy_package` (manifest.json).
    pub file: PathBuf,
    /// Directory to write; must not exist.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What is said of the graph: a TOML file, every field of which may be left out.
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// A line of such a file, for example 'period_s = 0.05'. May be repeated; later ones count.
    #[arg(long, value_name = "LINE")]
    pub set: Vec<String>,
    /// Statistics of the training data: LeRobot's stats.json, or a stats.safetensors.
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Cell that it shall run in: names and sizes of cameras, joints of a simulated arm.
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// Golden case that goes into the bundle, for `bundle verify`. May be repeated.
    #[arg(long, value_name = "FILE.safetensors")]
    pub golden: Vec<PathBuf>,
    /// How graphs are run.
    #[command(flatten)]
    pub run: GraphArgs,
}

/// How the graphs of a bundle are run outside a cell.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// Provider to try first; CUDA is the fallback of TensorRT and the CPU that of CUDA, with a warning.
    #[arg(long, value_enum, default_value_t = ProviderWord::Cpu)]
    pub provider: ProviderWord,
    /// Fail where CUDA does not work, instead of falling back to the CPU. Implies --provider cuda.
    #[arg(long)]
    pub require_cuda: bool,
    /// Threads of one operator.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// ONNX Runtime library, instead of third_party/onnxruntime/libonnxruntime.so, or onnxruntime-gpu/ there for a GPU.
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

/// Execution providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProviderWord {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An NVIDIA GPU, through engines that TensorRT builds of the graphs the first time, which takes minutes; what it does
    /// not take runs on CUDA.
    Tensorrt,
}

impl GraphArgs {
    /// Provider to try first.
    pub fn provider(&self) -> Provider {
        match (self.provider, self.require_cuda) {
            (ProviderWord::Cpu, false) => Provider::Cpu,
            (ProviderWord::Cpu, true) | (ProviderWord::Cuda, _) => Provider::Cuda,
            (ProviderWord::Tensorrt, _) => Provider::TensorRt,
        }
    }
}

/// `tactus ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Bundle directory with a decoder.
    pub bundle: PathBuf,
    /// A JPEG picture; several are given one by one, in the order in which the model sees them.
    #[arg(long, value_name = "FILE.jpg", required = true)]
    pub image: Vec<PathBuf>,
    /// What is asked; it stands where a policy's instruction stands, as it is.
    pub question: String,
    /// Draw tokens instead of taking the best.
    #[arg(long)]
    pub sample: bool,
    /// Seed of what is drawn.
    #[arg(long, value_name = "S", default_value_t = 0, requires = "sample")]
    pub seed: u64,
    /// Below 1 the better tokens gain, above 1 the worse.
    #[arg(long, value_name = "T", default_value_t = 0.7, requires = "sample", value_parser = temperature)]
    pub temperature: f32,
    /// Only so many of the best are drawn from.
    #[arg(long, value_name = "N", default_value_t = 50, requires = "sample", value_parser = clap::value_parser!(u64).range(1..))]
    pub top_k: u64,
    /// Only those that are needed for this share are drawn from.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, requires = "sample", value_parser = share)]
    pub top_p: f32,
    /// Most tokens.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_tokens: u32,
    /// Stop after this text; several are given one by one.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// What runs it.
    #[command(flatten)]
    pub run: GraphArgs,
}
