//! Exchanging readings of two hosts' clocks: the one question whose answer may come from another clock.

use std::time::Duration;

use prost::Message as _;
use tactus_types::{ClockId, Followed, Time};
use zenoh::Wait;
use zenoh::handlers::FifoChannel;
use zenoh::qos::{CongestionControl, Priority};

use crate::header::{SCHEMA_VERSION, nanos};
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
    /// Version of the messages that it speaks.
    pub schema_version: u32,
    /// Whose time its messages carry, and how it knows that, where it is not its host's own.
    pub follows: Option<(ClockId, Followed)>,
}

impl Session {
    /// Answers every question on `key` with readings of this host's clock, for as long as the session is open.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn answer_pings(&self, key: &Key) -> Result<(), SessionError> {
        let clock = self.clock().clone();
        let answer = move |query: zenoh::query::Query| {
            let received = clock.host_now();
            let reading = clock.reading();
            let reading = pb::ClockReading {
                clock: received.clock.0,
                received_nanos: received.nanos,
                cell_clock: reading.followed.map_or(0, |_| reading.clock.0),
                ahead_nanos: reading.followed.map_or(0, |f| f.ahead_nanos),
                bound_nanos: reading.followed.map_or(0, |f| nanos(f.bound)),
                version: env!("CARGO_PKG_VERSION").into(),
                schema_version: SCHEMA_VERSION,
                answered_nanos: clock.host_now().nanos,
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
        let ours = || Time::from_nanos(self.clock().host_now().nanos);
        let sent = ours();
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
        let returned = ours();
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
            // Those that did not say yet spoke the first.
            schema_version: reading.schema_version.max(1),
            follows: (reading.cell_clock != 0).then_some((
                ClockId(reading.cell_clock),
                Followed {
                    host: ClockId(reading.clock),
                    ahead_nanos: reading.ahead_nanos,
                    bound: Duration::from_nanos(reading.bound_nanos),
                },
            )),
        })
    }
}
