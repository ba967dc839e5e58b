//! The pose of a board from its corners and a known lens, with the covariance that the corners' own scatter gives it.
//!
//! Decides nothing about what it is used for. The start is OpenCV's IPPE (Collins and Bartoli, *Infinitesimal plane-based pose
//! estimation*, 2014) on rays, the end Gauss-Newton on pixels through whatever lens.

use nalgebra::{Isometry3, Matrix6, Point3, Translation3, UnitQuaternion, Vector3, Vector6};
use opencv::calib3d::{
    SOLVEPNP_IPPE, fisheye_undistort_points_def, solve_pnp, undistort_points_iter,
};
use opencv::core::{Mat, Point2d, Point3d, TermCriteria, TermCriteria_Type, Vector};
use opencv::prelude::*;
use tactus_calibration::exchange::View;
use tactus_calibration::{Board, Lens, LensModel};

use crate::{Refused, opencv as said};

/// A board's pose.
#[derive(Debug, Clone)]
pub struct BoardPose {
    /// `X_CW`.
    pub x_cw: Isometry3<f64>,
    /// Of [`moved`], m and rad, with the corners scattered as they are.
    pub covariance: Matrix6<f64>,
    /// Root mean square of the distance between corners and where the lens would put them, pixels.
    pub rms_px: f64,
}

/// No corner is found better than this, pixels: a lucky view does not count for more.
const LEAST_SCATTER_PX: f64 = 0.05;

/// `x` moved by `d` (m, then a rotation vector in rad) in its own frame.
pub fn moved(x: &Isometry3<f64>, d: &Vector6<f64>) -> Isometry3<f64> {
    x * Isometry3::from_parts(
        Translation3::new(d[0], d[1], d[2]),
        UnitQuaternion::from_scaled_axis(Vector3::new(d[3], d[4], d[5])),
    )
}

/// The way from `a` to `b`: what [`moved`] takes.
pub fn way(a: &Isometry3<f64>, b: &Isometry3<f64>) -> Vector6<f64> {
    let d = a.inverse() * b;
    let (t, r) = (d.translation.vector, d.rotation.scaled_axis());
    Vector6::new(t.x, t.y, t.z, r.x, r.y, r.z)
}

/// The camera matrix.
pub fn matrix(lens: &Lens) -> opencv::Result<Mat> {
    let [fx, fy, cx, cy] = lens.camera;
    Mat::from_slice_2d(&[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
}

/// An OpenCV rotation vector and a translation as a transformation.
pub fn isometry(turn: &Mat, way: &Mat) -> opencv::Result<Isometry3<f64>> {
    let vector = |m: &Mat| -> opencv::Result<Vector3<f64>> {
        let v = m.data_typed::<f64>()?;
        Ok(Vector3::new(v[0], v[1], v[2]))
    };
    Ok(Isometry3::new(vector(way)?, vector(turn)?))
}

fn start(board: &Board, lens: &Lens, view: &View) -> opencv::Result<Isometry3<f64>> {
    let pixels: Vector<Point2d> = view
        .corners
        .iter()
        .map(|c| Point2d::new(c.pixel[0], c.pixel[1]))
        .collect();
    let distortion = Mat::from_slice(&lens.distortion)?.try_clone()?;
    let camera = matrix(lens)?;
    let mut rays = Vector::<Point2d>::new();
    match lens.model {
        LensModel::Equidistant => {
            fisheye_undistort_points_def(&pixels, &mut rays, &camera, &distortion)?;
        }
        LensModel::PlumbBob | LensModel::RationalPolynomial => {
            let criteria = TermCriteria {
                typ: TermCriteria_Type::COUNT as i32 + TermCriteria_Type::EPS as i32,
                max_count: 40,
                epsilon: 1e-8,
            };
            let none = Mat::default();
            undistort_points_iter(
                &pixels,
                &mut rays,
                &camera,
                &distortion,
                &none,
                &none,
                criteria,
            )?;
        }
    }
    let corners: Vector<Point3d> = view
        .corners
        .iter()
        .map(|c| {
            let [x, y] = board.corner_m(c.id);
            Point3d::new(x, y, 0.0)
        })
        .collect();
    let one = Mat::eye(3, 3, opencv::core::CV_64F)?.to_mat()?;
    let (mut turn, mut way) = (Mat::default(), Mat::default());
    solve_pnp(
        &corners,
        &rays,
        &one,
        &Mat::default(),
        &mut turn,
        &mut way,
        false,
        SOLVEPNP_IPPE,
    )?;
    isometry(&turn, &way)
}

/// Pixels from where the corners are to where a board at `x` would have them; `None` when one is not before the camera.
pub fn residuals(board: &Board, lens: &Lens, view: &View, x: &Isometry3<f64>) -> Option<Vec<f64>> {
    let mut all = Vec::with_capacity(view.corners.len() * 2);
    for corner in &view.corners {
        let [bx, by] = board.corner_m(corner.id);
        let at = x * Point3::new(bx, by, 0.0);
        let [u, v] = lens.pixel([at.x, at.y, at.z])?;
        all.extend([u - corner.pixel[0], v - corner.pixel[1]]);
    }
    all.iter().all(|v| v.is_finite()).then_some(all)
}

/// Root mean square over points of which there are two numbers each.
pub fn rms(residuals: &[f64]) -> f64 {
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    (squares / (residuals.len() as f64 / 2.0).max(1.0)).sqrt()
}

/// Columns of the derivative of the residuals by a move of `x` in its own frame.
pub fn derivative(
    board: &Board,
    lens: &Lens,
    view: &View,
    x: &Isometry3<f64>,
) -> Option<[Vec<f64>; 6]> {
    const STEP: f64 = 1e-6;
    let mut columns: [Vec<f64>; 6] = Default::default();
    for (i, column) in columns.iter_mut().enumerate() {
        let mut d = Vector6::zeros();
        d[i] = STEP;
        let (up, down) = (
            residuals(board, lens, view, &moved(x, &d))?,
            residuals(board, lens, view, &moved(x, &-d))?,
        );
        *column = up
            .iter()
            .zip(&down)
            .map(|(a, b)| (a - b) / (2.0 * STEP))
            .collect();
    }
    Some(columns)
}

/// The board's pose.
///
/// # Errors
/// When the corners are those of no board before the camera.
pub fn pose(board: &Board, lens: &Lens, view: &View) -> Result<BoardPose, Refused> {
    let nowhere = || {
        format!(
            "{}: the corners are those of no flat board before the camera",
            view.name
        )
    };
    let mut x = start(board, lens, view).map_err(said)?;
    let mut r = residuals(board, lens, view, &x).ok_or_else(nowhere)?;
    let mut normal = Matrix6::zeros();
    for _ in 0..30 {
        let columns = derivative(board, lens, view, &x).ok_or_else(nowhere)?;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        normal = Matrix6::from_fn(|i, j| dot(&columns[i], &columns[j]));
        let gradient = Vector6::from_fn(|i, _| dot(&columns[i], &r));
        let step = -normal.cholesky().ok_or_else(nowhere)?.solve(&gradient);
        // Halved until it helps: far away the problem is not a parabola.
        let mut share = 1.0;
        let better = loop {
            let next = moved(&x, &(step * share));
            match residuals(board, lens, view, &next) {
                Some(to) if rms(&to) <= rms(&r) => break Some((next, to)),
                _ if share < 1e-3 => break None,
                _ => share /= 2.0,
            }
        };
        let Some((next, to)) = better else { break };
        let gained = rms(&r) - rms(&to);
        (x, r) = (next, to);
        if gained < 1e-9 {
            break;
        }
    }
    let freedom = (r.len() as f64 - 6.0).max(1.0);
    let scatter = (r.iter().map(|r| r * r).sum::<f64>() / freedom).max(LEAST_SCATTER_PX.powi(2));
    Ok(BoardPose {
        x_cw: x,
        covariance: normal.try_inverse().ok_or_else(nowhere)? * scatter,
        rms_px: rms(&r),
    })
}
