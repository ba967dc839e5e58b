//! A camera's frame to the numbers of a graph's input: decoded, brought to its size, scaled, laid out.
//!
//! Pixels stay bytes until the last step, where a table of 256 numbers per colour has what each of them becomes.

use std::time::{Duration, Instant};

use tactus_bundle::{
    CameraSpec, Processor,
    direct::manifest::{Colours, Filter, Fit, Picture},
};
use tactus_pixels::{DecodeError, Resample, Size, decode};
use tactus_types::CameraFrame;

use crate::bilinear::Bilinear;

/// What brings pixels to another size.
#[derive(Debug, Clone)]
enum Scaler {
    Same,
    Bilinear(Box<Bilinear>),
    Bicubic(Box<Resample>),
}

/// Part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    left: usize,
    top: usize,
    size: Size,
}

/// The way of one camera's frames.
#[derive(Debug, Clone)]
pub struct PicturePath {
    spec: CameraSpec,
    picture: Picture,
    /// What of the camera's picture counts.
    seen: Part,
    /// Where it lies in the graph's.
    shown: Part,
    scaler: Scaler,
    decoded: Vec<u8>,
    cut: Vec<u8>,
    scaled: Vec<u8>,
    /// What each byte becomes, per colour.
    numbers: Box<[[f32; 256]; 3]>,
}

/// Time that a frame took.
#[derive(Debug, Clone, Copy, Default)]
pub struct PictureTimes {
    /// JPEG to pixels.
    pub decode: Duration,
    /// Pixels to the graph's size.
    pub fit: Duration,
}

/// What of a picture of size `from` counts, and where that lies in one of size `to`.
fn parts(from: Size, to: Size, fit: Fit) -> (Part, Part) {
    let whole = |size| Part {
        left: 0,
        top: 0,
        size,
    };
    let centred = |size: Size, of: Size| Part {
        left: (of.width - size.width) / 2,
        top: (of.height - size.height) / 2,
        size,
    };
    let [across, down] = [
        from.width as f64 / to.width as f64,
        from.height as f64 / to.height as f64,
    ];
    match fit {
        Fit::Exact | Fit::Stretch => (whole(from), whole(to)),
        Fit::Pad => {
            let ratio = across.max(down);
            // Truncated, as openpi's and LeRobot's `resize_with_pad` do.
            let side = |from: usize, to: usize| ((from as f64 / ratio) as usize).clamp(1, to);
            let size = Size {
                width: side(from.width, to.width),
                height: side(from.height, to.height),
            };
            (whole(from), centred(size, to))
        }
        Fit::Crop => {
            let ratio = across.min(down);
            let side =
                |from: usize, to: usize| ((to as f64 * ratio).round() as usize).clamp(1, from);
            let size = Size {
                width: side(from.width, to.width),
                height: side(from.height, to.height),
            };
            (centred(size, from), whole(to))
        }
    }
}

impl PicturePath {
    /// The way of the frames of `spec`.
    pub fn new(spec: &CameraSpec, picture: &Picture) -> Self {
        let from = Size {
            width: spec.width,
            height: spec.height,
        };
        let to = Size {
            width: picture.width,
            height: picture.height,
        };
        let (seen, shown) = parts(from, to, picture.fit);
        let (a, b) = (seen.size, shown.size);
        let bicubic = |by| Scaler::Bicubic(Box::new(Resample::bicubic(a, b, by)));
        let bilinear = |antialias| Scaler::Bilinear(Box::new(Bilinear::new(a, b, antialias)));
        let scaler = match picture.filter {
            _ if a == b => Scaler::Same,
            Filter::Bilinear => bilinear(false),
            Filter::BilinearAntialias => bilinear(true),
            Filter::BicubicPil => bicubic(Processor::Pil),
            Filter::BicubicTorchvision => bicubic(Processor::Torchvision),
        };
        let number = |colour: usize, byte: usize| {
            let value = byte as f64 / 255.0 * picture.top;
            ((value - picture.mean[colour]) / picture.std[colour]) as f32
        };
        let of_colour = |colour| std::array::from_fn(|byte| number(colour, byte));
        Self {
            spec: spec.clone(),
            picture: picture.clone(),
            seen,
            shown,
            scaler,
            decoded: vec![0; from.rgb_len()],
            cut: vec![0; a.rgb_len()],
            scaled: vec![0; b.rgb_len()],
            numbers: Box::new([of_colour(0), of_colour(1), of_colour(2)]),
        }
    }

    /// How the pictures are declared.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Numbers of one picture of the graph's size, at least 3.
    pub fn numbers(&self) -> usize {
        self.picture.width * self.picture.height * 3
    }

    /// Decodes `frame` and brings it to the graph's size, red first, into `out`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not this camera's.
    pub fn fit(
        &mut self,
        frame: &CameraFrame,
        out: &mut Vec<u8>,
    ) -> Result<PictureTimes, DecodeError> {
        let started = Instant::now();
        let rgb = decode(frame, &self.spec, &mut self.decoded)?;
        let decoded_at = Instant::now();
        let rgb = match self.seen.size.rgb_len() == rgb.len() {
            true => rgb,
            false => {
                copy(rgb, self.spec.width, self.seen, &mut self.cut);
                &self.cut
            }
        };
        match &mut self.scaler {
            Scaler::Same => self.scaled.copy_from_slice(rgb),
            Scaler::Bilinear(scaler) => scaler.run(rgb, &mut self.scaled),
            Scaler::Bicubic(scaler) => scaler.run(rgb, &mut self.scaled),
        }
        out.clear();
        out.resize(self.picture.width * self.picture.height * 3, 0);
        paste(&self.scaled, self.shown, self.picture.width, out);
        Ok(PictureTimes {
            decode: decoded_at - started,
            fit: decoded_at.elapsed(),
        })
    }

    /// Lays `fitted` out as numbers of the input, `[3 * width * height]`.
    pub fn write(&self, fitted: &[u8], out: &mut [f32]) {
        self.lay(fitted, out, |colour, byte| {
            self.numbers[colour][usize::from(byte)]
        });
    }

    /// As [`PicturePath::write`], as bytes.
    pub fn write_bytes(&self, fitted: &[u8], out: &mut [u8]) {
        self.lay(fitted, out, |_, byte| byte);
    }

    fn lay<T>(&self, fitted: &[u8], out: &mut [T], number: impl Fn(usize, u8) -> T) {
        let pixels = fitted.as_chunks::<3>().0;
        // Which colour, red 0, lies at each of the three places.
        let order = match self.picture.colours {
            Colours::Rgb => [0, 1, 2],
            Colours::Bgr => [2, 1, 0],
        };
        if self.picture.layout.colours_last() {
            for (out, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                for (out, colour) in out.iter_mut().zip(order) {
                    *out = number(colour, pixel[colour]);
                }
            }
        } else {
            for (plane, colour) in out.chunks_exact_mut(pixels.len().max(1)).zip(order) {
                for (out, pixel) in plane.iter_mut().zip(pixels) {
                    *out = number(colour, pixel[colour]);
                }
            }
        }
    }
}

/// Copies `part` of `rgb`, whose lines have `width` pixels.
fn copy(rgb: &[u8], width: usize, part: Part, out: &mut [u8]) {
    let lines = rgb.chunks_exact(3 * width).skip(part.top);
    let from = 3 * part.left;
    for (out, line) in out.chunks_exact_mut(3 * part.size.width).zip(lines) {
        if let Some(taken) = line.get(from..from + out.len()) {
            out.copy_from_slice(taken);
        }
    }
}

/// Puts `rgb` at `part` of `out`, whose lines have `width` pixels.
fn paste(rgb: &[u8], part: Part, width: usize, out: &mut [u8]) {
    let lines = out.chunks_exact_mut(3 * width).skip(part.top);
    let to = 3 * part.left;
    for (line, taken) in lines.zip(rgb.chunks_exact(3 * part.size.width)) {
        if let Some(place) = line.get_mut(to..to + taken.len()) {
            place.copy_from_slice(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    #[test]
    fn pad_keeps_the_ratio_and_crop_fills() {
        let part = |left, top, width, height| Part {
            left,
            top,
            size: size(width, height),
        };
        let (from, to) = (size(640, 480), size(224, 224));
        for (fit, expected) in [
            (Fit::Pad, (part(0, 0, 640, 480), part(0, 28, 224, 168))),
            (Fit::Crop, (part(80, 0, 480, 480), part(0, 0, 224, 224))),
            (Fit::Stretch, (part(0, 0, 640, 480), part(0, 0, 224, 224))),
        ] {
            assert_eq!(parts(from, to, fit), expected, "{fit:?}");
        }
    }

    #[test]
    fn what_is_cut_out_comes_back_where_it_is_pasted() {
        let rgb: Vec<u8> = (0..5 * 4 * 3).collect();
        let part = Part {
            left: 1,
            top: 2,
            size: size(3, 2),
        };
        let mut cut = vec![0; 18];
        copy(&rgb, 5, part, &mut cut);
        assert_eq!(&cut[..3], &rgb[3 * (2 * 5 + 1)..][..3]);
        let mut out = vec![0; rgb.len()];
        paste(&cut, part, 5, &mut out);
        for (i, (out, rgb)) in out.iter().zip(&rgb).enumerate() {
            let (x, y) = (i / 3 % 5, i / 15);
            let inside = (1..4).contains(&x) && (2..4).contains(&y);
            assert_eq!(*out, if inside { *rgb } else { 0 });
        }
    }
}
