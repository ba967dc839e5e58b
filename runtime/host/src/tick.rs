//! Absolute deadlines of a periodic thread.
//!
//! A period is a chain of deadlines: `next += period`, never `sleep(period - elapsed)`, which drifts. A deadline that
//! passed while the thread ran is skipped and counted, never made up for by a burst. A sleeping thread is woken some tens
//! of microseconds late; one that spins through the last part of its wait is not, and pays with that part of a core.

use std::time::Duration;

use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;
use tactus_types::{Clock, Time};

/// One tick of a periodic thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When the thread should have woken.
    pub deadline: Time,
    /// When it woke.
    pub woke: Time,
    /// Deadlines that passed before the thread asked for this one.
    pub overruns: u64,
}

impl Tick {
    /// The instant that the tick decides for: its deadline, so that the setpoints of a motion lie one period apart and
    /// lateness does not shake them; when it woke, once it is late by more than `period`: what came meanwhile (a chunk
    /// observed after the deadline, the age of a joint state) is not to be judged by an instant that is long past.
    pub fn instant(&self, period: Duration) -> Time {
        if self.lateness() <= period {
            self.deadline
        } else {
            self.woke
        }
    }

    /// How late the thread woke.
    pub fn lateness(&self) -> Duration {
        self.woke.since(self.deadline)
    }
}

/// Chain of absolute deadlines.
#[derive(Debug)]
pub struct Ticker {
    period: Duration,
    next: Time,
    spin: Duration,
}

impl Ticker {
    /// Deadlines every `period`, the first one period after `now`.
    pub fn new(period: Duration, now: Time) -> Self {
        Self {
            period,
            next: now + period,
            spin: Duration::ZERO,
        }
    }

    /// Spins through the last `spin` before each deadline instead of sleeping through it; zero is never.
    pub fn spinning(self, spin: Duration) -> Self {
        Self { spin, ..self }
    }

    /// The deadline to wait for, asked at `now`: deadlines already past are skipped. Returns it and how many were.
    pub fn next_deadline(&mut self, now: Time) -> (Time, u64) {
        let mut overruns = 0;
        if now > self.next {
            let period = u64::try_from(self.period.as_nanos())
                .unwrap_or(u64::MAX)
                .max(1);
            overruns = now.since(self.next).as_nanos() as u64 / period + 1;
            self.next = Time::from_nanos(self.next.as_nanos() + overruns * period);
        }
        let deadline = self.next;
        self.next = deadline + self.period;
        (deadline, overruns)
    }

    /// Waits until the next deadline on the host's monotonic clock, which `clock` must be.
    pub fn wait(&mut self, clock: &dyn Clock) -> Tick {
        let asked = clock.now();
        let (deadline, overruns) = self.next_deadline(asked);
        let spin = u64::try_from(self.spin.as_nanos()).unwrap_or(u64::MAX);
        let wake = Time::from_nanos(deadline.as_nanos().saturating_sub(spin));
        if wake > asked {
            sleep_until(wake);
        }
        let mut woke = clock.now();
        while woke < deadline {
            std::hint::spin_loop();
            woke = clock.now();
        }
        Tick {
            deadline,
            woke,
            overruns,
        }
    }
}

/// Sleeps until `wake` on the host's monotonic clock.
fn sleep_until(wake: Time) {
    let request = Timespec {
        tv_sec: (wake.as_nanos() / 1_000_000_000) as i64,
        tv_nsec: (wake.as_nanos() % 1_000_000_000) as i64,
    };
    // A signal ends the sleep early; the deadline is absolute, so sleeping again is right.
    while let Err(rustix::io::Errno::INTR) = clock_nanosleep_absolute(ClockId::Monotonic, &request)
    {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_decides_for_its_deadline_unless_that_is_long_past() {
        let tick = |woke: u64| Tick {
            deadline: Time::from_millis(10),
            woke: Time::from_millis(woke),
            overruns: 0,
        };
        let period = Duration::from_millis(2);
        assert_eq!(tick(10).instant(period), Time::from_millis(10));
        assert_eq!(tick(12).instant(period), Time::from_millis(10));
        assert_eq!(tick(37).instant(period), Time::from_millis(37));
    }

    #[test]
    fn deadlines_do_not_drift_and_missed_ones_are_skipped_and_counted() {
        let ms = Time::from_millis;
        let mut t = Ticker::new(Duration::from_millis(2), ms(0));
        assert_eq!(t.next_deadline(ms(1)), (ms(2), 0));
        assert_eq!(
            t.next_deadline(ms(3)),
            (ms(4), 0),
            "lateness of one tick does not move the next"
        );
        assert_eq!(t.next_deadline(ms(11)), (ms(12), 3), "6, 8 and 10 are past");
        assert_eq!(t.next_deadline(ms(12)), (ms(14), 0), "and no burst follows");
    }
    /// A clock that moves on by 10 us whenever it is read.
    struct Reads(std::sync::atomic::AtomicU64);

    impl Clock for Reads {
        fn id(&self) -> tactus_types::ClockId {
            tactus_types::ClockId(1)
        }

        fn now(&self) -> Time {
            let reads = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Time::from_nanos(10_000 * reads)
        }
    }

    #[test]
    fn a_spinning_wait_ends_at_its_deadline_and_never_before_it() {
        let clock = Reads(std::sync::atomic::AtomicU64::new(0));
        // Of deadlines that lie within the time to spin nothing is slept: only the clock says when they are there.
        let mut ticker =
            Ticker::new(Duration::from_micros(500), clock.now()).spinning(Duration::from_secs(1));
        for k in 1..=5 {
            let tick = ticker.wait(&clock);
            assert_eq!(tick.deadline, Time::from_nanos(500_000 * k));
            assert_eq!((tick.lateness(), tick.overruns), (Duration::ZERO, 0));
        }
    }
}
