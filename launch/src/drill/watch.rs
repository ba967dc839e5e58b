//! A cell in lock-step during a trial: ticks it, gives the orders that are part of a fault, and watches what follows.
//!
//! Judges from outside: by commands, modes and their reasons, against the ladder's table and what the catalogue expects.

use std::time::Duration;

use anyhow::Context;
use tactus_control::{Grant, LadderSpec, LeaseRefused, Order, TickOutput, rule};
use tactus_host::{Act, Invariants, Lockstep, Plant as _};
use tactus_types::{
    Fault, FaultKind, HoldReason, JointVec, Mode, Rank, Reference, Source, Time, Under,
};

use super::catalogue::Expect;
use super::human::Human;
use crate::lockstep::SimPlant;

/// How long the lease of whoever begins a motion stands without being renewed.
const LEASE: Duration = Duration::from_millis(200);
/// A command of an arm that holds may creep this far while it comes to rest, rad.
const STILL_RAD: f64 = 1e-6;
/// A command that is seeded again lies this near to where the arm is, rad.
const SEEDED_RAD: f64 = 0.05;
/// Most shortcomings of one run that are kept.
const MOST_SAID: usize = 4;

/// A cell in lock-step under watch.
pub(super) struct Running {
    pub(super) lockstep: Lockstep<SimPlant>,
    pub(super) invariants: Invariants,
    /// Orders that are faults, and when they come.
    pub(super) orders: Vec<(Time, Act)>,
    /// Largest distance of a command from the arm, rad.
    pub(super) lead: f64,
    /// What fell short.
    pub(super) short: Vec<String>,
    /// Laws that were broken; the first few of them are in `short`.
    pub(super) violations: u64,
    reseeds: u64,
    /// The lease under which motions begin, and the sequence of the last order; `None` when nobody renews one.
    lease: Option<(Grant, Rank)>,
    sequence: u64,
    human: Option<Human>,
    /// When an order that is a fault took effect.
    ordered: Option<Time>,
    /// Whose every command was, and of which generation.
    pub(super) heard: Vec<(Time, Source, u64)>,
}

impl Running {
    pub(super) fn new(lockstep: Lockstep<SimPlant>, invariants: Invariants) -> Self {
        Self {
            lockstep,
            invariants,
            orders: Vec::new(),
            lead: 0.0,
            short: Vec::new(),
            violations: 0,
            reseeds: 0,
            lease: None,
            sequence: 0,
            human: None,
            ordered: None,
            heard: Vec::new(),
        }
    }

    pub(super) fn mode(&self) -> &Mode {
        self.lockstep.cycle.mode()
    }

    /// Says that something fell short.
    pub(super) fn say(&mut self, what: String) {
        if self.short.len() < MOST_SAID {
            self.short.push(what);
        }
    }

    /// A tick, and how far its command is from the arm, rad.
    pub(super) fn tick(&mut self) -> anyhow::Result<(TickOutput, f64)> {
        self.give_orders();
        let now = self.lockstep.now();
        if let (Some(human), Some((grant, _))) = (&mut self.human, &self.lease) {
            self.lockstep.operator = human.sends(grant.lease, now);
        }
        let output = self.lockstep.tick()?;
        self.heard.extend(
            output
                .command
                .map(|c| (now, c.setpoint.source, c.generation.count)),
        );
        let now = self.lockstep.now();
        let state = self.lockstep.plant.state(now);
        let arm = state.q;
        let lead = output
            .command
            .map_or(0.0, |c| c.q.zip(&arm, |c, m| c - m).max_abs());
        self.lead = self.lead.max(lead);
        let reseeds = self.lockstep.cycle.counters.reseeds;
        if reseeds != self.reseeds {
            self.reseeds = reseeds;
            self.invariants.reseeded();
            // A command of another epoch is for a world that is gone: the device does not take it.
            let ahead = self.lockstep.tamper.as_ref().map_or(0, |t| t.epochs());
            let epoch = output.command.map(|c| c.epoch);
            if lead > SEEDED_RAD && epoch == Some(state.epoch + ahead) {
                self.say(format!(
                    "the command was seeded {lead:.3} rad from the arm at {now:?}"
                ));
            }
        }
        let limp = self.lockstep.tamper.as_ref();
        if limp.is_some_and(|tamper| tamper.is_limp(now)) {
            // The command of an arm without torque follows where it is.
            self.invariants.reseeded();
        } else if let Some(command) = &output.command
            && let Err(violation) = self.invariants.check(command, self.lockstep.cycle.mode())
        {
            self.violations += 1;
            self.say(violation.to_string());
        }
        Ok((output, lead))
    }

    pub(super) fn until(&mut self, at: Time) -> anyhow::Result<()> {
        while self.lockstep.now() < at {
            self.tick()?;
        }
        Ok(())
    }

    /// An order under a lease, as an operator's program gives it: the motion that it begins ends with the lease.
    ///
    /// # Errors
    /// When the order or the lease is refused.
    pub(super) fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        let grant = self.held(Rank::Policy)?;
        self.sequence += 1;
        let under = Under {
            lease: grant.lease,
            sequence: self.sequence,
            bound: true,
        };
        Ok(self.lockstep.order_under(order, Some(under))?)
    }

    /// The lease in at least `rank`: the one that is held, or a new one.
    fn held(&mut self, rank: Rank) -> anyhow::Result<Grant> {
        let now = self.lockstep.now();
        if let Some((grant, _)) = self.lease.filter(|(_, held)| *held >= rank) {
            return Ok(grant);
        }
        let cycle = &mut self.lockstep.cycle;
        let grant = cycle.acquire(&"drill".into(), rank, LEASE, now)?;
        self.lease = Some((grant, rank));
        Ok(grant)
    }

    /// A human takes the lease, takes a leader up that is `apart` rad from the arm on the first joint, and takes over.
    ///
    /// # Errors
    /// When the order or the lease is refused.
    pub(super) fn take_over(&mut self, reference: Reference, apart: f64) -> anyhow::Result<()> {
        self.held(Rank::Teleop)?;
        let now = self.lockstep.now();
        let state = self.lockstep.plant.state(now);
        let q = JointVec::from_fn(state.q.len(), |i| {
            state.q[i] + if i == 0 { apart } else { 0.0 }
        });
        match &mut self.human {
            Some(human) => human.moved(q, now),
            None => self.human = Some(Human::new(q, state.opening, now)),
        }
        // The arm host has to hear of the human first.
        for _ in 0..11 {
            self.tick()?;
        }
        self.order(&Order::TakeOver { reference })
    }

    /// Renews the lease, and carries out what is due of the faults that are orders.
    fn give_orders(&mut self) {
        let now = self.lockstep.now();
        if let Some((grant, _)) = &mut self.lease {
            match self.lockstep.cycle.renew(grant.lease, now) {
                Ok(renewed) => *grant = renewed,
                Err(_) => self.lease = None,
            }
        }
        let due: Vec<Act> = self
            .orders
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, act)| act)
            .collect();
        for act in due {
            match act {
                Act::OrderHold => {
                    self.ordered = Some(now);
                    // A hold is never refused.
                    let _ = self.lockstep.order_under(&Order::Hold, None);
                }
                Act::LeaseLost => {
                    let expires = self.lease.take().map_or(now, |(grant, _)| grant.expires);
                    // A human who dies is silent at once.
                    self.ordered = Some(self.human.as_ref().map_or(expires, |_| now));
                }
                Act::LeaseTakeOver => {
                    self.ordered = Some(now);
                    let other = "leader".into();
                    let taken = self
                        .lockstep
                        .cycle
                        .acquire(&other, Rank::Teleop, LEASE, now);
                    match taken {
                        Ok(_) => self.lease = None,
                        // By an earlier fault of the same kind, or by our own human.
                        Err(LeaseRefused::Held {
                            rank: Rank::Teleop, ..
                        }) => {}
                        Err(e) => self.say(format!("the lease could not be taken over: {e}")),
                    }
                }
                _ => {}
            }
        }
    }

    /// When the first message was touched, or an order took effect.
    fn acted(&self) -> Option<Time> {
        let touched = self.lockstep.tamper.as_ref().and_then(|t| t.acted());
        [touched, self.ordered].into_iter().flatten().min()
    }

    /// Watches a motion until the faults are over, and judges the first hold.
    pub(super) fn watch_motion(
        &mut self,
        expects: &[Expect],
        ladder: &LadderSpec,
        end: Time,
    ) -> anyhow::Result<Watched> {
        let must = expects.iter().all(|e| matches!(e, Expect::Hold(_)));
        let mut watched = Watched::default();
        let mut since = Since::default();
        while self.lockstep.now() < end {
            let now = self.lockstep.now();
            let (output, lead) = self.tick()?;
            let Some(command) = &output.command else {
                continue;
            };
            since.acted = self.acted();
            let moving = command.setpoint.source != Source::Hold;
            if moving && since.acted.is_some() {
                since.last_motion = Some(now);
                let leads = lead > ladder.track_rad;
                since.leading = leads.then(|| since.leading.unwrap_or(now));
                let storm = command.clamped_rad > ladder.storm_rad;
                since.storm = storm.then(|| since.storm.unwrap_or(now));
            }
            if watched.reason.is_none()
                && !moving
                && let Mode::Hold(HoldReason(fault)) = self.mode()
            {
                let fault = fault.clone();
                let rule = rule(fault.kind());
                let from = since.of(&fault).context("a hold before the fault")?;
                let (after, bound) = (now.since(from), rule.hold_within(ladder));
                watched = Watched {
                    reason: Some(fault.kind()),
                    hold_after: Some(after),
                    bound: Some(bound),
                };
                // A fault that comes and goes, or is of the user's own strength, has no instant to count from.
                if after > bound && must {
                    self.say(format!("hold ({fault}) after {after:?}, bound {bound:?}"));
                }
            }
        }
        let mut allowed = expects.iter().flat_map(|expect| match *expect {
            Expect::Hold(kinds) | Expect::Either(kinds) => kinds,
            Expect::Through => &[],
        });
        match watched.reason {
            Some(reason) if !allowed.any(|kind| *kind == reason) => {
                self.say(format!("a hold for another reason: {}", reason.name()));
            }
            None if must => self.say("no hold".into()),
            Some(_) | None => {}
        }
        Ok(watched)
    }

    /// Watches an arm that must not move, in mode `before`, which must not change: but an arm that lost its torque has to
    /// be enabled again, and one that is `told` to hold must do so until somebody enables it.
    pub(super) fn watch_rest(
        &mut self,
        before: &Mode,
        told: bool,
        end: Time,
    ) -> anyhow::Result<()> {
        let told = told && *before == Mode::Ready;
        let mut rest: Option<(u64, JointVec)> = None;
        while self.lockstep.now() < end {
            let (output, _) = self.tick()?;
            let limp = self.lockstep.tamper.as_ref();
            let limp = limp.is_some_and(|t| t.was_limp(self.lockstep.now()));
            let disabled = limp && *before == Mode::Ready && *self.mode() == Mode::Boot;
            // A hold may get another reason: that of an operator, say.
            let (from, to) = (before.word(), self.mode().word());
            let holds = *self.mode() == Mode::Hold(HoldReason(Fault::Held));
            if from != to && !disabled && !(told && holds) {
                self.say(format!("mode `{from}` became `{to}`"));
                return Ok(());
            }
            let Some(command) = output.command.filter(|_| !limp) else {
                continue;
            };
            match &rest {
                Some((reseeds, q)) if *reseeds == self.reseeds => {
                    let moved = command.q.zip(q, |a, b| a - b).max_abs();
                    if moved > STILL_RAD {
                        self.say(format!("the arm moved {moved:.6} rad"));
                        return Ok(());
                    }
                }
                _ => rest = Some((self.reseeds, command.q)),
            }
        }
        if told && self.mode().word() != "hold" {
            self.say("told to hold it stayed ready".into());
        }
        Ok(())
    }
}

/// The first hold of a motion.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) reason: Option<FaultKind>,
    pub(super) hold_after: Option<Duration>,
    pub(super) bound: Option<Duration>,
}

/// Instants that a bound may count from.
#[derive(Default)]
struct Since {
    acted: Option<Time>,
    last_motion: Option<Time>,
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
            FaultKind::Exhausted | FaultKind::Goto => self.last_motion,
            _ => self.acted,
        }
    }
}
