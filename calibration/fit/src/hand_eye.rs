//! The camera's place: in the hand, or beside the arm.
//!
//! Decides which poses are enough, by which closed forms the start is found and checked (Tsai and Lenz 1989; Park and Martin
//! 1994; Horaud and Dornaika 1995; Andreff et al. 1999; Daniilidis 1999; robot-world: Shah 2013, Li et al. 2010; all OpenCV's),
//! and when the result is refused. How far the hand turns between poses decides how exact a result can be: with 10 degrees
//! the best of the methods is out by several millimetres.
//!
//! A camera that stands still is the same problem with the arm's poses inverted.

use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use opencv::calib3d::{
    HandEyeCalibrationMethod, RobotWorldHandEyeCalibrationMethod, calibrate_hand_eye,
    calibrate_robot_world_hand_eye,
};
use opencv::core::{Mat, Vector};
use opencv::prelude::*;
use tactus_calibration::exchange::{Answer, ArmNoise, Sample};
use tactus_calibration::{Board, HandEyeQuality, Lens, Mount, Pattern};

use crate::refine::{Pair, Places, refine};
use crate::{Refused, pnp};

/// Least number of poses; for a first guess.
pub const POSES: usize = 15;
const POSES_ROUGHLY: usize = 4;
/// Least angle between the two hand orientations that are farthest apart, degrees.
pub const SPAN_DEG: f64 = 60.0;
/// Turns about one axis alone do not say where the camera is along it: of the other axes this much is wanted, degrees, root
/// mean square over all pairs of poses.
pub const SECOND_AXIS_DEG: f64 = 8.0;
/// How far Park, Horaud and Daniilidis may be apart for an arm as exact as an industrial one, mm and degrees; for others
/// so many times the arm's own inaccuracy.
pub const AGREEMENT: (f64, f64) = (2.0, 0.3);
const AGREEMENT_OF_NOISE: f64 = 3.0;
/// How far off a held-out pose may see the board: for an arm exact to 0.2 mm and for one exact to 2 mm, mm.
const HELD_OUT_MM: [(f64, f64); 2] = [(0.2, 3.0), (2.0, 8.0)];
/// Every so manieth pose is held out.
const HOLD: usize = 4;
const NOWHERE: &str =
    "no method finds a place for the camera: expected poses that turn about several axes";
/// A board that a picture explains worse than this was not found there, pixels.
const VIEW_PX: f64 = 2.0;

/// Camera's place from what was seen; the lens with standard deviations of its fx, fy, cx, cy, pixels, where they are known.
///
/// # Errors
/// Too few poses, too little rotation, methods that disagree, a result that does not explain what it was not made from.
pub fn fit(
    board: &Board,
    (lens, lens_std_px): (&Lens, Option<[f64; 4]>),
    mount: Mount,
    noise: ArmNoise,
    samples: &[Sample],
    roughly: bool,
) -> Result<Answer, Refused> {
    let both_odd = (board.columns + board.rows).is_multiple_of(2);
    if board.pattern == Pattern::Chessboard && both_odd {
        return Err(format!(
            "{board} looks the same upside down: expected a ChArUco board, or a chessboard with an odd number of squares one way and an even number the other"
        ));
    }
    let least = if roughly { POSES_ROUGHLY } else { POSES };
    if samples.len() < least {
        let n = samples.len();
        return Err(format!(
            "too few poses: expected at least {least} with the board in view, got {n}"
        ));
    }
    let pairs = seen(board, lens, mount, samples)?;
    let (span_deg, second_deg) = turned(&pairs);
    if !roughly && span_deg < SPAN_DEG {
        return Err(format!(
            "the hand turns too little: expected {SPAN_DEG:.0} degrees between the poses that are farthest apart, got {span_deg:.0}: with so little, millimetres of error do not show"
        ));
    }
    if second_deg < if roughly { 1.0 } else { SECOND_AXIS_DEG } {
        return Err(format!(
            "the hand turns about one axis only: expected {SECOND_AXIS_DEG:.0} degrees about others too, got {second_deg:.1}: where the camera is along that axis does not show"
        ));
    }
    let methods = closed_forms(&pairs);
    let places = settled(&pairs, noise, &methods)?;
    let (agreement_mm, agreement_deg) = agreement(&methods);
    let held_out_mm = if roughly {
        0.0
    } else {
        held_out(&pairs, noise)?
    };
    let mut covariance = places.covariance;
    if let Some(std_px) = lens_std_px.filter(|_| !roughly) {
        for other in likely(lens, std_px) {
            let pairs = seen(board, &other, mount, samples)?;
            let other = refine(&pairs, noise, places.x, places.z).ok_or(NOWHERE)?;
            let d = pnp::way(&places.x, &other.x);
            covariance += d * d.transpose();
        }
    }
    let deviation = |from: usize| {
        let c = covariance.fixed_view::<3, 3>(from, from);
        c.trace().max(0.0).sqrt()
    };
    let quality = HandEyeQuality {
        poses: pairs.len(),
        span_deg,
        agreement_mm,
        agreement_deg,
        held_out_mm,
        std_mm: deviation(0) * 1e3,
        std_deg: deviation(3).to_degrees(),
    };
    if !roughly {
        gates(&quality, noise)?;
    }
    Ok(Answer::HandEye {
        x: places.x.into(),
        x_board: places.z.into(),
        methods: methods
            .into_iter()
            .map(|(name, x)| (name.into(), x.into()))
            .collect(),
        quality,
    })
}

/// What was seen of the board at each pose, by this lens.
fn seen(
    board: &Board,
    lens: &Lens,
    mount: Mount,
    samples: &[Sample],
) -> Result<Vec<Pair>, Refused> {
    let inverted = mount == Mount::EyeToHand;
    let mut pairs = Vec::with_capacity(samples.len());
    for sample in samples {
        let name = &sample.view.name;
        if sample.view.size != lens.size {
            let ((a, b), (c, d)) = (lens.size, sample.view.size);
            return Err(format!(
                "{name}: expected {a}x{b}, for which the lens was calibrated, got {c}x{d}"
            ));
        }
        if !sample.x_be.is_legal() {
            return Err(format!("{name}: the arm's pose is none"));
        }
        let b = pnp::pose(board, lens, &sample.view)?;
        if b.rms_px > VIEW_PX {
            return Err(format!(
                "{name}: expected corners within {VIEW_PX} px of where this lens puts a board, got {:.1}: is the lens that of this camera?",
                b.rms_px
            ));
        }
        let x_be = sample.x_be.isometry();
        let a = if inverted { x_be.inverse() } else { x_be };
        pairs.push(Pair { a, inverted, b });
    }
    Ok(pairs)
}

/// The lens as it may be as well: each of what moves the camera off by one deviation. No pose shows it: a centre that is off
/// turns the camera, focal lengths that are off, as they are together, move it.
fn likely(lens: &Lens, [fx, fy, cx, cy]: [f64; 4]) -> [Lens; 3] {
    [[fx, fy, 0.0, 0.0], [0.0, 0.0, cx, 0.0], [0.0, 0.0, 0.0, cy]].map(|by| {
        let mut other = lens.clone();
        for (value, by) in other.camera.iter_mut().zip(by) {
            *value += by;
        }
        other
    })
}

fn gates(quality: &HandEyeQuality, noise: ArmNoise) -> Result<(), Refused> {
    let (mm, deg) = AGREEMENT;
    let (mm, deg) = (
        mm.max(AGREEMENT_OF_NOISE * noise.mm),
        deg.max(AGREEMENT_OF_NOISE * noise.deg),
    );
    let (apart_mm, apart_deg) = (quality.agreement_mm, quality.agreement_deg);
    // Written so that NaN is refused too.
    if !(apart_mm <= mm && apart_deg <= deg) {
        return Err(format!(
            "Park, Horaud and Daniilidis disagree: expected them within {mm:.1} mm and {deg:.1} degrees, got {apart_mm:.1} mm and {apart_deg:.2}: did the board or the camera move, or is the arm less exact than was said?"
        ));
    }
    let [(exact, low), (rough, high)] = HELD_OUT_MM;
    let share = ((noise.mm - exact) / (rough - exact)).clamp(0.0, 1.0);
    let limit = low + share * (high - low);
    if quality.held_out_mm.is_nan() || quality.held_out_mm > limit {
        return Err(format!(
            "poses that were held out see the board elsewhere: expected within {limit:.1} mm, got {:.1}: did the board or the camera move, is the square as long as was said, is the arm less exact?",
            quality.held_out_mm
        ));
    }
    Ok(())
}

/// Largest angle between two orientations of the hand, and how much it turns about other axes than the one it turns about
/// most, degrees.
fn turned(pairs: &[Pair]) -> (f64, f64) {
    let mut largest = 0.0f64;
    let (mut scatter, mut n) = (Matrix3::<f64>::zeros(), 0.0);
    for (i, a) in pairs.iter().enumerate() {
        for b in &pairs[..i] {
            let turn = (b.a.rotation.inverse() * a.a.rotation).scaled_axis();
            largest = largest.max(turn.norm());
            scatter += turn * turn.transpose();
            n += 1.0;
        }
    }
    let mut values: Vec<f64> = (scatter / f64::max(n, 1.0))
        .symmetric_eigenvalues()
        .iter()
        .copied()
        .collect();
    values.sort_by(f64::total_cmp);
    (largest.to_degrees(), values[1].max(0.0).sqrt().to_degrees())
}

/// What each method says of X; those that say nothing are left out.
fn closed_forms(pairs: &[Pair]) -> Vec<(&'static str, Isometry3<f64>)> {
    let hand_eye = [
        ("Tsai", HandEyeCalibrationMethod::CALIB_HAND_EYE_TSAI),
        ("Park", HandEyeCalibrationMethod::CALIB_HAND_EYE_PARK),
        ("Horaud", HandEyeCalibrationMethod::CALIB_HAND_EYE_HORAUD),
        ("Andreff", HandEyeCalibrationMethod::CALIB_HAND_EYE_ANDREFF),
        (
            "Daniilidis",
            HandEyeCalibrationMethod::CALIB_HAND_EYE_DANIILIDIS,
        ),
    ];
    let robot_world = [
        (
            "Shah",
            RobotWorldHandEyeCalibrationMethod::CALIB_ROBOT_WORLD_HAND_EYE_SHAH,
        ),
        (
            "Li",
            RobotWorldHandEyeCalibrationMethod::CALIB_ROBOT_WORLD_HAND_EYE_LI,
        ),
    ];
    let first = hand_eye
        .into_iter()
        .map(|(name, method)| (name, by_hand_eye(pairs, method)));
    let second = robot_world
        .into_iter()
        .map(|(name, method)| (name, by_robot_world(pairs, method)));
    let legal = |x: &Isometry3<f64>| x.translation.vector.iter().all(|v| v.abs() < 100.0);
    first
        .chain(second)
        .filter_map(|(name, x)| x.ok().filter(legal).map(|x| (name, x)))
        .collect()
}

/// Rotations and translations as OpenCV takes them.
fn mats(poses: impl Iterator<Item = Isometry3<f64>>) -> opencv::Result<(Vector<Mat>, Vector<Mat>)> {
    let (mut turns, mut ways) = (Vector::new(), Vector::new());
    for x in poses {
        let r = x.rotation.to_rotation_matrix();
        let rows: [[f64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| r[(i, j)]));
        turns.push(Mat::from_slice_2d(&rows)?);
        let t = x.translation.vector;
        ways.push(Mat::from_slice_2d(&[[t.x], [t.y], [t.z]])?);
    }
    Ok((turns, ways))
}

fn isometry(turn: &Mat, way: &Mat) -> opencv::Result<Isometry3<f64>> {
    let (r, t) = (turn.data_typed::<f64>()?, way.data_typed::<f64>()?);
    let r = Matrix3::from_row_slice(r);
    // The nearest rotation: not every method returns one.
    let r = Rotation3::from_matrix_eps(&r, 1e-12, 100, Rotation3::identity());
    Ok(Isometry3::from_parts(
        Translation3::from(Vector3::new(t[0], t[1], t[2])),
        UnitQuaternion::from_rotation_matrix(&r),
    ))
}

fn by_hand_eye(pairs: &[Pair], method: HandEyeCalibrationMethod) -> opencv::Result<Isometry3<f64>> {
    let (a_turns, a_ways) = mats(pairs.iter().map(|p| p.a))?;
    let (b_turns, b_ways) = mats(pairs.iter().map(|p| p.b.x_cw))?;
    let (mut turn, mut way) = (Mat::default(), Mat::default());
    calibrate_hand_eye(
        &a_turns, &a_ways, &b_turns, &b_ways, &mut turn, &mut way, method,
    )?;
    isometry(&turn, &way)
}

fn by_robot_world(
    pairs: &[Pair],
    method: RobotWorldHandEyeCalibrationMethod,
) -> opencv::Result<Isometry3<f64>> {
    // OpenCV's "world" is the board, its "gripper2cam" X_CE.
    let (b_turns, b_ways) = mats(pairs.iter().map(|p| p.b.x_cw))?;
    let (a_turns, a_ways) = mats(pairs.iter().map(|p| p.a.inverse()))?;
    let mut out = [(); 4].map(|()| Mat::default());
    let [world_turn, world_way, turn, way] = &mut out;
    calibrate_robot_world_hand_eye(
        &b_turns, &b_ways, &a_turns, &a_ways, world_turn, world_way, turn, way, method,
    )?;
    Ok(isometry(turn, way)?.inverse())
}

/// How far the three that should agree are apart at most, mm and degrees.
fn agreement(methods: &[(&'static str, Isometry3<f64>)]) -> (f64, f64) {
    let three: Vec<&Isometry3<f64>> = methods
        .iter()
        .filter(|(name, _)| matches!(*name, "Park" | "Horaud" | "Daniilidis"))
        .map(|(_, x)| x)
        .collect();
    if three.len() < 3 {
        return (f64::NAN, f64::NAN);
    }
    let (mut mm, mut deg) = (0.0f64, 0.0f64);
    for (i, a) in three.iter().enumerate() {
        for b in &three[..i] {
            mm = mm.max((a.translation.vector - b.translation.vector).norm() * 1e3);
            deg = deg.max(a.rotation.angle_to(&b.rotation).to_degrees());
        }
    }
    (mm, deg)
}

/// From the closed form that explains the poses best to the likeliest places.
fn settled(
    pairs: &[Pair],
    noise: ArmNoise,
    methods: &[(&'static str, Isometry3<f64>)],
) -> Result<Places, Refused> {
    let start = methods
        .iter()
        .map(|(_, x)| (*x, board_place(pairs, x)))
        .min_by(|(x, z), (y, w)| scatter(pairs, x, z).total_cmp(&scatter(pairs, y, w)));
    let (x, z) = start.ok_or(NOWHERE)?;
    refine(pairs, noise, x, z).ok_or_else(|| NOWHERE.into())
}

/// Z as the pose in the middle says it.
fn board_place(pairs: &[Pair], x: &Isometry3<f64>) -> Isometry3<f64> {
    let all: Vec<Isometry3<f64>> = pairs.iter().map(|p| p.a * x * p.b.x_cw).collect();
    let mean = all
        .iter()
        .map(|z| z.translation.vector)
        .sum::<Vector3<f64>>()
        / all.len() as f64;
    let far = |z: &Isometry3<f64>| (z.translation.vector - mean).norm();
    let nearest = all.iter().min_by(|a, b| far(a).total_cmp(&far(b)));
    nearest.copied().unwrap_or_else(Isometry3::identity)
}

/// How far the board seems to be from `z`, root mean square, m.
fn scatter(pairs: &[Pair], x: &Isometry3<f64>, z: &Isometry3<f64>) -> f64 {
    let off =
        |p: &Pair| ((p.a * x * p.b.x_cw).translation.vector - z.translation.vector).norm_squared();
    (pairs.iter().map(off).sum::<f64>() / pairs.len().max(1) as f64).sqrt()
}

/// The middle of the board would hide a turn less than its corner does, which is Z's origin: of poses that the places were not
/// made from, mm.
fn held_out(pairs: &[Pair], noise: ArmNoise) -> Result<f64, Refused> {
    let mut squares = 0.0;
    for fold in 0..HOLD {
        let part = |held: bool| -> Vec<Pair> {
            let chosen = pairs
                .iter()
                .enumerate()
                .filter(|(i, _)| (i % HOLD == fold) == held);
            chosen.map(|(_, pair)| pair.clone()).collect()
        };
        let (rest, held) = (part(false), part(true));
        let places = settled(&rest, noise, &closed_forms(&rest))?;
        squares += scatter(&held, &places.x, &places.z).powi(2) * held.len() as f64;
    }
    Ok((squares / pairs.len() as f64).sqrt() * 1e3)
}
