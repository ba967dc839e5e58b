//! What a family offers beside chunks: what a cell is checked against before anything moves.

use std::{sync::Arc, time::Duration};

use tactus_bundle::Outline;
use tactus_direct::DirectPolicy;
use tactus_types::{
    ActionChunk, CameraFrame, Conditioning, InferenceRequest, Observation, Policy, PolicyError,
    StageTimes,
};
use tactus_vla::{FastPolicy, Probe, VlaPolicy};

use crate::open::OpenError;

/// A policy that a cell can be checked against.
pub trait Served: Policy {
    /// What it says of itself: cameras, joints, shape of a chunk.
    fn outline(&self) -> Outline;

    /// Denoising steps of a chunk as it was opened; 1 where a chunk is made at once.
    fn steps(&self) -> usize {
        1
    }

    /// How long features serve chunks after their own; zero: every chunk has its own.
    fn features_every(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether it may make chunks for several arms in turns: not where a chunk needs what was seen for the one before.
    fn serves_several(&self) -> bool {
        self.features_every().is_zero()
    }

    /// Makes a chunk of grey pictures of an arm at rest and returns what each stage took.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be made.
    fn warm_up(&mut self) -> Result<StageTimes, OpenError>;

    /// Measures at most `chunks` chunks of `conditioning`, and ends after `within` with at least one.
    ///
    /// # Errors
    /// [`OpenError`] when a chunk cannot be made.
    fn probe(
        &mut self,
        conditioning: Conditioning,
        chunks: usize,
        within: Duration,
    ) -> Result<Probe, OpenError>;
}

impl Policy for Box<dyn Served> {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        (**self).infer(observation, request)
    }

    fn prepare(&mut self, frame: &CameraFrame) {
        (**self).prepare(frame);
    }

    fn cameras(&self) -> &[Arc<str>] {
        (**self).cameras()
    }

    fn bundle_id(&self) -> &Arc<str> {
        (**self).bundle_id()
    }

    fn provider(&self) -> &str {
        (**self).provider()
    }
}

impl Served for VlaPolicy {
    fn outline(&self) -> Outline {
        self.bundle().manifest().into()
    }

    fn steps(&self) -> usize {
        Self::steps(self)
    }

    fn features_every(&self) -> Duration {
        Self::features_every(self)
    }

    fn warm_up(&mut self) -> Result<StageTimes, OpenError> {
        Ok(Self::warm_up(self).map_err(tactus_vla::VlaError::from)?)
    }

    fn probe(
        &mut self,
        conditioning: Conditioning,
        chunks: usize,
        within: Duration,
    ) -> Result<Probe, OpenError> {
        Ok(Self::probe(self, conditioning, chunks, within, || ())?)
    }
}

impl Served for DirectPolicy {
    fn outline(&self) -> Outline {
        self.bundle().outline().clone()
    }

    fn serves_several(&self) -> bool {
        self.bundle().manifest().history.steps == 1
    }

    fn warm_up(&mut self) -> Result<StageTimes, OpenError> {
        Ok(Self::warm_up(self)?)
    }

    fn probe(
        &mut self,
        _: Conditioning,
        chunks: usize,
        within: Duration,
    ) -> Result<Probe, OpenError> {
        Ok(Self::probe(self, chunks, within, |_| ())?)
    }
}

impl Served for FastPolicy {
    fn outline(&self) -> Outline {
        Outline {
            steps: 1,
            ..self.bundle().manifest().into()
        }
    }

    fn warm_up(&mut self) -> Result<StageTimes, OpenError> {
        Ok(Self::warm_up(self)?)
    }

    fn probe(
        &mut self,
        _conditioning: Conditioning,
        chunks: usize,
        within: Duration,
    ) -> Result<Probe, OpenError> {
        Ok(Self::probe(self, chunks, within)?)
    }
}
