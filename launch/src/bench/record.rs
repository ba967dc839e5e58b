//! `tactus bench record`: what recording costs, whether anything is lost, and what it does to a control loop beside it.
//!
//! A process of its own is the cell: cameras whose pictures are JPEG already, a joint state, a command and what it was
//! decided from for each tick at 1 kHz, and in turns a control thread that is measured. This process records in every third
//! turn, with the recorder's own code and priority; in another it receives the same as any other process would, packet by
//! packet, and throws it away; and in the third it is not there. So all kinds of turns meet the same load.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tactus_camera::picture;
use tactus_host::account::Durations;
use tactus_host::{RealtimeSpec, Ticker, beat};
use tactus_record::{About, Listened, RecordingOptions, inspect, run_recording};
use tactus_types::{
    Applied, CameraFrame, ClampedBy, Clock, Encoding, Generation, JointState, JointVec, Setpoint,
    Source, Time, Torque,
};
use tactus_wire::{
    AppliedBatch, Cell, MonotonicClock, Name, Publisher, Session, SessionOptions, TickBatch,
    TickNote, Topic,
};

use super::cameras::scene;
use crate::cli::RecordBenchArgs;
use crate::{record, result};

/// Ticks per second of the cell.
const RATE_HZ: u64 = 1000;
/// Ticks of a batch, as an arm host publishes them.
const BATCH: usize = 10;
/// Different pictures of each camera.
const PICTURES: u32 = 20;
/// Not measured: sessions meet.
const MEET: Duration = Duration::from_millis(500);
const JOINTS: usize = 7;

/// Runs the benchmark, or the cell of it.
pub fn record_bench(args: &RecordBenchArgs) -> anyhow::Result<()> {
    if args.be_cell {
        return be_cell(args);
    }
    let folder = tempfile_in(args)?;
    let outcome = turns(args, &folder);
    if let Err(e) = std::fs::remove_dir_all(&folder) {
        tracing::warn!("{}: cannot remove it: {e}", folder.display());
    }
    let report = outcome?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    print(&report)
}

fn tempfile_in(args: &RecordBenchArgs) -> anyhow::Result<std::path::PathBuf> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("tactus-bench-record-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("folder {}", folder.display()))?;
    Ok(folder)
}

fn cell() -> anyhow::Result<Cell> {
    Ok(Cell::new("bench")?)
}

fn turns(args: &RecordBenchArgs, folder: &std::path::Path) -> anyhow::Result<Value> {
    let mut other = Other::start(args)?;
    record::yield_to_others();
    let clock = Arc::new(MonotonicClock::new()?);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (mut cpu, mut secs, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
    let (mut messages, mut dropped, mut missing) = (0, 0, 0);
    let (mut floor_cpu, mut floor_secs) = (Duration::ZERO, Duration::ZERO);
    for turn in 0..3 * args.turns {
        if turn % 3 == 1 {
            other.begin()?;
            without.push(other.end()?);
            continue;
        }
        let options = SessionOptions {
            connect: vec![other.endpoint.clone()],
            connect_timeout: Duration::from_secs(5),
            ..SessionOptions::default()
        };
        let session = Session::open(&options, "record", clock.clone())?;
        if turn % 3 == 2 {
            let _all = session.subscribe_raw(&cell()?.all(), |_| ())?;
            std::thread::sleep(MEET);
            other.begin()?;
            let (used, begun) = (cpu_time(), std::time::Instant::now());
            other.end()?;
            floor_cpu += cpu_time().saturating_sub(used);
            floor_secs += begun.elapsed();
            continue;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let file = folder.join(format!("{turn}.mcap"));
        let recorder = {
            let (stop, file) = (stop.clone(), file.clone());
            let options = options_of(&clock)?;
            std::thread::Builder::new()
                .name("record".into())
                .spawn(move || run_recording(&options, &file, &session, &stop, |_| ()))
                .context("a thread")?
        };
        std::thread::sleep(MEET);
        other.begin()?;
        let (used, begun) = (cpu_time(), std::time::Instant::now());
        with.push(other.end()?);
        cpu += cpu_time().saturating_sub(used);
        secs += begun.elapsed();
        // What was sent last is on its way.
        std::thread::sleep(MEET);
        stop.store(true, Ordering::Relaxed);
        let Ok(progress) = recorder.join() else {
            bail!("the recorder panicked");
        };
        let progress = progress?;
        let found = inspect(&file)?;
        let lost = found.channels.iter().filter_map(|c| c.continuity);
        missing += lost.map(|c| c.missing).sum::<u64>();
        dropped += progress.dropped;
        messages += progress.messages;
        bytes += progress.bytes;
        std::fs::remove_file(&file).with_context(|| format!("file {}", file.display()))?;
    }
    let sent: u64 = with.iter().filter_map(|t| t["sent"].as_u64()).sum();
    Ok(json!({
        "cameras": args.cameras,
        "rate_hz": args.rate_hz,
        "telemetry_hz": RATE_HZ,
        "secs": secs.as_secs_f64(),
        "messages": messages,
        "sent": sent,
        "dropped": dropped,
        "missing": missing,
        "megabytes_per_sec": bytes as f64 / 1e6 / secs.as_secs_f64(),
        "cpu_share_of_one_core": cpu.as_secs_f64() / secs.as_secs_f64(),
        "receiving_alone_share_of_one_core": floor_cpu.as_secs_f64() / floor_secs.as_secs_f64(),
        "with": with,
        "without": without,
    }))
}

fn options_of(clock: &Arc<MonotonicClock>) -> anyhow::Result<RecordingOptions> {
    let cell = cell()?;
    let about = About {
        cell: cell.name().clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        clock: clock.id(),
        unix_offset: clock.unix_offset(),
    };
    let listened = Listened {
        cell,
        arms: vec![],
        devices: vec![],
        cameras: vec![],
        engines: vec![],
    };
    Ok(RecordingOptions {
        listened,
        about,
        configuration: Default::default(),
        attached: vec![],
    })
}

/// CPU time of all threads of this process, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The process that is the cell.
struct Other {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    endpoint: String,
}

impl Other {
    fn start(args: &RecordBenchArgs) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("where this program lies")?;
        let numbers = [
            ("--cameras", u64::from(args.cameras)),
            ("--rate-hz", args.rate_hz.into()),
            ("--secs", args.secs.into()),
        ];
        let mut command = Command::new(exe);
        command.args(["--log", "warn", "bench", "record", "--be-cell"]);
        for (flag, number) in numbers {
            command.args([flag, &number.to_string()]);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.context("the cell's process")?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the cell's process has no pipes");
        };
        let mut other = Self {
            child,
            to,
            from: BufReader::new(from),
            endpoint: String::new(),
        };
        other.endpoint = other.line()?;
        Ok(other)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).context("the cell's words")?;
        if read == 0 {
            bail!("the cell's process ended");
        }
        Ok(line.trim().to_owned())
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        writeln!(self.to, "turn").context("the cell's process")
    }

    fn end(&mut self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.line()?).context("the cell's figures")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(e) = ended {
            tracing::warn!("the cell's process: {e}");
        }
    }
}

/// Is the cell: says where it listens, and then for every line that comes runs a turn and says what that was.
fn be_cell(args: &RecordBenchArgs) -> anyhow::Result<()> {
    let clock = Arc::new(MonotonicClock::new()?);
    let session = Session::open(&SessionOptions::default(), "bench", clock.clone())?;
    let endpoint = session.endpoints().first().cloned();
    let mut talk = Talk::new(args, &session)?;
    result::line(endpoint.context("no endpoint")?)?;
    let secs = f64::from(args.secs);
    for line in std::io::stdin().lines() {
        line.context("stdin")?;
        let sent = talk.sent;
        let stop = AtomicBool::new(false);
        let measured = std::thread::scope(|scope| {
            let talking = scope.spawn(|| talk.run(clock.as_ref(), &stop));
            let spec = RealtimeSpec {
                priority: 80,
                cpu: None,
                spin: Duration::ZERO,
            };
            let period = Duration::from_micros(1000);
            let measured = beat::measure(&spec, period, secs, clock.as_ref());
            stop.store(true, Ordering::Relaxed);
            match talking.join() {
                Ok(talked) => talked.and(Ok(measured?)),
                Err(_) => bail!("the talking thread panicked"),
            }
        });
        let (beat, _) = measured?;
        let figures = json!({
            "lateness_us": micros(&beat.lateness),
            "missed": beat.missed,
            "sent": talk.sent - sent,
        });
        result::line(figures)?;
    }
    Ok(())
}

fn micros(durations: &Durations) -> Value {
    let q = durations.quantiles();
    let micros = |d: Duration| (d.as_secs_f64() * 1e7).round() / 10.0;
    json!({ "p50": micros(q.p50), "p99": micros(q.p99), "max": micros(q.max) })
}

/// A camera: where it publishes, its name, its pictures.
type Eye = (Publisher<CameraFrame>, Arc<str>, Vec<Arc<[u8]>>);

/// What a cell says.
struct Talk {
    cameras: Vec<Eye>,
    states: Publisher<JointState>,
    applied: Publisher<AppliedBatch>,
    ticks: Publisher<TickBatch>,
    frame_every: u64,
    tick: u64,
    sent: u64,
}

impl Talk {
    fn new(args: &RecordBenchArgs, session: &Session) -> anyhow::Result<Self> {
        let cell = cell()?;
        let mut cameras = Vec::new();
        for k in 0..u32::from(args.cameras) {
            let name = Name::new(&format!("camera{k}"))?;
            let publisher = session.publisher(&cell.key(&Topic::CameraImage(name.clone())))?;
            let picture = |n| picture::encode(&scene(640, 480, n + 100 * k), 90);
            let pictures = (0..PICTURES).map(|n| Ok(picture(n)?.into()));
            let pictures = pictures.collect::<anyhow::Result<_>>()?;
            cameras.push((publisher, name.shared(), pictures));
        }
        let arm = Name::new("arm")?;
        Ok(Self {
            cameras,
            states: session.publisher(&cell.key(&Topic::DeviceState(arm.clone())))?,
            applied: session.publisher(&cell.key(&Topic::ArmApplied(arm.clone())))?,
            ticks: session.publisher(&cell.key(&Topic::ArmTicks(arm)))?,
            frame_every: (RATE_HZ / u64::from(args.rate_hz)).max(1),
            tick: 0,
            sent: 0,
        })
    }

    fn run(&mut self, clock: &dyn Clock, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut ticker = Ticker::new(Duration::from_micros(1_000_000 / RATE_HZ), clock.now());
        let (mut applied, mut notes) = (AppliedBatch::default(), TickBatch::default());
        while !stop.load(Ordering::Relaxed) {
            // A tick that comes late says what the missed ones would have said, too: nothing is sent less.
            let wait = ticker.wait(clock);
            for _ in 0..=wait.overruns {
                self.tick += 1;
                let now = clock.now();
                let state = state(self.tick, now);
                self.states.put(&state)?;
                applied.applied.push(Applied {
                    command: command(self.tick, &state),
                    at: now,
                });
                notes.ticks.push(note(self.tick, now, state));
                self.sent += 1;
                if notes.ticks.len() == BATCH {
                    self.applied.put(&applied)?;
                    self.ticks.put(&notes)?;
                    self.sent += 2;
                    applied.applied.clear();
                    notes.ticks.clear();
                }
                self.frames(now)?;
            }
        }
        Ok(())
    }

    fn frames(&mut self, now: Time) -> anyhow::Result<()> {
        let number = self.tick / self.frame_every;
        for (k, (camera, name, pictures)) in self.cameras.iter().enumerate() {
            if self.tick % self.frame_every != k as u64 {
                continue;
            }
            camera.put(&CameraFrame {
                camera: name.clone(),
                captured_at: now,
                received_at: now,
                seq: number,
                width: 640,
                height: 480,
                encoding: Encoding::Jpeg,
                data: pictures[(number % u64::from(PICTURES)) as usize].clone(),
            })?;
            self.sent += 1;
        }
        Ok(())
    }
}

fn state(seq: u64, now: Time) -> JointState {
    JointState {
        captured_at: now,
        seq,
        epoch: 1,
        q: JointVec::from_fn(JOINTS, |i| (seq as f64 * 1e-3 + i as f64).sin()),
        dq: JointVec::from_fn(JOINTS, |i| (seq as f64 * 1e-3 + i as f64).cos()),
        opening: 0.5,
        torque: true,
    }
}

fn command(tick: u64, state: &JointState) -> tactus_types::Command {
    let zero = JointVec::zeros(JOINTS);
    tactus_types::Command {
        tick,
        epoch: state.epoch,
        q: state.q,
        dq: state.dq,
        ddq: zero,
        opening: state.opening,
        setpoint: Setpoint {
            source: Source::Policy,
            q: state.q,
            dq: state.dq,
            ddq: zero,
            opening: state.opening,
            request_id: tick / 100,
            action_index: 3,
            observed_at: Some(state.captured_at),
        },
        clamped_by: ClampedBy::default(),
        clamped_rad: 0.0,
        generation: Generation { boot: 1, count: 1 },
        torque: Torque::Keep,
    }
}

fn note(tick: u64, now: Time, state: JointState) -> TickNote {
    TickNote {
        tick,
        now,
        state: Some(state),
        reply: None,
        operator: None,
        engine_alive: true,
        engine_silent: Duration::from_millis(3),
        dead_camera: None,
        driver_error: None,
        asked: vec![],
    }
}

fn print(report: &Value) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "control lateness, us",
        "p50 of each turn",
        "p99 of each turn",
        "missed ticks",
    ]);
    for (row, field) in [("recording", "with"), ("not recording", "without")] {
        let turns: &[Value] = report[field].as_array().map_or(&[], Vec::as_slice);
        let all = |q: &str| {
            let value =
                |t: &Value| format!("{:.0}", t["lateness_us"][q].as_f64().unwrap_or(f64::NAN));
            turns.iter().map(value).collect::<Vec<_>>().join(" ")
        };
        let missed: u64 = turns.iter().filter_map(|t| t["missed"].as_u64()).sum();
        table.add_row([row.to_owned(), all("p50"), all("p99"), missed.to_string()]);
    }
    result::line(table)?;
    let number = |field: &str| report[field].as_f64().unwrap_or(f64::NAN);
    result::line(format_args!(
        "{} cameras of 640x480 JPEG at {} Hz and {} Hz of states, commands and ticks: {:.1} MB/s, {} messages sent, {} recorded, {} dropped, {} missing; the recorder took {:.1} % of one core, receiving alone {:.1} %",
        report["cameras"],
        report["rate_hz"],
        report["telemetry_hz"],
        number("megabytes_per_sec"),
        report["sent"],
        report["messages"],
        report["dropped"],
        report["missing"],
        number("cpu_share_of_one_core") * 100.0,
        number("receiving_alone_share_of_one_core") * 100.0,
    ))
}
