//! One trial that an operator judges, from the cell's start to its end: up, a new world where it is simulated, set up, running,
//! scored, stored.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_bundle::AnyBundle;
use tactus_eval::journal::Journal;
use tactus_eval::order::Slot;
use tactus_eval::plan::{Condition, Judge, Plan};
use tactus_eval::trial::{Abort, Entry, Figures, Kept};
use tactus_types::Encoding;
use tactus_wire::{
    EngineStatus, EpisodePhase, EvalPhase, EvalReport, EvalSaid, ModeOrder, ModeReport, ModeWord,
    Nothing, SimReset, SimResetReply, Topic,
};

use super::ending;
use super::said::{Judged, excluded, interrupted};
use super::{LOOK, Operator, lock};
use crate::children::Children;
use crate::conductor::variation;
use crate::eval::run::{Described, now, say};
use crate::eval::setting::Setting;
use crate::eval::stage::{Run, policy_args};
use crate::eval::store::Store;
use crate::live::{Live, Shared};
use crate::{doctor, order};

/// All processes must be up within this time.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a step of a trial may take outside the policy's control.
const STEP_WITHIN: Duration = Duration::from_secs(5);

/// Runs one trial that an operator judges, and stores what was said of it.
pub fn judged(
    plan: &Plan,
    setting: &Setting,
    journal: &mut Journal,
    (operator, store): (&Operator, &Store),
    (slot, attempt): (Slot, u32),
    (label, shown, scored): (&'static str, &str, u64),
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let described = Described::of(plan, slot, label);
    let (dir, id) = &setting.bundles[slot.policy];
    let planned = &plan.tasks[slot.task];
    journal.append(Entry::Started {
        trial: slot.trial,
        attempt,
        at: now(),
    })?;
    let picture = match planned.condition(slot.condition) {
        Some(Condition::Picture(file)) => Some(setting.folder.join(file)),
        _ => None,
    };
    let report = EvalReport {
        name: plan.name.clone(),
        phase: EvalPhase::Preparing,
        trial: slot.trial,
        trials: plan.slots(),
        scored,
        attempt,
        blind: plan.blind,
        label: shown.to_owned(),
        task: described.task_name.clone(),
        condition: described.condition.clone(),
        instruction: described.instruction.clone(),
        milestones: planned.milestones.clone(),
        secs: 0.0,
        limit_secs: planned.time_limit_s,
        picture: picture.is_some(),
        note: String::new(),
    };
    let run = Run {
        cell: &setting.cell,
        bundle: (slot.policy, dir, id),
        seed: described.seed,
        instruction: described.instruction.clone(),
        task: described.task,
        limit_secs: planned.time_limit_s,
        boot: slot.trial + 1,
        files: &store.of(slot.trial, attempt),
        stop,
    };
    let mut ended = described.ended(attempt, Abort::SetupError);
    ended.judge = Judge::Operator.word().into();
    match operator.trial(&run, report, picture.as_ref()) {
        Ok(told) => {
            ended.success = told.success;
            ended.progress = told.progress;
            ended.abort = told.abort;
            ended.milestones = told.milestones;
            ended.note = told.note;
            ended.secs = told.secs;
            ended.figures = told.figures;
        }
        Err(e) => {
            // As with a simulator: a cell that cannot be brought up is nobody's failure but the set-up's.
            ended.note = format!("{e:#}");
            journal.append(Entry::Ended(Box::new(ended)))?;
            return Err(e.context(format!(
                "trial {} is excluded, and run again by `tactus eval resume`",
                slot.trial + 1
            )));
        }
    }
    say(plan, &ended, shown);
    journal.append(Entry::Ended(Box::new(ended)))?;
    Ok(())
}

impl Operator {
    /// Waits until `run`'s trial, which `report` describes, was run and judged; `picture` is the file its scene is set up by.
    ///
    /// # Errors
    /// When the cell cannot be brought up or does not do as it is told: nobody's failure but the set-up's.
    pub fn trial(
        &self,
        run: &Run<'_>,
        report: EvalReport,
        picture: Option<&PathBuf>,
    ) -> anyhow::Result<Judged> {
        let bytes = match picture {
            None => vec![],
            Some(file) => {
                std::fs::read(file).with_context(|| format!("picture {}", file.display()))?
            }
        };
        {
            let mut state = lock(&self.state);
            state.report = EvalReport {
                picture: !bytes.is_empty(),
                ..report
            };
            state.picture = bytes;
            state.said = None;
            state.begun = false;
        }
        let (_, dir, id) = run.bundle;
        let (policy, to) = (policy_args(dir), run.files.recording());
        let (cell, endpoint, to) = (&self.cell, &self.endpoint, to.as_deref());
        let mut children = match cell.sim {
            Some(_) => Children::start(cell, endpoint, &policy, "info", to)?,
            // Torque can be switched on once the arm is known to fit this trial's bundle.
            None => Children::start_without("arm", cell, endpoint, &policy, to)?,
        };
        if cell.sim.is_none() {
            let bundle = AnyBundle::open(dir).map_err(Into::into);
            if !doctor::may_start(&self.session, cell, bundle, self.despite_preflight) {
                children.end();
                bail!("what the arm or its cameras show does not fit the trial's bundle");
            }
            children.start_again("arm")?;
        }
        let shared = Shared::new(&self.cell, Some(1), false);
        let wire = &self.cell.wire;
        let _followed = shared.follow(&self.session, wire, &self.cell, true)?;
        let _ages = shared.follow_applied(&self.session, wire, &self.cell)?;
        let judged = self.judged(run, &mut children, &shared, id);
        children.end();
        let mut judged = judged?;
        judged.figures.recording = run.files.recorded()?;
        Ok(judged)
    }

    fn judged(
        &self,
        run: &Run<'_>,
        children: &mut Children,
        shared: &Shared,
        id: &str,
    ) -> anyhow::Result<Judged> {
        let mut judged = Judged::default();
        if !self.up(run, children, shared, id)? {
            return Ok(interrupted(judged));
        }
        if self.cell.sim.is_some() {
            self.reset(run, shared)?;
        }
        self.phase(EvalPhase::Setup);
        match self.wait_for_words(run, children) {
            Some(EvalSaid::Exclude { hardware, note }) => {
                return Ok(excluded(judged, hardware, note));
            }
            Some(_) => {}
            None => return Ok(interrupted(judged)),
        }
        let authority = order::authority(&self.session, &self.cell, "eval", order::rank(false))?;
        let told = |order: &ModeOrder| order::under(&authority, &self.cell, order, true);
        // Who moved the arm to where trials start has enabled it already.
        let is_ready = |m: &ModeReport| m.mode == ModeWord::Ready;
        if !shared.lock().mode.as_ref().is_some_and(is_ready) {
            told(&ModeOrder::Enable)?;
        }
        let epoch_of = |live: &Live| live.state.map(|s| s.epoch);
        let epoch = epoch_of(&shared.lock());
        let before = counters(&shared.lock());
        let until = Instant::now() + STEP_WITHIN;
        let begin = ModeOrder::StartEpisode {
            episode: 0,
            instruction: run.instruction.clone(),
            seed: run.seed,
        };
        loop {
            if let Some(EvalSaid::Exclude { hardware, note }) = self.heard() {
                return Ok(excluded(judged, hardware, note));
            }
            match told(&begin) {
                Ok(_) => break,
                Err(e) if Instant::now() > until => return Err(e),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
        self.event(EpisodePhase::Started {
            instruction: run.instruction.clone(),
            seed: run.seed,
        });
        let first = picture(run, shared, "first")?;
        shared.lock().commands.counted = true;
        let began = Instant::now();
        self.phase(EvalPhase::Running);
        let mut said;
        let failed = loop {
            let secs = began.elapsed().as_secs_f64();
            judged.secs = secs.min(run.limit_secs);
            lock(&self.state).report.secs = judged.secs;
            // What else there is to say ends nothing.
            said = self.heard().filter(|said| *said != EvalSaid::Ready);
            if said.is_some() {
                break None;
            }
            if secs >= run.limit_secs {
                judged.abort = Some(Abort::Timeout);
                break None;
            }
            if run.stop.load(Ordering::Relaxed) {
                break Some((Abort::Interrupted, "Ctrl-C".to_owned()));
            }
            children.supervise();
            let live = shared.lock();
            if epoch_of(&live) != epoch {
                break Some((Abort::HardwareFault, "the device was restarted".into()));
            }
            if live.mode.as_ref().is_some_and(|m| m.mode == ModeWord::Boot) {
                break Some((Abort::HardwareFault, "the arm host was restarted".into()));
            }
            drop(live);
            std::thread::sleep(LOOK);
        };
        shared.lock().commands.counted = false;
        // While somebody scores, nothing may move the arm. An error gives the lease back, without which the episode ends too.
        let until = Instant::now() + STEP_WITHIN;
        ending::insist(
            || told(&ModeOrder::StopEpisode).map(drop),
            || {
                std::thread::sleep(LOOK);
                Instant::now() < until
            },
        )
        .context("the episode was not ended")?;
        judged.figures = self.figures(&shared.lock(), before, judged.secs);
        judged.figures.first = first;
        judged.figures.last = picture(run, shared, "last")?;
        let mut judged = match failed {
            Some((abort, note)) => Judged {
                abort: Some(abort),
                note,
                ..judged
            },
            None => self.scored(run, children, judged, said),
        };
        if judged.success {
            judged.abort = None;
        }
        self.event(EpisodePhase::Stopped {
            success: judged.success,
            reason: judged.note.clone(),
            excluded: judged.abort.is_some_and(|abort| !abort.counts()),
        });
        Ok(judged)
    }

    /// Asks how it went, unless that was said already.
    fn scored(
        &self,
        run: &Run<'_>,
        children: &mut Children,
        mut judged: Judged,
        mut said: Option<EvalSaid>,
    ) -> Judged {
        self.phase(EvalPhase::Scoring);
        loop {
            match said {
                Some(EvalSaid::Score {
                    success,
                    progress,
                    milestones,
                    note,
                }) => {
                    judged.abort = judged.abort.or(Some(Abort::OperatorStop));
                    judged.progress = if success { 100.0 } else { progress };
                    judged.success = success;
                    judged.milestones = milestones;
                    judged.note = note;
                    return judged;
                }
                Some(EvalSaid::Exclude { hardware, note }) => {
                    return excluded(judged, hardware, note);
                }
                Some(EvalSaid::Ready | EvalSaid::End) | None => {}
            }
            said = match self.wait_for_words(run, children) {
                None => return interrupted(judged),
                said => said,
            };
        }
    }

    /// Whether everything is up; `false` when the evaluation is to stop.
    fn up(
        &self,
        run: &Run<'_>,
        children: &mut Children,
        shared: &Shared,
        id: &str,
    ) -> anyhow::Result<bool> {
        let until = Instant::now() + UP_WITHIN;
        let key = self
            .cell
            .wire
            .key(&Topic::EngineStatus(self.cell.engine.clone()));
        while !run.stop.load(Ordering::Relaxed) {
            children.check_all_run()?;
            let within = Duration::from_millis(500);
            let status = self
                .session
                .query::<Nothing, EngineStatus>(&key, &Nothing, within);
            let known = {
                let live = shared.lock();
                let world = live.world.is_some() || self.cell.sim.is_none();
                live.mode.is_some() && live.state.is_some() && world
            };
            if let Ok(status) = status
                && known
            {
                let runs = status.message.bundle_id;
                anyhow::ensure!(runs == id, "the engine ran bundle {runs}, not {id}");
                return Ok(true);
            }
            if Instant::now() > until {
                let logs = children.logs.display();
                bail!("not all processes came up within {UP_WITHIN:?}; see {logs}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }

    /// A new simulated world, once the arm host has seen it.
    fn reset(&self, run: &Run<'_>, shared: &Shared) -> anyhow::Result<()> {
        let key = self.cell.wire.key(&Topic::SimReset);
        let reset = SimReset {
            seed: run.seed,
            variation: variation(None, &self.cell),
        };
        let reply = self
            .session
            .query::<SimReset, SimResetReply>(&key, &reset, STEP_WITHIN);
        let epoch = reply
            .context("the simulator does not answer")?
            .message
            .epoch;
        let until = Instant::now() + STEP_WITHIN;
        loop {
            let seen = {
                let live = shared.lock();
                live.state.is_some_and(|s| s.epoch == epoch)
                    && live.world.as_ref().is_some_and(|w| w.epoch == epoch)
            };
            if seen {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the arm host has not seen the new world within {STEP_WITHIN:?}");
            }
            std::thread::sleep(LOOK);
        }
    }

    fn figures(&self, live: &Live, before: [u64; 4], secs: f64) -> Figures {
        let after = counters(live);
        let [holds, chunks, starved, limited] =
            std::array::from_fn(|i| after[i] - before[i].min(after[i]));
        let ticks = (secs * self.cell.control_rate_hz).round() as u64;
        let commands = &live.commands;
        let lateness = live.telemetry.map(|t| t.lateness);
        Figures {
            ticks,
            starved_ticks: starved,
            held_ticks: (ticks * commands.held)
                .checked_div(commands.all)
                .unwrap_or(0),
            limited_ticks: limited,
            holds,
            chunks,
            age_histogram: commands.ages.age_histogram.clone(),
            lateness_us: lateness
                .map(|l| [l.p50_micros, l.p99_micros, l.p999_micros, l.max_micros]),
            ..Figures::default()
        }
    }
}

/// Keeps the newest frame of the first camera, if it is JPEG.
fn picture(run: &Run<'_>, shared: &Shared, which: &str) -> anyhow::Result<Option<Kept>> {
    let frame = shared.lock().frames.first().cloned().flatten();
    let frame = frame.filter(|frame| frame.encoding == Encoding::Jpeg);
    let kept = frame.map(|frame| run.files.picture(which, &frame.data));
    kept.transpose()
}

/// Holds, chunks, starved ticks, limited ticks.
fn counters(live: &Live) -> [u64; 4] {
    live.mode.as_ref().map_or([0; 4], |m| {
        let c = &m.counters;
        [c.holds, c.chunks_accepted, c.starved_ticks, c.limited_ticks]
    })
}
