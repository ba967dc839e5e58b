//! A camera's frame as a server wants it: decoded, and resized as openpi-client's `image_tools.resize_with_pad` does.
//!
//! Decides nothing but that: bilinear with antialiasing as PIL resamples, the sides' ratio kept, black around. A frame that is
//! cut off or larger than [`MAX_SIDE`] is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use tactus_types::{CameraFrame, Encoding, Time};
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

/// Longest side of a frame, pixels.
pub const MAX_SIDE: usize = 4096;

/// Why a frame has no pixels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("camera `{camera}`: expected {expected}, got {actual}")]
pub struct PixelsError {
    /// Name of the camera.
    pub camera: String,
    /// What the frame should be.
    pub expected: String,
    /// What it is.
    pub actual: String,
}

/// Which frame was made ready.
#[derive(Debug, Clone, PartialEq)]
struct Which {
    seq: u64,
    captured_at: Time,
    data: Arc<[u8]>,
}

/// One camera's pixels, in buffers that are used again.
#[derive(Debug, Default)]
pub struct Pixels {
    /// Width and height wanted; `None` as they come.
    size: Option<(usize, usize)>,
    /// What `rgb` was made of, and what that took.
    ready: Option<(Which, Duration)>,
    decoded: Vec<u8>,
    scaled: Vec<u8>,
    rgb: Vec<u8>,
    shape: (usize, usize),
    resizer: Resizer,
}

impl Pixels {
    /// Pictures of `size`, width and height; `None` leaves them as they are.
    pub fn new(size: Option<(usize, usize)>) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Decodes and resizes `frame`, unless that is done; what it took.
    ///
    /// # Errors
    /// [`PixelsError`] when the frame is not what it says it is.
    pub fn prepare(&mut self, frame: &CameraFrame) -> Result<Duration, PixelsError> {
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
        let (width, height) = self.decode(frame)?;
        let from: &[u8] = match frame.encoding {
            Encoding::Jpeg => &self.decoded,
            Encoding::Rgb8 => &frame.data,
        };
        self.shape = self.size.unwrap_or((width, height));
        if self.shape == (width, height) {
            self.rgb.clear();
            self.rgb.extend_from_slice(from);
        } else {
            let resized = pad(
                &mut self.resizer,
                from,
                (width, height),
                self.shape,
                &mut self.scaled,
                &mut self.rgb,
            );
            resized.map_err(|actual| wrong(frame, "a frame that can be resized", actual))?;
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

    /// Width and height of `frame`; a JPEG's pixels are in `decoded` then.
    fn decode(&mut self, frame: &CameraFrame) -> Result<(usize, usize), PixelsError> {
        let said = (frame.width as usize, frame.height as usize);
        let legal = |(width, height): (usize, usize)| {
            (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height)
        };
        if !legal(said) {
            let actual = format!("{}x{}", said.0, said.1);
            return Err(wrong(frame, format!("sides of 1 to {MAX_SIDE}"), actual));
        }
        let length = said.0 * said.1 * 3;
        if frame.encoding == Encoding::Rgb8 {
            return match frame.data.len() {
                actual if actual == length => Ok(said),
                actual => Err(wrong(frame, format!("{length} bytes"), actual.to_string())),
            };
        }
        let jpeg = |e: zune_jpeg::errors::DecodeErrors| wrong(frame, "a JPEG file", e.to_string());
        // Strict: the lenient decoder fills what a cut-off file lacks with grey.
        let options = DecoderOptions::new_fast()
            .jpeg_set_out_colorspace(ColorSpace::RGB)
            .set_strict_mode(true);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&frame.data[..]), options);
        decoder.decode_headers().map_err(jpeg)?;
        let actual = decoder
            .info()
            .map(|info| (usize::from(info.width), usize::from(info.height)));
        if actual != Some(said) || decoder.output_buffer_size() != Some(length) {
            let expected = format!("a JPEG file of {}x{} in colour", said.0, said.1);
            return Err(wrong(
                frame,
                expected,
                format!("{:?}", actual.unwrap_or_default()),
            ));
        }
        self.decoded.resize(length, 0);
        decoder.decode_into(&mut self.decoded).map_err(jpeg)?;
        Ok(said)
    }
}

fn wrong(
    frame: &CameraFrame,
    expected: impl Into<String>,
    actual: impl Into<String>,
) -> PixelsError {
    PixelsError {
        camera: frame.camera.to_string(),
        expected: expected.into(),
        actual: actual.into(),
    }
}

/// `from` resized into the middle of a black picture of `shape`.
fn pad(
    resizer: &mut Resizer,
    from: &[u8],
    (from_width, from_height): (usize, usize),
    (width, height): (usize, usize),
    scaled: &mut Vec<u8>,
    to: &mut Vec<u8>,
) -> Result<(), String> {
    let ratio = (from_width as f64 / width as f64).max(from_height as f64 / height as f64);
    let inner = |side: usize| ((side as f64 / ratio) as usize).max(1);
    let (inner_width, inner_height) = (inner(from_width), inner(from_height));
    scaled.resize(inner_width * inner_height * 3, 0);
    {
        let (w, h) = (from_width as u32, from_height as u32);
        let source = ImageRef::new(w, h, from, PixelType::U8x3).map_err(|e| e.to_string())?;
        let (w, h) = (inner_width as u32, inner_height as u32);
        let mut target =
            Image::from_slice_u8(w, h, scaled, PixelType::U8x3).map_err(|e| e.to_string())?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        resizer
            .resize(&source, &mut target, &options)
            .map_err(|e| e.to_string())?;
    }
    to.clear();
    to.resize(width * height * 3, 0);
    let (left, top) = (
        width.saturating_sub(inner_width) / 2,
        height.saturating_sub(inner_height) / 2,
    );
    let rows = to.chunks_exact_mut(width * 3).skip(top);
    for (row, line) in rows.zip(scaled.chunks_exact(inner_width * 3)) {
        if let Some(row) = row
            .get_mut(left * 3..)
            .and_then(|row| row.get_mut(..line.len()))
        {
            row.copy_from_slice(line);
        }
    }
    Ok(())
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
        let most = inner.iter().zip(BY_PIL).map(|(a, b)| a.abs_diff(b)).max();
        assert!(most <= Some(1), "largest difference {most:?}");
    }

    #[test]
    fn a_frame_that_is_not_what_it_says_is_refused() {
        let mut pixels = Pixels::new(None);
        let short = frame(4, 4, Encoding::Rgb8, vec![0; 47]);
        assert_eq!(
            pixels.prepare(&short).map_err(|e| e.to_string()),
            Err("camera `scene`: expected 48 bytes, got 47".into())
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
