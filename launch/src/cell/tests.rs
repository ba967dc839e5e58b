use super::*;

const DEMO: &str = include_str!("../../cells/demo.toml");

fn parsed(text: &str) -> Result<Cell, String> {
    parse(text, Path::new("cells/x.toml")).map_err(|e| e.to_string())
}

#[test]
fn the_demo_cell_is_legal() {
    let cell = parsed(DEMO).expect("legal");
    assert_eq!(cell.resume, Resume::Auto);
    let sim = CellSim {
        seed: 0,
        variation: true,
        brakes: true,
        board: None,
    };
    assert_eq!(cell.sim, Some(sim));
    assert_eq!(cell.bundle, Path::new("cells/../../models/demo/bundle"));
    assert!(cell.assembly(&["wrist".into(), "scene".into()]).is_ok());
    let missing = cell
        .assembly(&["left".into()])
        .expect_err("not there")
        .to_string();
    assert!(
        missing.contains("`left`") && missing.contains("scene, wrist"),
        "{missing}"
    );
}

#[test]
fn a_policy_may_be_a_remote_server() {
    let text = include_str!("../../cells/openpi.toml");
    let cell = parsed(text).expect("legal");
    let declared = cell.openpi.as_ref().expect("remote");
    assert_eq!(declared.endpoint.to_string(), "openpi://127.0.0.1:8000");
    assert_eq!((declared.horizon, declared.period.as_millis()), (16, 50));
    assert_eq!(declared.cameras.len(), 2);
    let refused = cell.bundle_dir(None).expect_err("none").to_string();
    assert!(
        refused.contains("expected a bundle, which this needs (--bundle DIR)"),
        "{refused}"
    );
    assert!(cell.bundle_dir(Some(Path::new("other"))).is_ok());
    for (from, to, wanted) in [
        (
            "openpi://127.0.0.1:8000",
            "http://127.0.0.1:8000",
            "`policy`: expected openpi://host:port",
        ),
        (
            "policy = ",
            "bundle = ",
            "`openpi`: expected `policy` beside it, got `bundle`",
        ),
        (
            "policy = ",
            "bundle = \"x\"\npolicy = ",
            "`policy`: expected no `bundle` beside it",
        ),
        (
            "policy = \"openpi://127.0.0.1:8000\"",
            "",
            "`bundle`: expected a bundle directory, or `policy`",
        ),
        (
            "horizon = 16",
            "horizon = 2000",
            "`openpi.horizon`: expected 1 to 1024 actions, got 2000",
        ),
        (
            "period_ms = 50",
            "period_ms = 0",
            "`openpi.period_ms`: expected 1 to 10000 ms, got 0",
        ),
        (
            "horizon = 16",
            "horizon = 16\nkeys = { unit = \"turns\" }",
            "unknown variant `turns`",
        ),
    ] {
        assert!(text.contains(from));
        let error = parsed(&text.replacen(from, to, 1)).expect_err(to);
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_measured_latency_of_the_arm_is_its_schedules_lead_and_one_of_another_arm_is_refused() {
    use tactus_calibration::{ArmLatency, seal};
    let dir = tempfile::tempdir().expect("a folder");
    let info = tactus_sim::arm_info();
    let write = |arm: &str, model: &str| {
        let latency = ArmLatency::new((arm, model, "wrist"), [42.5, 1.0, 2.0], 0.99);
        let text = seal::sealed(&latency.write().expect("written"), 1, "then");
        std::fs::write(dir.path().join("arm.toml"), text).expect("written");
        let text = DEMO.replacen("[arm]", "[arm]\nlatency = \"arm.toml\"", 1);
        parse(&text, &dir.path().join("cell.toml")).map_err(|e| e.to_string())
    };
    let demo = parsed(DEMO).expect("legal");
    assert_eq!(demo.schedule.lead, Duration::ZERO);
    let cell = write(demo.arm.as_str(), &info.model).expect("legal");
    assert_eq!(cell.schedule.lead, Duration::from_micros(42_500));
    let spec = cell.arm_spec(1, &info).expect("of this arm");
    assert_eq!(spec.schedule.lead, Duration::from_micros(42_500));
    let other = write(demo.arm.as_str(), "so101").expect("the arm has not said yet what it is");
    let refused = other.arm_spec(1, &info).expect_err("foreign").to_string();
    assert!(
        refused.contains("`arm.latency`") && refused.contains("so101"),
        "{refused}"
    );
    let refused = write("left", &info.model).expect_err("foreign");
    assert!(refused.contains("that of `left`"), "{refused}");
    std::fs::remove_file(dir.path().join("arm.toml")).expect("removed");
    let text = DEMO.replacen("[arm]", "[arm]\nlatency = \"arm.toml\"", 1);
    assert!(parse(&text, &dir.path().join("cell.toml")).is_err());
}

#[test]
fn a_black_box_is_kept_where_the_cell_says_so() {
    assert_eq!(parsed(DEMO).expect("legal").record, None);
    let with = |lines: &str| parsed(&format!("{DEMO}\n[record]\n{lines}"));
    let cell = with("black_box = true\nseconds = 2.5\nfolder = \"boxes\"").expect("legal");
    let record = CellRecord {
        black_box: true,
        window: Duration::from_millis(2500),
        folder: Some("cells/boxes".into()),
    };
    assert_eq!(cell.record, Some(record));
    for (lines, wanted) in [
        ("black_box = true", "missing field `seconds`"),
        (
            "black_box = true\nseconds = 0.5",
            "`record.seconds`: expected 1 to 120 s, got 0.5",
        ),
        (
            "black_box = true\nseconds = nan",
            "`record.seconds`: expected 1 to 120 s, got NaN",
        ),
        (
            "black_box = 1\nseconds = 10",
            "invalid type: integer `1`, expected a boolean",
        ),
        (
            "black_box = true\nseconds = 10\nfile = \"x\"",
            "unknown field `file`",
        ),
    ] {
        let error = with(lines).expect_err(lines);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
}

#[test]
fn limits_in_space_are_on_where_the_arm_describes_its_links() {
    let sim = tactus_sim::arm_info();
    let mut bare = sim.clone();
    bare.geometry = None;
    let with = |lines: &str| {
        let text = DEMO.replacen("tail_ms = 150", &format!("tail_ms = 150\n{lines}"), 1);
        parsed(&text)
    };
    let guard = |lines: &str, info: &ArmInfo| {
        let spec = with(lines).and_then(|c| c.arm_spec(1, info).map_err(|e| e.to_string()))?;
        Ok::<_, String>(spec.guard)
    };
    assert!(guard("", &sim).expect("legal").is_some());
    assert_eq!(guard("", &bare), Ok(None));
    assert_eq!(guard("self_collision = false", &bare), Ok(None));
    let wider = guard("workspace = { min = [-1, -1, -1], max = [1, 1, 1] }", &sim);
    assert_ne!(wider, guard("", &sim));
    for (lines, info, wanted) in [
        ("self_collision = true", &bare, "`tactus-sim-6`"),
        (
            "workspace = { min = [0, 0, 0], max = [1, 1, 1] }",
            &bare,
            "URDF",
        ),
        (
            "workspace = { min = [0, 0, 0], max = [1, 0, 1] }",
            &sim,
            "`arm.workspace`: expected min < max along x, y and z, got [0.0, 0.0, 0.0] .. [1.0, 0.0, 1.0]",
        ),
        (
            "workspace = { min = [0, 0, 0], max = [1, nan, 1] }",
            &sim,
            "`arm.workspace`: expected -10 to 10 m, got NaN",
        ),
        (
            "workspace = { min = [0, 0], max = [1, 1, 1] }",
            &sim,
            "workspace",
        ),
        (
            "clearance_m = 1",
            &sim,
            "`arm.clearance_m`: expected 0 to 0.1 m, got 1",
        ),
        ("leave_out = [\"tail\"]", &sim, "`tail`"),
    ] {
        let error = guard(lines, info).expect_err(lines);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
}

#[test]
fn poses_are_named_bounded_and_fit_the_arm() {
    let cell = parsed(DEMO).expect("legal");
    let info = tactus_sim::arm_info();
    let file = Path::new("cells/x.toml");
    assert!(cell.poses.named.contains_key("home") && cell.poses.check(file, &info).is_ok());
    assert_eq!(cell.arm_spec(1, &info).expect("legal").start, None);
    let with =
        |poses: &str| parsed(&DEMO.replacen("[schedule]", &format!("{poses}\n[schedule]"), 1));
    let start = "start = { q = [0, 0, 1, 0, 1, 0], opening = 1 }\n";
    let refused = with(start).expect_err("no tolerance");
    assert!(
        refused.contains("`arm.start_tolerance_rad`: expected a number"),
        "{refused}"
    );
    let tolerant = DEMO.replacen(
        "settle_ms = 200",
        "start_tolerance_rad = 0.1\nsettle_ms = 200",
        1,
    );
    let refused = parsed(&tolerant).expect_err("no start");
    assert!(
        refused.contains("`arm.poses.start`: expected a pose"),
        "{refused}"
    );
    let both = tolerant.replacen("[schedule]", &format!("{start}\n[schedule]"), 1);
    let cell = parsed(&both).expect("legal");
    assert_eq!(
        cell.arm_spec(1, &info)
            .expect("legal")
            .start
            .map(|s| (s.q[2], s.tolerance)),
        Some((1.0, 0.1))
    );
    let short = with("away = [0, 1]\n").expect("legal by itself");
    let refused = short
        .poses
        .check(file, &info)
        .expect_err("short")
        .to_string();
    assert!(
        refused.contains("`arm.poses.away`: expected 6 numbers: base_yaw"),
        "{refused}"
    );
    let far = with("away = [0, 2.5, 0, 0, 0, 0]\n").expect("legal by itself");
    let refused = far.poses.check(file, &info).expect_err("far").to_string();
    assert!(
        refused.contains("shoulder_pitch within -1.3 to 2 rad, got 2.5"),
        "{refused}"
    );
    for (bad, wanted) in [
        (
            "away = [0, nan]",
            "`arm.poses`: expected -100 to 100 rad, got NaN",
        ),
        (
            "away = []",
            "`arm.poses.away`: expected 1 to 16 numbers, got 0",
        ),
        (
            "away = { q = [0], opening = 2 }",
            "`opening`: expected 0 to 1, got 2",
        ),
        ("away = { q = [0] }", "a pose: a list of rad"),
    ] {
        let refused = with(bad).expect_err(bad);
        assert!(refused.contains(wanted), "{refused}");
    }
}

#[test]
fn every_refusal_names_file_field_expected_and_actual() {
    for (from, to, wanted) in [
        (
            "control_rate_hz = 500",
            "control_rate_hz = 5000",
            "`arm.control_rate_hz`: expected 50 to 1000 Hz, got 5000",
        ),
        (
            "limit_scale = 1.0",
            "limit_scale = 1.0\nspin_us = 900",
            "`arm.spin_us`: expected 0 to 500 us, got 900",
        ),
        (
            "limit_scale = 1.0",
            "limit_scale = 1.0\ncpu = 5000",
            "`arm.cpu`: expected 0 to 1023, got 5000",
        ),
        (
            "limit_scale = 1.0",
            "limit_scale = 1.0\ncpu = -1",
            "invalid value: integer `-1`",
        ),
        (
            "intra_threads = 1",
            "intra_threads = 1\ndenoise_steps = 0",
            "`engine.denoise_steps`: expected 1 to 100 steps, got 0",
        ),
        (
            "tail_ms = 150",
            "tail_ms = nan",
            "`arm.tail_ms`: expected 0 to 1000 ms, got NaN",
        ),
        (
            "intra_threads = 1",
            "intra_threads = 0",
            "`engine.intra_threads`: expected 1 to 64 threads, got 0",
        ),
        (
            "vision = 12",
            "vision = -1",
            "`budget.vision`: expected 0 to 10000 ms, got -1",
        ),
        (
            "name = \"arm\"",
            "name = \"Arm 1\"",
            "`arm.name`: expected 1 to 64 characters",
        ),
        (
            "name = \"wrist\"",
            "name = \"scene\"",
            "`camera.name`: expected each name once, got scene",
        ),
        ("schema = 1", "schema = 2", "`schema`: expected 1, got 2"),
        (
            "schema = 1",
            "schema = 1\nshared_memory = true\nsecurity = { keys = \"keys\" }",
            "`shared_memory`: expected false in a cell with keys",
        ),
        ("tail_ms", "tial_ms", "unknown field `tial_ms`"),
        (
            "resume = \"auto\"",
            "resume = \"maybe\"",
            "unknown variant `maybe`",
        ),
        ("limit = 0.5", "", "missing field `limit`"),
        (
            "variation = true",
            "variation = \"some\"",
            "invalid type: string \"some\", expected a boolean",
        ),
    ] {
        let error = parsed(&DEMO.replacen(from, to, 1)).expect_err(to);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
}

#[test]
fn spinning_a_core_and_fewer_steps_are_asked_for_or_not_done() {
    let cell = parsed(DEMO).expect("legal");
    assert_eq!(
        (cell.realtime.spin, cell.realtime.cpu),
        (Duration::ZERO, None)
    );
    assert_eq!((cell.realtime.priority, cell.denoise_steps), (80, None));
    let text = DEMO
        .replace(
            "limit_scale = 1.0",
            "limit_scale = 1.0\nspin_us = 150\ncpu = 1",
        )
        .replace("intra_threads = 1", "intra_threads = 1\ndenoise_steps = 2");
    let cell = parsed(&text).expect("legal");
    assert_eq!(cell.realtime.spin, Duration::from_micros(150));
    assert_eq!((cell.realtime.cpu, cell.denoise_steps), (Some(1), Some(2)));
}

#[test]
fn every_shipped_cell_is_legal() {
    let cells = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(cells).expect("launch/cells").flatten() {
        let file = entry.path();
        if file.extension().is_some_and(|e| e == "toml") {
            let cells = load_arms(&file).unwrap_or_else(|e| panic!("{e}"));
            names.extend(cells.iter().map(|cell| cell.name.to_string()));
        }
    }
    names.sort();
    for shipped in ["demo", "so101", "koch", "viperx", "ur5e", "fr3"] {
        assert!(names.contains(&shipped.to_owned()), "{names:?}");
    }
}

#[test]
fn a_device_on_this_machine_is_described_or_refused() {
    const SO101: &str = include_str!("../../cells/so101.toml");
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
    const FR3: &str = include_str!("../../cells/fr3.toml");
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
    const UR5E: &str = include_str!("../../cells/ur5e.toml");
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
    const ROS2: &str = include_str!("../../cells/ros2.toml");
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
    const NODE: &str = include_str!("../../cells/fr3-node.toml");
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
    const KOCH: &str = include_str!("../../cells/koch.toml");
    const VIPERX: &str = include_str!("../../cells/viperx.toml");
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

#[test]
fn cameras_are_described_or_refused() {
    const SO101: &str = include_str!("../../cells/so101.toml");
    let cell = parsed(SO101).expect("legal");
    let spec = cell.cameras[0].real.as_ref().expect("real");
    assert_eq!(spec.published_size(), (640, 480));
    assert_eq!(spec.frozen_after, Some(Duration::from_millis(500)));
    assert!(
        parsed(DEMO)
            .expect("legal")
            .cameras
            .iter()
            .all(|c| c.real.is_none())
    );
    let with = |lines: &str| {
        let (head, rest) = DEMO.split_once("[[camera]]").expect("cameras");
        let (_, tail) = rest.split_once("[sim]").expect("the simulator");
        parsed(&format!(
            "{head}[[camera]]\nname = \"front\"\nrate_hz = 30\n{lines}\n[sim]{tail}"
        ))
    };
    let sized = |lines: &str| with(&format!("width = 640\nheight = 480\n{lines}"));
    let real = |lines: &str| sized(lines).map(|cell| cell.cameras[0].real.clone().expect("real"));

    let v4l2 = "source = \"v4l2\"\ndevice = \"/dev/video0\"\n";
    let spec = real(&format!("{v4l2}format = \"yuyv\"\nexposure_us = 8000\nwhite_balance_k = 4500\ngain = 3\nlatency_ms = 35\ncrop = [80, 0, 480, 480]\nrotate = 270\nfrozen_ms = 0"))
        .expect("legal");
    let tactus_camera::SourceSpec::V4l2(device) = &spec.source else {
        panic!("{spec:?}");
    };
    assert_eq!(
        (device.exposure_us, device.white_balance_k, device.gain),
        (Some(8000), Some(4500), Some(3))
    );
    assert_eq!(
        (spec.published_size(), spec.frozen_after, spec.latency),
        ((480, 480), None, Duration::from_millis(35))
    );
    let spec =
        real("source = \"video\"\npath = \"v.mp4\"\nrepeat = true\nstepped = true").expect("legal");
    assert!(spec.stepped() && spec.frozen_after.is_none());
    let tactus_camera::SourceSpec::Video(playback) = &spec.source else {
        panic!("{spec:?}");
    };
    assert_eq!(playback.path, Path::new("cells/v.mp4"));
    let lens = "undistort = { fx = 500, fy = 501, cx = 320, cy = 240, k1 = -0.3, k2 = 0.1, p1 = 0, p2 = 0.001 }";
    let spec = real(&format!(
        "source = \"rtsp\"\nurl = \"rtsp://cam/live\"\n{lens}"
    ))
    .expect("legal");
    assert_eq!(
        spec.undistort.expect("a lens").distortion,
        [-0.3, 0.1, 0.0, 0.001, 0.0]
    );
    assert!(sized("source = \"http\"\nurl = \"http://u:p@cam:81/s?x=1\"").is_ok());

    for (lines, wanted) in [
        (String::from("source = \"usb\""), "unknown variant `usb`"),
        (format!("{v4l2}format = \"h264\""), "unknown variant `h264`"),
        (format!("{v4l2}fps = 30"), "unknown field `fps`"),
        (
            String::from("source = \"v4l2\""),
            "`camera.device`: expected a video device, since the source of `front` is v4l2, got nothing",
        ),
        (
            String::from("source = \"http\""),
            "`camera.url`: expected an address",
        ),
        (
            String::from("source = \"folder\""),
            "`camera.path`: expected a path",
        ),
        (
            String::from("source = \"sim\""),
            "`camera.width`: expected it only where camera.source is v4l2, http, rtsp, video, folder, got it for `front`, whose source is sim",
        ),
        (
            format!("{v4l2}url = \"http://cam/\""),
            "`camera.url`: expected it only where camera.source is http, rtsp",
        ),
        (
            String::from("source = \"folder\"\npath = \"x\"\nexposure_us = 100"),
            "`camera.exposure_us`: expected it only where",
        ),
        (
            String::from("source = \"http\"\nurl = \"https://cam/\""),
            "`camera.url`: expected http://HOST",
        ),
        (
            String::from("source = \"rtsp\"\nurl = \"http://cam/\""),
            "`camera.url`: expected rtsp://HOST",
        ),
        (
            format!("{v4l2}exposure_us = 5"),
            "`camera.exposure_us`: expected 100 to 1000000 us, got 5",
        ),
        (
            format!("{v4l2}white_balance_k = 100"),
            "`camera.white_balance_k`: expected 1000 to 20000 K, got 100",
        ),
        (
            format!("{v4l2}rotate = 45"),
            "`camera.rotate`: expected 0, 90, 180 or 270 degrees, clockwise, got 45",
        ),
        (
            format!("{v4l2}crop = [600, 0, 64, 48]"),
            "`camera.crop`: expected [x, y, width, height] inside 640x480, got [600, 0, 64, 48]",
        ),
        (
            format!("{v4l2}crop = [0, 0, 0, 48]"),
            "`camera.crop`: expected [x, y, width, height] inside 640x480",
        ),
        (
            format!("{v4l2}crop = [4294967295, 0, 2, 48]"),
            "`camera.crop`: expected",
        ),
        (
            format!("{v4l2}quality = 0"),
            "`camera.quality`: expected 1 to 100, got 0",
        ),
        (
            format!("{v4l2}latency_ms = 1001"),
            "`camera.latency_ms`: expected 0 to 1000 ms, got 1001",
        ),
        (
            format!("{v4l2}frozen_ms = 1"),
            "`camera.frozen_ms`: expected 20 to 60000 ms, got 1",
        ),
        (
            format!("{v4l2}undistort = \"none.yaml\""),
            "`camera.undistort`: expected a ROS camera_info file, got cells/none.yaml",
        ),
        (
            format!("{v4l2}undistort = 7"),
            "a camera_info file, or { fx",
        ),
        (
            format!("{v4l2}{}", lens.replace("500", "nan")),
            "`camera.undistort`: expected finite numbers, focal lengths > 0",
        ),
    ] {
        let error = sized(&lines).expect_err(&lines);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
    let unsized_ = with(v4l2).expect_err("no size");
    assert!(
        unsized_.contains("`camera.width`: expected pixels, since the source of `front` is v4l2"),
        "{unsized_}"
    );
    let huge = with(&format!("width = 640\nheight = 99999\n{v4l2}")).expect_err("too large");
    assert!(
        huge.contains("`camera.height`: expected 1 to 16384 pixels, got 99999"),
        "{huge}"
    );
}

#[test]
fn a_camera_has_to_take_pictures_of_the_size_that_the_bundle_wants() {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/bundle");
    let bundle = tactus_bundle::AnyBundle::open(&bundle).expect("the demo's bundle");
    let (head, rest) = DEMO.split_once("[[camera]]").expect("cameras");
    let (_, tail) = rest.split_once("[sim]").expect("the simulator");
    let with = |size: u32, more: &str| {
        let lines = format!(
            "rate_hz = 20\nsource = \"folder\"\npath = \"x\"\nwidth = {size}\nheight = 240\n{more}"
        );
        let cameras =
            ["scene", "wrist"].map(|name| format!("[[camera]]\nname = \"{name}\"\n{lines}\n"));
        let cell = parsed(&format!("{head}{}[sim]{tail}", cameras.concat())).expect("legal");
        cell.check_sizes(&bundle.outline())
            .map_err(|e| e.to_string())
    };
    assert_eq!(with(320, "crop = [48, 8, 224, 224]"), Ok(()));
    let error = with(320, "").expect_err("too large");
    assert!(
        error.contains("to take 224x224 after crop and rotate, as the bundle wants, got 320x240"),
        "{error}"
    );
    let demo = parsed(DEMO).expect("legal");
    assert!(
        demo.check_sizes(&bundle.outline()).is_ok(),
        "the simulator draws what is wanted"
    );
}

mod pairs {
    use super::*;

    const PAIR: &str = include_str!("../../cells/so101-pair.toml");

    fn both(text: &str) -> Result<Vec<Cell>, String> {
        parse_arms(text, Path::new("cells/x.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_cell_of_two_arms_is_the_cell_of_each() {
        let cells = both(PAIR).expect("legal");
        let [left, right] = &cells[..] else {
            panic!("{} cells", cells.len())
        };
        assert_eq!((left.arm.as_str(), right.arm.as_str()), ("left", "right"));
        assert_eq!(left.device.as_str(), "so101-left");
        assert_eq!(left.wire, right.wire);
        assert_eq!(left.ladder, right.ladder);
        let pair = right.pair.as_ref().expect("one of two");
        assert_eq!((pair.prefix.as_str(), pair.is_first), ("right_", false));
        assert_eq!(pair.partner, left.arm);
        assert_eq!(right.reference(), Path::new("cells/x.toml#right"));
        let port = |cell: &Cell| match &cell.hardware {
            Some(CellDevice::Servos(servos)) => format!("{:?}", servos.port),
            other => panic!("{other:?}"),
        };
        assert!(port(left).contains("LEFT") && port(right).contains("RIGHT"));
        // What each says for itself is its own.
        let text = PAIR.replacen(
            "prefix = \"right_\"",
            "prefix = \"right_\"\ntail_ms = 100",
            1,
        );
        let cells = both(&text).expect("legal");
        assert_eq!(cells[0].ladder.tail, Duration::from_millis(150));
        assert_eq!(cells[1].ladder.tail, Duration::from_millis(100));
    }

    #[test]
    fn what_knows_one_arm_refuses_a_cell_of_two() {
        let refused = parsed(PAIR).expect_err("two");
        assert!(
            refused.contains("field `pair`: expected a cell with one arm"),
            "{refused}"
        );
        let file = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/cells/so101-pair.toml"
        ));
        let named = |arm: &str| PathBuf::from(format!("{}#{arm}", file.display()));
        assert_eq!(
            load_arm(&named("right")).expect("one").arm.as_str(),
            "right"
        );
        assert!(load(&named("right")).is_err());
        let refused = load_arm(file).expect_err("which?").to_string();
        assert!(refused.contains("so101-pair.toml#left` or `"), "{refused}");
        let refused = load_arm(&named("middle")).expect_err("none").to_string();
        assert!(
            refused.contains("left, right") && refused.contains("middle"),
            "{refused}"
        );
        assert_eq!(load_any(file).expect("the first").arm.as_str(), "left");
    }

    #[test]
    fn what_two_arms_do_not_have_is_refused_with_the_field() {
        let first = PAIR.find("[[pair]]").expect("a pair");
        let with = |section: &str| format!("{}{section}\n{}", &PAIR[..first], &PAIR[first..]);
        for (text, says) in [
            (with("[sim]\nseed = 0\nvariation = false"), "field `sim`"),
            (
                with("[record]\nblack_box = true\nseconds = 5"),
                "field `record`",
            ),
            (with("[security]\noperators = []"), "field `security`"),
            (with("[[host]]\nname = \"a\""), "field `host`"),
            (
                format!("pair = [1, 2]\n{}", &PAIR[..first]),
                "field `pair`: expected two tables [[pair]], got integer",
            ),
            (
                PAIR.replace("provider = \"cuda\"", "provider = \"cuda\"\nshared = true"),
                "field `engine.shared`",
            ),
            (
                PAIR.replace("name = \"align\"", "name = \"rtc-prefix\""),
                "field `schedule.strategy`",
            ),
            (
                PAIR.replace("prefix = \"right_\"", "prefix = \"left_\""),
                "another for each arm, got `left_` twice",
            ),
            (
                PAIR.replace("prefix = \"right_\"", "prefix = \"left_r_\""),
                "does not begin with `left_`",
            ),
            (
                PAIR.replace("prefix = \"right_\"", ""),
                "field `pair.prefix`: expected a word, got nothing",
            ),
            (
                PAIR.replace("name = \"right\"", "name = \"left\""),
                "field `pair.name`",
            ),
            (
                PAIR.replace("device = \"so101-right\"", "device = \"so101-left\""),
                "field `pair.device`",
            ),
            (
                PAIR.replacen("tail_ms = 150", "tail_ms = 150\nname = \"both\"", 1),
                "field `arm.name`",
            ),
            (
                PAIR.replacen("tail_ms = 150", "", 1),
                "arm `left` of the pair: missing field `tail_ms`",
            ),
            (
                PAIR.replace("device = \"so101-right\"", "device = \"r\"\nspeed = 1"),
                "arm `right` of the pair: unknown field `speed`",
            ),
            (
                format!("{PAIR}\n[[pair]]\nname = \"third\"\n"),
                "two tables [[pair]], an arm each, got 3",
            ),
        ] {
            let refused = both(&text).expect_err(says);
            assert!(refused.contains(says), "{refused}");
        }
    }
}
