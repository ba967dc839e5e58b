//! The size that the policy sees an image at: Qwen2-VL's `smart_resize` rule, or one square for all. How pixels get there is
//! [`tactus_pixels::resample`] and [`crate::letterbox`].

use tactus_bundle::{Scaling, Vision};
use tactus_pixels::Size;

/// The size that the policy sees an image of `size` at; `None` for one that it cannot be shown.
pub fn seen_size(size: Size, vision: &Vision) -> Option<Size> {
    match vision.scaling {
        Scaling::Bicubic(_) => smart_resize(size, vision),
        Scaling::Letterbox { .. } => {
            let side = vision.max_pixels.isqrt();
            // Nothing is left of the shorter side of an image that is longer than the square is wide.
            let (long, short) = (size.width.max(size.height), size.width.min(size.height));
            (short > 0 && short * side >= long).then_some(Size {
                width: side,
                height: side,
            })
        }
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

#[cfg(test)]
mod tests {
    use tactus_bundle::{Letterbox, Processor};

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
            scaling: Scaling::Bicubic(Processor::Pil),
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
    fn a_letterbox_is_one_square_for_all_that_leave_a_line_of_pixels() {
        let square = Vision {
            scaling: Scaling::Letterbox {
                place: Letterbox::Centre,
                bars: -1.0,
            },
            ..vision(224 * 224, 224 * 224)
        };
        let seen = |width, height| seen_size(Size { width, height }, &square).map(|s| s.width);
        assert_eq!(seen(640, 480), Some(224));
        assert_eq!((seen(1, 224), seen(1, 225)), (Some(224), None));
        assert_eq!(seen(0, 10), None);
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
}
