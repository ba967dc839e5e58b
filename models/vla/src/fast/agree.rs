//! What the language model would have done, beside what was done: its answer's action tokens against a chunk's.
//!
//! Decides how the two are compared: by the reward that aligned the model ([`tactus_fast::reward`]), with the tokens of the
//! chunk as the target, and by how far the actions that the answer spells are from the chunk's. Does not decide which chunk is
//! right: a chunk of the action head is what the head made of the same observation, no truth.

use std::time::{Duration, Instant};

use tactus_fast::{Reward, read_answer, reward};
use tactus_types::{Action, ActionChunk, InferenceRequest, Observation, PolicyError};

use super::FastPolicy;
use crate::{error::InferError, policy::check_observation};

/// How an answer agrees with a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// Form and matching tokens.
    pub reward: Reward,
    /// Tokens of the whole answer, and of the chunk alone.
    pub tokens: (usize, usize),
    /// Where the answer spells a chunk: mean absolute difference of its joint targets, rad, and of its openings, over all
    /// actions and joints.
    pub apart: Option<(f64, f64)>,
    /// What the answer took.
    pub took: Duration,
}

impl FastPolicy {
    /// What the language model answers to `observation`, against `chunk`, which was made of it.
    ///
    /// # Errors
    /// [`PolicyError`] when the observation is not the policy's, when `chunk` is no chunk of this bundle's shape, or when a
    /// graph fails. An answer that is none is no error: it agrees in nothing.
    pub fn agree(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        chunk: &ActionChunk,
    ) -> Result<Agreement, PolicyError> {
        self.compare(observation, request, chunk)
            .map_err(|e| e.at("decoder"))
    }

    fn compare(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
        chunk: &ActionChunk,
    ) -> Result<Agreement, InferError> {
        let started = Instant::now();
        check_observation(&self.cameras, self.arm_joints, observation)?;
        let anchor = self.anchor(observation, request)?;
        let rows = self.columns.rows_of(&chunk.actions, &anchor)?;
        let target = self.codec.encode(&rows).map_err(|e| InferError::Answer {
            tokens: 0,
            finish: "not asked",
            reason: format!("the chunk cannot be spelled: {e}"),
        })?;
        let said = self.say(&observation.frames, &request.instruction, started)?;
        let took = started.elapsed();
        let answer = read_answer(&said.ids, &self.tags).ok();
        let spelled = self.rows(&said).ok();
        let apart = match spelled {
            Some(rows) => {
                let rows = rows.chunks_exact(self.columns.len()).map(<[f64]>::to_vec);
                let open = observation.state.opening >= 0.5;
                let actions = self.columns.actions_of(rows, &anchor, open);
                actions
                    .ok()
                    .and_then(|spelled| apart(&spelled, &chunk.actions))
            }
            None => None,
        };
        Ok(Agreement {
            reward: reward(answer.as_ref().map(|a| &a.actions[..]), &target),
            tokens: (said.ids.len(), target.len()),
            apart,
            took,
        })
    }
}

/// Mean absolute differences of joint targets and openings; `None` of nothing.
fn apart(a: &[Action], b: &[Action]) -> Option<(f64, f64)> {
    let (mut joints, mut openings, mut numbers, mut rows) = (0.0, 0.0, 0usize, 0usize);
    for (a, b) in a.iter().zip(b) {
        for (a, b) in a.q.iter().zip(b.q.iter()) {
            joints += (a - b).abs();
            numbers += 1;
        }
        openings += (a.opening - b.opening).abs();
        rows += 1;
    }
    (numbers > 0).then(|| (joints / numbers as f64, openings / rows as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_types::JointVec;

    #[test]
    fn the_distance_is_a_mean_over_joints_and_actions() {
        let action = |q: [f64; 2], opening| Action {
            q: JointVec::from_slice(&q).expect("two"),
            opening,
        };
        let a = [action([0.0, 1.0], 1.0), action([0.0, 1.0], 0.0)];
        let b = [action([0.1, 1.0], 1.0), action([0.0, 1.3], 0.5)];
        let (joints, openings) = apart(&a, &b).expect("some");
        assert!((joints - 0.1).abs() < 1e-12 && (openings - 0.25).abs() < 1e-12);
        assert_eq!(apart(&[], &b), None);
    }
}
