//! Who missed a deadline, and what the host was doing then.
//!
//! A thread of its own reads the host's load four times a second ([`crate::load`]); a miss that it is told of is counted,
//! and logged with the load of the stretch that it fell into, at most one line a stretch. The control thread has no part
//! in this: the messenger tells.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactus_types::{Clock, Culprit, HostLoad, Misses, Stage};

use crate::load::LoadMeter;

/// Time between two readings.
const STRETCH: Duration = Duration::from_millis(250);
/// Misses of one stretch that are told; more are counted when there is room.
const TOLD: usize = 256;

/// A deadline that was missed.
#[derive(Debug, Clone, PartialEq)]
pub enum Miss {
    /// A chunk took longer than its budget.
    Chunk {
        /// Request behind it.
        request_id: u64,
        /// The stage that was furthest over.
        stage: Stage,
        /// What it took.
        took: Duration,
        /// What it may take.
        declared: Duration,
    },
    /// The control thread missed deadlines of ticks.
    Tick {
        /// How many.
        deadlines: u64,
        /// What made it miss them.
        culprit: Culprit,
        /// How late it had woken before.
        late: Duration,
        /// What it had done since.
        work: Duration,
    },
    /// The engine did not answer a request in time.
    Unanswered {
        /// How long it was waited for.
        waited: Duration,
        /// The longest stage of the last chunk that came.
        last: Option<(Stage, Duration)>,
    },
}

impl Miss {
    /// What missed it.
    pub fn culprit(&self) -> Culprit {
        match self {
            Self::Chunk { stage, .. } => Culprit::Stage(*stage),
            Self::Tick { culprit, .. } => *culprit,
            Self::Unanswered { .. } => Culprit::Engine,
        }
    }
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chunk {
                request_id,
                stage,
                took,
                declared,
            } => write!(
                f,
                "chunk {request_id}: stage `{}` took {took:.1?}, budgeted {declared:.1?}",
                stage.name()
            ),
            Self::Tick {
                deadlines,
                culprit,
                late,
                work,
            } => {
                write!(f, "{deadlines} control ticks: ")?;
                match culprit {
                    Culprit::Stage(stage) => write!(f, "stage `{}`", stage.name())?,
                    Culprit::Host | Culprit::Engine => write!(f, "the host")?,
                }
                write!(f, " (woken {late:.1?} late, worked {work:.1?})")
            }
            Self::Unanswered { waited, last } => {
                write!(f, "no answer of the engine for {waited:.0?}")?;
                match last {
                    Some((stage, took)) => write!(
                        f,
                        "; longest in the last chunk: stage `{}`, {took:.1?}",
                        stage.name()
                    ),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What is known at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Testimony {
    /// Load of the last stretch.
    pub host: HostLoad,
    /// Load of the stretch of the last miss.
    pub at_miss: Option<HostLoad>,
    /// All that was told.
    pub misses: Misses,
}

impl Testimony {
    /// Takes the misses of one stretch and the load of it; returns what should be said of them.
    fn take(&mut self, misses: &[Miss], load: Option<HostLoad>) -> Option<String> {
        self.host = load.unwrap_or(self.host);
        for miss in misses {
            let times = match miss {
                Miss::Tick { deadlines, .. } => *deadlines,
                Miss::Chunk { .. } | Miss::Unanswered { .. } => 1,
            };
            (0..times).for_each(|_| self.misses.count(miss.culprit()));
        }
        let first = misses.first()?;
        self.at_miss = Some(self.host);
        let more = match misses.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        Some(format!("missed: {first}{more}; host: {}", self.host))
    }
}

/// Tells a [`Witness`] of misses, and asks it.
#[derive(Debug, Clone)]
pub struct Teller {
    to: SyncSender<Miss>,
    known: Arc<Mutex<Testimony>>,
}

impl Teller {
    /// Tells of a miss; never waits.
    pub fn tell(&self, miss: Miss) {
        if self.to.try_send(miss).is_err() {
            tracing::debug!("a miss was not told: too many at once");
        }
    }

    /// What is known now.
    pub fn testimony(&self) -> Testimony {
        *lock(&self.known)
    }

    /// Forgets the misses: what was before the arm was enabled does not count.
    pub fn forget(&self) {
        let mut known = lock(&self.known);
        known.misses = Misses::default();
        known.at_miss = None;
    }
}

/// Plain values: a writer that panicked left at worst an old one.
fn lock(known: &Mutex<Testimony>) -> MutexGuard<'_, Testimony> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's side.
#[derive(Debug)]
pub struct Witness {
    told: Receiver<Miss>,
    known: Arc<Mutex<Testimony>>,
}

/// A witness and the way to tell it.
pub fn witness() -> (Teller, Witness) {
    let (to, told) = sync_channel(TOLD);
    let known = Arc::default();
    let teller = Teller {
        to,
        known: Arc::clone(&known),
    };
    (teller, Witness { told, known })
}

impl Witness {
    /// Listens and reads until every [`Teller`] is gone.
    pub fn run(self, clock: &dyn Clock) {
        let mut meter = LoadMeter::new();
        meter.since_last(clock.now());
        let mut misses = Vec::with_capacity(TOLD);
        let mut ended = false;
        while !ended {
            let until = clock.now() + STRETCH;
            loop {
                match self.told.recv_timeout(until.since(clock.now())) {
                    Ok(miss) => misses.push(miss),
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => break,
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                        ended = true;
                        break;
                    }
                }
            }
            let load = meter.since_last(clock.now());
            let said = lock(&self.known).take(&misses, load);
            if let Some(said) = said {
                tracing::warn!("{said}");
            }
            misses.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_counted_under_its_culprit_and_said_with_the_load_around_it() {
        let millis = Duration::from_millis;
        let mut known = Testimony::default();
        let quiet = HostLoad {
            cores: 2,
            ..HostLoad::default()
        };
        assert_eq!(known.take(&[], Some(quiet)), None);
        let stolen = HostLoad {
            steal: 0.4,
            runnable: 5,
            pressure: Some(0.3),
            ..quiet
        };
        let chunk = Miss::Chunk {
            request_id: 17,
            stage: Stage::Denoise,
            took: millis(31),
            declared: millis(16),
        };
        let tick = Miss::Tick {
            deadlines: 3,
            culprit: Culprit::Host,
            late: millis(7),
            work: Duration::from_micros(20),
        };
        let said = known.take(&[chunk, tick], Some(stolen)).expect("said");
        assert_eq!(
            said,
            "missed: chunk 17: stage `denoise` took 31.0ms, budgeted 16.0ms (and 1 more); host: steal 40 %, busy 0 %, \
             5 runnable on 2 cores, waiting for a core 30 % of the time"
        );
        assert_eq!((known.misses.of(Stage::Denoise), known.misses.host), (1, 3));
        assert_eq!(known.take(&[], Some(quiet)), None);
        assert_eq!(known.at_miss, Some(stolen), "of the stretch of the miss");
        let late = Miss::Unanswered {
            waited: millis(250),
            last: Some((Stage::Backbone, millis(90))),
        };
        let said = known.take(&[late], None).expect("said");
        assert!(
            said.contains("for 250ms; longest in the last chunk: stage `backbone`, 90.0ms"),
            "{said}"
        );
        assert_eq!((known.misses.unanswered, known.misses.total()), (1, 5));
    }
}
