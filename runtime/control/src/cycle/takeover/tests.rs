//! Laws of taking over and handing back, with an arm that follows, an engine that answers, and a human who sends.

use std::sync::Arc;

use proptest::prelude::*;
use tactus_types::{
    ActionChunk, Command, Fault, JointState, JointVec, LeaseId, Mode, Source, Under,
};

use super::*;
use crate::cycle::tests::spec;
use crate::cycle::{ArmCycle, Order};
use crate::schedule::tests::{chunk, info};
use crate::supervise::Resume;

const MS: fn(u64) -> Duration = Duration::from_millis;
const PERIOD: Duration = Duration::from_millis(2);

struct Cell {
    cycle: ArmCycle,
    now: Time,
    state: JointState,
    lease: LeaseId,
    sequence: u64,
    /// Where the leader is, and whether it is engaged; `None`: it is silent.
    leader: Option<(f64, bool)>,
    /// Chunks arrive this much after their request.
    answer_in: Duration,
    on_the_way: Vec<(Time, ActionChunk)>,
    engine: bool,
    conditioned: Vec<f64>,
    path: Vec<(Mode, Command)>,
}

impl Cell {
    fn new(resume: Resume) -> Self {
        let mut cell = Self {
            cycle: ArmCycle::new(spec(resume), info(1)),
            now: Time::from_millis(1000),
            state: JointState {
                captured_at: Time::ZERO,
                seq: 0,
                epoch: 1,
                q: JointVec::zeros(1),
                dq: JointVec::zeros(1),
                opening: 0.5,
                torque: true,
            },
            lease: LeaseId(0),
            sequence: 0,
            leader: None,
            answer_in: MS(40),
            on_the_way: vec![],
            engine: true,
            conditioned: vec![],
            path: vec![],
        };
        cell.run(20);
        let policy = cell.acquire("eval", Rank::Policy);
        cell.order(policy, 1, Order::Enable).expect("enabled");
        cell.run(20);
        cell
    }

    fn acquire(&mut self, holder: &str, rank: Rank) -> LeaseId {
        let holder = Arc::from(holder);
        self.cycle
            .acquire(&holder, rank, MS(60_000), self.now)
            .expect("granted")
            .lease
    }

    fn order(
        &mut self,
        lease: LeaseId,
        sequence: u64,
        order: Order,
    ) -> Result<(), crate::OrderRefused> {
        self.state.captured_at = self.now;
        let under = Under {
            lease,
            sequence,
            bound: false,
        };
        let state = self.state;
        let input = TickInput {
            state: Some(&state),
            engine_alive: self.engine,
            ..TickInput::default()
        };
        self.cycle
            .order_under(&order, Some(under), &input, self.now)
    }

    fn start(&mut self) {
        let lease = self.acquire_again();
        self.order(
            lease,
            1,
            Order::Start {
                instruction: "pick".into(),
                seed: 1,
            },
        )
        .expect("started");
    }

    /// The policy's lease, given back and taken anew.
    fn acquire_again(&mut self) -> LeaseId {
        if let Some(by) = self.cycle.lease_holder(self.now).cloned() {
            assert_eq!(by.rank, Rank::Policy);
            self.now = self.now + MS(60_001);
            self.on_the_way.clear();
        }
        self.acquire("eval", Rank::Policy)
    }

    /// A human takes the lease, sends for a while, and takes over.
    fn take_over(&mut self, reference: Reference) -> Result<(), crate::OrderRefused> {
        self.lease = self.acquire("human", Rank::Teleop);
        self.run_ticks(1);
        let lease = self.lease;
        self.order(lease, 1, Order::TakeOver { reference })
    }

    fn run(&mut self, millis: u64) {
        self.run_ticks(millis / 2);
    }

    fn run_ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.state.captured_at = self.now;
            self.sequence += 1;
            let setpoint = self.leader.map(|(q, engaged)| OperatorSetpoint {
                lease: self.lease,
                sequence: self.sequence,
                captured_at: self.now,
                q: JointVec::from_fn(1, |_| q),
                opening: 0.5,
                engaged,
            });
            let due = self.on_the_way.iter().position(|(at, _)| *at <= self.now);
            let reply = due.map(|i| self.on_the_way.remove(i).1);
            let state = self.state;
            let input = TickInput {
                state: Some(&state),
                chunk: reply.as_ref(),
                operator: setpoint.as_ref(),
                engine_alive: self.engine,
                ..TickInput::default()
            };
            let output = self.cycle.tick(&input, self.now);
            if let Some(command) = output.command {
                self.state.q = command.q;
                self.state.dq = command.dq;
                self.path.push((self.cycle.mode().clone(), command));
            }
            if let Some(request) = output.request {
                let leftover = request.leftover.as_slice();
                self.conditioned = leftover.iter().map(|t| t.action.q[0]).collect();
                let from = self.state.q[0];
                let ramp: Vec<f64> = (1..=16)
                    .map(|i| (from + 0.03 * f64::from(i)).min(1.9))
                    .collect();
                let mut answer = chunk(request.observe_after.as_nanos() / 1_000_000, &ramp);
                answer.request_id = request.id;
                answer.generation = request.generation;
                answer.bundle_id = "b".into();
                self.on_the_way.push((self.now + self.answer_in, answer));
            }
            self.now = self.now + PERIOD;
        }
    }

    fn within_limits(&self, from: usize) {
        let limit = info(1).limits[0];
        for pair in self.path[from..].windows(2) {
            let ((_, a), (_, b)) = (&pair[0], &pair[1]);
            let h = PERIOD.as_secs_f64();
            let step = (b.q[0] - a.q[0]).abs();
            assert!(step <= limit.velocity * h * 1.001, "{step}");
            assert!((b.dq[0] - a.dq[0]).abs() <= limit.acceleration * h * 1.001);
            assert!((b.ddq[0] - a.ddq[0]).abs() <= limit.jerk * h * 1.01 + 1e-6);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// At whatever moment of an episode a human takes over, however far away the leader is, and whenever they hand back:
    /// the policy is silent from the very tick on, nothing of it is applied later, every command is inside the limits and
    /// says who asked for it, and the policy goes on from a fresh observation.
    #[test]
    fn a_human_takes_over_and_hands_back_at_any_moment(
        at in 1u64..600,
        apart in -0.7..0.7f64,
        speed in -0.5..0.5f64,
        holds_for in 100u64..1900,
        which in 0usize..3,
        answer_in in 1u64..200,
    ) {
        let reference = Reference::ALL[which];
        let mut cell = Cell::new(Resume::Operator);
        cell.answer_in = MS(answer_in);
        cell.start();
        cell.run_ticks(at);
        let begun = cell.path.len();
        let q = cell.state.q[0];
        cell.leader = Some((q + apart, true));
        cell.take_over(reference).expect("taken over");
        let taken = cell.path.len();
        for _ in 0..holds_for / 2 {
            cell.run_ticks(1);
            let (q, engaged) = cell.leader.expect("sends");
            cell.leader = Some((q + speed * 0.002, engaged));
        }
        let generation = cell.cycle.generation();
        for (mode, command) in &cell.path[taken..] {
            let source = command.setpoint.source;
            prop_assert!(source != Source::Policy, "a policy's command after a takeover");
            prop_assert!(matches!(
                (mode, source),
                (Mode::Align, Source::Hold | Source::Align) | (Mode::Teleop, Source::Teleop)
            ), "{:?} {:?}", mode, source);
        }
        // An arm that moves brakes first, by up to 0.1 rad the wrong way; sliding 0.6 rad at 0.9 rad/s at most then takes 1.3 s.
        let near = match reference {
            Reference::Leader => apart.abs() <= 0.1,
            Reference::Slide => apart.abs() <= 0.5,
            Reference::Clutch => true,
        };
        if near && holds_for > 1600 && speed.abs() < 0.05 {
            prop_assert_eq!(cell.cycle.mode(), &Mode::Teleop);
        }
        let lease = cell.lease;
        let command = cell.path.last().expect("commands").1;
        cell.order(lease, 2, Order::HandBack).expect("handed back");
        let back = cell.path.len();
        cell.run(600);
        let first = cell.path[back..].iter().position(|(_, c)| c.setpoint.source == Source::Policy);
        let first = first.expect("the policy goes on");
        prop_assert!(first as u64 * 2 >= answer_in, "not before its chunk");
        prop_assert!(cell.path[back].1.generation != generation);
        let between = &cell.path[back..back + first];
        prop_assert!(between.iter().all(|(_, c)| c.setpoint.source == Source::Hold));
        let step = (cell.path[back].1.q[0] - command.q[0]).abs();
        prop_assert!(step <= command.dq[0].abs() * 0.002 + 1e-3);
        cell.within_limits(begun);
    }
}

#[test]
fn the_next_chunk_is_conditioned_on_how_the_human_was_moving() {
    let mut cell = Cell::new(Resume::Operator);
    cell.start();
    cell.run(300);
    let q = cell.state.q[0];
    cell.leader = Some((q, true));
    cell.take_over(Reference::Clutch).expect("taken over");
    for tick in 0..400 {
        cell.run_ticks(1);
        cell.leader = Some((q + 0.001 * f64::from(tick), true));
    }
    assert!(cell.state.dq[0] > 0.3);
    let (lease, from) = (cell.lease, cell.state.q[0]);
    cell.order(lease, 2, Order::HandBack).expect("handed back");
    cell.run_ticks(1);
    let said = &cell.conditioned;
    assert!(
        said.len() > 4 && said.windows(2).all(|w| w[1] >= w[0]),
        "{said:?}"
    );
    assert!(said[1] > from + 1e-3, "{said:?}");
    cell.run(400);
    let braked = cell.conditioned.last().copied();
    assert!(braked.is_some());
}

#[test]
fn a_human_who_falls_silent_ends_in_a_hold_that_only_an_operator_ends() {
    let mut cell = Cell::new(Resume::Auto);
    cell.start();
    cell.run(300);
    cell.leader = Some((cell.state.q[0], true));
    cell.take_over(Reference::Leader).expect("taken over");
    cell.run(600);
    assert_eq!(*cell.cycle.mode(), Mode::Teleop);
    cell.leader = None;
    let from = cell.path.len();
    cell.run(3000);
    let held = cell.path[from..]
        .iter()
        .position(
            |(mode, _)| matches!(mode, Mode::Hold(r) if matches!(r.0, Fault::OperatorLost { .. })),
        )
        .expect("a hold");
    assert!((50..=51).contains(&held), "{held} ticks");
    assert!(matches!(cell.cycle.mode(), Mode::Hold(_)), "and stays");
    cell.within_limits(from);
    let lease = cell.lease;
    cell.order(lease, 2, Order::Enable).expect("resumed");
    cell.run(300);
    assert_eq!(*cell.cycle.mode(), Mode::Policy);
}

#[test]
fn the_lease_alone_silences_a_policy_that_a_human_has_handed_back_to() {
    let mut cell = Cell::new(Resume::Auto);
    cell.start();
    cell.run(300);
    cell.leader = Some((cell.state.q[0], true));
    cell.take_over(Reference::Clutch).expect("taken over");
    cell.run(600);
    let lease = cell.lease;
    cell.order(lease, 2, Order::HandBack).expect("handed back");
    cell.cycle.release(lease, cell.now).expect("given back");
    cell.leader = None;
    cell.run(600);
    assert_eq!(*cell.cycle.mode(), Mode::Policy);
    cell.acquire("another", Rank::Teleop);
    let from = cell.path.len();
    cell.run(600);
    let by_policy = |(_, c): &&(Mode, Command)| c.setpoint.source == Source::Policy;
    assert_eq!(cell.path[from..].iter().filter(by_policy).count(), 0);
}

#[test]
fn a_fault_of_the_arm_under_a_human_gives_it_to_the_policy_only_by_an_operator() {
    let mut cell = Cell::new(Resume::Auto);
    cell.start();
    cell.run(300);
    cell.leader = Some((cell.state.q[0], true));
    cell.take_over(Reference::Clutch).expect("taken over");
    cell.run(600);
    assert_eq!(*cell.cycle.mode(), Mode::Teleop);
    cell.state.epoch += 1;
    cell.run(3000);
    let held = cell.cycle.mode();
    assert!(
        matches!(held, Mode::Hold(_)),
        "also where a cell resumes by itself: {held:?}"
    );
    let lease = cell.lease;
    cell.order(lease, 2, Order::Enable).expect("resumed");
    cell.run(300);
    assert_eq!(*cell.cycle.mode(), Mode::Policy);
}

#[test]
fn a_stalled_policy_is_taken_over_from_its_hold() {
    let mut cell = Cell::new(Resume::Operator);
    cell.start();
    cell.run(300);
    cell.engine = false;
    cell.run(600);
    assert!(matches!(cell.cycle.mode(), Mode::Hold(_)));
    cell.leader = Some((cell.state.q[0] + 0.05, true));
    cell.take_over(Reference::Leader).expect("taken over");
    cell.run(700);
    assert_eq!(*cell.cycle.mode(), Mode::Teleop);
    let lease = cell.lease;
    let refused = cell.order(lease, 2, Order::HandBack);
    assert!(matches!(refused, Err(crate::OrderRefused::NotAlive { .. })));
    assert_eq!(*cell.cycle.mode(), Mode::Teleop, "nothing changed");
    cell.engine = true;
    cell.order(lease, 3, Order::HandBack).expect("handed back");
    cell.run(300);
    assert_eq!(*cell.cycle.mode(), Mode::Policy);
}

#[test]
fn nobody_takes_over_without_a_human_s_lease_a_human_and_torque() {
    use crate::OrderRefused;
    let over = Order::TakeOver {
        reference: Reference::Clutch,
    };
    let mut cell = Cell::new(Resume::Operator);
    let policy = cell.acquire_again();
    cell.leader = Some((0.0, true));
    cell.lease = policy;
    cell.run(20);
    assert_eq!(
        cell.order(policy, 1, over.clone()),
        Err(OrderRefused::Rank { rank: "policy" })
    );
    assert_eq!(
        cell.cycle.counters.setpoints_refused, 10,
        "a policy's setpoints"
    );
    cell.leader = None;
    let human = cell.acquire("human", Rank::Teleop);
    cell.lease = human;
    assert_eq!(
        cell.order(human, 1, over.clone()),
        Err(OrderRefused::NoOperator { age_millis: None })
    );
    cell.leader = Some((0.0, true));
    cell.run(20);
    cell.leader = None;
    cell.run(200);
    assert!(matches!(
        cell.order(human, 2, over.clone()),
        Err(OrderRefused::NoOperator {
            age_millis: Some(200..=204)
        })
    ));
    cell.leader = Some((0.0, true));
    cell.run(20);
    assert_eq!(cell.order(human, 3, over.clone()), Ok(()));
    cell.run(20);
    assert_eq!(*cell.cycle.mode(), Mode::Teleop);
    assert_eq!(cell.order(human, 4, Order::HandBack), Ok(()), "no episode");
    assert_eq!(cell.cycle.mode(), &Mode::Teleop);
    cell.run(2);
    assert_eq!(*cell.cycle.mode(), Mode::Ready);
    // A human of a lease that ended is nobody.
    cell.cycle.release(human, cell.now).expect("released");
    cell.run(20);
    let again = cell.acquire("human", Rank::Teleop);
    assert!(matches!(
        cell.order(again, 1, over),
        Err(OrderRefused::NoOperator { .. })
    ));
}

/// The request that a takeover made void would be overdue just when the human hands back.
#[test]
fn what_was_asked_before_a_takeover_is_never_overdue() {
    let mut cell = Cell::new(Resume::Operator);
    cell.answer_in = MS(135);
    cell.start();
    cell.run_ticks(520);
    cell.leader = Some((cell.state.q[0], true));
    cell.take_over(Reference::Leader).expect("taken over");
    cell.run_ticks(123);
    let lease = cell.lease;
    cell.order(lease, 2, Order::HandBack).expect("handed back");
    cell.run(300);
    assert_eq!(*cell.cycle.mode(), Mode::Policy);
}
