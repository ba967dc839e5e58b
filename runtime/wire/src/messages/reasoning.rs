//! What an engine's language model says about what it sees.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use tactus_types::Time;

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// Longest text of one talk, bytes; an engine cuts off what is longer.
pub const MAX_REASONING_BYTES: usize = 8 << 10;

/// A talk so far: each message replaces the one before of the same talk, so a lost one is no loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasoning {
    /// Counts the observations that were talked about.
    pub talk: u64,
    /// When what it talks about was seen.
    pub observed_at: Time,
    /// What the arm is told.
    pub instruction: Arc<str>,
    /// Everything said so far, at most [`MAX_REASONING_BYTES`].
    pub text: Arc<str>,
    /// Tokens of it.
    pub tokens: u32,
    /// Why it stopped; `None` while it goes on.
    pub finish: Option<Arc<str>>,
    /// Since it began, pauses included.
    pub elapsed: Duration,
}

impl Message for Reasoning {
    const SCHEMA: &'static str = "tactus.v1.Reasoning";
    const QOS: Qos = Qos::Data;
    const MAX_BYTES: usize = 3 * MAX_REASONING_BYTES;

    fn captured_at(&self) -> Option<Time> {
        Some(self.observed_at)
    }

    fn encode(&self) -> Vec<u8> {
        pb::Reasoning {
            talk: self.talk,
            instruction: self.instruction.to_string(),
            text: self.text.to_string(),
            tokens: self.tokens,
            finish: self.finish.as_deref().unwrap_or_default().to_owned(),
            elapsed_s: self.elapsed.as_secs_f64(),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let said: pb::Reasoning = parse(Self::SCHEMA, payload, envelope)?;
        let bounded = |field: &str, text: String| match text.len() {
            ..=MAX_REASONING_BYTES => Ok(Arc::<str>::from(text)),
            actual => {
                let expected = format!("at most {MAX_REASONING_BYTES} bytes");
                Err(envelope.wrong(field, expected, actual))
            }
        };
        let elapsed_s = envelope.not_negative("elapsed_s", said.elapsed_s)?;
        let elapsed = Duration::try_from_secs_f64(elapsed_s)
            .map_err(|_| envelope.wrong("elapsed_s", "a duration", elapsed_s))?;
        let finish = bounded("finish", said.finish)?;
        Ok(Self {
            talk: said.talk,
            observed_at: envelope.header.captured_at,
            instruction: bounded("instruction", said.instruction)?,
            text: bounded("text", said.text)?,
            tokens: said.tokens,
            finish: Some(finish).filter(|finish| !finish.is_empty()),
            elapsed,
        })
    }
}
