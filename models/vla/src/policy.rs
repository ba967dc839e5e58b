//! [`VlaPolicy`]: an observation and a request in, a chunk of absolute actions with due times out.
//!
//! Decides in which order a chunk is made and what of the time is whose. `open` makes it ready; `inputs` says what a chunk is
//! made from.

mod inputs;
mod open;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tactus_bundle::{Bundle, Graph};
use tactus_types::{
    Action, ActionChunk, CameraFrame, InferenceRequest, Observation, Policy, PolicyError, Stage,
    StageTimes,
};

use self::inputs::Steps;
pub(crate) use self::inputs::{Noise, check_observation};
pub use self::open::VlaOptions;
use crate::{
    dual_rate::Features,
    error::InferError,
    gripper::open_before,
    guide::{Pull, guidance_weight, identity_step},
    images::Images,
    leftover::RowTimes,
    normalise::{ActionColumns, StateColumns},
    patch::Grid,
    prompt::Prompter,
    sequence::Sequence,
};

/// A bundle, ready to infer.
pub struct VlaPolicy {
    bundle: Bundle,
    cameras: Vec<Arc<str>>,
    arm_joints: usize,
    images: Images,
    grids: Vec<Grid>,
    prompter: Prompter,
    /// Instruction that the sequence's prompt was made of, and the state in words where prompts say it.
    instruction: Option<Arc<str>>,
    said: Option<String>,
    state_columns: StateColumns,
    action_columns: ActionColumns,
    sequence: Sequence,
    features: Features,
    /// Where the leftover draws the rows of the chunk being made, for guidance by the host: target and weight.
    pull: Option<(Vec<f32>, Vec<f32>)>,
}

impl VlaPolicy {
    /// Denoising steps of a chunk.
    pub fn steps(&self) -> usize {
        self.sequence.steps()
    }

    /// How long features serve chunks after their own; zero: every chunk has its own.
    pub fn features_every(&self) -> Duration {
        self.features.every()
    }

    /// Joints of the arm that it was opened for.
    pub fn arm_joints(&self) -> usize {
        self.arm_joints
    }

    /// The bundle behind the policy.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// As [`Policy::infer`], with the noise given instead of seeded: `[horizon * columns]`, standard normal.
    pub(crate) fn infer_from(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        noise: Noise<'_>,
    ) -> Result<ActionChunk, PolicyError> {
        let made = self.denoised(observation, request, noise)?;
        let started = Instant::now();
        let actions = self.actions(observation, request, &made);
        let actions = actions.map_err(|e| e.at(Stage::Denoise.name()))?;
        Ok(self.chunk(observation, request, made, (actions, started.elapsed())))
    }

    /// As [`Policy::infer`], to see what it takes: where tool poses are out of reach, or there is no arm, the chunk is one at
    /// rest.
    ///
    /// # Errors
    /// [`PolicyError`] as [`Policy::infer`], but for such poses.
    pub(crate) fn infer_anyway(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        // All of it, whatever serves.
        self.features.forget();
        let made = self.denoised(observation, request, Noise::Seed(request.seed))?;
        let started = Instant::now();
        let actions = match self.actions(observation, request, &made) {
            Err(InferError::Action { .. }) => {
                vec![made.anchor; self.bundle.manifest().action.horizon]
            }
            made => made.map_err(|e| e.at(Stage::Denoise.name()))?,
        };
        Ok(self.chunk(observation, request, made, (actions, started.elapsed())))
    }

    /// What the rows of the chunk in the sequence mean for the arm.
    fn actions(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        made: &Denoised,
    ) -> Result<Vec<Action>, InferError> {
        let (leftover, measured) = (request.leftover.as_slice(), observation.state.opening);
        let open = open_before(leftover, made.times.first_due, measured);
        let x = self.sequence.x(self.sequence.steps())?;
        let rows = x.chunks_exact(self.bundle.manifest().action.width);
        self.action_columns.actions(rows, &made.anchor, open)
    }

    /// The chunk of `actions`, which took `sought` to find.
    fn chunk(
        &self,
        observation: &Observation,
        request: &InferenceRequest,
        made: Denoised,
        (actions, sought): (Vec<Action>, Duration),
    ) -> ActionChunk {
        let Denoised {
            mut stages, times, ..
        } = made;
        stages.set(Stage::Preprocess, stages.get(Stage::Preprocess) + sought);
        ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due: times.first_due,
            period: times.period,
            actions,
            bundle_id: Arc::clone(self.bundle.id()),
            states: None,
            frames: self.features.frames(),
            stages,
        }
    }

    /// Everything of [`VlaPolicy::infer_from`] but what the rows mean for an arm.
    pub(crate) fn denoised(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        noise: Noise<'_>,
    ) -> Result<Denoised, PolicyError> {
        let mut stages = StageTimes::default();
        check_observation(&self.cameras, self.arm_joints, observation)
            .map_err(|e| e.at(Stage::Assemble.name()))?;

        let preprocess = Stage::Preprocess.name();
        let generation = request.generation;
        let looks = self.instruction.as_ref() != Some(&request.instruction)
            || !self.features.serve(observation.observed_at, generation);
        let mut patch = Duration::ZERO;
        if looks {
            self.features.forget();
            let pixel_values = self
                .sequence
                .pixel_values()
                .map_err(|e| InferError::from(e).at(preprocess))?;
            let took = self
                .images
                .run(&observation.frames, pixel_values)
                .map_err(|e| InferError::from(e).at(Stage::Decode.name()))?;
            stages.set(Stage::Decode, took.decode);
            patch = took.patch;
        }
        let started = Instant::now();
        let action = &self.bundle.manifest().action;
        let times = RowTimes {
            first_due: observation.observed_at + action.first_action_offset,
            period: action.period,
        };
        let anchor = self
            .anchor(observation, request)
            .map_err(|e| e.at(preprocess))?;
        self.set_prompt(&request.instruction, &observation.state)
            .map_err(|e| e.at(preprocess))?;
        let steps = self
            .set_inputs(observation, request, (times, &anchor), noise)
            .map_err(|e| e.at(preprocess))?;
        stages.set(Stage::Preprocess, patch + started.elapsed());

        let all = [
            (Stage::Vision, Sequence::run_vision as Run),
            (Stage::Backbone, Sequence::run_backbone),
            (Stage::Context, Sequence::run_context),
        ];
        let launched = Instant::now();
        let ran = all.into_iter().skip(if looks { 0 } else { 2 });
        for (stage, run) in ran.clone() {
            let took = run(&mut self.sequence).map_err(|e| InferError::from(e).at(stage.name()))?;
            stages.set(stage, took);
        }
        if looks {
            self.features.made(observation, generation);
        }
        let took = self.denoise(steps);
        stages.set(
            Stage::Denoise,
            took.map_err(|e| InferError::from(e).at(Stage::Denoise.name()))?,
        );
        self.device_stages(&mut stages, ran.map(|(stage, _)| stage), launched.elapsed());
        Ok(Denoised {
            stages,
            times,
            anchor,
        })
    }

    /// On a device runs return before they are done, and only the last step waits. So what the graphs before it took is
    /// asked of the device, and all the rest of the `whole` is the steps': nothing is left out.
    fn device_stages(
        &self,
        stages: &mut StageTimes,
        ran: impl Iterator<Item = Stage>,
        whole: Duration,
    ) {
        let mut rest = whole;
        for stage in ran {
            let graph = match stage {
                Stage::Vision => Graph::Vision,
                Stage::Backbone => Graph::Backbone,
                _ => Graph::Context,
            };
            let Some(took) = self.sequence.device_time(graph) else {
                return;
            };
            stages.set(stage, took);
            rest = rest.saturating_sub(took);
        }
        stages.set(Stage::Denoise, rest);
    }

    /// All denoising steps; the time inside ONNX Runtime.
    fn denoise(&mut self, steps: Steps) -> Result<Duration, tactus_onnx::OnnxError> {
        let count = self.sequence.steps();
        let dt = 1.0 / count as f32;
        let mut took = Duration::ZERO;
        for step in 0..count {
            took += match steps {
                Steps::Plain | Steps::Identity { .. } => self.sequence.run_denoise(step)?,
                Steps::Guided => self.sequence.run_guided(step)?,
            };
            if let (Steps::Identity { beta }, Some((target, weight))) = (steps, &self.pull) {
                let tau = step as f64 / count as f64;
                let pull = Pull {
                    target,
                    weight,
                    guidance: guidance_weight(tau, beta) as f32,
                };
                let (x, x_next) = self.sequence.around(step)?;
                identity_step(x, x_next, tau as f32, dt, &pull);
            }
        }
        Ok(took)
    }

    pub(crate) fn parts(&mut self) -> Parts<'_> {
        Parts {
            grids: &self.grids,
            prompter: &self.prompter,
            state_columns: &self.state_columns,
            action_columns: &self.action_columns,
            sequence: &mut self.sequence,
        }
    }
}

/// A chunk in the sequence, and what its rows count from.
pub(crate) struct Denoised {
    stages: StageTimes,
    times: RowTimes,
    anchor: Action,
}

/// The policy's parts, for verification of each by itself.
pub(crate) struct Parts<'a> {
    pub grids: &'a [Grid],
    pub prompter: &'a Prompter,
    pub state_columns: &'a StateColumns,
    pub action_columns: &'a ActionColumns,
    pub sequence: &'a mut Sequence,
}

type Run = fn(&mut Sequence) -> Result<Duration, tactus_onnx::OnnxError>;

impl Policy for VlaPolicy {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        self.infer_from(observation, request, Noise::Seed(request.seed))
    }

    fn prepare(&mut self, frame: &CameraFrame) {
        self.images.prepare(frame);
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.cameras
    }

    fn bundle_id(&self) -> &Arc<str> {
        self.bundle.id()
    }

    fn provider(&self) -> &str {
        self.sequence.provider().name()
    }
}
