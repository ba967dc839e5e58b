//! `tactus calibrate joints zeros`: by how much the zero of each joint is off, and how sure that is.
//!
//! Decides where the poses come from: those of a hand-eye calibration, saved or gathered now, or an operator who brings the tip
//! to one point from several sides. What follows from them is `tactus_joints::zeros`'; nothing is changed by it.

use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use nalgebra::Vector3;
use serde_json::json;
use tactus_calibration::exchange::{Answer, ArmNoise, Ask};
use tactus_calibration::seal;
use tactus_joints::zeros::{Look, Scene, TOUCHES, Zeros, by_board, by_touch, check};
use tactus_types::{ArmInfo, JointVec};

use super::lines;
use crate::calibrate::args::ZerosArgs;
use crate::calibrate::fitter::Fitter;
use crate::calibrate::hand_eye::{self, Poses};
use crate::calibrate::{gather, write_json};
use crate::{arm_tools, cell, result, roles};

/// What an arm is taken to be exact to while its zeros are in doubt.
const DOUBT: ArmNoise = ArmNoise { mm: 5.0, deg: 1.0 };

/// Checks and prints.
pub fn zeros(args: &ZerosArgs) -> anyhow::Result<ExitCode> {
    if !(0.05..=20.0).contains(&args.limit_deg) {
        bail!("--limit-deg: expected 0.05 to 20, got {}", args.limit_deg);
    }
    let (info, zeros) = match &args.camera {
        Some(camera) => board(args, camera)?,
        None => touch(args)?,
    };
    tell(args, &info.joints, &zeros)
}

fn board(args: &ZerosArgs, camera: &str) -> anyhow::Result<(ArmInfo, Zeros)> {
    let mut fitter = Fitter::start()?;
    let info = info(args)?;
    let chain = tactus_control::limit::guard::chain(&info)?;
    check(&chain)?;
    let poses = match &args.poses {
        Some(file) => hand_eye::read(file, camera)?,
        None => hand_eye::gathered(&args.gathering(camera), &args.role.cell, &mut fitter)?,
    };
    let geometry = info.geometry.as_ref();
    let geometry = geometry.context("the arm does not describe its links")?;
    if seal::sha256(geometry.urdf.as_bytes()) != poses.arm_sha256 {
        bail!("the poses were taken with another arm, or another description of it");
    }
    let looks: Option<Vec<Look>> = poses.samples.iter().map(|s| look(&poses, s)).collect();
    let looks = looks.context(
        "expected poses with what the joints said, got some without: they were saved by an earlier version",
    )?;
    if looks.iter().any(|l| l.q.len() != info.joints.len()) {
        bail!("the poses are of an arm with another number of joints");
    }
    // Where camera and board are, as far as an arm whose zeros are in doubt can tell.
    let ask = Ask::HandEye {
        board: poses.board,
        lens: poses.lens.clone(),
        lens_std_px: None,
        mount: poses.mount,
        noise: DOUBT,
        samples: poses.samples.clone(),
        roughly: true,
    };
    let (x, z) = match fitter.ask(&ask)? {
        Answer::HandEye { x, x_board, .. } => (x.isometry(), x_board.isometry()),
        Answer::Refused { reason } => bail!("camera `{camera}`: {reason}"),
        _ => bail!("tactus-fit answers something else"),
    };
    let scene = Scene {
        chain: &chain,
        lens: &poses.lens,
        mount: poses.mount,
        x,
        z,
    };
    let zeros = by_board(&scene, &looks)?;
    Ok((info, zeros))
}

fn look(poses: &Poses, sample: &tactus_calibration::exchange::Sample) -> Option<Look> {
    let corners = sample.view.corners.iter().map(|corner| {
        let [x, y] = poses.board.corner_m(corner.id);
        ([x, y, 0.0], corner.pixel)
    });
    let q = JointVec::from_slice(&sample.q).filter(|q| !q.is_empty())?;
    Some(Look {
        q,
        corners: corners.collect(),
    })
}

fn info(args: &ZerosArgs) -> anyhow::Result<ArmInfo> {
    let cell = cell::load(&args.role.cell)?;
    let session = roles::session(&args.role, "calibrate-info")?;
    let key = cell
        .wire
        .key(&tactus_wire::Topic::ArmInfo(cell.arm.clone()));
    session.wait_for_answerer(&key, crate::order::ANSWER_WITHIN)?;
    let info = session.query(&key, &tactus_wire::Nothing, crate::order::ANSWER_WITHIN);
    Ok(info.context("the arm host does not answer")?.message)
}

/// An operator brings the tip to one point: a pose for every line.
fn touch(args: &ZerosArgs) -> anyhow::Result<(ArmInfo, Zeros)> {
    let point = args.point_mm.as_deref().map(point).transpose()?;
    let cell = cell::load(&args.role.cell)?;
    let joined = roles::join(&args.role, "calibrate")?;
    let info = arm_tools::info(&cell, &joined)?;
    let chain = tactus_control::limit::guard::chain(&info)?;
    check(&chain)?;
    let (shared, _subscriptions) = arm_tools::follow(&cell, &joined)?;
    let operator = lines()?;
    result::line(format_args!(
        "bring the tip to {}, press Enter; again with the hand turned elsewhere, {} times and more; q and Enter ends",
        match point {
            Some(_) => "the point",
            None => "a point that stays where it is",
        },
        TOUCHES
    ))?;
    let mut touches: Vec<JointVec> = Vec::new();
    while let Ok(line) = operator.recv() {
        if line == "q" {
            break;
        }
        touches.push(gather::rest(&shared)?.q);
        result::line(format_args!("touch {}", touches.len()))?;
    }
    let zeros = by_touch(&chain, &touches, point)?;
    Ok((info, zeros))
}

fn point(text: &str) -> anyhow::Result<Vector3<f64>> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|v| v.trim().parse()).collect();
    match numbers.as_deref() {
        Ok([x, y, z]) if [x, y, z].iter().all(|v| v.abs() < 1e4) => {
            Ok(Vector3::new(*x, *y, *z) / 1e3)
        }
        _ => bail!("--point-mm: expected X,Y,Z in the arm's base, mm, got `{text}`"),
    }
}

fn tell(args: &ZerosArgs, names: &[String], zeros: &Zeros) -> anyhow::Result<ExitCode> {
    let limit = args.limit_deg.to_radians();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["joint", "off by, degrees", ""]);
    for (name, offset) in names.iter().zip(&zeros.offsets) {
        let deg = |rad: f64| rad.to_degrees();
        let (figure, word) = match (offset.told, offset.is_beyond(limit)) {
            (false, _) => ("?".into(), "this does not tell"),
            (true, beyond) => (
                format!("{:+.2} +- {:.2}", deg(offset.rad), deg(offset.std_rad)),
                if beyond {
                    "its zero is wrong"
                } else {
                    "as it says"
                },
            ),
        };
        table.add_row([name.clone(), figure, word.into()]);
    }
    result::line(table)?;
    let [before, after] = zeros.residual_mm;
    result::line(format_args!(
        "the arm's description is off by {before:.2} mm at these poses, by {after:.2} mm with the zeros moved so"
    ))?;
    let beyond = zeros.offsets.iter().filter(|o| o.is_beyond(limit)).count();
    if let Some(file) = &args.json {
        let row = |(name, o): (&String, &tactus_joints::zeros::Offset)| {
            json!({
                "joint": name,
                "off_deg": o.rad.to_degrees(),
                "std_deg": o.std_rad.to_degrees(),
                "told": o.told,
                "wrong": o.is_beyond(limit),
            })
        };
        let rows: Vec<_> = names.iter().zip(&zeros.offsets).map(row).collect();
        let value = json!({
            "joints": rows,
            "residual_mm": { "as_it_says": before, "with_offsets": after },
            "residual_px": zeros.residual_px,
        });
        write_json(file, &value)?;
    }
    if beyond == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    result::line(format_args!(
        "{beyond} zeros are off by more than {} degrees: home the arm again (`calibrate joints home`), or set its zeros as its maker says",
        args.limit_deg
    ))?;
    Ok(ExitCode::from(3))
}
