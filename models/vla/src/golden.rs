//! A golden case as the path would meet it: an observation and a request.
//!
//! Decides how golden tensors become frames, joint state and committed actions. Does not decide what is compared with
//! what; that is [`crate::verify`].

use std::time::Duration;

use tactus_bundle::{BundleError, CameraSpec, GoldenCase, Manifest};
use tactus_types::{
    Action, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, JointState,
    JointVec, Observation, Time, TimedAction,
};

use crate::{error::VlaError, gripper::is_open, normalise::ActionColumns};

/// When golden cases were observed. Any time would do.
const OBSERVED_AT: Time = Time::from_millis(1_000);

/// A golden case and the manifest it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoldenInput<'a> {
    pub case: &'a GoldenCase,
    pub manifest: &'a Manifest,
}

impl GoldenInput<'_> {
    /// Golden images in this encoding, and the golden joint state.
    pub fn observation(&self, encoding: Encoding) -> Result<Observation, VlaError> {
        let cameras = self.manifest.cameras.iter();
        let frames: Result<_, VlaError> =
            cameras.map(|camera| self.frame(camera, encoding)).collect();
        Ok(Observation {
            observed_at: OBSERVED_AT,
            frames: frames?,
            state: self.state()?,
        })
    }

    /// The golden instruction, and the golden prefix as committed actions. A prefix of tool poses is left out: without an
    /// arm they are no actions.
    pub fn request(&self, columns: &ActionColumns) -> Result<InferenceRequest, VlaError> {
        let action = &self.manifest.action;
        let state = self.state()?;
        let committed = match action.tool {
            None => self.committed()?,
            Some(_) => 0,
        };
        let rows = self.case.f32("prefix")?.chunks_exact(action.width);
        let due = |row| OBSERVED_AT + action.first_action_offset + action.period * row;
        // The command at the observation is where the golden state is; an action that is due then says it as well.
        let anchor = Action {
            q: state.q,
            opening: state.opening,
        };
        let rest = TimedAction {
            due: OBSERVED_AT,
            action: anchor,
        };
        let prefix = match committed {
            0 => Vec::new(),
            _ => columns
                .actions(rows.take(committed), &anchor, is_open(anchor.opening))
                .map_err(|e| e.at("golden prefix"))?,
        };
        let prefix = (0..).zip(prefix).map(|(row, action)| TimedAction {
            due: due(row),
            action,
        });
        let rest = [rest].into_iter().filter(|rest| rest.due < due(0));
        Ok(InferenceRequest {
            id: 0,
            generation: Generation::default(),
            instruction: self.case.instruction.as_str().into(),
            observe_after: Time::ZERO,
            deadline: Time::ZERO,
            // Every row of the golden prefix is decided, none after it.
            expected_delay: match committed {
                0 => Duration::ZERO,
                rows => action.first_action_offset + action.period * (rows - 1) as u32,
            },
            leftover: rest.chain(prefix).collect(),
            conditioning: Conditioning::Prefix,
            seed: 0,
        })
    }

    /// How many rows of the golden chunk were decided before it was made.
    pub fn committed(&self) -> Result<usize, VlaError> {
        let mask = self.case.f32("prefix_mask")?;
        Ok(mask.iter().filter(|mask| **mask == 1.0).count())
    }

    /// The golden image of `camera`.
    pub fn frame(&self, camera: &CameraSpec, encoding: Encoding) -> Result<CameraFrame, VlaError> {
        let of = match encoding {
            Encoding::Jpeg => "jpeg",
            Encoding::Rgb8 => "rgb",
        };
        Ok(CameraFrame {
            camera: camera.name.as_str().into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 0,
            width: camera.width as u32,
            height: camera.height as u32,
            encoding,
            data: self.case.u8(&format!("{of}.{}", camera.name))?.into(),
        })
    }

    /// The golden joint state. Its joints are in the order of the bundle's state, the policy's in that of its action.
    pub fn state(&self) -> Result<JointState, VlaError> {
        let Manifest { state, action, .. } = self.manifest;
        let raw = self.case.f32("state_raw")?;
        let column = |joint: &String| state.joints.iter().position(|name| name == joint);
        let value = |joint| match column(joint) {
            Some(i) => raw.get(i).map(|v| f64::from(*v)),
            // Any place would do for a joint that neither the policy sees nor its actions count from.
            None => (!action.representation.is_anchored()).then_some(0.0),
        };
        let q: Option<Vec<f64>> = action.joints.iter().map(value).collect();
        let q = q.and_then(|q| JointVec::from_slice(&q));
        match q {
            Some(q) if raw.len() == state.columns() => Ok(JointState {
                captured_at: Time::ZERO,
                seq: 0,
                epoch: 0,
                q,
                dq: JointVec::zeros(q.len()),
                opening: raw.get(state.joints.len()).map_or(0.0, |v| f64::from(*v)),
                torque: true,
            }),
            _ => Err(self.shape("state_raw", state.columns(), raw.len())),
        }
    }

    /// The error of a tensor with another number of values.
    pub fn shape(&self, tensor: &str, expected: usize, actual: usize) -> VlaError {
        VlaError::Bundle(BundleError::Golden {
            file: self.case.file.clone(),
            tensor: tensor.into(),
            expected: format!("{expected} numbers"),
            actual: actual.to_string(),
        })
    }
}
