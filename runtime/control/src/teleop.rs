//! A human in command: how the leader and the arm come together, and where the setpoint is at each tick.
//!
//! ```text
//!                 engaged, the arm at rest, and near                    (Leader, Slide)
//!                 engaged, the arm at rest                              (Clutch)
//!   Apart: hold -------------------------------------------> Driving: the human's setpoints
//!     |  ^  <------ released, or further apart than `part_rad` ------ |
//!     |  |
//!     +--+ Slide: the arm goes to meet the leader, at a share of its limits, when that is within `reach_rad`
//! ```
//! Nothing leaps at the transfer: the first target is the command, and what leader and arm are apart then fades along the
//! minimum-jerk profile in `blend`, or stays for good behind a clutch. The gripper is picked up: it follows once the
//! human's opening has met or crossed its own, so that taking over with an open hand drops nothing.
//!
//! Targets come at the rate of the human's device and in steps; the setpoint follows them as a critically damped system of
//! second order with the time constant `smooth` (`x'' = (r - x) / T^2 - 2 x' / T`, solved exactly over a tick), which lags
//! a steady motion by `2 T`.
//!
//! Does not limit: the setpoint goes through the limiter like any other. Does not decide the mode or who may command.

use std::time::Duration;

use tactus_types::{ArmInfo, JointVec, OperatorSetpoint, Reference, Setpoint, Source, Time};

use crate::assemble::CLOCK_TOLERANCE;
use crate::goto::{Goto, Pose, furthest, minimum_jerk};
use crate::plan::State;

/// The gripper is picked up when the human's opening is this close to its own.
const PICK_UP: f64 = 0.05;
/// The command is at rest below this, rad/s ..
const REST_RAD_PER_SEC: f64 = 1e-3;
/// .. and this, rad/s^2.
const REST_RAD_PER_SEC2: f64 = 0.1;

/// How a human commands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TeleopSpec {
    /// Leader and arm are together when no joint is further apart than this, rad.
    pub tolerance_rad: f64,
    /// The arm goes to meet a leader that is no further away than this, rad.
    pub reach_rad: f64,
    /// A target further from the command than this releases the arm, rad.
    pub part_rad: f64,
    /// Time constant of the smoothing.
    pub smooth: Duration,
    /// Over which what leader and arm are apart fades.
    pub blend: Duration,
    /// Share of the limits at which the arm goes to meet the leader, in (0, 1].
    pub slide_share: f64,
}

impl Default for TeleopSpec {
    /// Tolerances of the field: GELLO's start tolerance of 0.8 rad and its 0.5 rad between leader and follower
    /// (github.com/wuphilipp/gello_software). The others are chosen.
    fn default() -> Self {
        Self {
            tolerance_rad: 0.1,
            reach_rad: 0.8,
            part_rad: 0.5,
            smooth: Duration::from_millis(20),
            blend: Duration::from_millis(500),
            slide_share: 0.3,
        }
    }
}

/// Why a setpoint of a human does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetpointRefused {
    /// Another number of joints than the arm has.
    #[error("a setpoint of {actual} joints for an arm of {expected}")]
    Joints {
        /// The arm's.
        expected: usize,
        /// The setpoint's.
        actual: usize,
    },
    /// NaN, infinity, or an opening outside 0..1.
    #[error("a setpoint holds a number that is no position or opening")]
    NotFinite,
    /// Not newer than the last one.
    #[error("a setpoint of sequence {actual} after {last}")]
    Sequence {
        /// Of the last one that counted.
        last: u64,
        /// Of this one.
        actual: u64,
    },
    /// Too old, or from the future.
    #[error("a setpoint that was not read now")]
    Age,
    /// Its lease is not in force, or not a human's.
    #[error("a setpoint without a lease of rank teleop")]
    Lease,
}

/// The newest setpoint of a human that counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ear {
    newest: Option<(OperatorSetpoint, Time)>,
}

impl Ear {
    /// Hears `setpoint` at `now`, unless it was read longer than `limit` ago; its lease is the caller's business.
    ///
    /// # Errors
    /// [`SetpointRefused`]; what was heard before still counts then.
    pub fn hear(
        &mut self,
        setpoint: &OperatorSetpoint,
        info: &ArmInfo,
        limit: Duration,
        now: Time,
    ) -> Result<(), SetpointRefused> {
        let (expected, actual) = (info.joints.len(), setpoint.q.len());
        if actual != expected {
            return Err(SetpointRefused::Joints { expected, actual });
        }
        if !setpoint.q.is_finite() || !(0.0..=1.0).contains(&setpoint.opening) {
            return Err(SetpointRefused::NotFinite);
        }
        let last = self.newest.filter(|(last, _)| last.lease == setpoint.lease);
        if let Some((last, _)) = last
            && setpoint.sequence <= last.sequence
        {
            return Err(SetpointRefused::Sequence {
                last: last.sequence,
                actual: setpoint.sequence,
            });
        }
        let at = setpoint.captured_at;
        if now.since(at) > limit || at.since(now) > CLOCK_TOLERANCE {
            return Err(SetpointRefused::Age);
        }
        self.newest = Some((*setpoint, now));
        Ok(())
    }

    /// The newest setpoint.
    pub fn newest(&self) -> Option<&OperatorSetpoint> {
        self.newest.as_ref().map(|(setpoint, _)| setpoint)
    }

    /// Time since it was heard; `None` before the first.
    pub fn silent(&self, now: Time) -> Option<Duration> {
        self.newest.map(|(_, heard)| now.since(heard))
    }
}

#[derive(Debug)]
enum Phase {
    /// The arm holds.
    Apart,
    /// The arm goes to meet the leader.
    Sliding(Goto),
    /// The human commands.
    Driving(Driving),
}

#[derive(Debug)]
struct Driving {
    /// Command less leader, at the transfer.
    offset: JointVec,
    /// Since the transfer, seconds.
    secs: f64,
    /// The smoothed setpoint.
    q: JointVec,
    dq: JointVec,
    opening: f64,
    /// Whether the human's opening was above the gripper's; `None` once it was picked up.
    above: Option<bool>,
}

/// A human who has taken over.
#[derive(Debug)]
pub struct Teleop {
    reference: Reference,
    phase: Phase,
}

impl Teleop {
    /// Of a human who has just taken over: the arm holds until they are together.
    pub fn new(reference: Reference) -> Self {
        Self {
            reference,
            phase: Phase::Apart,
        }
    }

    /// Whether the human commands, as of the last setpoint.
    pub fn driving(&self) -> bool {
        matches!(self.phase, Phase::Driving(_))
    }

    /// The setpoint at the end of the next tick of `period_secs`, from what the human sent last and the command's motion;
    /// `None`: the arm holds. `usable`: velocity, acceleration and jerk per joint that a motion may use.
    pub fn setpoint(
        &mut self,
        human: &OperatorSetpoint,
        commanded: &State,
        info: &ArmInfo,
        spec: &TeleopSpec,
        usable: impl Fn(usize) -> [f64; 3],
        period_secs: f64,
    ) -> Option<Setpoint> {
        if !human.engaged {
            self.phase = Phase::Apart;
            return None;
        }
        let leader = info.clamp(&human.q);
        if let Phase::Driving(driving) = &self.phase {
            let target = driving.target(self.reference, &leader, info, spec);
            if furthest(&target, &commanded.q).1 > spec.part_rad {
                self.phase = Phase::Apart;
                return None;
            }
        }
        if let Phase::Sliding(goto) = &self.phase
            && goto.is_over()
        {
            self.phase = Phase::Apart;
        }
        if let Phase::Apart = self.phase {
            self.phase = self.meet(human, &leader, commanded, spec, usable)?;
        }
        match &mut self.phase {
            Phase::Apart => None,
            Phase::Sliding(goto) => Some(Setpoint {
                source: Source::Align,
                ..goto.setpoint(period_secs)
            }),
            Phase::Driving(driving) => {
                let target = driving.target(self.reference, &leader, info, spec);
                Some(driving.follow(&target, human, spec, period_secs))
            }
        }
    }

    /// What follows while they are apart; `None`: wait.
    fn meet(
        &self,
        human: &OperatorSetpoint,
        leader: &JointVec,
        commanded: &State,
        spec: &TeleopSpec,
        usable: impl Fn(usize) -> [f64; 3],
    ) -> Option<Phase> {
        let rests = commanded.dq.max_abs() < REST_RAD_PER_SEC
            && commanded.ddq.max_abs() < REST_RAD_PER_SEC2;
        if !rests {
            return None;
        }
        let away = furthest(leader, &commanded.q).1;
        match self.reference {
            Reference::Leader | Reference::Slide if away > spec.tolerance_rad => {
                if self.reference == Reference::Leader || away > spec.reach_rad {
                    return None;
                }
                let pose = Pose {
                    q: *leader,
                    opening: None,
                };
                let from = (commanded.q, commanded.opening);
                Some(Phase::Sliding(Goto::new(
                    from,
                    &pose,
                    spec.slide_share,
                    usable,
                )))
            }
            Reference::Leader | Reference::Slide | Reference::Clutch => {
                // A clutch counts from what the human sent, also beyond the arm's limits.
                let leader = match self.reference {
                    Reference::Clutch => &human.q,
                    Reference::Leader | Reference::Slide => leader,
                };
                Some(Phase::Driving(Driving {
                    offset: commanded.q.zip(leader, |c, l| c - l),
                    secs: 0.0,
                    q: commanded.q,
                    dq: commanded.dq,
                    opening: commanded.opening,
                    above: Some(human.opening > commanded.opening),
                }))
            }
        }
    }
}

impl Driving {
    /// Where the human wants the arm now.
    fn target(
        &self,
        reference: Reference,
        leader: &JointVec,
        info: &ArmInfo,
        spec: &TeleopSpec,
    ) -> JointVec {
        let left = match reference {
            Reference::Clutch => 1.0,
            Reference::Leader | Reference::Slide => {
                1.0 - minimum_jerk(self.secs / spec.blend.as_secs_f64().max(1e-3))
            }
        };
        info.clamp(&leader.zip(&self.offset, |l, o| l + left * o))
    }

    fn follow(
        &mut self,
        target: &JointVec,
        human: &OperatorSetpoint,
        spec: &TeleopSpec,
        period_secs: f64,
    ) -> Setpoint {
        self.secs += period_secs;
        let omega = 1.0 / spec.smooth.as_secs_f64().max(1e-3);
        let decay = (-omega * period_secs).exp();
        let n = target.len();
        let (q, dq) = (self.q, self.dq);
        let ahead = |i: usize| q[i] - target[i];
        let rate = |i: usize| dq[i] + omega * ahead(i);
        self.q = JointVec::from_fn(n, |i| {
            target[i] + (ahead(i) + rate(i) * period_secs) * decay
        });
        self.dq = JointVec::from_fn(n, |i| (dq[i] - omega * rate(i) * period_secs) * decay);
        let (q, dq) = (self.q, self.dq);
        let ddq = JointVec::from_fn(n, |i| omega * (omega * (target[i] - q[i]) - 2.0 * dq[i]));
        let apart = human.opening - self.opening;
        if self
            .above
            .is_some_and(|above| apart.abs() < PICK_UP || above != (apart > 0.0))
        {
            self.above = None;
        }
        if self.above.is_none() {
            self.opening = human.opening;
        }
        Setpoint {
            source: Source::Teleop,
            q,
            dq,
            ddq,
            opening: self.opening,
            request_id: 0,
            action_index: 0,
            observed_at: Some(human.captured_at),
        }
    }
}

#[cfg(test)]
mod tests;
