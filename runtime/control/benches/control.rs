//! What one decision costs: assembly, accepting a chunk, one setpoint, one whole tick. Seven joints, two cameras.
//! Run: `cargo bench --profile dev -p tactus-control`.

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use tactus_control::{
    ArmCycle, ArmSpec, Assembler, AssemblySpec, Bounds, EnableSpec, LimitSpec, Order, RequestSpec,
    Resume, ScheduleSpec, Scheduler, State, Strategy, TickInput, Trigger,
};
use tactus_types::{
    Action, ActionChunk, ArmInfo, CameraFrame, Encoding, Generation, JointLimits, JointState,
    JointVec, StageTimes, Time,
};

fn main() {
    divan::main();
}

const JOINTS: usize = 7;

fn schedule() -> ScheduleSpec {
    ScheduleSpec {
        strategy: Strategy::Align,
        ease: Duration::from_millis(150),
    }
}

fn info() -> ArmInfo {
    let limits = JointLimits {
        lower: -2.0,
        upper: 2.0,
        velocity: 3.0,
        acceleration: 30.0,
        jerk: 1500.0,
    };
    ArmInfo {
        model: "bench".into(),
        joints: (0..JOINTS).map(|i| format!("j{i}")).collect(),
        limits: vec![limits; JOINTS],
        gripper: true,
        state_rate_hz: 500.0,
        brakes: false,
        torque_switch: true,
        command_deadline_secs: 0.1,
    }
}

fn state(millis: u64) -> JointState {
    JointState {
        captured_at: Time::from_millis(millis),
        seq: millis,
        epoch: 1,
        q: JointVec::zeros(JOINTS),
        dq: JointVec::zeros(JOINTS),
        opening: 1.0,
        torque: true,
    }
}

fn chunk(generation: Generation, observed_millis: u64) -> ActionChunk {
    let observed_at = Time::from_millis(observed_millis);
    let action = |i: usize| Action {
        q: JointVec::from_fn(JOINTS, |_| 0.01 * i as f64),
        opening: 1.0,
    };
    ActionChunk {
        request_id: 1,
        generation,
        observed_at,
        first_due: observed_at,
        period: Duration::from_millis(50),
        actions: (0..16).map(action).collect(),
        bundle_id: "b".into(),
        frames: vec![],
        stages: StageTimes::default(),
    }
}

#[divan::bench]
fn assemble_two_cameras(bencher: Bencher) {
    let ms = Duration::from_millis;
    let cameras: Vec<Arc<str>> = vec!["scene".into(), "wrist".into()];
    let mut assembler = Assembler::new(AssemblySpec {
        cameras: cameras.clone(),
        frame_limit: ms(150),
        proprio_limit: ms(20),
        max_skew: ms(25),
    });
    for t in 0..200 {
        assembler.state(state(2 * t));
    }
    for camera in cameras {
        assembler.frame(CameraFrame {
            camera,
            captured_at: Time::from_millis(391),
            received_at: Time::from_millis(395),
            seq: 1,
            width: 224,
            height: 224,
            encoding: Encoding::Jpeg,
            data: vec![0; 10_000].into(),
        });
    }
    bencher.bench_local(|| assembler.assemble(black_box(Time::from_millis(400)), Time::ZERO));
}

#[divan::bench]
fn accept_a_chunk(bencher: Bencher) {
    let mut scheduler = Scheduler::new(schedule(), Generation::default());
    let (chunk, info) = (chunk(Generation::default(), 1000), info());
    let from = State::at_rest(JointVec::zeros(JOINTS), 1.0);
    bencher
        .bench_local(|| scheduler.accept(black_box(&chunk), &info, from, Time::from_millis(1010)));
}

#[divan::bench]
fn setpoint_by_due_time(bencher: Bencher) {
    let mut scheduler = Scheduler::new(schedule(), Generation::default());
    let from = State::at_rest(JointVec::zeros(JOINTS), 1.0);
    let accepted = scheduler.accept(
        &chunk(Generation::default(), 1000),
        &info(),
        from,
        Time::from_millis(1010),
    );
    assert_eq!(accepted, Ok(()));
    bencher.bench_local(|| scheduler.setpoint(black_box(Time::from_millis(1234))));
}

#[divan::bench]
fn whole_tick_following_a_chunk(bencher: Bencher) {
    let ms = Duration::from_millis;
    let spec = ArmSpec {
        request: RequestSpec {
            trigger: Trigger::Rate { every: ms(100) },
            answer_within: ms(60_000),
            retry_after: ms(100),
            overlap: true,
        },
        schedule: schedule(),
        bounds: Bounds {
            tail: ms(150),
            proprio_limit: ms(20),
            settle: ms(200),
            resume: Resume::Auto,
        },
        limit: LimitSpec {
            max_lead: 1.0,
            max_step: 1.0,
            scale: 1.0,
        },
        enable: EnableSpec::AT_ONCE,
        start: None,
        period_secs: 0.002,
        boot: 7,
    };
    let mut cycle = ArmCycle::new(spec, info());
    let mut now = 1000;
    let mut tick = |cycle: &mut ArmCycle, chunk: Option<&ActionChunk>| {
        let state = state(now);
        let input = TickInput {
            state: Some(&state),
            chunk,
            engine_alive: true,
            ..TickInput::default()
        };
        let output = cycle.tick(&input, Time::from_millis(now));
        now += 2;
        output
    };
    tick(&mut cycle, None);
    let fresh = state(1002);
    let input = TickInput {
        state: Some(&fresh),
        engine_alive: true,
        ..TickInput::default()
    };
    let at = Time::from_millis(1002);
    assert_eq!(cycle.order(&Order::Enable, &input, at), Ok(()));
    assert_eq!(
        cycle.order(
            &Order::Start {
                instruction: "pick".into(),
                seed: 1
            },
            &input,
            at
        ),
        Ok(())
    );
    tick(&mut cycle, None);
    let mut long = chunk(cycle.generation(), 1000);
    long.period = Duration::from_secs(3600);
    bencher.bench_local(|| tick(&mut cycle, Some(&long)));
}
