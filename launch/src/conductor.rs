//! The demo: brings up the built-in cell, runs episodes, keeps the score.
//!
//! Plays the part of the operator: enables the arm, resets the world, starts and ends episodes, and judges them by the
//! simulated world, which the policy never sees. Everything that moves the arm happens in the other processes.

mod episode;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tactus_bundle::AnyBundle;
use tactus_control::Resume;
use tactus_sim::{Cube, Task, TaskKind};
use tactus_types::CameraFrame;
use tactus_wire::{
    Authority, EngineStatus, EpisodeEvent, ModeOrder, ModeWord, Nothing, Publisher, Session, Topic,
};

use crate::cell::{self, Cell};
use crate::children::{self, Children};
use crate::cli::{DemoArgs, RoleArgs};
use crate::live::Shared;
use crate::summary::{self, ControlFigures, Lateness, Millis, MissFigures, Row, Summary};
use crate::{checkout, lockstep, order, record, result, roles, view};

/// Episodes of a headless run without `--episodes`.
const HEADLESS_EPISODES: u64 = 20;
/// All processes must be up within this time.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a step of an episode may take outside the policy's control.
const STEP_WITHIN: Duration = Duration::from_secs(5);

/// `tactus demo`.
pub fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let file = match &args.cell {
        Some(file) => file.clone(),
        None => checkout::demo_cell()?,
    };
    let cell = cell::load(&file)?;
    if cell.sim.is_none() {
        bail!(
            "cell file {}: the demo needs a cell with [sim]; bring this one up with `tactus run`",
            file.display()
        );
    }
    let bundle_id = match (&args.policy.bundle, &cell.openpi) {
        // Its engine says what it is, by a hash of what the cell declares.
        (None, Some(declared)) => declared.endpoint.to_string(),
        (named, _) => {
            let dir = named.as_ref().unwrap_or(&cell.bundle);
            let bundle = AnyBundle::open(dir)?;
            cell.vouched.let_act(dir, bundle.id())?;
            bundle.id().to_string()
        }
    };
    if args.running && cell.hosts.is_empty() {
        bail!(
            "--running: cell file {} does not say where its hosts are ([[host]])",
            file.display()
        );
    }
    if args.lockstep {
        if args.policy.explain.is_some() {
            bail!("--explain: explanations take real time, and lock-step has none");
        }
        let summary = lockstep::demo(args, &cell, &bundle_id)?;
        return finish(args, &summary, None);
    }
    let live_view = !args.headless && std::io::IsTerminal::is_terminal(&std::io::stdout());
    let stop = roles::stop_flag(false)?;
    let (summary, cut) = real_time(args, &cell, bundle_id, live_view, &stop, None)?;
    finish(args, &summary, cut.as_ref())
}

/// What is counted of the commands of one episode beside what the demo shows: given to [`real_time`], one episode is run.
#[derive(Debug, Clone, Copy)]
pub struct TrialOf {
    /// It is over after this much time of the simulated world without success.
    pub limit_secs: f64,
}

/// The newest frame of the cell's first camera at the beginning of an episode and at its end.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// Of the world that was just reset.
    pub first: Option<CameraFrame>,
    /// When it was over.
    pub last: Option<CameraFrame>,
}

/// Brings up the simulated cell, runs episodes in real time, and ends it. What cut the run short comes beside what was
/// done until then.
///
/// # Errors
/// When nothing was done.
pub fn real_time(
    args: &DemoArgs,
    cell: &Cell,
    bundle_id: String,
    live_view: bool,
    stop: &AtomicBool,
    trial: Option<(TrialOf, &Shared)>,
) -> anyhow::Result<(Summary, Option<anyhow::Error>)> {
    let episodes = args.episodes.or((!live_view).then_some(HEADLESS_EPISODES));
    let shared = match trial {
        Some((_, shared)) => shared.clone(),
        None => Shared::new(cell, episodes, !live_view),
    };
    let endpoint = children::free_endpoint(cell)?;
    let role = RoleArgs {
        cell: cell.file.clone(),
        connect: vec![],
        // Of a cell that runs already this process is a guest.
        listen: match args.running {
            true => vec![],
            false => vec![endpoint.clone()],
        },
        supervised: false,
        host: None,
    };
    let session = roles::session(&role, "demo")?;
    let to = args.record.as_deref();
    record::check_target(to)?;
    let mut children = match args.running {
        true => Children::none(cell)?,
        false => Children::start(cell, &endpoint, &args.policy, "info", to)?,
    };
    shared.news(format!(
        "{} `{}`; logs: {}",
        match args.running {
            true => "guest of cell",
            false => "starting the processes of cell",
        },
        cell.name,
        children.logs.display()
    ));
    let wire = cell.wire.clone();
    let frames = live_view || trial.is_some();
    let _subscriptions = shared.follow(&session, &wire, cell, frames)?;
    let _ages = match trial {
        Some(_) => Some(shared.follow_applied(&session, &wire, cell)?),
        None => None,
    };
    let mut conductor = Conductor {
        args,
        cell,
        events: session.publisher(&wire.key(&Topic::Episode))?,
        wire,
        session,
        shared: shared.clone(),
        stop,
        authority: None,
        limit_secs: trial.map(|(trial, _)| trial.limit_secs),
    };
    let (outcome, viewed) = std::thread::scope(|scope| {
        // The view runs beside the conductor; whichever ends first ends the other, a panic included. An evaluation has
        // none, and goes on after this trial.
        let _stopping = trial.is_none().then(|| roles::Stopping(stop));
        let viewer = live_view.then(|| {
            let log = children.logs.join("demo.log");
            let shared = &shared;
            scope.spawn(move || view::show(shared, cell, &log, stop))
        });
        let outcome = conductor.run(&mut children, episodes);
        if trial.is_none() {
            stop.store(true, Ordering::Relaxed);
        }
        let viewed = viewer.map_or(Ok(()), |viewer| match viewer.join() {
            Ok(viewed) => viewed,
            Err(_) => Err(anyhow!("it panicked")),
        });
        (outcome, viewed.context("live view"))
    });
    let outcome = outcome.and(viewed);
    // Given back while the arm host is still there.
    conductor.authority = None;
    let status = conductor.engine_status();
    let provider = status
        .as_ref()
        .map_or_else(|| "unknown".into(), |s| s.provider.clone());
    children.end();
    let bundle_id = status.map_or(bundle_id, |s| s.bundle_id);
    let summary = summarise(&shared, cell, bundle_id, provider);
    match outcome {
        Ok(()) => Ok((summary, None)),
        Err(e) if summary.rows.is_empty() => Err(e),
        Err(e) => Ok((summary, Some(e))),
    }
}

/// Writes the result; exit code 3 when the run was cut short.
fn finish(
    args: &DemoArgs,
    summary: &Summary,
    cut: Option<&anyhow::Error>,
) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.json {
        write_json(file, summary)?;
    }
    result::line(summary)?;
    Ok(match cut {
        None => ExitCode::SUCCESS,
        Some(e) => {
            eprintln!("tactus: cut short: {e:#}");
            ExitCode::from(3)
        }
    })
}

fn write_json(file: &Path, summary: &Summary) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(summary).context("figures as JSON")?;
    std::fs::write(file, text + "\n").with_context(|| format!("result file {}", file.display()))
}

/// What the episode of a seed asks for: its instruction and the task that it names.
pub fn task_of(args: &DemoArgs, seed: u64) -> (String, Option<Task>) {
    match &args.instruction {
        Some(text) => (text.clone(), Task::named(text)),
        None => {
            // Task, cube and phrasing vary independently: neighbouring seeds differ in cube and phrasing.
            let kind = TaskKind::of_seed(args.task.kinds(), seed);
            let task = Task::new(kind, Cube::ALL[(seed % 3) as usize]);
            (task.instruction((seed / 3) as usize), Some(task))
        }
    }
}

/// An episode without success ends after this much time of the simulated world, seconds.
pub fn most_secs(task: Option<Task>) -> f64 {
    task.map_or(TaskKind::Pick, Task::kind).most_secs()
}

/// Whether the simulated worlds look different from each other: as `asked`, else as the cell says.
pub fn variation(asked: Option<bool>, cell: &Cell) -> bool {
    asked.unwrap_or_else(|| cell.sim.is_some_and(|sim| sim.variation))
}

struct Conductor<'a> {
    args: &'a DemoArgs,
    cell: &'a Cell,
    wire: tactus_wire::Cell,
    session: Session,
    events: Publisher<EpisodeEvent>,
    shared: Shared,
    stop: &'a AtomicBool,
    /// The arm's lease, from before the arm is enabled on: if this process dies, the arm holds.
    authority: Option<Authority>,
    /// Of an episode without success; `None`: as the task says.
    limit_secs: Option<f64>,
}

impl Conductor<'_> {
    fn run(&mut self, children: &mut Children, episodes: Option<u64>) -> anyhow::Result<()> {
        self.wait_until_up(children)?;
        if self.stopping() {
            return Ok(());
        }
        let authority = order::authority(&self.session, self.cell, "demo", order::rank(false))?;
        self.authority = Some(authority);
        // Somebody may have enabled a cell that ran already.
        let mode = self.shared.lock().mode.as_ref().map(|m| m.mode);
        if !self.args.running || mode != Some(ModeWord::Ready) {
            self.order(&ModeOrder::Enable)?;
        }
        let resume = match self.cell.resume {
            Resume::Auto => {
                "resume = \"auto\": after a hold the arm goes on by itself once all is well again"
            }
            Resume::Operator => "resume = \"operator\": after a hold the arm waits for an operator",
        };
        self.shared.news(format!("arm enabled; {resume}"));
        let bar = self.progress(episodes);
        let mut episode = 0;
        while episodes.is_none_or(|n| episode < n) && !self.stopping() {
            match self.episode(children, episode)? {
                Some(row) => {
                    if let Some(bar) = &bar {
                        bar.println(line(&row));
                        bar.inc(1);
                    }
                    self.shared.lock().rows.push(row);
                }
                None => break,
            }
            episode += 1;
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(())
    }

    fn progress(&self, episodes: Option<u64>) -> Option<ProgressBar> {
        let n = episodes.filter(|_| self.args.headless)?;
        let bar = ProgressBar::new(n);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left")
        {
            bar.set_style(style);
        }
        Some(bar)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until the engine answers and the arm host reports.
    fn wait_until_up(&self, children: &mut Children) -> anyhow::Result<()> {
        let until = Instant::now() + UP_WITHIN;
        while !self.stopping() {
            children.check_all_run()?;
            let arm = self.shared.lock().mode.is_some() && self.shared.lock().state.is_some();
            let recorder = self.args.record.as_ref().is_none_or(|file| file.exists());
            if arm
                && recorder
                && self.shared.lock().world.is_some()
                && self.engine_status().is_some()
            {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "not all processes came up within {} s; see {}",
                    UP_WITHIN.as_secs(),
                    children.logs.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Provider and bundle of the engine, if it answers.
    fn engine_status(&self) -> Option<EngineStatus> {
        let key = self
            .wire
            .key(&Topic::EngineStatus(self.cell.engine.clone()));
        self.session
            .query(&key, &Nothing, Duration::from_millis(500))
            .ok()
            .map(|d| d.message)
    }

    fn order(&self, order: &ModeOrder) -> anyhow::Result<()> {
        match &self.authority {
            Some(authority) => order::under(authority, self.cell, order, true).map(drop),
            None => bail!("the demo does not hold the arm's lease"),
        }
    }
}

/// One episode as a line of text.
pub fn line(row: &Row) -> String {
    let verdict = if row.success { "ok  " } else { "MISS" };
    let (word, cube) = match row.task {
        Some("place") => (TaskKind::Place.done_word(), row.in_bowl),
        _ => (TaskKind::Pick.done_word(), row.lifted),
    };
    let cube = cube.unwrap_or("none");
    let holds = if row.holds > 0 {
        format!(", {} holds", row.holds)
    } else {
        String::new()
    };
    format!(
        "{verdict} {:3}  seed {}  {:40} {word}: {cube:5}  {:.1} s{holds}",
        row.episode, row.seed, row.instruction, row.secs
    )
}

fn summarise(shared: &Shared, cell: &Cell, bundle_id: String, provider: String) -> Summary {
    let live = shared.lock();
    let successes = live.rows.iter().filter(|r| r.success).count() as u64;
    let episodes = live.rows.len() as u64;
    let telemetry = live.telemetry.unwrap_or_default();
    let counters = live.mode.as_ref().map(|m| m.counters).unwrap_or_default();
    let round = |v: f64| (v * 1e3).round() / 1e3;
    Summary {
        mode: "realtime",
        episodes,
        successes,
        success_rate: if episodes == 0 {
            0.0
        } else {
            successes as f64 / episodes as f64
        },
        bundle_id,
        provider,
        control: Some(ControlFigures {
            rate_hz: cell.control_rate_hz,
            ticks: telemetry.ticks,
            overruns: counters.overruns,
            lateness_us: Lateness {
                p50: round(telemetry.lateness.p50_micros),
                p99: round(telemetry.lateness.p99_micros),
                p999: round(telemetry.lateness.p999_micros),
                max: round(telemetry.lateness.max_micros),
            },
        }),
        age_at_actuation_ms: Some(Millis {
            p50: round(telemetry.age_p50_millis),
            p99: round(telemetry.age_p99_millis),
        }),
        inference_ms: Millis::of(&live.chunks.inference),
        overhead_ms: Some(Millis::of(&live.chunks.overhead)),
        queue_ms: Some(Millis::of(&live.chunks.queue)),
        stages_ms: summary::stages(&live.chunks.stages),
        starved_ticks: counters.starved_ticks,
        holds: counters.holds,
        limited_ticks: counters.limited_ticks,
        misses: Some(MissFigures {
            misses: telemetry.misses,
            at_miss: telemetry.host_at_miss,
        }),
        rows: live.rows.clone(),
    }
}
