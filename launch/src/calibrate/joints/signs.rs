//! `tactus calibrate joints signs`: each joint turns by some degrees, and somebody looks.
//!
//! Decides who looks (a camera whose place on the arm is known, or the operator), where each joint turns to, and what is said.
//! The arm moves by orders to its host, inside all its limits, bound to this process' lease. What a turn that was seen says of
//! a joint is `tactus_joints::signs`'.

use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use nalgebra::{UnitQuaternion, Vector3};
use serde_json::json;
use tactus_calibration::exchange::ArmNoise;
use tactus_joints::signs::{Belief, Turn, Verdict, seen};
use tactus_types::{ArmInfo, JointVec};
use tactus_wire::Authority;

use super::{lines, slides};
use crate::calibrate::args::SignsArgs;
use crate::calibrate::gather::{self, Stand};
use crate::calibrate::hand_eye::{Known, Setting, with_stand};
use crate::calibrate::{fitter::Fitter, write_json};
use crate::{arm_tools, cell, order, result, roles};

/// Room to a joint's limits, rad.
const ROOM: f64 = 0.01;
/// A joint that follows by this much more or less than it was commanded does not, by its own encoder.
const FOLLOWS: f64 = 0.2;

/// What was found of one joint.
struct Found {
    joint: usize,
    commanded: f64,
    said: f64,
    seen: Option<f64>,
    /// What is wrong, if anything is.
    wrong: Option<String>,
}

/// Checks and prints.
pub fn signs(args: &SignsArgs) -> anyhow::Result<ExitCode> {
    if !(0.5..=10.0).contains(&args.by_deg) {
        bail!("--by-deg: expected 0.5 to 10, got {}", args.by_deg);
    }
    if !args.arm_is_clear {
        bail!(
            "each joint will turn by {} degrees: say --arm-is-clear when nobody and nothing is within reach",
            args.by_deg
        );
    }
    match &args.camera {
        Some(camera) => {
            let setting = Setting {
                cell: &args.role.cell,
                connect: &args.role.connect,
                camera,
                known: Known::Placed,
                board: args.board,
                // Of small turns only differences count.
                noise: ArmNoise { mm: 2.0, deg: 0.5 },
            };
            let mut fitter = Fitter::start()?;
            with_stand(&setting, &mut fitter, |stand, opened| {
                let x = opened.place.context("a camera's place")?.rotation;
                let (names, found) = by_camera(args, stand, &opened.info, &x)?;
                tell(args, &names, &found)
            })
        }
        None => {
            let (names, found) = by_operator(args)?;
            tell(args, &names, &found)
        }
    }
}

/// Where joint `joint` turns to from `home`: to the side that has room; or why it does not turn.
fn target(
    info: &ArmInfo,
    home: &JointVec,
    joint: usize,
    by: f64,
) -> Result<JointVec, &'static str> {
    const NO_ROOM: &str = "no room to turn: bring the arm elsewhere";
    if slides(info, joint) {
        return Err("it slides: not judged");
    }
    let limits = info.limits.get(joint).ok_or(NO_ROOM)?;
    let to = [home[joint] + by, home[joint] - by]
        .into_iter()
        .find(|q| (limits.lower + ROOM..=limits.upper - ROOM).contains(q));
    let to = to.ok_or(NO_ROOM)?;
    Ok(JointVec::from_fn(home.len(), |j| {
        if j == joint { to } else { home[j] }
    }))
}

fn by_camera(
    args: &SignsArgs,
    stand: &mut Stand<'_>,
    info: &ArmInfo,
    x: &UnitQuaternion<f64>,
) -> anyhow::Result<(Vec<String>, Vec<Found>)> {
    let rank = order::rank(args.take_over);
    let authority = order::authority(&stand.joined.session, stand.cell, "calibrate", rank)?;
    let home = gather::rest(stand.seen)?.q;
    let Ok((_, before)) = stand.placed("the start")? else {
        bail!("where the arm is now the board has to be in view");
    };
    let mount = stand.mount;
    // What the closure below borrows.
    let chain = stand.reach.chain().clone();
    let mut belief = Belief::new(&chain, mount, home);
    let mut found = Vec::new();
    for joint in belief.order() {
        let name = info.joints.get(joint).context("a joint without a name")?;
        let to = match target(info, &home, joint, args.by_deg.to_radians()) {
            Ok(to) => to,
            Err(why) => {
                found.push(not_moved(joint, why));
                continue;
            }
        };
        let commanded = to[joint] - home[joint];
        stand.go(&authority, to, args.speed)?;
        let said = gather::rest(stand.seen)?.q[joint] - home[joint];
        let looked = stand.placed(name)?;
        stand.go(&authority, home, args.speed)?;
        let after = match looked {
            Ok((_, after)) => after,
            Err(reason) => {
                found.push(not_moved(joint, &reason));
                continue;
            }
        };
        // By the arm's own word; where its encoder stands still, by what was commanded.
        let by = if said.abs() > (1.0 - FOLLOWS) * commanded.abs() {
            said
        } else {
            commanded
        };
        let seen = seen(mount, x, [&before.rotation, &after.rotation]);
        let verdict = belief.judge(&Turn {
            joint,
            said: by,
            seen,
        });
        found.push(Found {
            joint,
            commanded,
            said,
            seen: Some(seen.norm()),
            wrong: follows(commanded, said).or_else(|| words(verdict, &info.joints, said)),
        });
    }
    found.sort_by_key(|f| f.joint);
    Ok((info.joints.clone(), found))
}

fn not_moved(joint: usize, why: &str) -> Found {
    Found {
        joint,
        commanded: 0.0,
        said: 0.0,
        seen: None,
        wrong: Some(format!("not checked: {why}")),
    }
}

/// What is wrong with how the encoder follows, if anything is.
fn follows(commanded: f64, said: f64) -> Option<String> {
    let share = said / commanded;
    ((share - 1.0).abs() > FOLLOWS).then(|| {
        format!(
            "its encoder says {:.2} degrees where {:.2} were commanded: held up, another joint's encoder, or another scale",
            said.to_degrees(),
            commanded.to_degrees()
        )
    })
}

/// What is wrong by what the camera saw, if anything is.
fn words(verdict: Verdict, joints: &[String], said: f64) -> Option<String> {
    let said = said.to_degrees();
    Some(match verdict {
        Verdict::Fits(_) => return None,
        Verdict::NotJudged => "not checked: it does not turn the hand".into(),
        Verdict::Reversed(_) => "turns the other way: its sign is wrong".into(),
        Verdict::Scaled(s) => format!(
            "turns {s:.2} times as far as it says ({said:.2} degrees): another unit, gear or scale"
        ),
        Verdict::IsJoint(other, s) => format!(
            "the hand turns as by `{}`, {s:.2} times as far: joints exchanged, or this one's motor is another's",
            joints.get(other).map_or("another", String::as_str)
        ),
        Verdict::Elsewhere => {
            "the hand turns about an axis that no joint has: joints before or after it are not where they say".into()
        }
        Verdict::Still => format!("the hand does not turn, though the arm says {said:.2} degrees"),
    })
}

fn by_operator(args: &SignsArgs) -> anyhow::Result<(Vec<String>, Vec<Found>)> {
    let cell = cell::load(&args.role.cell)?;
    let joined = roles::join(&args.role, "calibrate")?;
    let info = arm_tools::info(&cell, &joined)?;
    let (shared, _subscriptions) = arm_tools::follow(&cell, &joined)?;
    let home = gather::rest(&shared)?.q;
    let rank = order::rank(args.take_over);
    let authority = order::authority(&joined.session, &cell, "calibrate", rank)?;
    let go = |authority: &Authority, q: JointVec| {
        gather::go(&cell, &joined, authority, &shared, q, args.speed)
    };
    let operator = lines()?;
    let mut found = Vec::new();
    for (joint, name) in info.joints.iter().enumerate() {
        let to = match target(&info, &home, joint, args.by_deg.to_radians()) {
            Ok(to) => to,
            Err(why) => {
                found.push(not_moved(joint, why));
                continue;
            }
        };
        let commanded = to[joint] - home[joint];
        result::line(format_args!(
            "`{name}` turns by {:+.1} degrees: {}. Enter, and look",
            commanded.to_degrees(),
            way(&info, &home, joint, commanded)
        ))?;
        answer(&operator)?;
        let wrong = loop {
            go(&authority, to)?;
            let said = gather::rest(&shared)?.q[joint] - home[joint];
            result::line(
                "did it? y: that joint, that way, that far; o: the other way; n: another joint, or another distance; r: again",
            )?;
            let word = answer(&operator)?;
            go(&authority, home)?;
            let wrong = match word.as_str() {
                "r" => continue,
                "y" => follows(commanded, said),
                "o" => Some("turns the other way: its sign is wrong".into()),
                "n" => Some(
                    "another joint turned, or it turned by another distance: joints exchanged, or another scale".into(),
                ),
                other => {
                    result::line(format_args!("expected y, o, n or r, got `{other}`"))?;
                    continue;
                }
            };
            break Found {
                joint,
                commanded,
                said,
                seen: None,
                wrong,
            };
        };
        found.push(wrong);
    }
    Ok((info.joints, found))
}

fn answer(operator: &Receiver<String>) -> anyhow::Result<String> {
    operator.recv().context("interrupted: nobody answers")
}

/// Where an operator sees the hand go, by the arm's description.
fn way(info: &ArmInfo, home: &JointVec, joint: usize, by: f64) -> String {
    let Ok(chain) = tactus_control::limit::guard::chain(info) else {
        return "the way that the arm's data call positive".into();
    };
    let column = chain.jacobian(home).columns()[joint] * by;
    let (moves, turns) = (
        column.fixed_rows::<3>(0).into_owned(),
        column.fixed_rows::<3>(3).into_owned(),
    );
    let axis = |v: &Vector3<f64>| {
        let k = v.iamax();
        format!(
            "{}{}",
            if v[k] < 0.0 { '-' } else { '+' },
            ["x", "y", "z"][k]
        )
    };
    if moves.norm() > 0.005 {
        format!(
            "the tip goes {:.0} mm, most of it towards {} of the base",
            1e3 * moves.norm(),
            axis(&moves)
        )
    } else {
        format!(
            "the hand turns counter-clockwise as seen from {} of the base",
            axis(&turns)
        )
    }
}

fn tell(args: &SignsArgs, names: &[String], found: &[Found]) -> anyhow::Result<ExitCode> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["joint", "commanded", "said", "seen", ""]);
    let deg = |rad: f64| format!("{:.2}", rad.to_degrees());
    let name = |f: &Found| names.get(f.joint).cloned().unwrap_or_default();
    for f in found {
        table.add_row([
            name(f),
            deg(f.commanded),
            deg(f.said),
            f.seen.map_or("-".into(), deg),
            f.wrong.clone().unwrap_or("as it says".into()),
        ]);
    }
    result::line(table)?;
    if let Some(file) = &args.json {
        let row = |f: &Found| {
            json!({
                "joint": name(f),
                "commanded_deg": f.commanded.to_degrees(),
                "said_deg": f.said.to_degrees(),
                "seen_deg": f.seen.map(f64::to_degrees),
                "wrong": f.wrong,
            })
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        write_json(file, &json!({ "joints": rows }))?;
    }
    let wrong = found.iter().filter(|f| f.wrong.is_some()).count();
    if wrong == 0 {
        result::line(format_args!("{} joints are as they say", found.len()))?;
        return Ok(ExitCode::SUCCESS);
    }
    result::line(format_args!(
        "{wrong} of {} joints are not as they say, or were not checked; no policy may command this arm",
        found.len()
    ))?;
    Ok(ExitCode::from(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::joints::on_a_rail;

    #[test]
    fn a_joint_that_slides_is_neither_turned_nor_taken_as_right() {
        let (info, home) = (on_a_rail(), JointVec::zeros(2));
        assert_eq!(target(&info, &home, 0, 0.07), Err("it slides: not judged"));
        assert!(target(&info, &home, 1, 0.07).is_ok());
        let found = not_moved(0, "it slides: not judged");
        assert!(found.wrong.is_some());
        assert!(words(Verdict::NotJudged, &info.joints, 0.07).is_some());
    }
}
