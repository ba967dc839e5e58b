//! What a trial makes of what was heard: the first hold, why, and how soon; or the device that held by itself.

use tactus_control::{Noticed, rule};
use tactus_types::{FaultKind, Source, Time};
use tactus_wire::ModeReport;

use super::faults::{Doing, Judged, LiveWish};
use super::judge::{self, Quality};
use super::observe::Trace;
use super::stage::Stage;
use super::trial::{Done, LiveTrial, Told};
use crate::drill::catalogue::Expect;
use crate::drill::trial::{In, Outcome};

impl LiveTrial<'_> {
    /// Judges what followed from the faults, by `trace`; what fell short goes to `short`.
    ///
    /// # Errors
    /// When the arm does not describe itself as the cell needs it.
    pub(super) fn judge(
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
            ending: done.ended.map(|ended| ended.since(done.begin)),
            enabled: false,
            again: 0,
            disturbed: false,
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
        if matches!(self.mode, In::Boot | In::Ready | In::Hold) {
            judge::rests(trace, done.begin, done.end, before, short);
            return Ok(told);
        }
        let must = self
            .wishes
            .iter()
            .all(|w| matches!(w.judged(self.mode), Judged::Arm(Expect::Hold(_))));
        let hold = judge::first_hold(trace, done.since);
        let mut allowed = self.wishes.iter().flat_map(|w| match w.judged(self.mode) {
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
                    // The end of a process is noticed, not that it was told to end: a busy machine takes its time over that.
                    kind if rule(kind).noticed == Noticed::Death => {
                        done.ended.unwrap_or(done.since)
                    }
                    _ => done.since,
                };
                let after = hold.at.since(since);
                let must = must || hold.kind == FaultKind::Tracking;
                told.outcome.reason = Some(hold.kind);
                told.outcome.hold_after = Some(after);
                // A fault that comes and goes has no instant that a bound could count from.
                let bound = rule(hold.kind).hold_within(&arm.ladder);
                told.outcome.bound = must.then_some(bound);
                let paused = judge::device_pause(trace, done.begin, hold.at);
                told.disturbed = hold.kind == FaultKind::ProprioStale
                    && !self.about_the_device()
                    && paused + 2 * arm.ladder.period > arm.ladder.proprio_limit;
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

    /// Whether a fault of this trial keeps joint states away.
    fn about_the_device(&self) -> bool {
        let about = |w: &LiveWish| w.far_device() || w.role() == Some("sim");
        self.wishes.iter().any(about)
    }
}
