//! A motion to a pose that an operator named: where the setpoint is at each tick, and whether the arm follows and arrives.
//!
//! A straight line in joint space, all joints together, along the minimum-jerk profile `s = 10 u^3 - 15 u^4 + 6 u^5`
//! (Flash and Hogan, J. Neurosci. 5(7), 1985): at rest at both ends, its peak velocity is 15/8, its peak acceleration
//! 10/sqrt(3) and its peak jerk 60, in units of distance and duration. The duration is the shortest that keeps every
//! joint within a share of its limits, so that the limiter has nothing to do. Time is counted in ticks: a tick that was
//! missed delays the motion instead of making it leap.
//!
//! Does not limit: the setpoint goes through the limiter like any other. Does not decide the mode.

use tactus_types::{GotoFlaw, JointVec, Setpoint, Source};

/// The motion counts as arrived when every measured joint is this close, rad.
pub const ARRIVED_RAD: f64 = 0.02;
/// How long the arm may take to settle after the motion's end, seconds.
pub const SETTLE_SECS: f64 = 1.0;
/// How long the measured arm may be further from the motion than the largest lead, seconds.
pub const ASTRAY_SECS: f64 = 0.1;
/// No motion is shorter than this, seconds: one of no length is still seen.
const LEAST_SECS: f64 = 0.1;
/// Time from closed to open, seconds, at the full speed share.
const GRIPPER_SECS: f64 = 0.5;

/// Peaks of the profile's velocity, acceleration and jerk for a unit distance in a unit time.
const PEAKS: [f64; 3] = [15.0 / 8.0, 5.773_502_691_896_258, 60.0];

/// Where to, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Joint positions, rad.
    pub q: JointVec,
    /// Gripper opening, 0..1; `None` leaves it.
    pub opening: Option<f64>,
}

/// How a motion stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// Under way.
    Moving,
    /// The arm is there.
    Arrived,
    /// It will not get there.
    Failed(GotoFlaw),
}

/// A motion under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Goto {
    from: (JointVec, f64),
    to: (JointVec, f64),
    secs: f64,
    elapsed: f64,
    astray: f64,
}

impl Goto {
    /// From a command at rest (`from`: joints, rad, and opening) to `pose`, at `share` (0..1] of what `usable` gives per
    /// joint: velocity, acceleration and jerk, rad and s.
    pub fn new(
        from: (JointVec, f64),
        pose: &Pose,
        share: f64,
        usable: impl Fn(usize) -> [f64; 3],
    ) -> Self {
        let to = (pose.q, pose.opening.unwrap_or(from.1));
        let mut secs = LEAST_SECS.max((to.1 - from.1).abs() * GRIPPER_SECS / share);
        for joint in 0..to.0.len().min(from.0.len()) {
            let distance = (to.0[joint] - from.0[joint]).abs();
            for ((peak, limit), order) in PEAKS.iter().zip(usable(joint)).zip(1..) {
                let least = (peak * distance / (limit * share)).powf(1.0 / f64::from(order));
                secs = secs.max(least);
            }
        }
        Self {
            from,
            to,
            secs,
            elapsed: 0.0,
            astray: 0.0,
        }
    }

    /// How long the motion takes, seconds.
    pub fn secs(&self) -> f64 {
        self.secs
    }

    /// The setpoint at the end of the next tick of `period_secs`.
    pub fn setpoint(&mut self, period_secs: f64) -> Setpoint {
        self.elapsed += period_secs;
        let t = self.secs;
        let u = (self.elapsed / t).clamp(0.0, 1.0);
        let s = minimum_jerk(u);
        let ds = 30.0 * u * u * (1.0 - u) * (1.0 - u) / t;
        let dds = 60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / (t * t);
        let ((q0, o0), (q1, o1)) = (self.from, self.to);
        let along = q1.zip(&q0, |to, from| to - from);
        let scaled = |by: f64| JointVec::from_fn(along.len(), |i| along[i] * by);
        Setpoint {
            source: Source::Goto,
            q: q0.lerp(&q1, s),
            dq: scaled(ds),
            ddq: scaled(dds),
            opening: o0 + s * (o1 - o0),
            request_id: 0,
            action_index: 0,
            observed_at: None,
        }
    }

    /// Whether the setpoint has reached the pose.
    pub fn is_over(&self) -> bool {
        self.elapsed >= self.secs
    }

    /// How the motion stands, after [`Goto::setpoint`] gave `setpoint` and the arm was measured at `measured`; `resting`
    /// when the command itself is at rest there.
    pub fn judge(
        &mut self,
        setpoint: &JointVec,
        measured: &JointVec,
        resting: bool,
        max_lead: f64,
        period_secs: f64,
    ) -> Progress {
        let (joint, away) = furthest(setpoint, measured);
        self.astray = if away > max_lead {
            self.astray + period_secs
        } else {
            0.0
        };
        if self.astray > ASTRAY_SECS {
            return Progress::Failed(GotoFlaw::Tracking {
                joint,
                away_mrad: mrad(away),
                limit_mrad: mrad(max_lead),
            });
        }
        if !self.is_over() {
            return Progress::Moving;
        }
        let (joint, away) = furthest(&self.to.0, measured);
        if away <= ARRIVED_RAD && resting {
            Progress::Arrived
        } else if self.elapsed < self.secs + SETTLE_SECS {
            Progress::Moving
        } else {
            Progress::Failed(GotoFlaw::NotArrived {
                joint,
                away_mrad: mrad(away),
                limit_mrad: mrad(ARRIVED_RAD),
            })
        }
    }
}

/// The share of a distance that the profile has covered at the share `u` of its duration; 0 before, 1 after.
pub(crate) fn minimum_jerk(u: f64) -> f64 {
    let u = u.clamp(0.0, 1.0);
    u * u * u * (10.0 - 15.0 * u + 6.0 * u * u)
}

/// The joint where `a` and `b` are furthest apart, and how far.
pub(crate) fn furthest(a: &JointVec, b: &JointVec) -> (usize, f64) {
    let apart = a.zip(b, |a, b| (a - b).abs());
    let (mut joint, mut away) = (0, 0.0);
    for (i, distance) in apart.iter().enumerate() {
        if *distance > away || distance.is_nan() {
            (joint, away) = (i, *distance);
        }
    }
    (joint, if away.is_nan() { f64::INFINITY } else { away })
}

fn mrad(rad: f64) -> u32 {
    // Saturates; NaN is 0.
    (rad * 1e3).round() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const H: f64 = 0.002;

    fn usable(joint: usize) -> [f64; 3] {
        [[4.0, 60.0, 3000.0], [2.0, 10.0, 200.0]][joint % 2]
    }

    fn played(goto: &mut Goto) -> Vec<Setpoint> {
        let ticks = (goto.secs() / H).ceil() as usize + 2;
        (0..ticks).map(|_| goto.setpoint(H)).collect()
    }

    proptest! {
        /// Every difference quotient of the setpoints is within the share of the limits, one joint touches one of them,
        /// and the motion ends at rest on the pose.
        #[test]
        fn a_motion_is_as_fast_as_its_share_of_the_limits_permits(
            from in prop::collection::vec(-2.0..2.0f64, 2),
            to in prop::collection::vec(-2.0..2.0f64, 2),
            share in 0.05..1.0f64,
        ) {
            let vec = |v: &[f64]| JointVec::from_slice(v).expect("two");
            let pose = Pose { q: vec(&to), opening: Some(1.0) };
            let mut goto = Goto::new((vec(&from), 1.0), &pose, share, usable);
            let path = played(&mut goto);
            let end = path.last().expect("a setpoint");
            prop_assert!(end.q.zip(&pose.q, |a, b| a - b).max_abs() < 1e-12);
            prop_assert_eq!(end.dq.max_abs(), 0.0);
            let mut fullest = 0.0f64;
            for joint in 0..2 {
                let limits = usable(joint);
                for order in 0..3 {
                    let of = |s: &Setpoint| [s.q, s.dq, s.ddq][order][joint];
                    for pair in path.windows(2) {
                        let rate = (of(&pair[1]) - of(&pair[0])).abs() / H;
                        prop_assert!(rate <= limits[order] * share * 1.01, "order {} rate {}", order, rate);
                        fullest = fullest.max(rate / (limits[order] * share));
                    }
                }
            }
            // Differences blur a peak that is as short as a few ticks.
            prop_assert!(goto.secs() < 0.11 || fullest > 0.9, "{}", fullest);
        }
    }

    #[test]
    fn it_arrives_only_when_the_arm_does() {
        let pose = Pose {
            q: JointVec::from_fn(2, |_| 0.5),
            opening: None,
        };
        let mut goto = Goto::new((JointVec::zeros(2), 0.3), &pose, 0.5, usable);
        let mut progress = Progress::Moving;
        let mut ticks = 0;
        let end = (goto.secs() / H) as usize;
        while progress == Progress::Moving {
            let setpoint = goto.setpoint(H);
            assert_eq!(setpoint.opening, 0.3);
            progress = goto.judge(&setpoint.q, &setpoint.q, true, 0.5, H);
            ticks += 1;
            assert!(ticks < 10_000);
        }
        assert_eq!(progress, Progress::Arrived);
        assert!(ticks >= end);
    }

    #[test]
    fn an_arm_that_does_not_follow_or_does_not_arrive_is_named() {
        let stuck = JointVec::zeros(2);
        let run = |to: f64, max_lead: f64| {
            let pose = Pose {
                q: JointVec::from_fn(2, |i| if i == 1 { to } else { 0.0 }),
                opening: None,
            };
            let mut goto = Goto::new((stuck, 0.0), &pose, 0.5, usable);
            for _ in 0..100_000 {
                let setpoint = goto.setpoint(H);
                match goto.judge(&setpoint.q, &stuck, true, max_lead, H) {
                    Progress::Moving => {}
                    Progress::Arrived => panic!("it never moved"),
                    Progress::Failed(flaw) => return flaw,
                }
            }
            panic!("never given up");
        };
        assert!(matches!(
            run(1.0, 0.3),
            GotoFlaw::Tracking {
                joint: 1,
                away_mrad: 301..,
                limit_mrad: 300
            }
        ));
        assert!(matches!(
            run(0.1, 0.3),
            GotoFlaw::NotArrived {
                joint: 1,
                away_mrad: 100,
                limit_mrad: 20
            }
        ));
    }
}
