//! Absolute deadlines: a loop that neither drifts nor, after a stall, bursts.

use std::time::Duration;

use tactus_types::{Clock, Time};

/// Paces a loop. Deadlines are `period` apart; a loop that is late catches up, one that is later than `max_lag` skips
/// the periods it missed and counts them.
#[derive(Debug, Clone)]
pub struct Pacer {
    next: Time,
    period: Duration,
    max_lag: Duration,
    skipped: u64,
}

impl Pacer {
    /// The first deadline is `start`. A period of zero is taken as one nanosecond.
    pub fn new(start: Time, period: Duration, max_lag: Duration) -> Self {
        Self {
            next: start,
            period: period.max(Duration::from_nanos(1)),
            max_lag,
            skipped: 0,
        }
    }

    /// The deadline that the next call of [`Pacer::due`] compares with.
    pub fn next(&self) -> Time {
        self.next
    }

    /// How many periods were skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The deadline that is due at `now`, if one is; it is then done with. The rest of the decision, without a clock.
    pub fn due(&mut self, now: Time) -> Option<Time> {
        if now < self.next {
            return None;
        }
        let lag = now.since(self.next);
        if lag > self.max_lag {
            let missed = (lag.as_nanos() / self.period.as_nanos()) as u64;
            self.skipped += missed;
            self.next = self.next + self.period.saturating_mul(saturating_u32(missed));
        }
        let due = self.next;
        self.next = self.next + self.period;
        Some(due)
    }

    /// Sleeps until the next deadline and returns it. Never longer than a period past `clock`'s present.
    pub fn wait(&mut self, clock: &dyn Clock) -> Time {
        loop {
            let now = clock.now();
            if let Some(due) = self.due(now) {
                return due;
            }
            std::thread::sleep(self.next.since(now));
        }
    }
}

fn saturating_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn deadlines_do_not_drift_with_late_wakes() {
        let mut pacer = Pacer::new(Time::from_millis(100), ms(2), ms(50));
        assert_eq!(pacer.due(Time::from_millis(99)), None);
        let late = ms(1);
        for k in 0..1000 {
            let deadline = Time::from_millis(100 + 2 * k);
            assert_eq!(pacer.due(deadline + late), Some(deadline));
        }
        assert_eq!(pacer.skipped(), 0);
    }

    #[test]
    fn a_short_stall_is_caught_up() {
        let mut pacer = Pacer::new(Time::ZERO, ms(2), ms(50));
        let now = Time::from_millis(40);
        let caught_up = std::iter::from_fn(|| pacer.due(now)).count();
        assert_eq!((caught_up, pacer.skipped()), (21, 0));
    }

    #[test]
    fn a_long_stall_is_skipped_and_counted_and_keeps_the_grid() {
        let mut pacer = Pacer::new(Time::ZERO, ms(2), ms(50));
        let now = Time::from_millis(1001);
        assert_eq!(pacer.due(now), Some(Time::from_millis(1000)));
        assert_eq!(pacer.due(now), None);
        assert_eq!(pacer.skipped(), 500);
    }
}
