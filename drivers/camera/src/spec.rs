//! What a cell says of a camera. Nothing is opened here; bounds of the numbers are the cell file's.

use std::path::PathBuf;
use std::time::Duration;

use tactus_drivers_api::wire::{CameraInfo, Name};

use crate::http::Url;
use tactus_calibration::Lens;

/// A camera of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSpec {
    /// Its name.
    pub name: Name,
    /// Where its frames come from.
    pub source: SourceSpec,
    /// Width of the source's frames, pixels.
    pub width: u32,
    /// Height of the source's frames, pixels.
    pub height: u32,
    /// Frames per second.
    pub rate_hz: f64,
    /// The lens, where pictures are straightened first.
    pub undistort: Option<Lens>,
    /// The part that is kept, after straightening.
    pub crop: Option<Crop>,
    /// How the rest is turned, last.
    pub rotate: Rotation,
    /// Quality of frames that have to be encoded here, 1..=100.
    pub quality: u8,
    /// A picture that does not change for so long is frozen: frames are left out from then on. `None`: never.
    pub frozen_after: Option<Duration>,
    /// How much earlier than its source says a picture was really captured: taken off every capture time.
    pub latency: Duration,
}

/// Where frames come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    /// A video device of this machine.
    V4l2(V4l2Spec),
    /// MJPEG over HTTP.
    Http {
        /// The stream.
        url: Url,
    },
    /// RTSP, decoded by FFmpeg (in OpenCV).
    Rtsp {
        /// The stream, `rtsp://...`; may hold a password.
        url: String,
    },
    /// A video file, decoded by FFmpeg (in OpenCV).
    Video(PlaybackSpec),
    /// A folder of JPEG and PNG images, played in the order of their names.
    Folder(PlaybackSpec),
}

/// Something recorded that is played back at the camera's rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybackSpec {
    /// File or folder.
    pub path: PathBuf,
    /// Starts over at the end.
    pub repeat: bool,
    /// The next image comes when asked for, not when due.
    pub stepped: bool,
}

/// A video device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V4l2Spec {
    /// Its node.
    pub device: PathBuf,
    /// What it delivers.
    pub format: PixelFormat,
    /// Exposure, microseconds; `None`: automatic.
    pub exposure_us: Option<u32>,
    /// Gain in the camera's own unit; `None`: as it is, or automatic.
    pub gain: Option<u32>,
    /// White balance, kelvin; `None`: automatic.
    pub white_balance_k: Option<u32>,
}

/// Formats that a video device may deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// JPEG files, passed through.
    Mjpeg,
    /// 4:2:2, encoded here.
    Yuyv,
}

impl PixelFormat {
    /// Word in cell files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::Yuyv => "yuyv",
        }
    }
}

/// A part of a picture, pixels from its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns, at least one.
    pub width: u32,
    /// Rows, at least one.
    pub height: u32,
}

/// How a picture is turned, clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Not at all.
    #[default]
    None,
    /// A quarter.
    Quarter,
    /// Upside down.
    Half,
    /// A quarter the other way.
    ThreeQuarters,
}

impl CameraSpec {
    /// Whether pixels have to be touched, so that a JPEG cannot leave as it came.
    pub fn edits(&self) -> bool {
        self.undistort.is_some() || self.crop.is_some() || self.rotate != Rotation::None
    }

    /// Width and height of what is published.
    pub fn published_size(&self) -> (u32, u32) {
        let (width, height) = match self.crop {
            Some(crop) => (crop.width, crop.height),
            None => (self.width, self.height),
        };
        match self.rotate {
            Rotation::None | Rotation::Half => (width, height),
            Rotation::Quarter | Rotation::ThreeQuarters => (height, width),
        }
    }

    /// What it says of itself on the wire.
    pub fn info(&self) -> CameraInfo {
        let (width, height) = self.published_size();
        CameraInfo {
            width,
            height,
            rate_hz: self.rate_hz,
        }
    }

    /// Whether the next frame comes when asked for.
    pub fn stepped(&self) -> bool {
        match &self.source {
            SourceSpec::Video(playback) | SourceSpec::Folder(playback) => playback.stepped,
            SourceSpec::V4l2(_) | SourceSpec::Http { .. } | SourceSpec::Rtsp { .. } => false,
        }
    }

    /// Whether it takes frames whether anybody receives them or not.
    pub fn live(&self) -> bool {
        match &self.source {
            SourceSpec::V4l2(_) | SourceSpec::Http { .. } | SourceSpec::Rtsp { .. } => true,
            SourceSpec::Video(_) | SourceSpec::Folder(_) => false,
        }
    }

    /// A source without a frame for so long is lost: two seconds, or ten periods.
    pub fn silence(&self) -> Duration {
        let periods = Duration::try_from_secs_f64(10.0 / self.rate_hz).unwrap_or(Duration::MAX);
        periods.max(Duration::from_secs(2))
    }
}
