//! Torque of emulated servos: it comes where the arm is or not at all; watchdogs, whole turns, shadows, leaders.

mod bench;
mod emulator;

use std::time::{Duration, Instant};

use bench::{BAUD, Clocked, OPTIONS, calibration, goal, goal_of, koch, opened, servos};
use emulator::{Servo, ServoBus};
use tactus_drivers_api::servo::{Bench, Part};
use tactus_drivers_api::wire::DeviceCommand;
use tactus_drivers_api::{CommandGate, Device};
use tactus_dynamixel::arm::{FAMILY, servos as named};
use tactus_dynamixel::{DynamixelArm, Model};
use tactus_types::{Generation, JointVec, Time, Torque};

#[test]
fn torque_finds_the_arm_where_it_is_and_nothing_moves() {
    let bus = ServoBus::start(koch());
    for (servo, shift) in bus
        .world()
        .servos
        .iter_mut()
        .zip([-300, 200, 0, 500, -700, 100])
    {
        servo.go_to(2000 + shift);
        // A goal left over from before.
        servo.set(116, 4, 2900);
    }
    let mut arm = Clocked::start(&bus);
    let before: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    // Without torque no goal is written, whatever is asked for.
    for _ in 0..5 {
        let state = arm.tick(&goal(1.0, 1.0)).expect("served");
        assert!(!state.torque);
    }
    let limp = |s: &Servo| !s.torque() && s.goal() == 2900 && s.memory[98] == 0;
    assert!(bus.world().servos.iter().all(limp));
    let began = Instant::now();
    arm.arm.set_torque(true).expect("torque");
    println!("torque on within {:?}", began.elapsed());
    for _ in 0..20 {
        let now = arm.now();
        assert!(arm.arm.state(now).expect("served").torque);
    }
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    assert_eq!(before, after);
    let world = bus.world();
    // 200 ms in units of 20; no ramp of their own.
    let set = |s: &Servo| s.memory[98] == 10 && s.get(108, 4) == 0 && s.get(112, 4) == 0;
    assert!(world.servos.iter().all(|s| s.torque() && set(s)));
    let gains = |s: &Servo| (s.get(80, 2), s.get(82, 2), s.get(84, 2));
    assert_eq!(gains(&world.servos[2]), (600, 0, 1500));
    assert_eq!(gains(&world.servos[1]), (0, 0, 800));
    assert_eq!(world.servos[5].get(102, 2), 500, "current of the gripper");
    drop(world);
    drop(arm);
    assert!(
        bus.world().servos.iter().all(Servo::torque),
        "the end of the process changes nothing"
    );
}

#[test]
fn a_bus_watchdog_that_tripped_is_reported_and_only_enabling_clears_it() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    for servo in &mut bus.world().servos {
        servo.speed = 500.0;
    }
    for _ in 0..20 {
        assert!(arm.tick(&goal(1.2, 0.5)).expect("served").torque);
    }
    // The process is stopped in motion: nothing is on the bus.
    std::thread::sleep(Duration::from_millis(260));
    let mut state = arm.tick(&goal(0.8, 0.5)).expect("served");
    let stopped: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    for _ in 0..10 {
        state = arm.tick(&goal(0.8, 0.5)).expect("served");
    }
    assert!(!state.torque, "as without torque");
    let tripped = |s: &Servo| s.memory[98] == 0xFF && s.torque();
    assert!(bus.world().servos.iter().all(tripped), "and they hold");
    for _ in 0..50 {
        assert!(!arm.tick(&goal(0.8, 0.5)).expect("served").torque);
    }
    let held: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    assert_eq!(held, stopped, "nothing moves, and nothing clears it");
    drop(arm);

    // The next process finds them so.
    let mut again = Clocked::start(&bus);
    assert!(!again.tick(&goal(0.8, 0.5)).expect("served").torque);
    again.arm.set_torque(true).expect("torque");
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    for (held, after) in held.iter().zip(&after) {
        assert!(
            (held - after).abs() <= 12.0,
            "{held} {after}: towards the old goal"
        );
    }
    let here = again.arm.state(again.now()).expect("served").q[0];
    for _ in 0..60 {
        assert!(again.tick(&goal(here, 0.5)).expect("served").torque);
    }
    assert!(bus.world().servos.iter().all(|s| s.memory[98] == 10));
}

#[test]
fn letting_go_also_puts_the_watchdogs_away() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    arm.arm.set_torque(false).expect("off");
    let limp = |s: &Servo| !s.torque() && s.memory[98] == 0;
    assert!(bus.world().servos.iter().all(limp));
    assert!(!arm.tick(&goal(0.3, 0.5)).expect("served").torque);
}

#[test]
fn an_arm_that_lies_outside_its_range_gets_no_torque() {
    let bus = ServoBus::start(koch());
    bus.world().servo(2).go_to(680);
    let mut arm = Clocked::start(&bus);
    let error = arm.arm.set_torque(true).expect_err("refused").to_string();
    assert!(
        error.contains(
            "servo 2 (`shoulder_lift`) is at 680, outside its calibrated range 1000 to 3000"
        ),
        "{error}"
    );
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn a_servo_that_counts_another_turn_is_where_it_is() {
    let bus = ServoBus::start(koch());
    {
        let mut world = bus.world();
        // Powered up beyond the end of its encoder: the same place, a turn away.
        world.servo(3).go_to(1500 + 4096);
        world.servo(4).go_to(2500 - 4096);
    }
    let mut arm = Clocked::start(&bus);
    let before = bus.world().servo(3).shaft;
    arm.arm.set_torque(true).expect("torque");
    let state = arm.arm.state(arm.now()).expect("served");
    assert!((state.q[2] + 0.767).abs() < 0.002, "{:?}", state.q);
    assert!((state.q[3] - 0.767).abs() < 0.002, "{:?}", state.q);
    assert_eq!(bus.world().servo(3).shaft, before);
    for _ in 0..150 {
        arm.tick(&goal(0.0, 0.5)).expect("served");
    }
    assert_eq!(bus.world().servo(3).present(), 2000 + 4096);
    assert_eq!(bus.world().servo(4).present(), 2000 - 4096);
}

#[test]
fn a_limp_joint_that_was_turned_past_its_seam_gets_torque_where_it_is() {
    // All of a turn is its range: beyond one end is the other.
    for (before, by_hand) in [(4000, 4100), (100, -4)] {
        let mut calibration = calibration(Model::Koch);
        let wrist = calibration.servos.get_mut("wrist_roll").expect("there");
        (wrist.range_min, wrist.range_max) = (0, 4095);
        let mut koch = koch();
        koch[4] = koch[4].clone().calibrated(wrist.homing_offset, 0, 4095);
        koch[4].go_to(before);
        let bus = ServoBus::start(koch);
        let named = named(Model::Koch, Part::Follower, &calibration, 500.0);
        let bench = Bench::open(&FAMILY, bus.path(), BAUD, named).expect("servos");
        let mut arm = Clocked::of(bench, Model::Koch);
        arm.tick(&goal(0.0, 0.5)).expect("served");
        bus.world().servo(5).go_to(by_hand);
        let shaft = bus.world().servo(5).shaft;
        let state = arm.tick(&goal(0.0, 0.5)).expect("served");

        // An arm host asks for torque where it sees the arm, inside the limits.
        let info = arm.arm.info();
        let mut gate = CommandGate::new(5, true, Duration::from_secs(60)).within(&info.limits);
        gate.measured(&state);
        let command = DeviceCommand {
            epoch: state.epoch,
            tick: 1,
            q: info.clamp(&state.q),
            dq: JointVec::zeros(5),
            opening: state.opening,
            generation: Generation::default(),
            torque: Torque::On,
        };
        let now = arm.now();
        gate.offer(&command, now, now).expect("counts");
        arm.arm.set_torque(true).expect("torque");
        for _ in 0..30 {
            let goal = gate.goal(now).expect("a goal");
            assert!(arm.tick(&goal).expect("served").torque);
            let turned = bus.world().servo(5).shaft - shaft;
            assert!(
                turned.abs() <= 1.0,
                "{before}, {by_hand}: turned by {turned}"
            );
        }
    }
}

#[test]
fn both_motors_of_a_joint_go_together_or_not_at_all() {
    let bus = ServoBus::start(servos(Model::ViperX, Part::Follower));
    let mut arm = Clocked::start_of(&bus, Model::ViperX);
    arm.arm.set_torque(true).expect("torque");
    for _ in 0..150 {
        arm.tick(&goal_of(6, 0.3, 0.5)).expect("served");
    }
    {
        let mut world = bus.world();
        for (main, shadow) in [(2, 3), (4, 5)] {
            let at = world.servo(main).present();
            assert_eq!(at, 2196);
            assert!(world.servo(shadow).torque());
            assert_eq!(world.servo(shadow).present(), at);
        }
        assert_eq!(world.servo(9).get(102, 2), 186, "500 mA of 2.69");
    }
    arm.arm.set_torque(false).expect("off");
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
    // One of the two counts another turn.
    bus.world().servo(3).go_to(2196 + 4096);
    let error = arm.arm.set_torque(true).expect_err("refused").to_string();
    assert!(
        error.contains("servo 3 (`shoulder_shadow`) is at 6292 and servo 2 (`shoulder`), of the same joint, at 2196"),
        "{error}"
    );
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn an_arm_with_torque_is_taken_over_as_it_is_and_let_go_when_asked() {
    let bus = ServoBus::start(koch());
    let mut first = Clocked::start(&bus);
    first.arm.set_torque(true).expect("torque");
    drop(first);
    let mut second = Clocked::start(&bus);
    assert!(second.tick(&goal(0.0, 0.5)).expect("served").torque);
    second.arm.set_torque(false).expect("off");
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
    drop(second);
    // Somebody else's torque, with nothing to stop the servos when this process dies.
    for servo in &mut bus.world().servos {
        servo.memory[64] = 1;
    }
    let mut third = Clocked::start(&bus);
    assert!(!third.tick(&goal(0.3, 0.5)).expect("served").torque);
    assert!(bus.world().servos.iter().all(|s| s.present() == 2000));
    third.arm.set_torque(true).expect("torque");
    assert!(bus.world().servos.iter().all(|s| s.memory[98] == 10));
}

#[test]
fn a_leader_never_has_torque() {
    let bus = ServoBus::start(servos(Model::Koch, Part::Leader));
    let leader = || opened(bus.path(), Model::Koch, Part::Leader).expect("servos");
    let start = |bench| {
        DynamixelArm::start(
            bench,
            Model::Koch,
            Part::Leader,
            OPTIONS,
            Time::from_millis(1),
        )
    };
    bus.world().servo(5).memory[64] = 1;
    let refused = start(leader()).expect_err("torque").to_string();
    assert!(
        refused.contains("servo 5 (`wrist_roll`) has torque on, and a leader is moved by hand"),
        "{refused}"
    );
    leader().torque_off().expect("released");
    let mut arm = start(leader()).expect("a leader");
    assert!(!arm.info().torque_switch && arm.set_torque(true).is_err());
    arm.apply(&goal(1.0, 1.0)).expect("ignored");
    bus.world().servo(1).go_to(2100);
    let state = arm.state(Time::from_millis(2)).expect("served");
    assert!(!state.torque && state.q[0] > 0.15);
    // Past the end of its turn it goes on: whoever follows it does not turn around.
    bus.world().servo(1).go_to(4100);
    let further = arm.state(Time::from_millis(3)).expect("served");
    assert!(further.q[0] > state.q[0] + 3.0, "{:?}", further.q);
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}
