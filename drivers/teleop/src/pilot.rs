//! From readings to what is wanted of the arm: joints as they are, deflections by way of filters and [`Jog`].
//!
//! Decides when the reference of a device without joints of its own is where the arm is (while the arm does not follow it:
//! not engaged, still aligning, or after a pause), and that a reading that is not newer than the last is no news. Releasing the
//! dead man's switch or the clutch takes what is smoothed to zero at once. A pure function of readings and what the arm says.

use std::time::Duration;

use tactus_types::{JointVec, OperatorSetpoint, Time};

use crate::filter::Shaping;
use crate::{AXES, Deflection, Jog, Motion, Reading};

/// Readings further apart than this are not joined by a motion.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of the arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmView {
    /// The newest command, rad.
    pub commanded: JointVec,
    /// The newest measured joints, rad.
    pub measured: JointVec,
    /// Gripper opening of the newest command, 0..1.
    pub opening: f64,
    /// The arm follows us: mode *teleop*, under our lease.
    pub follows: bool,
}

/// Where the human wants the arm; an [`OperatorSetpoint`] but for lease and sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Joints, rad, in the arm's order.
    pub q: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
    /// The arm is to follow.
    pub engaged: bool,
    /// When the device was read.
    pub captured_at: Time,
}

impl Wanted {
    /// What is sent under `lease` as the `sequence`th.
    pub fn under(&self, lease: tactus_types::LeaseId, sequence: u64) -> OperatorSetpoint {
        OperatorSetpoint {
            lease,
            sequence,
            captured_at: self.captured_at,
            q: self.q,
            opening: self.opening,
            engaged: self.engaged,
        }
    }
}

/// Turns the readings of one device into what is wanted of one arm.
#[derive(Debug, Clone)]
pub struct Pilot {
    jog: Jog,
    shaping: Shaping,
    smoothed: Deflection,
    last: Option<Time>,
}

impl Pilot {
    /// A pilot whose deflections are shaped by `shaping` and move `jog`; joints pass as they are.
    pub fn new(jog: Jog, shaping: Shaping) -> Self {
        Self {
            jog,
            shaping,
            smoothed: Deflection::default(),
            last: None,
        }
    }

    /// The reference's motion, for who wants to show it.
    pub fn jog(&self) -> &Jog {
        &self.jog
    }

    /// What is wanted as of `reading`, with the clutch closed or open; `None` when it is no news.
    pub fn follow(&mut self, reading: &Reading, arm: &ArmView, closed: bool) -> Option<Wanted> {
        let at = reading.captured_at;
        let since = self.last.map(|last| (at > last, at.since(last)));
        if since.is_some_and(|(newer, _)| !newer) {
            return None;
        }
        self.last = Some(at);
        let engaged = reading.engaged && closed;
        let (q, opening) = match reading.motion {
            Motion::Joints { q, opening } => (q, opening.unwrap_or(arm.opening).clamp(0.0, 1.0)),
            Motion::Deflection(deflection) => {
                let pause = since.map(|(_, pause)| pause).filter(|p| *p <= PAUSE);
                match pause.filter(|_| engaged && arm.follows) {
                    Some(pause) => self.push(&deflection, arm, pause.as_secs_f64()),
                    None => {
                        self.smoothed = Deflection::default();
                        self.jog.anchor(&arm.commanded, arm.opening);
                    }
                }
                self.jog.reference()
            }
        };
        Some(Wanted {
            q,
            opening,
            engaged,
            captured_at: at,
        })
    }

    fn push(&mut self, deflection: &Deflection, arm: &ArmView, secs: f64) {
        let share = self.shaping.share(secs);
        let toward = |from: f64, to: f64| from + share * (self.shaping.shape(to) - from);
        let mut axes = [0.0; AXES];
        for (axis, (from, to)) in axes
            .iter_mut()
            .zip(self.smoothed.axes.iter().zip(&deflection.axes))
        {
            *axis = toward(*from, *to);
        }
        let opening = toward(self.smoothed.opening, deflection.opening);
        self.smoothed = Deflection { axes, opening };
        self.jog.advance(&self.smoothed, &arm.measured, secs);
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::{ArmInfo, JointLimits};

    use super::*;
    use crate::{Frame, JogSpec};

    const STEP: u64 = 10;

    fn pilot(shaping: Shaping) -> Pilot {
        let limits = JointLimits {
            lower: -2.0,
            upper: 2.0,
            velocity: 2.0,
            acceleration: 10.0,
            jerk: 100.0,
        };
        let info = ArmInfo {
            model: "two".into(),
            joints: vec!["a".into(), "b".into()],
            limits: vec![limits; 2],
            gripper: true,
            state_rate_hz: 100.0,
            brakes: false,
            torque_switch: false,
            command_deadline_secs: 0.1,
            geometry: None,
        };
        let jog = Jog::new(&info, Frame::Joints, JogSpec::at(1.0)).expect("joint by joint");
        Pilot::new(jog, shaping)
    }

    fn arm(q: f64, follows: bool) -> ArmView {
        let q = JointVec::from_fn(2, |_| q);
        ArmView {
            commanded: q,
            measured: q,
            opening: 0.25,
            follows,
        }
    }

    fn pushed(millis: u64, engaged: bool) -> Reading {
        let mut axes = [0.0; AXES];
        axes[0] = 1.0;
        Reading {
            captured_at: Time::from_millis(millis),
            motion: Motion::Deflection(Deflection { axes, opening: 0.0 }),
            engaged,
            wish: None,
        }
    }

    #[test]
    fn the_reference_is_where_the_arm_is_until_the_arm_follows_and_then_moves() {
        let mut pilot = pilot(Shaping::NONE);
        for (k, (engaged, follows)) in [(false, false), (true, false), (false, true)]
            .into_iter()
            .enumerate()
        {
            let at = STEP * k as u64;
            let wanted = pilot.follow(&pushed(at, engaged), &arm(0.3, follows), true);
            let wanted = wanted.expect("news");
            assert_eq!((wanted.q[0], wanted.engaged), (0.3, engaged));
            assert_eq!(wanted.opening, 0.25);
        }
        let wanted = pilot.follow(&pushed(3 * STEP, true), &arm(0.3, true), true);
        // A hundredth of a second of half of 2 rad/s.
        assert!((wanted.expect("news").q[0] - 0.31).abs() < 1e-12);
        // The clutch is the same as letting go.
        let wanted = pilot.follow(&pushed(4 * STEP, true), &arm(0.9, true), false);
        let wanted = wanted.expect("news");
        assert_eq!((wanted.q[0], wanted.engaged), (0.9, false));
    }

    #[test]
    fn letting_go_zeroes_what_is_smoothed_at_once() {
        let mut pilot = pilot(Shaping::default());
        let mut at = 0;
        let mut step = |pilot: &mut Pilot, engaged| {
            at += STEP;
            let wanted = pilot.follow(&pushed(at, engaged), &arm(0.0, true), true);
            wanted.expect("news").q[0]
        };
        step(&mut pilot, false);
        let first = step(&mut pilot, true);
        for _ in 0..20 {
            step(&mut pilot, true);
        }
        assert!(first > 0.0);
        assert_eq!(step(&mut pilot, false), 0.0);
        // From the arm again, and as slowly as the first time.
        assert!((step(&mut pilot, true) - first).abs() < 1e-12);
    }

    #[test]
    fn a_reading_that_is_not_newer_is_no_news_and_a_pause_is_no_leap() {
        let mut pilot = pilot(Shaping::NONE);
        assert!(
            pilot
                .follow(&pushed(10, true), &arm(0.0, true), true)
                .is_some()
        );
        for stale in [10, 9, 0] {
            assert!(
                pilot
                    .follow(&pushed(stale, true), &arm(0.0, true), true)
                    .is_none()
            );
        }
        let after = pilot.follow(&pushed(5000, true), &arm(0.0, true), true);
        assert_eq!(after.map(|w| w.q[0]), Some(0.0));
    }

    #[test]
    fn joints_pass_as_they_are_and_a_leader_without_a_gripper_leaves_the_arms() {
        let mut pilot = pilot(Shaping::default());
        let reading = |millis, opening| Reading {
            captured_at: Time::from_millis(millis),
            motion: Motion::Joints {
                q: JointVec::from_fn(2, |i| 3.0 + i as f64),
                opening,
            },
            engaged: true,
            wish: None,
        };
        let with = pilot.follow(&reading(1, Some(0.7)), &arm(0.0, false), true);
        let with = with.expect("news");
        assert_eq!((with.q.as_slice(), with.opening), (&[3.0, 4.0][..], 0.7));
        let without = pilot.follow(&reading(2, None), &arm(0.0, false), true);
        assert_eq!(without.map(|w| w.opening), Some(0.25));
    }
}
