//! `tactus device` for arms of Universal Robots: served, looked at, and what an operator does at the pendant, said from here.

use anyhow::bail;
use comfy_table::{Table, presets};
use tactus_drivers_api::DeviceOptions;
use tactus_ur::bench::Act;
use tactus_ur::model::JOINT_NAMES;
use tactus_ur::{Bench, Host, UrArm};

use super::{hurry, serve_beside_gripper};
use crate::cell::{Cell, CellUr};
use crate::cli::{DeviceVerb, RoleArgs};
use crate::{result, roles};

/// A verb.
pub fn bench(verb: &DeviceVerb, arm: &CellUr) -> anyhow::Result<()> {
    match verb {
        DeviceVerb::Check { .. } => check(arm),
        DeviceVerb::PowerOn { .. } => act(arm, Act::PowerOn),
        DeviceVerb::PowerOff { .. } => act(arm, Act::PowerOff),
        DeviceVerb::BrakeRelease { .. } => act(arm, Act::BrakeRelease),
        DeviceVerb::UnlockProtectiveStop { .. } => act(arm, Act::UnlockProtectiveStop),
        _ => bail!(
            "`device {}` is for arms of servos; this one has brakes, and a controller of its own: see `device --help`",
            verb.word()
        ),
    }
}

/// The role.
pub fn serve(
    args: &RoleArgs,
    cell: &Cell,
    options: &DeviceOptions,
    arm: &CellUr,
) -> anyhow::Result<()> {
    let joined = roles::join(args, &format!("device/{}", cell.device))?;
    let host = Host::resolve(&arm.host)?;
    // Before the link's thread is started, which is as much in a hurry and inherits it.
    hurry(cell);
    let device = UrArm::start(&host, arm.spec, joined.session.clock().clone())?;
    serve_beside_gripper(args, cell, options, &joined, device, |device| {
        tracing::info!(counts = ?device.counts(), "controller");
    })
}

/// Who answers and how it stands. Fails when it is not the arm of the cell file, or could not be enabled as it is.
fn check(arm: &CellUr) -> anyhow::Result<()> {
    let bench = Bench::open(&Host::resolve(&arm.host)?)?;
    let said = |word: &Option<String>| word.clone().unwrap_or_else(|| "not told".into());
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row(["controller", &format!("software {}", bench.version)]);
    table.add_row(["arm", &said(&bench.identity.model)]);
    table.add_row(["serial number", &said(&bench.identity.serial)]);
    let control = match bench.identity.remote {
        Some(true) => "remote",
        Some(false) => "local",
        None => "not told",
    };
    table.add_row(["control", control]);
    // An arm that is another one may have another kind of state too.
    let fits = bench.check(arm.spec.model);
    let sample = fits.is_ok().then(|| bench.look()).transpose()?;
    if let Some(sample) = &sample {
        table.add_row(["robot mode", sample.mode.word()]);
        table.add_row(["safety", sample.safety.word()]);
        table.add_row(["program", sample.runtime.word()]);
        let speed = format!("{:.0} %", 100.0 * sample.speed_scaling);
        table.add_row(["speed scaling", &speed]);
        for (name, q) in JOINT_NAMES.iter().zip(sample.q) {
            let angle = format!("{q:.4} rad, {:.2} deg", q.to_degrees());
            table.add_row([*name, &angle]);
        }
    }
    result::line(table)?;
    fits?;
    if bench.identity.remote == Some(false) {
        bail!("the robot is in local control: switch it to remote control at the pendant");
    }
    if let Some(reason) = sample.and_then(|sample| tactus_ur::follow::Follow::refusal(&sample)) {
        bail!("the arm cannot be enabled as it is: {reason}");
    }
    Ok(())
}

fn act(arm: &CellUr, act: Act) -> anyhow::Result<()> {
    let bench = Bench::open(&Host::resolve(&arm.host)?)?;
    bench.check(arm.spec.model)?;
    result::line(bench.act(act)?)
}
