//! `bundle.toml` as it is written: names and types only, every field required (but `graphs.denoise_vjp`,
//! `graphs.decoder` with `decoder`, `cost` and `reference`), unknown fields refused.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The one field that is read before anything else, from a file of any schema.
#[derive(Deserialize)]
pub(crate) struct RawSchema {
    pub schema: i64,
}

/// The one that says who reads the rest.
#[derive(Deserialize)]
pub(crate) struct RawFamily {
    pub family: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawManifest {
    #[serde(rename = "schema")]
    pub _schema: i64,
    pub name: String,
    pub family: String,
    pub variant: String,
    pub min_ort: String,
    pub source: RawSource,
    pub backbone: RawBackbone,
    pub vision: RawVision,
    pub camera: Vec<RawCamera>,
    pub prompt: RawPrompt,
    pub state: RawState,
    pub action: RawAction,
    pub denoise: RawDenoise,
    pub decoder: Option<RawDecoder>,
    pub graphs: RawGraphs,
    pub golden: RawGolden,
    pub reference: Option<RawReference>,
    pub files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSource {
    pub backbone: String,
    pub revision: String,
    pub exporter: String,
    pub torch: String,
    pub transformers: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBackbone {
    pub layers: i64,
    pub norm: String,
    pub hidden: i64,
    pub features: Option<i64>,
    pub position_ids: String,
    pub padding: String,
    pub padded_length: i64,
    pub encoder_mask: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawVision {
    pub patch: i64,
    pub temporal_patch: i64,
    pub merge: i64,
    pub window: i64,
    pub position_table: i64,
    pub deepstack: i64,
    pub mean: [f64; 3],
    pub std: [f64; 3],
    pub min_pixels: i64,
    pub max_pixels: i64,
    pub resample: String,
    pub processor: String,
    pub bars: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCamera {
    pub name: String,
    pub width: i64,
    pub height: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPrompt {
    pub tokenizer: String,
    pub template: String,
    pub image: String,
    pub image_token: String,
    pub pad_token: String,
    pub lowercase: bool,
    pub strip_punctuation: bool,
    // Default: as bundles were before there was such a choice.
    #[serde(default)]
    pub blanks: bool,
    pub state: Option<RawStateWords>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStateWords {
    pub bins: i64,
    pub columns: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawState {
    pub joints: Vec<String>,
    pub gripper: bool,
    pub normalisation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAction {
    pub joints: Vec<String>,
    pub gripper: bool,
    pub binary_gripper: Option<RawBinaryGripper>,
    pub representation: String,
    pub anchor: Option<String>,
    pub tool: Option<RawTool>,
    pub normalisation: String,
    pub horizon: i64,
    pub period_s: f64,
    pub first_action_offset_s: f64,
    pub alignment: String,
    pub max_prefix: i64,
    pub max_feature_age_s: Option<f64>,
    pub width: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBinaryGripper {
    pub open_above: f64,
    pub close_below: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTool {
    pub base_link: String,
    pub tool_link: String,
    pub rotation: String,
    pub frame: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDenoise {
    pub steps: i64,
    pub time_from: f64,
    pub time_to: f64,
    pub buckets: i64,
    pub noise: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDecoder {
    pub max_length: i64,
    pub vocabulary: i64,
    pub eos: Vec<String>,
    pub think: Option<[String; 2]>,
    pub answer: Option<[String; 2]>,
    pub fast: Option<RawFast>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFast {
    pub tokenizer: String,
    pub config: String,
    pub marks: [String; 2],
    pub token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGraphs {
    pub vision: RawGraph,
    pub backbone: RawGraph,
    pub context: RawGraph,
    pub denoise: RawGraph,
    pub denoise_vjp: Option<RawGraph>,
    pub decoder: Option<RawGraph>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGraph {
    pub file: String,
    pub precision: String,
    pub cost: Option<RawCost>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCost {
    pub weight_bytes: u64,
    pub operations: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGolden {
    pub cases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawReference {
    pub file: String,
}
