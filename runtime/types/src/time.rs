//! Time: what an instant is, and which clock it belongs to.
//!
//! A [`Stamp`] is what a message carries: the clock it was read from and its nanoseconds. A [`Time`] is an instant of
//! *cell time*, the arm host's monotonic clock; all decisions compare `Time`s. The only way from one to the other is
//! [`ClockId::cell_time`], which refuses a clock that is not the cell's: an unknown offset is not a small offset.
//!
//! Durations are [`std::time::Duration`]; an instant and a duration are different types on purpose.

use std::time::Duration;

/// Identity of one monotonic clock: one boot of one host. Two hosts, or one host before and after a reboot, differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClockId(pub u64);

/// An instant as a message carries it: nanoseconds of the named host's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Clock that was read.
    pub clock: ClockId,
    /// Nanoseconds since that clock's origin.
    pub nanos: u64,
}

/// An instant of cell time, in nanoseconds of the arm host's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// A stamp from a clock whose offset to cell time is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "time stamp of clock {actual:016x} where clock {expected:016x} is the cell's: no offset is known"
)]
pub struct ForeignClock {
    /// The cell's clock.
    pub expected: u64,
    /// The clock of the stamp.
    pub actual: u64,
}

impl ClockId {
    /// Cell time of `stamp`, where `self` is the cell's clock.
    ///
    /// # Errors
    /// [`ForeignClock`] when the stamp was read from another clock.
    pub fn cell_time(self, stamp: Stamp) -> Result<Time, ForeignClock> {
        if stamp.clock == self {
            Ok(Time(stamp.nanos))
        } else {
            Err(ForeignClock {
                expected: self.0,
                actual: stamp.clock.0,
            })
        }
    }

    /// The stamp that a message of this clock carries for `time`.
    pub fn stamp(self, time: Time) -> Stamp {
        Stamp {
            clock: self,
            nanos: time.0,
        }
    }
}

impl Time {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);

    /// Instant at `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Instant at `millis` milliseconds after the clock's origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time elapsed since `earlier`; zero when `earlier` is in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Signed seconds from `origin` to `self`.
    pub fn secs_from(self, origin: Self) -> f64 {
        (self.0 as i128 - origin.0 as i128) as f64 * 1e-9
    }

    /// `self - duration`, not below the clock's origin.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

/// Saturating: a duration of more than 584 years is not a deadline anyone waits for.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

/// How a host that is not the arm's knows cell time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// The host's own clock.
    pub host: ClockId,
    /// Cell time less its reading at the same instant, nanoseconds.
    pub ahead_nanos: i64,
    /// The truth is not further from that.
    pub bound: Duration,
}

/// What a clock reads, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whose time it is.
    pub clock: ClockId,
    /// Current instant.
    pub at: Time,
    /// Where it is another host's time.
    pub followed: Option<Followed>,
}

/// Source of cell time. Read once per tick, at the edge; everything below takes `now`.
pub trait Clock: Send + Sync {
    /// Identity of this clock.
    fn id(&self) -> ClockId;
    /// Current instant.
    fn now(&self) -> Time;

    /// Both at once, for a message's header.
    fn reading(&self) -> Reading {
        Reading {
            clock: self.id(),
            at: self.now(),
            followed: None,
        }
    }

    /// What this host's own monotonic clock reads; another than [`Clock::now`] on a host that follows another.
    fn host_now(&self) -> Stamp {
        self.id().stamp(self.now())
    }

    /// Cell time of an instant that this host's own monotonic clock has read, the kernel's stamps among them.
    fn of_host(&self, at: Time) -> Time {
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_clock_is_refused() {
        let cell = ClockId(1);
        assert_eq!(
            cell.cell_time(cell.stamp(Time::from_nanos(5))),
            Ok(Time::from_nanos(5))
        );
        assert!(
            cell.cell_time(Stamp {
                clock: ClockId(2),
                nanos: 5
            })
            .is_err()
        );
    }

    #[test]
    fn differences_saturate_and_keep_their_sign() {
        let (a, b) = (Time::from_millis(1), Time::from_millis(3));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(b.since(a), Duration::from_millis(2));
        assert!((a.secs_from(b) + 0.002).abs() < 1e-12);
        assert_eq!(a.before(Duration::from_secs(1)), Time::ZERO);
    }
}
