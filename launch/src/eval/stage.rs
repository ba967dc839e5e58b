//! Where trials are run: the simulated cell, in lock-step or in real time; and what is measured meanwhile.
//!
//! Every trial is run by an arm host of its own, so that none depends on those before it: in lock-step a trial that is run
//! again gives the same commands bit for bit, in real time the cell's processes are started anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use anyhow::{Context, bail};
use tactus_bundle::AnyBundle;
use tactus_control::Order;
use tactus_eval::trial::Figures;
use tactus_host::Lockstep;
use tactus_sim::Task;
use tactus_types::{CameraFrame, Encoding, Policy, Source, Stage as Part};

use super::operator::Operator;
use super::setting::Setting;
use super::store::TrialFiles;
use crate::cell::Cell;
use crate::cli::{DemoArgs, PolicyArgs, TaskWord};
use crate::conductor::{self, TrialOf, variation};
use crate::live::Shared;
use crate::lockstep::{Counted, SimPlant, Stages, run_episode_seen, scribe, spec};
use crate::summary::{Millis, Row};
use crate::{lockstep, roles};

/// One trial to run.
pub struct Run<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Index of the policy, its bundle's directory and id.
    pub bundle: (usize, &'a Path, &'a str),
    /// Of the world and of the policy's noise.
    pub seed: u64,
    /// What the arm is told.
    pub instruction: String,
    /// What counts as done.
    pub task: Option<Task>,
    /// It is over after this without success, s.
    pub limit_secs: f64,
    /// No two trials have the same.
    pub boot: u64,
    /// What it leaves.
    pub files: &'a TrialFiles,
    /// Ctrl-C.
    pub stop: &'a AtomicBool,
}

/// How trials are run.
pub enum Stage {
    /// On a virtual clock.
    Lockstep {
        /// Of every policy, once it was opened, with what its stages took in the last trial.
        policies: Vec<Option<(Box<dyn Policy>, Stages)>>,
        /// The simulated world.
        plant: Option<SimPlant>,
    },
    /// As processes.
    RealTime,
    /// As processes, judged by an operator.
    Operator(Box<Operator>),
}

/// The bundle of a policy, and nothing else.
pub fn policy_args(dir: &Path) -> PolicyArgs {
    PolicyArgs {
        bundle: Some(dir.to_path_buf()),
        ..PolicyArgs::default()
    }
}

fn pair(millis: Millis) -> [f64; 2] {
    [millis.p50, millis.p99]
}

impl Stage {
    /// By the word of the results file.
    pub fn new(mode: &str, setting: &Setting) -> anyhow::Result<Self> {
        Ok(match mode {
            "lockstep" => Self::Lockstep {
                policies: setting.bundles.iter().map(|_| None).collect(),
                plant: None,
            },
            "real_time" => Self::RealTime,
            other => bail!("this program does not know how to run trials by `{other}`"),
        })
    }

    /// Runs a trial; one that was cut short says so in its row.
    pub fn run(&mut self, run: &Run<'_>) -> anyhow::Result<(Row, Figures)> {
        match self {
            Self::Lockstep { policies, plant } => lockstep(run, policies, plant),
            Self::RealTime => real_time(run),
            Self::Operator(_) => bail!("an operator's trials are not run by themselves"),
        }
    }
}

fn lockstep(
    run: &Run<'_>,
    policies: &mut [Option<(Box<dyn Policy>, Stages)>],
    kept: &mut Option<SimPlant>,
) -> anyhow::Result<(Row, Figures)> {
    let (index, dir, id) = run.bundle;
    let (policy, inference) = match policies[index].take() {
        Some(kept) => kept,
        None => {
            let info = tactus_sim::arm_info();
            let policy =
                roles::open_policy(run.cell, &policy_args(dir), &info.joints, Some(&info))?;
            if **policy.bundle_id() != *id {
                bail!(
                    "{} is bundle {}, no longer {id}",
                    dir.display(),
                    policy.bundle_id()
                );
            }
            let inference = Stages::default();
            let counted = Counted {
                policy,
                inference: Arc::clone(&inference),
            };
            (Box::new(counted) as Box<dyn Policy>, inference)
        }
    };
    *inference.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    let cameras = policy.cameras().to_vec();
    let spec = spec(run.cell, &cameras, run.boot)?;
    let plant = match kept.take() {
        Some(plant) => plant.seen_by(cameras),
        None => SimPlant::new(run.seed, variation(None, run.cell), cameras)?,
    };
    let (digest, provider) = (lockstep::digest(&spec), policy.provider().to_owned());
    let mut lockstep = Lockstep::new(spec, plant, policy);
    let recording = run.files.recording();
    if let Some(file) = &recording {
        let decided = (run.boot, digest);
        lockstep.scribe = Some(scribe(file, run.cell, decided, (&provider, id))?);
    }
    let camera = run.cell.cameras.first().map(|c| c.name.to_string());
    let mut figures = Figures::default();
    if let Some(camera) = &camera {
        lockstep.plant.reset(run.seed);
        let picture = lockstep.plant.picture(camera)?;
        figures.first = Some(run.files.picture("first", &picture)?);
    }
    lockstep.tick()?;
    lockstep.order(&Order::Enable)?;
    let before = lockstep.cycle.counters;
    let told = (run.instruction.clone(), run.task);
    let row = run_episode_seen(
        &mut lockstep,
        0,
        run.seed,
        told,
        run.limit_secs,
        |output, now| {
            figures.ticks += 1;
            let Some(command) = &output.command else {
                return;
            };
            figures.held_ticks += u64::from(command.setpoint.source == Source::Hold);
            if command.setpoint.source == Source::Policy
                && let Some(observed_at) = command.setpoint.observed_at
            {
                figures.count_age(now.since(observed_at).as_millis() as u64);
            }
        },
    )?;
    let after = lockstep.cycle.counters;
    figures.starved_ticks = after.starved_ticks - before.starved_ticks;
    figures.limited_ticks = after.limited_ticks - before.limited_ticks;
    figures.holds = row.holds;
    figures.chunks = row.chunks;
    figures.sparc = row.motion.map(|m| m.sparc);
    figures.commands_sha256.clone_from(&row.commands_sha256);
    if let Some(camera) = &camera {
        let picture = lockstep.plant.picture(camera)?;
        figures.last = Some(run.files.picture("last", &picture)?);
    }
    if let Some(scribe) = lockstep.scribe.take() {
        scribe.finish()?;
        figures.recording = run.files.recorded()?;
    }
    let (plant, policy) = lockstep.into_parts();
    *kept = Some(plant);
    {
        let counted = inference.lock().unwrap_or_else(PoisonError::into_inner);
        figures.inference_ms = Some(pair(Millis::of(&counted.0)));
        for (durations, part) in counted.1.iter().zip(Part::ALL) {
            figures
                .stages_ms
                .insert(part.name().into(), pair(Millis::of(durations)));
        }
    }
    policies[index] = Some((policy, inference));
    Ok((row, figures))
}

fn real_time(run: &Run<'_>) -> anyhow::Result<(Row, Figures)> {
    let (_, dir, id) = run.bundle;
    let bundle = AnyBundle::open(dir)?;
    if **bundle.id() != *id {
        bail!(
            "{} is bundle {}, no longer {id}",
            dir.display(),
            bundle.id()
        );
    }
    let args = DemoArgs {
        headless: true,
        lockstep: false,
        episodes: Some(1),
        seed: run.seed,
        instruction: Some(run.instruction.clone()),
        task: TaskWord::Both,
        variation: None,
        cell: None,
        record: run.files.recording(),
        json: None,
        running: false,
        policy: policy_args(dir),
    };
    let shared = Shared::new(run.cell, Some(1), false);
    let trial = TrialOf {
        limit_secs: run.limit_secs,
    };
    let (summary, cut) = conductor::real_time(
        &args,
        run.cell,
        id.to_owned(),
        false,
        run.stop,
        Some((trial, &shared)),
    )?;
    if summary.bundle_id != id {
        bail!("the engine ran bundle {}, not {id}", summary.bundle_id);
    }
    let mut row = summary
        .rows
        .into_iter()
        .next()
        .context("the episode did not begin")?;
    if let Some(e) = cut {
        row.aborted.get_or_insert(format!("{e:#}"));
    }
    let live = shared.lock();
    let jpeg = |frame: &Option<CameraFrame>, which| {
        let frame = frame.as_ref().filter(|f| f.encoding == Encoding::Jpeg);
        frame.map(|f| run.files.picture(which, &f.data)).transpose()
    };
    let first = jpeg(&live.pictures.first, "first")?;
    let last = jpeg(&live.pictures.last, "last")?;
    let commands = &live.commands;
    let ticks = (row.secs * run.cell.control_rate_hz).round() as u64;
    let mut misses = BTreeMap::new();
    if let Some(figures) = &summary.misses {
        let missed = &figures.misses;
        misses.extend(Part::ALL.map(|p| (p.name().to_owned(), missed.of(p))));
        misses.extend([
            ("host".into(), missed.host),
            ("unanswered".into(), missed.unanswered),
        ]);
        misses.retain(|_, count| *count > 0);
    }
    let stages_ms = summary.stages_ms.iter().filter_map(|(name, value)| {
        Some((
            name.clone(),
            [value.get("p50")?.as_f64()?, value.get("p99")?.as_f64()?],
        ))
    });
    let figures = Figures {
        ticks,
        starved_ticks: summary.starved_ticks,
        // Of the commands that came over the wire, which the arm host thins out.
        held_ticks: (ticks * commands.held)
            .checked_div(commands.all)
            .unwrap_or(0),
        limited_ticks: summary.limited_ticks,
        holds: row.holds,
        chunks: row.chunks,
        misses,
        stages_ms: stages_ms.collect(),
        inference_ms: Some(pair(summary.inference_ms)),
        age_histogram: commands.ages.age_histogram.clone(),
        lateness_us: summary.control.map(|c| {
            let late = c.lateness_us;
            [late.p50, late.p99, late.p999, late.max]
        }),
        sparc: row.motion.map(|m| m.sparc),
        commands_sha256: None,
        first,
        last,
        recording: run.files.recorded()?,
    };
    Ok((row, figures))
}
