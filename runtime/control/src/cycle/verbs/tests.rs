//! Laws of the verbs, with an arm that obeys torque and can be made to misbehave.

use std::time::Duration;

use tactus_types::{ArmInfo, Command, GotoFlaw, HoldReason, JointLimits, Source};

use super::*;
use crate::cycle::tests::spec;
use crate::{ArmSpec, EnableSpec, Resume, StartPose};

const MS: fn(u64) -> Duration = Duration::from_millis;
const LIMIT: JointLimits = JointLimits {
    lower: -2.0,
    upper: 2.0,
    velocity: 3.0,
    acceleration: 30.0,
    jerk: 1500.0,
};

/// Two joints that are where they are commanded while torque is on.
struct Arm {
    cycle: ArmCycle,
    now: Time,
    state: JointState,
    /// Added to joint `b` each tick while torque is on: a goal that the arm does not keep.
    drift: f64,
    /// The device ignores what it is told about torque.
    deaf: bool,
    stuck: bool,
    commands: Vec<Command>,
    outcomes: Vec<Result<(), OrderRefused>>,
}

impl Arm {
    fn new(brakes: bool, edit: impl FnOnce(&mut ArmSpec)) -> Self {
        let info = ArmInfo {
            model: "two".into(),
            joints: vec!["a".into(), "b".into()],
            limits: vec![LIMIT; 2],
            gripper: true,
            state_rate_hz: 500.0,
            brakes,
            torque_switch: true,
            command_deadline_secs: 0.1,
            geometry: None,
        };
        let mut spec = spec(Resume::Auto);
        spec.enable = EnableSpec {
            window: MS(100),
            tolerance: 0.02,
        };
        edit(&mut spec);
        let state = JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 1,
            q: JointVec::from_fn(2, |i| 0.3 + i as f64),
            dq: JointVec::zeros(2),
            opening: 0.5,
            torque: false,
        };
        let mut arm = Self {
            cycle: ArmCycle::new(spec, info),
            now: Time::from_millis(1000),
            state,
            drift: 0.0,
            deaf: false,
            stuck: false,
            commands: vec![],
            outcomes: vec![],
        };
        arm.run(10);
        arm
    }

    fn input<'a>(state: &'a JointState) -> TickInput<'a> {
        TickInput {
            state: Some(state),
            engine_alive: true,
            ..TickInput::default()
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / 2 {
            self.state.captured_at = self.now;
            let state = self.state;
            let output = self.cycle.tick(&Self::input(&state), self.now);
            self.outcomes.extend(output.switched);
            if let Some(command) = output.command {
                if !self.deaf && command.torque != Torque::Keep {
                    self.state.torque = command.torque == Torque::On;
                }
                if self.state.torque && !self.stuck {
                    self.state.q = command.q;
                    self.state.q[1] += self.drift;
                    self.drift *= 1.1;
                }
                self.commands.push(command);
            }
            self.now = self.now + MS(2);
        }
    }

    fn order(&mut self, order: Order) -> Result<(), OrderRefused> {
        self.state.captured_at = self.now;
        let state = self.state;
        self.cycle.order(&order, &Self::input(&state), self.now)
    }

    fn enable(&mut self) -> Result<(), OrderRefused> {
        self.order(Order::Enable)?;
        self.run(300);
        self.outcomes.pop().expect("an outcome")
    }

    fn goto(&mut self, q: [f64; 2]) -> Result<(), OrderRefused> {
        let pose = Pose {
            q: JointVec::from_slice(&q).expect("two"),
            opening: None,
        };
        self.order(Order::Goto { pose, speed: 0.5 })
    }

    fn mode(&self) -> &Mode {
        self.cycle.mode()
    }
}

#[test]
fn enabling_takes_the_present_pose_as_the_goal_and_switches_torque_on() {
    let mut arm = Arm::new(false, |_| ());
    // Someone moves the limp arm by hand; the command goes with it.
    arm.state.q = JointVec::from_fn(2, |i| 0.1 + i as f64);
    arm.run(10);
    let before = arm.commands.len();
    assert_eq!(arm.enable(), Ok(()));
    assert_eq!(*arm.mode(), Mode::Ready);
    assert!(arm.state.torque && arm.outcomes.is_empty());
    let goals = &arm.commands[before - 1..];
    assert!(goals.iter().all(|c| c.q.as_slice() == [0.1, 1.1]));
    let said = |t: Torque| goals.iter().filter(|c| c.torque == t).count();
    assert!(said(Torque::On) >= 50 && said(Torque::Off) == 0);
    assert_eq!(arm.commands.last().map(|c| c.torque), Some(Torque::Keep));
}

#[test]
fn a_state_that_is_no_position_enables_nothing_and_never_becomes_the_goal() {
    let mut arm = Arm::new(true, |_| ());
    let good = arm.state;
    for q in [JointVec::zeros(3), JointVec::from_fn(2, |_| f64::NAN)] {
        arm.state.q = q;
        assert_eq!(arm.order(Order::Enable), Err(OrderRefused::BadState));
        arm.run(10);
        let last = arm.commands.last().expect("a command");
        assert_eq!(last.q.as_slice(), good.q.as_slice());
    }
}

#[test]
fn torque_that_comes_back_by_itself_finds_the_command_where_the_arm_is() {
    let mut arm = Arm::new(true, |_| ());
    arm.enable().expect("enabled");
    arm.state.torque = false;
    arm.run(10);
    assert_eq!(*arm.mode(), Mode::Boot);
    // It sinks in the very period in which the motors hold it again.
    arm.state.q = JointVec::from_fn(2, |i| 0.2 + i as f64);
    arm.state.torque = true;
    arm.stuck = true;
    arm.run(10);
    let last = arm.commands.last().expect("a command");
    assert_eq!(last.q.as_slice(), [0.2, 1.2]);
    assert_eq!(*arm.mode(), Mode::Boot);
}

#[test]
fn an_arm_that_moves_by_being_enabled_is_refused_with_joint_and_distance() {
    for (brakes, then) in [(false, true), (true, false)] {
        let mut arm = Arm::new(brakes, |_| ());
        arm.drift = 0.001;
        let refused = arm.enable().expect_err("it moves").to_string();
        assert!(refused.contains("joint `b` moved by 0.02"), "{refused}");
        assert_eq!(*arm.mode(), Mode::Boot);
        assert_eq!(arm.state.torque, then, "it falls only onto its brakes");
    }
}

#[test]
fn what_is_no_state_to_be_enabled_in_is_refused() {
    let mut arm = Arm::new(true, |_| ());
    arm.state.dq[1] = 0.2;
    assert!(
        matches!(arm.order(Order::Enable), Err(OrderRefused::Moves { joint, .. }) if joint == "b")
    );
    arm.state.dq[1] = 0.0;
    arm.state.q[0] = 2.5;
    let refused = arm.order(Order::Enable).expect_err("outside").to_string();
    assert!(
        refused.contains("present pose: joint `a`: expected -2 to 2 rad, got 2.5"),
        "{refused}"
    );
    arm.state.q[0] = 0.0;
    arm.deaf = true;
    assert!(arm.order(Order::Enable).is_ok());
    assert_eq!(arm.order(Order::Enable), Err(OrderRefused::Switching));
    arm.run(1100);
    assert_eq!(arm.outcomes, [Err(OrderRefused::NotSwitched { to: "on" })]);
    assert_eq!(*arm.mode(), Mode::Boot);
}

#[test]
fn torque_goes_off_only_at_rest_and_without_brakes_only_when_supported() {
    let off = |supported| Order::TorqueOff { supported };
    let mut arm = Arm::new(false, |_| ());
    assert_eq!(arm.enable(), Ok(()));
    let refused = arm
        .order(off(false))
        .expect_err("it would fall")
        .to_string();
    assert!(
        refused.contains("no brakes") && refused.contains("--arm-is-supported"),
        "{refused}"
    );
    arm.goto([0.0, 0.0]).expect("ready");
    arm.run(100);
    assert!(matches!(
        arm.order(off(true)),
        Err(OrderRefused::Mode { .. })
    ));
    arm.order(Order::Hold).expect("anyone may");
    arm.run(2);
    assert!(matches!(
        arm.order(off(true)),
        Err(OrderRefused::Moves { .. })
    ));
    arm.run(500);
    assert!(arm.order(off(true)).is_ok());
    arm.run(20);
    assert_eq!(arm.outcomes, [Ok(())]);
    assert!(!arm.state.torque);
    assert_eq!(*arm.mode(), Mode::Boot, "to be enabled again");

    let mut braked = Arm::new(true, |_| ());
    assert_eq!(braked.enable(), Ok(()));
    assert!(braked.order(off(false)).is_ok());
    braked.run(20);
    assert!(!braked.state.torque);
}

#[test]
fn torque_that_is_lost_while_ready_means_boot() {
    let mut arm = Arm::new(true, |_| ());
    assert_eq!(arm.enable(), Ok(()));
    arm.state.torque = false;
    arm.run(4);
    assert_eq!(*arm.mode(), Mode::Boot);
    assert!(
        arm.commands
            .iter()
            .rev()
            .take(2)
            .all(|c| c.torque == Torque::Keep)
    );
}

#[test]
fn a_goto_arrives_within_its_limits_and_is_ready_again() {
    let mut arm = Arm::new(true, |_| ());
    assert!(matches!(
        arm.goto([0.0, 0.0]),
        Err(OrderRefused::Mode { mode: "boot", .. })
    ));
    assert_eq!(arm.enable(), Ok(()));
    let refused = arm.goto([0.0, 2.1]).expect_err("outside").to_string();
    assert!(
        refused.contains("joint `b`: expected -2 to 2 rad, got 2.1"),
        "{refused}"
    );
    let before = arm.commands.len();
    arm.goto([-1.5, 1.9]).expect("ready");
    arm.run(2);
    assert_eq!(*arm.mode(), Mode::Goto);
    arm.run(4000);
    assert_eq!(*arm.mode(), Mode::Ready);
    assert!((arm.state.q[0] + 1.5).abs() < 1e-6 && (arm.state.q[1] - 1.9).abs() < 1e-6);
    let path = &arm.commands[before..];
    assert!(path.iter().any(|c| c.setpoint.source == Source::Goto));
    assert!(
        path.iter().all(|c| !c.clamped_by.any()),
        "the limiter had nothing to do"
    );
    let fastest = path.iter().map(|c| c.dq.max_abs()).fold(0.0, f64::max);
    assert!(
        fastest > 1.4 && fastest < 1.501,
        "half of 3 rad/s: {fastest}"
    );
}

#[test]
fn a_goto_that_is_not_followed_holds_and_says_why() {
    let mut arm = Arm::new(true, |spec| spec.limit.max_lead = 0.3);
    assert_eq!(arm.enable(), Ok(()));
    arm.stuck = true;
    arm.goto([0.3, 0.0]).expect("ready");
    let held = (0..1500).any(|_| {
        arm.run(2);
        matches!(arm.mode(), Mode::Hold(_))
    });
    // No command of a motion counts in a hold, in its first tick neither.
    let source = arm.commands.last().map(|c| c.setpoint.source);
    assert!(held && source == Some(Source::Hold), "{source:?}");
    arm.run(300);
    let Mode::Hold(HoldReason(Fault::Goto(GotoFlaw::Tracking { joint: 1, .. }))) = arm.mode()
    else {
        panic!("{:?}", arm.mode());
    };
    let last = arm.commands.last().expect("commands");
    assert!((last.q[1] - arm.state.q[1]).abs() <= 0.3 + 1e-9);
}

#[test]
fn a_goto_begun_while_braking_begins_at_rest() {
    let mut arm = Arm::new(true, |_| ());
    assert_eq!(arm.enable(), Ok(()));
    arm.goto([1.5, -1.5]).expect("ready");
    arm.run(700);
    assert!(!arm.cycle.at_rest());
    arm.order(Order::Hold).expect("anyone may");
    arm.run(2);
    assert_eq!(*arm.mode(), Mode::Hold(HoldReason(Fault::Held)));
    arm.order(Order::Enable).expect("no episode: ready");
    assert!(!arm.cycle.at_rest());
    let before = arm.commands.len();
    arm.goto([0.0, 0.0]).expect("ready");
    arm.run(6000);
    let after = &arm.commands[before - 1..];
    let begins = |pair: &&[Command]| pair[1].setpoint.source == Source::Goto;
    let first = after.windows(2).find(begins).expect("it begins");
    assert!(first[0].dq.max_abs() < 1e-3, "braked first: {first:?}");
    assert_eq!(*arm.mode(), Mode::Ready);
    assert!(arm.state.q.max_abs() < 1e-6);
    assert!(arm.commands.iter().all(|c| !c.clamped_by.position));
}

#[test]
fn an_episode_starts_only_near_the_start_pose() {
    let start = StartPose {
        q: JointVec::from_fn(2, |_| 0.5),
        tolerance: 0.1,
    };
    let mut arm = Arm::new(true, |spec| spec.start = Some(start));
    assert_eq!(arm.enable(), Ok(()));
    let begin = || Order::Start {
        instruction: "pick".into(),
        seed: 1,
    };
    let refused = arm.order(begin()).expect_err("far away").to_string();
    assert!(
        refused.contains("joint `a` is at 0.3000 rad, episodes start at 0.5 within 0.1"),
        "{refused}"
    );
    arm.goto([0.55, 0.45]).expect("ready");
    arm.run(4000);
    assert_eq!(arm.order(begin()), Ok(()));
}

fn lease(arm: &mut Arm, who: &str, rank: Rank) -> Grant {
    arm.cycle
        .acquire(&who.into(), rank, MS(500), arm.now)
        .expect("granted")
}

fn under(grant: Grant, sequence: u64, bound: bool) -> Option<Under> {
    Some(Under {
        lease: grant.lease,
        sequence,
        bound,
    })
}

fn order_under(arm: &mut Arm, order: &Order, under: Option<Under>) -> Result<(), OrderRefused> {
    arm.state.captured_at = arm.now;
    let state = arm.state;
    arm.cycle
        .order_under(order, under, &Arm::input(&state), arm.now)
}

#[test]
fn what_begins_motion_needs_the_lease_and_what_ends_it_does_not() {
    let mut arm = Arm::new(true, |_| ());
    let start = Order::Start {
        instruction: "pick".into(),
        seed: 1,
    };
    let pose = Pose {
        q: JointVec::zeros(2),
        opening: None,
    };
    let goto = Order::Goto { pose, speed: 1.0 };
    for order in [
        Order::Enable,
        start,
        goto,
        Order::TorqueOff { supported: true },
    ] {
        let refused = order_under(&mut arm, &order, None);
        assert_eq!(refused, Err(LeaseRefused::None.into()), "{order:?}");
    }
    assert_eq!(arm.cycle.counters.orders_refused, 4);
    let grant = lease(&mut arm, "one", Rank::Policy);
    assert!(order_under(&mut arm, &Order::Enable, under(grant, 1, false)).is_ok());
    let again = order_under(&mut arm, &Order::Enable, under(grant, 1, false));
    assert_eq!(
        again,
        Err(LeaseRefused::Sequence { last: 1, actual: 1 }.into())
    );
    for order in [Order::Hold, Order::Stop] {
        assert_eq!(order_under(&mut arm, &order, None), Ok(()), "{order:?}");
    }
    arm.run(4);
    assert_eq!(*arm.mode(), Mode::Stopped);
    let by = "the arm was stopped";
    assert_eq!(arm.outcomes, [Err(OrderRefused::Interrupted { by })]);
}

/// An arm that lost its torque in an episode, while an operator has it enabled again.
fn being_enabled(bound: bool) -> (Arm, Grant) {
    let (mut arm, grant) = started(bound);
    arm.state.torque = false;
    arm.run(20);
    assert_eq!(*arm.mode(), Mode::Hold(HoldReason(Fault::TorqueLost)));
    order_under(&mut arm, &Order::Enable, under(grant, 2, bound)).expect("at rest");
    arm.run(40);
    assert!(arm.cycle.is_switching());
    (arm, grant)
}

#[test]
fn what_ends_a_motion_ends_an_enabling_that_would_lead_to_it() {
    let hold: &dyn Fn(&mut Arm, Grant) = &|arm, _| {
        order_under(arm, &Order::Hold, None).expect("anyone may");
    };
    let release: &dyn Fn(&mut Arm, Grant) =
        &|arm, grant| arm.cycle.release(grant.lease, arm.now).expect("ours");
    let human: &dyn Fn(&mut Arm, Grant) = &|arm, _| {
        lease(arm, "a human", Rank::Teleop);
    };
    for (bound, by, end) in [
        (true, "an operator asked for a hold", hold),
        (true, "the lease of who asked for it ended", release),
        (true, "the lease of who asked for it ended", human),
        (false, "somebody of a higher rank took the lease", human),
    ] {
        let (mut arm, grant) = being_enabled(bound);
        end(&mut arm, grant);
        arm.run(400);
        assert_eq!(arm.outcomes, [Err(OrderRefused::Interrupted { by })]);
        assert!(
            matches!(arm.mode(), Mode::Hold(_)),
            "{by}: {:?}",
            arm.mode()
        );
        assert!(
            arm.commands
                .iter()
                .rev()
                .take(150)
                .all(|c| c.setpoint.source == Source::Hold)
        );
    }
}

/// A gripper that finds its range while the arm is enabled: where it happens to be is nobody's wish.
#[test]
fn fingers_that_move_while_an_arm_is_enabled_are_commanded_to_one_opening() {
    let mut arm = Arm::new(true, |_| ());
    arm.order(Order::Enable).expect("at rest");
    let begun = arm.commands.len();
    for _ in 0..100 {
        arm.state.opening -= 0.004;
        arm.run(2);
    }
    assert_eq!(*arm.mode(), Mode::Ready);
    let after = arm.commands[begun..].iter();
    let after: Vec<&Command> = after.skip_while(|c| c.torque != Torque::Keep).collect();
    assert!(after.len() > 20);
    assert!(
        after.iter().all(|c| c.opening == after[0].opening),
        "{:?}",
        after[0].opening
    );
}

#[test]
fn nothing_begins_while_torque_goes_off() {
    let mut arm = Arm::new(true, |_| ());
    assert_eq!(arm.enable(), Ok(()));
    arm.deaf = true;
    arm.order(Order::TorqueOff { supported: true })
        .expect("at rest");
    arm.run(10);
    assert_eq!(arm.goto([0.3, 0.0]), Err(OrderRefused::Switching));
    let start = Order::Start {
        instruction: "pick".into(),
        seed: 1,
    };
    assert_eq!(arm.order(start), Err(OrderRefused::Switching));
}

fn started(bound: bool) -> (Arm, Grant) {
    let mut arm = Arm::new(true, |_| ());
    assert_eq!(arm.enable(), Ok(()));
    let grant = lease(&mut arm, "demo", Rank::Policy);
    let start = Order::Start {
        instruction: "pick".into(),
        seed: 1,
    };
    order_under(&mut arm, &start, under(grant, 1, bound)).expect("started");
    arm.run(10);
    assert_eq!(*arm.mode(), Mode::Policy);
    (arm, grant)
}

fn lease_reason(arm: &Arm) -> LeaseEnd {
    match arm.mode() {
        Mode::Hold(HoldReason(Fault::LeaseEnded { how, .. })) => how.clone(),
        mode => panic!("{mode:?}"),
    }
}

#[test]
fn a_bound_episode_holds_when_its_holder_is_gone_and_waits_for_a_new_one() {
    let (mut arm, grant) = started(true);
    arm.run(400);
    arm.cycle.renew(grant.lease, arm.now).expect("in force");
    // Until then another fault may hold it (no engine answers here); the lease's end overrides that reason.
    arm.run(600);
    assert_eq!(lease_reason(&arm), LeaseEnd::Expired);
    arm.run(2000);
    assert_eq!(
        lease_reason(&arm),
        LeaseEnd::Expired,
        "not even where the cell resumes by itself"
    );
    let new = lease(&mut arm, "next", Rank::Policy);
    assert!(order_under(&mut arm, &Order::Enable, under(new, 1, false)).is_ok());

    let (mut arm, grant) = started(true);
    arm.cycle.release(grant.lease, arm.now).expect("in force");
    arm.run(2);
    assert_eq!(lease_reason(&arm), LeaseEnd::Released);
}

#[test]
fn an_unbound_episode_outlives_its_lease_but_not_a_takeover() {
    let (mut arm, grant) = started(false);
    arm.cycle.release(grant.lease, arm.now).expect("in force");
    arm.run(10);
    assert_eq!(*arm.mode(), Mode::Policy);
    lease(&mut arm, "equal", Rank::Policy);
    arm.run(2);
    assert_eq!(*arm.mode(), Mode::Policy, "no higher rank");
    let generation = arm.cycle.generation();
    lease(&mut arm, "hand", Rank::Teleop);
    arm.run(2);
    assert_eq!(
        lease_reason(&arm),
        LeaseEnd::TakenOver { by: "hand".into() }
    );
    assert!(arm.cycle.generation() > generation);
}
