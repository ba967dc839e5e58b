//! The arm of the cell's `[device]` section and the gripper beside it: reached, the ones the file means, and ready.
//!
//! Reads only. Whoever serves the arm has its port for itself, so a running device is looked at by `--connect` instead.

use anyhow::bail;
use tactus_franka::{NodeBench, NodeSpec};
use tactus_ros::{RosArm, RosArmSpec};
use tactus_ur::{Bench, Host};
use tactus_wire::MonotonicClock;

use super::{Finding, Report, busy};
use crate::cell::{Cell, CellDevice, CellFranka, CellGripper, CellServos, CellUr};

/// What was found, or why not and what to do about it.
type Found = Result<String, (anyhow::Error, &'static str)>;

/// Adds what it finds; nothing for a cell whose device is not an arm of ours.
pub fn look(report: &mut Report, cell: &Cell) -> anyhow::Result<()> {
    let Some(device) = &cell.hardware else {
        return Ok(());
    };
    let bar = busy("asking the arm");
    let found = match device {
        CellDevice::Servos(arm) => servos(arm),
        CellDevice::Ur(arm) => ur(arm),
        CellDevice::Franka(arm) => franka(arm),
        CellDevice::FrankaNode(arm) => franka_node(arm),
        CellDevice::Ros(arm) => ros(arm),
    };
    bar.finish_and_clear();
    add(report, "device", found)?;
    if let Some(links) = &cell.links {
        let found = cell.geometry().map(|_| {
            let urdf = links.urdf.display();
            format!("{urdf} has the arm's joints; {}", cell.says_of_space())
        });
        let mend = "launch/cells/README.md, \"An arm that does not describe itself\"";
        add(report, "links", found.map_err(|e| (e, mend)))?;
    }
    let Some(gripper) = &cell.gripper else {
        return Ok(());
    };
    let found = gripper.open();
    let found = found.and_then(|mut fingers| Ok(fingers.exchange(None)?));
    let found = match found.map(|state| (state.fault, state.active)) {
        Ok((Some(fault), _)) => Err(anyhow::anyhow!("the gripper has a fault: {fault}")),
        Ok((None, false)) => Err(anyhow::anyhow!("the gripper is not active")),
        Ok((None, true)) => Ok("answers, and is active".to_owned()),
        Err(e) => Err(e),
    };
    let mend = match gripper {
        CellGripper::Robotiq { .. } => {
            "`tactus device gripper check` says more; `activate` moves its fingers"
        }
        CellGripper::FrankaHand { .. } => {
            "is it mounted, and initialized in Desk? Where it was not homed, `enable` homes it: its fingers move"
        }
    };
    add(report, "gripper", found.map_err(|e| (e, mend)))
}

fn add(report: &mut Report, name: &'static str, found: Found) -> anyhow::Result<()> {
    report.add(match found {
        Ok(found) => Finding::pass(name, found),
        Err((e, mend)) => Finding::fail(name, format!("{e:#}"), mend),
    })
}

fn servos(arm: &CellServos) -> Found {
    let calibration = arm.calibration().map_err(|e| {
        let mend = "`tactus device calibration` writes the one that the servos hold";
        (e, mend)
    })?;
    let settled = || -> anyhow::Result<usize> {
        let mut bench = arm.bench(&calibration)?;
        bench.check()?;
        Ok(bench.servos.len())
    };
    match settled() {
        Ok(count) => Ok(format!(
            "`{}` at {}: {count} servos answer and hold the calibration",
            arm.name(),
            arm.port.display()
        )),
        Err(e) => Err((
            e,
            "`tactus device check` says more of each servo; a device process that runs is asked by --connect",
        )),
    }
}

fn ur(arm: &CellUr) -> Found {
    let ready = || -> anyhow::Result<String> {
        let bench = Bench::open(&Host::resolve(&arm.host)?)?;
        bench.check(arm.spec.model)?;
        if bench.identity.remote == Some(false) {
            bail!("the robot is in local control");
        }
        if let Some(reason) = tactus_ur::follow::Follow::refusal(&bench.look()?) {
            bail!("the arm cannot be enabled as it is: {reason}");
        }
        Ok(format!(
            "`{}` at {}, software {}: can be enabled",
            arm.spec.model.name(),
            arm.host,
            bench.version
        ))
    };
    ready().map_err(|e| {
        let mend =
            "`tactus device check` says how it stands; `tactus device --help` names what mends it";
        (e, mend)
    })
}

fn franka_node(arm: &NodeSpec) -> Found {
    let ready = || -> anyhow::Result<String> {
        let bench = NodeBench::open(arm, std::sync::Arc::new(MonotonicClock::new()?))?;
        let sample = bench.look()?;
        if sample.state.holder != 0 {
            bail!("client {} of franka-node has the arm", sample.state.holder);
        }
        if let Some(reason) = sample.unfit() {
            bail!("the arm cannot be enabled as it is: {reason}");
        }
        Ok(format!(
            "`{}` of franka-node at {}: can be enabled",
            arm.arm, arm.endpoint
        ))
    };
    ready().map_err(|e| {
        let mend = "`tactus device check` says how it stands; `tactus device recover` leaves a reflex; who has the arm gives it \
                    back by ending";
        (e, mend)
    })
}

fn ros(arm: &RosArmSpec) -> Found {
    let ready = || -> anyhow::Result<String> {
        RosArm::start(arm.clone(), std::sync::Arc::new(MonotonicClock::new()?))?;
        let joints = arm.joints.len();
        Ok(format!("`{}` says {joints} joints of the cell", arm.states))
    };
    ready().map_err(|e| {
        let mend = "is the arm's ROS 2 up, on RMW rmw_zenoh_cpp, with its router? `tactus device check` says more";
        (e, mend)
    })
}

fn franka(arm: &CellFranka) -> Found {
    let ready = || -> anyhow::Result<String> {
        let bench = tactus_franka::Bench::open(&tactus_franka::Host::resolve(&arm.host)?)?;
        if let Some(reason) = tactus_franka::modes::refusal(&bench.look()?) {
            bail!("the arm cannot be enabled as it is: {reason}");
        }
        let (host, version) = (&arm.host, bench.version());
        Ok(format!(
            "Franka at {host}, FCI version {version}: can be enabled"
        ))
    };
    ready().map_err(|e| {
        let mend =
            "`tactus device check` says how it stands; `tactus device recover` leaves a reflex";
        (e, mend)
    })
}
