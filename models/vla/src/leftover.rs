//! What is still planned, at the rows of a new chunk.
//!
//! While a chunk is computed the arm goes on executing the last one. Real-time chunking makes the new chunk agree with
//! it: a policy trained for it is given the first rows as decided (arXiv 2512.05964), any other is guided towards the
//! rows that the old plan still covers ([`crate::guide`]). Either way rows are found by due time, never by index.
//!
//! Decides what the plan says for each row, and how many rows are decided. Does not normalise.

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

impl RowTimes {
    fn due(&self, row: usize) -> Time {
        self.first_due + self.period.saturating_mul(row as u32)
    }

    /// How many of `rows` are due by `at`.
    pub fn due_by(&self, at: Time, rows: usize) -> usize {
        (0..rows).take_while(|row| self.due(*row) <= at).count()
    }
}

/// The planned action of each row from row 0 on, at most `rows`; between two planned actions their linear
/// interpolation. Ends before the first row that lies outside `leftover`, which is in order of time, and before an
/// action that is not finite.
pub fn planned_rows(leftover: &[TimedAction], times: RowTimes, rows: usize) -> Vec<Action> {
    let planned = |row: usize| planned_at(leftover, times.due(row));
    (0..rows).map_while(planned).collect()
}

/// The planned action at `due`, as of [`planned_rows`].
fn planned_at(leftover: &[TimedAction], due: Time) -> Option<Action> {
    let after = leftover.partition_point(|timed| timed.due < due);
    let next = leftover.get(after)?;
    let action = match after.checked_sub(1).and_then(|i| leftover.get(i)) {
        _ if next.due == due => next.action,
        None => return None,
        Some(last) => {
            let t = due.secs_from(last.due) / next.due.secs_from(last.due);
            let opening = last.action.opening;
            Action {
                q: last.action.q.lerp(&next.action.q, t),
                opening: opening + t * (next.action.opening - opening),
            }
        }
    };
    (action.q.is_finite() && action.opening.is_finite()).then_some(action)
}

/// What is commanded at `at`: the planned action, before the first the first, and after the last the last, where the arm
/// then rests. `None` when nothing is planned.
pub fn commanded_at(leftover: &[TimedAction], at: Time) -> Option<Action> {
    let (first, last) = (leftover.first()?, leftover.last()?);
    planned_at(leftover, at.clamp(first.due, last.due))
}

#[cfg(test)]
mod tests {
    use tactus_types::JointVec;

    use super::*;

    const TIMES: RowTimes = RowTimes {
        first_due: Time::from_millis(1050),
        period: Duration::from_millis(50),
    };

    fn planned(due_millis: &[u64]) -> Vec<TimedAction> {
        let timed = |(i, millis): (usize, &u64)| TimedAction {
            due: Time::from_millis(*millis),
            action: Action {
                q: JointVec::zeros(6),
                opening: i as f64,
            },
        };
        due_millis.iter().enumerate().map(timed).collect()
    }

    /// Actions due at these milliseconds; the opening says which.
    fn rows(due_millis: &[u64], max_rows: usize) -> Vec<f64> {
        planned_rows(&planned(due_millis), TIMES, max_rows)
            .iter()
            .map(|action| action.opening)
            .collect()
    }

    #[test]
    fn rows_are_found_by_due_time_and_interpolated() {
        assert_eq!(rows(&[1000, 1050, 1100, 1150], 6), [1.0, 2.0, 3.0]);
        assert_eq!(rows(&[1025, 1075, 1125], 6), [0.5, 1.5]);
        assert_eq!(rows(&[1040, 1060, 1200], 2), [0.5, 1.0 + 40.0 / 140.0]);
    }

    #[test]
    fn rows_outside_what_is_planned_end_it() {
        assert_eq!(rows(&[], 6), [0.0; 0]);
        assert_eq!(
            rows(&[1060, 1100], 6),
            [0.0; 0],
            "row 0 is before the first"
        );
        assert_eq!(rows(&[900, 1049], 6), [0.0; 0], "row 0 is after the last");
        assert_eq!(rows(&[1050, 1100, 1150, 1200], 2), [0.0, 1.0]);
        assert_eq!(rows(&[1050], 0), [0.0; 0]);
    }

    #[test]
    fn decided_rows_are_those_due_by_the_hand_over() {
        let by = |millis| TIMES.due_by(Time::from_millis(millis), 16);
        assert_eq!([by(1000), by(1050), by(1120), by(9000)], [0, 1, 2, 16]);
    }

    #[test]
    fn the_command_outside_what_is_planned_is_that_of_its_ends() {
        let at = |millis| commanded_at(&planned(&[1000, 1100]), Time::from_millis(millis));
        let openings = [900, 1000, 1025, 1100, 2000].map(|millis| at(millis).map(|a| a.opening));
        assert_eq!(openings, [0.0, 0.0, 0.25, 1.0, 1.0].map(Some));
        assert_eq!(commanded_at(&[], Time::from_millis(1000)), None);
    }

    #[test]
    fn an_action_that_is_not_finite_ends_the_rows() {
        let q = JointVec::from_slice(&[0.0, f64::NAN]).expect("two joints");
        let bad = TimedAction {
            due: TIMES.first_due,
            action: Action { q, opening: 0.0 },
        };
        assert!(planned_rows(&[bad], TIMES, 6).is_empty());
    }
}
