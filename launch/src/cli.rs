//! The command line, as close to the flags as possible; nothing is checked here that needs a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tactus_sim::TaskKind;

use crate::drill::In;

/// Runs vision-language-action policies on robot arms and keeps them on the beat.
///
/// Start with `tactus demo`: a simulated arm, two cameras, a trained policy, all processes of a real cell.
/// A cell of your own is described by a cell file; see launch/cells/README.md.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What is logged to stderr: error, warn, info, debug or trace.
    #[arg(long, global = true, default_value = "info")]
    pub log: String,
    /// In a cell with keys: which of its operators you are. Default: the only one whose key is there.
    #[arg(long, global = true, value_name = "NAME")]
    pub operator: Option<String>,
    /// What --connect names is a Zenoh router (`zenohd`), and everything passes through it; not in a cell with keys.
    #[arg(long, global = true)]
    pub router: bool,
    /// Listen beyond this host although the cell has no keys: whoever reaches the address can then move the arm.
    #[arg(long, global = true)]
    pub plain_network: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the built-in simulated cell and watch a policy do what the sentence says with the cube that it names.
    Demo(DemoArgs),
    /// Keys of a cell: certificates, so that only its members are heard, and each only in what it may say.
    Keys(crate::keys::KeysArgs),
    /// Bring up all processes of a cell and supervise them until Ctrl-C.
    Run(RunArgs),
    /// Write systemd units for the roles of this host, so that they are there when the machine is. Starts nothing.
    Install(crate::install::InstallArgs),
    /// Run the policy: frames, joint states and requests in, action chunks out. Or serve it to OpenPI clients, without a cell.
    Engine(EngineArgs),
    /// Run an arm host: request, schedule, supervise, limit and command at a fixed control rate; or move its arm to a pose.
    Arm(ArmArgs),
    /// Run the cell's cameras, each by itself: one that fails does not stop the others. Or look what is plugged in, take a
    /// picture, ask how they are.
    Camera(CameraArgs),
    /// Run the simulated device, or use the simulator to record and check demonstrations.
    Sim(SimArgs),
    /// Serve the arm of the cell's [device] section, or see to it on the bench: check, setup, power-on, ...
    Device(DeviceArgs),
    /// Keep the cell's black box: the last seconds, written to a file when something goes wrong; or record everything.
    Record(RecordArgs),
    /// Say what a recording holds or has lost, cut a part out of it, or make a dataset of recordings.
    Recording(RecordingArgs),
    /// Decide a recording again, by the live code: infer its chunks from their observations, requests and seeds, and run its
    /// control loop tick for tick. Says what differs; exit code 3 when anything does.
    Replay(ReplayArgs),
    /// Let the language model of a bundle answer to every recorded observation, and say how its action tokens agree with the
    /// chunks of the head: form, matching tokens, distance, over the time of an episode.
    Align(AlignArgs),
    /// Give an arm host an order (enable, start, end, hold, stop, torque-off), or ask how it is.
    Order(OrderArgs),
    /// Take the arm over from a policy with a leader arm, gamepad, SpaceMouse or keyboard, and hand it back.
    Teleop(TeleopArgs),
    /// Serve a web page beside the robot: live cameras, mode, latency against its budget, pose; orders, taking over with keys,
    /// scores of episodes and trials.
    Panel(PanelArgs),
    /// Serve the cell's messages live to Foxglove: cameras, states, commands, chunks, modes, over its websocket.
    Foxglove(FoxgloveArgs),
    /// Show the cell to ROS 2 as a node over rmw_zenoh: joints, cameras, mode; hold and stop as services; with --commands it takes
    /// trajectories and orders.
    Ros(RosArgs),
    /// Let a candidate bundle infer beside the one in command, on the same observations; it never reaches the arm. Exit
    /// code 3 when nothing could be compared.
    Shadow(ShadowArgs),
    /// Measure the cell: print a board, estimate a camera's lens, and where it is on the arm or beside it.
    Calibrate(crate::calibrate::CalibrateArgs),
    /// Inspect, verify, measure or degrade a bundle.
    Bundle(BundleArgs),
    /// Ask the language model of a bundle about pictures; its words come as it says them. Exit code 3 when it was cut off.
    Ask(AskArgs),
    /// Compare policies: how many trials it takes, blinded trials in a drawn order that survive any crash, and what results
    /// say.
    Eval(EvalArgs),
    /// Make the report of an evaluation: a page with every figure, beside it JSON and CSV.
    Report(ReportArgs),
    /// Break a cell on purpose and show what follows: which rung, how soon, how smoothly. Exit code 3 when anything fell
    /// short.
    Drill(DrillArgs),
    /// Check machine, arm, cell and bundle before anything moves: one line each, and how to mend it. Exit code 3 when something
    /// fails.
    Doctor(DoctorArgs),
    /// Check that a driver, in whatever language, keeps the protocol of its key. Exit code 3 when it violates it.
    Conformance(ConformanceArgs),
    /// Measure what the runtime does to success and timing.
    Bench(BenchArgs),
}

/// `tactus conformance`.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// What the driver drives.
    #[arg(value_enum)]
    pub of: ConformanceOf,
    /// Its key: tactus/<cell>/device/<name> of an arm, tactus/<cell>/camera/<name> of a camera.
    pub key: String,
    /// Endpoint that the driver listens on, or that it has connected to, for example tcp/127.0.0.1:7447.
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: String,
    /// Nobody and nothing is within reach of the arm: one joint is turned by 0.08 rad and back, and torque is switched on
    /// where it is off. Without it the arm is only listened to.
    #[arg(long)]
    pub arm_is_clear: bool,
    /// Write the checks to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What a driver drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConformanceOf {
    /// Joints, and perhaps a gripper.
    Arm,
    /// One camera.
    Camera,
}

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
    /// ONNX Runtime library, instead of third_party/onnxruntime/libonnxruntime.so.
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

/// What acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ControlWord {
    /// The flow-matching head.
    Head,
    /// The language model, in FAST action tokens.
    Fast,
}

/// A rate of explanations, Hz.
fn explain_rate(text: &str) -> Result<f64, String> {
    let hz = text
        .parse::<f64>()
        .ok()
        .filter(|hz| (0.01..=20.0).contains(hz));
    hz.ok_or_else(|| "expected 0.01 to 20".into())
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

fn temperature(text: &str) -> Result<f32, String> {
    let value = text
        .parse::<f32>()
        .ok()
        .filter(|t| (0.001..=100.0).contains(t));
    value.ok_or_else(|| "expected 0.001 to 100".into())
}

fn share(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|p| *p > 0.0 && *p <= 1.0);
    value.ok_or_else(|| "expected above 0 to 1".into())
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

/// `tactus arm`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ArmArgs {
    /// Something other than running the arm host.
    #[command(subcommand)]
    pub verb: Option<ArmVerb>,
    /// What every role takes.
    #[command(flatten)]
    pub role: Option<RoleArgs>,
}

/// What else can be done with arms.
#[derive(Debug, Subcommand)]
pub enum ArmVerb {
    /// Move to the cell file's pose `home`, under the limits. As `goto home`.
    Home(GotoArgs),
    /// Move to a pose, under the limits: from ready, to ready. Ctrl-C holds.
    Goto {
        /// A pose of the cell file (`[arm.poses]`), or joint positions in rad: q1,q2,...
        #[arg(allow_hyphen_values = true)]
        pose: String,
        /// How.
        #[command(flatten)]
        args: GotoArgs,
    },
    /// Look what is plugged in, or at a host: servos, controllers, cameras; and draft a cell file. Only asks.
    Probe(ProbeArgs),
}

/// `tactus arm probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Ports to look at, instead of all USB serial ports.
    #[arg(long, value_name = "PATH")]
    pub port: Vec<PathBuf>,
    /// Address or name of a controller of Universal Robots to look at, instead of serial ports.
    #[arg(long, value_name = "HOST", conflicts_with = "port")]
    pub host: Option<String>,
    /// Write a cell file for the arm that was found; must not exist.
    #[arg(long, value_name = "FILE.toml")]
    pub draft: Option<PathBuf>,
}

/// How an arm is moved to a pose.
#[derive(Debug, Args)]
pub struct GotoArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Share of the arm's limits that the motion may use, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub speed: f64,
    /// Gripper opening, 0 closed to 1 open, instead of the pose's. Without either the gripper stays.
    #[arg(long, value_name = "FRACTION")]
    pub opening: Option<f64>,
    /// Take the arm's lease over from a policy's operator; what runs under it ends in a hold.
    #[arg(long)]
    pub take_over: bool,
}

/// `tactus camera`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CameraArgs {
    /// Something other than serving the cameras.
    #[command(subcommand)]
    pub verb: Option<CameraVerb>,
    /// What every role takes.
    #[command(flatten)]
    pub role: Option<RoleArgs>,
    /// Only this camera of the cell; several are named one by one. Default: all of them.
    #[arg(long, value_name = "NAME")]
    pub name: Vec<String>,
}

/// What else can be done with cameras.
#[derive(Debug, Subcommand)]
pub enum CameraVerb {
    /// Look what is plugged in: video devices, their lasting names, formats and sizes. Only asks.
    Probe,
    /// Take a picture: what a policy gets, and beside it what the camera took where that differs (crop, rotate, undistort).
    Snap(SnapArgs),
    /// Ask the running cell's cameras how they are: rate, frames dropped, corrupt and frozen, reconnections.
    Status(RoleArgs),
    /// Make a stepped camera of the running cell (camera.stepped) publish its next frame.
    Step(StepArgs),
}

/// `tactus camera snap`.
#[derive(Debug, Args)]
pub struct SnapArgs {
    /// Cell file.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// Name of the camera.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// JPEG file to write; what the camera took goes to FILE.taken.jpg.
    #[arg(long, value_name = "FILE.jpg")]
    pub out: PathBuf,
    /// Endpoint of the running cell, whose next frame is written. Without it the camera is opened here.
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// How long exposure and white balance may settle before the picture is taken here.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub settle_ms: u64,
}

/// `tactus camera step`.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Name of the camera.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Frames to publish, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u32,
}

/// `tactus sim`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SimArgs {
    /// Something other than running the device.
    #[command(subcommand)]
    pub verb: Option<SimVerb>,
    /// What every role takes.
    #[command(flatten)]
    pub role: Option<RoleArgs>,
}

/// What the simulator can do besides being a device.
#[derive(Debug, Subcommand)]
pub enum SimVerb {
    /// Record episodes of the scripted expert: the data that the demo policy is trained on.
    Record {
        /// Episodes to attempt; failed ones are dropped and counted.
        #[arg(long, value_name = "N", default_value_t = 1600)]
        episodes: u64,
        /// Seed of the first episode.
        #[arg(long, value_name = "S", default_value_t = 100_000)]
        seed: u64,
        /// Directory to write; must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Threads, one shard each.
        #[arg(long, value_name = "N", default_value_t = 2)]
        workers: usize,
        /// What is shown. Of both, half of the episodes each; the seed says which.
        #[arg(long, value_enum, default_value_t = TaskWord::Both)]
        task: TaskWord,
        /// Every episode looks different: light, colours, camera poses, drawn from its seed.
        #[arg(long)]
        variation: bool,
    },
    /// Let the scripted expert do the tasks: proof that they can be done. One line each; exit code 3 below 95 %.
    Expert {
        /// Episodes of each task.
        #[arg(long, value_name = "N", default_value_t = 100)]
        episodes: u64,
        /// Seed of the first episode.
        #[arg(long, value_name = "S", default_value_t = 7001)]
        seed: u64,
        /// What is to be done. Both: one after the other, in the same worlds.
        #[arg(long, value_enum, default_value_t = TaskWord::Both)]
        task: TaskWord,
        /// Every episode looks different; the expert, which sees no pictures, does not care.
        #[arg(long)]
        variation: bool,
    },
    /// Write a picture of the cell.
    Portrait {
        /// JPEG file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Seed of the world.
        #[arg(long, value_name = "S", default_value_t = 7001)]
        seed: u64,
        /// Light and colours are drawn from the seed too.
        #[arg(long)]
        variation: bool,
        /// What the policy's camera of this name (scene, wrist) sees, 224 x 224, instead of the whole cell.
        #[arg(long, value_name = "NAME")]
        camera: Option<String>,
    },
}

/// Which tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TaskWord {
    /// Pick up the named cube.
    Pick,
    /// Put the named cube in the bowl.
    Place,
    /// Both.
    Both,
}

impl TaskWord {
    /// The kinds of tasks that the word stands for, at least one.
    pub fn kinds(self) -> &'static [TaskKind] {
        match self {
            Self::Pick => &[TaskKind::Pick],
            Self::Place => &[TaskKind::Place],
            Self::Both => &TaskKind::ALL,
        }
    }
}

/// `tactus device`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeviceArgs {
    /// Something other than serving the device.
    #[command(subcommand)]
    pub verb: Option<DeviceVerb>,
    /// What every role takes.
    #[command(flatten)]
    pub role: Option<RoleArgs>,
}

/// What can be done with an arm without an arm host; each kind of arm has its own. None of it moves the arm, unless it falls.
#[derive(Debug, Subcommand)]
pub enum DeviceVerb {
    /// Show every servo or joint, and whether the arm is as the cell file says. Writes nothing.
    Check {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// Write calibration and configuration into the servos, to stay after power-off. Refused while any has torque.
    Setup {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// Write the calibration that the servos hold to a file of LeRobot's format.
    Calibration {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
        /// File to write; must not exist.
        #[arg(long, value_name = "FILE.json")]
        out: PathBuf,
    },
    /// Arm of Universal Robots: power its motors; brakes stay closed, nothing moves.
    PowerOn {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// Arm of Universal Robots: take its motors' power; brakes close, wherever it is.
    PowerOff {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// Arm of Universal Robots: release its brakes. Joints give way by a little: nobody near the arm.
    BrakeRelease {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// Arm of Universal Robots: unlock a protective stop, 5 s after it at the earliest, once its cause is seen to.
    UnlockProtectiveStop {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// Franka Research 3, behind a franka-node too: recover from a reflex, once its cause is seen to. Works beside the process
    /// that serves the arm.
    Recover {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
    },
    /// See to a gripper that is a device of its own.
    Gripper {
        /// What to do with it.
        #[command(subcommand)]
        verb: GripperVerb,
    },
    /// Switch the motors' torque off without an arm host: an arm without brakes falls.
    TorqueOff {
        /// Cell file.
        #[arg(long, value_name = "FILE")]
        cell: PathBuf,
        /// Someone or something carries the arm.
        #[arg(long)]
        arm_is_supported: bool,
    },
}

/// Which gripper, without a cell file.
#[derive(Debug, Args)]
pub struct GripperPort {
    /// Serial port of a Robotiq 2F-85, 2F-140 or Hand-E.
    #[arg(
        long,
        value_name = "PORT",
        required_unless_present = "host",
        conflicts_with = "host"
    )]
    pub port: Option<PathBuf>,
    /// Who passes its line on over TCP instead: the controller of a UR (port 54321), or a serial device server.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub host: Option<String>,
    /// Bits per second.
    #[arg(long, default_value_t = 115_200, value_name = "BAUD", value_parser = clap::value_parser!(u32).range(9600..=115_200))]
    pub baud: u32,
    /// Slave id.
    #[arg(long, default_value_t = 9, value_name = "ID", value_parser = clap::value_parser!(u8).range(1..=247))]
    pub slave: u8,
}

/// What can be done with a gripper that no process serves.
#[derive(Debug, Subcommand)]
pub enum GripperVerb {
    /// Show what it says: active, position, object, fault. Moves nothing.
    Check {
        /// Which.
        #[command(flatten)]
        port: GripperPort,
    },
    /// Activate it, as it needs after every power-on: its fingers open and close through their whole stroke.
    Activate {
        /// Which.
        #[command(flatten)]
        port: GripperPort,
        /// Nobody's fingers and nothing else is between the gripper's.
        #[arg(long)]
        fingers_are_clear: bool,
    },
    /// Move its fingers to an opening, and say what they met.
    Move {
        /// Which.
        #[command(flatten)]
        port: GripperPort,
        /// 0 closed to 1 open.
        opening: f64,
        /// Share of its speed, 0 to 1.
        #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
        speed: f64,
        /// Share of its force, 0 to 1.
        #[arg(long, default_value_t = 0.3, value_name = "SHARE")]
        force: f64,
    },
}

/// `tactus record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Folder of black-box files, instead of the cell file's; made when the first one is written.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seconds that a black-box file reaches back from what went wrong, instead of the cell file's. Default: 10.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=120))]
    pub black_box_secs: Option<u16>,
    /// No black box: record everything to this file, which must not exist, or to a new file in this folder, until Ctrl-C.
    /// Exit code 3 when not all of it could be written.
    #[arg(long, value_name = "FILE.mcap|DIR", conflicts_with_all = ["out", "black_box_secs"])]
    pub to: Option<PathBuf>,
}

/// `tactus recording`.
#[derive(Debug, Args)]
pub struct RecordingArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: RecordingVerb,
}

/// What can be done with a recording.
#[derive(Debug, Subcommand)]
pub enum RecordingVerb {
    /// Channels, counts, times, gaps, and why it was written. Exit code 3 when the file was cut short.
    Info {
        /// MCAP file.
        file: PathBuf,
    },
    /// Say what of a recording is lost: where it was cut off, what never came, what was dropped; and whether its control
    /// loop can be replayed. Exit code 3 when something is lost.
    Doctor {
        /// MCAP file.
        file: PathBuf,
        /// Write all of it that can be read to this new file, with an index. The old one stays as it is.
        #[arg(long, value_name = "FILE.mcap")]
        repair: Option<PathBuf>,
    },
    /// Write a part of a recording to a new file. What the cell is (infos, cell file, metadata) is in every part.
    Cut {
        /// MCAP file.
        file: PathBuf,
        /// Where the part begins, seconds from the first message.
        #[arg(long, value_name = "SECS", default_value_t = 0.0)]
        from: f64,
        /// Where it ends, seconds from the first message. Default: with the file.
        #[arg(long, value_name = "SECS")]
        until: Option<f64>,
        /// File to write; must not exist.
        #[arg(long, value_name = "FILE.mcap")]
        out: PathBuf,
    },
    /// Add the episodes of recordings to a dataset to learn from: LeRobotDataset v3. Goes on where it was interrupted.
    Export {
        /// MCAP files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Folder of the set; made when it is not there.
        #[arg(long, value_name = "DIR")]
        lerobot: PathBuf,
        /// How pictures are encoded, by ffmpeg.
        #[arg(long, value_enum, default_value_t = CodecWord::H264)]
        codec: CodecWord,
        /// Camera whose frames are the rows of the set. Default: the first by name.
        #[arg(long, value_name = "NAME")]
        reference: Option<String>,
        /// Rows per second that the set says. Default: the reference camera's rate. True times are columns of their own.
        #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=1000))]
        fps: Option<u32>,
    },
}

/// How pictures of a dataset are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CodecWord {
    /// H.264.
    H264,
    /// AV1: smaller, slower.
    Av1,
}

/// `tactus replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// MCAP file: of `tactus record --to` from the start of the arm host on, or of `tactus demo --lockstep --record`.
    pub file: PathBuf,
    /// Only this part.
    #[arg(long, value_enum)]
    pub only: Option<ReplayOf>,
    /// How far a joint target (rad) or an opening may be from the recorded one. 0: bit for bit.
    #[arg(long, value_name = "RAD", default_value_t = 0.0)]
    pub tolerance: f64,
    /// Cell file, instead of the one inside the recording.
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// Write the findings, chunk by chunk, to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `tactus align`.
#[derive(Debug, Args)]
pub struct AlignArgs {
    /// MCAP files with chunks of a head, as `tactus replay` takes them.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Bundle whose language model answers, instead of the cell file's.
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Only every so manieth chunk.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// Cell file, instead of the ones inside the recordings.
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// Write the figures, chunk by chunk, to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw agreement over the time of an episode to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// ONNX Runtime library, instead of third_party/onnxruntime/libonnxruntime.so.
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

/// Parts of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplayOf {
    /// Scheduler, supervisor, limiter.
    Control,
    /// Chunks.
    Inference,
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

/// What `tactus teleop --help` ends with.
const PANEL: &str = "\
The page needs a browser and nothing else: no other site, no plug-in. Space holds, from anywhere on the page; what else keys do \
is shown there. Hold and stop wait for nothing; other orders are given under the arm's lease, as `tactus order` does, and an \
episode goes on when the panel ends. Whoever takes over with the page's keys has to stay: closing the page ends in a hold.

/metrics is for Prometheus, --otlp sends traces to a collector of OpenTelemetry; `tactus foxglove` serves the cell's messages \
to Foxglove. The panel runs at a low priority and remembers only the newest of everything; launch/PANEL.md.";

const TELEOP: &str = "\
Nothing is commanded until you take over; from then on a policy is silent. The arm brakes, comes together with your
device (--reference), and follows it inside the same limits as a policy. Hand back, and the policy goes on from a fresh
observation. Let go of the dead man's switch, lose the device, or leave: the arm holds. Torque never goes off.

Keys: Enter take over, Backspace hand back, Space hold, x stop, c open or close the clutch, Esc or Ctrl-C leave.
Gamepad: start take over, select hand back, right action button hold; hold the right shoulder button to move.
Without a view (--headless) the words take-over, hand-back, hold, stop, clutch and quit on stdin do the same.

Every source, and how a program of your own does all this: launch/OPERATING.md and drivers/teleop/README.md.";

/// `tactus shadow`.
#[derive(Debug, Args)]
pub struct ShadowArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// What the candidate is (--bundle) and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// A line of JSON per chunk of the candidate goes to this file, which must not exist: how far it is from the engine's,
    /// and what both took.
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,
    /// Write the sum of it to this file at the end.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// End after so many chunks of the candidate, instead of at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub chunks: Option<u64>,
    /// Let the candidate infer while the engine does. The two then share processor and memory: the process still runs only
    /// when nobody else wants to, but a GPU knows no such order.
    #[arg(long)]
    pub overlap: bool,
}

/// `tactus panel`.
#[derive(Debug, Args)]
#[command(after_long_help = PANEL)]
pub struct PanelArgs {
    /// Cell file.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// Endpoint of any process of the cell, for example tcp/127.0.0.1:7447; must be reachable. Not needed where the cell file says
    /// where its hosts are ([[host]]).
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// Where the page is served. Anywhere but on loopback a token is required, which is printed once.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7470")]
    pub listen: std::net::SocketAddr,
    /// Require a token on loopback too: other users of this machine reach it.
    #[arg(long)]
    pub token: bool,
    /// Nobody may give orders from the page.
    #[arg(long)]
    pub view_only: bool,
    /// Send a trace of every chunk, its stages as spans, to the OpenTelemetry collector at this address, for example
    /// http://127.0.0.1:4318 (OTLP over HTTP).
    #[arg(long, value_name = "URL")]
    pub otlp: Option<crate::panel::Collector>,
    /// End in an orderly way when the parent process dies.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `tactus foxglove`.
#[derive(Debug, Args)]
pub struct FoxgloveArgs {
    /// Cell file.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// Endpoint of any process of the cell, for example tcp/127.0.0.1:7447; must be reachable. Not needed where the cell file says
    /// where its hosts are ([[host]]).
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// Where Foxglove connects to. Anywhere but on loopback a token is required, which is printed once.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8765")]
    pub listen: std::net::SocketAddr,
    /// Require a token on loopback too: other users of this machine reach it.
    #[arg(long)]
    pub token: bool,
    /// End in an orderly way when the parent process dies.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `tactus ros`.
#[derive(Debug, Args)]
pub struct RosArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// ROS_DOMAIN_ID of the nodes that shall see the cell.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=232))]
    pub domain_id: u8,
    /// Namespace of the cell's topics and services.
    #[arg(long, value_name = "/NAME", default_value = "/tactus")]
    pub namespace: String,
    /// Endpoint of the ROS 2 side's router (rmw_zenohd, or zenohd), which may come later.
    #[arg(long, value_name = "ENDPOINT", default_value = tactus_ros::node::ROUTER)]
    pub ros_router: Vec<String>,
    /// Endpoint to listen on for nodes of ROS 2.
    #[arg(long, value_name = "ENDPOINT", default_value = tactus_ros::node::LISTEN)]
    pub ros_listen: Vec<String>,
    /// Use addresses beyond this host for ROS 2. Nothing is encrypted there: whoever reaches them sees the cell and may stop it,
    /// and with --commands may move the arm.
    #[arg(long)]
    pub ros_network: bool,
    /// Let ROS 2 begin motion: enable the arm, start the policy, take over and command it by topics. It ranks above the policy
    /// and below an operator.
    #[arg(long)]
    pub commands: bool,
    /// Sentence that the service `start` starts the policy with, until one comes on the topic `instruction`.
    #[arg(long, value_name = "TEXT", requires = "commands")]
    pub instruction: Option<String>,
    /// Joint states a second, at most.
    #[arg(long, value_name = "HZ", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rate: u16,
}

/// `tactus teleop`.
#[derive(Debug, Args)]
#[command(after_long_help = TELEOP)]
pub struct TeleopArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// What is in your hand.
    #[arg(long, value_enum)]
    pub source: SourceWord,
    /// Input device of a gamepad or SpaceMouse, /dev/input/event*. Default: the first that is one.
    #[arg(long, value_name = "PATH")]
    pub device: Option<PathBuf>,
    /// File whose section [device] says where the leader arm is; the rest of it does not count.
    #[arg(long, value_name = "FILE")]
    pub leader_cell: Option<PathBuf>,
    /// How your device and the arm come together. Default: leader for a leader arm, clutch for everything else.
    #[arg(long, value_enum)]
    pub reference: Option<ReferenceWord>,
    /// How often the device is read and its setpoint sent. Default: the leader's rate, else 100.
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(20..=200))]
    pub rate: Option<u32>,
    /// What sticks, cap and keys move along. Default: base, or joints for an arm that does not describe its links.
    #[arg(long, value_enum)]
    pub frame: Option<FrameWord>,
    /// Speed of a full deflection or a key: share of 0.25 m/s, 1 rad/s and half of the joints' velocity limits.
    #[arg(long, value_name = "SHARE", default_value_t = 0.4)]
    pub speed: f64,
    /// No view: a line per change of mode, and words on stdin.
    #[arg(long)]
    pub headless: bool,
}

/// Devices in someone's hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceWord {
    /// A leader arm (SO-100, SO-101), joint to joint.
    Leader,
    /// A gamepad: speed of the tool, with a dead man's switch.
    Gamepad,
    /// A SpaceMouse: speed of the tool.
    Spacemouse,
    /// The terminal's keys: each press is a step that ends by itself, since a terminal says nothing of releases.
    Keyboard,
}

/// How leader and arm come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReferenceWord {
    /// Joint to joint: you bring the leader to where the arm is.
    Leader,
    /// Joint to joint: the arm comes to the leader, slowly.
    Slide,
    /// Only how the device moves from then on counts.
    Clutch,
}

impl From<ReferenceWord> for tactus_types::Reference {
    fn from(word: ReferenceWord) -> Self {
        match word {
            ReferenceWord::Leader => Self::Leader,
            ReferenceWord::Slide => Self::Slide,
            ReferenceWord::Clutch => Self::Clutch,
        }
    }
}

/// What deflections are along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FrameWord {
    /// The arm's base: forward, left, up.
    Base,
    /// The tool's own axes.
    Tool,
    /// The arm's joints, one axis each.
    Joints,
}

/// `tactus drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Which faults.
    #[arg(value_enum, conflicts_with = "fault")]
    pub set: Option<DrillSet>,
    /// Names the faults, what must follow from each, and the bounds of this cell; runs nothing.
    #[arg(long)]
    pub list: bool,
    /// In real time: brings the cell up, kills and stops its processes, and breaks the links between them. Without it, in
    /// lock-step.
    #[arg(long)]
    pub real_time: bool,
    /// Nobody and nothing is within reach of the arm, which will move: needed to drill a real cell.
    #[arg(long, requires = "real_time")]
    pub arm_is_clear: bool,
    /// What the policy is told in real time. Default: what the seed says; a real cell has none.
    #[arg(long, value_name = "TEXT", requires = "real_time")]
    pub instruction: Option<String>,
    /// Endpoint that the processes of a cell in real time meet at. Default: a free loopback port.
    #[arg(long, value_name = "ENDPOINT", requires = "real_time")]
    pub listen: Option<String>,
    /// A fault of your own; several act together. `<where>[.<camera>]:<what>[=<time>[+-<time>]][@<start>][~<duration>]`,
    /// for example camera.wrist:freeze@3s or net:delay=200ms+-80ms.
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<String>,
    /// Modes that the fault meets. Default: all of them.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub mode: Vec<In>,
    /// Seed of the first repetition; repetition k uses seed S + k.
    #[arg(long, value_name = "S", default_value_t = 7)]
    pub seed: u64,
    /// Repetitions of each fault in each mode. Default: 30, `quick`: 3, `takeover`: 200; in real time 3, `quick`: 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub repetitions: Option<u64>,
    /// Simulated time of `soak`: 90s, 5m, 1h.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = span)]
    pub span: Duration,
    /// Threads, in lock-step.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Write the matrix to this file; in real time every trial, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the matrix into this file.
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
    /// Cell file, instead of the built-in one (launch/cells/demo.toml).
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// What the policy is and what runs it.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// Sets of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DrillSet {
    /// Every fault, 30 times in each mode; in real time three times.
    All,
    /// Every fault, three times in each mode: within a minute. In real time once, in an episode only: some minutes.
    Quick,
    /// A human takes over at 200 random moments of an episode, one in four of a policy that has stalled, and hands back; in
    /// lock-step.
    Takeover,
    /// Random faults one upon the other, for as long as --span says, and an operator who goes on: no law may break, and
    /// memory must stay flat.
    Soak,
}

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

/// What a router adds, ms.
fn hop(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 50.0, "ms")
}

/// What an inference takes, ms.
fn inference(text: &str) -> Result<f64, String> {
    number_within(text, 0.1, 5000.0, "ms")
}

fn number_within(text: &str, least: f64, most: f64, unit: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("expected {least} to {most} {unit}")),
    }
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

/// `tactus doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Cell file, instead of the built-in one (launch/cells/demo.toml).
    #[arg(value_name = "CELL.toml", conflicts_with = "cell")]
    pub file: Option<PathBuf>,
    /// The same.
    #[arg(long, value_name = "FILE")]
    pub cell: Option<PathBuf>,
    /// Endpoint of a process of the running cell: asks also who is alive and the arm for its joints, and compares what joints
    /// and cameras show with what the bundle was trained on.
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Option<String>,
    /// The same, of a cell whose file says where its hosts are ([[host]]).
    #[arg(long, conflicts_with = "connect")]
    pub running: bool,
    /// Leave out what takes longer: how late ticks are here, and what the policy's stages take.
    #[arg(long)]
    pub quick: bool,
    /// Write the findings to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What the policy is and what runs it.
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

/// `tactus report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the evaluation.
    pub dir: PathBuf,
}

/// `tactus eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: EvalVerb,
}

/// What `tactus eval` can do.
#[derive(Debug, Subcommand)]
pub enum EvalVerb {
    /// Run the trials of a plan on the simulated cell, in an order drawn from its seed, with the policies' names hidden until
    /// the end. Each trial is on the disk the moment it ends.
    Run(EvalRunArgs),
    /// Go on after a crash, Ctrl-C or a full disk: no trial is lost and none that counts is repeated.
    Resume {
        /// Folder of the evaluation.
        dir: PathBuf,
        /// Where panels of a plan that an operator scores find the trials. Default: a free loopback port.
        #[arg(long, value_name = "ENDPOINT")]
        listen: Option<String>,
    },
    /// Say how many trials it takes to tell two success rates apart.
    Power(EvalPowerArgs),
    /// Say what results from elsewhere say: intervals, posteriors, tests of every pair of policies.
    Analyze(EvalAnalyzeArgs),
}

/// `tactus eval run`.
#[derive(Debug, Args)]
pub struct EvalRunArgs {
    /// Plan; see runtime/eval/README.md.
    pub plan: PathBuf,
    /// Folder for plan, results and report; must not hold an evaluation.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where panels of a plan that an operator scores find the trials, for example tcp/127.0.0.1:7448. Default: a free loopback
    /// port, which is said.
    #[arg(long, value_name = "ENDPOINT")]
    pub listen: Option<String>,
    /// Nothing is shown but one line per trial; so it is anyway.
    #[arg(long)]
    pub headless: bool,
    /// Same decisions on a virtual clock in one process, repeatable bit for bit; otherwise each trial brings the cell up in
    /// real time.
    #[arg(long)]
    pub lockstep: bool,
    /// Record every trial, to a file of its own in the evaluation's folder; the report links to it, `tactus replay` decides it
    /// again.
    #[arg(long)]
    pub record: bool,
}

/// `tactus eval power`.
#[derive(Debug, Args)]
pub struct EvalPowerArgs {
    /// Success rate that is expected of the baseline, 0 to 1.
    #[arg(long, value_name = "RATE")]
    pub baseline: f64,
    /// Success rate of the other policy that should be told from it, 0 to 1.
    #[arg(long, value_name = "RATE")]
    pub better: f64,
    /// Chance to call equal policies different.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub alpha: f64,
    /// Chance to call these different.
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub power: f64,
    /// Say what this many trials per policy can tell, instead of how many it takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=1000))]
    pub trials: Option<u64>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus eval analyze`.
#[derive(Debug, Args)]
pub struct EvalAnalyzeArgs {
    /// CSV: policy, task, success or successes and trials, and perhaps condition, progress, seconds.
    pub file: PathBuf,
    /// Of every interval.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub level: f64,
    /// What is believed before the first trial.
    #[arg(long, value_enum, default_value_t = PriorWord::Jeffreys)]
    pub prior: PriorWord,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Priors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PriorWord {
    /// Beta(1/2, 1/2).
    Jeffreys,
    /// Beta(1, 1).
    Uniform,
}

/// How the graphs of a bundle are run outside a cell.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// Provider to try first; the CPU is the fallback, with a warning.
    #[arg(long, value_enum, default_value_t = ProviderWord::Cpu)]
    pub provider: ProviderWord,
    /// Fail where CUDA does not work, instead of falling back to the CPU. Implies --provider cuda.
    #[arg(long)]
    pub require_cuda: bool,
    /// Threads of one operator.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// ONNX Runtime library, instead of third_party/onnxruntime/libonnxruntime.so.
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
}

/// A time such as `90s`, `5m` or `1h`: 10 s to a day.
fn span(text: &str) -> Result<Duration, String> {
    let secs = [("h", 3600), ("m", 60), ("s", 1)]
        .into_iter()
        .find_map(|(unit, secs)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? * secs));
    match secs {
        Some(secs @ 10..=86_400) => Ok(Duration::from_secs(secs)),
        _ => Err("expected a time such as 90s, 5m or 1h, 10s to 24h".into()),
    }
}
