//! A lens: the intrinsics of a camera, and where it puts what is before it.
//!
//! The models are OpenCV's and those of ROS `camera_info`: `plumb_bob` (Brown: k1 k2 p1 p2 k3), `rational_polynomial` (and
//! k4 k5 k6), `equidistant` (Kannala-Brandt: k1 k2 k3 k4). Source: OpenCV 4, `calib3d`, and `fisheye` for the last; tests
//! hold them against OpenCV. Straightening pictures is the camera driver's.

use serde::{Deserialize, Serialize};

/// How distortion is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LensModel {
    /// Brown's: k1 k2 p1 p2 k3, in this order.
    PlumbBob,
    /// k1 k2 p1 p2 k3 k4 k5 k6.
    RationalPolynomial,
    /// Of fisheye lenses: k1 k2 k3 k4.
    Equidistant,
}

impl LensModel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PlumbBob, Self::RationalPolynomial, Self::Equidistant];

    /// How many coefficients it has.
    pub fn coefficients(self) -> usize {
        match self {
            Self::PlumbBob => 5,
            Self::RationalPolynomial => 8,
            Self::Equidistant => 4,
        }
    }

    /// Its name in ROS.
    pub fn word(self) -> &'static str {
        match self {
            Self::PlumbBob => "plumb_bob",
            Self::RationalPolynomial => "rational_polynomial",
            Self::Equidistant => "equidistant",
        }
    }
}

/// Intrinsics of a camera, for pictures of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lens {
    /// Size of the pictures that it was calibrated with, pixels.
    pub size: (u32, u32),
    /// Focal lengths and centre, pixels: fx, fy, cx, cy.
    pub camera: [f64; 4],
    /// How it distorts.
    pub model: LensModel,
    /// The model's coefficients.
    pub distortion: Vec<f64>,
    /// Focal lengths and centre of the straightened picture.
    pub straight: [f64; 4],
}

impl Lens {
    /// The lens of pictures that were straightened: no distortion.
    pub fn straightened(&self) -> Self {
        Self {
            size: self.size,
            camera: self.straight,
            model: LensModel::PlumbBob,
            distortion: vec![0.0; LensModel::PlumbBob.coefficients()],
            straight: self.straight,
        }
    }

    /// Where the lens puts what a straight picture shows at `pixel` (u right, v down).
    pub fn seen(&self, pixel: [f64; 2]) -> [f64; 2] {
        let [sx, sy, ox, oy] = self.straight;
        self.bent([(pixel[0] - ox) / sx, (pixel[1] - oy) / sy])
    }

    /// The pixel of a point in the camera's frame, m (z forward); `None` for one that is not in front of it.
    pub fn pixel(&self, [x, y, z]: [f64; 3]) -> Option<[f64; 2]> {
        (z > 0.0).then(|| self.bent([x / z, y / z]))
    }

    /// The pixel of the ray through (x, y, 1).
    fn bent(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [fx, fy, cx, cy] = self.camera;
        let k = |i: usize| self.distortion.get(i).copied().unwrap_or(0.0);
        let r2 = x * x + y * y;
        let (x, y) = match self.model {
            LensModel::PlumbBob | LensModel::RationalPolynomial => {
                let (p1, p2) = (k(2), k(3));
                let above = 1.0 + r2 * (k(0) + r2 * (k(1) + r2 * k(4)));
                let below = 1.0 + r2 * (k(5) + r2 * (k(6) + r2 * k(7)));
                let radial = above / below;
                (
                    x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
                    y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
                )
            }
            LensModel::Equidistant => {
                let r = r2.sqrt();
                let theta = r.atan();
                let t2 = theta * theta;
                let bent = theta * (1.0 + t2 * (k(0) + t2 * (k(1) + t2 * (k(2) + t2 * k(3)))));
                let scale = if r > 1e-8 { bent / r } else { 1.0 };
                (x * scale, y * scale)
            }
        };
        [fx * x + cx, fy * y + cy]
    }

    /// Whether its numbers can be those of a lens.
    ///
    /// # Errors
    /// The field, what was expected and what is there.
    pub fn check(&self) -> Result<(), (&'static str, String, String)> {
        for (field, numbers) in [
            ("camera_matrix", self.camera),
            ("projection_matrix", self.straight),
        ] {
            if !(numbers[0] > 0.0 && numbers[1] > 0.0 && numbers.iter().all(|v| v.is_finite())) {
                let expected = "finite numbers, focal lengths > 0".into();
                return Err((field, expected, format!("{numbers:?}")));
            }
        }
        let wanted = self.model.coefficients();
        if self.distortion.len() != wanted || self.distortion.iter().any(|v| !v.is_finite()) {
            let expected = format!("{wanted} finite numbers");
            return Err((
                "distortion_coefficients",
                expected,
                format!("{:?}", self.distortion),
            ));
        }
        Ok(())
    }
}
