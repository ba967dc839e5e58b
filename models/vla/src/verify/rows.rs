//! What was computed held against what is golden: one row each, within a tolerance or not.

use std::path::Path;

use tactus_bundle::{Graph, Precision};
use tactus_types::Encoding;

use super::Case;
use crate::{
    error::VlaError,
    report::{VerifyRow, cosine, largest},
};

/// Tolerance of a boundary that has its own golden input.
pub(super) const BOUNDARY: f64 = 1e-4;
/// Tolerance of the path from pixels in single precision, in ranges of the action's columns.
const FROM_PIXELS: f64 = 1e-3;
/// Tolerance of the path from JPEG files, in ranges of the action's columns, where from pixels it is not more.
const FROM_JPEG: f64 = 1e-2;

/// Tolerance of the output of a graph of this precision. A number of bf16 is 8 times coarser than one of fp16; a vision tower
/// and a backbone of RoboAlign's depth were found 1.7e-2 and 2.2e-2 off in it (PyTorch, narrow random weights).
fn bound(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => BOUNDARY,
        Precision::Fp16 => 1e-2,
        Precision::Bf16 => 5e-2,
    }
}

/// Tolerance from pixels, or from JPEG files, to actions, through graphs whose largest tolerance is `graphs`.
fn end_to_end(graphs: f64, encoding: Encoding) -> f64 {
    let from_pixels = if graphs > BOUNDARY {
        graphs
    } else {
        FROM_PIXELS
    };
    match encoding {
        Encoding::Rgb8 => from_pixels,
        Encoding::Jpeg => from_pixels.max(FROM_JPEG),
    }
}

impl Case<'_> {
    /// Tolerance of what `graph` makes.
    pub(super) fn tolerance(&self, graph: Graph) -> f64 {
        let file = self.manifest.graph(graph);
        bound(file.map_or(Precision::Fp32, |file| file.precision))
    }

    /// Tolerance of actions that were made from what the cameras saw.
    pub(super) fn end_to_end_tolerance(&self, encoding: Encoding) -> f64 {
        let graphs = Graph::ALL.iter().map(|graph| self.tolerance(*graph));
        end_to_end(graphs.fold(BOUNDARY, f64::max), encoding)
    }

    /// Copies the golden tensor `name` into a graph's input.
    pub(super) fn load(&self, name: &str, into: &mut [f32]) -> Result<(), VlaError> {
        let golden = self.case.f32(name)?;
        if golden.len() != into.len() {
            return Err(self.input().shape(name, into.len(), golden.len()));
        }
        into.copy_from_slice(golden);
        Ok(())
    }

    pub(super) fn push_tensor(
        &mut self,
        name: &str,
        ours: &[f32],
        tolerance: f64,
    ) -> Result<(), VlaError> {
        let golden = self.case.f32(name)?;
        let scale = golden
            .iter()
            .fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
        // A golden tensor of zeros is compared absolutely.
        let scale = if scale == 0.0 { 1.0 } else { scale };
        self.push(name.into(), largest(ours, golden), scale, tolerance);
        if let Some(row) = self.rows.last_mut() {
            row.cosine = cosine(ours, golden);
        }
        Ok(())
    }

    pub(super) fn push_actions(
        &mut self,
        boundary: &str,
        ours: &[f64],
        ranges: &[f64],
        tolerance: f64,
    ) -> Result<(), VlaError> {
        let golden = self.case.f32("actions")?;
        if golden.len() != ours.len() {
            return Err(self.input().shape("actions", ours.len(), golden.len()));
        }
        let values = ours.iter();
        // The column with the largest error relative to its own range is the row's.
        let worst = values
            .zip(golden)
            .zip(ranges)
            .map(|((ours, golden), range)| ((ours - f64::from(*golden)).abs(), *range))
            .max_by(|(a, of_a), (b, of_b)| (a / of_a).total_cmp(&(b / of_b)));
        let (error, range) = worst.unwrap_or((f64::NAN, 1.0));
        self.push(boundary.into(), error, range, tolerance);
        Ok(())
    }

    pub(super) fn push(&mut self, boundary: String, max_abs: f64, scale: f64, tolerance: f64) {
        let max_rel_to_scale = max_abs / scale;
        self.rows.push(VerifyRow {
            case: Path::new(&self.case.file)
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            boundary,
            max_abs,
            scale,
            max_rel_to_scale,
            cosine: None,
            tolerance,
            passed: max_rel_to_scale <= tolerance,
        });
    }
}

/// Mean difference of the bytes of two images; NaN when their lengths differ.
pub(super) fn mean_error(ours: &[u8], golden: &[u8]) -> f64 {
    if ours.len() != golden.len() {
        return f64::NAN;
    }
    let both = ours.iter().zip(golden);
    let total: u64 = both.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    total as f64 / ours.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_has_a_bound_of_its_own_all_the_way_to_actions() {
        let all = [Precision::Fp32, Precision::Fp16, Precision::Bf16].map(bound);
        assert_eq!(all, [1e-4, 1e-2, 5e-2]);
        assert_eq!(
            all.map(|graphs| end_to_end(graphs, Encoding::Rgb8)),
            [1e-3, 1e-2, 5e-2]
        );
        assert_eq!(
            all.map(|graphs| end_to_end(graphs, Encoding::Jpeg)),
            [1e-2, 1e-2, 5e-2]
        );
    }
}
