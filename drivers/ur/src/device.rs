//! The arm in service.
//!
//! Decides what is told of the arm: its newest state, with the time it came at, so that whoever looks sees it age when the
//! connection is cut; and whether it follows, which is its torque (see the crate's documentation). Whatever ends following (a
//! protective stop, an emergency stop, the pendant, a lost connection, silence) is logged by name, makes it false, and stays
//! until an operator enables: then [`Follow::refusal`] must have nothing against it, and a new program is sent. A new
//! connection is a new epoch, in which no old command counts. A program of ours that is left paused is ended, so that nobody
//! resumes it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use tactus_drivers_api::device::first_epoch;
use tactus_drivers_api::lock::{self, OwnedName};
use tactus_drivers_api::{Device, DeviceError, Goal};
use tactus_types::{ArmInfo, Clock, JointState, JointVec, Time};

use crate::bench::Bench;
use crate::connection::{Connection, Host};
use crate::dashboard::Dashboard;
use crate::error::UrError;
use crate::follow::{Follow, Scaling};
use crate::link::{Exchange, Link, Peer};
use crate::model::{self, JOINTS, Model};
use crate::modes::Runtime;
use crate::program::{self, Servo};
use crate::recipe::Sample;
use crate::rtde::ControllerVersion;

/// The interface that takes programs.
pub const SECONDARY_PORT: u16 = 30002;
/// The first state has to come within this time.
const FIRST_STATE: Duration = Duration::from_secs(2);
/// How long the connection that a program was sent on is kept, and read: closed at once, it may take the program with it.
const SENT: Duration = Duration::from_millis(600);
/// A refusal to enable is said again, and one that came to nothing is tried again, after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// Whoever enables says so in every command; after so long without it nobody waits for it any more.
const ASKED: Duration = Duration::from_millis(150);

/// What an arm is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UrSpec {
    /// Which arm.
    pub model: Model,
    /// How it follows.
    pub servo: Servo,
}

/// What went over the connection, and how punctually.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// States that came.
    pub states: u64,
    /// Commands that went.
    pub commands: u64,
    /// Connections after the first.
    pub reconnections: u64,
    /// Periods of the present program, and of those before.
    pub periods: u64,
    /// Those of them that found no new command.
    pub late: u64,
}

/// An arm in service.
pub struct UrArm {
    name: String,
    host: Host,
    version: ControllerVersion,
    spec: UrSpec,
    info: ArmInfo,
    clock: Arc<dyn Clock>,
    link: Link,
    _own: OwnedName,
    follow: Follow,
    scaling: Scaling,
    epoch: u64,
    session: i32,
    /// Sessions up to this one are not ours.
    before: i32,
    /// The session whose program is known to be over.
    over: i32,
    seen: Exchange,
    last: (Sample, Time),
    goal: [f64; JOINTS],
    errand: Option<Receiver<Result<(), UrError>>>,
    asked_at: Time,
    refused_at: Option<Time>,
    failed_at: Option<Time>,
    /// When a paused program was last told to end.
    stopped_at: Option<Time>,
    ended: Counts,
}

impl UrArm {
    /// Puts the arm at `host` into service, where it is the one that `spec` says. Moves nothing, starts nothing.
    ///
    /// # Errors
    /// [`UrError`].
    pub fn start(host: &Host, spec: UrSpec, clock: Arc<dyn Clock>) -> Result<Self, UrError> {
        let bench = Bench::open(host)?;
        bench.check(spec.model)?;
        let Bench {
            version, identity, ..
        } = bench;
        let robot = match &identity.serial {
            Some(serial) => serial.clone(),
            None => host.ip().to_string(),
        };
        let own = lock::own_name(&format!("ur-{robot}")).map_err(|holder| UrError::Busy {
            host: host.name().to_owned(),
            serial: robot.clone(),
            holder,
        })?;
        let mut connection = Connection::open(host, spec.servo.rate_hz, true)?;
        let sample = connection.newest(FIRST_STATE)?;
        let now = clock.now();
        // Another number than any program before us had, whoever sent it.
        let before = (now.as_nanos() >> 20) as i32 & 0x3FFF_FFFF;
        if identity.remote == Some(false) {
            tracing::warn!("the robot is in local control: it can be watched, not enabled");
        }
        if let Some(reason) = Follow::refusal(&sample) {
            tracing::warn!("the arm cannot be enabled as it is: {reason}");
        }
        let peer = Peer {
            host: host.clone(),
            rate_hz: spec.servo.rate_hz,
            version,
            identity,
        };
        Ok(Self {
            name: format!("{} {robot} at {}", spec.model.name(), host.name()),
            host: host.clone(),
            version,
            spec,
            info: model::info(spec.model, spec.servo.rate_hz),
            link: Link::start(peer, connection, clock.clone())?,
            clock,
            _own: own,
            follow: Follow::default(),
            scaling: Scaling::default(),
            epoch: first_epoch(now),
            session: before,
            before,
            over: before,
            seen: Exchange {
                connection: 1,
                up: true,
                ..Exchange::default()
            },
            last: (sample, now),
            goal: sample.q,
            errand: None,
            asked_at: now,
            refused_at: None,
            failed_at: None,
            stopped_at: None,
            ended: Counts::default(),
        })
    }

    /// What went over the connection so far.
    pub fn counts(&self) -> Counts {
        let Exchange {
            states,
            commands,
            connection,
            ..
        } = self.seen;
        let (periods, late) = match self.follow.follows() {
            true => account(&self.last.0),
            false => (0, 0),
        };
        Counts {
            states,
            commands,
            reconnections: connection - 1,
            periods: self.ended.periods + periods,
            late: self.ended.late + late,
        }
    }

    fn error(&self, reason: String) -> DeviceError {
        DeviceError {
            device: self.name.clone(),
            reason,
        }
    }

    /// Takes what the link has.
    fn look(&mut self, now: Time) {
        let before = std::mem::replace(&mut self.seen, self.link.look());
        let Exchange {
            newest,
            connection,
            up,
            ..
        } = self.seen;
        if !up || connection != before.connection {
            self.count_program();
            if let Some(ended) = self.follow.lost() {
                tracing::error!("the arm does not follow any more: {ended}");
            }
        }
        if connection != before.connection {
            self.epoch += 1;
        }
        let Some((sample, came)) = newest.filter(|(_, came)| *came > self.last.1) else {
            return;
        };
        let followed = self.follow.follows();
        let before = self.last.0;
        self.last = (sample, came);
        match self.follow.judge(&sample, now) {
            Some(ended) => {
                if followed {
                    let (periods, late) = account(&before);
                    self.ended.periods += periods;
                    self.ended.late += late;
                    tracing::error!("the arm does not follow any more: {ended}");
                } else {
                    // Whoever asked has given up waiting: nothing may start behind their back.
                    self.failed_at = Some(now);
                    tracing::error!("the arm is not enabled: {ended}");
                }
            }
            None if self.follow.follows() && !followed => {
                tracing::info!("the arm follows");
            }
            None => {}
        }
        self.end_paused(&sample, now);
        if self.follow.follows() {
            let pairs = sample.q.iter().zip(&self.goal);
            let behind = pairs.map(|(q, goal)| (q - goal).abs()).fold(0.0, f64::max);
            if let Some(warning) = self.scaling.judge(sample.speed_scaling, behind) {
                tracing::warn!("{warning}");
            }
        }
    }

    fn count_program(&mut self) {
        if self.follow.follows() {
            let (periods, late) = account(&self.last.0);
            self.ended.periods += periods;
            self.ended.late += late;
        }
    }

    /// A program that is paused could be resumed at the pendant, with old commands: ours is ended instead, whenever it is
    /// found so. The controller pauses it some periods after the stop that following ended with.
    fn end_paused(&mut self, sample: &Sample, now: Time) {
        let session = sample.account.session;
        if sample.runtime == Runtime::STOPPED {
            // From here on the register may stand beside a program of somebody else's.
            self.over = session;
        }
        let ours = session > self.before && session <= self.session && session != self.over;
        let told = self.stopped_at.is_some_and(|at| now.since(at) < AGAIN);
        let busy = self.follow.session() != 0 || self.errand.is_some();
        if !sample.runtime.resumable() || !ours || told || busy {
            return;
        }
        self.stopped_at = Some(now);
        let host = self.host.clone();
        self.run("ur-stop", move || {
            Dashboard::open(&host)?.tell("stop", "Stopped").map(drop)
        });
    }

    /// Runs an errand that may take its time beside the ticks. None may be under way.
    fn run(
        &mut self,
        thread: &'static str,
        errand: impl FnOnce() -> Result<(), UrError> + Send + 'static,
    ) {
        let (done, result) = sync_channel(1);
        let run = move || {
            // Nobody listens any more when the arm is put out of service.
            let _ = done.send(errand());
        };
        match std::thread::Builder::new().name(thread.into()).spawn(run) {
            Ok(_) => self.errand = Some(result),
            Err(e) => tracing::error!("cannot start thread `{thread}`: {e}"),
        }
    }

    /// Hears of the errand that is under way.
    fn hear(&mut self) {
        let Some(result) = &self.errand else {
            return;
        };
        match result.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(Ok(())) | Err(TryRecvError::Disconnected) => {}
            Ok(Err(e)) => {
                tracing::error!("{e}");
                if !self.follow.follows() {
                    self.follow.stop();
                    self.failed_at = Some(self.clock.now());
                }
            }
        }
        self.errand = None;
    }

    /// Sends a new program, where nothing is against it.
    fn enable(&mut self) {
        let now = self.clock.now();
        self.asked_at = now;
        if self.follow.session() != 0 || self.errand.is_some() {
            return;
        }
        let lately = |at: Option<Time>| at.is_some_and(|at| now.since(at) < AGAIN);
        if lately(self.failed_at) {
            return;
        }
        let refusal = match self.seen.up {
            true => Follow::refusal(&self.last.0),
            false => Some("the connection to the controller is lost".to_owned()),
        };
        if let Some(reason) = refusal {
            if !lately(self.refused_at) {
                tracing::error!("the arm is not enabled: {reason}");
                self.refused_at = Some(now);
            }
            return;
        }
        self.session += 1;
        self.stopped_at = None;
        self.goal = self.last.0.q;
        let text = program::text(self.session, self.spec.model, &self.spec.servo);
        let (host, version) = (self.host.clone(), self.version);
        self.follow.start(self.session, now);
        self.scaling = Scaling::default();
        self.run("ur-program", move || send_program(&host, &version, &text));
    }
}

/// Periods of a program, and those that found no new command.
fn account(sample: &Sample) -> (u64, u64) {
    let count = |n: i32| u64::try_from(n).unwrap_or(0);
    (count(sample.account.periods), count(sample.account.late))
}

/// Sends a program to the controller, which replaces the one that runs. None does: that was looked at.
fn send_program(host: &Host, version: &ControllerVersion, text: &str) -> Result<(), UrError> {
    if Dashboard::open(host)?.identity(version)?.remote == Some(false) {
        return Err(UrError::Dashboard {
            host: host.name().to_owned(),
            reason: crate::dashboard::DashboardError::Refused {
                command: "enable".into(),
                answer: "the robot is in local control: switch it to remote control at the pendant"
                    .into(),
            },
        });
    }
    let mut stream = host.connect(SECONDARY_PORT, "secondary interface")?;
    let link = |reason| UrError::Link {
        host: host.name().to_owned(),
        reason,
    };
    stream.write_all(text.as_bytes()).map_err(link)?;
    let patience = stream.set_read_timeout(Some(Duration::from_millis(100)));
    patience.map_err(link)?;
    let until = Instant::now() + SENT;
    let mut ignored = [0; 4096];
    while Instant::now() < until && !matches!(stream.read(&mut ignored), Ok(0)) {}
    Ok(())
}

impl Device for UrArm {
    fn info(&self) -> ArmInfo {
        self.info.clone()
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        self.hear();
        self.look(now);
        let starting = self.follow.session() != 0 && !self.follow.follows();
        if starting && now.since(self.asked_at) > ASKED {
            self.follow.stop();
            tracing::error!("the arm is not enabled: nobody asks for it any more");
        }
        if self.seen.other {
            let reason = "another robot answers at this address now".to_owned();
            return Err(self.error(reason));
        }
        let (sample, came) = &self.last;
        Ok(JointState {
            captured_at: *came,
            seq: 0,
            epoch: self.epoch,
            q: JointVec::from_fn(JOINTS, |i| sample.q[i]),
            dq: JointVec::from_fn(JOINTS, |i| sample.qd[i]),
            opening: 0.0,
            torque: self.follow.follows(),
        })
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        for (to, q) in self.goal.iter_mut().zip(goal.q.iter()) {
            *to = *q;
        }
        Ok(())
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        if on {
            self.enable();
        } else {
            self.count_program();
            self.follow.stop();
        }
        Ok(())
    }

    fn step(&mut self, now: Time) -> Result<(), DeviceError> {
        self.link.want(self.follow.session(), self.goal, now);
        Ok(())
    }
}
