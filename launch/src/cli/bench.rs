//! Benchmarks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::camera::TaskWord;
use super::cell::PolicyArgs;
use super::number::{explain_rate, hop, inference};

/// `tactus bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is measured.
    #[command(subcommand)]
    pub verb: BenchVerb,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum BenchVerb {
    /// Success against added latency, for each scheduling strategy, in the simulated cell in lock-step: the same worlds
    /// and the same noise for every strategy. Resumes where it was interrupted.
    Latency(LatencyArgs),
    /// How late the control thread's ticks are here, beside a tokio interval and a Python time.sleep loop at the same rate
    /// (if there is a python3), in turns, under the same load.
    Beat(BeatArgs),
    /// What cameras cost, and how long a frame takes from capture to another process: MJPEG passed through from recorded
    /// buffers of a video device, in a process of their own.
    Cameras(CamerasArgs),
    /// What recording everything costs, whether anything is lost, and how late a control thread beside it is: in turns with
    /// and without the recorder, cameras of 640x480 JPEG and 1 kHz of states, commands and ticks.
    Record(RecordBenchArgs),
    /// What pages on a slow link do to the control loop of the cell that they watch, and to the panel's memory: the simulated
    /// cell with its panel, in turns with and without pages.
    Panel(PanelBenchArgs),
    /// What encryption and access rules cost between a camera's frame and the chunk that is made of it: two processes, in turns
    /// over links in the clear and over those of a cell with keys.
    Keys(KeysBenchArgs),
    /// What the way to a policy and back costs: two raw pictures and a state there, a chunk back, through the OpenPI front end and
    /// through Zenoh, to a policy that costs nothing.
    Openpi(OpenpiBenchArgs),
    /// What explanations beside the policy cost it: the simulated cell in real time, in turns without and with them; inference
    /// and overhead of every chunk.
    Explain(ExplainBenchArgs),
    /// How many arms one engine serves in time, and what more engines behind a router bring: the engine's own scheduler on a
    /// virtual clock, with inferences that take as long as in a recording, or as is modelled.
    Fleet(FleetArgs),
}

/// `tactus bench fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// Arms, from one to so many.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub arms: u16,
    /// Engines behind a router, from one to so many, each asked by one arm more than it serves.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub engines: u16,
    /// What a router adds to the way of every message, ms.
    #[arg(long, value_name = "MS", default_value_t = 0.5, value_parser = hop)]
    pub hop_ms: f64,
    /// Cell file: how often each arm asks, how soon it wants its answer, how often its cameras see. Default: the demo's.
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// A recording of that cell: inferences take as long as in it. May be given again.
    #[arg(long, value_name = "FILE.mcap")]
    pub recording: Vec<PathBuf>,
    /// Inferences take about so long, as on a GPU that does nothing else. May be given again, or as a list.
    #[arg(long, value_name = "MS", value_delimiter = ',', value_parser = inference)]
    pub model_ms: Vec<f64>,
    /// Simulated time of each point, s.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u16).range(2..=3600))]
    pub seconds: u16,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the picture to this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// `tactus bench keys`.
#[derive(Debug, Args)]
pub struct KeysBenchArgs {
    /// Chunks of a turn, 20 a second.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    pub chunks: u16,
    /// Turns of each kind.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub turns: u16,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The other process: answers, in the cell of this file.
    #[arg(long, hide = true, value_name = "FILE")]
    pub be_engine: Option<PathBuf>,
}

/// `tactus bench openpi`.
#[derive(Debug, Args)]
pub struct OpenpiBenchArgs {
    /// Requests of each kind.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    pub requests: u32,
    /// A Python with openpi-client, which is then measured too (./tests/run makes one in target/openpi-venv).
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Be the process behind.
    #[arg(long, hide = true)]
    pub behind: Option<BehindWord>,
    /// Width of its pictures.
    #[arg(long, hide = true, default_value_t = 224)]
    pub width: usize,
    /// Height of its pictures.
    #[arg(long, hide = true, default_value_t = 224)]
    pub height: usize,
    /// Where the other process listens.
    #[arg(long, hide = true)]
    pub endpoint: Option<String>,
}

/// Behind which path a process of `tactus bench openpi` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BehindWord {
    /// A bare socket.
    Floor,
    /// The OpenPI front end.
    Openpi,
    /// The engine's loop on Zenoh.
    Zenoh,
    /// The same, which shares memory with who asks.
    Shared,
}

/// `tactus bench explain`.
#[derive(Debug, Args)]
pub struct ExplainBenchArgs {
    /// Rate of explanations in every second turn.
    #[arg(long, value_name = "HZ", default_value_t = 1.0, value_parser = explain_rate)]
    pub hz: f64,
    /// Seconds of a turn.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=600))]
    pub secs: u16,
    /// Turns of each kind.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub turns: u16,
    /// Cell file, instead of the built-in one (launch/cells/demo.toml).
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `tactus bench panel`.
#[derive(Debug, Args)]
pub struct PanelBenchArgs {
    /// Pages that watch, in every second turn.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub pages: u16,
    /// What each of them reads at most.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(20..=10_000_000))]
    pub bytes_per_sec: u32,
    /// Seconds of a turn.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=600))]
    pub secs: u16,
    /// Turns of each kind.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub turns: u16,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus bench record`.
#[derive(Debug, Args)]
pub struct RecordBenchArgs {
    /// Cameras.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=16))]
    pub cameras: u16,
    /// Frames per second of each.
    #[arg(long, value_name = "HZ", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub rate_hz: u16,
    /// Seconds of a turn.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub secs: u16,
    /// Turns of each kind.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub turns: u16,
    /// Where the recordings lie while it runs. Default: the folder for temporary files.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Be the cell, of the process that asks on stdin.
    #[arg(long, hide = true)]
    pub be_cell: bool,
}

/// `tactus bench cameras`.
#[derive(Debug, Args)]
pub struct CamerasArgs {
    /// Cameras.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub cameras: u16,
    /// Frames per second of each.
    #[arg(long, value_name = "HZ", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub rate_hz: u16,
    /// Width of the frames.
    #[arg(long, value_name = "PIXELS", default_value_t = 640, value_parser = clap::value_parser!(u16).range(16..=4096))]
    pub width: u16,
    /// Height of the frames.
    #[arg(long, value_name = "PIXELS", default_value_t = 480, value_parser = clap::value_parser!(u16).range(16..=4096))]
    pub height: u16,
    /// Seconds that are measured.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub secs: u16,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Be the cameras, of the process that listens here.
    #[arg(long, hide = true, value_name = "ENDPOINT")]
    pub be_cameras: Option<String>,
}

/// `tactus bench beat`.
#[derive(Debug, Args)]
pub struct BeatArgs {
    /// Ticks per second.
    #[arg(long, value_name = "HZ", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(50..=2000))]
    pub rate_hz: u32,
    /// Seconds for each of the contenders, in turns of a few seconds.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub secs: u32,
    /// Measure also a control thread that spins through the last microseconds before each deadline (arm.spin_us).
    #[arg(long, value_name = "US", num_args = 0..=1, default_missing_value = "150", value_parser = clap::value_parser!(u64).range(10..=500))]
    pub spin: Option<u64>,
    /// Load the machine with an engine: a process that infers with the bundle, chunk after chunk, on one thread.
    #[arg(long)]
    pub engine: bool,
    /// SCHED_FIFO priority that the control thread asks for (arm.realtime_priority); 0 leaves it an ordinary thread.
    #[arg(long, value_name = "P", default_value_t = 80, value_parser = clap::value_parser!(i32).range(0..=98))]
    pub priority: i32,
    /// Core that the control thread stays on (arm.cpu).
    #[arg(long, value_name = "CORE")]
    pub cpu: Option<usize>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Be the load: infer until stdin ends.
    #[arg(long, hide = true)]
    pub be_engine: bool,
    /// What the engine runs. Default: the built-in cell's.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `tactus bench latency`.
#[derive(Debug, Args)]
pub struct LatencyArgs {
    /// Folder of the results: latency.jsonl, one line per episode, and latency.svg. What is there is not run again.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Strategies. Default: all of them.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub strategies: Vec<String>,
    /// Latency that is added between observation and chunk, milliseconds of the virtual clock.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "MS",
        default_value = "0,50,100,200,400"
    )]
    pub latency_ms: Vec<u64>,
    /// Episodes of each strategy at each latency.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub seeds: u64,
    /// Seed of the first.
    #[arg(long, value_name = "S", default_value_t = 7001)]
    pub seed: u64,
    /// What is asked for. Of both, half of the episodes each; the seed says which.
    #[arg(long, value_enum, default_value_t = TaskWord::Both)]
    pub task: TaskWord,
    /// Whether every episode looks different. Default: what the cell file says; the built-in one says yes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub variation: Option<bool>,
    /// Threads, each with a policy of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Cell file, instead of the built-in one (launch/cells/demo.toml).
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
}
