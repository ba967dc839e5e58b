//! One fault, once, in a running cell: brings it into a mode, breaks something, mends it. What followed is judged in
//! `verdict`, and whether the cell works again is found out in `recover`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use tactus_types::Time;
use tactus_wire::{ModeOrder, ModeWord};

use super::faults::{Doing, How, LiveWish};
use super::flood::Flood;
use super::judge::{self, About, Quality};
use super::stage::{STEP_WITHIN, Stage};
use crate::drill::trial::{GOTO_RAD, GOTO_SPEED, In, Outcome};

/// A fault begins this long after its mode, and up to [`JITTER`] later.
const BEGIN: Duration = Duration::from_millis(700);
const JITTER: Duration = Duration::from_millis(400);
/// How long a fault acts, unless it says so itself ..
const LASTS: Duration = Duration::from_secs(1);
/// .. and how long another bundle's engine answers.
const BUNDLE_LASTS: Duration = Duration::from_secs(2);
/// What was applied reaches us in batches.
pub const BATCH: Duration = Duration::from_millis(60);
/// Faults must be over within this time after the last was to begin: another bundle's engine loads and probes.
const OVER_WITHIN: Duration = Duration::from_secs(60);
/// A role may end by itself this often in a trial; one that cannot start does so without end.
const MOST_ENDED: usize = 3;
/// A trial begins again at most this often.
const MOST_AGAIN: u64 = 5;
/// .. but for one whose motion ended before there was a fault: a busy machine ends it by stale joint states, soon or late.
const MOST_LEFT: u64 = 25;
/// How an arm comes to rest after a hold was ordered.
const BRAKES: Duration = Duration::from_millis(600);

/// What followed from a fault in real time.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// As in lock-step.
    pub outcome: Outcome,
    /// By how much the control thread was late from the fault to the hold, or while it acted.
    pub noise: Duration,
    /// By how much this process was late meanwhile.
    pub host_noise: Duration,
    /// How long the process that was killed took to end.
    pub ending: Option<Duration>,
    /// An operator's enabling was needed.
    pub enabled: bool,
    /// How often the trial began again: the cell left its mode before there was a fault, or [`Told::disturbed`].
    pub again: u64,
    /// The arm held because its device stood still, which no fault of the trial was about: a busy machine.
    pub disturbed: bool,
    /// How the commands were.
    pub quality: Quality,
    /// It was the device that held.
    pub by_device: bool,
}

/// The setup of a trial.
pub struct LiveTrial<'a> {
    /// What is told to the policy.
    pub instruction: &'a str,
    /// Seed of the world and of the policy's noise.
    pub seed: u64,
    /// The mode that the faults meet.
    pub mode: In,
    /// The faults, all at once.
    pub wishes: &'a [LiveWish],
    /// The cell's ladder, control period and largest lead.
    pub cell: &'a crate::cell::Cell,
    /// Another bundle.
    pub other_bundle: &'a Path,
}

/// What was done, and when.
pub struct Done {
    /// The first fault began.
    pub begin: Time,
    /// The last fault was over.
    pub end: Time,
    /// The instant that bounds count from ..
    pub since: Time,
    /// .. but for the end of a process, which is there when the process that was killed is gone.
    pub ended: Option<Time>,
}

/// A fault of a trial and whether it acts.
struct Act<'a> {
    wish: &'a LiveWish,
    from: Instant,
    until: Option<Instant>,
    acts: bool,
    over: bool,
    /// The engine's own arguments while it has another bundle.
    extra: Option<Vec<String>>,
    /// What floods the cell.
    flood: Option<Flood>,
}

impl LiveTrial<'_> {
    /// Runs it. The cell works afterwards, or an error says that it does not.
    ///
    /// # Errors
    /// When the cell could not be brought into the mode, or the drill was interrupted.
    pub fn run(&self, stage: &mut Stage<'_>) -> anyhow::Result<Told> {
        let info = stage.info.clone();
        let arm = self.cell.arm_spec(0, &info)?;
        let about = About {
            info: &info,
            period_secs: arm.period_secs,
            max_lead: arm.limit.max_lead,
        };
        let mut again = 0;
        // The laws hold in a trial that begins again, too.
        let mut broken = Vec::new();
        let (mut told, recovered, enabled, mut short) = loop {
            let mut short = Vec::new();
            self.prepare(stage)?;
            let before = stage.observer.mode();
            let before = before.ok_or_else(|| anyhow::anyhow!("the arm host does not report"))?;
            if let Some(done) = self.act(stage, &mut short)? {
                stage.pass(BATCH)?;
                let trace = stage.observer.trace();
                let told = self.judge(stage, &trace, &before, &done, &mut short)?;
                let (recovered, enabled) = self.recovers(stage, &before, &mut short)?;
                if !told.disturbed || again >= MOST_AGAIN {
                    break (told, recovered, enabled, short);
                }
                judge::commands(&stage.observer.trace(), &about, &mut broken);
            } else if again == MOST_LEFT {
                bail!(
                    "the cell leaves `{}` by itself, before any fault",
                    self.mode.word()
                );
            }
            again += 1;
        };
        stage.pass(BATCH)?;
        let trace = stage.observer.trace();
        let quality = judge::commands(&trace, &about, &mut short);
        short.append(&mut broken);
        for ended in stage.gone() {
            short.push(format!("role `{}` ended: {}", ended.role, ended.last_words));
            stage.mend(ended.role)?;
        }
        short.extend(stage.panics()?);
        if !recovered {
            short.push("the cell did not work again".into());
        }
        told.enabled = enabled;
        told.again = again;
        told.quality = quality;
        told.outcome.largest_step = quality.largest_step;
        told.outcome.largest_lead = quality.largest_lead;
        told.outcome.peak_jerk = quality.peak_jerk;
        told.outcome.recovered = recovered;
        told.outcome.short = short;
        stage.end_episode()?;
        Ok(told)
    }

    fn prepare(&self, stage: &mut Stage<'_>) -> anyhow::Result<()> {
        stage.set_links(vec![]);
        stage.end_episode()?;
        stage.human_leaves();
        let mode = |o: &super::observe::Observer| o.mode().map(|m| m.mode);
        if self.mode == In::Boot || mode(&stage.observer) == Some(ModeWord::Stopped) {
            stage.reboot()?;
        }
        stage.reset(self.seed)?;
        if self.mode == In::Boot {
            stage.observer.clear();
            return Ok(());
        }
        if mode(&stage.observer) != Some(ModeWord::Ready) {
            stage.insist(&ModeOrder::Enable)?;
        }
        stage.wait("the arm is ready", STEP_WITHIN, |o| {
            mode(o) == Some(ModeWord::Ready)
        })?;
        if matches!(self.mode, In::Policy | In::Hold) {
            let start = stage.start_order(self.instruction, self.seed);
            stage.insist(&start)?;
            stage.wait(
                "the policy commands the arm",
                STEP_WITHIN,
                Stage::policy_commands,
            )?;
        }
        match self.mode {
            In::Goto => {
                let pose = stage.pose(GOTO_RAD, GOTO_SPEED)?;
                stage.insist(&pose)?;
                stage.wait("the arm moves to a pose", STEP_WITHIN, |o| {
                    mode(o) == Some(ModeWord::Goto)
                })?;
            }
            In::Teleop => {
                stage.take_over()?;
                stage.wait("a human commands the arm", STEP_WITHIN, |o| {
                    mode(o) == Some(ModeWord::Teleop)
                })?;
            }
            In::Boot | In::Ready | In::Policy | In::Hold => {}
        }
        if self.mode == In::Hold {
            stage.pass(BEGIN)?;
            stage.hold()?;
            stage.wait("the arm holds", STEP_WITHIN, |o| {
                mode(o) == Some(ModeWord::Hold)
            })?;
            stage.pass(BRAKES)?;
        }
        stage.observer.clear();
        Ok(())
    }

    /// Lets the faults act, and mends what they broke. `None` when the cell was not in its mode any more when the first
    /// was to begin.
    fn act(&self, stage: &mut Stage<'_>, short: &mut Vec<String>) -> anyhow::Result<Option<Done>> {
        let start = Instant::now();
        let share = (self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64;
        let jitter = JITTER.mul_f64(share / f64::from(1u32 << 24));
        let mut acts: Vec<Act<'_>> = self
            .wishes
            .iter()
            .map(|wish| Act {
                wish,
                from: start + wish.at.unwrap_or(BEGIN + jitter),
                until: None,
                acts: false,
                over: false,
                extra: None,
                flood: None,
            })
            .collect();
        let result = self.let_act(stage, &mut acts, short);
        // Whatever happened: nothing stays stopped, and the engine has its own bundle again.
        for act in &mut acts {
            if let (Doing::Stop(role), true, false) = (act.wish.fault.doing, act.acts, act.over) {
                stage.freeze(role, false)?;
            }
            if let Some(extra) = act.extra.take() {
                stage.with_extra(extra);
            }
            if let (Doing::DiskFull, true, false) = (act.wish.fault.doing, act.acts, act.over) {
                stage.fill_disk(false)?;
            }
            act.flood = None;
        }
        stage.set_links(vec![]);
        result
    }

    fn let_act(
        &self,
        stage: &mut Stage<'_>,
        acts: &mut [Act<'_>],
        short: &mut Vec<String>,
    ) -> anyhow::Result<Option<Done>> {
        let (mut begin, mut touched, mut ended) = (None, None, None);
        let mut end = stage.now();
        let latest = acts
            .iter()
            .map(|act| act.from + act.wish.lasts.unwrap_or_default());
        let latest = latest.max().unwrap_or_else(Instant::now) + OVER_WITHIN;
        let mut ends = 0;
        while acts.iter().any(|act| !act.over) {
            let now = Instant::now();
            let mut changed = false;
            for act in acts.iter_mut() {
                if !act.acts && now >= act.from {
                    let left = match self.mode {
                        In::Policy => !Stage::policy_commands(&stage.observer),
                        In::Goto => stage.observer.mode().map(|m| m.mode) != Some(ModeWord::Goto),
                        In::Teleop => {
                            stage.observer.mode().map(|m| m.mode) != Some(ModeWord::Teleop)
                        }
                        In::Boot | In::Ready | In::Hold => false,
                    };
                    if begin.is_none() && left {
                        return Ok(None);
                    }
                    let (at, gone) = self.begin(stage, act)?;
                    ended = ended.or(gone);
                    begin.get_or_insert(at);
                    changed = true;
                }
                if let Doing::Bundle = act.wish.fault.doing
                    && act.acts
                    && act.until.is_none()
                    && stage.engine().is_some()
                {
                    act.until = Some(Instant::now() + act.wish.lasts.unwrap_or(BUNDLE_LASTS));
                }
                if !act.over && act.until.is_some_and(|until| now >= until) {
                    self.end(stage, act)?;
                    end = stage.now();
                    changed = true;
                }
            }
            if changed {
                let links = acts.iter().filter(|a| a.acts && !a.over);
                let links: Vec<_> = links
                    .filter_map(|a| match a.wish.fault.doing {
                        Doing::Link(link) => Some(link),
                        _ => None,
                    })
                    .collect();
                touched = touched.or(stage.touched());
                stage.set_links(links);
            }
            for ended in stage.gone() {
                ends += 1;
                let said = format!("role `{}` ended: {}", ended.role, ended.last_words);
                if ends > MOST_ENDED {
                    bail!("{said}");
                }
                short.push(said);
                stage.start(ended.role)?;
            }
            if now > latest {
                bail!("the faults were not over within {OVER_WITHIN:?}");
            }
            stage.pass(Duration::from_millis(1))?;
        }
        let begin = begin.unwrap_or(end);
        // A link that spoils or delays begins to with its first message; one that is cut, with the first that is missing.
        let by_messages =
            |w: &LiveWish| matches!(w.fault.doing, Doing::Link(link) if link.how != How::Cut);
        let since = match touched {
            Some(touched) if self.wishes.iter().all(by_messages) => touched,
            _ => begin,
        };
        Ok(Some(Done {
            begin,
            end,
            since,
            ended,
        }))
    }

    /// Lets a fault begin; returns when it did, and when the process that it killed had ended.
    fn begin(
        &self,
        stage: &mut Stage<'_>,
        act: &mut Act<'_>,
    ) -> anyhow::Result<(Time, Option<Time>)> {
        act.acts = true;
        let lasts = act.wish.lasts.unwrap_or(LASTS);
        act.until = Some(Instant::now() + lasts);
        match act.wish.fault.doing {
            Doing::Kill(role) => stage.kill(role).map(|(at, gone)| (at, Some(gone))),
            Doing::Stop(role) => stage.freeze(role, true).map(|at| (at, None)),
            Doing::Bundle => {
                act.extra = Some(stage.with_bundle(self.other_bundle));
                act.until = None;
                let (at, gone) = stage.kill("engine")?;
                stage.start("engine")?;
                Ok((at, Some(gone)))
            }
            Doing::DiskFull => {
                stage.fill_disk(true)?;
                stage.kill("engine").map(|(at, gone)| (at, Some(gone)))
            }
            Doing::Flood => {
                act.flood = Some(stage.flood()?);
                Ok((stage.now(), None))
            }
            Doing::Silence => {
                stage.silence(true);
                Ok((stage.now(), None))
            }
            Doing::Link(_) => Ok((stage.now(), None)),
        }
    }

    fn end(&self, stage: &mut Stage<'_>, act: &mut Act<'_>) -> anyhow::Result<()> {
        act.over = true;
        match act.wish.fault.doing {
            Doing::Kill(role) => stage.start(role),
            Doing::Stop(role) => stage.freeze(role, false).map(drop),
            Doing::Bundle => {
                if let Some(extra) = act.extra.take() {
                    stage.with_extra(extra);
                }
                stage.kill("engine")?;
                stage.start("engine")
            }
            Doing::DiskFull => {
                stage.fill_disk(false)?;
                stage.start("engine")
            }
            Doing::Flood => {
                act.flood = None;
                Ok(())
            }
            Doing::Silence => {
                stage.silence(false);
                Ok(())
            }
            Doing::Link(_) => Ok(()),
        }
    }
}
