//! Between the wire and the clients: who wants which channel, and what waits for each of them.
//!
//! A key is subscribed on the wire while some client wants it, once for all of them, so that nothing travels that nobody
//! looks at. What waits for a client is bounded: one that is slow loses the oldest, which is counted, and keeps nobody
//! waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tactus_types::{ArmInfo, Clock, Time};
use tactus_wire::{
    CameraInfo, Cell as WireCell, CellClock, Header, Key, Message, Nothing, Raw, Session,
    SessionError, Subscriber, Topic,
};
use tokio::sync::Notify;

use super::protocol::message;

/// Frames that wait for a client at most: a second of everything in a cell at 1 kHz.
const MOST: usize = 2048;
/// And their bytes: half a second of four cameras; one frame may be larger.
const MOST_BYTES: usize = 8 << 20;
/// How long a process may take to say what it is.
const INFO_WITHIN: Duration = Duration::from_millis(500);

/// What waits for one client.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
    lost: u64,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `frame`; the oldest go where there is no room.
    pub fn push(&self, frame: Bytes) {
        let mut waiting = self.lock();
        while waiting.frames.len() >= MOST || waiting.bytes + frame.len() > MOST_BYTES {
            let Some(oldest) = waiting.frames.pop_front() else {
                break;
            };
            waiting.bytes -= oldest.len();
            waiting.lost += 1;
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        drop(waiting);
        self.more.notify_one();
    }

    fn pop(&self) -> Option<Bytes> {
        let mut waiting = self.lock();
        let frame = waiting.frames.pop_front()?;
        waiting.bytes -= frame.len();
        Some(frame)
    }

    /// The next frame, as soon as there is one.
    pub async fn next(&self) -> Bytes {
        loop {
            if let Some(frame) = self.pop() {
                return frame;
            }
            self.more.notified().await;
        }
    }

    /// Frames that went because the client was slow, since this was last asked.
    pub fn lost(&self) -> u64 {
        std::mem::take(&mut self.lock().lost)
    }
}

/// A client's subscription to a channel.
struct Listener {
    client: u64,
    subscription: u32,
    to: Arc<Outbox>,
}

struct Channel {
    topic: Topic,
    key: Key,
    listeners: Arc<Mutex<Vec<Listener>>>,
    /// There while there are listeners.
    heard: Mutex<Option<Subscriber>>,
}

/// The channels of a cell.
pub struct Hub {
    session: Session,
    clock: Arc<CellClock>,
    channels: Vec<Channel>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Channels of `topics`, to which nobody listens yet.
    pub fn new(session: Session, clock: Arc<CellClock>, wire: &WireCell, topics: &[Topic]) -> Self {
        let channel = |topic: &Topic| Channel {
            topic: topic.clone(),
            key: wire.key(topic),
            listeners: Arc::default(),
            heard: Mutex::new(None),
        };
        Self {
            session,
            clock,
            channels: topics.iter().map(channel).collect(),
        }
    }

    /// `client` gets the messages of channel `channel` into `to`, as its `subscription`. May take the time of a question to
    /// another process.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn subscribe(
        &self,
        client: u64,
        subscription: u32,
        channel: u64,
        to: &Arc<Outbox>,
    ) -> Result<(), String> {
        let found = usize::try_from(channel).ok();
        let found = found.and_then(|i| self.channels.get(i));
        let channel = found.ok_or_else(|| format!("there is no channel {channel}"))?;
        let mut heard = lock(&channel.heard);
        {
            let mut listeners = lock(&channel.listeners);
            if listeners.iter().any(|l| l.client == client) {
                return Err(format!("{} is subscribed to already", channel.key));
            }
            listeners.push(Listener {
                client,
                subscription,
                to: to.clone(),
            });
        }
        if heard.is_none() {
            match self.hear(channel) {
                Ok(subscriber) => *heard = Some(subscriber),
                Err(e) => {
                    lock(&channel.listeners).retain(|l| l.client != client);
                    return Err(e.to_string());
                }
            }
        }
        drop(heard);
        self.tell_info(channel, subscription, to);
        Ok(())
    }

    /// `client` gets no more under `subscription`; under none with `None`.
    pub fn unsubscribe(&self, client: u64, subscription: Option<u32>) {
        for channel in &self.channels {
            let mut heard = lock(&channel.heard);
            let mut listeners = lock(&channel.listeners);
            listeners.retain(|l| {
                l.client != client || subscription.is_some_and(|id| l.subscription != id)
            });
            let nobody = listeners.is_empty();
            drop(listeners);
            // Undeclared without the listeners' lock, for which a callback may be waiting.
            if nobody {
                heard.take();
            }
        }
    }

    fn hear(&self, channel: &Channel) -> Result<Subscriber, SessionError> {
        let (listeners, clock) = (channel.listeners.clone(), self.clock.clone());
        self.session
            .subscribe_raw(&channel.key, move |raw: Raw<'_>| {
                let header = Header::decode(raw.key, raw.attachment.as_deref(), clock.id());
                let Ok(header) = header else { return };
                let at = unix_nanos(&clock, header.captured_at);
                for listener in lock(&listeners).iter() {
                    let frame = message(listener.subscription, at, &raw.payload);
                    listener.to.push(frame.into());
                }
            })
    }

    /// What a process says of itself it published when it started: whoever listens now is told what it answers.
    fn tell_info(&self, channel: &Channel, subscription: u32, to: &Outbox) {
        let told = match channel.topic {
            Topic::ArmInfo(_) | Topic::DeviceInfo(_) => self.ask::<ArmInfo>(channel),
            Topic::CameraInfo(_) => self.ask::<CameraInfo>(channel),
            _ => None,
        };
        if let Some((at, payload)) = told {
            let frame = message(subscription, unix_nanos(&self.clock, at), &payload);
            to.push(frame.into());
        }
    }

    fn ask<M: Message>(&self, channel: &Channel) -> Option<(Time, Vec<u8>)> {
        let answer = self
            .session
            .query::<Nothing, M>(&channel.key, &Nothing, INFO_WITHIN)
            .ok()?;
        Some((answer.header.captured_at, answer.message.encode()))
    }
}

fn unix_nanos(clock: &CellClock, at: Time) -> u64 {
    let unix = clock.unix_offset() + at.since(Time::ZERO);
    u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_loses_the_oldest_and_its_memory_has_an_end() {
        let outbox = Outbox::default();
        for k in 0..MOST + 3 {
            outbox.push(Bytes::from(vec![(k % 256) as u8]));
        }
        assert_eq!(outbox.lost(), 3);
        assert_eq!(outbox.lost(), 0, "told once");
        assert_eq!(outbox.pop(), Some(Bytes::from(vec![3])));
        for _ in 0..20 {
            outbox.push(Bytes::from(vec![0; MOST_BYTES / 8]));
        }
        let waiting = outbox.lock();
        assert!(waiting.bytes <= MOST_BYTES);
        let sum: usize = waiting.frames.iter().map(Bytes::len).sum();
        assert_eq!(sum, waiting.bytes);
        drop(waiting);
        outbox.push(Bytes::from(vec![0; MOST_BYTES + 1]));
        assert_eq!(
            outbox.lock().frames.len(),
            1,
            "what is too large goes alone"
        );
    }
}
