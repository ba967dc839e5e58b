//! One fault, once, in lock-step: brings a cell into a mode, lets the fault act, and judges what followed.
//!
//! What it sees is judged in `watch`.

use std::sync::Arc;
use std::time::Duration;

use tactus_control::{LadderSpec, Order, Pose, Resume};
use tactus_host::{Act, Injection, Invariants, Lockstep, LockstepSpec, Plant, Tamper};
use tactus_types::{ArmInfo, FaultKind, JointVec, Mode, Policy, Reference, Source, Time};

use super::catalogue::{Entry, Expect, Wish};
use super::watch::{Running, Watched};
use crate::lockstep::SimPlant;

/// Modes that a fault can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum In {
    /// Before an operator has enabled the arm.
    Boot,
    /// Enabled, before an episode.
    Ready,
    /// In the middle of an episode.
    Policy,
    /// In a hold.
    Hold,
    /// In the middle of a motion to a pose.
    Goto,
    /// While a human commands.
    Teleop,
}

impl In {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Boot,
        Self::Ready,
        Self::Policy,
        Self::Hold,
        Self::Goto,
        Self::Teleop,
    ];

    /// Word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Ready => "ready",
            Self::Policy => "policy",
            Self::Hold => "hold",
            Self::Goto => "goto",
            Self::Teleop => "teleop",
        }
    }
}

/// What followed from a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Reason of the first hold, if there was one.
    pub reason: Option<FaultKind>,
    /// From the instant that the bound counts from to the first command of the hold.
    pub hold_after: Option<Duration>,
    /// The bound.
    pub bound: Option<Duration>,
    /// Largest change of a joint's command in one tick, rad.
    pub largest_step: f64,
    /// Largest distance of a command from the arm, rad.
    pub largest_lead: f64,
    /// Largest jerk of the commands, rad/s^3.
    pub peak_jerk: f64,
    /// Whether the cell worked again once the fault was over.
    pub recovered: bool,
    /// What fell short; empty when nothing did.
    pub short: Vec<String>,
}

/// A fault begins this long after the episode, and up to [`JITTER`] later.
const BEGIN: Duration = Duration::from_millis(700);
const JITTER: Duration = Duration::from_millis(400);
/// How long a fault acts, unless it says so itself.
const LASTS: Duration = Duration::from_secs(1);
/// A cell must work again within this time after a fault.
const RECOVER: Duration = Duration::from_secs(5);
/// How far a motion to a pose goes, rad, and at which share of the limits: about four seconds.
pub const GOTO_RAD: f64 = 0.8;
pub const GOTO_SPEED: f64 = 0.1;

/// The setup of a trial that does not change.
pub struct Trial<'a> {
    /// Lock-step cell; `resume` is set here.
    pub spec: &'a LockstepSpec,
    /// What is told to the policy.
    pub instruction: &'a str,
    /// Seed of the world, of the policy's noise and of the faults.
    pub seed: u64,
    /// The mode that the faults meet.
    pub mode: In,
    /// The faults, all at once.
    pub wishes: &'a [Wish],
}

impl Trial<'_> {
    /// Runs it; gives the plant back for the next one.
    ///
    /// # Errors
    /// When the simulated cell itself fails.
    pub fn run(
        &self,
        mut plant: SimPlant,
        policy: Box<dyn Policy>,
    ) -> anyhow::Result<(SimPlant, Outcome)> {
        plant.reset(self.seed);
        let mut spec = self.spec.clone();
        spec.arm.resume = match self.mode {
            In::Hold => Resume::Operator,
            In::Boot | In::Ready | In::Policy | In::Goto | In::Teleop => Resume::Auto,
        };
        let ladder = spec.arm.ladder;
        let info = tactus_sim::arm_info();
        let laws = Invariants::new(info.clone(), spec.arm.period_secs);
        let mut running = Running::new(Lockstep::new(spec, plant, policy), laws);
        let start = running.lockstep.now();
        let jitter = JITTER.mul_f64(
            (self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64,
        );
        let (injections, begin, end) = self.injections(start, jitter, &ladder);
        running.orders = injections.iter().map(|i| (i.from, i.act)).collect();
        running.lockstep.tamper = Some(Tamper::new(injections, info.clone(), self.seed));
        running.until(start + Duration::from_millis(20))?;
        if self.mode != In::Boot {
            running.order(&Order::Enable)?;
            running.tick()?;
        }
        match self.mode {
            In::Boot | In::Ready => {}
            In::Policy | In::Hold => running.order(&self.start())?,
            In::Goto => {
                let pose = self.pose(&running, &info);
                let speed = GOTO_SPEED;
                running.order(&Order::Goto { pose, speed })?;
            }
            In::Teleop => {
                running.tick()?;
                running.take_over(Reference::Clutch, 0.0)?;
            }
        }
        running.until(begin)?;
        let before = running.mode().clone();
        anyhow::ensure!(
            before.word() == self.mode.word(),
            "the cell did not come into mode `{}` before the fault, but into `{}`",
            self.mode.word(),
            before.word()
        );
        let expects = |of: fn(&Entry) -> Expect| -> Vec<Expect> {
            self.wishes.iter().map(|w| of(&w.entry)).collect()
        };
        let watched = match self.mode {
            In::Policy => running.watch_motion(&expects(|e| e.expect), &ladder, end)?,
            In::Goto => running.watch_motion(&expects(Entry::in_goto), &ladder, end)?,
            In::Teleop => running.watch_motion(&expects(Entry::in_teleop), &ladder, end)?,
            In::Boot | In::Ready | In::Hold => {
                let told = |wish: &Wish| wish.entry.act == Act::OrderHold;
                running.watch_rest(&before, self.wishes.iter().any(told), end)?;
                Watched::default()
            }
        };
        let recovered = self.recovers(&mut running, end)?;
        if !recovered {
            running.say("the cell did not work again".into());
        }
        let outcome = Outcome {
            reason: watched.reason,
            hold_after: watched.hold_after,
            bound: watched.bound,
            largest_step: running.invariants.largest_step,
            largest_lead: running.lead,
            peak_jerk: running.invariants.peak_jerk,
            recovered,
            short: running.short,
        };
        let (plant, _) = running.lockstep.into_parts();
        Ok((plant, outcome))
    }

    /// A pose that takes a few seconds to get to: a turn of the first joint towards the middle of its range.
    fn pose(&self, running: &Running, info: &ArmInfo) -> Pose {
        let q = running.lockstep.plant.state(running.lockstep.now()).q;
        let to = |i: usize| match q[i] {
            yaw if i == 0 && yaw > 0.0 => yaw - GOTO_RAD,
            yaw if i == 0 => yaw + GOTO_RAD,
            other => other,
        };
        Pose {
            q: info.clamp(&JointVec::from_fn(q.len(), to)),
            opening: None,
        }
    }

    fn start(&self) -> Order {
        Order::Start {
            instruction: self.instruction.into(),
            seed: self.seed,
        }
    }

    /// The injections, when the first begins and when the last is over. To hold, the engine dies before.
    fn injections(
        &self,
        start: Time,
        jitter: Duration,
        ladder: &LadderSpec,
    ) -> (Vec<Injection>, Time, Time) {
        let mut injections = Vec::new();
        let mut later = Duration::ZERO;
        if self.mode == In::Hold {
            let from = start + Duration::from_millis(500);
            let until = from + ladder.tail + Duration::from_millis(50);
            later = Duration::from_millis(700);
            injections.push(Injection {
                act: Act::EngineKill,
                camera: None,
                from,
                until,
            });
        }
        let (mut begin, mut end) = (None::<Time>, start);
        for wish in self.wishes {
            let from = start + later + wish.at.unwrap_or(BEGIN + jitter);
            let until = from + wish.lasts.unwrap_or(LASTS);
            begin = Some(begin.map_or(from, |b| b.min(from)));
            end = end.max(until);
            injections.push(Injection {
                act: wish.entry.act,
                camera: wish.camera.clone(),
                from,
                until,
            });
        }
        (injections, begin.unwrap_or(start), end)
    }

    /// Whether an episode is under way again soon after the faults are over.
    fn recovers(&self, running: &mut Running, end: Time) -> anyhow::Result<bool> {
        // What was delayed is still on its way.
        running.until(end + Duration::from_millis(300))?;
        let until = running.lockstep.now() + RECOVER;
        // Some holds end by nobody but an operator, whatever the cell says.
        let asks = |w: &Wish| {
            matches!(
                w.entry.act,
                Act::OrderHold | Act::LeaseLost | Act::LeaseTakeOver | Act::DeviceLimp
            )
        };
        let alone = self.mode == In::Policy && !self.wishes.iter().any(asks);
        let mut obeyed = true;
        if *running.mode() == Mode::Boot || matches!(running.mode(), Mode::Hold(_)) && !alone {
            obeyed &= running.order(&Order::Enable).is_ok();
        }
        running.tick()?;
        if matches!(running.mode(), Mode::Align | Mode::Teleop) {
            obeyed &= running.order(&Order::HandBack).is_ok();
            running.tick()?;
        }
        while *running.mode() == Mode::Goto && running.lockstep.now() < until {
            running.tick()?;
        }
        if *running.mode() == Mode::Ready {
            obeyed &= running.order(&self.start()).is_ok();
        }
        while running.lockstep.now() < until {
            let (output, _) = running.tick()?;
            let source = output.command.map(|c| c.setpoint.source);
            if source == Some(Source::Policy) && *running.mode() == Mode::Policy {
                return Ok(obeyed);
            }
        }
        Ok(false)
    }
}

/// The cameras of a policy and its chunks, one episode per seed.
pub struct Playback {
    /// Cameras.
    pub cameras: Vec<Arc<str>>,
    /// Bundle.
    pub bundle_id: Arc<str>,
    /// What was made in the world of each seed, from the first on.
    pub episodes: Vec<Arc<super::recorded::Chunks>>,
}
