//! The Jacobian of a chain, of fixed capacity, and how near to a singularity it is. Decides the measure of nearness; does
//! not decide what is done about it.
//!
//! Measure: the condition number, largest over smallest singular value, as MoveIt Servo has it. It is infinite at a
//! singularity and needs no number of the arm's own, other than the *length* that makes metres and radians comparable:
//! linear rows are divided by it. MoveIt Servo has 1 m.
//!
//! With fewer than six joints the singular values are as many as the joints: such an arm is not always singular.

use nalgebra::{Matrix6, Vector6};
use tactus_types::{JointVec, MAX_JOINTS};

/// `[linear; angular]` velocity of the tip in the base frame per unit of each joint's velocity: 6 x n, n up to
/// [`MAX_JOINTS`]. m or rad per rad (revolute) or m (prismatic).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jacobian {
    columns: [Vector6<f64>; MAX_JOINTS],
    len: usize,
}

impl Jacobian {
    /// A Jacobian of `len` joints that do not move the tip. More than [`MAX_JOINTS`] are cut.
    pub fn zeros(len: usize) -> Self {
        Self {
            columns: [Vector6::zeros(); MAX_JOINTS],
            len: len.min(MAX_JOINTS),
        }
    }

    /// One column per joint, in the arm's order.
    pub fn columns(&self) -> &[Vector6<f64>] {
        &self.columns[..self.len]
    }

    /// Column of joint `i`.
    pub(crate) fn column_mut(&mut self, i: usize) -> &mut Vector6<f64> {
        &mut self.columns[i]
    }

    /// The tip's twist at joint velocities `dq`: m/s and rad/s in the base frame.
    pub fn twist(&self, dq: &JointVec) -> Vector6<f64> {
        self.columns()
            .iter()
            .zip(dq.iter())
            .fold(Vector6::zeros(), |sum, (column, v)| sum + column * *v)
    }

    /// Linear rows divided by `length_m`, so that all rows are in radians.
    pub fn scaled(&self, length_m: f64) -> Self {
        let mut out = *self;
        for column in &mut out.columns[..self.len] {
            column.fixed_rows_mut::<3>(0).scale_mut(1.0 / length_m);
        }
        out
    }

    /// `J J^T`.
    pub fn gram(&self) -> Matrix6<f64> {
        let mut gram = Matrix6::zeros();
        for column in self.columns() {
            gram.syger(1.0, column, column, 1.0);
        }
        gram.fill_upper_triangle_with_lower_triangle();
        gram
    }

    /// Largest and smallest singular value; of the first min(6, n).
    pub fn singular_range(&self) -> [f64; 2] {
        if self.len == 0 {
            return [0.0, 0.0];
        }
        let mut squares: [f64; 6] = self.gram().symmetric_eigenvalues().into();
        squares.sort_unstable_by(|a, b| b.total_cmp(a));
        let smallest = squares[self.len.min(6) - 1];
        [squares[0].max(0.0).sqrt(), smallest.max(0.0).sqrt()]
    }

    /// Condition number, 1 or more, infinite at a singularity.
    pub fn condition(&self) -> f64 {
        let [largest, smallest] = self.singular_range();
        // Squares of singular values are known to about 1e-16 of the largest, so the values to 1e-8.
        if smallest > 1e-8 * largest {
            largest / smallest
        } else {
            f64::INFINITY
        }
    }

    /// Manipulability `sqrt(det(J J^T))`, 0 at a singularity and for fewer than six joints. Source: Yoshikawa,
    /// *Manipulability of Robotic Mechanisms*, 1985, eq. 3.
    pub fn manipulability(&self) -> f64 {
        self.gram().determinant().max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{DMatrix, SMatrix};
    use proptest::prelude::*;

    proptest! {
        /// Against nalgebra's singular value decomposition of the same matrix, for every number of joints.
        #[test]
        fn the_condition_number_is_that_of_the_singular_values(
            n in 1usize..=MAX_JOINTS, values in prop::array::uniform32(-1.0f64..1.0), turn in 0.1f64..3.0
        ) {
            let mut jacobian = Jacobian::zeros(n);
            for i in 0..n {
                let value = |row: usize| values[(row * 7 + i * 5) % 32] + turn * ((row * i) as f64).sin();
                *jacobian.column_mut(i) = Vector6::from_fn(|row, _| value(row));
            }
            let dense = DMatrix::from_fn(6, n, |row, i| jacobian.columns()[i][row]);
            let singular = dense.singular_values();
            let expected = singular.max() / singular.min();
            let condition = jacobian.condition();
            if expected < 1e4 {
                prop_assert!((condition / expected - 1.0).abs() < 1e-5, "{condition} and {expected}");
            } else {
                prop_assert!(condition > 9e3, "{condition} and {expected}");
            }
        }
    }

    #[test]
    fn a_joint_without_effect_makes_it_infinite() {
        let mut jacobian = Jacobian::zeros(3);
        *jacobian.column_mut(0) = Vector6::x();
        *jacobian.column_mut(1) = Vector6::y();
        assert_eq!(jacobian.condition(), f64::INFINITY);
        assert_eq!(Jacobian::zeros(0).condition(), f64::INFINITY);
    }

    #[test]
    fn gram_is_the_product_with_the_transpose() {
        let mut jacobian = Jacobian::zeros(6);
        for i in 0..6 {
            *jacobian.column_mut(i) = Vector6::from_fn(|row, _| ((row * 6 + i) as f64).cos());
        }
        let dense = SMatrix::<f64, 6, 6>::from_columns(jacobian.columns());
        assert!((jacobian.gram() - dense * dense.transpose()).norm() < 1e-12);
        assert!((jacobian.manipulability() - dense.determinant().abs()).abs() < 1e-9);
    }
}
