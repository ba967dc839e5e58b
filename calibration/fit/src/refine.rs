//! The last step of hand-eye calibration: camera and board are placed so that what was seen is likeliest, and how sure that is.
//!
//! With A the hand in the base, X the camera in the hand and Z the board in the base, the board in the camera is
//! `B = X^-1 A^-1 Z` (Tabb and Ahmad Yousef, *Solving the robot-world hand-eye(s) calibration problem with iterative methods*,
//! 2017, has the family of such problems). Residual of a pose: the way from the board that was seen to the one that X and Z
//! foretell. Its weight is the inverse of its covariance: that of the board's pose from its corners, and the arm's own
//! inaccuracy as it shows in the camera. Gauss-Newton over both poses, on SE(3).

use nalgebra::{Isometry3, Matrix6, SMatrix, SVector, Vector6};
use tactus_calibration::exchange::ArmNoise;

use crate::pnp::{BoardPose, moved, way};

/// A pose of the arm, and the board as it was seen there.
#[derive(Debug, Clone)]
pub struct Pair {
    /// `X_BE` for a camera in the hand, `X_EB` for one that stands still.
    pub a: Isometry3<f64>,
    /// Whether `a` is `X_EB`.
    pub inverted: bool,
    /// `X_CW`.
    pub b: BoardPose,
}

/// Where camera and board are.
#[derive(Debug, Clone)]
pub struct Places {
    /// X.
    pub x: Isometry3<f64>,
    /// Z.
    pub z: Isometry3<f64>,
    /// Of X moved in its own frame, m and rad, scaled by how well the poses fit.
    pub covariance: Matrix6<f64>,
}

const STEP: f64 = 1e-6;

fn foretold(a: &Isometry3<f64>, x: &Isometry3<f64>, z: &Isometry3<f64>) -> Isometry3<f64> {
    (a * x).inverse() * z
}

fn unit(i: usize) -> Vector6<f64> {
    let mut d = Vector6::zeros();
    d[i] = STEP;
    d
}

/// Derivative by six moves of something whose residual `at` gives.
fn derivative(at: impl Fn(&Vector6<f64>) -> Vector6<f64>) -> Matrix6<f64> {
    let mut j = Matrix6::zeros();
    for i in 0..6 {
        j.set_column(i, &((at(&unit(i)) - at(&-unit(i))) / (2.0 * STEP)));
    }
    j
}

/// Camera and board, from a start that is near.
pub fn refine(
    pairs: &[Pair],
    noise: ArmNoise,
    mut x: Isometry3<f64>,
    mut z: Isometry3<f64>,
) -> Option<Places> {
    // Of three axes together to one.
    let (m2, rad2) = (
        (noise.mm / 1e3).powi(2) / 3.0,
        noise.deg.to_radians().powi(2) / 3.0,
    );
    let arm = Matrix6::from_diagonal(&Vector6::new(m2, m2, m2, rad2, rad2, rad2));
    let mut normal = SMatrix::<f64, 12, 12>::zeros();
    let mut cost = f64::INFINITY;
    for _ in 0..50 {
        let mut gradient = SVector::<f64, 12>::zeros();
        let mut now = 0.0;
        normal = SMatrix::zeros();
        for Pair { a, inverted, b } in pairs {
            let residual = way(&b.x_cw, &foretold(a, &x, &z));
            let by_arm = derivative(|d| {
                let a = match inverted {
                    false => moved(a, d),
                    // The hand moves in its own frame, whichever way its pose is written.
                    true => moved(&a.inverse(), d).inverse(),
                };
                way(&b.x_cw, &foretold(&a, &x, &z))
            });
            let weight = (b.covariance + by_arm * arm * by_arm.transpose()).try_inverse()?;
            let by_x = derivative(|d| way(&b.x_cw, &foretold(a, &moved(&x, d), &z)));
            let by_z = derivative(|d| way(&b.x_cw, &foretold(a, &x, &moved(&z, d))));
            let mut j = SMatrix::<f64, 6, 12>::zeros();
            j.fixed_columns_mut::<6>(0).copy_from(&by_x);
            j.fixed_columns_mut::<6>(6).copy_from(&by_z);
            normal += j.transpose() * weight * j;
            gradient += j.transpose() * weight * residual;
            now += residual.dot(&(weight * residual));
        }
        let step = -normal.cholesky()?.solve(&gradient);
        x = moved(&x, &step.fixed_rows::<6>(0).into_owned());
        z = moved(&z, &step.fixed_rows::<6>(6).into_owned());
        let settled = (cost - now).abs() <= 1e-9 * now.max(1e-12) || step.norm() < 1e-10;
        cost = now;
        if settled {
            break;
        }
    }
    // Twelve numbers were fitted; what the poses scatter more than they should makes the result less sure.
    let freedom = (6.0 * pairs.len() as f64 - 12.0).max(1.0);
    let covariance = normal.try_inverse()? * (cost / freedom).max(1.0);
    Some(Places {
        x,
        z,
        covariance: covariance.fixed_view::<6, 6>(0, 0).into_owned(),
    })
}
