//! Lock-step: plant, policy and arm host on one virtual clock, in one thread.
//!
//! The decisions are those of real time ([`ArmCycle`], [`Assembler`], [`Dispatcher`]); only the threads and the wire
//! are gone. Time is counted, not read, so that the same seed gives the same commands bit for bit, as fast as the
//! machine can. What a real system spends on capturing and inferring is given as virtual delays.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tactus_control::{
    ArmCycle, ArmSpec, Assembler, AssemblySpec, Dispatcher, EnableSpec, Job, Order, OrderRefused,
    TickInput, TickOutput,
};
use tactus_types::{
    ActionChunk, ArmInfo, CameraFrame, Command, JointState, Policy, PolicyError, Refusal, Time,
};

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

/// Why a lock-step run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LockstepError {
    /// The plant failed.
    #[error(transparent)]
    Plant(#[from] PlantError),
    /// The policy failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

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

enum Reply {
    Chunk(Box<ActionChunk>),
    Refusal(Refusal),
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
    frames: VecDeque<(Time, CameraFrame)>,
    replies: VecDeque<(Time, Reply)>,
    free_at: Time,
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
            frames: VecDeque::new(),
            replies: VecDeque::new(),
            free_at: Time::ZERO,
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
        let state = self.plant.state(self.now);
        let input = TickInput {
            state: Some(&state),
            engine_alive: true,
            ..TickInput::default()
        };
        self.cycle.order(order, &input, self.now)
    }

    /// One control period: frames, inference, tick, physics.
    ///
    /// # Errors
    /// [`LockstepError`] when plant or policy fails.
    pub fn tick(&mut self) -> Result<TickOutput, LockstepError> {
        let now = self.now;
        let state = self.plant.state(now);
        self.assembler.state(state);
        if now >= self.next_frame {
            self.next_frame = self.next_frame + self.spec.camera_period;
            let received_at = now + self.spec.capture_delay;
            for frame in self.plant.frames(now)? {
                self.frames.push_back((
                    received_at,
                    CameraFrame {
                        received_at,
                        ..frame
                    },
                ));
            }
        }
        while self.frames.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, frame)) = self.frames.pop_front() {
                self.assembler.frame(frame);
            }
        }
        self.infer(now)?;
        let reply = match self.replies.front() {
            Some((at, _)) if *at <= now => self.replies.pop_front().map(|(_, reply)| reply),
            _ => None,
        };
        let input = TickInput {
            state: Some(&state),
            chunk: match &reply {
                Some(Reply::Chunk(chunk)) => Some(&**chunk),
                _ => None,
            },
            refusal: match &reply {
                Some(Reply::Refusal(refusal)) => Some(refusal),
                _ => None,
            },
            engine_alive: true,
            ..TickInput::default()
        };
        let output = self.cycle.tick(&input, now);
        if let Some(request) = &output.request {
            self.dispatcher.request(request.clone());
        }
        self.plant.step(output.command.as_ref())?;
        self.now = now + self.period;
        Ok(output)
    }

    fn infer(&mut self, now: Time) -> Result<(), LockstepError> {
        if now < self.free_at {
            return Ok(());
        }
        match self.dispatcher.poll(&self.assembler, now) {
            None => {}
            Some(Job::Refuse(refusal)) => self.replies.push_back((now, Reply::Refusal(refusal))),
            Some(Job::Infer {
                request,
                observation,
                ..
            }) => {
                let chunk = self.policy.infer(&observation, &request)?;
                self.free_at = now + self.spec.inference_delay;
                let at = self.free_at + self.spec.delivery_delay;
                self.replies.push_back((at, Reply::Chunk(Box::new(chunk))));
            }
        }
        Ok(())
    }

    /// Names of the cameras the policy wants, in its order.
    pub fn cameras(&self) -> &[Arc<str>] {
        self.policy.cameras()
    }
}
