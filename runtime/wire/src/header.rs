//! The header that every message carries as its Zenoh attachment.

use std::time::Duration;

use prost::Message as _;
use tactus_types::{ClockId, Followed, Stamp, Time};

use crate::{WireError, proto::tactus as pb};

/// Version of every message of this crate. A receiver refuses any other: guessing at fields moves arms.
pub const SCHEMA_VERSION: u32 = 1;

/// A time that may be further from the truth than this is no time: nobody takes it.
pub const MOST_BOUND: Duration = Duration::from_millis(20);

/// Longest attachment that is looked at, bytes.
const MAX_HEADER_BYTES: usize = 1024;

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Clock of every time in the message.
    pub clock: ClockId,
    /// When what the message says was true, on `clock`.
    pub captured_at: Time,
    /// When it was handed to the network, on `clock`.
    pub published_at: Time,
    /// Counter of the publisher; restarts with it.
    pub seq: u64,
    /// Process that published, for example `camera/scene`.
    pub source: String,
    /// How the publisher's host knows `clock`, where that is not its own.
    pub followed: Option<Followed>,
}

impl Header {
    /// The attachment's bytes.
    pub fn encode(&self) -> Vec<u8> {
        pb::Header {
            schema_version: SCHEMA_VERSION,
            clock: self.clock.0,
            captured_nanos: self.captured_at.as_nanos(),
            published_nanos: self.published_at.as_nanos(),
            seq: self.seq,
            source: self.source.clone(),
            host_clock: self.followed.map_or(0, |f| f.host.0),
            ahead_nanos: self.followed.map_or(0, |f| f.ahead_nanos),
            bound_nanos: self.followed.map_or(0, |f| nanos(f.bound)),
        }
        .encode_to_vec()
    }

    /// The header of a message on `key`, checked against the receiver's clock.
    ///
    /// # Errors
    /// [`WireError`] when it is missing, not a header, of another schema version, of a clock that is not `cell`, or of
    /// a host that knows that clock to no better than [`MOST_BOUND`].
    pub fn decode(key: &str, attachment: Option<&[u8]>, cell: ClockId) -> Result<Self, WireError> {
        let bytes = attachment.ok_or_else(|| WireError::NoHeader { key: key.into() })?;
        let malformed = |reason: String| WireError::Malformed {
            key: key.into(),
            schema: "tactus.v1.Header",
            len: bytes.len(),
            reason,
        };
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(malformed(format!("more than {MAX_HEADER_BYTES} bytes")));
        }
        let header = pb::Header::decode(bytes).map_err(|e| malformed(e.to_string()))?;
        if header.schema_version != SCHEMA_VERSION {
            return Err(WireError::Version {
                key: key.into(),
                expected: SCHEMA_VERSION,
                actual: header.schema_version,
            });
        }
        let cell_time = |nanos| {
            let clock = ClockId(header.clock);
            cell.cell_time(Stamp { clock, nanos })
                .map_err(|clock| WireError::Clock {
                    key: key.into(),
                    source_name: header.source.clone(),
                    clock,
                })
        };
        let followed = (header.host_clock != 0).then_some(Followed {
            host: ClockId(header.host_clock),
            ahead_nanos: header.ahead_nanos,
            bound: Duration::from_nanos(header.bound_nanos),
        });
        if let Some(Followed { bound, .. }) = followed.filter(|f| f.bound > MOST_BOUND) {
            return Err(WireError::Unsure {
                key: key.into(),
                source_name: header.source,
                bound_millis: bound.as_millis(),
            });
        }
        Ok(Self {
            clock: ClockId(header.clock),
            captured_at: cell_time(header.captured_nanos)?,
            published_at: cell_time(header.published_nanos)?,
            seq: header.seq,
            source: header.source,
            followed,
        })
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_another_host_comes_with_its_bound_and_too_wide_a_one_is_refused() {
        let of = |bound| Header {
            clock: ClockId(1),
            captured_at: Time::from_millis(5),
            published_at: Time::from_millis(6),
            seq: 3,
            source: "engine/e".into(),
            followed: Some(Followed {
                host: ClockId(2),
                ahead_nanos: -4_321_000_000_000,
                bound,
            }),
        };
        let read = |header: &Header| Header::decode("k", Some(&header.encode()), ClockId(1));
        let known = of(Duration::from_millis(5));
        assert_eq!(read(&known), Ok(known));
        let unsure = read(&of(Duration::from_millis(21)));
        assert!(
            matches!(
                unsure,
                Err(WireError::Unsure {
                    bound_millis: 21,
                    ..
                })
            ),
            "{unsure:?}"
        );
    }
}
