//! Two arms that one policy moves: whether the policy's joints are theirs.
//!
//! Decides what of a bundle does not fit two arms besides names of joints; the names are judged by `tactus-control`'s `pair`. Both the
//! engine and `tactus run` ask, so that what does not fit is said before an arm host is there that could be enabled.

use std::path::Path;

use anyhow::{Context, bail};
use tactus_bundle::{Anchor, AnyBundle, Outline, Representation};
use tactus_control::{Pair, PairArm};
use tactus_drivers_api::wire_driver::ask_info;
use tactus_types::ArmInfo;
use tactus_wire::Session;

use crate::cell::{self, Cell, CellPair};

/// How long a device may take to say what it is.
const DEVICE_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// The cell of an engine's arm, and of the one beside it where the file has two.
///
/// # Errors
/// When the file is no cell, or one of its two arms is named.
pub fn of_engine(file: &Path) -> anyhow::Result<(Cell, Option<Cell>)> {
    let mut cells = cell::load_arms(file)?.into_iter();
    let first = cells.next().context("a cell with an arm")?;
    let second = cells.next();
    if second.is_none() && first.pair.is_some() {
        bail!(
            "--cell: expected {}, of which one engine moves both arms, got one of them",
            first.file.display()
        );
    }
    Ok((first, second))
}

/// The two arms of `cells`, whose devices are those of `infos`, as the policy of `outline` moves them.
///
/// # Errors
/// For the first thing that does not fit.
pub fn fit(cells: [&Cell; 2], infos: [&ArmInfo; 2], outline: &Outline) -> anyhow::Result<Pair> {
    let arm = |cell: &Cell, info: &ArmInfo| PairArm {
        name: cell.arm.shared(),
        prefix: prefix(cell).to_owned(),
        joints: info.joints.clone(),
        gripper: info.gripper,
    };
    let [first, second] = cells;
    let arms = [arm(first, infos[0]), arm(second, infos[1])];
    let file = first.file.display();
    let (state, action) = (&outline.state, &outline.action);
    if state.gripper || action.gripper {
        bail!(
            "cell file {file}: bundle.toml: field `gripper`: expected false for two arms, whose grippers are joints `{}gripper` and \
             `{}gripper`, got true",
            arms[0].prefix,
            arms[1].prefix
        );
    }
    if action.tool.is_some() {
        bail!(
            "cell file {file}: bundle.toml: field `action.representation`: expected joints for two arms, got `{}`",
            action.representation.word()
        );
    }
    if action.anchor == Anchor::Command {
        bail!(
            "cell file {file}: bundle.toml: field `action.anchor`: expected `measured` for two arms, got `command`"
        );
    }
    let pair = Pair::new(&arms, &state.joints, &action.joints)
        .with_context(|| format!("cell file {file}: the policy does not move these two arms"))?;
    if pair.has_grippers() && action.representation != Representation::AbsoluteJoints {
        bail!(
            "cell file {file}: bundle.toml: field `action.representation`: expected `absolute_joints` where grippers are among the \
             joints of two arms, got `{}`",
            action.representation.word()
        );
    }
    Ok(pair)
}

/// As [`fit`], of devices that are asked what they are.
///
/// # Errors
/// As [`fit`], and when a device does not answer.
pub fn preflight(session: &Session, cells: [&Cell; 2], bundle: &AnyBundle) -> anyhow::Result<()> {
    let ask = |cell: &Cell| ask_info(session, &cell.wire, &cell.device, DEVICE_WITHIN);
    let infos = [ask(cells[0])?, ask(cells[1])?];
    fit(cells, [&infos[0], &infos[1]], &bundle.outline()).map(drop)
}

fn prefix(cell: &Cell) -> &str {
    cell.pair
        .as_ref()
        .map_or("", |CellPair { prefix, .. }| prefix.as_str())
}
