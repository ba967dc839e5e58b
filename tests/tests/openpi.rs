//! OpenPI both ways, as processes over loopback: our front end behind our own remote policy picks the cube; a server that
//! lies, is late or goes costs a hold, never the engine; and a client that sends rubbish costs itself one sentence.

mod cell;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cell::{Cell, cell_file, checkout, program, tactus};
use serde_json::Value;
use tactus_openpi::pack::Packer;
use tactus_openpi::value::{self, Value as Packed};
use tactus_types::Source;
use tactus_wire::ModeWord;
use tungstenite::{Message, WebSocket};

/// `tactus engine --openpi` with the demo bundle, on a free port.
struct Front {
    process: Child,
    address: String,
    _out: BufReader<ChildStdout>,
}

impl Front {
    fn start() -> Self {
        let bundle = checkout().join("models/demo/bundle");
        let mut process = Command::new(program())
            .args(["--log", "warn", "engine", "--openpi", "0", "--bundle"])
            .arg(bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut out = BufReader::new(process.stdout.take().expect("its words"));
        let mut line = String::new();
        out.read_line(&mut line).expect("its address");
        let address = line
            .trim()
            .strip_prefix("ws://")
            .expect("an address")
            .to_owned();
        Self {
            process,
            address,
            _out: out,
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It holds nothing, and has no children.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The demo cell with a remote policy at `address`; a round trip takes its time on a shared machine.
fn remote(text: String, address: &str, more: &str) -> String {
    let lines = text.lines().map(|line| match line {
        _ if line.starts_with("bundle = ") => format!("policy = \"openpi://{address}\""),
        "context = 4" => "context = 15".into(),
        "backbone = 8" => "backbone = 40".into(),
        _ if line.starts_with("answer_within_ms") => "answer_within_ms = 300".into(),
        _ => line.to_owned(),
    });
    let section =
        format!("\n[openpi]\nhorizon = 16\nperiod_ms = 50\nfirst_action_offset_ms = 50\n{more}");
    lines.chain([section]).map(|line| line + "\n").collect()
}

#[test]
fn the_front_end_behind_the_remote_policy_picks_the_cube() {
    let front = Front::start();
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| remote(text, &front.address, ""));
    let json = dir.path().join("out.json");
    let output = tactus(&[
        "demo",
        "--headless",
        "--episodes",
        "2",
        "--seed",
        "7001",
        "--cell",
        &file.display().to_string(),
        "--json",
        &json.display().to_string(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures = std::fs::read_to_string(json).expect("figures");
    let figures: Value = serde_json::from_str(&figures).expect("JSON");
    let successes = figures["successes"].as_u64().expect("a number");
    assert!(successes >= 1, "{figures}");
    let stage = |name: &str| {
        figures["stages_ms"][name]["p50"]
            .as_f64()
            .expect("a number")
    };
    assert!(stage("backbone") > 1.0, "the server's own time");
    assert!(
        stage("context") > 0.0 && stage("decode") > 0.0,
        "the way, and our part"
    );
}

/// What the scripted server does with a request.
const GOOD: u8 = 0;
const NAN: u8 = 1;
const SHORT: u8 = 2;
const LATE: u8 = 3;
const SAYS: u8 = 4;
const CLOSES: u8 = 5;

/// A server whose chunks turn the first joint at 0.4 rad/s, unless `how` says otherwise.
fn scripted(how: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serve = move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let Ok(mut socket) = tungstenite::accept(tcp) else {
                continue;
            };
            if socket.send(Message::Binary(vec![0x80].into())).is_ok() {
                while talk(&mut socket, how.load(Ordering::SeqCst)).is_some() {}
            }
        }
    };
    let named = std::thread::Builder::new().name("scripted".into());
    named.spawn(serve).expect("a thread");
    address
}

fn talk(socket: &mut WebSocket<TcpStream>, how: u8) -> Option<()> {
    let message = loop {
        match socket.read().ok()? {
            Message::Binary(message) => break message,
            Message::Close(_) => return None,
            _ => {}
        }
    };
    let observation = value::read(&message).expect("what a remote policy sends is legal");
    let scene = observation
        .get("observation/image/scene")
        .expect("a picture");
    assert_eq!(scene.describe(), "uint8 [224, 224, 3]");
    assert!(matches!(observation.get("prompt"), Some(Packed::Text(_))));
    let rows = if how == SHORT { 15 } else { 16 };
    let mut numbers = vec![0.0; rows * 7];
    for (i, row) in numbers.chunks_exact_mut(7).enumerate() {
        row[0] = 0.02 * (i + 1) as f64;
        row[6] = 1.0;
    }
    match how {
        NAN => numbers[33] = f64::NAN,
        LATE => std::thread::sleep(Duration::from_millis(800)),
        SAYS => {
            return socket
                .send(Message::text("Traceback\nKeyError: 'state'"))
                .ok();
        }
        CLOSES => return None,
        _ => {}
    }
    let mut packer = Packer::default();
    packer
        .map(1)
        .text("actions")
        .float_array(&[rows, 7], &numbers);
    socket
        .send(Message::Binary(packer.into_bytes().into()))
        .ok()
}

fn holds_because(cell: &Cell, word: &str) {
    cell.wait(
        &format!("it holds because of {word}"),
        Duration::from_secs(10),
        || {
            cell.mode()
                .is_some_and(|m| m.mode == ModeWord::Hold && m.reason.contains(word))
        },
    );
}

#[test]
fn a_server_that_lies_is_late_or_goes_costs_a_hold_and_the_engine_stays() {
    let how = Arc::new(AtomicU8::new(GOOD));
    let address = scripted(Arc::clone(&how));
    let more = "[openpi.keys.actions]\nrepresentation = \"relative_joints\"\n";
    let cell = Cell::start(|text| remote(text, &address, more));
    let engine = cell.pid("engine").expect("an engine");
    cell.start_episode(7001);
    for (lie, word) in [
        (NAN, "NaN"),
        (SHORT, "[15, 7]"),
        (LATE, ""),
        (SAYS, "KeyError"),
        (CLOSES, ""),
    ] {
        how.store(lie, Ordering::SeqCst);
        holds_because(&cell, word);
        // Commands are reported in batches, a little after the mode.
        cell.wait("the commands are a hold's", Duration::from_secs(5), || {
            let applied = cell.applied.lock().expect("unpoisoned");
            let last = applied.last().map(|a| &a.command);
            last.is_some_and(|c| c.setpoint.source == Source::Hold && c.q.is_finite())
        });
        how.store(GOOD, Ordering::SeqCst);
        // The cell resumes by itself, with a fresh observation.
        cell.wait("the policy resumes", Duration::from_secs(20), || {
            cell.mode().is_some_and(|m| m.mode == ModeWord::Policy)
        });
    }
    assert_eq!(
        cell.pid("engine"),
        Some(engine),
        "the same process all along"
    );
}

fn says(args: &[&str], words: &[&str]) {
    let output = tactus(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{args:?} succeeded");
    for word in words {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_anything_starts() {
    let bundle = checkout().join("models/demo/bundle").display().to_string();
    let engine = |more: &[&str], words: &[&str]| {
        says(&[&["engine", "--bundle", &bundle], more].concat(), words);
    };
    engine(
        &["--openpi", "0.0.0.0:0"],
        &["--openpi-anyone", "nobody is asked who they are"],
    );
    engine(
        &["--openpi", "somewhere"],
        &["expected PORT or ADDRESS:PORT"],
    );
    engine(&[], &["--cell", "--openpi"]);
    let dir = tempfile::tempdir().expect("a folder");
    let map = dir.path().join("map.toml");
    std::fs::write(&map, "[[image]]\ncamera = \"front\"\nkey = \"x\"\n").expect("written");
    let map = map.display().to_string();
    engine(
        &["--openpi", "0", "--openpi-map", &map],
        &[
            &map,
            "field `image.camera`: expected scene or wrist, got `front`",
        ],
    );
    let cell = |edit: &dyn Fn(String) -> String, words: &[&str]| {
        let file = cell_file(dir.path(), edit).display().to_string();
        says(&["engine", "--cell", &file], words);
    };
    let with = |more: &'static str| move |text: String| remote(text, "127.0.0.1:1", more);
    cell(
        &|text| remote(text, "127.0.0.1:1", "").replace("openpi://", "http://"),
        &["field `policy`: expected openpi://host:port"],
    );
    let both = |text: String| format!("policy = \"openpi://127.0.0.1:1\"\n{text}");
    cell(
        &both,
        &["field `policy`: expected no `bundle` beside it, got both"],
    );
    let horizon = |text| with("")(text).replace("horizon = 16", "horizon = 0");
    cell(
        &horizon,
        &["field `openpi.horizon`: expected 1 to 1024 actions, got 0"],
    );
    cell(&with("frames = 3\n"), &["unknown field `frames`"]);
    cell(&with("anchor = \"moon\"\n"), &["unknown variant `moon`"]);
}

/// A server that is not there is said once the arm is known; the demo bundle's own conditioning is not to be had remotely.
#[test]
fn a_server_that_is_not_there_is_said_by_the_engine() {
    let dir = tempfile::tempdir().expect("a folder");
    let json = dir.path().join("out.json").display().to_string();
    let free = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let demo = |edit: &dyn Fn(String) -> String, words: &[&str]| {
        let file = cell_file(dir.path(), edit).display().to_string();
        let args = [
            "demo",
            "--lockstep",
            "--episodes",
            "1",
            "--cell",
            &file,
            "--json",
            &json,
        ];
        says(&args, words);
        assert!(!Path::new(&json).exists());
    };
    let away = |text: String| remote(text, &free.to_string(), "");
    demo(&away, &["no connection to openpi://127.0.0.1:", "refused"]);
    let guided =
        |text: String| away(text).replace("{ name = \"align\" }", "{ name = \"rtc-prefix\" }");
    demo(
        &guided,
        &["expected a strategy without real-time chunking, got Prefix"],
    );
    let columns = |text: String| {
        remote(
            text,
            "127.0.0.1:1",
            "[openpi.keys.actions]\ncolumns = [\"elbow\"]\n",
        )
    };
    demo(
        &columns,
        &[
            "[openpi.keys]",
            "field `actions.columns`",
            "base_yaw",
            "got `elbow`",
        ],
    );
}

/// How quick they are is not said here: tests share their machine.
#[test]
fn every_way_to_a_policy_is_measured_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let json = dir.path().join("ways.json").display().to_string();
    let output = tactus(&["bench", "openpi", "--requests", "20", "--json", &json]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&json).expect("figures");
    let figures: Value = serde_json::from_str(&text).expect("JSON");
    let mut ways = vec!["OpenPI", "Zenoh"];
    if !said.contains("left out, since no memory can be shared") {
        ways.push("Zenoh, shared memory");
    }
    let rows = figures["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2 * ways.len(), "{figures}");
    for way in ways {
        let own: Vec<&Value> = rows.iter().filter(|row| row["path"] == way).collect();
        assert_eq!(own.len(), 2, "{way}: of two sizes");
        for row in own {
            let (p50, p99) = (&row["round_trip"]["p50_ms"], &row["round_trip"]["p99_ms"]);
            let (p50, p99) = (p50.as_f64().expect("ms"), p99.as_f64().expect("ms"));
            assert!(0.0 < p50 && p50 <= p99, "{row}");
        }
    }
}
