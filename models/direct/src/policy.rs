//! [`DirectPolicy`]: an observation and a request in, a chunk of absolute actions with due times out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tactus_bundle::{Anchor, DirectBundle, direct::manifest::Others};
use tactus_onnx::{OnnxRuntime, SessionOptions};
use tactus_types::{
    Action, ActionChunk, CameraFrame, Conditioning, FrameRef, InferenceRequest, JointState,
    Observation, Policy, PolicyError, Stage, StageTimes, Time,
};
use tactus_vla::{
    InferError, VlaError, VlaOptions,
    gripper::{commanded_opening, open_before},
    leftover::commanded_at,
    normalise::{ActionColumns, StateColumns},
};

use crate::{
    graph::{DirectGraph, Numbers},
    past::{Pictures, States},
    picture::{PicturePath, PictureTimes},
};

/// Stage in which the one graph runs: chunks report it, and budgets have it, as this one.
pub const STAGE: Stage = Stage::Backbone;

/// A camera: its way, and what came along it.
struct Camera {
    path: PicturePath,
    seen: Pictures,
    free: Vec<u8>,
    took: PictureTimes,
}

/// A bundle of the `direct` family, ready to infer.
pub struct DirectPolicy {
    bundle: DirectBundle,
    names: Vec<Arc<str>>,
    arm_joints: usize,
    cameras: Vec<Camera>,
    states: States,
    state_columns: StateColumns,
    action_columns: ActionColumns,
    graph: DirectGraph,
    /// The last instruction that is not the task, where such are only noted.
    noted: Option<Arc<str>>,
}

impl DirectPolicy {
    /// Opens the graph of `bundle` for an arm, and makes a first chunk, so that the first real one is not the slow one.
    ///
    /// # Errors
    /// [`VlaError`] for the first thing that is wrong; for conditioning, fewer denoising steps or features that serve longer,
    /// none of which one graph has.
    pub fn open(bundle: DirectBundle, options: VlaOptions<'_>) -> Result<Self, VlaError> {
        let mut policy = Self::of_bundle(bundle, options)?;
        policy.warm_up()?;
        Ok(policy)
    }

    /// As [`DirectPolicy::open`], without the first chunk.
    pub(crate) fn of_bundle(
        bundle: DirectBundle,
        options: VlaOptions<'_>,
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
        let dir = || bundle.dir().to_path_buf();
        let asked = match conditioning {
            Conditioning::None => None,
            Conditioning::Prefix => Some("rtc-prefix"),
            Conditioning::Guided { .. } => Some("rtc-guided"),
        };
        if let Some(asked) = asked {
            let expected = "a policy with denoising steps (a `direct` one is a single graph)";
            return Err(VlaError::Conditioning {
                bundle: dir(),
                asked,
                expected,
            });
        }
        if let Some(actual) = denoise_steps.filter(|steps| *steps != 1) {
            return Err(VlaError::Steps {
                bundle: dir(),
                most: 1,
                actual,
            });
        }
        if !features_every.is_zero() {
            return Err(VlaError::FeatureAge {
                bundle: dir(),
                most: Duration::ZERO,
                actual: features_every,
            });
        }
        let manifest = bundle.manifest();
        let outline = &manifest.outline;
        let state_columns = StateColumns::of(&outline.state, &bundle.stats().state, joints)?;
        let action_columns =
            ActionColumns::of(&outline.action, &bundle.stats().action, joints, arm)?;
        let runtime = OnnxRuntime::load(ort_library.as_deref(), provider)?;
        let session_options = SessionOptions {
            provider,
            required: require_provider,
            intra_threads,
        };
        let graph = DirectGraph::open(&bundle, &runtime, session_options)?;
        let specs = outline.cameras.iter().zip(&manifest.pictures);
        Ok(Self {
            names: outline
                .cameras
                .iter()
                .map(|camera| camera.name.as_str().into())
                .collect(),
            arm_joints: joints.len(),
            cameras: specs
                .map(|(spec, picture)| Camera {
                    path: PicturePath::new(spec, picture),
                    seen: Pictures::default(),
                    free: Vec::new(),
                    took: PictureTimes::default(),
                })
                .collect(),
            states: States::default(),
            state_columns,
            action_columns,
            graph,
            noted: None,
            bundle,
        })
    }

    /// The bundle behind the policy.
    pub fn bundle(&self) -> &DirectBundle {
        &self.bundle
    }

    /// Joints of the arm that it was opened for.
    pub fn arm_joints(&self) -> usize {
        self.arm_joints
    }

    /// From the oldest observation that counts to the present one.
    fn span(&self) -> Duration {
        let history = self.bundle.manifest().history;
        history.period.saturating_mul(history.steps as u32 - 1)
    }

    /// Infers with noise of `request.seed`, or `noise` where it is given. Where actions lead nowhere, being tool poses without
    /// an arm for example, an `anyway` chunk is one at rest.
    pub(crate) fn infer_from(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        (noise, anyway): (Option<&[f32]>, bool),
    ) -> Result<ActionChunk, PolicyError> {
        let mut stages = StageTimes::default();
        let preprocess = Stage::Preprocess.name();
        self.task(&request.instruction)?;
        self.check(observation)
            .map_err(|e| e.at(Stage::Assemble.name()))?;
        self.look(observation, request)
            .map_err(|e| e.at(Stage::Decode.name()))?;
        let took = self.cameras.iter().map(|camera| camera.took);
        stages.set(Stage::Decode, took.clone().map(|t| t.decode).sum());
        let fitted: Duration = took.map(|t| t.fit).sum();
        let started = Instant::now();
        self.fill(observation, request.seed, noise)
            .map_err(|e| e.at(preprocess))?;
        stages.set(Stage::Preprocess, fitted + started.elapsed());
        let took = self.graph.run();
        stages.set(
            STAGE,
            took.map_err(|e| InferError::from(e).at(STAGE.name()))?,
        );
        let started = Instant::now();
        let action = &self.bundle.manifest().outline.action;
        let anchor = anchor(action.anchor, observation, request).map_err(|e| e.at(preprocess))?;
        let first_due = observation.observed_at + action.first_action_offset;
        let actions = match self.actions(&anchor, first_due, request) {
            Err(InferError::Action { .. }) if anyway => vec![anchor; action.horizon],
            made => made.map_err(|e| e.at(STAGE.name()))?,
        };
        let total = stages.get(Stage::Preprocess) + started.elapsed();
        stages.set(Stage::Preprocess, total);
        Ok(ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due,
            period: action.period,
            actions,
            bundle_id: Arc::clone(self.bundle.id()),
            states: None,
            frames: observation.frames.iter().map(frame_ref).collect(),
            stages,
        })
    }

    /// Refuses an instruction that is not the policy's task, or notes it, as the bundle says.
    fn task(&mut self, instruction: &Arc<str>) -> Result<(), PolicyError> {
        let task = &self.bundle.manifest().task;
        if task.is(instruction) || self.noted.as_ref() == Some(instruction) {
            return Ok(());
        }
        match task.others {
            Others::Refuse => Err(PolicyError {
                stage: Stage::Preprocess.name(),
                reason: format!(
                    "request: field `instruction`: expected the one task of this policy, `{}`, got `{instruction}`",
                    task.instruction
                ),
            }),
            Others::Note => {
                tracing::warn!(
                    "`{instruction}` is not the task of this policy, which does `{}` whatever is asked",
                    task.instruction
                );
                self.noted = Some(Arc::clone(instruction));
                Ok(())
            }
        }
    }

    /// Whether the observation holds what the bundle asks for: its cameras in its order, finite joints of the arm.
    fn check(&self, observation: &Observation) -> Result<(), InferError> {
        let error = |field: &str, expected: String, actual: String| {
            Err(InferError::Observation {
                field: field.into(),
                expected,
                actual,
            })
        };
        let frames: Vec<&str> = observation.frames.iter().map(|f| &*f.camera).collect();
        if !frames.iter().copied().eq(self.names.iter().map(|n| &**n)) {
            return error("frames", self.names.join(", "), frames.join(", "));
        }
        let JointState { q, opening, .. } = &observation.state;
        if q.len() != self.arm_joints {
            let expected = format!("{} joints", self.arm_joints);
            return error("state.q", expected, q.len().to_string());
        }
        if !(q.is_finite() && opening.is_finite()) {
            let actual = format!("{q:?}, opening {opening}");
            return error("state", "finite numbers".into(), actual);
        }
        Ok(())
    }

    /// Takes in the observation's pictures and state, and what of the past is not its generation's is forgotten.
    fn look(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<(), InferError> {
        let span = self.span();
        let (at, state) = (observation.observed_at, &observation.state);
        let new = self.states.add(at, request.generation, state, span);
        for (camera, frame) in self.cameras.iter_mut().zip(&observation.frames) {
            camera.seen.forget_after(frame.captured_at);
            if new {
                camera.seen.forget_before(frame.captured_at);
            }
            camera.take(frame, span)?;
        }
        Ok(())
    }

    /// Writes every input.
    fn fill(
        &mut self,
        observation: &Observation,
        seed: u64,
        noise: Option<&[f32]>,
    ) -> Result<(), InferError> {
        let history = self.bundle.manifest().history;
        let ago = |time: Time, t: usize| {
            let back = history
                .period
                .saturating_mul((history.steps - 1 - t) as u32);
            Time::from_nanos(time.as_nanos().saturating_sub(back.as_nanos() as u64))
        };
        for (name, numbers) in &mut self.graph.pictures {
            let sharing = |camera: &&Camera| camera.path.picture().input == *name;
            let cameras = self.cameras.iter().filter(sharing).count();
            let frames = self.cameras.iter().zip(&observation.frames);
            let frames = frames.filter(|(camera, _)| sharing(camera));
            for (n, (camera, frame)) in frames.enumerate() {
                let length = camera.path.numbers();
                for t in 0..history.steps {
                    let picture = camera.seen.near(ago(frame.captured_at, t)).unwrap_or(&[]);
                    let from = (t * cameras + n) * length;
                    let place = from..from + length;
                    match numbers {
                        Numbers::F32(buffer) => {
                            if let Some(out) = buffer.write()?.get_mut(place) {
                                camera.path.write(picture, out);
                            }
                        }
                        Numbers::U8(buffer) => {
                            if let Some(out) = buffer.write()?.get_mut(place) {
                                camera.path.write_bytes(picture, out);
                            }
                        }
                    }
                }
            }
        }
        if let Some((_, buffer)) = &mut self.graph.state {
            let out = buffer.write()?;
            let columns = out.len() / history.steps;
            for (t, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
                let mut state = observation.state;
                if let Some(past) = self.states.at(ago(observation.observed_at, t)) {
                    (state.q, state.opening) = (past.q, past.opening);
                }
                self.state_columns.normalise(&state, out);
            }
        }
        if let Some((_, buffer)) = &mut self.graph.noise {
            let out = buffer.write()?;
            let random = ChaCha8Rng::seed_from_u64(seed).sample_iter(StandardNormal);
            match noise {
                Some(given) => out.iter_mut().zip(given).for_each(|(o, v)| *o = *v),
                None => out.iter_mut().zip(random).for_each(|(o, v)| *o = v),
            }
        }
        Ok(())
    }

    /// What the rows that the graph made mean for the arm.
    fn actions(
        &self,
        anchor: &Action,
        first_due: Time,
        request: &InferenceRequest,
    ) -> Result<Vec<Action>, InferError> {
        let manifest = self.bundle.manifest();
        let action = &manifest.outline.action;
        let open = open_before(request.leftover.as_slice(), first_due, anchor.opening);
        let rows = self.graph.chunk()?.chunks_exact(action.width);
        let rows = rows.skip(manifest.chunk.first_row).take(action.horizon);
        self.action_columns.actions(rows, anchor, open)
    }

    /// Forgets what was seen: the next observation has no past.
    pub(crate) fn forget(&mut self) {
        self.states = States::default();
        for camera in &mut self.cameras {
            camera.seen = Pictures::default();
        }
    }

    pub(crate) fn parts(&mut self) -> (&StateColumns, &ActionColumns, &mut DirectGraph) {
        (&self.state_columns, &self.action_columns, &mut self.graph)
    }
}

impl Camera {
    /// Decodes and scales `frame`, unless that is done already.
    fn take(&mut self, frame: &CameraFrame, span: Duration) -> Result<(), InferError> {
        if self.seen.has(frame.captured_at, frame.seq) {
            return Ok(());
        }
        let mut fitted = std::mem::take(&mut self.free);
        self.took = self.path.fit(frame, &mut fitted)?;
        self.free = self.seen.add(frame.captured_at, frame.seq, fitted, span);
        Ok(())
    }
}

fn frame_ref(frame: &CameraFrame) -> FrameRef {
    FrameRef {
        camera: frame.camera.clone(),
        seq: frame.seq,
        captured_at: frame.captured_at,
    }
}

/// Where the arm was at the observation, for actions that count from there, and what its gripper was commanded to.
fn anchor(
    anchor: Anchor,
    observation: &Observation,
    request: &InferenceRequest,
) -> Result<Action, InferError> {
    let JointState { q, opening, .. } = observation.state;
    let (leftover, at) = (request.leftover.as_slice(), observation.observed_at);
    match anchor {
        Anchor::Measured => Ok(Action {
            q,
            opening: commanded_opening(leftover, at, opening),
        }),
        Anchor::Command => commanded_at(leftover, at)
            .filter(|command| command.q.len() == q.len())
            .ok_or(InferError::NoCommand),
    }
}

impl Policy for DirectPolicy {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        self.infer_from(observation, request, (None, false))
    }

    fn prepare(&mut self, frame: &CameraFrame) {
        let span = self.span();
        let named = self.names.iter().position(|name| *name == frame.camera);
        if let Some(camera) = named.and_then(|i| self.cameras.get_mut(i)) {
            // What is wrong with it is said when it is part of an observation.
            drop(camera.take(frame, span));
        }
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.names
    }

    fn bundle_id(&self) -> &Arc<str> {
        self.bundle.id()
    }

    fn provider(&self) -> &str {
        self.graph.provider().name()
    }
}
