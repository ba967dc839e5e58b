//! What a running cell says of itself while a fault acts: every applied command, every change of mode, every measured
//! state, as they came over the wire; and how punctual this process was meanwhile. Judges nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tactus_types::{Applied, JointState, Time};
use tactus_wire::{
    AppliedBatch, Cell as WireCell, Delivery, ModeReport, Session, SessionError, Subscriber, Topic,
};

use crate::cell::Cell;

/// What came since the last [`Observer::clear`].
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Applied commands, in their order.
    pub applied: Vec<Applied>,
    /// Reports of the mode.
    pub modes: Vec<ModeReport>,
    /// What the device measured.
    pub states: Vec<JointState>,
    /// When each of them came.
    pub states_at: Vec<Time>,
    /// Instants at which this process woke, and how late it was.
    pub naps: Vec<(Time, Duration)>,
}

/// Listens to a cell.
pub struct Observer {
    trace: Arc<Mutex<Trace>>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    _subscribers: Vec<Subscriber>,
}

/// How long this process naps to find out how punctual it is.
const NAP: Duration = Duration::from_millis(2);

fn lock(trace: &Mutex<Trace>) -> MutexGuard<'_, Trace> {
    trace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer {
    /// Listens to the arm host on `near` and to the device on `device`.
    ///
    /// # Errors
    /// [`SessionError`] when a key cannot be subscribed; an I/O error when the thread cannot be started.
    pub fn new(
        session: &Session,
        cell: &Cell,
        near: &WireCell,
        device: &WireCell,
    ) -> anyhow::Result<Self> {
        let trace = Arc::<Mutex<Trace>>::default();
        let to = trace.clone();
        let key = near.key(&Topic::ArmApplied(cell.arm.clone()));
        let applied = session.subscribe(&key, move |m: Result<Delivery<AppliedBatch>, _>| {
            if let Ok(delivery) = m {
                lock(&to).applied.extend(delivery.message.applied);
            }
        })?;
        let to = trace.clone();
        let key = near.key(&Topic::ArmMode(cell.arm.clone()));
        let modes = session.subscribe(&key, move |m: Result<Delivery<ModeReport>, _>| {
            if let Ok(delivery) = m {
                lock(&to).modes.push(delivery.message);
            }
        })?;
        let to = trace.clone();
        let key = device.key(&Topic::DeviceState(cell.device.clone()));
        let states: Result<Subscriber, SessionError> =
            session.subscribe(&key, move |m: Result<Delivery<JointState>, _>| {
                if let Ok(delivery) = m {
                    let mut trace = lock(&to);
                    trace.states.push(delivery.message);
                    trace.states_at.push(delivery.received_at);
                }
            });
        let done = Arc::<AtomicBool>::default();
        let (until, to, clock) = (done.clone(), trace.clone(), session.clock().clone());
        let thread = std::thread::Builder::new()
            .name("naps".into())
            .spawn(move || {
                while !until.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    std::thread::sleep(NAP);
                    let late = before.elapsed().saturating_sub(NAP);
                    lock(&to).naps.push((clock.now(), late));
                }
            })?;
        Ok(Self {
            trace,
            done,
            thread: Some(thread),
            _subscribers: vec![applied, modes, states?],
        })
    }

    /// Forgets what came, but for the newest mode and state.
    pub fn clear(&self) {
        let mut trace = lock(&self.trace);
        let newest = Trace {
            modes: trace.modes.pop().into_iter().collect(),
            states: trace.states.pop().into_iter().collect(),
            states_at: trace.states_at.pop().into_iter().collect(),
            ..Trace::default()
        };
        *trace = newest;
    }

    /// Forgets everything: what was there is gone.
    pub fn forget(&self) {
        *lock(&self.trace) = Trace::default();
    }

    /// Everything that came.
    pub fn trace(&self) -> Trace {
        lock(&self.trace).clone()
    }

    /// The newest mode.
    pub fn mode(&self) -> Option<ModeReport> {
        lock(&self.trace).modes.last().cloned()
    }

    /// The newest measured state.
    pub fn state(&self) -> Option<JointState> {
        lock(&self.trace).states.last().copied()
    }

    /// The newest applied command.
    pub fn applied(&self) -> Option<Applied> {
        lock(&self.trace).applied.last().copied()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the observer's thread panicked");
        }
    }
}
