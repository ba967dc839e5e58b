//! Chunks of a policy that really ran, played back: a drill needs the same chunks thousands of times, not new ones.
//!
//! The chunk that is given for an observation is the one that the policy made where the arm was nearest to where it is
//! now, so that an arm that was held up goes on from there. Decides nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use tactus_types::{
    ActionChunk, CameraFrame, InferenceRequest, JointState, Observation, Policy, PolicyError,
};

/// What a policy made of which joint state.
pub type Chunks = Vec<(JointState, ActionChunk)>;

/// A policy whose chunks are kept.
pub struct Recording<P> {
    /// The policy.
    pub policy: P,
    /// What it has made.
    pub chunks: Arc<Mutex<Chunks>>,
}

impl<P: Policy> Policy for Recording<P> {
    fn infer(&mut self, o: &Observation, r: &InferenceRequest) -> Result<ActionChunk, PolicyError> {
        let chunk = self.policy.infer(o, r)?;
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.push((o.state, chunk.clone()));
        Ok(chunk)
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

/// Kept chunks as a policy.
pub struct Recorded {
    /// The chunks of one episode, in the order they were made.
    pub chunks: Arc<Chunks>,
    /// Cameras of the policy that made them.
    pub cameras: Vec<Arc<str>>,
    /// Its bundle.
    pub bundle_id: Arc<str>,
}

impl Policy for Recorded {
    fn infer(&mut self, o: &Observation, r: &InferenceRequest) -> Result<ActionChunk, PolicyError> {
        let distance = |state: &JointState| state.q.zip(&o.state.q, |a, b| a - b).max_abs();
        let nearest = self
            .chunks
            .iter()
            .min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)));
        let Some((_, chunk)) = nearest else {
            return Err(PolicyError {
                stage: "playback",
                reason: "no chunk was recorded".into(),
            });
        };
        let offset = chunk.first_due.since(chunk.observed_at);
        Ok(ActionChunk {
            request_id: r.id,
            generation: r.generation,
            observed_at: o.observed_at,
            first_due: o.observed_at + offset,
            ..chunk.clone()
        })
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.cameras
    }

    fn bundle_id(&self) -> &Arc<str> {
        &self.bundle_id
    }

    fn provider(&self) -> &str {
        "playback"
    }
}
