//! `tactus bench panel`: what pages on a slow link do to the control loop of the cell that they watch, and to the panel's
//! memory.
//!
//! For each turn the simulated cell is brought up anew, with the panel beside it, and runs an episode; in every second turn
//! pages watch it that read a few kilobytes a second each, through sockets that hold little: everything the panel sends them
//! piles up at once. The lateness is the arm host's own, from enabling to the end of the turn.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tactus_host::LoadMeter;
use tactus_types::Clock;
use tactus_wire::{EngineStatus, ModeOrder, MonotonicClock, Nothing, Session, Topic};

use crate::cell::{self, Cell};
use crate::children::{self, Children};
use crate::cli::{PanelBenchArgs, PolicyArgs, RoleArgs};
use crate::live::Shared;
use crate::{checkout, order, result, roles};

/// All processes must be up within this time.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How often a page reads, and how often the panel's memory is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// Bytes that a page's socket holds; the system makes more of it.
const HELD: libc::c_int = 2048;
/// The panel may take this long to say where it serves.
const SAID_WITHIN: Duration = Duration::from_secs(20);

/// Runs the benchmark.
pub fn panel_bench(args: &PanelBenchArgs) -> anyhow::Result<()> {
    let cell = cell::load(&checkout::demo_cell()?)?;
    let clock = MonotonicClock::new()?;
    let mut meter = LoadMeter::new();
    meter.since_last(clock.now());
    let bar = ProgressBar::new(u64::from(2 * args.turns));
    bar.set_style(ProgressStyle::with_template("{bar:30} {msg}, {eta} left")?);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..2 * args.turns {
        let (pages, into) = match turn % 2 {
            0 => (0, &mut without),
            _ => (args.pages, &mut with),
        };
        bar.set_message(format!("{pages} pages"));
        into.push(self::turn(args, &cell, pages)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let load = meter.since_last(clock.now());
    let report = json!({
        "pages": args.pages,
        "bytes_per_sec": args.bytes_per_sec,
        "secs": args.secs,
        "rate_hz": cell.control_rate_hz,
        "with": with,
        "without": without,
        "host": load.map(|load| load.to_string()),
    });
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    print(&report)
}

/// One turn with `pages` pages: what was measured.
fn turn(args: &PanelBenchArgs, cell: &Cell, pages: u16) -> anyhow::Result<Value> {
    let endpoint = children::free_endpoint(cell)?;
    let role = RoleArgs {
        cell: cell.file.clone(),
        connect: vec![],
        listen: vec![endpoint.clone()],
        supervised: false,
        host: None,
    };
    let session = roles::session(&role, "bench")?;
    let policy = PolicyArgs::default();
    let mut children = Children::start(cell, &endpoint, &policy, "warn", None)?;
    let measured = measure(args, cell, pages, &endpoint, &session, &mut children);
    children.end();
    measured
}

fn measure(
    args: &PanelBenchArgs,
    cell: &Cell,
    pages: u16,
    endpoint: &str,
    session: &Session,
    children: &mut Children,
) -> anyhow::Result<Value> {
    let shared = Shared::new(cell, Some(1), false);
    let _followed = shared.follow(session, &cell.wire, cell, false)?;
    wait_until_up(cell, session, &shared, children)?;
    let panel = Panel::start(cell, endpoint)?;
    let camera = cell.cameras.first().context("a camera")?.name.to_string();
    let watching = Pages::open(&panel.address, &camera, pages, args.bytes_per_sec)?;
    let authority = order::authority(session, cell, "bench", order::rank(false))?;
    order::under(&authority, cell, &ModeOrder::Enable, true)?;
    let begin = ModeOrder::StartEpisode {
        episode: 0,
        instruction: "pick up the red cube".into(),
        seed: 7001,
    };
    order::under(&authority, cell, &begin, true)?;
    let until = Instant::now() + Duration::from_secs(args.secs.into());
    let (mut first, mut most) = (None, 0);
    while Instant::now() < until {
        std::thread::sleep(EVERY);
        let bytes = panel.memory()?;
        first.get_or_insert(bytes);
        most = most.max(bytes);
    }
    let last = panel.memory()?;
    let telemetry = shared.lock().telemetry;
    let telemetry = telemetry.context("the arm host does not report")?;
    let read = watching.close();
    children.check_all_run()?;
    ensure!(telemetry.ticks > 0, "the control loop does not run");
    let late = telemetry.lateness;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Ok(json!({
        "pages": pages,
        "ticks": telemetry.ticks,
        "lateness_us": {
            "p50": late.p50_micros, "p99": late.p99_micros,
            "p999": late.p999_micros, "max": late.max_micros,
        },
        "missed_by_the_host": telemetry.misses.host,
        "panel_megabytes": {
            "first": megabytes(first.unwrap_or(last)), "last": megabytes(last), "most": megabytes(most),
        },
        "read_bytes": read,
    }))
}

fn wait_until_up(
    cell: &Cell,
    session: &Session,
    shared: &Shared,
    children: &mut Children,
) -> anyhow::Result<()> {
    let until = Instant::now() + UP_WITHIN;
    let key = cell.wire.key(&Topic::EngineStatus(cell.engine.clone()));
    loop {
        children.check_all_run()?;
        let within = Duration::from_millis(500);
        let engine = session.query::<Nothing, EngineStatus>(&key, &Nothing, within);
        let live = shared.lock();
        if engine.is_ok() && live.mode.is_some() && live.state.is_some() && live.world.is_some() {
            return Ok(());
        }
        drop(live);
        if Instant::now() > until {
            let logs = children.logs.display();
            bail!("not all processes came up within {UP_WITHIN:?}; see {logs}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running `tactus panel`; killed when dropped.
struct Panel {
    child: Child,
    address: String,
}

impl Panel {
    fn start(cell: &Cell, endpoint: &str) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("where this program lies")?;
        let mut command = Command::new(exe);
        command
            .args(["--log", "warn", "panel", "--view-only", "--supervised"])
            .args(["--listen", "127.0.0.1:0", "--connect", endpoint, "--cell"])
            .arg(&cell.file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut panel = Self {
            child: child.context("the panel's process")?,
            address: String::new(),
        };
        let said = panel.child.stdout.take().context("the panel's words")?;
        let (to, line) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("panel-said".into())
            .spawn(move || {
                let mut line = String::new();
                // Where it says nothing the receiver notices.
                let _ = BufReader::new(said).read_line(&mut line);
                let _ = to.send(line);
            })
            .context("a thread")?;
        let line = line.recv_timeout(SAID_WITHIN).unwrap_or_default();
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|a| a.split('/').next());
        address
            .context("the panel did not say where it serves")?
            .clone_into(&mut panel.address);
        Ok(panel)
    }

    /// What it keeps in memory, bytes.
    fn memory(&self) -> anyhow::Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&file).context("the panel has ended")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kilobytes.with_context(|| format!("{file}: no VmRSS"))? * 1024)
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(e) = ended {
            tracing::warn!("the panel's process: {e}");
        }
    }
}

/// Pages that read slowly, each on a thread.
struct Pages {
    done: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Pages {
    fn open(address: &str, camera: &str, pages: u16, bytes_per_sec: u32) -> anyhow::Result<Self> {
        let mut all = Self {
            done: Arc::default(),
            read: Arc::default(),
            threads: Vec::new(),
        };
        let each = bytes_per_sec as usize * EVERY.as_millis() as usize / 2000;
        for _ in 0..pages {
            // What a page has open: the text ten times a second, and a picture.
            let live = ask(address, "/live", UPGRADE)?;
            let (address, camera) = (address.to_owned(), format!("/camera/{camera}?after=0"));
            let (done, read) = (all.done.clone(), all.read.clone());
            let page = move || {
                let (mut live, mut picture) = (Some(live), None);
                while !done.load(Ordering::Relaxed) {
                    for (socket, path, more) in [
                        (&mut live, "/live", UPGRADE),
                        (&mut picture, camera.as_str(), ""),
                    ] {
                        if socket.is_none() {
                            *socket = ask(&address, path, more).ok();
                        }
                        match socket.as_mut().and_then(|s| sip(s, each.max(1))) {
                            Some(got) => _ = read.fetch_add(got as u64, Ordering::Relaxed),
                            None => *socket = None,
                        }
                    }
                    std::thread::sleep(EVERY);
                }
            };
            let thread = std::thread::Builder::new().name("page".into());
            all.threads.push(thread.spawn(page).context("a thread")?);
        }
        Ok(all)
    }

    /// Ends them; bytes that they read.
    fn close(mut self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.read.load(Ordering::Relaxed)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// What makes a request one for a websocket; the key is any 16 bytes.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks for `path`, over a socket that holds little.
fn ask(address: &str, path: &str, more: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("panel {address}"))?;
    let held = HELD;
    // SAFETY: the descriptor is open as long as `stream` is, and the value is one int, of the size that is told.
    let narrowed = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            std::ptr::from_ref(&held).cast(),
            size_of_val(&held) as libc::socklen_t,
        )
    };
    ensure!(
        narrowed == 0,
        "the size of a socket's buffer: {}",
        std::io::Error::last_os_error()
    );
    stream.set_read_timeout(Some(EVERY))?;
    let close = if more.is_empty() {
        "Connection: close\r\n"
    } else {
        ""
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{close}{more}\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// Reads at most `most` bytes; `None` when there will be no more.
fn sip(stream: &mut TcpStream, most: usize) -> Option<usize> {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    let mut bytes = vec![0; most];
    match stream.read(&mut bytes) {
        Ok(0) => None,
        Ok(n) => Some(n),
        Err(e) if [Interrupted, TimedOut, WouldBlock].contains(&e.kind()) => Some(0),
        Err(_) => None,
    }
}

fn print(report: &Value) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "turn",
        "pages",
        "late p50, us",
        "p99",
        "p99.9",
        "max",
        "missed by the host",
        "panel, MB: first",
        "last",
        "most",
        "read, kB",
    ]);
    let turns = |field: &str| report[field].as_array().cloned().unwrap_or_default();
    let all = turns("without").into_iter().zip(turns("with"));
    for (i, turn) in all.flat_map(|(a, b)| [a, b]).enumerate() {
        let number =
            |v: &Value, digits: usize| format!("{:.digits$}", v.as_f64().unwrap_or(f64::NAN));
        let (late, memory) = (&turn["lateness_us"], &turn["panel_megabytes"]);
        table.add_row([
            (i + 1).to_string(),
            turn["pages"].to_string(),
            number(&late["p50"], 0),
            number(&late["p99"], 0),
            number(&late["p999"], 0),
            number(&late["max"], 0),
            turn["missed_by_the_host"].to_string(),
            number(&memory["first"], 1),
            number(&memory["last"], 1),
            number(&memory["most"], 1),
            (turn["read_bytes"].as_u64().unwrap_or(0) / 1000).to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    result::line(table)?;
    result::line(format_args!(
        "control at {} Hz, turns of {} s, {} pages that read {} bytes a second each{}",
        report["rate_hz"],
        report["secs"],
        report["pages"],
        report["bytes_per_sec"],
        report["host"]
            .as_str()
            .map_or(String::new(), |load| format!("; host: {load}")),
    ))
}
