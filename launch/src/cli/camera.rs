//! Cameras, and the simulator.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tactus_sim::TaskKind;

use super::cell::RoleArgs;

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
