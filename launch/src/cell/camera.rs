//! `[[camera]]`: the cameras of a cell, each name once.
//!
//! Decides what the file may say of a camera of each source ([`BELONGS`]); whether the camera is really like that is asked
//! of the camera.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tactus_calibration::{CameraInfo, Lens, LensModel};
use tactus_camera::http::Url;
use tactus_camera::{CameraSpec, Crop, PixelFormat, PlaybackSpec, Rotation, SourceSpec, V4l2Spec};
use tactus_wire::Name;

use super::calibration::{CellCalibration, Named};
use super::{CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCamera {
    name: String,
    source: RawSource,
    rate_hz: f64,
    width: Option<u32>,
    height: Option<u32>,
    device: Option<PathBuf>,
    format: Option<RawFormat>,
    exposure_us: Option<u32>,
    gain: Option<u32>,
    white_balance_k: Option<u32>,
    url: Option<String>,
    path: Option<PathBuf>,
    repeat: Option<bool>,
    stepped: Option<bool>,
    undistort: Option<RawLens>,
    crop: Option<[u32; 4]>,
    rotate: Option<u32>,
    quality: Option<u32>,
    frozen_ms: Option<f64>,
    latency_ms: Option<f64>,
    scene: Option<PathBuf>,
    intrinsics: Option<PathBuf>,
    hand_eye: Option<PathBuf>,
    calibration_days: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSource {
    Sim,
    V4l2,
    Http,
    Rtsp,
    Video,
    Folder,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawFormat {
    Mjpeg,
    Yuyv,
}

/// A `camera_info` file, or the numbers themselves.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a camera_info file, or { fx, fy, cx, cy, k1, k2, p1, p2, k3 }"
)]
enum RawLens {
    File(PathBuf),
    Numbers(RawPinhole),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPinhole {
    fx: f64,
    fy: f64,
    cx: f64,
    cy: f64,
    k1: f64,
    k2: f64,
    p1: f64,
    p2: f64,
    #[serde(default)]
    k3: f64,
}

/// A camera of the cell.
#[derive(Debug, Clone, PartialEq)]
pub struct CellCamera {
    /// Its name.
    pub name: Name,
    /// Frames per second.
    pub rate_hz: f64,
    /// Picture that was kept of what it should see (`tactus calibrate scene`).
    pub scene: Option<PathBuf>,
    /// What it is; `None`: rendered by the simulator.
    pub real: Option<CameraSpec>,
    /// What is known of it.
    pub calibration: CellCalibration,
}

use RawSource::{Folder, Http, Rtsp, Sim, V4l2, Video};

/// Every source but the simulator.
const REAL: &[RawSource] = &[V4l2, Http, Rtsp, Video, Folder];
/// Which sources a field belongs to.
const BELONGS: &[(&str, &[RawSource])] = &[
    ("camera.width", REAL),
    ("camera.height", REAL),
    ("camera.device", &[V4l2]),
    ("camera.format", &[V4l2]),
    ("camera.exposure_us", &[V4l2]),
    ("camera.gain", &[V4l2]),
    ("camera.white_balance_k", &[V4l2]),
    ("camera.url", &[Http, Rtsp]),
    ("camera.path", &[Video, Folder]),
    ("camera.repeat", &[Video, Folder]),
    ("camera.stepped", &[Video, Folder]),
    ("camera.undistort", REAL),
    ("camera.crop", REAL),
    ("camera.rotate", REAL),
    ("camera.quality", REAL),
    ("camera.frozen_ms", REAL),
    ("camera.latency_ms", &[V4l2, Http, Rtsp]),
];

/// A live picture that stands still for so long is frozen, unless the file says otherwise.
const FROZEN_AFTER: Duration = Duration::from_millis(500);

impl RawSource {
    fn word(self) -> &'static str {
        match self {
            Sim => "sim",
            V4l2 => "v4l2",
            Http => "http",
            Rtsp => "rtsp",
            Video => "video",
            Folder => "folder",
        }
    }
}

/// `directory` is what paths are relative to.
pub(super) fn read(
    raw: &[RawCamera],
    check: &Check<'_>,
    directory: &Path,
) -> Result<Vec<CellCamera>, CellError> {
    if raw.is_empty() {
        return Err(check.error("camera", "at least one [[camera]]", "none"));
    }
    let mut cameras: Vec<CellCamera> = Vec::new();
    for raw in raw {
        let name = check.name("camera.name", &raw.name)?;
        if cameras.iter().any(|c| c.name == name) {
            return Err(check.error("camera.name", "each name once", name));
        }
        let rate_hz = check.bounded("camera.rate_hz", raw.rate_hz)?;
        raw.fields_belong(check)?;
        let real = match raw.source {
            Sim => None,
            _ => Some(raw.spec(name.clone(), rate_hz, check, directory)?),
        };
        let named = Named {
            intrinsics: raw.intrinsics.as_deref(),
            hand_eye: raw.hand_eye.as_deref(),
            days: raw.calibration_days,
        };
        let calibration = named.read(name.as_str(), check, directory)?;
        cameras.push(CellCamera {
            name,
            rate_hz,
            scene: raw.scene.as_ref().map(|file| directory.join(file)),
            real,
            calibration,
        });
    }
    Ok(cameras)
}

/// Why the file of a lens does not hold for the pictures that are published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("camera `{camera}`: {field}: expected {expected}, got {actual}")]
pub struct OtherLens {
    /// The camera.
    pub camera: Name,
    /// Field of the cell file that is at odds with the lens.
    pub field: &'static str,
    /// What would go with it.
    pub expected: String,
    /// What is there.
    pub actual: String,
}

impl CellCamera {
    /// The lens that published pictures have, if `lens` is what the sensor's have: another one where they are straightened.
    ///
    /// # Errors
    /// [`OtherLens`]: pictures that are cut, turned, of another size, or straightened as of another lens.
    pub fn published_lens(&self, lens: &Lens) -> Result<Lens, OtherLens> {
        let Some(real) = &self.real else {
            return Ok(lens.clone());
        };
        let refused = |field, expected: String, actual: String| OtherLens {
            camera: self.name.clone(),
            field,
            expected,
            actual,
        };
        let by = |(width, height): (u32, u32)| format!("{width}x{height}");
        if (real.width, real.height) != lens.size {
            let expected = format!("the {} of its lens", by(lens.size));
            let actual = by((real.width, real.height));
            return Err(refused("camera.width, camera.height", expected, actual));
        }
        if real.crop.is_some() || real.rotate != Rotation::None {
            let expected = "pictures as the camera takes them, which its lens is of".into();
            let actual = "cut or turned ones".into();
            return Err(refused("camera.crop, camera.rotate", expected, actual));
        }
        let Some(undistort) = &real.undistort else {
            return Ok(lens.clone());
        };
        // How the straight picture is laid out is the cell file's choice; what was straightened has to be this lens.
        let same = Lens {
            straight: undistort.straight,
            ..lens.clone()
        };
        if *undistort != same {
            let numbers = |of: &Lens| format!("{} {:?}", of.model.word(), of.camera);
            let expected = format!("the same lens as its file, {}", numbers(lens));
            let actual = format!("another, {}", numbers(undistort));
            return Err(refused("camera.undistort", expected, actual));
        }
        Ok(undistort.straightened())
    }
}

impl RawCamera {
    /// Which fields are there.
    fn given(&self, field: &str) -> bool {
        match field {
            "camera.width" => self.width.is_some(),
            "camera.height" => self.height.is_some(),
            "camera.device" => self.device.is_some(),
            "camera.format" => self.format.is_some(),
            "camera.exposure_us" => self.exposure_us.is_some(),
            "camera.gain" => self.gain.is_some(),
            "camera.white_balance_k" => self.white_balance_k.is_some(),
            "camera.url" => self.url.is_some(),
            "camera.path" => self.path.is_some(),
            "camera.repeat" => self.repeat.is_some(),
            "camera.stepped" => self.stepped.is_some(),
            "camera.undistort" => self.undistort.is_some(),
            "camera.crop" => self.crop.is_some(),
            "camera.rotate" => self.rotate.is_some(),
            "camera.quality" => self.quality.is_some(),
            "camera.frozen_ms" => self.frozen_ms.is_some(),
            "camera.latency_ms" => self.latency_ms.is_some(),
            _ => false,
        }
    }

    fn fields_belong(&self, check: &Check<'_>) -> Result<(), CellError> {
        for (field, sources) in BELONGS {
            if self.given(field) && !sources.contains(&self.source) {
                let words: Vec<&str> = sources.iter().map(|source| source.word()).collect();
                let expected = format!("it only where camera.source is {}", words.join(", "));
                let actual = format!(
                    "it for `{}`, whose source is {}",
                    self.name,
                    self.source.word()
                );
                return Err(check.error(field, &expected, actual));
            }
        }
        Ok(())
    }

    fn spec(
        &self,
        name: Name,
        rate_hz: f64,
        check: &Check<'_>,
        directory: &Path,
    ) -> Result<CameraSpec, CellError> {
        let side = |field: &str, pixels: Option<u32>| match pixels {
            Some(pixels) => check.whole(field, pixels),
            None => Err(self.missing(field, "pixels", check)),
        };
        let (width, height) = (
            side("camera.width", self.width)?,
            side("camera.height", self.height)?,
        );
        let live = matches!(self.source, V4l2 | Http | Rtsp);
        let undistort = match &self.undistort {
            None => None,
            Some(lens) => Some(lens.read((width, height), &name, check, directory)?),
        };
        let crop = match self.crop {
            None => None,
            Some(crop) => Some(inside(crop, (width, height), check)?),
        };
        Ok(CameraSpec {
            name,
            source: self.source(check, directory)?,
            width,
            height,
            rate_hz,
            undistort,
            crop,
            rotate: match self.rotate {
                None | Some(0) => Rotation::None,
                Some(90) => Rotation::Quarter,
                Some(180) => Rotation::Half,
                Some(270) => Rotation::ThreeQuarters,
                Some(other) => {
                    let expected = "0, 90, 180 or 270 degrees, clockwise";
                    return Err(check.error("camera.rotate", expected, other));
                }
            },
            quality: match self.quality {
                None => 90,
                // Bounded to 100.
                Some(quality) => check.whole("camera.quality", quality)? as u8,
            },
            frozen_after: match self.frozen_ms {
                None => live.then_some(FROZEN_AFTER),
                Some(0.0) => None,
                Some(millis) => Some(check.millis("camera.frozen_ms", millis)?),
            },
            latency: match self.latency_ms {
                None => Duration::ZERO,
                Some(millis) => check.millis("camera.latency_ms", millis)?,
            },
        })
    }

    fn source(&self, check: &Check<'_>, directory: &Path) -> Result<SourceSpec, CellError> {
        let whole = |field: &str, value: Option<u32>| match value {
            None => Ok(None),
            Some(value) => check.whole(field, value).map(Some),
        };
        let playback = || match &self.path {
            Some(path) => Ok(PlaybackSpec {
                path: directory.join(path),
                repeat: self.repeat.unwrap_or(false),
                stepped: self.stepped.unwrap_or(false),
            }),
            None => Err(self.missing("camera.path", "a path", check)),
        };
        let url = || match &self.url {
            Some(url) => Ok(url),
            None => Err(self.missing("camera.url", "an address", check)),
        };
        Ok(match self.source {
            // Not asked for.
            Sim | V4l2 => SourceSpec::V4l2(V4l2Spec {
                device: match &self.device {
                    Some(device) => device.clone(),
                    None => return Err(self.missing("camera.device", "a video device", check)),
                },
                format: match self.format {
                    Some(RawFormat::Mjpeg) | None => PixelFormat::Mjpeg,
                    Some(RawFormat::Yuyv) => PixelFormat::Yuyv,
                },
                exposure_us: whole("camera.exposure_us", self.exposure_us)?,
                gain: whole("camera.gain", self.gain)?,
                white_balance_k: whole("camera.white_balance_k", self.white_balance_k)?,
            }),
            Http => {
                let url = url()?;
                SourceSpec::Http {
                    url: Url::parse(url).map_err(|e| check.error("camera.url", e.expected, url))?,
                }
            }
            Rtsp => {
                let url = url()?;
                let legal = url
                    .strip_prefix("rtsp://")
                    .is_some_and(|rest| !rest.is_empty());
                if !legal || url.bytes().any(|b| !b.is_ascii_graphic()) {
                    return Err(check.error("camera.url", "rtsp://HOST[:PORT]/PATH", url));
                }
                SourceSpec::Rtsp { url: url.clone() }
            }
            Video => SourceSpec::Video(playback()?),
            Folder => SourceSpec::Folder(playback()?),
        })
    }

    fn missing(&self, field: &str, what: &str, check: &Check<'_>) -> CellError {
        let expected = format!(
            "{what}, since the source of `{}` is {}",
            self.name,
            self.source.word()
        );
        check.error(field, &expected, "nothing")
    }
}

/// x, y, width, height, inside the frame.
fn inside(
    [x, y, width, height]: [u32; 4],
    (columns, rows): (u32, u32),
    check: &Check<'_>,
) -> Result<Crop, CellError> {
    let fits = |from: u32, length: u32, whole: u32| {
        length > 0 && from.checked_add(length).is_some_and(|end| end <= whole)
    };
    if !fits(x, width, columns) || !fits(y, height, rows) {
        let expected = format!("[x, y, width, height] inside {columns}x{rows}");
        let actual = format!("[{x}, {y}, {width}, {height}]");
        return Err(check.error("camera.crop", &expected, actual));
    }
    Ok(Crop {
        x,
        y,
        width,
        height,
    })
}

impl RawLens {
    fn read(
        &self,
        size: (u32, u32),
        name: &Name,
        check: &Check<'_>,
        directory: &Path,
    ) -> Result<Lens, CellError> {
        let lens = match self {
            Self::File(file) => {
                let file = directory.join(file);
                let info = CameraInfo::read(&file)
                    .and_then(|info| info.check_camera(&file, name.as_str()).map(|()| info));
                info.map_err(|e| check.error("camera.undistort", "a ROS camera_info file", e))?
                    .lens
            }
            Self::Numbers(RawPinhole {
                fx,
                fy,
                cx,
                cy,
                k1,
                k2,
                p1,
                p2,
                k3,
            }) => {
                let camera = [*fx, *fy, *cx, *cy];
                Lens {
                    size,
                    camera,
                    model: LensModel::PlumbBob,
                    distortion: vec![*k1, *k2, *p1, *p2, *k3],
                    straight: camera,
                }
            }
        };
        lens.check()
            .map_err(|(_, expected, actual)| check.error("camera.undistort", &expected, actual))?;
        if lens.size != size {
            let expected = format!("the calibration of {}x{} frames", size.0, size.1);
            let actual = format!("one of {}x{}", lens.size.0, lens.size.1);
            return Err(check.error("camera.undistort", &expected, actual));
        }
        Ok(lens)
    }
}
