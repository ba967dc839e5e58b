//! A candidate bundle in the shadow of the engine: it sees what the engine sees, and nobody hears it.

mod cell;

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{Cell, arm, cell_file, checkout, program, tactus};
use tactus_wire::{ChunkReply, Delivery, ModeWord, Topic};

#[test]
fn the_bundle_in_command_agrees_with_itself_and_only_the_engine_answers() {
    let cell = Cell::start(|text| text);
    let answers: Arc<Mutex<HashMap<(u64, u64), u32>>> = Arc::default();
    let to = answers.clone();
    let key = cell.wire.key(&Topic::ArmChunk(arm()));
    let heard = move |reply: Result<Delivery<ChunkReply>, _>| {
        if let Ok(delivery) = reply
            && let ChunkReply::Chunk(chunk) = delivery.message
        {
            let request = (chunk.generation.count, chunk.request_id);
            *to.lock().expect("unpoisoned").entry(request).or_default() += 1;
        }
    };
    let _ears = cell.session.subscribe(&key, heard).expect("listens");
    cell.start_episode(7001);
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (rows, json) = (path("rows.jsonl"), path("sum.json"));
    let file = cell.file.display().to_string();
    let bundle = checkout().join("models/demo/bundle").display().to_string();
    let args = [
        "shadow",
        "--cell",
        &file,
        "--connect",
        &cell.endpoint,
        "--bundle",
        &bundle,
    ];
    let more = ["--chunks", "6", "--out", &rows, "--json", &json];
    let mut shadow = Command::new(program())
        .args([&args[..], &more].concat())
        .stdin(Stdio::null())
        .spawn()
        .expect("starts");
    // It runs when nobody else wants to: on a machine that is busy with something else, that takes a while.
    let until = Instant::now() + Duration::from_secs(120);
    let ended = loop {
        if let Some(status) = shadow.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > until {
            let _ = shadow.kill();
            panic!("six chunks were not compared in time: {:?}", cell.mode());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(ended.code(), Some(0));

    let text = std::fs::read_to_string(&rows).expect("rows");
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 6, "{text}");
    let same: Vec<_> = rows
        .iter()
        .filter(|row| row["same_frames"] == true)
        .collect();
    assert!(!same.is_empty(), "{text}");
    for row in same {
        assert_eq!(row["rms_rad"].as_f64(), Some(0.0), "{row}");
    }
    let sum = std::fs::read_to_string(&json).expect("a sum");
    let sum: serde_json::Value = serde_json::from_str(&sum).expect("JSON");
    assert_eq!(sum["bundle_id"], sum["engine_bundle_id"]);
    assert_eq!(sum["chunks"].as_u64(), Some(6), "{sum}");
    assert!(sum["inference_ms"]["p50"].as_f64() > Some(0.0), "{sum}");

    let answers = answers.lock().expect("unpoisoned");
    assert!(answers.len() > 6, "{answers:?}");
    assert!(answers.values().all(|n| *n == 1), "{answers:?}");
    assert_eq!(cell.mode().map(|m| m.mode), Some(ModeWord::Policy));
}

#[test]
fn what_cannot_be_shadowed_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text).display().to_string();
    let refused = |args: &[&str], wanted: &str| {
        let output = tactus(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refused(
        &["shadow", "--cell", &file],
        "give --bundle DIR: the candidate",
    );
    let taken = dir.path().join("taken.jsonl");
    std::fs::write(&taken, "kept\n").expect("written");
    let out = taken.display().to_string();
    let args = ["shadow", "--cell", &file, "--bundle", "none", "--out", &out];
    refused(&args, "taken.jsonl");
    assert_eq!(std::fs::read_to_string(&taken).expect("read"), "kept\n");
}
