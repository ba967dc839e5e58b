//! What makes a noun a message, and how hostile bytes become one or a [`WireError`].

use std::{borrow::Cow, time::Duration};

use tactus_types::{ClockId, Time};

use crate::{Header, WireError};

/// How a message travels. The table is in the crate's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// States, commands, requests, chunks: real-time priority, sent at once, dropped when the link is congested.
    RealTime,
    /// Images and reports: data priority, dropped when the link is congested.
    Data,
}

/// A noun that travels.
pub trait Message: Sized + Send + 'static {
    /// Full protobuf name of the payload.
    const SCHEMA: &'static str;
    /// How it travels when published.
    const QOS: Qos;
    /// Longest payload that is looked at, bytes.
    const MAX_BYTES: usize = 1 << 20;

    /// When what it says was true, for nouns that carry that; otherwise the time of publishing is taken.
    fn captured_at(&self) -> Option<Time> {
        None
    }

    /// Its own counter, for nouns that carry one; otherwise the publisher counts.
    fn seq(&self) -> Option<u64> {
        None
    }

    /// The payload's bytes.
    fn encode(&self) -> Vec<u8>;

    /// The noun in `payload`.
    ///
    /// # Errors
    /// [`WireError`] for anything that may not become a noun. It never panics, whatever the bytes.
    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError>;
}

/// Where a payload came from; what decoding may need besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Key it came on.
    pub key: &'a str,
    /// Its header, checked.
    pub header: &'a Header,
    /// When this process received it.
    pub received_at: Time,
}

/// A message as the network delivered it.
#[derive(Debug, Clone)]
pub struct Raw<'a> {
    /// Key it came on.
    pub key: &'a str,
    /// The encoded header, if there is one.
    pub attachment: Option<Cow<'a, [u8]>>,
    /// The encoded message.
    pub payload: Cow<'a, [u8]>,
    /// When this process received it.
    pub received_at: Time,
}

/// A message that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<M> {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub message: M,
    /// When this process received it.
    pub received_at: Time,
}

impl<M> Delivery<M> {
    /// Time from capture to publishing, in the sending process.
    pub fn capture_time(&self) -> Duration {
        self.header.published_at.since(self.header.captured_at)
    }

    /// Time on the way.
    pub fn transport_time(&self) -> Duration {
        self.received_at.since(self.header.published_at)
    }
}

/// Decodes `raw`, whose times have to be of the clock `cell`.
///
/// # Errors
/// [`WireError`] naming the first thing that is wrong with it.
pub fn decode<M: Message>(raw: &Raw<'_>, cell: ClockId) -> Result<Delivery<M>, WireError> {
    let header = Header::decode(raw.key, raw.attachment.as_deref(), cell)?;
    let envelope = Envelope {
        key: raw.key,
        header: &header,
        received_at: raw.received_at,
    };
    if raw.payload.len() > M::MAX_BYTES {
        let expected = format!("at most {} bytes", M::MAX_BYTES);
        return Err(envelope.wrong("(payload)", expected, raw.payload.len()));
    }
    let message = M::decode(&raw.payload, &envelope)?;
    Ok(Delivery {
        message,
        received_at: raw.received_at,
        header,
    })
}

/// Parses protobuf; the first step of every [`Message::decode`].
pub(crate) fn parse<P: prost::Message + Default>(
    schema: &'static str,
    payload: &[u8],
    envelope: &Envelope<'_>,
) -> Result<P, WireError> {
    P::decode(payload).map_err(|e| WireError::Malformed {
        key: envelope.key.into(),
        schema,
        len: payload.len(),
        reason: e.to_string(),
    })
}

/// A message without content: the question of a query that only asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nothing;

impl Message for Nothing {
    const SCHEMA: &'static str = "google.protobuf.Empty";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        if payload.is_empty() {
            Ok(Self)
        } else {
            Err(envelope.wrong("(payload)", "no bytes", payload.len()))
        }
    }
}
