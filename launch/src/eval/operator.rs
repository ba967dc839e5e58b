//! Trials that an operator judges: the scene is set up, the operator says when, watches, and says how it went. At a panel
//! (`tactus panel`), over the wire, or as words on stdin; whichever comes first counts.
//!
//! Decides when a trial begins and ends, and which answer fits what is waited for. What counts is `tactus-eval`'s. The
//! operator is told a label, never a bundle. The cell is brought up anew for every trial, and stays up until it is scored,
//! so that its cameras show how it ended.

mod ending;
mod said;
mod trial;

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tactus_wire::{
    Delivery, EpisodeEvent, EpisodePhase, EvalAnswer, EvalPhase, EvalPicture, EvalReply,
    EvalReport, EvalSaid, Nothing, Publisher, Queryable, Responder, Session, Topic,
};

use self::said::{State, word};
use super::stage::Run;
use crate::cell::Cell;
use crate::children::{self, Children};
use crate::cli::RoleArgs;
use crate::roles;

pub use self::trial::judged;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);
/// How often it tells how a trial stands.
const TELL: Duration = Duration::from_millis(200);

/// Where operators are asked.
pub struct Operator {
    session: Session,
    endpoint: String,
    cell: Cell,
    despite_preflight: bool,
    state: Arc<Mutex<State>>,
    reports: Publisher<EvalReport>,
    events: Publisher<EpisodeEvent>,
    done: Arc<AtomicBool>,
    telling: Option<std::thread::JoinHandle<()>>,
    _keys: [Queryable; 2],
}

impl Operator {
    /// Opens the wire, where every trial's processes and panels meet: on `listen`, or any free port. With `despite_preflight` a
    /// real arm moves although it does not show what a bundle was trained on.
    pub fn new(
        cell: &Cell,
        name: &str,
        listen: Option<&str>,
        despite_preflight: bool,
    ) -> anyhow::Result<Self> {
        let endpoint = match listen {
            Some(endpoint) => endpoint.to_owned(),
            None => children::free_endpoint(cell)?,
        };
        let role = RoleArgs {
            cell: cell.file.clone(),
            connect: vec![],
            listen: vec![endpoint.clone()],
            supervised: false,
            host: None,
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
            begun: false,
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
            despite_preflight,
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

    fn phase(&self, phase: EvalPhase) {
        let report = {
            let mut state = lock(&self.state);
            state.report.phase = phase;
            state.report.clone()
        };
        let hint = match phase {
            EvalPhase::Setup if self.cell.sim.is_some() => "set the scene up, then `ready`",
            EvalPhase::Setup => "set the scene up, leave the arm's reach, then `ready`: it moves",
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

    fn event(&self, phase: EpisodePhase) {
        let episode = lock(&self.state).report.trial;
        if let Err(e) = self.events.put(&EpisodeEvent { episode, phase }) {
            tracing::warn!("episode event not sent: {e}");
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
