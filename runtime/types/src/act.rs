//! From setpoint to what the driver says it sent.

use crate::{Generation, JointState, JointVec, Time};

/// Who asked for a setpoint. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The controller's own hold.
    Hold,
    /// An action chunk.
    Policy,
    /// A motion to a pose that an operator named.
    Goto,
    /// The arm host's own motion towards the leader, before a human commands.
    Align,
    /// A human.
    Teleop,
}

/// What a command says about the motors' torque. Only an operator's order makes it anything but [`Torque::Keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Torque {
    /// As it is.
    #[default]
    Keep,
    /// The device makes its present pose the goal, switches torque on, and follows commands from then on.
    On,
    /// The device switches torque off: an arm without brakes falls.
    Off,
}

/// Desired joint values for this tick, before limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setpoint {
    /// Who asked.
    pub source: Source,
    /// Joint positions, rad.
    pub q: JointVec,
    /// Velocity at which `q` moves, rad/s. With `ddq` it lets the limiter follow a moving setpoint without lag.
    pub dq: JointVec,
    /// Acceleration at which `q` moves, rad/s^2.
    pub ddq: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
    /// Request behind it, for [`Source::Policy`].
    pub request_id: u64,
    /// Index of the action being approached, for [`Source::Policy`].
    pub action_index: u32,
    /// Instant of the observation behind it, for [`Source::Policy`].
    pub observed_at: Option<Time>,
}

/// Which limits changed a setpoint. Clamping is data on every command, not a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ClampedBy {
    /// A joint position limit.
    pub position: bool,
    /// A joint velocity limit.
    pub velocity: bool,
    /// A joint acceleration limit.
    pub acceleration: bool,
    /// The largest lead of the command over the measured state.
    pub lead: bool,
    /// The setpoint held a number that is not finite; the commanded motion brakes.
    pub not_finite: bool,
    /// A joint jerk limit.
    pub jerk: bool,
    /// The workspace: the commanded motion brakes, since it could not stop inside any more.
    pub workspace: bool,
    /// The arm itself: the commanded motion brakes, since two of its links would come too close.
    pub collision: bool,
}

impl ClampedBy {
    /// Whether any limit acted.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// One bit per limit, in field order; for the wire.
    pub fn bits(self) -> u32 {
        let Self {
            position,
            velocity,
            acceleration,
            lead,
            not_finite,
            jerk,
            workspace,
            collision,
        } = self;
        let limits = [
            position,
            velocity,
            acceleration,
            lead,
            not_finite,
            jerk,
            workspace,
            collision,
        ];
        let bit = |(i, set): (usize, &bool)| u32::from(*set) << i;
        limits.iter().enumerate().map(bit).sum()
    }

    /// Inverse of [`ClampedBy::bits`]; unknown bits are dropped.
    pub fn from_bits(bits: u32) -> Self {
        let bit = |i: u32| bits >> i & 1 == 1;
        Self {
            position: bit(0),
            velocity: bit(1),
            acceleration: bit(2),
            lead: bit(3),
            not_finite: bit(4),
            jerk: bit(5),
            workspace: bit(6),
            collision: bit(7),
        }
    }
}

/// A setpoint after limits: what is sent to the device this tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Command {
    /// Number of the tick.
    pub tick: u64,
    /// Device epoch that the command is for; the device drops any other.
    pub epoch: u64,
    /// Joint positions, rad.
    pub q: JointVec,
    /// Joint velocities of the commanded motion, rad/s.
    pub dq: JointVec,
    /// Joint accelerations of the commanded motion, rad/s^2.
    pub ddq: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
    /// The setpoint before limits.
    pub setpoint: Setpoint,
    /// What clamped it.
    pub clamped_by: ClampedBy,
    /// How far the command stays behind the setpoint on the joint where that is most, rad; 0 when nothing clamped it.
    pub clamped_rad: f64,
    /// Generation in force.
    pub generation: Generation,
    /// What becomes of the motors' torque.
    pub torque: Torque,
}

/// What the driver says it sent, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Applied {
    /// The command.
    pub command: Command,
    /// When it was handed to the device.
    pub at: Time,
}

impl Applied {
    /// Age of the observation behind the command when it was applied; `None` when no observation stands behind it.
    pub fn age(&self) -> Option<std::time::Duration> {
        self.command
            .setpoint
            .observed_at
            .map(|observed_at| self.at.since(observed_at))
    }
}

/// One arm. Implementations never block for longer than a small part of a control period.
pub trait Driver: Send {
    /// Newest measured state, if the device has ever reported one.
    fn state(&mut self) -> Option<JointState>;

    /// Hands `command` to the device.
    ///
    /// # Errors
    /// [`DriverError`] when it could not be handed over; nothing was sent then.
    fn apply(&mut self, command: &Command) -> Result<(), DriverError>;
}

/// Why a command could not be handed to the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The queue towards the device is full: its other end does not keep up or is gone.
    #[error("the command queue towards the device is full")]
    QueueFull,
    /// The device reported a fault.
    #[error("device fault: {reason}")]
    Device {
        /// What the device said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamp_bits_round_trip() {
        for bits in 0..256 {
            assert_eq!(ClampedBy::from_bits(bits).bits(), bits);
            assert_eq!(ClampedBy::from_bits(bits).any(), bits != 0);
        }
    }
}
