//! An SO-101 of emulated servos, from the command line: device process, arm host, orders, a servo that leaves in motion.

mod cell;
mod device_cell;
#[path = "../../drivers/feetech/tests/emulator/mod.rs"]
mod emulator;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cell::{checkout, diagnosis};
use device_cell::{Ears, Role, endpoint, ok, refused, servo_cell};
use emulator::{Servo, ServoBus};
use tactus_wire::ModeWord;

const MOTORS: [&str; 6] = [
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
];

fn servos() -> Vec<Servo> {
    let servo = |id: u8| Servo::new(id).calibrated(10 * i32::from(id), 1000, 3000);
    (1..=6).map(servo).collect()
}

/// The shipped cell on `port`, and the calibration of [`servos`].
fn cell_file(dir: &Path, port: &Path) -> PathBuf {
    let each = MOTORS.iter().zip(1..);
    let servos = each.map(|(name, id)| (*name, id, 0, 10 * id, 1000, 3000));
    servo_cell(dir, "so101", port, servos)
}

#[test]
fn an_arm_is_enabled_moves_and_holds_when_a_servo_leaves_in_motion() {
    let bus = ServoBus::start(servos());
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), bus.path()).display().to_string();
    let endpoint = endpoint();
    let device = ["device", "--cell", &file, "--listen", &endpoint];
    let mut serving = Role::start(&device);
    let ears = Ears::open(&endpoint, "so101", "so101");
    let mut arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some_and(|s| !s.torque)
    });
    assert!(
        bus.world().servos.iter().all(|s| !s.torque()),
        "starting gives no torque"
    );

    let at = ["--cell", &file, "--connect", &endpoint];
    let before: Vec<f64> = bus.world().servos.iter().map(|s| s.encoder).collect();
    ok(&[&["order"], &at[..], &["enable"]].concat());
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.encoder).collect();
    assert_eq!(before, after, "enabling moves nothing");
    assert!(bus.world().servos.iter().all(Servo::torque));

    // LeRobot's degrees: 0.3 rad is 195.5 ticks of 4095 to a turn.
    ok(&[
        &["arm", "goto"],
        &["0.3,-0.2,0.1,0,-0.3", "--opening", "0.25", "--speed", "0.6"][..],
        &at[..],
    ]
    .concat());
    let present: Vec<i32> = bus.world().servos.iter().map(Servo::present).collect();
    for (present, wanted) in present.iter().zip([2196, 1870, 2065, 2000, 1804, 1500]) {
        assert!((present - wanted).abs() <= 3, "{present} {wanted}");
    }

    // A long motion, and a cable that comes out in the middle of it.
    let motion = [
        &["arm", "goto"],
        &["-1.2,0.8,-0.8,0.6,1.0", "--speed", "0.3"][..],
        &at[..],
    ]
    .concat();
    let moving = Role::start(&motion);
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
    let world = bus.world();
    assert!(
        world
            .servos
            .iter()
            .filter(|s| s.id() != 3)
            .all(Servo::torque),
        "the others hold"
    );
    drop(world);

    // Until the servo is back the device does not start; then the arm stays limp at one joint until it is enabled.
    refused(
        &device,
        &[
            "servo 3 (`elbow_flex`): no answer",
            &bus.path().display().to_string(),
        ],
    );
    bus.world().plug(3);
    serving = Role::start(&device);
    let states = ears.heard();
    ears.wait("the device is back", Duration::from_secs(20), |e| {
        e.heard() > states + 10
    });
    refused(&device[..3], &["in use by process", "an arm has one owner"]);
    refused(
        &["device", "torque-off", "--cell", &file],
        &["no brakes and falls", "--arm-is-supported"],
    );
    assert!(serving.end().0, "an orderly end");
    let world = bus.world();
    assert!(
        world
            .servos
            .iter()
            .filter(|s| s.id() != 3)
            .all(Servo::torque),
        "the end drops nothing"
    );
    drop(world);
    ok(&[
        "device",
        "torque-off",
        "--cell",
        &file,
        "--arm-is-supported",
    ]);
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

/// The arm of [`MOTORS`], of cylinders: it turns about the upright, bends three times, and turns its hand; 0.4 m long.
fn urdf(first: &str) -> String {
    let joints = [first, MOTORS[1], MOTORS[2], MOTORS[3], MOTORS[4]];
    let axes = ["0 0 1", "0 1 0", "0 1 0", "0 1 0", "1 0 0"];
    let shape =
        "<collision><geometry><cylinder radius='0.02' length='0.04'/></geometry></collision>";
    let links: String = (0..=5)
        .map(|i| format!("<link name='link_{i}'>{shape}</link>"))
        .collect();
    let each = joints.iter().zip(axes).enumerate();
    let joints: String = each
        .map(|(i, (name, axis))| {
            format!(
                "<joint name='{name}' type='revolute'><origin xyz='0.1 0 0'/><parent link='link_{i}'/>\
                 <child link='link_{}'/><axis xyz='{axis}'/><limit lower='-1.9' upper='1.9' effort='1' velocity='1'/></joint>",
                i + 1
            )
        })
        .collect();
    format!("<robot name='arm'>{links}{joints}</robot>")
}

#[test]
fn an_arm_whose_links_the_cell_file_describes_stays_in_its_box() {
    let bus = ServoBus::start(servos());
    let dir = tempfile::tempdir().expect("a folder");
    let path = cell_file(dir.path(), bus.path());
    let text = std::fs::read_to_string(&path).expect("the cell");
    let described =
        "[device]\nurdf = \"arm.urdf\"\nbase_link = \"link_0\"\ntool_link = \"link_5\"\n";
    let boxed = "[arm]\nworkspace = { min = [-1, -0.15, -1], max = [1, 0.15, 1] }\n";
    let text = text.replacen("[device]\n", described, 1);
    std::fs::write(&path, text.replacen("[arm]\n", boxed, 1)).expect("written");
    let file = path.display().to_string();
    let check = ["device", "check", "--cell", &file];

    // Of another arm: neither looked at nor served.
    std::fs::write(dir.path().join("arm.urdf"), urdf("Rotation")).expect("written");
    let wanted = [
        "`device.urdf`: expected joints from `link_0` to `link_5` with the names that the arm has: shoulder_pan, ",
        "rename them in the URDF",
        "`Rotation`",
    ];
    refused(&check, &wanted);
    refused(&["device", "--cell", &file], &wanted);
    assert!(diagnosis(&file, "links").starts_with("fail"));

    std::fs::write(dir.path().join("arm.urdf"), urdf(MOTORS[0])).expect("written");
    assert!(ok(&check).contains("arm.urdf has the arm's 5 joints"));
    let doctor = diagnosis(&file, "links");
    assert!(
        doctor.starts_with("pass") && doctor.contains("links are not kept apart"),
        "{doctor}"
    );
    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "so101", "so101");
    let arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some_and(|s| !s.torque)
    });
    let at = ["--cell", &file, "--connect", &endpoint];
    let goto =
        |pose: &'static str| [&["arm", "goto"], &[pose, "--speed", "0.6"][..], &at[..]].concat();
    ok(&[&["order"], &at[..], &["enable"]].concat());
    // Straight ahead, the tool point 0.4 m before the first axis: 0.15 m aside is 0.384 rad.
    ok(&goto("0,0,0,0,0"));
    refused(&goto("0.9,0,0,0,0"), &["not at"]);
    let aside = ears.state().expect("a state").q[0];
    assert!((0.2..0.4).contains(&aside), "{aside}");
    drop(arm);
    let said = serving.end().1;
    assert!(
        said.contains("the tool point stays in `arm.workspace`; links are not kept apart"),
        "{said}"
    );
}

#[test]
fn an_arm_is_checked_set_up_and_its_calibration_written_on_the_bench() {
    let mut servos = servos();
    servos[1] = Servo::new(2).calibrated(55, 900, 3100);
    let bus = ServoBus::start(servos);
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), bus.path()).display().to_string();
    let check = ["device", "check", "--cell", &file];
    refused(
        &check,
        &[
            "servo 2 (`shoulder_lift`): register HOMING_OFFSET holds 55, expected 20",
            "tactus device setup",
        ],
    );
    refused(&["device", "--cell", &file], &["register HOMING_OFFSET"]);
    let doctor = diagnosis(&file, "device");
    assert!(
        doctor.starts_with("fail") && doctor.contains("register HOMING_OFFSET holds 55"),
        "{doctor}"
    );
    let done = ok(&["device", "setup", "--cell", &file]);
    assert!(
        done.contains("servo 2 (`shoulder_lift`): register HOMING_OFFSET: 55 -> 20"),
        "{done}"
    );
    let table = ok(&check);
    assert!(
        table.contains("shoulder_lift") && table.contains("as they have to be"),
        "{table}"
    );
    let doctor = diagnosis(&file, "device");
    assert!(
        doctor.starts_with("pass") && doctor.contains("6 servos answer and hold the calibration"),
        "{doctor}"
    );
    let out = dir.path().join("written.json").display().to_string();
    ok(&["device", "calibration", "--cell", &file, "--out", &out]);
    let read = |file: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(file).expect("read")).expect("JSON")
    };
    assert_eq!(read(Path::new(&out)), read(&dir.path().join("so101.json")));
    refused(
        &["device", "calibration", "--cell", &file, "--out", &out],
        &["there is one already"],
    );
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn an_arm_is_homed_by_hand_as_lerobot_does_it_and_then_is_what_its_file_says() {
    // As the factory made them, but one that was homed before; each joint's middle is elsewhere.
    let mut servos: Vec<Servo> = (1..=6).map(Servo::new).collect();
    servos[2] = Servo::new(3).calibrated(-700, 500, 3500);
    let bus = ServoBus::start(servos);
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), bus.path()).display().to_string();
    let before = std::fs::read(dir.path().join("so101.json")).expect("there");
    let middles = [1800.0, 3900.0, 2500.0, 2047.0, 300.0, 1000.0];
    let ends = [
        (-800.0, 900.0),
        (-1000.0, 700.0),
        (-600.0, 600.0),
        (-500.0, 800.0),
        (0.0, 0.0),
        (-300.0, 400.0),
    ];
    let place = |share: [f64; 6]| {
        for (servo, (middle, share)) in bus.world().servos.iter_mut().zip(middles.iter().zip(share))
        {
            servo.encoder = (middle + share as i32 as f64).rem_euclid(4096.0);
        }
    };
    let begin = || {
        place([0.0; 6]);
        let child = std::process::Command::new(cell::program())
            .args(["calibrate", "joints", "home", "--cell", &file])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        let mut child = child.expect("starts");
        let stdin = child.stdin.take().expect("piped");
        (child, stdin)
    };
    let enter = |stdin: &mut std::process::ChildStdin| {
        use std::io::Write;
        std::thread::sleep(Duration::from_millis(1500));
        stdin.write_all(b"\n").expect("typed");
        std::thread::sleep(Duration::from_millis(1000));
    };
    // Nobody moves a joint: refused by its name, and the old file stays.
    let (child, mut stdin) = begin();
    enter(&mut stdin);
    enter(&mut stdin);
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("begin again, and move every joint"),
        "{said}"
    );
    assert_eq!(
        std::fs::read(dir.path().join("so101.json")).expect("there"),
        before
    );

    let (child, mut stdin) = begin();
    enter(&mut stdin);
    for step in 0..=40 {
        let t = f64::from(step) / 40.0;
        // To one end, to the other, and back.
        let way = |(low, high): (f64, f64)| match t {
            t if t < 0.25 => low * 4.0 * t,
            t if t < 0.75 => low + (high - low) * (t - 0.25) * 2.0,
            t => high * (1.0 - t) * 4.0,
        };
        place(ends.map(way));
        std::thread::sleep(Duration::from_millis(120));
    }
    enter(&mut stdin);
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("tactus device setup"),
        "{said}"
    );
    assert!(
        bus.world().servos.iter().all(|s| !s.torque()),
        "nothing has torque"
    );

    // LeRobot's sums: the position with no offset, less int(4095 / 2).
    let text = std::fs::read_to_string(dir.path().join("so101.json")).expect("written");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (k, name) in MOTORS.iter().enumerate() {
        let number = |field: &str| read[name][field].as_i64().expect("a number");
        assert_eq!(number("homing_offset"), middles[k] as i64 - 2047, "{name}");
        let (low, high) = ends[k];
        let range = match *name {
            "wrist_roll" => [0, 4095],
            _ => [2047 + low as i64, 2047 + high as i64],
        };
        assert!(
            (number("range_min") - range[0]).abs() <= 12
                && (number("range_max") - range[1]).abs() <= 12,
            "{name}: {text}"
        );
    }
    ok(&["device", "setup", "--cell", &file]);
    let table = ok(&["device", "check", "--cell", &file]);
    assert!(
        table.contains("as they have to be") && !table.contains("(not "),
        "{table}"
    );
    for servo in &bus.world().servos {
        assert!(
            (servo.present() - 2047).abs() <= 60,
            "the middle is half a turn: {}",
            servo.present()
        );
    }
    bus.world().servos[3].memory[40] = 1;
    refused(
        &["calibrate", "joints", "home", "--cell", &file],
        &["tactus device torque-off"],
    );
}

#[test]
fn what_is_plugged_in_is_named_and_a_cell_file_drafted() {
    let slow = servos().into_iter().map(|s| s.with(6, 1)).collect();
    let bus = ServoBus::start(slow);
    let dir = tempfile::tempdir().expect("a folder");
    let draft = dir.path().join("mine.toml").display().to_string();
    let port = bus.path().display().to_string();
    let probe = ["arm", "probe", "--port", &port, "--draft", &draft];
    let said = ok(&probe);
    assert!(
        said.contains(&format!(
            "port {port}: at 500000 baud servos 1 STS3215, 2 STS3215"
        )),
        "{said}"
    );
    assert!(said.contains("an SO-100 or SO-101"), "{said}");
    let text = std::fs::read_to_string(&draft).expect("a draft");
    assert!(
        text.contains(&format!("port = \"{port}\"")) && text.contains("baud = 500000"),
        "{text}"
    );
    refused(&probe, &["mine.toml: there is one already"]);
    bus.world().unplug(4);
    refused(
        &["arm", "probe", "--port", &port, "--draft", "x.toml"],
        &["no port with the servos of a known arm"],
    );
}

#[test]
fn run_starts_the_device_of_the_cell() {
    let bus = ServoBus::start(servos());
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), bus.path()).display().to_string();
    let endpoint = endpoint();
    let running = Role::start(&["run", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "so101", "so101");
    ears.wait(
        "arm host and device are there",
        Duration::from_secs(30),
        |e| e.mode() == Some(ModeWord::Boot) && e.state().is_some(),
    );
    let (success, stderr) = running.end();
    // This cell's bundle is the user's to bring.
    assert!(
        success && stderr.contains("role `engine` ended"),
        "{stderr}"
    );
}

#[test]
fn a_cell_without_a_device_or_port_is_refused() {
    let demo = checkout()
        .join("launch/cells/demo.toml")
        .display()
        .to_string();
    refused(&["device", "--cell", &demo], &["no section [device]"]);
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), Path::new("/dev/tactus-no-such-port"));
    let file = file.display().to_string();
    refused(
        &["device", "--cell", &file],
        &["port /dev/tactus-no-such-port: there is none"],
    );
    std::fs::remove_file(dir.path().join("so101.json")).expect("removed");
    refused(&["device", "--cell", &file], &["so101.json"]);
}
