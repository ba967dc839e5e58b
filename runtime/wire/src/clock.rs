//! The clock that stamps every message: the host's `CLOCK_MONOTONIC`, shared by all its processes and never set back.

use std::time::Duration;

use tactus_types::{Clock, ClockId, Time};

/// The file that names one boot of one host.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// `CLOCK_MONOTONIC` of this host. Two processes of one boot share the clock and its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonotonicClock {
    id: ClockId,
}

/// Why this host's clock has no identity.
#[derive(Debug, thiserror::Error)]
#[error("{file}: expected a boot id, for example `0f3c...-...`: {reason}")]
pub struct ClockError {
    /// File that was read.
    pub file: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl MonotonicClock {
    /// This host's clock, identified by its boot id.
    ///
    /// # Errors
    /// [`ClockError`] when the kernel offers no boot id.
    pub fn new() -> Result<Self, ClockError> {
        let error = |reason: String| ClockError {
            file: BOOT_ID,
            reason,
        };
        let text = std::fs::read_to_string(BOOT_ID).map_err(|e| error(e.to_string()))?;
        let id = boot_hash(&text).ok_or_else(|| error(format!("got `{}`", text.trim())))?;
        Ok(Self { id })
    }

    /// What has to be added to an instant of this clock to get Unix time, as the wall clock stands at this moment.
    ///
    /// For dates that people read, and for nothing else: the wall clock jumps.
    pub fn unix_offset(&self) -> Duration {
        Self::unix_now().saturating_sub(self.now().since(Time::ZERO))
    }

    /// Unix time, as the wall clock stands at this moment.
    pub(crate) fn unix_now() -> Duration {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Duration::new(
            u64::try_from(wall.tv_sec).unwrap_or(0),
            u32::try_from(wall.tv_nsec).unwrap_or(0),
        )
    }
}

/// Both halves of the boot id's 128 random bits, folded into one.
fn boot_hash(text: &str) -> Option<ClockId> {
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    let bits = u128::from_str_radix(&hex, 16).ok()?;
    (hex.len() == 32).then_some(ClockId((bits >> 64) as u64 ^ bits as u64))
}

impl Clock for MonotonicClock {
    fn id(&self) -> ClockId {
        self.id
    }

    fn now(&self) -> Time {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Time::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back_and_names_the_boot() {
        let a = MonotonicClock::new().expect("boot id");
        let b = MonotonicClock::new().expect("boot id");
        assert_eq!(a.id(), b.id());
        let (first, second) = (a.now(), b.now());
        assert!(first <= second && first > Time::ZERO);
    }

    #[test]
    fn the_offset_to_unix_time_is_a_date_of_this_century() {
        let clock = MonotonicClock::new().expect("boot id");
        let unix = clock.unix_offset() + clock.now().since(Time::ZERO);
        let year = unix.as_secs() / 31_556_952 + 1970;
        assert!((2020..2100).contains(&year), "{year}");
    }

    #[test]
    fn only_a_whole_boot_id_names_a_clock() {
        let id = boot_hash("00000000-0000-0001-0000-000000000003\n");
        assert_eq!(id, Some(ClockId(2)));
        for wrong in [
            "",
            "0",
            "not-a-boot-id",
            "00000000-0000-0001-0000-00000000000",
        ] {
            assert_eq!(boot_hash(wrong), None, "{wrong}");
        }
    }
}
