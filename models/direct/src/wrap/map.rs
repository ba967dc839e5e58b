//! What a user says of a graph: a TOML file, lines of it on the command line, or answers; every field is optional.
//!
//! ```toml
//! task = "pick up the red cube"          # the one thing the policy does
//! period_s = 0.05                        # between two actions: 1 / fps of the training data
//! first_action_offset_s = 0.0            # from the observation to the due time of the first action
//! joints = ["base_yaw", "elbow"]         # of state and action, in the columns' order
//! representation = "absolute_joints"     # as in every bundle
//! normalisation = "mean_std"             # or min_max, quantile, as_is (the graph does it); of state and action
//! units = "rad"                          # or deg
//! gripper = [0.0, 1.0]                   # what the training data call closed and open
//!
//! [input."observation.images.top"]
//! camera = "top"                         # cameras = ["left", "right"] where they share the input
//! range = "unit"                         # bytes as 0..1; or bytes (0..255), signed (-1..1), imagenet, mean_std (by --stats)
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use super::WrapError;

/// What is said of the whole.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Name of the bundle.
    pub name: Option<String>,
    /// What kind of policy it is, in words.
    pub variant: Option<String>,
    /// The task.
    pub task: Option<String>,
    /// Other ways to say it.
    #[serde(default)]
    pub also: Vec<String>,
    /// What becomes of other instructions: `refuse` or `note`.
    pub others: Option<String>,
    /// Time between actions, s.
    pub period_s: Option<f64>,
    /// From the observation to the due time of the first action, s.
    pub first_action_offset_s: Option<f64>,
    /// Joints of state and action.
    pub joints: Option<Vec<String>>,
    /// Joints of the state, where they are others.
    pub state_joints: Option<Vec<String>>,
    /// What the action's columns mean.
    pub representation: Option<String>,
    /// What anchored actions count from.
    pub anchor: Option<String>,
    /// Frames of tool poses, as in `action.tool` of a bundle.
    pub tool: Option<toml::Table>,
    /// Thresholds of a gripper that is open or closed, as in a bundle.
    pub binary_gripper: Option<toml::Table>,
    /// How state and action are normalised.
    pub normalisation: Option<String>,
    /// The same of the state alone.
    pub state_normalisation: Option<String>,
    /// The same of the action alone.
    pub action_normalisation: Option<String>,
    /// Unit of the joints.
    pub units: Option<String>,
    /// What the training data call a closed and an open gripper.
    pub gripper: Option<[f64; 2]>,
    /// Joints of the other sign.
    #[serde(default)]
    pub inverted: Vec<String>,
    /// What the training data call the arm's zero.
    #[serde(default)]
    pub zero: BTreeMap<String, f64>,
    /// Name of the output that is the chunk.
    pub output: Option<String>,
    /// Actions of a chunk.
    pub horizon: Option<i64>,
    /// Row of the output that is the first action.
    pub first_row: Option<i64>,
    /// Observations that the graph takes.
    pub history: Option<i64>,
    /// Time between them, s.
    pub history_period_s: Option<f64>,
    /// What is said of each input.
    #[serde(default)]
    pub input: BTreeMap<String, InputMap>,
}

/// What is said of one input.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputMap {
    /// `camera`, `state` or `noise`.
    pub role: Option<String>,
    /// Camera whose pictures it takes.
    pub camera: Option<String>,
    /// Cameras whose pictures it takes, in order.
    pub cameras: Option<Vec<String>>,
    /// Axes, as in a bundle.
    pub layout: Option<String>,
    /// Width and height of the pictures that the graph takes.
    pub size: Option<[i64; 2]>,
    /// Width and height of the pictures that the cameras take.
    pub camera_size: Option<[i64; 2]>,
    /// How numbers lie.
    pub range: Option<String>,
    /// Mean of each colour, of 0..1.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation of each colour, of 0..1.
    pub std: Option<[f64; 3]>,
    /// How a picture becomes one of the size that the graph takes.
    pub fit: Option<String>,
    /// How pixels in between are made.
    pub filter: Option<String>,
    /// Order of the colours.
    pub colours: Option<String>,
}

impl Map {
    /// Reads `table`.
    ///
    /// # Errors
    /// [`WrapError::Field`] for an unknown or mistyped field.
    pub fn of(table: &toml::Table) -> Result<Self, WrapError> {
        table.clone().try_into().map_err(|e: toml::de::Error| {
            WrapError::field("map", "the fields of its help", e.message())
        })
    }

    /// What is said of the input `name`.
    pub fn input(&self, name: &str) -> InputMap {
        self.input.get(name).cloned().unwrap_or_default()
    }
}

/// Lays `over` over `under`, table by table.
pub fn merge(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_win_and_tables_are_joined() {
        let mut table: toml::Table = "task = \"a\"\n[input.\"x.y\"]\nrange = \"unit\""
            .parse()
            .expect("TOML");
        let over = "input.\"x.y\".camera = \"top\"\ntask = \"b\""
            .parse()
            .expect("TOML");
        merge(&mut table, over);
        let map = Map::of(&table).expect("a map");
        let input = map.input("x.y");
        assert_eq!(
            (
                map.task.as_deref(),
                input.camera.as_deref(),
                input.range.as_deref()
            ),
            (Some("b"), Some("top"), Some("unit"))
        );
    }

    #[test]
    fn an_unknown_field_is_named() {
        let table = "tusk = \"a\"".parse().expect("TOML");
        let error = Map::of(&table).expect_err("refused").to_string();
        assert!(error.contains("tusk"), "{error}");
    }
}
