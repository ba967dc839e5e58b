//! Listening to a whole cell: everything published, who comes and goes, and what each process says of itself.
//!
//! Decides when receiving rests. Waking a thread for each of a thousand packets a second costs more than all that is done
//! with them, and a recorder is in no hurry: whenever it has taken everything there is, it rests for a few milliseconds,
//! while the system's socket buffers fill, and then takes all at once. Nobody is asked to send otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tactus_types::{ArmInfo, Clock, ClockId, Time};
use tactus_wire::{
    AliveWatch, CameraInfo, Cell, EngineStatus, Header, Key, Message, Name, Nothing, Raw, Session,
    SessionError, Subscriber, TickBatch, Topic,
};

use crate::RecordError;
use crate::inbox::{Arrived, Inbound, Inbox};

/// How long one question for an info may take, and the pause before it is asked again.
const ASK: Duration = Duration::from_millis(500);

/// How long receiving rests. A sender keeps the last 16 urgent messages for a link that takes none: less than that at
/// 1 kHz, so that nothing is lost even where the buffers of the sockets are full.
const REST: Duration = Duration::from_millis(5);
/// The receiving thread was idle when it did nothing for this long before a message.
const IDLE: Duration = Duration::from_micros(200);
/// A message that took longer than this, a rest before it included, says that others wait behind it.
const BEHIND: Duration = Duration::from_millis(2);
/// A message of more bytes came in pieces, and more of that kind may be on the way, bytes.
const LARGE: usize = 16 << 10;

/// What a recorder listens to, and whom it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listened {
    /// The cell.
    pub cell: Cell,
    /// Arms, asked for their joints and limits.
    pub arms: Vec<Name>,
    /// Devices, asked for theirs.
    pub devices: Vec<Name>,
    /// Cameras, asked for size and rate.
    pub cameras: Vec<Name>,
    /// Engines, asked for provider and bundle.
    pub engines: Vec<Name>,
}

/// Keeps the subscriptions; dropping it ends them.
pub(crate) struct Ears {
    _messages: Subscriber,
    _alive: AliveWatch,
}

/// Subscribes to everything of the cell, into `inbox`. The session's receiving thread rests from time to time: the session
/// has to be the recorder's own.
pub(crate) fn listen(
    session: &Session,
    listened: &Listened,
    inbox: &Arc<Inbox>,
) -> Result<Ears, SessionError> {
    let to = inbox.clone();
    let (clock, done) = (session.clock().clone(), AtomicU64::new(0));
    let messages = session.subscribe_raw(&listened.cell.all(), move |raw| {
        let before = Time::from_nanos(done.load(Ordering::Relaxed));
        let rest = rests(&raw, before, clock.id());
        to.push(Inbound::Message(Arrived::from(raw)));
        if rest {
            std::thread::sleep(REST);
        }
        done.store(clock.now().as_nanos(), Ordering::Relaxed);
    })?;
    let (to, clock) = (inbox.clone(), session.clock().clone());
    let alive = session.watch_alive(&listened.cell, move |role, name, alive| {
        to.push(Inbound::Alive {
            role,
            name: name.clone(),
            alive,
            at: clock.now(),
        });
    })?;
    Ok(Ears {
        _messages: messages,
        _alive: alive,
    })
}

/// Whether the receiving thread, which was done with the message before `raw` at `before`, rests after it: it had taken all
/// there was, and this one is fresh.
fn rests(raw: &Raw<'_>, before: Time, clock: ClockId) -> bool {
    raw.payload.len() <= LARGE
        && raw.received_at.since(before) > IDLE
        && Header::decode(raw.key, raw.attachment.as_deref(), clock)
            .is_ok_and(|header| raw.received_at.since(header.published_at) < BEHIND)
}

/// Whether `now`, whose cell time `clock` is, is no more `before`: the arm's host was started again. A host that knows no cell time
/// goes by its own clock, and what that says is nobody's.
pub(crate) fn is_another(clock: &dyn Clock, now: ClockId, before: ClockId) -> bool {
    now != before && now != clock.host_now().clock
}

/// Runs `body` while a thread asks every process of the cell what it is, until all have answered. Infos are published
/// once, when a process starts, so a recorder that comes later would never see them; the answers are taken as if they
/// had been published.
pub(crate) fn while_asking<T>(
    session: &Session,
    listened: &Listened,
    inbox: &Inbox,
    body: impl FnOnce() -> T,
) -> Result<T, RecordError> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = std::thread::Builder::new()
            .name("record-ask".into())
            .spawn_scoped(scope, || ask_all(session, listened, inbox, &done));
        let asking = asking.map_err(|reason| RecordError::Thread {
            thread: "record-ask",
            reason,
        })?;
        let result = body();
        done.store(true, Ordering::Relaxed);
        asking.thread().unpark();
        Ok(result)
    })
}

fn ask_all(session: &Session, listened: &Listened, inbox: &Inbox, done: &AtomicBool) {
    let Listened {
        cell,
        arms,
        devices,
        cameras,
        engines,
    } = listened;
    let keys = |names: &[Name], topic: fn(Name) -> Topic| -> Vec<Key> {
        names
            .iter()
            .map(|name| cell.key(&topic(name.clone())))
            .collect()
    };
    let mut ticks = keys(arms, Topic::ArmTicks);
    let mut arms = [keys(arms, Topic::ArmInfo), keys(devices, Topic::DeviceInfo)].concat();
    let mut cameras = keys(cameras, Topic::CameraInfo);
    let mut engines = keys(engines, Topic::EngineStatus);
    while !done.load(Ordering::Relaxed) {
        arms.retain(|key| !ask::<ArmInfo>(session, key, inbox, done));
        cameras.retain(|key| !ask::<CameraInfo>(session, key, inbox, done));
        engines.retain(|key| !ask::<EngineStatus>(session, key, inbox, done));
        ticks.retain(|key| !ask::<TickBatch>(session, key, inbox, done));
        if ticks.is_empty() && arms.is_empty() && cameras.is_empty() && engines.is_empty() {
            return;
        }
        std::thread::park_timeout(ASK);
    }
}

/// Whether the question was answered.
fn ask<M: Message>(session: &Session, key: &Key, inbox: &Inbox, done: &AtomicBool) -> bool {
    if done.load(Ordering::Relaxed) {
        return true;
    }
    match session.query::<Nothing, M>(key, &Nothing, ASK) {
        Ok(delivery) => {
            inbox.push(Inbound::Message(Arrived {
                key: key.to_string(),
                attachment: Some(delivery.header.encode()),
                payload: delivery.message.encode().into(),
                received_at: delivery.received_at,
            }));
            true
        }
        Err(e) => {
            tracing::debug!("{e}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: ClockId = ClockId(7);

    #[test]
    fn receiving_rests_only_when_it_was_idle_and_nothing_waits() {
        // Received at 1 s, published so many microseconds before, the message before done so many before, of so many bytes.
        let rests = |published: u64, done: u64, bytes: usize| {
            let at = |before| Time::from_nanos(1_000_000_000 - 1000 * before);
            let header = Header {
                clock: CLOCK,
                captured_at: at(published),
                published_at: at(published),
                seq: 0,
                source: "sim".into(),
                followed: None,
            };
            let raw = Raw {
                key: "tactus/demo/device/sim/state",
                attachment: Some(header.encode().into()),
                payload: vec![0; bytes].into(),
                received_at: at(0),
            };
            super::rests(&raw, at(done), CLOCK)
        };
        assert!(rests(100, 900, 80), "the next of a steady stream");
        assert!(!rests(100, 50, 80), "more came with it");
        assert!(!rests(4000, 900, 80), "it waited: others do too");
        assert!(!rests(100, 900, 60_000), "a picture comes with others");
        let headless = Raw {
            key: "k",
            attachment: None,
            payload: vec![].into(),
            received_at: Time::from_millis(1000),
        };
        assert!(!super::rests(&headless, Time::ZERO, CLOCK));
    }
}
