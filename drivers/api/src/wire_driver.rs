//! The arm host's side of a device process: a [`Driver`] whose arm is on the wire.
//!
//! `state` and `apply` run on the control thread: they take no lock, allocate nothing and never touch Zenoh. States come
//! through a ring that Zenoh's thread fills; commands leave through one that a publisher thread empties.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rtrb::{Consumer, Producer, RingBuffer};
use tactus_types::{ArmInfo, Command, Driver, DriverError, JointState};
use tactus_wire::{
    AliveWatch, Cell, DeviceCommand, Name, Nothing, Publisher, QueryError, Role, Session,
    SessionError, Subscriber, Topic,
};

/// States and commands that wait for the other thread; half a second at 500 Hz.
const RING: usize = 256;

/// How long one question for the device's info may take, and the pause between two.
const ASK: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// Why a device cannot be reached.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// It did not say what it is.
    #[error("device `{device}` did not answer within {timeout_millis} ms: {last}")]
    NoInfo {
        /// Its name.
        device: String,
        /// How long it was asked, milliseconds.
        timeout_millis: u128,
        /// What the last question met.
        last: QueryError,
    },
    /// The network cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The publisher thread cannot be started.
    #[error("cannot start thread `driver-publish`: {reason}")]
    Thread {
        /// What the system said.
        reason: String,
    },
}

/// What the network did to a [`WireDriver`]; readable from any thread.
#[derive(Debug, Default)]
pub struct DeviceLink {
    alive: AtomicBool,
    states_refused: AtomicU64,
    states_dropped: AtomicU64,
    commands_superseded: AtomicU64,
}

impl DeviceLink {
    /// Whether the device's liveliness token is there.
    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// States that were not what a state should be.
    pub fn states_refused(&self) -> u64 {
        self.states_refused.load(Ordering::Relaxed)
    }

    /// States that were dropped because nobody called [`Driver::state`].
    pub fn states_dropped(&self) -> u64 {
        self.states_dropped.load(Ordering::Relaxed)
    }

    /// Commands that a newer one overtook before they were published.
    pub fn commands_superseded(&self) -> u64 {
        self.commands_superseded.load(Ordering::Relaxed)
    }
}

/// An arm behind `device/<name>`.
pub struct WireDriver {
    info: ArmInfo,
    newest: Option<JointState>,
    states: Consumer<JointState>,
    commands: Producer<DeviceCommand>,
    link: Arc<DeviceLink>,
    publisher: Option<JoinHandle<()>>,
    done: Arc<AtomicBool>,
    _subscriber: Subscriber,
    _watch: AliveWatch,
}

impl WireDriver {
    /// Reaches device `name` of `cell`, asking for its info for up to `timeout`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(
        session: &Session,
        cell: &Cell,
        name: &Name,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let info = ask_info(session, cell, name, timeout)?;
        let link = Arc::new(DeviceLink::default());

        let (arriving, states) = RingBuffer::new(RING);
        let subscriber = session.subscribe(
            &cell.key(&Topic::DeviceState(name.clone())),
            into_ring(arriving, info.joints.len(), link.clone()),
        )?;

        let (watched, device) = (link.clone(), name.clone());
        let watch = session.watch_alive(cell, move |role, name, alive| {
            if role == Role::Device && *name == device {
                watched.alive.store(alive, Ordering::Relaxed);
            }
        })?;

        let (commands, leaving) = RingBuffer::new(RING);
        let publisher = session.publisher(&cell.key(&Topic::DeviceCommand(name.clone())))?;
        let done = Arc::new(AtomicBool::new(false));
        let (thread_done, thread_link) = (done.clone(), link.clone());
        let publisher = std::thread::Builder::new()
            .name("driver-publish".into())
            .spawn(move || publish(leaving, &publisher, &thread_done, &thread_link))
            .map_err(|e| ConnectError::Thread {
                reason: e.to_string(),
            })?;
        Ok(Self {
            info,
            newest: None,
            states,
            commands,
            link,
            publisher: Some(publisher),
            done,
            _subscriber: subscriber,
            _watch: watch,
        })
    }

    /// What the device said it is when it was reached.
    pub fn info(&self) -> &ArmInfo {
        &self.info
    }

    /// What the network does; to be kept by whoever watches over the arm.
    pub fn link(&self) -> Arc<DeviceLink> {
        self.link.clone()
    }
}

impl Driver for WireDriver {
    fn state(&mut self) -> Option<JointState> {
        while let Ok(state) = self.states.pop() {
            if self.newest.is_none_or(|newest| state.supersedes(&newest)) {
                self.newest = Some(state);
            }
        }
        self.newest
    }

    fn apply(&mut self, command: &Command) -> Result<(), DriverError> {
        self.commands
            .push(DeviceCommand::from(command))
            .map_err(|_| DriverError::QueueFull)?;
        if let Some(publisher) = &self.publisher {
            publisher.thread().unpark();
        }
        Ok(())
    }
}

impl Drop for WireDriver {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(publisher) = self.publisher.take() {
            publisher.thread().unpark();
            if publisher.join().is_err() {
                tracing::error!("the thread `driver-publish` panicked");
            }
        }
    }
}

/// What device `name` of `cell` says it is, asked for up to `timeout`.
///
/// # Errors
/// [`ConnectError`].
pub fn ask_info(
    session: &Session,
    cell: &Cell,
    name: &Name,
    timeout: Duration,
) -> Result<ArmInfo, ConnectError> {
    let key = cell.key(&Topic::DeviceInfo(name.clone()));
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        let ask = left.clamp(Duration::from_millis(1), ASK);
        let last = match session.query::<Nothing, ArmInfo>(&key, &Nothing, ask) {
            Ok(answer) => return Ok(answer.message),
            Err(e) => e,
        };
        if start.elapsed() >= timeout {
            return Err(ConnectError::NoInfo {
                device: name.to_string(),
                timeout_millis: timeout.as_millis(),
                last,
            });
        }
        std::thread::sleep(PAUSE);
    }
}

/// A subscription's callback that puts states of `joints` joints into `ring`.
fn into_ring(
    ring: Producer<JointState>,
    joints: usize,
    link: Arc<DeviceLink>,
) -> impl Fn(Result<tactus_wire::Delivery<JointState>, tactus_wire::WireError>) + Send + Sync {
    // Only Zenoh's receiving threads take this lock; the other end of the ring has none.
    let ring = Mutex::new(ring);
    move |delivery| match delivery {
        Ok(delivery) if delivery.message.q.len() == joints => {
            let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
            if ring.push(delivery.message).is_err() {
                link.states_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        refused => {
            if link.states_refused.fetch_add(1, Ordering::Relaxed) == 0 {
                match refused {
                    Ok(delivery) => tracing::warn!(
                        "joint state of {} joints, the device has {joints}; counted from now on",
                        delivery.message.q.len()
                    ),
                    Err(e) => tracing::warn!("joint state refused, counted from now on: {e}"),
                }
            }
        }
    }
}

/// Publishes the newest command whenever there is one, until `done`.
fn publish(
    mut ring: Consumer<DeviceCommand>,
    commands: &Publisher<DeviceCommand>,
    done: &AtomicBool,
    link: &DeviceLink,
) {
    let mut failed = false;
    loop {
        let mut newest = None;
        while let Ok(command) = ring.pop() {
            if newest.replace(command).is_some() {
                link.commands_superseded.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(command) = newest
            && let Err(e) = commands.put(&command)
            && !std::mem::replace(&mut failed, true)
        {
            tracing::error!("commands are not published: {e}");
        }
        if done.load(Ordering::Relaxed) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
