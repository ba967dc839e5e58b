//! `tactus device` for an arm that ROS 2 moves: served, looked at.

use std::sync::Arc;

use anyhow::bail;
use comfy_table::{Table, presets};
use tactus_drivers_api::{Device, DeviceOptions};
use tactus_ros::{RosArm, RosArmSpec};
use tactus_types::Clock;
use tactus_wire::MonotonicClock;

use super::{hurry, serve_beside_gripper};
use crate::cell::Cell;
use crate::cli::{DeviceVerb, RoleArgs};
use crate::{result, roles};

/// A verb.
pub fn bench(verb: &DeviceVerb, arm: RosArmSpec) -> anyhow::Result<()> {
    match verb {
        DeviceVerb::Check { .. } => check(arm),
        _ => bail!(
            "`device {}` is for other arms; torque, brakes and controllers of this one are seen to in ROS 2",
            verb.word()
        ),
    }
}

/// The role.
pub fn serve(
    args: &RoleArgs,
    cell: &Cell,
    options: &DeviceOptions,
    arm: &RosArmSpec,
) -> anyhow::Result<()> {
    let joined = roles::join(args, &format!("device/{}", cell.device))?;
    let device = RosArm::start(arm.clone(), joined.session.clock().clone())?;
    hurry(cell);
    serve_beside_gripper(args, cell, options, &joined, device, |device| {
        tracing::info!(counts = ?device.counts(), "ros");
    })
}

/// Where its joints are. Sends nothing. Fails when they are not the cell's.
fn check(arm: RosArmSpec) -> anyhow::Result<()> {
    let clock = Arc::new(MonotonicClock::new()?);
    let mut device = RosArm::start(arm, clock.clone())?;
    let state = device.state(clock.now())?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (name, q) in device.info().joints.iter().zip(state.q.iter()) {
        let angle = format!("{q:.4} rad, {:.2} deg", q.to_degrees());
        table.add_row([name, &angle]);
    }
    result::line(table)
}
