//! `tactus bench beat`: how late the control thread's ticks are on this machine, beside what else people use.
//!
//! The contenders take turns of a few seconds, so that what the machine does besides is spread over all of them, under the
//! same load: an engine process that infers without a pause, if that is asked for. Ours is the code of the arm host's
//! control thread with a real tick of seven joints (`tactus-host`'s `beat`); the others only wait.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tactus_bundle::AnyBundle;
use tactus_host::account::{Durations, Quantiles};
use tactus_host::beat::{self, Beat};
use tactus_host::{LoadMeter, Realtime, RealtimeSpec};
use tactus_types::{Clock, HostLoad};
use tactus_wire::MonotonicClock;

use super::contenders;
use crate::cli::{BeatArgs, PolicyArgs};
use crate::{cell, checkout, result, roles};

/// Longest turn of one contender, seconds.
const TURN: u32 = 5;

/// Who keeps the beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Ours { spin: Duration },
    Tokio,
    Python,
}

impl Contender {
    fn name(self) -> String {
        match self {
            Self::Ours { spin } if spin.is_zero() => "tactus".into(),
            Self::Ours { spin } => format!("tactus, spinning {} us", spin.as_micros()),
            Self::Tokio => "tokio interval".into(),
            Self::Python => "python time.sleep".into(),
        }
    }
}

/// Runs the benchmark, or the load of it.
pub fn beat(args: &BeatArgs) -> anyhow::Result<()> {
    if args.be_engine {
        return be_engine(&args.policy);
    }
    let period = cell::period(args.rate_hz.into());
    let clock = MonotonicClock::new()?;
    let mut contenders = vec![Contender::Ours {
        spin: Duration::ZERO,
    }];
    if let Some(micros) = args.spin {
        let spin = Duration::from_micros(micros);
        if spin * 2 > period {
            bail!("--spin: expected at most half of the period of {period:?}, got {spin:?}");
        }
        contenders.push(Contender::Ours { spin });
    }
    contenders.push(Contender::Tokio);
    if contenders::python_is_here() {
        contenders.push(Contender::Python);
    } else {
        eprintln!("no python3 here: its time.sleep loop is left out");
    }
    let engine = match args.engine {
        true => Some(Engine::start(&args.policy)?),
        false => None,
    };
    let turns = args.secs.div_ceil(TURN);
    let secs = f64::from(args.secs) / f64::from(turns);
    let bar = ProgressBar::new(u64::from(turns) * contenders.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {msg}, {eta} left")?);
    let mut meter = LoadMeter::new();
    meter.since_last(clock.now());
    let mut beats: Vec<(Contender, Beat)> = contenders
        .into_iter()
        .map(|c| (c, Beat::default()))
        .collect();
    let mut granted = None;
    for _ in 0..turns {
        for (contender, sum) in &mut beats {
            bar.set_message(contender.name());
            let ticks = (secs * f64::from(args.rate_hz)) as u64;
            let beat = match contender {
                Contender::Ours { spin } => {
                    let spec = RealtimeSpec {
                        priority: args.priority,
                        cpu: args.cpu,
                        spin: *spin,
                    };
                    let (beat, was) = beat::measure(&spec, period, secs, &clock)?;
                    granted = Some(was);
                    beat
                }
                Contender::Tokio => contenders::tokio(period, ticks)?,
                Contender::Python => contenders::python(period, ticks)?,
            };
            sum.add(&beat);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let report = Report {
        rate_hz: args.rate_hz,
        secs: args.secs,
        beats,
        granted: granted.context("a control thread")?,
        load: meter.since_last(clock.now()),
        engine: engine.map(Engine::end).transpose()?,
    };
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report.json()).context("figures as JSON")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("result file {}", file.display()))?;
    }
    result::line(report)
}

/// An engine's work in a process of its own, as in a cell.
struct Engine {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

/// What the engine did meanwhile.
struct Worked {
    chunks: u64,
    p50_millis: f64,
}

impl Engine {
    /// Starts it and waits until it infers.
    fn start(policy: &PolicyArgs) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("where this program lies")?;
        let mut command = Command::new(exe);
        command.args(["bench", "beat", "--be-engine"]);
        if let Some(bundle) = &policy.bundle {
            command.arg("--bundle").arg(bundle);
        }
        if let Some(library) = &policy.onnxruntime {
            command.arg("--onnxruntime").arg(library);
        }
        if policy.require_cuda {
            command.arg("--require-cuda");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the engine's process")?;
        let out = child.stdout.take().context("the engine's output")?;
        let mut engine = Self {
            child,
            said: BufReader::new(out),
        };
        let mut line = String::new();
        engine.said.read_line(&mut line).context("the engine")?;
        match line.trim() {
            "ready" => Ok(engine),
            _ => bail!("the engine that loads the machine did not start; it said why above"),
        }
    }

    /// Ends it: its stdin closes.
    fn end(mut self) -> anyhow::Result<Worked> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.said.read_to_string(&mut text).context("the engine")?;
        self.child.wait().context("the engine")?;
        let mut numbers = text.split_whitespace();
        let mut number = || numbers.next().context("the engine ended early");
        Ok(Worked {
            chunks: number()?.parse()?,
            p50_millis: number()?.parse()?,
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Closed already after an orderly end; otherwise it ends by this.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The load: chunk after chunk, until stdin ends.
fn be_engine(args: &PolicyArgs) -> anyhow::Result<()> {
    let cell = cell::load(&checkout::demo_cell()?)?;
    let bundle = AnyBundle::open(args.bundle.as_deref().unwrap_or(&cell.bundle))?;
    let mut policy = roles::open_policy(&cell, args, &bundle.outline().action.joints, None)?;
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            flag.store(true, Ordering::Relaxed);
        })
        .context("thread `stdin`")?;
    result::line("ready")?;
    let mut took = Durations::default();
    while !ended.load(Ordering::Relaxed) {
        let begun = std::time::Instant::now();
        policy.warm_up()?;
        took.record(begun.elapsed());
    }
    let p50 = took.quantiles().p50.as_secs_f64() * 1e3;
    result::line(format_args!("{} {p50:.3}", took.count()))
}

/// Everything that was found.
struct Report {
    rate_hz: u32,
    secs: u32,
    beats: Vec<(Contender, Beat)>,
    granted: Realtime,
    load: Option<HostLoad>,
    engine: Option<Worked>,
}

impl Report {
    fn json(&self) -> Value {
        let micros = |d: Duration| (d.as_secs_f64() * 1e9).round() / 1e3;
        let quantiles = |d: &Durations| {
            let Quantiles {
                p50,
                p99,
                p999,
                max,
            } = d.quantiles();
            json!({"p50": micros(p50), "p99": micros(p99), "p999": micros(p999), "max": micros(max)})
        };
        let row = |(contender, beat): &(Contender, Beat)| {
            json!({
                "name": contender.name(),
                "lateness_us": quantiles(&beat.lateness),
                "decision_us": (beat.work.count() > 0).then(|| quantiles(&beat.work)),
                "ticks": beat.ticks,
                "missed": beat.missed,
            })
        };
        let engine = self.engine.as_ref();
        json!({
            "rate_hz": self.rate_hz,
            "secs_each": self.secs,
            "rows": self.beats.iter().map(row).collect::<Vec<_>>(),
            "refused": self.granted.missing(),
            "engine": engine.map(|e| json!({"chunks": e.chunks, "p50_ms": e.p50_millis})),
            "host": self.load.map(crate::summary::host_json),
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "lateness, us",
            "p50",
            "p99",
            "p99.9",
            "max",
            "missed",
            "of",
        ]);
        let micros = |d: Duration| format!("{:.1}", d.as_secs_f64() * 1e6);
        for (contender, beat) in &self.beats {
            let Quantiles {
                p50,
                p99,
                p999,
                max,
            } = beat.lateness.quantiles();
            table.add_row([
                contender.name(),
                micros(p50),
                micros(p99),
                micros(p999),
                micros(max),
                beat.missed.to_string(),
                (beat.ticks + beat.missed).to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        for (contender, beat) in &self.beats {
            if let (Contender::Ours { .. }, Quantiles { p50, p99, .. }) =
                (contender, beat.work.quantiles())
            {
                writeln!(
                    f,
                    "{}: a tick of seven joints takes {} us (p99 {} us), {} chunks followed",
                    contender.name(),
                    micros(p50),
                    micros(p99),
                    beat.chunks
                )?;
            }
        }
        match &self.engine {
            Some(Worked { chunks, p50_millis }) => writeln!(
                f,
                "meanwhile an engine made {chunks} chunks, {p50_millis:.1} ms each (median)"
            )?,
            None => writeln!(f, "no engine beside it (--engine)")?,
        }
        if let Some(load) = &self.load {
            writeln!(f, "host: {load}")?;
        }
        match self.granted.missing()[..] {
            [] => write!(
                f,
                "real-time scheduling: granted; the others run as ordinary threads"
            ),
            ref missing => write!(f, "refused: {}", missing.join("\n         ")),
        }
    }
}
