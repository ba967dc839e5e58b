//! An emulated UR5e from the command line: looked at, powered, enabled, moved, stopped and unlocked, cut off and back; and with
//! an emulated Robotiq gripper beside it, on a serial line of its own.

mod cell;
mod device_cell;
#[path = "../../drivers/ur/tests/emulator/mod.rs"]
mod emulator;
#[path = "../../drivers/robotiq/tests/emulator/mod.rs"]
mod fingers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cell::{checkout, diagnosis};
use device_cell::{Ears, Role, SOON, endpoint, ok, refused};
use emulator::{Controller, Options, PLAYING, RUNNING, STOPPED};
use fingers::{Fingers, GripperBus};
use tactus_wire::ModeWord;

/// The shipped cell at `host`, patient with the emulated controller, which runs as an ordinary process.
fn cell_file(dir: &Path, host: &str) -> PathBuf {
    let shipped = checkout().join("launch/cells/ur5e.toml");
    let text = std::fs::read_to_string(shipped).expect("the shipped cell");
    let file = dir.join("cell.toml");
    let text = text.replace("192.168.0.100", host);
    let patient = text.replace("proprio_limit_ms = 40 ", "proprio_limit_ms = 200 ");
    assert_ne!(patient, text);
    std::fs::write(&file, patient).expect("written");
    file
}

#[test]
fn an_arm_is_enabled_moved_stopped_unlocked_cut_off_and_only_an_operator_goes_on() {
    let controller = Controller::start(Options {
        locked_for: Duration::from_millis(200),
        ..Options::default()
    });
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), &controller.host());
    let file = file.display().to_string();
    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "ur5e", "ur5e");
    let arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some_and(|s| !s.torque)
    });
    assert_eq!(controller.world().programs, 0, "starting sends no program");

    let at = ["--cell", &file, "--connect", &endpoint];
    let order = |word: &'static str| [&["order"], &at[..], &[word]].concat();
    let goto = |pose: &'static str, speed: &'static str| {
        [&["arm", "goto", pose, "--speed", speed], &at[..]].concat()
    };
    ok(&order("enable"));
    ok(&goto("0.3,-1.4,1.4,-1.5,-1.6,0.2", "0.9"));
    let q = controller.world().q;
    for (q, wanted) in q.iter().zip([0.3, -1.4, 1.4, -1.5, -1.6, 0.2]) {
        assert!((q - wanted).abs() < 0.03, "{q} {wanted}");
    }

    // A protective stop in motion.
    let moving = Role::start(&goto("-1.2,-1.0,1.2,-1.2,-1.2,0.5", "0.4"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < 0.2)
    });
    controller.world().protective_stop();
    let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    println!("protective stop to hold reported: {held:?}");
    assert!(!moving.outcome().0, "the motion is not done");
    refused(
        &["device", "check", "--cell", &file],
        &["protective stop", "unlock-protective-stop"],
    );
    refused(&order("enable"), &["torque"]);
    std::thread::sleep(Duration::from_millis(250));
    let said = ok(&["device", "unlock-protective-stop", "--cell", &file]);
    assert!(said.contains("Protective stop releasing"), "{said}");
    let stopped_at = controller.world().q;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ears.mode(), Some(ModeWord::Hold));
    assert_eq!(controller.world().q, stopped_at);
    ok(&order("enable"));

    // The cable is cut in motion, and put back.
    let moving = Role::start(&goto("-1.2,-1.0,1.2,-1.2,-1.2,0.5", "0.4"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < stopped_at[0] - 0.05)
    });
    controller.world().network = false;
    let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    println!("cut to hold reported: {held:?}");
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    assert!(!moving.outcome().0, "the motion is not done");
    let epoch = ears.state().expect("a state").epoch;
    let cut_at = controller.world().q;
    controller.world().network = true;
    ears.wait("the device is back", SOON, |e| {
        e.state().is_some_and(|s| s.epoch > epoch)
    });
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(ears.mode(), Some(ModeWord::Hold));
    assert_eq!(controller.world().q, cut_at, "nothing moves by itself");
    ok(&order("enable"));
    ok(&goto("-0.2,-1.2,1.3,-1.4,-1.4,0.4", "0.9"));
    assert_eq!(controller.world().runtime, PLAYING);

    // A second one is refused; the first ends in order, and the controller holds.
    refused(
        &["device", "--cell", &file],
        &["in use by process", "an arm has one owner"],
    );
    drop(arm);
    let text = serving.end().1;
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    for word in [
        "the arm does not follow any more: protective stop",
        "the arm is not enabled: protective stop",
        "the connection to the controller is lost",
        "connected again",
        "the controller holds the arm",
    ] {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
}

#[test]
fn a_gripper_beside_the_arm_is_activated_by_enabling_moves_and_keeps_its_grip_when_the_arm_is_stopped()
 {
    let controller = Controller::start(Options::default());
    let bus = GripperBus::start(vec![Fingers::new(9)]);
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), &controller.host());
    let text = std::fs::read_to_string(&file).expect("the cell");
    // As the shipped cell has it, in comments.
    let (before, section) = text
        .split_once("# [device.gripper]\n")
        .expect("the section");
    let (lines, after) = section.split_once("\n\n").expect("its end");
    let lines: Vec<&str> = lines.lines().map(|l| l.trim_start_matches("# ")).collect();
    let shipped = lines.join("\n");
    let port = shipped.replace(
        "/dev/serial/by-id/GRIPPER",
        &bus.path().display().to_string(),
    );
    assert_ne!(port, shipped);
    let text = format!("{before}[device.gripper]\n{port}\n\n{after}");
    std::fs::write(&file, text).expect("written");
    let file = file.display().to_string();
    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "ur5e", "ur5e");
    let mut arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot)
            && e.state().is_some_and(|s| (s.opening - 0.608).abs() < 0.01)
    });
    let at = ["--cell", &file, "--connect", &endpoint];
    let enable = [&["order"], &at[..], &["enable"]].concat();
    let goto = |pose: &'static str, opening: &'static str| {
        [
            &["arm", "goto", pose, "--opening", opening, "--speed", "0.9"],
            &at[..],
        ]
        .concat()
    };

    // An arm that refuses to be enabled moves no finger: its motors are off.
    controller.world().robot_mode = 3;
    refused(&enable, &["torque"]);
    let moved = || bus.world().servos[0].moved;
    assert_eq!((moved(), controller.world().programs), (0.0, 0));
    controller.world().robot_mode = RUNNING;
    ok(&enable);
    ears.wait("it is active, and open", SOON, |e| {
        bus.world().servos[0].active && e.state().is_some_and(|s| s.opening > 0.98)
    });

    // Both are one arm.
    ok(&goto("0.2,-1.4,1.4,-1.5,-1.6,0.2", "0.6"));
    ears.wait("it opens so far", SOON, |e| {
        e.state().is_some_and(|s| (s.opening - 0.6).abs() < 0.01)
    });
    assert!((controller.world().q[0] - 0.2).abs() < 0.03);
    bus.world().servos[0].object = Some(190.0);
    ok(&goto("0.2,-1.4,1.4,-1.5,-1.6,0.2", "0"));
    ears.wait("it grips", SOON, |e| {
        bus.world().servos[0].position == 190.0
            && e.state().is_some_and(|s| (s.opening - 0.255).abs() < 0.01)
    });

    // An arm host that dies and is started again leaves the grip as it is, and goes on from there.
    let gripped = moved();
    drop(arm);
    arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot)
    });
    std::thread::sleep(Duration::from_millis(300));
    let out = || bus.world().servos[0].out[3];
    assert_eq!((moved(), out()), (gripped, 255), "it goes on pressing");
    ok(&enable);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((moved(), out()), (gripped, 255), "it goes on pressing");

    // A stop of the arm, and the arm enabled again, leave the grip as it is.
    controller.world().safeguard(true);
    ears.wait("it is not enabled any more", SOON, |e| {
        e.mode() == Some(ModeWord::Boot)
    });
    controller.world().safeguard(false);
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    ok(&enable);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((moved(), out()), (gripped, 255), "it goes on pressing");

    // Its cable comes out while the arm moves: the arm holds, and is told whose it was.
    let moving = [
        &[
            "arm",
            "goto",
            "-1.2,-1.4,1.4,-1.5,-1.6,0.2",
            "--speed",
            "0.3",
        ],
        &at[..],
    ];
    let moving = Role::start(&moving.concat());
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < 0.1)
    });
    bus.world().unplug(9);
    ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    assert!(!moving.outcome().0, "the motion is not done");
    let (success, text) = serving.outcome();
    let last = text.lines().last().unwrap_or_default();
    assert!(
        !success && last.contains("robotiq gripper at ") && last.contains("no answer"),
        "{text}"
    );
    assert!(arm.runs(), "the arm host outlives its device");
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    for word in [
        "its activation moves its fingers",
        "its fingers met an object",
    ] {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
}

#[test]
fn a_controller_is_found_drafted_checked_and_powered() {
    let controller = Controller::start(Options::default());
    controller.world().robot_mode = 3;
    let host = controller.host();
    let dir = tempfile::tempdir().expect("a folder");
    let draft = dir.path().join("mine.toml").display().to_string();
    let said = ok(&["arm", "probe", "--host", &host, "--draft", &draft]);
    assert!(
        said.contains(&format!(
            "host {host}: an arm of Universal Robots: UR5, serial number 2019"
        )),
        "{said}"
    );
    let check = ["device", "check", "--cell", &draft];
    refused(&check, &["robot mode POWER_OFF", "tactus device power-on"]);
    let doctor = diagnosis(&draft, "device");
    assert!(
        doctor.starts_with("fail") && doctor.contains("robot mode POWER_OFF"),
        "{doctor}"
    );
    let verb = |word: &'static str| ["device", word, "--cell", &draft];
    assert!(ok(&verb("power-on")).contains("Powering on"));
    refused(&check, &["robot mode IDLE", "brake-release"]);
    assert!(ok(&verb("brake-release")).contains("Brake releasing"));
    let table = ok(&check);
    for word in [
        "software 5.12.0.1101319",
        "remote",
        "RUNNING",
        "normal",
        "STOPPED",
        "100 %",
        "wrist_3_joint",
        "-89.95 deg",
    ] {
        assert!(table.contains(word), "expected `{word}` in: {table}");
    }
    let doctor = diagnosis(&draft, "device");
    assert!(
        doctor.starts_with("pass") && doctor.contains("software 5.12.0.1101319: can be enabled"),
        "{doctor}"
    );
    assert!(ok(&verb("power-off")).contains("Powering off"));
    refused(&verb("setup"), &["`device setup` is for arms of servos"]);
    controller.world().remote = false;
    refused(
        &verb("power-on"),
        &["please switch robot to Remote Control mode"],
    );
    refused(&check, &["local control"]);
    let world = controller.world();
    assert_eq!((world.programs, world.commands), (0, 0));
}

#[test]
fn what_is_no_such_robot_is_refused_in_one_sentence() {
    let controller = Controller::start(Options {
        model: "UR10".into(),
        ..Options::default()
    });
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), &controller.host())
        .display()
        .to_string();
    refused(
        &["device", "--cell", &file],
        &["the arm is a UR10, expected a ur5e"],
    );
    let file = cell_file(dir.path(), "127.1.9.9").display().to_string();
    refused(
        &["device", "--cell", &file],
        &["host 127.1.9.9, port 30004 (RTDE)", "is the controller on"],
    );
    refused(
        &["arm", "probe", "--host", "no-such-robot.invalid"],
        &["host `no-such-robot.invalid`"],
    );
    let so101 = checkout()
        .join("launch/cells/so101.toml")
        .display()
        .to_string();
    refused(
        &["device", "power-on", "--cell", &so101],
        &["`device power-on` is for another kind of arm"],
    );
}
