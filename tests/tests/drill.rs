//! `tactus drill` as a user types it: a fault ends as the ladder says, and what is no fault is refused.

mod cell;

use cell::tactus;

#[test]
fn a_bad_chunk_ends_in_a_hold_within_its_bound_in_every_repetition() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("drill.json");
    let json = file.display().to_string();
    let output = tactus(&[
        "drill",
        "--fault",
        "chunk:nan",
        "--mode",
        "policy,ready",
        "--repetitions",
        "2",
        "--json",
        &json,
    ]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&file).expect("written");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = document["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    let policy = rows.iter().find(|r| r["mode"] == "policy").expect("a row");
    assert_eq!(policy["holds"], 2);
    assert_eq!(policy["reasons"][0], "bad-chunk");
    assert_eq!(policy["recovered"], 2);
    let number = |field: &str| policy[field].as_f64().expect("a number");
    assert!(number("hold_after_ms") <= number("bound_ms"));
    assert!(number("peak_jerk") <= 3000.001, "{}", number("peak_jerk"));
    let ready = rows.iter().find(|r| r["mode"] == "ready").expect("a row");
    assert_eq!(ready["holds"], 0);
}

#[test]
fn the_list_names_faults_and_bounds() {
    let output = tactus(&["drill", "--list"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for word in ["camera:freeze", "camera-frozen", "arm.link_limit_ms"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let page =
        std::fs::read_to_string(cell::checkout().join("launch/DRILLS.md")).expect("the page");
    for line in said.lines().map(str::trim_end) {
        assert!(page.contains(line), "launch/DRILLS.md lacks: {line}");
    }
}

#[test]
fn what_is_no_fault_is_refused_in_one_sentence() {
    for (args, expected) in [
        (
            &["drill", "--fault", "engine:sing"][..],
            "fault `engine:sing`",
        ),
        (
            &["drill", "--fault", "camera.left:freeze"],
            "the cell has no camera of that name",
        ),
        (&["drill"], "say what to drill"),
    ] {
        let output = tactus(args);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(expected), "{said}");
    }
}

/// Soaks for `span`; the file that it wrote.
fn soak(span: &str, seed: &str) -> serde_json::Value {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("soak.json");
    let json = file.display().to_string();
    let output = tactus(&[
        "drill", "soak", "--span", span, "--seed", seed, "--json", &json,
    ]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&file).expect("written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn two_minutes_of_random_faults_break_no_law() {
    let found = soak("2m", "11");
    assert_eq!(found["violations"], 0);
    let kinds = |field: &str| found[field].as_object().expect("a table").len();
    assert!(kinds("faults") >= 25 && kinds("holds") >= 8, "{found}");
    assert!(
        found["policy_share"].as_f64().expect("a share") > 0.3,
        "{found}"
    );
}

#[test]
#[ignore = "minutes: ./tests/run --long"]
fn long_an_hour_of_random_faults_breaks_no_law_and_memory_stays_flat() {
    let found = soak("1h", "12");
    assert_eq!(found["violations"], 0);
    let memory = found["memory_mib"].as_array().expect("two figures");
    let mib = |i: usize| memory[i].as_f64().expect("a figure");
    assert!(mib(1) < mib(0) + 4.0, "{found}");
}

/// Takeovers by humans; the file that it wrote.
fn takeovers(count: &str) -> Vec<serde_json::Value> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("takeover.json");
    let json = file.display().to_string();
    let output = tactus(&["drill", "takeover", "--repetitions", count, "--json", &json]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&file).expect("written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn two_hundred_humans_take_over_at_random_moments_and_hand_back() {
    let all = takeovers("200");
    assert_eq!(all.len(), 200);
    for one in &all {
        assert_eq!(one["short"].as_array().map(Vec::len), Some(0), "{one}");
        let number = |field: &str| one[field].as_f64().expect("a number");
        assert!(number("silent_after_periods") <= 1.0, "{one}");
        assert!(number("late_policy_commands") <= 1.0, "{one}");
        assert!(number("peak_jerk") <= 3000.001, "{one}");
        assert!(number("back_after_ms") > 0.0, "{one}");
    }
    let stalled = all.iter().filter(|one| one["stalled"] == true).count();
    assert_eq!(stalled, 50);
}
