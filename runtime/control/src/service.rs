//! What answers take of an engine, and what is left of their time: the measurements that admission goes by.
//!
//! Decides which of the last answers count and which quantile stands for them. A few slow ones among hundreds are chance, so
//! the longest is not taken; until there are hundreds, what was probed before counts too.

use std::time::Duration;

/// Answers that count.
const KEPT: usize = 512;
/// So many are measured before what was probed is forgotten.
const ENOUGH: usize = 50;
/// Answers whose slack is kept of an arm.
const SLACKS: usize = 256;

/// What the last answers took, of all arms.
#[derive(Debug, Clone)]
pub struct ServiceTimes {
    probed: Duration,
    took: Vec<Duration>,
    next: usize,
}

impl ServiceTimes {
    /// Nothing measured yet; an answer was probed to take at most `probed`.
    pub fn new(probed: Duration) -> Self {
        Self {
            probed,
            took: Vec::with_capacity(KEPT),
            next: 0,
        }
    }

    /// An answer took `took`.
    pub fn record(&mut self, took: Duration) {
        match self.took.get_mut(self.next) {
            Some(slot) => *slot = took,
            None => self.took.push(took),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Whether enough was measured to go by it alone.
    pub fn is_measured(&self) -> bool {
        self.took.len() >= ENOUGH
    }

    /// What an answer takes at most, as far as it can be told: the 99th percentile and a tenth more.
    pub fn upper(&self) -> Duration {
        let measured = self.quantile(99);
        let upper = match self.is_measured() {
            true => measured,
            false => measured.max(self.probed),
        };
        upper + upper / 10
    }

    /// What half of the answers take at most.
    pub fn median(&self) -> Duration {
        match self.took.is_empty() {
            true => self.probed,
            false => self.quantile(50),
        }
    }

    /// Nearest rank; zero of nothing.
    fn quantile(&self, percent: usize) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

/// What was left of an arm's time when its answers left; below zero where they were late.
#[derive(Debug, Clone, Default)]
pub struct Slacks {
    left: Vec<i64>,
    next: usize,
    last: i64,
}

/// Slack of an arm's last answers, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slack {
    /// Of the last one.
    pub last: i64,
    /// The least of the last 256.
    pub least: i64,
    /// Half of them had at most this.
    pub median: i64,
}

impl Slacks {
    /// `left` nanoseconds were left.
    pub fn record(&mut self, left: i64) {
        self.last = left;
        match self.left.get_mut(self.next) {
            Some(slot) => *slot = left,
            None => self.left.push(left),
        }
        self.next = (self.next + 1) % SLACKS;
    }

    /// The figures; `None` before the first answer.
    pub fn figures(&self) -> Option<Slack> {
        let mut sorted = self.left.clone();
        sorted.sort_unstable();
        Some(Slack {
            last: self.last,
            least: *sorted.first()?,
            median: *sorted.get((sorted.len() - 1) / 2)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn what_was_probed_counts_until_enough_is_measured_and_one_slow_answer_in_hundreds_does_not() {
        let mut times = ServiceTimes::new(MS(40));
        assert_eq!((times.upper(), times.median()), (MS(44), MS(40)));
        (0..49).for_each(|_| times.record(MS(10)));
        assert_eq!((times.upper(), times.median()), (MS(44), MS(10)));
        times.record(MS(10));
        assert_eq!(times.upper(), MS(11));
        (0..200).for_each(|_| times.record(MS(10)));
        times.record(MS(500));
        assert_eq!(times.upper(), MS(11));
        (0..10).for_each(|_| times.record(MS(500)));
        assert_eq!(times.upper(), MS(550));
        (0..KEPT).for_each(|_| times.record(MS(20)));
        assert_eq!(times.upper(), MS(22), "all of that is long ago");
    }

    #[test]
    fn slack_is_of_the_last_answers() {
        let mut slacks = Slacks::default();
        assert_eq!(slacks.figures(), None);
        [5, -3, 9].into_iter().for_each(|left| slacks.record(left));
        let (last, least, median) = (9, -3, 5);
        assert_eq!(
            slacks.figures(),
            Some(Slack {
                last,
                least,
                median
            })
        );
        (0..SLACKS).for_each(|_| slacks.record(7));
        assert_eq!(slacks.figures().map(|slack| slack.least), Some(7));
    }
}
