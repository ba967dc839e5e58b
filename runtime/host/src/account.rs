//! Accounting: what every tick and every chunk took, as quantiles over a run, and which stage was over its budget.
//!
//! Takes measured times; measures nothing itself.

use std::time::Duration;

use hdrhistogram::Histogram;
use tactus_types::{ActionChunk, Budget, Stage, StageTimes, Time};

/// Quantiles of a duration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quantiles {
    /// Median.
    pub p50: Duration,
    /// 99 %.
    pub p99: Duration,
    /// 99.9 %.
    pub p999: Duration,
    /// Largest.
    pub max: Duration,
}

/// Longest duration that is counted as itself; anything longer counts as this.
const LONGEST: u64 = 60_000_000_000;

/// Durations from 1 ns to a minute, to three digits. Recording never allocates.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        // The constructor fails only for a range below 2 or more than 5 digits.
        Self(histogram.unwrap_or_else(|_| unreachable!("1 ns to 1 min in 3 digits is legal")))
    }
}

impl Durations {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos.clamp(1, LONGEST));
    }

    /// Counts what `other` counted.
    pub fn add(&mut self, other: &Self) {
        // Both have the same range, so every value of one has a place in the other.
        let _ = self.0.add(&other.0);
    }

    /// Number of durations counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Quantiles of what was counted; zeros for nothing.
    pub fn quantiles(&self) -> Quantiles {
        let at = |q| Duration::from_nanos(self.0.value_at_quantile(q));
        Quantiles {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(self.0.max()),
        }
    }
}

/// Times of one chunk that entered the scheduler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkTimes {
    /// Request behind it.
    pub request_id: u64,
    /// Every stage.
    pub stages: StageTimes,
    /// Inside ONNX Runtime.
    pub inference: Duration,
    /// Newest frame received to engine free.
    pub queue: Duration,
    /// From the later of newest frame received and engine free, to chunk accepted, less `inference`.
    pub overhead: Duration,
    /// Observation to accepted.
    pub latency: Duration,
}

impl ChunkTimes {
    /// Times of `chunk`, published at `published_at`, taken by a tick at `taken_at`, and accepted `decided_in` later.
    ///
    /// The engine defines capture and transport so that `observed_at + capture + transport` is the instant at which the
    /// newest frame was received; adding the queue gives the instant from which the overhead counts.
    pub fn new(
        chunk: &ActionChunk,
        published_at: Time,
        taken_at: Time,
        decided_in: Duration,
    ) -> Self {
        let accepted_at = taken_at + decided_in;
        let mut stages = chunk.stages;
        stages.set(Stage::Deliver, taken_at.since(published_at));
        stages.set(Stage::Limit, decided_in);
        let queue = stages.get(Stage::Queue);
        let ready =
            chunk.observed_at + stages.get(Stage::Capture) + stages.get(Stage::Transport) + queue;
        let inference = stages.inference();
        Self {
            request_id: chunk.request_id,
            stages,
            inference,
            queue,
            overhead: accepted_at.since(ready).saturating_sub(inference),
            latency: accepted_at.since(chunk.observed_at),
        }
    }
}

/// Quantiles of everything over a run.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Lateness of control ticks.
    pub lateness: Durations,
    /// Age of the observation behind each policy command when it was applied.
    pub age: Durations,
    /// Inside ONNX Runtime, per chunk.
    pub inference: Durations,
    /// See [`ChunkTimes::overhead`].
    pub overhead: Durations,
    /// See [`ChunkTimes::queue`].
    pub queue: Durations,
    /// Each stage, in the order of [`Stage::ALL`].
    pub stages: [Durations; Stage::ALL.len()],
    /// Chunks of which a stage was over its budget, per guilty stage.
    pub over_budget: [u64; Stage::ALL.len()],
    /// Ticks whose deadline passed before the thread asked for it.
    pub overruns: u64,
    /// Ticks.
    pub ticks: u64,
}

impl Account {
    /// Counts a chunk; returns the stage that was furthest over its budget, and by how much.
    pub fn chunk(&mut self, times: &ChunkTimes, budget: &Budget) -> Option<(Stage, Duration)> {
        self.inference.record(times.inference);
        self.overhead.record(times.overhead);
        self.queue.record(times.queue);
        for stage in Stage::ALL {
            if let Some(durations) = self.stages.get_mut(stage as usize) {
                durations.record(times.stages.get(stage));
            }
        }
        let guilty = times.stages.guilty(budget);
        if let Some((stage, _)) = guilty
            && let Some(count) = self.over_budget.get_mut(stage as usize)
        {
            *count += 1;
        }
        guilty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_types::Generation;

    #[test]
    fn overhead_is_everything_after_ready_that_is_not_inference() {
        let ms = Duration::from_millis;
        let mut stages = StageTimes::default();
        for (stage, millis) in [
            (Stage::Capture, 5),
            (Stage::Transport, 1),
            (Stage::Queue, 2),
            (Stage::Decode, 1),
            (Stage::Vision, 4),
            (Stage::Denoise, 6),
        ] {
            stages.set(stage, ms(millis));
        }
        let observed_at = Time::from_millis(100);
        let chunk = ActionChunk {
            request_id: 3,
            generation: Generation::default(),
            observed_at,
            first_due: observed_at,
            period: ms(50),
            actions: vec![],
            bundle_id: "b".into(),
            states: None,
            frames: vec![],
            stages,
        };
        // Ready at 108; accepted at 123: 15 ms, of which 10 ms inference.
        let times = ChunkTimes::new(
            &chunk,
            Time::from_millis(120),
            Time::from_millis(121),
            ms(2),
        );
        assert_eq!(times.inference, ms(10));
        assert_eq!(times.overhead, ms(5));
        assert_eq!(times.stages.get(Stage::Deliver), ms(1));
        assert_eq!(times.stages.get(Stage::Limit), ms(2));
        assert_eq!(times.latency, ms(23));
    }

    #[test]
    fn quantiles_keep_three_digits() {
        let mut d = Durations::default();
        (1..=1000u64).for_each(|us| d.record(Duration::from_micros(us)));
        let q = d.quantiles();
        assert!(
            q.p50.abs_diff(Duration::from_micros(500)) < Duration::from_micros(2),
            "{q:?}"
        );
        assert!(
            q.max.abs_diff(Duration::from_micros(1000)) < Duration::from_micros(2),
            "{q:?}"
        );
        assert_eq!(Durations::default().quantiles(), Quantiles::default());
    }
}
