//! What an operator may ask of an arm besides episodes: torque on and off, a motion to a pose; and the lease under which
//! motion may begin.
//!
//! | order | needs the lease | why |
//! |---|---|---|
//! | enable (also: resume), start, goto, hand back | yes | motion begins or goes on |
//! | take over | yes, in the rank of a human | motion begins |
//! | torque-off | yes | the arm may fall |
//! | end, hold, stop | no | motion ends: anyone may |
//!
//! A motion that was begun *bound* ends in a hold when its lease ends, however it ends; one that was not goes on. A lease
//! granted to a higher rank than the one that began the motion ends it in any case. Neither hold ends by itself.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{
    Fault, GotoFlaw, JointState, JointVec, LeaseEnd, LeaseHolder, LeaseId, Mode, Rank, Setpoint,
    Time, Torque, Under,
};

use super::{ArmCycle, Order, OrderRefused, TickInput};
use crate::authority::{Ended, Grant, LeaseRefused};
use crate::enable::{REST_RAD_PER_SEC, Switched, Switching};
use crate::goto::{Goto, Pose, Progress};

/// How close the command has to be to a pose to be at rest there, rad.
const THERE_RAD: f64 = 1e-3;

/// What began the motion under way.
#[derive(Debug)]
pub(super) struct Bond {
    lease: LeaseId,
    holder: Arc<str>,
    rank: Rank,
    bound: bool,
}

/// Torque being switched, and whether someone waits to hear how it went.
#[derive(Debug)]
pub(super) struct Switch {
    switching: Switching,
    asked: bool,
    /// Who has ended meanwhile what it would lead to.
    ended: Option<&'static str>,
}

/// A motion to a pose.
#[derive(Debug)]
pub(super) enum Going {
    /// What was before brakes first.
    Braking(Pose, f64),
    /// Under way.
    Moving(Goto),
    /// It cannot arrive: the next tick holds. The one that found out has commanded already.
    Failed(GotoFlaw),
}

/// Whether `order` is refused without the lease.
fn needs_lease(order: &Order) -> bool {
    match order {
        Order::Enable
        | Order::Start { .. }
        | Order::Goto { .. }
        | Order::TakeOver { .. }
        | Order::HandBack
        | Order::TorqueOff { .. } => true,
        Order::EndEpisode | Order::Hold | Order::Stop => false,
    }
}

impl ArmCycle {
    /// Carries out an order from outside, under a lease where it needs one. What refuses it is counted.
    ///
    /// # Errors
    /// [`OrderRefused`]; nothing changed then, except that the sequence is used up.
    pub fn order_under(
        &mut self,
        order: &Order,
        under: Option<Under>,
        input: &TickInput<'_>,
        now: Time,
    ) -> Result<(), OrderRefused> {
        let result = self.authorised(order, under, now).and_then(|bond| {
            self.order(order, input, now)?;
            // An order that may end a motion leaves it with the one that began it.
            self.bond = bond.or(self.bond.take());
            Ok(())
        });
        self.counters.orders_refused += u64::from(result.is_err());
        result
    }

    fn authorised(
        &mut self,
        order: &Order,
        under: Option<Under>,
        now: Time,
    ) -> Result<Option<Bond>, OrderRefused> {
        if !needs_lease(order) {
            return Ok(None);
        }
        let rank = self.authority.command(under, now)?;
        if matches!(order, Order::TakeOver { .. }) && rank < Rank::Outside {
            return Err(OrderRefused::Rank { rank: rank.word() });
        }
        // What a policy moves is of the policy's rank, whoever let it: a human takes it over by the lease alone, also a second
        // time.
        let rank = match order {
            Order::Enable | Order::Start { .. } | Order::HandBack => Rank::Policy,
            Order::Goto { .. }
            | Order::TakeOver { .. }
            | Order::TorqueOff { .. }
            | Order::EndEpisode
            | Order::Hold
            | Order::Stop => rank,
        };
        let holder = self.authority.holder(now).map(|by| by.holder.clone());
        Ok(under.zip(holder).map(|(under, holder)| Bond {
            lease: under.lease,
            holder,
            rank,
            bound: under.bound,
        }))
    }

    /// Grants the lease; see [`crate::Authority::acquire`]. A motion that a lower rank began ends in a hold.
    ///
    /// # Errors
    /// [`LeaseRefused`].
    pub fn acquire(
        &mut self,
        holder: &Arc<str>,
        rank: Rank,
        ttl: Duration,
        now: Time,
    ) -> Result<Grant, LeaseRefused> {
        let (grant, ended) = self.authority.acquire(holder, rank, ttl, now)?;
        if let Some(ended) = ended {
            self.lease_ended(&ended);
        }
        if let Some(bond) = self.bond.take_if(|bond| bond.rank < rank) {
            let fault = Fault::LeaseEnded {
                holder: bond.holder,
                how: LeaseEnd::TakenOver { by: holder.clone() },
            };
            self.hold_for(fault, "somebody of a higher rank took the lease");
        }
        Ok(grant)
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// [`LeaseRefused`].
    pub fn renew(&mut self, lease: LeaseId, now: Time) -> Result<Grant, LeaseRefused> {
        self.authority.renew(lease, now)
    }

    /// Gives a lease back; a motion bound to it ends in a hold.
    ///
    /// # Errors
    /// [`LeaseRefused`].
    pub fn release(&mut self, lease: LeaseId, now: Time) -> Result<(), LeaseRefused> {
        let ended = self.authority.release(lease, now)?;
        self.lease_ended(&ended);
        Ok(())
    }

    /// Who holds the lease.
    pub fn lease_holder(&self, now: Time) -> Option<&LeaseHolder> {
        self.authority.holder(now)
    }

    pub(super) fn follow_lease(&mut self, now: Time) {
        if let Some(ended) = self.authority.expire(now) {
            self.lease_ended(&ended);
        }
    }

    fn lease_ended(&mut self, ended: &Ended) {
        let bound = |bond: &mut Bond| bond.bound && bond.lease == ended.lease;
        if self.bond.take_if(bound).is_some() {
            let fault = Fault::LeaseEnded {
                holder: ended.holder.clone(),
                how: ended.how.clone(),
            };
            self.hold_for(fault, "the lease of who asked for it ended");
        }
    }

    /// Holds for `reason`. An enabling that is under way ends without its mode: what would move after it is what this ends.
    pub(super) fn hold_for(&mut self, reason: Fault, by: &'static str) {
        if let Some(switch) = self.switching.as_mut().filter(|s| s.switching.on) {
            switch.ended = Some(by);
        }
        self.supervisor.hold_for(reason);
    }

    /// Whether an order that switches torque is being carried out; [`super::TickOutput::switched`] says how it ends.
    pub fn is_switching(&self) -> bool {
        self.switching.as_ref().is_some_and(|s| s.asked)
    }

    /// What the command says about torque.
    pub(super) fn torque_wish(&self) -> Torque {
        match &self.switching {
            Some(s) if s.switching.on => Torque::On,
            Some(_) => Torque::Off,
            None => Torque::Keep,
        }
    }

    /// Whether the device says that its motors do not hold the arm.
    pub(super) fn is_limp(&self, state: Option<&JointState>) -> bool {
        self.info.torque_switch && state.is_some_and(|s| !s.torque)
    }

    /// Begins to enable, or ends a hold of an arm that has torque.
    pub(super) fn enable(&mut self, input: &TickInput<'_>, now: Time) -> Result<(), OrderRefused> {
        self.not_switching()?;
        let limp = self.is_limp(input.state);
        let holds = matches!(self.supervisor.mode(), Mode::Hold(_));
        let state = input
            .state
            .ok_or(OrderRefused::NoState { age_millis: None })?;
        if !limp && (holds || self.spec.enable.window.is_zero()) {
            self.supervisor.enable();
            return Ok(());
        }
        self.at_rest_as_measured(state)?;
        self.inside("the present pose", &state.q, self.spec.enable.tolerance)?;
        self.reseed(state);
        self.switching = Some(Switch {
            switching: Switching::new(true, state, now),
            asked: true,
            ended: None,
        });
        Ok(())
    }

    /// Begins to switch torque off.
    pub(super) fn torque_off(
        &mut self,
        supported: bool,
        input: &TickInput<'_>,
        now: Time,
    ) -> Result<(), OrderRefused> {
        let model = || self.info.model.clone();
        if !self.info.torque_switch {
            return Err(OrderRefused::NoTorqueSwitch { model: model() });
        }
        if !(self.info.brakes || supported) {
            return Err(OrderRefused::Unsupported { model: model() });
        }
        self.not_switching()?;
        let state = input
            .state
            .ok_or(OrderRefused::NoState { age_millis: None })?;
        self.at_rest_as_measured(state)?;
        self.slow(&self.limiter.dq())?;
        // Nothing resumes while someone reaches for the arm.
        if matches!(self.supervisor.mode(), Mode::Hold(_)) {
            self.supervisor.hold_for(Fault::Held);
        }
        self.switching = Some(Switch {
            switching: Switching::new(false, state, now),
            asked: true,
            ended: None,
        });
        Ok(())
    }

    pub(super) fn not_switching(&self) -> Result<(), OrderRefused> {
        match self.switching {
            Some(_) => Err(OrderRefused::Switching),
            None => Ok(()),
        }
    }

    fn joint(&self, i: usize) -> String {
        self.info.joints.get(i).cloned().unwrap_or_default()
    }

    fn at_rest_as_measured(&self, state: &JointState) -> Result<(), OrderRefused> {
        self.slow(&state.dq)
    }

    fn slow(&self, dq: &JointVec) -> Result<(), OrderRefused> {
        match dq
            .iter()
            .position(|v| !(0.0..REST_RAD_PER_SEC).contains(&v.abs()))
        {
            None => Ok(()),
            Some(i) => Err(OrderRefused::Moves {
                joint: self.joint(i),
                rad_per_sec: dq[i],
            }),
        }
    }

    /// Refuses `q` with the first joint that is outside its limits by more than `tolerance`.
    fn inside(&self, what: &'static str, q: &JointVec, tolerance: f64) -> Result<(), OrderRefused> {
        for (i, (l, q)) in self.info.limits.iter().zip(q.iter()).enumerate() {
            if !(l.lower - tolerance..=l.upper + tolerance).contains(q) {
                return Err(OrderRefused::Outside {
                    what,
                    joint: self.joint(i),
                    lower: l.lower,
                    upper: l.upper,
                    actual: *q,
                });
            }
        }
        Ok(())
    }

    /// Refuses an episode that would not begin where the cell says.
    pub(super) fn check_start(&self, input: &TickInput<'_>) -> Result<(), OrderRefused> {
        let (Some(start), Some(state)) = (self.spec.start, input.state) else {
            return Ok(());
        };
        let away = state.q.zip(&start.q, |q, start| (q - start).abs());
        match away
            .iter()
            .position(|away| !(0.0..=start.tolerance).contains(away))
        {
            None => Ok(()),
            Some(i) => Err(OrderRefused::NotAtStart {
                joint: self.joint(i),
                expected: start.q[i],
                actual: state.q[i],
                tolerance: start.tolerance,
            }),
        }
    }

    /// Watches torque being switched; the outcome of an order, once. A limp arm takes the command with it.
    pub(super) fn step_switching(
        &mut self,
        input: &TickInput<'_>,
        device_restarted: bool,
        now: Time,
    ) -> Option<Result<(), OrderRefused>> {
        let rising = self.switching.as_ref().is_some_and(|s| s.switching.on);
        self.limp |= self.is_limp(input.state);
        // Until it has torque again, and is seen where it then is.
        if let Some(state) = self
            .present(input.state, now)
            .filter(|_| self.limp && !rising)
        {
            self.limp = self.is_limp(Some(state));
            let counted = self.counters.reseeds;
            self.reseed(state);
            // Following a limp arm is one seeding, counted at its end.
            self.counters.reseeds = counted + u64::from(!self.limp);
        }
        let present = self.present(input.state, now);
        let Switch {
            switching,
            asked,
            ended,
        } = self.switching.as_mut()?;
        let (on, was_on, asked, ended) = (switching.on, switching.was_on, *asked, *ended);
        let seen = switching.step(present, &self.spec.enable, now);
        let interrupted = match self.supervisor.mode() {
            _ if device_restarted => Some("the device restarted"),
            Mode::Stopped if on => Some("the arm was stopped"),
            _ => ended,
        };
        let result = match (interrupted, seen) {
            (Some(by), _) => Err(OrderRefused::Interrupted { by }),
            (None, Switched::Wait) => return None,
            (None, Switched::Done) if on => {
                // Whoever takes the arm up begins where it and its fingers are now: a tick later would be a wish of another opening.
                if let Some(state) = present.filter(|_| self.limp) {
                    self.limp = false;
                    self.reseed(state);
                }
                self.supervisor.enable();
                Ok(())
            }
            (None, Switched::Done) => {
                self.supervisor.disable();
                Ok(())
            }
            (None, Switched::Moved { joint, by }) => {
                let falls_back = self.info.brakes && self.info.torque_switch && !was_on;
                let refused = OrderRefused::Moved {
                    joint: self.joint(joint),
                    by_rad: by,
                    tolerance_rad: self.spec.enable.tolerance,
                    then: if falls_back {
                        "torque goes off again, the brakes hold it"
                    } else {
                        "torque stays on, it holds where it is"
                    },
                };
                self.switching = None;
                if let Some(state) = self.present(input.state, now) {
                    self.reseed(state);
                    self.switching = falls_back.then(|| Switch {
                        switching: Switching::new(false, state, now),
                        asked: false,
                        ended: None,
                    });
                }
                return Some(Err(refused));
            }
            (None, Switched::Ignored) => Err(OrderRefused::NotSwitched {
                to: if on { "on" } else { "off" },
            }),
            (None, Switched::Stale) => Err(OrderRefused::NoState {
                age_millis: input
                    .state
                    .map(|s| now.since(s.captured_at).as_millis() as u64),
            }),
        };
        self.switching = None;
        asked.then_some(result)
    }

    /// Checks a motion to `pose` and begins it.
    pub(super) fn begin_goto(&mut self, pose: &Pose, speed: f64) -> Result<(), OrderRefused> {
        let (expected, actual) = (self.info.joints.len(), pose.q.len());
        if actual != expected {
            return Err(OrderRefused::Joints { expected, actual });
        }
        self.inside("pose", &pose.q, 0.0)?;
        if let Some(actual) = pose.opening.filter(|o| !(0.0..=1.0).contains(o)) {
            return Err(OrderRefused::Field {
                field: "opening",
                expected: "0 to 1",
                actual,
            });
        }
        if !(speed > 0.0 && speed <= 1.0) {
            return Err(OrderRefused::Field {
                field: "speed",
                expected: "more than 0, at most 1",
                actual: speed,
            });
        }
        self.supervisor.begin_goto();
        self.bundle = None;
        self.going = Some(Going::Braking(*pose, speed));
        Ok(())
    }

    /// The setpoint of a motion to a pose, if one is under way.
    pub(super) fn goto_setpoint(&mut self) -> Option<Setpoint> {
        if self.supervisor.mode() != Mode::Goto {
            self.going = None;
            return None;
        }
        let period = self.spec.period_secs;
        if let Some(Going::Braking(pose, share)) = &self.going {
            let resting = self.limiter.dq().max_abs() < 1e-3 && self.limiter.ddq().max_abs() < 0.1;
            if !resting {
                return None;
            }
            let from = (self.limiter.q(), self.limiter.opening());
            let usable = |joint| self.limiter.usable(joint, period);
            let goto = Goto::new(from, pose, *share, usable);
            self.going = Some(Going::Moving(goto));
        }
        match &mut self.going {
            Some(Going::Moving(goto)) => {
                self.holding = false;
                Some(goto.setpoint(period))
            }
            Some(Going::Failed(flaw)) => {
                let fault = Fault::Goto(*flaw);
                self.going = None;
                self.supervisor.hold_for(fault);
                None
            }
            Some(Going::Braking(..)) | None => None,
        }
    }

    /// Ends a motion to a pose that arrived or cannot arrive, after this tick's command.
    pub(super) fn judge_goto(&mut self, setpoint: &Setpoint, measured: &JointVec) {
        let Some(Going::Moving(goto)) = &mut self.going else {
            return;
        };
        let behind = setpoint.q.zip(&self.limiter.q(), |s, c| s - c).max_abs();
        let resting = behind < THERE_RAD && self.limiter.dq().max_abs() < THERE_RAD;
        let (lead, period) = (self.spec.limit.max_lead, self.spec.period_secs);
        match goto.judge(&setpoint.q, measured, resting, lead, period) {
            Progress::Moving => {}
            Progress::Arrived => {
                self.supervisor.arrived();
                self.going = None;
            }
            Progress::Failed(flaw) => self.going = Some(Going::Failed(flaw)),
        }
    }
}

#[cfg(test)]
mod tests;
