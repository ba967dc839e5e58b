//! Where frames come from, behind one trait, and how each kind is opened.

use std::sync::Arc;
use std::time::Duration;

use tactus_drivers_api::wire::CaptureClock;
use tactus_types::{Clock, Time};

use crate::spec::{CameraSpec, SourceSpec};
use crate::{CameraError, folder, http, v4l2, video};

/// What the bytes of a shot are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// A JPEG file, with whatever the device appended.
    Jpeg,
    /// 4:2:2, `stride` bytes a row: Y0 U Y1 V.
    Yuyv {
        /// Bytes from one row to the next.
        stride: usize,
    },
    /// `height * width * 3` bytes, row-major, red first.
    Rgb8,
}

/// What a source delivers, not checked yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Shot {
    /// The bytes.
    pub data: Vec<u8>,
    /// What they are.
    pub pixels: Pixels,
    /// Width and height as the source says; a JPEG says it itself.
    pub size: (u32, u32),
    /// When it was captured.
    pub captured_at: Time,
    /// How that was read.
    pub clock: CaptureClock,
    /// The driver's counter, which wraps around.
    pub number: Option<u32>,
    /// Whole images since the last shot that were left unread for this newer one.
    pub passed_over: u32,
    /// The driver says that it is not whole.
    pub damaged: bool,
}

/// A source of shots.
pub trait Source: Send {
    /// The next shot; `None` when there is none within `within`, or a little later.
    ///
    /// # Errors
    /// [`CameraError`] when the source is gone, and has to be opened again.
    fn next(&mut self, within: Duration) -> Result<Option<Shot>, CameraError>;
}

/// Opens a source; again after it was lost.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>, CameraError> + Send>;

/// How the source of `spec` is opened.
pub fn opener(spec: CameraSpec, clock: Arc<dyn Clock>) -> Open {
    Box::new(move || open(&spec, clock.clone()))
}

fn open(spec: &CameraSpec, clock: Arc<dyn Clock>) -> Result<Box<dyn Source>, CameraError> {
    Ok(match &spec.source {
        SourceSpec::V4l2(device) => Box::new(v4l2::open(spec, device, clock)?),
        SourceSpec::Http { url } => Box::new(http::HttpSource::connect(url, clock)?),
        SourceSpec::Folder(playback) => Box::new(folder::open(playback, spec.rate_hz, clock)?),
        SourceSpec::Video(playback) => Box::new(video::play(playback, spec.rate_hz, clock)?),
        SourceSpec::Rtsp { url } => Box::new(video::Stream::connect(url, clock)?),
    })
}
