//! What was computed held against what is golden: one row each, within a tolerance or not.

use std::path::Path;

use tactus_bundle::{Graph, Precision};

use super::Case;
use crate::{
    error::VlaError,
    report::{VerifyRow, cosine, largest},
};

/// Tolerance of a boundary that has its own golden input.
pub(super) const BOUNDARY: f64 = 1e-4;
/// Tolerance of the output of a graph of half precision.
pub(super) const HALF: f64 = 1e-2;

impl Case<'_> {
    /// Tolerance of what `graph` makes.
    pub(super) fn tolerance(&self, graph: Graph) -> f64 {
        match self.manifest.graph(graph).map(|file| file.precision) {
            None | Some(Precision::Fp32) => BOUNDARY,
            Some(Precision::Fp16 | Precision::Bf16) => HALF,
        }
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
