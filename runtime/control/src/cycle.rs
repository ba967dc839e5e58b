//! One control tick: orders and messages in, one command and perhaps one request out.
//!
//! Decides nothing of its own; it puts requester, scheduler, supervisor and limiter in their order, keeps the hold's
//! setpoint and counts. Real time, lock-step and replay call the same [`ArmCycle::tick`]. Its `verbs` are what an operator
//! may ask for besides episodes, and under which lease.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{
    Action, ActionChunk, ArmInfo, ChunkFlaw, Command, Generation, InferenceRequest, JointState,
    JointVec, Mode, OperatorSetpoint, Refusal, Setpoint, Source, Time, TimedAction,
};

use crate::assemble::CLOCK_TOLERANCE;
use crate::authority::Authority;
use crate::enable::EnableSpec;
use crate::ladder::LadderSpec;
use crate::limit::guard::Guard;
use crate::limit::{LimitSpec, Limiter};
use crate::plan::State;
use crate::request::{RequestSpec, Requester};
use crate::schedule::{Discard, Due, ScheduleSpec, Scheduler, Seam};
use crate::supervise::{Decision, Health, Resume, Supervisor};
use crate::teleop::{Ear, Teleop, TeleopSpec};

mod order;
mod partner;
mod takeover;
mod verbs;

pub use order::{Order, OrderRefused};
use partner::Company;
pub use partner::{Partner, PartnerMode};
use verbs::{Bond, Going, Switch};

/// Everything an arm host is configured with.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmSpec {
    /// How chunks are asked for.
    pub request: RequestSpec,
    /// What becomes of a chunk that arrives while another is executed.
    pub schedule: ScheduleSpec,
    /// The ladder's times.
    pub ladder: LadderSpec,
    /// Who may end a hold.
    pub resume: Resume,
    /// Limits that do not come from the arm.
    pub limit: LimitSpec,
    /// Limits in space.
    pub guard: Option<Guard>,
    /// How enabling is verified.
    pub enable: EnableSpec,
    /// How a human commands.
    pub teleop: TeleopSpec,
    /// Where an episode has to start; `None` permits any pose.
    pub start: Option<StartPose>,
    /// The only bundle whose chunks count; `None` permits any, the same throughout an episode.
    pub bundle: Option<Arc<str>>,
    /// Time between ticks, seconds.
    pub period_secs: f64,
    /// Random number of this arm host's boot.
    pub boot: u64,
}

/// The pose that an episode starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartPose {
    /// Joint positions, rad.
    pub q: JointVec,
    /// How far each measured joint may be from there, rad.
    pub tolerance: f64,
}

/// What reached the arm host since the last tick.
#[derive(Debug, Clone, Copy, Default)]
pub struct TickInput<'a> {
    /// Newest joint state, if any has ever come.
    pub state: Option<&'a JointState>,
    /// A chunk.
    pub chunk: Option<&'a ActionChunk>,
    /// A refusal.
    pub refusal: Option<&'a Refusal>,
    /// A human's setpoint.
    pub operator: Option<&'a OperatorSetpoint>,
    /// The engine's liveliness token is there.
    pub engine_alive: bool,
    /// Time since anything was heard from the engine's host.
    pub engine_silent: Duration,
    /// A camera whose liveliness token is gone.
    pub dead_camera: Option<&'a Arc<str>>,
    /// The driver could not take the last command.
    pub driver_error: Option<&'a Arc<str>>,
    /// The other arm, where one policy moves two.
    pub partner: Option<Partner<'a>>,
}

/// What a tick produced.
#[derive(Debug, Clone, PartialEq)]
pub struct TickOutput {
    /// The command; `None` until the arm has reported a state.
    pub command: Option<Command>,
    /// A request to send to the engine.
    pub request: Option<InferenceRequest>,
    /// What became of the chunk of this tick.
    pub accepted: Option<Result<(), Discard>>,
    /// How the chunk of this tick met the plan before it, if it entered and there was one.
    pub seam: Option<Seam>,
    /// The mode differs from the last tick's.
    pub mode_changed: bool,
    /// How an order that switches torque ended, once.
    pub switched: Option<Result<(), OrderRefused>>,
}

/// What was counted since the arm host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Ticks.
    pub ticks: u64,
    /// Ticks of an episode, after its first chunk, without an action that was due.
    pub starved_ticks: u64,
    /// Times a fault led to a hold.
    pub holds: u64,
    /// Ticks whose setpoint a limit changed, while a policy commanded.
    pub limited_ticks: u64,
    /// Chunks that entered.
    pub chunks_accepted: u64,
    /// Chunks of another generation.
    pub chunks_foreign: u64,
    /// Chunks that came too late or out of order.
    pub chunks_late: u64,
    /// Chunks that may not be executed.
    pub chunks_flawed: u64,
    /// Refusals by the engine.
    pub refusals: u64,
    /// Times the command was seeded again from the measured state.
    pub reseeds: u64,
    /// Orders from outside that were refused.
    pub orders_refused: u64,
    /// Setpoints of humans that did not count: no lease, out of order, too old, no positions.
    pub setpoints_refused: u64,
}

/// An arm host's state between ticks.
#[derive(Debug)]
pub struct ArmCycle {
    spec: ArmSpec,
    info: ArmInfo,
    supervisor: Supervisor,
    scheduler: Scheduler,
    requester: Requester,
    limiter: Limiter,
    /// Epoch of the state that the limiter was seeded from.
    seeded: Option<u64>,
    hold: (JointVec, f64),
    holding: bool,
    /// For how long the command has been too far from the measured arm, less the time that it was not.
    leading: Duration,
    /// For how long the policy has asked for too much, less the time that it did not; and by how much it did last, rad.
    storm: (Duration, f64),
    generation: Generation,
    instruction: Arc<str>,
    seed: u64,
    /// Bundle behind the first chunk of the episode, which all others must come from; `None` before it.
    bundle: Option<Arc<str>>,
    authority: Authority,
    /// What the motion under way, if any, owes its beginning to.
    bond: Option<Bond>,
    switching: Option<Switch>,
    /// The motors did not hold the arm, and it has not been seen where it is since.
    limp: bool,
    going: Option<Going>,
    ear: Ear,
    teleop: Option<Teleop>,
    /// How this arm and the other of a pair run the policy together.
    company: Company,
    mode: Mode,
    /// What was counted.
    pub counters: Counters,
}

impl ArmCycle {
    /// A cycle in Boot for the arm of `info`, which must have passed [`ArmInfo::check`].
    pub fn new(spec: ArmSpec, info: ArmInfo) -> Self {
        let generation = Generation {
            boot: spec.boot,
            count: 0,
        };
        let rest = JointVec::zeros(info.joints.len());
        Self {
            supervisor: Supervisor::new(spec.ladder, spec.resume),
            scheduler: Scheduler::new(spec.schedule, generation).ticking(spec.ladder.period),
            requester: Requester::new(spec.request),
            limiter: Limiter::new(spec.limit, info.clone(), rest, 0.0).guarded(spec.guard.clone()),
            seeded: None,
            hold: (rest, 0.0),
            holding: false,
            leading: Duration::ZERO,
            storm: (Duration::ZERO, 0.0),
            generation,
            instruction: Arc::from(""),
            seed: 0,
            bundle: None,
            authority: Authority::new(spec.boot),
            bond: None,
            switching: None,
            limp: false,
            going: None,
            ear: Ear::default(),
            teleop: None,
            company: Company::default(),
            mode: Mode::Boot,
            counters: Counters::default(),
            spec,
            info,
        }
    }

    /// The mode after the last tick.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Generation in force.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Instruction of the episode.
    pub fn instruction(&self) -> &Arc<str> {
        &self.instruction
    }

    /// Whether the commanded motion is at rest: every |dq| < 0.01 rad/s.
    pub fn at_rest(&self) -> bool {
        self.limiter.dq().max_abs() < 0.01
    }

    /// One tick at `now`.
    pub fn tick(&mut self, input: &TickInput<'_>, now: Time) -> TickOutput {
        self.counters.ticks += 1;
        let device_restarted = self.follow_device(input.state, now);
        self.follow_lease(now);
        if let Some(setpoint) = input.operator {
            self.hear(setpoint, now);
        }
        let switched = self.step_switching(input, device_restarted, now);
        let accepted = input.chunk.map(|chunk| self.accept(chunk, now));
        let refusal = input.refusal.filter(|r| r.generation == self.generation);
        if let Some(refusal) = refusal {
            self.counters.refusals += 1;
            self.requester.failed(refusal.request_id, now);
        }
        let overdue = self.requester.overdue(now);
        if let Some((id, _)) = overdue {
            self.requester.failed(id, now);
        }
        let due = self.scheduler.setpoint(now);
        let partner = self.follow_partner(input.partner.as_ref(), now);
        let health = Health {
            engine_alive: input.engine_alive,
            engine_silent: input.engine_silent,
            dead_camera: input.dead_camera,
            state_ahead: input
                .state
                .map_or(Duration::ZERO, |s| s.captured_at.since(now)),
            state_bad: input.state.is_some_and(|s| !self.is_position(s)),
            tracking: self.tracking(input.state),
            storm: self.too_much(),
            state_age: input.state.map(|s| now.since(s.captured_at)),
            overdue: overdue.map(|(_, waited)| waited),
            refusal: refusal.map(|r| &r.reason),
            flaw: accepted.and_then(|a| match a {
                Err(Discard::Flaw(flaw)) => Some(flaw),
                _ => None,
            }),
            accepted: accepted == Some(Ok(())),
            exhausted: due == Due::Exhausted,
            device_restarted,
            driver_error: input.driver_error,
            torque_off: self.is_limp(input.state),
            operator_silent: self.operator_silent(now),
            paired: input.partner.is_some(),
            partner: input.partner.as_ref().map(|p| p.name).zip(partner),
        };
        let decision = self.supervisor.step(&health, now);
        let due = if decision.raise { self.raise(now) } else { due };
        let command = self
            .seeded
            .map(|epoch| self.command(epoch, &decision, due, input, now));
        self.watch(command.as_ref(), input.state);
        let early = self.others_request_is_void(input.partner.as_ref(), now);
        let request = (decision.ask && !early).then(|| self.ask(now)).flatten();
        let mode = self.supervisor.mode();
        let mode_changed = mode != self.mode;
        if mode_changed && matches!(mode, Mode::Hold(_)) {
            self.counters.holds += 1;
        }
        self.mode = mode;
        TickOutput {
            command,
            request,
            accepted,
            seam: accepted
                .is_some_and(|a| a.is_ok())
                .then(|| self.scheduler.seam())
                .flatten(),
            mode_changed,
            switched,
        }
    }

    /// Seeds the limiter from the first state of each device epoch. True when a running device changed its epoch.
    fn follow_device(&mut self, state: Option<&JointState>, now: Time) -> bool {
        let Some(state) = self.present(state, now) else {
            return false;
        };
        if self.seeded == Some(state.epoch) {
            return false;
        }
        let restarted = self.seeded.is_some();
        self.reseed(state);
        self.seeded = Some(state.epoch);
        restarted
    }

    /// Whether `state` can be a position of this arm.
    fn is_position(&self, state: &JointState) -> bool {
        state.q.len() == self.info.joints.len() && state.q.is_finite() && state.opening.is_finite()
    }

    /// `state`, if it says where the arm is now: a position, neither stale nor from the future.
    fn present<'a>(&self, state: Option<&'a JointState>, now: Time) -> Option<&'a JointState> {
        let LadderSpec {
            proprio_limit,
            period,
            ..
        } = self.spec.ladder;
        state.filter(|state| {
            self.is_position(state)
                && now.since(state.captured_at) <= proprio_limit
                && state.captured_at.since(now) <= CLOCK_TOLERANCE + period
        })
    }

    /// Follows how long the command has been too far from the arm, and the policy beyond the limits.
    fn watch(&mut self, command: Option<&Command>, state: Option<&JointState>) {
        let source = command.map(|c| c.setpoint.source);
        let Some(command) = command.filter(|c| {
            matches!(
                c.setpoint.source,
                Source::Policy | Source::Teleop | Source::Align
            )
        }) else {
            (self.leading, self.storm) = (Duration::ZERO, (Duration::ZERO, 0.0));
            return;
        };
        let lead = state.map_or(0.0, |s| command.q.zip(&s.q, |c, m| c - m).max_abs());
        let LadderSpec {
            track_rad,
            storm_rad,
            period,
            ..
        } = self.spec.ladder;
        self.leading = if lead > track_rad {
            self.leading + period
        } else {
            self.leading.saturating_sub(period)
        };
        self.storm = match command.clamped_rad {
            // A human who asks for too much sees the arm lag.
            _ if source != Some(Source::Policy) => (Duration::ZERO, 0.0),
            behind if behind > storm_rad => (self.storm.0 + period, behind),
            _ => (self.storm.0.saturating_sub(period), self.storm.1),
        };
    }

    /// The joint that is furthest behind its command, once it has been so for too long, and how far, rad.
    fn tracking(&self, state: Option<&JointState>) -> Option<(usize, f64)> {
        if self.leading < self.spec.ladder.track_limit {
            return None;
        }
        let behind = self.limiter.q().zip(&state?.q, |c, m| (c - m).abs());
        let most = behind.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        most.map(|(joint, behind)| (joint, *behind))
    }

    /// How far the policy asks for more than the limits allow, once it has done so for too long, rad.
    fn too_much(&self) -> Option<f64> {
        let (time, behind) = self.storm;
        (time >= self.spec.ladder.storm_limit).then_some(behind)
    }

    fn reseed(&mut self, state: &JointState) {
        self.limiter.seed(self.info.clamp(&state.q), state.opening);
        self.hold = (self.limiter.q(), self.limiter.opening());
        self.counters.reseeds += 1;
    }

    /// The next request, if one is due, with what is commanded from its observation on.
    fn ask(&mut self, now: Time) -> Option<InferenceRequest> {
        let lasts = self.scheduler.lasts(now);
        let mut request = self
            .requester
            .poll(self.generation, &self.instruction, lasts, now)?;
        request.conditioning = self.scheduler.strategy().conditioning();
        request.leftover = self.scheduler.leftover(request.observe_after);
        if request.leftover.is_empty() {
            // Nothing is planned: the command stays where the hold ends, or is about to begin.
            let now = (self.limiter.q(), self.limiter.opening());
            let (q, opening) = if self.holding { self.hold } else { now };
            if self.at_rest() {
                request.leftover.push(TimedAction {
                    due: request.observe_after,
                    action: Action { q, opening },
                });
            } else {
                self.braking(&mut request);
            }
        }
        Some(request)
    }

    fn accept(&mut self, chunk: &ActionChunk, now: Time) -> Result<(), Discard> {
        let commanded = State {
            q: self.limiter.q(),
            dq: self.limiter.dq(),
            ddq: self.limiter.ddq(),
            opening: self.limiter.opening(),
        };
        let ours = chunk.generation == self.generation;
        let same = |b: &Arc<str>| *b == chunk.bundle_id;
        let wanted = self.spec.bundle.as_ref().or(self.bundle.as_ref());
        let result = match wanted.is_none_or(same) {
            false if ours => Err(Discard::Flaw(ChunkFlaw::Bundle)),
            _ => self.scheduler.accept(chunk, &self.info, commanded, now),
        };
        match result {
            Ok(()) => {
                self.counters.chunks_accepted += 1;
                self.requester
                    .answered(chunk.request_id, chunk.observed_at, now);
                self.bundle.get_or_insert_with(|| chunk.bundle_id.clone());
            }
            Err(Discard::Generation) => self.counters.chunks_foreign += 1,
            Err(Discard::Late | Discard::OutOfOrder) => {
                self.counters.chunks_late += 1;
                self.requester
                    .answered(chunk.request_id, chunk.observed_at, now);
            }
            Err(Discard::Flaw(_)) => {
                self.counters.chunks_flawed += 1;
                self.requester.failed(chunk.request_id, now);
            }
        }
        result
    }

    /// Begins a new generation; what was planned is void, so nothing is due.
    fn raise(&mut self, now: Time) -> Due {
        self.generation = self.generation.next();
        self.scheduler.restart(self.generation);
        // Nobody waits for what was asked before, and nothing of it can be overdue.
        self.requester.restart(now, self.seed);
        Due::Empty
    }

    fn command(
        &mut self,
        epoch: u64,
        decision: &Decision,
        due: Due,
        input: &TickInput<'_>,
        now: Time,
    ) -> Command {
        // Where the arm was is no measure of how far the command leads it.
        let present = self.present(input.state, now);
        let measured = present.map_or(self.limiter.q(), |state| state.q);
        let setpoint = match due {
            Due::Setpoint(setpoint) if decision.follow_chunk => {
                self.holding = false;
                setpoint
            }
            Due::Setpoint(_) | Due::Empty | Due::Exhausted => {
                let moving = self.goto_setpoint().or_else(|| self.teleop_setpoint());
                moving.unwrap_or_else(|| self.hold_setpoint(present))
            }
        };
        let from_policy = setpoint.source == Source::Policy;
        if self.bundle.is_some()
            && !from_policy
            && matches!(self.supervisor.mode(), Mode::Policy | Mode::Hold(_))
        {
            self.counters.starved_ticks += 1;
        }
        let limited = self
            .limiter
            .limit(&setpoint, &measured, self.spec.period_secs);
        self.judge_goto(&setpoint, &measured);
        if from_policy && limited.clamped_by.any() {
            self.counters.limited_ticks += 1;
        }
        Command {
            tick: self.counters.ticks,
            epoch,
            q: limited.q,
            dq: limited.dq,
            ddq: limited.ddq,
            opening: limited.opening,
            setpoint,
            clamped_by: limited.clamped_by,
            clamped_rad: limited.clamped_rad,
            generation: self.generation,
            torque: self.torque_wish(),
        }
    }

    /// The hold's setpoint: where the commanded motion stops; the pose that is measured now when the command has lost the
    /// arm.
    fn hold_setpoint(&mut self, state: Option<&JointState>) -> Setpoint {
        if !self.holding {
            self.holding = true;
            let stop = self.limiter.stopping_point(self.spec.period_secs);
            self.hold = (stop, self.limiter.opening());
        }
        if let Some(state) = state
            && self.limiter.leads_too_far(&state.q)
        {
            let opening = self.limiter.opening();
            self.reseed(state);
            // The gripper keeps its last target: no fault opens it.
            self.limiter.seed(self.limiter.q(), opening);
            self.hold.1 = opening;
        }
        let (q, opening) = self.hold;
        Setpoint {
            source: Source::Hold,
            q,
            dq: JointVec::zeros(q.len()),
            ddq: JointVec::zeros(q.len()),
            opening,
            request_id: 0,
            action_index: 0,
            observed_at: None,
        }
    }
}

#[cfg(test)]
mod tests;
