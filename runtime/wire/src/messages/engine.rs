//! What an engine says of itself, and of how it serves an arm.

use std::{sync::Arc, time::Duration};

use prost::Message as _;

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// What an engine runs, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineStatus {
    /// Execution provider that runs the graphs, for example `cpu`.
    pub provider: String,
    /// Id of the bundle: SHA-256 of its manifest.
    pub bundle_id: String,
    /// How it serves the arm of this cell; `None` where it says nothing of that.
    pub service: Option<Service>,
}

/// How an engine serves one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Arms that it is there for.
    pub arms: u32,
    /// How many of them it answers.
    pub admitted_arms: u32,
    /// Share of its time that those take at most, 0 or more; 1 is all of it.
    pub share: f64,
    /// What an answer takes at most.
    pub cost: Duration,
    /// Whether it answers this arm.
    pub admitted: bool,
    /// Why not, where it has asked and is not answered; else empty.
    pub refused_for: Arc<str>,
    /// Answers.
    pub answered: u64,
    /// Answers that left after their time.
    pub late: u64,
    /// Requests that were rejected for want of time.
    pub rejected: u64,
    /// What was left of its time when its answers left.
    pub slack: Option<SlackNanos>,
}

/// Slack of an arm's answers, ns; below zero where they were late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlackNanos {
    /// Of the last.
    pub last: i64,
    /// The least of the last 256.
    pub least: i64,
    /// Their median.
    pub median: i64,
}

impl Message for EngineStatus {
    const SCHEMA: &'static str = "tactus.v1.EngineStatus";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        let Self {
            provider,
            bundle_id,
            service,
        } = self.clone();
        pb::EngineStatus {
            provider,
            bundle_id,
            service: service.map(service_to),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let status: pb::EngineStatus = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self {
            provider: envelope.text("provider", status.provider)?,
            bundle_id: envelope.text("bundle_id", status.bundle_id)?,
            service: match status.service {
                None => None,
                Some(service) => Some(service_from(service, envelope)?),
            },
        })
    }
}

fn service_to(service: Service) -> pb::Service {
    pb::Service {
        arms: service.arms,
        admitted_arms: service.admitted_arms,
        share: service.share,
        cost_nanos: u64::try_from(service.cost.as_nanos()).unwrap_or(u64::MAX),
        admitted: service.admitted,
        refused_for: service.refused_for.to_string(),
        answered: service.answered,
        late: service.late,
        rejected: service.rejected,
        slack: service.slack.map(|slack| pb::Slack {
            last_nanos: slack.last,
            least_nanos: slack.least,
            median_nanos: slack.median,
        }),
    }
}

fn service_from(service: pb::Service, envelope: &Envelope<'_>) -> Result<Service, WireError> {
    let share = service.share;
    if !(share.is_finite() && share >= 0.0) {
        return Err(envelope.wrong("service.share", "0 or more", share));
    }
    Ok(Service {
        arms: service.arms,
        admitted_arms: service.admitted_arms,
        share,
        cost: Duration::from_nanos(service.cost_nanos),
        admitted: service.admitted,
        refused_for: envelope.shared_text("service.refused_for", service.refused_for)?,
        answered: service.answered,
        late: service.late,
        rejected: service.rejected,
        slack: service.slack.map(|slack| SlackNanos {
            last: slack.last_nanos,
            least: slack.least_nanos,
            median: slack.median_nanos,
        }),
    })
}
