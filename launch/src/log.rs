//! Where this process logs to: stderr, or a file while the live view has the terminal.
//!
//! Decides nothing about what is logged; `--log` does.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The file that replaces stderr, while there is one.
static ASIDE: Mutex<Option<File>> = Mutex::new(None);

/// Libraries are heard from `warn` on. Zenoh's orchestrator warns when a peer that gossip told of is gone by the time it
/// is called, as every short-lived process (`tactus order`) soon is; what a user can mend comes back as an error.
const LIBRARIES: &str = "zenoh=warn,zenoh::net::runtime::orchestrator=error,ort=warn";

/// Starts logging at `level`, a `tracing` filter.
pub fn start(level: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{level},{LIBRARIES}")))
        .with_writer(Lines)
        .with_target(false)
        // It would tell on stderr, and panic where that is what could not be written.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Logging goes to `file` until this is dropped.
#[must_use = "dropping it turns logging back to stderr"]
pub struct Aside;

/// Turns logging to `file`, which is created or appended to.
///
/// # Errors
/// When the file cannot be opened.
pub fn aside(file: &Path) -> anyhow::Result<Aside> {
    let opened = File::options().create(true).append(true).open(file);
    let opened = opened.with_context(|| format!("log {}", file.display()))?;
    *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
    Ok(Aside)
}

impl Drop for Aside {
    fn drop(&mut self) {
        *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write(bytes),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.flush(),
            None => std::io::stderr().flush(),
        }
    }
}
