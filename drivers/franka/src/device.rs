//! The arm in service, over whichever link keeps it ([`Kept`]): FCI's own ([`crate::link`]), or a node's ([`crate::node`]).
//!
//! Decides what is told of the arm: its newest state, with the time it came at, so that whoever looks sees it age when the
//! connection is cut; and whether it follows, which is its torque (see the crate's documentation). Whatever ends following (a
//! reflex, the stop, a lost connection) is logged by name, makes it false, and stays until an operator enables: then
//! [`Sampled::refusal`] must have nothing against it, and a new motion begins. A new connection is a new epoch, in which no old command
//! counts.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tactus_drivers_api::device::first_epoch;
use tactus_drivers_api::lock::OwnedName;
use tactus_drivers_api::{Device, DeviceError, Goal};
use tactus_types::{ArmInfo, Clock, JointState, JointVec, Time};

use crate::bench;
use crate::error::FrankaError;
use crate::link::{Counts, Link};
use crate::model::{self, JOINTS};
use crate::modes::{Ended, Sample, refusal, sentence};
use crate::operator::Counter;
use crate::session::{self, Host};
use crate::stream::Wanted;

/// A motion that does not run after this long does not any more. The arm host waits no longer for torque.
const START_WITHIN: Duration = Duration::from_millis(950);
/// A refusal to enable is said again, and one that came to nothing is tried again, after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// Whoever enables says so in every command; after so long without it nobody waits for it any more.
const ASKED: Duration = Duration::from_millis(150);
/// Recoveries that may be asked for before the first is answered.
const WAITING: usize = 4;

/// What an arm is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrankaSpec {
    /// States and goals per second; one of [`model::RATES_HZ`].
    pub rate_hz: u32,
}

/// How a motion of ours stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Idle,
    /// It was asked for.
    Starting { since: Time },
    /// It runs.
    Following,
}

/// A state of the arm.
pub trait Sampled: Copy + Send {
    /// Measured joint positions, rad.
    fn q(&self) -> [f64; JOINTS];

    /// Measured joint velocities, rad/s.
    fn dq(&self) -> [f64; JOINTS];

    /// Why a motion may not begin in this state, in a sentence.
    fn refusal(&self) -> Option<String>;
}

impl Sampled for Sample {
    fn q(&self) -> [f64; JOINTS] {
        self.q
    }

    fn dq(&self) -> [f64; JOINTS] {
        self.dq
    }

    fn refusal(&self) -> Option<String> {
        refusal(self)
    }
}

/// What a link and the device see of each other.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<S> {
    /// The newest state, and when it came.
    pub newest: Option<(S, Time)>,
    /// Connections so far.
    pub connection: u64,
    /// Whether there is one.
    pub up: bool,
    /// The robot at the address is another one.
    pub other: bool,
    /// The session that is followed; 0 for none.
    pub following: u64,
    /// The last session that has ended.
    pub ended: u64,
}

impl<S> Default for Exchange<S> {
    /// Of the first connection, before anything came.
    fn default() -> Self {
        Self {
            newest: None,
            connection: 1,
            up: true,
            other: false,
            following: 0,
            ended: 0,
        }
    }
}

/// A link to the arm that a thread of its own keeps.
pub trait Kept: Send {
    /// What it hears of the arm.
    type Sample: Sampled;

    /// What there is.
    fn look(&self) -> Exchange<Self::Sample>;

    /// Why the last session ended, once.
    fn why(&self) -> Option<Ended>;

    /// `session` is to be followed to `wanted`; 0: none is.
    fn want(&self, session: u64, wanted: Wanted);
}

/// An arm in service.
pub struct Arm<L: Kept> {
    name: String,
    info: ArmInfo,
    clock: Arc<dyn Clock>,
    link: L,
    _counter: Option<Counter>,
    _own: OwnedName,
    phase: Phase,
    /// The newest that was ever asked for.
    session: u64,
    epoch: u64,
    seen: Exchange<L::Sample>,
    last: (L::Sample, Time),
    wanted: Wanted,
    asked_at: Time,
    refused_at: Option<Time>,
    failed_at: Option<Time>,
}

/// A Franka Research 3 over FCI.
pub type FrankaArm = Arm<Link>;

impl FrankaArm {
    /// Puts the FR3 at `host` into service. Moves nothing, starts nothing.
    ///
    /// # Errors
    /// [`FrankaError`].
    pub fn start(
        host: &Host,
        spec: FrankaSpec,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FrankaError> {
        let own = bench::own(host)?;
        let robot = session::open(host)?;
        let state = robot.read_once().map_err(|e| FrankaError::Fci {
            host: host.name().to_owned(),
            reason: sentence(&e.to_string()),
        })?;
        let sample = Sample::from(&state);
        if let Some(reason) = refusal(&sample) {
            tracing::warn!("the arm cannot be enabled as it is: {reason}");
        }
        let now = clock.now();
        let (wishes, wished) = sync_channel(WAITING);
        let counter = Counter::open(&host.key(), wishes)?;
        let link = Link::start(host.clone(), robot, wished, clock.clone())?;
        let name = format!("{} at {}", model::MODEL, host.name());
        let info = model::info(spec.rate_hz, 1.0);
        let mut arm = Self::kept(name, info, link, (sample, now), own, clock);
        arm._counter = Some(counter);
        Ok(arm)
    }

    /// What went over the connection so far.
    pub fn counts(&self) -> Counts {
        self.link.counts()
    }
}

impl<L: Kept> Arm<L> {
    pub(crate) fn link(&self) -> &L {
        &self.link
    }

    /// An arm that `link` keeps, seen as `first`.
    pub(crate) fn kept(
        name: String,
        info: ArmInfo,
        link: L,
        first: (L::Sample, Time),
        own: OwnedName,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = clock.now();
        Self {
            name,
            info,
            clock,
            link,
            _counter: None,
            _own: own,
            phase: Phase::Idle,
            session: 0,
            epoch: first_epoch(now),
            seen: Exchange::default(),
            last: first,
            wanted: Wanted {
                q: first.0.q(),
                dq: [0.0; JOINTS],
                came: now,
                said: now,
            },
            asked_at: now,
            refused_at: None,
            failed_at: None,
        }
    }

    /// Takes what the link has.
    fn look(&mut self, now: Time) {
        let before = std::mem::replace(&mut self.seen, self.link.look());
        let seen = self.seen;
        if seen.connection != before.connection {
            self.epoch += 1;
        }
        if let Some(newest) = seen.newest {
            self.last = newest;
        }
        match self.phase {
            Phase::Idle => {}
            _ if seen.ended == self.session => {
                let why = self.link.why();
                self.stop_following(why, now);
            }
            // The connection broke before the link could say so of the session.
            _ if !seen.up || seen.connection != before.connection => {
                self.stop_following(self.link.why(), now);
            }
            Phase::Starting { .. } if seen.following == self.session => {
                self.phase = Phase::Following;
                tracing::info!("the arm follows");
            }
            Phase::Starting { since } if now.since(since) > START_WITHIN => {
                let words = format!("no motion within {} ms", START_WITHIN.as_millis());
                self.stop_following(Some(Ended::Refused(words)), now);
            }
            Phase::Starting { .. } if now.since(self.asked_at) > ASKED => {
                let words = "nobody asks for it any more".to_owned();
                self.stop_following(Some(Ended::Refused(words)), now);
            }
            Phase::Starting { .. } | Phase::Following => {}
        }
    }

    fn stop_following(&mut self, why: Option<Ended>, now: Time) {
        let followed = self.phase == Phase::Following;
        self.phase = Phase::Idle;
        let why = why.map_or_else(
            || "the connection is lost".to_owned(),
            |why| why.to_string(),
        );
        if followed {
            tracing::error!("the arm does not follow any more: {why}");
        } else {
            // Whoever asked is told that it failed: nothing may start behind their back.
            self.failed_at = Some(now);
            tracing::error!("the arm is not enabled: {why}");
        }
    }

    /// Asks for a new motion, where nothing is against it.
    fn enable(&mut self) {
        let now = self.clock.now();
        self.asked_at = now;
        let lately = |at: Option<Time>| at.is_some_and(|at| now.since(at) < AGAIN);
        // The last motion may still be braking: it ends before another begins.
        let ending = self.seen.following != 0;
        if self.phase != Phase::Idle || ending || lately(self.failed_at) {
            return;
        }
        let reason = match self.seen.up {
            true => self.last.0.refusal(),
            false => Some("the connection to the controller is lost".to_owned()),
        };
        if let Some(reason) = reason {
            if !lately(self.refused_at) {
                tracing::error!("the arm is not enabled: {reason}");
                self.refused_at = Some(now);
            }
            return;
        }
        self.session += 1;
        self.phase = Phase::Starting { since: now };
        self.wanted = Wanted {
            q: self.last.0.q(),
            dq: [0.0; JOINTS],
            came: now,
            said: now,
        };
    }
}

impl<L: Kept> Device for Arm<L> {
    fn info(&self) -> ArmInfo {
        self.info.clone()
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        self.look(now);
        if self.seen.other {
            return Err(DeviceError {
                device: self.name.clone(),
                reason: "another robot answers at this address now".into(),
            });
        }
        let (sample, came) = &self.last;
        let (q, dq) = (sample.q(), sample.dq());
        Ok(JointState {
            captured_at: *came,
            seq: 0,
            epoch: self.epoch,
            q: JointVec::from_fn(JOINTS, |i| q[i]),
            dq: JointVec::from_fn(JOINTS, |i| dq[i]),
            opening: 0.0,
            torque: self.phase == Phase::Following,
        })
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        let (mut q, mut dq) = (self.wanted.q, [0.0; JOINTS]);
        for (to, from) in [(&mut q, &goal.q), (&mut dq, &goal.dq)] {
            to.iter_mut()
                .zip(from.iter())
                .for_each(|(to, from)| *to = *from);
        }
        // A goal that is said again is the same goal: how old it is counts from when it was first said, and that it is
        // said without its velocity (a hold) makes it none to go back to.
        if q != self.wanted.q {
            self.wanted = Wanted {
                q,
                dq,
                came: self.clock.now(),
                said: self.wanted.said,
            };
        }
        Ok(())
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        if on {
            self.enable();
        } else {
            self.phase = Phase::Idle;
        }
        Ok(())
    }

    fn step(&mut self, now: Time) -> Result<(), DeviceError> {
        self.wanted.said = now;
        let session = match self.phase {
            Phase::Idle => 0,
            Phase::Starting { .. } | Phase::Following => self.session,
        };
        self.link.want(session, self.wanted);
        Ok(())
    }
}
