//! One message as it is kept: its bytes exactly as they came, and what its header said.

use std::sync::Arc;

use tactus_types::Time;
use tactus_wire::Message;

/// What an entry costs in memory beside its payload, bytes; rounded up.
const OVERHEAD: usize = 192;

/// How an entry is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A message that passed every check: protobuf of this schema.
    Sound(&'static str),
    /// A message that was refused, although it is protobuf of this schema: a chunk with a NaN, for example.
    Refused(&'static str),
    /// Bytes that nobody knows how to read.
    Unreadable,
}

/// One message. Clones share its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Key that it came on.
    pub key: Arc<str>,
    /// How it is to be read.
    pub kind: Kind,
    /// When what it says was true; the time of receiving where no header says it.
    pub captured_at: Time,
    /// When it was handed to the network; the time of receiving where no header says it.
    pub published_at: Time,
    /// When this process received it.
    pub received_at: Time,
    /// Counter of its publisher; 0 where no header says it.
    pub seq: u64,
    /// Process that published it; empty where no header says it.
    pub source: Arc<str>,
    /// Its bytes.
    pub payload: Arc<[u8]>,
}

impl Entry {
    /// `message` of `source` on `key`, as it would have arrived at once, had it been published at `at` with number `seq`: for
    /// a simulation that has no wire.
    pub fn of<M: Message>(key: &str, message: &M, at: Time, seq: u64, source: &str) -> Self {
        Self {
            key: key.into(),
            kind: Kind::Sound(M::SCHEMA),
            captured_at: message.captured_at().unwrap_or(at),
            published_at: at,
            received_at: at,
            seq: message.seq().unwrap_or(seq),
            source: source.into(),
            payload: message.encode().into(),
        }
    }

    /// Memory that it takes, bytes.
    pub fn bytes(&self) -> usize {
        self.payload.len() + OVERHEAD
    }
}
