//! Pixels to the size the policy sees: Qwen2-VL's `smart_resize` rule, then bicubic resampling with antialiasing.
//!
//! The reference processor resizes with PIL (`resample = 3`: Catmull-Rom, a = -0.5, its support widened when
//! shrinking). `fast_image_resize` implements the same filter. PIL filters lines first and columns second and rounds
//! to bytes in between, which clips what the filter overshoots at an edge; the crate, given both at once, filters
//! columns first, and differs by up to six grey levels there. So it is given one direction at a time, in PIL's
//! order. The golden tests hold the two within one grey level.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use tactus_bundle::Vision;

/// Width and height of an image, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl Size {
    /// Bytes of an RGB image of this size.
    pub fn rgb_len(self) -> usize {
        self.width * self.height * 3
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Largest ratio of the longer to the shorter side.
const MAX_ASPECT: usize = 200;

/// The size an image of `size` is resized to: both sides multiples of the merge unit, the area within
/// `min_pixels..=max_pixels`, the aspect ratio as near as that allows. `None` for an empty image or one longer than
/// 200 times its width.
///
/// Rounding is to the nearest multiple, *half to even*, because the reference is Python. Source: `smart_resize` of
/// Qwen2-VL's image processor.
pub fn smart_resize(size: Size, vision: &Vision) -> Option<Size> {
    let Size { width, height } = size;
    let (long, short) = (width.max(height), width.min(height));
    if short == 0 || long as f64 / short as f64 > MAX_ASPECT as f64 {
        return None;
    }
    let factor = vision.factor();
    let f = factor as f64;
    let nearest = |side: usize| (side as f64 / f).round_ties_even() as usize * factor;
    let (w, h) = (nearest(width), nearest(height));
    let area = (width * height) as f64;
    Some(if w * h > vision.max_pixels {
        let beta = (area / vision.max_pixels as f64).sqrt();
        let shrink = |side: usize| factor.max((side as f64 / beta / f).floor() as usize * factor);
        Size {
            width: shrink(width),
            height: shrink(height),
        }
    } else if w * h < vision.min_pixels {
        let beta = (vision.min_pixels as f64 / area).sqrt();
        let grow = |side: usize| (side as f64 * beta / f).ceil() as usize * factor;
        Size {
            width: grow(width),
            height: grow(height),
        }
    } else {
        Size {
            width: w,
            height: h,
        }
    })
}

/// Resizes images of one size to another; keeps its buffers between images.
pub struct Resize {
    from: Size,
    to: Size,
    resizer: Resizer,
    options: ResizeOptions,
    /// Pixels after the lines were filtered: as wide as `to`, as high as `from`.
    between: Vec<u8>,
}

impl Resize {
    /// A resize from `from` to `to`.
    pub fn new(from: Size, to: Size) -> Self {
        let filter = ResizeAlg::Convolution(FilterType::CatmullRom);
        let options = ResizeOptions::new().resize_alg(filter).use_alpha(false);
        let between = vec![0; Self::between(from, to).rgb_len()];
        Self {
            from,
            to,
            resizer: Resizer::new(),
            options,
            between,
        }
    }

    fn between(from: Size, to: Size) -> Size {
        Size {
            width: to.width,
            height: from.height,
        }
    }

    /// Resizes `rgb` into `out`, both row-major, red first, of the lengths of the two sizes. `false` when the lengths
    /// are others; `out` is then not written.
    #[must_use]
    pub fn run(&mut self, rgb: &[u8], out: &mut [u8]) -> bool {
        let Self {
            from,
            to,
            resizer,
            options,
            between,
        } = self;
        if rgb.len() != from.rgb_len() || out.len() != to.rgb_len() {
            return false;
        }
        if from == to {
            out.copy_from_slice(rgb);
            return true;
        }
        let middle = Self::between(*from, *to);
        filter(resizer, options, (rgb, *from), (between, middle))
            && filter(resizer, options, (between, middle), (out, *to))
    }
}

/// One pass; sizes that differ in one direction are filtered in that direction only.
fn filter(
    resizer: &mut Resizer,
    options: &ResizeOptions,
    (rgb, from): (&[u8], Size),
    (out, to): (&mut [u8], Size),
) -> bool {
    let side = |side: usize| u32::try_from(side).ok();
    let mut pass = || {
        let from = TypedImageRef::<U8x3>::from_buffer(side(from.width)?, side(from.height)?, rgb);
        let mut to =
            TypedImage::<U8x3>::from_buffer(side(to.width)?, side(to.height)?, out).ok()?;
        // Typed, so that only this pixel type's filters are compiled.
        resizer.resize_typed(&from.ok()?, &mut to, options).ok()
    };
    pass().is_some()
}

#[cfg(test)]
mod tests {
    use tactus_bundle::Processor;

    use super::*;

    fn vision(min_pixels: usize, max_pixels: usize) -> Vision {
        Vision {
            patch: 14,
            temporal_patch: 2,
            merge: 2,
            window: 112,
            position_table: 0,
            deepstack: 0,
            mean: [0.5; 3],
            std: [0.5; 3],
            min_pixels,
            max_pixels,
            processor: Processor::Pil,
        }
    }

    fn resized(height: usize, width: usize, vision: &Vision) -> Option<(usize, usize)> {
        smart_resize(Size { width, height }, vision).map(|s| (s.height, s.width))
    }

    #[test]
    fn the_published_sizes() {
        let qwen = vision(3136, 12_845_056);
        for (height, width, expected) in [
            (224, 224, (224, 224)),
            (256, 256, (252, 252)),
            (128, 128, (140, 140)),
            (180, 320, (168, 308)),
            (480, 640, (476, 644)),
            (720, 1280, (728, 1288)),
        ] {
            assert_eq!(
                resized(height, width, &qwen),
                Some(expected),
                "{height}x{width}"
            );
        }
        // The demo's ceiling.
        assert_eq!(resized(224, 224, &vision(3136, 12_544)), Some((112, 112)));
    }

    #[test]
    fn a_half_is_rounded_to_the_even_multiple() {
        // 70 / 28 = 2.5 -> 2, 98 / 28 = 3.5 -> 4; away from zero would make 84 and 112.
        let free = vision(1, 1_000_000);
        assert_eq!(resized(70, 98, &free), Some((56, 112)));
        // With patches of 16 (Qwen3-VL): 720 / 32 = 22.5 -> 22, 848 / 32 = 26.5 -> 26.
        let wide = Vision { patch: 16, ..free };
        assert_eq!(resized(720, 848, &wide), Some((704, 832)));
    }

    #[test]
    fn no_side_becomes_zero_and_extreme_shapes_are_refused() {
        let tiny = vision(3136, 12_544);
        // 8 / 28 rounds to 0: the area rule brings it back.
        assert_eq!(resized(8, 8, &tiny), Some((56, 56)));
        assert_eq!(resized(10, 2000, &tiny), Some((28, 812)));
        assert_eq!(resized(10, 2001, &tiny), None);
        assert_eq!(resized(0, 10, &tiny), None);
    }

    #[test]
    fn shrinking_averages_instead_of_skipping() {
        // Columns alternate black and white; without antialiasing every kept column would be black or white.
        let from = Size {
            width: 64,
            height: 8,
        };
        let to = Size {
            width: 16,
            height: 8,
        };
        let rgb: Vec<u8> = (0..64 * 8).flat_map(|i| [(i % 2 * 255) as u8; 3]).collect();
        let mut out = vec![0; to.rgb_len()];
        assert!(Resize::new(from, to).run(&rgb, &mut out));
        let inner = &out[3 * 2..3 * 14];
        assert!(inner.iter().all(|v| (120..=136).contains(v)), "{inner:?}");
    }

    #[test]
    fn lines_are_filtered_before_columns_as_pil_does() {
        // White where these columns are, 8x8 to 4x4 with PIL 13.0. Columns first would give
        // [255, 139, 0, 0, 138, 252, 132, 5, 9, 112, 190, 253, 0, 0, 71, 147].
        let white = [0..3, 0..3, 0..5, 2..5, 2..8, 5..8, 5..8, 0..0];
        let pil = [
            255, 139, 7, 0, 139, 251, 132, 17, 0, 118, 189, 247, 0, 0, 64, 140,
        ];
        let size = |side| Size {
            width: side,
            height: side,
        };
        let rgb: Vec<u8> = (0..64)
            .flat_map(|i| {
                [if white[i / 8].contains(&(i % 8)) {
                    255
                } else {
                    0
                }; 3]
            })
            .collect();
        let mut out = vec![0; size(4).rgb_len()];
        assert!(Resize::new(size(8), size(4)).run(&rgb, &mut out));
        for (pixel, expected) in out.chunks(3).zip(pil) {
            assert!(pixel[0].abs_diff(expected) <= 1, "{out:?}");
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let size = Size {
            width: 4,
            height: 4,
        };
        assert!(!Resize::new(size, size).run(&[0; 47], &mut [0; 48]));
        assert!(!Resize::new(size, size).run(&[0; 48], &mut [0; 49]));
    }
}
