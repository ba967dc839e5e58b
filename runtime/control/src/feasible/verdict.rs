//! What is at fault with a set of times, in the words that an operator reads.

use std::time::Duration;

use tactus_types::Stage;

/// Why a set cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Infeasible {
    /// A tick's work does not fit into its period.
    #[error(
        "stage `{}`: limit and actuate take {} ms, a control period (arm.control_rate_hz) is {} ms",
        stage.name(), ms(work), ms(period)
    )]
    Tick {
        /// The longer of the two.
        stage: Stage,
        /// Both.
        work: Duration,
        /// The control period.
        period: Duration,
    },
    /// A chunk is longer than a scheduler holds.
    #[error("the bundle's chunks have {horizon} actions, a scheduler holds {most}")]
    Horizon {
        /// Actions per chunk.
        horizon: usize,
        /// The most.
        most: usize,
    },
    /// Every action of a chunk is past when it arrives.
    #[error(
        "stage `{}` ({} ms): a chunk is accepted {} ms after its observation, its last action is due after {} ms",
        stage.name(), ms(took), ms(latency), ms(span)
    )]
    Late {
        /// The guilty one.
        stage: Stage,
        /// What it takes.
        took: Duration,
        /// From observation to acceptance.
        latency: Duration,
        /// From observation to the last action.
        span: Duration,
    },
    /// Chunks come too rarely.
    #[error(
        "field `request.trigger`: observations are up to {} ms apart and a chunk takes {} ms, so the next is there \
         {} ms after an observation; the last action is due after {} ms",
        ms(apart),
        ms(latency),
        ms(next_after),
        ms(span)
    )]
    Rare {
        /// Between two observations.
        apart: Duration,
        /// From observation to acceptance.
        latency: Duration,
        /// From an observation to the acceptance of the next chunk.
        next_after: Duration,
        /// From observation to the last action.
        span: Duration,
    },
    /// One request is out at a time, and the way to the next chunk is longer than a chunk lasts.
    #[error(
        "stage `{}` ({} ms): strategy `{strategy}` asks for the next chunk when the last is there, so that is there \
         {} ms after an observation; the last action is due after {} ms",
        stage.name(), ms(took), ms(next_after), ms(span)
    )]
    Sequential {
        /// The guilty one.
        stage: Stage,
        /// What it takes.
        took: Duration,
        /// Name of the strategy.
        strategy: &'static str,
        /// From an observation to the acceptance of the next chunk.
        next_after: Duration,
        /// From observation to the last action.
        span: Duration,
    },
    /// A queue threshold below the time that an answer takes.
    #[error(
        "field `request.trigger.below_ms`: asked for {} ms before the plan ends, an answer takes {} ms (of which stage \
         `{}` {} ms)",
        ms(below), ms(answer), stage.name(), ms(took)
    )]
    Threshold {
        /// The threshold.
        below: Duration,
        /// From request to acceptance.
        answer: Duration,
        /// The guilty stage.
        stage: Stage,
        /// What it takes.
        took: Duration,
    },
    /// More actions play meanwhile than the policy was trained to be told of.
    #[error(
        "stage `{}` ({} ms): strategy `rtc-prefix` commits {rows} actions within a delay of {} ms, the bundle allows \
         {most} (action.max_prefix)",
        stage.name(), ms(took), ms(latency)
    )]
    Prefix {
        /// The guilty stage.
        stage: Stage,
        /// What it takes.
        took: Duration,
        /// From observation to acceptance.
        latency: Duration,
        /// Actions committed.
        rows: usize,
        /// The most that the bundle allows.
        most: usize,
    },
    /// A bound of age or patience that the times in the budget break already.
    #[error(
        "field `{field}`: expected at least {} ms ({what}), got {} ms",
        ms(needed),
        ms(bound)
    )]
    Bound {
        /// The field.
        field: &'static str,
        /// What the time is made of.
        what: &'static str,
        /// What it takes.
        needed: Duration,
        /// What the field allows.
        bound: Duration,
    },
}

/// What works, but not as one would wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caution {
    /// A stage takes longer than declared.
    OverBudget {
        /// The stage.
        stage: Stage,
        /// What it takes.
        took: Duration,
        /// What was declared.
        declared: Duration,
    },
    /// The engine is slower than the trigger asks.
    SlowEngine {
        /// Time of one inference.
        takes: Duration,
        /// Time between requests.
        every: Duration,
    },
    /// An entry ends only at the last action of a chunk.
    Ease {
        /// The entry.
        ease: Duration,
        /// What is left of a chunk on acceptance.
        left: Duration,
    },
}

impl std::fmt::Display for Caution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OverBudget {
                stage,
                took,
                declared,
            } => write!(
                f,
                "over budget: stage `{}` takes {} ms, declared {} ms",
                stage.name(),
                ms(took),
                ms(declared)
            ),
            Self::SlowEngine { takes, every } => write!(
                f,
                "the engine takes {} ms per chunk, request.trigger asks every {} ms: chunks come as it can",
                ms(takes),
                ms(every)
            ),
            Self::Ease { ease, left } => write!(
                f,
                "schedule.ease_ms: {} ms, and {} ms of a chunk are left when it comes: only its last action is met",
                ms(ease),
                ms(left)
            ),
        }
    }
}

/// Milliseconds as a person reads them.
fn ms(time: &Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}
