//! Whether a cell works again after a fault: by itself where it may, else by the orders of an operator.

use std::time::{Duration, Instant};

use tactus_types::Source;
use tactus_wire::{ModeOrder, ModeReport, ModeWord};

use super::faults::{Doing, How, LiveWish, Traffic};
use super::stage::{STEP_WITHIN, Stage};
use super::trial::{BATCH, LiveTrial};
use crate::drill::trial::In;

/// A cell must work again within this time after a fault: an engine that starts loads and probes its policy.
const RECOVER: Duration = Duration::from_secs(25);
/// An arm host that was restarted is watched for this long: it must not begin anything by itself.
const WATCHED: Duration = Duration::from_secs(1);

impl LiveTrial<'_> {
    /// Whether an episode is under way again, and whether that needed an operator's enabling.
    ///
    /// # Errors
    /// When the drill is interrupted.
    pub(super) fn recovers(
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
                ModeWord::Align | ModeWord::Teleop => {
                    let _ = stage.order(&ModeOrder::HandBack);
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
