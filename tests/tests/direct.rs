//! A tiny ACT that `torch.onnx.export` wrote: from the file to a moving arm by `tactus bundle wrap` and `tactus run`.

mod cell;

use std::path::{Path, PathBuf};
use std::process::Output;

use cell::{Cell, checkout, tactus};
use serde_json::Value;

fn example(file: &str) -> String {
    let path = checkout().join("models/direct/example").join(file);
    path.display().to_string()
}

/// `tactus bundle wrap` of the example's graph, with these arguments besides.
fn wrap(out: &Path, more: &[&str]) -> Output {
    let (graph, stats, cell) = (
        example("act.onnx"),
        example("stats.json"),
        example("cell.toml"),
    );
    let out = out.display().to_string();
    let all = [
        "bundle", "wrap", &graph, "--stats", &stats, "--cell", &cell, "--out", &out,
    ];
    tactus(&[&all[..], more].concat())
}

fn wrapped(dir: &Path) -> PathBuf {
    let out = dir.join("act");
    let output = wrap(
        &out,
        &[
            "--map",
            &example("map.toml"),
            "--golden",
            &example("golden.safetensors"),
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    out
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The example's cell with another bundle than the one beside it.
fn cell_of(text: &str, bundle: &Path) -> String {
    text.replace(
        "bundle = \"bundle\"",
        &format!("bundle = \"{}\"", bundle.display()),
    )
}

#[test]
fn what_cannot_be_inferred_is_asked_for_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("act");
    let output = wrap(&out, &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        "--set 'task = ",
        "--set 'period_s = 0.05'",
        "--set 'input.\"observation.images.scene\".range = \"unit\"'",
    ] {
        assert!(text.contains(line), "{text}");
    }
    for (more, says) in [
        (vec!["--set", "tusk = a"], "unknown field `tusk`"),
        (
            vec!["--set", "input.scene.camera = scene"],
            "map: input `scene`",
        ),
        (vec!["--map", "/nowhere"], "/nowhere"),
        (
            vec!["--stats", "/nowhere"],
            "the argument '--stats <FILE>' cannot be used multiple times",
        ),
    ] {
        let text = said(&wrap(&out, &more));
        assert!(text.contains(says), "{text}");
    }
    let graph = dir.path().join("x.onnx");
    std::fs::write(&graph, "not a graph").expect("written");
    let graph = graph.display().to_string();
    let out = out.display().to_string();
    let text = said(&tactus(&["bundle", "wrap", &graph, "--out", &out]));
    assert!(text.contains("expected an ONNX model"), "{text}");
    let folder = dir.path().display().to_string();
    let text = said(&tactus(&["bundle", "wrap", &folder, "--out", &out]));
    assert!(
        text.contains("a `policy_package` with a manifest.json"),
        "{text}"
    );
    let left = std::fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(left, 1, "only x.onnx");
}

#[test]
fn from_the_file_to_a_moving_arm() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = wrapped(dir.path());
    let shown = bundle.display().to_string();
    for verb in ["verify", "inspect"] {
        let output = tactus(&["bundle", verb, &shown]);
        assert!(output.status.success(), "{}", said(&output));
    }
    let text = std::fs::read_to_string(example("cell.toml")).expect("the cell");
    // The observer of these tests listens to the demo's keys.
    let text = text.replacen("name = \"act\"", "name = \"demo\"", 1);
    let cell = Cell::start(|_| cell_of(&text, &bundle));
    // Waits until commands of a policy move the arm.
    cell.start_episode(9001);
}

#[test]
fn an_instruction_that_is_not_its_task_moves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = wrapped(dir.path());
    let json = dir.path().join("out.json");
    let text = std::fs::read_to_string(example("cell.toml")).expect("the cell");
    let cell = dir.path().join("cell.toml");
    std::fs::write(&cell, cell_of(&text, &bundle)).expect("written");
    let asked = |instruction: &str| -> Value {
        let [cell, json] = [&cell, &json].map(|path| path.display().to_string());
        let output = tactus(&[
            "demo",
            "--lockstep",
            "--headless",
            "--cell",
            &cell,
            "--instruction",
            instruction,
            "--episodes",
            "1",
            "--seed",
            "9001",
            "--json",
            &json,
        ]);
        let bytes = std::fs::read(&json).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let own = asked("pick up the red cube");
    let other = asked("pick up the blue cube");
    let chunks = |figures: &Value| figures["inference_ms"]["p50"].as_f64().unwrap_or(0.0);
    assert!(chunks(&own) > 0.0, "{own}");
    assert_eq!(
        chunks(&other),
        0.0,
        "no chunk is made of what it does not do: {other}"
    );
    assert_eq!(other["successes"], 0);
}
