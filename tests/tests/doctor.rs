//! A cell whose times cannot work is refused before anything moves, and `tactus doctor` says why without starting it.

mod cell;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cell::{cell_file, tactus};
use tactus_types::{Clock, ClockId, Time};
use tactus_wire::{Cell as WireCell, MonotonicClock, Name, Session, SessionOptions, Topic};

/// Runs the doctor on `file`; its exit code, what it wrote, and its JSON.
fn doctor(file: &Path, more: &[&str]) -> (Option<i32>, String, serde_json::Value) {
    let json = file.with_extension("json");
    let (file, json_file) = (file.display().to_string(), json.display().to_string());
    let args = [&["doctor", "--cell", &file, "--json", &json_file], more].concat();
    let output = tactus(&args);
    let said = String::from_utf8(output.stdout).expect("text");
    let text = std::fs::read_to_string(json).expect("a result file");
    let value = serde_json::from_str(&text).expect("JSON");
    (output.status.code(), said, value)
}

/// The verdict on the finding `name`.
fn verdict<'a>(findings: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    let rows = findings["findings"].as_array()?;
    let row = rows.iter().find(|row| row["name"] == name)?;
    row["verdict"].as_str()
}

#[test]
fn the_demo_cell_is_fit_whatever_the_machine() {
    let dir = tempfile::tempdir().expect("a folder");
    // A machine so busy that a chunk takes ten times its budget may say otherwise of the budget, and only of that.
    let file = cell_file(dir.path(), |text| text);
    let (code, said, findings) = doctor(&file, &[]);
    for name in ["cell file", "bundle", "cameras", "policy", "joints"] {
        assert_eq!(verdict(&findings, name), Some("pass"), "{name}: {said}");
    }
    let words = ["pass", "warn", "fail"];
    for name in [
        "cores",
        "real-time scheduling",
        "lateness",
        "latency budget",
    ] {
        let verdict = verdict(&findings, name);
        assert!(
            verdict.is_some_and(|v| words.contains(&v)),
            "{name}: {said}"
        );
    }
    let failed = findings["verdict"] == "fail";
    assert_eq!(code, Some(if failed { 3 } else { 0 }), "{said}");
    for stage in ["decode", "vision", "backbone", "context", "denoise"] {
        let row = &findings["budget"]["stages_ms"][stage];
        assert!(row["p50"].as_f64() > Some(0.0), "{stage}: {row}");
    }
    assert!(findings["lateness_us"]["ticks"].as_u64() > Some(900));
    assert!(
        said.contains("stage, ms") && said.contains("probed p50"),
        "{said}"
    );
}

/// The next chunk is asked for when the last is long over.
#[test]
fn a_trigger_that_outlasts_the_chunk_fails_and_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| {
        text.replace("every_ms = 100", "every_ms = 900")
    });
    let (code, said, findings) = doctor(&file, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(verdict(&findings, "latency budget"), Some("fail"), "{said}");
    assert!(
        said.contains("field `request.trigger`: observations are up to 950 ms apart"),
        "{said}"
    );
    assert_eq!(findings["budget"]["feasible"], false);
    // The engine itself refuses the same set, in the same words; the demo ends with them.
    let output = tactus(&[
        "demo",
        "--headless",
        "--episodes",
        "1",
        "--cell",
        &file.display().to_string(),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{stderr}");
    for word in [
        "role `engine`",
        "`request.trigger`",
        "950 ms apart",
        "cell.toml",
    ] {
        assert!(stderr.contains(word), "{word} in: {stderr}");
    }
    assert!(
        !stderr.contains("arm enabled"),
        "nothing may move: {stderr}"
    );
}

/// What was declared would work; what the machine takes does not. Names the stage, what was probed and what declared.
#[test]
fn a_policy_slower_than_its_chunks_is_refused_by_the_stage() {
    let dir = tempfile::tempdir().expect("a folder");
    // No machine decodes, preprocesses and runs all graphs in a millisecond.
    let stages = [
        "decode",
        "preprocess",
        "vision",
        "backbone",
        "context",
        "denoise",
    ];
    let file = cell_file(dir.path(), |text| {
        let line = |line: &str| {
            let name = line.split(" = ").next().unwrap_or_default();
            match stages.contains(&name) {
                true => format!("{name} = 0.01"),
                false => line.to_owned(),
            }
        };
        let text: Vec<String> = text.lines().map(line).collect();
        // 15 + 3 + 5 + 1 + 5 ms are declared besides; the answer has to be there after 80 + 50 (a frame period) ms.
        text.join("\n")
            .replace("margin = 20", "margin = 0")
            .replace("answer_within_ms = 250", "answer_within_ms = 79.1")
    });
    let (code, said, findings) = doctor(&file, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(verdict(&findings, "latency budget"), Some("fail"), "{said}");
    for word in [
        "cannot work on this machine",
        "field `request.answer_within_ms`",
        "`denoise` probed at",
        "budgeted 10.0µs",
    ] {
        assert!(said.contains(word), "{word} in: {said}");
    }
}

#[test]
fn a_cell_file_that_is_none_is_a_finding_like_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text.replace("tail_ms", "tial_ms"));
    let (code, said, findings) = doctor(&file, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(verdict(&findings, "cell file"), Some("fail"));
    assert!(
        said.contains("tial_ms") && verdict(&findings, "lateness").is_some(),
        "{said}"
    );
}

#[test]
fn more_denoising_steps_than_the_bundle_has_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let with = |steps: u32| {
        let file = cell_file(dir.path(), |text| {
            text.replace(
                "intra_threads = 1",
                &format!("intra_threads = 1\ndenoise_steps = {steps}"),
            )
        });
        doctor(&file, &[])
    };
    let (code, said, findings) = with(5);
    assert_eq!(
        (code, verdict(&findings, "policy")),
        (Some(3), Some("fail")),
        "{said}"
    );
    assert!(
        said.contains("expected 1 to 4 denoising steps (engine.denoise_steps), got 5"),
        "{said}"
    );
    let (_, said, findings) = with(2);
    assert_eq!(verdict(&findings, "policy"), Some("warn"), "{said}");
    assert!(said.contains("2 denoising steps instead of 4"), "{said}");
}

/// The loops that we are measured beside run in the same benchmark, and so does the engine that loads the machine.
#[test]
fn the_beat_is_measured_beside_others_under_load() {
    let dir = tempfile::tempdir().expect("a folder");
    let json = dir.path().join("beat.json").display().to_string();
    let output = tactus(&[
        "bench",
        "beat",
        "--rate-hz",
        "500",
        "--secs",
        "1",
        "--spin",
        "--engine",
        "--json",
        &json,
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let text = std::fs::read_to_string(&json).expect("a result file");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = value["rows"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(
        names[..3],
        ["tactus", "tactus, spinning 150 us", "tokio interval"]
    );
    for row in rows {
        let (ticks, missed) = (row["ticks"].as_u64(), row["missed"].as_u64());
        let all = ticks.unwrap_or(0) + missed.unwrap_or(0);
        assert!((490..620).contains(&all), "{row}");
    }
    // Medians, with room: this machine has neighbours.
    let p50 = |i: usize| rows[i]["lateness_us"]["p50"].as_f64().expect("a number");
    assert!(p50(0) < 500.0 && p50(1) < 100.0, "{text}");
    assert!(value["engine"]["chunks"].as_u64() > Some(5), "{text}");
}

/// Another host's clock.
struct Elsewhere(MonotonicClock);

impl Clock for Elsewhere {
    fn id(&self) -> ClockId {
        ClockId(7)
    }

    fn now(&self) -> Time {
        self.0.now() + Duration::from_secs(4321)
    }
}

#[test]
fn a_process_with_another_hosts_clock_is_named_with_how_far_it_is_ahead() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text);
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let endpoint = format!("tcp/{}", port.expect("a port"));
    let options = SessionOptions {
        listen: vec![endpoint.clone()],
        ..SessionOptions::default()
    };
    let clock = Arc::new(Elsewhere(MonotonicClock::new().expect("a clock")));
    let session = Session::open(&options, "test", clock).expect("listens");
    let wire = WireCell::new("demo").expect("legal");
    let engine = Name::new("engine-engine").expect("legal");
    session
        .answer_pings(&wire.key(&Topic::Clock(engine)))
        .expect("answers");
    let (code, said, findings) = doctor(&file, &["--connect", &endpoint]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(verdict(&findings, "clocks"), Some("fail"), "{said}");
    let ahead = said.split_once("engine-engine has another, ");
    let ahead = ahead.and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let ahead = ahead.unwrap_or_else(|| panic!("{said}"));
    assert!((ahead - 4_321_000.0).abs() < 1.0, "{said}");
    assert!(said.contains("ms ahead"), "{said}");
    assert_eq!(verdict(&findings, "versions"), Some("pass"), "{said}");
    assert!(said.contains("loopback; slowest engine-engine"), "{said}");
    assert_eq!(findings["processes"][0]["name"], "engine-engine");
}
