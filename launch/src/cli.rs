//! The command line, as close to the flags as possible; nothing is checked here that needs a file. Here is what it begins with; the
//! arguments of each verb stand in the modules, by what they are about.

mod arm;
mod bench;
mod bundle;
mod camera;
mod cell;
mod check;
mod eval;
mod number;
mod operate;
mod record;

use clap::{Parser, Subcommand};

pub use arm::{
    ArmArgs, ArmVerb, DeviceArgs, DeviceVerb, GotoArgs, GripperPort, GripperVerb, ProbeArgs,
};
pub use bench::{
    BeatArgs, BehindWord, BenchArgs, BenchVerb, CamerasArgs, ExplainBenchArgs, FleetArgs,
    KeysBenchArgs, LatencyArgs, OpenpiBenchArgs, PanelBenchArgs, RecordBenchArgs,
};
pub use bundle::{AskArgs, BundleArgs, BundleVerb, GraphArgs, WrapArgs};
pub use camera::{CameraArgs, CameraVerb, SimArgs, SimVerb, SnapArgs, StepArgs, TaskWord};
pub use cell::{
    ControlWord, DemoArgs, EngineArgs, OpenpiArgs, OrderArgs, OrderVerb, PolicyArgs, RoleArgs,
    RunArgs,
};
pub use check::{ConformanceArgs, ConformanceOf, DoctorArgs, DrillArgs, DrillSet};
pub use eval::{
    EvalAnalyzeArgs, EvalArgs, EvalPowerArgs, EvalRunArgs, EvalVerb, PriorWord, ReportArgs,
};
pub use operate::{FoxgloveArgs, FrameWord, PanelArgs, RosArgs, SourceWord, TeleopArgs};
pub use record::{
    AlignArgs, CodecWord, RecordArgs, RecordingArgs, RecordingVerb, ReplayArgs, ReplayOf,
    ShadowArgs,
};

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
