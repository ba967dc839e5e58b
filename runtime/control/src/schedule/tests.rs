use super::Strategy;
use super::*;
use proptest::prelude::*;
use tactus_types::{Action, JointLimits, StageTimes};

pub(crate) fn info(joints: usize) -> ArmInfo {
    let limits = JointLimits {
        lower: -2.0,
        upper: 2.0,
        velocity: 3.0,
        acceleration: 30.0,
        jerk: 1500.0,
    };
    ArmInfo {
        model: "test".into(),
        joints: (0..joints).map(|i| format!("j{i}")).collect(),
        limits: vec![limits; joints],
        gripper: true,
        state_rate_hz: 500.0,
        brakes: false,
        torque_switch: true,
        command_deadline_secs: 0.1,
        geometry: None,
    }
}

pub(crate) fn chunk(observed_millis: u64, values: &[f64]) -> ActionChunk {
    let observed_at = Time::from_millis(observed_millis);
    ActionChunk {
        request_id: observed_millis,
        generation: Generation::default(),
        observed_at,
        first_due: observed_at + Duration::from_millis(50),
        period: Duration::from_millis(50),
        actions: values.iter().map(|v| action(*v)).collect(),
        bundle_id: "b".into(),
        states: None,
        frames: vec![],
        stages: StageTimes::default(),
    }
}

pub(crate) fn action(v: f64) -> Action {
    Action {
        q: JointVec::from_fn(1, |_| v),
        opening: 1.0,
    }
}

fn at_rest(v: f64) -> State {
    State::at_rest(JointVec::from_fn(1, |_| v), 0.5)
}

fn with(strategy: Strategy) -> ScheduleSpec {
    ScheduleSpec {
        strategy,
        ease: Duration::from_millis(50),
        lead: Duration::ZERO,
    }
}

fn aligned() -> Scheduler {
    Scheduler::new(with(Strategy::Align), Generation::default())
}

fn q(due: Due) -> f64 {
    match due {
        Due::Setpoint(s) => s.q[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn setpoints_go_by_due_time_and_a_late_chunk_takes_over_in_the_middle() {
    let mut s = aligned();
    // Observed at 0, actions due at 50, 100, 150, 200; accepted only at 110: the first that can be joined is at 200.
    let entered = s.accept(
        &chunk(0, &[0.0, 0.1, 0.2, 0.3]),
        &info(1),
        at_rest(0.05),
        Time::from_millis(110),
    );
    assert_eq!(entered, Ok(()));
    assert!((q(s.setpoint(Time::from_millis(110))) - 0.05).abs() < 1e-9);
    assert!((q(s.setpoint(Time::from_millis(200))) - 0.3).abs() < 1e-9);
    assert_eq!(s.setpoint(Time::from_millis(201)), Due::Exhausted);
}

#[test]
fn an_arm_that_is_late_is_commanded_ahead_and_what_is_left_is_told_in_the_policys_time() {
    let lead = Duration::from_millis(40);
    let mut late = Scheduler::new(
        ScheduleSpec {
            lead,
            ..with(Strategy::Align)
        },
        Generation::default(),
    );
    let mut prompt = aligned();
    let chunk = chunk(0, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    let now = Time::from_millis(60);
    for s in [&mut late, &mut prompt] {
        s.accept(&chunk, &info(1), at_rest(0.05), now)
            .expect("enters");
    }
    // Past the way into the plan both follow the same actions, the late arm's commands 40 ms sooner.
    for millis in (200..=300).step_by(10) {
        let due = Time::from_millis(millis);
        let (ahead, at) = (late.setpoint(due.before(lead)), prompt.setpoint(due));
        assert!((q(ahead) - q(at)).abs() < 1e-9, "{millis}");
    }
    assert_eq!(late.setpoint(Time::from_millis(261)), Due::Exhausted);
    assert_eq!(late.lasts(now) + lead, prompt.lasts(now));
    let told = |s: &Scheduler| -> Vec<(Time, f64)> {
        let leftover = s.leftover(Time::from_millis(200));
        leftover
            .as_slice()
            .iter()
            .map(|t| (t.due, t.action.q[0]))
            .collect()
    };
    let (a, b) = (told(&late), told(&prompt));
    assert!(a.len() == b.len() && a.len() > 2);
    for ((due, q), (other, p)) in a.iter().zip(&b) {
        assert!(due == other && (q - p).abs() < 1e-9, "{a:?} {b:?}");
    }
    // What would have had to be commanded already is lost.
    let mut gone = Scheduler::new(
        ScheduleSpec {
            lead: Duration::from_millis(300),
            ..with(Strategy::Align)
        },
        Generation::default(),
    );
    let chunk = self::chunk(1000, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    let now = Time::from_millis(1060);
    assert_eq!(
        gone.accept(&chunk, &info(1), at_rest(0.0), now),
        Err(Discard::Late)
    );
}

#[test]
fn naive_indexing_plays_old_actions_as_if_they_were_new() {
    let mut s = Scheduler::new(with(Strategy::Naive), Generation::default());
    let now = Time::from_millis(110);
    s.accept(
        &chunk(0, &[0.0, 0.1, 0.2, 0.3]),
        &info(1),
        at_rest(0.0),
        now,
    )
    .expect("enters");
    assert!((q(s.setpoint(now + Duration::from_millis(150))) - 0.3).abs() < 1e-9);
}

#[test]
fn a_blend_begins_on_the_old_plan_and_ends_on_the_new() {
    let over = Duration::from_millis(200);
    let mut s = Scheduler::new(with(Strategy::Blend { over }), Generation::default());
    let flat = |v: f64| [v; 16];
    s.accept(
        &chunk(0, &flat(0.0)),
        &info(1),
        at_rest(0.0),
        Time::from_millis(10),
    )
    .expect("enters");
    let now = Time::from_millis(300);
    s.accept(&chunk(200, &flat(0.1)), &info(1), at_rest(0.0), now)
        .expect("enters");
    let mut last = -1e-9;
    for millis in (300..=500).step_by(50) {
        let v = q(s.setpoint(Time::from_millis(millis)));
        assert!(v >= last - 1e-3, "{millis} ms: {v} after {last}");
        last = v;
    }
    assert!((last - 0.1).abs() < 1e-9);
    let half = q(s.setpoint(Time::from_millis(400)));
    assert!((half - 0.05).abs() < 1e-9, "{half}");
}

#[test]
fn an_ensemble_averages_what_the_chunks_say_for_the_same_instant() {
    let mut s = Scheduler::new(
        with(Strategy::Ensemble { decay: 0.0 }),
        Generation::default(),
    );
    for (k, v) in [0.0, 0.3, 0.6].into_iter().enumerate() {
        let observed = 100 * k as u64;
        s.accept(
            &chunk(observed, &[v; 16]),
            &info(1),
            at_rest(0.3),
            Time::from_millis(observed + 20),
        )
        .expect("enters");
    }
    // 600 ms is covered by all three; 830 ms (the end of the first) .. by the last two only.
    assert!((q(s.setpoint(Time::from_millis(600))) - 0.3).abs() < 1e-3);
    assert!((q(s.setpoint(Time::from_millis(950))) - 0.6).abs() < 0.05);
    s.restart(Generation { boot: 0, count: 1 });
    assert_eq!(s.setpoint(Time::from_millis(600)), Due::Empty);
}

#[test]
fn the_leftover_is_the_plan_from_an_instant_on() {
    let mut s = aligned();
    assert!(s.leftover(Time::from_millis(0)).is_empty());
    let values: Vec<f64> = (0..16).map(|i| 0.01 * f64::from(i)).collect();
    s.accept(
        &chunk(0, &values),
        &info(1),
        at_rest(0.0),
        Time::from_millis(10),
    )
    .expect("enters");
    let leftover = s.leftover(Time::from_millis(200));
    let first = leftover.as_slice()[0];
    assert_eq!(first.due, Time::from_millis(200));
    assert!((first.action.q[0] - 0.03).abs() < 1e-9);
    assert_eq!(leftover.as_slice().len(), (800 - 200) / 25 + 1);
    assert_eq!(s.lasts(Time::from_millis(200)), Duration::from_millis(600));
}

#[test]
fn what_may_not_enter_does_not() {
    let mut s = aligned();
    let now = Time::from_millis(60);
    let mut try_it = |c: &ActionChunk, arm: usize| s.accept(c, &info(arm), at_rest(0.0), now);
    let good = chunk(10, &[0.0, 0.1]);
    let mut foreign = good.clone();
    foreign.generation.count = 9;
    assert_eq!(try_it(&foreign, 1), Err(Discard::Generation));
    assert_eq!(
        try_it(&chunk(10, &[0.0, f64::NAN]), 1),
        Err(Discard::Flaw(ChunkFlaw::NotFinite))
    );
    assert_eq!(
        try_it(&chunk(10, &[2.3]), 1),
        Err(Discard::Flaw(ChunkFlaw::OutOfRange { joint: 0 }))
    );
    assert_eq!(
        try_it(&chunk(10, &[]), 1),
        Err(Discard::Flaw(ChunkFlaw::Length { actual: 0 }))
    );
    assert!(matches!(
        try_it(&good, 2),
        Err(Discard::Flaw(ChunkFlaw::Joints { .. }))
    ));
    assert_eq!(try_it(&chunk(0, &[0.0]), 1), Err(Discard::Late));
    assert_eq!(
        try_it(&chunk(61, &[0.0]), 1),
        Err(Discard::Flaw(ChunkFlaw::Future))
    );
    assert_eq!(try_it(&good, 1), Ok(()));
    assert_eq!(try_it(&chunk(9, &[0.0, 0.1]), 1), Err(Discard::OutOfOrder));
}

proptest! {
    /// A chunk is never applied late: an action that was due before the chunk came is not played, and every one
    /// from the joint on comes out at its own due time, whenever the chunk arrived.
    #[test]
    fn never_an_action_that_is_not_due(
        values in prop::collection::vec(-1.9f64..1.9, 2..16),
        arrive in 0u64..400,
    ) {
        let c = chunk(0, &values);
        let mut s = aligned();
        let now = Time::from_millis(arrive);
        let entered = s.accept(&c, &info(1), at_rest(0.0), now);
        prop_assert_eq!(entered.is_ok(), c.last_due() > now);
        if entered.is_ok() {
            for (i, value) in values.iter().enumerate() {
                let due = c.due(i);
                if due < now {
                    continue;
                }
                let Due::Setpoint(sp) = s.setpoint(due) else { panic!("action {i} is due") };
                prop_assert!(sp.action_index as usize >= i);
                if due >= now + c.period {
                    prop_assert!((sp.q[0] - value).abs() < 1e-9);
                }
            }
        }
    }

    /// Continuity at hand-over, for every strategy: the new plan starts where and when the command was, as fast as it moved.
    #[test]
    fn no_strategy_steps_at_a_hand_over(
        old in prop::collection::vec(-1.0f64..1.0, 16),
        new in prop::collection::vec(-1.0f64..1.0, 16),
        late in 0u64..400, which in 0usize..4, tick in 0u64..11,
    ) {
        let over = Duration::from_millis(150);
        let tick = Duration::from_millis(tick);
        let strategy = [Strategy::Align, Strategy::Blend { over }, Strategy::Ensemble { decay: 0.01 }, Strategy::Naive][which];
        let mut s = Scheduler::new(with(strategy), Generation::default()).ticking(tick);
        s.accept(&chunk(0, &old), &info(1), at_rest(old[0]), Time::from_millis(10)).expect("enters");
        let now = Time::from_millis(100 + late);
        let commanded_at = now.before(tick);
        let Due::Setpoint(before) = s.setpoint(commanded_at) else { panic!("due") };
        let commanded = State { q: before.q, dq: before.dq, ddq: before.ddq, opening: before.opening };
        s.accept(&chunk(100, &new), &info(1), commanded, now).expect("enters");
        let Due::Setpoint(after) = s.setpoint(commanded_at) else { panic!("due") };
        prop_assert!((before.q[0] - after.q[0]).abs() < 1e-9);
        prop_assert!((before.dq[0] - after.dq[0]).abs() < 1e-6);
        prop_assert!((before.ddq[0] - after.ddq[0]).abs() < 1e-3);
    }
}
