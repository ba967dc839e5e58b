//! A recording: everything of a cell, to one file, until it is stopped.
//!
//! The file carries its name from the beginning and is written through every second, so that a killed recorder leaves a
//! file that can be read up to then.

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
use crate::write::{About, COUNTS, McapFile};

/// How often the inbox is emptied.
const NAP: Duration = Duration::from_millis(20);
/// What may be lost when the recorder is killed, and how often it says how far it is.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How a recording is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingOptions {
    /// What is recorded.
    pub listened: Listened,
    /// What the file says of itself.
    pub about: About,
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
    let RecordingOptions { listened, about } = options;
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
            }
        }
    })?;
    let closed = recorded.and_then(|()| {
        let mut counts = intake.words();
        counts.insert(
            "dropped_before_the_file".into(),
            progress.dropped.to_string(),
        );
        if let Some(id) = intake.bundle_id() {
            counts.insert("bundle_id".into(), id.to_string());
        }
        mcap.note(COUNTS, counts)?;
        let sink = mcap.finish()?;
        sink.sync_all().map_err(refused("write it"))
    });
    closed.map(|()| progress)
}
