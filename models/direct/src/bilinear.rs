//! Bilinear resampling of bytes, with and without averaging when shrinking.
//!
//! With averaging it is the triangle filter of PIL and torchvision's `antialias`, without it what OpenCV's `INTER_LINEAR` and
//! torch's `interpolate(mode="bilinear", align_corners=False)` do. Sums are in single precision and rounded to a byte once,
//! at the end: within one grey level of all of them.

use tactus_pixels::Size;

/// Resampling from one size to another; keeps weights and buffers between pictures.
#[derive(Debug, Clone)]
pub struct Bilinear {
    from: Size,
    to: Size,
    across: Vec<Taps>,
    down: Vec<Taps>,
    /// All lines, filtered across.
    lines: Vec<f32>,
}

/// What one output place is made of: inputs from `first` on.
#[derive(Debug, Clone)]
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn axis(from: usize, to: usize, antialias: bool) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let reach = if antialias { scale.max(1.0) } else { 1.0 };
    let place = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - reach).floor().max(0.0) as usize;
        let last = ((centre + reach).ceil() as usize).min(from);
        let weight = |j: usize| (1.0 - ((j as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let sum: f64 = (first..last).map(weight).sum();
        Taps {
            first,
            weights: (first..last).map(|j| (weight(j) / sum) as f32).collect(),
        }
    };
    (0..to).map(place).collect()
}

impl Bilinear {
    /// Resampling from `from` to `to`, neither of which is empty.
    pub fn new(from: Size, to: Size, antialias: bool) -> Self {
        Self {
            across: axis(from.width, to.width, antialias),
            down: axis(from.height, to.height, antialias),
            lines: vec![0.0; from.height * to.width * 3],
            from,
            to,
        }
    }

    /// Resamples `rgb` into `out`, both row-major and of the lengths of the two sizes.
    pub fn run(&mut self, rgb: &[u8], out: &mut [u8]) {
        let line = 3 * self.to.width;
        let rows = rgb.chunks_exact(3 * self.from.width);
        for (row, made) in rows.zip(self.lines.chunks_exact_mut(line)) {
            for (pixel, taps) in made.as_chunks_mut::<3>().0.iter_mut().zip(&self.across) {
                let mut sum = [0.0; 3];
                let taken = row.as_chunks::<3>().0.iter().skip(taps.first);
                for (weight, pixel) in taps.weights.iter().zip(taken) {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += weight * f32::from(*value);
                    }
                }
                *pixel = sum;
            }
        }
        let mut sums = vec![0.0_f32; line];
        for (out, taps) in out.chunks_exact_mut(line).zip(&self.down) {
            sums.fill(0.0);
            let taken = self.lines.chunks_exact(line).skip(taps.first);
            for (weight, made) in taps.weights.iter().zip(taken) {
                for (sum, value) in sums.iter_mut().zip(made) {
                    *sum += weight * value;
                }
            }
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = (sum + 0.5) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(
        from: (usize, usize),
        to: (usize, usize),
        antialias: bool,
        grey: &[u8],
    ) -> Vec<u8> {
        let size = |(width, height)| Size { width, height };
        let rgb: Vec<u8> = grey.iter().flat_map(|v| [*v; 3]).collect();
        let mut out = vec![0; size(to).rgb_len()];
        Bilinear::new(size(from), size(to), antialias).run(&rgb, &mut out);
        out.into_iter().step_by(3).collect()
    }

    #[test]
    fn enlarging_is_as_torch_and_opencv_do_it() {
        // torch.nn.functional.interpolate(x, 6, mode="linear", align_corners=False): 0, 22.5, 67.5, 112.5, 157.5, 180.
        let out = resampled((3, 1), (6, 1), false, &[0, 90, 180]);
        assert_eq!(out, [0, 23, 68, 113, 158, 180]);
        assert_eq!(resampled((3, 1), (6, 1), true, &[0, 90, 180]), out);
    }

    #[test]
    fn shrinking_averages_only_where_it_is_asked_to() {
        let grey: Vec<u8> = (0..8).map(|i| if i % 4 == 0 { 240 } else { 0 }).collect();
        // Without averaging the two neighbours of the middle count, by half each.
        assert_eq!(resampled((8, 1), (2, 1), false, &grey), [0, 0]);
        let averaged = resampled((8, 1), (2, 1), true, &grey);
        assert!(
            averaged.iter().all(|v| (30..=70).contains(v)),
            "{averaged:?}"
        );
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let grey: Vec<u8> = (0..35).map(|i| i * 7).collect();
        for antialias in [false, true] {
            assert_eq!(resampled((5, 7), (5, 7), antialias, &grey), grey);
        }
    }
}
