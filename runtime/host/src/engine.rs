//! The engine role: frames, joint states and requests in; one inference at a time; chunks or refusals out. For the arm of one
//! cell, or of several, each in the keys of its own; or of two that one policy moves, in one cell.
//!
//! What arrives comes through [`Intake`]; the inference thread (the caller's) decides through [`Fleet`] and
//! [`Assembler`] and runs the policy. Measures the stages up to the chunk's departure. Decides nothing itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tactus_control::{Assembler, AssemblySpec, Demand, Fleet, Job, Together};
use tactus_types::{ActionChunk, Clock, Policy, PolicyError, Refusal, RefusalReason, Stage, Time};
use tactus_wire::{
    Cell, ChunkReply, Delivery, EngineStatus, Name, Nothing, Responder, Role, Session,
    SessionError, Topic,
};

use crate::explain::{Explaining, Outbox, Pace, Turn, explain};
use crate::intake::{INBOX, Inbound, Intake};
use crate::pairing::{Pairing, Second};

mod desk;

use desk::{BEAT, Desk, Done, Ending, say, service};

/// An arm that the engine is there for.
#[derive(Clone)]
pub struct EngineArm<'a> {
    /// Its cell.
    pub cell: Cell,
    /// Name of this engine there.
    pub engine: Name,
    /// Name of the arm.
    pub arm: Name,
    /// The arm beside it, where the policy moves two.
    pub second: Option<Second>,
    /// What an observation needs; its cameras are the policy's.
    pub assembly: AssemblySpec,
    /// What it asks of the engine.
    pub demand: Demand,
    /// The network that it is reached through.
    pub session: &'a Session,
}

/// How long answers take.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineOptions {
    /// What an answer was probed to take at most.
    pub probed: Duration,
    /// No inference takes less: stands for a slower engine, in tests and where one is planned. Zero: as long as it takes.
    pub at_least: Duration,
}

/// Runs the engine role for `arms` until `stop` is set; `explaining` beside it, when nothing else is to do, in the keys of the
/// first.
///
/// # Errors
/// [`SessionError`] when a key cannot be declared.
pub fn run_engine(
    mut policy: Box<dyn Policy>,
    explaining: Option<Explaining>,
    arms: &[EngineArm<'_>],
    options: &EngineOptions,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<(), SessionError> {
    let mut intake = Intake::default();
    let mut replies = Vec::with_capacity(arms.len());
    let mut desks = Vec::with_capacity(arms.len());
    let mut declared = Vec::with_capacity(arms.len());
    for each in arms {
        let EngineArm { cell, session, .. } = each;
        // What both arms of a pair see is listened to once.
        let cameras = std::iter::once(policy.cameras()).chain(std::iter::repeat(&[][..]));
        for (arm, cameras) in each.arms().zip(cameras) {
            let key = cell.key(&Topic::ArmChunk(arm.clone()));
            replies.push(session.publisher::<ChunkReply>(&key)?);
            intake = intake
                .and_arm(session, cell, arm, cameras)?
                .and_departures(session, cell, arm)?;
        }
        let status = Arc::new(Mutex::new(EngineStatus {
            provider: policy.provider().to_owned(),
            bundle_id: policy.bundle_id().to_string(),
            service: None,
        }));
        let newest = status.clone();
        let answer = move |_: Delivery<Nothing>, responder: Responder<EngineStatus>| {
            responder.answer(&newest.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let key = cell.key(&Topic::EngineStatus(each.engine.clone()));
        let queryable = session.queryable(&key, answer)?;
        let beats = session.publisher::<EngineStatus>(&key)?;
        desks.push(Desk { status, beats });
        let alive = session.alive(cell, Role::Engine, &each.engine)?;
        declared.push((queryable, alive));
    }
    let words = match (arms, &explaining) {
        ([first, ..], Some(_)) => {
            let key = Topic::EngineReasoning(first.engine.clone());
            Some(first.session.publisher(&first.cell.key(&key))?)
        }
        _ => None,
    };
    let done = Done::default();
    let (turn, outbox) = (Turn::default(), Outbox::default());
    tracing::info!(provider = policy.provider(), bundle = %policy.bundle_id(), arms = arms.len(), "engine ready");

    let mut state = EngineState::new(arms, options);
    let mut batch = Vec::with_capacity(INBOX);
    std::thread::scope(|scope| {
        // Ends the beat when the inference thread ends, in whichever way.
        let _done = Ending(&done, &turn);
        scope.spawn(|| done.beat(&desks));
        if let (Some(explaining), Some(words)) = (explaining, &words) {
            scope.spawn(|| outbox.send(words, &turn));
            scope.spawn(|| explain(explaining, &turn, &outbox, clock));
        }
        let mut answered = false;
        while !stop.load(Ordering::Relaxed) {
            // Where one arm was answered, another may have waited for that.
            intake.take_into(&mut batch, answered);
            let mut out = Vec::new();
            for (arm, message) in batch.drain(..) {
                out.extend(state.take(arm, message, policy.as_mut(), clock));
            }
            state.tell(&turn);
            out.extend(state.poll(policy.as_mut(), clock, &turn));
            answered = !out.is_empty();
            for (arm, reply) in out {
                if let Some(Err(e)) = replies.get(arm).map(|replies| replies.put(&reply)) {
                    tracing::error!("chunk not sent: {e}");
                }
            }
            if answered {
                state.tell(&turn);
            }
            state.report(arms, &desks, clock.now());
        }
    });
    Ok(())
}

impl EngineArm<'_> {
    /// The arm, and the one beside it.
    fn arms(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.arm).chain(self.second.iter().map(|second| &second.arm))
    }
}

/// An arm, or two that are served as one.
struct Seat {
    /// Number of its first arm among all.
    first: usize,
    /// Time on the wire of the newest frame.
    transport: Duration,
    pairing: Option<Pairing>,
}

/// The inference thread's own state.
struct EngineState {
    /// One per seat.
    assemblers: Vec<Assembler>,
    seats: Vec<Seat>,
    fleet: Fleet,
    at_least: Duration,
    free_at: Time,
    pace: Pace,
    /// When the arms' standing was last said, and whether it is another now.
    reported_at: Time,
    changed: bool,
    /// Whether each is admitted, and whether it was refused, as it was last logged.
    logged: Vec<(bool, bool)>,
}

impl EngineState {
    fn new(arms: &[EngineArm<'_>], options: &EngineOptions) -> Self {
        let assembler = |arm: &EngineArm<'_>| match &arm.second {
            None => Assembler::new(arm.assembly.clone()),
            Some(Second { pair, .. }) => Assembler::of_pair(arm.assembly.clone(), pair.clone()),
        };
        let mut next = 0;
        let seat = |arm: &EngineArm<'_>| {
            let first = next;
            next += arm.arms().count();
            Seat {
                first,
                transport: Duration::ZERO,
                pairing: arm.second.as_ref().map(|s| Pairing::new(s.pair.clone())),
            }
        };
        Self {
            assemblers: arms.iter().map(assembler).collect(),
            seats: arms.iter().map(seat).collect(),
            fleet: Fleet::new(
                arms.iter().map(|arm| arm.demand),
                options.probed.max(options.at_least),
            ),
            at_least: options.at_least,
            free_at: Time::ZERO,
            pace: Pace::default(),
            reported_at: Time::ZERO,
            changed: true,
            logged: vec![(false, false); arms.len()],
        }
    }

    /// Says whether a request waits, and when the next is expected.
    fn tell(&self, turn: &Turn) {
        turn.set(self.fleet.is_pending(), self.pace.expected());
    }

    /// Takes a message of arm `arm`; what to answer at once, and to whom.
    fn take(
        &mut self,
        arm: usize,
        message: Inbound,
        policy: &mut dyn Policy,
        clock: &dyn Clock,
    ) -> Vec<(usize, ChunkReply)> {
        let alone = self.seats.len() == 1;
        let place = self.seats.partition_point(|seat| seat.first <= arm);
        let number = place.saturating_sub(1);
        let seats = self.seats.get_mut(number);
        let Some((seat, assembler)) = seats.zip(self.assemblers.get_mut(number)) else {
            return vec![];
        };
        let (first, which) = (seat.first, arm.saturating_sub(seat.first));
        match message {
            Inbound::Frame(frame, took) => {
                // Cameras deliver one after the other: the first is worked on while the next is on its way. With several
                // arms it would be overwritten by another's, and no request would have been charged with it.
                if alone && self.fleet.wants(number, frame.captured_at) {
                    policy.prepare(&frame);
                }
                seat.transport = took;
                assembler.frame(frame);
            }
            Inbound::State(state) => assembler.state_of(which, state),
            Inbound::Request(request) => {
                let now = clock.now();
                self.pace.request(now);
                self.changed = true;
                let request = match &mut seat.pairing {
                    None => request,
                    Some(pairing) => match pairing.request(which, request, now) {
                        Together::Wait => return vec![],
                        Together::Ask(both) => *both,
                        Together::Refuse(refusals) => {
                            let each = refusals.into_iter().zip(first..);
                            return each
                                .map(|(refusal, arm)| (arm, ChunkReply::Refusal(refusal)))
                                .collect();
                        }
                    },
                };
                if let Some(refusal) = self.fleet.request(number, request) {
                    return self.share(number, ChunkReply::Refusal(refusal));
                }
            }
            Inbound::Gone => {
                self.changed = true;
                if let Some(pairing) = &mut seat.pairing {
                    pairing.gone(which);
                }
                self.fleet.gone(number);
            }
            Inbound::Answer(_) => {}
        }
        vec![]
    }

    /// Whom of seat `number` to tell what.
    fn share(&mut self, number: usize, reply: ChunkReply) -> Vec<(usize, ChunkReply)> {
        let seats = self.seats.get_mut(number);
        let Some((seat, assembler)) = seats.zip(self.assemblers.get(number)) else {
            return vec![];
        };
        match &mut seat.pairing {
            None => vec![(seat.first, reply)],
            Some(pairing) => (seat.first..)
                .zip(pairing.share(reply, assembler))
                .collect(),
        }
    }

    fn poll(
        &mut self,
        policy: &mut dyn Policy,
        clock: &dyn Clock,
        turn: &Turn,
    ) -> Vec<(usize, ChunkReply)> {
        let polled_at = clock.now();
        let Some((arm, job)) = self.fleet.poll(&self.assemblers, polled_at) else {
            return vec![];
        };
        self.changed = true;
        let reply = match job {
            Job::Refuse(refusal) => {
                tracing::warn!(arm, request = refusal.request_id, reason = ?refusal.reason, "refused");
                ChunkReply::Refusal(refusal)
            }
            Job::Infer {
                request,
                observation,
                received_at,
            } => {
                let ready_at = received_at.max(self.free_at);
                turn.see(&observation, &request.instruction);
                let assembled_at = clock.now();
                let made = policy.infer(&observation, &request);
                let spare = self
                    .at_least
                    .saturating_sub(clock.now().since(assembled_at));
                if !spare.is_zero() {
                    std::thread::sleep(spare);
                }
                let finished_at = clock.now();
                self.fleet.served(arm, &request, (polled_at, finished_at));
                match made {
                    Ok(mut chunk) => {
                        let denoise = chunk.stages.get(Stage::Denoise);
                        chunk.stages.set(Stage::Denoise, denoise + spare);
                        let transport = self.seats.get(arm).map(|seat| seat.transport);
                        let transport = transport.unwrap_or_default();
                        let times = (received_at, ready_at, assembled_at);
                        let assembler = self.assemblers.get(arm);
                        chunk.states = assembler.and_then(|a| a.states_behind(chunk.observed_at));
                        ChunkReply::Chunk(with_stages(chunk, transport, times))
                    }
                    Err(PolicyError { stage, reason }) => {
                        tracing::error!(arm, stage, reason, "no chunk");
                        let message = format!("{stage}: {reason}").into();
                        ChunkReply::Refusal(Refusal {
                            request_id: request.id,
                            generation: request.generation,
                            reason: RefusalReason::Policy { message },
                        })
                    }
                }
            }
        };
        self.free_at = clock.now();
        self.share(arm, reply)
    }

    /// Writes down how each arm stands, for the next beat.
    fn report(&mut self, arms: &[EngineArm<'_>], desks: &[Desk], now: Time) {
        if !self.changed || now.since(self.reported_at) < BEAT {
            return;
        }
        (self.changed, self.reported_at) = (false, now);
        for (number, (arm, desk)) in arms.iter().zip(desks).enumerate() {
            let Some(standing) = self.fleet.standing(number) else {
                continue;
            };
            let is = (standing.admitted, standing.refused_for.is_some());
            if let Some(was) = self.logged.get_mut(number)
                && std::mem::replace(was, is) != is
            {
                say(arm, &standing);
            }
            let mut status = desk.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.service = Some(service(standing));
        }
    }
}

/// Fills the stages before inference, such that `observed_at + capture + transport` is `received_at`.
fn with_stages(
    mut chunk: ActionChunk,
    transport: Duration,
    (received_at, ready_at, assembled_at): (Time, Time, Time),
) -> ActionChunk {
    let way = received_at.since(chunk.observed_at);
    let transport = transport.min(way);
    chunk.stages.set(Stage::Transport, transport);
    chunk
        .stages
        .set(Stage::Capture, way.saturating_sub(transport));
    chunk.stages.set(Stage::Queue, ready_at.since(received_at));
    chunk
        .stages
        .set(Stage::Assemble, assembled_at.since(ready_at));
    chunk
}
