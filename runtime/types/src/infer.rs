//! What the arm host asks of a policy, and what comes back.

use std::sync::Arc;

use crate::{CameraFrame, JointVec, Observation, StageTimes, Time};

/// Which stretch of autonomy a message belongs to: the arm host's boot and a counter that only grows.
///
/// Every mode change, arm restart and takeover starts a new generation; a chunk of another one is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Generation {
    /// Random number drawn when the arm host started.
    pub boot: u64,
    /// Counter within that boot.
    pub count: u64,
}

impl Generation {
    /// The generation after this one.
    pub fn next(self) -> Self {
        Self {
            boot: self.boot,
            count: self.count + 1,
        }
    }
}

/// One action in SI units: absolute joint targets and the gripper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Action {
    /// Joint targets, rad, in the arm's joint order.
    pub q: JointVec,
    /// Gripper opening target, 0.0 closed .. 1.0 fully open.
    pub opening: f64,
}

/// An action and the instant at which the command should reach it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedAction {
    /// When it is due.
    pub due: Time,
    /// What is due.
    pub action: Action,
}

/// The arm host's request for one chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceRequest {
    /// Number of the request, unique within the arm host's boot, growing.
    pub id: u64,
    /// Generation that the answer must echo.
    pub generation: Generation,
    /// The task in words.
    pub instruction: Arc<str>,
    /// The observation must have been captured at or after this instant. Until such frames are there the engine
    /// waits: a request armed ahead of its frames costs no age.
    pub observe_after: Time,
    /// When the answer is useless.
    pub deadline: Time,
    /// How long after `observed_at` the arm host expects the chunk to take over.
    pub expected_delay: std::time::Duration,
    /// Actions that will be executed whatever the answer is; empty without prefix conditioning.
    pub prefix: Vec<TimedAction>,
    /// Seed of the policy's noise.
    pub seed: u64,
}

/// Which frame stands behind a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRef {
    /// Camera name.
    pub camera: Arc<str>,
    /// The camera's counter.
    pub seq: u64,
    /// When it was captured.
    pub captured_at: Time,
}

/// A policy's answer: actions at a fixed period, each with a due time.
///
/// Action `i` is due at `first_due + i * period`; `first_due = observed_at + first_action_offset` of the bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionChunk {
    /// Echo of [`InferenceRequest::id`].
    pub request_id: u64,
    /// Echo of [`InferenceRequest::generation`].
    pub generation: Generation,
    /// Instant of the observation behind the chunk.
    pub observed_at: Time,
    /// Due time of action 0.
    pub first_due: Time,
    /// Time between actions.
    pub period: std::time::Duration,
    /// The actions, absolute, SI; never empty.
    pub actions: Vec<Action>,
    /// Id of the bundle (SHA-256 of its manifest).
    pub bundle_id: Arc<str>,
    /// Frames behind the observation.
    pub frames: Vec<FrameRef>,
    /// What each stage took.
    pub stages: StageTimes,
}

impl ActionChunk {
    /// Due time of action `i`.
    pub fn due(&self, i: usize) -> Time {
        self.first_due + self.period.saturating_mul(i as u32)
    }

    /// Due time of the last action.
    pub fn last_due(&self) -> Time {
        self.due(self.actions.len().saturating_sub(1))
    }
}

/// The engine's answer when there is no chunk. A request is never left without an answer silently.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Echo of [`InferenceRequest::id`].
    pub request_id: u64,
    /// Echo of [`InferenceRequest::generation`].
    pub generation: Generation,
    /// Why.
    pub reason: RefusalReason,
}

/// Why the engine made no chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// A stream that the policy needs has never delivered.
    Missing {
        /// `camera/<name>` or `proprioception`.
        stream: String,
    },
    /// A stream's newest message is older than its bound.
    Stale {
        /// `camera/<name>` or `proprioception`.
        stream: String,
        /// Its age, milliseconds.
        age_millis: u64,
        /// The bound, milliseconds.
        limit_millis: u64,
    },
    /// The policy failed or produced something that is not a finite action.
    Policy {
        /// What happened.
        message: String,
    },
}

/// Maps an observation to a chunk of absolute actions.
pub trait Policy: Send {
    /// Runs the policy once. Fills the chunk's compute stages ([`crate::Stage::Decode`] .. [`crate::Stage::Denoise`]).
    ///
    /// # Errors
    /// [`PolicyError`] when an image cannot be decoded, a graph fails or an output is not finite.
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError>;

    /// Work on one frame that can be done before the others of its observation are there. The default does nothing.
    fn prepare(&mut self, _frame: &CameraFrame) {}

    /// Camera names in the order the policy wants its frames.
    fn cameras(&self) -> &[Arc<str>];

    /// Id of the bundle behind it.
    fn bundle_id(&self) -> &Arc<str>;

    /// Execution provider that runs the graphs, for example `cpu`.
    fn provider(&self) -> &str;
}

/// Why a policy made no chunk.
#[derive(Debug, thiserror::Error)]
#[error("policy stage `{stage}`: {reason}")]
pub struct PolicyError {
    /// Stage that failed, for example `decode` or `denoise`.
    pub stage: &'static str,
    /// What happened.
    pub reason: String,
}
