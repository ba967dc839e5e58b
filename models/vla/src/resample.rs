//! Bicubic resampling with antialiasing, equal to what the policy's reference processor does.
//!
//! PIL and torchvision (on 8-bit tensors) use the same filter: Catmull-Rom (Keys 1981 with a = -0.5), its support
//! widened when shrinking, one direction after the other, rounded to bytes in between. They differ in two things:
//! - how coarsely coefficients are rounded: PIL keeps 22 bits after the point (`Resample.c`), torchvision as many as fit
//!   into 16 bits with the largest coefficient (`UpSampleKernel.cpp`). Both then add up integers; here the same rounded
//!   coefficients are added up in single precision, which is exact for torchvision's and off by less than 1e-4 of a grey
//!   level for PIL's.
//! - the order: torchvision filters lines first. So did PIL up to version 12; PIL 13 filters columns first where the
//!   height shrinks by more than twice what the width shrinks by, in pixels (seen in its results, 3888 of 3888 sizes).
//!
//! `image` crates and OpenCV do not round in between, or keep 16-bit coefficients only, and so differ by a grey level
//! in some per cent of the pixels.

use tactus_bundle::Processor;

use crate::resize::Size;

/// Half the width of the filter at scale 1, pixels.
const SUPPORT: f64 = 2.0;
/// Bits that PIL keeps after the point.
const PIL_BITS: u32 = 22;
/// Numbers that are filtered at once: the three of a pixel and the first of the next, which is not looked at. Lines have
/// one number more than their pixels for it.
const LANES: usize = 4;
/// Numbers that are added up at once.
const BLOCK: usize = 16;
/// Added to a whole number of 0..=255, it leaves that number in the lowest byte of the float.
const BYTE: f32 = 8_388_608.0;

/// Along one side: for every output pixel, where its inputs start and what each of them counts.
#[derive(Debug, Clone)]
struct Axis {
    /// First input of each output; they never fall.
    starts: Vec<usize>,
    /// Inputs per output.
    taps: usize,
    /// `[outputs, taps]`.
    coefficients: Vec<f32>,
}

impl Axis {
    fn new(from: usize, to: usize, processor: Processor) -> Self {
        let scale = from as f64 / to as f64;
        let widened = scale.max(1.0);
        let support = SUPPORT * widened;
        let mut rows: Vec<(usize, Vec<f64>)> = Vec::with_capacity(to);
        for i in 0..to {
            let centre = (i as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5).max(0.0)) as usize;
            let last = ((centre + support + 0.5) as usize).min(from);
            let weight = |j: usize| catmull_rom((j as f64 - centre + 0.5) / widened);
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

/// The filter. Source: Keys 1981, eq. 15 with a = -0.5.
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

/// Resamples images of one size to another; keeps coefficients and buffers between images.
#[derive(Debug, Clone)]
pub struct Resample {
    from: Size,
    to: Size,
    across: Axis,
    down: Axis,
    columns_first: bool,
    /// One input line.
    line: Vec<f32>,
    /// As many lines as an output line needs, in a ring; filtered already unless columns come first.
    ring: Vec<f32>,
    /// What each line of the ring counts.
    turned: Vec<f32>,
    /// One line of what the ring adds up to.
    sums: Vec<f32>,
    /// One output line.
    out: Vec<f32>,
    arch: pulp::Arch,
}

impl Resample {
    /// Resampling from `from` to `to`, neither of which is empty, as `processor` does it.
    pub fn new(from: Size, to: Size, processor: Processor) -> Self {
        let across = Axis::new(from.width, to.width, processor);
        let down = Axis::new(from.height, to.height, processor);
        let columns_first = match processor {
            Processor::Pil => columns_first(from, to),
            Processor::Torchvision => false,
        };
        let line = |width: usize| (3 * width + 1).next_multiple_of(BLOCK);
        let between = line(if columns_first { from.width } else { to.width });
        Self {
            columns_first,
            line: vec![0.0; line(from.width)],
            ring: vec![0.0; between * down.taps],
            turned: vec![0.0; down.taps],
            sums: vec![0.0; between],
            out: vec![0.0; line(to.width)],
            arch: pulp::Arch::new(),
            from,
            to,
            across,
            down,
        }
    }

    /// Resamples `rgb` into `out`, both row-major, red first, of the lengths of the two sizes.
    pub fn run(&mut self, rgb: &[u8], out: &mut [u8]) {
        if self.from == self.to {
            let length = out.len().min(rgb.len());
            out[..length].copy_from_slice(&rgb[..length]);
            return;
        }
        self.arch.dispatch(Filter {
            resample: self,
            rgb,
            out,
        });
    }

    #[inline(always)]
    fn filter(&mut self, rgb: &[u8], out: &mut [u8]) {
        let Self {
            from,
            to,
            across,
            down,
            columns_first,
            line,
            ring,
            turned,
            sums,
            out: pixels,
            ..
        } = self;
        let mut lines = rgb.chunks_exact(3 * from.width);
        let width = sums.len();
        let mut taken = 0;
        let rows = down
            .starts
            .iter()
            .zip(down.coefficients.chunks_exact(down.taps));
        for ((start, coefficients), out) in rows.zip(out.chunks_exact_mut(3 * to.width)) {
            while taken < start + down.taps {
                let Some(rgb) = lines.next() else { return };
                let at = taken % down.taps * width;
                let slot = &mut ring[at..at + width];
                if *columns_first {
                    widen(rgb, slot);
                } else {
                    widen(rgb, line);
                    filter_line(line, across, slot);
                }
                taken += 1;
            }
            for (tap, coefficient) in coefficients.iter().enumerate() {
                turned[(start + tap) % down.taps] = *coefficient;
            }
            add_up(ring, turned, sums);
            if *columns_first {
                filter_line(sums, across, pixels);
                narrow(pixels, out);
            } else {
                narrow(sums, out);
            }
        }
    }
}

/// A run, in a form that is compiled once more for processors with wider registers; `pulp` chooses at run time.
struct Filter<'a> {
    resample: &'a mut Resample,
    rgb: &'a [u8],
    out: &'a mut [u8],
}

impl pulp::WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        self.resample.filter(self.rgb, self.out);
    }
}

/// Whether PIL 13 filters columns before lines.
fn columns_first(from: Size, to: Size) -> bool {
    let less = |from: usize, to: usize| from as i64 - to as i64;
    let (narrower, lower) = (less(from.width, to.width), less(from.height, to.height));
    lower > 0 && lower > 2 * narrower
}

#[inline(always)]
fn widen(rgb: &[u8], line: &mut [f32]) {
    for (byte, value) in rgb.iter().zip(line) {
        *value = f32::from(*byte);
    }
}

/// Filters along a line; what it makes is whole numbers of 0..=255.
#[inline(always)]
fn filter_line(line: &[f32], axis: &Axis, out: &mut [f32]) {
    // The usual numbers of taps get loops of known length: from enlarging to shrinking by two.
    match axis.taps {
        4 => filter_taps::<4>(line, axis, out),
        5 => filter_taps::<5>(line, axis, out),
        6 => filter_taps::<6>(line, axis, out),
        7 => filter_taps::<7>(line, axis, out),
        8 => filter_taps::<8>(line, axis, out),
        9 => filter_taps::<9>(line, axis, out),
        _ => filter_many(line, axis, out),
    }
}

#[inline(always)]
fn filter_taps<const TAPS: usize>(line: &[f32], axis: &Axis, out: &mut [f32]) {
    let rows = axis
        .starts
        .iter()
        .zip(axis.coefficients.as_chunks::<TAPS>().0);
    for (x, (start, coefficients)) in rows.enumerate() {
        let pixels = &line[3 * start..][..3 * TAPS + 1];
        let mut sum = [0.0; LANES];
        for tap in 0..TAPS {
            if let Some(pixel) = pixels[3 * tap..].first_chunk::<LANES>() {
                sum = plus(sum, pixel, coefficients[tap]);
            }
        }
        // The fourth number is overwritten by the next pixel.
        if let Some(out) = out[3 * x..].first_chunk_mut::<LANES>() {
            *out = bytes(sum);
        }
    }
}

#[inline(always)]
fn filter_many(line: &[f32], axis: &Axis, out: &mut [f32]) {
    let rows = axis
        .starts
        .iter()
        .zip(axis.coefficients.chunks_exact(axis.taps));
    for (x, (start, coefficients)) in rows.enumerate() {
        let mut sum = [0.0; LANES];
        let mut rest = &line[3 * start..];
        for coefficient in coefficients {
            if let Some(pixel) = rest.first_chunk::<LANES>() {
                sum = plus(sum, pixel, *coefficient);
                rest = &rest[3..];
            }
        }
        if let Some(out) = out[3 * x..].first_chunk_mut::<LANES>() {
            *out = bytes(sum);
        }
    }
}

/// Adds the lines of a ring up; what it makes is whole numbers of 0..=255.
#[inline(always)]
fn add_up(ring: &[f32], coefficients: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    for (block, sums) in sums.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let mut sum = [0.0; BLOCK];
        for (line, coefficient) in ring.chunks_exact(width).zip(coefficients) {
            sum = plus(sum, &line.as_chunks::<BLOCK>().0[block], *coefficient);
        }
        *sums = bytes(sum);
    }
}

/// Arrays of known length, because those become registers. Fused, so that every processor gets the same sum.
#[inline(always)]
fn plus<const N: usize>(sum: [f32; N], values: &[f32; N], coefficient: f32) -> [f32; N] {
    let mut out = sum;
    for (sum, value) in out.iter_mut().zip(values) {
        *sum = value.mul_add(coefficient, *sum);
    }
    out
}

/// The nearest bytes, a half rounded up, as floats.
#[inline(always)]
fn bytes<const N: usize>(sum: [f32; N]) -> [f32; N] {
    let mut out = sum;
    for value in &mut out {
        *value = (*value + 0.5).floor().clamp(0.0, 255.0);
    }
    out
}

#[inline(always)]
fn narrow(line: &[f32], out: &mut [u8]) {
    for (value, byte) in line.iter().zip(out) {
        *byte = (value + BYTE).to_bits() as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    fn resampled(from: Size, to: Size, processor: Processor, rgb: &[u8]) -> Vec<u8> {
        let mut out = vec![0; to.rgb_len()];
        Resample::new(from, to, processor).run(rgb, &mut out);
        out
    }

    #[test]
    fn lines_are_filtered_before_columns_and_rounded_in_between() {
        // White where these columns are, 8x8 to 4x4 with PIL 13.0. Columns first would give
        // [255, 139, 0, 0, 138, 252, 132, 5, 9, 112, 190, 253, 0, 0, 71, 147].
        let white = [0..3, 0..3, 0..5, 2..5, 2..8, 5..8, 5..8, 0..0];
        let pil = [
            255, 139, 7, 0, 139, 251, 132, 17, 0, 118, 189, 247, 0, 0, 64, 140,
        ];
        let grey = |i: usize| match white[i / 8].contains(&(i % 8)) {
            true => [255; 3],
            false => [0; 3],
        };
        let rgb: Vec<u8> = (0..64).flat_map(grey).collect();
        let out = resampled(size(8, 8), size(4, 4), Processor::Pil, &rgb);
        let expected: Vec<u8> = pil.into_iter().flat_map(|v| [v; 3]).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn columns_come_first_where_the_height_shrinks_most() {
        // PIL 13.0, by its results.
        for (from, to, expected) in [
            (size(154, 70), size(168, 56), true),
            (size(31, 53), size(12, 14), true),
            (size(66, 68), size(47, 30), false),
            (size(44, 10), size(42, 6), false),
            (size(224, 224), size(112, 112), false),
            (size(640, 480), size(644, 476), true),
            (size(63, 107), size(88, 117), false),
        ] {
            assert_eq!(columns_first(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn shrinking_averages_instead_of_skipping() {
        // Columns alternate black and white; without antialiasing every kept column would be black or white.
        let rgb: Vec<u8> = (0..64 * 8).flat_map(|i| [(i % 2 * 255) as u8; 3]).collect();
        let out = resampled(size(64, 8), size(16, 8), Processor::Pil, &rgb);
        let inner = &out[3 * 2..3 * 14];
        assert!(inner.iter().all(|v| (120..=136).contains(v)), "{inner:?}");
    }

    #[test]
    fn torchvision_keeps_as_many_bits_as_fit() {
        // The largest coefficient of an enlargement is about 1: 1.0 * 2^15 does not fit, 2^14 does.
        assert_eq!(bits_of_16(1.0), 14);
        assert_eq!(bits_of_16(0.49), 16);
        assert_eq!(bits_of_16(0.0), PIL_BITS);
    }

    proptest! {
        #[test]
        fn one_colour_stays_one_colour(
            width in 1..40_usize, height in 1..40_usize, to_width in 1..40_usize, to_height in 1..40_usize,
            colour in any::<[u8; 3]>(), pil in any::<bool>(),
        ) {
            let processor = if pil { Processor::Pil } else { Processor::Torchvision };
            let rgb = colour.repeat(width * height);
            let out = resampled(size(width, height), size(to_width, to_height), processor, &rgb);
            // 16-bit coefficients need not add up to 1 exactly.
            let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= u8::from(!pil);
            prop_assert!(out.iter().zip(colour.iter().cycle()).all(near), "{out:?} of {colour:?}");
        }

        #[test]
        fn the_same_size_is_the_same_image(width in 1..20_usize, height in 1..20_usize, seed in any::<u8>()) {
            let of = size(width, height);
            let rgb: Vec<u8> = (0..of.rgb_len()).map(|i| (i * 31 % 256) as u8 ^ seed).collect();
            prop_assert_eq!(resampled(of, of, Processor::Pil, &rgb), rgb);
        }
    }
}
