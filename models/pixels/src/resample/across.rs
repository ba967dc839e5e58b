//! Filtering along lines: a few lines side by side, so that sums are over whole registers.

use super::{
    LANES,
    axis::Axis,
    registers::{Registers, plus},
};
use crate::size::Size;

/// Pixels that are made along [`LANES`] lines before the next ones, so that their inputs stay in the nearest cache.
const PIXELS: usize = 64;

/// Filters along lines, [`LANES`] of them side by side: that is adding up whole registers, whatever the scale.
#[derive(Debug, Clone)]
pub(super) struct Across {
    axis: Axis,
    /// Numbers of an input line.
    from: usize,
    /// Numbers of an output line.
    to: usize,
    /// `[numbers, LANES]` of the inputs of [`PIXELS`] pixels.
    input: Vec<[f32; LANES]>,
    /// `[3 * PIXELS, LANES]`.
    output: Vec<[u8; LANES]>,
}

impl Across {
    pub(super) fn new(axis: Axis, from: Size, to: Size) -> Self {
        let spans = axis.starts.chunks(PIXELS);
        let span = |starts: &[usize]| starts[starts.len() - 1] - starts[0] + axis.taps;
        let longest = spans.map(span).max().unwrap_or(0);
        Self {
            from: 3 * from.width,
            to: 3 * to.width,
            input: vec![[0.0; LANES]; 3 * longest],
            output: vec![[0; LANES]; 3 * PIXELS],
            axis,
        }
    }

    /// Filters up to [`LANES`] lines.
    #[inline(always)]
    pub(super) fn run<R: Registers>(&mut self, registers: R, lines: &[u8], out: &mut [u8]) {
        let Self {
            axis,
            from,
            to,
            input,
            output,
        } = self;
        let taps = axis.taps;
        // Lines that are missing are taken for the first one.
        let mut rows = [&lines[..*from]; LANES];
        for (row, line) in rows.iter_mut().zip(lines.chunks_exact(*from)) {
            *row = line;
        }
        let strips = axis
            .starts
            .chunks(PIXELS)
            .zip(axis.coefficients.chunks(PIXELS * taps));
        for (strip, (starts, coefficients)) in strips.enumerate() {
            let (first, last) = (3 * starts[0], 3 * (starts[starts.len() - 1] + taps));
            let input = &mut input[..last - first];
            read(&rows, first, input);
            let output = &mut output[..3 * starts.len()];
            // The usual numbers of taps get loops of known length: from enlarging to shrinking by two.
            match taps {
                4 => add_pixels::<R, 4>(registers, input, starts, coefficients, output),
                5 => add_pixels::<R, 5>(registers, input, starts, coefficients, output),
                6 => add_pixels::<R, 6>(registers, input, starts, coefficients, output),
                7 => add_pixels::<R, 7>(registers, input, starts, coefficients, output),
                8 => add_pixels::<R, 8>(registers, input, starts, coefficients, output),
                9 => add_pixels::<R, 9>(registers, input, starts, coefficients, output),
                _ => add_any_pixels(registers, input, starts, coefficients, taps, output),
            }
            write(output, strip * 3 * PIXELS, *to, out);
        }
    }
}

/// Numbers from `first` on of all lines, side by side.
#[inline(always)]
fn read(lines: &[&[u8]; LANES], first: usize, input: &mut [[f32; LANES]]) {
    let Some(last) = input.len().checked_sub(LANES) else {
        for (at, column) in input.iter_mut().enumerate() {
            for (value, line) in column.iter_mut().zip(lines) {
                *value = f32::from(line[first + at]);
            }
        }
        return;
    };
    let mut at = 0;
    // The last square overlaps the one before it.
    while at < last + LANES {
        let from = at.min(last);
        let mut square = [[0; LANES]; LANES];
        for i in 0..LANES {
            if let Some(part) = lines[i][first + from..].first_chunk() {
                square[i] = *part;
            }
        }
        let square = transposed(square);
        if let Some(columns) = input[from..].first_chunk_mut::<LANES>() {
            for i in 0..LANES {
                for j in 0..LANES {
                    columns[i][j] = f32::from(square[i][j]);
                }
            }
        }
        at += LANES;
    }
}

/// The reverse, into as many lines as `out` has.
#[inline(always)]
fn write(output: &[[u8; LANES]], first: usize, width: usize, out: &mut [u8]) {
    let Some(last) = output.len().checked_sub(LANES) else {
        for (at, column) in output.iter().enumerate() {
            for (byte, line) in column.iter().zip(out.chunks_exact_mut(width)) {
                line[first + at] = *byte;
            }
        }
        return;
    };
    let mut at = 0;
    while at < last + LANES {
        let from = at.min(last);
        if let Some(columns) = output[from..].first_chunk::<LANES>() {
            let square = transposed(*columns);
            // An iterator would put the square into memory first, which takes half as long again.
            #[allow(clippy::needless_range_loop)]
            for i in 0..LANES {
                // No such line where there are fewer.
                let line = out.get_mut(i * width + first + from..);
                if let Some(part) = line.and_then(<[u8]>::first_chunk_mut) {
                    *part = square[i];
                }
            }
        }
        at += LANES;
    }
}

type Square = [[u8; LANES]; LANES];

/// Rows become columns: four rounds in which the halves are shuffled into each other.
#[inline(always)]
fn transposed(square: Square) -> Square {
    shuffled(shuffled(shuffled(shuffled(square))))
}

#[inline(always)]
fn shuffled(square: Square) -> Square {
    const HALF: usize = LANES / 2;
    let mut out = [[0; LANES]; LANES];
    for i in 0..HALF {
        let (a, b) = (square[i], square[i + HALF]);
        for j in 0..HALF {
            out[2 * i][2 * j] = a[j];
            out[2 * i][2 * j + 1] = b[j];
            out[2 * i + 1][2 * j] = a[j + HALF];
            out[2 * i + 1][2 * j + 1] = b[j + HALF];
        }
    }
    out
}

#[inline(always)]
fn add_pixels<R: Registers, const TAPS: usize>(
    registers: R,
    input: &[[f32; LANES]],
    starts: &[usize],
    coefficients: &[f32],
    output: &mut [[u8; LANES]],
) {
    let rows = starts.iter().zip(coefficients.as_chunks::<TAPS>().0);
    for (pixel, (start, coefficients)) in output.as_chunks_mut::<3>().0.iter_mut().zip(rows) {
        let inputs = &input[3 * (start - starts[0])..][..3 * TAPS];
        let mut sums = [[0.5; LANES]; 3];
        for tap in 0..TAPS {
            for colour in 0..3 {
                sums[colour] = plus(sums[colour], &inputs[3 * tap + colour], coefficients[tap]);
            }
        }
        for (made, sum) in pixel.iter_mut().zip(sums) {
            *made = registers.bytes(sum);
        }
    }
}

#[inline(always)]
fn add_any_pixels<R: Registers>(
    registers: R,
    input: &[[f32; LANES]],
    starts: &[usize],
    coefficients: &[f32],
    taps: usize,
    output: &mut [[u8; LANES]],
) {
    let rows = starts.iter().zip(coefficients.chunks_exact(taps));
    for (pixel, (start, coefficients)) in output.as_chunks_mut::<3>().0.iter_mut().zip(rows) {
        let inputs = input[3 * (start - starts[0])..].as_chunks::<3>().0;
        for (colour, made) in pixel.iter_mut().enumerate() {
            let mut sum = [0.5; LANES];
            for (input, coefficient) in inputs.iter().zip(coefficients) {
                sum = plus(sum, &input[colour], *coefficient);
            }
            *made = registers.bytes(sum);
        }
    }
}
