//! Where tokens and patches are: M-RoPE position ids of the prompt, and the vision graph's index tensors.
//!
//! All of it is integers that depend only on the prompt's length and the image sizes. Sources: `get_rope_index` and
//! `get_window_index` of Qwen2.5-VL in transformers; the tests hold numbers computed by them.

use crate::patch::Grid;

/// M-RoPE position ids of a prompt: `[3, 1, S]` as (time, height, width), row-major.
///
/// Text counts on in all three axes. An image that starts at `p` has time `p`, height `p + row` and width
/// `p + column` over its merged grid; what follows starts one after the largest id so far. `grids` are the patch
/// grids of the images in prompt order, `merge` the patches per side of a merge unit. Image tokens beyond the grids
/// count as text.
pub fn mrope(ids: &[i64], image_token: i64, grids: &[Grid], merge: usize) -> Vec<i64> {
    let length = ids.len();
    let mut out = vec![0; 3 * length];
    let (time, rest) = out.split_at_mut(length);
    let (height, width) = rest.split_at_mut(length);
    let mut next = 0;
    let mut at = 0;
    let mut grids = grids.iter();
    while at < length {
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

/// Index inputs of the vision graph for a set of images; P patches and N = P / merge^2 merge units in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisionIndex {
    /// `[P, 2]`: (row, column) of each patch in its image, in the order of the rows of `pixel_values`.
    pub pos_ids: Vec<i64>,
    /// `[N]`: the merge units in windowed order.
    pub window_index: Vec<i64>,
    /// `[P]`: image of each patch, in windowed order.
    pub seg_full: Vec<i64>,
    /// `[P]`: window of each patch, in windowed order, counted through all images.
    pub seg_window: Vec<i64>,
}

impl VisionIndex {
    /// Index inputs for images of these patch grids. `merge` is the patches per side of a merge unit and `window`
    /// the merge units per side of an attention window; windows at the right and lower edge are cut off.
    pub fn new(grids: &[Grid], merge: usize, window: usize) -> Self {
        let mut out = Self {
            pos_ids: Vec::new(),
            window_index: Vec::new(),
            seg_full: Vec::new(),
            seg_window: Vec::new(),
        };
        let per_unit = merge * merge;
        let mut first_unit = 0;
        let mut windows = 0;
        for (image, grid) in (0..).zip(grids) {
            let (rows, columns) = (grid.rows / merge, grid.columns / merge);
            let patches = grid.merge_order(merge);
            out.pos_ids
                .extend(patches.flat_map(|(row, column)| [row as i64, column as i64]));
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
            out.seg_full
                .extend(std::iter::repeat_n(image, rows * columns * per_unit));
            first_unit += rows * columns;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: i64 = 99;

    fn grid(rows: usize, columns: usize) -> Grid {
        Grid { rows, columns }
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
            mrope(&ids, IMAGE, &[grid(4, 6), grid(2, 6)], 2),
            expected.concat()
        );
    }

    #[test]
    fn a_prompt_without_images_counts() {
        assert_eq!(mrope(&[5, 6], IMAGE, &[], 2), [0, 1, 0, 1, 0, 1]);
        assert_eq!(mrope(&[], IMAGE, &[], 2), [0_i64; 0]);
    }

    #[test]
    fn more_image_tokens_than_images_do_not_run_past_the_end() {
        assert_eq!(mrope(&[IMAGE; 3], IMAGE, &[grid(4, 4)], 2).len(), 9);
    }

    #[test]
    fn windows_cut_at_the_edges_are_numbered_through_all_images() {
        // Numbers from transformers 5.23 for 5x3 and 2x6 merge units in windows of 4x4: windows of 12, 3, 8, 4 units.
        let index = VisionIndex::new(&[grid(10, 6), grid(4, 12)], 2, 4);
        let expected: Vec<i64> = (0..19).chain(21..25).chain([19, 20, 25, 26]).collect();
        assert_eq!(index.window_index, expected);
        let ends = [(0, 48), (1, 60), (2, 92), (3, 108)];
        for (patch, window) in index.seg_window.iter().enumerate() {
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
            let mut units = VisionIndex::new(&[grid(rows, columns)], 2, 4).window_index;
            units.sort_unstable();
            let expected: Vec<i64> = (0..(rows * columns / 4) as i64).collect();
            assert_eq!(units, expected, "{rows}x{columns}");
        }
    }
}
