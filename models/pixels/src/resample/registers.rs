//! Sums of [`LANES`] numbers, and what the processor has instructions of its own for.

use super::LANES;

/// Arrays of known length, because those become registers. Fused, so that every processor gets the same sum.
#[inline(always)]
pub(super) fn plus<const N: usize>(sum: [f32; N], values: &[f32; N], coefficient: f32) -> [f32; N] {
    let mut out = sum;
    for (sum, value) in out.iter_mut().zip(values) {
        *sum = value.mul_add(coefficient, *sum);
    }
    out
}

/// What is done with the processor's own instructions where there are any for it.
pub(super) trait Registers: Copy {
    /// Sums that were begun at a half, as bytes: the nearest, a half rounded up.
    fn bytes(self, sums: [f32; LANES]) -> [u8; LANES];
}

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Registers for Plain {
    #[inline(always)]
    fn bytes(self, sums: [f32; LANES]) -> [u8; LANES] {
        // Cut off, and kept within a byte.
        sums.map(|sum| sum as u8)
    }
}

#[cfg(target_arch = "x86_64")]
impl Registers for pulp::x86::V3 {
    #[inline(always)]
    fn bytes(self, sums: [f32; LANES]) -> [u8; LANES] {
        // What is negative may be rounded up to 0 here: it becomes 0 anyway.
        let [low, high]: [std::arch::x86_64::__m256; 2] = pulp::cast(sums);
        let (low, high) = (
            self.avx._mm256_cvttps_epi32(low),
            self.avx._mm256_cvttps_epi32(high),
        );
        // Both halves of a register are packed by themselves.
        let words = self.avx2._mm256_packs_epi32(low, high);
        let (low, high) = (
            self.avx._mm256_castsi256_si128(words),
            self.avx2._mm256_extracti128_si256::<1>(words),
        );
        let bytes = self.sse2._mm_packus_epi16(low, high);
        pulp::cast(self.sse2._mm_shuffle_epi32::<0b11_01_10_00>(bytes))
    }
}
