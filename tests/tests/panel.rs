//! The panel beside a real cell: processes over loopback, in real time. What a browser shows of it is tested in Chromium
//! (launch/panel/tests); here is what the wire and the arm see of it.

mod cell;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::{Cell, program};
use serde_json::{Value, json};
use tactus_types::Source;
use tactus_wire::ModeWord;
use tungstenite::{Message, WebSocket};

const WAIT: Duration = Duration::from_secs(10);

/// One at a time: what watches real time is alone with the machine's cores.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The demo cell, patient with a busy machine, which is not what is tested here; a hold waits for an operator.
fn sim_cell() -> Cell {
    Cell::start(|text| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
            .replace("resume = \"auto\"", "resume = \"operator\"")
            .replace(
                "settle_ms = 200 ",
                "operator_limit_ms = 1500\nsettle_ms = 200 ",
            )
    })
}

/// A running `tactus panel`.
struct Panel {
    process: Child,
    /// What it printed, up to the address to act at.
    said: Vec<String>,
    host: String,
}

impl Panel {
    fn start(cell: &Cell, more: &[&str]) -> Self {
        let file = cell.file.display().to_string();
        let mut process = Command::new(program())
            .args(["panel", "--cell", &file, "--connect", &cell.endpoint])
            .args(["--listen", "127.0.0.1:0"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut said = Vec::new();
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        for line in lines {
            said.push(line.expect("text"));
            let last = said.last().expect("just pushed");
            if last.starts_with("panel: ") || last.starts_with("panel, to act") {
                break;
            }
        }
        let address = said.last().and_then(|l| l.split("http://").nth(1));
        let host = address.and_then(|a| a.split('/').next());
        let host = host.unwrap_or_else(|| panic!("no address in {said:?}"));
        Self {
            process,
            host: host.to_owned(),
            said,
        }
    }

    fn token(&self, of: &str) -> String {
        let line = self.said.iter().find(|l| l.contains(of)).expect("printed");
        line.split("token=").nth(1).expect("a token").to_owned()
    }

    fn ask(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.host).expect("connects");
        stream.set_read_timeout(Some(WAIT)).expect("set");
        let host = more.iter().find(|(name, _)| *name == "Host");
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            host.map_or(self.host.as_str(), |(_, value)| value),
            body.len()
        );
        for (name, value) in more.iter().filter(|(name, _)| *name != "Host") {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("\r\n{body}");
        stream.write_all(text.as_bytes()).expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let at = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let at = at.expect("a head and a body");
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        Answer {
            status: status.expect("a status"),
            head,
            body: bytes[at + 4..].to_vec(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// What `/act` says to `ask`.
    fn act(&self, ask: Value) -> (u16, String) {
        let answer = self.ask("POST", "/act", &[], &ask.to_string());
        let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
        (
            answer.status,
            said["said"].as_str().unwrap_or_default().to_owned(),
        )
    }

    fn live(&self) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.host).expect("connects");
        stream.set_read_timeout(Some(WAIT)).expect("set");
        let url = format!("ws://{}/live", self.host);
        tungstenite::client(url, stream).expect("a websocket").0
    }

    /// Resident memory, bytes.
    fn memory(&self) -> u64 {
        let file = format!("/proc/{}/statm", self.process.id());
        let text = std::fs::read_to_string(file).expect("it runs");
        let pages: u64 = text
            .split(' ')
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("pages");
        pages * 4096
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn heard(live: &mut WebSocket<TcpStream>) -> Value {
    match live.read().expect("a message") {
        Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

fn is(cell: &Cell, word: ModeWord) -> bool {
    cell.mode().is_some_and(|m| m.mode == word)
}

#[test]
fn a_page_shows_the_cell_and_its_orders_reach_the_arm() {
    let _alone = alone();
    let cell = sim_cell();
    let panel = Panel::start(&cell, &[]);

    let page = panel.get("/");
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(String::from_utf8_lossy(&page.body).contains("<title>Tactus panel"));
    for file in ["/panel.css", "/panel.js", "/operator.js", "/drawing.js"] {
        assert_eq!(panel.get(file).status, 200, "{file}");
    }
    assert_eq!(panel.get("/secret").status, 404);
    assert_eq!(panel.get("/camera/kitchen").status, 404);

    let mut live = panel.live();
    assert!(heard(&mut live)["page"].as_u64().is_some());
    let until = Instant::now() + WAIT;
    let seen = loop {
        let seen = heard(&mut live);
        if seen["arm"]["points"].is_array() && seen["mode"]["word"] == "boot" {
            break seen;
        }
        assert!(Instant::now() < until, "{seen}");
    };
    assert_eq!(seen["arm"]["joints"].as_array().map(Vec::len), Some(6));
    assert!(
        seen["roles"]
            .as_array()
            .expect("roles")
            .iter()
            .all(|r| r["here"] == true)
    );

    // Refused before it is asked: a name that was rebound, another site's page, what is no order.
    let hold = r#"{"ask":"enable"}"#;
    for (name, value) in [("Host", "evil.example"), ("Origin", "http://evil.example")] {
        let answer = panel.ask("POST", "/act", &[(name, value)], hold);
        assert_eq!(answer.status, 403, "{name}");
    }
    assert_eq!(panel.act(json!({ "ask": "torque_off" })).0, 400);
    assert_eq!(
        panel.act(json!({ "ask": "start", "instruction": "" })).0,
        400
    );
    assert!(is(&cell, ModeWord::Boot));
    // The arm host says no in its own words.
    let (status, said) =
        panel.act(json!({ "ask": "start", "instruction": "pick up the red cube" }));
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("refuses"), "{said}");

    assert_eq!(panel.act(json!({ "ask": "enable" })).0, 200);
    cell.wait("the arm is ready", WAIT, || is(&cell, ModeWord::Ready));
    let start = json!({ "ask": "start", "instruction": "pick up the red cube", "seed": 3 });
    assert_eq!(panel.act(start).0, 200);
    cell.wait("the policy commands", WAIT, || {
        let mode = cell.mode();
        mode.is_some_and(|m| m.mode == ModeWord::Policy && m.instruction == "pick up the red cube")
    });
    let first = panel.get("/camera/scene");
    assert_eq!((first.status, &first.body[..2]), (200, &[0xff, 0xd8][..]));
    let number = |answer: &Answer| -> u64 {
        let line = answer
            .head
            .lines()
            .find_map(|l| l.strip_prefix("x-picture: "));
        line.and_then(|n| n.trim().parse().ok()).expect("a number")
    };
    let next = panel.get(&format!("/camera/scene?after={}", number(&first)));
    assert!(number(&next) > number(&first));
    let figures = String::from_utf8(panel.get("/metrics").body).expect("text");
    assert!(
        figures.contains("tactus_mode{mode=\"policy\"} 1"),
        "{figures}"
    );

    assert_eq!(panel.act(json!({ "ask": "hold" })).0, 200);
    cell.wait("the arm holds", WAIT, || is(&cell, ModeWord::Hold));
    let score = json!({ "ask": "score", "success": false, "progress": 40, "note": "held" });
    assert_eq!(panel.act(score).0, 200);
    let until = Instant::now() + WAIT;
    while heard(&mut live)["tally"]["failures"] != 1 {
        assert!(Instant::now() < until, "the score was not told");
    }
    assert_eq!(panel.act(json!({ "ask": "stop" })).0, 200);
    cell.wait("the arm is stopped", WAIT, || is(&cell, ModeWord::Stopped));
}

#[test]
fn without_a_token_nobody_gets_in_and_who_may_watch_may_not_act() {
    let _alone = alone();
    let cell = sim_cell();
    let panel = Panel::start(&cell, &["--token"]);
    let hold = r#"{"ask":"hold"}"#;
    for path in [
        "/",
        "/panel.js",
        "/live",
        "/camera/scene",
        "/snapshot",
        "/metrics",
        "/reference",
    ] {
        assert_eq!(panel.get(path).status, 401, "{path}");
    }
    assert_eq!(panel.ask("POST", "/act", &[], hold).status, 401);
    let (see, act) = (panel.token("watch"), panel.token("act"));
    assert_ne!(see, act);
    let wrong = format!("Bearer {}0", &act[1..]);
    assert_eq!(
        panel
            .ask("GET", "/", &[("Authorization", &wrong)], "")
            .status,
        401
    );
    // The token leaves the address for a cookie.
    let entered = panel.get(&format!("/?token={see}"));
    assert_eq!(entered.status, 303);
    assert!(
        entered.head.contains("httponly; samesite=strict"),
        "{}",
        entered.head
    );
    let see = format!("Bearer {see}");
    let act = format!("Bearer {act}");
    let watching = panel.ask("GET", "/", &[("Authorization", &see)], "");
    assert!(String::from_utf8_lossy(&watching.body).contains("<body class=\"see\">"));
    assert_eq!(
        panel
            .ask("POST", "/act", &[("Authorization", &see)], hold)
            .status,
        403
    );
    let ours = [
        ("Authorization", act.as_str()),
        ("Origin", "http://evil.example"),
    ];
    assert_eq!(panel.ask("POST", "/act", &ours, hold).status, 403);
    let enable = r#"{"ask":"enable"}"#;
    assert_eq!(panel.ask("POST", "/act", &ours[..1], enable).status, 200);
    cell.wait("the arm is ready", WAIT, || is(&cell, ModeWord::Ready));
}

#[test]
fn a_page_takes_over_moves_the_arm_with_keys_and_leaves_a_hold_when_it_goes() {
    let _alone = alone();
    let cell = sim_cell();
    let panel = Panel::start(&cell, &[]);
    let mut live = panel.live();
    let page = heard(&mut live)["page"].as_u64().expect("a number");
    let until = Instant::now() + WAIT;
    while heard(&mut live)["arm"].is_null() {
        assert!(Instant::now() < until, "the arm is not known");
    }
    assert_eq!(panel.act(json!({ "ask": "enable" })).0, 200);
    let (status, said) = panel.act(json!({ "ask": "take_over", "page": page }));
    assert_eq!(status, 200, "{said}");
    cell.wait("a human commands", WAIT, || is(&cell, ModeWord::Teleop));
    // Another page does not move it.
    let mut other = panel.live();
    let (status, _) = panel.act(json!({ "ask": "take_over", "page": page + 1 }));
    assert_eq!(status, 409);
    let moved = |cell: &Cell| {
        let applied = cell.applied.lock().expect("unpoisoned");
        let last = applied.last().expect("a command");
        last.command.setpoint.source == Source::Teleop && last.command.dq.max_abs() > 0.02
    };
    let press = |live: &mut WebSocket<TcpStream>, key: char| {
        let text = json!({ "key": key }).to_string();
        live.send(Message::text(text)).expect("sent");
    };
    for _ in 0..10 {
        press(&mut other, 'e');
        std::thread::sleep(Duration::from_millis(50));
        live.send(Message::text("{}")).expect("sent");
        assert!(!moved(&cell), "another page's key moved the arm");
    }
    let until = Instant::now() + WAIT;
    while !moved(&cell) {
        assert!(Instant::now() < until, "keys do not move the arm");
        press(&mut live, 'e');
        std::thread::sleep(Duration::from_millis(50));
    }
    // The page is closed, its operator gone.
    drop(live);
    cell.wait("the arm holds", WAIT, || is(&cell, ModeWord::Hold));

    // One that stays open and falls silent is gone as well.
    let mut live = panel.live();
    let page = heard(&mut live)["page"].as_u64().expect("a number");
    let until = Instant::now() + WAIT;
    while panel.act(json!({ "ask": "take_over", "page": page })).0 != 200 {
        assert!(Instant::now() < until, "it cannot be taken over again");
        std::thread::sleep(Duration::from_millis(100));
    }
    cell.wait("a human commands", WAIT, || is(&cell, ModeWord::Teleop));
    cell.wait("the arm holds", WAIT, || is(&cell, ModeWord::Hold));
}

/// How unevenly commands came since `from`, microseconds: p50, p99, most of the distance to the period.
fn unevenness(cell: &Cell, from: usize) -> [f64; 3] {
    let applied = cell.applied.lock().expect("unpoisoned");
    let pairs = applied[from..].windows(2);
    let mut off: Vec<f64> = pairs
        .map(|pair| (pair[1].at.secs_from(pair[0].at) - 0.002).abs() * 1e6)
        .collect();
    off.sort_by(f64::total_cmp);
    [off.len() / 2, off.len() * 99 / 100, off.len() - 1].map(|at| off[at])
}

#[test]
fn twenty_pages_that_read_nothing_cost_bounded_memory_and_the_loop_nothing() {
    let _alone = alone();
    const WATCH: Duration = Duration::from_secs(5);
    let cell = sim_cell();
    let panel = Panel::start(&cell, &[]);
    assert_eq!(panel.act(json!({ "ask": "enable" })).0, 200);
    let start = json!({ "ask": "start", "instruction": "pick up the red cube" });
    assert_eq!(panel.act(start).0, 200);
    cell.wait("the policy commands", WAIT, || is(&cell, ModeWord::Policy));
    std::thread::sleep(Duration::from_secs(2));
    let at = |cell: &Cell| cell.applied.lock().expect("unpoisoned").len();

    let from = at(&cell);
    std::thread::sleep(WATCH);
    let alone = unevenness(&cell, from);
    let before = panel.memory();

    let from = at(&cell);
    let lives: Vec<_> = (0..20).map(|_| panel.live()).collect();
    // They ask for every picture there is, too, and read none.
    let mut askers: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(&panel.host).expect("connects"))
        .collect();
    let until = Instant::now() + WATCH;
    while Instant::now() < until {
        for asker in &mut askers {
            let text = format!("GET /camera/scene HTTP/1.1\r\nHost: {}\r\n\r\n", panel.host);
            asker.set_nonblocking(true).expect("set");
            // One whose connection is full asks no more.
            let _ = asker.write(text.as_bytes());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let crowded = unevenness(&cell, from);
    let after = panel.memory();
    println!(
        "commands off their period, us p50 p99 most: alone {alone:.0?}, with 20 pages {crowded:.0?}"
    );
    println!(
        "panel's memory: {} kB, with 20 pages {} kB",
        before >> 10,
        after >> 10
    );
    assert!(
        after < before + (24 << 20),
        "{before} bytes became {after} by pages that read nothing"
    );
    assert!(
        crowded[0] < 2.0 * alone[0] + 100.0,
        "the loop became uneven: {alone:?} us, then {crowded:?} us"
    );
    // And whoever reads is still served.
    let mut live = panel.live();
    heard(&mut live);
    assert_eq!(heard(&mut live)["cell"], "demo");
    assert_eq!(panel.get("/camera/wrist").status, 200);
    drop((lives, askers));
}
