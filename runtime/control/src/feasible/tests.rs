//! The check against a simulation of what it speaks of: the real requester, cameras, an engine that takes the newest
//! frame, and every time at its worst.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::Strategy as Generated;
use tactus_types::{Generation, Jacobian, Time};

use super::*;
use crate::request::Requester;
use crate::strategy::Strategy;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The demo's declared budget.
fn declared() -> StageTimes {
    let mut stages = StageTimes::default();
    for (stage, n) in [
        (Stage::Capture, 15),
        (Stage::Transport, 3),
        (Stage::Queue, 5),
        (Stage::Assemble, 1),
        (Stage::Decode, 2),
        (Stage::Preprocess, 2),
        (Stage::Vision, 12),
        (Stage::Backbone, 8),
        (Stage::Context, 4),
        (Stage::Denoise, 16),
        (Stage::Deliver, 5),
    ] {
        stages.set(stage, millis(n));
    }
    stages
}

fn timing(strategy: Strategy) -> Timing {
    Timing {
        stages: declared(),
        budget: Budget::new(declared(), millis(20)),
        control_period: millis(2),
        chunk: ChunkShape {
            horizon: 16,
            period: millis(50),
            first_action_offset: Duration::ZERO,
            max_prefix: 6,
        },
        request: RequestSpec {
            trigger: Trigger::Rate { every: millis(100) },
            answer_within: millis(10_000),
            retry_after: millis(100),
            overlap: strategy.overlaps(),
        },
        schedule: ScheduleSpec {
            strategy,
            ease: millis(150),
            lead: std::time::Duration::ZERO,
        },
        frame_period: millis(50),
        frame_limit: millis(5000),
        proprio_limit: millis(20),
    }
}

const GUIDED: Strategy = Strategy::RtcGuided {
    beta: 5.0,
    jacobian: Jacobian::Exact,
};

fn slower(mut timing: Timing, stage: Stage, by: u64) -> Timing {
    let took = timing.stages.get(stage) + millis(by);
    timing.stages.set(stage, took);
    timing
}

#[test]
fn the_demo_fits_whatever_its_strategy() {
    for strategy in [Strategy::Align, Strategy::RtcPrefix, GUIDED] {
        let fits = feasible(&timing(strategy)).expect("feasible");
        assert_eq!(fits.latency, millis(93));
        assert_eq!(fits.span, millis(750));
        assert_eq!(fits.cautions, vec![]);
    }
}

/// 300 ms on each way: `align` overlaps its requests and goes on, one request at a time runs dry.
#[test]
fn real_time_chunking_runs_dry_on_a_way_that_aligning_survives() {
    let fits = feasible(&slower(timing(Strategy::Align), Stage::Deliver, 300)).expect("feasible");
    let over = Caution::OverBudget {
        stage: Stage::Deliver,
        took: millis(305),
        declared: millis(5),
    };
    let ease = Caution::Ease {
        ease: millis(400),
        left: millis(357),
    };
    assert_eq!(fits.cautions, vec![over.clone()]);
    let mut long = slower(timing(Strategy::Align), Stage::Deliver, 300);
    long.schedule.ease = millis(400);
    let cautions = feasible(&long).expect("feasible").cautions;
    assert_eq!(cautions, vec![over, ease]);
    let dry = feasible(&slower(timing(GUIDED), Stage::Deliver, 300)).expect_err("dry");
    assert!(matches!(dry, Infeasible::Sequential { .. }), "{dry:?}");
    let words = dry.to_string();
    for word in ["`deliver` (305 ms)", "`rtc-guided`", "750 ms"] {
        assert!(words.contains(word), "{word} in: {words}");
    }
    let mut prefix = slower(timing(Strategy::RtcPrefix), Stage::Backbone, 250);
    let words = feasible(&prefix).expect_err("prefix").to_string();
    assert!(
        words.contains("commits 7 actions within a delay of 343 ms"),
        "{words}"
    );
    prefix.chunk.max_prefix = 7;
    assert!(feasible(&prefix).is_ok());
}

#[test]
fn every_relation_names_the_field_or_the_stage_that_breaks_it() {
    let align = || timing(Strategy::Align);
    let mut cases = vec![(slower(align(), Stage::Limit, 3), "stage `limit`")];
    cases.push((slower(align(), Stage::Actuate, 3), "stage `actuate`"));
    cases.push((
        slower(align(), Stage::Backbone, 700),
        "stage `backbone` (708 ms)",
    ));
    let mut case = align();
    case.request.trigger = Trigger::Rate { every: millis(700) };
    cases.push((case, "field `request.trigger`: observations are up to 750"));
    case.request.trigger = Trigger::Queue { below: millis(50) };
    cases.push((case, "field `request.trigger.below_ms`: asked for 50 ms"));
    let mut case = align();
    case.request.answer_within = millis(142);
    cases.push((
        case,
        "field `request.answer_within_ms`: expected at least 143",
    ));
    let mut case = align();
    case.frame_limit = millis(67);
    cases.push((case, "field `engine.frame_limit_ms`: expected at least 68"));
    let mut case = align();
    case.proprio_limit = millis(1);
    cases.push((case, "field `arm.proprio_limit_ms`"));
    let mut case = align();
    case.chunk.horizon = MAX_HORIZON + 1;
    cases.push((case, "129 actions"));
    for (case, wanted) in cases {
        let words = feasible(&case).expect_err(wanted).to_string();
        assert!(words.contains(wanted), "{wanted} in: {words}");
    }
}

/// Runs requester, cameras and engine for `until`, every stage at its worst, and returns the longest time from an
/// observation to the acceptance of the next chunk; `None` when no second chunk came.
fn longest_gap(timing: &Timing, phase: Duration, until: Duration) -> Option<Duration> {
    let take = |stage| timing.stages.get(stage);
    let way_in = take(Stage::Capture) + take(Stage::Transport);
    let engine: Duration = ENGINE.into_iter().map(take).sum();
    let busy = take(Stage::Queue) + engine;
    let deliver = take(Stage::Deliver);
    let (mut requester, text) = (Requester::new(timing.request), Arc::from("go"));
    requester.restart(Time::ZERO, 0);
    let (mut asked, mut answers) = (Vec::new(), Vec::new());
    let (mut free_at, mut plan, mut gap) = (Time::ZERO, None::<Time>, None);
    for at in 0..until.as_millis() as u64 {
        let now = Time::from_millis(at);
        if let Some(&(accepted_at, id, observed_at)) = answers.first()
            && accepted_at <= now
        {
            answers.remove(0);
            if let Some(old) = plan {
                gap = gap.max(Some(now.since(old)));
            }
            plan = Some(observed_at);
            requester.answered(id, observed_at, now);
        }
        let lasts = plan.map_or(Duration::ZERO, |o| (o + timing.chunk.span()).since(now));
        if let Some(request) = requester.poll(Generation::default(), &text, lasts, now) {
            asked.push((now + deliver, request.id, request.observe_after));
        }
        // The engine works on the newest request that is there, on the newest frame that is there.
        let (newest, frame) = (
            asked.iter().rposition(|(there, ..)| *there <= now),
            now.since(Time::ZERO + way_in + phase).as_nanos() / timing.frame_period.as_nanos(),
        );
        let captured = Time::ZERO + phase + timing.frame_period * frame as u32;
        if let Some(i) = newest
            && now >= free_at
            && now >= captured + way_in
            && captured >= asked[i].2
        {
            answers.push((now + busy + deliver, asked[i].1, captured));
            free_at = now + busy;
            asked.drain(..=i);
        }
    }
    gap
}

fn strategies() -> impl Generated<Value = Strategy> {
    prop_oneof![Just(Strategy::Align), Just(GUIDED)]
}

fn triggers() -> impl Generated<Value = Trigger> {
    prop_oneof![
        Just(Trigger::Continuous),
        (1u64..600).prop_map(|n| Trigger::Rate { every: millis(n) }),
        (1u64..900).prop_map(|n| Trigger::Queue { below: millis(n) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// What is called feasible never runs dry, whatever the phase of the camera; and, with one request out at a time,
    /// what is called dry by more than the check adds for safety (margins, and the phase of a frame twice) does.
    #[test]
    fn feasible_never_runs_dry(
        strategy in strategies(), trigger in triggers(),
        frame in 10u64..100, phase in 0u64..100, way_in in 0u64..300, engine in 1u64..400, deliver in 0u64..300,
    ) {
        let mut case = timing(strategy);
        case.stages = StageTimes::default();
        case.stages.set(Stage::Transport, millis(way_in));
        case.stages.set(Stage::Backbone, millis(engine));
        case.stages.set(Stage::Deliver, millis(deliver));
        case.request.trigger = trigger;
        case.frame_period = millis(frame);
        let span = case.chunk.span();
        // A simulation in steps of a millisecond is late by one for every thing that it waits for.
        case.budget.margin = millis(5);
        let one_at_a_time = strategy != Strategy::Align || !matches!(trigger, Trigger::Rate { .. });
        let gap = longest_gap(&case, millis(phase % frame), millis(6000));
        match feasible(&case) {
            Ok(Feasible { next_after, .. }) => {
                prop_assert!(gap.is_some_and(|gap| gap <= span), "{gap:?}, at most {next_after:?}, {case:?}");
            }
            Err(Infeasible::Sequential { next_after, .. } | Infeasible::Rare { next_after, .. })
                if next_after > span + millis(2 * frame + 20) && one_at_a_time =>
            {
                prop_assert!(gap.is_none_or(|gap| gap > span), "{gap:?}, at least {next_after:?}, {case:?}");
            }
            Err(_) => {}
        }
    }

    /// More time in a stage never makes an infeasible set feasible.
    #[test]
    fn slower_is_never_better(stage in 0usize..11, by in 0u64..900, more in 0u64..900, strategy in strategies(), trigger in triggers()) {
        let mut case = timing(strategy);
        case.request.trigger = trigger;
        let stage = Stage::ALL[stage];
        let quick = feasible(&slower(case, stage, by));
        let slow = feasible(&slower(case, stage, by + more));
        prop_assert!(quick.is_ok() || slow.is_err(), "{quick:?} {slow:?}");
    }
}
