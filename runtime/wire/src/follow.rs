//! Cell time on a host that is not the arm's: the host's own monotonic clock, moved onto the arm's host's.
//!
//! Decides what such a host reads and how sure it is of that, from exchanges of readings ([`crate::offset`]). Every time that
//! leaves a process is cell time already, with the offset and its bound in the header, so that whoever receives or records
//! it needs to know of no other clock. A new estimate is approached at [`SLEW`], never jumped to: time does not go back.
//! Whoever does not know cell time to [`MOST_BOUND`] stamps by its own clock, which nobody else takes, and takes no times of
//! others. Without exchanges the bound grows by what two clocks may drift apart; after some minutes it is too wide.
//!
//! Decides nothing about whom to ask; measures nothing by itself but through [`Following`].

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tactus_types::{Clock, ClockId, Followed, Reading, Stamp, Time};

use crate::offset::{Exchange, MOST_DRIFT, OffsetTracker};
use crate::{Answered, Key, MOST_BOUND, MonotonicClock, Session};

/// How quickly a new estimate is approached, seconds per second.
pub const SLEW: f64 = 0.01;
/// An estimate that is further from the last is another clock's, and jumped to.
const JUMP_SECS: f64 = 0.1;
/// Time between two exchanges, at first ..
const FIRST_EVERY: Duration = Duration::from_millis(20);
/// .. for so many, ..
const FIRST: u32 = 10;
/// .. and from then on.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take: a later one would say little.
const WITHIN: Duration = Duration::from_millis(500);

/// Cell time, as this host knows it.
pub struct CellClock {
    own: Arc<dyn Clock>,
    /// Where this host's own clock is not the cell's by declaration.
    follows: Option<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Whose exchanges `tracker` holds.
    reference: Option<ClockId>,
    tracker: OffsetTracker,
    line: Option<Line>,
    exchanges: u64,
}

/// Where the other clock is taken to stand: an estimate, and the way to it.
#[derive(Debug, Clone, Copy)]
struct Line {
    clock: ClockId,
    /// Ours, when it was drawn.
    at: Time,
    /// Theirs less ours that was taken then, seconds.
    from: f64,
    /// What it should be.
    to: f64,
    /// How far the truth is from that at most, then, seconds.
    bound: f64,
}

impl Line {
    /// Theirs less ours that is taken at `now`, seconds.
    fn ahead(&self, now: Time) -> f64 {
        let most = SLEW * now.secs_from(self.at).max(0.0);
        self.from + (self.to - self.from).clamp(-most, most)
    }

    /// How far the truth is from that at most, seconds.
    fn bound(&self, now: Time) -> f64 {
        let drifted = MOST_DRIFT * now.secs_from(self.at).max(0.0);
        self.bound + drifted + (self.to - self.ahead(now)).abs()
    }

    fn moved(&self, at: Time, now: Time) -> Time {
        let nanos = at.as_nanos() as i128 + i128::from(self.ahead_nanos(now));
        Time::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    fn ahead_nanos(&self, now: Time) -> i64 {
        (self.ahead(now) * 1e9) as i64
    }
}

impl CellClock {
    /// Of a cell on one host, and of the arm's: `own` is the cell's clock.
    pub fn here(own: Arc<dyn Clock>) -> Self {
        Self { own, follows: None }
    }

    /// Of any other host: nothing is known until the first exchange.
    pub fn elsewhere(own: Arc<dyn Clock>) -> Self {
        Self {
            own,
            follows: Some(Mutex::default()),
        }
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.follows.as_ref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Our clock's reading, and the line that holds for it: read under the lock, so that time does not go back where a line
    /// is drawn meanwhile.
    fn now_and_line(&self) -> (Time, Option<Line>) {
        let state = self.state();
        (self.own.now(), state.and_then(|state| state.line))
    }

    /// Takes readings of `clock`, which is the arm's host's. What says nothing is left out.
    pub fn take(&self, clock: ClockId, exchange: Exchange) {
        let own = self.own.id();
        let Some(mut state) = self.state() else {
            return;
        };
        state.exchanges += 1;
        if state.reference != Some(clock) {
            // The arm's host, or the same after it was started again.
            *state = State {
                reference: Some(clock),
                exchanges: state.exchanges,
                ..State::default()
            };
        }
        if clock == own {
            return;
        }
        if let Err(e) = state.tracker.add(exchange) {
            tracing::debug!("cell time: {e}");
            return;
        }
        // Not before anything that was read meanwhile.
        let at = exchange.returned.max(self.own.now());
        let (low, high) = state.tracker.interval(at);
        let to = f64::midpoint(low, high);
        let taken = state.line.map(|line| line.ahead(at));
        state.line = Some(Line {
            clock,
            at,
            from: taken
                .filter(|taken| (taken - to).abs() < JUMP_SECS)
                .unwrap_or(to),
            to,
            bound: (high - low) / 2.0,
        });
    }

    /// Whether what this process stamps is cell time, known well enough.
    pub fn is_known(&self) -> bool {
        let Some(state) = self.state() else {
            return true;
        };
        let own = self.own.now();
        match state.line {
            Some(line) => line.bound(own) <= MOST_BOUND.as_secs_f64(),
            None => state.reference == Some(self.own.id()),
        }
    }

    /// Exchanges that were taken, and how often the other clock was seen to be set.
    pub fn exchanges(&self) -> (u64, u64) {
        self.state()
            .map_or((0, 0), |s| (s.exchanges, s.tracker.steps()))
    }

    /// What has to be added to an instant of cell time to get Unix time; see [`MonotonicClock::unix_offset`].
    pub fn unix_offset(&self) -> Duration {
        MonotonicClock::unix_now().saturating_sub(self.now().since(Time::ZERO))
    }
}

impl Clock for CellClock {
    fn id(&self) -> ClockId {
        self.reading().clock
    }

    fn now(&self) -> Time {
        let (now, line) = self.now_and_line();
        line.map_or(now, |line| line.moved(now, now))
    }

    fn reading(&self) -> Reading {
        let host = self.own.id();
        let (now, line) = self.now_and_line();
        let Some(line) = line else {
            return Reading {
                clock: host,
                at: now,
                followed: None,
            };
        };
        let bound = Duration::try_from_secs_f64(line.bound(now)).unwrap_or(Duration::MAX);
        let known = bound <= MOST_BOUND;
        Reading {
            clock: if known { line.clock } else { host },
            at: line.moved(now, now),
            followed: known.then(|| Followed {
                host,
                ahead_nanos: line.ahead_nanos(now),
                bound,
            }),
        }
    }

    fn host_now(&self) -> Stamp {
        self.own.id().stamp(self.own.now())
    }

    fn of_host(&self, at: Time) -> Time {
        let (now, line) = self.now_and_line();
        line.map_or(at, |line| line.moved(at, now))
    }
}

/// A thread that exchanges readings with the arm's host; ends when this is dropped.
pub(crate) struct Following {
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Following {
    /// Asks on `keys`, the first that is answered.
    pub(crate) fn start(
        session: Session,
        clock: Arc<CellClock>,
        keys: Vec<Key>,
    ) -> std::io::Result<Self> {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let end = ended.clone();
        let thread = std::thread::Builder::new()
            .name("cell-time".into())
            .spawn(move || {
                let mut answered = 0u32;
                loop {
                    let answer = keys.iter().find_map(|key| session.ping(key, WITHIN).ok());
                    if let Some(Answered {
                        clock: of,
                        exchange,
                        ..
                    }) = answer
                    {
                        clock.take(of, exchange);
                        answered = answered.saturating_add(1);
                    }
                    let pause = if answered < FIRST { FIRST_EVERY } else { EVERY };
                    let (ended, told) = &*end;
                    let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    let ended = told.wait_timeout_while(ended, pause, |ended| !*ended);
                    if *ended.unwrap_or_else(PoisonError::into_inner).0 {
                        return;
                    }
                }
            })?;
        Ok(Self {
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let (ended, told) = &*self.ended;
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows cell time panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// A clock that a test moves.
    struct Hand(ClockId, AtomicU64);

    impl Clock for Hand {
        fn id(&self) -> ClockId {
            self.0
        }

        fn now(&self) -> Time {
            Time::from_nanos(self.1.load(Ordering::Relaxed))
        }
    }

    const OWN: ClockId = ClockId(7);
    const ARM: ClockId = ClockId(9);

    fn at(secs: f64) -> Time {
        Time::from_nanos((secs * 1e9) as u64)
    }

    fn clock() -> (Arc<Hand>, CellClock) {
        let own = Arc::new(Hand(OWN, AtomicU64::new(1_000_000_000)));
        (own.clone(), CellClock::elsewhere(own))
    }

    /// An exchange that begins at `sent`, ours, with a clock that is `ahead`, over ways of these lengths, seconds.
    fn exchange(sent: f64, ahead: f64, there: f64, back: f64) -> Exchange {
        Exchange {
            sent: at(sent),
            received: at(sent + there + ahead),
            answered: at(sent + there + ahead),
            returned: at(sent + there + back),
        }
    }

    #[test]
    fn a_host_without_an_exchange_stamps_by_its_own_clock_and_one_with_it_by_the_arms() {
        let (own, clock) = clock();
        assert_eq!(clock.id(), OWN);
        assert!(!clock.is_known());
        clock.take(ARM, exchange(1.0, 4321.0, 0.003, 0.005));
        own.1.store(1_008_000_000, Ordering::Relaxed);
        let reading = clock.reading();
        assert!(clock.is_known());
        assert_eq!(reading.clock, ARM);
        let followed = reading.followed.expect("another host's");
        assert_eq!(followed.host, OWN);
        assert!(
            followed.bound <= Duration::from_micros(4001),
            "{followed:?}"
        );
        let error = reading.at.secs_from(at(1.008 + 4321.0)).abs();
        assert!(error <= 0.004, "{error}");
        // Its own clock is still asked for by whoever measures it, and the kernel's stamps are moved as it is.
        assert_eq!(clock.host_now(), OWN.stamp(at(1.008)));
        assert_eq!(clock.of_host(at(1.008)), clock.now());
    }

    #[test]
    fn the_bound_grows_in_silence_until_nobody_takes_the_time() {
        let (own, clock) = clock();
        clock.take(ARM, exchange(1.0, 50.0, 0.004, 0.004));
        own.1.store(60_000_000_000, Ordering::Relaxed);
        assert!(clock.is_known(), "a minute: 4 ms and 12 ms of drift");
        let before = clock.now();
        own.1.store(120_000_000_000, Ordering::Relaxed);
        assert!(!clock.is_known(), "two minutes: 4 ms and 24 ms");
        assert_eq!(clock.id(), OWN);
        assert_eq!(clock.reading().followed, None);
        assert!(clock.now() > before, "it goes on, for who waits by it");
        clock.take(ARM, exchange(120.0, 50.0, 0.004, 0.004));
        own.1.store(120_008_000_000, Ordering::Relaxed);
        assert_eq!(clock.id(), ARM);
    }

    #[test]
    fn the_arms_own_host_and_one_clock_follow_nothing() {
        let own = Arc::new(Hand(ARM, AtomicU64::new(5)));
        let here = CellClock::here(own.clone());
        here.take(OWN, exchange(1.0, 4.0, 0.001, 0.001));
        assert_eq!((here.id(), here.now()), (ARM, Time::from_nanos(5)));
        assert!(here.is_known());
        let beside = CellClock::elsewhere(own);
        assert!(!beside.is_known());
        beside.take(ARM, exchange(1.0, 0.0, 0.001, 0.001));
        assert!(beside.is_known());
        assert_eq!(
            (beside.id(), beside.now(), beside.reading().followed),
            (ARM, Time::from_nanos(5), None)
        );
    }

    #[test]
    fn an_arms_host_that_was_started_again_is_followed_anew() {
        let (own, clock) = clock();
        clock.take(ARM, exchange(1.0, 5000.0, 0.001, 0.001));
        own.1.store(10_000_000_000, Ordering::Relaxed);
        clock.take(ClockId(10), exchange(10.0, 3.0, 0.001, 0.001));
        own.1.store(10_002_000_000, Ordering::Relaxed);
        let reading = clock.reading();
        assert_eq!(reading.clock, ClockId(10));
        assert!(reading.at.secs_from(at(13.002)).abs() < 0.001);
    }

    proptest! {
        /// Ways of any lengths, clocks that drift: time goes forward, and the truth is within the bound.
        #[test]
        fn time_goes_forward_and_the_truth_is_within_the_bound(
            ahead in -400.0..1e6f64,
            ppm in -150.0..150.0f64,
            ways in proptest::collection::vec((1e-5..0.03f64, 1e-5..0.03f64, 0.001..3.0f64), 1..40),
        ) {
            let (own, clock) = clock();
            let mut now = 500.0;
            let theirs = |now: f64| now * (1.0 + ppm * 1e-6) + ahead;
            let mut before = None;
            let mut look = |now: f64, own: &Hand| {
                own.1.store((now * 1e9) as u64, Ordering::Relaxed);
                let reading = clock.reading();
                if let Some(followed) = reading.followed {
                    let error = reading.at.secs_from(at(theirs(now))).abs();
                    // Floats of a million seconds are good for a tenth of a microsecond.
                    prop_assert!(error <= followed.bound.as_secs_f64() + 1e-6, "{error} {followed:?}");
                    let last = before.replace(reading.at);
                    prop_assert!(last.is_none_or(|last| last <= reading.at), "{last:?} {reading:?}");
                }
                Ok(())
            };
            for (there, back, pause) in ways {
                let exchange = Exchange {
                    sent: at(now),
                    received: at(theirs(now + there)),
                    answered: at(theirs(now + there)),
                    returned: at(now + there + back),
                };
                clock.take(ARM, exchange);
                now += there + back;
                for share in [0.0, 0.1, 0.5, 1.0] {
                    look(now + share * pause, &own)?;
                }
                now += pause;
            }
        }
    }
}
