//! The last seconds, in memory: bounded in time and in bytes, the oldest go first.
//!
//! A pure function of messages and `now`: it reads no clock. What goes because it is too old is forgotten, as intended;
//! what goes because there is too much is counted, for then the window is shorter than was asked for.

use std::collections::VecDeque;
use std::time::Duration;

use tactus_types::Time;

use crate::Entry;

/// Keeps the entries of a window, in the order in which they were received.
#[derive(Debug)]
pub struct Ring {
    window: Duration,
    max_bytes: usize,
    entries: VecDeque<Entry>,
    bytes: usize,
    crowded_out: u64,
}

impl Ring {
    /// An empty ring that keeps what was received within `window`, in at most `max_bytes`.
    pub fn new(window: Duration, max_bytes: usize) -> Self {
        Self {
            window,
            max_bytes,
            entries: VecDeque::new(),
            bytes: 0,
            crowded_out: 0,
        }
    }

    /// Takes an entry, at `now`, and lets go of what is too old or too much.
    pub fn push(&mut self, entry: Entry, now: Time) {
        self.bytes += entry.bytes();
        // Zenoh's threads may overtake each other by microseconds: the place is at or near the end.
        let later = |kept: &&Entry| kept.received_at > entry.received_at;
        let place = self.entries.len() - self.entries.iter().rev().take_while(later).count();
        self.entries.insert(place, entry);
        self.forget(now);
        while self.bytes > self.max_bytes && self.pop() {
            self.crowded_out += 1;
        }
    }

    /// Lets go of what was received longer ago than the window.
    pub fn forget(&mut self, now: Time) {
        let window = self.window;
        let too_old = |entry: &Entry| now.since(entry.received_at) > window;
        while self.entries.front().is_some_and(too_old) {
            self.pop();
        }
    }

    fn pop(&mut self) -> bool {
        let gone = self.entries.pop_front();
        self.bytes -= gone.as_ref().map_or(0, Entry::bytes);
        gone.is_some()
    }

    /// What was received at or after `from`, in the order of receiving. The entries' bytes are shared, not copied.
    pub fn since(&self, from: Time) -> Vec<Entry> {
        let first = self.entries.partition_point(|e| e.received_at < from);
        self.entries.range(first..).cloned().collect()
    }

    /// Memory that the entries take, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that went before their time because there was too much, since the start.
    pub fn crowded_out(&self) -> u64 {
        self.crowded_out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Kind;

    fn entry(received_at: Time, len: usize) -> Entry {
        Entry {
            key: "tactus/demo/episode".into(),
            kind: Kind::Unreadable,
            captured_at: received_at,
            published_at: received_at,
            received_at,
            seq: 0,
            source: "".into(),
            payload: vec![0; len].into(),
        }
    }

    const WINDOW: Duration = Duration::from_millis(500);

    proptest! {
        /// Messages arrive in steps of time, a few of them overtaken by up to 5 ms, and of any size.
        #[test]
        fn never_more_than_the_window_never_more_than_the_bytes_and_nothing_else_is_lost(
            steps in proptest::collection::vec((0u64..40, 0u64..5, 0usize..3000), 1..300),
            max_bytes in 1000usize..60_000,
        ) {
            let mut ring = Ring::new(WINDOW, max_bytes);
            let mut all: Vec<Entry> = Vec::new();
            let mut now = Time::from_millis(1000);
            for (step, behind, len) in steps {
                now = now + Duration::from_millis(step);
                let entry = entry(now.before(Duration::from_millis(behind)), len);
                all.push(entry.clone());
                ring.push(entry, now);

                let kept = ring.since(Time::ZERO);
                prop_assert!(ring.bytes() <= max_bytes);
                prop_assert_eq!(ring.bytes(), kept.iter().map(Entry::bytes).sum::<usize>());
                prop_assert!(kept.iter().all(|e| now.since(e.received_at) <= WINDOW));
                prop_assert!(kept.windows(2).all(|w| w[0].received_at <= w[1].received_at));
                // What is gone is too old, or older than all that is left and was counted.
                let young = all.iter().filter(|e| now.since(e.received_at) <= WINDOW);
                let lost = young.count() - kept.len();
                if ring.crowded_out() == 0 {
                    prop_assert_eq!(lost, 0);
                }
                prop_assert!(lost as u64 <= ring.crowded_out());
            }
        }

        #[test]
        fn since_is_exactly_what_came_since(
            steps in proptest::collection::vec(0u64..40, 1..100), from in 0u64..3000,
        ) {
            let mut ring = Ring::new(Duration::from_secs(60), usize::MAX);
            let mut now = Time::ZERO;
            let mut wanted = 0;
            for step in steps {
                now = now + Duration::from_millis(step);
                wanted += usize::from(now >= Time::from_millis(from));
                ring.push(entry(now, 1), now);
            }
            prop_assert_eq!(ring.since(Time::from_millis(from)).len(), wanted);
        }
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let size = entry(Time::ZERO, 1000).bytes();
        let mut ring = Ring::new(WINDOW, 3 * size);
        for i in 0..5 {
            ring.push(entry(Time::from_millis(i), 1000), Time::from_millis(i));
        }
        let kept = ring.since(Time::ZERO);
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[0].received_at, Time::from_millis(2));
        assert_eq!(ring.crowded_out(), 2);
        ring.forget(Time::from_millis(600));
        assert!(ring.is_empty());
        assert_eq!(
            (ring.bytes(), ring.crowded_out()),
            (0, 2),
            "age is no crowd"
        );
    }

    #[test]
    fn an_entry_larger_than_the_ring_is_counted_too() {
        let mut ring = Ring::new(WINDOW, 1000);
        ring.push(entry(Time::ZERO, 2000), Time::ZERO);
        assert_eq!((ring.len(), ring.bytes(), ring.crowded_out()), (0, 0, 1));
    }
}
