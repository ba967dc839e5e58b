//! The language model beside the policy, and in its place: words on the wire, in a recording and on the screen's summary;
//! actions as FAST tokens; and what becomes of a token stream that spells no chunk.

mod cell;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cell::{Cell, checkout, tactus};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tactus_wire::{Delivery, ModeOrder, ModeWord, Name, Reasoning, Topic};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

fn sha256(file: &Path) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(std::fs::read(file).expect("a file")) {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out
}

/// The demo's bundle with an action tokenizer in which every id spells what another one should: what its language model says
/// spells no chunk, but by a chance that no seed here has.
fn garbled(dir: &Path) -> PathBuf {
    let bundle = dir.join("garbled");
    copy(&checkout().join("models/demo/bundle"), &bundle);
    let file = bundle.join("fast_tokenizer.json");
    let before = sha256(&file);
    let text = std::fs::read_to_string(&file).expect("a tokenizer");
    let mut json: Value = serde_json::from_str(&text).expect("JSON");
    let ids = json["model"]["vocab"]
        .as_object_mut()
        .expect("a vocabulary");
    let last = ids.len() as u64 - 1;
    for id in ids.values_mut() {
        *id = (last - id.as_u64().expect("an id")).into();
    }
    std::fs::write(&file, json.to_string()).expect("written");
    let manifest = bundle.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    assert!(text.contains(&before));
    std::fs::write(&manifest, text.replace(&before, &sha256(&file))).expect("written");
    bundle
}

fn lock_step(more: &[&str]) -> Value {
    let dir = tempfile::tempdir().expect("a folder");
    let json = dir.path().join("out.json").display().to_string();
    let args = ["demo", "--headless", "--lockstep", "--json", &json];
    let output = tactus(&[&args[..], more].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_str(&std::fs::read_to_string(json).expect("figures")).expect("JSON")
}

/// The demo's own answers seldom spell a chunk (models/demo/README.md says how seldom), so it moves or it holds.
#[test]
fn the_demo_under_action_tokens_repeats_and_holds_where_they_spell_nothing() {
    let run = || lock_step(&["--control", "fast", "--episodes", "1", "--seed", "9001"]);
    let (a, b) = (run(), run());
    assert_eq!(a["rows"], b["rows"], "same seed, same commands");
    let row = &a["rows"][0];
    let count = |key: &str| row[key].as_u64().expect("a number");
    assert!(count("chunks") > 0 || count("holds") > 0, "{row}");
    assert!(row["motion"].is_object() == (count("chunks") > 0), "{row}");
}

/// How often it does is in models/demo/README.md: 37 of 100.
#[test]
fn a_language_model_that_was_taught_action_tokens_picks_by_them() {
    let bundle = checkout().join("models/demo/alignment/sft");
    let figures = lock_step(&[
        "--control",
        "fast",
        "--episodes",
        "6",
        "--seed",
        "21001",
        "--task",
        "pick",
        "--bundle",
        &bundle.display().to_string(),
    ]);
    let rows = figures["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 6);
    let done = rows.iter().filter(|row| row["success"] == true).count();
    assert!(done >= 1, "{figures}");
}

#[test]
fn a_token_stream_that_spells_no_chunk_ends_in_hold_and_moves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = garbled(dir.path()).display().to_string();
    let figures = lock_step(&[
        "--control",
        "fast",
        "--episodes",
        "1",
        "--seed",
        "9001",
        "--bundle",
        &bundle,
    ]);
    let row = &figures["rows"][0];
    assert!(row["holds"].as_u64().expect("a number") >= 1, "{row}");
    assert_eq!(
        (&row["chunks"], &row["success"]),
        (&0.into(), &false.into()),
        "{row}"
    );
    // The head of the same bundle is what it was.
    let head = lock_step(&["--episodes", "1", "--seed", "9001", "--bundle", &bundle]);
    assert!(head["rows"][0]["chunks"].as_u64().expect("a number") > 10);
}

#[test]
fn what_the_language_model_would_have_done_is_held_against_the_chunks_of_the_head() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (file, json, plot) = (path("a.mcap"), path("a.json"), path("a.svg"));
    let figures = lock_step(&["--episodes", "1", "--seed", "9001", "--record", &file]);
    let made = figures["rows"][0]["chunks"].as_u64().expect("a number");
    let output = tactus(&["align", &file, "--json", &json, "--plot", &plot]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = std::fs::read_to_string(&json).expect("figures");
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let chunks = found["chunks"].as_array().expect("chunks");
    assert!(chunks.len() as u64 >= made, "{} of {made}", chunks.len());
    let number = |value: &Value, key: &str| value[key].as_f64().expect("a number");
    let mut reward = 0.0;
    for chunk in chunks {
        let (format, prefix) = (number(chunk, "format"), number(chunk, "prefix"));
        assert!(
            (0.0..=1.0).contains(&prefix) && (format == 1.0 || prefix == 0.0),
            "{chunk}"
        );
        assert!((number(chunk, "reward") - (format + prefix) / 2.0).abs() < 1e-12);
        reward += number(chunk, "reward");
    }
    let mean = number(&found["all"], "reward");
    assert!((mean - reward / chunks.len() as f64).abs() < 1e-9, "{mean}");
    assert!(mean > 0.25, "it was taught the form: {mean}");
    assert!(
        std::fs::read_to_string(&plot)
            .expect("a plot")
            .starts_with("<svg")
    );

    let refused = |args: &[&str], why: &str| {
        let output = tactus(&[&["align"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(why), "{stderr}");
    };
    refused(&[&json], "Bad magic number");
    refused(&[&file, "--bundle", &path("nowhere")], "nowhere");
}

#[test]
fn over_the_wire_it_is_a_hold_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = garbled(dir.path()).display().to_string();
    let demo = checkout().join("models/demo/bundle").display().to_string();
    let cell = Cell::start(|text| {
        let text = text
            .replace(&demo, &bundle)
            .replace("denoise = 16", "denoise = 80");
        text.replace("intra_threads = 1", "intra_threads = 1\ncontrol = \"fast\"")
    });
    let accepted = |order: &ModeOrder| cell.order(order).accepted;
    cell.wait("the arm is enabled", Duration::from_secs(5), || {
        accepted(&ModeOrder::Enable)
    });
    let start = ModeOrder::StartEpisode {
        episode: 1,
        instruction: "pick up the red cube".into(),
        seed: 1,
    };
    cell.wait("the episode starts", Duration::from_secs(5), || {
        accepted(&start)
    });
    let at = |list: &Mutex<Vec<tactus_types::Applied>>| {
        let applied = list.lock().expect("unpoisoned");
        applied.last().map(|a| a.command.q)
    };
    let before = at(&cell.applied);
    cell.wait("it holds", Duration::from_secs(10), || {
        cell.mode().is_some_and(|mode| mode.mode == ModeWord::Hold)
    });
    let (before, after) = (
        before.expect("commands"),
        at(&cell.applied).expect("commands"),
    );
    let moved = before
        .iter()
        .zip(after.iter())
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(moved < 1e-3, "moved by {moved} rad");
    // The engine is still there: it refuses, and says why, again and again.
    assert!(cell.pid("engine").is_some());
}

#[test]
fn words_about_what_the_policy_sees_come_over_the_wire_while_it_moves_the_arm() {
    let cell =
        Cell::start(|text| text.replace("intra_threads = 1", "intra_threads = 1\nexplain_hz = 4"));
    let heard: Arc<Mutex<Vec<Reasoning>>> = Arc::default();
    let to = Arc::clone(&heard);
    let key = cell
        .wire
        .key(&Topic::EngineReasoning(Name::new("engine").expect("legal")));
    let _words = cell
        .session
        .subscribe(&key, move |m: Result<Delivery<Reasoning>, _>| {
            if let Ok(delivery) = m {
                to.lock().expect("unpoisoned").push(delivery.message);
            }
        })
        .expect("subscribed");
    cell.start_episode(7001);
    let finished = || {
        let heard = heard.lock().expect("unpoisoned");
        heard
            .iter()
            .filter(|said| said.finish.as_deref() == Some("text"))
            .cloned()
            .collect::<Vec<_>>()
    };
    cell.wait(
        "two explanations are whole",
        Duration::from_secs(90),
        || finished().len() >= 2,
    );
    let said = finished();
    for said in &said {
        assert_eq!(&*said.instruction, "pick up the red cube");
        assert!(
            said.text.starts_with("<think>the red cube is at "),
            "{}",
            said.text
        );
        assert!(
            said.text.ends_with("</think>") && said.tokens > 5,
            "{}",
            said.text
        );
    }
    assert!(said[1].talk > said[0].talk && said[1].observed_at > said[0].observed_at);
}

#[test]
fn what_cannot_be_is_said() {
    let bundle = checkout()
        .join("models/export/tests/bundles/qwen2_5_vl")
        .display()
        .to_string();
    let tiny = [
        "demo",
        "--headless",
        "--lockstep",
        "--control",
        "fast",
        "--bundle",
        &bundle,
    ];
    for (args, wanted) in [
        (&tiny[..], "was not taught to act"),
        (
            &["demo", "--headless", "--lockstep", "--explain", "1"][..],
            "lock-step has none",
        ),
        (
            &["demo", "--headless", "--explain", "1000"][..],
            "expected 0.01 to 20",
        ),
    ] {
        let output = tactus(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains(wanted),
            "{stderr}"
        );
    }
}

#[test]
fn a_bundle_is_asked_about_a_picture() {
    let bundle = checkout().join("models/demo/bundle").display().to_string();
    let picture = |name: &str| {
        checkout()
            .join("models/demo/golden")
            .join(name)
            .display()
            .to_string()
    };
    let (scene, wrist) = (picture("0-scene.jpg"), picture("0-wrist.jpg"));
    let ask = |more: &[&str]| {
        let args = [
            "ask",
            &bundle,
            "--image",
            &scene,
            "--image",
            &wrist,
            "pick up the red cube",
        ];
        let output = tactus(&[&args[..], more].concat());
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
        )
    };
    let (code, said) = ask(&["--stop", "</think>"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("<think>the red cube is at ") && said.ends_with("</think>\n"),
        "{said}"
    );
    let (code, cut) = ask(&["--max-tokens", "3"]);
    assert_eq!(code, Some(3));
    assert!(said.starts_with(cut.trim_end()), "{cut}");
    let drawn = |seed: &str| {
        ask(&[
            "--sample",
            "--seed",
            seed,
            "--temperature",
            "3",
            "--max-tokens",
            "24",
        ])
        .1
    };
    assert_eq!(drawn("5"), drawn("5"));
    assert_ne!(drawn("5"), drawn("6"));
    let args = ["ask", &bundle, "--image", &bundle, "what is this"];
    assert_eq!(tactus(&args).status.code(), Some(1));
}
