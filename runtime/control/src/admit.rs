//! Whether one engine can serve several arms: admission, before a first request of an arm is answered.
//!
//! An arm asks at most every so often and wants each answer within a time of its own; an answer takes so much of the engine,
//! which computes one at a time and is not interrupted. Requests are served by the earliest deadline. Decides, for a set of
//! such arms, whether every deadline is met however their requests fall, and if not, why. Measures nothing.
//!
//! The test is that for sporadic tasks under non-preemptive EDF: Jeffay, Stanat and Martel, "On Non-Preemptive Scheduling of
//! Periodic and Sporadic Tasks", RTSS 1991, for deadlines at the end of a period, and George, Rivierre and Spuri, "Preemptive
//! and Non-Preemptive Real-Time Uni-Processor Scheduling", INRIA RR-2966, 1996, for any. With cost `C`, period `T` and
//! deadline `D` of each arm, all deadlines are met if and only if the engine is not overloaded and for every `t` at which
//! some answer may be due
//!
//! ```text
//! sum over arms with D <= t of (floor((t - D) / T) + 1) * C   +   the longest C of an arm with D > t   <=   t
//! ```
//! The second term is what had begun just before, and is let finish.

use std::time::Duration;

use tactus_types::Stage;

use crate::feasible::Timing;
use crate::request::Trigger;

/// Largest share of an engine's time that is given away: with all of it, nothing that is late ever catches up.
pub const MOST_SHARE: f64 = 0.99;
/// Instants that are looked at, at most; a set that needs more is refused. Sixty arms within [`MOST_SHARE`] need fewer.
const MOST_POINTS: u64 = 100_000;

/// What an arm asks of an engine, whatever an answer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Least time between two of its requests.
    pub every: Duration,
    /// It asks again only when it was answered, so no faster than the engine is.
    pub one_at_a_time: bool,
    /// From the instant a request can be answered, its frames being there, to the departure of the chunk.
    pub within: Duration,
    /// What the chunk's way to the arm may take: the engine has to be done so much before the request's deadline.
    pub deliver: Duration,
}

impl Demand {
    /// What the arm of a cell with these times asks.
    ///
    /// The frames of a request are there at most a frame period, capture and transport after the instant that its deadline counts
    /// from, and that much may be lost already when the engine sees it.
    pub fn of(timing: &Timing) -> Self {
        let budget = &timing.budget;
        let answer = timing.request.answer_within;
        let deliver = budget.get(Stage::Deliver);
        let frames =
            timing.frame_period + budget.get(Stage::Capture) + budget.get(Stage::Transport);
        let (every, rate) = match timing.request.trigger {
            Trigger::Rate { every } => (every, true),
            Trigger::Continuous => (timing.frame_period, false),
            // A chunk is at least so fresh when it comes, and lasts that long before the next is asked for.
            Trigger::Queue { below } => (timing.chunk.span().saturating_sub(answer + below), false),
        };
        Self {
            every: every.max(timing.control_period),
            one_at_a_time: !(rate && timing.request.overlap),
            within: answer.saturating_sub(frames + deliver),
            deliver,
        }
    }
}

/// An arm on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// What it asks.
    pub demand: Demand,
    /// What an answer takes of the engine, at most.
    pub cost: Duration,
}

impl Load {
    /// Least time between two requests.
    fn period(&self) -> u128 {
        let every = self.demand.every.as_nanos().max(1);
        match self.demand.one_at_a_time {
            true => every.max(self.cost.as_nanos()),
            false => every,
        }
    }

    fn share(&self) -> f64 {
        self.cost.as_nanos() as f64 / self.period() as f64
    }

    /// What is due of it within `t` nanoseconds, at most.
    fn due(&self, t: u128) -> u128 {
        match t.checked_sub(self.demand.within.as_nanos()) {
            Some(rest) => (rest / self.period() + 1) * self.cost.as_nanos(),
            None => 0,
        }
    }
}

/// Why an engine cannot serve a set of arms.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Overload {
    /// It would have to compute for more time than there is.
    #[error(
        "{arms} arms would keep the engine busy for {:.0} % of its time, {:.0} ms an answer (at most {:.0} %)",
        100.0 * share, 1e3 * cost.as_secs_f64(), 100.0 * MOST_SHARE
    )]
    Busy {
        /// How many arms.
        arms: usize,
        /// Share of its time; 1 is all of it.
        share: f64,
        /// The longest answer.
        cost: Duration,
    },
    /// On average it could, but not in time.
    #[error(
        "{arms} arms may want up to {:.0} ms of inference within {:.0} ms, {:.0} ms an answer",
        1e3 * need.as_secs_f64(), 1e3 * within.as_secs_f64(), 1e3 * cost.as_secs_f64()
    )]
    Late {
        /// How many arms.
        arms: usize,
        /// What may have to be computed ..
        need: Duration,
        /// .. within this.
        within: Duration,
        /// The longest answer.
        cost: Duration,
    },
    /// It cannot be shown within a bounded number of steps.
    #[error("{arms} arms ask so differently that it cannot be shown that every deadline is met")]
    Unclear {
        /// How many arms.
        arms: usize,
    },
}

/// Share of an engine's time that `loads` take; 1 is all of it.
pub fn share(loads: &[Load]) -> f64 {
    loads.iter().map(Load::share).sum()
}

/// Whether an engine that serves by earliest deadline meets every deadline of `loads`.
///
/// # Errors
/// [`Overload`] with what is too much.
pub fn sustainable(loads: &[Load]) -> Result<(), Overload> {
    let arms = loads.len();
    let cost = loads.iter().map(|load| load.cost).max().unwrap_or_default();
    let share = share(loads);
    if share > MOST_SHARE {
        return Err(Overload::Busy { arms, share, cost });
    }
    let horizon = horizon(loads, share);
    let mut points = 0;
    for load in loads {
        let mut t = load.demand.within.as_nanos();
        while t <= horizon {
            if let Some(need) = too_much(loads, t) {
                let nanos = |n: u128| Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX));
                return Err(Overload::Late {
                    arms,
                    need: nanos(need),
                    within: nanos(t),
                    cost,
                });
            }
            points += 1;
            if points > MOST_POINTS {
                return Err(Overload::Unclear { arms });
            }
            t += load.period();
        }
    }
    Ok(())
}

/// What may have to be computed within `t`, where that is more than `t`.
fn too_much(loads: &[Load], t: u128) -> Option<u128> {
    let due: u128 = loads.iter().map(|load| load.due(t)).sum();
    let later = loads.iter().filter(|l| l.demand.within.as_nanos() > t);
    // It began a moment before, so a moment of it is over.
    let begun = later.map(|l| l.cost.as_nanos().saturating_sub(1)).max();
    let need = due + begun.unwrap_or(0);
    (need > t).then_some(need)
}

/// The last instant at which it can be too much, ns: beyond every deadline nothing is begun that is due later, and what is due
/// within `t` is at most `share * t + sum of share_i * (T_i - D_i)` over arms with `D_i < T_i`.
fn horizon(loads: &[Load], share: f64) -> u128 {
    let longest = loads.iter().map(|l| l.demand.within.as_nanos()).max();
    let early = |load: &Load| {
        let (period, within) = (load.period(), load.demand.within.as_nanos());
        load.share() * period.saturating_sub(within) as f64
    };
    let early: f64 = loads.iter().map(early).sum();
    longest
        .unwrap_or(0)
        .max((early / (1.0 - share)).ceil() as u128)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `(cost, period, deadline)`, ns.
    type Task = (u64, u64, u64);

    fn load((cost, every, within): Task) -> Load {
        Load {
            demand: Demand {
                every: Duration::from_nanos(every),
                one_at_a_time: false,
                within: Duration::from_nanos(within),
                deliver: Duration::ZERO,
            },
            cost: Duration::from_nanos(cost),
        }
    }

    fn loads(tasks: &[Task]) -> Vec<Load> {
        tasks.iter().map(|task| load(*task)).collect()
    }

    /// Serves `(released, deadline, cost)` by earliest deadline without interruption, nanosecond by nanosecond; the deadlines that
    /// are missed.
    fn brute_force(mut jobs: Vec<(u64, u64, u64)>) -> Vec<u64> {
        let (mut missed, mut now) = (Vec::new(), 0);
        while !jobs.is_empty() {
            let ready = jobs.iter().enumerate().filter(|(_, job)| job.0 <= now);
            let Some((next, _)) = ready.min_by_key(|(_, job)| job.1) else {
                now += 1;
                continue;
            };
            let (_, deadline, cost) = jobs.swap_remove(next);
            now += cost;
            if now > deadline {
                missed.push(deadline);
            }
        }
        missed
    }

    fn tasks() -> impl Strategy<Value = Vec<Task>> {
        let task = (1..12u64, 4..60u64, 1..90u64);
        prop::collection::vec(task.prop_map(|(c, t, d)| (c, t.max(c), d.max(c))), 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_admitted_never_misses(
            tasks in tasks(), first in prop::collection::vec(0..40u64, 6),
            late in prop::collection::vec(0..9u64, 60),
        ) {
            if sustainable(&loads(&tasks)).is_err() {
                return Ok(());
            }
            let mut jobs = Vec::new();
            let mut late = late.into_iter().cycle();
            for (&(cost, every, within), first) in tasks.iter().zip(first) {
                let mut at = first;
                while at < 400 {
                    jobs.push((at, at + within, cost));
                    at += every + late.next().unwrap_or(0) / 4;
                }
            }
            prop_assert_eq!(brute_force(jobs), Vec::<u64>::new());
        }

        #[test]
        fn what_is_refused_for_lateness_can_miss(tasks in tasks()) {
            let Err(Overload::Late { within, .. }) = sustainable(&loads(&tasks)) else {
                return Ok(());
            };
            // The worst that may happen: the longest that is due later has just begun, then all ask at once, and go on.
            let t = within.as_nanos() as u64;
            let later = tasks.iter().filter(|task| task.2 > t).max_by_key(|task| task.0);
            let mut jobs: Vec<_> = later.map(|&(cost, _, within)| (0, within, cost)).into_iter().collect();
            for &(cost, every, within) in tasks.iter().filter(|task| task.2 <= t) {
                let mut at = 1;
                while at + within <= 1 + t {
                    jobs.push((at, at + within, cost));
                    at += every;
                }
            }
            prop_assert!(brute_force(jobs).iter().any(|deadline| *deadline <= 1 + t), "{:?} within {}", tasks, t);
        }
    }

    #[test]
    fn what_has_begun_counts_against_a_short_deadline() {
        // 30 and 50 of 100, but who waits for 50 is not done within 60.
        assert!(sustainable(&loads(&[(30, 100, 60), (30, 100, 100)])).is_ok());
        let late = sustainable(&loads(&[(30, 100, 60), (50, 100, 100)]));
        assert_eq!(
            late,
            Err(Overload::Late {
                arms: 2,
                need: Duration::from_nanos(79),
                within: Duration::from_nanos(60),
                cost: Duration::from_nanos(50),
            })
        );
    }

    #[test]
    fn more_than_there_is_is_refused_in_words() {
        let ms = 1_000_000;
        let two = [(65 * ms, 100 * ms, 177 * ms); 2];
        let busy = sustainable(&loads(&two)).expect_err("130 %").to_string();
        assert_eq!(
            busy,
            "2 arms would keep the engine busy for 130 % of its time, 65 ms an answer (at most 99 %)"
        );
        assert!(sustainable(&loads(&[(30 * ms, 100 * ms, 177 * ms); 2])).is_ok());
    }

    #[test]
    fn who_asks_only_when_answered_takes_all_alone_and_nothing_beside_others() {
        let mut closed = load((40, 20, 100));
        closed.demand.one_at_a_time = true;
        assert!((share(&[closed]) - 1.0).abs() < 1e-12);
        assert!(sustainable(&[closed, load((1, 100, 90))]).is_err());
    }
}
