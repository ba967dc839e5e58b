//! What a server of ours says of itself, held against what the cell declares.

use super::{RemoteError, RemoteSpec};
use crate::columns::Column;
use crate::value::Value;

/// Whether what a server of ours says of itself is what the cell declares.
pub(super) fn agrees(said: &Value<'_>, spec: &RemoteSpec) -> Result<(), RemoteError> {
    let other = |field, expected: String, actual: String| RemoteError::Other {
        endpoint: spec.endpoint.to_string(),
        field,
        expected,
        actual,
    };
    let actions = &spec.mapping.actions;
    let offset = spec.first_action_offset;
    let mut numbers = vec![
        ("horizon", spec.horizon as f64),
        ("period_s", actions.period.as_secs_f64()),
        ("first_action_offset_s", offset.as_secs_f64()),
    ];
    if let Some(sense) = actions.columns.sense() {
        numbers.push(("actions.gripper.open", sense.open));
        numbers.push(("actions.gripper.closed", sense.closed));
    }
    if let Some(sense) = spec.mapping.state.iter().find_map(|s| s.columns.sense()) {
        numbers.push(("state_gripper.open", sense.open));
        numbers.push(("state_gripper.closed", sense.closed));
    }
    for (field, expected) in numbers {
        let actual = said.get(field).and_then(Value::numbers);
        let actual = actual.and_then(|numbers| numbers.first().copied());
        if let Some(actual) = actual.filter(|actual| (actual - expected).abs() > 1e-6) {
            return Err(other(field, expected.to_string(), actual.to_string()));
        }
    }
    let words = [
        ("actions.representation", actions.representation.word()),
        ("actions.unit", actions.columns.unit.word()),
    ];
    for (field, expected) in words {
        if let Some(Value::Text(actual)) = said.get(field)
            && *actual != expected
        {
            return Err(other(field, expected.into(), (*actual).into()));
        }
    }
    let name = |column: &Column| match column {
        Column::Joint(i) => spec.reads.joints.get(*i).map_or("", String::as_str),
        Column::Gripper => "gripper",
        Column::Unused => "-",
    };
    let expected: Vec<&str> = actions.columns.columns.iter().map(name).collect();
    if let Some(Value::List(list)) = said.get("actions.columns") {
        let text = |value: &Value<'_>| match value {
            Value::Text(text) => (*text).to_owned(),
            other => other.describe(),
        };
        let actual: Vec<String> = list.iter().map(text).collect();
        if actual != expected {
            return Err(other(
                "actions.columns",
                expected.join(", "),
                actual.join(", "),
            ));
        }
    }
    Ok(())
}
