//! Why bytes from the network did not become a message.

use tactus_types::ForeignClock;

/// A message that is refused. It names the key it came on, what was expected and what was there.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WireError {
    /// The message has no attachment, so nobody knows its schema, clock or sequence.
    #[error("message on `{key}`: no header: expected a tactus.v1.Header as attachment")]
    NoHeader {
        /// Key the message came on.
        key: String,
    },
    /// The bytes are not protobuf of the expected schema.
    #[error("message on `{key}`: expected {schema}, got {len} bytes that are not: {reason}")]
    Malformed {
        /// Key the message came on.
        key: String,
        /// Protobuf name of the expected message.
        schema: &'static str,
        /// Length of what was there, bytes.
        len: usize,
        /// What the protobuf decoder said.
        reason: String,
    },
    /// The sender speaks another version of the schema.
    #[error("message on `{key}`: field `schema_version`: expected {expected}, got {actual}")]
    Version {
        /// Key the message came on.
        key: String,
        /// Version of this program.
        expected: u32,
        /// Version of the sender.
        actual: u32,
    },
    /// The message is stamped by a clock whose offset to cell time is not known.
    #[error("message on `{key}` from `{source_name}`: {clock}")]
    Clock {
        /// Key the message came on.
        key: String,
        /// Who sent it.
        source_name: String,
        /// Both clocks.
        clock: ForeignClock,
    },
    /// The sender's host knows cell time too badly.
    #[error(
        "message on `{key}` from `{source_name}`: expected times known to {} ms, got +- {bound_millis} ms",
        crate::header::MOST_BOUND.as_millis()
    )]
    Unsure {
        /// Key the message came on.
        key: String,
        /// Who sent it.
        source_name: String,
        /// How far its times may be from the truth, milliseconds.
        bound_millis: u128,
    },
    /// A field holds something that no honest sender sends.
    #[error("message on `{key}`: field `{field}`: expected {expected}, got {actual}")]
    Field {
        /// Key the message came on.
        key: String,
        /// Which field, for example `actions[3].q`.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The message lay in shared memory, and its sender took that back before it had been read.
    #[error("message on `{key}`: its memory was taken back by its sender before it had been read")]
    TakenBack {
        /// Key the message came on.
        key: String,
    },
}

impl WireError {
    /// Key the message came on.
    pub fn key(&self) -> &str {
        match self {
            Self::NoHeader { key }
            | Self::Malformed { key, .. }
            | Self::Version { key, .. }
            | Self::Clock { key, .. }
            | Self::Unsure { key, .. }
            | Self::TakenBack { key }
            | Self::Field { key, .. } => key,
        }
    }
}
