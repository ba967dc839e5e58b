//! The other arm of a pair: both run the policy, or neither does.
//!
//! | the other arm | this one runs the policy | this one is in a hold |
//! |---|---|---|
//! | not there, silent for longer than `arm.link_limit_ms` | holds | stays |
//! | runs the policy | goes on | may resume |
//! | is in a hold | holds, once the other was seen to run | may resume: both, by one chunk each of one inference |
//! | does anything else, or a human moves it | holds, once the other was seen to run | stays |
//! | is stopped | is stopped too, in every mode | is stopped too |
//!
//! Two arms do not change their mode in the same tick. Until the other was seen to run the policy, this one waits for it: for
//! `request.answer_within_ms` while no chunk has come, during which nothing can move, since the engine answers both or neither; for
//! `arm.link_limit_ms` once one has.
//!
//! Nor does it ask for a chunk while the engine may still have a request that the other made before it stopped running the policy:
//! those two would be answered, and this arm alone would move.
//!
//! Decides only this. How the other is heard is the arm host's; the hold is the supervisor's, like every other.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{PartnerState, Time};

use super::{ArmCycle, OrderRefused, TickInput};

/// What the other arm of a pair says that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerMode {
    /// It was not enabled.
    Boot,
    /// It is enabled, and nothing moves it.
    Ready,
    /// The policy moves it.
    Policy,
    /// It goes to a pose.
    Goto,
    /// A human moves it, or is about to.
    Teleop,
    /// It holds.
    Hold,
    /// It was stopped.
    Stopped,
}

impl PartnerMode {
    /// Every mode.
    pub const ALL: [Self; 7] = [
        Self::Boot,
        Self::Ready,
        Self::Policy,
        Self::Goto,
        Self::Teleop,
        Self::Hold,
        Self::Stopped,
    ];

    /// Word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Ready => "ready",
            Self::Policy => "policy",
            Self::Goto => "goto",
            Self::Teleop => "teleop",
            Self::Hold => "hold",
            Self::Stopped => "stopped",
        }
    }
}

/// What is seen of the other arm of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partner<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// The liveliness token of its arm host is there.
    pub alive: bool,
    /// What it said last; `None` before it said anything.
    pub mode: Option<PartnerMode>,
    /// Time since it said so.
    pub silent: Duration,
}

impl Partner<'_> {
    /// What keeps it from being there, if anything does.
    fn missing(&self, link_limit: Duration) -> Result<PartnerMode, PartnerState> {
        match self.mode {
            _ if !self.alive => Err(PartnerState::Gone),
            None => Err(PartnerState::Gone),
            Some(_) if self.silent > link_limit => Err(PartnerState::Silent(self.silent)),
            Some(mode) => Ok(mode),
        }
    }
}

/// How this arm and the other run the policy together.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Since when this arm runs the policy.
    since: Option<Time>,
    /// The other was seen to run it since then.
    joined: bool,
    /// What the other was seen to do last.
    seen: Option<PartnerMode>,
    /// When the other was last seen to run the policy.
    ran: Option<Time>,
}

impl ArmCycle {
    /// Follows the other arm, if there is one, into a stop; what keeps this one from running the policy.
    pub(super) fn follow_partner(
        &mut self,
        partner: Option<&Partner<'_>>,
        now: Time,
    ) -> Option<PartnerState> {
        let partner = partner?;
        let ladder = &self.spec.ladder;
        let seen = std::mem::replace(&mut self.company.seen, partner.mode);
        let was_up = seen.is_some_and(|mode| mode != PartnerMode::Stopped);
        if was_up && partner.mode == Some(PartnerMode::Stopped) {
            self.supervisor.stop();
        }
        if partner.mode == Some(PartnerMode::Policy) {
            self.company.ran = Some(now);
        }
        let runs = self.supervisor.is_policy();
        let since = match self.company.since.filter(|_| runs) {
            Some(since) => since,
            None => {
                self.company.joined = false;
                now
            }
        };
        self.company.since = runs.then_some(since);
        let mode = match partner.missing(ladder.link_limit) {
            Ok(mode) => mode,
            Err(state) => return Some(state),
        };
        match mode {
            PartnerMode::Policy => {
                self.company.joined |= runs;
                return None;
            }
            PartnerMode::Hold if !runs => return None,
            _ => {}
        }
        let wait = match self.bundle {
            None => ladder.answer_within,
            Some(_) => ladder.link_limit,
        };
        let waits = runs && !self.company.joined && now.since(since) <= wait;
        (!waits).then(|| PartnerState::Mode(mode.word()))
    }

    /// Whether the engine may have a request of the other arm's that is void: of the other, which runs the policy no more, it has none
    /// once a deadline has passed, which counts from an observation that may have been ahead by as much.
    pub(super) fn others_request_is_void(&self, partner: Option<&Partner<'_>>, now: Time) -> bool {
        let runs = partner.is_some_and(|partner| partner.mode == Some(PartnerMode::Policy));
        let lives = self.spec.ladder.answer_within * 2;
        let recent = self.company.ran.is_some_and(|ran| now.since(ran) <= lives);
        partner.is_some() && !runs && recent
    }

    /// Refuses an episode that the other arm of a pair could not be part of.
    pub(super) fn check_partner(&self, input: &TickInput<'_>) -> Result<(), OrderRefused> {
        let Some(partner) = input.partner else {
            return Ok(());
        };
        let state = match partner.missing(self.spec.ladder.link_limit) {
            Ok(PartnerMode::Ready | PartnerMode::Policy) => return Ok(()),
            Ok(mode) => PartnerState::Mode(mode.word()),
            Err(state) => state,
        };
        Err(OrderRefused::Partner {
            partner: partner.name.clone(),
            state,
        })
    }
}

#[cfg(test)]
mod tests;
