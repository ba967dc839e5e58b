//! The shell around one device: a thread that ticks at the device's rate, and the wire on both sides of it.
//!
//! ```text
//! Zenoh's thread --command--> ring --> ticking thread: gate, apply, step, state --> ring --> publisher thread --put-->
//! ```
//! The ticking thread takes no lock that anybody holds for long, allocates nothing and never touches Zenoh.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rtrb::{Consumer, Producer, RingBuffer};
use tactus_types::{ArmGeometry, ArmInfo, ArmInfoError, JointState, Time, Torque};
use tactus_wire::{
    Cell, DeviceCommand, Name, Nothing, Publisher, Role, Session, SessionError, Topic,
};

use crate::{CommandGate, Goal, Pacer, Refusals};

/// Lag beyond which a device skips periods instead of catching up.
pub const MAX_LAG: Duration = Duration::from_millis(50);

/// Commands and states that wait for the other thread; half a second at 500 Hz.
const RING: usize = 256;

/// One device: joints that go where they are told.
pub trait Device: Send {
    /// What the device is. Asked once, at the start.
    fn info(&self) -> ArmInfo;

    /// The measured state at `now`. The shell sets its `seq`.
    ///
    /// The epoch must be one that was never used before on this host, and must grow when the world changed so that no
    /// old command may count; [`first_epoch`] gives the first.
    ///
    /// # Errors
    /// [`DeviceError`] ends the shell: the device then holds, or falls, by its own means.
    fn state(&mut self, now: Time) -> Result<JointState, DeviceError>;

    /// Makes `goal` what the device goes to. Called every tick, also when nothing changed.
    ///
    /// # Errors
    /// [`DeviceError`], as for [`Device::state`].
    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError>;

    /// Switches the motors' torque. The shell calls it only where [`Device::info`] says that this can be done, and makes
    /// the measured pose the goal before torque goes on. The next [`Device::state`] says how it stands.
    ///
    /// # Errors
    /// [`DeviceError`], as for [`Device::state`].
    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        let _ = on;
        Ok(())
    }

    /// One tick has passed: a simulated device advances by a period; one that moves by itself has nothing to do.
    ///
    /// # Errors
    /// [`DeviceError`], as for [`Device::state`].
    fn step(&mut self, now: Time) -> Result<(), DeviceError>;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn info(&self) -> ArmInfo {
        (**self).info()
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        (**self).state(now)
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        (**self).apply(goal)
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        (**self).set_torque(on)
    }

    fn step(&mut self, now: Time) -> Result<(), DeviceError> {
        (**self).step(now)
    }
}

/// The first epoch of a device that starts at `now`: no device that ran on this host before has used it.
pub fn first_epoch(now: Time) -> u64 {
    now.as_nanos()
}

/// A device that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("device `{device}`: {reason}")]
pub struct DeviceError {
    /// Its model or name.
    pub device: String,
    /// What happened.
    pub reason: String,
}

/// Why a driver process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The network cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device describes itself in a way that no controller accepts.
    #[error(transparent)]
    Info(#[from] ArmInfoError),
    /// A camera failed.
    #[error(transparent)]
    Camera(#[from] tactus_types::CameraError),
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// Where a device is served.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// The cell.
    pub cell: Cell,
    /// Name of the device in it.
    pub name: Name,
    /// Where its links are, for a device that does not say it itself.
    pub geometry: Option<ArmGeometry>,
}

/// What happened while a device was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceReport {
    /// Ticks.
    pub ticks: u64,
    /// Ticks that were skipped because the process was more than [`MAX_LAG`] behind.
    pub skipped: u64,
    /// Times the device began to hold by itself after it had been commanded.
    pub holds: u64,
    /// Commands that counted.
    pub accepted: u64,
    /// Commands that did not.
    pub refusals: Refusals,
    /// States that were measured but not published because the network did not keep up.
    pub unpublished: u64,
}

/// Commands on their way to the ticking thread.
type Arriving = (DeviceCommand, Time);

/// Serves `device` on the calling thread until `stop` is set: the caller decides the thread's name and priority.
///
/// # Errors
/// [`ServeError`] at the start, or when the device fails.
pub fn serve_device(
    device: &mut dyn Device,
    options: &DeviceOptions,
    session: &Session,
    stop: &AtomicBool,
) -> Result<DeviceReport, ServeError> {
    let DeviceOptions {
        cell,
        name,
        geometry,
    } = options;
    let mut info = device.info();
    info.geometry = info.geometry.or_else(|| geometry.clone());
    info.check()?;
    let period = Duration::from_nanos((1e9 / info.state_rate_hz) as u64);
    let deadline = Duration::from_nanos((1e9 * info.command_deadline_secs) as u64);
    let gate =
        CommandGate::new(info.joints.len(), info.torque_switch, deadline).within(&info.limits);

    let (arriving, commands) = RingBuffer::new(RING);
    let unheard = Arc::new(Unheard::default());
    let command_key = cell.key(&Topic::DeviceCommand(name.clone()));
    let _commands = session.subscribe(&command_key, into_ring(arriving, unheard.clone()))?;

    let info_key = cell.key(&Topic::DeviceInfo(name.clone()));
    let answer = info.clone();
    let _infos = session.queryable::<Nothing, ArmInfo>(&info_key, move |_, responder| {
        responder.answer(&answer);
    })?;
    session.publisher(&info_key)?.put(&info)?;

    let states = session.publisher(&cell.key(&Topic::DeviceState(name.clone())))?;
    let (measured, publishing) = RingBuffer::new(RING);
    let _token = session.alive(cell, Role::Device, name)?;

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = std::thread::Builder::new()
            .name("device-publish".into())
            .spawn_scoped(scope, || publish(publishing, &states, &done))
            .map_err(|e| ServeError::Thread {
                thread: "device-publish",
                reason: e.to_string(),
            })?;
        let mut shell = Shell {
            device,
            gate,
            commands,
            measured,
            report: DeviceReport::default(),
            holding: true,
            torque_switch: info.torque_switch,
            last: None,
        };
        let clock = session.clock().as_ref();
        let mut pacer = Pacer::new(clock.now(), period, MAX_LAG);
        let result = loop {
            if stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            pacer.wait(clock);
            if let Err(e) = shell.tick(clock.now()) {
                break Err(e);
            }
            publisher.thread().unpark();
        };
        done.store(true, Ordering::Relaxed);
        publisher.thread().unpark();
        let Shell { gate, report, .. } = shell;
        result?;
        let mut refusals = gate.refusals();
        refusals.wire += unheard.wire.load(Ordering::Relaxed);
        refusals.overflow += unheard.overflow.load(Ordering::Relaxed);
        Ok(DeviceReport {
            skipped: pacer.skipped(),
            refusals,
            ..report
        })
    })
}

/// The part of the shell that the ticking thread owns.
struct Shell<'a> {
    device: &'a mut dyn Device,
    gate: CommandGate,
    commands: Consumer<Arriving>,
    measured: Producer<JointState>,
    report: DeviceReport,
    holding: bool,
    torque_switch: bool,
    /// The newest state.
    last: Option<JointState>,
}

impl Shell<'_> {
    /// Takes commands, moves the device by one period, reports where it is.
    fn tick(&mut self, now: Time) -> Result<(), DeviceError> {
        while let Ok((command, published_at)) = self.commands.pop() {
            match self.gate.offer(&command, published_at, now) {
                Ok(torque) => {
                    self.report.accepted += 1;
                    self.switch(torque)?;
                }
                Err(refused) => tracing::debug!("{refused}"),
            }
        }
        let holding = self.gate.holds(now);
        if holding != self.holding {
            self.holding = holding;
            if holding {
                self.report.holds += 1;
                tracing::warn!("no command within the deadline: the device holds by itself");
            } else {
                tracing::info!("the device follows commands");
            }
        }
        if let Some(goal) = self.gate.goal(now) {
            self.device.apply(&goal)?;
        }
        self.device.step(now)?;
        let state = JointState {
            seq: self.report.ticks,
            ..self.device.state(now)?
        };
        self.gate.measured(&state);
        self.last = Some(state);
        self.report.ticks += 1;
        if self.measured.push(state).is_err() {
            self.report.unpublished += 1;
        }
        Ok(())
    }

    /// Switches torque where that changes anything. Torque goes on with the measured pose as the goal.
    fn switch(&mut self, torque: Torque) -> Result<(), DeviceError> {
        let Some(last) = self.last.as_mut().filter(|_| self.torque_switch) else {
            return Ok(());
        };
        match (torque, last.torque) {
            (Torque::On, false) => {
                tracing::info!("torque on");
                self.device.apply(&Goal::stay(last))?;
                self.device.set_torque(true)?;
                last.torque = true;
            }
            (Torque::Off, true) => {
                tracing::warn!("torque off");
                self.device.set_torque(false)?;
                last.torque = false;
            }
            (Torque::On, true) | (Torque::Off, false) | (Torque::Keep, _) => {}
        }
        Ok(())
    }
}

/// What was lost before the gate could see it.
#[derive(Default)]
struct Unheard {
    wire: AtomicU64,
    overflow: AtomicU64,
}

/// A subscription's callback that puts commands into `ring`.
fn into_ring(
    ring: Producer<Arriving>,
    unheard: Arc<Unheard>,
) -> impl Fn(Result<tactus_wire::Delivery<DeviceCommand>, tactus_wire::WireError>) + Send + Sync {
    // Only Zenoh's receiving threads take this lock; the other end of the ring has none.
    let ring = Mutex::new(ring);
    move |delivery| match delivery {
        Ok(delivery) => {
            let arriving = (delivery.message, delivery.header.published_at);
            let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
            if ring.push(arriving).is_err() {
                unheard.overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
        Err(e) => {
            if unheard.wire.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("command refused, and counted from now on: {e}");
            }
        }
    }
}

/// Publishes what the ticking thread measured, until `done`.
fn publish(mut ring: Consumer<JointState>, states: &Publisher<JointState>, done: &AtomicBool) {
    let mut failed = false;
    loop {
        while let Ok(state) = ring.pop() {
            if let Err(e) = states.put(&state)
                && !std::mem::replace(&mut failed, true)
            {
                tracing::error!("joint states are not published: {e}");
            }
        }
        if done.load(Ordering::Relaxed) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
