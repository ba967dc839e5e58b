//! A Koch and a ViperX of emulated servos, from the command line: device process, arm host, orders, a servo that leaves in
//! motion, a process that is stopped in motion.

mod cell;
mod device_cell;
#[path = "../../drivers/dynamixel/tests/emulator/mod.rs"]
mod emulator;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use device_cell::{Ears, Role, endpoint, ok, refused, servo_cell};
use emulator::{Servo, ServoBus};
use tactus_wire::ModeWord;

const KOCH: [(&str, u16); 6] = [
    ("shoulder_pan", 1060),
    ("shoulder_lift", 1060),
    ("elbow_flex", 1200),
    ("wrist_flex", 1200),
    ("wrist_roll", 1200),
    ("gripper", 1200),
];
const VIPERX: [(&str, u16); 9] = [
    ("waist", 1120),
    ("shoulder", 1120),
    ("shoulder_shadow", 1120),
    ("elbow", 1120),
    ("elbow_shadow", 1120),
    ("forearm_roll", 1120),
    ("wrist_angle", 1120),
    ("wrist_rotate", 1020),
    ("gripper", 1020),
];

/// As the factory leaves them but for ids and rate: nothing is set up.
fn fresh(motors: &[(&str, u16)]) -> Vec<Servo> {
    let each = motors.iter().zip(1..);
    each.map(|((_, model), id)| Servo::new(id, *model))
        .collect()
}

/// A cell of `model` on `port`, and a calibration in which every servo has its own offset.
fn cell_of(dir: &Path, model: &str, motors: &[(&str, u16)], port: &Path) -> PathBuf {
    let entries = motors.iter().zip(1..).map(|((name, _), id)| {
        let drive_mode = u8::from(name.ends_with("_shadow"));
        (*name, id, drive_mode, 10 * id, 1000, 3000)
    });
    servo_cell(dir, model, port, entries)
}

/// Servos that are set up for that cell.
fn set_up(bus: &ServoBus, file: &str) {
    ok(&["device", "setup", "--cell", file]);
    for servo in &mut bus.world().servos {
        servo.go_to(2000);
        servo.set(116, 4, 2000);
    }
}

#[test]
fn a_koch_is_set_up_enabled_moves_and_holds_when_a_servo_leaves_in_motion() {
    let bus = ServoBus::start(fresh(&KOCH));
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_of(dir.path(), "koch", &KOCH, bus.path());
    let file = file.display().to_string();
    refused(
        &["device", "--cell", &file],
        &[
            "servo 1 (`shoulder_pan`): register HOMING_OFFSET",
            "tactus device setup",
        ],
    );
    set_up(&bus, &file);
    let table = ok(&["device", "check", "--cell", &file]);
    assert!(
        table.contains("elbow_flex") && table.contains("as they have to be"),
        "{table}"
    );
    let out = dir.path().join("written.json").display().to_string();
    ok(&["device", "calibration", "--cell", &file, "--out", &out]);
    let read = |file: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(file).expect("read")).expect("JSON")
    };
    assert_eq!(read(Path::new(&out)), read(&dir.path().join("koch.json")));

    let endpoint = endpoint();
    let device = ["device", "--cell", &file, "--listen", &endpoint];
    let serving = Role::start(&device);
    let ears = Ears::open(&endpoint, "koch", "koch");
    let mut arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some_and(|s| !s.torque)
    });
    assert!(
        bus.world().servos.iter().all(|s| !s.torque()),
        "starting gives no torque"
    );
    let at = ["--cell", &file, "--connect", &endpoint];
    let before: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    ok(&[&["order"], &at[..], &["enable"]].concat());
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    assert_eq!(before, after, "enabling moves nothing");
    assert!(bus.world().servos.iter().all(Servo::torque));

    // LeRobot's degrees: 0.3 rad is 195.5 ticks of 4095 to a turn.
    let motion = ["0.3,-0.2,0.1,0,-0.3", "--opening", "0.25", "--speed", "0.6"];
    ok(&[&["arm", "goto"], &motion[..], &at[..]].concat());
    let present: Vec<i32> = bus.world().servos.iter().map(Servo::present).collect();
    for (present, wanted) in present.iter().zip([2196, 1870, 2065, 2000, 1804, 1500]) {
        assert!((present - wanted).abs() <= 3, "{present} {wanted}");
    }

    // A long motion, and a cable that comes out in the middle of it.
    let motion = ["-1.2,0.8,-0.8,0.6,1.0", "--speed", "0.3"];
    let moving = Role::start(&[&["arm", "goto"], &motion[..], &at[..]].concat());
    ears.wait("the arm moves", Duration::from_secs(10), |e| {
        e.state().is_some_and(|s| s.q[0] < 0.1)
    });
    let left = Instant::now();
    bus.world().unplug(3);
    ears.wait("the arm holds", Duration::from_secs(5), |e| {
        e.mode() == Some(ModeWord::Hold)
    });
    println!("unplugged to hold reported: {:?}", left.elapsed());
    assert!(!moving.outcome().0, "the motion is not done");
    let (success, stderr) = serving.outcome();
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    println!("{last}");
    assert!(
        !success && last.contains("servo 3 (`elbow_flex`) has not answered"),
        "{stderr}"
    );
    assert!(arm.runs(), "the arm host outlives its device");
    let mut others = bus.world().servos.clone();
    others.retain(|s| s.id() != 3);
    assert!(others.iter().all(Servo::torque), "the others hold");
}

#[test]
fn a_process_that_stops_is_noticed_by_the_servos_and_only_enabling_goes_on() {
    let bus = ServoBus::start(fresh(&KOCH));
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_of(dir.path(), "koch", &KOCH, bus.path());
    let file = file.display().to_string();
    set_up(&bus, &file);
    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "koch", "koch");
    let _arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some()
    });
    let at = ["--cell", &file, "--connect", &endpoint];
    ok(&[&["order"], &at[..], &["enable"]].concat());
    serving.pause();
    std::thread::sleep(Duration::from_millis(600));
    serving.go_on();
    // An arm that was ready has to be enabled again; one that moved holds.
    let stopped = [Some(ModeWord::Boot), Some(ModeWord::Hold)];
    ears.wait("lost torque is reported", Duration::from_secs(5), |e| {
        e.state().is_some_and(|s| !s.torque) && stopped.contains(&e.mode())
    });
    let tripped = |s: &Servo| s.memory[98] == 0xFF && s.torque();
    assert!(bus.world().servos.iter().all(tripped), "and they hold");
    ok(&[&["order"], &at[..], &["enable"]].concat());
    assert!(bus.world().servos.iter().all(|s| s.memory[98] == 10));
    let motion = ["0.1,0.1,0.1,0.1,0.1", "--speed", "0.6"];
    ok(&[&["arm", "goto"], &motion[..], &at[..]].concat());
    let (at_first, wanted) = (bus.world().servo(1).present(), 2065);
    assert!((at_first - wanted).abs() <= 3, "{at_first} {wanted}");
    let (success, stderr) = serving.end();
    assert!(success, "{stderr}");
    assert!(stderr.contains("bus watchdogs stopped them"), "{stderr}");
}

#[test]
fn a_viperx_is_set_up_with_its_shadows_found_and_drafted() {
    let bus = ServoBus::start(fresh(&VIPERX));
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_of(dir.path(), "viperx", &VIPERX, bus.path());
    let file = file.display().to_string();
    let done = ok(&["device", "setup", "--cell", &file]);
    assert!(
        done.contains("servo 3 (`shoulder_shadow`): register SECONDARY_ID: 255 -> 2"),
        "{done}"
    );
    let table = ok(&["device", "check", "--cell", &file]);
    assert!(table.contains("elbow_shadow"), "{table}");
    let draft = dir.path().join("mine.toml").display().to_string();
    let port = bus.path().display().to_string();
    let said = ok(&["arm", "probe", "--port", &port, "--draft", &draft]);
    assert!(
        said.contains("1 XM540-W270") && said.contains(": a ViperX 300 6DOF"),
        "{said}"
    );
    let text = std::fs::read_to_string(&draft).expect("a draft");
    assert!(
        text.contains(&format!("port = \"{port}\"")) && text.contains("model = \"viperx\""),
        "{text}"
    );
}
