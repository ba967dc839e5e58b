//! What every output pixel of a line is made of: which inputs, and what each of them counts.

use tactus_bundle::Processor;

/// Bits that PIL keeps after the point.
const PIL_BITS: u32 = 22;

/// A filter at scale 1.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Half its width, pixels.
    support: f64,
    /// What an input counts by its distance from the middle, pixels.
    weight: fn(f64) -> f64,
}

/// Keys 1981, eq. 15 with a = -0.5.
pub(super) const BICUBIC: Kernel = Kernel {
    support: 2.0,
    weight: catmull_rom,
};

/// A triangle.
pub(super) const BILINEAR: Kernel = Kernel {
    support: 1.0,
    weight: |x| (1.0 - x.abs()).max(0.0),
};

/// Along one side: for every output pixel, where its inputs start and what each of them counts.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// First input of each output; they never fall.
    pub(super) starts: Vec<usize>,
    /// Inputs per output.
    pub(super) taps: usize,
    /// `[outputs, taps]`.
    pub(super) coefficients: Vec<f32>,
}

impl Axis {
    pub(super) fn new(from: usize, to: usize, kernel: Kernel, processor: Processor) -> Self {
        let scale = from as f64 / to as f64;
        let widened = scale.max(1.0);
        let support = kernel.support * widened;
        let mut rows: Vec<(usize, Vec<f64>)> = Vec::with_capacity(to);
        for i in 0..to {
            let centre = (i as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5).max(0.0)) as usize;
            let last = ((centre + support + 0.5) as usize).min(from);
            let weight = |j: usize| (kernel.weight)((j as f64 - centre + 0.5) / widened);
            let weights: Vec<f64> = (first..last).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            rows.push((first, weights.iter().map(|w| w / sum).collect()));
        }
        let bits = match processor {
            Processor::Pil => PIL_BITS,
            Processor::Torchvision => {
                let all = rows.iter().flat_map(|(_, weights)| weights);
                bits_of_16(all.copied().fold(0.0, f64::max))
            }
        };
        let unit = f64::from(1_u32 << bits);
        let taps = rows
            .iter()
            .map(|(_, weights)| weights.len())
            .max()
            .unwrap_or(0);
        let mut out = Self {
            starts: Vec::with_capacity(to),
            taps,
            coefficients: vec![0.0; to * taps],
        };
        for ((first, weights), row) in rows.iter().zip(out.coefficients.chunks_exact_mut(taps)) {
            // Every row has as many taps; one at the far end starts earlier, with zeros.
            let start = (*first).min(from - taps);
            out.starts.push(start);
            let inputs = row[first - start..].iter_mut();
            for (coefficient, weight) in inputs.zip(weights) {
                // Half away from zero, as both references round.
                *coefficient = ((weight * unit).round() / unit) as f32;
            }
        }
        out
    }
}

/// Bits after the point that let `largest` and every smaller number fit into 16 bits with a sign.
fn bits_of_16(largest: f64) -> u32 {
    let fits = |bits: u32| 0.5 + largest * f64::from(1_u32 << bits) < f64::from(1 << 15);
    (0..PIL_BITS).take_while(|bits| fits(bits + 1)).count() as u32
}

fn catmull_rom(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvision_keeps_as_many_bits_as_fit() {
        // The largest coefficient of an enlargement is about 1: 1.0 * 2^15 does not fit, 2^14 does.
        assert_eq!(bits_of_16(1.0), 14);
        assert_eq!(bits_of_16(0.49), 16);
        assert_eq!(bits_of_16(0.0), PIL_BITS);
    }
}
