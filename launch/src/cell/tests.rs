mod cameras;
mod devices;
mod pairs;

use tactus_types::ArmInfo;

use super::file::parse_arms;
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
