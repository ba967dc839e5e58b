//! Following one moving setpoint under velocity, acceleration and jerk limits.
//!
//! The time-optimal motion to a setpoint is planned anew every tick, and its first tick is taken (online trajectory
//! generation: Berscheid and Kroeger, "Jerk-limited Real-time Trajectory Generation with Arbitrary Target States", RSS
//! 2021; the solver is the `rsruckig` crate). A setpoint that moves is pursued in its own frame: with `s(t)` its motion
//! at constant acceleration, `q - s` is brought to rest at zero. Planning in the base frame would aim at where the
//! setpoint is now, and arrive where it was: a lag that never closes. A setpoint inside the limits is met exactly, tick
//! by tick, without lag.
//!
//! Does not know position limits; `limit` does.

use rsruckig::calculator_target::TargetCalculator;
use rsruckig::prelude::{
    DataArrayOrVec, IgnoreErrorHandler, InputParameter, RuckigResult, Trajectory,
};

use super::stop::{Bound, Motion};

/// Share of a limit that the setpoint's own motion may use up: what is left is for catching up.
const FRAME_SHARE: f64 = 0.98;

/// Plans for one joint at a time; holds only the solver's room.
#[derive(Debug)]
pub(crate) struct Pursuit {
    solver: TargetCalculator<1>,
    input: InputParameter<1>,
    path: Trajectory<1>,
}

/// One tick of a pursuit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pursued {
    /// The motion at the end of the tick.
    pub motion: Motion,
    /// The setpoint is met at the end of the tick.
    pub met: bool,
}

impl Pursuit {
    /// A solver at rest.
    pub(crate) fn new() -> Self {
        let mut input = InputParameter::new(None);
        // Set here, so that later writes never allocate.
        input.min_velocity = Some(DataArrayOrVec::Stack([-1.0]));
        input.min_acceleration = Some(DataArrayOrVec::Stack([-1.0]));
        Self {
            solver: TargetCalculator::new(None),
            input,
            path: Trajectory::new(None),
        }
    }

    /// One tick of `period_secs` from `from` towards `to`, the setpoint at the tick's end. `None` when the solver finds
    /// no motion; the caller then brakes.
    pub(crate) fn step(
        &mut self,
        from: Motion,
        to: Motion,
        bound: &Bound,
        period_secs: f64,
    ) -> Option<Pursued> {
        let h = period_secs;
        // The setpoint's frame may not move faster than the joint: it could not be caught.
        let share = |value: f64, limit: f64| value.clamp(-limit * FRAME_SHARE, limit * FRAME_SHARE);
        let to = Motion {
            q: to.q,
            v: share(to.v, bound.velocity),
            a: share(to.a, bound.acceleration),
        };
        let frame = to.after(-h, 0.0);
        let Self {
            solver,
            input,
            path,
        } = self;
        input.current_position[0] = from.q - frame.q;
        input.current_velocity[0] = from.v - frame.v;
        input.current_acceleration[0] = from.a - to.a;
        input.max_velocity[0] = (bound.velocity - to.v.max(frame.v)).max(bound.velocity * 1e-3);
        input.max_acceleration[0] = bound.acceleration - to.a;
        input.max_jerk[0] = bound.jerk;
        if let (Some(v), Some(a)) = (&mut input.min_velocity, &mut input.min_acceleration) {
            v[0] = (-bound.velocity - to.v.min(frame.v)).min(-bound.velocity * 1e-3);
            a[0] = -bound.acceleration - to.a;
        }
        match solver.calculate::<IgnoreErrorHandler>(input, path, h) {
            Ok(RuckigResult::Working | RuckigResult::Finished) => {}
            _ => return None,
        }
        let mut relative = None;
        let mut section = 0;
        path.state_to_integrate_from(h, &mut section, |_, secs, q, v, a, jerk| {
            relative = Some(Motion { q, v, a }.after(secs, jerk));
        });
        let Motion { q, v, a } = relative?;
        let motion = Motion {
            q: to.q + q,
            v: to.v + v,
            a: to.a + a,
        };
        let finite = motion.q.is_finite() && motion.v.is_finite() && motion.a.is_finite();
        finite.then_some(Pursued {
            motion,
            met: path.duration <= h,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound {
        velocity: 3.0,
        acceleration: 30.0,
        jerk: 1500.0,
    };
    const H: f64 = 0.002;

    fn wave(t: f64) -> Motion {
        let w = 3.0;
        Motion {
            q: 0.5 * (w * t).sin(),
            v: 0.5 * w * (w * t).cos(),
            a: -0.5 * w * w * (w * t).sin(),
        }
    }

    #[test]
    fn a_moving_setpoint_is_caught_after_a_jump_and_then_met_without_lag() {
        let mut pursuit = Pursuit::new();
        let mut motion = wave(0.0);
        let mut behind = Vec::new();
        for k in 1..=1000 {
            let mut to = wave(f64::from(k) * H);
            to.q += if k > 300 { 0.1 } else { 0.0 };
            let step = pursuit.step(motion, to, &BOUND, H).expect("a motion");
            motion = step.motion;
            behind.push((to.q - motion.q).abs());
        }
        let (before, jump, after) = (&behind[100..299], behind[300], &behind[450..]);
        assert!(before.iter().all(|e| *e < 1e-7), "{before:?}");
        assert!(jump > 0.09, "{jump}");
        assert!(
            after.iter().all(|e| *e < 1e-7),
            "caught within 0.3 s: {after:?}"
        );
    }
}
