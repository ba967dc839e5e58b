//! Recordings decided again: lock-step and real time, chunks and control, bit for bit; and files that are not whole.

mod cell;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cell::{Cell, program, tactus};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tactus_record::{Told, read};
use tactus_wire::{ModeOrder, TickBatch};

/// A lock-step run of one episode, recorded.
fn lockstep(dir: &Path, name: &str) -> PathBuf {
    lockstep_of(dir, name, &[])
}

fn lockstep_of(dir: &Path, name: &str, more: &[&str]) -> PathBuf {
    let file = dir.join(name);
    let common = ["demo", "--headless", "--lockstep", "--episodes", "1"];
    let to = file.display().to_string();
    let words = ["--seed", "7001", "--record", &to];
    let ran = tactus(&[&common[..], &words, more].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    file
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `tactus replay` of `file`: its exit code, what it found, and its words.
fn replay(file: &Path, more: &[&str]) -> (Option<i32>, Value, String) {
    let json = file.with_extension("json");
    let words = [file.display().to_string(), json.display().to_string()];
    let mut args = vec!["replay", &words[0], "--json", &words[1]];
    args.extend(more);
    let ran = tactus(&args);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &stderr(&ran);
    let found = std::fs::read(&json).ok();
    let found = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    (ran.status.code(), found.unwrap_or_default(), said)
}

fn path(file: &Path) -> String {
    file.display().to_string()
}

#[test]
fn the_same_seed_is_the_same_recording_and_a_replay_is_the_recording() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = lockstep(dir.path(), "one.mcap");
    let again = lockstep(dir.path(), "two.mcap");
    let bytes = std::fs::read(&file).expect("read");
    assert!(
        bytes == std::fs::read(again).expect("read"),
        "record = record"
    );

    let (code, found, said) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    let control = &found["control"][0];
    assert_eq!(control["same_configuration"], true);
    assert!(control["ticks"].as_u64() > Some(500), "{control}");
    assert_eq!(control["commands"], control["ticks"]);
    assert_eq!(control["commands"], control["equal_commands"]);
    assert!(control["requests"].as_u64() > Some(10), "{control}");
    assert_eq!(control["requests"], control["equal_requests"]);
    let inference = &found["inference"];
    let chunks = inference["chunks"].as_array().expect("chunks");
    assert!(chunks.len() > 10, "{inference}");
    assert_eq!(inference["equal"], chunks.len());
    assert_eq!(inference["left_out"], serde_json::json!({}));
}

/// What was measured of the arm is in the recording: a measurement made since changes no replay.
#[test]
fn actions_that_are_commanded_ahead_are_replayed_as_they_were() {
    use tactus_calibration::{ArmLatency, seal};
    let dir = tempfile::tempdir().expect("a folder");
    let measured = |millis: f64| {
        let arm = ("arm", tactus_sim::arm_info().model, "wrist_pitch");
        let latency = ArmLatency::new((arm.0, &arm.1, arm.2), [millis, 1.0, 2.0], 0.99);
        let text = seal::sealed(&latency.write().expect("written"), 1, "then");
        std::fs::write(dir.path().join("arm.toml"), text).expect("written");
    };
    measured(52.0);
    let cell = cell::cell_file(dir.path(), |text| {
        text.replacen("[arm]", "[arm]\nlatency = \"arm.toml\"", 1)
    });
    let file = lockstep_of(dir.path(), "ahead.mcap", &["--cell", &path(&cell)]);
    let plain = lockstep(dir.path(), "plain.mcap");
    assert!(std::fs::read(&plain).expect("read") != std::fs::read(&file).expect("read"));
    measured(12.0);
    let (code, found, said) = replay(&file, &["--only", "control"]);
    assert_eq!(code, Some(0), "{said}");
    let control = &found["control"][0];
    assert_eq!(control["same_configuration"], true);
    assert_eq!(control["commands"], control["equal_commands"]);
    assert_eq!(control["requests"], control["equal_requests"]);
    // Against the file as it is now, the arm would have been commanded otherwise.
    let now = ["--only", "control", "--cell", &path(&cell)];
    let (code, found, said) = replay(&file, &now);
    assert_eq!(code, Some(3), "{said}");
    let control = &found["control"][0];
    assert!(control["equal_commands"].as_u64() < control["commands"].as_u64());
}

#[test]
fn another_configuration_differs_and_says_from_which_tick_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = lockstep(dir.path(), "one.mcap");
    // A tenth of the way that a command may lead the arm by.
    let other = cell::cell_file(dir.path(), |text| {
        let from = text.find("max_lead_rad").expect("demo says it");
        let end = from + text[from..].find('\n').expect("a line");
        format!("{}max_lead_rad = 0.01{}", &text[..from], &text[end..])
    });
    let (code, found, said) = replay(&file, &["--only", "control", "--cell", &path(&other)]);
    assert_eq!(code, Some(3), "{said}");
    let control = &found["control"][0];
    assert_eq!(control["same_configuration"], false);
    assert!(control["equal_commands"].as_u64() < control["commands"].as_u64());
    assert!(control["first_difference"][0].as_u64() > Some(1), "{said}");
}

#[test]
fn a_recording_that_begins_late_says_that_its_loop_cannot_be_replayed_but_its_chunks_can() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = lockstep(dir.path(), "one.mcap");
    let part = dir.path().join("part.mcap");
    let cut = [
        "recording",
        "cut",
        &path(&file),
        "--from",
        "0.5",
        "--until",
        "1.5",
        "--out",
        &path(&part),
    ];
    let ran = tactus(&cut);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let report = tactus_record::inspect(&part).expect("a recording");
    assert_eq!(report.cut, None);
    let (first, last) = report.times().expect("messages");
    assert!(last.since(first) <= Duration::from_secs(1));
    assert!(
        report
            .attachments
            .iter()
            .any(|(name, _)| name == "cell.toml")
    );
    let (code, found, said) = replay(&part, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(found["control"][0]["ticks"], 0);
    assert!(said.contains("are not in the file"), "{said}");
    let inference = &found["inference"];
    let chunks = inference["chunks"].as_array().expect("chunks").len();
    assert!(chunks > 3 && inference["equal"] == chunks, "{inference}");
    assert!(!tactus(&cut).status.success(), "never overwrites");
    let ran = tactus(&["recording", "doctor", &path(&part)]);
    assert_eq!(ran.status.code(), Some(3));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("cannot be replayed"), "{said}");
}

#[test]
fn files_that_are_not_whole_or_not_ours_are_refused_in_one_sentence_or_mended() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = lockstep(dir.path(), "one.mcap");
    let bytes = std::fs::read(&file).expect("read");
    let short = dir.path().join("short.mcap");
    std::fs::write(&short, &bytes[..bytes.len() * 2 / 3]).expect("written");
    let mended = dir.path().join("mended.mcap");
    let ran = tactus(&[
        "recording",
        "doctor",
        &path(&short),
        "--repair",
        &path(&mended),
    ]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("lost: the end of the file"), "{said}");
    let report = tactus_record::inspect(&mended).expect("a recording");
    assert_eq!(report.cut, None);
    let before = tactus_record::inspect(&short).expect("a recording");
    assert_eq!(report.messages(), before.messages(), "all that can be read");
    // Control and chunks up to there are equal still.
    let (code, found, said) = replay(&mended, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(found["control"][0]["ticks"].as_u64() > Some(200), "{said}");

    let foreign = dir.path().join("foreign.mcap");
    let sink = std::fs::File::create(&foreign).expect("created");
    let mut writer = mcap::Writer::new(sink).expect("a writer");
    let channel = writer.add_channel(0, "/chatter", "json", &Default::default());
    let header = mcap::records::MessageHeader {
        channel_id: channel.expect("a channel"),
        sequence: 0,
        log_time: 5,
        publish_time: 5,
    };
    writer
        .write_to_known_channel(&header, b"{}")
        .expect("written");
    writer.finish().expect("finished");
    let text = dir.path().join("text.mcap");
    std::fs::write(&text, "no recording at all").expect("written");
    let missing = dir.path().join("missing.mcap");
    for (file, wanted) in [
        (&foreign, "no cell file is inside"),
        (&text, "magic"),
        (&missing, "No such file"),
    ] {
        let (code, _, said) = replay(file, &[]);
        assert_eq!(code, Some(1), "{said}");
        let said = said.to_lowercase();
        assert!(said.contains(&wanted.to_lowercase()), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    }
}

/// The notes of a file's ticks: the first and the last, and how many there are.
fn ticks(file: &Path) -> (u64, u64, usize) {
    let mut numbers = std::collections::BTreeSet::new();
    read(file, |told| {
        if let Told::Message(message) = told
            && message.topic.ends_with("/ticks")
        {
            let batch = message.decode::<TickBatch>().expect("sound").message;
            assert_eq!(batch.lost, 0);
            numbers.extend(batch.ticks.iter().map(|note| note.tick));
        }
        true
    })
    .expect("a recording");
    let (first, last) = (numbers.first(), numbers.last());
    (*first.expect("ticks"), *last.expect("ticks"), numbers.len())
}

#[test]
fn an_episode_in_real_time_is_decided_again_bit_for_bit_also_from_a_recorder_that_was_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let patient = |text: String| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
    };
    let cell = Cell::start(patient);
    let start = |to: &Path| {
        Command::new(program())
            .args([
                "record",
                "--cell",
                &path(&cell.file),
                "--connect",
                &cell.endpoint,
            ])
            .args(["--to", &path(to)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts")
    };
    let killed = dir.path().join("killed.mcap");
    let mut to_kill = start(&killed);
    let mut recorder = start(dir.path());
    let named = || {
        let files = std::fs::read_dir(dir.path()).expect("a folder").flatten();
        let mut files = files.map(|entry| entry.path());
        files.find(|file| *file != killed && file.extension().is_some_and(|e| e == "mcap"))
    };
    cell.wait("both record", Duration::from_secs(20), || {
        let size = |file: &Path| std::fs::metadata(file).map_or(0, |m| m.len());
        size(&killed) > 1_000_000 && named().is_some_and(|file| size(&file) > 1_000_000)
    });
    cell.start_episode(7001);
    std::thread::sleep(Duration::from_secs(4));
    to_kill.kill().expect("killed");
    to_kill.wait().expect("ended");
    assert!(cell.order(&ModeOrder::Hold).accepted);
    std::thread::sleep(Duration::from_secs(1));
    let pid = Pid::from_raw(recorder.id() as i32).expect("a process");
    kill_process(pid, Signal::TERM).expect("told");
    assert!(recorder.wait().expect("ended").success());
    let file = named().expect("a file named after cell and date");
    drop(cell);

    let (first, last, count) = ticks(&file);
    assert_eq!(
        (first, count as u64),
        (1, last),
        "every tick from the first on"
    );
    let (code, found, said) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    let control = &found["control"][0];
    assert_eq!(control["same_configuration"], true);
    assert_eq!(control["ticks"], last, "{said}");
    assert!(control["requests"].as_u64() > Some(5), "{said}");

    let report = tactus_record::inspect(&killed).expect("readable");
    assert!(report.cut.is_some(), "it was killed");
    let (_, readable, _) = ticks(&killed);
    assert!(readable > 500, "up to a second before");
    let (_, found, said) = replay(&killed, &["--only", "control"]);
    let control = &found["control"][0];
    assert!(control["ticks"].as_u64() > Some(500), "{said}");
    assert_eq!(control["equal_commands"], control["commands"], "{said}");
}
