//! What a set says of its numbers: least, greatest, mean, standard deviation, count; of pictures a sample of them.

use serde_json::{Value, json};
use tactus_types::{CameraFrame, Encoding};
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

/// Pictures of an episode that are looked at, at most.
pub const SAMPLES: usize = 20;
/// Every so many pixels of one are.
const STRIDE: usize = 16;

/// Sums over values, one per dimension.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sums {
    least: Vec<f64>,
    greatest: Vec<f64>,
    sum: Vec<f64>,
    squares: Vec<f64>,
    count: f64,
    /// What `count` counts for others: rows or pictures.
    of: f64,
}

impl Sums {
    /// Takes a value.
    pub fn take(&mut self, values: impl IntoIterator<Item = f64>) {
        for (i, value) in values.into_iter().enumerate() {
            if self.least.len() == i {
                self.least.push(f64::INFINITY);
                self.greatest.push(f64::NEG_INFINITY);
                self.sum.push(0.0);
                self.squares.push(0.0);
            }
            self.least[i] = self.least[i].min(value);
            self.greatest[i] = self.greatest[i].max(value);
            self.sum[i] += value;
            self.squares[i] += value * value;
        }
        self.count += 1.0;
        self.of += 1.0;
    }

    /// Takes a picture: red, green, blue in 0..1. One that cannot be decoded is left out.
    pub fn picture(&mut self, frame: &CameraFrame) {
        let decoded;
        let rgb: &[u8] = match frame.encoding {
            Encoding::Rgb8 => &frame.data,
            Encoding::Jpeg => {
                let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB);
                let cursor = ZCursor::new(&frame.data[..]);
                match JpegDecoder::new_with_options(cursor, options).decode() {
                    Ok(pixels) => {
                        decoded = pixels;
                        &decoded
                    }
                    Err(_) => return,
                }
            }
        };
        let of = self.of;
        for pixel in rgb.chunks_exact(3).step_by(STRIDE) {
            self.take(pixel.iter().map(|v| f64::from(*v) / 255.0));
        }
        self.of = of + 1.0;
    }

    /// Adds what another episode took.
    pub fn add(&mut self, other: &Self) {
        if self.least.is_empty() {
            *self = other.clone();
            return;
        }
        let (count, of) = (self.count + other.count, self.of + other.of);
        for i in 0..self.least.len().min(other.least.len()) {
            self.least[i] = self.least[i].min(other.least[i]);
            self.greatest[i] = self.greatest[i].max(other.greatest[i]);
            self.sum[i] += other.sum[i];
            self.squares[i] += other.squares[i];
        }
        (self.count, self.of) = (count, of);
    }

    /// As the set says it; pictures with a shape of colours by 1 by 1.
    pub fn words(&self, picture: bool) -> Value {
        let n = self.count.max(1.0);
        let mean: Vec<f64> = self.sum.iter().map(|s| s / n).collect();
        let spread = self.squares.iter().zip(&mean);
        let std: Vec<f64> = spread
            .map(|(s, m)| (s / n - m * m).max(0.0).sqrt())
            .collect();
        let shaped = |values: &[f64]| {
            if picture {
                json!(values.iter().map(|v| json!([[v]])).collect::<Vec<_>>())
            } else {
                json!(values)
            }
        };
        json!({
            "min": shaped(&self.least),
            "max": shaped(&self.greatest),
            "mean": shaped(&mean),
            "std": shaped(&std),
            "count": [self.of as u64],
        })
    }

    /// To be kept between runs. As words: a number of JSON need not come back to the last bit.
    pub fn kept(&self) -> Value {
        let words =
            |list: &[f64]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
        json!([
            words(&self.least),
            words(&self.greatest),
            words(&self.sum),
            words(&self.squares),
            words(&[self.count, self.of])
        ])
    }

    /// The other way round.
    pub fn of(kept: &Value) -> Option<Self> {
        let list = |i: usize| -> Option<Vec<f64>> {
            let words = kept.get(i)?.as_array()?.iter();
            words.map(|word| word.as_str()?.parse().ok()).collect()
        };
        let counts = list(4)?;
        Some(Self {
            least: list(0)?,
            greatest: list(1)?,
            sum: list(2)?,
            squares: list(3)?,
            count: *counts.first()?,
            of: *counts.get(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_parts_are_the_sums_of_all_also_when_kept_in_between() {
        let values = [
            [0.5, -1.0],
            [2.0, 3.0],
            [-4.0, 0.0],
            [1.0, 1.0],
            [7.5, -2.5],
        ];
        let mut all = Sums::default();
        values.iter().for_each(|v| all.take(*v));
        let (mut a, mut b) = (Sums::default(), Sums::default());
        values[..2].iter().for_each(|v| a.take(*v));
        values[2..].iter().for_each(|v| b.take(*v));
        let kept = Sums::of(&b.kept()).expect("reads back");
        assert_eq!(kept, b);
        a.add(&kept);
        assert_eq!(a, all);
        // numpy: mean 1.4, 0.1; std 3.6796739, 1.8547237.
        let words = all.words(false);
        let near = |a: &Value, b: f64| (a.as_f64().expect("a number") - b).abs() < 1e-6;
        assert!(
            near(&words["mean"][0], 1.4) && near(&words["mean"][1], 0.1),
            "{words}"
        );
        assert!(
            near(&words["std"][0], 3.679_673_9) && near(&words["std"][1], 1.854_723_7),
            "{words}"
        );
        assert_eq!(words["count"], json!([5]));
    }

    #[test]
    fn what_is_kept_comes_back_to_the_last_bit_also_through_a_file() {
        let mut sums = Sums::default();
        let mut x = 0.1;
        for _ in 0..1000 {
            x = 3.9 * x * (1.0 - x);
            sums.take([x, x * 1e-3, -x * 1e7]);
            let line = sums.kept().to_string();
            let line: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(Sums::of(&line).as_ref(), Some(&sums));
        }
    }
}
