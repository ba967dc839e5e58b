//! Arms and grippers: by the cell, and on the bench.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::cell::RoleArgs;

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
