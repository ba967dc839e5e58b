//! Dual rate: whether the features of an earlier observation serve another chunk, so that only the head runs for it.
//!
//! The head is then given the newest state beside pictures that are older, which a policy has to be trained for: its bundle
//! says how old they may be (`action.max_feature_age_s`), the cell how often they are made anew. Whatever begins a new
//! generation (a start, a resumption, a hand-back) or another instruction has them made anew too.
//!
//! Does not run anything.

use std::time::Duration;

use tactus_types::{FrameRef, Generation, Observation, Time};

/// The features that are in the sequence's buffers.
#[derive(Debug, Default)]
pub struct Features {
    every: Duration,
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    observed_at: Time,
    generation: Generation,
    frames: Vec<FrameRef>,
}

impl Features {
    /// Features that serve for `every` after their observation; zero: for their own only.
    pub fn new(every: Duration) -> Self {
        Self { every, made: None }
    }

    /// For how long they serve.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Whether they serve a chunk that is observed at `observed_at` in `generation`.
    pub fn serve(&self, observed_at: Time, generation: Generation) -> bool {
        self.made.as_ref().is_some_and(|made| {
            made.generation == generation
                && made.observed_at <= observed_at
                && observed_at.since(made.observed_at) < self.every
        })
    }

    /// They were made of `observation`.
    pub fn made(&mut self, observation: &Observation, generation: Generation) {
        self.made = Some(Made {
            observed_at: observation.observed_at,
            generation,
            frames: frames(observation),
        });
    }

    /// They are there no more, or are about to be overwritten.
    pub fn forget(&mut self) {
        self.made = None;
    }

    /// The pictures that they show; nothing before the first.
    pub fn frames(&self) -> Vec<FrameRef> {
        self.made
            .as_ref()
            .map(|m| m.frames.clone())
            .unwrap_or_default()
    }
}

fn frames(observation: &Observation) -> Vec<FrameRef> {
    let of = |frame: &tactus_types::CameraFrame| FrameRef {
        camera: frame.camera.clone(),
        seq: frame.seq,
        captured_at: frame.captured_at,
    };
    observation.frames.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use tactus_types::{JointState, JointVec};

    use super::*;

    fn observation(millis: u64) -> Observation {
        Observation {
            observed_at: Time::from_millis(millis),
            frames: vec![],
            state: JointState {
                captured_at: Time::from_millis(millis),
                seq: 0,
                epoch: 0,
                q: JointVec::zeros(1),
                dq: JointVec::zeros(1),
                opening: 0.0,
                torque: true,
            },
        }
    }

    #[test]
    fn features_serve_for_a_while_and_for_their_generation() {
        let (first, second) = (
            Generation { boot: 1, count: 1 },
            Generation { boot: 1, count: 2 },
        );
        let at = Time::from_millis;
        let mut features = Features::new(Duration::from_millis(200));
        assert!(!features.serve(at(1000), first), "there are none");
        features.made(&observation(1000), first);
        assert!(features.serve(at(1000), first) && features.serve(at(1199), first));
        assert!(!features.serve(at(1200), first), "too old");
        assert!(!features.serve(at(999), first), "observed before them");
        assert!(
            !features.serve(at(1100), second),
            "a new generation looks again"
        );
        features.forget();
        assert!(!features.serve(at(1100), first));
        let mut every_time = Features::new(Duration::ZERO);
        every_time.made(&observation(1000), first);
        assert!(!every_time.serve(at(1000), first));
    }
}
