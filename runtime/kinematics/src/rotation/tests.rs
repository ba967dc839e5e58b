use super::*;
use proptest::prelude::*;
use std::f64::consts::{FRAC_PI_2, PI};

/// `R = scipy.spatial.transform.Rotation.from_euler('xyz', [0.7, -1.1, 2.3])` (scipy 1.17.1), written by `R.as_quat(
/// canonical=True, scalar_first=..)`, `as_rotvec`, `as_matrix()[:, :2].T`, `as_matrix()[:2]`, `as_euler('XYZ' | 'xyz')`.
const SCIPY: [(RotationFormat, &[f64]); 7] = [
    (
        RotationFormat::QuaternionXyzw,
        &[
            0.5675780179499417,
            0.06626061207509437,
            0.8041888091817311,
            0.16353924304068068,
        ],
    ),
    (
        RotationFormat::QuaternionWxyz,
        &[
            0.16353924304068068,
            0.5675780179499417,
            0.06626061207509437,
            0.8041888091817311,
        ],
    ),
    (
        RotationFormat::RotationVector,
        &[1.6184076456876637, 0.1889373404164059, 2.2930861946647116],
    ),
    (
        RotationFormat::SixColumns,
        &[
            -0.30222021905139373,
            0.3382489919701975,
            0.8912073600614353,
            -0.18781672449126935,
            -0.9377288945462301,
            0.29221464428477223,
        ],
    ),
    (
        RotationFormat::SixRows,
        &[
            -0.30222021905139373,
            -0.18781672449126935,
            0.9345522014301278,
            0.3382489919701975,
            -0.9377288945462301,
            -0.07907047340348113,
        ],
    ),
    (
        RotationFormat::EulerXyzIntrinsic,
        &[0.22408737443268567, 1.2069985014015234, 2.585545520360287],
    ),
    (RotationFormat::EulerXyzExtrinsic, &[0.7, -1.1, 2.3]),
];
/// `R.apply([1, 2, 3])`.
const SCIPY_TURNED: [f64; 3] = [2.1258029362564512, -1.7744202173327062, 2.516424997595677];

/// `Rotation.from_euler(s, [0.4, +-pi/2, 0.9])` as `as_quat(canonical=True)` and `as_euler(s)`, s as the format says.
const SCIPY_POLES: [(RotationFormat, [f64; 4], [f64; 3]); 4] = [
    (
        RotationFormat::EulerXyzIntrinsic,
        [
            0.42793141137786694,
            0.5629162523467828,
            0.42793141137786694,
            0.5629162523467829,
        ],
        [1.3, FRAC_PI_2, 0.0],
    ),
    (
        RotationFormat::EulerXyzIntrinsic,
        [
            -0.17494101728127345,
            -0.6851245437674767,
            0.17494101728127354,
            0.6851245437674768,
        ],
        [-0.5, -FRAC_PI_2, 0.0],
    ),
    (
        RotationFormat::EulerXyzExtrinsic,
        [
            -0.17494101728127345,
            0.6851245437674767,
            0.17494101728127354,
            0.6851245437674768,
        ],
        [-0.5, FRAC_PI_2, 0.0],
    ),
    (
        RotationFormat::EulerXyzExtrinsic,
        [
            0.42793141137786694,
            -0.5629162523467828,
            0.42793141137786694,
            0.5629162523467829,
        ],
        [1.3, -FRAC_PI_2, 0.0],
    ),
];

fn written(format: RotationFormat, rotation: &UnitQuaternion<f64>) -> Vec<f64> {
    let mut numbers = vec![f64::NAN; format.count()];
    format.write(rotation, &mut numbers).unwrap();
    numbers
}

fn assert_near(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    for (a, e) in actual.iter().zip(expected) {
        assert!(
            (a - e).abs() < tolerance,
            "{what}: {actual:?}, expected {expected:?}"
        );
    }
}

#[test]
fn every_format_reads_and_writes_what_scipy_does() {
    for (format, numbers) in SCIPY {
        let rotation = format.read(numbers).unwrap();
        let turned = rotation * Vector3::new(1.0, 2.0, 3.0);
        assert_near(
            turned.as_slice(),
            &SCIPY_TURNED,
            1e-14,
            &format!("{format:?} read"),
        );
        assert_near(
            &written(format, &rotation),
            numbers,
            1e-14,
            &format!("{format:?} written"),
        );
    }
}

#[test]
fn at_the_poles_the_third_angle_is_zero_as_in_scipy() {
    for (format, quaternion, angles) in SCIPY_POLES {
        let rotation = RotationFormat::QuaternionXyzw.read(&quaternion).unwrap();
        assert_near(
            &written(format, &rotation),
            &angles,
            1e-14,
            &format!("{format:?}"),
        );
    }
}

#[test]
fn what_is_no_rotation_is_refused() {
    use RotationFormat::*;
    for format in [QuaternionXyzw, QuaternionWxyz] {
        let error = format.read(&[0.0; 4]);
        assert!(
            matches!(error, Err(RotationError::TooShort { .. })),
            "{error:?}"
        );
    }
    for format in [SixColumns, SixRows] {
        let short = format.read(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert!(
            matches!(short, Err(RotationError::TooShort { .. })),
            "{short:?}"
        );
        let short = format.read(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(
            matches!(short, Err(RotationError::TooShort { .. })),
            "{short:?}"
        );
        for second in [[2.0, 4.0, 6.0], [-1.0, -2.0, -3.0], [1.0, 2.0, 3.001]] {
            let [x, y, z] = second;
            let parallel = format.read(&[1.0, 2.0, 3.0, x, y, z]);
            assert!(
                matches!(parallel, Err(RotationError::Parallel { .. })),
                "{second:?}: {parallel:?}"
            );
        }
    }
    let error = RotationVector.read(&[1e7, 0.0, 0.0]);
    assert!(
        matches!(error, Err(RotationError::TooLong { .. })),
        "{error:?}"
    );
    for format in RotationFormat::ALL {
        let mut numbers = vec![0.5; format.count()];
        numbers[2] = f64::NAN;
        assert!(matches!(
            format.read(&numbers),
            Err(RotationError::NotFinite { place: 2, .. })
        ));
        numbers.push(0.0);
        assert!(matches!(
            format.read(&numbers),
            Err(RotationError::Length { .. })
        ));
        let written = format.write(&UnitQuaternion::identity(), &mut numbers);
        assert!(matches!(written, Err(RotationError::Length { .. })));
    }
}

/// Rotations of all angles, 0, pi and nearly so among them, and of Euler angles at and near the poles.
fn rotations() -> impl Strategy<Value = UnitQuaternion<f64>> {
    let angle = prop_oneof![
        4 => -PI..PI,
        1 => Just(0.0),
        1 => Just(PI),
        1 => -1e-7f64..1e-7,
        1 => PI - 1e-7..PI,
    ];
    let anywhere = (prop::array::uniform3(-1.0f64..1.0), angle).prop_map(|(axis, angle)| {
        let axis = nalgebra::Unit::try_new(Vector3::from(axis), 1e-3).unwrap_or(Vector3::x_axis());
        UnitQuaternion::from_axis_angle(&axis, angle)
    });
    let near = prop_oneof![Just(0.0), -1e-4f64..1e-4, -1e-8f64..1e-8, -1e-12f64..1e-12];
    let poles = (-PI..PI, near, -PI..PI, any::<bool>(), any::<bool>()).prop_map(
        |(a, off, c, up, intrinsic)| {
            let b = if up { FRAC_PI_2 } else { -FRAC_PI_2 } + off;
            let format = if intrinsic {
                RotationFormat::EulerXyzIntrinsic
            } else {
                RotationFormat::EulerXyzExtrinsic
            };
            format.read(&[a, b, c]).unwrap()
        },
    );
    prop_oneof![3 => anywhere, 1 => poles]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Written and read again, every rotation is the same one in every format.
    #[test]
    fn written_then_read_is_the_same_rotation(rotation in rotations()) {
        for format in RotationFormat::ALL {
            let numbers = written(format, &rotation);
            prop_assert!(numbers.iter().all(|v| v.is_finite()));
            let again = format.read(&numbers).unwrap();
            let apart = rotation.angle_to(&again);
            prop_assert!(apart < 1e-11, "{:?}: {} rad apart", format, apart);
        }
    }

    /// What a network puts out is no exact rotation: lengths, and what is along the first vector, do not count.
    #[test]
    fn scale_and_skew_do_not_count(
        rotation in rotations(), scale in 1e-3f64..1e3, other in 1e-3f64..1e3, skew in -5.0f64..5.0
    ) {
        for format in [RotationFormat::QuaternionXyzw, RotationFormat::QuaternionWxyz] {
            for sign in [1.0, -1.0] {
                let numbers: Vec<_> = written(format, &rotation).iter().map(|v| sign * scale * v).collect();
                prop_assert!(rotation.angle_to(&format.read(&numbers).unwrap()) < 1e-12);
            }
        }
        for format in [RotationFormat::SixColumns, RotationFormat::SixRows] {
            let mut numbers = written(format, &rotation);
            for i in 0..3 {
                numbers[3 + i] = other * (numbers[3 + i] + skew * numbers[i]);
                numbers[i] *= scale;
            }
            prop_assert!(rotation.angle_to(&format.read(&numbers).unwrap()) < 1e-11);
        }
    }

    /// No finite numbers make a rotation that is not one.
    #[test]
    fn hostile_numbers_are_refused_or_a_rotation(
        numbers in prop::collection::vec(prop::num::f64::ANY, 6), at in 0usize..7
    ) {
        let format = RotationFormat::ALL[at];
        if let Ok(rotation) = format.read(&numbers[..format.count()]) {
            prop_assert!((rotation.norm() - 1.0).abs() < 1e-9, "{:?}", rotation);
        }
    }
}
