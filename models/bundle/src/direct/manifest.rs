//! The validated manifest of a `direct` bundle.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    error::BundleError,
    manifest::{GraphFile, OrtVersion, words},
    outline::Outline,
};

words!(
    /// Numbers of a picture.
    PictureElement {
        /// Bytes, 0..255.
        U8 = "u8",
        /// Single precision.
        F32 = "f32",
    }
);
words!(
    /// Order of a pixel's colours.
    Colours {
        /// Red first.
        Rgb = "rgb",
        /// Blue first, as OpenCV has them.
        Bgr = "bgr",
    }
);
words!(
    /// How a camera's picture becomes one of the size that the graph takes.
    Fit {
        /// It has that size.
        Exact = "exact",
        /// Both sides are scaled, whatever becomes of their ratio.
        Stretch = "stretch",
        /// Scaled until it fits, centred, black beside it.
        Pad = "pad",
        /// The largest part of that ratio about its centre, scaled.
        Crop = "crop",
    }
);
words!(
    /// How pixels in between are made.
    Filter {
        /// Bilinear between neighbours, also when shrinking (OpenCV's `INTER_LINEAR`, torch's `interpolate`).
        Bilinear = "bilinear",
        /// Bilinear, averaging when shrinking (PIL, torchvision with `antialias`).
        BilinearAntialias = "bilinear_antialias",
        /// Bicubic as PIL's.
        BicubicPil = "bicubic_pil",
        /// Bicubic as torchvision's on bytes.
        BicubicTorchvision = "bicubic_torchvision",
    }
);
words!(
    /// What becomes of an instruction that is not the policy's task.
    Others {
        /// It is refused: no chunk is made.
        Refuse = "refuse",
        /// It is noted in the log, once, and the policy does its own task.
        Note = "note",
    }
);
words!(
    /// Unit of the joints in the training data.
    AngleUnit {
        /// Radians.
        Rad = "rad",
        /// Degrees.
        Deg = "deg",
    }
);

impl AngleUnit {
    /// One of it, rad.
    pub fn rad(self) -> f64 {
        match self {
            Self::Rad => 1.0,
            Self::Deg => std::f64::consts::PI / 180.0,
        }
    }
}

/// An axis of an input or output, by its letter in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// `b`: batch, 1.
    Batch,
    /// `t`: observations, oldest first.
    Time,
    /// `n`: cameras that share the input.
    Cameras,
    /// `c`: colours.
    Colour,
    /// `h`: rows of a picture, or of a chunk.
    Height,
    /// `w`: columns of a picture.
    Width,
    /// `d`: columns of a state or an action.
    Column,
}

/// Axes of a tensor, outermost first; `bchw` for example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<Axis>);

impl Layout {
    /// Reads the letters; they have to be one of those that `kind` may have.
    pub(crate) fn parse(field: &str, text: &str, kind: Kind) -> Result<Self, BundleError> {
        let (tails, leading): (&[&str], &str) = match kind {
            Kind::Picture => (&["chw", "hwc"], "btn"),
            Kind::State => (&["d"], "bt"),
            Kind::Chunk => (&["hd"], "b"),
        };
        let fits = tails.iter().any(|tail| {
            let head = text.strip_suffix(tail);
            // Leading axes are optional, and in this order.
            head.is_some_and(|head| {
                let mut left = leading.chars();
                head.chars().all(|axis| left.any(|other| other == axis))
            })
        });
        if !fits {
            let expected = format!(
                "{}, after any of {} in this order",
                tails.map_join(),
                leading
                    .chars()
                    .map(|c| format!("`{c}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            return Err(BundleError::manifest(field, expected, format!("`{text}`")));
        }
        let axis = |letter| match letter {
            'b' => Axis::Batch,
            't' => Axis::Time,
            'n' => Axis::Cameras,
            'c' => Axis::Colour,
            'h' => Axis::Height,
            'w' => Axis::Width,
            _ => Axis::Column,
        };
        Ok(Self(text.chars().map(axis).collect()))
    }

    /// The axes.
    pub fn axes(&self) -> &[Axis] {
        &self.0
    }

    /// Whether it has `axis`.
    pub fn has(&self, axis: Axis) -> bool {
        self.0.contains(&axis)
    }

    /// Whether colours of a picture lie beside each other.
    pub fn colours_last(&self) -> bool {
        self.0.last() == Some(&Axis::Colour)
    }

    /// The shape, given what each axis counts.
    pub fn shape(&self, count: impl Fn(Axis) -> usize) -> Vec<usize> {
        self.0.iter().map(|axis| count(*axis)).collect()
    }
}

trait MapJoin {
    fn map_join(&self) -> String;
}

impl MapJoin for &[&str] {
    fn map_join(&self) -> String {
        let words: Vec<String> = self.iter().map(|word| format!("`{word}`")).collect();
        words.join(" or ")
    }
}

/// What a layout is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Picture,
    State,
    Chunk,
}

/// How one camera's pictures become an input. In the order of the outline's cameras.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Name of the graph's input; cameras that share one are stacked in it, in their order.
    pub input: String,
    /// Its axes.
    pub layout: Layout,
    /// Its numbers.
    pub element: PictureElement,
    /// Width of the pictures that the graph takes, pixels.
    pub width: usize,
    /// Height of them, pixels.
    pub height: usize,
    /// How the camera's picture becomes one of that size.
    pub fit: Fit,
    /// How pixels in between are made.
    pub filter: Filter,
    /// Order of the colours.
    pub colours: Colours,
    /// Largest value of the range that a byte is brought to before mean and std: 1 for 0..1, 255 for bytes as they are.
    pub top: f64,
    /// Mean of each colour (red first), subtracted.
    pub mean: [f64; 3],
    /// Standard deviation of each colour (red first), divided by.
    pub std: [f64; 3],
}

/// The input that takes the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateInput {
    /// Name of the graph's input.
    pub input: String,
    /// Its axes.
    pub layout: Layout,
}

/// The output that is the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkOutput {
    /// Name of the graph's output.
    pub output: String,
    /// Its axes.
    pub layout: Layout,
    /// Rows that the graph makes.
    pub rows: usize,
    /// Row that is the chunk's first action.
    pub first_row: usize,
}

/// Past observations that the graph takes with the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Observations in all, the present one included; 1: no other.
    pub steps: usize,
    /// Time between them.
    pub period: Duration,
}

/// The input that takes standard normal noise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseInput {
    /// Name of the graph's input.
    pub input: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Units of the training data.
#[derive(Debug, Clone, PartialEq)]
pub struct Units {
    /// Of joints.
    pub joints: AngleUnit,
    /// What the training data call a closed and an open gripper.
    pub gripper: [f64; 2],
    /// Joints whose positive direction is the arm's negative one.
    pub inverted: Vec<String>,
    /// What the training data call the arm's zero, by joint, in their unit; 0 where a joint is not named.
    pub zero: BTreeMap<String, f64>,
}

/// The one thing that the policy does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The task, as an operator says it.
    pub instruction: String,
    /// Other ways to say it.
    pub also: Vec<String>,
    /// What becomes of any other instruction.
    pub others: Others,
}

impl Task {
    /// Whether `instruction` asks for this task, whatever its case and punctuation.
    pub fn is(&self, instruction: &str) -> bool {
        let words = |text: &str| -> Vec<String> {
            let split = text.split(|letter: char| !letter.is_alphanumeric());
            split
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect()
        };
        let asked = words(instruction);
        let own = std::iter::once(&self.instruction).chain(&self.also);
        own.into_iter().any(|own| words(own) == asked)
    }
}

/// A validated `bundle.toml` of the `direct` family.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectManifest {
    /// Cameras, joints, chunk.
    pub outline: Outline,
    /// What kind of policy it is, in words: `act` for example.
    pub variant: String,
    /// Lowest ONNX Runtime.
    pub min_ort: OrtVersion,
    /// File that the graph came from, and what wrote it.
    pub source: [String; 2],
    /// The graph.
    pub graph: GraphFile,
    /// How each camera's pictures become an input.
    pub pictures: Vec<Picture>,
    /// The input that takes the state, if one does.
    pub proprio: Option<StateInput>,
    /// The output.
    pub chunk: ChunkOutput,
    /// Past observations.
    pub history: History,
    /// Noise, if the graph takes it.
    pub noise: Option<NoiseInput>,
    /// Units of the training data.
    pub units: Units,
    /// The task.
    pub task: Task,
    /// Golden case files, relative to the bundle; there may be none.
    pub golden: Vec<String>,
    /// What states and pictures were like in training, relative to the bundle, where somebody has learnt it.
    pub reference: Option<String>,
    /// SHA-256 (hex) of every file but `bundle.toml`, by path relative to the bundle.
    pub files: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_the_axes_of_what_it_is_of() {
        let parse = |text, kind| Layout::parse("f", text, kind).map(|l| l.axes().len());
        for (text, kind) in [
            ("bchw", Kind::Picture),
            ("chw", Kind::Picture),
            ("bhwc", Kind::Picture),
            ("btnchw", Kind::Picture),
            ("bd", Kind::State),
            ("btd", Kind::State),
            ("bhd", Kind::Chunk),
            ("hd", Kind::Chunk),
        ] {
            assert_eq!(parse(text, kind).ok(), Some(text.len()), "{text}");
        }
        for (text, kind) in [
            ("", Kind::Picture),
            ("bcwh", Kind::Picture),
            ("bbchw", Kind::Picture),
            ("ntchw", Kind::Picture),
            ("bd", Kind::Picture),
            ("nd", Kind::State),
            ("bthd", Kind::Chunk),
        ] {
            assert!(parse(text, kind).is_err(), "{text}");
        }
    }

    #[test]
    fn a_task_is_known_by_its_words() {
        let task = Task {
            instruction: "Pick up the red cube.".into(),
            also: vec!["lift red".into()],
            others: Others::Refuse,
        };
        assert!(task.is("pick up  the red cube") && task.is("LIFT red!"));
        assert!(!task.is("pick up the blue cube") && !task.is("") && !task.is("pick up the red"));
    }
}
