//! Bicubic and bilinear resampling with antialiasing, equal to what the policy's reference processor does.
//!
//! PIL and torchvision (on 8-bit tensors) use the same filters: Catmull-Rom (Keys 1981 with a = -0.5) and a triangle, their
//! support widened when shrinking, one direction after the other, rounded to bytes in between. They differ in two things:
//! - how coarsely coefficients are rounded: PIL keeps 22 bits after the point (`Resample.c`), torchvision as many as fit
//!   into 16 bits with the largest coefficient (`UpSampleKernel.cpp`). Both then add up integers; here the same rounded
//!   coefficients are added up in single precision, which is exact for torchvision's and off by less than 1e-4 of a grey
//!   level for PIL's.
//! - the order: torchvision filters lines first. So did PIL up to version 12; PIL 13 filters columns first where the
//!   height shrinks by more than twice what the width shrinks by, in pixels (seen in its results, 3888 of 3888 sizes).
//!
//! `image` crates and OpenCV do not round in between, or keep 16-bit coefficients only, and so differ by a grey level
//! in some per cent of the pixels.

mod across;
mod axis;
mod down;
mod registers;

use tactus_bundle::Processor;

use self::{
    across::Across,
    axis::{Axis, Kernel},
    down::Down,
    registers::{Plain, Registers},
};
use crate::size::Size;

/// Lines that are filtered side by side, and numbers of a line that are turned at once.
const LANES: usize = 16;

/// Resamples images of one size to another; keeps coefficients and buffers between images.
#[derive(Debug, Clone)]
pub struct Resample {
    from: Size,
    to: Size,
    columns_first: bool,
    across: Across,
    down: Down,
    /// [`LANES`] lines that one direction is done with.
    between: Vec<u8>,
    #[cfg(target_arch = "x86_64")]
    wide: Option<pulp::x86::V3>,
}

impl Resample {
    /// Bicubic resampling from `from` to `to`, neither of which is empty, as `processor` does it.
    pub fn bicubic(from: Size, to: Size, processor: Processor) -> Self {
        Self::new(from, to, axis::BICUBIC, processor)
    }

    /// Bilinear resampling, likewise.
    pub fn bilinear(from: Size, to: Size, processor: Processor) -> Self {
        Self::new(from, to, axis::BILINEAR, processor)
    }

    fn new(from: Size, to: Size, kernel: Kernel, processor: Processor) -> Self {
        let columns_first = match processor {
            Processor::Pil => columns_first(from, to),
            Processor::Torchvision => false,
        };
        let width = 3 * if columns_first { from.width } else { to.width };
        Self {
            columns_first,
            across: Across::new(Axis::new(from.width, to.width, kernel, processor), from, to),
            down: Down::new(Axis::new(from.height, to.height, kernel, processor), width),
            between: vec![0; LANES * width],
            #[cfg(target_arch = "x86_64")]
            wide: pulp::x86::V3::try_new(),
            from,
            to,
        }
    }

    /// Resamples `rgb` into `out`, both row-major, red first, of the lengths of the two sizes.
    pub fn run(&mut self, rgb: &[u8], out: &mut [u8]) {
        if self.from == self.to {
            let length = out.len().min(rgb.len());
            out[..length].copy_from_slice(&rgb[..length]);
            return;
        }
        if rgb.len() < self.from.rgb_len() || out.len() < self.to.rgb_len() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(registers) = self.wide {
            return registers.vectorize(Filter {
                registers,
                resample: self,
                rgb,
                out,
            });
        }
        self.filter(Plain, rgb, out);
    }

    #[inline(always)]
    fn filter<R: Registers>(&mut self, registers: R, rgb: &[u8], out: &mut [u8]) {
        let Self {
            from,
            to,
            columns_first,
            across,
            down,
            between,
            ..
        } = self;
        let out = &mut out[..to.rgb_len()];
        down.begin();
        let (from_line, to_line) = (3 * from.width, 3 * to.width);
        if *columns_first {
            let mut row = 0;
            for out in out.chunks_mut(LANES * to_line) {
                let count = out.len() / to_line;
                let lines = &mut between[..count * from_line];
                down.run(registers, rgb, 0, row, lines);
                across.run(registers, lines, out);
                row += count;
            }
        } else {
            let mut done = 0;
            for (block, lines) in rgb[..from.rgb_len()].chunks(LANES * from_line).enumerate() {
                let count = lines.len() / from_line;
                let lines_made = &mut between[..count * to_line];
                across.run(registers, lines, lines_made);
                let first = block * LANES;
                let ready = down.rows_of(first + count);
                down.run(
                    registers,
                    lines_made,
                    first,
                    done,
                    &mut out[done * to_line..ready * to_line],
                );
                down.keep(lines_made, first, first + count);
                done = ready;
            }
        }
    }
}

/// A run, in a form that is compiled once more for processors with wider registers; `pulp` chooses at run time. What
/// it calls is inlined: a function or closure by itself would be compiled for the narrow ones.
struct Filter<'a, R> {
    registers: R,
    resample: &'a mut Resample,
    rgb: &'a [u8],
    out: &'a mut [u8],
}

impl<R: Registers> pulp::NullaryFnOnce for Filter<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.resample.filter(self.registers, self.rgb, self.out);
    }
}

/// Whether PIL 13 filters columns before lines.
fn columns_first(from: Size, to: Size) -> bool {
    let less = |from: usize, to: usize| from as i64 - to as i64;
    let (narrower, lower) = (less(from.width, to.width), less(from.height, to.height));
    lower > 0 && lower > 2 * narrower
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
        Resample::bicubic(from, to, processor).run(rgb, &mut out);
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
        fn every_processor_makes_the_same_image(
            width in 1..90_usize, height in 1..40_usize, to_width in 1..90_usize, to_height in 1..40_usize,
            seed in any::<u8>(), pil in any::<bool>(),
        ) {
            let processor = if pil { Processor::Pil } else { Processor::Torchvision };
            let (from, to) = (size(width, height), size(to_width, to_height));
            prop_assume!(from != to);
            let rgb: Vec<u8> = (0..from.rgb_len()).map(|i| (i * i * 31 / 7 % 256) as u8 ^ seed).collect();
            let mut plain = vec![0; to.rgb_len()];
            Resample::bicubic(from, to, processor).filter(Plain, &rgb, &mut plain);
            prop_assert_eq!(resampled(from, to, processor, &rgb), plain);
        }

        #[test]
        fn the_same_size_is_the_same_image(width in 1..20_usize, height in 1..20_usize, seed in any::<u8>()) {
            let of = size(width, height);
            let rgb: Vec<u8> = (0..of.rgb_len()).map(|i| (i * 31 % 256) as u8 ^ seed).collect();
            prop_assert_eq!(resampled(of, of, Processor::Pil, &rgb), rgb);
        }
    }
}
