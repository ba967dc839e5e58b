//! `tactus calibrate joints home`: an operator brings every joint to the middle of its range, then to its ends.
//!
//! Decides what the operator sees, and which file the result belongs in. It reads positions only: no servo has torque, and none
//! is written to; `tactus device setup` writes what the file then says. What follows from positions is `servo::homing`'s.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use tactus_drivers_api::servo::{Bench, Calibration, Homing};

use super::lines;
use crate::calibrate::args::HomeArgs;
use crate::cell::{self, CellDevice, CellServos};
use crate::result;

/// Between two looks at the servos while joints are moved.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the operator is waited for before the arm is looked at again.
const WAIT: Duration = Duration::from_millis(200);
/// Ticks to degrees.
const DEG: f64 = 360.0 / 4095.0;

/// Homes.
pub fn home(args: &HomeArgs) -> anyhow::Result<()> {
    let CellDevice::Servos(arm) = cell::device_of(&args.cell)? else {
        bail!(
            "cell file {}: expected an arm of servos ([device] kind feetech or dynamixel): other arms know their zeros; `calibrate joints zeros` checks them",
            args.cell.display()
        );
    };
    let target = match &args.out {
        Some(file) => file.clone(),
        None => arm.calibration_target()?,
    };
    // Ids and drive modes are those that are known; where nothing is known, ids are from 1 on.
    let known = arm.calibration().unwrap_or_else(|e| {
        tracing::warn!("{e:#}; taking the servos to have the ids from 1 on");
        Calibration::unknown(&arm.motors())
    });
    let mut bench = arm.bench(&known)?;
    bench.refuse_torque("a person is about to move it: `tactus device torque-off`")?;
    let held = held(&mut bench)?;
    let operator = lines()?;
    result::line(format_args!(
        "no servo has torque: hold the arm. Bring every joint to the middle of its range, then press Enter"
    ))?;
    loop {
        match operator.recv_timeout(WAIT) {
            Ok(_) => break,
            Err(RecvTimeoutError::Timeout) => {
                // A cable that comes out is said at once.
                positions(&mut bench)?;
            }
            Err(RecvTimeoutError::Disconnected) => bail!("interrupted; nothing was written"),
        }
    }
    let middle = positions(&mut bench)?;
    let servos = bench.servos.clone();
    let named = servos.iter().zip(&middle).map(|(servo, position)| {
        let held = held.servos.get(servo.name).copied();
        (servo.name, held.unwrap_or(servo.calibration), *position)
    });
    let (adds, most) = bench.bus.family().homing;
    let mut homing = Homing::begin(named, arm.whole_turn(), adds, most);
    result::line(format_args!(
        "now bring each joint to both ends of its range, {} need not be; then press Enter",
        arm.whole_turn().join(" and ")
    ))?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{msg}").context("progress lines")?);
    loop {
        homing.take(&positions(&mut bench)?)?;
        bar.set_message(drawn(&homing));
        match operator.try_recv() {
            Ok(_) => break,
            Err(TryRecvError::Empty) => std::thread::sleep(PAUSE),
            Err(TryRecvError::Disconnected) => bail!("interrupted; nothing was written"),
        }
    }
    bar.finish_and_clear();
    let calibration = homing.done()?;
    calibration.write(&target)?;
    say(&arm, &calibration, &target, &args.cell)
}

/// The calibration that the servos hold now. One in a mode in which it does not count its homing offset would have the
/// offset counted twice.
fn held(bench: &mut Bench) -> anyhow::Result<Calibration> {
    let held = bench.calibration()?;
    for m in bench.mismatches()? {
        let servo = &bench.servos[m.servo];
        let homed = held
            .servos
            .get(servo.name)
            .is_some_and(|s| s.homing_offset != 0);
        if homed && matches!(m.setting.register.name, "OPERATING_MODE" | "PHASE") {
            bail!(
                "{servo}: register {} holds {}, expected {}, and it has a homing offset, which may not count in that mode: `tactus device setup` first",
                m.setting.register.name,
                m.actual,
                m.setting.value
            );
        }
    }
    Ok(held)
}

fn positions(bench: &mut Bench) -> anyhow::Result<Vec<i32>> {
    let register = bench.bus.family().present_position;
    let servos = bench.servos.clone();
    servos
        .iter()
        .map(|servo| Ok(bench.read(servo, register)?))
        .collect()
}

/// What the operator sees: every joint, how far it was brought to either side of its middle.
fn drawn(homing: &Homing) -> String {
    let line = |sweep: tactus_drivers_api::servo::Sweep<'_>| {
        let [low, at, high] = sweep.ticks.map(|t| f64::from(t - 2047) * DEG);
        let word = match (sweep.whole_turn, sweep.enough) {
            (true, _) => "turns all the way round",
            (false, true) => "moved",
            (false, false) => "not moved yet",
        };
        format!(
            "{:<16} {low:7.1} {at:7.1} {high:7.1} degrees  {word}",
            sweep.name
        )
    };
    homing.sweeps().map(line).collect::<Vec<_>>().join("\n")
}

fn say(
    arm: &CellServos,
    calibration: &Calibration,
    file: &Path,
    cell: &Path,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["servo", "id", "homing offset", "range, ticks", "degrees"]);
    for name in arm.motors() {
        let Some(servo) = calibration.servos.get(name) else {
            continue;
        };
        let [lower, upper] = servo.range_rad().map(f64::to_degrees);
        table.add_row([
            name.to_owned(),
            servo.id.to_string(),
            servo.homing_offset.to_string(),
            format!("{} to {}", servo.range_min, servo.range_max),
            format!("{lower:.1} to {upper:.1}"),
        ]);
    }
    result::line(table)?;
    result::line(format_args!(
        "calibration of {} servos: {}; the servos do not hold it yet: `tactus device setup --cell {}`",
        calibration.servos.len(),
        file.display(),
        cell.display()
    ))
}
