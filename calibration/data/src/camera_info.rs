//! The file of a lens: ROS `camera_info`, as `camera_calibration` writes and `camera_calibration_parsers` reads it.
//!
//! Decides what is read of such a file, whoever made it, and how one of ours looks: the fields of ROS first, then the mapping
//! `tactus` with how good it is (ROS looks fields up by name and leaves it alone), then the seal, a comment. Kalibr's
//! `camchain.yaml` is only written.

use std::path::Path;

use serde::{Deserialize, Serialize};
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::{Yaml, YamlLoader};

use crate::seal::{self, Seal};
use crate::{CalibrationError, Lens, LensModel};

/// Field of the deviations, in our mapping.
const STD_PX: &str = "std_fx_fy_cx_cy_px";
/// Levels of a file; a `camera_info` has two.
const MAX_DEPTH: usize = 16;

/// How good the intrinsics are, as the fit found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntrinsicsQuality {
    /// Views that the fit used, those held out included.
    pub views: usize,
    /// Views that it left out because they fit no lens.
    pub rejected: usize,
    /// Corners in all of its views.
    pub corners: usize,
    /// Root mean square of the reprojection error over the views of the fit, pixels.
    pub rms_px: f64,
    /// The same over views that the fit had not seen, pixels.
    pub held_out_rms_px: f64,
    /// Standard deviations of fx, fy, cx, cy, pixels.
    pub std_px: [f64; 4],
    /// Share of the picture's regions in which corners were seen, 0..=1.
    pub coverage: f64,
}

/// A lens and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraInfo {
    /// Name of the camera; empty where the file does not say.
    pub camera: String,
    /// The lens.
    pub lens: Lens,
    /// Standard deviations of fx, fy, cx, cy, pixels; of files of ours.
    pub std_px: Option<[f64; 4]>,
    /// Of files of ours.
    pub seal: Option<Seal>,
    /// SHA-256 of the whole file, hexadecimal.
    pub sha256: String,
}

/// Refuses lists inside lists inside lists: the parser calls itself for each, and would run out of stack.
fn check_depth(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    let mut depth = 0_usize;
    loop {
        let (event, at) = parser.next_token().map_err(|e| e.to_string())?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            Event::StreamEnd => return Ok(()),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let (expected, line) = (MAX_DEPTH, at.line());
            return Err(format!(
                "line {line}: expected at most {expected} levels, got more"
            ));
        }
    }
}

impl CameraInfo {
    /// Reads a `camera_info` file. The straightened picture has the projection matrix of the file where that is not empty, as
    /// ROS' `image_proc` has it, else the camera's own.
    ///
    /// # Errors
    /// [`CalibrationError::File`] and [`CalibrationError::Edited`], and [`CalibrationError::Field`] with what cannot be used.
    pub fn read(file: &Path) -> Result<Self, CalibrationError> {
        let failed = |reason: String| CalibrationError::File {
            path: file.into(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
        check_depth(&text).map_err(failed)?;
        let documents = YamlLoader::load_from_str(&text).map_err(|e| failed(e.to_string()))?;
        let info = documents
            .first()
            .ok_or_else(|| failed("it is empty".into()))?;
        let field = |(field, expected, actual): Wrong| CalibrationError::Field {
            what: file.display().to_string(),
            field: field.into(),
            expected,
            actual,
        };
        Ok(Self {
            camera: info["camera_name"].as_str().unwrap_or_default().into(),
            lens: parse(info).map_err(field)?,
            std_px: deviations(&info["tactus"][STD_PX]),
            seal: seal::open(file, &text)?,
            sha256: seal::sha256(text.as_bytes()),
        })
    }

    /// Refuses a file that was made for another camera; one without a seal may say any name.
    ///
    /// # Errors
    /// [`CalibrationError::Foreign`].
    pub fn check_camera(&self, file: &Path, camera: &str) -> Result<(), CalibrationError> {
        if self.seal.is_some() && self.camera != camera {
            return Err(CalibrationError::Foreign {
                path: file.into(),
                expected: format!("the lens of camera `{camera}`"),
                actual: format!("that of `{}`", self.camera),
            });
        }
        Ok(())
    }
}

/// Field, expected, actual.
type Wrong = (&'static str, String, String);

fn parse(info: &Yaml) -> Result<Lens, Wrong> {
    let side = |field: &'static str| {
        let pixels = info[field].as_i64().unwrap_or(0);
        match u32::try_from(pixels) {
            Ok(pixels @ 1..=16384) => Ok(pixels),
            _ => Err((field, "1 to 16384 pixels".into(), pixels.to_string())),
        }
    };
    let size = (side("image_width")?, side("image_height")?);
    let word = info["distortion_model"].as_str();
    let model = LensModel::ALL.into_iter().find(|m| Some(m.word()) == word);
    let model = model.ok_or_else(|| {
        let expected = "plumb_bob, rational_polynomial or equidistant".into();
        let actual = word.unwrap_or("nothing").into();
        ("distortion_model", expected, actual)
    })?;
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
    let lens = Lens {
        size,
        camera,
        model,
        distortion,
        straight,
    };
    lens.check()?;
    Ok(lens)
}

/// Four deviations, if that is what is there.
fn deviations(list: &Yaml) -> Option<[f64; 4]> {
    let numbers: Option<Vec<f64>> = list.as_vec()?.iter().map(number).collect();
    let four: [f64; 4] = numbers?.try_into().ok()?;
    let legal = |std: &f64| std.is_finite() && *std >= 0.0;
    four.iter().all(legal).then_some(four)
}

fn number(value: &Yaml) -> Option<f64> {
    value.as_f64().or_else(|| value.as_i64().map(|n| n as f64))
}

fn list(numbers: &[f64]) -> String {
    // `{:?}` of an f64 is the shortest text that reads as the same number, and always has a point or an exponent.
    let words: Vec<String> = numbers.iter().map(|n| format!("{n:?}")).collect();
    format!("[{}]", words.join(", "))
}

/// The text of a `camera_info` file, without a seal.
pub fn write(camera: &str, lens: &Lens, quality: &IntrinsicsQuality) -> String {
    let [fx, fy, cx, cy] = lens.camera;
    let [sx, sy, ox, oy] = lens.straight;
    let matrix = |name: &str, (rows, columns): (usize, usize), data: &[f64]| {
        let data = list(data);
        format!("{name}:\n  rows: {rows}\n  cols: {columns}\n  data: {data}\n")
    };
    // Quoted, or a camera called `1` or `null` has no name. Names have no control characters.
    let camera = camera.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!(
        "image_width: {}\nimage_height: {}\ncamera_name: \"{camera}\"\n",
        lens.size.0, lens.size.1
    );
    text += &matrix(
        "camera_matrix",
        (3, 3),
        &[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
    );
    text += &format!("distortion_model: {}\n", lens.model.word());
    text += &matrix(
        "distortion_coefficients",
        (1, lens.distortion.len()),
        &lens.distortion,
    );
    text += &matrix(
        "rectification_matrix",
        (3, 3),
        &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    );
    text += &matrix(
        "projection_matrix",
        (3, 4),
        &[sx, 0.0, ox, 0.0, 0.0, sy, oy, 0.0, 0.0, 0.0, 1.0, 0.0],
    );
    let IntrinsicsQuality {
        views,
        rejected,
        corners,
        rms_px,
        held_out_rms_px,
        std_px,
        coverage,
    } = quality;
    text += &format!(
        "tactus:\n  views: {views}\n  rejected: {rejected}\n  corners: {corners}\n  rms_px: {rms_px:.4}\n  \
         held_out_rms_px: {held_out_rms_px:.4}\n  {STD_PX}: [{:.4}, {:.4}, {:.4}, {:.4}]\n  \
         coverage: {coverage:.3}\n",
        std_px[0], std_px[1], std_px[2], std_px[3],
    );
    text
}

/// The text of Kalibr's `camchain.yaml` of one camera that publishes on `topic`; `None` for a model that Kalibr does not have.
pub fn kalibr(lens: &Lens, topic: &str) -> Option<String> {
    let (model, distortion) = match lens.model {
        // Kalibr's has no k3.
        LensModel::PlumbBob if lens.distortion[4] == 0.0 => ("radtan", &lens.distortion[..4]),
        LensModel::Equidistant => ("equidistant", &lens.distortion[..]),
        LensModel::PlumbBob | LensModel::RationalPolynomial => return None,
    };
    Some(format!(
        "cam0:\n  camera_model: pinhole\n  intrinsics: {}\n  distortion_model: {model}\n  distortion_coeffs: {}\n  \
         resolution: [{}, {}]\n  rostopic: {topic}\n",
        list(&lens.camera),
        list(distortion),
        lens.size.0,
        lens.size.1,
    ))
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

    fn read_info(text: &str) -> Result<CameraInfo, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("front.yaml");
        std::fs::write(&file, text).expect("written");
        CameraInfo::read(&file).map_err(|e| e.to_string())
    }

    fn read(text: &str) -> Result<Lens, String> {
        read_info(text).map(|info| info.lens)
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

    const QUALITY: IntrinsicsQuality = IntrinsicsQuality {
        views: 25,
        rejected: 1,
        corners: 600,
        rms_px: 0.11,
        held_out_rms_px: 0.13,
        std_px: [0.2, 0.2, 0.3, 0.3],
        coverage: 0.9,
    };

    #[test]
    fn what_is_written_is_read_again() {
        for (model, distortion) in [
            (LensModel::PlumbBob, vec![-0.3, 0.1, 1e-7, -0.002, 0.0]),
            (LensModel::RationalPolynomial, vec![0.1; 8]),
            (LensModel::Equidistant, vec![0.1, -0.01, 0.003, 1.0]),
        ] {
            let lens = Lens {
                size: (640, 480),
                camera: [520.512345678, 521.0, 318.25, 242.0],
                model,
                distortion,
                straight: [520.0, 521.0, 318.0, 242.0],
            };
            let text = seal::sealed(&write("front", &lens, &QUALITY), 7, "1970");
            let info = read_info(&text).expect("legal");
            assert_eq!((&info.lens, info.camera.as_str()), (&lens, "front"));
            assert!(info.seal.is_some());
            assert_eq!(info.std_px, Some(QUALITY.std_px));
            assert!(info.check_camera(Path::new("f"), "front").is_ok());
            let foreign = info.check_camera(Path::new("f"), "wrist");
            let said = foreign.expect_err("another camera").to_string();
            assert!(
                said.contains("expected the lens of camera `wrist`, got that of `front`"),
                "{said}"
            );
            let edited = read_info(&text.replace("521.0", "520.0")).expect_err("edited");
            assert!(edited.contains("edited"), "{edited}");
            let kalibr = kalibr(&lens, "/front/image");
            assert_eq!(kalibr.is_some(), model != LensModel::RationalPolynomial);
            if let Some(text) = kalibr {
                let chain = &YamlLoader::load_from_str(&text).expect("YAML")[0]["cam0"];
                assert_eq!(chain["resolution"][0].as_i64(), Some(640));
                assert_eq!(chain["distortion_coeffs"].as_vec().map(Vec::len), Some(4));
            }
        }
    }

    #[test]
    fn a_camera_may_have_any_name() {
        let lens = read(INFO).expect("legal");
        for name in ["1", "007", "1.5", "null", "true", "~", "a: b", "a\"\\b"] {
            let text = seal::sealed(&write(name, &lens, &QUALITY), 7, "1970");
            let info = read_info(&text).expect("legal");
            assert_eq!((info.camera.as_str(), &info.lens), (name, &lens));
            assert!(info.check_camera(Path::new("f"), name).is_ok(), "{name}");
        }
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
        assert!(CameraInfo::read(Path::new("/none.yaml")).is_err());
        assert!(read("").expect_err("empty").contains("empty"));
    }
}
