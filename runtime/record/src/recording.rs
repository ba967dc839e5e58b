//! A recording: everything of a cell, to one file, until it is stopped.
//!
//! The file carries its name from the beginning and is written through every second, so that a killed recorder leaves a
//! file that can be read up to then. It ends, whole, when told to, or while there is still room on the disk to end it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tactus_wire::Session;

use crate::RecordError;
use crate::inbox::{Inbound, Inbox};
use crate::intake::Intake;
use crate::listen::{Listened, listen, while_asking};
use crate::write::{About, CONFIGURATION, COUNTS, McapFile, Words};

/// How often the inbox is emptied.
const NAP: Duration = Duration::from_millis(20);
/// What may be lost when the recorder is killed, and how often it says how far it is.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Room on the disk below which a recording ends itself, bytes: index and footer still fit, and others can still write.
const MIN_FREE: u64 = 64 << 20;

/// A file that is put into a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its name there.
    pub name: String,
    /// What it is, for example `application/toml`.
    pub media_type: &'static str,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// How a recording is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingOptions {
    /// What is recorded.
    pub listened: Listened,
    /// What the file says of itself.
    pub about: About,
    /// What the cell was configured with: hashes and versions.
    pub configuration: Words,
    /// Files that go into it.
    pub attached: Vec<Attached>,
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// It was told to.
    #[default]
    Told,
    /// The disk is full but for what others may need.
    DiskFull {
        /// What is left, bytes.
        free: u64,
    },
}

/// How far a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Messages written.
    pub messages: u64,
    /// Their payloads, bytes.
    pub bytes: u64,
    /// Messages that came faster than they could be written.
    pub dropped: u64,
    /// Since the start.
    pub elapsed: Duration,
    /// Why it ended, once it has.
    pub ending: Ending,
}

/// Records into `file`, which must not exist, until `stop` is set; `on_progress` is called every second.
///
/// # Errors
/// [`RecordError`] when the network cannot be used or the file cannot be written (any more); what was written stays.
pub fn run_recording(
    options: &RecordingOptions,
    file: &Path,
    session: &Session,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> Result<Progress, RecordError> {
    let RecordingOptions {
        listened,
        about,
        configuration,
        attached,
    } = options;
    let refused = |action| {
        move |reason| RecordError::File {
            file: file.into(),
            action,
            reason,
        }
    };
    let clock = session.clock().as_ref();
    let started = clock.now();
    let sink = File::create_new(file).map_err(refused("create it"))?;
    let words = about.words("a recording of everything", None, started);
    let mut mcap = McapFile::begin(sink, file, about.clock, &about.version, words)?;
    mcap.note(CONFIGURATION, configuration.clone())?;
    for Attached {
        name,
        media_type,
        data,
    } in attached
    {
        mcap.attach(name, media_type, started, data)?;
    }
    mcap.flush()?;

    let inbox = Arc::new(Inbox::default());
    let _ears = listen(session, listened, &inbox)?;
    let mut intake = Intake::new(listened.cell.clone(), clock.id());
    let mut progress = Progress::default();
    let recorded = while_asking(session, listened, &inbox, || {
        let mut batch = Vec::new();
        let mut flush_at = started + FLUSH_EVERY;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            let nap = if stopping { Duration::ZERO } else { NAP };
            progress.dropped += inbox.take_into(&mut batch, nap);
            for inbound in batch.drain(..) {
                if let Inbound::Message(arrived) = inbound
                    && let Some((entry, _)) = intake.take(arrived)
                {
                    mcap.write(&entry)?;
                }
            }
            let now = clock.now();
            progress.messages = mcap.messages();
            progress.bytes = mcap.bytes();
            progress.elapsed = now.since(started);
            if stopping {
                return Ok(());
            }
            if now >= flush_at {
                flush_at = now + FLUSH_EVERY;
                mcap.flush()?;
                on_progress(&progress);
                if let Some(free) = free(file).filter(|free| *free < MIN_FREE) {
                    progress.ending = Ending::DiskFull { free };
                    return Ok(());
                }
            }
        }
    })?;
    let closed = recorded.and_then(|()| {
        let mut counts = intake.words();
        counts.insert(
            "dropped_before_the_file".into(),
            progress.dropped.to_string(),
        );
        if let Ending::DiskFull { free } = progress.ending {
            let words = format!("the disk is full: {free} bytes free");
            counts.insert("ended_because".into(), words);
        }
        if let Some(id) = intake.bundle_id() {
            counts.insert("bundle_id".into(), id.to_string());
        }
        mcap.note(COUNTS, counts)?;
        let sink = mcap.finish()?;
        sink.sync_all().map_err(refused("write it"))
    });
    closed.map(|()| progress)
}

/// Room on the disk of `file` for an ordinary process, bytes; `None` where the system does not tell.
fn free(file: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(file).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
