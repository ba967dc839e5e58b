//! What one decision costs: assembly, accepting a chunk, one setpoint, one whole tick. Seven joints, two cameras.
//! Run: `cargo bench --profile dev -p tactus-control`. Before the table it prints quantiles of [`TICKS`] whole ticks with
//! and without limits in space, in turn, so that whatever else the machine does meets all alike. A control thread runs under
//! SCHED_FIFO; so does this with `chrt -f 20` before the built program (target/debug/deps/control-*, `--bench`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use tactus_control::{
    ArmCycle, ArmSpec, Assembler, AssemblySpec, EnableSpec, Guard, GuardSpec, LadderSpec,
    LimitSpec, Order, RequestSpec, Resume, ScheduleSpec, Scheduler, State, Strategy, TeleopSpec,
    TickInput, Trigger,
};
use tactus_types::{
    Action, ActionChunk, ArmGeometry, ArmInfo, CameraFrame, Encoding, Generation, JointLimits,
    JointState, JointVec, StageTimes, Time,
};

fn main() {
    whole_ticks();
    divan::main();
}

/// Ticks of each kind that are measured one by one.
const TICKS: usize = 120_000;
/// From observation to chunk.
const DELAY: Duration = Duration::from_millis(40);
const HOME: [f64; JOINTS] = [0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.7];

/// What a tick meets.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    guarded: bool,
    /// How far the chunks swing about home, rad.
    swing: f64,
    /// They jump from one end to the other: the arm is always behind and catching up.
    jumps: bool,
}

/// A cycle that follows chunks, and what its ticks took.
struct Following {
    kind: Kind,
    cycle: ArmCycle,
    q: JointVec,
    took: Vec<u64>,
    clamped: u64,
    asked: Option<(u64, Generation, Time)>,
}

impl Following {
    fn new(kind: Kind) -> Self {
        let spec = GuardSpec {
            workspace: kind.guarded.then_some([[0.1, -0.5, 0.1], [0.75, 0.5, 0.9]]),
            clearance_m: kind.guarded.then_some(0.01),
            leave_out: vec![],
        };
        let guard = Guard::new(&info(), &spec).expect("the arm describes its links");
        let mut cycle = ArmCycle::new(arm_spec(guard), info());
        let q = JointVec::from_slice(&HOME).expect("seven joints");
        let state = JointState { q, ..state(1000) };
        let input = TickInput {
            state: Some(&state),
            engine_alive: true,
            ..TickInput::default()
        };
        let now = Time::from_millis(1000);
        cycle.tick(&input, now);
        assert_eq!(cycle.order(&Order::Enable, &input, now), Ok(()));
        let start = Order::Start {
            instruction: "pick".into(),
            seed: 1,
        };
        assert_eq!(cycle.order(&start, &input, now), Ok(()));
        Self {
            kind,
            cycle,
            q,
            took: Vec::with_capacity(TICKS),
            clamped: 0,
            asked: None,
        }
    }

    /// The arm swings about home, each joint with a period of its own; a chunk answers each request.
    fn tick(&mut self, k: usize) {
        let millis = 1002 + 2 * k as u64;
        let now = Time::from_millis(millis);
        let state = JointState {
            q: self.q,
            ..state(millis)
        };
        let at = |j: usize, secs: f64| {
            let wave = (secs * (1.0 + 0.3 * j as f64)).sin();
            let wave = if self.kind.jumps { wave.signum() } else { wave };
            HOME[j] + self.kind.swing * wave
        };
        let due = self.asked.take_if(|(.., at)| *at + DELAY <= now);
        let answer = due.map(|(id, generation, observed_at)| {
            let secs = observed_at.secs_from(Time::ZERO);
            let action = |i: usize| Action {
                q: JointVec::from_fn(JOINTS, |j| at(j, secs + 0.05 * i as f64)),
                opening: 1.0,
            };
            ActionChunk {
                request_id: id,
                observed_at,
                first_due: observed_at,
                actions: (0..16).map(action).collect(),
                ..chunk(generation, 0)
            }
        });
        let input = TickInput {
            state: Some(&state),
            chunk: answer.as_ref(),
            engine_alive: true,
            ..TickInput::default()
        };
        let begun = Instant::now();
        let output = black_box(self.cycle.tick(&input, now));
        self.took.push(begun.elapsed().as_nanos() as u64);
        if let Some(command) = output.command {
            self.q = command.q;
            let by = command.clamped_by;
            self.clamped += u64::from(by.workspace || by.collision);
        }
        let asked = output
            .request
            .map(|r| (r.id, r.generation, now.max(r.observe_after)));
        self.asked = asked.or(self.asked);
    }
}

/// Prints quantiles of whole ticks.
fn whole_ticks() {
    let kind = |name, guarded, swing, jumps| Kind {
        name,
        guarded,
        swing,
        jumps,
    };
    let mut all = [
        kind("smooth, no limits in space", false, 0.3, false),
        kind("smooth, both, all of it inside", true, 0.3, false),
        kind("jumps, no limits in space", false, 0.3, true),
        kind("jumps, both, all of it inside", true, 0.3, true),
        kind("smooth, both, swings into them", true, 1.0, false),
    ]
    .map(Following::new);
    for k in 0..TICKS {
        all.iter_mut().for_each(|following| following.tick(k));
    }
    println!(
        "whole ticks, 7 joints, us         ticks  stopped     p50     p90     p99   p99.9     max"
    );
    for Following {
        kind,
        took,
        clamped,
        ..
    } in &mut all
    {
        took.sort_unstable();
        let q = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(q);
        println!(
            "{:33} {:6} {clamped:7} {p50:7.2} {p90:7.2} {p99:7.2} {p999:7.2} {max:7.1}",
            kind.name,
            took.len()
        );
    }
}

const JOINTS: usize = 7;

fn schedule() -> ScheduleSpec {
    ScheduleSpec {
        strategy: Strategy::Align,
        ease: Duration::from_millis(150),
        lead: Duration::ZERO,
    }
}

fn info() -> ArmInfo {
    let limits = JointLimits {
        lower: -3.0,
        upper: 3.0,
        velocity: 3.0,
        acceleration: 30.0,
        jerk: 1500.0,
    };
    ArmInfo {
        model: "bench".into(),
        joints: (1..=JOINTS).map(|i| format!("j{i}")).collect(),
        limits: vec![limits; JOINTS],
        gripper: true,
        state_rate_hz: 500.0,
        brakes: false,
        torque_switch: true,
        command_deadline_secs: 0.1,
        geometry: Some(ArmGeometry {
            urdf: include_str!("../../kinematics/tests/data/seven_arm.urdf").into(),
            base_link: "base".into(),
            tool_link: "tip".into(),
            workspace: None,
        }),
    }
}

fn arm_spec(guard: Option<Guard>) -> ArmSpec {
    let ms = Duration::from_millis;
    ArmSpec {
        request: RequestSpec {
            trigger: Trigger::Rate { every: ms(100) },
            answer_within: ms(60_000),
            retry_after: ms(100),
            overlap: true,
        },
        schedule: schedule(),
        ladder: LadderSpec {
            period: ms(2),
            tail: ms(150),
            settle: ms(200),
            proprio_limit: ms(20),
            frame_limit: ms(150),
            answer_within: ms(60_000),
            link_limit: ms(150),
            track_rad: 1e3,
            track_limit: ms(100),
            storm_rad: 1e3,
            storm_limit: ms(200),
            operator_limit: ms(100),
        },
        resume: Resume::Auto,
        limit: LimitSpec {
            max_lead: 1.0,
            max_step: 1.0,
            scale: 1.0,
        },
        guard,
        enable: EnableSpec::AT_ONCE,
        teleop: TeleopSpec::default(),
        start: None,
        bundle: None,
        period_secs: 0.002,
        boot: 7,
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
        states: None,
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
    let mut cycle = ArmCycle::new(arm_spec(None), info());
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
