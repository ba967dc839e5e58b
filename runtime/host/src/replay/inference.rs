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
    /// The same number of actions of as many joints at the same times, and numbers all of them: only then the differences say
    /// how far the two are apart.
    pub alike: bool,
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
    /// Chunks that could not be, and why: each reason, and how many.
    pub left_out: BTreeMap<String, u64>,
    /// How many of those the policy failed to infer, though all that it needs is in the file.
    pub failed: u64,
    /// Bundles behind the recorded chunks.
    pub bundles: Vec<Arc<str>>,
}

impl InferenceReport {
    /// Chunks equal bit for bit.
    pub fn equal(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.equal).count()
    }

    /// Chunks that differ by no more than `tolerance`, rad for joints and 1 for openings; at 0 the ones that are equal.
    pub fn within(&self, tolerance: f64) -> usize {
        let near = |c: &&ChunkReport| {
            c.equal || tolerance > 0.0 && c.alike && c.joint_rad.max(c.opening) <= tolerance
        };
        self.chunks.iter().filter(near).count()
    }

    /// Whether there are chunks, the policy inferred every one that it could, and all are within `tolerance`.
    pub fn is_within(&self, tolerance: f64) -> bool {
        !self.chunks.is_empty() && self.failed == 0 && self.within(tolerance) == self.chunks.len()
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
        let again = behind.and_then(|(observation, request)| {
            let again = self.infer(&chunk, &observation, &request);
            self.report.failed += u64::from(again.is_err());
            again
        });
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
    let (mut joint_rad, mut opening) = (0.0f64, 0.0f64);
    let mut equal = true;
    let mut alike = recorded.actions.len() == again.actions.len()
        && recorded.first_due == again.first_due
        && recorded.period == again.period;
    for (a, b) in recorded.actions.iter().zip(&again.actions) {
        alike &= a.q.len() == b.q.len();
        let numbers = a.q.iter().zip(b.q.iter());
        for (a, b) in numbers {
            joint_rad = joint_rad.max((a - b).abs());
            alike &= a.is_finite() && b.is_finite();
            equal &= a.to_bits() == b.to_bits();
        }
        opening = opening.max((a.opening - b.opening).abs());
        alike &= a.opening.is_finite() && b.opening.is_finite();
        equal &= a.opening.to_bits() == b.opening.to_bits();
    }
    ChunkReport {
        request_id: recorded.request_id,
        observed_at: recorded.observed_at,
        joint_rad,
        opening,
        alike,
        equal: equal && alike,
        inference: again.stages.inference(),
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::{Action, Generation, JointVec, StageTimes};

    use super::*;

    fn chunk(q: &[f64]) -> ActionChunk {
        ActionChunk {
            request_id: 1,
            generation: Generation::default(),
            observed_at: Time::from_millis(100),
            first_due: Time::from_millis(150),
            period: Duration::from_millis(50),
            actions: q
                .iter()
                .map(|q| Action {
                    q: JointVec::from_fn(2, |_| *q),
                    opening: 0.5,
                })
                .collect(),
            bundle_id: "b".into(),
            states: None,
            frames: vec![],
            stages: StageTimes::default(),
        }
    }

    fn of(again: &ActionChunk) -> InferenceReport {
        InferenceReport {
            chunks: vec![compare(&chunk(&[0.1, 0.2]), again)],
            ..InferenceReport::default()
        }
    }

    #[test]
    fn a_chunk_of_other_times_or_lengths_is_within_no_tolerance() {
        assert!(of(&chunk(&[0.1, 0.2])).is_within(0.0));
        let near = of(&chunk(&[0.1, 0.2 + 1e-6]));
        assert!(!near.is_within(0.0) && near.is_within(1e-5) && !near.is_within(1e-7));
        let mut late = chunk(&[0.1, 0.2]);
        late.first_due = Time::from_millis(151);
        let mut slow = chunk(&[0.1, 0.2]);
        slow.period = Duration::from_millis(51);
        let mut fewer = chunk(&[0.1, 0.2]);
        fewer.actions[0].q = JointVec::from_fn(1, |_| 0.1);
        for other in [
            late,
            slow,
            fewer,
            chunk(&[0.1]),
            chunk(&[]),
            chunk(&[0.1, f64::NAN]),
        ] {
            let found = of(&other);
            assert!(!found.is_within(0.0) && !found.is_within(1.0), "{found:?}");
        }
    }

    #[test]
    fn a_policy_that_fails_holds_nothing() {
        let mut found = of(&chunk(&[0.1, 0.2]));
        found.failed = 1;
        assert!(!found.is_within(1.0));
        assert!(!InferenceReport::default().is_within(1.0));
    }
}
