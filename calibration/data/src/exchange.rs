//! What `tactus` asks of `tactus-fit`, and what it answers: a line of JSON each way, in turns, through the pipes of the child.
//!
//! Decides the words only. Numbers are in m, pixels and radians unless their names say otherwise.

use serde::{Deserialize, Serialize};

use crate::{Board, HandEyeQuality, IntrinsicsQuality, Lens, LensModel, Mount, Pose};

/// Name of the program, which lies beside `tactus`.
pub const PROGRAM: &str = "tactus-fit";

/// A corner of the board that was found in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Corner {
    /// Which inner corner, as [`Board::corner_m`] counts them.
    pub id: usize,
    /// Where, pixels: u right, v down, the middle of the upper left pixel is (0, 0).
    pub pixel: [f64; 2],
}

/// What was found in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// What the picture is called in messages: a file, a number.
    pub name: String,
    /// Its size, pixels.
    pub size: (u32, u32),
    /// The corners.
    pub corners: Vec<Corner>,
}

/// How the board was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Width of the edge between two squares, pixels: 1 to 3 when sharp.
    pub blur_px: f64,
    /// Share of the pixels of the board that are white beyond measure, 0..=1.
    pub saturated: f64,
    /// Grey levels between the board's white and black.
    pub contrast: f64,
    /// How far it is tilted against the picture, degrees, roughly: a lens has to be assumed.
    pub tilt_deg: f64,
    /// Which of its sides is farther: direction in the picture, degrees, 0 right, 90 down.
    pub towards_deg: f64,
    /// Largest extent over that of the picture in the same direction, 0..=1.
    pub extent: f64,
}

/// An edge that is wider is blurred, pixels.
const BLURRED_PX: f64 = 6.0;
/// More of the white of the board beyond measure is overexposed.
const SATURATED: f64 = 0.5;
/// Less between white and black is too dark or flat, grey levels.
const CONTRAST: f64 = 40.0;

impl Seen {
    /// Why a view called `name` cannot be used, if it cannot.
    pub fn refusal(&self, name: &str) -> Option<String> {
        let Self {
            blur_px,
            saturated,
            contrast,
            ..
        } = self;
        if *saturated > SATURATED {
            return Some(format!(
                "{name}: overexposed: expected at most {:.0} % of the board's white at the end of the scale, got {:.0} %: less light, or a shorter exposure",
                SATURATED * 100.0,
                saturated * 100.0
            ));
        }
        if *contrast < CONTRAST {
            return Some(format!(
                "{name}: flat: expected at least {CONTRAST:.0} grey levels between white and black, got {contrast:.0}: more light"
            ));
        }
        if *blur_px > BLURRED_PX {
            return Some(format!(
                "{name}: blurred: expected edges of at most {BLURRED_PX:.0} px, got {blur_px:.1}: hold still, and check the focus"
            ));
        }
        None
    }
}

/// What the robot and the camera saw at one pose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The picture.
    pub view: View,
    /// `X_BE`: the hand in the base.
    pub x_be: Pose,
    /// What the joints said, rad; empty in poses of versions that did not keep it.
    #[serde(default)]
    pub q: Vec<f64>,
}

/// How exactly an arm knows where its hand is: standard deviations of all three axes together, as a data sheet's repeatability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ArmNoise {
    /// Position, mm.
    pub mm: f64,
    /// Orientation, degrees.
    pub deg: f64,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Find the board in a picture.
    Find {
        /// What it is called.
        name: String,
        /// The board.
        board: Board,
        /// Size, pixels.
        size: (u32, u32),
        /// Grey levels, rows from the top, in Base64.
        grey: String,
    },
    /// Estimate the lens.
    Intrinsics {
        /// The board.
        board: Board,
        /// How the lens is described.
        model: LensModel,
        /// What was found.
        views: Vec<View>,
        /// Where to start from.
        start: Option<Lens>,
    },
    /// How well a known lens explains views.
    Verify {
        /// The board.
        board: Board,
        /// The lens.
        lens: Lens,
        /// What was found.
        views: Vec<View>,
    },
    /// Where the board is in a picture.
    Place {
        /// The board.
        board: Board,
        /// The lens.
        lens: Lens,
        /// What was found.
        view: View,
    },
    /// Estimate the camera's place.
    HandEye {
        /// The board.
        board: Board,
        /// The lens.
        lens: Lens,
        /// Standard deviations of its fx, fy, cx, cy, pixels, where they are known.
        lens_std_px: Option<[f64; 4]>,
        /// Where the camera is.
        mount: Mount,
        /// How exactly the arm knows where it is.
        noise: ArmNoise,
        /// What was seen.
        samples: Vec<Sample>,
        /// A first guess is enough: no gates, no held-out poses.
        roughly: bool,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The board is there.
    Found {
        /// Its corners.
        view: View,
        /// How it was seen.
        seen: Seen,
    },
    /// A lens.
    Intrinsics {
        /// The lens.
        lens: Lens,
        /// How good it is; the coverage is left to the asker.
        quality: IntrinsicsQuality,
        /// Of each view its reprojection error, pixels, root mean square; `None` where the view was left out.
        errors_px: Vec<Option<f64>>,
    },
    /// How well the lens explains the views.
    Verified {
        /// Root mean square over all corners, pixels.
        rms_px: f64,
        /// Of each view.
        errors_px: Vec<f64>,
    },
    /// Where the board is.
    Placed {
        /// `X_CW`.
        x_cw: Pose,
        /// How well the lens explains it, pixels, root mean square.
        rms_px: f64,
    },
    /// A camera's place.
    HandEye {
        /// `X_EC` or `X_BC`.
        x: Pose,
        /// The board: `X_BW` where it stands still, `X_EW` where the hand carries it.
        x_board: Pose,
        /// What each closed form says of `x`: name and pose.
        methods: Vec<(String, Pose)>,
        /// How good it is.
        quality: HandEyeQuality,
    },
    /// It cannot be done, or the result would not be good enough.
    Refused {
        /// Why: what was expected, what is there, what to do.
        reason: String,
    },
}
