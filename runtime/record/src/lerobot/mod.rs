//! Recordings to a LeRobotDataset v3: parquet and mp4, one of each per episode and camera.
//!
//! Read in data order:
//! - [`episodes`]: where the episodes of a recording begin and end, and what each was.
//! - [`rows`]: one row per frame of the reference camera: measured state, command in force, who asked for it.
//! - `video`: frames to mp4, by a program of its own; `table`: columns to parquet; `meta`: what describes the set.
//! - [`export`]: recordings to a set, episode by episode, resuming where it was interrupted.
//!
//! Decides which message belongs to which row. Changes no number but to the set's 32-bit floats; pictures are encoded
//! with loss.

pub mod episodes;
pub mod export;
mod meta;
pub mod rows;
mod stats;
mod table;
mod video;

use std::path::PathBuf;

pub use export::{ExportOptions, Exported, export};
pub use video::Codec;

use crate::RecordError;

/// What kept a set from being made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordError),
    /// The system refused something about a file or folder of the set.
    #[error("{}: cannot {action}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A picture cannot be encoded.
    #[error("camera `{camera}`: {reason}")]
    Video {
        /// The camera.
        camera: String,
        /// What happened.
        reason: String,
    },
    /// A recording does not hold what an episode needs.
    #[error("{}: {what}", file.display())]
    Lacks {
        /// The recording.
        file: PathBuf,
        /// What is not there.
        what: String,
    },
    /// The folder holds another set.
    #[error("{}: {field}: expected {expected}, got {actual}", folder.display())]
    Differs {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        field: &'static str,
        /// What the set in the folder has.
        expected: String,
        /// What was asked for, or what the recording has.
        actual: String,
    },
}
