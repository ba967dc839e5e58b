//! All cameras of a bundle: frames to `pixel_values`, over buffers that are allocated once.
//!
//! Large pictures that come at the same time are made ready side by side, on as many threads as an operator of a graph may
//! have. Small ones are not worth a thread.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tactus_bundle::{CameraSpec, Manifest, Scaling, Vision};
use tactus_pixels::{DecodeError, Resample, Size, decode};
use tactus_types::{CameraFrame, Encoding};

use crate::{
    error::VlaError,
    letterbox::Letterbox,
    patch::{Grid, Patcher},
    resize::seen_size,
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
                Box::new(Resample::bicubic(from, to, processor)),
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
    /// What it took to decode and resize `frame`, where that is done already.
    fn prepared(&self, frame: &CameraFrame) -> Option<ImageTimes> {
        let same = |(ready, _): &&(CameraFrame, ImageTimes)| {
            ready.seq == frame.seq
                && ready.captured_at == frame.captured_at
                && Arc::ptr_eq(&ready.data, &frame.data)
        };
        self.ready.as_ref().filter(same).map(|(_, times)| *times)
    }

    /// Decodes and resizes `frame`, unless that is done already.
    fn prepare(&mut self, frame: &CameraFrame) -> Result<ImageTimes, DecodeError> {
        if let Some(times) = self.prepared(frame) {
            return Ok(times);
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

    /// All of it; `rows` are the camera's.
    fn run(
        &mut self,
        patcher: &Patcher,
        frame: &CameraFrame,
        rows: &mut [f32],
    ) -> Result<ImageTimes, DecodeError> {
        let mut times = self.prepare(frame)?;
        let started = Instant::now();
        if !self.seen.cut(patcher, self.grid, rows) {
            return Err(DecodeError::Size {
                camera: self.spec.name.clone(),
                what: "patches",
                expected: format!("{} patches", self.grid.patches()),
                actual: format!("{} numbers", rows.len()),
            });
        }
        times.patch += started.elapsed();
        Ok(times)
    }
}

/// Bytes of a picture that is worth a thread, a JPEG's counted twice, since it is decoded too. To start a thread takes some
/// 0.05 ms, and so many bytes a quarter of a millisecond.
const WORTH_A_THREAD: usize = 300_000;

/// One camera's part of a chunk.
struct Job<'a> {
    camera: &'a mut CameraPath,
    frame: &'a CameraFrame,
    rows: &'a mut [f32],
}

impl Job<'_> {
    /// Whether it is worth a thread of its own.
    fn is_large(&self) -> bool {
        let times = match self.frame.encoding {
            Encoding::Rgb8 => 1,
            Encoding::Jpeg => 2,
        };
        times * self.camera.from.rgb_len() >= WORTH_A_THREAD
            && self.camera.prepared(self.frame).is_none()
    }
}

/// Runs `jobs` on this thread and others, `threads` in all: each takes the next one when it is done.
fn run_all(
    mut jobs: Vec<Job<'_>>,
    threads: usize,
    patcher: &Patcher,
) -> Result<ImageTimes, DecodeError> {
    let mut ahead = ImageTimes::default();
    for job in &jobs {
        ahead += job.camera.prepared(job.frame).unwrap_or_default();
    }
    // The last is taken first.
    jobs.sort_by_key(Job::is_large);
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        let mut sum = ImageTimes::default();
        while let Some(job) = next() {
            sum += job.camera.run(patcher, job.frame, job.rows)?;
        }
        Ok(sum)
    };
    if threads < 2 {
        return work();
    }
    let started = Instant::now();
    let mut sum = ImageTimes::default();
    std::thread::scope(|scope| {
        let thread = |_| {
            let thread = std::thread::Builder::new().name("pictures".into());
            // Where there is no thread to be had, this one does its part.
            thread.spawn_scoped(scope, work).ok()
        };
        let others: Vec<_> = (1..threads).filter_map(thread).collect();
        sum += work()?;
        for other in others {
            sum += other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok::<_, DecodeError>(())
    })?;
    let mut times = sum.less(ahead).within(started.elapsed());
    times += ahead;
    Ok(times)
}

/// Preprocessing of a bundle's cameras.
pub struct Images {
    cameras: Vec<CameraPath>,
    patcher: Patcher,
    row_len: usize,
    threads: usize,
}

/// Time that preprocessing of all frames took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageTimes {
    /// JPEG to pixels.
    pub decode: Duration,
    /// Pixels to patches.
    pub patch: Duration,
}

impl std::ops::AddAssign for ImageTimes {
    fn add_assign(&mut self, other: Self) {
        self.decode += other.decode;
        self.patch += other.patch;
    }
}

impl ImageTimes {
    fn less(self, other: Self) -> Self {
        Self {
            decode: self.decode.saturating_sub(other.decode),
            patch: self.patch.saturating_sub(other.patch),
        }
    }

    /// As shares of `whole`, for what was done side by side.
    fn within(self, whole: Duration) -> Self {
        let sum = (self.decode + self.patch).as_secs_f64();
        let share = match sum > 0.0 {
            true => self.decode.as_secs_f64() / sum,
            false => 0.0,
        };
        let decode = whole.mul_f64(share);
        Self {
            decode,
            // Rounding may make the share a nanosecond more than the whole.
            patch: whole.saturating_sub(decode),
        }
    }
}

impl Images {
    /// Preprocessing as `manifest` declares it, on at most `threads` threads.
    ///
    /// # Errors
    /// [`VlaError::ImageSize`] when a camera's images cannot be resized to a size the policy takes.
    pub fn new(manifest: &Manifest, threads: usize) -> Result<Self, VlaError> {
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
            threads,
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
    /// those prepared ahead included; of frames made ready side by side, what it took all of them.
    ///
    /// # Errors
    /// [`DecodeError`] for a frame that is not its camera's.
    pub fn run(
        &mut self,
        frames: &[CameraFrame],
        pixel_values: &mut [f32],
    ) -> Result<ImageTimes, DecodeError> {
        let mut rest = pixel_values;
        let mut jobs = Vec::with_capacity(frames.len());
        for (camera, frame) in self.cameras.iter_mut().zip(frames) {
            let length = (camera.grid.patches() * self.row_len).min(rest.len());
            let (rows, others) = std::mem::take(&mut rest).split_at_mut(length);
            rest = others;
            jobs.push(Job {
                camera,
                frame,
                rows,
            });
        }
        let large = jobs.iter().filter(|job| job.is_large()).count();
        run_all(jobs, self.threads.min(large), &self.patcher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_side_by_side_takes_its_whole_time_once() {
        let ms = Duration::from_millis;
        let times = |decode, patch| ImageTimes {
            decode: ms(decode),
            patch: ms(patch),
        };
        assert_eq!(times(6, 2).within(ms(4)), times(3, 1));
        // Raw pictures are not decoded.
        assert_eq!(times(0, 2).within(ms(4)), times(0, 4));
        assert_eq!(times(0, 0).within(ms(0)), times(0, 0));
        assert_eq!(times(5, 2).less(times(6, 1)), times(0, 1));
        for nanos in 0..1000 {
            let whole = Duration::from_nanos(nanos);
            let within = times(7, 3).within(whole);
            assert_eq!(within.decode + within.patch, whole);
        }
    }
}
