//! The latency budget: how the time from photon to motion is split, and how it is accounted for.

use std::time::Duration;

/// Stages from sensor to motor, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Sensor to encoded frame, in the camera process.
    Capture,
    /// Camera process to engine.
    Transport,
    /// Frame received to engine free.
    Queue,
    /// Choosing frames and interpolating proprioception.
    Assemble,
    /// JPEG to pixels.
    Decode,
    /// Pixels to patches, words to tokens, position ids.
    Preprocess,
    /// The vision graph.
    Vision,
    /// The language model's first layers.
    Backbone,
    /// What the head computes once per chunk.
    Context,
    /// All denoising steps.
    Denoise,
    /// Engine to scheduler.
    Deliver,
    /// Setpoint to command.
    Limit,
    /// Command to device.
    Actuate,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 13] = [
        Self::Capture,
        Self::Transport,
        Self::Queue,
        Self::Assemble,
        Self::Decode,
        Self::Preprocess,
        Self::Vision,
        Self::Backbone,
        Self::Context,
        Self::Denoise,
        Self::Deliver,
        Self::Limit,
        Self::Actuate,
    ];

    /// Name in cell files, reports and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Transport => "transport",
            Self::Queue => "queue",
            Self::Assemble => "assemble",
            Self::Decode => "decode",
            Self::Preprocess => "preprocess",
            Self::Vision => "vision",
            Self::Backbone => "backbone",
            Self::Context => "context",
            Self::Denoise => "denoise",
            Self::Deliver => "deliver",
            Self::Limit => "limit",
            Self::Actuate => "actuate",
        }
    }

    /// The stages that run inside ONNX Runtime.
    pub fn is_inference(self) -> bool {
        matches!(
            self,
            Self::Vision | Self::Backbone | Self::Context | Self::Denoise
        )
    }
}

/// What each stage of one chunk took. Unmeasured stages are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes([Duration; Stage::ALL.len()]);

impl StageTimes {
    /// Time of `stage`.
    pub fn get(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// Sets the time of `stage`.
    pub fn set(&mut self, stage: Stage, time: Duration) {
        self.0[stage as usize] = time;
    }

    /// Time spent inside ONNX Runtime.
    pub fn inference(&self) -> Duration {
        Stage::ALL
            .iter()
            .filter(|s| s.is_inference())
            .map(|s| self.get(*s))
            .sum()
    }

    /// The stage that is furthest over `budget`, if any is.
    pub fn guilty(&self, budget: &Budget) -> Option<(Stage, Duration)> {
        Stage::ALL
            .iter()
            .map(|s| (*s, self.get(*s).saturating_sub(budget.get(*s))))
            .filter(|(_, over)| !over.is_zero())
            .max_by_key(|(_, over)| *over)
    }
}

/// Declared time per stage, plus a margin that belongs to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    stages: StageTimes,
    /// Time that no stage may plan with.
    pub margin: Duration,
}

impl Budget {
    /// A budget of the given stage times and margin.
    pub fn new(stages: StageTimes, margin: Duration) -> Self {
        Self { stages, margin }
    }

    /// Time declared for `stage`.
    pub fn get(&self, stage: Stage) -> Duration {
        self.stages.get(stage)
    }

    /// All stages and the margin.
    pub fn total(&self) -> Duration {
        Stage::ALL.iter().map(|s| self.get(*s)).sum::<Duration>() + self.margin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_order_is_the_array_order() {
        for (i, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(*stage as usize, i);
        }
    }

    #[test]
    fn the_guilty_stage_is_the_one_furthest_over() {
        let ms = Duration::from_millis;
        let mut declared = StageTimes::default();
        Stage::ALL.iter().for_each(|s| declared.set(*s, ms(10)));
        let budget = Budget::new(declared, ms(5));
        let mut times = StageTimes::default();
        assert_eq!(times.guilty(&budget), None);
        times.set(Stage::Decode, ms(11));
        times.set(Stage::Denoise, ms(14));
        assert_eq!(times.guilty(&budget), Some((Stage::Denoise, ms(4))));
        assert_eq!(budget.total(), ms(135));
        assert_eq!(times.inference(), ms(14));
    }
}
