//! `bundle.toml` of a `direct` bundle as it is written. Unknown fields are refused; `Option` and defaults mark what may be left out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::raw::{RawAction, RawReference, RawState};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDirect {
    #[serde(rename = "schema")]
    pub _schema: i64,
    pub name: String,
    #[serde(rename = "family")]
    pub _family: String,
    pub variant: String,
    pub min_ort: String,
    pub source: RawDirectSource,
    pub graph: RawDirectGraph,
    pub camera: Vec<RawPicture>,
    pub state: RawState,
    /// The state's input; absent where the graph takes no state.
    pub proprio: Option<RawStateInput>,
    pub action: RawAction,
    pub chunk: RawChunk,
    pub history: Option<RawHistory>,
    pub noise: Option<RawNoise>,
    pub units: RawUnits,
    pub task: RawTask,
    #[serde(default)]
    pub golden: RawCases,
    pub reference: Option<RawReference>,
    pub files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDirectSource {
    pub file: String,
    pub made_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDirectGraph {
    pub file: String,
    pub precision: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPicture {
    pub name: String,
    pub width: i64,
    pub height: i64,
    pub input: String,
    pub layout: String,
    pub element: String,
    /// Width and height that the graph takes.
    pub size: [i64; 2],
    pub fit: String,
    pub filter: String,
    pub colours: String,
    pub top: f64,
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStateInput {
    pub input: String,
    pub layout: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawChunk {
    pub output: String,
    pub layout: String,
    pub rows: i64,
    pub first_row: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHistory {
    pub steps: i64,
    pub period_s: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNoise {
    pub input: String,
    pub shape: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUnits {
    pub joints: String,
    pub gripper: [f64; 2],
    #[serde(default)]
    pub inverted: Vec<String>,
    #[serde(default)]
    pub zero: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTask {
    pub instruction: String,
    #[serde(default)]
    pub also: Vec<String>,
    pub others: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCases {
    pub cases: Vec<String>,
}
