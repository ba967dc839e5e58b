//! What a picture is reduced to: its coarse shape, without its light; and its light.

/// Pictures are reduced to squares of this side, cells.
pub const SIDE: usize = 16;
/// Numbers in a [`Look::shape`].
pub const SHAPE: usize = SIDE * SIDE * 3;
/// A value from here on has lost what was brighter, of 255.
const WHITE: u8 = 250;
/// A value up to here has lost what was darker, of 255.
const BLACK: u8 = 5;
/// What a picture without contrast is divided by, of 1.
const LEAST_SPREAD: f64 = 1e-3;

/// How a picture is lit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Mean of all values, 0 to 1.
    pub mean: f64,
    /// Standard deviation between cells, 0 to 0.5: what contrast there is.
    pub spread: f64,
    /// Share of pixels with a colour at its end, 0 to 1.
    pub white: f64,
    /// Share of pixels with all colours at theirs, 0 to 1.
    pub black: f64,
    /// Red over green, octaves.
    pub red: f64,
    /// Blue over green, octaves.
    pub blue: f64,
}

impl Light {
    /// Names of the numbers, in the order of [`Light::numbers`].
    pub const NAMES: [&'static str; 6] = ["mean", "spread", "white", "black", "red", "blue"];

    /// The numbers.
    pub fn numbers(&self) -> [f64; 6] {
        [
            self.mean,
            self.spread,
            self.white,
            self.black,
            self.red,
            self.blue,
        ]
    }
}

/// A picture, reduced.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// `[SIDE, SIDE, 3]`, rows from above, red first: means of cells, of which each colour's mean is taken away, over the
    /// standard deviation of them all.
    pub shape: Vec<f64>,
    /// Its light.
    pub light: Light,
}

impl Look {
    /// Reduces `rgb`, `height * width * 3` bytes from above, red first. `None` unless it has that length and a cell
    /// has a pixel at least.
    pub fn of(rgb: &[u8], width: usize, height: usize) -> Option<Self> {
        if width < SIDE || height < SIDE || rgb.len() != width * height * 3 {
            return None;
        }
        let mut cells = vec![0.0; SHAPE];
        let mut counts = [0.0; SIDE * SIDE];
        let (mut white, mut black) = (0usize, 0usize);
        for (i, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let cell = (i / width) * SIDE / height * SIDE + (i % width) * SIDE / width;
            counts[cell] += 1.0;
            for (colour, value) in pixel.iter().enumerate() {
                cells[cell * 3 + colour] += f64::from(*value) / 255.0;
            }
            white += usize::from(pixel.iter().any(|v| *v >= WHITE));
            black += usize::from(pixel.iter().all(|v| *v <= BLACK));
        }
        for (cell, values) in cells.chunks_exact_mut(3).enumerate() {
            values.iter_mut().for_each(|v| *v /= counts[cell]);
        }
        let pixels = (width * height) as f64;
        let mut means = [0.0; 3];
        for values in cells.chunks_exact(3) {
            for (mean, value) in means.iter_mut().zip(values) {
                *mean += value / (SIDE * SIDE) as f64;
            }
        }
        for values in cells.chunks_exact_mut(3) {
            for (value, mean) in values.iter_mut().zip(means) {
                *value -= mean;
            }
        }
        let spread = (cells.iter().map(|v| v * v).sum::<f64>() / SHAPE as f64).sqrt();
        cells.iter_mut().for_each(|v| *v /= spread + LEAST_SPREAD);
        let octaves = |a: f64, b: f64| ((a + 1e-3) / (b + 1e-3)).log2();
        Some(Self {
            shape: cells,
            light: Light {
                mean: means.iter().sum::<f64>() / 3.0,
                spread,
                white: white as f64 / pixels,
                black: black as f64 / pixels,
                red: octaves(means[0], means[1]),
                blue: octaves(means[2], means[1]),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize, gain: f64) -> Vec<u8> {
        let value = |i: usize| (gain * (40.0 + 100.0 * (i % width) as f64 / width as f64)) as u8;
        (0..width * height).flat_map(|i| [value(i); 3]).collect()
    }

    #[test]
    fn brightness_is_light_and_not_shape() {
        let dim = Look::of(&ramp(64, 48, 0.5), 64, 48).expect("large enough");
        let bright = Look::of(&ramp(64, 48, 1.5), 64, 48).expect("large enough");
        let furthest = dim.shape.iter().zip(&bright.shape);
        assert!(furthest.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 0.1);
        assert!(bright.light.mean > 2.5 * dim.light.mean);
        assert!(dim.light.red.abs() < 1e-9);
    }

    #[test]
    fn a_white_picture_has_neither_shape_nor_a_division_by_zero() {
        let look = Look::of(&[255; 32 * 32 * 3], 32, 32).expect("large enough");
        assert!(look.shape.iter().all(|v| v.abs() < 1e-9));
        assert_eq!((look.light.white, look.light.black), (1.0, 0.0));
    }

    #[test]
    fn what_is_no_picture_is_none() {
        assert_eq!(Look::of(&[0; 15 * 32 * 3], 15, 32), None);
        assert_eq!(Look::of(&[0; 10], 32, 32), None);
    }
}
