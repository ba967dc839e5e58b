//! Trials that an operator judges: the scene is set up, the operator says when, watches, and says how it went. At a panel
//! (`tactus panel`), over the wire, or as words on stdin; whichever comes first counts.
//!
//! Decides when a trial begins and ends, and which answer fits what is waited for. What counts is `tactus-eval`'s. The
//! operator is told a label, never a bundle. The cell is brought up anew for every trial, and stays up until it is scored,
//! so that its cameras show how it ended.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_eval::trial::{Abort, Figures};
use tactus_wire::{
    Delivery, EngineStatus, EpisodeEvent, EpisodePhase, EvalAnswer, EvalPhase, EvalPicture,
    EvalReply, EvalReport, EvalSaid, ModeOrder, ModeWord, Nothing, Publisher, Queryable, Responder,
    Session, SimReset, SimResetReply, Topic,
};

use super::stage::{Run, policy_args};
use crate::cell::Cell;
use crate::children::{self, Children};
use crate::cli::RoleArgs;
use crate::conductor::variation;
use crate::live::{Live, Shared};
use crate::{order, roles};

/// All processes must be up within this time.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a step of a trial may take outside the policy's control.
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);
/// How often it tells how a trial stands.
const TELL: Duration = Duration::from_millis(200);

/// How an operator's trial went.
#[derive(Debug, Default)]
pub struct Judged {
    /// Whether it succeeded.
    pub success: bool,
    /// 0 to 100.
    pub progress: f64,
    /// Those that were reached.
    pub milestones: Vec<String>,
    /// Free text.
    pub note: String,
    /// Why it ended without success.
    pub abort: Option<Abort>,
    /// How long the policy was in command, s.
    pub secs: f64,
    /// What was measured.
    pub figures: Figures,
}

/// What is waited for, and what was said.
#[derive(Debug)]
struct State {
    report: EvalReport,
    picture: Vec<u8>,
    said: Option<EvalSaid>,
}

impl State {
    /// Takes what the operator says, where it fits.
    fn take(&mut self, answer: EvalAnswer) -> Result<(), String> {
        let report = &self.report;
        if (answer.trial, answer.attempt) != (report.trial, report.attempt) {
            return Err(format!(
                "trial {} is being run, in its attempt {}",
                report.trial + 1,
                report.attempt
            ));
        }
        let fits = match answer.said {
            EvalSaid::Ready => report.phase == EvalPhase::Setup,
            EvalSaid::End => report.phase == EvalPhase::Running,
            EvalSaid::Score { .. } => {
                matches!(report.phase, EvalPhase::Running | EvalPhase::Scoring)
            }
            EvalSaid::Exclude { .. } => {
                !matches!(report.phase, EvalPhase::Preparing | EvalPhase::Done)
            }
        };
        if !fits {
            return Err(format!("not while the trial is {}", report.phase.word()));
        }
        if let EvalSaid::Score { milestones, .. } = &answer.said
            && let Some(unknown) = milestones.iter().find(|m| !report.milestones.contains(m))
        {
            return Err(format!("the task has no milestone `{unknown}`"));
        }
        if self.said.is_some() {
            return Err("something was said already".into());
        }
        self.said = Some(answer.said);
        Ok(())
    }
}

/// Where operators are asked.
pub struct Operator {
    session: Session,
    endpoint: String,
    cell: Cell,
    state: Arc<Mutex<State>>,
    reports: Publisher<EvalReport>,
    events: Publisher<EpisodeEvent>,
    done: Arc<AtomicBool>,
    telling: Option<std::thread::JoinHandle<()>>,
    _keys: [Queryable; 2],
}

impl Operator {
    /// Opens the wire, where every trial's processes and panels meet: on `listen`, or any free port.
    pub fn new(cell: &Cell, name: &str, listen: Option<&str>) -> anyhow::Result<Self> {
        let endpoint = match listen {
            Some(endpoint) => endpoint.to_owned(),
            None => children::free_endpoint()?,
        };
        let role = RoleArgs {
            cell: cell.file.clone(),
            connect: vec![],
            listen: vec![endpoint.clone()],
            supervised: false,
        };
        let session = roles::session(&role, "eval")?;
        let report = EvalReport {
            name: name.to_owned(),
            phase: EvalPhase::Preparing,
            trial: 0,
            trials: 0,
            scored: 0,
            attempt: 0,
            blind: true,
            label: String::new(),
            task: String::new(),
            condition: String::new(),
            instruction: String::new(),
            milestones: vec![],
            secs: 0.0,
            limit_secs: 0.0,
            picture: false,
            note: String::new(),
        };
        let state = Arc::new(Mutex::new(State {
            report,
            picture: vec![],
            said: None,
        }));
        let to = state.clone();
        let answers = session.queryable(
            &cell.wire.key(&Topic::Eval),
            move |said: Delivery<EvalAnswer>, responder: Responder<EvalReply>| {
                let taken = lock(&to).take(said.message);
                responder.answer(&EvalReply {
                    accepted: taken.is_ok(),
                    message: taken.err().unwrap_or_default(),
                });
            },
        )?;
        let of = state.clone();
        let pictures = session.queryable(
            &cell.wire.key(&Topic::EvalPicture),
            move |_: Delivery<Nothing>, responder: Responder<EvalPicture>| {
                let picture = {
                    let state = lock(&of);
                    EvalPicture {
                        trial: state.report.trial,
                        data: state.picture.clone(),
                    }
                };
                responder.answer(&picture);
            },
        )?;
        let reports = session.publisher(&cell.wire.key(&Topic::Eval))?;
        let events = session.publisher(&cell.wire.key(&Topic::Episode))?;
        eprintln!(
            "panel: ./launch/tactus panel --cell {} --connect {endpoint}",
            cell.file.display()
        );
        eprintln!(
            "or words here: ready, end, success [NOTE], failure PROGRESS [NOTE], setup [NOTE], hardware [NOTE]"
        );
        let mut operator = Self {
            session,
            endpoint,
            cell: cell.clone(),
            state,
            reports,
            events,
            done: Arc::default(),
            telling: None,
            _keys: [answers, pictures],
        };
        operator.listen_here()?;
        operator.tell()?;
        Ok(operator)
    }

    /// Words on stdin, until it ends; this process does not wait for it.
    fn listen_here(&self) -> anyhow::Result<()> {
        let state = self.state.clone();
        let listen = move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if line.trim().is_empty() {
                    continue;
                }
                let mut state = lock(&state);
                let (trial, attempt) = (state.report.trial, state.report.attempt);
                let taken = word(&line).and_then(|said| {
                    state.take(EvalAnswer {
                        trial,
                        attempt,
                        said,
                    })
                });
                if let Err(why) = taken {
                    eprintln!("`{}`: {why}", line.trim());
                }
            }
        };
        let named = std::thread::Builder::new().name("eval-words".into());
        named.spawn(listen).context("thread `eval-words`").map(drop)
    }

    /// Tells how the trial stands, whatever else is done meanwhile.
    fn tell(&mut self) -> anyhow::Result<()> {
        let (state, done) = (self.state.clone(), self.done.clone());
        let reports = self
            .session
            .publisher(&self.cell.wire.key(&Topic::Eval))
            .context("telling how trials stand")?;
        let tell = move || {
            while !done.load(Ordering::Relaxed) {
                let report = lock(&state).report.clone();
                if let Err(e) = reports.put(&report) {
                    tracing::warn!("how the trial stands was not sent: {e}");
                }
                std::thread::sleep(TELL);
            }
        };
        let named = std::thread::Builder::new().name("eval-report".into());
        self.telling = Some(named.spawn(tell).context("thread `eval-report`")?);
        Ok(())
    }

    /// All trials are done: tells it, with `note`, and ends.
    pub fn finish(&mut self, scored: u64, note: &str) {
        {
            let mut state = lock(&self.state);
            state.report.phase = EvalPhase::Done;
            state.report.scored = scored;
            note.clone_into(&mut state.report.note);
        }
        self.stop();
        let report = lock(&self.state).report.clone();
        // More than once: what is published may be lost.
        for _ in 0..3 {
            let _ = self.reports.put(&report);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(telling) = self.telling.take() {
            let _ = telling.join();
        }
    }

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
        }
        let (_, dir, id) = run.bundle;
        let mut children = Children::start(&self.cell, &self.endpoint, &policy_args(dir), "info")?;
        let shared = Shared::new(&self.cell, Some(1), false);
        let wire = &self.cell.wire;
        let _followed = shared.follow(&self.session, wire, &self.cell, false)?;
        let _ages = shared.follow_applied(&self.session, wire, &self.cell)?;
        let judged = self.judged(run, &mut children, &shared, id);
        children.end();
        judged
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
        let epoch = self.reset(run, shared)?;
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
        told(&ModeOrder::Enable)?;
        let before = counters(&shared.lock());
        let until = Instant::now() + STEP_WITHIN;
        let begin = ModeOrder::StartEpisode {
            episode: 0,
            instruction: run.instruction.clone(),
            seed: run.seed,
        };
        while let Err(e) = told(&begin) {
            if Instant::now() > until {
                return Err(e);
            }
            std::thread::sleep(LOOK);
        }
        self.event(EpisodePhase::Started {
            instruction: run.instruction.clone(),
            seed: run.seed,
        });
        shared.lock().commands.counted = true;
        let began = Instant::now();
        self.phase(EvalPhase::Running);
        let mut said = None;
        let failed = loop {
            let secs = began.elapsed().as_secs_f64();
            judged.secs = secs.min(run.limit_secs);
            lock(&self.state).report.secs = judged.secs;
            said = said.or_else(|| self.heard());
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
            if live.world.as_ref().is_some_and(|w| w.epoch != epoch) {
                break Some((
                    Abort::HardwareFault,
                    "the simulated world was restarted".into(),
                ));
            }
            if live.mode.as_ref().is_some_and(|m| m.mode == ModeWord::Boot) {
                break Some((Abort::HardwareFault, "the arm host was restarted".into()));
            }
            drop(live);
            std::thread::sleep(LOOK);
        };
        shared.lock().commands.counted = false;
        if let Err(e) = told(&ModeOrder::StopEpisode) {
            tracing::warn!("the episode was not ended: {e:#}");
        }
        judged.figures = self.figures(&shared.lock(), before, judged.secs);
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

    fn phase(&self, phase: EvalPhase) {
        let report = {
            let mut state = lock(&self.state);
            state.report.phase = phase;
            state.report.clone()
        };
        let hint = match phase {
            EvalPhase::Setup => "set the scene up, then `ready`",
            EvalPhase::Running => "runs: `end`, `success` or `failure` when it is over",
            EvalPhase::Scoring => "`success` or `failure PROGRESS`?",
            EvalPhase::Preparing | EvalPhase::Done => "",
        };
        eprintln!(
            "trial {} of {}  {}  {}, start: {}. {hint}",
            report.trial + 1,
            report.trials,
            report.label,
            report.task,
            report.condition
        );
        if let Err(e) = self.reports.put(&report) {
            tracing::warn!("how the trial stands was not sent: {e}");
        }
    }

    fn heard(&self) -> Option<EvalSaid> {
        lock(&self.state).said.take()
    }

    /// What the operator says next; `None` when the evaluation is to stop.
    fn wait_for_words(&self, run: &Run<'_>, children: &mut Children) -> Option<EvalSaid> {
        loop {
            if let Some(said) = self.heard() {
                return Some(said);
            }
            if run.stop.load(Ordering::Relaxed) {
                return None;
            }
            children.supervise();
            std::thread::sleep(LOOK);
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
                live.mode.is_some() && live.state.is_some() && live.world.is_some()
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
    fn reset(&self, run: &Run<'_>, shared: &Shared) -> anyhow::Result<u64> {
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
                return Ok(epoch);
            }
            if Instant::now() > until {
                bail!("the arm host has not seen the new world within {STEP_WITHIN:?}");
            }
            std::thread::sleep(LOOK);
        }
    }

    fn event(&self, phase: EpisodePhase) {
        let episode = lock(&self.state).report.trial;
        if let Err(e) = self.events.put(&EpisodeEvent { episode, phase }) {
            tracing::warn!("episode event not sent: {e}");
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

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds, chunks, starved ticks, limited ticks.
fn counters(live: &Live) -> [u64; 4] {
    live.mode.as_ref().map_or([0; 4], |m| {
        let c = &m.counters;
        [c.holds, c.chunks_accepted, c.starved_ticks, c.limited_ticks]
    })
}

fn interrupted(judged: Judged) -> Judged {
    Judged {
        success: false,
        abort: Some(Abort::Interrupted),
        note: "Ctrl-C".into(),
        ..judged
    }
}

fn excluded(judged: Judged, hardware: bool, note: String) -> Judged {
    let abort = match hardware {
        true => Abort::HardwareFault,
        false => Abort::SetupError,
    };
    Judged {
        success: false,
        abort: Some(abort),
        note,
        ..judged
    }
}

/// What a line of words says.
fn word(line: &str) -> Result<EvalSaid, String> {
    let (word, rest) = match line.trim().split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line.trim(), ""),
    };
    match word {
        "ready" => Ok(EvalSaid::Ready),
        "end" => Ok(EvalSaid::End),
        "success" => Ok(EvalSaid::Score {
            success: true,
            progress: 100.0,
            milestones: vec![],
            note: rest.to_owned(),
        }),
        "failure" => {
            let (progress, note) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let progress = progress.parse().ok().filter(|p| (0.0..=100.0).contains(p));
            let progress = progress.ok_or("expected its progress, 0 to 100, after `failure`")?;
            Ok(EvalSaid::Score {
                success: false,
                progress,
                milestones: vec![],
                note: note.trim().to_owned(),
            })
        }
        "setup" | "hardware" => Ok(EvalSaid::Exclude {
            hardware: word == "hardware",
            note: rest.to_owned(),
        }),
        _ => Err("expected ready, end, success, failure, setup or hardware".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: EvalPhase) -> State {
        State {
            report: EvalReport {
                name: "B against A".into(),
                phase,
                trial: 3,
                trials: 8,
                scored: 3,
                attempt: 2,
                blind: true,
                label: "A".into(),
                task: "pick".into(),
                condition: "seed 1".into(),
                instruction: "pick up the red cube".into(),
                milestones: vec!["lifted".into()],
                secs: 0.0,
                limit_secs: 6.0,
                picture: false,
                note: String::new(),
            },
            picture: vec![],
            said: None,
        }
    }

    fn answer(said: EvalSaid) -> EvalAnswer {
        EvalAnswer {
            trial: 3,
            attempt: 2,
            said,
        }
    }

    #[test]
    fn an_answer_counts_where_it_is_waited_for_and_only_once() {
        use EvalPhase::{Done, Preparing, Running, Scoring, Setup};
        let score = || word("failure 40 dropped it").expect("a score");
        let exclude = || word("hardware a cable").expect("an exclusion");
        for (said, fits) in [
            (EvalSaid::Ready, vec![Setup]),
            (EvalSaid::End, vec![Running]),
            (score(), vec![Running, Scoring]),
            (exclude(), vec![Setup, Running, Scoring]),
        ] {
            for phase in [Preparing, Setup, Running, Scoring, Done] {
                let mut state = state(phase);
                let taken = state.take(answer(said.clone()));
                assert_eq!(taken.is_ok(), fits.contains(&phase), "{said:?} {phase:?}");
                if taken.is_ok() {
                    assert!(state.take(answer(said.clone())).is_err(), "a second time");
                }
            }
        }
    }

    #[test]
    fn an_answer_to_another_trial_or_attempt_is_refused() {
        for (trial, attempt) in [(2, 2), (4, 2), (3, 1), (3, 3)] {
            let late = EvalAnswer {
                trial,
                attempt,
                said: EvalSaid::Ready,
            };
            let why = state(EvalPhase::Setup).take(late).expect_err("another");
            assert!(why.contains("trial 4 is being run"), "{why}");
        }
        let unknown = EvalSaid::Score {
            success: true,
            progress: 100.0,
            milestones: vec!["flew".into()],
            note: String::new(),
        };
        let why = state(EvalPhase::Scoring).take(answer(unknown));
        assert!(why.expect_err("unknown").contains("`flew`"));
    }

    #[test]
    fn words_say_what_they_say() {
        assert_eq!(word(" ready "), Ok(EvalSaid::Ready));
        let Ok(EvalSaid::Score {
            success,
            progress,
            note,
            ..
        }) = word("failure 40 dropped it")
        else {
            panic!("no score");
        };
        assert_eq!(
            (success, progress, note.as_str()),
            (false, 40.0, "dropped it")
        );
        for wrong in ["", "failure", "failure 101", "failure much", "yes"] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
    }
}
