//! How a policy is opened: what is asked of it held against what its bundle offers, its graphs opened, a first run made.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tactus_bundle::{Bundle, Graph};
use tactus_onnx::{OnnxRuntime, Place, Provider, SessionOptions};
use tactus_types::{
    Action, ArmInfo, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, Jacobian,
    JointState, JointVec, Observation, PolicyError, StageTimes, Time, TimedAction,
};

use super::VlaPolicy;
use crate::{
    dual_rate::Features,
    error::VlaError,
    images::Images,
    normalise::{ActionColumns, StateColumns},
    position::VisionIndex,
    prompt::Prompter,
    sequence::{Sequence, SequenceSpec},
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
        let images = Images::new(manifest, intra_threads)?;
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
}

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
