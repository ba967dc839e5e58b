//! Why a calibration file or board cannot be used.

use std::path::PathBuf;

/// What is wrong, where, what was expected and what is there.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A file cannot be read, written or parsed.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system or the parser says.
        reason: String,
    },
    /// A field of a file cannot be used.
    #[error("{what}: field `{field}`: expected {expected}, got {actual}")]
    Field {
        /// The file.
        what: String,
        /// The field.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// A board that cannot be described.
    #[error("board `{text}`: expected {expected}")]
    Board {
        /// What was asked for.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A file that was changed after it was made.
    #[error(
        "{}: expected the content that it was sealed with, {expected:.12}, got {actual:.12}: it was edited; calibrate again, or take out its last line, with which its provenance goes",
        path.display()
    )]
    Edited {
        /// Which.
        path: PathBuf,
        /// SHA-256 in the file.
        expected: String,
        /// SHA-256 of the file.
        actual: String,
    },
    /// A file of something else.
    #[error("{}: it is foreign: expected {expected}, got {actual}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it should be of.
        expected: String,
        /// What it is of.
        actual: String,
    },
    /// A file that no longer holds.
    #[error("{}: it is stale: expected {expected}, got {actual}", path.display())]
    Stale {
        /// Which.
        path: PathBuf,
        /// What would do.
        expected: String,
        /// What it is.
        actual: String,
    },
}
