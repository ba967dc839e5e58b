//! Listening to a whole cell: everything published, who comes and goes, and what each process says of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tactus_types::ArmInfo;
use tactus_wire::{
    AliveWatch, CameraInfo, Cell, EngineStatus, Key, Message, Name, Nothing, Session, SessionError,
    Subscriber, TickBatch, Topic,
};

use crate::RecordError;
use crate::inbox::{Arrived, Inbound, Inbox};

/// How long one question for an info may take, and the pause before it is asked again.
const ASK: Duration = Duration::from_millis(500);

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

/// Subscribes to everything of the cell, into `inbox`.
pub(crate) fn listen(
    session: &Session,
    listened: &Listened,
    inbox: &Arc<Inbox>,
) -> Result<Ears, SessionError> {
    let to = inbox.clone();
    let messages = session.subscribe_raw(&listened.cell.all(), move |raw| {
        to.push(Inbound::Message(Arrived::from(raw)));
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
