//! What is not served: servos of another arm, of another configuration, missing or doubled, and an arm that somebody has.

mod bench;
mod emulator;

use bench::{OPTIONS, calibration, koch, open, opened, servos};
use emulator::{Servo, ServoBus};
use tactus_drivers_api::servo::Part;
use tactus_dynamixel::{DynamixelArm, Model};
use tactus_types::Time;

fn refusal(model: Model, servos: Vec<Servo>) -> String {
    let bus = ServoBus::start(servos);
    let now = Time::from_millis(1);
    let served = opened(bus.path(), model, Part::Follower)
        .and_then(|b| DynamixelArm::start(b, model, Part::Follower, OPTIONS, now));
    let refused = served.expect_err("refused").to_string();
    assert!(
        refused.contains(&bus.path().display().to_string()),
        "{refused}"
    );
    assert!(!refused.contains('\n'), "{refused}");
    assert!(bus.world().servos.iter().all(|s| !s.torque()), "no torque");
    refused
}

#[test]
fn a_shadow_that_shadows_nobody_or_another_is_refused() {
    for (id, secondary, name) in [(3, 255, "shoulder_shadow"), (5, 2, "elbow_shadow")] {
        let mut viperx = servos(Model::ViperX, Part::Follower);
        let index = usize::from(id as u8) - 1;
        viperx[index] = viperx[index].clone().with(12, 1, secondary);
        let refused = refusal(Model::ViperX, viperx);
        let wanted = format!(
            "servo {id} (`{name}`): register SECONDARY_ID holds {secondary}, expected {}",
            id - 1
        );
        assert!(refused.contains(&wanted), "{refused}");
    }
    // A servo that is nobody's second motor, and obeys another.
    let mut strayed = koch();
    strayed[3] = strayed[3].clone().with(12, 1, 1);
    let refused = refusal(Model::Koch, strayed);
    assert!(
        refused.contains("servo 4 (`wrist_flex`): register SECONDARY_ID holds 1, expected 255"),
        "{refused}"
    );
}

#[test]
fn the_calibration_of_another_arm_is_refused_by_register_and_set_up_mends_it() {
    let mut other = koch();
    other[1] = Servo::new(2, 1060).calibrated(123, 900, 3100);
    let refused = refusal(Model::Koch, other.clone());
    assert!(
        refused.contains("servo 2 (`shoulder_lift`): register HOMING_OFFSET holds 123, expected 20 (and 2 more differ)"),
        "{refused}"
    );
    let bus = ServoBus::start(other);
    let mut bench = open(&bus).expect("servos");
    bus.world().servo(6).memory[64] = 1;
    let refused = bench.set_up().expect_err("torque").to_string();
    assert!(
        refused.contains("servo 6 (`gripper`) has torque on"),
        "{refused}"
    );
    assert_eq!(bus.world().servo(2).get(20, 4), 123, "nothing was written");
    bus.world().servo(6).memory[64] = 0;
    let changed = bench.set_up().expect("set up");
    assert_eq!(changed.len(), 3, "{changed:?}");
    assert_eq!(bench.mismatches().expect("read"), []);
    assert_eq!(bench.calibration().expect("read"), calibration(Model::Koch));
    bus.world().plug(2);
    assert_eq!(bus.world().servo(2).get(20, 4), 20, "it survives power-off");
    let now = Time::from_millis(1);
    assert!(DynamixelArm::start(bench, Model::Koch, Part::Follower, OPTIONS, now).is_ok());
}

#[test]
fn set_up_of_a_joint_with_two_motors_leaves_each_with_its_own() {
    // From the factory but for ids and rate; the shadows obey already.
    let numbers = Model::ViperX.numbers(Part::Follower);
    let fresh = (1..).zip(numbers).map(|(id, number)| {
        let servo = Servo::new(id, number);
        match id {
            3 | 5 => servo.with(12, 1, i32::from(id) - 1),
            _ => servo,
        }
    });
    let bus = ServoBus::start(fresh.collect());
    let mut bench = opened(bus.path(), Model::ViperX, Part::Follower).expect("servos");
    bench.set_up().expect("set up");
    assert_eq!(bench.mismatches().expect("read"), []);
    assert_eq!(
        bench.calibration().expect("read"),
        calibration(Model::ViperX)
    );
}

#[test]
fn a_servo_in_another_mode_or_that_gets_torque_by_a_goal_is_refused() {
    let mut wheel = koch();
    wheel[2] = wheel[2].clone().with(11, 1, 1);
    let refused = refusal(Model::Koch, wheel);
    assert!(
        refused.contains("servo 3 (`elbow_flex`): register OPERATING_MODE holds 1, expected 4"),
        "{refused}"
    );
    let mut eager = koch();
    eager[0] = eager[0].clone().with(10, 1, 8);
    let refused = refusal(Model::Koch, eager);
    assert!(
        refused.contains("servo 1 (`shoulder_pan`): register DRIVE_MODE holds 8, expected 0"),
        "{refused}"
    );
}

#[test]
fn wrong_baud_wrong_model_missing_and_doubled_servos_are_named() {
    let slow = koch().into_iter().map(|s| s.with(8, 1, 1)).collect();
    let refused = refusal(Model::Koch, slow);
    assert!(
        refused.contains("no servo answers at 1000000 baud, but servo 1 (`shoulder_pan`) does at 57600: set device.baud = 57600"),
        "{refused}"
    );
    let refused = refusal(Model::Koch, vec![]);
    assert!(
        refused.contains("no servo answers at 1000000 baud or any other"),
        "{refused}"
    );
    let refused = refusal(Model::Koch, servos(Model::Koch, Part::Leader));
    assert!(
        refused
            .contains("servo 1 (`shoulder_pan`) has model number 1190, expected 1060 (XL430-W250)"),
        "{refused}"
    );
    let mut missing = koch();
    missing.remove(3);
    let refused = refusal(Model::Koch, missing);
    assert!(
        refused.contains("servo 4 (`wrist_flex`): no answer"),
        "{refused}"
    );
    for in_turn in [false, true] {
        let mut twins = koch();
        let mut twin = twins[2].clone();
        twin.go_to(2333);
        twins.push(twin);
        let bus = ServoBus::start(twins);
        bus.world().faults.in_turn = in_turn;
        let refused = open(&bus).expect_err("two").to_string();
        assert!(
            refused.contains("servo 3 (`elbow_flex`)") && refused.contains("two servos"),
            "{refused}"
        );
    }
}

#[test]
fn an_arm_has_one_owner_whatever_the_port_is_called() {
    let bus = ServoBus::start(koch());
    let dir = tempfile::tempdir().expect("a folder");
    let name = dir.path().join("by-id");
    std::os::unix::fs::symlink(bus.path(), &name).expect("a link");
    let first = open(&bus).expect("servos");
    let second = || opened(&name, Model::Koch, Part::Follower);
    let refused = second().expect_err("taken").to_string();
    assert!(refused.contains("in use by process"), "{refused}");
    drop(first);
    assert!(second().is_ok());
}
