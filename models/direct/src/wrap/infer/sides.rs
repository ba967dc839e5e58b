//! State and action: which columns, how they are normalised, which rows are the chunk.

use serde_json::json;
use tactus_onnx::{Dim, TensorSpec};
use toml::Value;

use super::{
    Draft, Known, dynamic, last,
    meaning::{Places, Spread, representation, units},
    table,
};
use crate::wrap::{Map, WrapError};

/// Whether one more column than `joints` is there, for the gripper.
fn gripper(what: &str, tensor: &TensorSpec, joints: &[String]) -> Result<bool, WrapError> {
    let columns = last(tensor).ok_or_else(|| dynamic(tensor))?;
    match columns.checked_sub(joints.len()) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => {
            let expected = format!(
                "{} columns ({}), or one more for the gripper",
                joints.len(),
                joints.join(", ")
            );
            Err(WrapError::field(
                format!("{what} `{}`", tensor.name),
                expected,
                columns,
            ))
        }
    }
}

/// State and action: columns, meaning, units, statistics.
pub(super) fn sides(
    known: &Known<'_>,
    map: &Map,
    (state, output, joints): (Option<&TensorSpec>, &TensorSpec, Option<[Vec<String>; 2]>),
    manifest: &mut toml::Table,
    draft: &mut Draft,
) -> Result<serde_json::Value, WrapError> {
    let Some([action_joints, state_joints]) = joints else {
        return Ok(json!({}));
    };
    let is_tool = map.tool.is_some();
    let action_gripper = match is_tool {
        // A tool pose has as many columns as its rotation has; that is checked with the manifest.
        true => map.gripper.is_some(),
        false => gripper("output", output, &action_joints)?,
    };
    let state_gripper = match state {
        Some(state) => gripper("input", state, &state_joints)?,
        None => false,
    };
    let own = |name: &str| name.to_owned();
    let state_names: Vec<String> = state
        .map(|s| own(&s.name))
        .into_iter()
        .chain(["observation.state".into(), "state".into(), "qpos".into()])
        .collect();
    let action_names = [own(&output.name), "action".into(), "actions".into()];
    let (state_words, state_stats) = match state {
        None => ("as_is".to_owned(), json!({})),
        Some(state) => {
            let columns = state_joints.len() + usize::from(state_gripper);
            let said = map
                .state_normalisation
                .as_ref()
                .or(map.normalisation.as_ref());
            normalisation(
                known,
                ("state", "state_normalisation", &state_names, columns),
                said,
                draft,
                &state.name,
            )?
        }
    };
    let columns = last(output).unwrap_or(0);
    let said = map
        .action_normalisation
        .as_ref()
        .or(map.normalisation.as_ref());
    let (action_words, action_stats) = normalisation(
        known,
        ("action", "action_normalisation", &action_names, columns),
        said,
        draft,
        &output.name,
    )?;

    let names = |list: &[String]| -> Value {
        list.iter()
            .map(|name| Value::from(name.as_str()))
            .collect::<Vec<_>>()
            .into()
    };
    manifest.insert(
        "state".into(),
        table([
            ("joints", names(&state_joints)),
            ("gripper", state_gripper.into()),
            ("normalisation", state_words.into()),
        ]),
    );
    if let Some(state) = state {
        let layout = ["d", "bd", "btd"]
            .get(state.dims.len().saturating_sub(1))
            .copied()
            .unwrap_or("bd");
        manifest.insert(
            "proprio".into(),
            table([
                ("input", state.name.as_str().into()),
                ("layout", layout.into()),
            ]),
        );
        let gripper = if state_gripper { ", gripper" } else { "" };
        draft.note(
            format!(
                "input `{}` {} is the state: {}{gripper}",
                state.name,
                state.shape(),
                state_joints.join(", ")
            ),
            "its name and columns",
        );
    }
    let rows = match output.dims.get(1) {
        Some(Dim::Is(n)) => *n as i64,
        // A run says how many.
        _ => -1,
    };
    let first_row = map.first_row.unwrap_or(0);
    let all = rows - first_row;
    let horizon = match map.horizon {
        // A package's trimmer leaves a shorter chunk as it is.
        Some(said) if known.package.is_some() && all > 0 => said.min(all),
        said => said.unwrap_or(all),
    };
    manifest.insert(
        "chunk".into(),
        table([
            ("output", output.name.as_str().into()),
            ("layout", "bhd".into()),
            ("rows", rows.into()),
            ("first_row", first_row.into()),
        ]),
    );
    let stats_of = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        known.stats.and_then(|stats| stats.of(&names))
    };
    let both = (stats_of(&state_names), stats_of(&action_names));
    let spread = Spread::of(both, action_joints.len(), state_joints == action_joints);
    let Some(representation) = representation(map, spread.as_ref(), draft) else {
        return Ok(json!({}));
    };
    let absolute = representation == "absolute_joints";
    let Some(period) = map.period_s else {
        draft.ask(
            "period_s",
            "how much time is between two actions, in s (1 / fps of the training data)?",
            "0.05",
        );
        return Ok(json!({}));
    };
    let offset = map.first_action_offset_s.unwrap_or(0.0);
    let mut action = toml::Table::new();
    for (key, value) in [
        ("joints", names(&action_joints)),
        ("gripper", action_gripper.into()),
        ("representation", representation.into()),
        ("normalisation", action_words.into()),
        ("horizon", horizon.into()),
        ("period_s", period.into()),
        ("first_action_offset_s", offset.into()),
        ("alignment", "state_at_image".into()),
        ("max_prefix", 0.into()),
        ("width", (columns as i64).into()),
    ] {
        action.insert(key.into(), value);
    }
    let optional = [
        ("anchor", map.anchor.clone().map(Value::from)),
        ("tool", map.tool.clone().map(Value::from)),
        (
            "binary_gripper",
            map.binary_gripper.clone().map(Value::from),
        ),
    ];
    action.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?))),
    );
    manifest.insert("action".into(), action.into());
    draft.note(format!("output `{}` {} is the chunk: actions every {period} s, the first {offset} s after the observation", output.name, output.shape()), "its rank; said");
    let acts = Places {
        // Columns of tool poses are none of the joints.
        joints: if is_tool { &[] } else { &action_joints },
        gripper: action_gripper,
        columns,
        absolute,
        stats: both.1,
    };
    let sees = state.map(|_| Places {
        joints: &state_joints,
        gripper: state_gripper,
        columns: state_joints.len() + usize::from(state_gripper),
        absolute: true,
        stats: both.0,
    });
    let sides: Vec<Places<'_>> = sees.into_iter().chain([acts]).collect();
    units(map, &sides, manifest, draft);
    Ok(json!({"state": state_stats, "action": action_stats}))
}

/// The word of a side's normalisation, and the numbers that it takes.
fn normalisation(
    known: &Known<'_>,
    (side, key, names, columns): (&str, &str, &[String], usize),
    said: Option<&String>,
    draft: &mut Draft,
    tensor: &str,
) -> Result<(String, serde_json::Value), WrapError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stats = known.stats.and_then(|stats| stats.of(&names));
    let pairs = [
        ("mean_std", ["mean", "std"]),
        ("min_max", ["min", "max"]),
        ("quantile", ["q01", "q99"]),
    ];
    let word = match (said, stats) {
        (Some(said), _) => said.clone(),
        (None, Some(stats)) if stats.contains_key("mean") && stats.contains_key("std") => {
            draft.note(
                format!("{side} normalised by mean and standard deviation"),
                format!("statistics of it; `{key}` says otherwise"),
            );
            "mean_std".into()
        }
        (None, _) => {
            draft.ask(key, format!("how is the {side} (`{tensor}`) normalised: mean_std, min_max or quantile (with --stats FILE), or as_is where the graph does it?"), "\"as_is\"");
            return Ok((String::new(), json!({})));
        }
    };
    if word == "as_is" {
        return Ok((word, json!({})));
    }
    let Some((_, keys)) = pairs.iter().find(|(name, _)| *name == word) else {
        return Err(WrapError::field(
            key,
            "`mean_std`, `min_max`, `quantile` or `as_is`",
            format!("`{word}`"),
        ));
    };
    let missing = |what: String| {
        WrapError::field(
            format!("statistics of the {side}"),
            format!("{} of {}", keys.join(" and "), names.join(" or ")),
            what,
        )
    };
    let Some(stats) = stats else {
        let there = known.stats.map_or("no --stats FILE".to_owned(), |s| {
            let names: Vec<&str> = s.0.keys().map(String::as_str).collect();
            names.join(", ")
        });
        return Err(missing(there));
    };
    let mut out = serde_json::Map::new();
    for key in keys {
        let values = stats.get(*key).ok_or_else(|| {
            let there: Vec<&str> = stats.keys().map(String::as_str).collect();
            missing(there.join(", "))
        })?;
        if values.len() != columns {
            let expected = format!("{columns} numbers, the columns of `{tensor}`");
            return Err(WrapError::field(
                format!("statistics of the {side}: {key}"),
                expected,
                values.len(),
            ));
        }
        out.insert((*key).to_owned(), json!(values));
    }
    if stats.contains_key("mask") {
        return Err(WrapError::field(
            format!("statistics of the {side}"),
            "no `mask`",
            "one: columns that are left alone are not supported",
        ));
    }
    Ok((word, out.into()))
}
