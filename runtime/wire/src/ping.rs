//! Exchanging readings of two hosts' clocks: the one question whose answer may come from another clock.

use std::time::Duration;

use prost::Message as _;
use tactus_types::{ClockId, Time};
use zenoh::Wait;
use zenoh::handlers::FifoChannel;
use zenoh::qos::{CongestionControl, Priority};

use crate::offset::Exchange;
use crate::proto::tactus as pb;
use crate::{Key, QueryError, Session, SessionError, WireError};

const SCHEMA: &str = "tactus.v1.ClockReading";

/// Longest version that is kept, bytes.
const MAX_VERSION: usize = 40;

/// What a process says of its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Which clock it is.
    pub clock: ClockId,
    /// Readings of it and of ours.
    pub exchange: Exchange,
    /// Version of the program; empty when it does not say.
    pub version: String,
}

impl Session {
    /// Answers every question on `key` with readings of this session's clock, for as long as it is open.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn answer_pings(&self, key: &Key) -> Result<(), SessionError> {
        let clock = self.clock().clone();
        let answer = move |query: zenoh::query::Query| {
            let received = clock.now();
            let reading = pb::ClockReading {
                clock: clock.id().0,
                received_nanos: received.as_nanos(),
                answered_nanos: clock.now().as_nanos(),
                version: env!("CARGO_PKG_VERSION").into(),
            };
            let reply = query.reply(query.key_expr(), reading.encode_to_vec());
            if let Err(e) = reply.wait() {
                tracing::debug!("reading of the clock not sent: {e}");
            }
        };
        self.zenoh
            .declare_queryable(key.as_str().to_owned())
            .complete(true)
            .callback(answer)
            .background()
            .wait()
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "answer queries",
                reason: e.to_string(),
            })
    }

    /// Asks who answers on `key` for readings of its clock.
    ///
    /// # Errors
    /// [`QueryError`]; nothing in it is trusted but as readings of that clock.
    pub fn ping(&self, key: &Key, timeout: Duration) -> Result<Answered, QueryError> {
        let error = |e: zenoh::Error| SessionError::Key {
            key: key.to_string(),
            action: "ask",
            reason: e.to_string(),
        };
        let sent = self.clock().now();
        let replies = self
            .zenoh
            .get(key.as_str())
            .congestion_control(CongestionControl::Block)
            .priority(Priority::RealTime)
            .express(true)
            .timeout(timeout)
            .with(FifoChannel::new(1))
            .wait()
            .map_err(error)?;
        let no_answer = || QueryError::NoAnswer {
            key: key.to_string(),
            timeout_millis: timeout.as_millis(),
        };
        let reply = replies.recv().map_err(|_| no_answer())?;
        let returned = self.clock().now();
        let sample = reply.result().map_err(|_| no_answer())?;
        let bytes = sample.payload().to_bytes();
        let reading = pb::ClockReading::decode(&bytes[..]).map_err(|e| WireError::Malformed {
            key: key.to_string(),
            schema: SCHEMA,
            len: bytes.len(),
            reason: e.to_string(),
        })?;
        let exchange = Exchange {
            sent,
            received: Time::from_nanos(reading.received_nanos),
            answered: Time::from_nanos(reading.answered_nanos),
            returned,
        };
        let mut version = reading.version;
        version.retain(|c| c.is_ascii_graphic());
        version.truncate(MAX_VERSION);
        Ok(Answered {
            clock: ClockId(reading.clock),
            exchange,
            version,
        })
    }
}
