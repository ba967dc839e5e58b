//! All cameras of a bundle: frames to `pixel_values`, over buffers that are allocated once.

use std::time::{Duration, Instant};

use tactus_bundle::{CameraSpec, Manifest};
use tactus_types::CameraFrame;

use crate::{
    decode::{DecodeError, decode},
    error::VlaError,
    patch::{Grid, Patcher},
    resize::{Resize, Size, smart_resize},
};

struct CameraPath {
    spec: CameraSpec,
    resize: Resize,
    grid: Grid,
    /// Pixels of a decoded JPEG.
    decoded: Vec<u8>,
    /// Pixels after resizing.
    resized: Vec<u8>,
}

/// Preprocessing of a bundle's cameras.
pub struct Images {
    cameras: Vec<CameraPath>,
    patcher: Patcher,
    row_len: usize,
}

/// Time that preprocessing of all frames took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageTimes {
    /// JPEG to pixels.
    pub decode: Duration,
    /// Pixels to patches.
    pub patch: Duration,
}

impl Images {
    /// Preprocessing as `manifest` declares it.
    ///
    /// # Errors
    /// [`VlaError::ImageSize`] when a camera's images cannot be resized to a size the policy takes.
    pub fn new(manifest: &Manifest) -> Result<Self, VlaError> {
        let vision = &manifest.vision;
        let camera = |spec: &CameraSpec| {
            let from = Size {
                width: spec.width,
                height: spec.height,
            };
            let to = smart_resize(from, vision).ok_or_else(|| VlaError::ImageSize {
                camera: spec.name.clone(),
                expected: "sides whose ratio is at most 200".into(),
                actual: from.to_string(),
            })?;
            Ok(CameraPath {
                spec: spec.clone(),
                resize: Resize::new(from, to),
                grid: Grid::of(to, vision),
                decoded: vec![0; from.rgb_len()],
                resized: vec![0; to.rgb_len()],
            })
        };
        Ok(Self {
            cameras: manifest
                .cameras
                .iter()
                .map(camera)
                .collect::<Result<_, VlaError>>()?,
            patcher: Patcher::new(vision),
            row_len: vision.row_len(),
        })
    }

    /// Patch grid of every camera, in prompt order.
    pub fn grids(&self) -> Vec<Grid> {
        self.cameras.iter().map(|camera| camera.grid).collect()
    }

    /// Numbers in `pixel_values`.
    pub fn pixel_values_len(&self) -> usize {
        self.cameras
            .iter()
            .map(|camera| camera.grid.patches() * self.row_len)
            .sum()
    }

    /// Writes the patches of `frames`, one per camera in prompt order, into `pixel_values`
    /// (`[patches of all images, row_len]`, as long as [`Images::pixel_values_len`]).
    ///
    /// # Errors
    /// [`DecodeError`] for the first frame that is not its camera's.
    pub fn run(
        &mut self,
        frames: &[CameraFrame],
        pixel_values: &mut [f32],
    ) -> Result<ImageTimes, DecodeError> {
        let mut times = ImageTimes::default();
        let mut rest = pixel_values;
        for (camera, frame) in self.cameras.iter_mut().zip(frames) {
            let CameraPath {
                spec,
                resize,
                grid,
                decoded,
                resized,
            } = camera;
            let started = Instant::now();
            let rgb = decode(frame, spec, decoded)?;
            let decoded_at = Instant::now();
            times.decode += decoded_at - started;
            let length = (grid.patches() * self.row_len).min(rest.len());
            let (rows, others) = std::mem::take(&mut rest).split_at_mut(length);
            rest = others;
            if !(resize.run(rgb, resized) && self.patcher.run(resized, *grid, rows)) {
                return Err(DecodeError::Size {
                    camera: spec.name.clone(),
                    what: "patches",
                    expected: format!("{} numbers", grid.patches() * self.row_len),
                    actual: rows.len().to_string(),
                });
            }
            times.patch += decoded_at.elapsed();
        }
        Ok(times)
    }
}
