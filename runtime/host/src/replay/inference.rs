//! Inference again: every recorded chunk from its recorded request and observation, by the live policy.
//!
//! Decides what of two chunks is compared. What was observed is decided in [`super::observed`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tactus_record::read::Recorded;
use tactus_types::{ActionChunk, InferenceRequest, Observation, Policy, Time};
use tactus_wire::Topic;

use super::observed::Observed;

/// One chunk that was inferred again.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkReport {
    /// Its request.
    pub request_id: u64,
    /// When it was observed.
    pub observed_at: Time,
    /// Largest difference of a joint target over all actions that both have, rad; 0 and `equal`: bit for bit.
    pub joint_rad: f64,
    /// Largest difference of an opening.
    pub opening: f64,
    /// The same number of actions at the same times, and every bit of them the same.
    pub equal: bool,
    /// What each stage took, now.
    pub inference: Duration,
}

/// What the replay of a file's chunks found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InferenceReport {
    /// Chunks that were inferred again.
    pub chunks: Vec<ChunkReport>,
    /// Chunks that could not be, and why: the first of each reason, and how many.
    pub left_out: BTreeMap<String, u64>,
    /// Bundles behind the recorded chunks.
    pub bundles: Vec<Arc<str>>,
}

impl InferenceReport {
    /// Chunks equal bit for bit.
    pub fn equal(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.equal).count()
    }

    /// Chunks that differ by no more than `tolerance`, rad for joints and 1 for openings.
    pub fn within(&self, tolerance: f64) -> usize {
        let near = |c: &&ChunkReport| c.equal || c.joint_rad.max(c.opening) <= tolerance;
        self.chunks.iter().filter(near).count()
    }
}

/// Takes the messages of one cell in a file's order.
pub struct Inference {
    policy: Box<dyn Policy>,
    observed: Observed,
    report: InferenceReport,
}

impl Inference {
    /// Nothing has been taken yet.
    pub fn new(policy: Box<dyn Policy>) -> Self {
        Self {
            observed: Observed::new(policy.cameras()),
            policy,
            report: InferenceReport::default(),
        }
    }

    /// Takes a message on `topic` of the cell, and infers when it is a chunk.
    pub fn take(&mut self, topic: &Topic, message: &Recorded<'_>) {
        let Some((chunk, behind)) = self.observed.take(topic, message) else {
            return;
        };
        if !self.report.bundles.contains(&chunk.bundle_id) {
            self.report.bundles.push(chunk.bundle_id.clone());
        }
        let again =
            behind.and_then(|(observation, request)| self.infer(&chunk, &observation, &request));
        match again {
            Ok(report) => self.report.chunks.push(report),
            Err(why) => *self.report.left_out.entry(why).or_default() += 1,
        }
    }

    /// What was found.
    pub fn finish(self) -> InferenceReport {
        self.report
    }

    /// Chunks so far.
    pub fn done(&self) -> usize {
        self.report.chunks.len()
    }

    fn infer(
        &mut self,
        recorded: &ActionChunk,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ChunkReport, String> {
        let again = self.policy.infer(observation, request);
        let again = again.map_err(|e| format!("the policy failed: {}: {}", e.stage, e.reason))?;
        Ok(compare(recorded, &again))
    }
}

fn compare(recorded: &ActionChunk, again: &ActionChunk) -> ChunkReport {
    let pairs = recorded.actions.iter().zip(&again.actions);
    let (mut joint_rad, mut opening) = (0.0f64, 0.0f64);
    let mut equal = recorded.actions.len() == again.actions.len()
        && recorded.first_due == again.first_due
        && recorded.period == again.period;
    for (a, b) in pairs {
        let numbers = a.q.iter().zip(b.q.iter());
        for (a, b) in numbers {
            joint_rad = joint_rad.max((a - b).abs());
            equal &= a.to_bits() == b.to_bits();
        }
        opening = opening.max((a.opening - b.opening).abs());
        equal &= a.opening.to_bits() == b.opening.to_bits() && a.q.len() == b.q.len();
    }
    ChunkReport {
        request_id: recorded.request_id,
        observed_at: recorded.observed_at,
        joint_rad,
        opening,
        equal,
        inference: again.stages.inference(),
    }
}
