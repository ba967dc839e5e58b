//! Lock-step: plant, policy and arm host on one virtual clock, in one thread.
//!
//! The decisions are those of real time ([`ArmCycle`], [`Assembler`], [`Dispatcher`]); only the threads and the wire
//! are gone. Time is counted, not read, so that the same seed gives the same commands bit for bit, as fast as the
//! machine can. What a real system spends on capturing and inferring is given as virtual delays.

use std::sync::Arc;
use std::time::Duration;

use tactus_control::{
    ArmCycle, ArmSpec, Assembler, AssemblySpec, Dispatcher, EnableSpec, Job, Order, OrderRefused,
    TickInput, TickOutput,
};
use tactus_types::{
    ArmInfo, CameraFrame, Command, JointState, OperatorSetpoint, Policy, Refusal, RefusalReason,
    Time, Under,
};
use tactus_wire::{Asked, ChunkReply, LeasedOrder, TickNote};

use crate::orders::order_to;
use crate::scribe::Scribe;
use crate::tamper::{Reply, Seen, Tamper};

/// A simulated arm with cameras that moves only when told to.
pub trait Plant {
    /// Description of the arm.
    fn info(&self) -> ArmInfo;

    /// Newest joint state, measured at `now`.
    fn state(&self, now: Time) -> JointState;

    /// One frame per camera, captured at `now`.
    ///
    /// # Errors
    /// [`PlantError`] when rendering fails.
    fn frames(&mut self, now: Time) -> Result<Vec<CameraFrame>, PlantError>;

    /// Advances the world by one control period under `command`.
    ///
    /// # Errors
    /// [`PlantError`] when the world cannot be advanced.
    fn step(&mut self, command: Option<&Command>) -> Result<(), PlantError>;
}

/// Why a plant cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("simulated cell: {0}")]
pub struct PlantError(pub String);

/// Periods and virtual delays.
#[derive(Debug, Clone, PartialEq)]
pub struct LockstepSpec {
    /// The arm host.
    pub arm: ArmSpec,
    /// The engine's assembler.
    pub assembly: AssemblySpec,
    /// Time between camera frames.
    pub camera_period: Duration,
    /// Capture to received by the engine.
    pub capture_delay: Duration,
    /// Received to chunk; the engine computes nothing else meanwhile.
    pub inference_delay: Duration,
    /// From there to the arm host, on the way with others.
    pub delivery_delay: Duration,
}

/// A cell in lock-step.
pub struct Lockstep<P> {
    spec: LockstepSpec,
    period: Duration,
    /// The plant.
    pub plant: P,
    policy: Box<dyn Policy>,
    /// The arm host.
    pub cycle: ArmCycle,
    assembler: Assembler,
    dispatcher: Dispatcher,
    now: Time,
    next_frame: Time,
    /// On their way, in the order they were sent.
    frames: Vec<(Time, CameraFrame)>,
    replies: Vec<(Time, Reply)>,
    free_at: Time,
    /// Newest joint state that has reached the arm host.
    state: Option<JointState>,
    /// What happens to messages on their way; `None`: nothing.
    pub tamper: Option<Tamper>,
    /// What a human sends, for the next tick.
    pub operator: Option<OperatorSetpoint>,
    /// Writes down what passes between plant, policy and arm host; `None`: nobody does. Not together with a tamper, which
    /// acts behind what is written.
    pub scribe: Option<Scribe>,
    /// What was asked since the last tick, for the scribe.
    asked: Vec<Asked>,
}

impl<P: Plant> Lockstep<P> {
    /// A cell at time zero, in Boot.
    pub fn new(mut spec: LockstepSpec, plant: P, policy: Box<dyn Policy>) -> Self {
        // There are no motors that enabling could move.
        spec.arm.enable = EnableSpec::AT_ONCE;
        let cycle = ArmCycle::new(spec.arm.clone(), plant.info());
        Self {
            period: Duration::from_nanos((spec.arm.period_secs * 1e9).round() as u64),
            assembler: Assembler::new(spec.assembly.clone()),
            dispatcher: Dispatcher::new(),
            now: Time::from_millis(1),
            next_frame: Time::from_millis(1),
            frames: Vec::new(),
            replies: Vec::new(),
            free_at: Time::ZERO,
            state: None,
            tamper: None,
            operator: None,
            scribe: None,
            asked: Vec::new(),
            spec,
            plant,
            policy,
            cycle,
        }
    }

    /// The plant and the policy, for another cell.
    pub fn into_parts(self) -> (P, Box<dyn Policy>) {
        (self.plant, self.policy)
    }

    /// Control period.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Carries out an order as the control thread would before its next tick.
    ///
    /// # Errors
    /// [`OrderRefused`].
    pub fn order(&mut self, order: &Order) -> Result<(), OrderRefused> {
        if self.scribe.is_some() {
            self.asked.push(Asked::Own(order_to(order)));
        }
        self.with_input(|cycle, input, now| cycle.order(order, input, now))
    }

    /// The same for an order from outside, under a lease where it needs one.
    ///
    /// # Errors
    /// [`OrderRefused`].
    pub fn order_under(&mut self, order: &Order, under: Option<Under>) -> Result<(), OrderRefused> {
        if self.scribe.is_some() {
            let order = order_to(order);
            self.asked.push(Asked::Order(LeasedOrder { order, under }));
        }
        self.with_input(|cycle, input, now| cycle.order_under(order, under, input, now))
    }

    fn with_input<T>(&mut self, f: impl FnOnce(&mut ArmCycle, &TickInput<'_>, Time) -> T) -> T {
        let state = self.plant.state(self.now);
        let state = match &self.tamper {
            Some(_) => self.state,
            None => Some(state),
        };
        let seen = self.seen();
        let input = TickInput {
            state: state.as_ref(),
            ..others(&seen)
        };
        f(&mut self.cycle, &input, self.now)
    }

    /// One control period: frames, inference, tick, physics.
    ///
    /// # Errors
    /// [`PlantError`] when the plant fails. A policy that fails is an answer without a chunk, as in real time.
    pub fn tick(&mut self) -> Result<TickOutput, PlantError> {
        let now = self.now;
        let measured = self.plant.state(now);
        let arrived = match &mut self.tamper {
            Some(tamper) => tamper.state(measured, now),
            None => Some(measured),
        };
        if let Some(state) = arrived
            && self.state.is_none_or(|newest| state.supersedes(&newest))
        {
            self.state = Some(state);
            // The arm host passes it on; what is not finite or of another arm does not get over the wire.
            if state.q.is_finite() && state.q.len() == measured.q.len() {
                self.assembler.state(state);
                if let Some(scribe) = &mut self.scribe {
                    scribe.state(&state);
                }
            }
        }
        if now >= self.next_frame {
            self.next_frame = self.next_frame + self.spec.camera_period;
            for frame in self.plant.frames(now)? {
                if let Some(scribe) = &mut self.scribe {
                    scribe.frame(&frame);
                }
                let copies = match &mut self.tamper {
                    Some(tamper) => tamper.frame(frame, now),
                    None => vec![(Duration::ZERO, frame)],
                };
                for (later, frame) in copies {
                    let received_at = now + self.spec.capture_delay + later;
                    self.frames.push((
                        received_at,
                        CameraFrame {
                            received_at,
                            ..frame
                        },
                    ));
                }
            }
        }
        for (_, frame) in self.frames.extract_if(.., |(at, _)| *at <= now) {
            self.assembler.frame(frame);
        }
        self.infer(now);
        let due = self.replies.iter().position(|(at, _)| *at <= now);
        let reply = due.map(|i| self.replies.remove(i).1);
        let reply_ref = match (&mut self.scribe, &reply) {
            (Some(scribe), Some(Reply::Chunk(chunk))) => {
                Some(scribe.reply(ChunkReply::Chunk((**chunk).clone()), now))
            }
            (Some(scribe), Some(Reply::Refusal(refusal))) => {
                Some(scribe.reply(ChunkReply::Refusal(refusal.clone()), now))
            }
            _ => None,
        };
        let seen = self.seen();
        let state = self.state;
        let operator = match (&mut self.tamper, self.operator.take()) {
            (Some(tamper), Some(setpoint)) => tamper.operator(setpoint, now),
            (_, setpoint) => setpoint,
        };
        let input = TickInput {
            state: state.as_ref(),
            chunk: match &reply {
                Some(Reply::Chunk(chunk)) => Some(&**chunk),
                _ => None,
            },
            refusal: match &reply {
                Some(Reply::Refusal(refusal)) => Some(refusal),
                _ => None,
            },
            operator: operator.as_ref(),
            ..others(&seen)
        };
        let output = self.cycle.tick(&input, now);
        if let Some(scribe) = &mut self.scribe {
            let note = TickNote {
                tick: self.cycle.counters.ticks,
                now,
                state,
                reply: reply_ref,
                operator,
                engine_alive: input.engine_alive,
                engine_silent: input.engine_silent,
                dead_camera: input.dead_camera.cloned(),
                driver_error: input.driver_error.cloned(),
                asked: std::mem::take(&mut self.asked),
            };
            scribe.tick(note, &output);
        }
        if let Some(request) = &output.request {
            self.dispatcher.request(request.clone());
        }
        let command = match (&mut self.tamper, output.command) {
            (Some(tamper), Some(command)) => tamper.command(command, now),
            (_, command) => command,
        };
        self.plant.step(command.as_ref())?;
        self.now = now + self.period;
        Ok(output)
    }

    fn seen(&mut self) -> Seen {
        let now = self.now;
        self.tamper
            .as_mut()
            .map_or_else(Seen::default, |tamper| tamper.seen(now))
    }

    /// Sends an answer that would arrive at `at`.
    fn send(&mut self, at: Time, reply: Reply) {
        match &mut self.tamper {
            Some(tamper) => {
                for (later, reply) in tamper.reply(reply, at) {
                    self.replies.push((at + later, reply));
                }
            }
            None => self.replies.push((at, reply)),
        }
    }

    fn infer(&mut self, now: Time) {
        if now < self.free_at {
            return;
        }
        match self.dispatcher.poll(&self.assembler, now) {
            None => {}
            Some(Job::Refuse(refusal)) => self.send(now, Reply::Refusal(refusal)),
            Some(Job::Infer {
                request,
                observation,
                ..
            }) => {
                let reply = match self.policy.infer(&observation, &request) {
                    Ok(chunk) => Reply::Chunk(Box::new(chunk)),
                    Err(e) => Reply::Refusal(Refusal {
                        request_id: request.id,
                        generation: request.generation,
                        reason: RefusalReason::Policy {
                            message: e.to_string().into(),
                        },
                    }),
                };
                self.free_at = now + self.spec.inference_delay;
                let at = self.free_at + self.spec.delivery_delay;
                self.send(at, reply);
            }
        }
    }

    /// Names of the cameras the policy wants, in its order.
    pub fn cameras(&self) -> &[Arc<str>] {
        self.policy.cameras()
    }
}

/// What a tick sees of the other processes.
fn others(seen: &Seen) -> TickInput<'_> {
    TickInput {
        engine_alive: !seen.engine_dead,
        engine_silent: seen.engine_silent,
        dead_camera: seen.dead_camera.as_ref(),
        driver_error: seen.driver_error.as_ref(),
        ..TickInput::default()
    }
}
