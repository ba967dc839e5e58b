//! What the arm host says and what was sent to it, shared between the threads of `tactus teleop`. Decides nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tactus_teleop::{ArmView, Wanted};
use tactus_types::{ArmInfo, JointState, JointVec, LeaseId, Reference, Source};
use tactus_wire::{
    AppliedBatch, Delivery, ModeReport, ModeWord, Session, SessionError, Subscriber, Topic,
};

use crate::cell::Cell;

/// Ages of commands that are remembered.
const AGES: usize = 400;

/// Everything that changes.
#[derive(Debug, Default)]
pub struct Now {
    /// The newest report of the arm host, and when it came.
    pub mode: Option<(ModeReport, Instant)>,
    /// The newest measured state.
    pub state: Option<JointState>,
    /// The newest command: joints and gripper opening; and who asked for it.
    pub command: Option<(JointVec, f64, Source)>,
    /// From reading the device to handing the command to the arm, of the last commands of a human.
    pub ages: VecDeque<Duration>,
    /// What was wanted last.
    pub wanted: Option<Wanted>,
    /// How long reading and publishing took at most since it was last shown.
    pub put: Duration,
    /// What the operator should know, newest last.
    pub notes: VecDeque<String>,
    /// Notes so far.
    pub noted: u64,
}

/// What the threads share.
#[derive(Debug)]
pub struct Seen {
    /// Joint names, in the arm's order.
    pub joints: Vec<String>,
    /// What the device is.
    pub source: String,
    /// How leader and arm come together.
    pub reference: Reference,
    /// Leader and arm are together within this, rad.
    pub tolerance_rad: f64,
    /// Our lease, or 0.
    lease: AtomicU64,
    /// Setpoints sent under our lease so far.
    pub sent: AtomicU64,
    /// The clutch is closed.
    pub closed: AtomicBool,
    /// The commander has ended.
    pub ended: AtomicBool,
    /// The feed is to end.
    pub done: AtomicBool,
    now: Mutex<Now>,
}

impl Seen {
    /// Nothing yet, of the arm of `info`.
    pub fn new(info: &ArmInfo, source: &str, reference: Reference, cell: &Cell) -> Self {
        Self {
            joints: info.joints.clone(),
            source: source.to_owned(),
            reference,
            tolerance_rad: cell.teleop.tolerance_rad,
            lease: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            closed: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            done: AtomicBool::new(false),
            now: Mutex::new(Now::default()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the operator something.
    pub fn note(&self, text: impl Into<String>) {
        let mut now = self.lock();
        now.notes.push_back(text.into());
        now.noted += 1;
        if now.notes.len() > 8 {
            now.notes.pop_front();
        }
    }

    /// Our lease.
    pub fn lease(&self) -> Option<LeaseId> {
        let lease = self.lease.load(Ordering::Relaxed);
        (lease != 0).then_some(LeaseId(lease))
    }

    /// Setpoints go out under `lease` from now on, or not at all.
    pub fn send_under(&self, lease: Option<LeaseId>) {
        self.lease
            .store(lease.map_or(0, |l| l.0), Ordering::Relaxed);
    }

    /// The arm host's mode.
    pub fn mode(&self) -> Option<ModeWord> {
        self.lock().mode.as_ref().map(|(report, _)| report.mode)
    }

    /// Whether a human commands, and that is us.
    pub fn in_command(&self) -> bool {
        self.lease().is_some() && matches!(self.mode(), Some(ModeWord::Align | ModeWord::Teleop))
    }

    /// The arm, as the pilot needs it; `None` until it has said where it is.
    pub fn arm(&self) -> Option<ArmView> {
        let ours = self.lease().is_some();
        let now = self.lock();
        let state = now.state?;
        let n = self.joints.len();
        let (commanded, opening, _) = now.command.filter(|(q, ..)| q.len() == n).unwrap_or((
            state.q,
            state.opening,
            Source::Hold,
        ));
        let teleop = now
            .mode
            .as_ref()
            .is_some_and(|(report, _)| report.mode == ModeWord::Teleop);
        (state.q.len() == n).then_some(ArmView {
            commanded,
            measured: state.q,
            opening,
            follows: ours && teleop,
        })
    }

    /// Subscribes to what the arm host of `cell` says.
    ///
    /// # Errors
    /// When the network cannot be used.
    pub fn follow(
        self: &Arc<Self>,
        cell: &Cell,
        session: &Session,
    ) -> Result<[Subscriber; 3], SessionError> {
        let key = |topic: fn(tactus_wire::Name) -> Topic| cell.wire.key(&topic(cell.arm.clone()));
        let to = self.clone();
        let modes = session.subscribe(
            &key(Topic::ArmMode),
            move |m: Result<Delivery<ModeReport>, _>| {
                if let Ok(delivery) = m {
                    to.lock().mode = Some((delivery.message, Instant::now()));
                }
            },
        )?;
        let to = self.clone();
        let states = session.subscribe(
            &key(Topic::ArmState),
            move |m: Result<Delivery<JointState>, _>| {
                if let Ok(delivery) = m {
                    to.lock().state = Some(delivery.message);
                }
            },
        )?;
        let to = self.clone();
        let applied = session.subscribe(
            &key(Topic::ArmApplied),
            move |m: Result<Delivery<AppliedBatch>, _>| {
                if let Ok(delivery) = m {
                    to.apply(&delivery.message);
                }
            },
        )?;
        Ok([modes, states, applied])
    }

    fn apply(&self, batch: &AppliedBatch) {
        let mut now = self.lock();
        for applied in &batch.applied {
            let command = &applied.command;
            let source = command.setpoint.source;
            now.command = Some((command.q, command.opening, source));
            if source == Source::Teleop
                && let Some(age) = applied.age()
            {
                now.ages.push_back(age);
                if now.ages.len() > AGES {
                    now.ages.pop_front();
                }
            }
        }
    }
}

/// Median and largest of `ages`.
pub fn median_and_most(ages: &VecDeque<Duration>) -> Option<(Duration, Duration)> {
    let mut sorted: Vec<Duration> = ages.iter().copied().collect();
    sorted.sort_unstable();
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}
