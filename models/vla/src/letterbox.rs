//! A picture scaled until it fits into a square, and bars beside it: how openpi and LeRobot show pictures to pi0, pi0.5 and
//! SmolVLA.
//!
//! Pixels stay numbers from the byte to the patch, since the reference rounds nowhere between, and its single-precision
//! arithmetic is followed: `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`, which takes two
//! neighbours in each direction also when shrinking.

use tactus_bundle::{Letterbox as Place, Vision};

use tactus_pixels::Size;

/// What a place on one axis is made of: two inputs and the share of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Between {
    first: usize,
    second: usize,
    share: f32,
}

fn axis(from: usize, to: usize) -> Vec<Between> {
    let scale = from as f32 / to as f32;
    let last = from.saturating_sub(1);
    let place = |i: usize| {
        let at = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let first = (at as usize).min(last);
        Between {
            first,
            second: (first + 1).min(last),
            share: at - first as f32,
        }
    };
    (0..to).map(place).collect()
}

/// Shows pictures of one size in a square; keeps its places between pictures.
#[derive(Debug, Clone)]
pub struct Letterbox {
    from: Size,
    side: usize,
    /// Pixels left of the picture and above it.
    offset: (usize, usize),
    across: Vec<Between>,
    down: Vec<Between>,
    bars: f32,
    /// Of every colour: mean, and standard deviation.
    colours: [(f32, f32); 3],
}

impl Letterbox {
    /// Pictures of `from` in a square of `side` pixels; both have an extent, and a line of the picture is left.
    pub fn new(from: Size, side: usize, place: Place, bars: f64, vision: &Vision) -> Self {
        let ratio = (from.width as f64 / side as f64).max(from.height as f64 / side as f64);
        // Cut off, not rounded, as the reference does.
        let fitted = |length: usize| ((length as f64 / ratio) as usize).clamp(1, side);
        let (width, height) = (fitted(from.width), fitted(from.height));
        let before = |length: usize| match place {
            Place::Centre => (side - length) / 2,
            Place::Corner => side - length,
        };
        let colour = |c: usize| (vision.mean[c] as f32, vision.std[c] as f32);
        Self {
            from,
            side,
            offset: (before(width), before(height)),
            across: axis(from.width, width),
            down: axis(from.height, height),
            bars: bars as f32,
            colours: [colour(0), colour(1), colour(2)],
        }
    }

    /// Numbers in the square, colours beside each other.
    pub fn numbers(&self) -> usize {
        self.side * self.side * 3
    }

    /// Writes `rgb` (row-major, red first) normalised into `out`; both of the lengths of the two sizes, otherwise nothing is
    /// written.
    pub fn run(&self, rgb: &[u8], out: &mut [f32]) {
        if rgb.len() != self.from.rgb_len() || out.len() != self.numbers() {
            return;
        }
        out.fill(self.bars);
        let (left, top) = self.offset;
        let line = 3 * self.from.width;
        let row = |y: usize| rgb[y * line..][..line].as_chunks::<3>().0;
        let lines = out.chunks_exact_mut(3 * self.side).skip(top);
        for (out, down) in lines.zip(&self.down) {
            let (upper, lower) = (row(down.first), row(down.second));
            let pixels = out.as_chunks_mut::<3>().0.iter_mut().skip(left);
            for (out, across) in pixels.zip(&self.across) {
                for (c, (mean, std)) in self.colours.iter().enumerate() {
                    let at = |row: &[[u8; 3]], x: usize| f32::from(row[x][c]) / 255.0;
                    let mix = |a: f32, b: f32, share: f32| a * (1.0 - share) + b * share;
                    let along =
                        |row| mix(at(row, across.first), at(row, across.second), across.share);
                    let value = mix(along(upper), along(lower), down.share);
                    out[c] = (value - mean) / std;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_bundle::Scaling;

    use super::*;

    fn shown(width: usize, height: usize, side: usize, place: Place, rgb: &[u8]) -> Vec<f32> {
        let vision = Vision {
            patch: 1,
            temporal_patch: 1,
            merge: 1,
            window: 0,
            position_table: 0,
            deepstack: 0,
            mean: [0.5; 3],
            std: [0.5; 3],
            min_pixels: side * side,
            max_pixels: side * side,
            scaling: Scaling::Letterbox { place, bars: -1.0 },
        };
        let letterbox = Letterbox::new(Size { width, height }, side, place, -3.0, &vision);
        let mut out = vec![f32::NAN; letterbox.numbers()];
        letterbox.run(rgb, &mut out);
        out.into_iter().step_by(3).collect()
    }

    #[test]
    fn bars_are_where_the_policy_was_taught_they_are() {
        let white = [255; 2 * 4 * 3];
        let (b, w) = (-3.0, 1.0);
        // A picture of 4x2: one line above it, one below.
        let centre = shown(4, 2, 4, Place::Centre, &white);
        assert_eq!(centre, [[b; 4], [w; 4], [w; 4], [b; 4]].concat());
        let corner = shown(2, 4, 4, Place::Corner, &white);
        assert_eq!(corner, [b, b, w, w].repeat(4));
        // 5 - 2 = 3 pixels of bars: the longer one comes after.
        let odd = shown(5, 2, 5, Place::Centre, &[255; 30]);
        assert_eq!(odd, [[b; 5], [w; 5], [w; 5], [b; 5], [b; 5]].concat());
    }

    #[test]
    fn shrinking_and_enlarging_are_torchs() {
        // interpolate(tensor([0, 90, 180]) / 255, 6): 0, 22.5, 67.5, 112.5, 157.5, 180.
        let line: Vec<u8> = [0, 90, 180]
            .repeat(3)
            .iter()
            .flat_map(|v| [*v; 3])
            .collect();
        let grey = |x: f32| (x + 1.0) / 2.0 * 255.0;
        let out = shown(3, 3, 6, Place::Centre, &line);
        for (ours, theirs) in out.iter().zip([0.0, 22.5, 67.5, 112.5, 157.5, 180.0]) {
            assert!((grey(*ours) - theirs).abs() < 1e-3, "{ours} for {theirs}");
        }
        // Without averaging: of every four the two in the middle count.
        let stripes: Vec<u8> = (0..64)
            .flat_map(|i| [if i % 4 == 0 { 240 } else { 0 }; 3])
            .collect();
        assert!(
            shown(8, 8, 2, Place::Centre, &stripes)
                .iter()
                .all(|v| *v == -1.0)
        );
    }
}
