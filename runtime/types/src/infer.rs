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

/// Room for timed actions of a [`Leftover`]: two per period of the longest chunks in use, and some.
pub const MAX_LEFTOVER: usize = 128;

/// The part of the plan in force that is still to be executed, sampled at fixed instants in order of time. Held in
/// place, so that the control thread can make one without allocating.
#[derive(Clone)]
pub struct Leftover {
    len: usize,
    actions: [TimedAction; MAX_LEFTOVER],
}

impl Leftover {
    /// Nothing.
    pub fn none() -> Self {
        let nothing = TimedAction {
            due: Time::ZERO,
            action: Action {
                q: JointVec::zeros(0),
                opening: 0.0,
            },
        };
        Self {
            len: 0,
            actions: [nothing; MAX_LEFTOVER],
        }
    }

    /// Appends `action`; false, and nothing happens, when it is full.
    pub fn push(&mut self, action: TimedAction) -> bool {
        match self.actions.get_mut(self.len) {
            Some(slot) => {
                *slot = action;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// The actions.
    pub fn as_slice(&self) -> &[TimedAction] {
        self.actions.get(..self.len).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl FromIterator<TimedAction> for Leftover {
    /// Takes as many as there is room for.
    fn from_iter<I: IntoIterator<Item = TimedAction>>(actions: I) -> Self {
        let mut out = Self::none();
        actions.into_iter().all(|action| out.push(action));
        out
    }
}

impl PartialEq for Leftover {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl std::fmt::Debug for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// What a policy is to do with the [`Leftover`] of a request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Conditioning {
    /// Nothing: every chunk is made from the observation alone.
    #[default]
    None,
    /// The actions due by `observed_at + expected_delay` are given as decided (training-time real-time chunking,
    /// arXiv 2512.05964).
    Prefix,
    /// Denoising is guided towards all of it, fully up to `observed_at + expected_delay` and less and less after that
    /// (inference-time real-time chunking, arXiv 2506.07339).
    Guided {
        /// Largest weight of the guidance.
        beta: f64,
        /// How the correction of the estimate is carried back to the sample.
        jacobian: Jacobian,
    },
}

/// How guidance treats the derivative of the estimate by the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jacobian {
    /// The vector-Jacobian product of the action head itself (arXiv 2506.07339, equation 2).
    Exact,
    /// Taken to be the identity: cheaper, and not the paper's method.
    Identity,
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
    /// What is planned from `observe_after` on; where nothing is, the one action at which the command rests. Actions that
    /// count from the command count from here.
    pub leftover: Leftover,
    /// What the policy is to do with it.
    pub conditioning: Conditioning,
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
    /// When the joint states behind the observation were captured: its proprioception is interpolated between the two,
    /// or is one of them (twice the same). Filled in by the engine; `None` where it was not recorded.
    pub states: Option<[Time; 2]>,
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
        stream: Arc<str>,
    },
    /// A stream's newest message is older than its bound.
    Stale {
        /// `camera/<name>` or `proprioception`.
        stream: Arc<str>,
        /// Its age, milliseconds.
        age_millis: u64,
        /// The bound, milliseconds.
        limit_millis: u64,
    },
    /// A camera sends the same picture although the arm moves.
    Frozen {
        /// `camera/<name>`.
        stream: Arc<str>,
        /// For how long, milliseconds.
        still_millis: u64,
    },
    /// A stream's newest message was captured in the future.
    Ahead {
        /// `camera/<name>` or `proprioception`.
        stream: Arc<str>,
        /// How far, milliseconds.
        ahead_millis: u64,
    },
    /// The engine serves other arms, and has no time for this request besides.
    Overloaded {
        /// What would be too much.
        message: Arc<str>,
    },
    /// The policy failed or produced something that is not a finite action.
    Policy {
        /// What happened.
        message: Arc<str>,
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
