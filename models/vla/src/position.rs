//! Where tokens and patches are: M-RoPE position ids of the prompt, and the vision graph's index tensors.
//!
//! All of it depends only on the prompt's length and the image sizes. Sources: `get_rope_index` and
//! `get_window_index` of Qwen2.5-VL and `fast_pos_embed_interpolate` of Qwen3-VL in transformers; the tests hold
//! numbers computed by them.

use tactus_bundle::{PositionIds, Vision};

use crate::patch::Grid;

/// Position id of what fills a prompt up.
const FILLING: i64 = 0;

/// M-RoPE position ids of a prompt: `[3, 1, S]` as (time, height, width), row-major.
///
/// Text counts on in all three axes. An image that starts at `p` has time `p`, height `p + row` and width
/// `p + column` over its merged grid; what follows starts one after the largest id so far. `grids` are the patch
/// grids of the images in prompt order, `merge` the patches per side of a merge unit. Image tokens beyond the grids
/// count as text. Filling, where `mask` is 0, is at [`FILLING`] in all axes and is not counted.
pub fn mrope(
    ids: &[i64],
    mask: &[i64],
    image_token: i64,
    grids: &[Grid],
    merge: usize,
) -> Vec<i64> {
    let length = ids.len();
    let mut out = vec![0; 3 * length];
    let (time, rest) = out.split_at_mut(length);
    let (height, width) = rest.split_at_mut(length);
    let mut next = 0;
    let mut at = 0;
    let mut grids = grids.iter();
    while at < length {
        if mask.get(at) == Some(&0) {
            (time[at], height[at], width[at]) = (FILLING, FILLING, FILLING);
            at += 1;
            continue;
        }
        let grid = match ids[at] == image_token {
            true => grids.next(),
            false => None,
        };
        let Some(grid) = grid else {
            (time[at], height[at], width[at]) = (next, next, next);
            next += 1;
            at += 1;
            continue;
        };
        let (rows, columns) = (grid.rows / merge, grid.columns / merge);
        for i in 0..(rows * columns).min(length - at) {
            time[at + i] = next;
            height[at + i] = next + (i / columns) as i64;
            width[at + i] = next + (i % columns) as i64;
        }
        next += rows.max(columns) as i64;
        at += rows * columns;
    }
    out
}

/// Position ids of a prompt as its backbone counts them, otherwise as [`mrope`].
pub fn position_ids(
    kind: PositionIds,
    ids: &[i64],
    mask: &[i64],
    image_token: i64,
    grids: &[Grid],
    merge: usize,
) -> Vec<i64> {
    match kind {
        PositionIds::Chunked | PositionIds::Interleaved => {
            mrope(ids, mask, image_token, grids, merge)
        }
        PositionIds::Sequential => (0..ids.len() as i64).cycle().take(3 * ids.len()).collect(),
    }
}

/// Index inputs of the vision graph for a set of images; P patches and N = P / merge^2 merge units in all.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionIndex {
    /// `[P, 2]`: (row, column) of each patch in its image, in the order of the rows of `pixel_values`.
    pub pos_ids: Vec<i64>,
    /// `[P]`: image of each patch; in windowed order where there are windows.
    pub seg_full: Vec<i64>,
    /// Attention windows, where the tower has them.
    pub windows: Option<Windows>,
    /// Places in the learned position table, where the tower has one.
    pub table: Option<TablePlaces>,
}

/// Attention windows of a set of images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows {
    /// `[N]`: the merge units in windowed order.
    pub window_index: Vec<i64>,
    /// `[P]`: window of each patch, in windowed order, counted through all images.
    pub seg_window: Vec<i64>,
}

/// Where each patch lies in the learned position table, stretched over its image: four neighbours and their shares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TablePlaces {
    /// `[P, 4]`: entries of the table, row-major.
    pub index: Vec<i64>,
    /// `[P, 4]`: share of each, 0..1; they add up to 1.
    pub weight: Vec<f32>,
}

impl VisionIndex {
    /// Index inputs for images of these patch grids in the tower that `vision` describes.
    pub fn new(grids: &[Grid], vision: &Vision) -> Self {
        let merge = vision.merge;
        let positions = grids.iter().flat_map(|grid| grid.merge_order(merge));
        let images = (0..).zip(grids);
        let table = vision.position_table;
        Self {
            pos_ids: positions
                .flat_map(|(row, column)| [row as i64, column as i64])
                .collect(),
            seg_full: images
                .flat_map(|(image, grid)| std::iter::repeat_n(image, grid.patches()))
                .collect(),
            windows: vision
                .window_units()
                .map(|side| Windows::new(grids, merge, side)),
            table: (table > 0).then(|| TablePlaces::new(grids, merge, table)),
        }
    }

    /// Number of patches, P.
    pub fn patches(&self) -> usize {
        self.seg_full.len()
    }

    /// The integer inputs of the vision graph: name, columns per row (`None` for a plain list), values.
    pub fn integers(&self) -> Vec<(&'static str, Option<usize>, &[i64])> {
        let mut out = vec![
            ("pos_ids", Some(2), &self.pos_ids[..]),
            ("seg_full", None, &self.seg_full),
        ];
        if let Some(windows) = &self.windows {
            out.push(("window_index", None, &windows.window_index));
            out.push(("seg_window", None, &windows.seg_window));
        }
        if let Some(table) = &self.table {
            out.push(("interp_index", Some(4), &table.index));
        }
        out
    }
}

impl Windows {
    /// Windows of `window` merge units per side; those at the right and lower edge are cut off.
    fn new(grids: &[Grid], merge: usize, window: usize) -> Self {
        let mut out = Self::default();
        let per_unit = merge * merge;
        let mut first_unit = 0;
        let mut windows = 0;
        for grid in grids {
            let (rows, columns) = (grid.rows / merge, grid.columns / merge);
            for top in (0..rows).step_by(window) {
                for left in (0..columns).step_by(window) {
                    let before = out.window_index.len();
                    for row in top..rows.min(top + window) {
                        let units = left..columns.min(left + window);
                        let unit = |column| (first_unit + row * columns + column) as i64;
                        out.window_index.extend(units.map(unit));
                    }
                    let units = out.window_index.len() - before;
                    let patches = std::iter::repeat_n(windows, units * per_unit);
                    out.seg_window.extend(patches);
                    windows += 1;
                }
            }
            first_unit += rows * columns;
        }
        out
    }
}

impl TablePlaces {
    /// Bilinear interpolation of a table of `side` times `side` entries, corners on corners.
    fn new(grids: &[Grid], merge: usize, side: usize) -> Self {
        let mut out = Self::default();
        for grid in grids {
            let (rows, columns) = (stretch(grid.rows, side), stretch(grid.columns, side));
            for (row, column) in grid.merge_order(merge) {
                let ((top, bottom, down), (left, right, across)) = (rows[row], columns[column]);
                for (y, x, weight) in [
                    (top, left, (1.0 - down) * (1.0 - across)),
                    (top, right, (1.0 - down) * across),
                    (bottom, left, down * (1.0 - across)),
                    (bottom, right, down * across),
                ] {
                    out.index.push((y * side + x) as i64);
                    out.weight.push(weight);
                }
            }
        }
        out
    }
}

/// `count` points spread evenly over the entries `0..side`: for each the entries before and after it, and how far it is
/// towards the latter, 0..1. In single precision and from both ends to the middle, as the reference's `linspace` does it.
fn stretch(count: usize, side: usize) -> Vec<(usize, usize, f32)> {
    let last = (side - 1) as f32;
    let step = last / count.saturating_sub(1).max(1) as f32;
    let point = |i: usize| match i < count / 2 || count == 1 {
        true => step * i as f32,
        false => last - step * (count - 1 - i) as f32,
    };
    (0..count)
        .map(point)
        .map(|at| {
            let before = (at as usize).min(side - 1);
            (before, (before + 1).min(side - 1), at - before as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tactus_bundle::{Processor, Scaling};

    use super::*;

    const IMAGE: i64 = 99;

    fn grid(rows: usize, columns: usize) -> Grid {
        Grid { rows, columns }
    }

    fn vision(window: usize, position_table: usize) -> Vision {
        Vision {
            patch: 14,
            temporal_patch: 2,
            merge: 2,
            window,
            position_table,
            deepstack: 0,
            mean: [0.5; 3],
            std: [0.5; 3],
            min_pixels: 1,
            max_pixels: 1_000_000,
            scaling: Scaling::Bicubic(Processor::Pil),
        }
    }

    #[test]
    fn text_counts_on_and_images_span_their_grid() {
        // Numbers from transformers 5.23: two words, <start>, an image of 2x3 tokens, three words, an image of 1x3.
        let mut ids = vec![1, 2, 3];
        ids.extend([IMAGE; 6]);
        ids.extend([9, 8, 3]);
        ids.extend([IMAGE; 3]);
        ids.extend([7, 7]);
        let expected: [[i64; 17]; 3] = [
            [0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8, 9, 9, 9, 12, 13],
            [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8, 9, 9, 9, 12, 13],
            [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        ];
        assert_eq!(
            mrope(&ids, &[], IMAGE, &[grid(4, 6), grid(2, 6)], 2),
            expected.concat()
        );
    }

    #[test]
    fn a_prompt_without_images_counts() {
        assert_eq!(mrope(&[5, 6], &[1, 1], IMAGE, &[], 2), [0, 1, 0, 1, 0, 1]);
        assert_eq!(mrope(&[], &[], IMAGE, &[], 2), [0_i64; 0]);
    }

    #[test]
    fn more_image_tokens_than_images_do_not_run_past_the_end() {
        assert_eq!(
            mrope(&[IMAGE; 3], &[1; 3], IMAGE, &[grid(4, 4)], 2).len(),
            9
        );
    }

    #[test]
    fn windows_cut_at_the_edges_are_numbered_through_all_images() {
        // Numbers from transformers 5.23 for 5x3 and 2x6 merge units in windows of 4x4: windows of 12, 3, 8, 4 units.
        let index = VisionIndex::new(&[grid(10, 6), grid(4, 12)], &vision(112, 0));
        let windows = index.windows.expect("windows");
        let expected: Vec<i64> = (0..19).chain(21..25).chain([19, 20, 25, 26]).collect();
        assert_eq!(windows.window_index, expected);
        let ends = [(0, 48), (1, 60), (2, 92), (3, 108)];
        for (patch, window) in windows.seg_window.iter().enumerate() {
            let expected = ends
                .iter()
                .find(|(_, end)| patch < *end)
                .map(|(window, _)| *window);
            assert_eq!(Some(*window), expected, "patch {patch}");
        }
        assert_eq!(index.seg_full, [vec![0; 60], vec![1; 48]].concat());
        let start = [
            [0, 0],
            [0, 1],
            [1, 0],
            [1, 1],
            [0, 2],
            [0, 3],
            [1, 2],
            [1, 3],
        ]
        .concat();
        assert_eq!(index.pos_ids[..16], start);
        assert_eq!(index.pos_ids.len(), 2 * 108);
    }

    #[test]
    fn every_merge_unit_is_in_exactly_one_window() {
        for (rows, columns) in [(2, 2), (8, 8), (10, 22), (34, 46), (52, 92)] {
            let mut units = Windows::new(&[grid(rows, columns)], 2, 4).window_index;
            units.sort_unstable();
            let expected: Vec<i64> = (0..(rows * columns / 4) as i64).collect();
            assert_eq!(units, expected, "{rows}x{columns}");
        }
    }

    #[test]
    fn a_table_is_stretched_corner_to_corner() {
        let index = VisionIndex::new(&[grid(4, 2)], &vision(0, 7));
        assert!(index.windows.is_none());
        let table = index.table.expect("a table");
        // By hand: rows at 0, 2, 4, 6 of 0..=6; columns at 0 and 6.
        let row = |patch: usize| &table.index[4 * patch..4 * patch + 4];
        assert_eq!(row(0), [0, 1, 7, 8]);
        assert_eq!(row(1), [6, 6, 13, 13]);
        assert_eq!(row(2), [14, 15, 21, 22]);
        assert_eq!(row(7), [48, 48, 48, 48]);
        for weights in table.weight.chunks(4) {
            assert_eq!(weights, [1.0, 0.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn shares_add_up_whatever_the_size() {
        for (rows, columns) in [(2, 2), (16, 16), (12, 22), (44, 80), (48, 96)] {
            let table = TablePlaces::new(&[grid(rows, columns)], 2, 48);
            assert_eq!(table.index.len(), 4 * rows * columns);
            assert!(table.index.iter().all(|i| (0..48 * 48).contains(i)));
            for weights in table.weight.chunks(4) {
                let sum: f32 = weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-6 && weights.iter().all(|w| *w >= 0.0));
            }
        }
    }
}
