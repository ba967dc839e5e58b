//! `tactus drill`: breaks a cell on purpose and shows what follows: which rung, how soon, how smoothly, and whether the
//! cell works again.
//!
//! In lock-step: the decisions of the real thing on a virtual clock, with chunks that the policy made at the beginning of
//! the drill, the fault acting at the boundary messages. In real time (`live`): a running cell whose processes are killed
//! and stopped, and whose links are broken. Decides what is injected when; what should follow stands in `catalogue`, and
//! is judged in `trial` and `watch`.

mod catalogue;
mod human;
mod live;
mod recorded;
mod report;
mod soak;
mod takeover;
mod trial;
mod watch;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tactus_control::Order;
use tactus_host::{Lockstep, LockstepSpec};
use tactus_sim::{Cube, Task, TaskKind};
use tactus_types::Policy;

use crate::cell::{self, Cell};
use crate::cli::{DrillArgs, DrillSet};
use crate::lockstep::{CAPTURE_DELAY, INFERENCE_DELAY, SimPlant};
use crate::{checkout, result, roles};

use catalogue::{CATALOGUE, Expect, Wish};
use recorded::{Chunks, Recorded, Recording};
pub use trial::In;
use trial::{Outcome, Playback, Trial};

/// Seconds of an episode that are recorded: as long as a trial lets the policy move, and some.
const RECORD: Duration = Duration::from_secs(5);
/// Repetitions of `drill quick`.
const QUICK: u64 = 3;
/// Repetitions of `drill takeover`.
const TAKEOVERS: u64 = 200;

/// `tactus drill`. Exit code 3 when anything fell short.
pub fn drill(args: &DrillArgs) -> anyhow::Result<ExitCode> {
    let file = match &args.cell {
        Some(file) => file.clone(),
        None => checkout::demo_cell()?,
    };
    let cell = cell::load(&file)?;
    if args.real_time {
        return live::drill(args, &cell);
    }
    if args.list {
        result::line(report::list(&cell.ladder))?;
        return Ok(ExitCode::SUCCESS);
    }
    if cell.sim.is_none() {
        bail!(
            "cell file {}: lock-step needs a cell with [sim]; --real-time drills any cell",
            file.display()
        );
    }
    let wishes = args
        .fault
        .iter()
        .map(|text| text.parse::<Wish>())
        .collect::<Result<Vec<_>, _>>()?;
    for camera in wishes.iter().filter_map(|wish| wish.camera.as_ref()) {
        if !cell.cameras.iter().any(|c| c.name.as_str() == &**camera) {
            bail!("fault of camera `{camera}`: the cell has no camera of that name");
        }
    }
    let repetitions = args.repetitions.unwrap_or(match args.set {
        Some(DrillSet::Quick) => QUICK,
        Some(DrillSet::Takeover) => TAKEOVERS,
        Some(DrillSet::All | DrillSet::Soak) | None => 30,
    });
    let scenes: Vec<(String, Vec<Wish>)> = if wishes.is_empty() {
        if args.set.is_none() {
            bail!("say what to drill: `all`, `quick` or --fault; --list names the faults");
        }
        CATALOGUE
            .iter()
            .map(|entry| (entry.name.into(), vec![Wish::plain(*entry)]))
            .collect()
    } else {
        vec![(args.fault.join(" "), wishes)]
    };
    let modes = match args.mode.as_slice() {
        [] => In::ALL.to_vec(),
        modes => modes.to_vec(),
    };
    let spec = spec(&cell, args)?;
    if args.set == Some(DrillSet::Soak) {
        return soak(args, &cell, &spec);
    }
    if args.set == Some(DrillSet::Takeover) {
        return takeovers(args, &cell, &spec, repetitions);
    }
    let playback = record(args, &cell, &spec, repetitions)?;
    let jobs: Vec<(usize, In, u64)> = (0..scenes.len())
        .flat_map(|scene| modes.iter().map(move |mode| (scene, *mode)))
        .flat_map(|(scene, mode)| (0..repetitions).map(move |k| (scene, mode, k)))
        .collect();
    let outcomes = run(args, &spec, &playback, &scenes, &jobs)?;
    let findings = outcomes.iter().map(report::Finding::lockstep);
    let rows = report::rows(&scenes, &jobs, findings);
    let short = rows.iter().filter(|row| !row.passed()).count();
    result::line(report::matrix(&rows))?;
    result::line(report::summary(&rows))?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report::Document {
            seed: args.seed,
            repetitions,
            bundle_id: playback.bundle_id.to_string(),
            rows: &rows,
        })?;
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    if let Some(file) = &args.svg {
        report::picture(&rows, file)?;
    }
    Ok(if short == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// `tactus drill soak`.
fn soak(args: &DrillArgs, cell: &Cell, spec: &LockstepSpec) -> anyhow::Result<ExitCode> {
    let playback = record(args, cell, spec, 1)?;
    let bar = bar(args.span.as_secs(), "seconds simulated")?;
    let found = soak::soak(spec, &playback, args.seed, args.span, &bar)?;
    bar.finish_and_clear();
    result::line(format_args!("{found}"))?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&found)?;
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if found.short.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// `tactus drill takeover`.
fn takeovers(
    args: &DrillArgs,
    cell: &Cell,
    spec: &LockstepSpec,
    count: u64,
) -> anyhow::Result<ExitCode> {
    let playback = record(args, cell, spec, takeover::EPISODES.min(count))?;
    let bar = bar(count, "takeovers")?;
    let all = takeover::takeovers(spec, &playback, args.seed, count, &bar)?;
    bar.finish_and_clear();
    result::line(takeover::table(&all))?;
    let short: Vec<_> = all.iter().filter(|t| !t.short.is_empty()).collect();
    for t in short.iter().take(10) {
        let (seed, reference) = (t.seed, t.reference);
        result::line(format_args!(
            "seed {seed}, {reference}: {}",
            t.short.join("; ")
        ))?;
    }
    let (passed, count) = (all.len() - short.len(), all.len());
    result::line(format_args!("{passed} of {count} takeovers passed"))?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if short.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// The cell in lock-step.
fn spec(cell: &Cell, args: &DrillArgs) -> anyhow::Result<LockstepSpec> {
    let bundle =
        tactus_bundle::AnyBundle::open(args.policy.bundle.as_deref().unwrap_or(&cell.bundle))?;
    let cameras: Vec<Arc<str>> = bundle
        .outline()
        .cameras
        .iter()
        .map(|camera| camera.name.as_str().into())
        .collect();
    let camera_period = cell.cameras.first().map_or(0.05, |c| 1.0 / c.rate_hz);
    Ok(LockstepSpec {
        arm: cell.arm_spec(1, &tactus_sim::arm_info())?,
        assembly: cell.assembly(&cameras)?,
        camera_period: Duration::try_from_secs_f64(camera_period)?,
        capture_delay: CAPTURE_DELAY,
        inference_delay: INFERENCE_DELAY,
        delivery_delay: Duration::ZERO,
    })
}

fn instruction(seed: u64) -> String {
    let kind = TaskKind::of_seed(&TaskKind::ALL, seed);
    Task::new(kind, Cube::ALL[(seed % 3) as usize]).instruction((seed / 3) as usize)
}

fn bar(len: u64, what: &str) -> anyhow::Result<ProgressBar> {
    let style = format!("{what} {{bar:30}} {{pos}}/{{len}}, {{eta}} left");
    Ok(ProgressBar::new(len).with_style(ProgressStyle::with_template(&style)?))
}

/// Lets the policy run an episode of each seed without faults, and keeps its chunks.
fn record(
    args: &DrillArgs,
    cell: &Cell,
    spec: &LockstepSpec,
    repetitions: u64,
) -> anyhow::Result<Playback> {
    let info = tactus_sim::arm_info();
    let policy = roles::open_policy(cell, &args.policy, &info.joints, Some(&info))?;
    let cameras = policy.cameras().to_vec();
    let bundle_id = policy.bundle_id().clone();
    let chunks = Arc::<Mutex<Chunks>>::default();
    let mut plant = SimPlant::new(args.seed, false, cameras.clone())?;
    let mut policy: Box<dyn Policy> = Box::new(Recording {
        policy,
        chunks: chunks.clone(),
    });
    let bar = bar(repetitions, "episodes recorded")?;
    let mut episodes = Vec::new();
    for seed in (0..repetitions).map(|k| args.seed.wrapping_add(k)) {
        plant.reset(seed);
        let mut lockstep = Lockstep::new(spec.clone(), plant, policy);
        lockstep.tick()?;
        lockstep.order(&Order::Enable)?;
        lockstep.tick()?;
        lockstep.order(&Order::Start {
            instruction: instruction(seed).as_str().into(),
            seed,
        })?;
        let until = lockstep.now() + RECORD;
        while lockstep.now() < until {
            lockstep.tick()?;
        }
        (plant, policy) = lockstep.into_parts();
        let made = std::mem::take(&mut *chunks.lock().unwrap_or_else(PoisonError::into_inner));
        episodes.push(Arc::new(made));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Playback {
        cameras,
        bundle_id,
        episodes,
    })
}

/// Runs all trials, on as many threads as asked for; outcomes in the order of `jobs`.
fn run(
    args: &DrillArgs,
    spec: &LockstepSpec,
    playback: &Playback,
    scenes: &[(String, Vec<Wish>)],
    jobs: &[(usize, In, u64)],
) -> anyhow::Result<Vec<Outcome>> {
    let bar = bar(jobs.len() as u64, "trials")?;
    let queue = Mutex::new(jobs.iter().enumerate());
    let worker = || -> anyhow::Result<Vec<(usize, Outcome)>> {
        let mut plant = SimPlant::new(args.seed, false, playback.cameras.clone())?.unseen();
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, (scene, mode, k))) = next else {
                return Ok(done);
            };
            let (name, wishes) = scenes.get(*scene).context("a scene")?;
            let chunks = playback.episodes.get(*k as usize).context("an episode")?;
            let policy = Recorded {
                chunks: chunks.clone(),
                cameras: playback.cameras.clone(),
                bundle_id: playback.bundle_id.clone(),
            };
            let seed = args.seed.wrapping_add(*k);
            let trial = Trial {
                spec,
                instruction: &instruction(seed),
                seed,
                mode: *mode,
                wishes,
            };
            let outcome;
            (plant, outcome) = trial
                .run(plant, Box::new(policy))
                .with_context(|| format!("{name} in {}, seed {seed}", mode.word()))?;
            done.push((at, outcome));
            bar.inc(1);
        }
    };
    let mut outcomes = std::thread::scope(|scope| -> anyhow::Result<Vec<(usize, Outcome)>> {
        let workers: Vec<_> = (0..args.workers).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok(all)
    })?;
    bar.finish_and_clear();
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}
