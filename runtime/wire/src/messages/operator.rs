//! Where a human wants an arm: what a leader arm, a gamepad or any other source of setpoints sends to the arm host.

use prost::Message as _;
use tactus_types::{LeaseId, OperatorSetpoint, Time};

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

impl Message for OperatorSetpoint {
    const SCHEMA: &'static str = "tactus.v1.OperatorSetpoint";
    const QOS: Qos = Qos::RealTime;

    fn captured_at(&self) -> Option<Time> {
        Some(self.captured_at)
    }

    fn seq(&self) -> Option<u64> {
        Some(self.sequence)
    }

    fn encode(&self) -> Vec<u8> {
        pb::OperatorSetpoint {
            lease: self.lease.0,
            q: self.q.as_slice().to_vec(),
            opening: self.opening,
            engaged: self.engaged,
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let setpoint: pb::OperatorSetpoint = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self {
            lease: LeaseId(setpoint.lease),
            sequence: envelope.header.seq,
            captured_at: envelope.header.captured_at,
            q: envelope.joints("q", &setpoint.q)?,
            opening: envelope.fraction("opening", setpoint.opening)?,
            engaged: setpoint.engaged,
        })
    }
}
