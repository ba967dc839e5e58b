//! The thread that keeps an RTDE session: it always reads, answers every state with the command of the moment, and when the
//! connection breaks makes a new one, for as long as it takes.
//!
//! A command leaves as soon as a state has come, so the controller, which takes what came since its last period, finds one
//! new command in each. It leaves only while whoever commands is alive: one that has not spoken for [`STALE_PERIODS`] is not
//! spoken for, and the program on the controller notices. Decides nothing about motion.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tactus_types::{Clock, Time};

use crate::connection::{Connection, Host};
use crate::dashboard::{Dashboard, Identity};
use crate::error::UrError;
use crate::model::JOINTS;
use crate::recipe::{Sample, Wanted};
use crate::rtde::ControllerVersion;

/// Without a state for this long the connection counts as broken.
pub const STATE_WITHIN: Duration = Duration::from_millis(250);
/// Whoever commands and is silent for so many periods is not spoken for. The two clocks beat, so one is not enough.
pub const STALE_PERIODS: u32 = 3;
/// Pause between two tries to connect, slept in small pieces.
const PAUSE: Duration = Duration::from_millis(500);
const PIECE: Duration = Duration::from_millis(10);

/// What both threads see. Copied under a lock that nobody holds for longer than that takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exchange {
    /// The newest state, and when it came.
    pub newest: Option<(Sample, Time)>,
    /// States that came.
    pub states: u64,
    /// Commands that went.
    pub commands: u64,
    /// Connections so far.
    pub connection: u64,
    /// Whether there is one.
    pub up: bool,
    /// The robot at the address is another one.
    pub other: bool,
    /// Which program may follow; 0 for none.
    pub(crate) session: i32,
    /// Joint positions it is to have, rad, and when they were said.
    pub(crate) wanted: Option<([f64; JOINTS], Time)>,
}

/// What a link is to, and what the robot there must be.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where.
    pub host: Host,
    /// States per second.
    pub rate_hz: u32,
    /// Software of its controller when it was first reached.
    pub version: ControllerVersion,
    /// What it was when it was first reached.
    pub identity: Identity,
}

/// A session that is kept.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Mutex<Exchange>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Keeps `connection` and its successors to `peer`.
    ///
    /// # Errors
    /// [`UrError::Thread`].
    pub fn start(
        peer: Peer,
        connection: Connection,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UrError> {
        let shared = Arc::new(Mutex::new(Exchange {
            connection: 1,
            up: true,
            ..Exchange::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            peer,
            shared: shared.clone(),
            stop: stop.clone(),
            clock,
            number: 0,
        };
        let thread = std::thread::Builder::new()
            .name("ur-link".into())
            .spawn(move || keeper.keep(connection))
            .map_err(|reason| UrError::Thread {
                thread: "ur-link",
                reason,
            })?;
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// What there is.
    pub fn look(&self) -> Exchange {
        *lock(&self.shared)
    }

    /// At `now`, the program of `session` is to go to `q`, rad; 0 for none, which ends the one that runs.
    pub fn want(&self, session: i32, q: [f64; JOINTS], now: Time) {
        let mut shared = lock(&self.shared);
        shared.session = session;
        shared.wanted = Some((q, now));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `ur-link` panicked");
        }
    }
}

fn lock(shared: &Mutex<Exchange>) -> MutexGuard<'_, Exchange> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    peer: Peer,
    shared: Arc<Mutex<Exchange>>,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    number: i32,
}

impl Keeper {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn keep(mut self, first: Connection) {
        let mut connection = Some(first);
        let mut said = String::new();
        while !self.stopped() {
            match connection.take() {
                Some(kept) => {
                    let Err(e) = self.exchange(kept) else {
                        return;
                    };
                    lock(&self.shared).up = false;
                    tracing::error!("{e}; connecting again until it works");
                }
                None => match self.connect() {
                    Ok(made) => {
                        let mut shared = lock(&self.shared);
                        // What was wanted before is void: nobody knows what happened in between.
                        (shared.session, shared.wanted, shared.newest) = (0, None, None);
                        shared.connection += 1;
                        shared.up = true;
                        drop(shared);
                        tracing::info!(host = self.peer.host.name(), "connected again");
                        connection = Some(made);
                        continue;
                    }
                    Err(e) => {
                        let text = e.to_string();
                        if text != said {
                            tracing::warn!("not connected yet: {text}");
                            said = text;
                        }
                    }
                },
            }
            self.pause();
        }
    }

    fn pause(&self) {
        let mut slept = Duration::ZERO;
        while slept < PAUSE && !self.stopped() {
            std::thread::sleep(PIECE);
            slept += PIECE;
        }
    }

    /// A new session, with the same robot.
    fn connect(&self) -> Result<Connection, UrError> {
        let Peer {
            host,
            rate_hz,
            version,
            identity,
        } = &self.peer;
        let found = Dashboard::open(host)?.identity(version)?;
        if (&found.model, &found.serial) != (&identity.model, &identity.serial) {
            lock(&self.shared).other = true;
        }
        Connection::open(host, *rate_hz, true)
    }

    /// Answers states with commands until the connection breaks, or this thread is to stop.
    fn exchange(&mut self, mut connection: Connection) -> Result<(), UrError> {
        let stale = STALE_PERIODS * Duration::from_secs(1) / self.peer.rate_hz.max(1);
        while !self.stopped() {
            let sample = connection.newest(STATE_WITHIN)?;
            let now = self.clock.now();
            let mut shared = lock(&self.shared);
            shared.newest = Some((sample, now));
            shared.states += 1;
            let session = shared.session;
            let wanted = shared.wanted.filter(|(_, said)| now.since(*said) <= stale);
            shared.commands += u64::from(wanted.is_some());
            drop(shared);
            if let Some((q, _)) = wanted {
                self.number = self.number.wrapping_add(1);
                connection.send(&Wanted {
                    session,
                    number: self.number,
                    q,
                })?;
            }
        }
        // The program need not wait for us in vain.
        let last = lock(&self.shared).newest;
        if let Some((sample, _)) = last {
            let end = Wanted {
                session: 0,
                number: self.number.wrapping_add(1),
                q: sample.q,
            };
            connection.send(&end)?;
        }
        Ok(())
    }
}
