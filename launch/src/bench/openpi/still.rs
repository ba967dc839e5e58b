//! A policy that costs nothing, and the process that serves it to OpenPI clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tactus_openpi::{CameraShape, Front, FrontSpec, MappingFile, Reads, ServerSpec, Side};
use tactus_types::{
    Action, ActionChunk, FrameRef, InferenceRequest, JointVec, Observation, Policy, PolicyError,
    StageTimes,
};
use tactus_wire::MonotonicClock;

use crate::{result, roles};

/// Cameras.
pub(super) const CAMERAS: usize = 2;
/// Their keys.
pub(super) const KEYS: [&str; CAMERAS] = ["observation/image/scene", "observation/image/wrist"];
/// Their names.
pub(super) const NAMES: [&str; CAMERAS] = ["scene", "wrist"];
/// Joints.
pub(super) const JOINTS: usize = 7;
/// Actions.
const HORIZON: usize = 50;
const PERIOD: Duration = Duration::from_millis(20);

/// Returns the same numbers whatever it sees.
pub(super) struct Still {
    cameras: Vec<Arc<str>>,
    id: Arc<str>,
    actions: Vec<Action>,
}

impl Still {
    pub(super) fn new() -> Self {
        let action = |i: usize| Action {
            q: JointVec::from_fn(JOINTS, |j| (i + j) as f64 * 1e-3),
            opening: 1.0,
        };
        Self {
            cameras: NAMES.into_iter().map(Into::into).collect(),
            id: "0".repeat(64).into(),
            actions: (0..HORIZON).map(action).collect(),
        }
    }
}

impl Policy for Still {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        let frames = observation.frames.iter().map(|frame| FrameRef {
            camera: Arc::clone(&frame.camera),
            seq: frame.seq,
            captured_at: frame.captured_at,
        });
        Ok(ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due: observation.observed_at,
            period: PERIOD,
            actions: self.actions.clone(),
            bundle_id: Arc::clone(&self.id),
            states: None,
            frames: frames.collect(),
            stages: StageTimes::default(),
        })
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.cameras
    }

    fn bundle_id(&self) -> &Arc<str> {
        &self.id
    }

    fn provider(&self) -> &str {
        "none"
    }
}

/// The front of it, for pictures of `size`.
pub(super) fn front(size: (usize, usize)) -> anyhow::Result<Front> {
    let camera = |name: &str| CameraShape {
        name: name.into(),
        size: Some(size),
    };
    let reads = Reads {
        cameras: NAMES.into_iter().map(camera).collect(),
        joints: (1..=JOINTS).map(|i| format!("j{i}")).collect(),
        gripper: false,
        period: PERIOD,
    };
    let spec = FrontSpec {
        name: "still".into(),
        mapping: MappingFile::default().resolve(Side::Server, &reads)?,
        reads,
        horizon: HORIZON,
        first_action_offset: Duration::ZERO,
    };
    Ok(Front::new(Box::new(Still::new()), spec))
}

/// Serves it on a free port of loopback, which it prints.
pub(super) fn serve(size: (usize, usize)) -> anyhow::Result<()> {
    let stop = roles::stop_flag(true)?;
    let clock = MonotonicClock::new()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut told = Ok(());
    let ready = |at: SocketAddr| told = result::line(format!("ws://{at}"));
    tactus_openpi::serve(front(size)?, ServerSpec { address }, &clock, &stop, ready)?;
    told
}
