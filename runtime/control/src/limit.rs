//! The one limiter: policy, teleop and hold are sources of setpoints, and nothing reaches a driver except through here.
//!
//! Decides the command of a tick: position, velocity, acceleration and jerk limits of each joint, the largest lead over
//! the measured state. Keeps what was last commanded (q, dq, ddq), so that a hold decelerates along the commanded motion.
//! Does not decide whose setpoint counts.
//!
//! Per joint and tick, the setpoint is pulled into the position limits and the lead, then pursued ([`pursue`]) under the
//! other limits. One law holds after every tick: *the stop that begins now ([`stop`]) stays inside the position limits*.
//! A pursuit that would break it is replaced by one that comes to rest at the limit, or by the stop itself, which by the
//! law of the tick before stays inside. The same law holds for the limits in space ([`guard`]), of all joints together.

pub mod guard;
mod pursue;
mod stop;

use tactus_types::{ArmInfo, ClampedBy, JointLimits, JointVec, MAX_JOINTS, Setpoint};

use guard::{Guard, Watch};
use pursue::Pursuit;
use stop::{Bound, Motion, Stop};

/// Limits that do not come from the arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSpec {
    /// Largest distance of the command from the measured position, per joint, rad.
    pub max_lead: f64,
    /// Largest change of the command in one tick, per joint, rad.
    pub max_step: f64,
    /// Share of the arm's velocity, acceleration and jerk limits that may be used, in (0, 1].
    pub scale: f64,
}

/// What one tick's limiting produced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limited {
    /// Joint positions to command, rad.
    pub q: JointVec,
    /// Velocities of the commanded motion, rad/s.
    pub dq: JointVec,
    /// Accelerations of the commanded motion, rad/s^2.
    pub ddq: JointVec,
    /// Gripper opening to command, 0..1.
    pub opening: f64,
    /// What clamped the setpoint.
    pub clamped_by: ClampedBy,
    /// Largest distance of the command from the setpoint over the joints, rad; 0 when nothing clamped it.
    pub clamped_rad: f64,
}

/// Keeps the commanded motion.
#[derive(Debug)]
pub struct Limiter {
    spec: LimitSpec,
    info: ArmInfo,
    pursuit: Pursuit,
    joints: usize,
    motion: [Motion; MAX_JOINTS],
    opening: f64,
    watch: Option<Watch>,
}

/// Rounding that a position may lie outside its limit by, rad.
const ROUNDING_RAD: f64 = 1e-9;
/// Rounding that a velocity may exceed its limit by: its share.
const ROUNDING_SHARE: f64 = 1e-7;

impl Limiter {
    /// A limiter that has commanded the measured `q`, at rest, and `opening`.
    pub fn new(spec: LimitSpec, info: ArmInfo, q: JointVec, opening: f64) -> Self {
        let mut limiter = Self {
            spec,
            info,
            pursuit: Pursuit::new(),
            joints: q.len(),
            motion: [Motion::default(); MAX_JOINTS],
            opening,
            watch: None,
        };
        limiter.seed(q, opening);
        limiter
    }

    /// The same with limits in space.
    pub fn guarded(mut self, guard: Option<Guard>) -> Self {
        self.watch = guard.map(Watch::new);
        self
    }

    /// Starts again from a measured state, at rest: after a gap, a restart or torque-off.
    pub fn seed(&mut self, q: JointVec, opening: f64) {
        self.joints = q.len();
        for (motion, q) in self.motion.iter_mut().zip(q.iter()) {
            *motion = Motion {
                q: *q,
                ..Motion::default()
            };
        }
        if let Some(watch) = &mut self.watch {
            watch.restart();
        }
        self.opening = if opening.is_finite() {
            opening.clamp(0.0, 1.0)
        } else {
            self.opening
        };
    }

    fn vec(&self, of: impl Fn(&Motion) -> f64) -> JointVec {
        JointVec::from_fn(self.joints, |i| self.motion.get(i).map_or(0.0, &of))
    }

    /// Last commanded joint positions, rad.
    pub fn q(&self) -> JointVec {
        self.vec(|m| m.q)
    }

    /// Last commanded joint velocities, rad/s.
    pub fn dq(&self) -> JointVec {
        self.vec(|m| m.v)
    }

    /// Last commanded joint accelerations, rad/s^2.
    pub fn ddq(&self) -> JointVec {
        self.vec(|m| m.a)
    }

    /// Last commanded gripper opening, 0..1.
    pub fn opening(&self) -> f64 {
        self.opening
    }

    /// Where the commanded motion comes to rest when it brakes from now on: the setpoint of a hold, rad.
    pub fn stopping_point(&self, period_secs: f64) -> JointVec {
        self.braking(f64::INFINITY, period_secs)
    }

    /// Where the commanded motion is `secs` after it began to brake, rad.
    pub fn braking(&self, secs: f64, period_secs: f64) -> JointVec {
        let limits = self.info.limits.iter();
        let mut q = self.q();
        for (i, (motion, l)) in self.motion.iter().zip(limits).enumerate().take(self.joints) {
            let at = Stop::of(*motion, &self.bound(l, period_secs)).at(secs).q;
            q[i] = at.clamp(l.lower, l.upper);
        }
        q
    }

    /// Whether the command is further from `measured` than the largest lead on any joint.
    pub fn leads_too_far(&self, measured: &JointVec) -> bool {
        self.q().zip(measured, |c, m| c - m).max_abs() > self.spec.max_lead
    }

    /// Velocity, acceleration and jerk that `joint` may use at this tick length, rad and s. Zero for no such joint.
    pub(crate) fn usable(&self, joint: usize, period_secs: f64) -> [f64; 3] {
        self.info.limits.get(joint).map_or([0.0; 3], |l| {
            let bound = self.bound(l, period_secs);
            [bound.velocity, bound.acceleration, bound.jerk]
        })
    }

    /// The limits of a joint as far as they may be used; `max_step` is a velocity at this tick length.
    fn bound(&self, l: &JointLimits, period_secs: f64) -> Bound {
        let LimitSpec {
            scale, max_step, ..
        } = self.spec;
        Bound {
            velocity: (l.velocity * scale).min(max_step / period_secs),
            acceleration: l.acceleration * scale,
            jerk: l.jerk * scale,
        }
    }

    /// Advances the command by one tick of `period_secs` towards `setpoint`, which is due at the end of the tick;
    /// `measured` is the newest joint position.
    pub fn limit(&mut self, setpoint: &Setpoint, measured: &JointVec, period_secs: f64) -> Limited {
        let n = self.joints;
        let mut clamped_by = ClampedBy::default();
        let usable = [&setpoint.q, &setpoint.dq, &setpoint.ddq]
            .iter()
            .all(|v| v.len() == n && v.is_finite());
        clamped_by.not_finite = !(usable && setpoint.opening.is_finite());
        let mut next = self.motion;
        let mut bounds = [Bound::default(); MAX_JOINTS];
        let mut goals = [Motion::default(); MAX_JOINTS];
        let limits = self.info.limits.iter().take(n);
        for (i, l) in limits.clone().enumerate() {
            bounds[i] = self.bound(l, period_secs);
            if !clamped_by.not_finite {
                let asked = Motion {
                    q: setpoint.q[i],
                    v: setpoint.dq[i],
                    a: setpoint.ddq[i],
                };
                let measured = (i < measured.len()).then(|| measured[i]);
                goals[i] = self.pulled_in(asked, measured, l, &mut clamped_by);
            }
        }
        let mut stop = clamped_by.not_finite;
        if !stop && let Some(watch) = &mut self.watch {
            let goal = JointVec::from_fn(n, |i| goals[i].q);
            let from = self.motion.get(..n).unwrap_or_default();
            stop = watch.keeps_stopping(from, &goal, &mut clamped_by);
        }
        if !stop {
            for (i, l) in limits.clone().enumerate() {
                let (from, to, bound) = (self.motion[i], goals[i], bounds[i]);
                let pursuit = &mut self.pursuit;
                next[i] = advance(pursuit, from, to, l, &bound, period_secs, &mut clamped_by);
            }
            if let Some(watch) = &mut self.watch {
                let from = self.motion.get(..n).unwrap_or_default();
                stop = watch.forbids(from, &next, &bounds, &mut clamped_by);
            }
        }
        if stop {
            for (next, (from, bound)) in
                next.iter_mut().zip(self.motion.iter().zip(&bounds)).take(n)
            {
                *next = Stop::of(*from, bound).at(period_secs);
            }
        }
        self.motion = next;
        let clamped_rad = match clamped_by.not_finite || !clamped_by.any() {
            true => 0.0,
            false => setpoint.q.zip(&self.q(), |asked, q| asked - q).max_abs(),
        };
        if !clamped_by.not_finite {
            self.opening = setpoint.opening.clamp(0.0, 1.0);
        }
        Limited {
            q: self.q(),
            dq: self.dq(),
            ddq: self.ddq(),
            opening: self.opening,
            clamped_by,
            clamped_rad,
        }
    }

    /// `asked` moved into the position limits and the lead; a setpoint that had to be moved is one at rest.
    fn pulled_in(
        &self,
        asked: Motion,
        measured: Option<f64>,
        l: &JointLimits,
        clamped_by: &mut ClampedBy,
    ) -> Motion {
        let mut to = asked;
        let rest = |q: f64| Motion {
            q,
            ..Motion::default()
        };
        if to.q < l.lower || to.q > l.upper {
            (to, clamped_by.position) = (rest(to.q.clamp(l.lower, l.upper)), true);
        }
        let lead = self.spec.max_lead;
        if let Some(measured) = measured
            && (to.q - measured).abs() > lead
        {
            (to, clamped_by.lead) = (rest(to.q.clamp(measured - lead, measured + lead)), true);
        }
        to
    }
}

/// One tick of one joint from `from` towards `to`.
fn advance(
    pursuit: &mut Pursuit,
    from: Motion,
    to: Motion,
    l: &JointLimits,
    bound: &Bound,
    period_secs: f64,
    clamped_by: &mut ClampedBy,
) -> Motion {
    let pursued = pursuit.step(from, to, bound, period_secs);
    if pursued.is_none_or(|p| !p.met) {
        say_why(from, to, bound, period_secs, clamped_by);
    }
    if let Some(p) = pursued
        && stops_inside(&from, &p.motion, l, bound, period_secs)
    {
        return p.motion;
    }
    clamped_by.position |= pursued.is_some();
    // On the way to a limit: come to rest there.
    let at_limit = Motion {
        q: to.q.clamp(l.lower, l.upper),
        ..Motion::default()
    };
    if let Some(p) = pursuit.step(from, at_limit, bound, period_secs)
        && stops_inside(&from, &p.motion, l, bound, period_secs)
    {
        return p.motion;
    }
    Stop::of(from, bound).at(period_secs)
}

/// Whether the way from `from` to `motion`, and the stop that begins there, stay inside the position and velocity
/// limits. While the acceleration is taken back at the jerk limit, the velocity still grows by a^2 / (2 jerk).
fn stops_inside(from: &Motion, motion: &Motion, l: &JointLimits, bound: &Bound, h: f64) -> bool {
    let fastest = motion.v + motion.a * motion.a.abs() / (2.0 * bound.jerk);
    let speed = fastest
        .abs()
        .max(motion.v.abs())
        .max(((motion.q - from.q) / h).abs());
    let (low, high) = Stop::of(*motion, bound).range();
    speed <= bound.velocity * (1.0 + ROUNDING_SHARE)
        && low >= l.lower - ROUNDING_RAD
        && high <= l.upper + ROUNDING_RAD
}

/// Names the limits that keep `to` from being met within the tick: what meeting it would take, derivative by derivative.
fn say_why(from: Motion, to: Motion, bound: &Bound, h: f64, clamped_by: &mut ClampedBy) {
    let velocity = (to.q - from.q) / h;
    let acceleration = (to.v - from.v) / h;
    let jerk = (to.a - from.a) / h;
    let over = |value: f64, limit: f64| value.abs() > limit * (1.0 + 1e-9);
    clamped_by.velocity |= over(velocity, bound.velocity) || over(to.v, bound.velocity);
    clamped_by.acceleration |=
        over(acceleration, bound.acceleration) || over(to.a, bound.acceleration);
    // What no single derivative explains takes a faster change of acceleration than is allowed.
    clamped_by.jerk |= over(jerk, bound.jerk) || !(clamped_by.velocity || clamped_by.acceleration);
}

#[cfg(test)]
mod tests;
