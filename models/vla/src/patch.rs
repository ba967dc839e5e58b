//! Pixels to the rows of `pixel_values`: rescaled, normalised, cut into patches in 2x2-merge order.
//!
//! Row `r` is one patch. Rows run through merge units in raster order, and inside a unit through its `merge * merge`
//! patches in raster order, so that `merge^2` consecutive rows become one image token. Inside a row the order is
//! (colour, frame, y, x); a still image is the same in every frame. This is the layout of Qwen2-VL's image processor:
//! `[grid_t, gh/m, gw/m, m, m, colour, frame, y, x]`.

use tactus_bundle::Vision;

use crate::resize::Size;

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

/// Writes patches; holds the normalised value of every byte value.
#[derive(Debug, Clone)]
pub struct Patcher {
    patch: usize,
    frames: usize,
    merge: usize,
    normalised: [[f32; 256]; 3],
}

impl Patcher {
    /// A patcher for the bundle's vision settings.
    pub fn new(vision: &Vision) -> Self {
        let colour = |c: usize| {
            std::array::from_fn(|v| ((v as f64 / 255.0 - vision.mean[c]) / vision.std[c]) as f32)
        };
        Self {
            patch: vision.patch,
            frames: vision.temporal_patch,
            merge: vision.merge,
            normalised: [colour(0), colour(1), colour(2)],
        }
    }

    /// Writes the patches of `rgb` (row-major, red first) into `out`, `patches * row_len` numbers. `false` when
    /// lengths and grid do not agree; `out` is then not written.
    #[must_use]
    pub fn run(&self, rgb: &[u8], grid: Grid, out: &mut [f32]) -> bool {
        let Self {
            patch,
            frames,
            merge,
            normalised,
        } = self;
        let (patch, frames) = (*patch, *frames);
        let area = patch * patch;
        let row_len = 3 * frames * area;
        let stride = grid.columns * patch * 3;
        if rgb.len() != grid.rows * patch * stride || out.len() != grid.patches() * row_len {
            return false;
        }
        let [red, green, blue] = normalised;
        for (row, (y, x)) in out.chunks_exact_mut(row_len).zip(grid.merge_order(*merge)) {
            let (reds, rest) = row.split_at_mut(frames * area);
            let (greens, blues) = rest.split_at_mut(frames * area);
            // First frame: one strip of `patch` pixels per line of the patch.
            let strips = rgb[y * patch * stride + x * patch * 3..].chunks(stride);
            for (((r, g), b), strip) in reds[..area]
                .chunks_exact_mut(patch)
                .zip(greens[..area].chunks_exact_mut(patch))
                .zip(blues[..area].chunks_exact_mut(patch))
                .zip(strips)
            {
                let pixels = strip[..patch * 3].as_chunks::<3>().0;
                for (((r, g), b), pixel) in r.iter_mut().zip(g).zip(b).zip(pixels) {
                    *r = red[usize::from(pixel[0])];
                    *g = green[usize::from(pixel[1])];
                    *b = blue[usize::from(pixel[2])];
                }
            }
            // The other frames are copies.
            for colour in [reds, greens, blues] {
                let (first, others) = colour.split_at_mut(area);
                others
                    .chunks_exact_mut(area)
                    .for_each(|frame| frame.copy_from_slice(first));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tactus_bundle::Processor;

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
            processor: Processor::Pil,
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
