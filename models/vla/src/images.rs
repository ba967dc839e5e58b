//! All cameras of a bundle: frames to `pixel_values`, over buffers that are allocated once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tactus_bundle::{CameraSpec, Manifest, Scaling, Vision};
use tactus_types::CameraFrame;

use crate::{
    decode::{DecodeError, decode},
    error::VlaError,
    letterbox::Letterbox,
    patch::{Grid, Patcher},
    resample::Resample,
    resize::{Size, seen_size},
};

/// A picture at the size that the policy sees it at.
enum Seen {
    /// Bytes, which the patcher normalises.
    Bytes(Box<Resample>, Vec<u8>),
    /// Normalised numbers.
    Numbers(Letterbox, Vec<f32>),
}

impl Seen {
    fn new(from: Size, to: Size, vision: &Vision) -> Self {
        match vision.scaling {
            Scaling::Bicubic(processor) => Self::Bytes(
                Box::new(Resample::new(from, to, processor)),
                vec![0; to.rgb_len()],
            ),
            Scaling::Letterbox { place, bars } => {
                let letterbox = Letterbox::new(from, to.width, place, bars, vision);
                let numbers = vec![0.0; letterbox.numbers()];
                Self::Numbers(letterbox, numbers)
            }
        }
    }

    fn scale(&mut self, rgb: &[u8]) {
        match self {
            Self::Bytes(resample, out) => resample.run(rgb, out),
            Self::Numbers(letterbox, out) => letterbox.run(rgb, out),
        }
    }

    /// `false` as [`Patcher::run`].
    #[must_use]
    fn cut(&self, patcher: &Patcher, grid: Grid, rows: &mut [f32]) -> bool {
        match self {
            Self::Bytes(_, bytes) => patcher.run(bytes, grid, rows),
            Self::Numbers(_, numbers) => patcher.run_numbers(numbers, grid, rows),
        }
    }
}

/// The patches of one picture of `from`, scaled to `to`; `None` when it has another size. For comparison by itself.
pub(crate) fn patches_of(rgb: &[u8], from: Size, to: Size, vision: &Vision) -> Option<Vec<f32>> {
    let mut seen = Seen::new(from, to, vision);
    seen.scale(rgb);
    let grid = Grid::of(to, vision);
    let mut rows = vec![f32::NAN; grid.patches() * vision.row_len()];
    let cut = rgb.len() == from.rgb_len() && seen.cut(&Patcher::new(vision), grid, &mut rows);
    cut.then_some(rows)
}

struct CameraPath {
    spec: CameraSpec,
    seen: Seen,
    from: Size,
    grid: Grid,
    /// Pixels of a decoded JPEG.
    decoded: Vec<u8>,
    /// The frame that `seen` holds, and what decoding and resizing it took.
    ready: Option<(CameraFrame, ImageTimes)>,
}

impl CameraPath {
    /// Decodes and resizes `frame`, unless that is done already.
    fn prepare(&mut self, frame: &CameraFrame) -> Result<ImageTimes, DecodeError> {
        let same = |(ready, _): &&(CameraFrame, ImageTimes)| {
            ready.seq == frame.seq
                && ready.captured_at == frame.captured_at
                && Arc::ptr_eq(&ready.data, &frame.data)
        };
        if let Some((_, times)) = self.ready.as_ref().filter(same) {
            return Ok(*times);
        }
        self.ready = None;
        let started = Instant::now();
        let rgb = decode(frame, &self.spec, &mut self.decoded)?;
        let decoded_at = Instant::now();
        if rgb.len() != self.from.rgb_len() {
            return Err(DecodeError::Size {
                camera: self.spec.name.clone(),
                what: "pixels",
                expected: format!("{} bytes", self.from.rgb_len()),
                actual: rgb.len().to_string(),
            });
        }
        self.seen.scale(rgb);
        let times = ImageTimes {
            decode: decoded_at - started,
            patch: decoded_at.elapsed(),
        };
        self.ready = Some((frame.clone(), times));
        Ok(times)
    }
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
            let to = seen_size(from, vision).ok_or_else(|| VlaError::ImageSize {
                camera: spec.name.clone(),
                expected: match vision.scaling {
                    Scaling::Bicubic(_) => "sides whose ratio is at most 200".into(),
                    Scaling::Letterbox { .. } => {
                        format!("sides whose ratio is at most {}", vision.max_pixels.isqrt())
                    }
                },
                actual: from.to_string(),
            })?;
            Ok(CameraPath {
                spec: spec.clone(),
                seen: Seen::new(from, to, vision),
                from,
                grid: Grid::of(to, vision),
                decoded: vec![0; from.rgb_len()],
                ready: None,
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

    /// Decodes and resizes a frame ahead of the observation it will be part of. What is wrong with it is said by
    /// [`Images::run`].
    pub fn prepare(&mut self, frame: &CameraFrame) {
        if let Some(camera) = self
            .cameras
            .iter_mut()
            .find(|c| *c.spec.name == *frame.camera)
        {
            drop(camera.prepare(frame));
        }
    }

    /// Writes the patches of `frames`, one per camera in prompt order, into `pixel_values`
    /// (`[patches of all images, row_len]`, as long as [`Images::pixel_values_len`]). The times are those of all frames,
    /// those prepared ahead included.
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
            let prepared = camera.prepare(frame)?;
            times.decode += prepared.decode;
            times.patch += prepared.patch;
            let started = Instant::now();
            let length = (camera.grid.patches() * self.row_len).min(rest.len());
            let (rows, others) = std::mem::take(&mut rest).split_at_mut(length);
            rest = others;
            if !camera.seen.cut(&self.patcher, camera.grid, rows) {
                return Err(DecodeError::Size {
                    camera: camera.spec.name.clone(),
                    what: "patches",
                    expected: format!("{} numbers", camera.grid.patches() * self.row_len),
                    actual: rows.len().to_string(),
                });
            }
            times.patch += started.elapsed();
        }
        Ok(times)
    }
}
