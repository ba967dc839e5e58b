//! Laws of a whole tick: what requester, scheduler, supervisor and limiter do together.

use std::time::Duration;

use super::*;
use crate::request::Trigger;
use crate::schedule::tests::{chunk, info};
use crate::supervise::Resume;
use crate::teleop::TeleopSpec;
use tactus_types::{Fault, HoldReason};

const PERIOD_MILLIS: u64 = 2;

pub(super) fn spec(resume: Resume) -> ArmSpec {
    let ms = Duration::from_millis;
    ArmSpec {
        request: RequestSpec {
            trigger: Trigger::Rate { every: ms(100) },
            answer_within: ms(250),
            retry_after: ms(100),
            overlap: true,
        },
        schedule: ScheduleSpec {
            strategy: crate::Strategy::Align,
            ease: ms(50),
            lead: Duration::ZERO,
        },
        ladder: LadderSpec {
            period: ms(2),
            tail: ms(150),
            settle: ms(200),
            proprio_limit: ms(20),
            frame_limit: ms(150),
            answer_within: ms(250),
            link_limit: ms(150),
            track_rad: 1e3,
            track_limit: ms(100),
            storm_rad: 1e3,
            storm_limit: ms(200),
            operator_limit: ms(100),
        },
        resume,
        limit: LimitSpec {
            max_lead: 1.0,
            max_step: 1.0,
            scale: 1.0,
        },
        guard: None,
        enable: EnableSpec::AT_ONCE,
        teleop: TeleopSpec::default(),
        start: None,
        bundle: None,
        period_secs: 0.002,
        boot: 7,
    }
}

/// An arm that is wherever it was last commanded, and an engine that answers at once with a ramp of 1 rad/s.
struct Bench {
    cycle: ArmCycle,
    now: Time,
    state: JointState,
    /// The state that goes on arriving instead of newer ones.
    stale: Option<JointState>,
    engine: bool,
    answers: bool,
    outputs: Vec<(Time, Command)>,
    asked: Option<InferenceRequest>,
    reply: Option<ActionChunk>,
    bundle: &'static str,
}

impl Bench {
    fn new(resume: Resume) -> Self {
        let state = JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 1,
            q: JointVec::zeros(1),
            dq: JointVec::zeros(1),
            opening: 0.7,
            torque: true,
        };
        Self {
            cycle: ArmCycle::new(spec(resume), info(1)),
            now: Time::from_millis(1000),
            state,
            stale: None,
            engine: true,
            answers: true,
            outputs: vec![],
            asked: None,
            reply: None,
            bundle: "b",
        }
    }

    fn order(&mut self, order: Order) -> Result<(), OrderRefused> {
        self.state.captured_at = self.now;
        let input = TickInput {
            state: Some(&self.state),
            engine_alive: self.engine,
            ..TickInput::default()
        };
        self.cycle.order(&order, &input, self.now)
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / PERIOD_MILLIS {
            self.state.captured_at = self.now;
            let reply = self.reply.take();
            let state = self.stale.unwrap_or(self.state);
            let input = TickInput {
                state: Some(&state),
                chunk: reply.as_ref(),
                engine_alive: self.engine,
                ..TickInput::default()
            };
            let output = self.cycle.tick(&input, self.now);
            if let Some(command) = output.command {
                self.state.q = command.q;
                self.state.dq = command.dq;
                self.outputs.push((self.now, command));
            }
            self.asked = output.request.or(self.asked.take());
            let due = |r: &mut InferenceRequest| r.observe_after <= self.now;
            if self.answers
                && self.engine
                && let Some(request) = self.asked.take_if(due)
            {
                let from = self.state.q[0];
                let ramp: Vec<f64> = (1..=16)
                    .map(|i| (from + 0.05 * f64::from(i)).min(1.9))
                    .collect();
                let mut answer = chunk(self.now.as_nanos() / 1_000_000, &ramp);
                answer.request_id = request.id;
                answer.generation = request.generation;
                answer.bundle_id = self.bundle.into();
                self.reply = Some(answer);
            }
            self.now = self.now + Duration::from_millis(PERIOD_MILLIS);
        }
    }

    fn start(&mut self) {
        self.run(20);
        self.order(Order::Enable).expect("enabled");
        self.run(20);
        self.order(Order::Start {
            instruction: "pick".into(),
            seed: 3,
        })
        .expect("started");
    }
}

#[test]
fn boot_commands_the_measured_pose_and_nothing_else() {
    let mut b = Bench::new(Resume::Auto);
    b.state.q[0] = 0.4;
    b.run(2000);
    assert_eq!(*b.cycle.mode(), Mode::Boot);
    assert!(
        b.outputs
            .iter()
            .all(|(_, c)| c.q[0] == 0.4 && c.opening == 0.7)
    );
    assert!(
        b.order(Order::Start {
            instruction: "x".into(),
            seed: 0
        })
        .is_err()
    );
}

/// A chunk that says what the one before it said changes nothing: not for a tick.
#[test]
fn chunks_that_agree_are_one_motion() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(400);
    let accepted = b.cycle.counters.chunks_accepted;
    let limited = b.cycle.counters.limited_ticks;
    let from = b.outputs.len();
    b.run(500);
    assert!(b.cycle.counters.chunks_accepted >= accepted + 4);
    for (_, command) in &b.outputs[from..] {
        assert!((command.dq[0] - 1.0).abs() < 1e-6, "{}", command.dq[0]);
        assert!(command.ddq[0].abs() < 1e-3, "{}", command.ddq[0]);
    }
    assert_eq!(b.cycle.counters.limited_ticks, limited);
}

#[test]
fn a_killed_engine_ends_in_a_hold_at_rest_within_half_a_second() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(500);
    assert!(b.cycle.limiter.dq()[0] > 0.5, "the arm moves");
    let killed = b.now;
    let before = b.outputs.len();
    b.engine = false;
    b.reply = None;
    b.run(600);
    let after = &b.outputs[before..];
    let first_hold = after
        .iter()
        .find(|(_, c)| c.setpoint.source == Source::Hold)
        .expect("holds")
        .0;
    assert!(
        first_hold.since(killed) <= Duration::from_millis(152),
        "{:?}",
        first_hold.since(killed)
    );
    let last_policy = after
        .iter()
        .rfind(|(_, c)| c.setpoint.source == Source::Policy)
        .expect("tail")
        .0;
    assert!(last_policy.since(killed) <= Duration::from_millis(150));
    let rest = after
        .iter()
        .find(|(at, c)| *at > first_hold && c.dq.max_abs() < 0.01)
        .expect("rests")
        .0;
    assert!(rest.since(killed) <= Duration::from_millis(500));
    assert_eq!(*b.cycle.mode(), Mode::Hold(HoldReason(Fault::EngineDead)));
    assert!(
        after
            .iter()
            .all(|(_, c)| c.opening == after[0].1.opening || c.setpoint.source == Source::Policy)
    );
    assert_eq!(b.cycle.counters.holds, 1);
}

#[test]
fn where_a_cell_names_its_bundle_no_chunk_of_another_moves_the_arm() {
    let mut b = Bench::new(Resume::Auto);
    let pinned = ArmSpec {
        bundle: Some("pinned".into()),
        ..spec(Resume::Auto)
    };
    b.cycle = ArmCycle::new(pinned, info(1));
    b.start();
    b.run(500);
    assert_eq!(b.cycle.counters.chunks_accepted, 0);
    assert!(b.cycle.counters.chunks_flawed > 0);
    assert!(b.outputs.iter().all(|(_, c)| c.q[0] == 0.0), "it moved");
    let reason = HoldReason(Fault::BadChunk(ChunkFlaw::Bundle));
    assert_eq!(*b.cycle.mode(), Mode::Hold(reason));
    b.bundle = "pinned";
    b.run(1000);
    assert_eq!(*b.cycle.mode(), Mode::Policy);
    assert!(b.cycle.counters.chunks_accepted > 0);
}

#[test]
fn another_bundle_never_takes_over_in_the_middle_of_an_episode() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(500);
    let before = b.cycle.counters;
    b.bundle = "another";
    b.run(1000);
    let after = b.cycle.counters;
    assert_eq!(after.chunks_accepted, before.chunks_accepted);
    assert!(after.chunks_flawed > before.chunks_flawed);
    let reason = HoldReason(Fault::BadChunk(ChunkFlaw::Bundle));
    assert_eq!(*b.cycle.mode(), Mode::Hold(reason));
    // The next episode may have another.
    b.order(Order::EndEpisode).expect("ended");
    b.run(20);
    b.order(Order::Start {
        instruction: "pick".into(),
        seed: 4,
    })
    .expect("started");
    b.run(500);
    assert_eq!(*b.cycle.mode(), Mode::Policy);
    assert!(b.cycle.counters.chunks_accepted > after.chunks_accepted);
}

#[test]
fn an_engine_that_comes_back_resumes_in_a_new_generation() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(300);
    let old = b.cycle.generation();
    b.engine = false;
    b.run(1000);
    b.engine = true;
    b.run(190);
    assert!(
        matches!(b.cycle.mode(), Mode::Hold(_)),
        "not before all was well for a while"
    );
    b.run(100);
    assert_eq!(*b.cycle.mode(), Mode::Policy);
    assert!(b.cycle.generation() > old);
}

#[test]
fn a_chunk_from_before_the_hold_is_void() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(300);
    let mut late = chunk(1000, &[1.0; 100]);
    late.generation = b.cycle.generation();
    b.engine = false;
    b.run(400);
    b.answers = false;
    b.reply = Some(late);
    b.run(10);
    assert_eq!(b.cycle.counters.chunks_foreign, 1);
    assert!(matches!(b.cycle.mode(), Mode::Hold(_)));
}

#[test]
fn an_engine_that_hangs_is_noticed_at_its_deadline() {
    let mut b = Bench::new(Resume::Operator);
    b.start();
    b.run(300);
    b.answers = false;
    b.run(1000);
    assert!(
        matches!(
            b.cycle.mode(),
            Mode::Hold(HoldReason(Fault::EngineLate { .. }))
        ),
        "{:?}",
        b.cycle.mode()
    );
}

#[test]
fn a_reset_world_seeds_the_command_again_and_a_running_policy_holds() {
    let mut b = Bench::new(Resume::Operator);
    b.start();
    b.run(300);
    b.state.epoch = 2;
    b.state.q[0] = -0.5;
    let before = b.outputs.len();
    b.run(10);
    assert_eq!(
        *b.cycle.mode(),
        Mode::Hold(HoldReason(Fault::DeviceRestarted))
    );
    assert!(
        b.outputs[before..]
            .iter()
            .all(|(_, c)| c.epoch == 2 && (c.q[0] + 0.5).abs() < 1e-9)
    );
}

#[test]
fn where_the_arm_was_is_never_taken_for_where_it_is() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(700);
    let far = JointState {
        q: JointVec::from_slice(&[-1.0]).expect("one"),
        ..b.state
    };
    let reseeds = b.cycle.counters.reseeds;
    // Late states of another pose, of the present epoch and of a device that restarts.
    for stale in [far, JointState { epoch: 2, ..far }] {
        b.stale = Some(stale);
        let at = b.state.q[0];
        b.run(400);
        assert!(matches!(b.cycle.mode(), Mode::Hold(_)));
        assert_eq!(b.cycle.counters.reseeds, reseeds);
        assert!((b.state.q[0] - at).abs() < 0.1, "it only brakes");
    }
    b.stale = None;
    b.state.epoch = 2;
    b.run(20);
    assert_eq!(b.cycle.counters.reseeds, reseeds + 1, "seen again");
}

#[test]
fn stop_brakes_and_stays() {
    let mut b = Bench::new(Resume::Auto);
    b.start();
    b.run(500);
    b.order(Order::Stop).expect("always");
    b.run(300);
    assert!(b.cycle.at_rest());
    assert_eq!(*b.cycle.mode(), Mode::Stopped);
    assert!(b.order(Order::Enable).is_err());
    let resting = b.outputs.last().expect("commands").1.q;
    b.run(300);
    assert_eq!(b.outputs.last().expect("commands").1.q, resting);
}

#[test]
fn the_same_messages_give_the_same_commands() {
    let run = || {
        let mut b = Bench::new(Resume::Auto);
        b.start();
        b.run(400);
        b.engine = false;
        b.run(300);
        b.engine = true;
        b.run(600);
        b.outputs
    };
    assert_eq!(run(), run());
}

/// Actions that count from the command count from what a request says of it.
#[test]
fn a_request_says_where_the_command_is_at_its_observation() {
    let mut b = Bench::new(Resume::Auto);
    b.state.q[0] = 0.3;
    b.run(20);
    b.order(Order::Enable).expect("enabled");
    b.run(20);
    // Something large in the gripper: commanded as it was, measured otherwise.
    b.state.opening = 0.4;
    b.answers = false;
    b.order(Order::Start {
        instruction: "pick".into(),
        seed: 3,
    })
    .expect("started");
    b.run(20);
    let request = b.asked.clone().expect("asked");
    let [rest] = request.leftover.as_slice() else {
        panic!("{:?}", request.leftover);
    };
    assert_eq!(
        (rest.due, rest.action.q[0], rest.action.opening),
        (request.observe_after, 0.3, 0.7)
    );
    b.answers = true;
    b.run(400);
    b.answers = false;
    b.run(120);
    let request = b.asked.clone().expect("asked");
    let planned = request.leftover.as_slice()[0];
    assert_eq!(planned.due, request.observe_after);
    b.run(100);
    let at = |(due, _): &&(Time, Command)| *due >= request.observe_after;
    let (_, commanded) = b.outputs.iter().find(at).expect("commanded then");
    let off = commanded.q[0] - planned.action.q[0];
    assert!(off.abs() < 0.02, "{off} rad, moving at 1 rad/s");
}
