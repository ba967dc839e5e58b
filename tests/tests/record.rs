//! The black box and recordings of a running cell: real processes, real time, kill -9.
//!
//! Nothing here asserts how late a control tick was: on a shared machine that is the neighbours' doing.

mod cell;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cell::{Cell, program, tactus};
use mcap::io::MessageReader;
use mcap::sans_io::LinearReaderOptions;
use rustix::process::{Pid, Signal, kill_process};
use tactus_record::Report;
use tactus_types::{Applied, Clock, Time};
use tactus_wire::{
    AppliedBatch, ChunkReply, Header, Message, ModeReport, ModeWord, MonotonicClock, Raw, decode,
};

/// The demo cell with a black box of four seconds in `folder`, and so patient that only a dead process makes it hold: a
/// busy machine is late by more than the demo's own bounds, and its holds are not what is tested here.
fn with_black_box(folder: &Path) -> Cell {
    let section = format!(
        "\n[record]\nblack_box = true\nseconds = 4\nfolder = \"{}\"\n",
        folder.display()
    );
    let patient = |text: String| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
    };
    Cell::start(|text| patient(text) + &section)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The metadata record `name` of a file.
fn words(report: &Report, name: &str) -> BTreeMap<String, String> {
    let found = report.metadata.iter().find(|(n, _)| n == name);
    found.expect(name).1.clone()
}

/// The whole file that has the engine's death among its reasons. Others may be there: a busy machine is late.
fn file_of_the_kill(folder: &Path) -> Option<(PathBuf, Report)> {
    let whole = |file: &PathBuf| file.extension().is_some_and(|e| e == "mcap");
    let files = files(folder).into_iter().filter(whole);
    let reports = files.map(|file| {
        let report = tactus_record::inspect(&file).expect("a recording");
        (file, report)
    });
    reports.into_iter().find(|(_, report)| {
        let reasons = words(report, "tactus.reasons");
        reasons
            .values()
            .any(|r| r.contains("engine `engine` is gone"))
    })
}

/// Everything in `file` as the library's own reader gives it, up to where it was cut.
fn read(file: &Path) -> Vec<mcap::Message<'static>> {
    let source = std::io::BufReader::new(std::fs::File::open(file).expect("opens"));
    let options = LinearReaderOptions::default().with_skip_end_magic(true);
    MessageReader::new_with_options(source, options)
        .map_while(Result::ok)
        .collect()
}

/// The messages of a topic as nouns again, each with its capture time.
fn decoded<M: Message>(messages: &[mcap::Message<'static>], topic: &str) -> Vec<(Time, M)> {
    let clock = MonotonicClock::new().expect("a clock").id();
    let of_topic = messages.iter().filter(|m| m.channel.topic == topic);
    let noun = |message: &mcap::Message<'static>| {
        let captured_at = Time::from_nanos(message.log_time);
        let header = Header {
            clock,
            captured_at,
            published_at: Time::from_nanos(message.publish_time),
            seq: message.sequence.into(),
            source: "a file".into(),
            followed: None,
        };
        let raw = Raw {
            key: topic,
            attachment: Some(header.encode().into()),
            payload: message.data.clone(),
            received_at: captured_at,
        };
        let delivery = decode::<M>(&raw, clock).expect("what was sound is sound");
        (captured_at, delivery.message)
    };
    of_topic.map(noun).collect()
}

#[test]
fn a_killed_engine_leaves_a_file_with_what_came_before_and_the_hold() {
    let boxes = tempfile::tempdir().expect("a folder");
    let folder = boxes.path().join("not/there/yet");
    let cell = with_black_box(&folder);
    cell.start_episode(7001);
    std::thread::sleep(Duration::from_secs(3));
    let killed = cell.kill("engine");
    cell.wait("the black box is written", Duration::from_secs(30), || {
        file_of_the_kill(&folder).is_some()
    });
    let (file, report) = file_of_the_kill(&folder).expect("just seen");
    assert_eq!(report.cut, None, "it is whole");
    let about = words(&report, "tactus");
    assert!(about["why"].starts_with("hold: "), "{about:?}");
    assert_eq!(about["cell"], "demo");
    assert_eq!(about["bundle_id"].len(), 64);
    let counts = words(&report, "tactus.counts");
    assert_eq!(counts["refused"], "0", "{counts:?}");

    let messages = read(&file);
    let before = killed.before(Duration::from_secs(2));
    for (topic, least) in [
        ("camera/scene/image", 10),
        ("camera/wrist/image", 10),
        ("device/sim/state", 100),
        ("device/sim/command", 100),
        ("arm/arm/state", 50),
        ("arm/arm/request", 3),
        ("arm/arm/chunk", 3),
        ("arm/arm/applied", 10),
        ("arm/arm/mode", 5),
        ("arm/arm/telemetry", 5),
        ("sim/world", 5),
    ] {
        let topic = format!("tactus/demo/{topic}");
        let of_topic = messages.iter().filter(|m| m.channel.topic == topic);
        let times: Vec<Time> = of_topic.map(|m| Time::from_nanos(m.log_time)).collect();
        let just_before = times
            .iter()
            .filter(|t| (before..killed).contains(t))
            .count();
        assert!(just_before >= least, "{topic}: {just_before}");
    }
    for info in [
        "arm/arm/info",
        "device/sim/info",
        "camera/scene/info",
        "engine/engine/status",
    ] {
        let topic = format!("tactus/demo/{info}");
        assert!(messages.iter().any(|m| m.channel.topic == topic), "{topic}");
    }
    let chunks = decoded::<ChunkReply>(&messages, "tactus/demo/arm/arm/chunk");
    assert!(!chunks.is_empty());
    let modes = decoded::<ModeReport>(&messages, "tactus/demo/arm/arm/mode");
    let hold = modes
        .iter()
        .find(|(at, m)| *at > killed && m.mode == ModeWord::Hold)
        .expect("a hold");
    assert!(!hold.1.reason.is_empty(), "{hold:?}");
    let policy = modes
        .iter()
        .any(|(at, m)| *at < killed && m.mode == ModeWord::Policy);
    assert!(policy, "and the policy before it");
    // The control loop went on, tick by tick, until long after the fault.
    let applied: Vec<Applied> = decoded::<AppliedBatch>(&messages, "tactus/demo/arm/arm/applied")
        .into_iter()
        .flat_map(|(_, batch)| batch.applied)
        .collect();
    let last = applied.iter().map(|a| a.at).max().expect("commands");
    assert!(last.since(hold.0) > Duration::from_secs(1), "{last:?}");
    let (first, last) = (
        applied[0].command.tick,
        applied[applied.len() - 1].command.tick,
    );
    assert!(last - first > 1000, "{first} to {last}");

    let output = tactus(&["recording", "info", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    for wanted in [
        "why = hold: ",
        "tactus/demo/camera/scene/image",
        "foxglove.CompressedImage",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    drop(cell);
    let gone = |f: &PathBuf| {
        let name = f.display().to_string();
        name.contains("gone-") || name.ends_with(".partial")
    };
    let left = files(&folder);
    assert!(
        !left.iter().any(gone),
        "an orderly end is no reason: {left:?}"
    );
}

/// `tactus record --to` on a running cell.
fn record(cell: &Cell, file: &Path) -> Child {
    Command::new(program())
        .args(["record", "--cell"])
        .arg(&cell.file)
        .args(["--connect", &cell.endpoint, "--to"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), signal).expect("signalled");
}

fn info(file: &Path) -> (Option<i32>, String) {
    let output = tactus(&["recording", "info", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_recording_is_whole_when_it_is_ended_and_readable_when_it_is_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let cell = Cell::start(|text| text);
    let grown = |file: &Path| std::fs::metadata(file).is_ok_and(|m| m.len() > 300_000);

    let ended = dir.path().join("ended.mcap");
    let mut recorder = record(&cell, &ended);
    cell.wait("it records", Duration::from_secs(20), || grown(&ended));
    signal(&recorder, Signal::TERM);
    assert!(recorder.wait().expect("reaped").success());
    let (code, said) = info(&ended);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("dropped_before_the_file = 0"), "{said}");

    let killed = dir.path().join("killed.mcap");
    let mut recorder = record(&cell, &killed);
    cell.wait("it records", Duration::from_secs(20), || grown(&killed));
    signal(&recorder, Signal::KILL);
    recorder.wait().expect("reaped");
    let (code, said) = info(&killed);
    assert_eq!(code, Some(3), "finished, but short: {said}");
    assert!(said.contains("tactus/demo/camera/wrist/image"), "{said}");
    assert!(read(&killed).len() > 200);

    let again = tactus(&[
        "record",
        "--cell",
        &cell.file.display().to_string(),
        "--connect",
        &cell.endpoint,
        "--to",
        &killed.display().to_string(),
    ]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot create it"));
}
