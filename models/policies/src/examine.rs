//! What a bundle computes and what that costs, without an arm: by its family.

use std::path::Path;

use tactus_bundle::AnyBundle;
use tactus_vla::{CostReport, RunOptions, VerifyReport};

use crate::open::OpenError;

/// Replays the golden cases of the bundle in `dir`.
///
/// # Errors
/// [`OpenError`] when it cannot be used at all; a comparison out of tolerance is a row of the report.
pub fn verify(dir: &Path, options: &RunOptions) -> Result<VerifyReport, OpenError> {
    Ok(match AnyBundle::open(dir)? {
        AnyBundle::Vla(_) => tactus_vla::verify(dir, options)?,
        AnyBundle::Direct(_) => tactus_direct::verify(dir, options)?,
    })
}

/// Measures `chunks` chunks of the bundle in `dir`; `on_chunk` is called after each.
///
/// # Errors
/// [`OpenError`] when it cannot be opened or a chunk not be made.
pub fn measure(
    dir: &Path,
    options: &RunOptions,
    chunks: usize,
    on_chunk: impl FnMut(),
) -> Result<CostReport, OpenError> {
    Ok(match AnyBundle::open(dir)? {
        AnyBundle::Vla(_) => tactus_vla::measure(dir, options, chunks, on_chunk)?,
        AnyBundle::Direct(_) => tactus_direct::measure(dir, options, chunks, on_chunk)?,
    })
}
