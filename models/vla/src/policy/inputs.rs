//! What a chunk is made from: the prompt, the state, the noise, and what the leftover commits to or draws towards.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tactus_bundle::Anchor;
use tactus_types::{Action, Conditioning, InferenceRequest, Jacobian, JointState, Observation};

use super::VlaPolicy;
use crate::{
    error::InferError,
    gripper::commanded_opening,
    guide::{guidance_weight, soft_mask},
    leftover::{RowTimes, commanded_at, planned_rows},
    position::position_ids,
    sequence::PromptTensors,
};

/// How the steps of one chunk run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Steps {
    /// As they are; committed rows are in the prefix.
    Plain,
    /// Through the guided graph.
    Guided,
    /// As they are, corrected by the host after each with the identity for the derivative.
    Identity { beta: f64 },
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

impl VlaPolicy {
    /// Token ids and positions depend on nothing but the instruction, and on the state where the prompt says it, so they are
    /// made when these change.
    pub(super) fn set_prompt(
        &mut self,
        instruction: &Arc<str>,
        state: &JointState,
    ) -> Result<(), InferError> {
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

    /// Writes all but pictures and prompt, and says how the steps are to run.
    pub(super) fn set_inputs(
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

    /// Where the arm was at the observation, for actions that count from there, and what its gripper was commanded to.
    pub(super) fn anchor(
        &self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<Action, InferError> {
        let JointState { q, opening, .. } = observation.state;
        let (leftover, at) = (request.leftover.as_slice(), observation.observed_at);
        match self.bundle.manifest().action.anchor {
            Anchor::Measured => Ok(Action {
                q,
                opening: commanded_opening(leftover, at, opening),
            }),
            Anchor::Command => commanded_at(leftover, at)
                .filter(|command| command.q.len() == q.len())
                .ok_or(InferError::NoCommand),
        }
    }
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
