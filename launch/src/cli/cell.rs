//! What a cell is run by: the demonstration, its processes, its engine, orders.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tactus_policies::Provider;

use super::camera::TaskWord;
use super::number::explain_rate;

/// `tactus demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// No live view: a progress bar on stderr and a table at the end.
    #[arg(long)]
    pub headless: bool,
    /// Same decisions on a virtual clock in one process: no real time, no wire, repeatable bit for bit.
    #[arg(long)]
    pub lockstep: bool,
    /// Episodes to run. The live view goes on until `q` unless this is given; headless runs 20.
    #[arg(long, value_name = "N")]
    pub episodes: Option<u64>,
    /// Seed of the first episode; episode k uses seed S + k.
    #[arg(long, value_name = "S", default_value_t = 7001)]
    pub seed: u64,
    /// What the arm is told, in every episode. Default: one of the three cubes in one of the known phrasings, by seed.
    #[arg(long, value_name = "TEXT", conflicts_with = "task")]
    pub instruction: Option<String>,
    /// What is asked for. Of both, half of the episodes each; the seed says which.
    #[arg(long, value_enum, default_value_t = TaskWord::Both)]
    pub task: TaskWord,
    /// Whether every episode looks different: light, colours, camera poses, drawn from its seed. Default: what the cell
    /// file says; the built-in one says yes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub variation: Option<bool>,
    /// Cell file, instead of the built-in one (launch/cells/demo.toml).
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// Write figures and one row per episode to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Record everything to this file, which must not exist: what `tactus replay` decides again.
    #[arg(long, value_name = "FILE.mcap")]
    pub record: Option<PathBuf>,
    /// Start nothing: run the episodes on the cell that runs already where the hosts of its file are ([[host]]).
    #[arg(long, requires = "cell", conflicts_with_all = ["lockstep", "record"])]
    pub running: bool,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `tactus run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Cell file; of one with [[pair]] both arms are brought up.
    pub cell: PathBuf,
    /// Endpoint that the cell's processes meet at, for example tcp/127.0.0.1:7447. Default: a free loopback port.
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "host")]
    pub listen: Option<String>,
    /// Which of the cell file's hosts this is: only its roles are started, and meet the others where those are. Without it all
    /// roles run here.
    #[arg(long, value_name = "NAME")]
    pub host: Option<tactus_wire::Name>,
    /// Record everything to this file, which must not exist, or to a new file in this folder; instead of a black box.
    #[arg(long, value_name = "FILE|DIR")]
    pub record: Option<PathBuf>,
    /// Go on where joints or pictures are not as the bundle was trained on. Without it the arm host is not started then.
    #[arg(long)]
    pub despite_preflight: bool,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// What the policy is and what runs it.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyArgs {
    /// Bundle directory, instead of the cell file's.
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Fail where CUDA does not work, instead of falling back to the CPU.
    #[arg(long)]
    pub require_cuda: bool,
    /// ONNX Runtime library, instead of third_party/onnxruntime/libonnxruntime.so, or onnxruntime-gpu/ there for a GPU.
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// What acts: the bundle's head, or its language model, which reasons and answers in FAST action tokens. Default: the
    /// cell file's.
    #[arg(long, value_enum, value_name = "WORD")]
    pub control: Option<ControlWord>,
    /// Let the language model explain what the policy sees, at most so often, whenever no inference is due; only in real
    /// time. Default: the cell file's.
    #[arg(long, value_name = "HZ", value_parser = explain_rate)]
    pub explain: Option<f64>,
}

impl PolicyArgs {
    /// Provider to try first, where the cell says `said`.
    pub fn provider(&self, said: Provider) -> Provider {
        match (said, self.require_cuda) {
            (Provider::Cpu, true) => Provider::Cuda,
            (said, _) => said,
        }
    }
}

/// What acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ControlWord {
    /// The flow-matching head.
    Head,
    /// The language model, in FAST action tokens.
    Fast,
}

/// What every role of a cell takes.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Cell file; of a cell of two arms ([[pair]]) FILE#ARM is one of them.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// Endpoint of any other process of the cell, for example tcp/127.0.0.1:7447; must be reachable. Not
    /// needed where the cell file says where its hosts are ([[host]]).
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// Which of the cell file's hosts this is; for its roles.
    #[arg(long, value_name = "NAME", conflicts_with = "connect")]
    pub host: Option<tactus_wire::Name>,
    /// Endpoint to listen on. Default: a free loopback port.
    #[arg(long, value_name = "ENDPOINT")]
    pub listen: Vec<String>,
    /// End in an orderly way when the parent process dies.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `tactus engine`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["cell", "openpi"]))]
pub struct EngineArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: Option<RoleArgs>,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Serve the arm of this cell too, the earliest deadline first: a cell file of the same policy, and the endpoint of a
    /// process of that cell where it is not one of --connect. Once for each further arm. See runtime/host/FLEET.md.
    #[arg(long, value_name = "FILE[@ENDPOINT]", requires = "cell")]
    pub also: Vec<String>,
    /// Let no inference take less than this: what a slower engine could serve.
    #[arg(long, value_name = "MS", requires = "cell", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=5000))]
    pub at_least_ms: u16,
    /// Serving without a cell.
    #[command(flatten)]
    pub openpi: OpenpiArgs,
}

/// `tactus engine --openpi`.
#[derive(Debug, Args)]
pub struct OpenpiArgs {
    /// Serve the policy of --bundle to clients of openpi-client, on this port of 127.0.0.1 or of the address before it. No arm
    /// is moved by it. See models/openpi/README.md.
    #[arg(long, value_name = "[ADDR:]PORT", requires = "bundle", conflicts_with_all = ["cell", "connect", "listen"])]
    pub openpi: Option<String>,
    /// Which key is which camera, which number which joint; the default and examples are in models/openpi/maps.
    #[arg(long, value_name = "FILE.toml", requires = "openpi")]
    pub openpi_map: Option<PathBuf>,
    /// Serve on an address that other machines reach. Nobody is asked who they are, and nothing is encrypted.
    #[arg(long, requires = "openpi")]
    pub openpi_anyone: bool,
    /// Threads of one operator.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "openpi", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub openpi_threads: u16,
}

/// `tactus order`.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Take the arm's lease over from a policy's operator; what runs under it ends in a hold. Only for orders that need the
    /// lease: enable, start, torque-off.
    #[arg(long)]
    pub take_over: bool,
    /// The order.
    #[command(subcommand)]
    pub order: OrderVerb,
}

/// Orders.
#[derive(Debug, Subcommand)]
pub enum OrderVerb {
    /// Boot -> ready: torque on where the arm is, verifying that it stands still; or end a hold. Needs the lease.
    Enable,
    /// Ready -> policy: start an episode, which goes on unattended after this command. Needs the lease.
    Start {
        /// What the arm is told.
        instruction: String,
        /// Seed of the policy's noise.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// End the episode: brake and hold, ready for the next.
    End,
    /// Brake and hold; an episode may be resumed by `enable`, and never resumes by itself. Needs no lease.
    Hold,
    /// Brake, hold, and stay stopped until the arm host is restarted. Needs no lease.
    Stop,
    /// Switch the motors' torque off, at rest. Needs the lease.
    TorqueOff {
        /// Someone or something carries the arm: needed for one without brakes, which falls.
        #[arg(long)]
        arm_is_supported: bool,
    },
    /// Say the mode, why, and who holds the lease.
    Status,
}
