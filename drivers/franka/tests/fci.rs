//! The driver on franka-sim, ticked as a device shell does it: enabling, following, silence, reflexes, the end. Ignored where
//! there is no simulator; `./tests/run`
//! makes its environment and runs those whose name begins with `sim_`.

mod robot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use robot::Robot;
use tactus_drivers_api::wire::MonotonicClock;
use tactus_drivers_api::{Device, Goal, Gripper, GripperState, Pacer};
use tactus_franka::{FrankaArm, FrankaSpec, Hand, HandSettings, Host, bench, hand};
use tactus_types::{Clock, JointState, JointVec};

/// The simulator is slower than real time on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// A device shell without a wire: ticks the arm as `serve_device` does.
struct Shell {
    arm: FrankaArm,
    goal: [f64; 7],
    speed: [f64; 7],
    state: JointState,
    clock: Arc<dyn Clock>,
    pacer: Pacer,
}

impl Shell {
    fn of(robot: &Robot) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new().expect("a clock"));
        let host = Host::resolve(&robot.host()).expect("an address");
        let spec = FrankaSpec { rate_hz: 500 };
        let mut arm = FrankaArm::start(&host, spec, clock.clone()).expect("an arm");
        let state = arm.state(clock.now()).expect("a state");
        let pacer = Pacer::new(
            clock.now(),
            Duration::from_millis(2),
            Duration::from_millis(50),
        );
        Self {
            arm,
            goal: std::array::from_fn(|i| state.q[i]),
            speed: [0.0; 7],
            state,
            clock,
            pacer,
        }
    }

    fn tick(&mut self) {
        self.pacer.wait(self.clock.as_ref());
        let now = self.clock.now();
        let goal = Goal {
            q: JointVec::from_fn(7, |i| self.goal[i]),
            dq: JointVec::from_fn(7, |i| self.speed[i]),
            opening: 0.0,
        };
        self.arm.apply(&goal).expect("applied");
        self.arm.step(now).expect("stepped");
        self.state = self.arm.state(now).expect("a state");
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !done(self) {
            assert!(
                began.elapsed() < SOON,
                "waited in vain until {what}: {:?}",
                self.state
            );
            self.tick();
        }
        began.elapsed()
    }

    fn rest(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.tick();
        }
    }

    /// Enables as an arm host does: the goal is where the arm is, and it is said until it has torque.
    fn enable(&mut self) {
        let began = Instant::now();
        self.goal = std::array::from_fn(|i| self.state.q[i]);
        self.speed = [0.0; 7];
        while !self.state.torque {
            assert!(began.elapsed() < SOON, "not enabled: {:?}", self.state);
            self.arm.set_torque(true).expect("told");
            self.tick();
        }
    }

    /// Moves joint 1 by `travel` rad and back within `secs`, in ticks.
    fn swing(&mut self, travel: f64, secs: f64) {
        let from = self.goal[0];
        let w = std::f64::consts::TAU / secs;
        for tick in 1..=(secs / 0.002) as u32 {
            let t = 0.002 * f64::from(tick);
            self.goal[0] = from + 0.5 * travel * (1.0 - (w * t).cos());
            self.speed[0] = 0.5 * travel * w * (w * t).sin();
            self.tick();
        }
        self.speed[0] = 0.0;
    }
}

#[test]
#[ignore = "needs franka-sim; ./tests/run"]
fn sim_starting_moves_nothing_enabling_follows_and_torque_off_ends_the_motion_at_rest() {
    let robot = Robot::start();
    let mut shell = Shell::of(&robot);
    let before = shell.state.q;
    shell.goal[0] = 1.0;
    shell.rest(Duration::from_millis(300));
    assert!(!shell.state.torque && (shell.state.q[0] - before[0]).abs() < 1e-3);

    shell.enable();
    shell.rest(Duration::from_millis(300));
    for (now, before) in shell.state.q.iter().zip(before.iter()) {
        assert!((now - before).abs() < 5e-3, "{now} {before}");
    }
    shell.swing(0.4, 3.0);
    shell.goal[0] += 0.1;
    shell.until("it is there", |s| (s.state.q[0] - s.goal[0]).abs() < 5e-3);
    assert!(shell.state.torque);

    // A leap is gone to, within the limits.
    shell.goal[3] -= 0.5;
    let took = shell.until("it is there", |s| (s.state.q[3] - s.goal[3]).abs() < 5e-3);
    println!("half a radian within {took:?}");
    assert!(took > Duration::from_millis(600) && shell.state.torque);

    shell.arm.set_torque(false).expect("told");
    shell.tick();
    assert!(!shell.state.torque);
    shell.rest(Duration::from_millis(300));
    shell.enable();
    let counts = shell.arm.counts();
    drop(shell);
    let account = robot.end();
    println!("{account:?} {counts:?}");
    assert_eq!((account.motions, account.violations), (2, 0));
}

#[test]
#[ignore = "needs franka-sim; ./tests/run"]
fn sim_goals_that_stop_end_in_a_hold_and_in_no_error() {
    let robot = Robot::start();
    let mut shell = Shell::of(&robot);
    shell.enable();
    // At 0.5 rad/s, the same goal is said again and again.
    for _ in 0..400 {
        shell.goal[0] += 0.001;
        shell.speed[0] = 0.5;
        shell.tick();
    }
    let last = shell.goal[0];
    shell.rest(Duration::from_millis(500));
    shell.until("it rests", |s| s.state.dq.max_abs() < 1e-3);
    let q = shell.state.q[0];
    println!("goals stopped at {last:.3}, the arm rests at {q:.3}");
    assert!(q > 0.01 && q < last + 0.06, "it braked");
    shell.rest(Duration::from_millis(500));
    assert!(
        shell.state.torque && (shell.state.q[0] - q).abs() < 2e-3,
        "it stays"
    );
    // Whoever goes on is followed.
    shell.speed[0] = 0.0;
    shell.goal[0] = q - 0.1;
    shell.until("it follows", |s| (s.state.q[0] - s.goal[0]).abs() < 5e-3);
    drop(shell);
    let account = robot.end();
    println!("{account:?}");
    assert_eq!((account.motions, account.violations), (1, 0));
}

#[test]
#[ignore = "needs franka-sim; ./tests/run"]
fn sim_a_device_that_hangs_ends_the_motion_at_rest() {
    let robot = Robot::start();
    let mut shell = Shell::of(&robot);
    shell.enable();
    // The device's thread hangs in motion.
    for _ in 0..300 {
        shell.goal[0] += 0.001;
        shell.speed[0] = 0.5;
        shell.tick();
    }
    std::thread::sleep(Duration::from_millis(800));
    shell.until("it says so", |s| !s.state.torque);
    let rests = shell.state.q[0];
    shell.rest(Duration::from_millis(300));
    assert!((shell.state.q[0] - rests).abs() < 2e-3);
    shell.enable();
    drop(shell);
    let account = robot.end();
    println!("{account:?}");
    assert_eq!((account.motions, account.violations), (2, 0));
}

#[test]
#[ignore = "needs franka-sim; ./tests/run"]
fn sim_reflexes_and_the_stop_end_following_and_only_an_operator_recovers() {
    let mut robot = Robot::start();
    let host = Host::resolve(&robot.host()).expect("an address");
    let mut shell = Shell::of(&robot);
    let refused = bench::recover(&host).expect_err("no error").to_string();
    assert!(refused.contains("nothing to recover from"), "{refused}");
    shell.enable();
    let ticking = |shell: &mut Shell| shell.rest(Duration::from_millis(300));
    robot.does("reflex joint_velocity_violation");
    shell.until("it says so", |s| !s.state.torque);
    ticking(&mut shell);
    shell.arm.set_torque(true).expect("told");
    ticking(&mut shell);
    assert!(!shell.state.torque, "not over an error");
    let recovering = {
        let host = host.clone();
        std::thread::Builder::new()
            .spawn(move || bench::recover(&host).map_err(|e| e.to_string()))
            .expect("a thread")
    };
    shell.rest(Duration::from_secs(1));
    let said = recovering.join().expect("ended").expect("recovered");
    assert!(said.contains("joint_velocity_violation"), "{said}");
    assert!(!shell.state.torque, "recovering enables nothing");
    shell.enable();
    shell.goal[0] += 0.1;
    shell.until("it follows", |s| (s.state.q[0] - s.goal[0]).abs() < 5e-3);
    let second = FrankaArm::start(&host, FrankaSpec { rate_hz: 500 }, shell.clock.clone());
    let text = second.err().expect("one owner").to_string();
    assert!(text.contains("in use by process"), "{text}");
    drop(shell);
    assert_eq!(robot.end().motions, 2);
}

#[test]
#[ignore = "needs franka-sim; ./tests/run"]
fn sim_a_hand_opens_grips_what_is_there_and_has_one_owner() {
    let (_robot, at) = Robot::with_hand();
    let host = Host::resolve_at(&at, hand::PORT).expect("an address");
    let mut fingers = Hand::open(&host, HandSettings::default()).expect("a Hand");
    let told = |fingers: &mut Hand, opening: f64, done: &dyn Fn(&GripperState) -> bool| {
        let began = Instant::now();
        loop {
            let state = fingers.exchange(Some(opening)).expect("a state");
            assert_eq!(state.fault, None);
            if done(&state) {
                return;
            }
            assert!(began.elapsed() < SOON, "{opening}: {state:?}");
        }
    };
    let state = fingers.exchange(None).expect("a state");
    assert!(state.active && !state.object && state.opening == 1.0);
    // Narrower than what is between them, and nearly shut.
    told(&mut fingers, 0.5, &|s| (s.opening - 0.5).abs() < 0.02);
    told(&mut fingers, 0.1, &|s| {
        s.object && (s.opening - 0.375).abs() < 0.02
    });
    told(&mut fingers, 1.0, &|s| !s.object && s.opening > 0.98);
    fingers.activate().expect("homes");
    told(&mut fingers, 0.7, &|s| {
        s.active && (s.opening - 0.7).abs() < 0.02
    });
    let second = Hand::open(&host, HandSettings::default()).err();
    let text = second.expect("one owner").to_string();
    assert!(text.contains("in use by process"), "{text}");
    let nowhere = Host::resolve_at("127.0.0.1:1", hand::PORT).expect("an address");
    let text = Hand::open(&nowhere, HandSettings::default()).err();
    let text = text.expect("nobody").to_string();
    assert!(text.contains("127.0.0.1:1: Franka Hand: "), "{text}");
}
