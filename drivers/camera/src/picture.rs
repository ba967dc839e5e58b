//! Pixels, where they have to be touched: decoded, cut, turned, encoded. Straightening is [`crate::lens`]'s.

use jpeg_encoder::{ColorType, Encoder};
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use crate::CameraError;
use crate::spec::{Crop, Rotation};

/// A picture: `height * width * 3` bytes, row-major, red first, 0..=255.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The bytes.
    pub rgb: Vec<u8>,
}

fn error(reason: impl std::fmt::Display) -> CameraError {
    CameraError::Image {
        reason: reason.to_string(),
    }
}

/// The picture in a JPEG file.
///
/// # Errors
/// [`CameraError::Image`] when it is not whole.
pub fn decode(jpeg: &[u8]) -> Result<Picture, CameraError> {
    // Strict: the lenient decoder fills what a cut-off file lacks with grey.
    let options = DecoderOptions::new_fast()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let rgb = decoder.decode().map_err(error)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| error("no size"))?;
    if rgb.len() != width * height * 3 {
        return Err(error("expected three colours"));
    }
    Ok(Picture {
        width: width as u32,
        height: height as u32,
        rgb,
    })
}

/// The picture in 4:2:2 `data` (Y0 U Y1 V, `stride` bytes a row), by BT.601 with Y in 16..=235 as webcams deliver it.
///
/// # Errors
/// [`CameraError::Image`] when bytes are missing or the width is odd.
pub fn of_yuyv(
    data: &[u8],
    (width, height): (u32, u32),
    stride: usize,
) -> Result<Picture, CameraError> {
    let (columns, rows) = (width as usize, height as usize);
    if columns % 2 != 0
        || stride < columns * 2
        || data.len() < stride * (rows.max(1) - 1) + columns * 2
    {
        let bytes = data.len();
        return Err(error(format_args!(
            "expected {width}x{height} in 4:2:2 with {stride} bytes a row, got {bytes} bytes"
        )));
    }
    let mut rgb = Vec::with_capacity(columns * rows * 3);
    for row in data.chunks(stride).take(rows) {
        for pair in row.chunks_exact(4).take(columns / 2) {
            let (u, v) = (i32::from(pair[1]) - 128, i32::from(pair[3]) - 128);
            for y in [pair[0], pair[2]] {
                // 8 fractional bits; the coefficients of ITU-R BT.601.
                let y = 298 * (i32::from(y) - 16) + 128;
                let byte = |value: i32| (value >> 8).clamp(0, 255) as u8;
                rgb.extend([
                    byte(y + 409 * v),
                    byte(y - 100 * u - 208 * v),
                    byte(y + 516 * u),
                ]);
            }
        }
    }
    Ok(Picture { width, height, rgb })
}

impl Picture {
    /// The part that `crop` keeps.
    ///
    /// # Errors
    /// [`CameraError::Image`] when it reaches beyond the picture.
    pub fn cropped(&self, crop: Crop) -> Result<Self, CameraError> {
        let Crop {
            x,
            y,
            width,
            height,
        } = crop;
        if x.saturating_add(width) > self.width || y.saturating_add(height) > self.height {
            return Err(error(format_args!(
                "crop {width}x{height} at {x},{y} reaches beyond {}x{}",
                self.width, self.height
            )));
        }
        let row = |r: u32| {
            let start = (r as usize * self.width as usize + x as usize) * 3;
            &self.rgb[start..start + width as usize * 3]
        };
        let rgb = (y..y + height).flat_map(row).copied().collect();
        Ok(Self { width, height, rgb })
    }

    /// The picture turned clockwise.
    pub fn turned(self, by: Rotation) -> Self {
        let (w, h) = (self.width as usize, self.height as usize);
        let quarter = match by {
            Rotation::None => return self,
            Rotation::Half => {
                let rgb = self.rgb.chunks_exact(3).rev().flatten().copied().collect();
                return Self { rgb, ..self };
            }
            Rotation::Quarter => true,
            Rotation::ThreeQuarters => false,
        };
        let mut rgb = Vec::with_capacity(self.rgb.len());
        // Row r of the new picture is column r of the old one, from below; or the last but r, from above.
        for r in 0..w {
            for c in 0..h {
                let (x, y) = if quarter {
                    (r, h - 1 - c)
                } else {
                    (w - 1 - r, c)
                };
                let at = (y * w + x) * 3;
                rgb.extend_from_slice(&self.rgb[at..at + 3]);
            }
        }
        Self {
            width: self.height,
            height: self.width,
            rgb,
        }
    }
}

/// `picture` as a JPEG file of `quality` 1..=100.
///
/// # Errors
/// [`CameraError::Image`] when it is larger than JPEG allows.
pub fn encode(picture: &Picture, quality: u8) -> Result<Vec<u8>, CameraError> {
    let side = |pixels: u32| u16::try_from(pixels).map_err(error);
    let mut file = Vec::with_capacity(picture.rgb.len() / 8);
    Encoder::new(&mut file, quality)
        .encode(
            &picture.rgb,
            side(picture.width)?,
            side(picture.height)?,
            ColorType::Rgb,
        )
        .map_err(error)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg::tests::pattern;

    /// Two rows of three pixels whose red bytes are 1 to 6.
    fn six() -> Picture {
        let rgb = (1..=6).flat_map(|red| [red, 0, 0]).collect();
        Picture {
            width: 3,
            height: 2,
            rgb,
        }
    }

    fn reds(picture: &Picture) -> Vec<u8> {
        picture.rgb.iter().step_by(3).copied().collect()
    }

    #[test]
    fn turning_is_clockwise() {
        let quarter = six().turned(Rotation::Quarter);
        assert_eq!((quarter.width, quarter.height), (2, 3));
        assert_eq!(reds(&quarter), [4, 1, 5, 2, 6, 3]);
        assert_eq!(reds(&six().turned(Rotation::Half)), [6, 5, 4, 3, 2, 1]);
        assert_eq!(
            reds(&six().turned(Rotation::ThreeQuarters)),
            [3, 6, 2, 5, 1, 4]
        );
        let back = quarter.turned(Rotation::ThreeQuarters);
        assert_eq!(back, six());
    }

    #[test]
    fn a_crop_keeps_what_it_says() {
        let part = |x, y, width, height| {
            six().cropped(Crop {
                x,
                y,
                width,
                height,
            })
        };
        assert_eq!(reds(&part(1, 0, 2, 2).expect("inside")), [2, 3, 5, 6]);
        assert_eq!(reds(&part(0, 1, 1, 1).expect("inside")), [4]);
        for (x, y, w, h) in [(2, 0, 2, 1), (0, 1, 1, 2), (u32::MAX, 0, 1, 1)] {
            assert!(part(x, y, w, h).is_err());
        }
    }

    #[test]
    fn colours_of_4_2_2_are_those_of_bt_601() {
        // Y, U, V of ITU-R BT.601 with 8 bits: white, black, red, green, blue at full saturation.
        for (yuv, rgb) in [
            ([235, 128, 128], [255, 255, 255]),
            ([16, 128, 128], [0, 0, 0]),
            ([81, 90, 240], [255, 0, 0]),
            ([145, 54, 34], [0, 255, 0]),
            ([41, 240, 110], [0, 0, 255]),
        ] {
            let [y, u, v] = yuv;
            let data = [y, u, y, v, 9, 9];
            let picture = of_yuyv(&data, (2, 1), 6).expect("whole");
            for pixel in picture.rgb.chunks(3) {
                for (is, wanted) in pixel.iter().zip(rgb) {
                    assert!(is.abs_diff(wanted) <= 2, "{yuv:?}: {pixel:?}");
                }
            }
        }
        assert!(of_yuyv(&[0; 7], (2, 2), 4).is_err(), "a byte is missing");
        assert!(of_yuyv(&[0; 64], (3, 1), 8).is_err(), "odd");
        assert!(of_yuyv(&[0; 64], (4, 1), 4).is_err(), "rows overlap");
    }

    #[test]
    fn a_picture_survives_its_file() {
        let picture = pattern(64, 48, 0);
        let again = decode(&encode(&picture, 100).expect("encoded")).expect("decoded");
        let off = picture
            .rgb
            .iter()
            .zip(&again.rgb)
            .map(|(a, b)| u32::from(a.abs_diff(*b)));
        let mean = f64::from(off.sum::<u32>()) / picture.rgb.len() as f64;
        assert!(mean < 3.0, "{mean}");
    }
}
