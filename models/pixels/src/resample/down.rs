//! Filtering columns: output lines as sums of input lines.

use super::{
    LANES,
    axis::Axis,
    registers::{Registers, plus},
};

/// Numbers of a line that are added up before the next ones, so that as many lines as it takes stay in the nearest cache.
const STRIP: usize = 512;

/// Filters columns: lines come in order, and each line that is made adds up some of the last ones.
#[derive(Debug, Clone)]
pub(super) struct Down {
    axis: Axis,
    /// Numbers of a line.
    width: usize,
    /// As many lines as an output line needs, in a ring: `[strips, taps, STRIP]`.
    ring: Vec<f32>,
    /// Lines that the ring has taken.
    taken: usize,
    /// What each line of the ring counts.
    turned: Vec<f32>,
}

impl Down {
    pub(super) fn new(axis: Axis, width: usize) -> Self {
        Self {
            width,
            ring: vec![0.0; width.div_ceil(STRIP) * axis.taps * STRIP],
            taken: 0,
            turned: vec![0.0; axis.taps],
            axis,
        }
    }

    /// A new image.
    pub(super) fn begin(&mut self) {
        self.taken = 0;
    }

    /// Output lines that need none but the first `lines` input lines.
    pub(super) fn rows_of(&self, lines: usize) -> usize {
        let taps = self.axis.taps;
        self.axis
            .starts
            .partition_point(|start| start + taps <= lines)
    }

    /// Makes output lines from number `row` on; `lines` are the input lines from number `first` on.
    #[inline(always)]
    pub(super) fn run<R: Registers>(
        &mut self,
        registers: R,
        lines: &[u8],
        first: usize,
        row: usize,
        out: &mut [u8],
    ) {
        let Self {
            axis,
            width,
            ring,
            taken,
            turned,
        } = self;
        let (width, taps) = (*width, axis.taps);
        let mut after = *taken;
        for (strip, ring) in ring.chunks_exact_mut(taps * STRIP).enumerate() {
            let at = strip * STRIP;
            let length = STRIP.min(width - at);
            let rows = axis.starts[row..]
                .iter()
                .zip(axis.coefficients[row * taps..].chunks_exact(taps));
            let mut next = *taken;
            for ((start, coefficients), out) in rows.zip(out.chunks_exact_mut(width)) {
                while next < start + taps {
                    widen(
                        &lines[(next - first) * width + at..][..length],
                        &mut ring[next % taps * STRIP..][..length],
                    );
                    next += 1;
                }
                for (tap, coefficient) in coefficients.iter().enumerate() {
                    turned[(start + tap) % taps] = *coefficient;
                }
                add_up(registers, ring, turned, &mut out[at..at + length]);
            }
            after = next;
        }
        *taken = after;
    }

    /// Takes what is left of the lines from number `first` to `end` into the ring.
    #[inline(always)]
    pub(super) fn keep(&mut self, lines: &[u8], first: usize, end: usize) {
        let Self {
            axis,
            width,
            ring,
            taken,
            ..
        } = self;
        let taps = axis.taps;
        for (strip, ring) in ring.chunks_exact_mut(taps * STRIP).enumerate() {
            let at = strip * STRIP;
            let length = STRIP.min(*width - at);
            for line in *taken..end {
                widen(
                    &lines[(line - first) * *width + at..][..length],
                    &mut ring[line % taps * STRIP..][..length],
                );
            }
        }
        *taken = end;
    }
}

#[inline(always)]
fn widen(bytes: &[u8], line: &mut [f32]) {
    for (byte, value) in bytes.iter().zip(line) {
        *value = f32::from(*byte);
    }
}

/// Adds the lines of a strip's ring up.
#[inline(always)]
fn add_up<R: Registers>(registers: R, ring: &[f32], coefficients: &[f32], out: &mut [u8]) {
    // As along lines.
    match coefficients.len() {
        4 => add_lines::<R, 4>(registers, ring, coefficients, out),
        5 => add_lines::<R, 5>(registers, ring, coefficients, out),
        6 => add_lines::<R, 6>(registers, ring, coefficients, out),
        7 => add_lines::<R, 7>(registers, ring, coefficients, out),
        8 => add_lines::<R, 8>(registers, ring, coefficients, out),
        9 => add_lines::<R, 9>(registers, ring, coefficients, out),
        _ => add_any_lines(registers, ring, coefficients, out),
    }
}

#[inline(always)]
fn add_lines<R: Registers, const TAPS: usize>(
    registers: R,
    ring: &[f32],
    coefficients: &[f32],
    out: &mut [u8],
) {
    let Some(coefficients) = coefficients.first_chunk::<TAPS>().copied() else {
        return;
    };
    let mut lines = [&[[0.0; LANES]; 0][..]; TAPS];
    for (line, numbers) in lines.iter_mut().zip(ring.chunks_exact(STRIP)) {
        *line = &numbers.as_chunks().0[..out.len().div_ceil(LANES)];
    }
    for (at, out) in out.chunks_mut(LANES).enumerate() {
        let mut sum = [0.5; LANES];
        for tap in 0..TAPS {
            sum = plus(sum, &lines[tap][at], coefficients[tap]);
        }
        put(registers.bytes(sum), out);
    }
}

#[inline(always)]
fn add_any_lines<R: Registers>(registers: R, ring: &[f32], coefficients: &[f32], out: &mut [u8]) {
    let mut sums = [0.5; STRIP];
    let sums = &mut sums[..out.len().next_multiple_of(LANES)];
    for (line, coefficient) in ring.chunks_exact(STRIP).zip(coefficients) {
        for (sum, value) in sums.iter_mut().zip(line) {
            *sum = value.mul_add(*coefficient, *sum);
        }
    }
    for (sum, out) in sums.as_chunks().0.iter().zip(out.chunks_mut(LANES)) {
        put(registers.bytes(*sum), out);
    }
}

/// The last bytes of a line may be fewer.
#[inline(always)]
fn put(bytes: [u8; LANES], out: &mut [u8]) {
    match out.as_mut_array() {
        Some(out) => *out = bytes,
        None => {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = byte;
            }
        }
    }
}
