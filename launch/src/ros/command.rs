//! The topics that command: each message becomes a plan, or is refused and counted; the plan is what the source of setpoints says
//! from then on. While nothing plays, or what played has fallen silent, the source lets go and the arm holds.
//!
//! Decides that a motion waits for the arm: until the arm follows, the plan's time stands still, for a second at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactus_ros::messages::{Float64MultiArray, JointTrajectory};
use tactus_ros::node::unix_nanos;
use tactus_ros::{Attachment, NotTaken, Plan, Qos, Spec, Target};
use tactus_teleop::{Motion, Reading, Source, TeleopError};
use tactus_types::{Clock, Time};
use tactus_wire::{CellClock, Sparse};

use super::{Bridge, Kept};
use crate::teleop::Seen;

/// What the source is called.
pub const SOURCE: &str = "ros 2";
/// A list of positions, and the end of a trajectory, count for this long.
const SILENT_AFTER: Duration = Duration::from_millis(200);
/// How long a plan waits for the arm to follow.
const WAITS: Duration = Duration::from_secs(1);
/// Of the distance within which arm and source come together: what a first position may be away.
const SHARE: f64 = 0.9;

/// What is commanded now.
pub struct Commands {
    spec: Spec,
    tolerance: f64,
    clock: Arc<CellClock>,
    now: Mutex<Now>,
    taken: Sparse,
    refused: Sparse,
}

#[derive(Default)]
struct Now {
    /// Where we are in command.
    seen: Option<Arc<Seen>>,
    plan: Option<Plan>,
    read_at: Option<Time>,
    waited: Duration,
}

/// Why a command does not count.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("ROS 2 is not in command: call the service `command` with true first")]
    NotInCommand,
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

impl Commands {
    pub fn new(bridge: &Bridge) -> Self {
        let teleop = bridge.cell.teleop;
        Self {
            spec: Spec {
                joints: bridge.info.joints.clone(),
                limits: bridge.info.limits.clone(),
                reach: SHARE * teleop.part_rad,
                silent_after: SILENT_AFTER,
            },
            tolerance: SHARE * teleop.tolerance_rad,
            clock: bridge.clock().clone(),
            now: Mutex::default(),
            taken: Sparse::default(),
            refused: Sparse::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on commands count; the source that says them.
    pub fn begin(self: &Arc<Self>, seen: &Arc<Seen>) -> Box<dyn Source> {
        *self.lock() = Now {
            seen: Some(seen.clone()),
            ..Now::default()
        };
        Box::new(Playing {
            commands: self.clone(),
            seen: seen.clone(),
        })
    }

    /// From now on none does.
    pub fn release(&self) {
        *self.lock() = Now::default();
    }

    fn hear(
        &self,
        plan: impl FnOnce(&Spec, Target, Time) -> Result<Plan, NotTaken>,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        let seen = state.seen.clone().filter(|seen| seen.in_command());
        let arm = seen.and_then(|seen| seen.arm());
        let arm = arm.ok_or(Refused::NotInCommand)?;
        let now = self.clock.now();
        let playing = state.plan.as_ref().filter(|_| arm.follows);
        let from = playing.and_then(|plan| plan.at(now)).unwrap_or(Target {
            q: arm.commanded,
            opening: arm.opening,
        });
        let plan = match arm.follows {
            true => plan(&self.spec, from, now)?,
            false => {
                // They have to come together before anything moves.
                let near = Spec {
                    reach: self.tolerance,
                    ..self.spec.clone()
                };
                plan(&near, from, now)?
            }
        };
        state.plan = Some(plan);
        Ok(())
    }

    fn count(&self, what: &str, heard: Result<(), Refused>) {
        match heard {
            Ok(()) => {
                if let Some(times) = self.taken.told() {
                    tracing::info!(times, "{what} of ROS 2 taken");
                }
            }
            Err(e) => {
                if let Some(times) = self.refused.told() {
                    tracing::warn!(times, "{what} of ROS 2 refused: {e}");
                }
            }
        }
    }

    fn read(&self, seen: &Seen, now: Time) -> Option<Target> {
        let follows = seen.arm()?.follows;
        let mut state = self.lock();
        let since = state.read_at.map_or(Duration::ZERO, |at| now.since(at));
        state.read_at = Some(now);
        if follows {
            state.waited = Duration::ZERO;
        } else if state.plan.is_some() {
            state.waited += since;
            if state.waited > WAITS {
                tracing::warn!("the arm does not follow: the command is dropped");
                state.plan = None;
                state.waited = Duration::ZERO;
            } else if let Some(plan) = &mut state.plan {
                plan.delay(since);
            }
        }
        let target = state.plan.as_ref()?.at(now);
        if target.is_none() {
            state.plan = None;
        }
        target
    }
}

/// Listens to the topics.
pub fn listen(
    bridge: &Arc<Bridge>,
    commands: &Arc<Commands>,
    kept: &mut Kept,
) -> anyhow::Result<()> {
    let to = commands.clone();
    let heard = move |message: JointTrajectory, _: &Attachment| {
        let wall = unix_nanos();
        let heard = to.hear(|spec, from, now| spec.trajectory(&message, from, (now, wall)));
        to.count("trajectory", heard);
    };
    let name = bridge.name("command/joint_trajectory")?;
    kept.topics
        .push(bridge.node.subscribe(&name, Qos::USUAL, heard)?);
    let to = commands.clone();
    let heard = move |message: Float64MultiArray, _: &Attachment| {
        let heard = to.hear(|spec, from, now| spec.positions(&message, from, now));
        to.count("positions", heard);
    };
    let name = bridge.name("command/positions")?;
    kept.topics
        .push(bridge.node.subscribe(&name, Qos::USUAL, heard)?);
    Ok(())
}

/// What plays, as a source of setpoints.
struct Playing {
    commands: Arc<Commands>,
    seen: Arc<Seen>,
}

impl Source for Playing {
    fn name(&self) -> &str {
        SOURCE
    }

    fn read(&mut self, now: Time) -> Result<Reading, TeleopError> {
        let target = self.commands.read(&self.seen, now);
        // Where the arm is, without asking for anything.
        let (q, opening) = match (target, self.seen.arm()) {
            (Some(target), _) => (target.q, target.opening),
            (None, Some(arm)) => (arm.commanded, arm.opening),
            (None, None) => (
                tactus_types::JointVec::zeros(self.commands.spec.joints.len()),
                0.0,
            ),
        };
        Ok(Reading {
            captured_at: now,
            motion: Motion::Joints {
                q,
                opening: Some(opening),
            },
            engaged: target.is_some(),
            wish: None,
        })
    }
}
