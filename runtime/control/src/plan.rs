//! One chunk as a smooth motion: from where the command is, into the chunk, through every action at its due time.
//!
//! ```text
//!   a tick ago     joins                                       last due
//!    | quintic entry | natural cubic spline through the actions |
//!  commanded       action k       action k + 1  ...
//! ```
//! The spline is the twice continuously differentiable interpolant of all actions of the chunk, past ones included, so
//! that its derivatives at the joint are those of the chunk. The entry takes over the commanded position, velocity and
//! acceleration and hands over the spline's, so that a new chunk never steps in any of them. It takes a given time at
//! least: chunks of a learned policy disagree by tens of milliradians, and to make that good within one period would cost
//! more acceleration than the whole motion. Past the last action there is nothing.
//!
//! Decides which action is joined. Does not decide which actions a plan is made of (`schedule`), and knows no limits
//! (`limit`). Holds everything in place: making a plan allocates nothing.

use std::time::Duration;

use tactus_types::{Action, JointVec, Time};

/// Longest chunk a plan holds.
pub const MAX_HORIZON: usize = 128;

/// Position, velocity and acceleration of all joints, and the gripper, at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Joint positions, rad.
    pub q: JointVec,
    /// rad/s
    pub dq: JointVec,
    /// rad/s^2
    pub ddq: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
}

impl State {
    /// At rest at `q`.
    pub fn at_rest(q: JointVec, opening: f64) -> Self {
        let zeros = JointVec::zeros(q.len());
        Self {
            q,
            dq: zeros,
            ddq: zeros,
            opening,
        }
    }
}

/// When a chunk's actions are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub first_due: Time,
    pub period: Duration,
    pub len: usize,
}

impl Grid {
    pub(crate) fn due(&self, i: usize) -> Time {
        self.first_due + self.period.saturating_mul(i as u32)
    }

    pub(crate) fn last_due(&self) -> Time {
        self.due(self.len.saturating_sub(1))
    }

    /// Where `at` lies, in periods from action 0; negative before it.
    pub(crate) fn place(&self, at: Time) -> f64 {
        at.secs_from(self.first_due) / self.period.as_secs_f64()
    }
}

/// The motion of one chunk.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    grid: Grid,
    actions: [Action; MAX_HORIZON],
    /// Second derivatives of the spline at the actions, rad/s^2.
    bends: [JointVec; MAX_HORIZON],
    /// Where the command was when the plan was made, and when.
    start: State,
    start_at: Time,
    /// Action that the entry ends at.
    joins: usize,
    /// Coefficients of the entry in time as a share of its length.
    entry: [JointVec; 6],
}

impl Plan {
    /// Room for a plan.
    pub(crate) fn empty() -> Self {
        let none = JointVec::zeros(0);
        let action = Action {
            q: none,
            opening: 0.0,
        };
        Self {
            grid: Grid {
                first_due: Time::ZERO,
                period: Duration::from_secs(1),
                len: 0,
            },
            actions: [action; MAX_HORIZON],
            bends: [none; MAX_HORIZON],
            start: State::at_rest(none, 0.0),
            start_at: Time::ZERO,
            joins: 0,
            entry: [none; 6],
        }
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    pub(crate) fn actions(&self) -> &[Action] {
        self.actions.get(..self.grid.len).unwrap_or_default()
    }

    /// Plans from `start` at `start_at` into the actions that `action` gives for `0..grid.len`.
    ///
    /// The entry ends at the first action that is due `ease` after `start_at` or later, or at the last one. The caller has
    /// checked that at least one action is due after `start_at`.
    pub(crate) fn make(
        &mut self,
        grid: Grid,
        mut action: impl FnMut(usize) -> Action,
        start: State,
        start_at: Time,
        ease: Duration,
    ) {
        let len = grid.len.min(MAX_HORIZON);
        self.grid = Grid { len, ..grid };
        for (i, slot) in self.actions.iter_mut().enumerate().take(len) {
            *slot = action(i);
        }
        self.bend();
        let room = start_at + ease;
        let last = len.saturating_sub(1);
        let joins = (0..len).find(|i| self.grid.due(*i) >= room).unwrap_or(last);
        (self.start, self.start_at, self.joins) = (start, start_at, joins);
        self.enter();
    }

    /// Second derivatives of the natural cubic spline: `m[i-1] + 4 m[i] + m[i+1] = 6 (q[i-1] - 2 q[i] + q[i+1]) / h^2`,
    /// zero at both ends; solved by elimination (Thomas algorithm).
    fn bend(&mut self) {
        let len = self.grid.len;
        let h = self.grid.period.as_secs_f64();
        let joints = self.actions.first().map_or(0, |a| a.q.len());
        let mut upper = [0.0; MAX_HORIZON];
        for j in 0..joints {
            let mut right = [0.0; MAX_HORIZON];
            for i in 1..len.saturating_sub(1) {
                let [a, b, c] = [i - 1, i, i + 1].map(|k| self.actions[k].q[j]);
                let pivot = 4.0 - upper[i - 1];
                upper[i] = 1.0 / pivot;
                right[i] = (6.0 * (a - 2.0 * b + c) / (h * h) - right[i - 1]) / pivot;
            }
            let mut next = 0.0;
            for i in (0..len).rev() {
                let inner = i > 0 && i + 1 < len;
                next = if inner {
                    right[i] - upper[i] * next
                } else {
                    0.0
                };
                if j == 0 {
                    self.bends[i] = JointVec::zeros(joints);
                }
                self.bends[i][j] = next;
            }
        }
    }

    fn enter(&mut self) {
        let secs = self.grid.due(self.joins).secs_from(self.start_at).max(0.0);
        let end = self.on_spline(self.joins as f64);
        let from = self.start;
        let joints = from.q.len().min(end.q.len());
        let of = |f: &dyn Fn([f64; 6]) -> f64| {
            JointVec::from_fn(joints, |j| {
                let (v, a) = (from.dq[j] * secs, from.ddq[j] * secs * secs);
                let (w, b) = (end.dq[j] * secs, end.ddq[j] * secs * secs);
                f([from.q[j], v, a, end.q[j] - from.q[j], w, b])
            })
        };
        self.entry = [
            of(&|[q, ..]| q),
            of(&|[_, v, ..]| v),
            of(&|[_, _, a, ..]| a / 2.0),
            of(&|[_, v, a, d, w, b]| 10.0 * d - 6.0 * v - 4.0 * w - 1.5 * a + 0.5 * b),
            of(&|[_, v, a, d, w, b]| -15.0 * d + 8.0 * v + 7.0 * w + 1.5 * a - b),
            of(&|[_, v, a, d, w, b]| 6.0 * d - 3.0 * v - 3.0 * w - 0.5 * a + 0.5 * b),
        ];
    }

    /// State and index of the action that is approached at `at`; `None` past the last action.
    pub(crate) fn at(&self, at: Time) -> Option<(State, usize)> {
        let place = self.grid.place(at);
        if self.grid.len == 0 || place > self.grid.len as f64 - 1.0 + 1e-9 {
            return None;
        }
        if at >= self.grid.due(self.joins) {
            let index = ((place - 1e-9).ceil().max(0.0) as usize).min(self.grid.len - 1);
            return Some((self.on_spline(place), index));
        }
        let secs = self.grid.due(self.joins).secs_from(self.start_at);
        let t = (at.secs_from(self.start_at) / secs).clamp(0.0, 1.0);
        let [c0, c1, c2, c3, c4, c5] = &self.entry;
        let of = |f: &dyn Fn(usize) -> f64| JointVec::from_fn(c0.len(), f);
        let q = of(&|j| c0[j] + t * (c1[j] + t * (c2[j] + t * (c3[j] + t * (c4[j] + t * c5[j])))));
        let dq = of(&|j| {
            (c1[j] + t * (2.0 * c2[j] + t * (3.0 * c3[j] + t * (4.0 * c4[j] + t * 5.0 * c5[j]))))
                / secs
        });
        let ddq = of(&|j| {
            (2.0 * c2[j] + t * (6.0 * c3[j] + t * (12.0 * c4[j] + t * 20.0 * c5[j])))
                / (secs * secs)
        });
        let from = self.start.opening;
        let to = self.actions().get(self.joins).map_or(from, |a| a.opening);
        let state = State {
            q,
            dq,
            ddq,
            opening: from + t * (to - from),
        };
        Some((state, self.joins))
    }

    /// What the chunk alone wants at `at`, before any entry.
    pub(crate) fn wanted(&self, at: Time) -> State {
        self.on_spline(self.grid.place(at))
    }

    /// The spline at `place` periods from action 0, clamped to its ends.
    fn on_spline(&self, place: f64) -> State {
        let last = self.grid.len.saturating_sub(1);
        let i = (place.max(0.0) as usize).min(last.saturating_sub(1));
        let k = (i + 1).min(last);
        let b = (place - i as f64).clamp(0.0, 1.0);
        let a = 1.0 - b;
        let h = self.grid.period.as_secs_f64();
        let (from, to) = (&self.actions[i], &self.actions[k]);
        let (m, n) = (&self.bends[i], &self.bends[k]);
        let of = |f: &dyn Fn(usize) -> f64| JointVec::from_fn(from.q.len(), f);
        State {
            q: of(&|j| {
                let bend = (a * a * a - a) * m[j] + (b * b * b - b) * n[j];
                a * from.q[j] + b * to.q[j] + bend * h * h / 6.0
            }),
            dq: of(&|j| {
                let bend = (3.0 * b * b - 1.0) * n[j] - (3.0 * a * a - 1.0) * m[j];
                (to.q[j] - from.q[j]) / h + bend * h / 6.0
            }),
            ddq: of(&|j| a * m[j] + b * n[j]),
            opening: a * from.opening + b * to.opening,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(len: usize) -> Grid {
        Grid {
            first_due: Time::from_millis(1000),
            period: Duration::from_millis(50),
            len,
        }
    }

    fn plan(values: &[f64], start: State, now: Time) -> Plan {
        let mut plan = Plan::empty();
        let action = |i: usize| Action {
            q: JointVec::from_fn(1, |_| values[i]),
            opening: 1.0,
        };
        plan.make(
            grid(values.len()),
            action,
            start,
            now,
            Duration::from_millis(50),
        );
        plan
    }

    /// scipy 1.17.1: `CubicSpline(0.05 * arange(6), [0, .3, .1, -.2, 0, .4], bc_type="natural")` at 0.02, 0.07, 0.21:
    /// value, first and second derivative.
    #[test]
    fn the_spline_is_the_natural_one_of_scipy() {
        let rest = State::at_rest(JointVec::zeros(1), 0.0);
        let p = plan(
            &[0.0, 0.3, 0.1, -0.2, 0.0, 0.4],
            rest,
            Time::from_millis(900),
        );
        for (place, q, dq, ddq) in GOLDEN {
            let s = p.on_spline(place / 0.05);
            assert!((s.q[0] - q).abs() < 1e-12, "{place}: {}", s.q[0]);
            assert!((s.dq[0] - dq).abs() < 1e-10, "{place}: {}", s.dq[0]);
            assert!((s.ddq[0] - ddq).abs() < 1e-8, "{place}: {}", s.ddq[0]);
        }
    }
    const GOLDEN: [(f64, f64, f64, f64); 3] = [
        (0.02, 0.159709090909091, 7.2290909090909, -113.45454545455),
        (0.07, 0.274545454545455, -3.5272727272727, -196.36363636364),
        (0.21, 0.074763636363636, 7.6654545454545, 34.90909090909),
    ];

    proptest! {
        /// Wherever the command was and whenever the chunk came: the plan starts with the commanded position, velocity
        /// and acceleration, meets every later action at its due time, and steps in none of the three in between.
        #[test]
        fn a_plan_is_continuous_and_meets_every_action_when_it_is_due(
            values in prop::collection::vec(-1.0f64..1.0, 1..20),
            start in (-1.0f64..1.0, -2.0f64..2.0, -20.0f64..20.0),
            late_millis in 0u64..1000,
        ) {
            let now = Time::from_millis(700 + late_millis);
            prop_assume!(grid(values.len()).last_due() > now);
            let one = |v: f64| JointVec::from_fn(1, |_| v);
            let from = State { q: one(start.0), dq: one(start.1), ddq: one(start.2), opening: 0.0 };
            let p = plan(&values, from, now);
            let (first, _) = p.at(now).expect("due");
            prop_assert!((first.q[0] - start.0).abs() < 1e-9);
            prop_assert!((first.dq[0] - start.1).abs() < 1e-9);
            prop_assert!((first.ddq[0] - start.2).abs() < 1e-6);
            for i in 0..values.len() {
                let due = grid(values.len()).due(i);
                if due >= p.grid.due(p.joins) {
                    let (state, index) = p.at(due).expect("due");
                    prop_assert!((state.q[0] - values[i]).abs() < 1e-9);
                    prop_assert_eq!(index, i);
                }
            }
            let micros = |n: u64| Duration::from_micros(n);
            let joint = p.grid.due(p.joins);
            if joint > now && joint < p.grid.last_due() {
                let (a, _) = p.at(joint.before(micros(1))).expect("due");
                let (b, _) = p.at(joint + micros(1)).expect("due");
                prop_assert!((a.q[0] - b.q[0]).abs() < 1e-2);
                prop_assert!((a.dq[0] - b.dq[0]).abs() < 0.5, "{} {}", a.dq[0], b.dq[0]);
                prop_assert!((a.ddq[0] - b.ddq[0]).abs() < 50.0, "{} {}", a.ddq[0], b.ddq[0]);
            }
            prop_assert!(p.at(p.grid.last_due()).is_some());
            prop_assert!(p.at(p.grid.last_due() + micros(10)).is_none());
        }
    }
}
