//! Something recorded, played as a camera: when the next image is due. What the images are is [`crate::folder`]'s and
//! `video`'s.
//!
//! Images come `1 / rate_hz` apart, or one for every call where they are stepped. A player that falls behind skips time,
//! not images. The capture time is when the image was due, or asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tactus_drivers_api::Pacer;
use tactus_drivers_api::wire::CaptureClock;
use tactus_types::{Clock, Time};

use crate::CameraError;
use crate::source::{Pixels, Shot, Source};
use crate::spec::PlaybackSpec;

/// How far a player may fall behind before it skips time.
const MAX_LAG: Duration = Duration::from_millis(100);

/// One image of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The bytes.
    pub data: Vec<u8>,
    /// What they are.
    pub pixels: Pixels,
    /// Width and height, as far as known.
    pub size: (u32, u32),
}

/// A recording: images one after the other.
pub trait Images: Send {
    /// The next image; `None` at the end.
    ///
    /// # Errors
    /// [`CameraError`].
    fn read(&mut self) -> Result<Option<Image>, CameraError>;

    /// Starts over.
    ///
    /// # Errors
    /// [`CameraError`].
    fn rewind(&mut self) -> Result<(), CameraError>;
}

/// Plays images.
pub struct Playback<I: Images> {
    images: I,
    path: PathBuf,
    repeat: bool,
    /// `None` where they are stepped.
    pacer: Option<Pacer>,
    clock: Arc<dyn Clock>,
}

impl<I: Images> Playback<I> {
    /// Plays `images`, the first one now.
    pub fn new(images: I, spec: &PlaybackSpec, rate_hz: f64, clock: Arc<dyn Clock>) -> Self {
        let period = Duration::try_from_secs_f64(1.0 / rate_hz).unwrap_or(Duration::MAX);
        let pacer = Pacer::new(clock.now(), period, MAX_LAG.max(period));
        Self {
            images,
            path: spec.path.clone(),
            repeat: spec.repeat,
            pacer: (!spec.stepped).then_some(pacer),
            clock,
        }
    }

    /// When the next image is captured; `None` if that is not within `within`.
    fn due(&mut self, within: Duration) -> Option<Time> {
        let Some(pacer) = &mut self.pacer else {
            return Some(self.clock.now());
        };
        let now = self.clock.now();
        if let Some(due) = pacer.due(now) {
            return Some(due);
        }
        std::thread::sleep(pacer.next().since(now).min(within));
        pacer.due(self.clock.now())
    }
}

impl<I: Images> Source for Playback<I> {
    fn next(&mut self, within: Duration) -> Result<Option<Shot>, CameraError> {
        let Some(captured_at) = self.due(within) else {
            return Ok(None);
        };
        let mut image = self.images.read()?;
        if image.is_none() && self.repeat {
            self.images.rewind()?;
            image = self.images.read()?;
        }
        let Some(image) = image else {
            let path = self.path.clone();
            return Err(CameraError::Ended { path });
        };
        Ok(Some(Shot {
            data: image.data,
            pixels: image.pixels,
            size: image.size,
            captured_at,
            clock: CaptureClock::Playback,
            number: None,
            passed_over: 0,
            damaged: false,
        }))
    }
}

/// Whether `path` can be played at all, in words.
pub(crate) fn unusable(path: &Path, reason: impl std::fmt::Display) -> CameraError {
    CameraError::File {
        path: path.into(),
        reason: reason.to_string(),
    }
}
