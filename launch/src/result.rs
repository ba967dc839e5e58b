//! Where results go: stdout, of which the reader may close its end (`tactus bundle verify B | head`) at any time.
//!
//! Decides nothing about what a result is or how it looks.

use std::io::{ErrorKind, Write};

use anyhow::Context;

/// Writes a line to stdout. A reader that has seen enough is no error.
///
/// # Errors
/// When stdout cannot be written for any other reason, such as a full disk.
pub fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("writing the result"),
        _ => Ok(()),
    }
}
