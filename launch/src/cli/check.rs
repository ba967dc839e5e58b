//! What checks a cell, a driver, a machine; and breaks them on purpose.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cell::PolicyArgs;
use super::number::span;
use crate::drill::In;

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
    /// Drill a real cell although joints or pictures are not as the bundle was trained on. Without it its arm host is not started
    /// then.
    #[arg(long, requires = "real_time")]
    pub despite_preflight: bool,
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
