//! What `tactus calibrate` is told. Decides names and defaults only.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tactus_calibration::{Board, LensModel};

use crate::cli::RoleArgs;

/// `tactus calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// What to measure.
    #[command(subcommand)]
    pub verb: CalibrateVerb,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum CalibrateVerb {
    /// Draw a board to print, in true size: ChArUco or chessboard.
    Board(BoardArgs),
    /// Estimate a camera's lens from views of a board: of a running cell, with a guide to what is still missing, or from a
    /// folder. Writes a ROS camera_info file. With --verify: check a file; exit code 3 when it does not explain the views.
    Intrinsics(IntrinsicsArgs),
    /// Estimate where a camera is: in the hand (X_EC) or beside the arm (X_BC). The arm moves through poses by itself, under
    /// its limits, or an operator moves it; or poses come from a file.
    HandEye(HandEyeArgs),
    /// Keep a picture of what a camera sees now, or say by how much it has moved since one was kept, and its light changed.
    Scene(SceneArgs),
    /// Measure how far the clocks of the cell's processes are apart, with a bound; for cells of several hosts.
    Clocks(ClocksArgs),
    /// Measure how late a camera or an arm is.
    #[command(subcommand)]
    Latency(LatencyVerb),
    /// Check the arm's joints: homing and ranges of servos, signs and scales, zeros.
    #[command(subcommand)]
    Joints(JointsVerb),
}

/// `tactus calibrate board`.
#[derive(Debug, Args)]
pub struct BoardArgs {
    /// The board: charuco:COLUMNSxROWS:SQUARE[:MARKER] or chessboard:COLUMNSxROWS:SQUARE; squares counted, sizes in mm.
    #[arg(long, value_name = "BOARD", default_value = "charuco:7x5:35:26")]
    pub board: Board,
    /// PDF file to write: one page, A4 where the board fits.
    #[arg(long, value_name = "FILE.pdf")]
    pub pdf: Option<PathBuf>,
    /// SVG file to write.
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
    /// PNG file to write, 10 pixels per millimetre.
    #[arg(long, value_name = "FILE.png")]
    pub png: Option<PathBuf>,
}

/// How a lens is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModelWord {
    /// Brown's k1 k2 p1 p2: most lenses.
    PlumbBob,
    /// Eight coefficients: wide lenses.
    Rational,
    /// Kannala-Brandt: fisheye lenses.
    Equidistant,
}

impl ModelWord {
    /// The model.
    pub fn model(self) -> LensModel {
        match self {
            Self::PlumbBob => LensModel::PlumbBob,
            Self::Rational => LensModel::RationalPolynomial,
            Self::Equidistant => LensModel::Equidistant,
        }
    }
}

/// `tactus calibrate intrinsics`.
#[derive(Debug, Args)]
pub struct IntrinsicsArgs {
    /// Name of the camera.
    #[arg(long, value_name = "NAME")]
    pub camera: String,
    /// Cell file, for views of the running cell.
    #[arg(long, value_name = "FILE", required_unless_present = "folder")]
    pub cell: Option<PathBuf>,
    /// Endpoint of the running cell.
    #[arg(long, value_name = "ENDPOINT", required_unless_present = "folder")]
    pub connect: Vec<String>,
    /// Folder of JPEG and PNG files, instead of a running cell.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cell", "connect"])]
    pub folder: Option<PathBuf>,
    /// The board, as `tactus calibrate board` drew it. Measure a square: printers scale.
    #[arg(long, value_name = "BOARD", default_value = "charuco:7x5:35:26")]
    pub board: Board,
    /// How the lens is described.
    #[arg(long, value_enum, default_value_t = ModelWord::PlumbBob)]
    pub model: ModelWord,
    /// camera_info file to write; one that is there stays until the new one is good enough.
    #[arg(long, value_name = "FILE.yaml", required_unless_present = "verify")]
    pub out: Option<PathBuf>,
    /// Kalibr's camchain.yaml to write too; not for --model rational.
    #[arg(long, value_name = "FILE.yaml")]
    pub kalibr: Option<PathBuf>,
    /// camera_info file to start from.
    #[arg(long, value_name = "FILE.yaml")]
    pub start: Option<PathBuf>,
    /// The arm moves by itself, under its limits, through views that cover the picture and tilt the board: the board has to be in
    /// view at the start, nobody within reach, and the arm enabled. --start has to know the lens within some 10 %.
    #[arg(long, requires = "start", conflicts_with = "folder")]
    pub arm_moves: bool,
    /// With --arm-moves: the camera stands still, the hand carries the board. Without it the hand carries the camera.
    #[arg(long, requires = "arm_moves")]
    pub eye_to_hand: bool,
    /// With --arm-moves: share of the arm's limits that a motion may use, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub speed: f64,
    /// With --arm-moves: take the arm's lease over from a policy's operator; what runs under it ends in a hold.
    #[arg(long)]
    pub take_over: bool,
    /// camera_info file to check against the views; nothing is estimated.
    #[arg(long, value_name = "FILE.yaml", conflicts_with_all = ["out", "kalibr", "start"])]
    pub verify: Option<PathBuf>,
    /// SVG file with the guide: which regions, tilts and distances were seen; written again with every view.
    #[arg(long, value_name = "FILE.svg")]
    pub picture: Option<PathBuf>,
    /// Of a running cell: views to take at most. It ends earlier when nothing is missing, and with Ctrl-C.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub views: usize,
    /// Of a running cell: seconds to take views for at most.
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub within: u64,
}

/// `tactus calibrate hand-eye`.
#[derive(Debug, Args)]
pub struct HandEyeArgs {
    /// Name of the camera.
    #[arg(long, value_name = "NAME")]
    pub camera: String,
    /// The hand carries the camera, the board stands still.
    #[arg(long, required_unless_present_any = ["eye_to_hand", "poses"])]
    pub eye_in_hand: bool,
    /// The camera stands still, the hand carries the board.
    #[arg(long, conflicts_with = "eye_in_hand")]
    pub eye_to_hand: bool,
    /// Cell file.
    #[arg(long, value_name = "FILE", required_unless_present = "poses")]
    pub cell: Option<PathBuf>,
    /// Endpoint of the running cell.
    #[arg(long, value_name = "ENDPOINT", required_unless_present = "poses")]
    pub connect: Vec<String>,
    /// File of the camera's lens, as `tactus calibrate intrinsics` wrote it. Default: the cell's.
    #[arg(long, value_name = "FILE.yaml")]
    pub intrinsics: Option<PathBuf>,
    /// The board. Measure a square: printers scale.
    #[arg(
        long,
        value_name = "BOARD",
        default_value = "charuco:7x5:35:26",
        conflicts_with = "poses"
    )]
    pub board: Board,
    /// File to write; one that is there stays until the new one is good enough.
    #[arg(long, value_name = "FILE.toml")]
    pub out: PathBuf,
    /// Poses that were saved, instead of a running cell; nothing moves.
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["cell", "connect", "intrinsics", "eye_in_hand", "eye_to_hand"])]
    pub poses: Option<PathBuf>,
    /// Save what was seen to this file, pose by pose. Without it, the poses of a run that does not get through lie beside --out.
    #[arg(long, value_name = "FILE.json")]
    pub save_poses: Option<PathBuf>,
    /// Go on with the poses of a run that did not get through.
    #[arg(long, conflicts_with = "poses")]
    pub resume: bool,
    /// An operator moves the arm, and presses Enter at each pose; `q` and Enter ends. Without it, the arm moves by itself: the
    /// board has to be in view at the start, nobody within reach, and the arm enabled.
    #[arg(long)]
    pub hand_guided: bool,
    /// Poses to gather.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(4..=200))]
    pub count: u16,
    /// Share of the arm's limits that a motion may use, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub speed: f64,
    /// How exactly the arm knows where its hand is, mm: some 0.2 of an industrial arm, 2 of hobby servos.
    #[arg(long, value_name = "MM", default_value_t = 0.2)]
    pub arm_mm: f64,
    /// The same of its orientation, degrees: some 0.03, or 0.5.
    #[arg(long, value_name = "DEG", default_value_t = 0.03)]
    pub arm_deg: f64,
    /// Take the arm's lease over from a policy's operator; what runs under it ends in a hold.
    #[arg(long)]
    pub take_over: bool,
}

impl HandEyeArgs {
    /// Where poses lie as they come.
    pub fn kept(&self) -> Option<PathBuf> {
        let named = !self.out.as_os_str().is_empty();
        let beside = || named.then(|| self.out.with_extension("poses.json"));
        self.save_poses.clone().or_else(beside)
    }
}

/// `tactus calibrate joints`.
#[derive(Debug, Subcommand)]
pub enum JointsVerb {
    /// Arms of servos: homing offsets and ranges, by hand, without torque: LeRobot's calibration. Writes a file, and no servo.
    Home(HomeArgs),
    /// Turn each joint by a little and check that it is that joint, that way, that far: by a camera whose place is known and that
    /// sees a board, or by the operator's eyes. Exit code 3 when one is not.
    Signs(SignsArgs),
    /// By how much each joint's zero is off: from poses at which a camera saw a board (those of hand-eye), or at which the tip was
    /// brought to one point. Changes nothing. Exit code 3 when one is off.
    Zeros(ZerosArgs),
}

/// `tactus calibrate joints home`.
#[derive(Debug, Args)]
pub struct HomeArgs {
    /// Cell file; only its section [device] is read.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// File to write, in LeRobot's format. Default: the one that the cell file names. One that is there stays until the new one is
    /// complete.
    #[arg(long, value_name = "FILE.json")]
    pub out: Option<PathBuf>,
}

/// `tactus calibrate joints signs`.
#[derive(Debug, Args)]
pub struct SignsArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Nobody and nothing is within reach of the arm, which will move.
    #[arg(long)]
    pub arm_is_clear: bool,
    /// Camera that looks; camera.intrinsics and camera.hand_eye of the cell file are its lens and place. The board has to be in
    /// view. Without it, the operator looks and answers.
    #[arg(long, value_name = "NAME")]
    pub camera: Option<String>,
    /// The board. Measure a square: printers scale.
    #[arg(long, value_name = "BOARD", default_value = "charuco:7x5:35:26")]
    pub board: Board,
    /// How far each joint turns, degrees.
    #[arg(long, value_name = "DEG", default_value_t = 4.0)]
    pub by_deg: f64,
    /// Share of the arm's limits that a motion may use, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub speed: f64,
    /// Take the arm's lease over from a policy's operator; what runs under it ends in a hold.
    #[arg(long)]
    pub take_over: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus calibrate joints zeros`.
#[derive(Debug, Args)]
pub struct ZerosArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Camera that sees a board; without it, the operator brings the tip to one point from several sides, and presses Enter at
    /// each.
    #[arg(long, value_name = "NAME")]
    pub camera: Option<String>,
    /// The hand carries the camera. Default: as camera.hand_eye of the cell file says.
    #[arg(long, requires = "camera")]
    pub eye_in_hand: bool,
    /// The camera stands still, the hand carries the board.
    #[arg(long, requires = "camera", conflicts_with = "eye_in_hand")]
    pub eye_to_hand: bool,
    /// File of the camera's lens. Default: the cell's.
    #[arg(long, value_name = "FILE.yaml", requires = "camera")]
    pub intrinsics: Option<PathBuf>,
    /// The board. Measure a square: printers scale.
    #[arg(long, value_name = "BOARD", default_value = "charuco:7x5:35:26")]
    pub board: Board,
    /// Poses that hand-eye has saved (--save-poses); nothing moves then. Without them the arm goes through poses by itself.
    #[arg(long, value_name = "FILE.json", requires = "camera")]
    pub poses: Option<PathBuf>,
    /// Where the point is in the arm's base, mm: without it, the zero of the first joint does not show.
    #[arg(
        long,
        value_name = "X,Y,Z",
        conflicts_with = "camera",
        allow_hyphen_values = true
    )]
    pub point_mm: Option<String>,
    /// An offset that is larger, beyond doubt, is wrong, degrees.
    #[arg(long, value_name = "DEG", default_value_t = 0.5)]
    pub limit_deg: f64,
    /// Poses to gather.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(10..=200))]
    pub count: u16,
    /// Share of the arm's limits that a motion may use, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub speed: f64,
    /// Take the arm's lease over from a policy's operator; what runs under it ends in a hold.
    #[arg(long)]
    pub take_over: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl ZerosArgs {
    /// What gathering poses is told.
    pub fn gathering(&self, camera: &str) -> HandEyeArgs {
        HandEyeArgs {
            camera: camera.into(),
            eye_in_hand: self.eye_in_hand,
            eye_to_hand: self.eye_to_hand,
            cell: Some(self.role.cell.clone()),
            connect: self.role.connect.clone(),
            intrinsics: self.intrinsics.clone(),
            board: self.board,
            out: PathBuf::new(),
            poses: None,
            save_poses: None,
            resume: false,
            hand_guided: false,
            count: self.count,
            speed: self.speed,
            arm_mm: 5.0,
            arm_deg: 1.0,
            take_over: self.take_over,
        }
    }
}

/// `tactus calibrate clocks`.
#[derive(Debug, Args)]
pub struct ClocksArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Seconds to ask for: drift shows after some.
    #[arg(long, value_name = "SECS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub span_s: u64,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus calibrate latency`.
#[derive(Debug, Subcommand)]
pub enum LatencyVerb {
    /// Measure how much later joints move than they are commanded, and how old joint states are. One joint swings by 0.06 rad.
    Arm(ArmLatencyArgs),
    /// Measure how much later than the light a picture says it was captured: this terminal flashes, before the camera.
    Camera(CameraLatencyArgs),
}

/// `tactus calibrate latency arm`.
#[derive(Debug, Args)]
pub struct ArmLatencyArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Nobody and nothing is within reach of the arm, which will move.
    #[arg(long)]
    pub arm_is_clear: bool,
    /// Move nothing: listen for so long to an arm that moves already, by a policy or a human.
    #[arg(long, value_name = "SECS", conflicts_with = "arm_is_clear", value_parser = clap::value_parser!(u64).range(3..=600))]
    pub listen_s: Option<u64>,
    /// File to write, for arm.latency of the cell file: actions are then commanded so much before they are due. One that is there
    /// stays unless the new one will do.
    #[arg(long, value_name = "FILE.toml")]
    pub out: Option<PathBuf>,
    /// Joint to swing. Default: the first that has room to both sides.
    #[arg(long, value_name = "NAME")]
    pub joint: Option<String>,
    /// Share of the arm's limits that the motion may use, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub speed: f64,
    /// Take the arm's lease over from a policy's operator; what runs under it ends in a hold.
    #[arg(long)]
    pub take_over: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus calibrate latency camera`.
#[derive(Debug, Args)]
pub struct CameraLatencyArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Name of the camera.
    #[arg(long, value_name = "NAME")]
    pub camera: String,
    /// What terminal and screen take to show a change, milliseconds; taken off the result.
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub screen_ms: f64,
    /// How often the light changes, some 0.6 s apart.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(12..=10_000))]
    pub changes: u32,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus calibrate scene`.
#[derive(Debug, Args)]
pub struct SceneArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Name of the camera.
    #[arg(long, value_name = "NAME")]
    pub camera: String,
    /// JPEG file to keep the picture in; one that is there stays unless the new one will do. `camera.scene` of the cell file names it.
    #[arg(long, value_name = "FILE.jpg", required_unless_present = "compare")]
    pub out: Option<PathBuf>,
    /// Picture that was kept, to compare with; exit code 3 when the camera has moved.
    #[arg(long, value_name = "FILE.jpg", conflicts_with = "out")]
    pub compare: Option<PathBuf>,
}
