//! One fault, once, in lock-step: brings a cell into a mode, lets the fault act, and judges what followed.
//!
//! Judges from outside: by the commands, the modes and their reasons, against the catalogue and the ladder's table.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tactus_control::{LadderSpec, Order, Resume, TickOutput, rule};
use tactus_host::{Act, Injection, Invariants, Lockstep, LockstepSpec, Plant, Tamper};
use tactus_types::{Fault, FaultKind, HoldReason, JointVec, Mode, Policy, Source, Time};

use super::catalogue::{Expect, Wish};
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
}

impl In {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Boot, Self::Ready, Self::Policy, Self::Hold];

    /// Word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Ready => "ready",
            Self::Policy => "policy",
            Self::Hold => "hold",
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
/// A command of an arm that holds may creep this far while it comes to rest, rad.
const STILL_RAD: f64 = 1e-6;
/// A command that is seeded again lies this near to where the arm is, rad.
const SEEDED_RAD: f64 = 0.05;

/// A cell in lock-step that is brought into a mode.
struct Running<'a> {
    lockstep: Lockstep<SimPlant>,
    invariants: Invariants,
    reseeds: u64,
    /// Largest distance of a command from the arm, rad.
    lead: f64,
    short: &'a mut Vec<String>,
}

impl Running<'_> {
    /// A tick, and how far its command is from the arm, rad.
    fn tick(&mut self) -> anyhow::Result<(TickOutput, f64)> {
        let output = self.lockstep.tick()?;
        let arm = self.lockstep.plant.state(self.lockstep.now()).q;
        let lead = output
            .command
            .map_or(0.0, |c| c.q.zip(&arm, |c, m| c - m).max_abs());
        self.lead = self.lead.max(lead);
        let reseeds = self.lockstep.cycle.counters.reseeds;
        if reseeds != self.reseeds {
            self.reseeds = reseeds;
            self.invariants.reseeded();
            if lead > SEEDED_RAD && self.short.len() < 4 {
                let said = format!("the command was seeded {lead:.3} rad from the arm");
                self.short.push(said);
            }
        }
        if let Some(command) = &output.command
            && let Err(violation) = self.invariants.check(command, self.lockstep.cycle.mode())
            && self.short.len() < 4
        {
            self.short.push(violation.to_string());
        }
        Ok((output, lead))
    }

    fn until(&mut self, at: Time) -> anyhow::Result<()> {
        while self.lockstep.now() < at {
            self.tick()?;
        }
        Ok(())
    }
}

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
            In::Boot | In::Ready | In::Policy => Resume::Auto,
        };
        let ladder = spec.arm.ladder;
        let info = tactus_sim::arm_info();
        let period_secs = spec.arm.period_secs;
        let mut short = Vec::new();
        let mut running = Running {
            lockstep: Lockstep::new(spec, plant, policy),
            invariants: Invariants::new(info.clone(), period_secs),
            reseeds: 0,
            lead: 0.0,
            short: &mut short,
        };
        let start = running.lockstep.now();
        let jitter = JITTER.mul_f64(
            (self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64,
        );
        let (injections, begin, end) = self.injections(start, jitter, &ladder);
        running.lockstep.tamper = Some(Tamper::new(injections, info, self.seed));
        running.until(start + Duration::from_millis(20))?;
        let order = |running: &mut Running<'_>, order: Order| running.lockstep.order(&order);
        if self.mode != In::Boot {
            order(&mut running, Order::Enable)?;
            running.tick()?;
        }
        if matches!(self.mode, In::Policy | In::Hold) {
            order(&mut running, self.start())?;
        }
        running.until(begin)?;
        if self.mode == In::Hold {
            let held = matches!(running.lockstep.cycle.mode(), Mode::Hold(_));
            anyhow::ensure!(held, "the cell did not come into a hold before the fault");
        }
        let before = running.lockstep.cycle.mode().clone();
        let watched = match self.mode {
            In::Policy => self.watch_policy(&mut running, &ladder, end)?,
            In::Boot | In::Ready | In::Hold => {
                watch_rest(&mut running, &before, end)?;
                Watched::default()
            }
        };
        let recovered = self.recovers(&mut running, end)?;
        if !recovered {
            running.short.push("the cell did not work again".into());
        }
        let (largest_step, peak_jerk) = (
            running.invariants.largest_step,
            running.invariants.peak_jerk,
        );
        let largest_lead = running.lead;
        let (plant, _) = running.lockstep.into_parts();
        let outcome = Outcome {
            reason: watched.reason,
            hold_after: watched.hold_after,
            bound: watched.bound,
            largest_step,
            largest_lead,
            peak_jerk,
            recovered,
            short,
        };
        Ok((plant, outcome))
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

    /// Watches an episode until the faults are over, and judges the first hold.
    fn watch_policy(
        &self,
        running: &mut Running<'_>,
        ladder: &LadderSpec,
        end: Time,
    ) -> anyhow::Result<Watched> {
        let must = self
            .wishes
            .iter()
            .all(|w| matches!(w.entry.expect, Expect::Hold(_)));
        let mut watched = Watched::default();
        let mut since = Since::default();
        while running.lockstep.now() < end {
            let now = running.lockstep.now();
            let (output, lead) = running.tick()?;
            let (Some(command), Some(tamper)) = (&output.command, &running.lockstep.tamper) else {
                continue;
            };
            since.acted = tamper.acted();
            let policy = command.setpoint.source == Source::Policy;
            if policy && since.acted.is_some() {
                since.last_policy = Some(now);
                let leads = lead > ladder.track_rad;
                since.leading = leads.then(|| since.leading.unwrap_or(now));
                let storm = command.clamped_rad > ladder.storm_rad;
                since.storm = storm.then(|| since.storm.unwrap_or(now));
            }
            if watched.reason.is_none()
                && !policy
                && let Mode::Hold(HoldReason(fault)) = running.lockstep.cycle.mode()
            {
                let rule = rule(fault.kind());
                let from = since.of(fault).context("a hold before the fault")?;
                let (after, bound) = (now.since(from), rule.hold_within(ladder));
                watched = Watched {
                    reason: Some(fault.kind()),
                    hold_after: Some(after),
                    bound: Some(bound),
                };
                // A fault that comes and goes, or is of the user's own strength, has no instant to count from.
                if after > bound && must {
                    let said = format!("hold ({fault}) after {after:?}, bound {bound:?}");
                    running.short.push(said);
                }
            }
        }
        let mut allowed = self.wishes.iter().flat_map(|w| match w.entry.expect {
            Expect::Hold(kinds) | Expect::Either(kinds) => kinds,
            Expect::Through => &[],
        });
        match watched.reason {
            Some(reason) if !allowed.any(|kind| *kind == reason) => {
                let said = format!("a hold for another reason: {}", reason.name());
                running.short.push(said);
            }
            None if must => running.short.push("no hold".into()),
            Some(_) | None => {}
        }
        Ok(watched)
    }

    /// Whether an episode is under way again soon after the faults are over.
    fn recovers(&self, running: &mut Running<'_>, end: Time) -> anyhow::Result<bool> {
        // What was delayed is still on its way.
        running.until(end + Duration::from_millis(300))?;
        let until = running.lockstep.now() + RECOVER;
        let enable = match self.mode {
            In::Boot | In::Hold => running.lockstep.order(&Order::Enable).is_ok(),
            In::Ready | In::Policy => true,
        };
        running.tick()?;
        let start = match self.mode {
            In::Boot | In::Ready => running.lockstep.order(&self.start()).is_ok(),
            In::Policy | In::Hold => true,
        };
        while running.lockstep.now() < until {
            let (output, _) = running.tick()?;
            let source = output.command.map(|c| c.setpoint.source);
            if source == Some(Source::Policy) && *running.lockstep.cycle.mode() == Mode::Policy {
                return Ok(enable && start);
            }
        }
        Ok(false)
    }
}

/// The first hold of an episode.
#[derive(Default)]
struct Watched {
    reason: Option<FaultKind>,
    hold_after: Option<Duration>,
    bound: Option<Duration>,
}

/// Instants that a bound may count from.
#[derive(Default)]
struct Since {
    acted: Option<Time>,
    last_policy: Option<Time>,
    leading: Option<Time>,
    storm: Option<Time>,
}

impl Since {
    /// The instant that the bound of `fault` counts from: that of the first message touched, except where the fault is
    /// what the arm or the plan does next.
    fn of(&self, fault: &Fault) -> Option<Time> {
        match fault.kind() {
            FaultKind::Tracking => self.leading,
            FaultKind::LimitStorm => self.storm,
            FaultKind::Exhausted => self.last_policy,
            _ => self.acted,
        }
    }
}

/// Watches an arm that must not move, in a mode that must not change.
fn watch_rest(running: &mut Running<'_>, before: &Mode, end: Time) -> anyhow::Result<()> {
    let mut rest: Option<(u64, JointVec)> = None;
    while running.lockstep.now() < end {
        let (output, _) = running.tick()?;
        let mode = running.lockstep.cycle.mode();
        if mode != before {
            let said = format!("mode `{}` became `{}`", before.word(), mode.word());
            running.short.push(said);
            return Ok(());
        }
        let Some(command) = output.command else {
            continue;
        };
        match &rest {
            Some((reseeds, q)) if *reseeds == running.reseeds => {
                let moved = command.q.zip(q, |a, b| a - b).max_abs();
                if moved > STILL_RAD {
                    running.short.push(format!("the arm moved {moved:.6} rad"));
                    return Ok(());
                }
            }
            _ => rest = Some((running.reseeds, command.q)),
        }
    }
    Ok(())
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
