//! What each stage of a chunk takes for the policy as a cell opened it: its threads, provider, steps and conditioning.
//!
//! Decides what a probe runs on: the bundle's own golden images and instruction, an arm at rest, and for conditioned
//! policies the chunk before as what is still planned. Does not judge the times; that is `tactus-control`'s `feasible`.

use std::time::{Duration, Instant};

use tactus_types::{Action, Conditioning, Encoding, JointVec, Stage, TimedAction};

use crate::error::VlaError;
use crate::golden::GoldenInput;
use crate::measure::{STAGES, StageCost, WARM_UP, cost};
use crate::policy::VlaPolicy;

/// What a probe measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Each of [`STAGES`].
    pub stages: Vec<(Stage, StageCost)>,
    /// Chunks measured, after those that do not count.
    pub chunks: usize,
}

impl VlaPolicy {
    /// Measures at most `chunks` chunks of `conditioning`, and ends after `within` with at least one; `on_chunk` is
    /// called after each.
    ///
    /// # Errors
    /// [`VlaError`] when the bundle has no golden case or an inference fails.
    pub fn probe(
        &mut self,
        conditioning: Conditioning,
        chunks: usize,
        within: Duration,
        mut on_chunk: impl FnMut(),
    ) -> Result<Probe, VlaError> {
        let bundle = self.bundle().clone();
        let cases = bundle.golden()?;
        let case = cases.first().ok_or(VlaError::NoGoldenCase)?;
        let input = GoldenInput {
            case,
            manifest: bundle.manifest(),
        };
        let mut observation = input.observation(Encoding::Jpeg)?;
        observation.state.q = JointVec::zeros(self.arm_joints());
        observation.state.dq = JointVec::zeros(self.arm_joints());
        let mut request = input.request(self.parts().action_columns)?;
        request.conditioning = conditioning;
        let rest = TimedAction {
            due: observation.observed_at,
            action: Action {
                q: observation.state.q,
                opening: observation.state.opening,
            },
        };
        request.leftover = [rest].into_iter().collect();
        let mut stages: [Vec<Duration>; STAGES.len()] = Default::default();
        let begun = Instant::now();
        for i in 0..WARM_UP + chunks {
            request.seed += 1;
            for frame in &mut observation.frames {
                frame.seq += 1;
            }
            let started = Instant::now();
            let chunk = self.infer_anyway(&observation, &request)?;
            if conditioning != Conditioning::None {
                request.expected_delay = started.elapsed();
                let planned = |(i, action)| TimedAction {
                    due: chunk.due(i),
                    action,
                };
                request.leftover = chunk
                    .actions
                    .iter()
                    .copied()
                    .enumerate()
                    .map(planned)
                    .collect();
            }
            // Where a chunk takes seconds, the warm-up of opening has to do.
            if i < WARM_UP && begun.elapsed() < within / 4 {
                continue;
            }
            for (times, stage) in stages.iter_mut().zip(STAGES) {
                times.push(chunk.stages.get(stage));
            }
            on_chunk();
            if begun.elapsed() > within {
                break;
            }
        }
        let measured = stages.first().map_or(0, Vec::len);
        Ok(Probe {
            stages: STAGES
                .into_iter()
                .zip(stages.into_iter().map(|times| cost(times, None)))
                .collect(),
            chunks: measured,
        })
    }
}
