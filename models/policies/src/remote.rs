//! A policy that a remote OpenPI server runs, as one of the families.
//!
//! Decides what the arm, once it is known, makes of what the cell declares, and refuses what such a policy does not have:
//! conditioning, denoising steps, features that serve longer.

use std::{sync::Arc, time::Duration};

use tactus_bundle::{
    Action, Alignment, Anchor as BundleAnchor, CameraSpec, Normalisation, Outline,
    Representation as BundleRepresentation, State,
};
use tactus_openpi::{
    Anchor, CameraShape, Endpoint, MappingFile, Reads, RemotePolicy, RemoteSpec, Representation,
    Side,
};
use tactus_types::{
    ActionChunk, CameraFrame, Clock, Conditioning, InferenceRequest, Observation, Policy,
    PolicyError, StageTimes,
};
use tactus_vla::{Probe, measure};

use crate::{
    open::{OpenError, Options},
    served::Served,
};

/// What a cell declares of a remote policy, before the arm is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The server.
    pub endpoint: Endpoint,
    /// Actions per chunk.
    pub horizon: usize,
    /// Time between actions.
    pub period: Duration,
    /// From the observation to the due time of action 0.
    pub first_action_offset: Duration,
    /// Where relative actions count from.
    pub anchor: Anchor,
    /// The cell's cameras.
    pub cameras: Vec<CameraShape>,
    /// Keys, and what the numbers are.
    pub keys: MappingFile,
}

/// A remote policy and what it says of itself.
pub(crate) struct Remote {
    policy: RemotePolicy,
    outline: Outline,
}

impl Remote {
    pub(crate) fn open(
        declared: &Declared,
        clock: Option<Arc<dyn Clock>>,
        options: &Options<'_>,
    ) -> Result<Self, OpenError> {
        let refuse = |expected, actual: String| {
            Err(OpenError::Option {
                policy: declared.endpoint.to_string(),
                expected,
                actual,
            })
        };
        if options.conditioning != Conditioning::None {
            return refuse(
                "a strategy without real-time chunking",
                format!("{:?}", options.conditioning),
            );
        }
        if let Some(steps) = options.denoise_steps {
            return refuse("no engine.denoise_steps", steps.to_string());
        }
        if !options.features_every.is_zero() {
            return refuse(
                "no engine.features_every_ms",
                format!("{:?}", options.features_every),
            );
        }
        let gripper = options.arm.is_none_or(|arm| arm.gripper);
        let reads = Reads {
            cameras: declared.cameras.clone(),
            joints: options.joints.to_vec(),
            gripper,
            period: declared.period,
        };
        let mapping = declared.keys.resolve(Side::Client, &reads)?;
        let outline = outline(declared, &reads, &mapping);
        let spec = RemoteSpec {
            endpoint: declared.endpoint.clone(),
            mapping,
            reads,
            horizon: declared.horizon,
            first_action_offset: declared.first_action_offset,
            anchor: declared.anchor,
        };
        let mut policy = RemotePolicy::open(spec, clock)?;
        policy.probe(1, Duration::ZERO, || ())?;
        Ok(Self { policy, outline })
    }
}

/// What the rest of the runtime sees of it. Normalisation is the server's own and none here.
fn outline(declared: &Declared, reads: &Reads, mapping: &tactus_openpi::Mapping) -> Outline {
    let sent = |name: &str| mapping.images.iter().find(|image| image.camera == name);
    let camera = |shape: &CameraShape| {
        sent(&shape.name)?;
        let (width, height) = shape.size.unwrap_or_default();
        Some(CameraSpec {
            name: shape.name.clone(),
            width,
            height,
        })
    };
    let representation = match mapping.actions.representation {
        Representation::AbsoluteJoints => BundleRepresentation::AbsoluteJoints,
        Representation::RelativeJoints => BundleRepresentation::RelativeJoints,
        Representation::JointSteps => BundleRepresentation::JointSteps,
        Representation::JointVelocities => BundleRepresentation::JointVelocities,
    };
    Outline {
        name: declared.endpoint.to_string(),
        cameras: declared.cameras.iter().filter_map(camera).collect(),
        state: State {
            joints: reads.joints.clone(),
            gripper: reads.gripper,
            normalisation: Normalisation::MinMax,
        },
        action: Action {
            joints: reads.joints.clone(),
            gripper: reads.gripper,
            binary_gripper: None,
            representation,
            anchor: match declared.anchor {
                Anchor::Measured => BundleAnchor::Measured,
                Anchor::Command => BundleAnchor::Command,
            },
            tool: None,
            normalisation: Normalisation::MinMax,
            horizon: declared.horizon,
            period: declared.period,
            first_action_offset: declared.first_action_offset,
            alignment: Alignment::StateAtImage,
            max_prefix: 0,
            max_feature_age: Duration::ZERO,
            width: mapping.actions.columns.len(),
        },
        steps: 1,
    }
}

impl Policy for Remote {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        self.policy.infer(observation, request)
    }

    fn prepare(&mut self, frame: &CameraFrame) {
        self.policy.prepare(frame);
    }

    fn cameras(&self) -> &[Arc<str>] {
        self.policy.cameras()
    }

    fn bundle_id(&self) -> &Arc<str> {
        self.policy.bundle_id()
    }

    fn provider(&self) -> &str {
        self.policy.provider()
    }
}

impl Served for Remote {
    fn outline(&self) -> Outline {
        self.outline.clone()
    }

    fn warm_up(&mut self) -> Result<StageTimes, PolicyError> {
        let all = self.policy.probe(1, Duration::ZERO, || ())?;
        Ok(all.last().copied().unwrap_or_default())
    }

    fn probe(
        &mut self,
        _: Conditioning,
        chunks: usize,
        within: Duration,
    ) -> Result<Probe, OpenError> {
        let all = self.policy.probe(chunks, within, || ())?;
        let cost =
            |stage| measure::cost(all.iter().map(|stages| stages.get(stage)).collect(), None);
        Ok(Probe {
            stages: measure::STAGES
                .into_iter()
                .map(|stage| (stage, cost(stage)))
                .collect(),
            chunks: all.len(),
        })
    }
}
