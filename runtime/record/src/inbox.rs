//! From Zenoh's threads to ours: bounded in messages and bytes, never waits, counts what it had to drop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactus_types::Time;
use tactus_wire::{Name, Raw, Role};

/// Most messages that wait; two seconds of everything in a cell at 1 kHz.
const MAX_MESSAGES: usize = 16_384;
/// Most bytes that wait: two seconds of four uncompressed cameras, or any one message that the wire takes.
const MAX_BYTES: usize = 64 << 20;

/// A message that has arrived, its bytes copied out of the network's buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// Key that it came on.
    pub key: String,
    /// The encoded header, if there is one.
    pub attachment: Option<Vec<u8>>,
    /// Its bytes.
    pub payload: Arc<[u8]>,
    /// When this process received it.
    pub received_at: Time,
}

impl From<Raw<'_>> for Arrived {
    fn from(raw: Raw<'_>) -> Self {
        Self {
            key: raw.key.to_owned(),
            attachment: raw.attachment.map(std::borrow::Cow::into_owned),
            payload: raw.payload[..].into(),
            received_at: raw.received_at,
        }
    }
}

/// What reaches a recorder.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// A message.
    Message(Arrived),
    /// A role came or went.
    Alive {
        /// Which role.
        role: Role,
        /// Its name.
        name: Name,
        /// Whether it is there now.
        alive: bool,
        /// When this process noticed.
        at: Time,
    },
}

impl Inbound {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(arrived) => {
                arrived.payload.len() + arrived.attachment.as_ref().map_or(0, Vec::len)
            }
            Self::Alive { .. } => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    inbound: Vec<Inbound>,
    bytes: usize,
    dropped: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
}

impl Inbox {
    /// A thread that panicked while holding the lock left at worst a message unqueued.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues, or drops and counts. Called on a thread of Zenoh's: it takes a short lock and wakes nobody, for the reader
    /// looks by itself many times a second.
    pub fn push(&self, inbound: Inbound) {
        let bytes = inbound.bytes();
        let mut waiting = self.lock();
        if waiting.inbound.len() >= MAX_MESSAGES || waiting.bytes.saturating_add(bytes) > MAX_BYTES
        {
            waiting.dropped += 1;
        } else {
            waiting.bytes += bytes;
            waiting.inbound.push(inbound);
        }
    }

    /// Sleeps for `nap`, then moves everything that waits to `batch`; returns how many were dropped since the last time.
    /// Nothing wakes the reader sooner: it handles a batch at a time, not each of a thousand messages a second by itself.
    pub fn take_into(&self, batch: &mut Vec<Inbound>, nap: Duration) -> u64 {
        if !nap.is_zero() {
            std::thread::sleep(nap);
        }
        let mut waiting = self.lock();
        batch.append(&mut waiting.inbound);
        waiting.bytes = 0;
        std::mem::take(&mut waiting.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Inbound {
        Inbound::Message(Arrived {
            key: "k".into(),
            attachment: None,
            payload: vec![0; len].into(),
            received_at: Time::ZERO,
        })
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_room_comes_back() {
        let inbox = Inbox::default();
        let mut batch = Vec::new();
        for _ in 0..MAX_MESSAGES + 3 {
            inbox.push(message(1));
        }
        assert_eq!(inbox.take_into(&mut batch, Duration::ZERO), 3);
        assert_eq!(batch.len(), MAX_MESSAGES);
        batch.clear();
        for _ in 0..5 {
            inbox.push(message(MAX_BYTES / 4));
        }
        inbox.push(message(MAX_BYTES + 1));
        assert_eq!(inbox.take_into(&mut batch, Duration::ZERO), 2);
        assert_eq!(batch.len(), 4);
        inbox.push(message(MAX_BYTES));
        assert_eq!(inbox.take_into(&mut batch, Duration::ZERO), 0);
        assert_eq!(batch.len(), 5);
    }
}
