//! `tactus record`: the black box of a cell, or a recording of everything.
//!
//! Decides where files go when nobody said. What is kept and when it is written is decided in `tactus-record`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tactus_record::black_box::MAX_BYTES;
use tactus_record::patience::Times;
use tactus_record::{
    About, Attached, BlackBoxOptions, Ending, Folder, Listened, Progress, RecordingOptions,
    run_black_box, run_recording,
};
use tactus_types::{Clock, Time};

use crate::cell::{self, Cell};
use crate::cli::RecordArgs;
use crate::result;
use crate::roles::{self, Joined};

/// How far a black box reaches back when nobody said.
const WINDOW: Duration = Duration::from_secs(10);
/// Word of a recording's configuration: how much ahead actions were commanded, nanoseconds; absent for not at all.
pub const LEAD: &str = "arm_lead_nanos";
/// The recorder is the first to wait when the machine is busy: its inbox holds seconds, an arm's holds none.
const NICE: i32 = 5;

/// Keeps the black box, or records, until it is stopped.
pub fn record(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let cells = cell::load_arms(&args.role.cell)?;
    let cell = cell::load_any(&args.role.cell)?;
    if cell.pair.is_some() && (args.to.is_none() || cells.len() < 2) {
        anyhow::bail!(
            "cell file {}: of two arms everything is recorded, of both (--cell {} --to FILE); a black box is of one arm",
            args.role.cell.display(),
            cell.file.display()
        );
    }
    yield_to_others();
    let joined = roles::join(&args.role, "record")?;
    match &args.to {
        Some(to) => to_file(&cells, to, &joined),
        None => black_box(&cell, args, &joined).map(|()| ExitCode::SUCCESS),
    }
}

/// What files say of themselves that begin now.
fn about(cell: &Cell, joined: &Joined) -> About {
    let Joined { clock, .. } = joined;
    About {
        cell: cell.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        clock: clock.id(),
        unix_offset: clock.unix_offset(),
    }
}

/// How Zenoh is told to receive on the thread that waits for its sockets, instead of waking two others for every packet.
const ZENOH_RUNTIME: &str = "ZENOH_RUNTIME";

/// Freed memory up to so many bytes stays with the process, and pieces up to so many are taken from it. Otherwise the memory
/// of every picture is given back to the system and taken anew, page by page: a fifth of what recording costs.
const KEPT_BYTES: libc::c_int = 64 << 20;
const PIECE_BYTES: libc::c_int = 4 << 20;

/// Gives this process the recorder's priority and its ways of receiving and of keeping memory. Before there are threads: they
/// inherit them.
pub fn yield_to_others() {
    #[cfg(target_env = "gnu")]
    for (parameter, bytes) in [
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        (libc::M_MMAP_THRESHOLD, PIECE_BYTES),
    ] {
        // SAFETY: glibc takes any number here, and refuses one that it cannot use.
        if unsafe { libc::mallopt(parameter, bytes) } == 0 {
            tracing::debug!("memory is given back as usual");
        }
    }
    if std::env::var_os(ZENOH_RUNTIME).is_none() {
        // SAFETY: no other thread reads the environment: there is none yet.
        unsafe { std::env::set_var(ZENOH_RUNTIME, "(rx: (handover: app))") };
    }
    if let Err(e) = rustix::process::nice(NICE) {
        tracing::warn!("the recorder keeps its priority: {e}");
    }
}

/// What is listened to of `cell`, and of the one beside it in a file of two arms.
fn listened(cell: &Cell, second: Option<&Cell>) -> Listened {
    let cells = || std::iter::once(cell).chain(second);
    Listened {
        cell: cell.wire.clone(),
        arms: cells().map(|cell| cell.arm.clone()).collect(),
        devices: cells().map(|cell| cell.device.clone()).collect(),
        cameras: cell.cameras.iter().map(|c| c.name.clone()).collect(),
        engines: vec![cell.engine.clone()],
    }
}

fn black_box(cell: &Cell, args: &RecordArgs, joined: &Joined) -> anyhow::Result<()> {
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
    let mut options = BlackBoxOptions {
        listened: listened(cell, None),
        budget: cell.budget,
        times: Times::new(window),
        max_bytes: MAX_BYTES,
        folder: Folder::new(path, cell.name.clone()),
        about: about(cell, joined),
    };
    while run_black_box(&options, &joined.session, &joined.stop)? == Ending::NewClock {
        tracing::warn!("{NEW_CLOCK}: the black box begins anew");
        options.about = about(cell, joined);
    }
    Ok(())
}

/// Why a recorder cannot go on in one file.
const NEW_CLOCK: &str = "the arm's host was started again, and its times are of another clock";

/// Name of the cell file inside a recording.
pub const CELL_FILE: &str = "cell.toml";

/// The cell file, to go into a recording, and what it and the bundle beside it were: hashes and versions.
pub fn configuration(cell: &Cell) -> anyhow::Result<(BTreeMap<String, String>, Vec<Attached>)> {
    let text =
        std::fs::read(&cell.file).with_context(|| format!("cell file {}", cell.file.display()))?;
    let mut words = BTreeMap::new();
    words.insert("cell_file".into(), cell.file.display().to_string());
    words.insert("cell_sha256".into(), sha256(&text));
    // A bundle's id is the hash of its manifest. The engine may be elsewhere, and says which one it runs.
    if let Ok(manifest) = std::fs::read(cell.bundle.join("bundle.toml")) {
        words.insert("bundle_of_the_cell_file".into(), sha256(&manifest));
    }
    for camera in &cell.cameras {
        for (kind, word) in camera.calibration.words() {
            words.insert(format!("calibration.{}.{kind}", camera.name), word);
        }
    }
    if let Some((_, _, seal)) = &cell.latency {
        let word = format!("{} {}", seal.id, seal.sha256);
        words.insert(format!("calibration.{}.latency", cell.arm), word);
    }
    // Replay goes by it, whatever has been measured since.
    if !cell.schedule.lead.is_zero() {
        let nanos = cell.schedule.lead.as_nanos().to_string();
        words.insert(LEAD.into(), nanos);
    }
    words.insert("tactus_version".into(), env!("CARGO_PKG_VERSION").into());
    let attached = Attached {
        name: CELL_FILE.into(),
        media_type: "application/toml",
        data: text,
    };
    Ok((words, vec![attached]))
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses a file that is there already, or whose folder is not, before anything is started.
pub fn check_target(to: Option<&Path>) -> anyhow::Result<()> {
    let Some(to) = to.filter(|to| !to.is_dir()) else {
        return Ok(());
    };
    if to.exists() {
        anyhow::bail!("recording {}: the file exists already", to.display());
    }
    let folder = to.parent().filter(|f| !f.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            anyhow::bail!("recording {}: no such folder", to.display())
        }
        _ => Ok(()),
    }
}

/// `to`, or in the folder `to` a file named after the cell and the date.
fn file_in(to: &Path, cell: &Cell, about: &About, now: Time) -> PathBuf {
    if !to.is_dir() {
        return to.into();
    }
    let date = tactus_record::date::compact(about.unix_offset + now.since(Time::ZERO));
    to.join(format!("{}-{date}.mcap", cell.name))
}

fn to_file(cells: &[Cell], to: &Path, joined: &Joined) -> anyhow::Result<ExitCode> {
    let mut dropped = 0;
    loop {
        let (file, progress) = one_file(cells, to, joined)?;
        dropped += progress.dropped;
        result::line(format_args!("{}: {}", file.display(), words(&progress)))?;
        let file = file.display();
        match progress.ending {
            Ending::Told if dropped == 0 => return Ok(ExitCode::SUCCESS),
            Ending::Told => return Ok(ExitCode::from(3)),
            Ending::DiskFull { free } => anyhow::bail!(
                "{file}: the disk is full ({:.0} MB free), so the recording was ended; what is in the file is whole",
                free as f64 / 1e6
            ),
            Ending::NewClock if to.is_dir() => tracing::warn!("{NEW_CLOCK}: another file begins"),
            Ending::NewClock => anyhow::bail!(
                "{file}: {NEW_CLOCK}, so the recording was ended; what is in the file is whole (with a folder for --to, another file would follow)"
            ),
        }
    }
}

/// Records until something ends it; which file, and how far it came.
fn one_file(cells: &[Cell], to: &Path, joined: &Joined) -> anyhow::Result<(PathBuf, Progress)> {
    let [cell, others @ ..] = cells else {
        anyhow::bail!("a cell with an arm: expected one, got none");
    };
    let about = about(cell, joined);
    let file = file_in(to, cell, &about, joined.clock.now());
    let (configuration, attached) = configuration(cell)?;
    let options = RecordingOptions {
        listened: listened(cell, others.first()),
        about,
        configuration,
        attached,
    };
    tracing::info!("recording to {}", file.display());
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("progress line")?);
    let on_progress = |progress: &Progress| {
        bar.set_message(words(progress));
        bar.tick();
    };
    let Joined { session, stop, .. } = joined;
    let recorded = run_recording(&options, &file, session, stop, on_progress);
    bar.finish_and_clear();
    let progress = recorded.with_context(|| {
        let file = file.display();
        format!("{file}: the recording ended early; it can be read up to there")
    })?;
    Ok((file, progress))
}

fn words(progress: &Progress) -> String {
    let Progress {
        messages,
        bytes,
        dropped,
        elapsed,
        ending: _,
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
