//! What an operator may ask of an arm host, and what refuses it.
//!
//! Decides whether the mode and the arm permit an order, and begins it. Who may give one is decided in `verbs`.

use std::sync::Arc;

use tactus_types::{Fault, Mode, PartnerState, Reference, Time};

use super::{ArmCycle, TickInput};
use crate::authority::LeaseRefused;
use crate::goto::Pose;

/// What an operator or the demo asks of an arm host.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Boot -> Ready, or the end of a hold. Switches torque on and verifies that the arm stands still; how that went is
    /// said by [`TickOutput::switched`] when [`ArmCycle::is_switching`] after the order.
    Enable,
    /// Ready -> Policy.
    Start {
        /// The task in words.
        instruction: Arc<str>,
        /// Seed of the policy's noise.
        seed: u64,
    },
    /// Policy or Hold -> Ready.
    EndEpisode,
    /// Any -> Stopped: brakes and stays.
    Stop,
    /// Brakes and holds; an episode may be resumed by an operator, and by nobody else.
    Hold,
    /// Ready -> Goto, and Ready again once the arm is there.
    Goto {
        /// Where to.
        pose: Pose,
        /// Share of the limits that may be used, in (0, 1].
        speed: f64,
    },
    /// Any mode of an enabled arm -> Align: a human takes over, at once; what a policy planned is void. Needs the lease in
    /// the rank of a human, under which setpoints already come.
    TakeOver {
        /// How leader and arm come together.
        reference: Reference,
    },
    /// Align or Teleop -> the interrupted episode, from a fresh observation; or Ready, when there was none.
    HandBack,
    /// Switches torque off, at rest only; -> Boot, or Stopped as before.
    TorqueOff {
        /// The operator says that someone or something carries the arm: needed for one without brakes.
        supported: bool,
    },
}

/// Why an order was not carried out. A refusal is never silent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OrderRefused {
    /// The mode does not allow it.
    #[error("order `{order}` is not possible in mode `{mode}`")]
    Mode {
        /// The order.
        order: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// The arm has not reported a fresh state.
    #[error("the arm's joint state is {}", match age_millis { Some(ms) => format!("{ms} ms old"), None => "missing".into() })]
    NoState {
        /// Age of the newest state, milliseconds.
        age_millis: Option<u64>,
    },
    /// What the arm reports is no position of it, or not of now.
    #[error("the arm's joint state is no position of this arm, or from the future")]
    BadState,
    /// Something the policy needs is not there.
    #[error("{what} is not alive")]
    NotAlive {
        /// `the engine` or `camera <name>`.
        what: String,
    },
    /// The other arm of a pair does not take part.
    #[error("the other arm of the pair, `{partner}`, {state}; both start, or neither")]
    Partner {
        /// The other arm.
        partner: Arc<str>,
        /// What it does instead.
        state: PartnerState,
    },
    /// The lease does not permit it.
    #[error(transparent)]
    Lease(#[from] LeaseRefused),
    /// A joint that should rest moves.
    #[error("joint `{joint}` moves at {rad_per_sec:.3} rad/s; the arm has to be at rest")]
    Moves {
        /// The joint.
        joint: String,
        /// How fast.
        rad_per_sec: f64,
    },
    /// A joint moved while torque was switched on.
    #[error(
        "joint `{joint}` moved by {by_rad:.4} rad while the arm was enabled, at most {tolerance_rad} is tolerated; {then}"
    )]
    Moved {
        /// The joint.
        joint: String,
        /// How far, signed.
        by_rad: f64,
        /// How far it may.
        tolerance_rad: f64,
        /// What became of the arm.
        then: &'static str,
    },
    /// The device did not do it.
    #[error("the device did not switch torque {to} within {} ms", crate::enable::SWITCH_WITHIN.as_millis())]
    NotSwitched {
        /// `on` or `off`.
        to: &'static str,
    },
    /// A policy's lease does not let a human take over.
    #[error("taking over needs a lease of rank teleop; this one is of rank {rank}")]
    Rank {
        /// The lease's.
        rank: &'static str,
    },
    /// No human is there.
    #[error("setpoints of the operator are {}", match age_millis { Some(ms) => format!("{ms} ms old"), None => "missing".into() })]
    NoOperator {
        /// Age of the newest, milliseconds.
        age_millis: Option<u64>,
    },
    /// The motors do not hold the arm.
    #[error("the motors have no torque; enable the arm first")]
    NoTorque,
    /// Torque is being switched by an earlier order.
    #[error("torque is being switched by an earlier order")]
    Switching,
    /// Something else ended it.
    #[error("interrupted: {by}")]
    Interrupted {
        /// What.
        by: &'static str,
    },
    /// Torque cannot be switched.
    #[error("the device `{model}` cannot switch its torque")]
    NoTorqueSwitch {
        /// The arm's model.
        model: String,
    },
    /// The arm would fall.
    #[error(
        "the arm `{model}` has no brakes and falls without torque; support it, then confirm with --arm-is-supported"
    )]
    Unsupported {
        /// The arm's model.
        model: String,
    },
    /// A pose is outside the joint limits.
    #[error("{what}: joint `{joint}`: expected {lower} to {upper} rad, got {actual}")]
    Outside {
        /// Which pose.
        what: &'static str,
        /// The joint.
        joint: String,
        /// Its limit.
        lower: f64,
        /// Its limit.
        upper: f64,
        /// What was asked.
        actual: f64,
    },
    /// A pose has another number of joints than the arm.
    #[error("pose: expected {expected} joints, got {actual}")]
    Joints {
        /// The arm's.
        expected: usize,
        /// The pose's.
        actual: usize,
    },
    /// A number of an order is out of its range.
    #[error("{field}: expected {expected}, got {actual}")]
    Field {
        /// `opening` or `speed`.
        field: &'static str,
        /// The range.
        expected: &'static str,
        /// What was asked.
        actual: f64,
    },
    /// The arm is not where episodes start.
    #[error(
        "joint `{joint}` is at {actual:.4} rad, episodes start at {expected} within {tolerance} rad; `tactus arm goto start` goes there"
    )]
    NotAtStart {
        /// The joint.
        joint: String,
        /// The start pose's.
        expected: f64,
        /// The measured.
        actual: f64,
        /// How far it may be away.
        tolerance: f64,
    },
}

impl ArmCycle {
    /// Carries out an order, given what the next tick will see.
    ///
    /// # Errors
    /// [`OrderRefused`]; nothing changed then.
    pub fn order(
        &mut self,
        order: &Order,
        input: &TickInput<'_>,
        now: Time,
    ) -> Result<(), OrderRefused> {
        let mode = self.supervisor.mode().word();
        let not_in = |order| OrderRefused::Mode { order, mode };
        match order {
            Order::Enable => {
                if !matches!(self.supervisor.mode(), Mode::Boot | Mode::Hold(_)) {
                    return Err(not_in("enable"));
                }
                self.check_state(input, now)?;
                self.enable(input, now)
            }
            Order::Start { instruction, seed } => {
                if self.supervisor.mode() != Mode::Ready {
                    return Err(not_in("start"));
                }
                self.not_switching()?;
                self.check_state(input, now)?;
                Self::check_alive(input)?;
                self.check_partner(input)?;
                self.check_start(input)?;
                self.instruction = instruction.clone();
                self.seed = *seed;
                self.bundle = None;
                self.supervisor.start().then_some(()).ok_or(not_in("start"))
            }
            Order::EndEpisode => self
                .supervisor
                .end_episode()
                .then_some(())
                .ok_or(not_in("end episode")),
            Order::Stop => {
                self.supervisor.stop();
                Ok(())
            }
            Order::Hold => {
                self.hold_for(Fault::Held, "an operator asked for a hold");
                Ok(())
            }
            Order::Goto { pose, speed } => {
                if self.supervisor.mode() != Mode::Ready {
                    return Err(not_in("goto"));
                }
                self.not_switching()?;
                self.check_state(input, now)?;
                self.begin_goto(pose, *speed)
            }
            Order::TakeOver { reference } => {
                if matches!(self.supervisor.mode(), Mode::Boot | Mode::Stopped) {
                    return Err(not_in("take over"));
                }
                self.take_over(*reference, input, now)
            }
            Order::HandBack => {
                if !matches!(self.supervisor.mode(), Mode::Align | Mode::Teleop) {
                    return Err(not_in("hand back"));
                }
                self.hand_back(input, now)
            }
            Order::TorqueOff { supported } => {
                if matches!(
                    self.supervisor.mode(),
                    Mode::Policy | Mode::Goto | Mode::Align | Mode::Teleop
                ) {
                    return Err(not_in("torque-off"));
                }
                self.check_state(input, now)?;
                self.torque_off(*supported, input, now)
            }
        }
    }

    /// Refuses what needs a policy while the engine or a camera is gone.
    pub(super) fn check_alive(input: &TickInput<'_>) -> Result<(), OrderRefused> {
        if !input.engine_alive {
            return Err(OrderRefused::NotAlive {
                what: "the engine".into(),
            });
        }
        match input.dead_camera {
            None => Ok(()),
            Some(camera) => Err(OrderRefused::NotAlive {
                what: format!("camera {camera}"),
            }),
        }
    }

    pub(super) fn check_state(&self, input: &TickInput<'_>, now: Time) -> Result<(), OrderRefused> {
        if self.present(input.state, now).is_some() {
            return Ok(());
        }
        let age = input.state.map(|s| now.since(s.captured_at));
        match age {
            Some(age) if age <= self.spec.ladder.proprio_limit => Err(OrderRefused::BadState),
            age => Err(OrderRefused::NoState {
                age_millis: age.map(|a| a.as_millis() as u64),
            }),
        }
    }
}
