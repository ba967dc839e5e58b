//! A control tick never allocates and never frees: not when a chunk enters, not when a request is made, not in a hold, not
//! on the way to a pose, not when a lease runs out.
//!
//! Counted is the thread that ticks: the test's harness has one of its own, which allocates when it likes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use tactus_control::{
    ArmCycle, ArmSpec, EnableSpec, Guard, GuardSpec, LadderSpec, LimitSpec, Order, Pose,
    RequestSpec, Resume, ScheduleSpec, Strategy, TeleopSpec, TickInput, Trigger,
};
use tactus_types::{
    Action, ActionChunk, ArmGeometry, ArmInfo, Generation, Jacobian, JointLimits, JointState,
    JointVec, Mode, OperatorSetpoint, Rank, Reference, Source, StageTimes, Time, Under,
};

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn calls() -> usize {
    CALLS.with(Cell::get)
}

fn count() {
    // A thread that is ending has none any more.
    let _ = CALLS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is also the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the pointer came from `alloc` above, so from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const JOINTS: usize = 7;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn info() -> ArmInfo {
    let limits = JointLimits {
        lower: -2.0,
        upper: 2.0,
        velocity: 3.0,
        acceleration: 30.0,
        jerk: 1500.0,
    };
    ArmInfo {
        model: "seven".into(),
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

/// Both limits in space, near enough to be met.
fn guard() -> Option<Guard> {
    let spec = GuardSpec {
        workspace: Some([[-0.6, -0.6, 0.2], [0.6, 0.6, 1.2]]),
        clearance_m: Some(0.01),
        leave_out: vec![],
    };
    Guard::new(&info(), &spec).expect("an arm that describes its links")
}

fn cycle(strategy: Strategy) -> ArmCycle {
    let spec = ArmSpec {
        request: RequestSpec {
            trigger: Trigger::Rate { every: MS(100) },
            answer_within: MS(200),
            retry_after: MS(100),
            overlap: strategy.overlaps(),
        },
        schedule: ScheduleSpec {
            strategy,
            ease: MS(150),
            lead: Duration::ZERO,
        },
        ladder: LadderSpec {
            period: MS(2),
            tail: MS(150),
            settle: MS(200),
            proprio_limit: MS(20),
            frame_limit: MS(150),
            answer_within: MS(200),
            link_limit: MS(150),
            track_rad: 1e3,
            track_limit: MS(100),
            storm_rad: 1e3,
            storm_limit: MS(200),
            operator_limit: MS(100),
        },
        resume: Resume::Auto,
        limit: LimitSpec {
            max_lead: 0.5,
            max_step: 0.05,
            scale: 1.0,
        },
        guard: guard(),
        enable: EnableSpec::AT_ONCE,
        teleop: TeleopSpec::default(),
        start: None,
        bundle: None,
        period_secs: 0.002,
        boot: 7,
    };
    ArmCycle::new(spec, info())
}

fn no_tick_of_a_motion_to_a_pose_or_under_a_lease_allocates() {
    let mut cycle = cycle(Strategy::Align);
    let mut state = JointState {
        captured_at: Time::ZERO,
        seq: 0,
        epoch: 1,
        q: JointVec::zeros(JOINTS),
        dq: JointVec::zeros(JOINTS),
        opening: 0.5,
        torque: true,
    };
    let (mut moving, mut inside, mut held) = (0, 0, 0);
    for tick in 0..4000u64 {
        let now = Time::from_millis(1000 + 2 * tick);
        state.captured_at = now;
        let input = TickInput {
            state: Some(&state),
            engine_alive: true,
            ..TickInput::default()
        };
        if tick == 10 {
            cycle.order(&Order::Enable, &input, now).expect("enabled");
        }
        // Moved under leases that run out under way.
        if tick % 500 == 20 {
            if matches!(cycle.mode(), Mode::Hold(_)) {
                cycle.order(&Order::Enable, &input, now).expect("enabled");
            }
            let ttl = MS(if tick % 1000 == 20 { 200 } else { 900 });
            let rank = Rank::Policy;
            let grant = cycle.acquire(&"one".into(), rank, ttl, now);
            let pose = Pose {
                q: JointVec::from_fn(JOINTS, |_| if tick % 1000 == 20 { 1.0 } else { -1.0 }),
                opening: Some(1.0),
            };
            let under = Under {
                lease: grant.expect("free").lease,
                sequence: 1,
                bound: true,
            };
            let goto = Order::Goto { pose, speed: 0.5 };
            cycle
                .order_under(&goto, Some(under), &input, now)
                .expect("ready");
        }
        let before = calls();
        let output = cycle.tick(&input, now);
        inside += calls() - before;
        if let Some(command) = &output.command {
            state.q = command.q;
        }
        moving += u64::from(*cycle.mode() == Mode::Goto);
        held += u64::from(matches!(cycle.mode(), Mode::Hold(_)));
    }
    assert!(moving > 300 && held > 300, "{moving} {held}");
    assert_eq!(inside, 0, "calls of the allocator inside ticks");
}

fn no_tick_of_a_human_in_command_allocates() {
    let mut cycle = cycle(Strategy::Align);
    let mut state = JointState {
        captured_at: Time::ZERO,
        seq: 0,
        epoch: 1,
        q: JointVec::zeros(JOINTS),
        dq: JointVec::zeros(JOINTS),
        opening: 0.5,
        torque: true,
    };
    let mut lease = None;
    let (mut driven, mut met, mut lost, mut inside) = (0, 0, 0, 0);
    for tick in 0..4000u64 {
        let now = Time::from_millis(1000 + 2 * tick);
        state.captured_at = now;
        // Every other stretch the human is silent at its end, and hands back at the end of the others.
        let (stretch, within) = (tick / 500, tick % 500);
        let silent = stretch % 2 == 1 && within > 400;
        let setpoint = lease.filter(|_| !silent).map(|lease| OperatorSetpoint {
            lease,
            sequence: tick + 1,
            captured_at: now,
            q: JointVec::from_fn(JOINTS, |j| 0.3 * (0.005 * tick as f64 + j as f64).sin()),
            opening: 0.5,
            engaged: within % 200 > 20,
        });
        let input = TickInput {
            state: Some(&state),
            operator: setpoint.as_ref(),
            engine_alive: true,
            ..TickInput::default()
        };
        if tick == 10 {
            cycle.order(&Order::Enable, &input, now).expect("enabled");
        }
        if within == 20 {
            if matches!(cycle.mode(), Mode::Hold(_)) {
                cycle.order(&Order::Enable, &input, now).expect("enabled");
            }
            if lease.is_none() {
                let ttl = MS(60_000);
                let grant = cycle.acquire(&"human".into(), Rank::Teleop, ttl, now);
                lease = grant.ok().map(|grant| grant.lease);
            }
        }
        if within == 30 {
            let reference = Reference::ALL[(stretch % 3) as usize];
            let over = Order::TakeOver { reference };
            cycle.order(&over, &input, now).expect("taken over");
        }
        if within == 490 && stretch % 2 == 0 {
            cycle
                .order(&Order::HandBack, &input, now)
                .expect("handed back");
        }
        let before = calls();
        let output = cycle.tick(&input, now);
        inside += calls() - before;
        if let Some(command) = &output.command {
            state.q = command.q;
            met += u64::from(command.setpoint.source == Source::Align);
        }
        driven += u64::from(*cycle.mode() == Mode::Teleop);
        lost += u64::from(matches!(cycle.mode(), Mode::Hold(_)));
    }
    assert!(
        driven > 500 && met > 50 && lost > 100,
        "{driven} {met} {lost}"
    );
    assert_eq!(inside, 0, "calls of the allocator inside ticks");
}

/// A chunk whose actions are far enough from any plan to meet every limit.
fn chunk(wild: f64) -> ActionChunk {
    let action = |i: usize| Action {
        q: JointVec::from_fn(JOINTS, |j| (wild * (i + j) as f64).sin()),
        opening: 0.5,
    };
    ActionChunk {
        request_id: 0,
        generation: Generation::default(),
        observed_at: Time::ZERO,
        first_due: Time::ZERO,
        period: MS(50),
        actions: (0..16).map(action).collect(),
        bundle_id: "b".into(),
        states: None,
        frames: vec![],
        stages: StageTimes::default(),
    }
}

#[test]
fn no_tick_allocates() {
    no_tick_of_a_motion_to_a_pose_or_under_a_lease_allocates();
    no_tick_of_a_human_in_command_allocates();
    for strategy in [
        Strategy::Align,
        Strategy::Blend { over: MS(150) },
        Strategy::Ensemble { decay: 0.01 },
        Strategy::RtcPrefix,
        Strategy::RtcGuided {
            beta: 5.0,
            jacobian: Jacobian::Exact,
        },
    ] {
        let mut cycle = cycle(strategy);
        let mut chunks: Vec<ActionChunk> = (0..20).map(|k| chunk(0.3 * f64::from(k))).collect();
        let mut state = JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 1,
            q: JointVec::zeros(JOINTS),
            dq: JointVec::zeros(JOINTS),
            opening: 0.5,
            torque: true,
        };
        let start = Order::Start {
            instruction: "pick".into(),
            seed: 1,
        };
        let mut asked = None;
        let (mut holds, mut policy, mut asks, mut inside, mut guarded) = (0, 0, 0, 0, 0);
        for tick in 0..4000u64 {
            let now = MS(1000) + MS(2) * tick as u32;
            let now = Time::ZERO + now;
            state.captured_at = now;
            // The engine answers for a second and is silent for a second.
            let answers = (tick / 500) % 2 == 0;
            let reply = asked.take_if(|(_, _, at)| answers && *at <= now);
            let slot = (tick / 10) as usize % chunks.len();
            let chunk = reply.map(|(id, generation, at)| {
                let chunk = &mut chunks[slot];
                chunk.request_id = id;
                chunk.generation = generation;
                chunk.observed_at = at;
                chunk.first_due = at + MS(50);
                &*chunk
            });
            let input = TickInput {
                state: Some(&state),
                chunk,
                engine_alive: true,
                ..TickInput::default()
            };
            if tick == 10 {
                cycle.order(&Order::Enable, &input, now).expect("enabled");
            }
            if tick == 20 {
                cycle.order(&start, &input, now).expect("started");
            }
            let before = calls();
            assert!(before > 0, "allocations are not counted at all");
            let output = cycle.tick(&input, now);
            inside += calls() - before;
            if let Some(command) = &output.command {
                state.q = command.q;
                let by = command.clamped_by;
                guarded += u64::from(by.workspace || by.collision);
            }
            asks += u64::from(output.request.is_some());
            asked = output
                .request
                .map(|r| (r.id, r.generation, now.max(r.observe_after)))
                .or(asked);
            holds += u64::from(matches!(cycle.mode(), Mode::Hold(_)));
            policy += u64::from(*cycle.mode() == Mode::Policy);
        }
        let name = strategy.name();
        assert!(
            holds > 300 && policy > 300 && asks > 10 && guarded > 100,
            "{name}: {holds} {policy} {asks} {guarded}"
        );
        assert!(
            cycle.counters.chunks_accepted > 10,
            "{name}: {:?}",
            cycle.counters
        );
        assert_eq!(inside, 0, "{name}: calls of the allocator inside ticks");
    }
}
