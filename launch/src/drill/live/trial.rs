//! One fault, once, in a running cell: brings it into a mode, breaks something, mends it, and judges what followed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use tactus_types::{FaultKind, Source, Time};
use tactus_wire::{ModeOrder, ModeReport, ModeWord};

use super::faults::{Doing, How, Judged, LiveWish, Traffic};
use super::judge::{self, About, Quality};
use super::observe::Trace;
use super::stage::{STEP_WITHIN, Stage};
use crate::drill::catalogue::Expect;
use crate::drill::trial::{In, Outcome};

/// A fault begins this long after its mode, and up to [`JITTER`] later.
const BEGIN: Duration = Duration::from_millis(700);
const JITTER: Duration = Duration::from_millis(400);
/// How long a fault acts, unless it says so itself ..
const LASTS: Duration = Duration::from_secs(1);
/// .. and how long another bundle's engine answers.
const BUNDLE_LASTS: Duration = Duration::from_secs(2);
/// A cell must work again within this time after a fault: an engine that starts loads and probes its policy.
const RECOVER: Duration = Duration::from_secs(25);
/// An arm host that was restarted is watched for this long: it must not begin anything by itself.
const WATCHED: Duration = Duration::from_secs(1);
/// What was applied reaches us in batches.
const BATCH: Duration = Duration::from_millis(60);
/// Faults must be over within this time after the last was to begin: another bundle's engine loads and probes.
const OVER_WITHIN: Duration = Duration::from_secs(60);
/// A role may end by itself this often in a trial; one that cannot start does so without end.
const MOST_ENDED: usize = 3;
/// A trial begins again when the cell left its mode before there was a fault, at most this often.
const MOST_AGAIN: u64 = 5;
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
    /// An operator's enabling was needed.
    pub enabled: bool,
    /// How often the trial began again, because the cell left its mode before there was a fault: a busy machine.
    pub again: u64,
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
struct Done {
    /// The first fault began.
    begin: Time,
    /// The last fault was over.
    end: Time,
    /// The instant that bounds count from.
    since: Time,
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
}

impl LiveTrial<'_> {
    /// Runs it. The cell works afterwards, or an error says that it does not.
    ///
    /// # Errors
    /// When the cell could not be brought into the mode, or the drill was interrupted.
    pub fn run(&self, stage: &mut Stage<'_>) -> anyhow::Result<Told> {
        let mut short = Vec::new();
        let mut again = 0;
        let (before, done) = loop {
            self.prepare(stage)?;
            let before = stage.observer.mode();
            let before = before.ok_or_else(|| anyhow::anyhow!("the arm host does not report"))?;
            if let Some(done) = self.act(stage, &mut short)? {
                break (before, done);
            }
            again += 1;
            if again > MOST_AGAIN {
                bail!(
                    "the cell leaves `{}` by itself, before any fault",
                    self.mode.word()
                );
            }
        };
        stage.pass(BATCH)?;
        let trace = stage.observer.trace();
        let mut told = self.judge(stage, &trace, &before, &done, &mut short)?;
        let (recovered, enabled) = self.recovers(stage, &before, &mut short)?;
        stage.pass(BATCH)?;
        let trace = stage.observer.trace();
        let arm = self.cell.arm_spec(0, &stage.info)?;
        let about = About {
            info: &stage.info,
            period_secs: arm.period_secs,
            max_lead: arm.limit.max_lead,
        };
        let quality = judge::commands(&trace, &about, &mut short);
        for ended in stage.gone() {
            short.push(format!("role `{}` ended: {}", ended.role, ended.last_words));
            stage.mend(ended.role)?;
        }
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
        let (mut begin, mut touched) = (None, None);
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
                    let left = self.mode == In::Policy && !Stage::policy_commands(&stage.observer);
                    if begin.is_none() && left {
                        return Ok(None);
                    }
                    let at = self.begin(stage, act)?;
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
        Ok(Some(Done { begin, end, since }))
    }

    fn begin(&self, stage: &mut Stage<'_>, act: &mut Act<'_>) -> anyhow::Result<Time> {
        act.acts = true;
        let lasts = act.wish.lasts.unwrap_or(LASTS);
        act.until = Some(Instant::now() + lasts);
        match act.wish.fault.doing {
            Doing::Kill(role) => stage.kill(role),
            Doing::Stop(role) => stage.freeze(role, true),
            Doing::Bundle => {
                act.extra = Some(stage.with_bundle(self.other_bundle));
                act.until = None;
                let at = stage.kill("engine")?;
                stage.start("engine")?;
                Ok(at)
            }
            Doing::Link(_) => Ok(stage.now()),
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
            Doing::Link(_) => Ok(()),
        }
    }

    fn judge(
        &self,
        stage: &Stage<'_>,
        trace: &Trace,
        before: &ModeReport,
        done: &Done,
        short: &mut Vec<String>,
    ) -> anyhow::Result<Told> {
        let arm = self.cell.arm_spec(0, &stage.info)?;
        let mut told = Told {
            outcome: Outcome {
                reason: None,
                hold_after: None,
                bound: None,
                largest_step: 0.0,
                largest_lead: 0.0,
                peak_jerk: 0.0,
                recovered: false,
                short: vec![],
            },
            noise: judge::noise(&trace.applied, done.begin, done.end, arm.period_secs),
            host_noise: judge::host_noise(&trace.naps, done.begin, done.end),
            enabled: false,
            again: 0,
            quality: Quality::default(),
            by_device: false,
        };
        let device = self.wishes.iter().any(|w| w.fault.judged == Judged::Device);
        if device {
            let until = done.end;
            let rests = judge::device_rests(&trace.states, done.since, until, &stage.info);
            let (rested, bound) = rests;
            told.by_device = true;
            // Its ticks are those of another process: what is known of the lateness is that of this one.
            told.noise = told.host_noise;
            told.outcome.hold_after = rested;
            told.outcome.bound = Some(bound);
            match rested {
                Some(after) if after <= bound + told.host_noise => {}
                Some(after) => {
                    short.push(format!("the arm rests after {after:.1?}, bound {bound:?}"))
                }
                None => short.push("the arm moves on without its arm host".into()),
            }
            return Ok(told);
        }
        if self.mode != In::Policy {
            judge::rests(trace, done.begin, done.end, before, short);
            return Ok(told);
        }
        let must = self
            .wishes
            .iter()
            .all(|w| matches!(w.fault.judged, Judged::Arm(Expect::Hold(_))));
        let hold = judge::first_hold(trace, done.since);
        let mut allowed = self.wishes.iter().flat_map(|w| match w.fault.judged {
            Judged::Arm(Expect::Hold(kinds) | Expect::Either(kinds)) => kinds,
            Judged::Arm(Expect::Through) | Judged::Device => &[],
        });
        match hold {
            Some(hold) => {
                told.noise = judge::noise(&trace.applied, done.since, hold.at, arm.period_secs);
                told.host_noise = judge::host_noise(&trace.naps, done.since, hold.at);
                // An arm that does not follow is noticed by what it does, whatever was done to it before.
                let leading = judge::leading_since(trace, hold.at, arm.ladder.track_rad);
                let since = match hold.kind {
                    FaultKind::Tracking => leading.unwrap_or(done.since),
                    _ => done.since,
                };
                let after = hold.at.since(since);
                let must = must || hold.kind == FaultKind::Tracking;
                told.outcome.reason = Some(hold.kind);
                told.outcome.hold_after = Some(after);
                // A fault that comes and goes has no instant that a bound could count from.
                let bound = tactus_control::rule(hold.kind).hold_within(&arm.ladder);
                told.outcome.bound = must.then_some(bound);
                if !allowed.any(|kind| *kind == hold.kind) {
                    short.push(format!("a hold for another reason: {}", hold.kind.name()));
                } else if must
                    && let Err(said) = judge::in_time(after, hold.kind, told.noise, &arm.ladder)
                {
                    short.push(said);
                }
            }
            None if must => short.push("no hold".into()),
            None => {}
        }
        self.judge_bundle(trace, done, short);
        Ok(told)
    }

    /// While another bundle's engine answers, nothing of it moves the arm, and its chunks are refused as such.
    fn judge_bundle(&self, trace: &Trace, done: &Done, short: &mut Vec<String>) {
        if !self.wishes.iter().any(|w| w.fault.doing == Doing::Bundle) {
            return;
        }
        let Some(hold) = judge::first_hold(trace, done.since) else {
            return;
        };
        let after = |at: Time| at >= hold.at && at <= done.end;
        let moved =
            |a: &&tactus_types::Applied| after(a.at) && a.command.setpoint.source == Source::Policy;
        if trace.applied.iter().any(|a| moved(&a)) {
            short.push("another bundle moved the arm".into());
        }
        // A hold keeps the reason that it began with, so that only the count says that chunks were refused.
        let meanwhile = trace.modes.iter().filter(|r| r.since <= done.end);
        let mut refused = meanwhile.map(|r| r.counters.chunks_discarded);
        let first = refused.next().unwrap_or_default();
        if refused.max().unwrap_or_default() <= first {
            short.push("no chunk of another bundle was refused".into());
        }
    }

    /// Whether an episode is under way again, and whether that needed an operator's enabling.
    fn recovers(
        &self,
        stage: &mut Stage<'_>,
        before: &ModeReport,
        short: &mut Vec<String>,
    ) -> anyhow::Result<(bool, bool)> {
        let boot = before.generation.boot;
        let killed = |role| {
            let kills = |w: &LiveWish| w.role() == Some(role) && w.fault.doing == Doing::Kill(role);
            self.wishes.iter().any(kills)
        };
        if killed("arm") {
            self.comes_up_in_boot(stage, boot, short)?;
        }
        // What was delayed is still on its way.
        if self.wishes.iter().any(|w| matches!(w.fault.doing, Doing::Link(l) if matches!(l.how, How::Delay(..)) || l.traffic == Traffic::Net)) {
            stage.pass(Duration::from_millis(300))?;
        }
        let until = Instant::now() + RECOVER;
        // A hold that may end by itself is left to.
        let by_itself = self.mode == In::Policy
            && self.cell.resume == tactus_control::Resume::Auto
            && !killed("arm");
        let mut enabled = false;
        while Instant::now() < until {
            let Some(report) = stage.observer.mode() else {
                stage.pass(BATCH)?;
                continue;
            };
            let fresh = stage
                .observer
                .applied()
                .is_some_and(|a| stage.now().since(a.at) < 2 * BATCH);
            match report.mode {
                ModeWord::Policy if fresh && Stage::policy_commands(&stage.observer) => {
                    return Ok((true, enabled));
                }
                ModeWord::Boot => {
                    enabled = stage.order(&ModeOrder::Enable).is_ok() || enabled;
                }
                ModeWord::Ready => {
                    let start = stage.start_order(self.instruction, self.seed);
                    // Refused while the engine or a camera is still coming up.
                    let _ = stage.order(&start);
                }
                ModeWord::Hold if !by_itself => {
                    enabled = stage.order(&ModeOrder::Enable).is_ok() || enabled;
                }
                _ => {}
            }
            stage.pass(BATCH)?;
        }
        Ok((false, enabled))
    }

    /// An arm host that was killed comes up in boot, and stays there.
    fn comes_up_in_boot(
        &self,
        stage: &Stage<'_>,
        boot: u64,
        short: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        stage.wait("the arm host is back", STEP_WITHIN, |o| {
            o.mode().is_some_and(|m| m.generation.boot != boot)
        })?;
        stage.pass(WATCHED)?;
        let trace = stage.observer.trace();
        let ours = trace.modes.iter().filter(|m| m.generation.boot != boot);
        if let Some(other) = ours.clone().find(|m| m.mode != ModeWord::Boot) {
            short.push(format!(
                "the restarted arm host went to `{}` by itself",
                other.mode
            ));
        }
        let applied = trace
            .applied
            .iter()
            .filter(|a| a.command.generation.boot != boot);
        let mut q = None;
        for applied in applied {
            let first = *q.get_or_insert(applied.command.q);
            let moved = applied.command.q.zip(&first, |a, b| a - b).max_abs();
            if applied.command.setpoint.source != Source::Hold || moved > 1e-3 {
                short.push(format!(
                    "the restarted arm host moved the arm by {moved:.4} rad"
                ));
                break;
            }
        }
        Ok(())
    }
}
