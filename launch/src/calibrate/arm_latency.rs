//! `tactus calibrate latency arm`: how much later the joints move than they are commanded to, and how old a joint state is when
//! it comes.
//!
//! Decides what is moved, if anything: one joint back and forth by a little, under the limits; or nothing, where the arm moves
//! by itself already. The motion is bound to this process' lease.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tactus_calibration::ArmLatency;
use tactus_control::Pose;
use tactus_latency::{Sampled, lag};
use tactus_types::{ArmInfo, JointState, JointVec, Time};
use tactus_wire::{AppliedBatch, ModeWord, Topic};

use super::args::ArmLatencyArgs;
use super::joints::slides;
use crate::arm_tools::{self, Shared};
use crate::cell::{self, Cell};
use crate::conformance::heard::{Heard, Stream};
use crate::roles::{self, Joined};
use crate::{order, result};

/// Half of the way that the joint goes back and forth, rad.
const SWING: f64 = 0.06;
/// How often.
const SWINGS: usize = 4;
/// Room to the joint's limits, rad.
const ROOM: f64 = 0.05;
/// Longest latency that is looked for, seconds.
const LONGEST: f64 = 0.5;
/// How long the arm is listened to before and after.
const REST: Duration = Duration::from_millis(700);

/// Measures and prints.
pub fn arm(args: &ArmLatencyArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.role.cell)?;
    let joined = roles::join(&args.role, "latency")?;
    let info = arm_tools::info(&cell, &joined)?;
    let applied = Heard::<AppliedBatch>::listen(
        &joined.session,
        &cell.wire.key(&Topic::ArmApplied(cell.arm.clone())),
    )?;
    let states = Heard::<JointState>::listen(
        &joined.session,
        &cell.wire.key(&Topic::DeviceState(cell.device.clone())),
    )?;
    let joint = match (args.arm_is_clear, args.listen_s) {
        (true, _) => Some(swing(args, &cell, &joined, &info)?),
        (false, Some(secs)) => {
            std::thread::sleep(Duration::from_secs(secs));
            None
        }
        (false, None) => bail!(
            "--arm-is-clear lets one joint swing by {SWING} rad; --listen-s SECS only listens to an arm that moves already"
        ),
    };
    let (applied, states) = (applied.take(), states.take());
    let origin = states
        .messages
        .first()
        .context("the device says no joint states")?;
    let origin = origin.message.captured_at;
    let joint = match joint {
        Some(joint) => joint,
        None => busiest(&states, info.joints.len()),
    };
    let name = info.joints.get(joint).context("no such joint")?;
    let commands = commanded(&applied, joint, origin);
    let measured = measured(&states, joint, origin);
    let lag = lag(&commands, &measured, LONGEST).with_context(|| format!("joint `{name}`"))?;
    let ages = ages(&states);
    result::line(format_args!(
        "joint `{name}`: moves {:.1} +- {:.1} ms after its command (alike to {:.4})",
        1e3 * lag.secs,
        1e3 * lag.error_secs,
        lag.alike
    ))?;
    result::line(format_args!(
        "joint states: {:.2} ms old when they come (median of {}, most {:.2})",
        1e3 * ages.0,
        states.messages.len(),
        1e3 * ages.1
    ))?;
    if let Some(file) = &args.out {
        let latency = ArmLatency::new(
            (cell.arm.as_str(), &info.model, name),
            [1e3 * lag.secs, 1e3 * lag.error_secs, 1e3 * ages.0],
            lag.alike,
        );
        if let Err((field, expected, actual)) = latency.check() {
            bail!(
                "{field}: expected {expected}, got {actual:.1}: measure again, with nothing else moving the arm; {} stays as it is",
                file.display()
            );
        }
        let id = super::write_sealed(file, &latency.write()?)?;
        result::line(format_args!("{id}: {}", file.display()))?;
    }
    if let Some(file) = &args.json {
        let value = json!({
            "joint": name,
            "command_to_motion_ms": 1e3 * lag.secs,
            "error_ms": 1e3 * lag.error_secs,
            "alike": lag.alike,
            "state_age_ms": { "p50": 1e3 * ages.0, "max": 1e3 * ages.1 },
        });
        super::write_json(file, &value)?;
    }
    Ok(())
}

/// Swings one joint about where it is; returns which.
fn swing(
    args: &ArmLatencyArgs,
    cell: &Cell,
    joined: &Joined,
    info: &ArmInfo,
) -> anyhow::Result<usize> {
    let (seen, _subscriptions) = arm_tools::follow(cell, joined)?;
    std::thread::sleep(REST);
    let state = |seen: &Shared| {
        seen.lock()
            .map_or_else(|e| e.into_inner().state, |s| s.state)
    };
    let home = state(&seen)
        .context("the arm host does not say where the arm is")?
        .q;
    let joint = chosen(args.joint.as_deref(), info, &home)?;
    let rank = order::rank(args.take_over);
    let authority = order::authority(&joined.session, cell, "latency", rank)?;
    let swings = (0..SWINGS).flat_map(|_| [SWING, -SWING]).chain([0.0]);
    for by in swings {
        let to = Pose {
            q: JointVec::from_fn(home.len(), |j| home[j] + if j == joint { by } else { 0.0 }),
            opening: None,
        };
        let (report, _) = arm_tools::go(cell, joined, &authority, &seen, to, args.speed, |_| ())?;
        if report.mode != ModeWord::Ready {
            bail!(
                "the arm did not get there: {}: {}",
                report.mode,
                report.reason
            );
        }
    }
    std::thread::sleep(REST);
    Ok(joint)
}

/// The joint of that name; without one, the first that turns and has room to both sides.
fn chosen(name: Option<&str>, info: &ArmInfo, home: &JointVec) -> anyhow::Result<usize> {
    let roomy = |j: usize| {
        let (Some(limits), Some(q)) = (info.limits.get(j), home.as_slice().get(j)) else {
            return false;
        };
        q - SWING - ROOM > limits.lower && q + SWING + ROOM < limits.upper
    };
    let Some(name) = name else {
        return (0..info.joints.len())
            .find(|j| roomy(*j) && !slides(info, *j))
            .context("no joint that turns has room to both sides: bring the arm elsewhere");
    };
    match info.joints.iter().position(|joint| joint == name) {
        Some(j) if slides(info, j) => {
            bail!("joint `{name}` slides: expected one that turns, to swing it by {SWING} rad")
        }
        Some(j) if roomy(j) => Ok(j),
        Some(_) => bail!("joint `{name}` is too close to its limits to swing by {SWING} rad"),
        None => bail!("--joint {name}: expected one of {}", info.joints.join(", ")),
    }
}

/// The joint that moved most.
fn busiest(states: &Stream<JointState>, joints: usize) -> usize {
    let range = |j: usize| {
        let q = || {
            states
                .messages
                .iter()
                .filter_map(|d| d.message.q.as_slice().get(j).copied())
        };
        q().fold(f64::NEG_INFINITY, f64::max) - q().fold(f64::INFINITY, f64::min)
    };
    (0..joints)
        .max_by(|a, b| range(*a).total_cmp(&range(*b)))
        .unwrap_or(0)
}

fn sampled(at: Time, origin: Time, q: &JointVec, joint: usize) -> Option<Sampled> {
    let value = *q.as_slice().get(joint)?;
    Some(Sampled {
        at: at.secs_from(origin),
        value,
    })
}

/// What was commanded, when it was handed to the device.
fn commanded(applied: &Stream<AppliedBatch>, joint: usize, origin: Time) -> Vec<Sampled> {
    let all = applied.messages.iter().flat_map(|d| &d.message.applied);
    let mut all: Vec<Sampled> = all
        .filter_map(|a| sampled(a.at, origin, &a.command.q, joint))
        .collect();
    in_order(&mut all);
    all
}

fn measured(states: &Stream<JointState>, joint: usize, origin: Time) -> Vec<Sampled> {
    let all = states.messages.iter().map(|d| &d.message);
    let mut all: Vec<Sampled> = all
        .filter_map(|s| sampled(s.captured_at, origin, &s.q, joint))
        .collect();
    in_order(&mut all);
    all
}

/// Messages may overtake each other, and come twice.
fn in_order(series: &mut Vec<Sampled>) {
    series.sort_by(|a, b| a.at.total_cmp(&b.at));
    series.dedup_by(|a, b| a.at <= b.at);
}

/// Median and longest age of the states when they came, seconds.
fn ages(states: &Stream<JointState>) -> (f64, f64) {
    let age =
        |d: &tactus_wire::Delivery<JointState>| d.received_at.secs_from(d.message.captured_at);
    let mut ages: Vec<f64> = states.messages.iter().map(age).collect();
    ages.sort_by(f64::total_cmp);
    let at = |i: usize| ages.get(i).copied().unwrap_or(0.0);
    (at(ages.len() / 2), at(ages.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::joints::on_a_rail;

    #[test]
    fn a_joint_that_slides_is_not_swung() {
        let (info, home) = (on_a_rail(), JointVec::zeros(2));
        assert_eq!(chosen(None, &info, &home).ok(), Some(1));
        assert_eq!(chosen(Some("turn"), &info, &home).ok(), Some(1));
        let refused = chosen(Some("rail"), &info, &home).expect_err("slides");
        assert!(refused.to_string().contains("`rail` slides"), "{refused}");
    }
}
