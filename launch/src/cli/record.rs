//! Recordings, and what is made of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::cell::{PolicyArgs, RoleArgs};

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

/// Parts of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplayOf {
    /// Scheduler, supervisor, limiter.
    Control,
    /// Chunks.
    Inference,
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
