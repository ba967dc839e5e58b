//! Two arm hosts and an engine that answers both or neither, on one virtual clock.

use std::time::Duration;

use proptest::prelude::*;
use tactus_types::{
    ActionChunk, Command, Fault, FaultKind, HoldReason, InferenceRequest, JointState, JointVec,
    Mode, Source,
};

use super::super::tests::spec;
use super::super::{ArmCycle, Order};
use super::*;
use crate::rendezvous::{Rendezvous, Together};
use crate::schedule::tests::{chunk, info};
use crate::supervise::Resume;

const PERIOD: Duration = Duration::from_millis(2);
/// An arm host says its mode at least so often.
const BEAT: Duration = Duration::from_millis(50);
/// `arm.link_limit_ms` of the cell, one tick, and the way of a report.
const BOUND: Duration = Duration::from_millis(150 + 2 + 2);

struct Side {
    cycle: ArmCycle,
    state: JointState,
    /// States arrive, reports are heard by the other, and its host is there.
    feels: bool,
    heard: bool,
    alive: bool,
    said: Option<(PartnerMode, Time)>,
    said_mode: Option<PartnerMode>,
    reply: Option<ActionChunk>,
    /// What it asked for last.
    request: Option<InferenceRequest>,
    /// The last tick in which a chunk moved it.
    moved_at: Option<Time>,
    command: Option<Command>,
}

struct Duo {
    sides: [Side; 2],
    names: [Arc<str>; 2],
    engine: Rendezvous,
    asked: Option<InferenceRequest>,
    now: Time,
}

fn mode_of(mode: &Mode) -> PartnerMode {
    match mode {
        Mode::Boot => PartnerMode::Boot,
        Mode::Ready => PartnerMode::Ready,
        Mode::Policy => PartnerMode::Policy,
        Mode::Goto => PartnerMode::Goto,
        Mode::Align | Mode::Teleop => PartnerMode::Teleop,
        Mode::Hold(_) => PartnerMode::Hold,
        Mode::Stopped => PartnerMode::Stopped,
    }
}

impl Duo {
    fn new(resume: Resume) -> Self {
        let side = |boot| {
            let mut spec = spec(resume);
            spec.boot = boot;
            Side {
                cycle: ArmCycle::new(spec, info(1)),
                state: JointState {
                    captured_at: Time::ZERO,
                    seq: 0,
                    epoch: 1,
                    q: JointVec::zeros(1),
                    dq: JointVec::zeros(1),
                    opening: 0.7,
                    torque: true,
                },
                feels: true,
                heard: true,
                alive: true,
                said: None,
                said_mode: None,
                reply: None,
                request: None,
                moved_at: None,
                command: None,
            }
        };
        let names: [Arc<str>; 2] = ["left".into(), "right".into()];
        Self {
            sides: [side(7), side(8)],
            engine: Rendezvous::new(names.clone()),
            names,
            asked: None,
            now: Time::from_millis(1000),
        }
    }

    /// What arm `which` sees of the other, which is called `name`.
    fn partner<'a>(&self, which: usize, name: &'a Arc<str>) -> Partner<'a> {
        let other = &self.sides[1 - which];
        let said = other.said;
        Partner {
            name,
            alive: other.alive,
            mode: said.map(|(mode, _)| mode),
            silent: said.map_or(Duration::from_secs(9), |(_, at)| self.now.since(at)),
        }
    }

    fn order(&mut self, which: usize, order: &Order) -> Result<(), OrderRefused> {
        let now = self.now;
        let mut state = self.sides[which].state;
        state.captured_at = now;
        let name = self.names[1 - which].clone();
        let partner = self.partner(which, &name);
        let input = TickInput {
            state: Some(&state),
            engine_alive: true,
            partner: Some(partner),
            ..TickInput::default()
        };
        self.sides[which].cycle.order(order, &input, now)
    }

    fn both(&mut self, order: &Order) {
        for which in [0, 1] {
            self.order(which, order).expect("accepted");
            self.run(10);
        }
    }

    fn tick(&mut self) {
        for which in [0, 1] {
            let name = self.names[1 - which].clone();
            let partner = self.partner(which, &name);
            let now = self.now;
            let side = &mut self.sides[which];
            if side.feels {
                side.state.captured_at = now;
            }
            let reply = side.reply.take();
            let state = side.state;
            let input = TickInput {
                state: Some(&state),
                chunk: reply.as_ref(),
                engine_alive: true,
                partner: Some(partner),
                ..TickInput::default()
            };
            let output = side.cycle.tick(&input, now);
            if let Some(command) = output.command {
                side.state.q = command.q;
                side.state.dq = command.dq;
                if command.setpoint.source == Source::Policy {
                    side.moved_at = Some(now);
                }
            }
            side.command = output.command;
            side.request = output.request.clone().or(side.request.take());
            if let Some(request) = output.request
                && let Together::Ask(both) = self.engine.request(which, request, now)
            {
                self.asked = Some(*both);
            }
        }
        // What is said in a tick is heard in the next.
        for side in &mut self.sides {
            let mode = mode_of(side.cycle.mode());
            let due = side.said.is_none_or(|(_, at)| self.now.since(at) >= BEAT);
            if side.heard && (due || side.said_mode != Some(mode)) {
                side.said = Some((mode, self.now));
                side.said_mode = Some(mode);
            }
        }
        let now = self.now;
        let due = |request: &mut InferenceRequest| request.observe_after <= now;
        if let Some(request) = self.asked.take_if(due)
            && let Some(joined) = self.engine.answered(request.id)
        {
            for (side, (id, generation)) in self.sides.iter_mut().zip(joined.of) {
                let from = side.state.q[0];
                let ramp: Vec<f64> = (1..=16)
                    .map(|i| (from + 0.03 * f64::from(i)).min(1.9))
                    .collect();
                side.reply = Some(ActionChunk {
                    request_id: id,
                    generation,
                    ..chunk(now.as_nanos() / 1_000_000, &ramp)
                });
            }
        }
        self.now = self.now + PERIOD;
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / 2 {
            self.tick();
        }
    }

    fn modes(&self) -> [PartnerMode; 2] {
        self.sides.each_ref().map(|side| mode_of(side.cycle.mode()))
    }

    fn fault(&self, which: usize) -> Option<FaultKind> {
        match self.sides[which].cycle.mode() {
            Mode::Hold(HoldReason(fault)) => Some(fault.kind()),
            _ => None,
        }
    }

    /// Runs until arm `which` is in a hold; how long that took.
    fn until_held(&mut self, which: usize) -> Duration {
        let from = self.now;
        while !matches!(self.sides[which].cycle.mode(), Mode::Hold(_)) {
            assert!(self.now.since(from) < Duration::from_secs(2), "no hold");
            self.tick();
        }
        self.now.since(from)
    }
}

fn start() -> Order {
    Order::Start {
        instruction: "fold".into(),
        seed: 3,
    }
}

fn running(resume: Resume) -> Duo {
    let mut duo = Duo::new(resume);
    duo.run(100);
    duo.both(&Order::Enable);
    duo.run(100);
    duo.both(&start());
    duo.run(500);
    assert_eq!(duo.modes(), [PartnerMode::Policy; 2]);
    duo
}

const HOLDS: [PartnerMode; 2] = [PartnerMode::Hold; 2];

#[test]
fn both_play_the_same_step_of_the_same_observation_in_every_tick() {
    let mut duo = running(Resume::Operator);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..500 {
        duo.tick();
        let [left, right] = duo
            .sides
            .each_ref()
            .map(|side| side.command.expect("commands").setpoint);
        assert_eq!(left.source, Source::Policy);
        assert_eq!(
            (left.observed_at, left.action_index),
            (right.observed_at, right.action_index)
        );
        seen.insert(left.observed_at.expect("of a chunk"));
    }
    assert!(seen.len() > 5, "new chunks come");
}

#[test]
fn what_holds_one_holds_the_other_by_name_and_both_come_back_together() {
    let mut duo = running(Resume::Auto);
    duo.sides[0].feels = false;
    let left = duo.until_held(0);
    let right = duo.until_held(1);
    assert_eq!(duo.fault(0), Some(FaultKind::ProprioStale));
    assert_eq!(duo.fault(1), Some(FaultKind::PartnerHeld));
    assert!(left <= Duration::from_millis(24), "{left:?}");
    assert!(right <= PERIOD, "in the tick after: {right:?}");
    let moved = duo.sides[1].moved_at;
    duo.run(3000);
    assert_eq!(duo.modes(), HOLDS, "one alone is not answered");
    assert_eq!(duo.sides[1].moved_at, moved);
    duo.sides[0].feels = true;
    duo.run(2000);
    assert_eq!(duo.modes(), [PartnerMode::Policy; 2]);
}

#[test]
fn an_arm_whose_partner_is_gone_or_silent_holds_within_the_bound() {
    for gone in [true, false] {
        let mut duo = running(Resume::Auto);
        match gone {
            true => duo.sides[0].alive = false,
            false => duo.sides[0].heard = false,
        }
        let held = duo.until_held(1);
        assert_eq!(duo.fault(1), Some(FaultKind::PartnerHeld));
        let bound = if gone { PERIOD } else { BOUND };
        assert!(held <= bound, "{held:?}");
        duo.run(2000);
        assert_eq!(duo.modes(), HOLDS, "neither goes on without the other");
    }
}

#[test]
fn one_alone_does_not_start_and_one_that_waits_in_vain_has_not_moved() {
    let mut duo = Duo::new(Resume::Operator);
    duo.run(100);
    duo.order(0, &Order::Enable).expect("enabled");
    duo.run(100);
    let refused = duo.order(0, &start()).expect_err("the other is in boot");
    assert_eq!(
        refused.to_string(),
        "the other arm of the pair, `right`, is in mode `boot`; both start, or neither"
    );
    duo.order(1, &Order::Enable).expect("enabled");
    duo.run(100);
    duo.order(0, &start()).expect("the other is ready");
    let waited = duo.until_held(0);
    assert!(waited <= Duration::from_millis(250 + 8), "{waited:?}");
    assert_eq!(duo.fault(0), Some(FaultKind::PartnerHeld));
    assert_eq!(duo.sides[0].moved_at, None);
}

#[test]
fn an_operator_enables_both_or_neither_moves() {
    let mut duo = running(Resume::Operator);
    duo.order(0, &Order::Hold).expect("held");
    duo.run(100);
    assert_eq!(duo.modes(), HOLDS);
    assert_eq!(duo.fault(1), Some(FaultKind::PartnerHeld));
    let moved = [0, 1].map(|which| duo.sides[which].moved_at);
    duo.order(1, &Order::Enable).expect("enabled");
    duo.run(3000);
    assert_eq!(duo.modes(), HOLDS);
    assert_eq!([0, 1].map(|which| duo.sides[which].moved_at), moved);
    duo.order(0, &Order::Enable).expect("enabled");
    duo.run(600);
    assert_eq!(duo.modes(), [PartnerMode::Policy; 2]);
}

/// The left's last request came to the engine after the right's was answered: nobody withdraws it.
#[test]
fn what_the_other_asked_before_it_held_lets_nobody_move_alone() {
    let mut duo = running(Resume::Operator);
    duo.order(0, &Order::Hold).expect("held");
    duo.run(10);
    assert_eq!(duo.modes(), HOLDS);
    let within = Duration::from_millis(250);
    let old = duo.sides[0].request.clone().expect("it asked");
    let now = duo.now;
    let deadline = now + within;
    let late = InferenceRequest { deadline, ..old };
    assert_eq!(duo.engine.request(0, late, now), Together::Wait);
    let moved = [0, 1].map(|which| duo.sides[which].moved_at);
    duo.order(1, &Order::Enable).expect("enabled");
    for _ in 0..1000 {
        duo.tick();
        assert_eq!(duo.modes(), HOLDS, "{:?} later", duo.now.since(now));
    }
    assert_eq!([0, 1].map(|which| duo.sides[which].moved_at), moved);
    duo.order(0, &Order::Enable).expect("enabled");
    duo.run(1000);
    assert_eq!(duo.modes(), [PartnerMode::Policy; 2]);
}

#[test]
fn a_stop_of_one_stops_both_and_one_that_was_stopped_before_does_not() {
    let mut duo = running(Resume::Auto);
    duo.order(1, &Order::Stop).expect("stopped");
    duo.run(10);
    assert_eq!(duo.modes(), [PartnerMode::Stopped; 2]);
    // An arm host that comes up beside one that was stopped is in boot, and stays there.
    let fresh = Duo::new(Resume::Auto);
    let [left, _] = fresh.sides;
    duo.sides[0] = left;
    duo.run(200);
    assert_eq!(duo.modes(), [PartnerMode::Boot, PartnerMode::Stopped]);
}

#[test]
fn a_human_who_takes_one_arm_holds_the_other() {
    let mut duo = running(Resume::Auto);
    duo.sides[0].heard = false;
    duo.sides[0].said = Some((PartnerMode::Teleop, duo.now));
    let held = duo.until_held(1);
    assert!(held <= PERIOD, "{held:?}");
    let Mode::Hold(HoldReason(Fault::PartnerHeld { state, .. })) = duo.sides[1].cycle.mode() else {
        panic!("{:?}", duo.sides[1].cycle.mode())
    };
    assert_eq!(*state, PartnerState::Mode("teleop"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens to either, at any time: no chunk moves an arm for longer than the bound while the other does not run.
    #[test]
    fn neither_moves_without_the_other(
        events in prop::collection::vec((0..2usize, 0..7usize, 2..600u64), 1..24),
    ) {
        let mut duo = running(Resume::Auto);
        let (mut ran, mut began) = ([duo.now; 2], [duo.now; 2]);
        for (which, what, millis) in events {
            match what {
                0 => duo.sides[which].feels ^= true,
                1 => duo.sides[which].heard ^= true,
                2 => duo.sides[which].alive ^= true,
                // Refused in most modes.
                3 => drop(duo.order(which, &Order::Enable)),
                4 => drop(duo.order(which, &start())),
                5 => drop(duo.order(which, &Order::Hold)),
                _ => drop(duo.order(which, &Order::EndEpisode)),
            }
            for _ in 0..millis / 2 {
                let at = duo.now;
                duo.tick();
                for (which, mode) in duo.modes().into_iter().enumerate() {
                    if mode == PartnerMode::Policy {
                        ran[which] = at;
                    }
                }
                for which in [0, 1] {
                    if duo.sides[which].moved_at != Some(at) {
                        began[which] = at;
                    }
                    let alone = at.since(ran[1 - which].max(began[which]));
                    prop_assert!(alone <= BOUND, "arm {which} for {alone:?}");
                }
            }
        }
    }
}
