//! `tactus record`: the black box of a cell, or a recording of everything.
//!
//! Decides where files go when nobody said. What is kept and when it is written is decided in `tactus-record`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tactus_record::black_box::MAX_BYTES;
use tactus_record::patience::Times;
use tactus_record::{
    About, BlackBoxOptions, Folder, Listened, Progress, RecordingOptions, run_black_box,
    run_recording,
};
use tactus_types::Clock;

use crate::cell::{self, Cell};
use crate::cli::RecordArgs;
use crate::result;
use crate::roles::{self, Joined};

/// How far a black box reaches back when nobody said.
const WINDOW: Duration = Duration::from_secs(10);
/// The recorder is the first to wait when the machine is busy: its inbox holds seconds, an arm's holds none.
const NICE: i32 = 5;

/// Keeps the black box, or records, until it is stopped.
pub fn record(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let cell = cell::load(&args.role.cell)?;
    // Before there are threads: they inherit it.
    if let Err(e) = rustix::process::nice(NICE) {
        tracing::warn!("the recorder keeps its priority: {e}");
    }
    let joined = roles::join(&args.role, "record")?;
    let Joined { clock, .. } = &joined;
    let about = About {
        cell: cell.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        clock: clock.id(),
        unix_offset: clock.unix_offset(),
    };
    match &args.to {
        Some(file) => to_file(&cell, file.clone(), about, &joined),
        None => black_box(&cell, args, about, &joined).map(|()| ExitCode::SUCCESS),
    }
}

fn listened(cell: &Cell) -> Listened {
    Listened {
        cell: cell.wire.clone(),
        arms: vec![cell.arm.clone()],
        devices: vec![cell.device.clone()],
        cameras: cell.cameras.iter().map(|c| c.name.clone()).collect(),
        engines: vec![cell.engine.clone()],
    }
}

fn black_box(cell: &Cell, args: &RecordArgs, about: About, joined: &Joined) -> anyhow::Result<()> {
    let window = match args.black_box_secs {
        Some(secs) => Duration::from_secs(secs.into()),
        None => cell.record.as_ref().map_or(WINDOW, |record| record.window),
    };
    let path = args.out.clone().unwrap_or_else(|| folder(cell));
    tracing::info!(
        secs = window.as_secs_f64(),
        "black box; files go to {}",
        path.display()
    );
    let options = BlackBoxOptions {
        listened: listened(cell),
        budget: cell.budget,
        times: Times::new(window),
        max_bytes: MAX_BYTES,
        folder: Folder::new(path, cell.name.clone()),
        about,
    };
    Ok(run_black_box(&options, &joined.session, &joined.stop)?)
}

fn to_file(cell: &Cell, file: PathBuf, about: About, joined: &Joined) -> anyhow::Result<ExitCode> {
    let options = RecordingOptions {
        listened: listened(cell),
        about,
    };
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("progress line")?);
    let on_progress = |progress: &Progress| {
        bar.set_message(words(progress));
        bar.tick();
    };
    let Joined { session, stop, .. } = joined;
    let recorded = run_recording(&options, &file, session, stop, on_progress);
    bar.finish_and_clear();
    let progress = recorded?;
    result::line(format_args!("{}: {}", file.display(), words(&progress)))?;
    Ok(if progress.dropped == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

fn words(progress: &Progress) -> String {
    let Progress {
        messages,
        bytes,
        dropped,
        elapsed,
    } = progress;
    format!(
        "{:.0} s, {messages} messages, {:.1} MB, {dropped} dropped",
        elapsed.as_secs_f64(),
        *bytes as f64 / 1e6
    )
}

/// Where the black-box files of `cell` go: where the cell file says, else `tactus/<cell>` in the user's folder for what
/// programs keep (`$XDG_STATE_HOME`, by default `~/.local/state`), else in the system's folder for temporary files.
pub fn folder(cell: &Cell) -> PathBuf {
    if let Some(folder) = cell.record.as_ref().and_then(|r| r.folder.clone()) {
        return folder;
    }
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir);
    state.join("tactus").join(cell.name.as_str())
}
