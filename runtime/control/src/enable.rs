//! Switching torque: on, verifying that the arm does not move by it; off, only when an operator says so.
//!
//! *On*: read the present pose, make it the goal, switch torque on, and watch for a stated window that no joint moves by
//! more than a stated tolerance. *Off*: wait until the device says that it is off.
//!
//! Decides when switching is over and how it went, tick by tick. Who may ask for it, and what becomes of the mode, is the
//! cycle's.

use std::time::Duration;

use tactus_types::{JointState, JointVec, Time};

/// A device that has not switched after this long does not.
pub const SWITCH_WITHIN: Duration = Duration::from_secs(1);
/// A joint that is faster than this is not at rest, rad/s.
pub const REST_RAD_PER_SEC: f64 = 0.05;

/// How enabling is verified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnableSpec {
    /// How long the arm has to stand still with torque on. Zero: an arm whose torque is on is enabled at once.
    pub window: Duration,
    /// How far each joint may move in that time, rad.
    pub tolerance: f64,
}

impl EnableSpec {
    /// No verification: for an arm on a virtual clock, which has no motors that could surprise anyone.
    pub const AT_ONCE: Self = Self {
        window: Duration::ZERO,
        tolerance: f64::INFINITY,
    };
}

impl Default for EnableSpec {
    /// 200 ms, 0.02 rad.
    fn default() -> Self {
        Self {
            window: Duration::from_millis(200),
            tolerance: 0.02,
        }
    }
}

/// How switching stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Switched {
    /// Under way.
    Wait,
    /// Done, and the arm stood still.
    Done,
    /// Torque is on, and a joint moved.
    Moved {
        /// Index of the joint.
        joint: usize,
        /// How far, rad, signed.
        by: f64,
    },
    /// The device did not switch in time.
    Ignored,
    /// The arm's state is not known any more.
    Stale,
}

/// Torque being switched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Switching {
    /// Whether it is being switched on.
    pub on: bool,
    /// Whether it was on before.
    pub was_on: bool,
    from: JointVec,
    since: Time,
    on_since: Option<Time>,
}

impl Switching {
    /// Begins at `now`, when the arm was measured in `state`.
    pub fn new(on: bool, state: &JointState, now: Time) -> Self {
        Self {
            on,
            was_on: state.torque,
            from: state.q,
            since: now,
            on_since: None,
        }
    }

    /// Looks at the newest state; `None` when it is too old to count, which is waited out: how far the arm is from where it
    /// was is seen afterwards too.
    pub fn step(&mut self, state: Option<&JointState>, spec: &EnableSpec, now: Time) -> Switched {
        let Some(state) = state else {
            return if now.since(self.since) > SWITCH_WITHIN + spec.window {
                Switched::Stale
            } else {
                Switched::Wait
            };
        };
        if !self.on {
            return match state.torque {
                false => Switched::Done,
                true => self.patience(now),
            };
        }
        let away = state.q.zip(&self.from, |q, from| q - from);
        if let Some(joint) =
            (0..away.len()).find(|i| !(0.0..=spec.tolerance).contains(&away[*i].abs()))
        {
            return Switched::Moved {
                joint,
                by: away[joint],
            };
        }
        if !state.torque {
            self.on_since = None;
            return self.patience(now);
        }
        let on_since = *self.on_since.get_or_insert(now);
        if now.since(on_since) >= spec.window {
            Switched::Done
        } else {
            Switched::Wait
        }
    }

    fn patience(&self, now: Time) -> Switched {
        if now.since(self.since) > SWITCH_WITHIN {
            Switched::Ignored
        } else {
            Switched::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(q: f64, torque: bool) -> JointState {
        JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 1,
            q: JointVec::from_fn(2, |i| if i == 1 { q } else { 0.0 }),
            dq: JointVec::zeros(2),
            opening: 0.5,
            torque,
        }
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    const SPEC: EnableSpec = EnableSpec {
        window: Duration::from_millis(200),
        tolerance: 0.02,
    };

    #[test]
    fn the_window_begins_when_torque_is_seen_on() {
        let mut s = Switching::new(true, &state(0.3, false), at(0));
        assert_eq!(
            s.step(Some(&state(0.3, false)), &SPEC, at(50)),
            Switched::Wait
        );
        assert_eq!(
            s.step(Some(&state(0.319, true)), &SPEC, at(60)),
            Switched::Wait
        );
        assert_eq!(
            s.step(Some(&state(0.31, true)), &SPEC, at(259)),
            Switched::Wait
        );
        assert_eq!(
            s.step(Some(&state(0.31, true)), &SPEC, at(260)),
            Switched::Done
        );
    }

    #[test]
    fn a_joint_that_moves_is_named_with_its_distance() {
        let mut s = Switching::new(true, &state(0.3, false), at(0));
        let moved = s.step(Some(&state(0.25, true)), &SPEC, at(60));
        let Switched::Moved { joint: 1, by } = moved else {
            panic!("{moved:?}");
        };
        assert!((by + 0.05).abs() < 1e-12);
        let nan = s.step(Some(&state(f64::NAN, true)), &SPEC, at(62));
        assert!(matches!(nan, Switched::Moved { joint: 1, .. }), "{nan:?}");
    }

    #[test]
    fn a_device_that_does_not_switch_and_a_lost_state_end_it() {
        for on in [true, false] {
            let mut s = Switching::new(on, &state(0.0, !on), at(0));
            assert_eq!(
                s.step(Some(&state(0.0, !on)), &SPEC, at(1000)),
                Switched::Wait
            );
            assert_eq!(
                s.step(Some(&state(0.0, !on)), &SPEC, at(1001)),
                Switched::Ignored
            );
            assert_eq!(s.step(None, &SPEC, at(1200)), Switched::Wait);
            assert_eq!(s.step(None, &SPEC, at(1201)), Switched::Stale);
        }
        let mut off = Switching::new(false, &state(0.0, true), at(0));
        assert_eq!(
            off.step(Some(&state(9.0, false)), &SPEC, at(10)),
            Switched::Done
        );
    }
}
