//! A lens: its intrinsics, and straightening the pictures it makes.
//!
//! The models are OpenCV's and those of ROS `camera_info`: `plumb_bob` (Brown: k1 k2 p1 p2 k3), `rational_polynomial` (and
//! k4 k5 k6), `equidistant` (Kannala-Brandt: k1 k2 k3 k4). Source: OpenCV 4, `calib3d`, and `fisheye` for the last; tests
//! hold them against OpenCV.

use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

use crate::CameraError;
use crate::picture::Picture;

/// How distortion is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LensModel {
    /// Brown's: k1 k2 p1 p2 k3, in this order.
    PlumbBob,
    /// k1 k2 p1 p2 k3 k4 k5 k6.
    RationalPolynomial,
    /// Of fisheye lenses: k1 k2 k3 k4.
    Equidistant,
}

impl LensModel {
    /// How many coefficients it has.
    pub fn coefficients(self) -> usize {
        match self {
            Self::PlumbBob => 5,
            Self::RationalPolynomial => 8,
            Self::Equidistant => 4,
        }
    }
}

/// Intrinsics of a camera, for pictures of one size.
#[derive(Debug, Clone, PartialEq)]
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
    /// Reads a `camera_info` file as ROS' `camera_calibration` writes it. The straightened picture has the projection
    /// matrix of the file where that is not empty, as ROS' `image_proc` has it, else the camera's own.
    ///
    /// # Errors
    /// [`CameraError::File`], and [`CameraError::Lens`] with the field that cannot be used.
    pub fn read(file: &Path) -> Result<Self, CameraError> {
        let failed = |reason: String| CameraError::File {
            path: file.into(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
        let documents = YamlLoader::load_from_str(&text).map_err(|e| failed(e.to_string()))?;
        let info = documents
            .first()
            .ok_or_else(|| failed("it is empty".into()))?;
        Self::parse(info).map_err(|(field, expected, actual)| CameraError::Lens {
            what: format!("{}: field `{field}`", file.display()),
            expected,
            actual,
        })
    }

    fn parse(info: &Yaml) -> Result<Self, (&'static str, String, String)> {
        let side = |field: &'static str| {
            let pixels = info[field].as_i64().unwrap_or(0);
            match u32::try_from(pixels) {
                Ok(pixels @ 1..=16384) => Ok(pixels),
                _ => Err((field, "1 to 16384 pixels".into(), pixels.to_string())),
            }
        };
        let size = (side("image_width")?, side("image_height")?);
        let model = match info["distortion_model"].as_str() {
            Some("plumb_bob") => LensModel::PlumbBob,
            Some("rational_polynomial") => LensModel::RationalPolynomial,
            Some("equidistant") => LensModel::Equidistant,
            other => {
                let expected = "plumb_bob, rational_polynomial or equidistant".into();
                return Err((
                    "distortion_model",
                    expected,
                    other.unwrap_or("nothing").into(),
                ));
            }
        };
        let numbers = |field: &'static str, wanted: usize| {
            let data = info[field]["data"].as_vec().map(Vec::as_slice);
            let numbers: Option<Vec<f64>> = data.unwrap_or_default().iter().map(number).collect();
            match numbers {
                Some(n) if n.len() == wanted && n.iter().all(|v| v.is_finite()) => Ok(n),
                Some(n) => Err((field, format!("{wanted} finite numbers"), format!("{n:?}"))),
                None => Err((field, format!("{wanted} numbers"), "something else".into())),
            }
        };
        let matrix = numbers("camera_matrix", 9)?;
        let distortion = numbers("distortion_coefficients", model.coefficients())?;
        let camera = [matrix[0], matrix[4], matrix[2], matrix[5]];
        let mut straight = camera;
        if !info["projection_matrix"].is_badvalue() {
            let p = numbers("projection_matrix", 12)?;
            if p[0] != 0.0 {
                straight = [p[0], p[5], p[2], p[6]];
            }
        }
        if !info["rectification_matrix"].is_badvalue() {
            let r = numbers("rectification_matrix", 9)?;
            let one = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
            if r.iter().zip(one).any(|(a, b)| (a - b).abs() > 1e-9) {
                let expected = "the identity: the camera of a pair has to be calibrated alone";
                return Err(("rectification_matrix", expected.into(), format!("{r:?}")));
            }
        }
        let lens = Self {
            size,
            camera,
            model,
            distortion,
            straight,
        };
        lens.check()?;
        Ok(lens)
    }

    /// Where the lens puts what a straight picture shows at `pixel` (u right, v down).
    pub fn seen(&self, pixel: [f64; 2]) -> [f64; 2] {
        let ([fx, fy, cx, cy], [sx, sy, ox, oy]) = (self.camera, self.straight);
        let (x, y) = ((pixel[0] - ox) / sx, (pixel[1] - oy) / sy);
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

fn number(value: &Yaml) -> Option<f64> {
    value.as_f64().or_else(|| value.as_i64().map(|n| n as f64))
}

/// Straightens pictures of one lens.
///
/// Every pixel of the straight picture is the mean of the four that surround the place where the lens put it, by distance;
/// black where the lens did not see all four.
pub struct Straightener {
    size: (u32, u32),
    /// For each pixel: the first byte of its upper left source, and the weights of the four, which sum up to 256.
    sources: Vec<Option<(u32, [u16; 4])>>,
}

impl Straightener {
    /// Works out where each pixel comes from, once.
    pub fn new(lens: &Lens) -> Self {
        let (width, height) = lens.size;
        let source = |u: u32, v: u32| {
            let [x, y] = lens.seen([f64::from(u), f64::from(v)]);
            // Also sorts out what is no number.
            let inside =
                x >= 0.0 && y >= 0.0 && x <= f64::from(width - 1) && y <= f64::from(height - 1);
            if !inside || width < 2 || height < 2 {
                return None;
            }
            let (left, top) = ((x as u32).min(width - 2), (y as u32).min(height - 2));
            let part = |value: f64, from: u32| ((value - f64::from(from)) * 16.0).round() as u16;
            let (fx, fy) = (part(x, left), part(y, top));
            let weights = [
                (16 - fx) * (16 - fy),
                fx * (16 - fy),
                (16 - fx) * fy,
                fx * fy,
            ];
            Some(((top * width + left) * 3, weights))
        };
        Self {
            size: lens.size,
            sources: (0..height)
                .flat_map(|v| (0..width).map(move |u| (u, v)))
                .map(|(u, v)| source(u, v))
                .collect(),
        }
    }

    /// `picture`, straightened.
    ///
    /// # Errors
    /// [`CameraError::Image`] when it is not of the lens' size.
    pub fn straighten(&self, picture: &Picture) -> Result<Picture, CameraError> {
        if (picture.width, picture.height) != self.size {
            let (w, h) = self.size;
            return Err(CameraError::Image {
                reason: format!("expected {w}x{h}, got {}x{}", picture.width, picture.height),
            });
        }
        let row = picture.width as usize * 3;
        let mut rgb = vec![0; picture.rgb.len()];
        for (to, source) in rgb.chunks_exact_mut(3).zip(&self.sources) {
            let Some((at, [a, b, c, d])) = source else {
                continue;
            };
            let at = *at as usize;
            let (upper, lower) = (
                &picture.rgb[at..at + 6],
                &picture.rgb[at + row..at + row + 6],
            );
            for k in 0..3 {
                let sum = u32::from(upper[k]) * u32::from(*a)
                    + u32::from(upper[k + 3]) * u32::from(*b)
                    + u32::from(lower[k]) * u32::from(*c)
                    + u32::from(lower[k + 3]) * u32::from(*d);
                to[k] = ((sum + 128) >> 8) as u8;
            }
        }
        Ok(Picture { rgb, ..*picture })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `camera_calibration` of ROS writes it.
    const INFO: &str = "\
image_width: 640
image_height: 480
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [520.5, 0., 318.25, 0., 521., 242., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.3, 0.1, 0.001, -0.002, 0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
projection_matrix:
  rows: 3
  cols: 4
  data: [480., 0., 316., 0., 0., 485., 241., 0., 0., 0., 1., 0.]
";

    fn read(text: &str) -> Result<Lens, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("front.yaml");
        std::fs::write(&file, text).expect("written");
        Lens::read(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn a_ros_file_is_read() {
        let lens = read(INFO).expect("legal");
        let wanted = Lens {
            size: (640, 480),
            camera: [520.5, 521.0, 318.25, 242.0],
            model: LensModel::PlumbBob,
            distortion: vec![-0.3, 0.1, 0.001, -0.002, 0.0],
            straight: [480.0, 485.0, 316.0, 241.0],
        };
        assert_eq!(lens, wanted);
        let (bare, _) = INFO.split_once("rectification_matrix").expect("there");
        assert_eq!(read(bare).expect("legal").straight, lens.camera);
    }

    #[test]
    fn what_is_wrong_with_a_ros_file_is_said() {
        for (from, to, wanted) in [
            (
                "plumb_bob",
                "thin_prism",
                "`distortion_model`: expected plumb_bob, rational_polynomial or equidistant, got thin_prism",
            ),
            (
                "-0.002, 0]",
                "-0.002]",
                "`distortion_coefficients`: expected 5 finite numbers, got [-0.3",
            ),
            (
                "-0.002, 0]",
                "-0.002, much]",
                "`distortion_coefficients`: expected 5 numbers",
            ),
            ("-0.002, 0]", "-0.002, .nan]", "`distortion_coefficients`"),
            (
                "520.5",
                "0",
                "`camera_matrix`: expected finite numbers, focal lengths > 0",
            ),
            (
                "image_width: 640",
                "image_width: 0",
                "`image_width`: expected 1 to 16384 pixels, got 0",
            ),
            (
                "[1., 0., 0., 0., 1.,",
                "[0., 1., 0., 1., 0.,",
                "`rectification_matrix`: expected the identity",
            ),
            ("camera_matrix:", "camera_matrix: [", "front.yaml"),
        ] {
            let error = read(&INFO.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(wanted), "{error}");
        }
        assert!(Lens::read(Path::new("/none.yaml")).is_err());
        assert!(read("").expect_err("empty").contains("empty"));
    }
}
