//! Committed actions to the rows of a chunk.
//!
//! While a chunk is computed the arm goes on executing the last one, so the first actions of the new chunk are
//! already decided. The policy was trained with such a clean prefix of 0 to `max_prefix` rows, always from row 0, so
//! that is what it is given: the longest run of rows from the first, each with a committed action due within half a
//! period of it.

use std::time::Duration;

use tactus_types::{Action, Time, TimedAction};

/// Due times of a chunk's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTimes {
    /// Due time of row 0.
    pub first_due: Time,
    /// Time between rows.
    pub period: Duration,
}

/// The committed action of each row from row 0 on, at most `max_rows`; ends before the first row without one. Of two
/// actions for one row the nearer in time counts; actions that are not finite end the prefix.
pub fn prefix_rows(prefix: &[TimedAction], times: RowTimes, max_rows: usize) -> Vec<Action> {
    let RowTimes { first_due, period } = times;
    // Nanoseconds, exactly: an action halfway between two rows belongs to the earlier one only.
    let period = period.as_nanos() as i128;
    let nearest = |row: usize| {
        let due = i128::from(first_due.as_nanos()) + row as i128 * period;
        prefix
            .iter()
            .map(|timed| (i128::from(timed.due.as_nanos()) - due, timed.action))
            .filter(|(late, _)| -period < 2 * late && 2 * late <= period)
            .min_by_key(|(late, _)| late.abs())
            .map(|(_, action)| action)
            .filter(|action| action.q.is_finite() && action.opening.is_finite())
    };
    (0..max_rows).map_while(nearest).collect()
}

#[cfg(test)]
mod tests {
    use tactus_types::JointVec;

    use super::*;

    const TIMES: RowTimes = RowTimes {
        first_due: Time::from_millis(1050),
        period: Duration::from_millis(50),
    };

    /// Actions due at these milliseconds; the opening says which.
    fn rows(due_millis: &[u64], max_rows: usize) -> Vec<f64> {
        let timed = |(i, millis): (usize, &u64)| TimedAction {
            due: Time::from_millis(*millis),
            action: Action {
                q: JointVec::zeros(6),
                opening: i as f64,
            },
        };
        let prefix: Vec<TimedAction> = due_millis.iter().enumerate().map(timed).collect();
        prefix_rows(&prefix, TIMES, max_rows)
            .iter()
            .map(|action| action.opening)
            .collect()
    }

    #[test]
    fn actions_find_their_rows_by_due_time_not_by_index() {
        // The first two are past: their rows would be before row 0.
        assert_eq!(rows(&[950, 1000, 1050, 1100, 1150], 6), [2.0, 3.0, 4.0]);
        assert_eq!(rows(&[1100, 1050], 6), [1.0, 0.0]);
        assert_eq!(rows(&[], 6), [0.0; 0]);
    }

    #[test]
    fn half_a_period_is_near_enough_and_more_is_not() {
        assert_eq!(rows(&[1075], 6), [0.0]);
        assert_eq!(rows(&[1074, 1124], 6), [0.0, 1.0]);
        assert_eq!(rows(&[1026], 6), [0.0]);
        assert_eq!(rows(&[1025], 6), [0.0; 0]);
    }

    #[test]
    fn a_gap_ends_the_prefix_and_so_does_its_longest_length() {
        assert_eq!(rows(&[1050, 1150, 1200], 6), [0.0]);
        assert_eq!(rows(&[1100, 1150], 6), [0.0; 0]);
        assert_eq!(rows(&[1050, 1100, 1150, 1200], 2), [0.0, 1.0]);
        assert_eq!(rows(&[1050], 0), [0.0; 0]);
    }

    #[test]
    fn the_nearer_of_two_counts() {
        assert_eq!(rows(&[1040, 1052, 1060], 6), [1.0]);
    }

    #[test]
    fn an_action_that_is_not_finite_ends_the_prefix() {
        let q = JointVec::from_slice(&[0.0, f64::NAN]).expect("two joints");
        let bad = TimedAction {
            due: TIMES.first_due,
            action: Action { q, opening: 0.0 },
        };
        assert!(prefix_rows(&[bad], TIMES, 6).is_empty());
    }
}
