//! [`VlaPolicy`]: an observation and a request in, a chunk of absolute actions with due times out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tactus_bundle::{Anchor, Bundle, Graph};
use tactus_onnx::{OnnxRuntime, Place, Provider, SessionOptions};
use tactus_types::{
    Action, ActionChunk, ArmInfo, CameraFrame, Conditioning, Encoding, Generation,
    InferenceRequest, Jacobian, JointState, JointVec, Observation, Policy, PolicyError, Stage,
    StageTimes, Time, TimedAction,
};

use crate::{
    dual_rate::Features,
    error::{InferError, VlaError},
    gripper::open_before,
    guide::{Pull, guidance_weight, identity_step, soft_mask},
    images::Images,
    leftover::{RowTimes, commanded_at, planned_rows},
    normalise::{ActionColumns, StateColumns},
    patch::Grid,
    position::{VisionIndex, position_ids},
    prompt::Prompter,
    sequence::{PromptTensors, Sequence, SequenceSpec},
};

/// How a policy is opened.
#[derive(Debug, Clone)]
pub struct VlaOptions<'a> {
    /// `libonnxruntime.so`; `None` looks for the checkout's.
    pub ort_library: Option<PathBuf>,
    /// Threads of one operator, 1 or more. Leave cores to the control loop.
    pub intra_threads: usize,
    /// Provider to try first.
    pub provider: Provider,
    /// Whether another provider than that is an error, and not a warning.
    pub require_provider: bool,
    /// The arm's joints, in the order of every joint vector.
    pub joints: &'a [String],
    /// The arm they belong to, for policies whose actions are tool poses; `None` where there is none, as in verification.
    pub arm: Option<&'a ArmInfo>,
    /// What requests will ask for. Guidance with the exact derivative takes a graph of its own.
    pub conditioning: Conditioning,
    /// Fewer denoising steps than the bundle says: quicker, and further from what the policy was verified at. `None` is
    /// the bundle's own number.
    pub denoise_steps: Option<usize>,
    /// How long features serve chunks after their own, where the bundle permits it; zero: every chunk has its own.
    pub features_every: Duration,
}

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

/// How the steps of one chunk run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Steps {
    /// As they are; committed rows are in the prefix.
    Plain,
    /// Through the guided graph.
    Guided,
    /// As they are, corrected by the host after each with the identity for the derivative.
    Identity { beta: f64 },
}

impl VlaPolicy {
    /// Opens the bundle in `bundle_dir`: checks every file, finds the joints by name, opens and checks the graphs,
    /// and infers once on grey images, so that the first real inference is not the slow one.
    ///
    /// # Errors
    /// [`VlaError`] for the first thing that is wrong.
    pub fn open(bundle_dir: impl AsRef<Path>, options: VlaOptions<'_>) -> Result<Self, VlaError> {
        Self::open_bundle(Bundle::open(bundle_dir)?, options)
    }

    /// As [`VlaPolicy::open`], for a bundle that is open.
    ///
    /// # Errors
    /// As [`VlaPolicy::open`].
    pub fn open_bundle(bundle: Bundle, options: VlaOptions<'_>) -> Result<Self, VlaError> {
        let mut policy = Self::of_bundle(bundle, options, Place::Device)?;
        policy.warm_up()?;
        Ok(policy)
    }

    /// As [`VlaPolicy::open`], for an open bundle, without the first inference; `links` as in [`Sequence::open`].
    pub(crate) fn of_bundle(
        bundle: Bundle,
        options: VlaOptions<'_>,
        links: Place,
    ) -> Result<Self, VlaError> {
        let VlaOptions {
            ort_library,
            intra_threads,
            provider,
            require_provider,
            joints,
            arm,
            conditioning,
            denoise_steps,
            features_every,
        } = options;
        let guided = offers(&bundle, conditioning)?;
        let steps_in = match conditioning {
            Conditioning::Guided {
                jacobian: Jacobian::Identity,
                ..
            } => Place::Host,
            _ => links,
        };
        let manifest = bundle.manifest();
        let most = manifest.denoise.steps;
        let steps = denoise_steps.unwrap_or(most);
        if !(1..=most).contains(&steps) {
            return Err(VlaError::Steps {
                bundle: bundle.dir().to_path_buf(),
                most,
                actual: steps,
            });
        }
        let oldest = manifest.action.max_feature_age;
        if features_every > oldest {
            return Err(VlaError::FeatureAge {
                bundle: bundle.dir().to_path_buf(),
                most: oldest,
                actual: features_every,
            });
        }
        let state_columns = StateColumns::new(&bundle, joints)?;
        let action_columns = ActionColumns::new(&bundle, joints, arm)?;
        let images = Images::new(manifest)?;
        let grids = images.grids();
        let vision = &manifest.vision;
        let tokens: Vec<usize> = grids
            .iter()
            .map(|grid| grid.patches() / (vision.merge * vision.merge))
            .collect();
        let prompter = Prompter::open(
            &bundle.tokenizer_path(),
            &manifest.prompt,
            manifest.backbone.padding.as_ref(),
            &tokens,
        )?;
        let index = VisionIndex::new(&grids, vision);
        let runtime = OnnxRuntime::load(ort_library.as_deref(), provider)?;
        let session_options = SessionOptions {
            provider,
            required: require_provider,
            intra_threads,
        };
        let sequence = Sequence::open(
            &bundle,
            &runtime,
            session_options,
            &index,
            SequenceSpec {
                links,
                steps_in,
                guided,
                steps,
            },
        )?;
        Ok(Self {
            cameras: manifest
                .cameras
                .iter()
                .map(|camera| camera.name.as_str().into())
                .collect(),
            arm_joints: joints.len(),
            images,
            grids,
            prompter,
            instruction: None,
            said: None,
            state_columns,
            action_columns,
            sequence,
            features: Features::new(features_every),
            bundle,
            pull: None,
        })
    }

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

    /// Infers once on grey images at rest and returns what each stage took. The first run of a process allocates
    /// and is slower than those that follow; `tactus doctor` asks again.
    ///
    /// # Errors
    /// [`PolicyError`] as [`Policy::infer`].
    pub fn warm_up(&mut self) -> Result<StageTimes, PolicyError> {
        let zero = JointVec::zeros(self.arm_joints);
        let frame = |camera: &tactus_bundle::CameraSpec| CameraFrame {
            camera: camera.name.as_str().into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 0,
            width: camera.width as u32,
            height: camera.height as u32,
            encoding: Encoding::Rgb8,
            data: vec![128; camera.width * camera.height * 3].into(),
        };
        let state = JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 0,
            q: zero,
            dq: zero,
            opening: 0.0,
            torque: true,
        };
        let observation = Observation {
            observed_at: Time::ZERO,
            frames: self.bundle.manifest().cameras.iter().map(frame).collect(),
            state,
        };
        let request = InferenceRequest {
            id: 0,
            generation: Generation::default(),
            instruction: "hold still".into(),
            observe_after: Time::ZERO,
            deadline: Time::ZERO,
            expected_delay: Duration::ZERO,
            leftover: [TimedAction {
                due: Time::ZERO,
                action: Action {
                    q: zero,
                    opening: 0.0,
                },
            }]
            .into_iter()
            .collect(),
            conditioning: Conditioning::None,
            seed: 0,
        };
        let chunk = self.infer_anyway(&observation, &request)?;
        Ok(chunk.stages)
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

    /// Token ids and positions depend on nothing but the instruction, and on the state where the prompt says it, so they are
    /// made when these change.
    fn set_prompt(&mut self, instruction: &Arc<str>, state: &JointState) -> Result<(), InferError> {
        let normalised = self.sequence.state()?;
        self.state_columns.normalise(state, normalised);
        let said = self.prompter.state_words(normalised);
        if self.instruction.as_ref() == Some(instruction) && self.said == said {
            return Ok(());
        }
        self.forget_instruction();
        let tokens = self
            .prompter
            .encode(instruction, said.as_deref().unwrap_or_default())?;
        let manifest = self.bundle.manifest();
        let position_ids = position_ids(
            manifest.backbone.position_ids,
            &tokens.ids,
            &tokens.attention_mask,
            self.prompter.image_token(),
            &self.grids,
            manifest.vision.merge,
        );
        self.sequence.set_prompt(PromptTensors {
            input_ids: &tokens.ids,
            image_rows: &tokens.image_rows,
            position_ids: &position_ids,
            attention_mask: &tokens.attention_mask,
        })?;
        self.instruction = Some(Arc::clone(instruction));
        self.said = said;
        Ok(())
    }

    /// The next inference makes its prompt anew.
    pub(crate) fn forget_instruction(&mut self) {
        self.instruction = None;
        self.features.forget();
    }

    fn set_inputs(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        (times, anchor): (RowTimes, &Action),
        noise: Noise<'_>,
    ) -> Result<Steps, InferError> {
        self.state_columns
            .normalise(&observation.state, self.sequence.state()?);
        noise.write(self.sequence.noise()?);
        let action = &self.bundle.manifest().action;
        let hand_over = observation.observed_at + request.expected_delay;
        let decided = times.due_by(hand_over, action.horizon);
        let planned = |rows| planned_rows(request.leftover.as_slice(), times, rows);
        let (values, mask) = self.sequence.prefix()?;
        values.fill(0.0);
        mask.fill(0.0);
        let (planned, beta, jacobian) = match request.conditioning {
            Conditioning::None => return Ok(Steps::Plain),
            Conditioning::Prefix => {
                let committed = planned(decided.min(action.max_prefix));
                let rows = values.chunks_exact_mut(action.width);
                self.action_columns.normalise(&committed, anchor, rows)?;
                mask.iter_mut()
                    .take(committed.len())
                    .for_each(|row| *row = 1.0);
                return Ok(Steps::Plain);
            }
            Conditioning::Guided { beta, jacobian } => (planned(action.horizon), beta, jacobian),
        };
        if planned.is_empty() {
            return Ok(Steps::Plain);
        }
        // Columns that the head was padded with are drawn to 0, which is what it was padded with.
        let mut target = vec![0.0; action.horizon * action.width];
        let rows = target.chunks_exact_mut(action.width);
        self.action_columns.normalise(&planned, anchor, rows)?;
        let weight = soft_mask(action.horizon, decided, planned.len());
        match jacobian {
            Jacobian::Identity => {
                self.pull = Some((target, weight));
                Ok(Steps::Identity { beta })
            }
            Jacobian::Exact if self.sequence.is_guided() => {
                let steps = self.sequence.steps() as f64;
                let guidance = |step| guidance_weight(step as f64 / steps, beta) as f32;
                let (to, of) = self.sequence.pull(guidance)?;
                to.copy_from_slice(&target);
                of.copy_from_slice(&weight);
                Ok(Steps::Guided)
            }
            Jacobian::Exact => Err(InferError::Conditioning {
                expected: "what the policy was opened for",
                actual: "guidance with the exact derivative".into(),
            }),
        }
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

    /// Where the arm was at the observation, for actions that count from there.
    fn anchor(
        &self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<Action, InferError> {
        let JointState { q, opening, .. } = observation.state;
        match self.bundle.manifest().action.anchor {
            Anchor::Measured => Ok(Action { q, opening }),
            Anchor::Command => commanded_at(request.leftover.as_slice(), observation.observed_at)
                .filter(|command| command.q.len() == q.len())
                .ok_or(InferError::NoCommand),
        }
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

/// Whether the observation holds what the bundle asks for: its cameras in its order, finite joints of the arm.
pub(crate) fn check_observation(
    cameras: &[Arc<str>],
    arm_joints: usize,
    observation: &Observation,
) -> Result<(), InferError> {
    let error = |field: &str, expected: String, actual: String| {
        Err(InferError::Observation {
            field: field.into(),
            expected,
            actual,
        })
    };
    let frames: Vec<&str> = observation
        .frames
        .iter()
        .map(|frame| &*frame.camera)
        .collect();
    if !frames
        .iter()
        .copied()
        .eq(cameras.iter().map(|name| &**name))
    {
        return error("frames", cameras.join(", "), frames.join(", "));
    }
    let JointState { q, opening, .. } = &observation.state;
    if q.len() != arm_joints {
        return error(
            "state.q",
            format!("{} joints", arm_joints),
            q.len().to_string(),
        );
    }
    if !(q.is_finite() && opening.is_finite()) {
        return error(
            "state",
            "finite numbers".into(),
            format!("{q:?}, opening {opening}"),
        );
    }
    Ok(())
}

type Run = fn(&mut Sequence) -> Result<Duration, tactus_onnx::OnnxError>;

/// Whether the guided graph has to be opened for `conditioning`.
fn offers(bundle: &Bundle, conditioning: Conditioning) -> Result<bool, VlaError> {
    let error = |asked, expected| VlaError::Conditioning {
        bundle: bundle.dir().to_path_buf(),
        asked,
        expected,
    };
    let manifest = bundle.manifest();
    match conditioning {
        Conditioning::Prefix if manifest.action.max_prefix == 0 => Err(error(
            "rtc-prefix",
            "a policy trained with committed actions (`action.max_prefix` above 0)",
        )),
        Conditioning::Guided {
            jacobian: Jacobian::Exact,
            ..
        } => match manifest
            .graphs()
            .any(|(graph, _)| graph == Graph::DenoiseVjp)
        {
            true => Ok(true),
            false => Err(error("rtc-guided", "the graph `denoise_vjp`")),
        },
        Conditioning::None | Conditioning::Prefix | Conditioning::Guided { .. } => Ok(false),
    }
}

/// Where the noise comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Noise<'a> {
    /// Standard normal numbers of this seed.
    Seed(u64),
    /// These numbers.
    Given(&'a [f32]),
}

impl Noise<'_> {
    fn write(self, out: &mut [f32]) {
        match self {
            Self::Seed(seed) => {
                let random = ChaCha8Rng::seed_from_u64(seed).sample_iter(StandardNormal);
                out.iter_mut()
                    .zip(random)
                    .for_each(|(out, value)| *out = value);
            }
            Self::Given(values) => {
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, value)| *out = *value);
            }
        }
    }
}

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
