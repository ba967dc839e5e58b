//! Which commands a device takes, and which goal follows: the pure part of a device shell.
//!
//! Holding, for a position-controlled device, is keeping the last goal. When no command counted in this epoch yet, the
//! goal is the pose measured when the epoch was first seen, taken once: a goal that follows the measured pose would sink
//! with it. The gripper is held like any joint, so nothing is dropped. While torque is off the goal does follow the measured
//! pose: switched on again, the arm stays where it is then.

use std::time::Duration;

use tactus_types::{JointLimits, JointState, JointVec, Time, Torque};
use tactus_wire::DeviceCommand;

use crate::Watchdog;

/// Rounding that a goal may lie outside its limits by, rad.
const LIMIT_RAD: f64 = 1e-6;

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
    last_tick: Option<u64>,
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
            last_tick: None,
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
            self.last_tick = None;
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
                self.last_tick = Some(command.tick);
                self.watchdog.feed(now);
                if !self.limp || command.torque == Torque::On {
                    self.goal = Some(Goal {
                        q: command.q,
                        dq: command.dq,
                        opening: command.opening,
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
        if let Some(last) = self.last_tick
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
mod tests {
    use tactus_types::Generation;

    use super::*;

    const DEADLINE: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn state(epoch: u64, q: f64) -> JointState {
        JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch,
            q: JointVec::from_fn(2, |_| q),
            dq: JointVec::zeros(2),
            opening: 1.01,
            torque: true,
        }
    }

    fn command(epoch: u64, tick: u64, q: f64) -> DeviceCommand {
        DeviceCommand {
            epoch,
            tick,
            q: JointVec::from_fn(2, |_| q),
            dq: JointVec::from_fn(2, |_| 0.1),
            opening: 0.5,
            generation: Generation::default(),
            torque: Torque::Keep,
        }
    }

    fn gate() -> CommandGate {
        let mut gate = CommandGate::new(2, false, DEADLINE);
        gate.measured(&state(7, 0.3));
        gate
    }

    fn goal_q(gate: &CommandGate, now: Time) -> f64 {
        gate.goal(now).expect("a goal").q[0]
    }

    #[test]
    fn before_any_command_it_holds_the_pose_first_measured() {
        assert_eq!(CommandGate::new(2, false, DEADLINE).goal(at(0)), None);
        let mut gate = gate();
        gate.measured(&state(7, 0.2));
        assert!(gate.holds(at(1)));
        let goal = gate.goal(at(1)).expect("a goal");
        assert_eq!((goal.q[0], goal.opening), (0.3, 1.0));
    }

    #[test]
    fn without_commands_it_keeps_the_last_goal_at_rest() {
        let mut gate = gate();
        assert_eq!(
            gate.offer(&command(7, 1, 1.0), at(10), at(10)),
            Ok(Torque::Keep)
        );
        assert!(!gate.holds(at(110)) && gate.holds(at(111)));
        assert_eq!(gate.goal(at(110)).map(|g| g.dq[0]), Some(0.1));
        assert_eq!(
            gate.goal(at(111)).map(|g| (g.q[0], g.dq[0], g.opening)),
            Some((1.0, 0.0, 0.5))
        );
    }

    #[test]
    fn a_new_epoch_voids_what_was_commanded() {
        let mut gate = gate();
        assert_eq!(
            gate.offer(&command(7, 5, 1.0), at(10), at(10)),
            Ok(Torque::Keep)
        );
        gate.measured(&state(8, -0.4));
        assert_eq!(goal_q(&gate, at(11)), -0.4);
        assert!(gate.holds(at(11)));
        let refused = gate.offer(&command(7, 6, 1.0), at(12), at(12));
        assert_eq!(
            refused,
            Err(Refused::Epoch {
                expected: 8,
                actual: 7
            })
        );
        assert_eq!(goal_q(&gate, at(12)), -0.4);
        assert_eq!(
            gate.offer(&command(8, 1, 0.0), at(13), at(13)),
            Ok(Torque::Keep)
        );
    }

    #[test]
    fn hostile_commands_change_nothing_and_are_counted() {
        let mut gate = gate();
        assert_eq!(
            gate.offer(&command(7, 5, 1.0), at(10), at(10)),
            Ok(Torque::Keep)
        );
        let mut nan = command(7, 6, 0.0);
        nan.q[1] = f64::NAN;
        let mut infinite = command(7, 6, 0.0);
        infinite.dq[0] = f64::INFINITY;
        let long = DeviceCommand {
            q: JointVec::zeros(3),
            ..command(7, 6, 0.0)
        };
        let wide = DeviceCommand {
            opening: 1.1,
            ..command(7, 6, 0.0)
        };
        let limp = DeviceCommand {
            torque: Torque::Off,
            ..command(7, 6, 0.0)
        };
        for hostile in [
            nan,
            infinite,
            long,
            wide,
            limp,
            command(7, 5, 0.0),
            command(6, 9, 0.0),
        ] {
            assert!(gate.offer(&hostile, at(11), at(11)).is_err());
        }
        assert!(gate.offer(&command(7, 6, 0.0), at(10), at(111)).is_err());
        let expected = Refusals {
            epoch: 1,
            joints: 1,
            numbers: 3,
            limits: 0,
            order: 1,
            torque: 1,
            late: 1,
            wire: 0,
            overflow: 0,
        };
        assert_eq!(gate.refusals(), expected);
        assert_eq!(expected.total(), 8);
        assert_eq!(goal_q(&gate, at(11)), 1.0);
    }

    #[test]
    fn a_restarted_controller_counts_from_one_once_the_device_holds() {
        let mut gate = gate();
        assert_eq!(
            gate.offer(&command(7, 1000, 1.0), at(10), at(10)),
            Ok(Torque::Keep)
        );
        assert!(gate.offer(&command(7, 1, 0.0), at(50), at(50)).is_err());
        assert_eq!(
            gate.offer(&command(7, 1, 0.0), at(120), at(120)),
            Ok(Torque::Keep)
        );
    }

    #[test]
    fn the_goal_follows_a_limp_arm_so_that_torque_finds_it_where_it_is() {
        let mut gate = CommandGate::new(2, true, DEADLINE);
        gate.measured(&state(7, 0.3));
        let off = DeviceCommand {
            torque: Torque::Off,
            ..command(7, 1, 1.0)
        };
        assert_eq!(gate.offer(&off, at(10), at(10)), Ok(Torque::Off));
        let limp = JointState {
            torque: false,
            ..state(7, -0.8)
        };
        gate.measured(&limp);
        assert_eq!(goal_q(&gate, at(11)), -0.8);
        assert!(gate.offer(&command(7, 2, 1.0), at(12), at(12)).is_ok());
        assert_eq!(goal_q(&gate, at(12)), -0.8);
    }

    #[test]
    fn a_goal_outside_the_declared_limits_does_not_count() {
        let limit = JointLimits {
            lower: -1.0,
            upper: 1.0,
            velocity: 1.0,
            acceleration: 1.0,
            jerk: 1.0,
        };
        let mut gate = CommandGate::new(2, false, DEADLINE).within(&[limit; 2]);
        gate.measured(&state(1, 0.2));
        gate.offer(&command(1, 1, 1.0), at(10), at(10))
            .expect("at the limit");
        let refused = gate.offer(&command(1, 2, 1.01), at(20), at(20));
        assert!(
            matches!(refused, Err(Refused::Limits { joint: 0, .. })),
            "{refused:?}"
        );
        assert_eq!(gate.refusals().limits, 1);
        assert_eq!(
            gate.goal(at(20)).map(|g| g.q[0]),
            Some(1.0),
            "what counted stands"
        );
    }
}
