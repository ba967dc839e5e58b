//! The tables that say what columns mean for an arm: state and action.

use std::time::Duration;

use tactus_types::MAX_JOINTS;

use super::non_empty;
use crate::{
    bounds,
    error::BundleError,
    manifest::{
        Action, Alignment, Anchor, BinaryGripper, Normalisation, Representation, Rotation, State,
        Tool, WayFrame,
    },
    raw::{RawAction, RawBinaryGripper, RawState, RawTool},
};

pub(crate) fn state(raw: RawState) -> Result<State, BundleError> {
    Ok(State {
        joints: joints("state.joints", raw.joints)?,
        gripper: raw.gripper,
        normalisation: Normalisation::parse("state.normalisation", &raw.normalisation)?,
    })
}

pub(crate) fn action(raw: RawAction) -> Result<Action, BundleError> {
    let horizon = bounds::HORIZON.count(raw.horizon)?;
    let max_prefix = match usize::try_from(raw.max_prefix) {
        Ok(max_prefix) if max_prefix < horizon => max_prefix,
        _ => {
            let expected = format!("an integer in 0..{horizon} (less than the horizon)");
            return Err(BundleError::manifest(
                "action.max_prefix",
                expected,
                raw.max_prefix,
            ));
        }
    };
    let representation = Representation::parse("action.representation", &raw.representation)?;
    let width = bounds::ACTION_WIDTH.count(raw.width)?;
    // The bounds make both durations representable.
    let secs = |value: f64| Duration::from_nanos((value * 1e9).round() as u64);
    let action = Action {
        joints: joints("action.joints", raw.joints)?,
        gripper: raw.gripper,
        binary_gripper: binary_gripper(raw.binary_gripper, raw.gripper)?,
        anchor: anchor(raw.anchor, representation)?,
        tool: tool(raw.tool, representation)?,
        representation,
        normalisation: Normalisation::parse("action.normalisation", &raw.normalisation)?,
        horizon,
        period: secs(bounds::PERIOD_SECS.real(raw.period_s)?),
        first_action_offset: secs(
            bounds::FIRST_ACTION_OFFSET_SECS.real(raw.first_action_offset_s)?,
        ),
        alignment: Alignment::parse("action.alignment", &raw.alignment)?,
        max_prefix,
        max_feature_age: match raw.max_feature_age_s {
            None => Duration::ZERO,
            Some(age) => secs(bounds::FEATURE_AGE_SECS.real(age)?),
        },
        width,
    };
    let columns = action.columns();
    if width < columns {
        let expected = format!("at least the {columns} declared columns");
        return Err(BundleError::manifest("action.width", expected, width));
    }
    Ok(action)
}

/// What actions count from: measured joints, unless the manifest says otherwise.
fn anchor(raw: Option<String>, representation: Representation) -> Result<Anchor, BundleError> {
    match raw {
        None => Ok(Anchor::Measured),
        Some(word) if representation.is_anchored() => Anchor::parse("action.anchor", &word),
        Some(word) => Err(BundleError::manifest(
            "action.anchor",
            format!(
                "none, since `{}` counts from nothing",
                representation.word()
            ),
            format!("`{word}`"),
        )),
    }
}

fn tool(raw: Option<RawTool>, representation: Representation) -> Result<Option<Tool>, BundleError> {
    let word = representation.word();
    let (raw, field) = match (raw, representation.is_tool()) {
        (None, false) => return Ok(None),
        (Some(raw), true) => (raw, "action.tool.frame"),
        (raw, _) => {
            let (expected, actual) = match raw {
                Some(_) => ("none, since no tool is in", "a table"),
                None => ("base_link, tool_link and rotation of", "nothing"),
            };
            let expected = format!("{expected} `{word}`");
            return Err(BundleError::manifest("action.tool", expected, actual));
        }
    };
    let frame = match (raw.frame, representation.is_anchored()) {
        (Some(word), true) => WayFrame::parse(field, &word)?,
        (None, false) => WayFrame::Base,
        (frame, anchored) => {
            let expected = match anchored {
                true => format!("`base` or `tool`, in whose axes `{word}` go"),
                false => format!("none, since `{word}` are in the base frame"),
            };
            let actual = frame.map_or("nothing".into(), |word| format!("`{word}`"));
            return Err(BundleError::manifest(field, expected, actual));
        }
    };
    Ok(Some(Tool {
        base_link: non_empty("action.tool.base_link", raw.base_link)?,
        tool_link: non_empty("action.tool.tool_link", raw.tool_link)?,
        rotation: Rotation::parse("action.tool.rotation", &raw.rotation)?,
        frame,
    }))
}

fn binary_gripper(
    raw: Option<RawBinaryGripper>,
    gripper: bool,
) -> Result<Option<BinaryGripper>, BundleError> {
    let Some(RawBinaryGripper {
        open_above,
        close_below,
    }) = raw
    else {
        return Ok(None);
    };
    let field = "action.binary_gripper";
    if !gripper {
        let expected = "none, since `action.gripper` is false";
        return Err(BundleError::manifest(field, expected, "a table"));
    }
    if !(0.0 <= close_below && close_below < open_above && open_above <= 1.0) {
        let expected = "0 <= close_below < open_above <= 1";
        let actual = format!("{close_below} and {open_above}");
        return Err(BundleError::manifest(field, expected, actual));
    }
    Ok(Some(BinaryGripper {
        open_above,
        close_below,
    }))
}

fn joints(field: &str, names: Vec<String>) -> Result<Vec<String>, BundleError> {
    if names.is_empty() || names.len() > MAX_JOINTS {
        let expected = format!("1 to {MAX_JOINTS} names");
        return Err(BundleError::manifest(field, expected, names.len()));
    }
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || names[..i].contains(name) {
            let expected = "names that are not empty and used once";
            return Err(BundleError::manifest(field, expected, format!("`{name}`")));
        }
    }
    Ok(names)
}
