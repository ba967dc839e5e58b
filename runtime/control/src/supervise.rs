//! Supervising: faults decide the mode, the mode decides whose setpoint counts.
//!
//! ```text
//!            enable            start              fault: tail, then
//!   Boot ------------> Ready --------> Policy -----------------------> Hold
//!                        ^  <-------- stop episode ------|               |
//!                        |                               ^   resume      |
//!                        |                               +---------------+
//!                        +------------- stop episode --------------------+
//!   any state -- stop --> Stopped
//!   Ready -- goto --> Goto -- arrived --> Ready; a fault of the arm, or hold --> Hold, from which *enable* leads to Ready
//!   Policy, Ready -- hold --> Hold; Ready without torque --> Boot
//!   Ready, Goto, Policy, Hold -- take over --> Align <--> Teleop -- hand back --> Hold until the policy answers (or Ready,
//!   when no episode was interrupted); a fault of the arm, or of the operator --> Hold
//! ```
//!
//! Every fault maps to a rung of the ladder ([`crate::ladder`]). A *tail* lets the chunk in force play on for a bounded
//! time; a fault that clears within it (a late chunk that arrives after all) costs nothing. *Hold* brakes along the
//! commanded motion and stays. Resuming asks for a fresh observation in a new generation: by itself when the cell says
//! `resume = "auto"`, else only by an operator's *enable*. Boot is never left without an operator, and a hold that
//! someone asked for, that lost torque, the end of a lease or the loss of an operator caused, or that interrupted a human who
//! had taken over, never ends by itself.
//!
//! Resuming by itself does not flap: everything must be well for `settle` first, and for twice as long each time that
//! the policy did not last [`STEADY`] after a resumption, up to [`MOST_PATIENCE`] times as long.
//!
//! Does not compute setpoints, and does not detect: what was seen this tick comes in as [`Health`].

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{ChunkFlaw, Fault, HoldReason, Mode, PartnerState, RefusalReason, Time};

use crate::assemble::CLOCK_TOLERANCE;
use crate::ladder::{LadderSpec, Rung, is_the_arms, rule};

/// A policy that has been in command for this long has resumed for good.
const STEADY: Duration = Duration::from_secs(2);
/// Most that the time to settle grows to.
///
/// A longer quiet is met ever more rarely where a host is busy, so that a wait without this bound would feed itself.
const MOST_PATIENCE: u32 = 4;

/// Who may end a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// An operator's *enable*.
    Operator,
    /// The arm host itself, once nothing is wrong any more.
    Auto,
}

/// Whether a hold for this reason may end without an operator, where the cell permits that at all.
fn may_pass(reason: &Fault) -> bool {
    !matches!(
        reason,
        Fault::Held | Fault::LeaseEnded { .. } | Fault::TorqueLost | Fault::OperatorLost { .. }
    )
}

/// What was seen this tick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health<'a> {
    /// The engine's liveliness token is there.
    pub engine_alive: bool,
    /// A camera whose liveliness token is gone.
    pub dead_camera: Option<&'a Arc<str>>,
    /// Time since the engine's host was last heard.
    pub engine_silent: Duration,
    /// Age of the newest joint state; `None` before the first.
    pub state_age: Option<Duration>,
    /// How far in the future the newest joint state was captured.
    pub state_ahead: Duration,
    /// The newest joint state is no position of this arm.
    pub state_bad: bool,
    /// The command has been at its largest lead for too long: the joint that is furthest behind, and how far, rad.
    pub tracking: Option<(usize, f64)>,
    /// The policy has asked for too much for too long: how much too far, rad.
    pub storm: Option<f64>,
    /// The request that is out is past its deadline; time since it was sent.
    pub overdue: Option<Duration>,
    /// The engine refused this tick.
    pub refusal: Option<&'a RefusalReason>,
    /// A chunk of this generation could not be executed.
    pub flaw: Option<ChunkFlaw>,
    /// A chunk entered this tick.
    pub accepted: bool,
    /// The chunk in force has nothing due.
    pub exhausted: bool,
    /// The device's epoch changed.
    pub device_restarted: bool,
    /// The driver could not take the last command.
    pub driver_error: Option<&'a Arc<str>>,
    /// The motors hold the arm no more.
    pub torque_off: bool,
    /// Time since a human was last heard, once that is too long.
    pub operator_silent: Option<Duration>,
    /// One policy moves this arm and another: what is not answered may wait for the other.
    pub paired: bool,
    /// The other arm, where it keeps this one from running the policy.
    pub partner: Option<(&'a Arc<str>, PartnerState)>,
}

/// What the tick has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The chunk's setpoint counts; else the hold's.
    pub follow_chunk: bool,
    /// Chunks may be asked for.
    pub ask: bool,
    /// A new generation begins now: what was asked or planned before is void.
    pub raise: bool,
}

#[derive(Debug)]
enum State {
    Boot,
    Ready,
    Policy {
        fault: Option<(Fault, Time)>,
    },
    Goto,
    Teleop {
        /// The human commands; else the arm holds or goes to meet them.
        driving: bool,
        /// It interrupted an episode, which may be handed back.
        episode: bool,
    },
    Hold {
        reason: Fault,
        well_since: Option<Time>,
        asking: bool,
        /// It interrupted an episode, which may be resumed.
        episode: bool,
        /// It interrupted a human, who has not handed back: nothing but an operator gives the arm to the policy.
        from_human: bool,
    },
    Stopped,
}

/// Keeps the mode.
#[derive(Debug)]
pub struct Supervisor {
    ladder: LadderSpec,
    resume: Resume,
    state: State,
    raise: bool,
    /// When the policy took over again after a hold.
    resumed_at: Option<Time>,
    /// The time to settle is this many times as long.
    patience: u32,
    /// The stream's name, made before a control tick could need it.
    proprioception: Arc<str>,
}

impl Supervisor {
    /// A supervisor in Boot.
    pub fn new(ladder: LadderSpec, resume: Resume) -> Self {
        Self {
            ladder,
            resume,
            state: State::Boot,
            raise: true,
            resumed_at: None,
            patience: 1,
            proprioception: Arc::from("proprioception"),
        }
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        match &self.state {
            State::Boot => Mode::Boot,
            State::Ready => Mode::Ready,
            State::Policy { .. } => Mode::Policy,
            State::Goto => Mode::Goto,
            State::Teleop { driving: false, .. } => Mode::Align,
            State::Teleop { driving: true, .. } => Mode::Teleop,
            State::Hold { reason, .. } => Mode::Hold(HoldReason(reason.clone())),
            State::Stopped => Mode::Stopped,
        }
    }

    /// Whether the policy's setpoints count.
    pub fn is_policy(&self) -> bool {
        matches!(self.state, State::Policy { .. })
    }

    /// Operator: Boot -> Ready, or the end of a hold. False when neither applies.
    pub fn enable(&mut self) -> bool {
        match &mut self.state {
            State::Boot => {
                self.state = State::Ready;
                self.raise = true;
                true
            }
            State::Hold { episode: false, .. } => {
                self.state = State::Ready;
                self.raise = true;
                true
            }
            State::Hold { asking, .. } => {
                *asking = true;
                self.raise = true;
                true
            }
            State::Ready
            | State::Policy { .. }
            | State::Goto
            | State::Teleop { .. }
            | State::Stopped => false,
        }
    }

    /// Ready -> Policy. False in any other mode.
    pub fn start(&mut self) -> bool {
        let ready = matches!(self.state, State::Ready);
        if ready {
            self.state = State::Policy { fault: None };
            self.raise = true;
            self.resumed_at = None;
        }
        ready
    }

    /// Policy, Align, Teleop or Hold -> Ready. False in any other mode.
    pub fn end_episode(&mut self) -> bool {
        let running = matches!(
            self.state,
            State::Policy { .. } | State::Teleop { .. } | State::Hold { .. }
        );
        if running {
            self.state = State::Ready;
            self.raise = true;
        }
        running
    }

    /// Ready -> Goto. False in any other mode.
    pub fn begin_goto(&mut self) -> bool {
        let ready = matches!(self.state, State::Ready);
        if ready {
            self.state = State::Goto;
            self.raise = true;
        }
        ready
    }

    /// Any mode of an enabled arm -> Align. False in any other.
    pub fn take_over(&mut self) -> bool {
        let episode = match self.state {
            State::Boot | State::Stopped => return false,
            State::Ready | State::Goto => false,
            State::Policy { .. } => true,
            State::Teleop { episode, .. } | State::Hold { episode, .. } => episode,
        };
        self.state = State::Teleop {
            driving: false,
            episode,
        };
        self.raise = true;
        true
    }

    /// Align <-> Teleop: whether the human commands now.
    pub fn drive(&mut self, drives: bool) {
        if let State::Teleop { driving, .. } = &mut self.state {
            *driving = drives;
        }
    }

    /// Whether an episode would go on if the arm were handed back.
    pub fn interrupts(&self) -> bool {
        matches!(self.state, State::Teleop { episode: true, .. })
    }

    /// Align or Teleop -> Hold until the policy answers, or Ready when there is no episode. False in any other mode.
    pub fn hand_back(&mut self) -> bool {
        match self.state {
            State::Teleop { episode: true, .. } => {
                self.hold(Fault::HandedBack);
                if let State::Hold { asking, .. } = &mut self.state {
                    *asking = true;
                }
            }
            State::Teleop { episode: false, .. } => {
                self.state = State::Ready;
                self.raise = true;
            }
            State::Boot
            | State::Ready
            | State::Policy { .. }
            | State::Goto
            | State::Hold { .. }
            | State::Stopped => return false,
        }
        true
    }

    /// Goto -> Ready: the arm is there.
    pub fn arrived(&mut self) {
        if matches!(self.state, State::Goto) {
            self.state = State::Ready;
        }
    }

    /// Policy, Goto, Align, Teleop or Hold -> Hold for `reason`; Ready too, when somebody asks for it: a program that has the arm
    /// move again and again stands there between two motions. A hold that cannot end by itself keeps the reason that it began
    /// with, but is not about to be resumed any more.
    pub fn hold_for(&mut self, reason: Fault) {
        match &mut self.state {
            State::Hold {
                reason: first,
                asking,
                ..
            } if !may_pass(first) => {
                *asking = false;
                self.raise = true;
            }
            State::Ready if reason != Fault::Held => {}
            State::Ready
            | State::Policy { .. }
            | State::Goto
            | State::Teleop { .. }
            | State::Hold { .. } => self.hold(reason),
            State::Boot | State::Stopped => {}
        }
    }

    /// Any mode but Stopped -> Boot: the arm has to be enabled again.
    pub fn disable(&mut self) {
        if !matches!(self.state, State::Stopped) {
            self.state = State::Boot;
            self.raise = true;
        }
    }

    /// Any mode -> Stopped.
    pub fn stop(&mut self) {
        self.state = State::Stopped;
        self.raise = true;
    }

    /// Takes what was seen this tick and decides it.
    pub fn step(&mut self, health: &Health<'_>, now: Time) -> Decision {
        let level = self.level(health);
        let fault = self.event(health).or_else(|| level.clone());
        match &mut self.state {
            State::Boot | State::Stopped => {}
            State::Ready => {
                if health.torque_off {
                    self.disable();
                }
            }
            State::Goto | State::Teleop { .. } => {
                if let Some(fault) = fault.filter(|fault| is_the_arms(fault.kind())) {
                    self.hold(fault);
                }
            }
            State::Policy { fault: standing } => {
                if fault.is_none() && health.accepted {
                    *standing = None;
                }
                if let Some(fault) = fault {
                    let hold = rule(fault.kind()).rung == Rung::Hold;
                    let (first, since) = standing.get_or_insert((fault.clone(), now));
                    if hold || now.since(*since) >= self.ladder.tail {
                        // What emptied the chunk says more than its emptiness.
                        let reason = match fault {
                            Fault::Exhausted => first.clone(),
                            fault if hold => fault,
                            _ => first.clone(),
                        };
                        self.fall(reason, now);
                    }
                } else if let Some((first, since)) = standing
                    && now.since(*since) >= self.ladder.tail
                {
                    let reason = first.clone();
                    self.fall(reason, now);
                }
            }
            State::Hold {
                well_since,
                asking,
                episode,
                reason,
                from_human,
            } => {
                // Of a pair the engine answers both or neither: it is not late while the other does not ask.
                let fault = fault
                    .filter(|fault| !(health.paired && matches!(fault, Fault::EngineLate { .. })));
                if fault.is_some() {
                    (*well_since, *asking) = (None, false);
                } else if *asking && health.accepted {
                    self.state = State::Policy { fault: None };
                    self.resumed_at = Some(now);
                } else {
                    let well_since = well_since.get_or_insert(now);
                    let settled = now.since(*well_since) >= self.ladder.settle * self.patience;
                    let passes = *episode && !*from_human && may_pass(reason);
                    if settled && passes && !*asking && self.resume == Resume::Auto {
                        *asking = true;
                        self.raise = true;
                    }
                }
            }
        }
        let raise = std::mem::take(&mut self.raise);
        match &self.state {
            State::Policy { .. } => Decision {
                follow_chunk: true,
                ask: true,
                raise,
            },
            State::Hold { asking, .. } => Decision {
                follow_chunk: false,
                ask: *asking,
                raise,
            },
            State::Boot | State::Ready | State::Goto | State::Teleop { .. } | State::Stopped => {
                Decision {
                    follow_chunk: false,
                    ask: false,
                    raise,
                }
            }
        }
    }

    /// A fault ends the policy's motion: the more often in a row, the longer all must be well before it comes back.
    fn fall(&mut self, reason: Fault, now: Time) {
        self.patience = match self.resumed_at {
            Some(at) if now.since(at) < STEADY => (self.patience * 2).min(MOST_PATIENCE),
            _ => 1,
        };
        self.hold(reason);
    }

    fn hold(&mut self, reason: Fault) {
        let (episode, from_human) = match self.state {
            State::Policy { .. } => (true, false),
            State::Teleop { episode, .. } => (episode, !matches!(reason, Fault::HandedBack)),
            State::Hold {
                episode,
                from_human,
                ..
            } => (episode, from_human),
            State::Boot | State::Ready | State::Goto | State::Stopped => (false, false),
        };
        self.state = State::Hold {
            reason,
            well_since: None,
            asking: false,
            episode,
            from_human,
        };
        self.raise = true;
    }

    /// Conditions that stand until they end.
    fn level(&self, health: &Health<'_>) -> Option<Fault> {
        if let Some(age) = health
            .state_age
            .filter(|age| *age > self.ladder.proprio_limit)
        {
            return Some(Fault::ProprioStale { age });
        }
        if health.state_bad {
            return Some(Fault::ProprioBad);
        }
        if health.torque_off {
            return Some(Fault::TorqueLost);
        }
        if health.state_ahead > CLOCK_TOLERANCE + self.ladder.period {
            return Some(Fault::ClockStep {
                stream: self.proprioception.clone(),
                ahead: health.state_ahead,
            });
        }
        if !health.engine_alive {
            return Some(Fault::EngineDead);
        }
        if health.engine_silent > self.ladder.link_limit {
            return Some(Fault::LinkLost {
                silent: health.engine_silent,
            });
        }
        if let Some(camera) = health.dead_camera {
            return Some(Fault::CameraDead {
                camera: camera.clone(),
            });
        }
        if let Some((partner, state)) = health.partner {
            return Some(Fault::PartnerHeld {
                partner: partner.clone(),
                state,
            });
        }
        None
    }

    /// Things that happened this tick.
    fn event(&self, health: &Health<'_>) -> Option<Fault> {
        if health.device_restarted {
            return Some(Fault::DeviceRestarted);
        }
        if let Some(reason) = health.driver_error {
            return Some(Fault::Driver {
                reason: reason.clone(),
            });
        }
        if let Some(silent) = health.operator_silent
            && matches!(self.state, State::Teleop { .. })
        {
            return Some(Fault::OperatorLost { silent });
        }
        if let Some((joint, behind)) = health.tracking {
            return Some(Fault::Tracking { joint, behind });
        }
        if let Some(behind) = health.storm {
            return Some(Fault::LimitStorm { behind });
        }
        if health.exhausted && matches!(self.state, State::Policy { .. }) {
            return Some(Fault::Exhausted);
        }
        if let Some(flaw) = health.flaw {
            return Some(Fault::BadChunk(flaw));
        }
        let millis = Duration::from_millis;
        match health.refusal {
            Some(RefusalReason::Stale {
                stream,
                age_millis,
                limit_millis,
            }) => {
                return Some(Fault::StreamStale {
                    stream: stream.clone(),
                    age: millis(*age_millis),
                    limit: millis(*limit_millis),
                });
            }
            Some(RefusalReason::Missing { stream }) => {
                return Some(Fault::StreamMissing {
                    stream: stream.clone(),
                });
            }
            Some(RefusalReason::Frozen {
                stream,
                still_millis,
            }) => {
                return Some(Fault::CameraFrozen {
                    stream: stream.clone(),
                    still: millis(*still_millis),
                });
            }
            Some(RefusalReason::Ahead {
                stream,
                ahead_millis,
            }) => {
                return Some(Fault::ClockStep {
                    stream: stream.clone(),
                    ahead: millis(*ahead_millis),
                });
            }
            Some(RefusalReason::Overloaded { message }) => {
                return Some(Fault::EngineBusy {
                    reason: message.clone(),
                });
            }
            Some(RefusalReason::Policy { message }) => {
                return Some(Fault::EngineRefused {
                    reason: message.clone(),
                });
            }
            None => {}
        }
        health.overdue.map(|waited| Fault::EngineLate { waited })
    }
}

#[cfg(test)]
mod tests;
