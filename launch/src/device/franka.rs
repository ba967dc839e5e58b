//! `tactus device` for a Franka Research 3: served, looked at, recovered from a reflex.

use anyhow::bail;
use comfy_table::{Table, presets};
use tactus_drivers_api::DeviceOptions;
use tactus_franka::model::JOINT_NAMES;
use tactus_franka::{Bench, FrankaArm, Host, bench as at_rest, modes};

use super::{hurry, serve_beside_gripper};
use crate::cell::{Cell, CellFranka};
use crate::cli::{DeviceVerb, RoleArgs};
use crate::{result, roles};

/// A verb.
pub fn bench(verb: &DeviceVerb, arm: &CellFranka) -> anyhow::Result<()> {
    match verb {
        DeviceVerb::Check { .. } => check(arm),
        DeviceVerb::Recover { .. } => result::line(at_rest::recover(&Host::resolve(&arm.host)?)?),
        _ => bail!(
            "`device {}` is for other arms; joints, brakes and FCI of this one are seen to in Desk: see `device --help`",
            verb.word()
        ),
    }
}

/// The role.
pub fn serve(
    args: &RoleArgs,
    cell: &Cell,
    options: &DeviceOptions,
    arm: &CellFranka,
) -> anyhow::Result<()> {
    let joined = roles::join(args, &format!("device/{}", cell.device))?;
    let host = Host::resolve(&arm.host)?;
    // Before the link's thread is started, which is as much in a hurry and inherits it.
    hurry(cell);
    let device = FrankaArm::start(&host, arm.spec, joined.session.clock().clone())?;
    serve_beside_gripper(args, cell, options, &joined, device, |device| {
        tracing::info!(counts = ?device.counts(), "controller");
    })
}

/// Who answers and how it stands. Fails when it is not the arm of the cell file, or could not be enabled as it is.
fn check(arm: &CellFranka) -> anyhow::Result<()> {
    let bench = Bench::open(&Host::resolve(&arm.host)?)?;
    let sample = bench.look()?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row(["controller", &format!("FCI version {}", bench.version())]);
    table.add_row(["mode", &sample.word()]);
    for (name, q) in JOINT_NAMES.iter().zip(sample.q) {
        let angle = format!("{q:.4} rad, {:.2} deg", q.to_degrees());
        table.add_row([*name, &angle]);
    }
    result::line(table)?;
    if let Some(reason) = modes::refusal(&sample) {
        bail!("the arm cannot be enabled as it is: {reason}");
    }
    Ok(())
}
