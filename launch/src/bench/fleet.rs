//! `tactus bench fleet`: how many arms one engine serves in time, and what more engines behind a router bring.
//!
//! The arms are those of a cell file, the scheduler is the engine's own, the clock is virtual; what inferences take is read from
//! recordings or modelled, and said in the figures. Decides nothing; `tactus-control`'s `fleet` does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use tactus_control::Demand;
use tactus_host::Random;
use tactus_record::{Told, read};
use tactus_types::{Stage, StageTimes};
use tactus_wire::{ChunkReply, Topic};

use super::fleet_plot;
use super::fleet_run::{FleetResult, FleetSpec, run};
use crate::cell::{self, Cell};
use crate::cli::FleetArgs;
use crate::{checkout, result};

/// Inferences of a modelled list.
const MODELLED: usize = 1000;
/// Seed of everything that is drawn.
const SEED: u64 = 7;
/// What runs while an engine answers: from the request's turn to the chunk's departure.
const ENGINE: [Stage; 7] = [
    Stage::Assemble,
    Stage::Decode,
    Stage::Preprocess,
    Stage::Vision,
    Stage::Backbone,
    Stage::Context,
    Stage::Denoise,
];

/// Where inference times come from, and they.
pub struct Times {
    /// In tables and plots.
    pub name: String,
    took: Vec<Duration>,
}

/// One engine or more, and as many arms as ask.
pub struct Point {
    /// Arms that ask.
    pub arms: usize,
    /// Engines.
    pub engines: usize,
    /// What became of them.
    pub result: FleetResult,
}

/// Everything of one list of times.
pub struct Curve {
    /// The list.
    pub times: Times,
    /// One engine, from one arm on.
    pub one: Vec<Point>,
    /// Engines behind a router, each with more arms than it can serve.
    pub routed: Vec<Point>,
}

/// Runs the benchmark.
pub fn fleet(args: &FleetArgs) -> anyhow::Result<()> {
    let file = match &args.cell {
        Some(file) => file.clone(),
        None => checkout::demo_cell()?,
    };
    let cell = cell::load(&file)?;
    let mut lists = Vec::new();
    for recording in &args.recording {
        lists.push(recorded(recording, &cell)?);
    }
    for ms in &args.model_ms {
        lists.push(modelled(*ms));
    }
    if lists.is_empty() {
        bail!("expected --recording FILE.mcap or --model-ms MS: what inferences take");
    }
    let outline = tactus_bundle::AnyBundle::open(cell.bundle_dir(None)?)?.outline();
    let timing = cell.timing(&outline, StageTimes::default());
    let curves: Vec<Curve> = lists
        .into_iter()
        .map(|times| curve(args, &timing, times))
        .collect();
    let report = report(args, &curves);
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    if let Some(file) = &args.svg {
        fleet_plot::draw(file, &curves, args.hop_ms)?;
    }
    print(&curves)
}

fn curve(args: &FleetArgs, timing: &tactus_control::Timing, times: Times) -> Curve {
    let budget = &timing.budget;
    let spec = FleetSpec {
        arms: 1,
        engines: 1,
        request: timing.request,
        demand: Demand::of(timing),
        tick: timing.control_period,
        frame_period: timing.frame_period,
        frame_way: budget.get(Stage::Capture) + budget.get(Stage::Transport),
        way: budget.get(Stage::Deliver),
        hop: Duration::ZERO,
        took: &times.took,
        span: Duration::from_secs(args.seconds.into()),
        seed: SEED,
    };
    let one: Vec<Point> = (1..=usize::from(args.arms))
        .map(|arms| Point {
            arms,
            engines: 1,
            result: run(&FleetSpec {
                arms,
                ..spec.clone()
            }),
        })
        .collect();
    let most = one.iter().map(|p| p.result.served()).max().unwrap_or(1);
    let hop = Duration::from_nanos((args.hop_ms * 1e6).round() as u64);
    let routed = (1..=usize::from(args.engines))
        .map(|engines| {
            let arms = engines * (most + 1);
            let result = run(&FleetSpec {
                arms,
                engines,
                hop,
                ..spec.clone()
            });
            Point {
                arms,
                engines,
                result,
            }
        })
        .collect();
    Curve { times, one, routed }
}

/// What the inferences of a recording took.
fn recorded(file: &Path, cell: &Cell) -> anyhow::Result<Times> {
    let mut took = Vec::new();
    read(file, |told| {
        if let Told::Message(message) = told
            && let Ok(Topic::ArmChunk(_)) = cell.wire.topic(message.topic)
            && let Ok(delivery) = message.decode::<ChunkReply>()
            && let ChunkReply::Chunk(chunk) = delivery.message
        {
            took.push(
                ENGINE
                    .into_iter()
                    .map(|stage| chunk.stages.get(stage))
                    .sum(),
            );
        }
        true
    })?;
    if took.len() < 20 {
        bail!(
            "{}: expected 20 chunks or more of cell `{}`, got {}",
            file.display(),
            cell.name,
            took.len()
        );
    }
    let name = file.file_stem().map(|name| name.to_string_lossy());
    let name = format!("recorded: {}", name.unwrap_or_default());
    Ok(Times { name, took })
}

/// Inferences of `ms` milliseconds, as even as a GPU's that does nothing else: up to 2 % more or less, one in a hundred a
/// third longer.
fn modelled(ms: f64) -> Times {
    let mut random = Random(SEED);
    let mut draw = || {
        let share = match random.share() < 0.01 {
            true => 1.33,
            false => 0.98 + 0.04 * random.share(),
        };
        Duration::from_nanos((share * ms * 1e6).round() as u64)
    };
    Times {
        name: format!("modelled: {ms} ms"),
        took: (0..MODELLED).map(|_| draw()).collect(),
    }
}

fn millis(took: &[Duration], percent: usize) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    1e3 * sorted.get(rank).copied().unwrap_or_default().as_secs_f64()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn report(args: &FleetArgs, curves: &[Curve]) -> Value {
    let point = |point: &Point| {
        let of = |value: Option<f64>| value.map(rounded);
        let result = &point.result;
        json!({
            "arms": point.arms,
            "engines": point.engines,
            "served": result.served(),
            "missed": result.missed(),
            "chunks": result.arms.iter().map(|arm| arm.chunks).sum::<u64>(),
            "busy": rounded(result.busy),
            "slack_ms": {
                "least": of(result.quantile(|arm| &arm.slack, 0.0)),
                "p1": of(result.quantile(|arm| &arm.slack, 0.01)),
                "p50": of(result.quantile(|arm| &arm.slack, 0.5)),
            },
            "age_ms": {
                "p50": of(result.quantile(|arm| &arm.age, 0.5)),
                "p99": of(result.quantile(|arm| &arm.age, 0.99)),
            },
        })
    };
    let curve = |curve: &Curve| {
        let took = &curve.times.took;
        json!({
            "times": curve.times.name,
            "inferences": took.len(),
            "inference_ms": {
                "p50": rounded(millis(took, 50)),
                "p99": rounded(millis(took, 99)),
                "max": rounded(millis(took, 100)),
            },
            "one_engine": curve.one.iter().map(point).collect::<Vec<_>>(),
            "behind_a_router": curve.routed.iter().map(point).collect::<Vec<_>>(),
        })
    };
    json!({
        "seconds": args.seconds,
        "hop_ms": args.hop_ms,
        "curves": curves.iter().map(curve).collect::<Vec<_>>(),
    })
}

fn print(curves: &[Curve]) -> anyhow::Result<()> {
    for curve in curves {
        let took = &curve.times.took;
        result::line(format!(
            "{} ({} inferences: p50 {:.1} ms, p99 {:.1} ms)",
            curve.times.name,
            took.len(),
            millis(took, 50),
            millis(took, 99)
        ))?;
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "engines",
            "arms",
            "served",
            "missed",
            "busy",
            "slack, ms: least",
            "p1",
            "p50",
            "age, ms: p50",
            "p99",
        ]);
        let routed = curve.routed.iter().map(|point| ("router: ", point));
        for (router, point) in curve.one.iter().map(|point| ("", point)).chain(routed) {
            let result = &point.result;
            let figure = |value: Option<f64>| value.map(|v| format!("{v:.0}")).unwrap_or_default();
            table.add_row([
                format!("{router}{}", point.engines),
                point.arms.to_string(),
                result.served().to_string(),
                result.missed().to_string(),
                format!("{:.0} %", 100.0 * result.busy),
                figure(result.quantile(|arm| &arm.slack, 0.0)),
                figure(result.quantile(|arm| &arm.slack, 0.01)),
                figure(result.quantile(|arm| &arm.slack, 0.5)),
                figure(result.quantile(|arm| &arm.age, 0.5)),
                figure(result.quantile(|arm| &arm.age, 0.99)),
            ]);
        }
        result::line(table)?;
    }
    Ok(())
}
