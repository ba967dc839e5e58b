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
use crate::listen::{Listened, is_another, listen, while_asking};
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

/// Why a recording, or a black box, ended.
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
    /// Times are of another clock now: the arm's host was started again.
    NewClock,
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

/// Records into `file`, which must not exist, until `stop` is set or its [`Ending`] comes by itself; `on_progress` is called
/// every second.
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
    let mut intake = Intake::new(listened.cell.clone(), about.clock);
    let mut progress = Progress::default();
    let recorded = while_asking(session, listened, &inbox, || {
        let mut batch = Vec::new();
        let mut flush_at = started + FLUSH_EVERY;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            let nap = if stopping { Duration::ZERO } else { NAP };
            progress.dropped += inbox.take_into(&mut batch, nap);
            if is_another(clock, clock.id(), about.clock) {
                progress.ending = Ending::NewClock;
                return Ok(());
            }
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
        let because = match progress.ending {
            Ending::Told => None,
            Ending::DiskFull { free } => Some(format!("the disk is full: {free} bytes free")),
            Ending::NewClock => Some("the arm's host was started again".into()),
        };
        counts.extend(because.map(|words| ("ended_because".into(), words)));
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tactus_types::{Clock, ClockId, Stamp, Time};
    use tactus_wire::{Cell, Name, SessionOptions};

    use super::*;
    use crate::inspect;

    const HOST: ClockId = ClockId(9);

    /// Cell time on another host than the arm's; a tenth of a second passes whenever it is read.
    struct Followed {
        id: AtomicU64,
        reads: AtomicU64,
    }

    impl Clock for Followed {
        fn id(&self) -> ClockId {
            ClockId(self.id.load(Ordering::Relaxed))
        }

        fn now(&self) -> Time {
            Time::from_millis(600_000 + 100 * self.reads.fetch_add(1, Ordering::Relaxed))
        }

        fn host_now(&self) -> Stamp {
            HOST.stamp(Time::from_millis(40))
        }
    }

    #[test]
    fn when_the_arms_host_was_started_again_the_file_ends_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("r.mcap");
        let clock = Arc::new(Followed {
            id: AtomicU64::new(7),
            reads: AtomicU64::new(0),
        });
        let session = Session::open(&SessionOptions::default(), "record", clock.clone());
        let options = RecordingOptions {
            listened: Listened {
                cell: Cell::new("demo").expect("legal"),
                arms: vec![],
                devices: vec![],
                cameras: vec![],
                engines: vec![],
            },
            about: About {
                cell: Name::new("demo").expect("legal"),
                version: "0".into(),
                clock: ClockId(7),
                unix_offset: Duration::ZERO,
            },
            configuration: Words::new(),
            attached: vec![],
        };
        let (mut seconds, stop) = (0, AtomicBool::new(false));
        let progress = run_recording(&options, &file, &session.expect("a session"), &stop, |_| {
            seconds += 1;
            // First nobody's, for as long as the new one is not known; then the new one.
            clock
                .id
                .store(if seconds == 1 { HOST.0 } else { 8 }, Ordering::Relaxed);
            stop.store(seconds > 2, Ordering::Relaxed);
        });
        assert_eq!(progress.expect("recorded").ending, Ending::NewClock);
        assert_eq!(seconds, 2);
        let report = inspect(&file).expect("a recording");
        assert_eq!(report.cut, None);
        let because = report
            .metadata
            .iter()
            .find_map(|(_, words)| words.get("ended_because"));
        assert!(because.is_some_and(|why| why.contains("started again")));
    }
}
