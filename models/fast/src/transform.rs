//! The orthonormal discrete cosine transform, type II, and its inverse, type III, in double precision.
//!
//! A chunk has a few dozen rows, so it is a product with one small matrix: with `N` rows, row `k` of it is
//! `s_k cos(pi (2n + 1) k / 2N)`, where `s_0 = sqrt(1/N)` and every other `s_k = sqrt(2/N)`. Its inverse is its transpose.

use std::f64::consts::PI;

/// The transform of columns of one length.
#[derive(Debug, Clone)]
pub struct Cosines {
    rows: usize,
    /// `[k][n]`.
    matrix: Vec<f64>,
}

impl Cosines {
    /// For columns of `rows` values.
    pub fn new(rows: usize) -> Self {
        let count = rows as f64;
        let entry = |i: usize| {
            let (k, n) = ((i / rows) as f64, (i % rows) as f64);
            let size = if i < rows { 1.0 } else { 2.0 } / count;
            size.sqrt() * (PI * (2.0 * n + 1.0) * k / (2.0 * count)).cos()
        };
        let matrix = (0..rows * rows).map(entry).collect();
        Self { rows, matrix }
    }

    /// Values to coefficients, along the rows of `[rows, dims]`.
    pub fn forward(&self, values: &[f64], dims: usize) -> Vec<f64> {
        self.product(values, dims, |k, n| k * self.rows + n)
    }

    /// Coefficients to values.
    pub fn inverse(&self, coefficients: &[f64], dims: usize) -> Vec<f64> {
        self.product(coefficients, dims, |n, k| k * self.rows + n)
    }

    fn product(&self, of: &[f64], dims: usize, at: impl Fn(usize, usize) -> usize) -> Vec<f64> {
        let sum = |i: usize| {
            let (row, dim) = (i / dims, i % dims);
            (0..self.rows)
                .map(|other| self.matrix[at(row, other)] * of[other * dims + dim])
                .sum()
        };
        (0..self.rows * dims).map(sum).collect()
    }
}
