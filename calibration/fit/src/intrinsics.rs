//! The lens, from views of a board.
//!
//! Decides which views count, how the result is checked on views that it was not made from, and when it is refused. The fit
//! itself is OpenCV's (`calibrateCamera`; Zhang, *A flexible new technique for camera calibration*, 2000; `fisheye`).
//! DIFFERENCE: its standard deviations (`calibrateCameraExtended`) come from a pseudo-inverse, and are smallest where views say
//! nothing: 0.02 px of a focal length that is out by 47 px, when no view is tilted. They are worked out here.

use nalgebra::{DMatrix, SMatrix};
use opencv::calib3d::{
    CALIB_FIX_K3, CALIB_RATIONAL_MODEL, CALIB_USE_INTRINSIC_GUESS, Fisheye_CALIB_FIX_SKEW,
    Fisheye_CALIB_RECOMPUTE_EXTRINSIC, Fisheye_CALIB_USE_INTRINSIC_GUESS, calibrate,
    calibrate_camera,
};
use opencv::core::{
    Mat, Point2f, Point3f, Size, TermCriteria, TermCriteria_Type, Vec2d, Vec3d, Vector,
};
use opencv::prelude::*;
use tactus_calibration::exchange::{Answer, View};
use tactus_calibration::{Board, IntrinsicsQuality, Lens, LensModel};

use crate::pnp::{self, matrix};
use crate::{Refused, opencv as said};

/// Least number of views.
pub const VIEWS: usize = 12;
/// Folds of the check on views that were held out: each view is held out once.
const FOLDS: usize = 5;
/// A view whose error is so many times the median of all is left out ..
const OUTLIER: f64 = 3.0;
/// .. when it is also this large, pixels.
const OUTLIER_PX: f64 = 0.3;
/// More views than this share may not be left out: then it is not the views.
const OUTLIERS: f64 = 0.25;
/// A larger error on held-out views is refused, pixels.
pub const HELD_OUT_PX: f64 = 1.0;
/// A larger standard deviation of the focal length is refused, of its value.
pub const FOCAL_STD: f64 = 0.005;

/// A lens, and standard deviations of fx, fy, cx, cy, pixels.
type Fitted = (Lens, [f64; 4]);

/// The lens that explains the views.
///
/// # Errors
/// Too few or too different views, or a result that is not good enough.
pub fn fit(
    board: &Board,
    model: LensModel,
    views: &[View],
    start: Option<&Lens>,
) -> Result<Answer, Refused> {
    let size = usable(board, views)?;
    if views.len() < VIEWS {
        let n = views.len();
        return Err(format!(
            "too few views: expected at least {VIEWS} with the board, got {n}"
        ));
    }
    if let Some(start) = start.filter(|start| start.size != size) {
        let ((a, b), (c, d)) = (size, start.size);
        return Err(format!(
            "the lens to start from: expected one of {a}x{b}, got {c}x{d}"
        ));
    }
    let mut kept: Vec<usize> = (0..views.len()).collect();
    let (mut lens, mut std_px);
    loop {
        let chosen: Vec<&View> = kept.iter().map(|i| &views[*i]).collect();
        (lens, std_px) = once(board, model, size, &chosen, start)?;
        let errors = each(board, &lens, &chosen)?;
        let mut sorted = errors.clone();
        sorted.sort_by(f64::total_cmp);
        let limit = (OUTLIER * sorted[sorted.len() / 2]).max(OUTLIER_PX);
        let before = kept.len();
        let mut errors = errors.into_iter();
        kept.retain(|_| errors.next().is_some_and(|e| e <= limit));
        if kept.len() == before {
            break;
        }
        if ((views.len() - kept.len()) as f64) > OUTLIERS * views.len() as f64 || kept.len() < VIEWS
        {
            return Err(format!(
                "{} of {} views fit no lens that explains the others: is the board flat and {board}, and the model (`{}`) right for this lens?",
                views.len() - kept.len(),
                views.len(),
                model.word()
            ));
        }
    }
    let chosen: Vec<&View> = kept.iter().map(|i| &views[*i]).collect();
    let mut unseen = Vec::new();
    for fold in 0..FOLDS {
        let part = |held: bool| {
            let views = chosen
                .iter()
                .enumerate()
                .filter(move |(i, _)| (i % FOLDS == fold) == held);
            views.map(|(_, view)| *view).collect::<Vec<&View>>()
        };
        let (other, _) = once(board, model, size, &part(false), Some(&lens))?;
        for view in part(true) {
            let pose = pnp::pose(board, &other, view)?;
            unseen.extend(pnp::residuals(board, &other, view, &pose.x_cw).unwrap_or_default());
        }
    }
    let held_out_rms_px = pnp::rms(&unseen);
    let mut errors_px = vec![None; views.len()];
    for (i, error) in kept.iter().zip(each(board, &lens, &chosen)?) {
        errors_px[*i] = Some(error);
    }
    let squares = chosen
        .iter()
        .zip(errors_px.iter().flatten())
        .map(|(v, e)| v.corners.len() as f64 * e * e);
    let corners: usize = chosen.iter().map(|view| view.corners.len()).sum();
    let quality = IntrinsicsQuality {
        views: kept.len(),
        rejected: views.len() - kept.len(),
        corners,
        rms_px: (squares.sum::<f64>() / corners as f64).sqrt(),
        held_out_rms_px,
        std_px,
        coverage: 0.0,
    };
    gates(&lens, &quality)?;
    Ok(Answer::Intrinsics {
        lens,
        quality,
        errors_px,
    })
}

fn gates(lens: &Lens, quality: &IntrinsicsQuality) -> Result<(), Refused> {
    let held = quality.held_out_rms_px;
    if held.is_nan() || held > HELD_OUT_PX {
        return Err(format!(
            "the lens does not explain views that were held out: expected at most {HELD_OUT_PX} px, got {held:.2}: is the board flat, sharp and of the size that was given?"
        ));
    }
    let share = (quality.std_px[0] / lens.camera[0]).max(quality.std_px[1] / lens.camera[1]);
    if share.is_nan() || share > FOCAL_STD {
        return Err(format!(
            "the views do not say how long the focal length is: expected it within {:.1} %, got {:.1} %: tilt the board more, by 30 to 45 degrees each way, and nearer",
            FOCAL_STD * 100.0,
            share * 100.0
        ));
    }
    let (w, h) = (f64::from(lens.size.0), f64::from(lens.size.1));
    let [fx, fy, cx, cy] = lens.camera;
    let inside = |c: f64, length: f64| (0.2 * length..=0.8 * length).contains(&c);
    if !(inside(cx, w) && inside(cy, h) && (0.5..=2.0).contains(&(fx / fy))) {
        return Err(format!(
            "no lens is like this: fx {fx:.0}, fy {fy:.0}, centre at {cx:.0}, {cy:.0} of {w:.0}x{h:.0}: more views, over the whole picture, tilted"
        ));
    }
    Ok(())
}

/// How well the lens explains the views.
///
/// # Errors
/// Views of another size, or without the board.
pub fn verify(board: &Board, lens: &Lens, views: &[View]) -> Result<Answer, Refused> {
    let size = usable(board, views)?;
    if size != lens.size {
        let ((a, b), (c, d)) = (lens.size, size);
        return Err(format!(
            "the lens is of {a}x{b}: expected such pictures, got {c}x{d}"
        ));
    }
    let mut all = Vec::new();
    for view in views {
        let pose = pnp::pose(board, lens, view)?;
        all.extend(pnp::residuals(board, lens, view, &pose.x_cw).unwrap_or_default());
    }
    Ok(Answer::Verified {
        rms_px: pnp::rms(&all),
        errors_px: each(board, lens, &views.iter().collect::<Vec<_>>())?,
    })
}

/// The size that all views have.
fn usable(board: &Board, views: &[View]) -> Result<(u32, u32), Refused> {
    let Some(first) = views.first() else {
        return Err(format!(
            "too few views: expected at least {VIEWS} with the board, got none"
        ));
    };
    if let Some(other) = views.iter().find(|view| view.size != first.size) {
        let ((a, b), (c, d)) = (first.size, other.size);
        return Err(format!(
            "{}: expected {a}x{b} as {}, got {c}x{d}",
            other.name, first.name
        ));
    }
    let corners = views.iter().flat_map(|view| &view.corners);
    if let Some(corner) = corners.into_iter().find(|c| c.id >= board.corners()) {
        return Err(format!("corner {}: expected one of {board}", corner.id));
    }
    Ok(first.size)
}

fn each(board: &Board, lens: &Lens, views: &[&View]) -> Result<Vec<f64>, Refused> {
    views
        .iter()
        .map(|view| Ok(pnp::pose(board, lens, view)?.rms_px))
        .collect()
}

fn once(
    board: &Board,
    model: LensModel,
    size: (u32, u32),
    views: &[&View],
    start: Option<&Lens>,
) -> Result<Fitted, Refused> {
    let (camera, distortion) = match model {
        LensModel::Equidistant => fisheye(board, size, views, start).map_err(said)?,
        LensModel::PlumbBob | LensModel::RationalPolynomial => {
            pinhole(board, model, size, views, start).map_err(said)?
        }
    };
    let lens = Lens {
        size,
        camera,
        model,
        distortion,
        straight: camera,
    };
    lens.check().map_err(|(field, expected, actual)| {
        format!("the views make no lens: `{field}`: expected {expected}, got {actual}")
    })?;
    let std_px = spread(board, &lens, views)?;
    Ok((lens, std_px))
}

fn criteria() -> TermCriteria {
    TermCriteria {
        typ: TermCriteria_Type::COUNT as i32 + TermCriteria_Type::EPS as i32,
        max_count: 100,
        epsilon: 1e-9,
    }
}

/// Focal lengths and centre, and distortion.
type Numbers = ([f64; 4], Vec<f64>);

fn of_matrix(k: &Mat) -> opencv::Result<[f64; 4]> {
    let k = k.data_typed::<f64>()?;
    Ok([k[0], k[4], k[2], k[5]])
}

fn pinhole(
    board: &Board,
    model: LensModel,
    size: (u32, u32),
    views: &[&View],
    start: Option<&Lens>,
) -> opencv::Result<Numbers> {
    let mut objects = Vector::<Vector<Point3f>>::new();
    let mut pixels = Vector::<Vector<Point2f>>::new();
    for view in views {
        objects.push(
            view.corners
                .iter()
                .map(|c| {
                    let [x, y] = board.corner_m(c.id);
                    Point3f::new(x as f32, y as f32, 0.0)
                })
                .collect(),
        );
        pixels.push(
            view.corners
                .iter()
                .map(|c| Point2f::new(c.pixel[0] as f32, c.pixel[1] as f32))
                .collect(),
        );
    }
    // As ROS has it, k3 is 0; a lens that needs more needs the rational model.
    let mut flags = match model {
        LensModel::RationalPolynomial => CALIB_RATIONAL_MODEL,
        LensModel::PlumbBob | LensModel::Equidistant => CALIB_FIX_K3,
    };
    let (mut k, mut d) = (
        Mat::eye(3, 3, opencv::core::CV_64F)?.to_mat()?,
        Mat::default(),
    );
    if let Some(start) = start.filter(|start| start.model == model) {
        flags |= CALIB_USE_INTRINSIC_GUESS;
        k = matrix(start)?;
        d = Mat::from_slice(&start.distortion)?.try_clone()?;
    }
    let (mut turns, mut ways) = (Vector::<Mat>::new(), Vector::<Mat>::new());
    let size = Size::new(size.0 as i32, size.1 as i32);
    calibrate_camera(
        &objects,
        &pixels,
        size,
        &mut k,
        &mut d,
        &mut turns,
        &mut ways,
        flags,
        criteria(),
    )?;
    let d = d.data_typed::<f64>()?;
    let distortion = (0..model.coefficients())
        .map(|i| d.get(i).copied().unwrap_or(0.0))
        .collect();
    Ok((of_matrix(&k)?, distortion))
}

fn fisheye(
    board: &Board,
    size: (u32, u32),
    views: &[&View],
    start: Option<&Lens>,
) -> opencv::Result<Numbers> {
    let (mut objects, mut pixels) = (Vector::<Mat>::new(), Vector::<Mat>::new());
    for view in views {
        let corners = view.corners.iter().map(|c| {
            let [x, y] = board.corner_m(c.id);
            Vec3d::from([x, y, 0.0])
        });
        objects.push(Mat::from_slice(&corners.collect::<Vec<_>>())?.try_clone()?);
        let seen = view.corners.iter().map(|c| Vec2d::from(c.pixel));
        pixels.push(Mat::from_slice(&seen.collect::<Vec<_>>())?.try_clone()?);
    }
    let mut flags = Fisheye_CALIB_RECOMPUTE_EXTRINSIC | Fisheye_CALIB_FIX_SKEW;
    let (mut k, mut d) = (Mat::default(), Mat::default());
    if let Some(start) = start.filter(|start| start.model == LensModel::Equidistant) {
        flags |= Fisheye_CALIB_USE_INTRINSIC_GUESS;
        k = matrix(start)?;
        d = Mat::from_slice(&start.distortion)?.try_clone()?;
    }
    let (mut turns, mut ways) = (Mat::default(), Mat::default());
    let size = Size::new(size.0 as i32, size.1 as i32);
    calibrate(
        &objects,
        &pixels,
        size,
        &mut k,
        &mut d,
        &mut turns,
        &mut ways,
        flags,
        criteria(),
    )?;
    let distortion = d.data_typed::<f64>()?.to_vec();
    Ok((of_matrix(&k)?, distortion))
}

/// Standard deviations of fx, fy, cx, cy, with every view's pose and the distortion free: the poses are eliminated view by view.
fn spread(board: &Board, lens: &Lens, views: &[&View]) -> Result<[f64; 4], Refused> {
    let n = 4 + lens.distortion.len();
    let mut normal = DMatrix::<f64>::zeros(n, n);
    let (mut squares, mut count) = (0.0, 0);
    for view in views {
        let nowhere = || format!("{}: no pose of the board explains it", view.name);
        let x = pnp::pose(board, lens, view)?.x_cw;
        let r = pnp::residuals(board, lens, view, &x).ok_or_else(nowhere)?;
        squares += r.iter().map(|r| r * r).sum::<f64>();
        count += r.len();
        let by_pose = pnp::derivative(board, lens, view, &x).ok_or_else(nowhere)?;
        let by_pose = SMatrix::<f64, 6, 6>::from_fn(|i, j| dot(&by_pose[i], &by_pose[j]))
            .try_inverse()
            .map(|inverse| (inverse, by_pose));
        let (inverse, by_pose) = by_pose.ok_or_else(nowhere)?;
        let mut by_lens = Vec::with_capacity(n);
        for i in 0..n {
            let changed = |by: f64| {
                let mut lens = lens.clone();
                match i {
                    0..4 => lens.camera[i] += by,
                    _ => lens.distortion[i - 4] += by,
                }
                pnp::residuals(board, &lens, view, &x)
            };
            let step = if i < 4 { 1e-2 } else { 1e-4 };
            let (up, down) = (
                changed(step).ok_or_else(nowhere)?,
                changed(-step).ok_or_else(nowhere)?,
            );
            by_lens.push(
                up.iter()
                    .zip(&down)
                    .map(|(a, b)| (a - b) / (2.0 * step))
                    .collect::<Vec<f64>>(),
            );
        }
        let across = DMatrix::from_fn(n, 6, |i, j| dot(&by_lens[i], &by_pose[j]));
        let inverse = DMatrix::from_fn(6, 6, |i, j| inverse[(i, j)]);
        normal += DMatrix::from_fn(n, n, |i, j| dot(&by_lens[i], &by_lens[j]))
            - &across * inverse * across.transpose();
    }
    let freedom = (count as f64 - (n + 6 * views.len()) as f64).max(1.0);
    // Scaled to a diagonal of ones: pixels and coefficients are numbers of other sizes.
    let scale: Vec<f64> = (0..n)
        .map(|i| normal[(i, i)].max(f64::MIN_POSITIVE).sqrt())
        .collect();
    let scaled = DMatrix::from_fn(n, n, |i, j| normal[(i, j)] / (scale[i] * scale[j]));
    let eigen = scaled.symmetric_eigen();
    // Coefficients of the rational model can stand for each other to the last bit: below this is rounding.
    const LEAST: f64 = 1e-9;
    let inverse = DMatrix::from_diagonal(&eigen.eigenvalues.map(|value| 1.0 / value.max(LEAST)));
    let covariance =
        &eigen.eigenvectors * inverse * eigen.eigenvectors.transpose() * (squares / freedom);
    Ok(std::array::from_fn(|i| {
        covariance[(i, i)].sqrt() / scale[i]
    }))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
