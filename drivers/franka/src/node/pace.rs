//! Targets for a node that refuses steps: walked, not leapt. Pure.
//!
//! The node refuses a joint target that is further than `max_step_joint` from the last one that it accepted, and in a joints
//! session has no way back in: what leapt once is refused for ever. So each target is at most as far from the last as the arm
//! may go in that time, and far less than the gate; and where targets were lost or refused all the same, the walk begins again
//! at the target that the node says it has.
//!
//! Nor does the node bound how far a joint may be from where its session began but by ending the session with an error
//! (`joint_max_deviation`): targets stop [`MARGIN`] before that, and the arm host sees an arm that does not follow.

use std::time::Duration;

use tactus_types::Time;

use super::Joints;
use crate::model::{self, JOINTS, ROWS};

/// Share of the gate on steps that is used at most.
const STEP_SHARE: f64 = 0.5;
/// Nobody is waited for longer: targets that come seldom are no leave to go far.
const LONGEST: Duration = Duration::from_millis(100);
/// How far targets stay from the deviation that ends a session, rad: the arm may swing a little further than they go.
const MARGIN: f64 = 0.1;

/// What the node permits, as its configuration says; it does not tell it itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gates {
    /// `joint_budget_fraction`: share of the arm's limits that its session has, above 0 to 1.
    pub budget: f64,
    /// `max_step_joint`: largest step from one accepted target to the next, rad.
    pub max_step: f64,
    /// `joint_max_deviation`: how far a joint may stray from where its session began, rad.
    pub max_deviation: f64,
}

impl Default for Gates {
    /// The node's own defaults.
    fn default() -> Self {
        Self {
            budget: 0.2,
            max_step: 0.2,
            max_deviation: 1.0,
        }
    }
}

/// Where the targets are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    gates: Gates,
    began: Joints,
    sent: Joints,
    at: Time,
    /// The joint whose goal is further than the session permits.
    beyond: Option<usize>,
}

impl Pace {
    /// A session that begins with the target `began` at `now`.
    pub fn new(gates: Gates, began: Joints, now: Time) -> Self {
        Self {
            gates,
            began,
            sent: began,
            at: now,
            beyond: None,
        }
    }

    /// The next target on the way to `goal`, rad. A goal that is no number is where the joint is.
    pub fn next(&mut self, goal: &Joints, now: Time) -> Joints {
        let secs = now.since(self.at).min(LONGEST).as_secs_f64();
        self.at = now;
        self.beyond = None;
        let room = (self.gates.max_deviation - MARGIN).max(0.0);
        for i in 0..JOINTS {
            let [lower, upper] = ROWS[i].range();
            let (lower, upper) = (
                lower.max(self.began[i] - room),
                upper.min(self.began[i] + room),
            );
            let wished = if goal[i].is_finite() {
                goal[i]
            } else {
                self.sent[i]
            };
            // Not `clamp`, which panics where a session began outside the range.
            let inside = wished.min(upper).max(lower);
            if (inside - wished).abs() > 1e-6 {
                self.beyond = Some(i);
            }
            let speed = model::speed(&ROWS[i], self.gates.budget);
            let step = (speed * secs).min(STEP_SHARE * self.gates.max_step);
            self.sent[i] += (inside - self.sent[i]).clamp(-step, step);
        }
        self.sent
    }

    /// The joint whose last goal was further than targets go.
    pub fn beyond(&self) -> Option<usize> {
        self.beyond
    }

    /// The node has `accepted` as its last target: the walk goes on from there.
    pub fn resume(&mut self, accepted: Joints) {
        self.sent = accepted;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGAN: Joints = [0.0, 0.0, 0.0, -1.57, 0.0, 1.57, 0.785];

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn pace(gates: Gates) -> Pace {
        Pace::new(gates, BEGAN, at(0))
    }

    #[test]
    fn a_leap_is_walked_at_the_budget_s_speed_and_arrives() {
        let mut pace = pace(Gates::default());
        let mut goal = BEGAN;
        goal[0] += 0.5;
        let mut before = BEGAN;
        for tick in 1..=200 {
            let q = pace.next(&goal, at(10 * tick));
            // 2.62 rad/s, a fifth of it.
            assert!((q[0] - before[0]).abs() <= 0.00525, "{q:?}");
            assert_eq!(q[1..], BEGAN[1..]);
            before = q;
        }
        assert!((before[0] - goal[0]).abs() < 1e-12);
        assert_eq!(pace.beyond(), None);
    }

    #[test]
    fn a_pause_is_no_leave_to_leap() {
        let full = Gates {
            budget: 1.0,
            ..Gates::default()
        };
        let mut pace = pace(full);
        let mut goal = BEGAN;
        goal[4] = 0.8;
        let q = pace.next(&goal, at(60_000));
        assert!((q[4] - 0.1).abs() < 1e-12, "half of the gate: {q:?}");
    }

    #[test]
    fn targets_stop_before_a_deviation_that_would_end_the_session() {
        let mut pace = pace(Gates::default());
        let mut goal = BEGAN;
        goal[0] = 1.4;
        let mut q = BEGAN;
        for tick in 1..=1000 {
            q = pace.next(&goal, at(10 * tick));
        }
        assert!((q[0] - 0.9).abs() < 1e-12 && pace.beyond() == Some(0));
        goal[0] = 0.2;
        pace.next(&goal, at(10_010));
        assert_eq!(pace.beyond(), None);
    }

    #[test]
    fn after_a_refusal_the_walk_begins_where_the_node_is() {
        let mut pace = pace(Gates::default());
        let mut goal = BEGAN;
        goal[0] = 0.8;
        for tick in 1..=150 {
            pace.next(&goal, at(10 * tick));
        }
        let accepted = BEGAN;
        pace.resume(accepted);
        let q = pace.next(&goal, at(1510));
        assert!((q[0] - 0.00524).abs() < 1e-9, "{q:?}");
    }

    proptest! {
        /// Whatever is asked for, the node's gates on step and deviation are never met.
        #[test]
        fn no_goal_meets_a_gate(
            goals in proptest::collection::vec((0usize..7, prop_oneof![-9.0..9.0f64, Just(f64::NAN)], 0u64..300), 1..80),
            budget in 0.01..=1.0f64,
        ) {
            let gates = Gates { budget, ..Gates::default() };
            let mut pace = pace(gates);
            let (mut now, mut goal, mut before) = (0, BEGAN, BEGAN);
            for (joint, value, wait) in goals {
                goal[joint] = value;
                now += wait;
                let q = pace.next(&goal, at(now));
                for i in 0..JOINTS {
                    prop_assert!((q[i] - before[i]).abs() <= STEP_SHARE * gates.max_step + 1e-12);
                    prop_assert!((q[i] - BEGAN[i]).abs() <= gates.max_deviation - MARGIN + 1e-12);
                    let [lower, upper] = ROWS[i].range();
                    prop_assert!((lower..=upper).contains(&q[i]));
                }
                before = q;
            }
        }
    }
}
