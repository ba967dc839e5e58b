//! What the sequence numbers of one key say: what is missing, what came out of order, when the publisher began anew.
//!
//! Pure: numbers in, counts out. Made for hostile numbers too; counts saturate.

use tactus_types::Time;

/// Follows the sequence numbers of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Continuity {
    last: Option<(u64, Time)>,
    /// Numbers that never came.
    pub missing: u64,
    /// Stretches of missing numbers.
    pub gaps: u64,
    /// Messages that came after one with a higher number that was published later.
    pub out_of_order: u64,
    /// Times that the numbers began anew: the publisher was restarted.
    pub restarts: u64,
}

impl Continuity {
    /// Takes the number of the next message and when it was published; returns how many are missing before it.
    pub fn take(&mut self, seq: u64, published_at: Time) -> u64 {
        let Some((last, last_published)) = self.last else {
            self.last = Some((seq, published_at));
            return 0;
        };
        if seq > last {
            let missing = seq - last - 1;
            self.missing = self.missing.saturating_add(missing);
            self.gaps += u64::from(missing > 0);
            self.last = Some((seq, published_at));
            missing
        } else if published_at > last_published {
            self.restarts += 1;
            self.last = Some((seq, published_at));
            0
        } else {
            // It was counted as missing when the later one came.
            self.out_of_order += 1;
            self.missing = self.missing.saturating_sub(1);
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(numbers: impl IntoIterator<Item = (u64, u64)>) -> Continuity {
        let mut continuity = Continuity::default();
        for (seq, millis) in numbers {
            continuity.take(seq, Time::from_millis(millis));
        }
        continuity
    }

    #[test]
    fn losses_restarts_and_overtaking_are_told_apart() {
        let whole = taken((5..100).map(|i| (i, i)));
        assert_eq!((whole.missing, whole.gaps), (0, 0));
        let lost = taken([(0, 0), (1, 1), (4, 4), (5, 5), (7, 7)]);
        assert_eq!((lost.missing, lost.gaps), (3, 2));
        let restarted = taken([(7, 1), (8, 2), (0, 3), (1, 4)]);
        assert_eq!((restarted.missing, restarted.restarts), (0, 1));
        let overtaken = taken([(0, 0), (2, 2), (1, 1), (3, 3)]);
        assert_eq!((overtaken.missing, overtaken.out_of_order), (0, 1));
    }

    proptest! {
        #[test]
        fn missing_is_what_was_taken_away(kept in proptest::collection::vec(any::<bool>(), 2..200)) {
            let came: Vec<u64> = (0..kept.len() as u64).filter(|i| kept[*i as usize]).collect();
            let lost = taken(came.iter().map(|i| (*i, *i)));
            let span = came.last().zip(came.first()).map_or(0, |(last, first)| last - first + 1);
            prop_assert_eq!(lost.missing, span - came.len() as u64);
            prop_assert_eq!((lost.out_of_order, lost.restarts), (0, 0));
        }

        #[test]
        fn no_number_is_too_strange(numbers in proptest::collection::vec(any::<(u64, u64)>(), 0..50)) {
            taken(numbers.into_iter().map(|(seq, millis)| (seq, millis >> 24)));
        }
    }
}
