//! Records episodes of the expert, disturbed and labelled, as a data set.
//!
//! Decides: which episodes are kept, when one ends, and how the work is shared. Layout: [`crate::dataset`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::dart::Disturbance;
use crate::dataset::{EpisodeEntry, Measured, Meta, Row, ShardWriter, write_json};
use crate::error::SimError;
use crate::expert;
use crate::judge::Judge;
use crate::render::Renderer;
use crate::scenario::{Scenario, StartPoses};
use crate::scene::{BOWL_CENTRE_M, CAMERA_NAMES};
use crate::task::{Task, TaskKind};
use crate::world::{Goal, World};

/// Rows recorded after success: what holding a lifted cube, or staying away from the bowl, looks like.
pub const EXTRA_PERIODS: usize = 12;

/// What to record.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// Directory of the new data set; created, must not hold one yet.
    pub directory: PathBuf,
    /// Seed of the first episode; the following episodes count on from it.
    pub first_seed: u64,
    /// Episodes to run. Failed ones are not kept.
    pub episodes: usize,
    /// Threads; one shard each.
    pub workers: usize,
    /// Distribution of start poses.
    pub starts: StartPoses,
    /// Whether to disturb the executed commands.
    pub disturb: bool,
    /// Tasks to record; [`TaskKind::of_seed`] says which episode is about which.
    pub tasks: Vec<TaskKind>,
    /// Whether every episode looks different (see [`crate::variation`]).
    pub variation: bool,
}

/// What was recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RecordReport {
    /// Episodes run.
    pub attempted: usize,
    /// Episodes kept.
    pub kept: usize,
    /// Of these, episodes of [`TaskKind::Place`].
    pub kept_place: usize,
    /// Episodes dropped because the task was not done in time.
    pub not_done: usize,
    /// Episodes dropped because it was done with another cube.
    pub wrong_cube: usize,
    /// Rows written.
    pub rows: usize,
    /// Bytes of JPEG pictures written.
    pub picture_bytes: u64,
}

/// How an episode of the expert went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The task was done; so many policy periods after the start it counted.
    Done {
        /// Policy periods until it counted.
        periods: usize,
    },
    /// It was done with another cube first.
    WrongCube,
    /// Nothing counted within [`TaskKind::most_periods`].
    NotDone,
}

/// Runs one episode of the expert from `scenario`, which names the cube for the task. `disturb` turns the expert's goal into the executed one, and
/// `observe` sees every policy period until [`EXTRA_PERIODS`] after success.
///
/// # Errors
/// Whatever `observe` returns.
pub fn run_expert(
    world: &mut World,
    scenario: &Scenario,
    kind: TaskKind,
    mut disturb: impl FnMut(&Goal) -> Goal,
    mut observe: impl FnMut(&World, &Measured<'_>) -> Result<(), SimError>,
) -> Result<Outcome, SimError> {
    world.reset(scenario);
    let task = Task::new(kind, scenario.target);
    let bowl_uv = world.scene_uv(BOWL_CENTRE_M);
    let mut judge = Judge::new();
    let mut executed = Goal {
        q_rad: scenario.q_rad,
        opening: scenario.opening,
    };
    let mut done_after = None;
    for period in 0.. {
        let state = world.state();
        let score = judge.update(&state);
        if done_after.is_none() {
            if score.done(task) {
                done_after = Some(period);
            } else if score.first(kind).is_some() {
                return Ok(Outcome::WrongCube);
            } else if period >= kind.most_periods() {
                return Ok(Outcome::NotDone);
            }
        }
        if let Some(periods) = done_after
            && period >= periods + EXTRA_PERIODS
        {
            return Ok(Outcome::Done { periods });
        }
        let label = expert::goal(&state, task);
        let next = disturb(&label);
        let cube_uv = state.cubes.map(|cube| world.scene_uv(cube.position_m));
        let measured = Measured {
            state: &state,
            label: &label,
            executed: &next,
            cube_uv,
            bowl_uv,
            task,
        };
        observe(world, &measured)?;
        world.step_period(&executed, &next);
        executed = next;
    }
    Ok(Outcome::NotDone)
}

/// Records a data set; calls `progress(episodes done, episodes in all)` after every episode.
///
/// Each worker takes every `workers`-th seed, so the same options give the same rows in the same shards.
///
/// # Errors
/// [`SimError::Option`] and [`SimError::OutputExists`] before anything is written; [`SimError::Render`] and
/// [`SimError::Write`] from the workers, the first of which ends the recording.
pub fn record(
    options: &RecordOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<RecordReport, SimError> {
    if options.workers == 0 || options.workers > 64 {
        return Err(SimError::Option {
            field: "workers",
            expected: "1 to 64",
            actual: options.workers.to_string(),
        });
    }
    if options.tasks.is_empty() {
        return Err(SimError::Option {
            field: "tasks",
            expected: "at least one",
            actual: "none".to_owned(),
        });
    }
    let directory = &options.directory;
    let meta = directory.join("meta.json");
    if meta.exists() || directory.join("shard-000").exists() {
        return Err(SimError::OutputExists { path: meta });
    }
    std::fs::create_dir_all(directory).map_err(|source| SimError::Write {
        path: directory.clone(),
        source,
    })?;

    let cancelled = AtomicBool::new(false);
    let (done, finished_episodes) = mpsc::sync_channel(options.workers);
    let mut report = RecordReport::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.workers)
            .map(|worker| {
                let (done, cancelled) = (done.clone(), &cancelled);
                scope.spawn(move || {
                    let result = record_shard(options, worker, cancelled, &done);
                    if result.is_err() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .collect();
        drop(done);
        for (count, ()) in finished_episodes.iter().enumerate() {
            progress(count + 1, options.episodes);
        }
        let mut failure = None;
        for (worker, handle) in workers.into_iter().enumerate() {
            match handle
                .join()
                .unwrap_or(Err(SimError::WorkerLost { worker }))
            {
                Ok(part) => report.add(&part),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    })?;
    write_json(&meta, &Meta::current())?;
    Ok(report)
}

impl RecordReport {
    fn add(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.kept += other.kept;
        self.kept_place += other.kept_place;
        self.not_done += other.not_done;
        self.wrong_cube += other.wrong_cube;
        self.rows += other.rows;
        self.picture_bytes += other.picture_bytes;
    }
}

fn record_shard(
    options: &RecordOptions,
    worker: usize,
    cancelled: &AtomicBool,
    done: &mpsc::SyncSender<()>,
) -> Result<RecordReport, SimError> {
    let mut world = World::new()?;
    let mut renderer = Renderer::new()?;
    let mut shard = ShardWriter::create(Path::new(&options.directory), worker)?;
    let mut report = RecordReport::default();
    for episode in (worker..options.episodes).step_by(options.workers) {
        if cancelled.load(Ordering::Relaxed) {
            break;
        }
        let seed = options.first_seed + episode as u64;
        record_episode(
            options,
            seed,
            &mut world,
            &mut renderer,
            &mut shard,
            &mut report,
        )?;
        // Nobody listens any more only when the recording is already over.
        let _ = done.send(());
    }
    (report.rows, report.picture_bytes) = shard.finish()?;
    Ok(report)
}

fn record_episode(
    options: &RecordOptions,
    seed: u64,
    world: &mut World,
    renderer: &mut Renderer,
    shard: &mut ShardWriter,
    report: &mut RecordReport,
) -> Result<(), SimError> {
    let scenario = Scenario::sample(seed, options.starts).looking(options.variation);
    let kind = TaskKind::of_seed(&options.tasks, seed);
    // Another stream of the same generator: the scenario stays the same with and without disturbance.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    let mut disturbance = options.disturb.then(|| Disturbance::sample(&mut rng));
    let noise_rad = disturbance.as_ref().map_or(0.0, Disturbance::amplitude_rad);
    let mut rows = Vec::with_capacity(kind.most_periods());
    let outcome = run_expert(
        world,
        &scenario,
        kind,
        |label| {
            disturbance
                .as_mut()
                .map_or(*label, |disturbance| disturbance.disturb(label, &mut rng))
        },
        |world, measured| {
            renderer.show(&world.snapshot())?;
            let [scene, wrist] = CAMERA_NAMES;
            let pictures = [renderer.jpeg(scene)?, renderer.jpeg(wrist)?];
            rows.push(Row {
                values: measured.values(),
                pictures,
            });
            Ok(())
        },
    )?;
    report.attempted += 1;
    match outcome {
        Outcome::Done { .. } => {
            report.kept += 1;
            report.kept_place += usize::from(kind == TaskKind::Place);
            shard.append(
                EpisodeEntry {
                    seed,
                    task: kind,
                    target: scenario.target.index(),
                    first_row: 0,
                    rows: 0,
                    success: true,
                    noise_rad,
                    variation: options.variation,
                },
                &rows,
            )?;
        }
        Outcome::WrongCube => report.wrong_cube += 1,
        Outcome::NotDone => report.not_done += 1,
    }
    Ok(())
}
