//! How far another host's clock is ahead of ours, and how sure that is, from exchanges of readings.
//!
//! Decides from four readings per exchange, and nothing else: ours when the question left, theirs when it came, theirs when
//! the answer left, ours when it came. No message arrives before it left, so each way bounds the offset from one side,
//! whatever the network did and however unlike the two ways were; the bounds of all exchanges hold together, each wider
//! by what the clocks may have drifted since. (The interval reasoning of Marzullo and Owicki, "Maintaining the time in a
//! distributed system", 1983.)

use std::collections::VecDeque;
use std::time::Duration;

use tactus_types::Time;

/// Most that one clock gains on another, seconds per second: four times what two crystals of 50 ppm do.
pub const MOST_DRIFT: f64 = 200e-6;
/// Exchanges that are kept.
const KEPT: usize = 512;
/// How long an exchange says something about drift.
const MEMORY: Duration = Duration::from_secs(600);

/// One exchange of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Our clock, before the question left.
    pub sent: Time,
    /// Theirs, after it came.
    pub received: Time,
    /// Theirs, before the answer left.
    pub answered: Time,
    /// Ours, after it came.
    pub returned: Time,
}

/// Where the other clock stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offset {
    /// Their reading less ours at the same instant, seconds.
    pub secs: f64,
    /// The truth is not further from it, seconds.
    pub bound_secs: f64,
    /// How much theirs gains on ours, seconds per second, and how far off that may be; `None` while nothing can be said.
    pub drift: Option<(f64, f64)>,
}

/// Why an exchange says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("readings of an exchange: expected each clock to go forward, got {0:?}")]
pub struct Backwards(pub Exchange);

/// Follows another clock.
#[derive(Debug, Clone, Default)]
pub struct OffsetTracker {
    exchanges: VecDeque<Exchange>,
    steps: u64,
}

impl Exchange {
    /// Highest offset that the way there allows, at `sent`, seconds.
    fn upper(&self) -> f64 {
        self.received.secs_from(self.sent)
    }

    /// Lowest offset that the way back allows, at `returned`, seconds.
    fn lower(&self) -> f64 {
        self.answered.secs_from(self.returned)
    }
}

impl OffsetTracker {
    /// Takes an exchange. What contradicts everything before it means that a clock was set: all before it is forgotten.
    ///
    /// # Errors
    /// [`Backwards`] when a reading of one clock lies before an earlier one of it.
    pub fn add(&mut self, exchange: Exchange) -> Result<(), Backwards> {
        let Exchange {
            sent,
            received,
            answered,
            returned,
        } = exchange;
        if returned < sent || answered < received {
            return Err(Backwards(exchange));
        }
        self.exchanges.push_back(exchange);
        let is_old = |e: &Exchange| returned.since(e.returned) > MEMORY;
        while self.exchanges.len() > KEPT || self.exchanges.front().is_some_and(is_old) {
            self.exchanges.pop_front();
        }
        let (low, high) = self.interval(returned);
        if low > high {
            self.exchanges.clear();
            self.exchanges.push_back(exchange);
            self.steps += 1;
        }
        Ok(())
    }

    /// How often a clock was seen to be set.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Lowest and highest offset at `now`, ours, seconds; infinite before the first exchange.
    pub(crate) fn interval(&self, now: Time) -> (f64, f64) {
        let drifted = |since: Time| MOST_DRIFT * now.secs_from(since).abs();
        let lows = self
            .exchanges
            .iter()
            .map(|e| e.lower() - drifted(e.returned));
        let highs = self.exchanges.iter().map(|e| e.upper() + drifted(e.sent));
        (
            lows.fold(f64::NEG_INFINITY, f64::max),
            highs.fold(f64::INFINITY, f64::min),
        )
    }

    /// Where the other clock stands at `now`, ours; `None` before the first exchange.
    pub fn offset(&self, now: Time) -> Option<Offset> {
        if self.exchanges.is_empty() {
            return None;
        }
        let (low, high) = self.interval(now);
        Some(Offset {
            secs: f64::midpoint(low, high),
            bound_secs: (high - low) / 2.0,
            drift: self.drift(),
        })
    }

    /// Any two exchanges bound the drift between them; the bounds of all pairs hold together.
    fn drift(&self) -> Option<(f64, f64)> {
        let (mut low, mut high) = (-MOST_DRIFT, MOST_DRIFT);
        for (i, newer) in self.exchanges.iter().enumerate() {
            for older in self.exchanges.iter().take(i) {
                let rising = newer.sent.secs_from(older.returned);
                if rising > 0.0 {
                    high = high.min((newer.upper() - older.lower()) / rising);
                }
                let falling = newer.returned.secs_from(older.sent);
                if falling > 0.0 {
                    low = low.max((newer.lower() - older.upper()) / falling);
                }
            }
        }
        let known = low > -MOST_DRIFT && high < MOST_DRIFT && low <= high;
        known.then(|| (f64::midpoint(low, high), (high - low) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Another clock: `ahead` seconds at our zero, gaining `drift`.
    #[derive(Debug, Clone, Copy)]
    struct Other {
        ahead: f64,
        drift: f64,
    }

    impl Other {
        fn at(self, ours: f64) -> Time {
            Time::from_nanos(((ours * (1.0 + self.drift) + self.ahead) * 1e9) as u64)
        }

        fn exchange(self, sent: f64, there: f64, back: f64) -> Exchange {
            Exchange {
                sent: Time::from_nanos((sent * 1e9) as u64),
                received: self.at(sent + there),
                answered: self.at(sent + there + 50e-6),
                returned: Time::from_nanos(((sent + there + 50e-6 + back) * 1e9) as u64),
            }
        }

        fn offset(self, ours: f64) -> f64 {
            self.ahead + self.drift * ours
        }
    }

    /// After two minutes of two exchanges a second, with ways of 100 us and now and then of 20 ms.
    fn followed(other: Other) -> (OffsetTracker, f64) {
        let mut tracker = OffsetTracker::default();
        let mut now = 0.0;
        for i in 0..240u32 {
            now = 1000.0 + f64::from(i) * 0.5;
            let late = |k: u32| {
                if (i + k).is_multiple_of(3) {
                    20e-3
                } else {
                    100e-6
                }
            };
            let exchange = other.exchange(now, late(0), late(1));
            tracker.add(exchange).expect("forwards");
        }
        (tracker, now + 0.1)
    }

    #[test]
    fn an_offset_of_hours_is_known_to_a_fraction_of_a_millisecond_and_drift_to_a_few_ppm() {
        let other = Other {
            ahead: 12_345.678,
            drift: 37e-6,
        };
        let (tracker, now) = followed(other);
        let at = Time::from_nanos((now * 1e9) as u64);
        let offset = tracker.offset(at).expect("exchanges");
        let error = (offset.secs - other.offset(now)).abs();
        assert!(error <= offset.bound_secs, "{offset:?}");
        assert!(offset.bound_secs < 0.2e-3, "{offset:?}");
        let (drift, bound) = offset.drift.expect("two minutes");
        assert!((drift - 37e-6).abs() <= bound && bound < 5e-6, "{offset:?}");
        assert_eq!(tracker.steps(), 0);
    }

    #[test]
    fn a_clock_that_is_set_is_followed_anew() {
        let before = Other {
            ahead: 5.0,
            drift: 0.0,
        };
        let (mut tracker, now) = followed(before);
        let after = Other {
            ahead: 6.0,
            ..before
        };
        tracker
            .add(after.exchange(now, 1e-4, 1e-4))
            .expect("forwards");
        assert_eq!(tracker.steps(), 1);
        let offset = tracker.offset(Time::from_nanos((now * 1e9) as u64));
        assert!((offset.expect("one").secs - 6.0).abs() < 1e-3);
    }

    #[test]
    fn readings_that_go_back_are_refused() {
        let other = Other {
            ahead: 1.0,
            drift: 0.0,
        };
        let exchange = other.exchange(10.0, 1e-4, 1e-4);
        let backwards = Exchange {
            returned: Time::ZERO,
            ..exchange
        };
        let mut tracker = OffsetTracker::default();
        assert_eq!(tracker.add(backwards), Err(Backwards(backwards)));
        assert_eq!(tracker.offset(Time::ZERO), None);
    }

    proptest! {
        #[test]
        fn the_truth_is_never_outside_the_bound(
            ahead in 0.0..1e6f64,
            ppm in -150.0..150.0f64,
            ways in proptest::collection::vec((1e-5..0.05f64, 1e-5..0.05f64, 0.01..3.0f64), 1..40),
        ) {
            let other = Other { ahead, drift: ppm * 1e-6 };
            let mut tracker = OffsetTracker::default();
            let mut now = 500.0;
            for (there, back, pause) in ways {
                tracker.add(other.exchange(now, there, back)).expect("forwards");
                now += there + back + pause;
                let at = Time::from_nanos((now * 1e9) as u64);
                let offset = tracker.offset(at).expect("exchanges");
                // Readings are whole nanoseconds.
                let error = (offset.secs - other.offset(now)).abs();
                prop_assert!(error <= offset.bound_secs + 1e-6, "{error} {offset:?}");
                if let Some((drift, bound)) = offset.drift {
                    prop_assert!((drift - other.drift).abs() <= bound + 1e-6);
                }
            }
            prop_assert_eq!(tracker.steps(), 0);
        }
    }
}
