//! Why something was not recorded.

use std::path::PathBuf;

use tactus_wire::SessionError;

/// What kept a recording from being made or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused something about a file or folder.
    #[error("{}: cannot {action}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The MCAP library refused something.
    #[error("{}: {}", file.display(), whole(reason))]
    Mcap {
        /// Which file.
        file: PathBuf,
        /// What the library said.
        reason: mcap::McapError,
    },
    /// The network cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        reason: std::io::Error,
    },
}

/// The library's words and, where it hides them behind its own, the system's (`No space left on device`).
fn whole(error: &mcap::McapError) -> String {
    match error {
        mcap::McapError::Io(reason) => reason.to_string(),
        other => other.to_string(),
    }
}
