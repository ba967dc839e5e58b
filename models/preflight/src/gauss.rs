//! A normal distribution that is learnt from few samples, and how far from its middle something is.

use nalgebra::{Cholesky, DMatrix, DVector};

/// Middle and inverse covariance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gauss {
    pub mean: DVector<f64>,
    /// Inverse of the covariance.
    pub precision: DMatrix<f64>,
}

impl Gauss {
    /// Learns from the rows of `samples`; the variance of each column is at least `floor`, squared. `None` without a
    /// sample, and when the numbers are not finite.
    pub fn learn(samples: &DMatrix<f64>, floor: f64) -> Option<Self> {
        let count = samples.nrows();
        if count == 0 {
            return None;
        }
        let mean = samples.row_mean().transpose();
        let mut away = samples.clone();
        for mut row in away.row_iter_mut() {
            row -= mean.transpose();
        }
        let mut covariance = away.tr_mul(&away) / count as f64;
        for i in 0..covariance.nrows() {
            covariance[(i, i)] += floor * floor;
        }
        let precision = Cholesky::new(covariance)?.inverse();
        let finite = |m: &DMatrix<f64>| m.iter().all(|v| v.is_finite());
        finite(&precision).then_some(Self { mean, precision })
    }

    /// Squared distance of `x` from the middle, in standard deviations (Mahalanobis).
    pub fn distance(&self, x: &DVector<f64>) -> f64 {
        let away = x - &self.mean;
        away.dot(&(&self.precision * &away))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_standard_deviations_along_each_axis() {
        let samples = DMatrix::from_row_slice(4, 2, &[1.0, 0.0, -1.0, 0.0, 0.0, 3.0, 0.0, -3.0]);
        let gauss = Gauss::learn(&samples, 0.0).expect("enough samples");
        let of = |x, y| gauss.distance(&DVector::from_vec(vec![x, y]));
        assert!((of(1.0, 0.0) - 2.0).abs() < 1e-9);
        assert!((of(0.0, 3.0) - 2.0).abs() < 1e-9);
        assert_eq!(of(0.0, 0.0), 0.0);
    }

    #[test]
    fn a_column_that_never_moves_has_its_floor() {
        let samples = DMatrix::from_row_slice(3, 1, &[1.0, 1.0, 1.0]);
        assert!(Gauss::learn(&samples, 0.0).is_none());
        let gauss = Gauss::learn(&samples, 0.1).expect("a floor");
        assert!((gauss.distance(&DVector::from_element(1, 1.2)) - 4.0).abs() < 1e-9);
    }
}
