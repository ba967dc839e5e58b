//! When the black box is written: late enough to show what followed, seldom enough not to fill the disk.
//!
//! ```text
//!             a fresh reason                      `after` without a reason, and
//!             at `first`                          `quiet` since the last file
//!   Waiting ------------------> Open { first } ---------------------------------> Waiting + one file
//!                                |    ^                  (or `quiet` after `first`)
//!                                +----+ any reason: `after` begins again
//! ```
//! - A file reaches from `window` before its first reason to the moment it is written.
//! - Between two files lies at least `quiet`. A reason within it is not lost: its file is written when `quiet` is over.
//! - A reason is *fresh* unless one of its kind came within the last `quiet`. So a limit that is met in every second tick
//!   for an hour is one file at its beginning, and does not push the one with yesterday's fault out of the folder.
//!
//! Pure: reads no clock, writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tactus_types::Time;

use crate::Reason;

/// Reasons of one kind that a file lists; more are counted.
const MAX_OF_KIND: u64 = 3;
/// Kinds of reasons that are remembered; more only come from someone who floods the cell with liveliness tokens.
const MAX_KINDS: usize = 256;

/// How patient the black box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How far a file reaches back from its first reason.
    pub window: Duration,
    /// How long it goes on after its last reason.
    pub after: Duration,
    /// Least time between two files, and most time from the first reason to the writing.
    pub quiet: Duration,
}

impl Times {
    /// With `window`, 2 s of what followed, and one file per 10 s.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            after: Duration::from_secs(2),
            quiet: Duration::from_secs(10),
        }
    }

    /// How long messages have to be kept, so that a file is whole whenever it is written.
    pub fn reach(&self) -> Duration {
        // A second for the loop that asks.
        self.window + self.quiet.max(self.after) + Duration::from_secs(1)
    }
}

/// A file that is to be written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// It holds what was received at or after this instant.
    pub from: Time,
    /// Its reasons and when they came, oldest first; of each kind the first three.
    pub reasons: Vec<(Time, Reason)>,
    /// How many of each kind came, listed or not.
    pub counts: BTreeMap<String, u64>,
}

impl Dump {
    /// The reason that tells most; of equals the first.
    pub fn main(&self) -> Option<&Reason> {
        let reasons = self.reasons.iter().rev().map(|(_, reason)| reason);
        reasons.max_by_key(|reason| reason.weight())
    }
}

#[derive(Debug)]
struct Open {
    first: Time,
    last: Time,
    dump: Dump,
}

/// Keeps the state of the diagram.
#[derive(Debug)]
pub struct Patience {
    times: Times,
    open: Option<Open>,
    written_at: Option<Time>,
    recent: BTreeMap<String, Time>,
    repeated: u64,
}

impl Patience {
    /// Waiting; nothing was ever written.
    pub fn new(times: Times) -> Self {
        Self {
            times,
            open: None,
            written_at: None,
            recent: BTreeMap::new(),
            repeated: 0,
        }
    }

    /// Takes a reason that came at `now`.
    pub fn reason(&mut self, reason: Reason, now: Time) {
        let quiet = self.times.quiet;
        self.recent.retain(|_, at| now.since(*at) < quiet);
        let kind = reason.kind();
        if self.recent.len() >= MAX_KINDS && !self.recent.contains_key(&kind) {
            self.repeated += 1;
            return;
        }
        let fresh = self.recent.insert(kind.clone(), now).is_none();
        if self.open.is_none() && !fresh {
            self.repeated += 1;
            return;
        }
        let open = self.open.get_or_insert_with(|| Open {
            first: now,
            last: now,
            dump: Dump {
                from: now.before(self.times.window),
                reasons: Vec::new(),
                counts: BTreeMap::new(),
            },
        });
        open.last = now;
        let count = open.dump.counts.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_OF_KIND {
            open.dump.reasons.push((now, reason));
        }
    }

    /// The file to write at `now`, if there is one.
    pub fn poll(&mut self, now: Time) -> Option<Dump> {
        let Times { after, quiet, .. } = self.times;
        let due = self.open.as_ref().is_some_and(|open| {
            let settled = now.since(open.last) >= after;
            let quiet_over = self.written_at.is_none_or(|at| now.since(at) >= quiet);
            (settled && quiet_over) || now.since(open.first) >= quiet.max(after)
        });
        if due { self.close(now) } else { None }
    }

    /// The file to write because nothing will follow any more, if there is one.
    pub fn close(&mut self, now: Time) -> Option<Dump> {
        let open = self.open.take()?;
        self.written_at = Some(now);
        Some(open.dump)
    }

    /// Reasons for which no file was opened, because one of their kind came shortly before.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_wire::{Name, Role};

    use super::*;
    use crate::trigger::Limit;

    const TIMES: Times = Times {
        window: Duration::from_secs(10),
        after: Duration::from_secs(2),
        quiet: Duration::from_secs(10),
    };

    fn hold() -> Reason {
        Reason::Hold { reason: "x".into() }
    }

    fn clamped(tick: u64) -> Reason {
        Reason::Clamped {
            by: Limit::Position,
            tick,
        }
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(60_000 + millis)
    }

    /// Runs `reasons` (sorted by time), polling every 100 ms; returns when which file was written.
    fn files(reasons: &[(u64, Reason)], until: u64) -> Vec<(u64, Dump)> {
        let mut patience = Patience::new(TIMES);
        let mut reasons = reasons.iter().peekable();
        let mut files = Vec::new();
        for now in (0..until).step_by(100) {
            while let Some((_, reason)) = reasons.next_if(|(when, _)| *when <= now) {
                patience.reason(reason.clone(), at(now));
            }
            files.extend(patience.poll(at(now)).map(|dump| (now, dump)));
        }
        files
    }

    #[test]
    fn one_reason_is_one_file_that_shows_what_came_before_and_after() {
        let files = files(&[(5000, hold())], 60_000);
        assert_eq!(files.len(), 1);
        let (written, dump) = &files[0];
        assert_eq!(*written, 7000);
        assert_eq!(dump.from, at(5000).before(TIMES.window));
        assert_eq!(dump.reasons, [(at(5000), hold())]);
    }

    #[test]
    fn further_reasons_extend_it_but_not_beyond_quiet() {
        let short = [(0, hold()), (1500, clamped(1)), (3000, clamped(2))];
        let written: Vec<u64> = files(&short, 60_000).iter().map(|f| f.0).collect();
        assert_eq!(written, [5000]);
        let storm: Vec<_> = (0..300).map(|i| (i * 100, clamped(i))).collect();
        let files = files(&storm, 90_000);
        assert_eq!(files.len(), 1, "a limit that goes on acting is one story");
        assert_eq!(files[0].0, 10_000);
        assert_eq!(files[0].1.reasons.len(), 3);
        assert_eq!(files[0].1.counts["clamped-position"], 101);
    }

    #[test]
    fn a_fault_within_quiet_is_not_lost_and_not_early() {
        let files = files(&[(0, clamped(1)), (4000, hold())], 60_000);
        let written: Vec<u64> = files.iter().map(|f| f.0).collect();
        assert_eq!(written, [2000, 12_000]);
        assert_eq!(files[1].1.main(), Some(&hold()));
        assert_eq!(files[1].1.from, at(4000).before(TIMES.window));
    }

    #[test]
    fn a_fault_after_many_clamps_names_the_file() {
        let mut reasons: Vec<_> = (0..100).map(|i| (i, clamped(i))).collect();
        reasons.push((1000, hold()));
        let files = files(&reasons, 60_000);
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].1.main(), Some(&hold()));
    }

    #[test]
    fn a_fault_in_a_storm_of_clamps_has_its_file() {
        let mut reasons: Vec<_> = (0..600).map(|i| (i * 100, clamped(i))).collect();
        reasons.push((30_000, hold()));
        reasons.sort_by_key(|(when, _)| *when);
        let files = files(&reasons, 90_000);
        assert_eq!(files.len(), 2);
        assert_eq!(files[1].1.main(), Some(&hold()));
    }

    #[test]
    fn what_is_open_at_the_end_is_written_at_the_end() {
        let mut patience = Patience::new(TIMES);
        assert_eq!(patience.close(at(0)), None);
        patience.reason(hold(), at(0));
        assert_eq!(patience.poll(at(10)), None);
        assert!(patience.close(at(10)).is_some());
        assert_eq!(patience.close(at(20)), None);
    }

    fn any_reason() -> impl Strategy<Value = Reason> {
        prop_oneof![
            Just(hold()),
            Just(Reason::Stopped),
            Just(Reason::Takeover),
            (0u64..9).prop_map(clamped),
            "[a-c]".prop_map(|name| Reason::Gone {
                role: Role::Camera,
                name: Name::new(&name).expect("legal"),
            }),
        ]
    }

    proptest! {
        #[test]
        fn one_file_per_quiet_period_and_every_first_reason_of_a_kind_is_in_a_file(
            mut reasons in proptest::collection::vec((0u64..120_000, any_reason()), 1..60),
        ) {
            reasons.sort_by_key(|(when, _)| *when);
            let files = files(&reasons, 150_000);
            for pair in files.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= 10_000, "{} {}", pair[0].0, pair[1].0);
            }
            for (written, dump) in &files {
                // What it needs is still there when it is written.
                prop_assert!(at(*written).since(dump.from) <= TIMES.reach());
                prop_assert!(at(*written).since(dump.reasons[0].0) >= TIMES.after);
            }
            for (i, (when, reason)) in reasons.iter().enumerate() {
                let first = !reasons[..i].iter().any(|(_, r)| r.kind() == reason.kind());
                let listed = files.iter().any(|(_, dump)| {
                    dump.reasons.iter().any(|(t, r)| *t >= at(*when) && r.kind() == reason.kind())
                });
                prop_assert!(!first || listed, "{reason} at {when}");
            }
        }
    }
}
