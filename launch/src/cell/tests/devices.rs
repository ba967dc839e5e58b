//! Arms: which tables describe one, and what each of them refuses.

use super::*;

#[test]
fn a_device_on_this_machine_is_described_or_refused() {
    const SO101: &str = include_str!("../../../cells/so101.toml");
    let cell = parsed(SO101).expect("legal");
    let Some(CellDevice::Servos(arm)) = cell.hardware else {
        panic!("no device");
    };
    assert_eq!((arm.baud, arm.rate_hz), (1_000_000, 100.0));
    assert_eq!(
        arm.calibration_file().expect("a file"),
        Path::new("cells/so101.json")
    );
    for (from, to, wanted) in [
        (
            "rate_hz = 100 ",
            "rate_hz = 1000 ",
            "`device.rate_hz`: expected 20 to 250 Hz, got 1000",
        ),
        (
            "rate_hz = 100 ",
            "baud = 9600\nrate_hz = 100 ",
            "`device.baud`: expected one of 1000000, 500000,",
        ),
        (
            "calibration = ",
            "lerobot_id = \"a\"\ncalibration = ",
            "`device.calibration`: expected a file, or device.lerobot_id instead, got both",
        ),
        ("calibration = \"so101.json\"", "", "instead, got neither"),
        (
            "calibration = \"so101.json\"",
            "lerobot_id = \"../a\"",
            "`device.lerobot_id`: expected a name without slashes, got ../a",
        ),
        ("model = \"so101\"", "model = \"so102\"", "so102"),
        ("kind = \"feetech\"", "kind = \"fleetech\"", "fleetech"),
        (
            "part = ",
            "brakes = true\npart = ",
            "unknown field `brakes`",
        ),
        (
            "[device]",
            "[sim]\nseed = 0\nvariation = false\n[device]",
            "`device`: expected no [sim] beside it: an arm has one device, got both",
        ),
    ] {
        let error = parsed(&SO101.replacen(from, to, 1)).expect_err(to);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
}

#[test]
fn a_franka_is_described_or_refused() {
    const FR3: &str = include_str!("../../../cells/fr3.toml");
    let cell = parsed(FR3).expect("legal");
    let Some(CellDevice::Franka(arm)) = cell.hardware else {
        panic!("no device");
    };
    assert_eq!((arm.host.as_str(), arm.spec.rate_hz), ("172.16.0.2", 500));
    for (from, to, wanted) in [
        (
            "model = \"fr3\"",
            "model = \"panda\"",
            "`device.model`: expected fr3; a Panda (FER) speaks another version of FCI",
        ),
        (
            "rate_hz = 500 ",
            "rate_hz = 400 ",
            "`device.rate_hz`: expected one of 1000, 500, 250, 125 Hz, got 400",
        ),
        (
            "host = \"172.16.0.2\"",
            "host = \"a b\"",
            "`device.host`: expected an IP address",
        ),
        ("rate_hz = 500 ", "gain = 3 ", "gain"),
        (
            "[arm]\n",
            "[device.gripper]\nkind = \"franka-hand\"\nhost = \"a\"\nspeed = 2.0\n[arm]\n",
            "`device.gripper.speed`: expected 0 to 1, got 2",
        ),
        (
            "[arm]\n",
            "[device.gripper]\nkind = \"franka-hand\"\nhost = \"a b\"\n[arm]\n",
            "`device.gripper.host`: expected an IP address",
        ),
        (
            "[arm]\n",
            "[device.gripper]\nkind = \"robotiq\"\n[arm]\n",
            "`device.gripper.port`: expected a serial port, or device.gripper.host instead, got neither",
        ),
        (
            "[arm]\n",
            "[device.gripper]\nkind = \"robotiq\"\nport = \"a\"\nhost = \"b\"\n[arm]\n",
            "device.gripper.host instead, got both",
        ),
    ] {
        assert!(FR3.contains(from), "{from}");
        let error = parsed(&FR3.replacen(from, to, 1))
            .expect_err(wanted)
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn an_arm_of_universal_robots_is_described_or_refused() {
    const UR5E: &str = include_str!("../../../cells/ur5e.toml");
    let cell = parsed(UR5E).expect("legal");
    let Some(CellDevice::Ur(arm)) = cell.hardware else {
        panic!("no device");
    };
    let servo = arm.spec.servo;
    assert_eq!(
        (arm.host.as_str(), arm.spec.model.name()),
        ("192.168.0.100", "ur5e")
    );
    assert_eq!(
        (servo.rate_hz, servo.lookahead_secs, servo.gain),
        (500, 0.1, 300)
    );
    for (from, to, wanted) in [
        (
            "model = \"ur5e\"",
            "model = \"ur6e\"",
            "`device.model`: expected one of ur3, ur5,",
        ),
        (
            "model = \"ur5e\"",
            "model = \"ur5\"",
            "`device.rate_hz`: expected 125 Hz for a ur5, got 500",
        ),
        (
            "rate_hz = 500 ",
            "rate_hz = 400 ",
            "`device.rate_hz`: expected 500, 250, 125 Hz for a ur5e, got 400",
        ),
        (
            "lookahead_time = 0.1",
            "lookahead_time = 0.5",
            "`device.lookahead_time`: expected 0.03 to 0.2 s, got 0.5",
        ),
        (
            "lookahead_time = 0.1",
            "lookahead_time = nan",
            "`device.lookahead_time`: expected 0.03 to 0.2 s, got NaN",
        ),
        (
            "gain = 300",
            "gain = 50",
            "`device.gain`: expected 100 to 2000, got 50",
        ),
        (
            "host = \"192.168.0.100\"",
            "host = \"http://ur\"",
            "`device.host`: expected an IP address",
        ),
        (
            "host = \"192.168.0.100\"",
            "host = \"\"",
            "`device.host`: expected an IP address",
        ),
        ("host = \"192.168.0.100\"", "", "missing field `host`"),
        (
            "gain = 300",
            "gain = 300\nport = 30004",
            "unknown field `port`",
        ),
    ] {
        let text = UR5E.replacen(from, to, 1);
        assert_ne!(text, UR5E, "{from}");
        let error = parsed(&text).expect_err(to);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
}

#[test]
fn an_arm_of_ros_2_is_described_or_refused() {
    const ROS2: &str = include_str!("../../../cells/ros2.toml");
    let cell = parsed(ROS2).expect("legal");
    let Some(CellDevice::Ros(arm)) = cell.hardware else {
        panic!("no device");
    };
    assert_eq!((arm.joints.len(), arm.limits.len()), (6, 6));
    assert_eq!(arm.states.as_str(), "/joint_states");
    assert_eq!(arm.node.name, "tactus_device_my_arm");
    assert!(!arm.node.mesh.network);
    for (from, to, wanted) in [
        (
            "\"/joint_states\"",
            "\"joint_states\"",
            "`device.joint_states`: expected a topic's name from the root",
        ),
        (
            "trajectory = \"/joint",
            "positions = \"/p\"\ntrajectory = \"/joint",
            "or device.positions with one of Float64MultiArray, got both",
        ),
        (
            "domain_id = 0 ",
            "domain_id = 233 ",
            "`device.domain_id`: expected 0 to 232, got 233",
        ),
        (
            "stale_ms = 100 ",
            "stale_ms = 5 ",
            "`device.stale_ms`: expected 20 to 1000 ms, got 5",
        ),
        (
            "name = \"elbow_joint\"",
            "name = \"wrist_1_joint\"",
            "`device.joints`: expected each joint once, got `wrist_1_joint` twice",
        ),
        (
            "lower = -2.8",
            "lower = 2.9",
            "`device.joints`: expected limits of an arm",
        ),
        ("jerk = 100.0 },\n]", "},\n]", "missing field `jerk`"),
    ] {
        let text = ROS2.replacen(from, to, 1);
        assert_ne!(text, ROS2, "{from}");
        let error = parsed(&text).expect_err(to);
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_franka_behind_a_node_is_described_or_refused() {
    const NODE: &str = include_str!("../../../cells/fr3-node.toml");
    let cell = parsed(NODE).expect("legal");
    let Some(CellDevice::FrankaNode(arm)) = cell.hardware else {
        panic!("no device");
    };
    let gates = tactus_franka::node::Gates::default();
    assert_eq!((arm.arm.as_str(), arm.rate_hz), ("fr3", 100));
    assert_eq!(
        (arm.endpoint.as_str(), arm.gates),
        ("tcp/172.16.0.10:7447", gates)
    );
    for (from, to, wanted) in [
        (
            "\"fr3\"            #",
            "\"panda\"            #",
            "`device.model`: expected fr3",
        ),
        (
            "rate_hz = 100 ",
            "rate_hz = 500 ",
            "`device.rate_hz`: expected one of 50, 100, 125, 200 Hz, got 500",
        ),
        (
            "tcp/172.16.0.10:7447",
            "udp/172.16.0.10:7447",
            "`device.endpoint`: expected an endpoint such as `tcp/",
        ),
        (
            "tcp/172.16.0.10:7447",
            "tcp/robot",
            "`device.endpoint`: expected",
        ),
        (
            "arm = \"fr3\"",
            "arm = \"fr3/**\"",
            "`device.arm`: expected the arm's name",
        ),
        (
            "budget = 0.2",
            "budget = 1.2",
            "`device.budget`: expected 0.01 to 1, got 1.2",
        ),
        (
            "max_step_rad = 0.2",
            "max_step_rad = nan",
            "`device.max_step_rad`: expected 0.01 to 1 rad, got NaN",
        ),
        (
            "max_deviation_rad = 1.0",
            "max_deviation_rad = 0.1",
            "`device.max_deviation_rad`: expected 0.2 to 6 rad, got 0.1",
        ),
    ] {
        assert!(NODE.contains(from), "{from}");
        let error = parsed(&NODE.replacen(from, to, 1))
            .expect_err(wanted)
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn an_arm_of_dynamixel_servos_is_described_or_refused() {
    use super::device::Make;
    const KOCH: &str = include_str!("../../../cells/koch.toml");
    const VIPERX: &str = include_str!("../../../cells/viperx.toml");
    let make = |text: &str| match parsed(text).expect("legal").hardware {
        Some(CellDevice::Servos(arm)) => (arm.make, arm.motors().len()),
        _ => panic!("no device"),
    };
    let (koch, motors) = make(KOCH);
    let wanted = Make::Dynamixel {
        model: tactus_dynamixel::Model::Koch,
        watchdog_millis: 200,
        gripper_current_ma: 500.0,
    };
    assert_eq!((koch, motors), (wanted, 6));
    let bare = KOCH
        .lines()
        .filter(|line| !(line.starts_with("watchdog_ms") || line.starts_with("gripper_current")))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(make(&bare), (wanted, 6), "these are the defaults");
    assert_eq!(make(VIPERX).1, 9);
    for (text, from, to, wanted) in [
        (
            VIPERX,
            "part = \"follower\"",
            "part = \"leader\"",
            "`device.part`: expected \"follower\": a `viperx` leads nobody, got leader",
        ),
        (
            KOCH,
            "watchdog_ms = 200",
            "watchdog_ms = 5000",
            "`device.watchdog_ms`: expected 40 to 2540 ms, got 5000",
        ),
        (
            KOCH,
            "gripper_current_ma = 500",
            "gripper_current_ma = 5",
            "`device.gripper_current_ma`: expected 20 to 3000 mA, got 5",
        ),
        (
            KOCH,
            "rate_hz = 100 ",
            "baud = 500000\nrate_hz = 100 ",
            "`device.baud`: expected one of 1000000, 57600,",
        ),
        (
            VIPERX,
            "rate_hz = 100 ",
            "rate_hz = 250 ",
            "`device.rate_hz`: expected at most 213 Hz of 9 servos at 1000000 baud, got 250",
        ),
        (
            KOCH,
            "rate_hz = 100 ",
            "baud = 57600\nrate_hz = 100 ",
            "`device.rate_hz`: expected at most",
        ),
        (KOCH, "model = \"koch\"", "model = \"so101\"", "so101"),
        (KOCH, "watchdog_ms", "watchdog", "unknown field `watchdog`"),
        (
            KOCH,
            "[arm]\n",
            "[device.gripper]\nkind = \"robotiq\"\nport = \"/dev/ttyUSB1\"\n[arm]\n",
            "`device.gripper`: expected none: the arm `koch` has a gripper of its own",
        ),
        (
            KOCH,
            "[arm]\n",
            "[device.gripper]\nkind = \"robotiq\"\nport = \"/dev/ttyUSB1\"\nforce = 2.0\n[arm]\n",
            "`device.gripper.force`: expected 0 to 1, got 2",
        ),
    ] {
        let error = parsed(&text.replacen(from, to, 1)).expect_err(to);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
    let slow = KOCH.replacen("rate_hz = 100 ", "rate_hz = 20 ", 1);
    let error = parsed(&slow.replacen("watchdog_ms = 200", "watchdog_ms = 100", 1));
    let error = error.expect_err("trips between two ticks");
    let wanted = "`device.watchdog_ms`: expected at least 3 periods, 150 ms, got 100";
    assert!(error.contains(wanted), "{error}");
}
