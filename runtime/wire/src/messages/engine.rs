//! What an engine says of itself.

use prost::Message as _;

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// What an engine runs, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Execution provider that runs the graphs, for example `cpu`.
    pub provider: String,
    /// Id of the bundle: SHA-256 of its manifest.
    pub bundle_id: String,
}

impl Message for EngineStatus {
    const SCHEMA: &'static str = "tactus.v1.EngineStatus";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        let Self {
            provider,
            bundle_id,
        } = self.clone();
        pb::EngineStatus {
            provider,
            bundle_id,
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let status: pb::EngineStatus = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self {
            provider: envelope.text("provider", status.provider)?,
            bundle_id: envelope.text("bundle_id", status.bundle_id)?,
        })
    }
}
