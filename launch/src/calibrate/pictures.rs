//! Pictures of a board: from files, or the newest frame of a camera of the running cell. Decides how colours become grey.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_camera::folder;
use tactus_camera::picture::{Picture, decode};
use tactus_types::{CameraFrame, Encoding, Time};
use tactus_wire::{ClockedFrame, Delivery, Subscriber, Topic};

use crate::cell::{Cell, CellCamera};
use crate::roles::Joined;

/// A picture in grey levels, rows from the top.
pub struct Grey {
    /// Width and height, pixels.
    pub size: (u32, u32),
    /// The levels.
    pub levels: Vec<u8>,
}

impl From<&Picture> for Grey {
    fn from(picture: &Picture) -> Self {
        // ITU-R BT.601.
        let level = |p: &[u8]| {
            let sum = 77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]);
            ((sum + 128) >> 8).min(255) as u8
        };
        Self {
            size: (picture.width, picture.height),
            levels: picture.rgb.chunks_exact(3).map(level).collect(),
        }
    }
}

/// The picture in a file.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: &Path) -> anyhow::Result<Grey> {
    Ok(Grey::from(&folder::picture(file)?))
}

#[derive(Default)]
struct Newest {
    frame: Mutex<Option<CameraFrame>>,
    came: Condvar,
}

/// The frames of one camera.
pub struct Frames {
    camera: String,
    newest: Arc<Newest>,
    _images: Subscriber,
}

impl Frames {
    /// Hears the frames of `camera` from now on.
    ///
    /// # Errors
    /// When the network cannot be used.
    pub fn hear(cell: &Cell, camera: &CellCamera, joined: &Joined) -> anyhow::Result<Self> {
        let newest = Arc::<Newest>::default();
        let to = newest.clone();
        let key = cell.wire.key(&Topic::CameraImage(camera.name.clone()));
        let heard = move |frame: Result<Delivery<ClockedFrame>, _>| {
            if let Ok(delivery) = frame {
                let mut slot = to.frame.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(delivery.message.frame);
                drop(slot);
                to.came.notify_one();
            }
        };
        Ok(Self {
            camera: camera.name.to_string(),
            newest,
            _images: joined.session.subscribe(&key, heard)?,
        })
    }

    /// The next frame that was captured after `after`; `None` when none comes within `within`.
    ///
    /// # Errors
    /// A frame that is no picture.
    pub fn next(&self, after: Time, within: Duration) -> anyhow::Result<Option<(Grey, Time)>> {
        let until = Instant::now() + within;
        let mut slot = self
            .newest
            .frame
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(frame) = slot.take().filter(|frame| frame.captured_at > after) {
                drop(slot);
                let picture = decoded(&frame);
                let picture = picture.with_context(|| format!("camera `{}`", self.camera))?;
                return Ok(Some((Grey::from(&picture), frame.captured_at)));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.newest.came.wait_timeout(slot, left);
            slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The picture of a frame.
///
/// # Errors
/// When its bytes are no picture, or not one of its size.
pub fn decoded(frame: &CameraFrame) -> anyhow::Result<Picture> {
    let picture = match frame.encoding {
        Encoding::Jpeg => decode(&frame.data)?,
        Encoding::Rgb8 => Picture {
            width: frame.width,
            height: frame.height,
            rgb: frame.data.to_vec(),
        },
    };
    if picture.rgb.len() != picture.width as usize * picture.height as usize * 3 {
        bail!(
            "a frame of {}x{} has not as many bytes",
            picture.width,
            picture.height
        );
    }
    Ok(picture)
}
