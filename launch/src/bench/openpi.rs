//! `tactus bench openpi`: what the way to a policy and back costs when the policy itself costs nothing.
//!
//! A policy that returns 50 x 7 fixed numbers stands behind the OpenPI front end, and behind the engine's loop on Zenoh, each in
//! a process of its own; two raw pictures and a state go there and a chunk comes back, one request after the other over loopback.
//! The floor is the same bytes through a bare socket and copied once. Nothing but this benchmark can reach that policy.

mod parts;
mod still;
mod wire;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use tactus_host::{LoadMeter, realtime::lock_refused};
use tactus_openpi::pack::Packer;
use tactus_openpi::value;
use tactus_types::Clock;
use tactus_wire::{MonotonicClock, no_shared_memory};
use tungstenite::{Message, WebSocket};

use crate::cli::{BehindWord, OpenpiBenchArgs};
use crate::result;

/// Width and height of the pictures, and how quick the front end and the wire have to be at the median, ms.
const SIZES: [((usize, usize), f64, f64); 2] = [((224, 224), 0.5, 0.4), ((640, 480), 2.0, 0.8)];
/// Requests before the first that counts.
const WARM_UP: u32 = 50;

/// Runs the benchmark, or one of the processes that it starts.
pub fn openpi(args: &OpenpiBenchArgs) -> anyhow::Result<()> {
    if let Some(behind) = args.behind {
        let size = (args.width, args.height);
        return match behind {
            BehindWord::Floor => parts::serve(size),
            BehindWord::Openpi => still::serve(size),
            BehindWord::Zenoh | BehindWord::Shared => wire::serve(
                args.endpoint.as_deref().unwrap_or_default(),
                behind == BehindWord::Shared,
            ),
        };
    }
    let clock = MonotonicClock::new()?;
    let mut meter = LoadMeter::new();
    meter.since_last(clock.now());
    let mut rows = Vec::new();
    for (size, front_bound, wire_bound) in SIZES {
        eprintln!("{}x{}: OpenPI ..", size.0, size.1);
        rows.push(front(args, size, front_bound)?);
        for (path, shared) in [("Zenoh", false), ("Zenoh, shared memory", true)] {
            eprintln!("{}x{}: {path} ..", size.0, size.1);
            let refused = || lock_refused().or_else(no_shared_memory);
            if let Some(why) = shared.then(refused).flatten() {
                eprintln!("left out, since no memory can be shared: {why}");
                continue;
            }
            let times = wire::measure(args.requests, WARM_UP, size, shared)?;
            rows.push(json!({
                "path": path,
                "client": "tactus",
                "size": [size.0, size.1],
                "bound_ms": wire_bound,
                "round_trip": quantiles(times),
            }));
        }
        if let Some(python) = &args.python {
            for (client, settings) in [("openpi-client", &[][..]), (KEEPING, &KEPT)] {
                eprintln!("{}x{}: {client} ..", size.0, size.1);
                let mut row = python_client(args, python, size, (client, settings))?;
                row["bound_ms"] = json!(front_bound);
                rows.push(row);
            }
        }
    }
    let load = meter.since_last(clock.now());
    let report = json!({
        "requests": args.requests,
        "rows": rows,
        "host": load.map(|load| load.to_string()),
    });
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    print(&report)
}

/// This program as the process behind a path; ended when dropped.
struct Behind {
    child: Child,
    said: String,
}

impl Behind {
    fn start(word: &str, (width, height): (usize, usize), endpoint: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program")?;
        let mut child = Command::new(program)
            .args(["--log", "warn", "bench", "openpi", "--behind", word])
            .args([
                "--width",
                &width.to_string(),
                "--height",
                &height.to_string(),
            ])
            .args(["--endpoint", endpoint])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the process of the policy")?;
        let mut said = String::new();
        let out = child.stdout.take().context("its words")?;
        BufReader::new(out).read_line(&mut said)?;
        let me = Self {
            said: said.trim().into(),
            child,
        };
        ensure!(
            !me.said.is_empty(),
            "the process of the policy did not start"
        );
        Ok(me)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // It holds nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The observation number `n`, as openpi-client packs it.
fn observation(pictures: &[Vec<u8>], (width, height): (usize, usize), n: u32) -> Vec<u8> {
    let bytes: usize = pictures.iter().map(Vec::len).sum();
    let mut packer = Packer::with_capacity(bytes + 1024);
    packer.map(4);
    for (i, picture) in pictures.iter().enumerate() {
        packer
            .text(still::KEYS.get(i).copied().unwrap_or_default())
            .bytes_array(&[height, width, 3], picture);
    }
    let state = [f64::from(n) * 1e-3; still::JOINTS];
    packer
        .text("observation/state")
        .float_array(&[still::JOINTS], &state);
    packer.text("prompt").text("pick up the red cube");
    packer.into_bytes()
}

fn pictures((width, height): (usize, usize)) -> Vec<Vec<u8>> {
    let picture = |c: usize| (0..width * height * 3).map(|i| (i * 7 + c) as u8).collect();
    (0..still::CAMERAS).map(picture).collect()
}

fn connect(address: &str) -> anyhow::Result<WebSocket<TcpStream>> {
    let host = address.strip_prefix("ws://").context("an address")?;
    let tcp = TcpStream::connect(host)?;
    tcp.set_nodelay(true)?;
    let (mut socket, _) = tungstenite::client(format!("{address}/"), tcp)?;
    socket.read()?;
    Ok(socket)
}

/// Through the front end, by a client in Rust; with the parts of it.
fn front(args: &OpenpiBenchArgs, size: (usize, usize), bound: f64) -> anyhow::Result<Value> {
    let behind = Behind::start("openpi", size, "")?;
    let mut socket = connect(&behind.said)?;
    let pictures = pictures(size);
    let mut times = Vec::new();
    for n in 0..WARM_UP + args.requests {
        let begun = Instant::now();
        let message = observation(&pictures, size, n);
        socket.send(Message::Binary(message.into()))?;
        let Message::Binary(answer) = socket.read()? else {
            bail!("expected a chunk");
        };
        let answer = value::read(&answer)?;
        ensure!(answer.get("actions").is_some(), "expected actions");
        let took = begun.elapsed();
        if n >= WARM_UP {
            times.push(took);
        }
    }
    let parts = parts::measure(args.requests, size)?;
    Ok(json!({
        "path": "OpenPI",
        "client": "tactus",
        "size": [size.0, size.1],
        "bound_ms": bound,
        "round_trip": quantiles(times),
        "parts": parts.into_iter().map(|(name, times)| (name.to_owned(), quantiles(times))).collect::<serde_json::Map<_, _>>(),
    }))
}

/// The same by openpi-client itself, in the given Python.
fn python_client(
    args: &OpenpiBenchArgs,
    python: &std::path::Path,
    size: (usize, usize),
    (client, settings): (&str, &[(&str, &str)]),
) -> anyhow::Result<Value> {
    let behind = Behind::start("openpi", size, "")?;
    let (host, port) = behind
        .said
        .strip_prefix("ws://")
        .and_then(|at| at.rsplit_once(':'))
        .context("an address")?;
    let out = Command::new(python)
        .envs(settings.iter().copied())
        .args(["-B", "-c", CLIENT, host, port])
        .args([size.0, size.1].map(|side| side.to_string()))
        .args([WARM_UP, args.requests].map(|n| n.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{}", python.display()))?;
    ensure!(out.status.success(), "openpi-client: {}", out.status);
    let nanos: Vec<u64> = serde_json::from_slice(&out.stdout).context("times of openpi-client")?;
    let times = nanos.into_iter().map(Duration::from_nanos).collect();
    Ok(json!({
        "path": "OpenPI",
        "client": client,
        "size": [size.0, size.1],
        "round_trip": quantiles(times),
    }))
}

/// The client in an environment in which glibc lets it keep the memory that it frees, up to 64 MiB.
const KEEPING: &str = "openpi-client, keeping memory";
const KEPT: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "67108864"),
];

/// `openpi_client.WebsocketClientPolicy.infer`, timed; nanoseconds as JSON.
const CLIENT: &str = r#"
import json, sys, time
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
host, port, width, height, warm_up, requests = sys.argv[1], *map(int, sys.argv[2:])
client = WebsocketClientPolicy(host, port)
pictures = [np.random.default_rng(i).integers(0, 255, (height, width, 3), dtype=np.uint8) for i in range(2)]
times = []
for n in range(warm_up + requests):
    observation = {
        "observation/image/scene": pictures[0],
        "observation/image/wrist": pictures[1],
        "observation/state": np.full(7, n * 1e-3),
        "prompt": "pick up the red cube",
    }
    begun = time.perf_counter_ns()
    actions = client.infer(observation)["actions"]
    took = time.perf_counter_ns() - begun
    assert actions.shape == (50, 7)
    if n >= warm_up:
        times.append(took)
print(json.dumps(times))
"#;

/// Median and 99 %, ms.
fn quantiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let i = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        let millis = times.get(i).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3);
        (millis * 1e4).round() / 1e4
    };
    json!({ "p50_ms": at(0.5), "p99_ms": at(0.99) })
}

fn print(report: &Value) -> anyhow::Result<()> {
    let mut table = Table::new();
    let titles = [
        "way to a policy that costs nothing, and back",
        "client",
        "two pictures",
        "p50, ms",
        "p99",
        "at most",
        "",
    ];
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(titles);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let millis = |value: &Value| format!("{:.3}", value.as_f64().unwrap_or(f64::NAN));
    let empty = vec![];
    let rows = report["rows"].as_array().unwrap_or(&empty);
    let size = |row: &Value| format!("{}x{}x3", row["size"][0], row["size"][1]);
    for row in rows {
        let (p50, bound) = (&row["round_trip"]["p50_ms"], &row["bound_ms"]);
        let over = p50.as_f64() > bound.as_f64();
        table.add_row([
            text(&row["path"]),
            text(&row["client"]),
            size(row),
            millis(p50),
            millis(&row["round_trip"]["p99_ms"]),
            millis(bound),
            if over { "over" } else { "" }.to_owned(),
        ]);
    }
    let mut shares = Table::new();
    shares
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header([
            "part, by itself",
            "two pictures",
            "p50, ms",
            "share of the round trip",
        ]);
    for row in rows.iter().filter(|row| row["parts"].is_object()) {
        let whole = row["round_trip"]["p50_ms"].as_f64().unwrap_or(f64::NAN);
        let mut rest = whole;
        for (name, times) in row["parts"].as_object().into_iter().flatten() {
            let part = times["p50_ms"].as_f64().unwrap_or(f64::NAN);
            rest -= part;
            let share = format!("{:.0} %", 100.0 * part / whole);
            shares.add_row([name.clone(), size(row), millis(&times["p50_ms"]), share]);
        }
        let share = format!("{:.0} %", 100.0 * rest / whole);
        shares.add_row([
            "everything else".into(),
            size(row),
            format!("{rest:.3}"),
            share,
        ]);
    }
    for table in [&mut table, &mut shares] {
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    result::line(&table)?;
    result::line(&shares)?;
    result::line(format!(
        "{} requests each, one after the other, over loopback; {}",
        report["requests"],
        report["host"].as_str().unwrap_or_default()
    ))
}
