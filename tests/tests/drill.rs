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
