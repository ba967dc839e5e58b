//! A gripper that is only ever open or closed, within a chunk and from one chunk to the next.
//!
//! Decides which of the two it is: it opens from one value on and closes from a lower one down, and between them it stays as
//! it was, so that a policy that wavers about the middle does not let go. What it was before a chunk's first row is what the
//! arm is commanded at that instant, as the request says it: the plan in force, or where a hold left the gripper. What is
//! measured would be half open around whatever is held.

use tactus_bundle::BinaryGripper;
use tactus_types::{Time, TimedAction};

use crate::leftover::commanded_at;

/// Openings from here on count as open, where only an opening is known.
const HALF_OPEN: f64 = 0.5;

/// Whether a gripper that was `open` or not is open at `value`, an opening.
pub fn opens(binary: BinaryGripper, value: f64, open: bool) -> bool {
    value >= binary.open_above || (open && value > binary.close_below)
}

/// Whether an opening counts as open.
pub fn is_open(opening: f64) -> bool {
    opening >= HALF_OPEN
}

/// Whether the gripper is open at `first_due`, when row 0 of a new chunk is due: as `leftover` has it, and where that is
/// empty, as the opening `measured` has it.
pub fn open_before(leftover: &[TimedAction], first_due: Time, measured: f64) -> bool {
    is_open(commanded_opening(leftover, first_due, measured))
}

/// The opening that is commanded at `at`, as `leftover` has it, and where that is empty, the one `measured`: what a policy
/// without a gripper leaves it at. Commanded to where it is measured, a gripper around something would no longer press.
pub fn commanded_opening(leftover: &[TimedAction], at: Time, measured: f64) -> f64 {
    commanded_at(leftover, at).map_or(measured, |command| command.opening)
}

#[cfg(test)]
mod tests {
    use tactus_types::{Action, JointVec};

    use super::*;

    const BINARY: BinaryGripper = BinaryGripper {
        open_above: 0.6,
        close_below: 0.4,
    };

    #[test]
    fn between_the_thresholds_it_stays() {
        let mut open = false;
        let values = [0.5, 0.59, 0.6, 0.5, 0.41, 0.4, 0.55, 0.9, 0.0];
        let expected = [false, false, true, true, true, false, false, true, false];
        for (value, expected) in values.into_iter().zip(expected) {
            open = opens(BINARY, value, open);
            assert_eq!(open, expected, "{value}");
        }
    }

    #[test]
    fn a_chunk_begins_with_what_is_commanded_then_and_not_with_what_is_measured() {
        let timed = |(millis, opening): (u64, f64)| TimedAction {
            due: Time::from_millis(millis),
            action: Action {
                q: JointVec::zeros(1),
                opening,
            },
        };
        let plan = [(1000, 1.0), (1050, 1.0), (1100, 0.0), (1150, 0.0)].map(timed);
        for (millis, open) in [
            (900, true),
            (1050, true),
            (1100, false),
            (1150, false),
            (5000, false),
        ] {
            let at = Time::from_millis(millis);
            assert_eq!(open_before(&plan, at, 0.9), open, "{millis} ms");
        }
        // A hold with something large in the gripper: commanded closed, measured half open.
        let rest = [timed((1000, 0.0))];
        assert!(!open_before(&rest, Time::from_millis(1200), 0.6));
        assert!(open_before(&[], Time::from_millis(1200), 0.6));
        assert!(!open_before(&[], Time::from_millis(1200), 0.4));
        let left = |plan: &[TimedAction]| commanded_opening(plan, Time::from_millis(1200), 0.6);
        assert_eq!((left(&rest), left(&[])), (0.0, 0.6));
    }
}
