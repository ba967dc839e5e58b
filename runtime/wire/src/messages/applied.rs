//! What was handed to the device, tick by tick.

use prost::Message as _;
use tactus_types::{Applied, ClampedBy, Command, Setpoint, Source, Time};

use super::device::{generation_from, generation_to, torque_from, torque_to};
use crate::{
    Message, Qos, WireError,
    check::MAX_BATCH,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// Applied commands in order; decimated by the sender, which says so by their tick numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppliedBatch {
    /// At most 1024.
    pub applied: Vec<Applied>,
}

impl Message for AppliedBatch {
    const SCHEMA: &'static str = "tactus.v1.AppliedBatch";
    const QOS: Qos = Qos::Data;

    fn captured_at(&self) -> Option<Time> {
        self.applied.last().map(|applied| applied.at)
    }

    fn encode(&self) -> Vec<u8> {
        let applied = self.applied.iter().map(applied_to).collect();
        pb::AppliedBatch { applied }.encode_to_vec()
    }

    /// Commands hold finite numbers; the setpoints before the limits may not, and are taken as they are.
    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let batch: pb::AppliedBatch = parse(Self::SCHEMA, payload, envelope)?;
        envelope.at_most("applied", &batch.applied, MAX_BATCH)?;
        let applied = batch
            .applied
            .into_iter()
            .map(|applied| applied_from(applied, envelope))
            .collect::<Result<_, _>>()?;
        Ok(Self { applied })
    }
}

fn applied_to(applied: &Applied) -> pb::Applied {
    let Applied { command, at } = applied;
    let setpoint = &command.setpoint;
    pb::Applied {
        tick: command.tick,
        epoch: command.epoch,
        q: command.q.as_slice().to_vec(),
        dq: command.dq.as_slice().to_vec(),
        opening: command.opening,
        setpoint: Some(pb::Setpoint {
            source: match setpoint.source {
                Source::Hold => pb::Source::Hold,
                Source::Policy => pb::Source::Policy,
                Source::Goto => pb::Source::Goto,
                Source::Align => pb::Source::Align,
                Source::Teleop => pb::Source::Teleop,
            }
            .into(),
            q: setpoint.q.as_slice().to_vec(),
            dq: setpoint.dq.as_slice().to_vec(),
            opening: setpoint.opening,
            request_id: setpoint.request_id,
            action_index: setpoint.action_index,
            observed_at_nanos: setpoint.observed_at.map(Time::as_nanos),
            ddq: setpoint.ddq.as_slice().to_vec(),
        }),
        clamped_by: command.clamped_by.bits(),
        generation: generation_to(command.generation),
        at_nanos: at.as_nanos(),
        ddq: command.ddq.as_slice().to_vec(),
        clamped_rad: command.clamped_rad,
        torque: torque_to(command.torque),
    }
}

fn applied_from(applied: pb::Applied, envelope: &Envelope<'_>) -> Result<Applied, WireError> {
    let q = envelope.joints("applied.q", &applied.q)?;
    let setpoint = envelope.present("applied.setpoint", applied.setpoint)?;
    let source = match pb::Source::try_from(setpoint.source) {
        Ok(pb::Source::Hold) => Source::Hold,
        Ok(pb::Source::Policy) => Source::Policy,
        Ok(pb::Source::Goto) => Source::Goto,
        Ok(pb::Source::Align) => Source::Align,
        Ok(pb::Source::Teleop) => Source::Teleop,
        Ok(pb::Source::Unspecified) | Err(_) => {
            return Err(envelope.wrong("applied.setpoint.source", "1 to 5", setpoint.source));
        }
    };
    let setpoint = Setpoint {
        source,
        q: envelope.recorded_like("applied.setpoint.q", &setpoint.q, &q)?,
        dq: envelope.recorded_like("applied.setpoint.dq", &setpoint.dq, &q)?,
        ddq: envelope.recorded_like("applied.setpoint.ddq", &setpoint.ddq, &q)?,
        opening: setpoint.opening,
        request_id: setpoint.request_id,
        action_index: setpoint.action_index,
        observed_at: setpoint.observed_at_nanos.map(Time::from_nanos),
    };
    let command = Command {
        tick: applied.tick,
        epoch: applied.epoch,
        dq: envelope.joints_like("applied.dq", &applied.dq, &q)?,
        ddq: envelope.joints_like("applied.ddq", &applied.ddq, &q)?,
        opening: envelope.finite("applied.opening", applied.opening)?,
        setpoint,
        clamped_by: ClampedBy::from_bits(applied.clamped_by),
        clamped_rad: envelope.finite("applied.clamped_rad", applied.clamped_rad)?,
        generation: generation_from(applied.generation, envelope)?,
        torque: torque_from(applied.torque, envelope)?,
        q,
    };
    Ok(Applied {
        command,
        at: Time::from_nanos(applied.at_nanos),
    })
}
