//! The validated manifest: every choice that could silently differ between the exporter and this runtime.
//!
//! A value of these types has been checked; nothing here is optional or a default. `vocabulary` has those that are one of a few.

mod vocabulary;

use std::{collections::BTreeMap, time::Duration};

pub(crate) use self::vocabulary::words;
pub use self::vocabulary::{
    Alignment, Anchor, Family, Letterbox, NormPlace, Normalisation, PaddingSide, PositionIds,
    Precision, Processor, Representation, Rotation, Scaling, Variant, WayFrame,
};

/// The only manifest schema this runtime reads.
pub const SCHEMA: i64 = 1;

/// Lowest ONNX Runtime that runs the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrtVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

impl OrtVersion {
    /// Reads `major.minor` and ignores what follows a second dot (`1.31.1` is 1.31); `None` when it is not a version.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl std::fmt::Display for OrtVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Where the weights came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the backbone.
    pub backbone: String,
    /// Revision of the checkpoint.
    pub revision: String,
    /// What wrote the bundle.
    pub exporter: String,
    /// PyTorch version of the export.
    pub torch: String,
    /// transformers version of the export.
    pub transformers: String,
}

/// Filling prompts up to a fixed length. The head attends to the filling as GR00T N1.5 does; the backbone does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Padding {
    /// On which side.
    pub side: PaddingSide,
    /// Length of every prompt, tokens.
    pub length: usize,
    /// The token that fills.
    pub token: String,
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backbone {
    /// Decoder layers kept.
    pub layers: usize,
    /// Where the features are taken.
    pub norm: NormPlace,
    /// Width of the language model and of image tokens.
    pub hidden: usize,
    /// Width of the features: the same, or the keys and values of all layers of one token.
    pub features: usize,
    /// How position ids are used.
    pub position_ids: PositionIds,
    /// Filling of prompts, if they are filled.
    pub padding: Option<Padding>,
}

/// Pixels to patches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vision {
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Frames per patch; a still image is repeated this often.
    pub temporal_patch: usize,
    /// Patches per side of a merge unit; one merge unit becomes one image token.
    pub merge: usize,
    /// Side of an attention window, pixels; a multiple of `patch * merge`. 0 where every image is one window.
    pub window: usize,
    /// Side of the learned position table; 0 where there is none.
    pub position_table: usize,
    /// Inner levels of the tower whose image tokens are added inside the backbone (DeepStack); 0 where there is none.
    pub deepstack: usize,
    /// Mean of each colour, of values in 0..1.
    pub mean: [f64; 3],
    /// Standard deviation of each colour, of values in 0..1.
    pub std: [f64; 3],
    /// Fewest pixels of a resized image.
    pub min_pixels: usize,
    /// Most pixels of a resized image.
    pub max_pixels: usize,
    /// How pictures come to that size.
    pub scaling: Scaling,
}

impl Vision {
    /// Numbers in one row of `pixel_values`: colours * frames * patch area.
    pub fn row_len(&self) -> usize {
        3 * self.temporal_patch * self.patch * self.patch
    }

    /// Sides of a resized image are multiples of this: one merge unit, pixels.
    pub fn factor(&self) -> usize {
        self.patch * self.merge
    }

    /// Merge units per side of an attention window; `None` where every image is one window.
    pub fn window_units(&self) -> Option<usize> {
        (self.window > 0).then(|| self.window / self.factor())
    }
}

/// One camera, in prompt order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraSpec {
    /// Name of the camera in the cell.
    pub name: String,
    /// Width of its images, pixels.
    pub width: usize,
    /// Height of its images, pixels.
    pub height: usize,
}

/// Instruction to prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Tokenizer file, relative to the bundle.
    pub tokenizer: String,
    /// The prompt; holds `{instruction}` once and `{images}` once, and `{state}` once where it says the state.
    pub template: String,
    /// How it says the state, if it does.
    pub state: Option<StateWords>,
    /// What stands for one image; holds `{pads}` once.
    pub image: String,
    /// The token that image features replace.
    pub image_token: String,
    /// Whether the instruction is lower-cased.
    pub lowercase: bool,
    /// Whether all that is neither letter, digit, `_` nor blank is removed from the instruction.
    pub strip_punctuation: bool,
    /// Whether the instruction loses outer blanks, and `_` and line ends in it become blanks.
    pub blanks: bool,
}

/// The normalised state in words: for each column the number of the bin that it is in, -1 below the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateWords {
    /// Bins from -1 to 1.
    pub bins: usize,
    /// Columns that are said: the state's, and zeros after them.
    pub columns: usize,
}

/// Proprioception as the policy wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Joint names, one column each, in order; positions in rad.
    pub joints: Vec<String>,
    /// Whether one more column holds the gripper's opening.
    pub gripper: bool,
    /// How the columns are normalised.
    pub normalisation: Normalisation,
}

impl State {
    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.joints.len() + usize::from(self.gripper)
    }
}

/// Frames and numbers of tool poses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Link of the arm's description that is the base frame.
    pub base_link: String,
    /// Link whose frame is the tool's.
    pub tool_link: String,
    /// How rotations are written.
    pub rotation: Rotation,
    /// In whose axes ways are expressed; [`WayFrame::Base`] for poses, which are no ways.
    pub frame: WayFrame,
}

/// A gripper that is open or closed: it opens above one opening and closes below another, and stays as it is in between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryGripper {
    /// Opening from which on it opens, above `close_below`.
    pub open_above: f64,
    /// Opening down from which it closes.
    pub close_below: f64,
}

/// Actions as the policy makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Names of the joints that are moved, all of the arm's; one column each, in order, unless the columns are tool poses.
    pub joints: Vec<String>,
    /// Whether one more column holds the gripper's opening.
    pub gripper: bool,
    /// Its thresholds, where the gripper is only ever open or closed.
    pub binary_gripper: Option<BinaryGripper>,
    /// What the other columns mean.
    pub representation: Representation,
    /// What anchored actions count from.
    pub anchor: Anchor,
    /// Of tool poses, and only of these.
    pub tool: Option<Tool>,
    /// How the columns are normalised.
    pub normalisation: Normalisation,
    /// Actions per chunk.
    pub horizon: usize,
    /// Time between actions.
    pub period: Duration,
    /// From `observed_at` to the due time of action 0.
    pub first_action_offset: Duration,
    /// Which instant's proprioception accompanied an image.
    pub alignment: Alignment,
    /// Longest committed prefix the policy was trained with, actions.
    pub max_prefix: usize,
    /// Oldest features, counted from the state beside them, that the head was trained with; zero: of the same instant.
    pub max_feature_age: Duration,
    /// Columns of the denoised tensor: those declared, and what the head was padded with. Noise goes into all of them.
    pub width: usize,
}

impl Action {
    /// Number of columns.
    pub fn columns(&self) -> usize {
        let motion = match &self.tool {
            Some(tool) => 3 + tool.rotation.count(),
            None => self.joints.len(),
        };
        motion + usize::from(self.gripper)
    }
}

/// The flow-matching loop: Euler steps from time 0 (standard normal noise) to time 1 (action).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denoise {
    /// Euler steps.
    pub steps: usize,
    /// Time buckets of the head's embedding, inside the graph; 0 where time is a number.
    pub buckets: usize,
}

/// The whole language model as one that speaks: what it says its words with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    /// Most tokens of a prompt and what follows it together.
    pub max_length: usize,
    /// Scores that the graph makes, one for each token id.
    pub vocabulary: usize,
    /// Tokens that end what it says; at least one.
    pub eos: Vec<String>,
    /// What its reasoning stands between, if it was taught to reason.
    pub think: Option<[String; 2]>,
    /// What its answer stands between.
    pub answer: Option<[String; 2]>,
    /// How it spells chunks of actions, if it was taught to.
    pub fast: Option<Fast>,
}

/// Chunks of actions as FAST tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fast {
    /// Tokenizer file of the action tokens, relative to the bundle.
    pub tokenizer: String,
    /// File of their ranges and shape, relative to the bundle.
    pub config: String,
    /// What the action tokens stand between.
    pub marks: [String; 2],
    /// An action token in the language model's vocabulary; holds `{n}`, its number, once.
    pub token: String,
}

/// One of the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Graph {
    /// Patches to image tokens.
    Vision,
    /// Tokens to features.
    Backbone,
    /// What the head computes once per chunk.
    Context,
    /// One Euler step.
    Denoise,
    /// One Euler step that is pulled towards given actions by the gradient; not in every bundle.
    DenoiseVjp,
    /// Everything at once: the one graph of the direct family.
    Policy,
    /// Tokens and what came before to scores of the next token; not in every bundle.
    Decoder,
}

impl Graph {
    /// The graphs of every bundle, in the order they run.
    pub const ALL: [Self; 4] = [Self::Vision, Self::Backbone, Self::Context, Self::Denoise];

    /// Name in the manifest and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Backbone => "backbone",
            Self::Context => "context",
            Self::Denoise => "denoise",
            Self::DenoiseVjp => "denoise_vjp",
            Self::Policy => "policy",
            Self::Decoder => "decoder",
        }
    }
}

/// What one run of a graph costs at least, with the bundle's cameras and its first golden prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights, each read once.
    pub weight_bytes: u64,
    /// Additions and multiplications in matrix products.
    pub operations: u64,
}

/// File of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphFile {
    /// ONNX file, relative to the bundle.
    pub file: String,
    /// Precision of the graph.
    pub precision: Precision,
    /// What a run costs, where the exporter has counted it.
    pub cost: Option<Cost>,
}

/// A validated `bundle.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Name of the policy.
    pub name: String,
    /// Architecture.
    pub family: Family,
    /// Training variant.
    pub variant: Variant,
    /// Lowest ONNX Runtime.
    pub min_ort: OrtVersion,
    /// Provenance.
    pub source: Source,
    /// Language model.
    pub backbone: Backbone,
    /// Image processing.
    pub vision: Vision,
    /// Cameras, in prompt order.
    pub cameras: Vec<CameraSpec>,
    /// Prompt.
    pub prompt: Prompt,
    /// State semantics.
    pub state: State,
    /// Action semantics.
    pub action: Action,
    /// Denoising loop.
    pub denoise: Denoise,
    /// The decoder, if there is one: with the graph, or neither.
    pub decoder: Option<Decoder>,
    /// Graph files, in the order of [`Graph::ALL`].
    pub(crate) graphs: [GraphFile; 4],
    /// File of the guided step, if there is one.
    pub(crate) denoise_vjp: Option<GraphFile>,
    /// File of the decoder, if there is one.
    pub(crate) decoder_graph: Option<GraphFile>,
    /// Golden case files, relative to the bundle.
    pub golden: Vec<String>,
    /// What states and pictures were like in training, relative to the bundle, where somebody has learnt it (`tactus-preflight`).
    pub reference: Option<String>,
    /// SHA-256 (hex) of every file but `bundle.toml`, by path relative to the bundle.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// File of `graph`; `None` for a guided step or a decoder that the bundle does not have.
    pub fn graph(&self, graph: Graph) -> Option<&GraphFile> {
        match graph {
            Graph::Vision | Graph::Backbone | Graph::Context | Graph::Denoise => {
                self.graphs.get(graph as usize)
            }
            Graph::DenoiseVjp => self.denoise_vjp.as_ref(),
            Graph::Policy => None,
            Graph::Decoder => self.decoder_graph.as_ref(),
        }
    }

    /// The graphs that the bundle has.
    pub fn graphs(&self) -> impl Iterator<Item = (Graph, &GraphFile)> {
        let others = [Graph::DenoiseVjp, Graph::Decoder];
        let all = Graph::ALL.into_iter().chain(others);
        all.filter_map(|graph| Some((graph, self.graph(graph)?)))
    }
}
