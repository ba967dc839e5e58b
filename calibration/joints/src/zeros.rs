//! Zero offsets of an arm's joints: by how much each is really elsewhere than it says.
//!
//! An arm with a wrong zero brings its hand to another place than its description foretells, and by another way at every pose.
//! So the offsets follow from poses at which something is known to be in one place: a board that stands still and a camera
//! in the hand, or the other way round ([`by_board`]), or a fixture that the tip touches from several sides ([`by_touch`]).
//! With q what the arm says and d the offsets, the arm is at q + d; d, the places of camera and board, or the point, are what
//! makes all that was seen likeliest.
//!
//! Not everything shows. An offset of the first joint turns all that the arm sees with it, and one of the last joint is the same
//! as a camera that is turned on the hand: a board tells neither, a point that is known in the base tells the first. Such
//! joints are said not to be told, rather than to be right.

use nalgebra::{DVector, Isometry3, Point3, Vector3};
use tactus_calibration::{Lens, Mount};
use tactus_kinematics::Chain;
use tactus_types::JointVec;

use crate::squares::{Solved, least};

/// What zero offsets may be beforehand: standard deviation, rad. One that is larger is a joint that was put together wrongly.
const BEFORE_RAD: f64 = 0.15;
/// An offset that is not known better than this is not told, rad: half a degree.
const TOLD_RAD: f64 = 0.0087;
/// How exactly a corner is found, pixels.
const CORNER_PX: f64 = 0.3;
/// How exactly a tip is brought to a point by hand, m.
const TOUCH_M: f64 = 1e-3;
/// Camera and board may be anywhere near: m, rad.
const PLACE: [f64; 2] = [0.3, 1.0];
/// Least number of poses.
pub const LOOKS: usize = 10;
/// Least number of touches.
pub const TOUCHES: usize = 6;
/// What offsets do not explain better than this is something else, px and mm.
const UNEXPLAINED: [f64; 2] = [2.0, 5.0];

/// What was seen at a pose.
#[derive(Debug, Clone)]
pub struct Look {
    /// Where the arm said that it is, rad.
    pub q: JointVec,
    /// Points of the board in its frame, m, and where in the picture they were, pixels.
    pub corners: Vec<([f64; 3], [f64; 2])>,
}

/// A joint's zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offset {
    /// Where the joint is less where it says that it is, rad.
    pub rad: f64,
    /// Standard deviation, rad.
    pub std_rad: f64,
    /// Whether what was seen says anything about it.
    pub told: bool,
}

impl Offset {
    /// Whether it is more than `limit_rad`, beyond doubt: by three deviations.
    pub fn is_beyond(&self, limit_rad: f64) -> bool {
        self.told && self.rad.abs() > limit_rad && self.rad.abs() > 3.0 * self.std_rad
    }
}

/// Zero offsets, and how well the arm's description agrees with what was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Zeros {
    /// Of each joint.
    pub offsets: Vec<Offset>,
    /// How far the board or point is from where the description puts it, mm, root mean square: with the zeros as they are, and
    /// with the offsets.
    pub residual_mm: [f64; 2],
    /// The same in the picture, pixels; of a board only.
    pub residual_px: Option<[f64; 2]>,
}

/// Why nothing follows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ZerosError {
    /// Too few poses.
    #[error("too few poses: expected at least {expected}, got {actual}")]
    TooFew {
        /// How many are needed.
        expected: usize,
        /// How many there are.
        actual: usize,
    },
    /// A joint whose zero is no angle.
    #[error(
        "expected joints that turn, got `{joint}`, which slides: what a zero may be off by is known of angles only"
    )]
    Slides {
        /// Its name.
        joint: String,
    },
    /// The board or the point is not where camera and arm could be.
    #[error(
        "expected a camera and a board that were placed roughly, got places at which the board is not before the camera"
    )]
    Nowhere,
    /// Zeros do not explain it.
    #[error(
        "expected poses that zero offsets explain within {expected} {unit}, got {actual:.1} {unit}: something else is wrong than a zero: a joint's sign or scale (`tactus calibrate joints signs`), the lens, a board that moved"
    )]
    Unexplained {
        /// Limit.
        expected: f64,
        /// What is left.
        actual: f64,
        /// Of both.
        unit: &'static str,
    },
}

/// Refuses an arm whose zeros are not looked for, before anything is gathered.
///
/// # Errors
/// [`ZerosError::Slides`].
pub fn check(chain: &Chain) -> Result<(), ZerosError> {
    let mut joints = chain.joints().iter().enumerate();
    match joints.find(|(i, _)| chain.slides(*i)) {
        None => Ok(()),
        Some((_, joint)) => Err(ZerosError::Slides {
            joint: joint.clone(),
        }),
    }
}

fn moved(x: &Isometry3<f64>, by: &[f64]) -> Isometry3<f64> {
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|i| by.get(i).copied().unwrap_or(0.0));
    x * Isometry3::new(Vector3::new(a, b, c), Vector3::new(d, e, f))
}

fn offset(q: &JointVec, by: &[f64]) -> JointVec {
    JointVec::from_fn(q.len(), |i| q[i] + by.get(i).copied().unwrap_or(0.0))
}

fn offsets(joints: usize, solved: &Solved) -> Vec<Offset> {
    let of = |i: usize| {
        let std_rad = solved.covariance[(i, i)].max(0.0).sqrt();
        Offset {
            rad: solved.at[i],
            std_rad,
            told: std_rad < TOLD_RAD,
        }
    };
    (0..joints).map(of).collect()
}

/// A scene: what is known of it before.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The arm's description.
    pub chain: &'a Chain,
    /// The camera's lens.
    pub lens: &'a Lens,
    /// Where the camera is.
    pub mount: Mount,
    /// `X_EC` or `X_BC`, roughly.
    pub x: Isometry3<f64>,
    /// `X_BW` or `X_EW`, roughly.
    pub z: Isometry3<f64>,
}

impl Scene<'_> {
    /// Residuals in units of the corners' deviation, and in m, of an arm that is off by `by`, with camera and board moved by `x`
    /// and `z`.
    fn residuals(
        &self,
        looks: &[Look],
        by: &[f64],
        x: &[f64],
        z: &[f64],
    ) -> Option<(Vec<f64>, f64)> {
        let (x, z) = (moved(&self.x, x), moved(&self.z, z));
        let (mut all, mut m2) = (Vec::new(), 0.0);
        for look in looks {
            let hand = self.chain.forward(&offset(&look.q, by));
            let x_cw = match self.mount {
                Mount::EyeInHand => (hand * x).inverse() * z,
                Mount::EyeToHand => x.inverse() * hand * z,
            };
            for (point, pixel) in &look.corners {
                let at = x_cw * Point3::from(*point);
                let [u, v] = self.lens.pixel([at.x, at.y, at.z])?;
                let off = [u - pixel[0], v - pixel[1]];
                all.extend(off.map(|px| px / CORNER_PX));
                m2 += (off[0].hypot(off[1]) * at.z / self.lens.camera[0]).powi(2);
            }
        }
        let corners = all.len() / 2;
        Some((all, (m2 / corners.max(1) as f64).sqrt()))
    }
}

/// Zero offsets by what the camera saw of a board.
///
/// # Errors
/// [`ZerosError`].
pub fn by_board(scene: &Scene<'_>, looks: &[Look]) -> Result<Zeros, ZerosError> {
    check(scene.chain)?;
    if looks.len() < LOOKS {
        return Err(ZerosError::TooFew {
            expected: LOOKS,
            actual: looks.len(),
        });
    }
    let n = scene.chain.joints().len();
    let place = [PLACE[0], PLACE[0], PLACE[0], PLACE[1], PLACE[1], PLACE[1]];
    let places = [place, place].concat();
    let residuals = |by: &[f64], at: &[f64]| {
        let (x, z) = at.split_at(6);
        scene.residuals(looks, by, x, z)
    };
    // As the arm says, with camera and board where they fit best ..
    let as_said = least(&places, |at| {
        Some(DVector::from_vec(residuals(&[], at.as_slice())?.0))
    });
    let as_said = as_said.ok_or(ZerosError::Nowhere)?;
    let (_, before_m) = residuals(&[], as_said.at.as_slice()).ok_or(ZerosError::Nowhere)?;
    // .. and with offsets.
    let before = [vec![BEFORE_RAD; n], places].concat();
    let solved = least(&before, |at| {
        let (by, at) = at.as_slice().split_at(n);
        Some(DVector::from_vec(residuals(by, at)?.0))
    });
    let solved = solved.ok_or(ZerosError::Nowhere)?;
    let (by, at) = solved.at.as_slice().split_at(n);
    let (_, after_m) = residuals(by, at).ok_or(ZerosError::Nowhere)?;
    // Of two axes together.
    let px = |rms: f64| rms * CORNER_PX * std::f64::consts::SQRT_2;
    let left = px(solved.rms);
    if left > UNEXPLAINED[0] {
        return Err(ZerosError::Unexplained {
            expected: UNEXPLAINED[0],
            actual: left,
            unit: "px",
        });
    }
    Ok(Zeros {
        offsets: offsets(n, &solved),
        residual_mm: [before_m * 1e3, after_m * 1e3],
        residual_px: Some([px(as_said.rms), left]),
    })
}

/// Zero offsets by poses at which the tip was brought to one point; `point` where it is known in the base, m.
///
/// # Errors
/// [`ZerosError`].
pub fn by_touch(
    chain: &Chain,
    touches: &[JointVec],
    point: Option<Vector3<f64>>,
) -> Result<Zeros, ZerosError> {
    check(chain)?;
    if touches.len() < TOUCHES {
        return Err(ZerosError::TooFew {
            expected: TOUCHES,
            actual: touches.len(),
        });
    }
    let n = chain.joints().len();
    let tip = |q: &JointVec, by: &[f64]| chain.forward(&offset(q, by)).translation.vector;
    let sum: Vector3<f64> = touches.iter().map(|q| tip(q, &[])).sum();
    let start = point.unwrap_or(sum / touches.len() as f64);
    let around = |by: &[f64], at: &[f64]| -> Vec<f64> {
        let at = start + Vector3::from_fn(|i, _| at.get(i).copied().unwrap_or(0.0));
        touches
            .iter()
            .flat_map(|q| <[f64; 3]>::from(tip(q, by) - at))
            .collect()
    };
    let rms_m =
        |off: &[f64]| (off.iter().map(|v| v * v).sum::<f64>() / touches.len() as f64).sqrt();
    let mut before = vec![BEFORE_RAD; n];
    if point.is_none() {
        before.extend([PLACE[0]; 3]);
    }
    let solved = least(&before, |at| {
        let (by, at) = at.as_slice().split_at(n);
        let off = around(by, at).into_iter().map(|m| m / TOUCH_M).collect();
        Some(DVector::from_vec(off))
    });
    let solved = solved.ok_or(ZerosError::Nowhere)?;
    let (by, at) = solved.at.as_slice().split_at(n);
    let residual_mm = [rms_m(&around(&[], &[])), rms_m(&around(by, at))].map(|m| m * 1e3);
    if residual_mm[1] > UNEXPLAINED[1] {
        return Err(ZerosError::Unexplained {
            expected: UNEXPLAINED[1],
            actual: residual_mm[1],
            unit: "mm",
        });
    }
    Ok(Zeros {
        offsets: offsets(n, &solved),
        residual_mm,
        residual_px: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal, Uniform};
    use tactus_calibration::LensModel;
    use tactus_kinematics::{Inverse, InverseSpec};

    const PLANTED: [f64; 6] = [0.0, 0.02, -0.015, 0.01, -0.03, 0.0];

    fn lens() -> Lens {
        let camera = [300.0, 300.0, 319.5, 239.5];
        Lens {
            size: (640, 480),
            camera,
            model: LensModel::PlumbBob,
            distortion: vec![0.0; 5],
            straight: camera,
        }
    }

    /// 20 poses of an arm that is off by `planted`, a board before the camera at each.
    fn looks(
        seed: u64,
        mount: Mount,
        planted: &[f64],
    ) -> (Isometry3<f64>, Isometry3<f64>, Vec<Look>) {
        let chain = arm::chain();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let spread = Uniform::new(-0.35, 0.35).expect("a range");
        let noise = Normal::new(0.0, 0.15).expect("legal");
        let middle = JointVec::from_slice(&[0.1, 0.3, 1.2, 0.2, 0.9, 0.1]).expect("short");
        let hand = chain.forward(&middle);
        let x_seen = Isometry3::translation(-0.1, -0.07, 0.5);
        let x = Isometry3::new(Vector3::new(0.05, 0.0, 0.02), Vector3::new(0.1, -0.1, 0.2));
        let z = match mount {
            Mount::EyeInHand => hand * x * x_seen,
            Mount::EyeToHand => hand.inverse() * x * x_seen,
        };
        let lens = lens();
        let mut looks = Vec::new();
        while looks.len() < 20 {
            let q = JointVec::from_fn(6, |i| middle[i] + spread.sample(&mut rng));
            let hand = chain.forward(&offset(&q, planted));
            let x_cw = match mount {
                Mount::EyeInHand => (hand * x).inverse() * z,
                Mount::EyeToHand => x.inverse() * hand * z,
            };
            let corners: Option<Vec<_>> = (0..24)
                .map(|k| {
                    let point = [0.035 * f64::from(k % 6), 0.035 * f64::from(k / 6), 0.0];
                    let at = x_cw * Point3::from(point);
                    let [u, v] = lens.pixel([at.x, at.y, at.z])?;
                    let inside = (0.0..640.0).contains(&u) && (0.0..480.0).contains(&v);
                    inside.then_some(())?;
                    let pixel = [u + noise.sample(&mut rng), v + noise.sample(&mut rng)];
                    Some((point, pixel))
                })
                .collect();
            looks.extend(corners.map(|corners| Look { q, corners }));
        }
        (x, z, looks)
    }

    #[test]
    fn planted_offsets_are_found_and_those_that_a_board_cannot_tell_are_not_told() {
        let (chain, lens) = (arm::chain(), lens());
        for (seed, mount) in [
            (1, Mount::EyeInHand),
            (2, Mount::EyeInHand),
            (3, Mount::EyeToHand),
        ] {
            let (x, z, looks) = looks(seed, mount, &PLANTED);
            let scene = Scene {
                chain: &chain,
                lens: &lens,
                mount,
                x: moved(&x, &[0.01, -0.01, 0.01, 0.02, 0.0, 0.02]),
                z: moved(&z, &[0.0, 0.01, 0.01, 0.0, 0.02, 0.0]),
            };
            let found = by_board(&scene, &looks).expect("solved");
            println!("{mount:?} {found:?}");
            let both = found.offsets.iter().zip(PLANTED).enumerate();
            for (joint, (offset, planted)) in both.take(5).skip(1) {
                let error = (offset.rad - planted).abs();
                assert!(
                    offset.told && error < 4.0 * offset.std_rad && error < 2e-3,
                    "{joint}: {offset:?}"
                );
                assert_eq!(offset.is_beyond(0.006), planted != 0.0, "{joint}");
            }
            for joint in [0, 5] {
                assert!(!found.offsets[joint].told && !found.offsets[joint].is_beyond(0.0));
            }
            let [before, after] = found.residual_mm;
            assert!(before > 3.0 * after && after < 0.6, "{before} {after}");
        }
        assert!(matches!(
            by_board(
                &Scene {
                    chain: &chain,
                    lens: &lens,
                    mount: Mount::EyeInHand,
                    x: Isometry3::identity(),
                    z: Isometry3::identity()
                },
                &[]
            ),
            Err(ZerosError::TooFew { .. })
        ));
    }

    #[test]
    fn a_sound_arm_has_no_offset_and_a_reversed_joint_is_no_offset() {
        let (chain, lens) = (arm::chain(), lens());
        let (x, z, mut looks) = looks(4, Mount::EyeInHand, &[]);
        let scene = Scene {
            chain: &chain,
            lens: &lens,
            mount: Mount::EyeInHand,
            x,
            z,
        };
        let found = by_board(&scene, &looks).expect("solved");
        assert!(
            found.offsets.iter().all(|o| !o.is_beyond(0.004)),
            "{found:?}"
        );
        for look in &mut looks {
            look.q[2] = 2.4 - look.q[2];
        }
        let refused = by_board(&scene, &looks);
        assert!(
            matches!(
                refused,
                Err(ZerosError::Unexplained { .. } | ZerosError::Nowhere)
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn a_tip_that_touches_one_point_tells_most_and_with_a_known_point_the_first_joint_too() {
        let chain = arm::chain();
        let planted = [0.02, 0.015, -0.02, 0.0, 0.025, 0.0];
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let spread = Uniform::new(-0.6, 0.6).expect("a range");
        let noise = Normal::new(0.0, 3e-4).expect("legal");
        let middle = JointVec::from_slice(&[0.1, 0.3, 1.2, 0.2, 0.9, 0.1]).expect("short");
        let point = chain.forward(&middle);
        let limits = [[-3.0, 3.0]; 6];
        let inverse = Inverse::new(
            chain.clone(),
            &limits,
            InverseSpec {
                max_iterations: 200,
                ..InverseSpec::default()
            },
        )
        .expect("legal");
        let mut touches = Vec::new();
        while touches.len() < 14 {
            let turn = Isometry3::rotation(Vector3::from_fn(|_, _| spread.sample(&mut rng)));
            let shake = Isometry3::translation(
                noise.sample(&mut rng),
                noise.sample(&mut rng),
                noise.sample(&mut rng),
            );
            let there = inverse.follow(&(shake * point * turn), &middle);
            if there.residual_m < 1e-5 {
                touches.push(offset(&there.q, &planted.map(|p| -p)));
            }
        }
        let at = point.translation.vector;
        let known = by_touch(&chain, &touches, Some(at)).expect("solved");
        let unknown = by_touch(&chain, &touches, None).expect("solved");
        println!("{known:?}\n{unknown:?}");
        for joint in [0, 1, 2, 4] {
            let offset = known.offsets[joint];
            let error = (offset.rad - planted[joint]).abs();
            assert!(
                offset.told && error < 4.0 * offset.std_rad && error < 6e-3,
                "{joint}: {offset:?}"
            );
        }
        assert!(!unknown.offsets[0].told && !known.offsets[5].told);
        assert!(
            known.residual_mm[0] > 5.0 && known.residual_mm[1] < 1.5,
            "{known:?}"
        );
    }

    #[test]
    fn an_arm_with_a_joint_that_slides_is_refused() {
        let slides = ZerosError::Slides { joint: "j3".into() };
        let chain = arm::sliding();
        let touches = vec![JointVec::zeros(6); TOUCHES];
        let refused = by_touch(&chain, &touches, None);
        assert_eq!(refused, Err(slides.clone()));
        let lens = lens();
        let scene = Scene {
            chain: &chain,
            lens: &lens,
            mount: Mount::EyeInHand,
            x: Isometry3::identity(),
            z: Isometry3::identity(),
        };
        assert_eq!(by_board(&scene, &[]), Err(slides));
    }
}
