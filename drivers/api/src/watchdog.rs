//! The device-side command deadline: whether anybody is in command. It says so; [`crate::gate`] says what follows.

use std::time::Duration;

use tactus_types::Time;

/// Watches for commands.
#[derive(Debug, Clone)]
pub struct Watchdog {
    deadline: Duration,
    fed_at: Option<Time>,
}

impl Watchdog {
    /// A watchdog that expires when it is not fed for `deadline`. It is born expired: nobody is in command yet.
    pub fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            fed_at: None,
        }
    }

    /// A command counted at `now`.
    pub fn feed(&mut self, now: Time) {
        self.fed_at = Some(now);
    }

    /// Nobody is in command any more, however recently it was fed.
    pub fn reset(&mut self) {
        self.fed_at = None;
    }

    /// Whether nobody is in command at `now`.
    pub fn expired(&self, now: Time) -> bool {
        self.fed_at.is_none_or(|at| now.since(at) > self.deadline)
    }

    /// The deadline.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_expires_after_the_deadline_and_not_before() {
        let mut watchdog = Watchdog::new(Duration::from_millis(100));
        assert!(watchdog.expired(Time::ZERO));
        watchdog.feed(Time::from_millis(1000));
        assert!(!watchdog.expired(Time::from_millis(1000)));
        assert!(!watchdog.expired(Time::from_millis(1100)));
        assert!(watchdog.expired(Time::from_millis(1101)));
        watchdog.feed(Time::from_millis(1200));
        assert!(!watchdog.expired(Time::from_millis(1201)));
        watchdog.reset();
        assert!(watchdog.expired(Time::from_millis(1201)));
    }
}
