//! Which commands a device takes, and which goal follows: the pure part of a device shell.
//!
//! Holding, for a position-controlled device, is keeping the last goal. When no command counted in this epoch yet, the
//! goal is the pose measured when the epoch was first seen, taken once: a goal that follows the measured pose would sink
//! with it. The gripper is held like any joint, so nothing is dropped. While torque is off the goal does follow the measured
//! pose: switched on again, the arm stays where it is then.
//!
//! A commander takes the arm up where it finds it: the opening that it begins with is where it measured the fingers, and not
//! where anybody wants them. What the fingers were told before, and what they press with, only the device knows. So the
//! opening of a commander that begins anew (the first of an epoch, one that was restarted, or the same one after every
//! enabling) changes nothing until that commander asks for another.

use std::time::Duration;

use tactus_types::{JointLimits, JointState, JointVec, Time, Torque};
use tactus_wire::DeviceCommand;

use crate::Watchdog;

/// Rounding that a goal may lie outside its limits by, rad.
const LIMIT_RAD: f64 = 1e-6;
/// Openings that differ by no more may be two measurements of fingers that stand still.
const OPENING_NOISE: f64 = 0.01;

/// Where a device is to go: a position-controlled device needs no more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Joint positions, rad.
    pub q: JointVec,
    /// Joint velocities that go with them, rad/s; zero when holding.
    pub dq: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
}

impl Goal {
    /// To stay where `state` is.
    pub(crate) fn stay(state: &JointState) -> Self {
        Self {
            q: state.q,
            dq: JointVec::zeros(state.q.len()),
            opening: state.opening.clamp(0.0, 1.0),
        }
    }
}

/// Why a command does not count.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It is for another epoch.
    #[error("command for epoch {actual}, the device is in {expected}")]
    Epoch {
        /// The device's.
        expected: u64,
        /// The command's.
        actual: u64,
    },
    /// It is for another arm.
    #[error("command for {actual} joints, the arm has {expected}")]
    Joints {
        /// The arm's.
        expected: usize,
        /// The command's.
        actual: usize,
    },
    /// It holds NaN, infinity or an opening outside 0..1.
    #[error("command with numbers that are not finite or an opening outside 0..1")]
    Numbers,
    /// It wants a joint outside the limits that the device has declared.
    #[error("command to {actual:.4} rad for joint {joint}, its limits are {lower} to {upper}")]
    Limits {
        /// Index of the joint.
        joint: usize,
        /// Its limit, rad.
        lower: f64,
        /// Its limit, rad.
        upper: f64,
        /// What was commanded, rad.
        actual: f64,
    },
    /// It is not newer than the last one that counted.
    #[error("command of tick {actual} after {last}")]
    Order {
        /// The last tick that counted.
        last: u64,
        /// The command's.
        actual: u64,
    },
    /// It would switch torque off where that cannot be done.
    #[error("command to switch torque off for a device that cannot")]
    Torque,
    /// It was on its way for longer than the command deadline.
    #[error("command of {} ms age, the deadline is {} ms", age.as_millis(), limit.as_millis())]
    Late {
        /// Its age.
        age: Duration,
        /// The command deadline.
        limit: Duration,
    },
}

/// How many commands did not count, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// [`Refused::Epoch`].
    pub epoch: u64,
    /// [`Refused::Joints`].
    pub joints: u64,
    /// [`Refused::Numbers`].
    pub numbers: u64,
    /// [`Refused::Limits`].
    pub limits: u64,
    /// [`Refused::Order`].
    pub order: u64,
    /// [`Refused::Torque`].
    pub torque: u64,
    /// [`Refused::Late`].
    pub late: u64,
    /// Refused before it was a command: a `tactus_wire::WireError`.
    pub wire: u64,
    /// Dropped because the device did not keep up.
    pub overflow: u64,
}

impl Refusals {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self {
            epoch,
            joints,
            numbers,
            limits,
            order,
            torque,
            late,
            wire,
            overflow,
        } = self;
        epoch + joints + numbers + limits + order + torque + late + wire + overflow
    }

    fn count(&mut self, refused: Refused) {
        *match refused {
            Refused::Epoch { .. } => &mut self.epoch,
            Refused::Joints { .. } => &mut self.joints,
            Refused::Numbers => &mut self.numbers,
            Refused::Limits { .. } => &mut self.limits,
            Refused::Order { .. } => &mut self.order,
            Refused::Torque => &mut self.torque,
            Refused::Late { .. } => &mut self.late,
        } += 1;
    }
}

/// What is remembered of the last command that counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    tick: u64,
    /// Boot of the arm host that sent it.
    boot: u64,
    /// It asked for torque.
    enabling: bool,
    /// The opening that its sender began with, until it asks for another.
    found: Option<f64>,
}

/// Decides what a device does next.
#[derive(Debug, Clone)]
pub struct CommandGate {
    joints: usize,
    torque_switch: bool,
    /// Of every joint; none: not looked at.
    limits: Vec<JointLimits>,
    limp: bool,
    watchdog: Watchdog,
    epoch: Option<u64>,
    last: Option<Counted>,
    goal: Option<Goal>,
    refusals: Refusals,
}

impl CommandGate {
    /// A gate for an arm of `joints` joints that holds when no command counts for `deadline`, and whose torque can be
    /// switched if `torque_switch`.
    pub fn new(joints: usize, torque_switch: bool, deadline: Duration) -> Self {
        Self {
            joints,
            torque_switch,
            limits: Vec::new(),
            limp: false,
            watchdog: Watchdog::new(deadline),
            epoch: None,
            last: None,
            goal: None,
            refusals: Refusals::default(),
        }
    }

    /// The same, for an arm that has declared `limits`: a goal outside them does not count.
    pub fn within(mut self, limits: &[JointLimits]) -> Self {
        self.limits = limits.to_vec();
        self
    }

    /// The device measured `state`. In a new epoch, what was commanded before is void and the pose becomes the goal.
    pub fn measured(&mut self, state: &JointState) {
        self.limp = !state.torque;
        if self.epoch != Some(state.epoch) {
            self.epoch = Some(state.epoch);
            self.last = None;
            self.watchdog.reset();
            self.goal = Some(Goal::stay(state));
        } else if !state.torque {
            self.goal = Some(Goal::stay(state));
        }
    }

    /// A command came in that was published at `published_at`. Returns what becomes of torque.
    ///
    /// # Errors
    /// [`Refused`] when it does not count; it is counted there, and changes nothing else.
    pub fn offer(
        &mut self,
        command: &DeviceCommand,
        published_at: Time,
        now: Time,
    ) -> Result<Torque, Refused> {
        match self.judge(command, published_at, now) {
            Ok(()) => {
                let found = self.found(command);
                self.last = Some(Counted {
                    tick: command.tick,
                    boot: command.generation.boot,
                    enabling: command.torque == Torque::On,
                    found,
                });
                self.watchdog.feed(now);
                if !self.limp || command.torque == Torque::On {
                    let kept = self.goal.filter(|_| found.is_some());
                    self.goal = Some(Goal {
                        q: command.q,
                        dq: command.dq,
                        opening: kept.map_or(command.opening, |goal| goal.opening),
                    });
                }
                Ok(command.torque)
            }
            Err(refused) => {
                self.refusals.count(refused);
                Err(refused)
            }
        }
    }

    /// The opening at which the sender of `command` found the gripper, as long as it has asked for no other.
    fn found(&self, command: &DeviceCommand) -> Option<f64> {
        let begun = |last: &Counted| {
            last.enabling || last.boot != command.generation.boot || command.tick <= last.tick
        };
        match self.last {
            Some(last) if !(self.limp || command.torque == Torque::On || begun(&last)) => last
                .found
                .filter(|found| (found - command.opening).abs() <= OPENING_NOISE),
            _ => Some(command.opening),
        }
    }

    fn judge(&self, command: &DeviceCommand, published_at: Time, now: Time) -> Result<(), Refused> {
        let expected = self.epoch.unwrap_or(0);
        if self.epoch != Some(command.epoch) {
            let actual = command.epoch;
            return Err(Refused::Epoch { expected, actual });
        }
        for actual in [command.q.len(), command.dq.len()] {
            let expected = self.joints;
            if actual != expected {
                return Err(Refused::Joints { expected, actual });
            }
        }
        let finite = command.q.is_finite() && command.dq.is_finite();
        if !(finite && (0.0..=1.0).contains(&command.opening)) {
            return Err(Refused::Numbers);
        }
        for (joint, (l, q)) in self.limits.iter().zip(command.q.iter()).enumerate() {
            if !(l.lower - LIMIT_RAD..=l.upper + LIMIT_RAD).contains(q) {
                let (lower, upper, actual) = (l.lower, l.upper, *q);
                return Err(Refused::Limits {
                    joint,
                    lower,
                    upper,
                    actual,
                });
            }
        }
        if let Some(Counted { tick: last, .. }) = self.last
            && command.tick <= last
            && !self.watchdog.expired(now)
        {
            let actual = command.tick;
            return Err(Refused::Order { last, actual });
        }
        if command.torque == Torque::Off && !self.torque_switch {
            return Err(Refused::Torque);
        }
        let (age, limit) = (now.since(published_at), self.watchdog.deadline());
        if age > limit {
            return Err(Refused::Late { age, limit });
        }
        Ok(())
    }

    /// What the device is to do at `now`: `None` until it measured itself once. Holding is the last goal at rest.
    pub fn goal(&self, now: Time) -> Option<Goal> {
        self.goal.map(|goal| {
            if self.holds(now) {
                Goal {
                    dq: JointVec::zeros(goal.q.len()),
                    ..goal
                }
            } else {
                goal
            }
        })
    }

    /// Whether the device holds by itself at `now`, for want of commands.
    pub fn holds(&self, now: Time) -> bool {
        self.watchdog.expired(now)
    }

    /// What did not count so far.
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }
}

#[cfg(test)]
mod tests;
