//! The demo in lock-step: the simulated world as a [`Plant`] on a virtual clock, scored like the real-time demo.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tactus_control::{ArmSpec, EnableSpec, Order, TickOutput};
use tactus_host::account::Durations;
use tactus_host::scribe::Named;
use tactus_host::{Lockstep, LockstepSpec, MotionMeter, Plant, PlantError, Scribe};
use tactus_record::write::CONFIGURATION;
use tactus_record::{About, Attached};
use tactus_sim::{Cube, Goal, Judge, Renderer, Scenario, Score, StartPoses, Task, World, scene};
use tactus_types::{
    ActionChunk, ArmInfo, CameraFrame, ClockId, Command, Encoding, InferenceRequest, JointState,
    JointVec, Observation, Policy, PolicyError, Stage, Time,
};
use tactus_wire::{EngineStatus, EpisodeEvent, EpisodePhase};

use crate::cell::Cell;
use crate::cli::DemoArgs;
use crate::conductor::{line, most_secs, task_of, variation};
use crate::summary::{self, Millis, Motion, Row, Summary};
use crate::{record, roles};

/// Virtual time from capture to the engine, a round figure of the order that the real-time demo reports; part of what
/// lock-step repeats bit for bit.
pub const CAPTURE_DELAY: Duration = Duration::from_millis(10);
/// And from there to the arm host.
pub const INFERENCE_DELAY: Duration = Duration::from_millis(20);

/// The simulated cell as a plant.
pub struct SimPlant {
    world: World,
    renderer: Renderer,
    judge: Judge,
    variation: bool,
    goal: Goal,
    cameras: Vec<Arc<str>>,
    steps: u64,
    epoch: u64,
    seq: u64,
    /// Whether anybody looks at the pictures.
    seen: bool,
}

impl SimPlant {
    /// A world of `seed` that draws `cameras`. With `variation` every world looks different.
    pub fn new(seed: u64, variation: bool, cameras: Vec<Arc<str>>) -> anyhow::Result<Self> {
        let mut world = World::new()?;
        let scenario = Scenario::sample(seed, StartPoses::Narrow).looking(variation);
        world.reset(&scenario);
        let goal = Goal {
            q_rad: scenario.q_rad,
            opening: scenario.opening,
        };
        Ok(Self {
            world,
            renderer: Renderer::new()?,
            judge: Judge::new(),
            variation,
            goal,
            cameras,
            steps: 0,
            epoch: 1,
            seq: 0,
            seen: true,
        })
    }

    /// The same plant for a policy that does not look: its frames hold only what tells one from another.
    pub fn unseen(self) -> Self {
        Self {
            seen: false,
            ..self
        }
    }

    /// The same plant with these cameras.
    pub fn seen_by(self, cameras: Vec<Arc<str>>) -> Self {
        Self { cameras, ..self }
    }

    /// Another world.
    pub fn reset(&mut self, seed: u64) {
        let scenario = Scenario::sample(seed, StartPoses::Narrow).looking(self.variation);
        self.world.reset(&scenario);
        self.goal = Goal {
            q_rad: scenario.q_rad,
            opening: scenario.opening,
        };
        self.judge = Judge::new();
        self.steps = 0;
        self.epoch += 1;
    }

    /// What `camera` sees, JPEG. Nothing changes by it.
    pub fn picture(&mut self, camera: &str) -> anyhow::Result<Vec<u8>> {
        self.renderer.show(&self.world.snapshot())?;
        Ok(self.renderer.jpeg(camera)?)
    }

    /// What counts as done.
    pub fn score(&self) -> &Score {
        self.judge.score()
    }

    /// Simulated time since the reset, seconds.
    pub fn secs(&self) -> f64 {
        self.steps as f64 * scene::STEP_S
    }
}

impl Plant for SimPlant {
    fn info(&self) -> ArmInfo {
        tactus_sim::arm_info()
    }

    fn state(&self, now: Time) -> JointState {
        let state = self.world.state();
        JointState {
            captured_at: now,
            seq: self.steps,
            epoch: self.epoch,
            q: JointVec::from_fn(6, |i| state.q_rad[i]),
            dq: JointVec::from_fn(6, |i| state.dq_rad_per_sec[i]),
            opening: state.opening,
            torque: true,
        }
    }

    fn frames(&mut self, now: Time) -> Result<Vec<CameraFrame>, PlantError> {
        let fail = |e: tactus_sim::SimError| PlantError(e.to_string());
        if self.seen {
            self.renderer.show(&self.world.snapshot()).map_err(fail)?;
        }
        self.seq += 1;
        let mut frames = Vec::with_capacity(self.cameras.len());
        for camera in &self.cameras {
            let data: Arc<[u8]> = if self.seen {
                self.renderer.jpeg(camera).map_err(fail)?.into()
            } else {
                self.seq.to_le_bytes().as_slice().into()
            };
            frames.push(CameraFrame {
                camera: camera.clone(),
                captured_at: now,
                received_at: now,
                seq: self.seq,
                width: scene::PICTURE_SIZE as u32,
                height: scene::PICTURE_SIZE as u32,
                encoding: Encoding::Jpeg,
                data,
            });
        }
        Ok(frames)
    }

    fn step(&mut self, command: Option<&Command>) -> Result<(), PlantError> {
        if let Some(command) = command.filter(|c| c.epoch == self.epoch) {
            for (goal, q) in self.goal.q_rad.iter_mut().zip(command.q.iter()) {
                *goal = *q;
            }
            self.goal.opening = command.opening;
        }
        self.world.step(&self.goal);
        self.steps += 1;
        if self.steps.is_multiple_of(scene::STEPS_PER_PERIOD as u64) {
            self.judge.update(&self.world.state());
        }
        Ok(())
    }
}

/// Time of inference, and of each stage.
pub type Stages = Arc<std::sync::Mutex<(Durations, [Durations; Stage::ALL.len()])>>;

/// A policy whose stages are counted: inference is real even where time is not.
pub struct Counted<P> {
    /// The policy.
    pub policy: P,
    /// What it took so far.
    pub inference: Stages,
}

impl<P: Policy> Policy for Counted<P> {
    fn infer(&mut self, o: &Observation, r: &InferenceRequest) -> Result<ActionChunk, PolicyError> {
        let chunk = self.policy.infer(o, r)?;
        let mut counted = self
            .inference
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.0.record(chunk.stages.inference());
        for (durations, stage) in counted.1.iter_mut().zip(Stage::ALL) {
            durations.record(chunk.stages.get(stage));
        }
        Ok(chunk)
    }

    fn cameras(&self) -> &[Arc<str>] {
        self.policy.cameras()
    }

    fn bundle_id(&self) -> &Arc<str> {
        self.policy.bundle_id()
    }

    fn provider(&self) -> &str {
        self.policy.provider()
    }
}

/// A simulated cell in lock-step for a policy that wants `cameras`; no two arm hosts of one policy have the same `boot`.
pub fn spec(cell: &Cell, cameras: &[Arc<str>], boot: u64) -> anyhow::Result<LockstepSpec> {
    let camera_period = cell.cameras.first().map_or(0.05, |c| 1.0 / c.rate_hz);
    Ok(LockstepSpec {
        arm: cell.arm_spec(boot, &tactus_sim::arm_info())?,
        assembly: cell.assembly(cameras)?,
        camera_period: Duration::try_from_secs_f64(camera_period)?,
        capture_delay: CAPTURE_DELAY,
        inference_delay: INFERENCE_DELAY,
        delivery_delay: Duration::ZERO,
    })
}

/// `tactus demo --lockstep`.
pub fn demo(args: &DemoArgs, cell: &Cell, bundle_id: &str) -> anyhow::Result<Summary> {
    let episodes = args.episodes.unwrap_or(20);
    let info = tactus_sim::arm_info();
    let policy = roles::open_policy(cell, &args.policy, &info.joints, Some(&info))?;
    let provider = policy.provider().to_owned();
    let cameras = policy.cameras().to_vec();
    let spec = spec(cell, &cameras, BOOT)?;
    let counted = Arc::default();
    let plant = SimPlant::new(args.seed, variation(args.variation, cell), cameras)?;
    let policy = Counted {
        policy,
        inference: Arc::clone(&counted),
    };
    let digest = digest(&spec);
    let mut lockstep = Lockstep::new(spec, plant, Box::new(policy));
    if let Some(file) = &args.record {
        let ids = (&*provider, bundle_id);
        lockstep.scribe = Some(scribe(file, cell, (BOOT, digest), ids)?);
    }
    lockstep.tick()?;
    lockstep.order(&Order::Enable)?;
    let bar = ProgressBar::new(episodes);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left") {
        bar.set_style(style);
    }
    let mut rows = Vec::new();
    for k in 0..episodes {
        let row = episode(&mut lockstep, args, k).with_context(|| format!("episode {k}"))?;
        bar.println(line(&row));
        bar.inc(1);
        rows.push(row);
    }
    bar.finish_and_clear();
    if let (Some(scribe), Some(file)) = (lockstep.scribe.take(), &args.record) {
        let (messages, _) = scribe.finish()?;
        tracing::info!("{}: {messages} messages", file.display());
    }
    let successes = rows.iter().filter(|r| r.success).count() as u64;
    let counters = lockstep.cycle.counters;
    let counted = counted
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Summary {
        mode: "lockstep",
        episodes,
        successes,
        success_rate: if episodes == 0 {
            0.0
        } else {
            successes as f64 / episodes as f64
        },
        bundle_id: bundle_id.to_owned(),
        provider,
        control: None,
        age_at_actuation_ms: None,
        inference_ms: Millis::of(&counted.0),
        overhead_ms: None,
        queue_ms: None,
        stages_ms: summary::stages(&counted.1),
        starved_ticks: counters.starved_ticks,
        holds: counters.holds,
        limited_ticks: counters.limited_ticks,
        misses: None,
        rows,
    })
}

/// Boot of an arm host in lock-step.
const BOOT: u64 = 1;

/// Of what decides: enabling takes no time in lock-step.
pub fn digest(spec: &LockstepSpec) -> u64 {
    tactus_host::digest(&ArmSpec {
        enable: EnableSpec::AT_ONCE,
        ..spec.arm.clone()
    })
}

/// Writes a lock-step run to `file`, which must not exist; `decided` is the arm host's boot and the digest of what decides.
pub fn scribe(
    file: &Path,
    cell: &Cell,
    decided: (u64, u64),
    (provider, bundle_id): (&str, &str),
) -> anyhow::Result<Scribe> {
    let sink = File::create_new(file).with_context(|| format!("recording {}", file.display()))?;
    let version = env!("CARGO_PKG_VERSION");
    let about = About {
        cell: cell.name.clone(),
        version: version.into(),
        clock: ClockId(0),
        unix_offset: Duration::ZERO,
    };
    let words = about.words("a lock-step run", Some(bundle_id), Time::ZERO);
    let (configuration, attached) = record::configuration(cell)?;
    let mut mcap = Scribe::begin(Box::new(sink), file, version, words)?;
    mcap.note(CONFIGURATION, configuration)?;
    for Attached {
        name,
        media_type,
        data,
    } in &attached
    {
        mcap.attach(name, media_type, Time::ZERO, data)?;
    }
    let named = Named {
        cell: cell.wire.clone(),
        arm: cell.arm.clone(),
        engine: cell.engine.clone(),
    };
    let engine = EngineStatus {
        provider: provider.into(),
        bundle_id: bundle_id.into(),
        service: None,
    };
    let info = tactus_sim::arm_info();
    Ok(Scribe::new(named, mcap, decided, &info, &engine)?)
}

fn episode(lockstep: &mut Lockstep<SimPlant>, args: &DemoArgs, number: u64) -> anyhow::Result<Row> {
    let seed = args.seed.wrapping_add(number);
    let (instruction, task) = task_of(args, seed);
    run_episode(lockstep, number, seed, instruction, task)
}

/// One episode of an enabled cell in the world of `seed`, which also seeds the policy's noise.
pub fn run_episode(
    lockstep: &mut Lockstep<SimPlant>,
    number: u64,
    seed: u64,
    instruction: String,
    task: Option<Task>,
) -> anyhow::Result<Row> {
    let limit = most_secs(task);
    run_episode_seen(
        lockstep,
        number,
        seed,
        (instruction, task),
        limit,
        |_, _| (),
    )
}

/// As [`run_episode`], over after `limit_secs` without success; `see` is shown every tick of it with its time.
pub fn run_episode_seen(
    lockstep: &mut Lockstep<SimPlant>,
    number: u64,
    seed: u64,
    (instruction, task): (String, Option<Task>),
    limit_secs: f64,
    mut see: impl FnMut(&TickOutput, Time),
) -> anyhow::Result<Row> {
    lockstep.plant.reset(seed);
    lockstep.tick()?;
    let before = lockstep.cycle.counters;
    lockstep.order(&Order::Start {
        instruction: instruction.as_str().into(),
        seed,
    })?;
    let told = |lockstep: &mut Lockstep<SimPlant>, phase: EpisodePhase| {
        let now = lockstep.now();
        let episode = number;
        if let Some(scribe) = &mut lockstep.scribe {
            scribe.episode(&EpisodeEvent { episode, phase }, now);
        }
    };
    told(
        lockstep,
        EpisodePhase::Started {
            instruction: instruction.clone(),
            seed,
        },
    );
    let done = |plant: &SimPlant| task.is_some_and(|task| plant.score().done(task));
    let mut digest = Sha256::new();
    let mut meter = MotionMeter::new(lockstep.period().as_secs_f64());
    while !done(&lockstep.plant) && lockstep.plant.secs() < limit_secs {
        let now = lockstep.now();
        let output = lockstep.tick()?;
        see(&output, now);
        if let Some(seam) = &output.seam {
            meter.seam(seam);
        }
        if let Some(command) = output.command {
            meter.command(&command.q);
            for value in command.q.iter().chain([&command.opening]) {
                digest.update(value.to_bits().to_le_bytes());
            }
        }
    }
    let commands: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let after = lockstep.cycle.counters;
    lockstep.order(&Order::EndEpisode)?;
    let success = done(&lockstep.plant);
    told(
        lockstep,
        EpisodePhase::Stopped {
            success,
            reason: if success { "done" } else { "time is up" }.into(),
            excluded: false,
        },
    );
    let plant = &lockstep.plant;
    Ok(Row {
        lifted: plant.score().first_lifted.map(Cube::name),
        in_bowl: plant.score().first_placed.map(Cube::name),
        success,
        secs: plant.secs(),
        holds: after.holds - before.holds,
        chunks: after.chunks_accepted - before.chunks_accepted,
        motion: Motion::of(&meter.quality()),
        commands_sha256: Some(commands),
        ..Row::new(number, seed, instruction, task)
    })
}
