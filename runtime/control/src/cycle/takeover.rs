//! A human takes over and hands back.
//!
//! 1. A lease of rank teleop ends what a lower rank began; the order *take over* makes what a policy planned void by its
//!    generation, in the tick that it reaches.
//! 2. The arm brakes along the commanded motion and holds.
//! 3. [`Teleop`] brings leader and arm together; only then do the human's setpoints count, blended in.
//! 4. *Hand back*: the arm brakes, the policy is asked for a chunk from a fresh observation, which the braking that is left
//!    of the human's motion conditions where the bundle takes a prefix; its first setpoint is the command.
//!
//! Every command says who asked for it. A human who falls silent while commanding ends in a hold that only an operator ends.

use std::time::Duration;

use tactus_types::{
    Action, InferenceRequest, Mode, OperatorSetpoint, Rank, Reference, Setpoint, Time, TimedAction,
};

use super::{ArmCycle, OrderRefused, TickInput};
use crate::plan::State;
use crate::teleop::{SetpointRefused, Teleop};

/// Time between the samples of a braking motion that a request says.
const SAMPLE: Duration = Duration::from_millis(25);
/// Samples of it: any arm is at rest by then.
const SAMPLES: u32 = 40;

impl ArmCycle {
    /// Takes a setpoint of a human; one that does not count is counted.
    pub(super) fn hear(&mut self, setpoint: &OperatorSetpoint, now: Time) {
        let result = match self.authority.rank(setpoint.lease, now) {
            Ok(Rank::Teleop | Rank::Outside) => {
                let limit = self.spec.ladder.operator_limit;
                self.ear.hear(setpoint, &self.info, limit, now)
            }
            Ok(Rank::Policy) | Err(_) => Err(SetpointRefused::Lease),
        };
        self.counters.setpoints_refused += u64::from(result.is_err());
    }

    /// How long the human has been silent, once that is too long.
    pub(super) fn operator_silent(&self, now: Time) -> Option<Duration> {
        let limit = self.spec.ladder.operator_limit;
        self.ear.silent(now).filter(|silent| *silent > limit)
    }

    pub(super) fn take_over(
        &mut self,
        reference: Reference,
        input: &TickInput<'_>,
        now: Time,
    ) -> Result<(), OrderRefused> {
        self.check_state(input, now)?;
        self.not_switching()?;
        if self.is_limp(input.state) {
            return Err(OrderRefused::NoTorque);
        }
        let silent = self.ear.silent(now);
        let under = self.ear.newest().map(|s| self.authority.rank(s.lease, now));
        if !matches!(under, Some(Ok(Rank::Teleop | Rank::Outside)))
            || silent.is_none_or(|silent| silent > self.spec.ladder.operator_limit)
        {
            return Err(OrderRefused::NoOperator {
                age_millis: silent.map(|silent| silent.as_millis() as u64),
            });
        }
        self.supervisor.take_over();
        self.teleop = Some(Teleop::new(reference));
        Ok(())
    }

    pub(super) fn hand_back(
        &mut self,
        input: &TickInput<'_>,
        now: Time,
    ) -> Result<(), OrderRefused> {
        if self.supervisor.interrupts() {
            self.check_state(input, now)?;
            Self::check_alive(input)?;
        }
        self.supervisor.hand_back();
        Ok(())
    }

    /// The setpoint of a human, or of the motion towards the leader; `None`: the arm holds.
    pub(super) fn teleop_setpoint(&mut self) -> Option<Setpoint> {
        if !matches!(self.supervisor.mode(), Mode::Align | Mode::Teleop) {
            self.teleop = None;
            return None;
        }
        let human = *self.ear.newest()?;
        let teleop = self.teleop.as_mut()?;
        let commanded = State {
            q: self.limiter.q(),
            dq: self.limiter.dq(),
            ddq: self.limiter.ddq(),
            opening: self.limiter.opening(),
        };
        let period = self.spec.period_secs;
        let usable = |joint| self.limiter.usable(joint, period);
        let (info, spec) = (&self.info, &self.spec.teleop);
        let setpoint = teleop.setpoint(&human, &commanded, info, spec, usable, period);
        self.supervisor.drive(teleop.driving());
        self.holding &= setpoint.is_none();
        setpoint
    }

    /// Says the braking under way in `request`, from its observation on.
    pub(super) fn braking(&self, request: &mut InferenceRequest) {
        for k in 0..SAMPLES {
            let later = SAMPLE * k;
            let q = self
                .limiter
                .braking(later.as_secs_f64(), self.spec.period_secs);
            let opening = self.limiter.opening();
            let pushed = request.leftover.push(TimedAction {
                due: request.observe_after + later,
                action: Action { q, opening },
            });
            if !pushed {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
