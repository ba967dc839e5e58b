//! JPEG to pixels. A frame that is not exactly what its camera promises is refused: a robot does not act on
//! half an image, nor on one of another size.

use std::borrow::Cow;

use tactus_bundle::CameraSpec;
use tactus_types::{CameraFrame, Encoding};
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

/// Why a frame has no pixels.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The image is not the camera's.
    #[error("camera `{camera}`: {what}: expected {expected}, got {actual}")]
    Size {
        /// Name of the camera.
        camera: String,
        /// Which size.
        what: &'static str,
        /// What the camera promises.
        expected: String,
        /// Size of the image.
        actual: String,
    },
    /// The bytes are not a complete JPEG file.
    #[error("camera `{camera}`: JPEG: {reason}")]
    Jpeg {
        /// Name of the camera.
        camera: String,
        /// What the decoder said.
        reason: String,
    },
}

/// Width and height of a JPEG file, pixels.
///
/// # Errors
/// [`DecodeError::Jpeg`] when it is none.
pub fn jpeg_size(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    let error = |reason: String| DecodeError::Jpeg {
        camera: "file".into(),
        reason,
    };
    let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
    decoder.decode_headers().map_err(|e| error(e.to_string()))?;
    let size = decoder.dimensions();
    size.ok_or_else(|| error("it has no size".into()))
}

/// Pixels of `frame`: `height * width * 3` bytes, row-major, red first. `scratch` has that length and holds the pixels
/// of a JPEG; raw frames are used where they lie.
///
/// # Errors
/// [`DecodeError`] when the frame's size is not `camera`'s or its bytes cannot be decoded completely.
pub fn decode<'a>(
    frame: &'a CameraFrame,
    camera: &CameraSpec,
    scratch: &'a mut [u8],
) -> Result<&'a [u8], DecodeError> {
    let size = |what, expected: String, actual: String| DecodeError::Size {
        camera: camera.name.clone(),
        what,
        expected,
        actual,
    };
    let (width, height) = (camera.width, camera.height);
    let expected = || format!("{width}x{height}");
    if (frame.width as usize, frame.height as usize) != (width, height) {
        let actual = format!("{}x{}", frame.width, frame.height);
        return Err(size("frame size", expected(), actual));
    }
    let length = width * height * 3;
    match frame.encoding {
        Encoding::Rgb8 if frame.data.len() == length => Ok(&frame.data),
        Encoding::Rgb8 => Err(size(
            "bytes of a raw frame",
            length.to_string(),
            frame.data.len().to_string(),
        )),
        Encoding::Jpeg => {
            let jpeg = |reason: Cow<'static, str>| DecodeError::Jpeg {
                camera: camera.name.clone(),
                reason: reason.into_owned(),
            };
            // Strict: the lenient decoder fills what a cut-off file lacks with grey.
            let options = DecoderOptions::new_fast()
                .jpeg_set_out_colorspace(ColorSpace::RGB)
                .set_strict_mode(true);
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&frame.data[..]), options);
            decoder
                .decode_headers()
                .map_err(|error| jpeg(error.to_string().into()))?;
            let actual = decoder
                .info()
                .map(|i| (usize::from(i.width), usize::from(i.height)));
            if actual != Some((width, height)) {
                let (w, h) = actual.unwrap_or_default();
                return Err(size("JPEG size", expected(), format!("{w}x{h}")));
            }
            if decoder.output_buffer_size() != Some(length) || scratch.len() != length {
                return Err(jpeg("expected three colours".into()));
            }
            decoder
                .decode_into(scratch)
                .map_err(|error| jpeg(error.to_string().into()))?;
            Ok(scratch)
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::Time;

    use super::*;

    const W: usize = 32;
    const H: usize = 16;

    fn camera() -> CameraSpec {
        CameraSpec {
            name: "scene".into(),
            width: W,
            height: H,
        }
    }

    fn frame(encoding: Encoding, data: &[u8]) -> CameraFrame {
        CameraFrame {
            camera: "scene".into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 0,
            width: W as u32,
            height: H as u32,
            encoding,
            data: data.into(),
        }
    }

    /// Red rises to the right, green downwards, blue stays.
    fn ramp(width: usize, height: usize) -> Vec<u8> {
        let pixel = |i: usize| [(i % width * 7) as u8, (i / width * 12) as u8, 90];
        (0..width * height).flat_map(pixel).collect()
    }

    fn jpeg(width: usize, height: usize) -> Vec<u8> {
        let mut out = Vec::new();
        jpeg_encoder::Encoder::new(&mut out, 95)
            .encode(
                &ramp(width, height),
                width as u16,
                height as u16,
                jpeg_encoder::ColorType::Rgb,
            )
            .expect("encodes");
        out
    }

    fn outcome(frame: &CameraFrame) -> Result<Vec<u8>, String> {
        let mut scratch = vec![0; W * H * 3];
        decode(frame, &camera(), &mut scratch)
            .map(<[u8]>::to_vec)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_jpeg_comes_back_as_the_pixels_it_was_made_of() {
        let pixels = outcome(&frame(Encoding::Jpeg, &jpeg(W, H))).expect("decodes");
        let error = pixels
            .iter()
            .zip(ramp(W, H))
            .map(|(a, b)| a.abs_diff(b))
            .max();
        assert!(error <= Some(8), "largest error {error:?}");
    }

    #[test]
    fn a_raw_frame_is_used_as_it_is() {
        assert_eq!(outcome(&frame(Encoding::Rgb8, &ramp(W, H))), Ok(ramp(W, H)));
    }

    #[test]
    fn a_cut_off_jpeg_is_refused_at_every_length() {
        let whole = jpeg(W, H);
        for length in [0, 1, 2, 20, whole.len() / 2, whole.len() - 30] {
            let error = outcome(&frame(Encoding::Jpeg, &whole[..length])).expect_err("cut off");
            assert!(
                error.starts_with("camera `scene`: JPEG: "),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn another_size_is_refused_wherever_it_is_said() {
        let mut declared = frame(Encoding::Jpeg, &jpeg(W, H));
        declared.width = 640;
        for (frame, says) in [
            (declared, "frame size: expected 32x16, got 640x16"),
            (
                frame(Encoding::Jpeg, &jpeg(16, 16)),
                "JPEG size: expected 32x16, got 16x16",
            ),
            (
                frame(Encoding::Rgb8, &[0; 7]),
                "bytes of a raw frame: expected 1536, got 7",
            ),
        ] {
            assert_eq!(outcome(&frame), Err(format!("camera `scene`: {says}")));
        }
    }
}
