//! `tactus device` for a Franka Research 3 behind a `franka-node`: served, looked at, recovered from a reflex.

use std::sync::Arc;

use anyhow::bail;
use comfy_table::{Table, presets};
use tactus_drivers_api::DeviceOptions;
use tactus_franka::model::JOINT_NAMES;
use tactus_franka::{NodeArm, NodeBench, NodeSpec};
use tactus_wire::MonotonicClock;

use super::{hurry, serve_beside_gripper};
use crate::cell::Cell;
use crate::cli::{DeviceVerb, RoleArgs};
use crate::{result, roles};

/// A verb.
pub fn bench(verb: &DeviceVerb, arm: &NodeSpec) -> anyhow::Result<()> {
    let open = || -> anyhow::Result<NodeBench> {
        let clock = Arc::new(MonotonicClock::new()?);
        Ok(NodeBench::open(arm, clock)?)
    };
    match verb {
        DeviceVerb::Check { .. } => check(&open()?),
        DeviceVerb::Recover { .. } => result::line(open()?.recover()?),
        _ => bail!(
            "`device {}` is for other arms; joints, brakes and FCI of this one are seen to in Desk, its session in franka-node: \
             see `device --help`",
            verb.word()
        ),
    }
}

/// The role.
pub fn serve(
    args: &RoleArgs,
    cell: &Cell,
    options: &DeviceOptions,
    arm: &NodeSpec,
) -> anyhow::Result<()> {
    let joined = roles::join(args, &format!("device/{}", cell.device))?;
    let device = NodeArm::start(arm, joined.session.clock().clone())?;
    // After its threads are started: the millisecond is the node's, and Zenoh's are in no hurry.
    hurry(cell);
    serve_beside_gripper(args, cell, options, &joined, device, |device| {
        tracing::info!(counts = ?device.counts(), "franka-node");
    })
}

/// Who has it and how it stands. Fails when it could not be enabled as it is. Works beside the process that serves it.
fn check(bench: &NodeBench) -> anyhow::Result<()> {
    let sample = bench.look()?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row(["franka-node", &sample.state.phase.to_string()]);
    let holder = match sample.state.holder {
        0 => "nobody".to_owned(),
        client => format!("client {client}"),
    };
    table.add_row(["has the arm", &holder]);
    table.add_row(["mode", &sample.word()]);
    for (name, q) in JOINT_NAMES.iter().zip(sample.state.q) {
        let angle = format!("{q:.4} rad, {:.2} deg", q.to_degrees());
        table.add_row([*name, &angle]);
    }
    result::line(table)?;
    if let Some(reason) = sample.unfit() {
        bail!("the arm cannot be enabled as it is: {reason}");
    }
    Ok(())
}
