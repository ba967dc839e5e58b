//! What the wire says, into [`Lately`] and [`Pictures`]: one set of subscriptions, however many pages are open.
//! Decides nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tactus_types::{ArmInfo, CameraFrame, Clock, JointState};
use tactus_wire::{
    AliveWatch, AppliedBatch, Delivery, EngineStatus, EpisodeEvent, EvalReport, Message, Nothing,
    Reasoning, Role, Session, SessionError, Subscriber, Telemetry, Topic,
};

use super::pictures::Pictures;
use super::snapshot::{Arm, Lately};
use crate::cell::Cell;
use crate::order::ANSWER_WITHIN;
use crate::roles::Joined;

/// Between two tries to learn what the arm is.
const AGAIN: Duration = Duration::from_millis(500);

/// Keeps the subscriptions.
pub struct Heard {
    _subscriptions: Vec<Subscriber>,
    _alive: AliveWatch,
}

/// Subscribes to everything that is shown.
///
/// # Errors
/// When a key cannot be subscribed.
pub fn follow(
    session: &Session,
    cell: &Cell,
    lately: &Arc<Mutex<Lately>>,
    pictures: &Arc<Pictures>,
) -> Result<Heard, SessionError> {
    let arm = || cell.arm.clone();
    let mut subscriptions = vec![
        take(session, cell, &Topic::ArmMode(arm()), lately, |to, d| {
            to.mode(d.message, d.received_at);
        })?,
        take::<Telemetry>(
            session,
            cell,
            &Topic::ArmTelemetry(arm()),
            lately,
            |to, d| {
                to.telemetry = Some((d.message, d.received_at));
            },
        )?,
        take::<JointState>(session, cell, &Topic::ArmState(arm()), lately, |to, d| {
            to.state = Some((d.message, d.received_at));
        })?,
        take::<AppliedBatch>(session, cell, &Topic::ArmApplied(arm()), lately, |to, d| {
            to.applied(&d.message, d.received_at);
        })?,
        take::<EpisodeEvent>(session, cell, &Topic::Episode, lately, |to, d| {
            to.episode(&d.message, d.received_at);
        })?,
        take::<Reasoning>(
            session,
            cell,
            &Topic::EngineReasoning(cell.engine.clone()),
            lately,
            |to, d| {
                to.reasoning = Some((d.message, d.received_at));
            },
        )?,
        take::<EngineStatus>(
            session,
            cell,
            &Topic::EngineStatus(cell.engine.clone()),
            lately,
            {
                let engine = cell.engine.clone();
                move |to, d| {
                    to.time_of(Role::Engine, engine.as_str(), d.header.followed);
                    to.service = d.message.service.map(|service| (service, d.received_at));
                }
            },
        )?,
        take::<EvalReport>(session, cell, &Topic::Eval, lately, |to, d| {
            to.eval = Some((d.message, d.received_at));
        })?,
    ];
    for (i, camera) in cell.cameras.iter().enumerate() {
        let (to, times, name) = (pictures.clone(), lately.clone(), camera.name.clone());
        let key = cell.wire.key(&Topic::CameraImage(camera.name.clone()));
        let take = move |m: Result<Delivery<CameraFrame>, _>| {
            if let Ok(delivery) = m {
                let followed = delivery.header.followed;
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                times.time_of(Role::Camera, name.as_str(), followed);
                drop(times);
                to.take(i, delivery.message);
            }
        };
        subscriptions.push(session.subscribe(&key, take)?);
    }
    let to = lately.clone();
    let alive = session.watch_alive(&cell.wire, move |role, name, here| {
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        to.present.insert((role.word(), name.to_string()), here);
    })?;
    Ok(Heard {
        _subscriptions: subscriptions,
        _alive: alive,
    })
}

fn take<M: Message>(
    session: &Session,
    cell: &Cell,
    topic: &Topic,
    lately: &Arc<Mutex<Lately>>,
    put: impl Fn(&mut Lately, Delivery<M>) + Send + Sync + 'static,
) -> Result<Subscriber, SessionError> {
    let to = lately.clone();
    session.subscribe(&cell.wire.key(topic), move |m: Result<Delivery<M>, _>| {
        if let Ok(delivery) = m {
            put(
                &mut to.lock().unwrap_or_else(PoisonError::into_inner),
                delivery,
            );
        }
    })
}

/// Asks the arm host what its arm is until it says so: the panel may be there before it.
///
/// # Errors
/// When the thread cannot be started.
pub fn ask_for_the_arm(
    joined: &Joined,
    cell: &Cell,
    lately: &Arc<Mutex<Lately>>,
) -> anyhow::Result<JoinHandle<()>> {
    let key = cell.wire.key(&Topic::ArmInfo(cell.arm.clone()));
    let (session, stop, to) = (joined.session.clone(), joined.stop.clone(), lately.clone());
    let clock = joined.clock.clone();
    let ask = move || {
        while !stop.load(Ordering::Relaxed) {
            if let Ok(said) = session.query::<Nothing, ArmInfo>(&key, &Nothing, ANSWER_WITHIN) {
                // Reading a URDF takes its time: not under the lock.
                let arm = Arc::new(Arm::new(said.message));
                let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
                to.tell(format!("arm: {}", arm.info.model), clock.now());
                to.arm = Some(arm);
                return;
            }
            std::thread::sleep(AGAIN);
        }
    };
    std::thread::Builder::new()
        .name("panel-info".into())
        .spawn(ask)
        .context("thread `panel-info`")
}
