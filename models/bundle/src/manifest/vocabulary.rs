//! The words that a manifest's text fields may hold, and what each of them means.

use crate::error::BundleError;

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
