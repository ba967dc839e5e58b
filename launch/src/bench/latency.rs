//! `tactus bench latency`: how much success each scheduling strategy keeps when chunks come late.
//!
//! Every strategy meets the same worlds with the same noise (paired seeds), in lock-step, with the latency added on the
//! virtual clock between observation and chunk. Each episode is a cell of its own, so that its result depends on nothing
//! but strategy, latency and seed, and a run that was interrupted goes on with the episodes that are missing.
//!
//! Decides nothing about how a chunk is scheduled; `tactus-control` does.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tactus_bundle::AnyBundle;
use tactus_control::{Order, ScheduleSpec, Strategy};
use tactus_eval::{Interval, Tally};
use tactus_host::{Lockstep, LockstepSpec};
use tactus_sim::{Cube, Task, TaskKind};
use tactus_types::{Jacobian, Policy};

use super::latency_pace::{BESIDE, quartiles, quicker};
use super::latency_plot;
use crate::cell::{self, Cell};
use crate::cli::LatencyArgs;
use crate::conductor::variation;
use crate::lockstep::{CAPTURE_DELAY, INFERENCE_DELAY, SimPlant, run_episode};
use crate::{checkout, result, roles};

/// Results of episodes, one JSON object per line; the first line says what they belong to.
const RESULTS: &str = "latency.jsonl";

/// Every strategy, by the name that `--strategies` and the results use, with the parameters that are compared.
fn strategies() -> Vec<(&'static str, Strategy)> {
    let guided = |jacobian| Strategy::RtcGuided {
        beta: 5.0,
        jacobian,
    };
    vec![
        ("naive", Strategy::Naive),
        ("align", Strategy::Align),
        (
            "blend",
            Strategy::Blend {
                over: Duration::from_millis(200),
            },
        ),
        ("ensemble", Strategy::Ensemble { decay: 0.01 }),
        ("rtc-prefix", Strategy::RtcPrefix),
        ("rtc-guided", guided(Jacobian::Exact)),
        ("rtc-guided-identity", guided(Jacobian::Identity)),
    ]
}

/// What a results file belongs to: episodes of another bundle or cell do not mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Header {
    bundle_id: String,
    cell: String,
    task: String,
    variation: bool,
    version: String,
}

/// One episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Name of the strategy.
    pub strategy: String,
    /// Added latency, milliseconds.
    pub latency_ms: u64,
    /// Seed of world and noise.
    pub seed: u64,
    /// Whether it was done.
    pub success: bool,
    /// Duration, seconds of the virtual clock.
    pub secs: f64,
    /// Ticks without an action that was due, after the first chunk.
    pub starved_ticks: u64,
    /// Mean seam jump, rad.
    pub seam_jump_mean_rad: f64,
    /// Largest acceleration and jerk of the commands.
    pub acceleration_max: f64,
    /// rad/s^3
    pub jerk_max: f64,
    /// Smoothness.
    pub sparc: f64,
}

/// Where an episode belongs.
type Key = (String, u64, u64);

impl Trial {
    fn key(&self) -> Key {
        (self.strategy.clone(), self.latency_ms, self.seed)
    }
}

/// Runs what is missing, then prints a table and writes the plot.
pub fn latency(args: &LatencyArgs) -> anyhow::Result<()> {
    let file = match &args.cell {
        Some(file) => file.clone(),
        None => checkout::demo_cell()?,
    };
    let cell = cell::load(&file)?;
    let chosen = chosen(&args.strategies)?;
    let bundle = AnyBundle::open(args.policy.bundle.as_deref().unwrap_or(&cell.bundle))?;
    let header = Header {
        bundle_id: bundle.id().to_string(),
        cell: Sha256::digest(std::fs::read(&file)?)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        task: format!("{:?}", args.task).to_lowercase(),
        variation: variation(args.variation, &cell),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("results folder {}", args.out.display()))?;
    let path = args.out.join(RESULTS);
    let mut trials = read(&path, &header)?;
    let there: std::collections::BTreeSet<Key> = trials.iter().map(Trial::key).collect();
    let mut jobs = VecDeque::new();
    for k in 0..args.seeds {
        for latency_ms in &args.latency_ms {
            for (name, strategy) in &chosen {
                let seed = args.seed.wrapping_add(k);
                if !there.contains(&((*name).to_owned(), *latency_ms, seed)) {
                    jobs.push_back((*name, *strategy, *latency_ms, seed));
                }
            }
        }
    }
    if !jobs.is_empty() {
        trials.extend(run(args, &cell, jobs, &path)?);
    }
    result::line(table(&trials, &chosen, &args.latency_ms))?;
    let plot = args.out.join("latency.svg");
    latency_plot::draw(&plot, &trials, &names(&chosen), &args.latency_ms)?;
    eprintln!("results: {}; plot: {}", path.display(), plot.display());
    Ok(())
}

fn names(chosen: &[(&'static str, Strategy)]) -> Vec<&'static str> {
    chosen.iter().map(|(name, _)| *name).collect()
}

fn chosen(wanted: &[String]) -> anyhow::Result<Vec<(&'static str, Strategy)>> {
    let all = strategies();
    for name in wanted {
        if !all.iter().any(|(n, _)| n == name) {
            bail!(
                "--strategies: expected any of {}, got `{name}`",
                names(&all).join(", ")
            );
        }
    }
    let keep = |(name, _): &(&str, Strategy)| wanted.is_empty() || wanted.iter().any(|w| w == name);
    Ok(all.into_iter().filter(keep).collect())
}

/// What is already there; writes the header of a new file.
fn read(path: &Path, header: &Header) -> anyhow::Result<Vec<Trial>> {
    let at = || format!("results {}", path.display());
    if !path.exists() {
        let line = serde_json::to_string(header)? + "\n";
        std::fs::write(path, line).with_context(at)?;
        return Ok(Vec::new());
    }
    let mut lines = BufReader::new(File::open(path).with_context(at)?).lines();
    let first = lines
        .next()
        .transpose()
        .with_context(at)?
        .unwrap_or_default();
    let found: Header = serde_json::from_str(&first).with_context(at)?;
    if found != *header {
        bail!(
            "{}: belongs to {found:?}, and this run is of {header:?}; choose another --out",
            at()
        );
    }
    let mut trials = Vec::new();
    for line in lines {
        let line = line.with_context(at)?;
        // A line cut short by an interruption is an episode that is run again.
        if let Ok(trial) = serde_json::from_str(&line) {
            trials.push(trial);
        }
    }
    Ok(trials)
}

type Job = (&'static str, Strategy, u64, u64);

fn run(
    args: &LatencyArgs,
    cell: &Cell,
    jobs: VecDeque<Job>,
    path: &Path,
) -> anyhow::Result<Vec<Trial>> {
    let bar = ProgressBar::new(jobs.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} episodes, {eta} left",
    )?);
    let mut file = File::options().append(true).open(path)?;
    // A line that was cut short ends here.
    writeln!(file)?;
    let file = Mutex::new(file);
    let jobs = Mutex::new(jobs);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.workers)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<()> {
                    let mut worker = Worker::new(args, cell)?;
                    while let Some(job) = lock(&jobs).pop_front() {
                        let trial = worker.trial(job)?;
                        writeln!(lock(&file), "{}", serde_json::to_string(&trial)?)?;
                        lock(&done).push(trial);
                        bar.inc(1);
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker panicked"))??;
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A policy and a world, used for one episode after the other.
struct Worker<'a> {
    args: &'a LatencyArgs,
    cell: &'a Cell,
    parts: Option<(SimPlant, Box<dyn Policy>)>,
}

impl<'a> Worker<'a> {
    fn new(args: &'a LatencyArgs, cell: &'a Cell) -> anyhow::Result<Self> {
        let info = tactus_sim::arm_info();
        // Opened for the strategy that needs most of it.
        let conditioning = strategies()
            .iter()
            .map(|(_, s)| s.conditioning())
            .find(|c| {
                matches!(
                    c,
                    tactus_types::Conditioning::Guided {
                        jacobian: Jacobian::Exact,
                        ..
                    }
                )
            });
        let conditioning = conditioning.unwrap_or_default();
        let policy = roles::open_policy_for(
            cell,
            &args.policy,
            (&info.joints, Some(&info)),
            conditioning,
        )?;
        let cameras = policy.cameras().to_vec();
        let plant = SimPlant::new(args.seed, variation(args.variation, cell), cameras)?;
        Ok(Self {
            args,
            cell,
            parts: Some((plant, policy)),
        })
    }

    fn trial(&mut self, (name, strategy, latency_ms, seed): Job) -> anyhow::Result<Trial> {
        let (plant, policy) = self.parts.take().context("a worker that failed before")?;
        let added = Duration::from_millis(latency_ms);
        let mut arm = self.cell.arm_spec(1, &tactus_sim::arm_info())?;
        arm.schedule = ScheduleSpec {
            strategy,
            ..arm.schedule
        };
        arm.request.overlap = strategy.overlaps();
        // The deadline moves with the latency: what is studied is lateness that is expected.
        arm.request.answer_within += added;
        let camera_period = self.cell.cameras.first().map_or(0.05, |c| 1.0 / c.rate_hz);
        let assembly = self.cell.assembly(policy.cameras())?;
        let spec = LockstepSpec {
            arm,
            assembly,
            camera_period: Duration::try_from_secs_f64(camera_period)?,
            capture_delay: CAPTURE_DELAY,
            inference_delay: INFERENCE_DELAY,
            delivery_delay: added,
        };
        let kind = TaskKind::of_seed(self.args.task.kinds(), seed);
        let task = Task::new(kind, Cube::ALL[(seed % 3) as usize]);
        let instruction = task.instruction((seed / 3) as usize);
        let mut lockstep = Lockstep::new(spec, plant, policy);
        lockstep.tick()?;
        lockstep.order(&Order::Enable)?;
        let row = run_episode(&mut lockstep, 0, seed, instruction, Some(task))
            .with_context(|| format!("{name} at {latency_ms} ms, seed {seed}"))?;
        let starved_ticks = lockstep.cycle.counters.starved_ticks;
        self.parts = Some(lockstep.into_parts());
        let motion = row.motion;
        let of = |f: fn(&crate::summary::Motion) -> f64| motion.as_ref().map_or(0.0, f);
        Ok(Trial {
            strategy: name.into(),
            latency_ms,
            seed,
            success: row.success,
            secs: row.secs,
            starved_ticks,
            seam_jump_mean_rad: of(|m| m.seam_jump_mean_rad),
            acceleration_max: of(|m| m.acceleration_max),
            jerk_max: of(|m| m.jerk_max),
            sparc: of(|m| m.sparc),
        })
    }
}

/// Successes and episodes of each strategy at each latency.
pub fn counts(trials: &[Trial]) -> BTreeMap<(&str, u64), (u64, u64)> {
    let mut out = BTreeMap::new();
    for t in trials {
        let (won, all) = out
            .entry((t.strategy.as_str(), t.latency_ms))
            .or_insert((0, 0));
        *won += u64::from(t.success);
        *all += 1;
    }
    out
}

fn table(trials: &[Trial], chosen: &[(&'static str, Strategy)], latencies: &[u64]) -> String {
    let counts = counts(trials);
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    let mut head = vec!["done as told, 95 % interval".to_owned()];
    head.extend(latencies.iter().map(|ms| format!("+{ms} ms")));
    table.set_header(head);
    for (name, _) in chosen {
        let mut row = vec![(*name).to_owned()];
        for ms in latencies {
            let (won, all) = counts.get(&(*name, *ms)).copied().unwrap_or((0, 0));
            let Interval { low, high } = Tally {
                successes: won,
                trials: all,
            }
            .wilson(0.95);
            row.push(format!(
                "{won}/{all} ({:.0}..{:.0} %)",
                100.0 * low,
                100.0 * high
            ));
        }
        table.add_row(row);
    }
    let pace = pace_table(trials, chosen, latencies);
    let worst = |of: fn(&Trial) -> f64| trials.iter().map(of).fold(0.0, f64::max);
    format!(
        "{table}\n{pace}\nlargest over all episodes: {:.1} rad/s^2, {:.0} rad/s^3",
        worst(|t| t.acceleration_max),
        worst(|t| t.jerk_max)
    )
}

/// Median seconds to success, and how often a strategy was quicker than naive indexing with the same seed.
fn pace_table(trials: &[Trial], chosen: &[(&'static str, Strategy)], latencies: &[u64]) -> Table {
    let quartiles = quartiles(trials);
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    let mut head = vec![format!("median s, quicker than {BESIDE}")];
    head.extend(latencies.iter().map(|ms| format!("+{ms} ms")));
    table.set_header(head);
    for (name, _) in chosen {
        let mut row = vec![(*name).to_owned()];
        for ms in latencies {
            let median = match quartiles.get(&(*name, *ms)) {
                Some([_, median, _]) if median.is_finite() => format!("{median:.2}"),
                _ => "-".into(),
            };
            row.push(match quicker(trials, name, *ms) {
                (_, 0) => median,
                (won, all) => {
                    let Interval { low, high } = Tally {
                        successes: won,
                        trials: all,
                    }
                    .wilson(0.95);
                    let (low, high) = (100.0 * low, 100.0 * high);
                    format!("{median}, {won}/{all} ({low:.0}..{high:.0} %)")
                }
            });
        }
        table.add_row(row);
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn trial(strategy: &str, seed: u64, success: bool) -> Trial {
        Trial {
            strategy: strategy.into(),
            latency_ms: 100,
            seed,
            success,
            secs: 3.0,
            starved_ticks: 0,
            seam_jump_mean_rad: 0.01,
            acceleration_max: 40.0,
            jerk_max: 2000.0,
            sparc: -4.0,
        }
    }

    #[test]
    fn an_interrupted_run_goes_on_and_another_bundle_does_not_mix_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(RESULTS);
        let header = Header {
            bundle_id: "a".into(),
            cell: "c".into(),
            task: "pick".into(),
            variation: false,
            version: "1".into(),
        };
        assert_eq!(read(&path, &header).expect("new"), []);
        let mut file = File::options().append(true).open(&path).expect("there");
        let line = serde_json::to_string(&trial("align", 1, true)).expect("JSON");
        write!(file, "{line}\n{}", &line[..20]).expect("written");
        assert_eq!(
            read(&path, &header).expect("again"),
            [trial("align", 1, true)]
        );
        let other = Header {
            bundle_id: "b".into(),
            ..header
        };
        let error = read(&path, &other).expect_err("another bundle").to_string();
        assert!(error.contains("choose another --out"), "{error}");
    }

    #[test]
    fn an_unknown_strategy_is_named() {
        let error = chosen(&["algin".into()]).expect_err("unknown").to_string();
        assert!(
            error.contains("`algin`") && error.contains("align"),
            "{error}"
        );
        assert_eq!(chosen(&[]).expect("all").len(), strategies().len());
    }
}
