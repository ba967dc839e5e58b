//! Pixels to the rows of `pixel_values`: rescaled, normalised, cut into patches in 2x2-merge order.
//!
//! Row `r` is one patch. Rows run through merge units in raster order, and inside a unit through its `merge * merge`
//! patches in raster order, so that `merge^2` consecutive rows become one image token. Inside a row the order is
//! (colour, frame, y, x); a still image is the same in every frame. This is the layout of Qwen2-VL's image processor:
//! `[grid_t, gh/m, gw/m, m, m, colour, frame, y, x]`.

use tactus_bundle::Vision;

use tactus_pixels::Size;

/// Patches of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
}

impl Grid {
    /// The grid of a resized image; both its sides are multiples of the merge unit.
    pub fn of(size: Size, vision: &Vision) -> Self {
        Self {
            rows: size.height / vision.patch,
            columns: size.width / vision.patch,
        }
    }

    /// Patches in the grid.
    pub fn patches(self) -> usize {
        self.rows * self.columns
    }

    /// `(row, column)` of every patch, in the order of the rows of `pixel_values`.
    pub fn merge_order(self, merge: usize) -> impl Iterator<Item = (usize, usize)> {
        let Self { rows, columns } = self;
        (0..rows / merge).flat_map(move |unit_row| {
            (0..columns / merge).flat_map(move |unit_column| {
                (0..merge * merge).map(move |i| {
                    (
                        unit_row * merge + i / merge,
                        unit_column * merge + i % merge,
                    )
                })
            })
        })
    }
}

/// Side of the largest patch that there is a loop of its own for.
#[cfg(target_arch = "x86_64")]
const LARGEST: usize = 16;

/// Writes patches; holds how every byte value is normalised.
#[derive(Debug, Clone)]
pub struct Patcher {
    patch: usize,
    frames: usize,
    merge: usize,
    /// Of every colour: what a byte is multiplied with, and what is added then.
    colours: [(f32, f32); 3],
    #[cfg(target_arch = "x86_64")]
    wide: Option<pulp::x86::V3>,
}

impl Patcher {
    /// A patcher for the bundle's vision settings.
    pub fn new(vision: &Vision) -> Self {
        let colour = |c: usize| {
            let (mean, std) = (vision.mean[c], vision.std[c]);
            ((1.0 / (255.0 * std)) as f32, (-mean / std) as f32)
        };
        Self {
            patch: vision.patch,
            frames: vision.temporal_patch,
            merge: vision.merge,
            colours: [colour(0), colour(1), colour(2)],
            #[cfg(target_arch = "x86_64")]
            wide: pulp::x86::V3::try_new(),
        }
    }

    /// Writes the patches of `rgb` (row-major, red first) into `out`, `patches * row_len` numbers. `false` when
    /// lengths and grid do not agree; `out` is then not written.
    #[must_use]
    pub fn run(&self, rgb: &[u8], grid: Grid, out: &mut [f32]) -> bool {
        let row_len = 3 * self.frames * self.patch * self.patch;
        let stride = grid.columns * self.patch * 3;
        if rgb.len() != grid.rows * self.patch * stride || out.len() != grid.patches() * row_len {
            return false;
        }
        let image = Image { rgb, stride, grid };
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = self.wide {
            let patcher = self;
            // Qwen2.5-VL's and Qwen3-VL's.
            match self.patch {
                14 => simd.vectorize(Wide::<14> {
                    simd,
                    patcher,
                    image,
                    out,
                }),
                16 => simd.vectorize(Wide::<16> {
                    simd,
                    patcher,
                    image,
                    out,
                }),
                _ => self.cut(image, out),
            }
            return true;
        }
        self.cut(image, out);
        true
    }

    /// As [`Patcher::run`], of numbers that are normalised already.
    #[must_use]
    pub fn run_numbers(&self, numbers: &[f32], grid: Grid, out: &mut [f32]) -> bool {
        let Self {
            patch,
            frames,
            merge,
            ..
        } = *self;
        let (area, stride) = (patch * patch, grid.columns * patch);
        if numbers.len() != 3 * grid.patches() * area || out.len() != numbers.len() * frames {
            return false;
        }
        let pixels = numbers.as_chunks::<3>().0;
        let patches = grid.merge_order(merge);
        for ((y, x), row) in patches.zip(out.chunks_exact_mut(3 * frames * area)) {
            for (colour, planes) in row.chunks_exact_mut(frames * area).enumerate() {
                for (i, line) in planes.chunks_exact_mut(patch).enumerate() {
                    let first = (y * patch + i % patch) * stride + x * patch;
                    let from = &pixels[first..first + patch];
                    for (to, pixel) in line.iter_mut().zip(from) {
                        *to = pixel[colour];
                    }
                }
            }
        }
        true
    }

    /// The plain way.
    fn cut(&self, image: Image<'_>, out: &mut [f32]) {
        let Self { patch, frames, .. } = *self;
        let area = patch * patch;
        for ((y, x), row) in image
            .grid
            .merge_order(self.merge)
            .zip(out.chunks_exact_mut(3 * frames * area))
        {
            for (colour, planes) in row.chunks_exact_mut(frames * area).enumerate() {
                let (factor, offset) = self.colours[colour];
                for (i, value) in planes.iter_mut().enumerate() {
                    let (line, column) = (y * patch + i % area / patch, x * patch + i % patch);
                    let byte = image.rgb[line * image.stride + 3 * column + colour];
                    *value = f32::from(byte).mul_add(factor, offset);
                }
            }
        }
    }
}

/// An image and its grid, found to agree.
#[derive(Clone, Copy)]
struct Image<'a> {
    rgb: &'a [u8],
    /// Bytes of a line.
    stride: usize,
    grid: Grid,
}

/// The same with registers of eight numbers. A patch is made in a buffer first: its lines are not aligned, and stores
/// that cross a cache line are cheap only there.
#[cfg(target_arch = "x86_64")]
struct Wide<'a, const PATCH: usize> {
    simd: pulp::x86::V3,
    patcher: &'a Patcher,
    image: Image<'a>,
    out: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl<const PATCH: usize> pulp::NullaryFnOnce for Wide<'_, PATCH> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            simd,
            patcher,
            image,
            out,
        } = self;
        let (area, frames) = (PATCH * PATCH, patcher.frames);
        let mut colours = [(simd.avx._mm256_setzero_ps(), simd.avx._mm256_setzero_ps()); 3];
        for (wide, (factor, offset)) in colours.iter_mut().zip(patcher.colours) {
            *wide = (
                simd.avx._mm256_set1_ps(factor),
                simd.avx._mm256_set1_ps(offset),
            );
        }
        let picks = [pick(0), pick(1), pick(2)];
        let mut buffer = [[0.0_f32; LARGEST * LARGEST]; 3];
        let patches = image.grid.merge_order(patcher.merge);
        for ((y, x), row) in patches.zip(out.chunks_exact_mut(3 * frames * area)) {
            let corner = y * PATCH * image.stride + x * PATCH * 3;
            for line in 0..PATCH {
                let strip = &image.rgb[corner + line * image.stride..][..3 * PATCH];
                // Eight pixels at a time; the last eight overlap those before them.
                for at in [0, PATCH - 8] {
                    let pixels = &strip[3 * at..][..24];
                    let (Some(first), Some(last)) = (pixels.first_chunk(), pixels.last_chunk())
                    else {
                        return;
                    };
                    let (first, last): ([u8; 16], [u8; 16]) = (*first, *last);
                    let pixels = simd.avx2._mm256_inserti128_si256::<1>(
                        simd.avx._mm256_castsi128_si256(pulp::cast(first)),
                        pulp::cast(last),
                    );
                    for c in 0..3 {
                        let bytes = simd.avx2._mm256_shuffle_epi8(pixels, pulp::cast(picks[c]));
                        let values = simd.avx._mm256_cvtepi32_ps(bytes);
                        let (factor, offset) = colours[c];
                        let values = simd.fma._mm256_fmadd_ps(values, factor, offset);
                        if let Some(to) = buffer[c][line * PATCH + at..].first_chunk_mut::<8>() {
                            *to = pulp::cast(values);
                        }
                    }
                }
            }
            for (plane, row) in buffer.iter().zip(row.chunks_exact_mut(frames * area)) {
                for frame in row.chunks_exact_mut(area) {
                    frame.copy_from_slice(&plane[..area]);
                }
            }
        }
    }
}

/// Which bytes are one colour of eight pixels, each widened to four: of bytes 0..16 the first four pixels, of bytes
/// 8..24 the others.
#[cfg(target_arch = "x86_64")]
fn pick(colour: u8) -> [u8; 32] {
    // A set highest bit makes a zero.
    let mut out = [0x80; 32];
    for pixel in 0..4 {
        out[usize::from(4 * pixel)] = 3 * pixel + colour;
        out[usize::from(16 + 4 * pixel)] = 4 + 3 * pixel + colour;
    }
    out
}

#[cfg(test)]
mod tests {
    use tactus_bundle::{Processor, Scaling};

    use super::*;

    /// Patches of 2x2 pixels, so that a 4x8 image has 2x4 patches, two merge units side by side.
    fn tiny() -> Vision {
        Vision {
            patch: 2,
            temporal_patch: 2,
            merge: 2,
            window: 4,
            position_table: 0,
            deepstack: 0,
            mean: [0.0, 0.5, 0.25],
            std: [1.0 / 255.0, 1.0 / 255.0, 0.5],
            min_pixels: 1,
            max_pixels: 1_000,
            scaling: Scaling::Bicubic(Processor::Pil),
        }
    }

    #[test]
    fn rows_run_through_merge_units_and_inside_a_row_colour_frame_y_x() {
        let vision = tiny();
        let grid = Grid::of(
            Size {
                width: 8,
                height: 4,
            },
            &vision,
        );
        assert_eq!(
            grid,
            Grid {
                rows: 2,
                columns: 4
            }
        );
        // Red is the pixel's number, so that each value says where it came from.
        let rgb: Vec<u8> = (0..32).flat_map(|i| [i, 255, 0]).collect();
        let mut out = vec![f32::NAN; grid.patches() * vision.row_len()];
        assert!(Patcher::new(&vision).run(&rgb, grid, &mut out));
        let rows: Vec<&[f32]> = out.chunks(vision.row_len()).collect();
        // By hand. Pixels of line 0 are 0..8, of line 1 8..16, and so on; a patch is 2 pixels wide and high.
        for (row, red) in [
            (0, [0.0, 1.0, 8.0, 9.0]),
            (1, [2.0, 3.0, 10.0, 11.0]),
            (2, [16.0, 17.0, 24.0, 25.0]),
            (3, [18.0, 19.0, 26.0, 27.0]),
            (4, [4.0, 5.0, 12.0, 13.0]),
            (7, [22.0, 23.0, 30.0, 31.0]),
        ] {
            assert_eq!(rows[row][..4], red, "first frame of row {row}");
            assert_eq!(rows[row][4..8], red, "second frame of row {row}");
            assert_eq!(rows[row][8..16], [127.5; 8], "green of row {row}");
            assert_eq!(rows[row][16..], [-0.5; 8], "blue of row {row}");
        }
    }

    #[test]
    fn numbers_go_where_bytes_go() {
        let vision = Vision {
            mean: [0.0; 3],
            std: [1.0; 3],
            ..tiny()
        };
        let size = Size {
            width: 8,
            height: 4,
        };
        let grid = Grid::of(size, &vision);
        let rgb: Vec<u8> = (0..96).map(|i| i * 2).collect();
        let numbers: Vec<f32> = rgb.iter().map(|v| f32::from(*v) / 255.0).collect();
        let mut both = [(); 2].map(|()| vec![f32::NAN; grid.patches() * vision.row_len()]);
        let patcher = Patcher::new(&vision);
        assert!(patcher.run(&rgb, grid, &mut both[0]));
        assert!(patcher.run_numbers(&numbers, grid, &mut both[1]));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(both[0].iter().zip(&both[1]).all(near));
        assert!(!patcher.run_numbers(&numbers[3..], grid, &mut both[1]));
    }

    #[test]
    fn every_processor_writes_the_same_patches() {
        for (patch, temporal_patch) in [(14, 2), (16, 2), (14, 1), (16, 3), (8, 2)] {
            let vision = Vision {
                patch,
                temporal_patch,
                mean: [0.481, 0.458, 0.408],
                std: [0.269, 0.261, 0.276],
                ..tiny()
            };
            let grid = Grid {
                rows: 2,
                columns: 4,
            };
            let rgb: Vec<u8> = (0..grid.patches() * patch * patch * 3)
                .map(|i| (i * 31 % 257) as u8)
                .collect();
            let mut out = vec![f32::NAN; grid.patches() * vision.row_len()];
            assert!(Patcher::new(&vision).run(&rgb, grid, &mut out));
            let mut plain = vec![f32::NAN; out.len()];
            let stride = grid.columns * patch * 3;
            let rgb = &rgb;
            Patcher::new(&vision).cut(Image { rgb, stride, grid }, &mut plain);
            // Not `assert_eq`, which would print both.
            assert!(out == plain, "patches of {patch}, {temporal_patch} frames");
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let vision = tiny();
        let grid = Grid {
            rows: 2,
            columns: 2,
        };
        let patcher = Patcher::new(&vision);
        assert!(!patcher.run(&[0; 47], grid, &mut [0.0; 96]));
        assert!(!patcher.run(&[0; 48], grid, &mut [0.0; 95]));
        assert!(patcher.run(&[0; 48], grid, &mut [0.0; 96]));
    }
}
