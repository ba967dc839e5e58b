//! A human in a running cell: a thread that reads a leader, the lock-step drill's own, fifty times a second and sends its
//! setpoints. Judges nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tactus_types::{JointState, LeaseId};
use tactus_wire::{Key, Session};

use super::bridge;
use crate::drill::human::Human;

/// How often the thread looks whether the leader is due.
const LOOK: Duration = Duration::from_millis(2);

/// A human whose setpoints are sent until this is dropped.
pub struct LiveHuman {
    silent: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LiveHuman {
    /// Takes the leader up where the arm is, and sends on `key` under `lease`.
    ///
    /// # Errors
    /// When the key cannot be declared or the thread cannot be started.
    pub fn start(
        session: &Session,
        key: &Key,
        lease: LeaseId,
        state: &JointState,
    ) -> anyhow::Result<Self> {
        let publisher = session.publisher(key)?;
        let (silent, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (session, quiet, over) = (session.clone(), silent.clone(), done.clone());
        let mut human = Human::new(state.q, state.opening, bridge::now(&session));
        let send = move || {
            while !over.load(Ordering::Relaxed) {
                let setpoint = human.sends(lease, bridge::now(&session));
                if let Some(setpoint) = setpoint.filter(|_| !quiet.load(Ordering::Relaxed))
                    && let Err(e) = publisher.put(&setpoint)
                {
                    tracing::warn!("{e}");
                }
                std::thread::sleep(LOOK);
            }
        };
        let thread = std::thread::Builder::new()
            .name("human".into())
            .spawn(send)?;
        Ok(Self {
            silent,
            done,
            thread: Some(thread),
        })
    }

    /// Whether the human sends nothing.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for LiveHuman {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `human` panicked");
        }
    }
}
