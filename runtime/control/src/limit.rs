//! The one limiter: policy and hold are sources of setpoints, and nothing reaches a driver except through here.
//!
//! Decides the command of a tick: position, velocity and acceleration limits of each joint, the largest lead over the
//! measured state, and the braking distance to every position limit. Keeps what was last commanded (q, dq), so that a
//! hold decelerates along the commanded motion. Does not decide whose setpoint counts.
//!
//! Per joint and tick of length `h`, with setpoint `(s, s')` and last command `(q, v)`:
//! `v* = s' + sign(s - q) brake(|s - q|)`, where `brake` is the largest speed from which the acceleration limit,
//! applied in whole ticks, stops within a distance. `v*` is then held inside the velocity limit, inside `brake` of the
//! distance to each position limit, and within one tick's acceleration of `v`.

use tactus_types::{ArmInfo, ClampedBy, JointVec, Setpoint};

/// Limits that do not come from the arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSpec {
    /// Largest distance of the command from the measured position, per joint, rad.
    pub max_lead: f64,
    /// Share of the arm's velocity and acceleration limits that may be used, in (0, 1].
    pub scale: f64,
}

/// What one tick's limiting produced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limited {
    /// Joint positions to command, rad.
    pub q: JointVec,
    /// Velocities they were advanced with, rad/s.
    pub dq: JointVec,
    /// Gripper opening to command, 0..1.
    pub opening: f64,
    /// What clamped the setpoint.
    pub clamped_by: ClampedBy,
}

/// Keeps the commanded state.
#[derive(Debug)]
pub struct Limiter {
    spec: LimitSpec,
    info: ArmInfo,
    q: JointVec,
    dq: JointVec,
    opening: f64,
}

impl Limiter {
    /// A limiter that has commanded the measured `q`, at rest, and `opening`.
    pub fn new(spec: LimitSpec, info: ArmInfo, q: JointVec, opening: f64) -> Self {
        let dq = JointVec::zeros(q.len());
        Self {
            spec,
            info,
            q,
            dq,
            opening,
        }
    }

    /// Starts again from a measured state, at rest: after a gap, a restart or torque-off.
    pub fn seed(&mut self, q: JointVec, opening: f64) {
        self.dq = JointVec::zeros(q.len());
        self.q = q;
        self.opening = if opening.is_finite() {
            opening.clamp(0.0, 1.0)
        } else {
            self.opening
        };
    }

    /// Last commanded joint positions, rad.
    pub fn q(&self) -> JointVec {
        self.q
    }

    /// Last commanded joint velocities, rad/s.
    pub fn dq(&self) -> JointVec {
        self.dq
    }

    /// Last commanded gripper opening, 0..1.
    pub fn opening(&self) -> f64 {
        self.opening
    }

    /// Where the commanded motion comes to rest when it brakes from now on: the setpoint of a hold, rad.
    pub fn stopping_point(&self) -> JointVec {
        JointVec::from_fn(self.q.len(), |i| {
            let Some(l) = self.info.limits.get(i) else {
                return self.q[i];
            };
            let stop = self.q[i]
                + self.dq[i] * self.dq[i].abs() / (2.0 * l.acceleration * self.spec.scale);
            stop.clamp(l.lower, l.upper)
        })
    }

    /// Whether the command is further from `measured` than the largest lead on any joint.
    pub fn leads_too_far(&self, measured: &JointVec) -> bool {
        self.q.zip(measured, |c, m| c - m).max_abs() > self.spec.max_lead
    }

    /// Advances the command by one tick of `period_secs` towards `setpoint`; `measured` is the newest joint position.
    pub fn limit(&mut self, setpoint: &Setpoint, measured: &JointVec, period_secs: f64) -> Limited {
        let mut clamped_by = ClampedBy::default();
        let n = self.q.len();
        let usable = setpoint.q.len() == n
            && setpoint.q.is_finite()
            && setpoint.dq.is_finite()
            && setpoint.opening.is_finite();
        let (target, feed, opening) = if usable {
            (setpoint.q, setpoint.dq, setpoint.opening.clamp(0.0, 1.0))
        } else {
            clamped_by.not_finite = true;
            (self.stopping_point(), JointVec::zeros(n), self.opening)
        };
        let (q0, dq0, spec) = (self.q, self.dq, self.spec);
        for (i, l) in self.info.limits.iter().enumerate().take(n) {
            let (v_max, a) = (l.velocity * spec.scale, l.acceleration * spec.scale);
            let (mut s, mut s_dot) = (target[i], if i < feed.len() { feed[i] } else { 0.0 });
            if s < l.lower || s > l.upper {
                (s, s_dot, clamped_by.position) = (s.clamp(l.lower, l.upper), 0.0, true);
            }
            if i < measured.len() && (s - measured[i]).abs() > spec.max_lead {
                s = s.clamp(measured[i] - spec.max_lead, measured[i] + spec.max_lead);
                clamped_by.lead = true;
            }
            let away = s - q0[i];
            let mut v = s_dot + away.signum() * brake(away.abs(), a, period_secs);
            if v.abs() > v_max {
                (v, clamped_by.velocity) = (v.clamp(-v_max, v_max), true);
            }
            let up = brake((l.upper - q0[i]).max(0.0), a, period_secs);
            let down = brake((q0[i] - l.lower).max(0.0), a, period_secs);
            if v > up || v < -down {
                (v, clamped_by.position) = (v.clamp(-down, up), true);
            }
            let step = a * period_secs;
            if (v - dq0[i]).abs() > step * (1.0 + 1e-9) {
                (v, clamped_by.acceleration) = (v.clamp(dq0[i] - step, dq0[i] + step), true);
            }
            self.dq[i] = v;
            // The braking bound makes this clamp a matter of rounding only.
            self.q[i] = (q0[i] + v * period_secs).clamp(l.lower.min(q0[i]), l.upper.max(q0[i]));
        }
        self.opening = opening;
        Limited {
            q: self.q,
            dq: self.dq,
            opening,
            clamped_by,
        }
    }
}

/// Largest speed `v` from which deceleration `a`, applied in whole ticks of `h`, stops within `distance`.
///
/// With `v = k a h + r`, `0 <= r < a h`, the ticks `v, v - a h, .., r` cover `h ((k + 1) r + a h k (k + 1) / 2)`. The
/// largest whole `k` that fits is taken, and `r` from what is left. Never above `distance / h`.
fn brake(distance: f64, a: f64, h: f64) -> f64 {
    let unit = a * h * h;
    let k = (0.5 * ((1.0 + 8.0 * distance / unit).sqrt() - 1.0)).floor();
    let left = (distance - 0.5 * unit * k * (k + 1.0)).max(0.0);
    k * a * h + left / ((k + 1.0) * h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::info;
    use proptest::prelude::*;
    use tactus_types::Source;

    const H: f64 = 0.002;

    fn limiter(max_lead: f64) -> Limiter {
        let spec = LimitSpec {
            max_lead,
            scale: 1.0,
        };
        Limiter::new(spec, info(1), JointVec::zeros(1), 0.5)
    }

    fn setpoint(q: f64, dq: f64) -> Setpoint {
        Setpoint {
            source: Source::Policy,
            q: JointVec::from_fn(1, |_| q),
            dq: JointVec::from_fn(1, |_| dq),
            opening: 0.5,
            request_id: 0,
            action_index: 0,
            observed_at: None,
        }
    }

    #[test]
    fn a_step_is_reached_without_overshoot_and_says_what_clamped_it() {
        let mut l = limiter(10.0);
        let mut highest = 0.0f64;
        let first = l.limit(&setpoint(1.0, 0.0), &l.q(), H);
        assert!(first.clamped_by.acceleration && first.clamped_by.any());
        for _ in 0..500 {
            highest = highest.max(l.limit(&setpoint(1.0, 0.0), &l.q(), H).q[0]);
        }
        assert!((l.q()[0] - 1.0).abs() < 1e-6, "{}", l.q()[0]);
        assert!(highest <= 1.0 + 1e-6, "{highest}");
        assert!(!l.limit(&setpoint(1.0, 0.0), &l.q(), H).clamped_by.any());
    }

    #[test]
    fn a_ramp_inside_the_limits_is_followed_without_lag() {
        let mut l = limiter(10.0);
        for k in 1..=400 {
            let limited = l.limit(&setpoint(0.5 * k as f64 * H, 0.5), &l.q(), H);
            if k > 100 {
                let behind = 0.5 * k as f64 * H - limited.q[0];
                assert!(behind.abs() < 2e-3, "tick {k}: {behind} rad behind");
            }
        }
    }

    #[test]
    fn a_hold_decelerates_along_the_commanded_motion() {
        let mut l = limiter(10.0);
        for k in 1..=200 {
            l.limit(&setpoint(1.5 * k as f64 * H, 1.5), &l.q(), H);
        }
        let (stop, v0) = (l.stopping_point()[0], l.dq()[0]);
        let mut ticks = 0;
        while l.dq()[0].abs() > 0.01 {
            let before = l.dq()[0];
            l.limit(&setpoint(stop, 0.0), &l.q(), H);
            assert!(l.dq()[0] <= before + 1e-12, "a hold never speeds up");
            ticks += 1;
        }
        assert!(
            f64::from(ticks) * H < 3.0 * v0 / 30.0,
            "{ticks} ticks from {v0} rad/s"
        );
    }

    #[test]
    fn not_finite_keeps_the_last_command() {
        let mut l = limiter(10.0);
        let limited = l.limit(&setpoint(f64::NAN, 0.0), &l.q(), H);
        assert!(limited.clamped_by.not_finite);
        assert_eq!(limited.q[0], 0.0);
        assert_eq!(limited.opening, 0.5, "the gripper keeps its last target");
    }

    #[test]
    fn the_command_never_runs_away_from_a_blocked_arm() {
        let mut l = limiter(0.1);
        let blocked = JointVec::zeros(1);
        for _ in 0..1000 {
            l.limit(&setpoint(1.5, 0.0), &blocked, H);
        }
        assert!(l.q()[0] <= 0.1 + 1e-6, "{}", l.q()[0]);
    }

    proptest! {
        /// Whatever the setpoints, even NaN and jumps: position, velocity and acceleration stay inside the limits.
        #[test]
        fn no_command_outside_any_limit(
            points in prop::collection::vec((-4.0f64..4.0, -9.0f64..9.0, 1usize..40, prop::bool::weighted(0.05)), 1..40)
        ) {
            let mut l = limiter(10.0);
            let (mut q, mut v) = (0.0, 0.0);
            for (s, s_dot, ticks, poison) in points {
                for _ in 0..ticks {
                    let s = if poison { f64::NAN } else { s };
                    let out = l.limit(&setpoint(s, s_dot), &l.q(), H);
                    prop_assert!(out.q[0].abs() <= 2.0 + 1e-9);
                    prop_assert!(out.dq[0].abs() <= 3.0 + 1e-9);
                    prop_assert!((out.dq[0] - v).abs() <= 30.0 * H + 1e-9, "{} -> {}", v, out.dq[0]);
                    prop_assert!((out.q[0] - q - out.dq[0] * H).abs() <= 1e-6, "position follows velocity");
                    (q, v) = (out.q[0], out.dq[0]);
                }
            }
        }
    }
}
