//! The engine role: frames, joint states and requests in; one inference at a time; chunks or refusals out.
//!
//! What arrives comes through [`Intake`]; the inference thread (the caller's) decides through [`Dispatcher`] and
//! [`Assembler`] and runs the policy. Measures the stages up to the chunk's departure. Decides nothing itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tactus_control::{Assembler, AssemblySpec, Dispatcher, Job};
use tactus_types::{ActionChunk, Clock, Policy, PolicyError, Refusal, RefusalReason, Stage, Time};
use tactus_wire::{
    Cell, ChunkReply, Delivery, EngineStatus, Name, Nothing, Publisher, Reasoning, Responder, Role,
    Session, SessionError, Topic,
};

use crate::explain::{Explaining, Outbox, Pace, Turn, explain};
use crate::intake::{INBOX, Inbound, Intake};

/// Time between two signs of life.
const BEAT: Duration = Duration::from_millis(50);

/// How the engine role is configured.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The cell.
    pub cell: Cell,
    /// Name of this engine.
    pub engine: Name,
    /// Arm whose requests it answers.
    pub arm: Name,
    /// What an observation needs; its cameras are the policy's.
    pub assembly: AssemblySpec,
}

/// Runs the engine role until `stop` is set; `explaining` beside it, when nothing else is to do.
///
/// # Errors
/// [`SessionError`] when a key cannot be declared.
pub fn run_engine(
    mut policy: Box<dyn Policy>,
    explaining: Option<Explaining>,
    options: &EngineOptions,
    session: &Session,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<(), SessionError> {
    let EngineOptions {
        cell,
        engine,
        arm,
        assembly,
    } = options;
    let replies = session.publisher::<ChunkReply>(&cell.key(&Topic::ArmChunk(arm.clone())))?;
    let intake = Intake::open(session, cell, arm, policy.cameras())?;
    let status = EngineStatus {
        provider: policy.provider().to_owned(),
        bundle_id: policy.bundle_id().to_string(),
    };
    let beat = status.clone();
    let answer = move |_: Delivery<Nothing>, responder: Responder<EngineStatus>| {
        responder.answer(&status);
    };
    let status_key = cell.key(&Topic::EngineStatus(engine.clone()));
    let _status = session.queryable(&status_key, answer)?;
    let beats = session.publisher::<EngineStatus>(&status_key)?;
    let done = Done::default();
    let words =
        session.publisher::<Reasoning>(&cell.key(&Topic::EngineReasoning(engine.clone())))?;
    let (turn, outbox) = (Turn::default(), Outbox::default());
    let _alive = session.alive(cell, Role::Engine, engine)?;
    tracing::info!(provider = policy.provider(), bundle = %policy.bundle_id(), "engine ready");

    let mut state = EngineState::new(assembly.clone());
    let mut batch = Vec::with_capacity(INBOX);
    std::thread::scope(|scope| {
        // Ends the beat when the inference thread ends, in whichever way.
        let _done = Ending(&done, &turn);
        scope.spawn(|| done.beat(&beats, &beat));
        if let Some(explaining) = explaining {
            scope.spawn(|| outbox.send(&words, &turn));
            scope.spawn(|| explain(explaining, &turn, &outbox, clock));
        }
        while !stop.load(Ordering::Relaxed) {
            intake.take_into(&mut batch);
            for message in batch.drain(..) {
                state.take(message, policy.as_mut(), clock);
            }
            state.tell(&turn);
            if let Some(reply) = state.poll(policy.as_mut(), clock, &turn) {
                if let Err(e) = replies.put(&reply) {
                    tracing::error!("chunk not sent: {e}");
                }
                state.tell(&turn);
            }
        }
    });
    Ok(())
}

/// Whether the inference thread has ended.
#[derive(Default)]
struct Done {
    done: Mutex<bool>,
    told: Condvar,
}

impl Done {
    /// Says every [`BEAT`] that this host is there, however long an inference takes: what an arm host hears nothing of
    /// is behind a broken link.
    fn beat(&self, beats: &Publisher<EngineStatus>, status: &EngineStatus) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            if let Err(e) = beats.put(status) {
                tracing::debug!("beat not sent: {e}");
            }
            done = self
                .told
                .wait_timeout(done, BEAT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

struct Ending<'a>(&'a Done, &'a Turn);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *self.0.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.told.notify_all();
        self.1.end();
    }
}

/// The inference thread's own state.
struct EngineState {
    assembler: Assembler,
    dispatcher: Dispatcher,
    /// Time on the wire of the newest frame.
    transport: Duration,
    free_at: Time,
    pace: Pace,
}

impl EngineState {
    fn new(assembly: AssemblySpec) -> Self {
        Self {
            assembler: Assembler::new(assembly),
            dispatcher: Dispatcher::new(),
            transport: Duration::ZERO,
            free_at: Time::ZERO,
            pace: Pace::default(),
        }
    }

    /// Says whether a request waits, and when the next is expected.
    fn tell(&self, turn: &Turn) {
        turn.set(self.dispatcher.is_pending(), self.pace.expected());
    }

    fn take(&mut self, message: Inbound, policy: &mut dyn Policy, clock: &dyn Clock) {
        match message {
            Inbound::Frame(frame, transport) => {
                // Cameras deliver one after the other: the first is worked on while the next is on its way.
                if self.dispatcher.wants(frame.captured_at) {
                    policy.prepare(&frame);
                }
                self.transport = transport;
                self.assembler.frame(frame);
            }
            Inbound::State(state) => self.assembler.state(state),
            Inbound::Request(request) => {
                self.pace.request(clock.now());
                self.dispatcher.request(request);
            }
            Inbound::Answer(_) => {}
        }
    }

    fn poll(
        &mut self,
        policy: &mut dyn Policy,
        clock: &dyn Clock,
        turn: &Turn,
    ) -> Option<ChunkReply> {
        let job = self.dispatcher.poll(&self.assembler, clock.now())?;
        let reply = match job {
            Job::Refuse(refusal) => {
                tracing::warn!(request = refusal.request_id, reason = ?refusal.reason, "refused");
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
                match policy.infer(&observation, &request) {
                    Ok(chunk) => ChunkReply::Chunk(self.with_stages(
                        chunk,
                        received_at,
                        ready_at,
                        assembled_at,
                    )),
                    Err(PolicyError { stage, reason }) => {
                        tracing::error!(stage, reason, "no chunk");
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
        Some(reply)
    }

    /// Fills the states behind it and the stages before inference, such that `observed_at + capture + transport` is `received_at`.
    fn with_stages(
        &self,
        mut chunk: ActionChunk,
        received_at: Time,
        ready_at: Time,
        assembled_at: Time,
    ) -> ActionChunk {
        chunk.states = self.assembler.states_behind(chunk.observed_at);
        let way = received_at.since(chunk.observed_at);
        let transport = self.transport.min(way);
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
}
