//! The arm host role: a control thread that never waits for anyone, and a messenger thread that talks for it.
//!
//! ```text
//!   Zenoh threads --bounded rings--> control thread (absolute deadlines) --bounded ring--> messenger --> Zenoh
//!   liveliness    --atomics-------->    |  ArmCycle::tick, Driver::apply
//! ```
//! The control thread takes no lock, makes no Zenoh call and does not free what it received: chunks go back to the
//! messenger to be dropped there. What it decides is in `tactus-control`; this module moves values and measures: here the
//! role is put together, `control` is its thread, `alive` what that knows of the others.

mod alive;
mod control;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtrb::RingBuffer;
use tactus_control::{ArmCycle, ArmSpec, Counters, Discard, Seam};
use tactus_types::{
    ArmInfo, Budget, Clock, Command, Driver, Generation, JointState, LeaseHolder, Mode,
    OperatorSetpoint, Time,
};
use tactus_wire::{
    Asked, Cell, ChunkReply, Delivery, EngineStatus, Members, Name, Role, Session, SessionError,
    Sparse, Topic,
};

use self::alive::{Alive, hear_partner};
use self::control::Control;
use crate::account::Account;
use crate::messenger::{Messenger, MessengerOptions};
use crate::orders::{self, Answer, Door};
use crate::realtime::{Realtime, RealtimeSpec};
use crate::tick::Tick;
use crate::witness::witness;

/// Chunks and refusals that may wait for a tick. More than two never do in health.
const INBOUND: usize = 8;
/// Requests that may wait for the messenger. They have a ring of their own, since each is as large as many ticks.
const REQUESTS: usize = 4;
/// Ticks that may wait for the messenger: four seconds at 500 Hz.
const EVENTS: usize = 2048;

/// How the arm host role is configured.
#[derive(Debug, Clone)]
pub struct ArmOptions {
    /// The cell.
    pub cell: Cell,
    /// Name of this arm.
    pub arm: Name,
    /// Engine whose liveliness counts.
    pub engine: Name,
    /// Cameras whose liveliness counts.
    pub cameras: Vec<Name>,
    /// The other arm, where one policy moves two.
    pub partner: Option<Name>,
    /// Everything the tick is configured with.
    pub spec: ArmSpec,
    /// Latency budget that chunks are held against.
    pub budget: Budget,
    /// How the control thread wants to run.
    pub realtime: RealtimeSpec,
    /// Where the cell has keys: who belongs to it.
    pub members: Option<Members>,
    /// Messages that the network dropped because their sender may not say them, so far.
    pub denied: Arc<AtomicU64>,
}

/// Why an arm host did not start or run.
#[derive(Debug, thiserror::Error)]
pub enum ArmHostError {
    /// A key cannot be declared.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A thread cannot be started.
    #[error("thread `{name}`: {reason}")]
    Thread {
        /// The thread.
        name: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// What the control thread hands to the messenger.
pub(crate) enum Event {
    /// A tick.
    Tick(TickRecord),
    /// A chunk or refusal that the control thread is done with, and what became of it.
    Reply {
        delivery: Box<Delivery<ChunkReply>>,
        accepted: Option<Result<(), Discard>>,
        /// The tick that took it: when it woke, how long it decided, and how long the driver took.
        taken_at: Time,
        decided_in: Duration,
        applied_in: Duration,
    },
    /// The answer to an order or about a lease.
    Answer(Answer),
    /// What was asked before the tick that follows.
    Asked(Asked),
}

/// One tick, as measured.
#[derive(Debug, Clone)]
pub(crate) struct TickRecord {
    pub tick: Tick,
    pub state: Option<JointState>,
    pub command: Option<Command>,
    pub applied_at: Time,
    pub decided_in: Duration,
    pub applied_in: Duration,
    pub mode: Mode,
    pub mode_changed: bool,
    pub seam: Option<Seam>,
    pub generation: Generation,
    pub instruction: Arc<str>,
    pub counters: Counters,
    pub lease: Option<LeaseHolder>,
    pub now: Time,
    pub operator: Option<OperatorSetpoint>,
    pub engine_alive: bool,
    pub engine_silent: Duration,
    pub dead_camera: Option<Arc<str>>,
    pub driver_error: Option<Arc<str>>,
    /// Events lost before this one.
    pub lost: u64,
}

/// Runs the arm host role until `stop` is set: then it brakes, holds, and returns what it measured.
///
/// # Errors
/// [`ArmHostError`] when it could not start; nothing was commanded then.
pub fn run_arm(
    driver: Box<dyn Driver>,
    info: ArmInfo,
    options: &ArmOptions,
    session: &Session,
    clock: Arc<dyn Clock>,
    stop: &AtomicBool,
) -> Result<Account, ArmHostError> {
    let ArmOptions {
        cell,
        arm,
        engine,
        cameras,
        partner,
        ..
    } = options;
    let (to_control, inbound) = RingBuffer::new(INBOUND);
    let (events_in, events) = RingBuffer::new(EVENTS);
    let (requests_in, requests) = RingBuffer::new(REQUESTS);
    let alive = Arc::new(Alive::default());

    // A ring has one producer; Zenoh may call from any of its threads. The lock is on their side only.
    let to_control = Mutex::new(to_control);
    let refused = Sparse::default();
    let chunk_key = cell.key(&Topic::ArmChunk(arm.clone()));
    let _chunks = session.subscribe(
        &chunk_key,
        move |reply: Result<Delivery<ChunkReply>, _>| match reply {
            Ok(delivery) => {
                let mut ring = to_control.lock().unwrap_or_else(PoisonError::into_inner);
                if ring.push(Box::new(delivery)).is_err() {
                    tracing::error!("chunk dropped: the control thread does not take them");
                }
            }
            Err(e) => {
                if let Some(times) = refused.told() {
                    tracing::warn!(times, "chunk refused: {e}");
                }
            }
        },
    )?;
    let door = Door::new(options.members.clone());
    let (orders, _order_keys) = orders::listen(session, cell, arm, &door)?;
    let (heard, ears) = (alive.clone(), clock.clone());
    let refused = Sparse::default();
    let status_key = cell.key(&Topic::EngineStatus(engine.clone()));
    let _status = session.subscribe(
        &status_key,
        move |status: Result<Delivery<EngineStatus>, _>| match status {
            Ok(_) => heard.heard.store(ears.now().as_nanos(), Ordering::Relaxed),
            Err(e) => {
                if let Some(times) = refused.told() {
                    tracing::warn!(times, "engine status refused: {e}");
                }
            }
        },
    )?;
    let _partner = match partner {
        None => None,
        Some(partner) => Some(hear_partner(session, cell, partner, &alive, &clock)?),
    };
    let (watched, names, own_engine) = (alive.clone(), cameras.clone(), engine.clone());
    let other = partner.clone();
    let _watch = session.watch_alive(cell, move |role, name, is_alive| match role {
        Role::Engine if *name == own_engine => watched.engine.store(is_alive, Ordering::Relaxed),
        Role::Camera => {
            if let Some(i) = names.iter().position(|c| c == name) {
                if is_alive {
                    watched.cameras.fetch_or(1 << i, Ordering::Relaxed);
                } else {
                    watched.cameras.fetch_and(!(1 << i), Ordering::Relaxed);
                }
            }
        }
        Role::Arm if other.as_ref() == Some(name) => {
            watched.partner.alive.store(is_alive, Ordering::Relaxed);
        }
        Role::Engine | Role::Arm | Role::Device => {}
    })?;
    let _alive = session.alive(cell, Role::Arm, arm)?;

    let done = AtomicBool::new(false);
    let (teller, witness) = witness();
    let messenger_options = MessengerOptions {
        cell: cell.clone(),
        arm: arm.clone(),
        info: info.clone(),
        budget: options.budget,
        period_secs: options.spec.period_secs,
        boot: options.spec.boot,
        spec: digest(&options.spec),
        teller: teller.clone(),
        door,
        denied: options.denied.clone(),
        paired: partner.is_some(),
    };
    let messenger = Messenger::new(&messenger_options, session, clock.clone())?;
    // The witness listens for as long as anybody may tell.
    drop((teller, messenger_options));
    let witness_clock = clock.clone();
    std::thread::scope(|scope| {
        let spawn_error = |name| {
            move |e: std::io::Error| ArmHostError::Thread {
                name,
                reason: e.to_string(),
            }
        };
        std::thread::Builder::new()
            .name("witness".into())
            .spawn_scoped(scope, move || witness.run(witness_clock.as_ref()))
            .map_err(spawn_error("witness"))?;
        let messenger = std::thread::Builder::new()
            .name("messenger".into())
            .spawn_scoped(scope, || messenger.run(events, requests, &done))
            .map_err(spawn_error("messenger"))?;
        let mut control = Control {
            cycle: ArmCycle::new(options.spec.clone(), info),
            driver,
            inbound,
            orders,
            events: events_in,
            requests: requests_in,
            period: Duration::from_nanos((options.spec.period_secs * 1e9).round() as u64),
            dropped_events: 0,
            messenger: messenger.thread().clone(),
            alive,
            cameras: cameras.iter().map(Name::shared).collect(),
            partner: partner.as_ref().map(Name::shared),
            clock,
            driver_error: None,
            arm_rests: true,
        };
        let realtime = options.realtime;
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn_scoped(scope, move || {
                let granted = Realtime::request(&realtime);
                control.run(&granted, &realtime, stop);
            })
            .map_err(spawn_error("control"))?;
        let ran = thread.join();
        done.store(true, Ordering::Release);
        messenger.thread().unpark();
        let panicked = |name| ArmHostError::Thread {
            name,
            reason: "it panicked".into(),
        };
        let account = messenger.join().map_err(|_| panicked("messenger"))?;
        ran.map_err(|_| panicked("control"))?;
        Ok(account)
    })
}

/// Digest of a loop's configuration, by which a replay knows whether it has the same: FNV-1a over its Debug form, which
/// writes every number such that it reads back as the same one.
pub fn digest(spec: &ArmSpec) -> u64 {
    format!("{spec:?}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
