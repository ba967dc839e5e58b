//! A camera's frame as a server wants it: decoded, and resized as openpi-client's `image_tools.resize_with_pad` does.
//!
//! Decides nothing but that: bilinear with antialiasing as PIL resamples, the sides' ratio kept, black around. A frame that is
//! cut off or larger than [`MAX_SIDE`] is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tactus_bundle::{CameraSpec, Processor};
use tactus_pixels::{DecodeError, Resample, Size, decode};
use tactus_types::{CameraFrame, Encoding, Time};

/// Longest side of a frame, pixels.
pub const MAX_SIDE: usize = 4096;

/// Which frame was made ready.
#[derive(Debug, Clone, PartialEq)]
struct Which {
    seq: u64,
    captured_at: Time,
    data: Arc<[u8]>,
}

/// Pictures of one size into the middle of a black picture of another.
#[derive(Debug)]
struct Padded {
    from: Size,
    inner: Size,
    resample: Resample,
    scaled: Vec<u8>,
}

/// One camera's pixels, in buffers that are used again.
#[derive(Debug, Default)]
pub struct Pixels {
    /// Size wanted; `None` as they come.
    size: Option<Size>,
    /// What `rgb` was made of, and what that took.
    ready: Option<(Which, Duration)>,
    decoded: Vec<u8>,
    padded: Option<Padded>,
    rgb: Vec<u8>,
    shape: (usize, usize),
}

impl Pixels {
    /// Pictures of `size`, width and height; `None` leaves them as they are.
    pub fn new(size: Option<(usize, usize)>) -> Self {
        Self {
            size: size.map(|(width, height)| Size { width, height }),
            ..Self::default()
        }
    }

    /// Decodes and resizes `frame`, unless that is done; what it took.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not what it says it is.
    pub fn prepare(&mut self, frame: &CameraFrame) -> Result<Duration, DecodeError> {
        let same = |(which, _): &&(Which, Duration)| {
            which.seq == frame.seq
                && which.captured_at == frame.captured_at
                && Arc::ptr_eq(&which.data, &frame.data)
        };
        if let Some((_, took)) = self.ready.as_ref().filter(same) {
            return Ok(*took);
        }
        self.ready = None;
        let started = Instant::now();
        let from = size_of(frame)?;
        if frame.encoding == Encoding::Jpeg {
            self.decoded.resize(from.rgb_len(), 0);
        }
        let camera = CameraSpec {
            name: frame.camera.to_string(),
            width: from.width,
            height: from.height,
        };
        let rgb = decode(frame, &camera, &mut self.decoded)?;
        let to = self.size.unwrap_or(from);
        self.shape = (to.width, to.height);
        self.rgb.clear();
        if from == to {
            self.rgb.extend_from_slice(rgb);
        } else {
            let padded = match self.padded.take() {
                Some(padded) if padded.from == from => padded,
                _ => Padded::new(from, to),
            };
            self.padded.insert(padded).run(rgb, to, &mut self.rgb);
        }
        let which = Which {
            seq: frame.seq,
            captured_at: frame.captured_at,
            data: Arc::clone(&frame.data),
        };
        let took = started.elapsed();
        self.ready = Some((which, took));
        Ok(took)
    }

    /// The pixels that were prepared last, row by row, red first.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Their width and height.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }
}

/// What size `frame` says that it has.
fn size_of(frame: &CameraFrame) -> Result<Size, DecodeError> {
    let size = Size {
        width: frame.width as usize,
        height: frame.height as usize,
    };
    let legal = 1..=MAX_SIDE;
    match legal.contains(&size.width) && legal.contains(&size.height) {
        true => Ok(size),
        false => Err(DecodeError::Size {
            camera: frame.camera.to_string(),
            what: "frame size",
            expected: format!("sides of 1 to {MAX_SIDE}"),
            actual: size.to_string(),
        }),
    }
}

impl Padded {
    fn new(from: Size, to: Size) -> Self {
        let across = from.width as f64 / to.width as f64;
        let ratio = across.max(from.height as f64 / to.height as f64);
        // Cut off, as openpi-client does.
        let inner = |side: usize, most: usize| ((side as f64 / ratio) as usize).clamp(1, most);
        let inner = Size {
            width: inner(from.width, to.width),
            height: inner(from.height, to.height),
        };
        Self {
            resample: Resample::bilinear(from, inner, Processor::Pil),
            scaled: vec![0; inner.rgb_len()],
            from,
            inner,
        }
    }

    /// Fills `out`, which is empty, with a picture of `to`.
    fn run(&mut self, rgb: &[u8], to: Size, out: &mut Vec<u8>) {
        self.resample.run(rgb, &mut self.scaled);
        out.resize(to.rgb_len(), 0);
        let left = (to.width - self.inner.width) / 2;
        let top = (to.height - self.inner.height) / 2;
        let rows = out.chunks_exact_mut(to.width * 3).skip(top);
        for (row, line) in rows.zip(self.scaled.chunks_exact(self.inner.width * 3)) {
            row[left * 3..][..line.len()].copy_from_slice(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: usize, height: usize, encoding: Encoding, data: Vec<u8>) -> CameraFrame {
        CameraFrame {
            camera: "scene".into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 1,
            width: width as u32,
            height: height as u32,
            encoding,
            data: data.into(),
        }
    }

    #[test]
    fn a_wide_picture_lies_between_black_bars() {
        let mut pixels = Pixels::new(Some((32, 32)));
        let white = frame(64, 32, Encoding::Rgb8, vec![255; 64 * 32 * 3]);
        pixels.prepare(&white).expect("resizes");
        assert_eq!(pixels.shape(), (32, 32));
        let row = |y: usize| &pixels.rgb()[y * 96..(y + 1) * 96];
        for y in 0..32 {
            let expected = if (8..24).contains(&y) { 255 } else { 0 };
            assert!(row(y).iter().all(|v| *v == expected), "row {y}");
        }
    }

    /// The rows of `openpi_client.image_tools.resize_with_pad(picture, 8, 7)` that are not black, from the third on, of the
    /// picture `[(7 x^2 + 13 y + 50 c) % 256]` of 20 x 13 pixels.
    const BY_PIL: [u8; 84] = [
        35, 85, 135, 114, 150, 154, 128, 134, 126, 144, 136, 121, 142, 138, 113, 79, 108, 139, 160,
        40, 90, 73, 123, 173, 145, 150, 135, 126, 118, 143, 140, 109, 148, 133, 119, 123, 97, 132,
        153, 42, 78, 128, 115, 165, 195, 149, 143, 117, 115, 147, 118, 105, 146, 110, 126, 129,
        108, 128, 155, 145, 70, 120, 170, 153, 188, 137, 157, 107, 101, 144, 121, 144, 139, 129,
        111, 131, 106, 140, 157, 157, 111, 108, 158, 202,
    ];

    #[test]
    fn pictures_are_resized_as_openpi_client_resizes_them() {
        let value = |i: usize| {
            let (x, y, c) = (i / 3 % 20, i / 60, i % 3);
            ((7 * x * x + 13 * y + 50 * c) % 256) as u8
        };
        let mut pixels = Pixels::new(Some((7, 8)));
        let picture = frame(
            20,
            13,
            Encoding::Rgb8,
            (0..20 * 13 * 3).map(value).collect(),
        );
        pixels.prepare(&picture).expect("resizes");
        let (above, rest) = pixels.rgb().split_at(2 * 7 * 3);
        let (inner, below) = rest.split_at(BY_PIL.len());
        assert!(above.iter().chain(below).all(|v| *v == 0), "black around");
        assert_eq!(inner, BY_PIL);
    }

    #[test]
    fn a_frame_that_is_not_what_it_says_is_refused() {
        let mut pixels = Pixels::new(None);
        let short = frame(4, 4, Encoding::Rgb8, vec![0; 47]);
        assert_eq!(
            pixels.prepare(&short).map_err(|e| e.to_string()),
            Err("camera `scene`: bytes of a raw frame: expected 48, got 47".into())
        );
        let huge = frame(100_000, 4, Encoding::Rgb8, vec![]);
        assert!(pixels.prepare(&huge).is_err());
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 90)
            .encode(&[90; 16 * 16 * 3], 16, 16, jpeg_encoder::ColorType::Rgb)
            .expect("encodes");
        let whole = frame(16, 16, Encoding::Jpeg, jpeg.clone());
        pixels.prepare(&whole).expect("decodes");
        assert_eq!((pixels.shape(), pixels.rgb().len()), ((16, 16), 768));
        let other = frame(32, 16, Encoding::Jpeg, jpeg.clone());
        assert!(pixels.prepare(&other).is_err());
        let half = frame(16, 16, Encoding::Jpeg, jpeg[..jpeg.len() / 2].to_vec());
        assert!(pixels.prepare(&half).is_err());
    }
}
