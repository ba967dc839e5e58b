//! `tactus bench explain`: what reasoning beside the policy costs the policy.
//!
//! The simulated cell in real time, in turns: without explanations, with them, and so on, each turn a start of all processes.
//! Decides what is measured (every chunk's inference and overhead, by the arm host's own account) and says the change of the
//! quantiles; whether that is little enough is for the reader.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tactus_wire::{Delivery, EngineStatus, ModeOrder, Nothing, Reasoning, Topic};

use crate::cell::{self, Cell};
use crate::children::{self, Children};
use crate::cli::{ExplainBenchArgs, PolicyArgs, RoleArgs};
use crate::live::Shared;
use crate::{checkout, order, result, roles};

/// All processes must be up within this time.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Chunks at the beginning of a turn, which warm up.
const SETTLE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(100);

/// Measures.
pub fn explain_bench(args: &ExplainBenchArgs) -> anyhow::Result<()> {
    let file = match &args.cell {
        Some(file) => file.clone(),
        None => checkout::demo_cell()?,
    };
    let cell = cell::load(&file)?;
    ensure!(
        cell.sim.is_some(),
        "cell file {}: expected [sim]",
        file.display()
    );
    let (mut without, mut with) = (Samples::default(), Samples::default());
    for turn in 0..args.turns {
        for hz in [None, Some(args.hz)] {
            let samples = if hz.is_some() {
                &mut with
            } else {
                &mut without
            };
            let before = samples.inference.len();
            measure(args, &cell, hz, samples)?;
            eprintln!(
                "turn {} {}: {} chunks, {} explanations",
                turn + 1,
                if hz.is_some() { "with" } else { "without" },
                samples.inference.len() - before,
                samples.talks
            );
        }
    }
    ensure!(
        !with.inference.is_empty() && !without.inference.is_empty(),
        "no chunk came"
    );
    let report = json!({
        "hz": args.hz, "turns": args.turns, "secs": args.secs,
        "without": without.json(), "with": with.json(),
    });
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("result file {}", file.display()))?;
    }
    result::line(format_args!(
        "{} chunks without explanations and {} with them at {} Hz ({} talks of {:.0} tokens in {:.0} ms)",
        without.inference.len(),
        with.inference.len(),
        args.hz,
        with.talks,
        with.tokens as f64 / f64::from(with.talks.max(1)),
        1e3 * with.talked.as_secs_f64() / f64::from(with.talks.max(1)),
    ))?;
    for (name, a, b) in [
        ("inference", &without.inference, &with.inference),
        ("overhead", &without.overhead, &with.overhead),
    ] {
        for share in [0.5, 0.99] {
            let (a, b) = (quantile(a, share), quantile(b, share));
            let change = 100.0 * (b / a - 1.0);
            result::line(format_args!(
                "{name} p{:.0}: {a:.2} ms without, {b:.2} ms with: {change:+.1} %",
                100.0 * share
            ))?;
        }
    }
    Ok(())
}

/// What was measured, ms.
#[derive(Debug, Default)]
struct Samples {
    inference: Vec<f64>,
    overhead: Vec<f64>,
    talks: u32,
    tokens: u64,
    talked: Duration,
}

impl Samples {
    fn json(&self) -> Value {
        let of =
            |values: &[f64]| json!({ "p50": quantile(values, 0.5), "p99": quantile(values, 0.99) });
        json!({
            "chunks": self.inference.len(), "inference_ms": of(&self.inference), "overhead_ms": of(&self.overhead),
            "talks": self.talks, "tokens": self.tokens,
        })
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (share * sorted.len() as f64) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

/// One turn.
fn measure(
    args: &ExplainBenchArgs,
    cell: &Cell,
    hz: Option<f64>,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let endpoint = children::free_endpoint(cell)?;
    let role = RoleArgs {
        cell: cell.file.clone(),
        connect: vec![],
        listen: vec![endpoint.clone()],
        supervised: false,
        host: None,
    };
    let session = roles::session(&role, "bench")?;
    let policy = PolicyArgs {
        explain: hz,
        ..args.policy.clone()
    };
    let mut children = Children::start(cell, &endpoint, &policy, "warn", None)?;
    let shared = Shared::new(cell, Some(1), false);
    let _followed = shared.follow(&session, &cell.wire, cell, false)?;
    let (to, talks) = std::sync::mpsc::sync_channel(1024);
    let key = cell.wire.key(&Topic::EngineReasoning(cell.engine.clone()));
    let _talks = session.subscribe(&key, move |said: Result<Delivery<Reasoning>, _>| {
        if let Ok(said) = said
            && said.message.finish.is_some()
        {
            // The end of the turn drops the other end.
            let _ = to.send(said.message);
        }
    })?;
    let until = Instant::now() + UP_WITHIN;
    let status = cell.wire.key(&Topic::EngineStatus(cell.engine.clone()));
    loop {
        children.check_all_run()?;
        let within = Duration::from_millis(500);
        let engine = session.query::<Nothing, EngineStatus>(&status, &Nothing, within);
        let live = shared.lock();
        if engine.is_ok() && live.mode.is_some() && live.state.is_some() && live.world.is_some() {
            break;
        }
        drop(live);
        if Instant::now() > until {
            bail!(
                "not all processes came up within {UP_WITHIN:?}; see {}",
                children.logs.display()
            );
        }
        std::thread::sleep(EVERY);
    }
    let authority = order::authority(&session, cell, "bench", order::rank(false))?;
    order::under(&authority, cell, &ModeOrder::Enable, true)?;
    let begin = ModeOrder::StartEpisode {
        episode: 0,
        instruction: "pick up the red cube".into(),
        seed: 7001,
    };
    order::under(&authority, cell, &begin, true)?;
    let begun = Instant::now();
    let mut last = 0;
    while begun.elapsed() < SETTLE + Duration::from_secs(args.secs.into()) {
        std::thread::sleep(EVERY / 10);
        let Some(telemetry) = shared.lock().telemetry else {
            continue;
        };
        if telemetry.request_id != last && telemetry.request_id != 0 {
            last = telemetry.request_id;
            if begun.elapsed() > SETTLE {
                samples.inference.push(telemetry.inference_millis);
                samples.overhead.push(telemetry.overhead_millis);
            }
        }
    }
    children.check_all_run()?;
    for talk in talks.try_iter() {
        samples.talks += 1;
        samples.tokens += u64::from(talk.tokens);
        samples.talked += talk.elapsed;
    }
    drop(authority);
    children.end();
    Ok(())
}
