//! What an engine says of itself again and again, whether it infers or not: that it is there, and how each arm stands with it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tactus_control::Standing;
use tactus_wire::{EngineStatus, Publisher, Service, SlackNanos};

use super::EngineArm;
use crate::explain::Turn;

/// Time between two signs of life.
pub(super) const BEAT: Duration = Duration::from_millis(50);

/// What is said to an arm's cell again and again.
pub(super) struct Desk {
    pub(super) status: Arc<Mutex<EngineStatus>>,
    pub(super) beats: Publisher<EngineStatus>,
}

/// Whether the inference thread has ended.
#[derive(Default)]
pub(super) struct Done {
    done: Mutex<bool>,
    told: Condvar,
}

impl Done {
    /// Says every [`BEAT`] that this host is there, however long an inference takes: what an arm host hears nothing of
    /// is behind a broken link.
    pub(super) fn beat(&self, desks: &[Desk]) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            for Desk { status, beats } in desks {
                let status = status.lock().unwrap_or_else(PoisonError::into_inner);
                let status = status.clone();
                if let Err(e) = beats.put(&status) {
                    tracing::debug!("beat not sent: {e}");
                }
            }
            done = self
                .told
                .wait_timeout(done, BEAT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

pub(super) struct Ending<'a>(pub(super) &'a Done, pub(super) &'a Turn);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *self.0.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.told.notify_all();
        self.1.end();
    }
}

/// Writes an arm's standing into the log.
pub(super) fn say(arm: &EngineArm<'_>, standing: &Standing) {
    let (cell, arm) = (arm.cell.name(), &arm.arm);
    let share = format!("{:.0} %", 100.0 * standing.share);
    match &standing.refused_for {
        Some(why) => tracing::warn!(%cell, %arm, share, "not served: {why}"),
        None if standing.admitted => {
            tracing::info!(%cell, %arm, share, cost = ?standing.cost, "admitted");
        }
        None => tracing::info!(%cell, %arm, share, "gone"),
    }
}

/// As it is said on the wire.
pub(super) fn service(standing: Standing) -> Service {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Service {
        arms: count(standing.arms),
        admitted_arms: count(standing.admitted_arms),
        share: standing.share,
        cost: standing.cost,
        admitted: standing.admitted,
        refused_for: standing.refused_for.unwrap_or_else(|| "".into()),
        answered: standing.answered,
        late: standing.late,
        rejected: standing.rejected,
        slack: standing.slack.map(|slack| SlackNanos {
            last: slack.last,
            least: slack.least,
            median: slack.median,
        }),
    }
}
