//! `tactus recording export --lerobot`: recordings to a dataset, with a bar.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tactus_record::lerobot::{ExportOptions, Exported, export};

use crate::result;

/// Adds the episodes of `files` to a set.
pub fn set(files: &[PathBuf], options: &ExportOptions) -> anyhow::Result<ExitCode> {
    let bar = ProgressBar::new(0);
    let style = "{bar:30} {pos}/{len} episodes, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).context("progress line")?);
    let exported = export(files, options, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let Exported {
        episodes,
        before,
        frames,
        open,
    } = exported?;
    result::line(format_args!(
        "{}: {episodes} episodes, {frames} rows; {before} of the episodes were there before",
        options.folder.display()
    ))?;
    if open > 0 {
        tracing::warn!("{open} episodes have no end in their recordings and were left out");
    }
    Ok(ExitCode::SUCCESS)
}
