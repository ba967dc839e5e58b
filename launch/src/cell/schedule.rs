//! `[schedule]` and `[request]`: what becomes of a chunk that arrives while another is executed, and when the next is
//! asked for.

use std::time::Duration;

use serde::Deserialize;
use tactus_control::{RequestSpec, ScheduleSpec, Strategy, Trigger};
use tactus_types::Jacobian;

use super::{CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRequest {
    pub(super) trigger: RawTrigger,
    pub(super) answer_within_ms: f64,
    pub(super) retry_ms: f64,
}

// Variants without fields are written with braces: serde ignores unknown fields beside a bare one.
#[derive(Debug, Deserialize)]
#[serde(tag = "when", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum RawTrigger {
    Continuous {},
    Rate { every_ms: f64 },
    Queue { below_ms: f64 },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchedule {
    pub(super) strategy: RawStrategy,
    pub(super) ease_ms: f64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RawStrategy {
    Align {},
    Blend { blend_ms: f64 },
    Ensemble { decay: f64 },
    RtcPrefix {},
    RtcGuided { beta: f64, jacobian: RawJacobian },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawJacobian {
    Exact,
    Identity,
}

impl RawSchedule {
    pub(super) fn read(&self, check: &Check<'_>) -> Result<ScheduleSpec, CellError> {
        Ok(ScheduleSpec {
            strategy: check.strategy(&self.strategy)?,
            ease: check.millis("schedule.ease_ms", self.ease_ms)?,
            // What was measured of the arm, `arm.latency`.
            lead: Duration::ZERO,
        })
    }
}

impl RawRequest {
    pub(super) fn read(&self, check: &Check<'_>) -> Result<RequestSpec, CellError> {
        Ok(RequestSpec {
            trigger: check.trigger(&self.trigger)?,
            answer_within: check.millis("request.answer_within_ms", self.answer_within_ms)?,
            retry_after: check.millis("request.retry_ms", self.retry_ms)?,
            // Decided by the strategy, in `arm_spec`.
            overlap: false,
        })
    }
}

impl Check<'_> {
    fn trigger(&self, raw: &RawTrigger) -> Result<Trigger, CellError> {
        Ok(match *raw {
            RawTrigger::Continuous {} => Trigger::Continuous,
            RawTrigger::Rate { every_ms } => Trigger::Rate {
                every: self.millis("request.trigger.every_ms", every_ms)?,
            },
            RawTrigger::Queue { below_ms } => Trigger::Queue {
                below: self.millis("request.trigger.below_ms", below_ms)?,
            },
        })
    }

    fn strategy(&self, raw: &RawStrategy) -> Result<Strategy, CellError> {
        Ok(match *raw {
            RawStrategy::Align {} => Strategy::Align,
            RawStrategy::Blend { blend_ms } => Strategy::Blend {
                over: self.millis("schedule.strategy.blend_ms", blend_ms)?,
            },
            RawStrategy::Ensemble { decay } => Strategy::Ensemble {
                decay: self.bounded("schedule.strategy.decay", decay)?,
            },
            RawStrategy::RtcPrefix {} => Strategy::RtcPrefix,
            RawStrategy::RtcGuided { beta, jacobian } => Strategy::RtcGuided {
                beta: self.bounded("schedule.strategy.beta", beta)?,
                jacobian: match jacobian {
                    RawJacobian::Exact => Jacobian::Exact,
                    RawJacobian::Identity => Jacobian::Identity,
                },
            },
        })
    }
}
