//! The validated manifest: every choice that could silently differ between the exporter and this runtime.
//!
//! A value of these types has been checked; nothing here is optional or a default.

use std::{collections::BTreeMap, time::Duration};

use crate::error::BundleError;

/// The only manifest schema this runtime reads.
pub const SCHEMA: i64 = 1;

/// Declares an enum of the words a text field may hold.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The word in the manifest.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            pub(crate) fn parse(field: &str, text: &str) -> Result<Self, BundleError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(BundleError::manifest(
                        field,
                        [$(concat!("`", $word, "`")),+].join(" or "),
                        format!("`{other}`"),
                    )),
                }
            }
        }
    };
}

pub(crate) use words;

words!(
    /// Which architecture the graphs implement.
    Family {
        /// Qwen2.5-VL backbone, GR00T-N1.5-style flow-matching head.
        Qwen25VlGrootN15 = "qwen2_5_vl+gr00t_n1_5",
        /// Qwen3-VL backbone (DeepStack, learned vision positions), GR00T-N1.5-style flow-matching head.
        Qwen3VlGrootN15 = "qwen3_vl+gr00t_n1_5",
        /// The same backbone with the head of GR00T N1.7, whose cross-attention reads image tokens and the others in turn. The
        /// backbone's features begin with the image tokens; no position is attached to them after it.
        Qwen3VlGrootN17 = "qwen3_vl+gr00t_n1_7",
        /// PaliGemma, whose keys and values an expert denoises actions over (pi0); the state is a token of the expert's.
        Pi0 = "paligemma+pi0",
        /// The same with time in the expert's norms, and the state in words (pi0.5).
        Pi05 = "paligemma+pi0_5",
        /// The first layers of SmolVLM2 and an expert that attends to itself and to them in turn.
        SmolVla = "smolvlm2+smolvla",
    }
);

impl Family {
    /// Whether an expert reads the language model's keys and values: features are those of every layer, side by side.
    pub fn has_expert(self) -> bool {
        match self {
            Self::Pi0 | Self::Pi05 | Self::SmolVla => true,
            Self::Qwen25VlGrootN15 | Self::Qwen3VlGrootN15 | Self::Qwen3VlGrootN17 => false,
        }
    }
}

words!(
    /// How backbone and head were trained together.
    Variant {
        /// The language model was frozen while the head was trained.
        Frozen = "frozen",
        /// Both were trained jointly.
        Joint = "joint",
    }
);
words!(
    /// Where in the backbone the features are taken.
    NormPlace {
        /// The residual stream after the last kept layer, before any final norm.
        Pre = "pre",
        /// After the final norm.
        Post = "post",
    }
);
words!(
    /// Numeric precision of a graph's weights and arithmetic. Inputs and outputs are f32 in any case.
    Precision {
        /// IEEE single precision.
        Fp32 = "fp32",
        /// IEEE half precision.
        Fp16 = "fp16",
        /// bfloat16; ONNX Runtime has no kernels for it on a CPU.
        Bf16 = "bf16",
    }
);
words!(
    /// How a vector is normalised, with the columns of `stats.json`.
    Normalisation {
        /// `(value - mean) / std`.
        MeanStd = "mean_std",
        /// `min..max` to `-1..1`.
        MinMax = "min_max",
        /// First to last percentile, `q01..q99`, to `-1..1`; what lies outside is not clipped.
        Quantile = "quantile",
        /// Not at all, or inside the graph: the columns are what they mean.
        AsIs = "as_is",
    }
);
words!(
    /// How the backbone spreads position ids over its rotary frequencies. Inside the graph; the ids are the same.
    PositionIds {
        /// Time, height, width in blocks (Qwen2.5-VL).
        Chunked = "mrope_chunked",
        /// Time, height, width in turn (Qwen3-VL).
        Interleaved = "mrope_interleaved",
        /// Tokens are counted, those of images among them (Gemma, SmolLM2). All three ids are the same.
        Sequential = "sequential",
    }
);
words!(
    /// On which side a prompt is filled up to a fixed length.
    PaddingSide {
        /// Before the prompt.
        Left = "left",
        /// After the prompt.
        Right = "right",
    }
);
words!(
    /// Whose bicubic resampling the policy was trained with; both antialias.
    Processor {
        /// PIL: 8-bit, lines first.
        Pil = "pil",
        /// torchvision on 8-bit tensors.
        Torchvision = "torchvision",
    }
);
words!(
    /// Where a picture lies in the square that the policy sees, once it is scaled until it fits: bilinear between
    /// neighbours, in single precision, without averaging (torch's `interpolate`).
    Letterbox {
        /// In the middle; of an odd bar the longer half is right or below (openpi, LeRobot's pi0 and pi0.5).
        Centre = "letterbox_centre",
        /// At the right lower corner (LeRobot's SmolVLA).
        Corner = "letterbox_corner",
    }
);

/// How a camera's picture comes to the size that the policy sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Both sides to a multiple of the merge unit, near the picture's own ratio and size.
    Bicubic(Processor),
    /// Into a square of `max_pixels`, with bars beside it.
    Letterbox {
        /// Where the picture lies in it.
        place: Letterbox,
        /// The bars' value after normalisation.
        bars: f64,
    },
}

words!(
    /// What the columns of an action mean, but for the gripper's, which is always an absolute opening. Row `i` of a chunk is
    /// due at `observed_at + first_action_offset + i * period`; the *anchor* is where the arm is at `observed_at`.
    Representation {
        /// Target minus the anchor's joint positions, rad.
        RelativeJoints = "relative_joints",
        /// Target, rad.
        AbsoluteJoints = "absolute_joints",
        /// Target minus the target of the row before, rad; of row 0, minus the anchor.
        JointSteps = "joint_steps",
        /// Joint velocity, rad/s, held for one period: the target is the row before's, or the anchor, plus that times this.
        JointVelocities = "joint_velocities",
        /// Pose of the tool in the base frame: x, y, z, m, then the rotation.
        ToolPoses = "tool_poses",
        /// Way from the anchor's tool pose to the target: x, y, z, m, then the rotation.
        RelativeToolPoses = "relative_tool_poses",
        /// Way from the tool pose of the row before, of row 0 from the anchor's, to the target.
        ToolSteps = "tool_steps",
    }
);
words!(
    /// Where the arm is at `observed_at`, for actions that count from there.
    Anchor {
        /// The measured joints.
        Measured = "measured",
        /// The joints that were commanded at that instant.
        Command = "command",
    }
);
words!(
    /// The numbers in which a rotation is written, angles in rad. What each means: `RotationFormat` of the kinematics crate.
    Rotation {
        /// Quaternion x, y, z, w.
        QuaternionXyzw = "quaternion_xyzw",
        /// Quaternion w, x, y, z.
        QuaternionWxyz = "quaternion_wxyz",
        /// Axis times angle.
        Vector = "rotation_vector",
        /// First two columns of the matrix, one after the other.
        SixColumns = "six_columns",
        /// First two rows of the matrix, one after the other (PyTorch3D's `matrix_to_rotation_6d`).
        SixRows = "six_rows",
        /// About the body's x, then y, then z axis (scipy's `XYZ`).
        EulerIntrinsic = "euler_xyz_intrinsic",
        /// About the fixed x, then y, then z axis: roll, pitch, yaw (scipy's `xyz`).
        EulerExtrinsic = "euler_xyz_extrinsic",
    }
);
words!(
    /// In whose axes a way of the tool is expressed.
    WayFrame {
        /// The base frame's: `p = p0 + d`, `R = D R0`.
        Base = "base",
        /// The tool's own where the way begins: `X = X0 D`.
        Tool = "tool",
    }
);

impl Representation {
    /// Whether its columns are tool poses.
    pub fn is_tool(self) -> bool {
        match self {
            Self::ToolPoses | Self::RelativeToolPoses | Self::ToolSteps => true,
            Self::RelativeJoints
            | Self::AbsoluteJoints
            | Self::JointSteps
            | Self::JointVelocities => false,
        }
    }

    /// Whether its actions count from the anchor.
    pub fn is_anchored(self) -> bool {
        !matches!(self, Self::AbsoluteJoints | Self::ToolPoses)
    }
}

impl Rotation {
    /// How many numbers it is.
    pub fn count(self) -> usize {
        match self {
            Self::Vector | Self::EulerIntrinsic | Self::EulerExtrinsic => 3,
            Self::QuaternionXyzw | Self::QuaternionWxyz => 4,
            Self::SixColumns | Self::SixRows => 6,
        }
    }
}

words!(
    /// Which instant's proprioception accompanied an image in training.
    Alignment {
        /// The image's own capture time.
        StateAtImage = "state_at_image",
    }
);

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
    /// Whether ASCII punctuation is removed from the instruction.
    pub strip_punctuation: bool,
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
