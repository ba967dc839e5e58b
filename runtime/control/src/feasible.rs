//! Whether a set of times can work at all: stage times, control rate, horizon, trigger, strategy, bounds of age.
//!
//! Decides for the worst case that the stage times allow, before anything moves, and names what is at fault: a stage, or
//! a field of the cell file. Measures nothing; the caller brings declared or probed times.
//!
//! With `F` the slowest camera's frame period, `in = capture + transport`, `E` all stages from assemble to denoise,
//! `d = deliver` (a request is taken to travel as long as an answer) and `m` the margin, a chunk observed at `o`
//!
//! ```text
//! o ----in---- frame at the engine --queue-- E ----d---- accepted          latency L = in + queue + E + d + m
//! o --first_action_offset-- action 0 --(horizon - 1) * period-- last action   covers until o + span
//! ```
//! and the next chunk has to be accepted before `o + span`. While answers travel either further requests are sent
//! ([`crate::RequestSpec::overlap`], with a rate), or none is: then the next is asked for only on acceptance, and a way
//! back of half the span runs dry. A request that meets a frame already there gets one up to `F` older.

use std::time::Duration;

use tactus_types::{Budget, Stage, StageTimes};

use crate::plan::MAX_HORIZON;
use crate::request::{MOST_OUT, RequestSpec, Trigger};
use crate::schedule::ScheduleSpec;
use crate::strategy::Strategy;

#[cfg(test)]
mod tests;
mod verdict;

pub use verdict::{Caution, Infeasible};

/// Stages between the arrival of a frame and the departure of the chunk, while no other inference can run.
const ENGINE: [Stage; 7] = [
    Stage::Assemble,
    Stage::Decode,
    Stage::Preprocess,
    Stage::Vision,
    Stage::Backbone,
    Stage::Context,
    Stage::Denoise,
];

/// What a bundle says about its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkShape {
    /// Actions per chunk.
    pub horizon: usize,
    /// Time between actions.
    pub period: Duration,
    /// From the observation to the due time of action 0.
    pub first_action_offset: Duration,
    /// Longest committed prefix that the policy was trained with, actions.
    pub max_prefix: usize,
}

impl ChunkShape {
    /// From the observation to the due time of the last action.
    pub fn span(&self) -> Duration {
        let steps = u32::try_from(self.horizon.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_action_offset + self.period.saturating_mul(steps)
    }

    /// Actions due within `after` of the observation.
    fn due_within(&self, after: Duration) -> usize {
        match after.checked_sub(self.first_action_offset) {
            Some(rest) if !self.period.is_zero() => {
                let rows = rest.as_nanos() / self.period.as_nanos() + 1;
                usize::try_from(rows)
                    .unwrap_or(usize::MAX)
                    .min(self.horizon)
            }
            _ => 0,
        }
    }
}

/// Everything that has to fit together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// What the stages take: declared, or probed where they could be.
    pub stages: StageTimes,
    /// What they may take, and the margin that must be left.
    pub budget: Budget,
    /// Time between control ticks.
    pub control_period: Duration,
    /// What chunks are like.
    pub chunk: ChunkShape,
    /// When chunks are asked for; `overlap` is the strategy's.
    pub request: RequestSpec,
    /// What becomes of them.
    pub schedule: ScheduleSpec,
    /// Frame period of the slowest camera.
    pub frame_period: Duration,
    /// An older frame is stale.
    pub frame_limit: Duration,
    /// An older joint state is stale.
    pub proprio_limit: Duration,
}

/// What a feasible set amounts to, at worst.
#[derive(Debug, Clone, PartialEq)]
pub struct Feasible {
    /// From observation to acceptance, margin included.
    pub latency: Duration,
    /// Between the observations of two chunks.
    pub apart: Duration,
    /// From an observation to the acceptance of the next chunk.
    pub next_after: Duration,
    /// How long a chunk lasts, from its observation.
    pub span: Duration,
    /// What works, but not as one would wish.
    pub cautions: Vec<Caution>,
}

/// The stage that is furthest over its budget; where none is, the longest on the way from observation to acceptance.
fn guilty(timing: &Timing) -> (Stage, Duration) {
    let over = timing.stages.guilty(&timing.budget).map(|(stage, _)| stage);
    let way = || Stage::ALL.into_iter().filter(|s| *s < Stage::Limit);
    let stage = over
        .filter(|stage| *stage < Stage::Limit)
        .or_else(|| way().max_by_key(|s| timing.stages.get(*s)))
        .unwrap_or(Stage::Denoise);
    (stage, timing.stages.get(stage))
}

/// Whether `timing` can work, at worst.
///
/// # Errors
/// [`Infeasible`]: the first relation that does not hold.
pub fn feasible(timing: &Timing) -> Result<Feasible, Infeasible> {
    let Timing {
        stages,
        budget,
        control_period,
        chunk,
        request,
        schedule,
        frame_period,
        frame_limit,
        proprio_limit,
    } = timing;
    let take = |stage| stages.get(stage);
    let work = take(Stage::Limit) + take(Stage::Actuate);
    if work > *control_period {
        return Err(Infeasible::Tick {
            stage: match take(Stage::Limit) >= take(Stage::Actuate) {
                true => Stage::Limit,
                false => Stage::Actuate,
            },
            work,
            period: *control_period,
        });
    }
    if chunk.horizon > MAX_HORIZON {
        return Err(Infeasible::Horizon {
            horizon: chunk.horizon,
            most: MAX_HORIZON,
        });
    }
    let way_in = take(Stage::Capture) + take(Stage::Transport);
    let engine: Duration = ENGINE.into_iter().map(take).sum();
    let deliver = take(Stage::Deliver);
    // From the start of the work on an observation to acceptance; the margin belongs to no stage and must be left.
    let answer = take(Stage::Queue) + engine + deliver + budget.margin;
    let latency = way_in + answer;
    for (field, what, needed, bound) in [
        (
            "engine.frame_limit_ms",
            "capture, transport and one frame period",
            way_in + *frame_period,
            frame_limit,
        ),
        (
            "arm.proprio_limit_ms",
            "one control period",
            *control_period,
            proprio_limit,
        ),
        (
            "request.answer_within_ms",
            "one frame period and all stages from capture to deliver, and the margin",
            *frame_period + latency,
            &request.answer_within,
        ),
    ] {
        if needed > *bound {
            return Err(Infeasible::Bound {
                field,
                what,
                needed,
                bound: *bound,
            });
        }
    }
    // What is commanded ahead is due earlier, and over earlier.
    let lead = schedule.lead;
    let span = chunk.span().saturating_sub(lead);
    let (stage, took) = guilty(timing);
    if latency >= span {
        return Err(Infeasible::Late {
            stage,
            took,
            latency,
            span,
        });
    }
    let rows = chunk.due_within(latency + lead);
    if schedule.strategy == Strategy::RtcPrefix && rows > chunk.max_prefix {
        return Err(Infeasible::Prefix {
            stage,
            took,
            latency,
            rows,
            most: chunk.max_prefix,
        });
    }
    let (apart, next_after) = next_chunk(timing, way_in, engine, answer);
    if next_after > span {
        return Err(match request.trigger {
            Trigger::Rate { every } if every + *frame_period + latency > span => Infeasible::Rare {
                apart,
                latency,
                next_after,
                span,
            },
            Trigger::Queue { below } if deliver + answer > below => Infeasible::Threshold {
                below,
                answer: deliver + answer,
                stage,
                took,
            },
            _ => Infeasible::Sequential {
                stage,
                took,
                strategy: schedule.strategy.name(),
                next_after,
                span,
            },
        });
    }
    let cautions = cautions(timing, engine, span - latency);
    Ok(Feasible {
        latency,
        apart,
        next_after,
        span,
        cautions,
    })
}

/// At worst: the time between two observations, and from an observation to the acceptance of the next chunk.
fn next_chunk(
    timing: &Timing,
    way_in: Duration,
    engine: Duration,
    answer: Duration,
) -> (Duration, Duration) {
    let (frame, deliver) = (timing.frame_period, timing.stages.get(Stage::Deliver));
    let latency = way_in + answer;
    let every = match timing.request.trigger {
        Trigger::Rate { every } => every,
        Trigger::Continuous | Trigger::Queue { .. } => Duration::ZERO,
    };
    if timing.request.overlap && !every.is_zero() {
        // A trip longer than the requests that may be out last leaves a gap in their beat.
        let trip = deliver + frame + latency;
        let gap = trip.saturating_sub(every * (MOST_OUT as u32 - 1));
        // A request that waits for its frame longer than the beat is replaced by the next one, until no more go out.
        let starved = match way_in + frame > every + deliver {
            true => every * MOST_OUT as u32,
            false => Duration::ZERO,
        };
        // An engine slower than the beat comes to a request that may still have to wait for its frame.
        let busy = match engine > every {
            true => engine + way_in + frame,
            false => Duration::ZERO,
        };
        let beat = every.max(busy).max(gap).max(starved);
        let old = match deliver > way_in || beat > every {
            true => frame,
            false => Duration::ZERO,
        };
        let apart = beat + frame;
        return (apart, apart + latency + old);
    }
    // The request meets a frame that is there already, unless it waits for one of its own.
    let old = match deliver + answer > every {
        true => frame,
        false => Duration::ZERO,
    };
    let asked = match timing.request.trigger {
        Trigger::Queue { below } => (latency + old).max(
            (timing.chunk.span())
                .saturating_sub(timing.schedule.lead)
                .saturating_sub(below),
        ),
        Trigger::Continuous | Trigger::Rate { .. } => latency + old,
    };
    let begun = (asked + deliver).max(every + frame + way_in);
    (begun.saturating_sub(way_in), begun + answer)
}

fn cautions(timing: &Timing, engine: Duration, left: Duration) -> Vec<Caution> {
    let over = Stage::ALL.into_iter().filter_map(|stage| {
        let (took, declared) = (timing.stages.get(stage), timing.budget.get(stage));
        (took > declared).then_some(Caution::OverBudget {
            stage,
            took,
            declared,
        })
    });
    let mut cautions: Vec<Caution> = over.collect();
    if let Trigger::Rate { every } = timing.request.trigger
        && engine > every
    {
        cautions.push(Caution::SlowEngine {
            takes: engine,
            every,
        });
    }
    if timing.schedule.ease > left {
        cautions.push(Caution::Ease {
            ease: timing.schedule.ease,
            left,
        });
    }
    cautions
}
