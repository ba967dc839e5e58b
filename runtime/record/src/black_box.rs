//! The black box: keeps the last seconds of a cell, and writes them when something went wrong.
//!
//! Three threads, none of which anyone waits for: Zenoh's put messages into the [`Inbox`]; the caller's sorts them into
//! the [`Ring`], looks for reasons and decides when to write; a writer thread writes, so that a slow disk costs no
//! message. Decides nothing itself: see [`crate::trigger`] and [`crate::patience`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tactus_types::{Budget, Clock, ClockId, Time};
use tactus_wire::Session;

use crate::folder::{Folder, Stored};
use crate::inbox::{Inbound, Inbox};
use crate::intake::Intake;
use crate::listen::{Listened, is_another, listen, while_asking};
use crate::patience::{Dump, Patience, Times};
use crate::trigger::{Reason, Sight, Watcher};
use crate::write::{About, COUNTS, McapFile, REASONS, Words};
use crate::{Ending, Entry, RecordError, Ring};

/// Memory that messages may take unless something else is said, bytes.
pub const MAX_BYTES: usize = 256 << 20;

/// How often the inbox is emptied.
const NAP: Duration = Duration::from_millis(20);
/// A cell that is up says something a thousand times in this time.
const SILENT: Duration = Duration::from_secs(5);

/// How a black box is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct BlackBoxOptions {
    /// What it listens to.
    pub listened: Listened,
    /// What chunks are held against.
    pub budget: Budget,
    /// How far back, and when.
    pub times: Times,
    /// Memory that messages may take, bytes. While a file is written it may be up to twice that.
    pub max_bytes: usize,
    /// Where files go.
    pub folder: Folder,
    /// What files say of themselves.
    pub about: About,
}

/// A file to write.
struct Job {
    dump: Dump,
    at: Time,
    entries: Vec<Entry>,
    infos: Vec<Entry>,
    bundle_id: Option<Arc<str>>,
    counts: Words,
}

/// Keeps the black box of a cell until `stop` is set, or times are of another clock than `options.about` says; a file that
/// is due by then is still written.
///
/// # Errors
/// [`RecordError`] when the network or a thread cannot be had. A file that cannot be written is logged and counted.
pub fn run_black_box(
    options: &BlackBoxOptions,
    session: &Session,
    stop: &AtomicBool,
) -> Result<Ending, RecordError> {
    let inbox = Arc::new(Inbox::default());
    let _ears = listen(session, &options.listened, &inbox)?;
    // One file may wait while one is written; patience makes even that rare.
    let (jobs, todo) = sync_channel(1);
    let writer = {
        let (folder, about) = (options.folder.clone(), options.about.clone());
        std::thread::Builder::new()
            .name("record-write".into())
            .spawn(move || write_all(&folder, &about, &todo))
            .map_err(|reason| RecordError::Thread {
                thread: "record-write",
                reason,
            })?
    };
    let result = while_asking(session, &options.listened, &inbox, || {
        Keeper::new(options, session.clock().as_ref(), jobs).run(&inbox, stop)
    });
    if writer.join().is_err() {
        tracing::error!("the writer of the black box panicked");
    }
    result
}

/// The state of the caller's thread.
struct Keeper<'a> {
    clock: &'a dyn Clock,
    /// Whose times are kept.
    clock_id: ClockId,
    intake: Intake,
    ring: Ring,
    watcher: Watcher,
    patience: Patience,
    jobs: SyncSender<Job>,
    dropped: u64,
    files_lost: u64,
    heard_at: Time,
    silent: bool,
}

impl<'a> Keeper<'a> {
    fn new(options: &BlackBoxOptions, clock: &'a dyn Clock, jobs: SyncSender<Job>) -> Self {
        let BlackBoxOptions {
            listened,
            budget,
            times,
            max_bytes,
            about,
            ..
        } = options;
        Self {
            intake: Intake::new(listened.cell.clone(), about.clock),
            ring: Ring::new(times.reach(), *max_bytes),
            watcher: Watcher::new(*budget),
            patience: Patience::new(*times),
            jobs,
            dropped: 0,
            files_lost: 0,
            heard_at: clock.now(),
            silent: false,
            clock,
            clock_id: about.clock,
        }
    }

    fn run(mut self, inbox: &Inbox, stop: &AtomicBool) -> Ending {
        let mut batch = Vec::new();
        let mut last = self.heard_at;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            self.dropped +=
                inbox.take_into(&mut batch, if stopping { Duration::ZERO } else { NAP });
            let reading = self.clock.reading();
            if is_another(self.clock, reading.clock, self.clock_id) {
                // What waits is of the new clock, and what is kept of the old one.
                if let Some(dump) = self.patience.close(last) {
                    self.order(dump, last, true);
                }
                return Ending::NewClock;
            }
            let now = reading.at;
            if reading.clock == self.clock_id {
                last = now;
            }
            self.listen_for_silence(!batch.is_empty(), now);
            for inbound in batch.drain(..) {
                self.take(inbound, now);
            }
            for (reason, since) in self.watcher.gone(now) {
                tracing::debug!("{reason}");
                self.patience.reason(reason, since);
            }
            self.ring.forget(now);
            let due = if stopping {
                self.patience.close(now)
            } else {
                self.patience.poll(now)
            };
            if let Some(dump) = due {
                self.order(dump, now, stopping);
            }
            if stopping {
                return Ending::Told;
            }
        }
    }

    /// A black box that hears nothing says so: once, and again when it hears something.
    fn listen_for_silence(&mut self, heard: bool, now: Time) {
        if heard {
            self.heard_at = now;
        }
        let silent = now.since(self.heard_at) > SILENT;
        if silent != std::mem::replace(&mut self.silent, silent) {
            if silent {
                tracing::warn!("nothing was heard of the cell for {SILENT:?}");
            } else {
                tracing::info!("the cell is heard again");
            }
        }
    }

    fn take(&mut self, inbound: Inbound, now: Time) {
        match inbound {
            Inbound::Message(arrived) => {
                let received_at = arrived.received_at;
                if let Some((entry, sight)) = self.intake.take(arrived) {
                    self.ring.push(entry, now);
                    if let Some(sight) = sight {
                        self.look(&sight, received_at);
                    }
                }
            }
            Inbound::Alive {
                role,
                name,
                alive,
                at,
            } => {
                let sight = Sight::Alive {
                    role,
                    name,
                    alive,
                    at,
                };
                self.look(&sight, at);
            }
        }
    }

    fn look(&mut self, sight: &Sight, at: Time) {
        for reason in self.watcher.see(sight) {
            tracing::debug!("{reason}");
            self.patience.reason(reason, at);
        }
    }

    /// Hands a file to the writer. At the end there is time to wait until it has taken it.
    fn order(&mut self, dump: Dump, now: Time, wait: bool) {
        let entries = self.ring.since(dump.from);
        let job = Job {
            at: now,
            infos: self.intake.infos().cloned().collect(),
            bundle_id: self.intake.bundle_id().cloned(),
            counts: self.counts(),
            entries,
            dump,
        };
        let sent = if wait {
            self.jobs.send(job).map_err(|_| ())
        } else {
            self.jobs.try_send(job).map_err(|e| match e {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => (),
            })
        };
        if sent.is_err() {
            self.files_lost += 1;
            tracing::error!("black box not written: the disk does not keep up");
        }
    }

    /// What was counted since the start.
    fn counts(&self) -> Words {
        let mut words = self.intake.words();
        for (what, count) in [
            ("dropped_before_the_ring", self.dropped),
            ("crowded_out_of_the_ring", self.ring.crowded_out()),
            ("files_lost_to_a_slow_disk", self.files_lost),
            ("reasons_repeated_without_a_file", self.patience.repeated()),
        ] {
            words.insert(what.into(), count.to_string());
        }
        words
    }
}

/// The writer thread: writes what it is told, says how that went, and counts it.
fn write_all(folder: &Folder, about: &About, todo: &Receiver<Job>) {
    let [mut written, mut failed, mut removed] = [0u64; 3];
    while let Ok(mut job) = todo.recv() {
        for (what, count) in [
            ("files_written_before", written),
            ("files_failed_before", failed),
            ("files_removed_before", removed),
        ] {
            job.counts.insert(what.into(), count.to_string());
        }
        let why = job.dump.main().map_or(String::new(), Reason::to_string);
        match write(folder, about, &job, &why) {
            Ok(stored) => {
                written += 1;
                removed += stored.removed.len() as u64;
                say(&stored, &job, &why, removed);
            }
            Err(e) => {
                failed += 1;
                tracing::error!(failed, "black box not written: {e}");
            }
        }
    }
}

fn say(stored: &Stored, job: &Job, why: &str, removed: u64) {
    tracing::warn!(
        "black box written: {} ({} messages, {:.1} MB): {why}",
        stored.file.display(),
        job.entries.len(),
        stored.bytes as f64 / 1e6,
    );
    for file in &stored.removed {
        tracing::info!(removed, "oldest black-box file removed: {}", file.display());
    }
}

fn write(folder: &Folder, about: &About, job: &Job, why: &str) -> Result<Stored, RecordError> {
    let kind = job
        .dump
        .main()
        .map_or_else(|| "unknown".into(), Reason::kind);
    let unix = about.unix_offset + job.at.since(Time::ZERO);
    folder.store(unix, &kind, |file, path| {
        let words = about.words(why, job.bundle_id.as_deref(), job.at);
        let mut file = McapFile::begin(file, path, about.clock, &about.version, words)?;
        file.note(REASONS, reasons(about, &job.dump))?;
        file.note(COUNTS, job.counts.clone())?;
        let mut entries: Vec<&Entry> = job.entries.iter().collect();
        entries.sort_by_key(|entry| entry.captured_at);
        let begin = entries
            .first()
            .map_or(job.dump.from, |entry| entry.captured_at);
        let there: BTreeSet<&Arc<str>> = entries.iter().map(|entry| &entry.key).collect();
        for info in job.infos.iter().filter(|info| !there.contains(&info.key)) {
            file.write_at(info, begin)?;
        }
        for entry in entries {
            file.write(entry)?;
        }
        file.finish()
    })
}

/// `01` and so on: when, and what; and how many of each kind.
fn reasons(about: &About, dump: &Dump) -> Words {
    let Dump {
        reasons, counts, ..
    } = dump;
    let line = |(i, (at, reason)): (usize, &(Time, Reason))| {
        let nanos = at.as_nanos();
        (
            format!("{:02}", i + 1),
            format!("{} ({nanos}): {reason}", about.date(*at)),
        )
    };
    let counts = counts
        .iter()
        .map(|(kind, n)| (format!("count {kind}"), n.to_string()));
    reasons.iter().enumerate().map(line).chain(counts).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tactus_types::{Generation, StageTimes};
    use tactus_wire::{Cell, Counters, Header, Message, ModeReport, ModeWord, Name, Topic};

    use super::*;
    use crate::inbox::Arrived;

    const BEFORE: ClockId = ClockId(7);
    const AFTER: ClockId = ClockId(8);
    const HOST: ClockId = ClockId(9);

    /// Cell time on another host than the arm's: that is started again when this was read `of_before` times, and is known
    /// anew a little later.
    struct Followed {
        reads: AtomicU64,
        of_before: u64,
    }

    impl Clock for Followed {
        fn id(&self) -> ClockId {
            match self.reads.load(Ordering::Relaxed) {
                reads if reads < self.of_before => BEFORE,
                reads if reads < self.of_before + 3 => HOST,
                _ => AFTER,
            }
        }

        fn now(&self) -> Time {
            let reads = self.reads.fetch_add(1, Ordering::Relaxed);
            Time::from_millis(if self.id() == AFTER {
                3
            } else {
                600_000 + reads
            })
        }

        fn host_now(&self) -> tactus_types::Stamp {
            HOST.stamp(Time::from_millis(40))
        }
    }

    #[test]
    fn when_the_arms_host_was_started_again_what_is_due_is_written_and_the_box_ends() {
        let cell = Cell::new("demo").expect("legal");
        let name = |name| Name::new(name).expect("legal");
        let options = BlackBoxOptions {
            listened: Listened {
                cell: cell.clone(),
                arms: vec![],
                devices: vec![],
                cameras: vec![],
                engines: vec![],
            },
            budget: Budget::new(StageTimes::default(), Duration::ZERO),
            times: Times::new(Duration::from_secs(10)),
            max_bytes: MAX_BYTES,
            folder: Folder::new("nowhere".into(), name("demo")),
            about: About {
                cell: name("demo"),
                version: "0".into(),
                clock: BEFORE,
                unix_offset: Duration::ZERO,
            },
        };
        let inbox = Inbox::default();
        for (seq, mode) in [ModeWord::Policy, ModeWord::Hold].into_iter().enumerate() {
            let at = Time::from_millis(599_000 + seq as u64);
            let header = Header {
                clock: BEFORE,
                captured_at: at,
                published_at: at,
                seq: seq as u64,
                source: "arm".into(),
                followed: None,
            };
            let report = ModeReport {
                mode,
                reason: "the network".into(),
                fault: None,
                generation: Generation::default(),
                since: at,
                instruction: String::new(),
                counters: Counters::default(),
                lease: None,
            };
            inbox.push(Inbound::Message(Arrived {
                key: cell.key(&Topic::ArmMode(name("left"))).to_string(),
                attachment: Some(header.encode()),
                payload: report.encode().into(),
                received_at: at,
            }));
        }
        let clock = Followed {
            reads: AtomicU64::new(0),
            of_before: 4,
        };
        let (jobs, todo) = sync_channel(1);
        let ending = Keeper::new(&options, &clock, jobs).run(&inbox, &AtomicBool::new(false));
        assert_eq!(ending, Ending::NewClock);
        let job = todo.recv().expect("what was due");
        assert!(job.at > Time::from_millis(600_000), "{:?}", job.at);
        assert_eq!(job.entries.len(), 2);
        assert_eq!(job.dump.main().map(Reason::kind), Some("hold".into()));
        assert!(todo.recv().is_err(), "one file");
    }
}
