//! The camera's place, from poses with a known truth: by corners with noise, many times over.

mod scene;

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use scene::{lens, shaken, truth};
use tactus_calibration::exchange::{Answer, ArmNoise, Corner, Sample, View};
use tactus_calibration::{Board, LensModel, Mount};
use tactus_fit::hand_eye;

const INDUSTRIAL: ArmNoise = ArmNoise { mm: 0.2, deg: 0.03 };
const HOBBY: ArmNoise = ArmNoise { mm: 2.0, deg: 0.5 };

fn some(xyz: [f64; 3], turn: [f64; 3]) -> Isometry3<f64> {
    Isometry3::from_parts(
        Translation3::from(Vector3::from(xyz)),
        UnitQuaternion::from_scaled_axis(Vector3::from(turn)),
    )
}

/// Samples of a camera at X, seeing a board at Z, with the board turned by up to half of `span_deg` each way.
fn samples(
    (x, z): (&Isometry3<f64>, &Isometry3<f64>),
    mount: Mount,
    (count, span_deg): (usize, f64),
    noise: ArmNoise,
    rng: &mut ChaCha8Rng,
) -> Vec<Sample> {
    let (board, lens) = (Board::default(), lens(LensModel::PlumbBob));
    let pixel = Normal::new(0.0, 0.15).expect("legal");
    let [bw, bh] = board.size_m();
    (0..count)
        .map(|k| {
            // Half of them at the edge of the span, so that it is reached.
            let share = if k % 2 == 0 {
                1.0
            } else {
                rng.random_range(0.3..1.0)
            };
            let tilt = share * (span_deg / 2.0).to_radians();
            let towards = k as f64 * 2.4 + rng.random_range(-0.2..0.2);
            let turn = UnitQuaternion::from_scaled_axis(
                Vector3::new(towards.cos(), towards.sin(), 0.0) * tilt,
            );
            let middle = Vector3::new(
                rng.random_range(-0.03..0.03),
                rng.random_range(-0.03..0.03),
                rng.random_range(0.32..0.42),
            );
            let b = Isometry3::from_parts(
                Translation3::from(middle - turn * Vector3::new(bw / 2.0, bh / 2.0, 0.0)),
                turn,
            );
            let a = z * b.inverse() * x.inverse();
            let x_be = if mount == Mount::EyeToHand {
                a.inverse()
            } else {
                a
            };
            let corners = (0..board.corners()).map(|id| {
                let [u, v] = truth(&board, &lens, &b, id);
                Corner {
                    id,
                    pixel: [u + pixel.sample(rng), v + pixel.sample(rng)],
                }
            });
            let view = View {
                name: format!("pose {k}"),
                size: lens.size,
                corners: corners.collect(),
            };
            let x_be = shaken(
                &x_be,
                noise.mm / 1e3 / 3f64.sqrt(),
                noise.deg.to_radians() / 3f64.sqrt(),
                rng,
            )
            .into();
            Sample {
                view,
                x_be,
                q: Vec::new(),
            }
        })
        .collect()
}

fn fit(mount: Mount, noise: ArmNoise, samples: &[Sample]) -> Result<Answer, String> {
    let lens = lens(LensModel::PlumbBob);
    hand_eye::fit(
        &Board::default(),
        (&lens, None),
        mount,
        noise,
        samples,
        false,
    )
}

/// Median, nine tenths and largest error of `many` rounds, mm and degrees; how many were refused.
fn rounds(mount: Mount, noise: ArmNoise, many: usize) -> ([f64; 3], [f64; 3], usize) {
    let x = some([0.05, -0.02, 0.08], [0.1, -0.2, 1.5]);
    let z = some([0.4, 0.1, 0.05], [0.05, 3.0, 0.1]);
    let (mut mm, mut deg, mut refused) = (Vec::new(), Vec::new(), 0);
    let mut best_closed = Vec::new();
    let mut sure = Vec::new();
    for seed in 0..many {
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        let samples = samples((&x, &z), mount, (20, 62.0), noise, &mut rng);
        match fit(mount, noise, &samples) {
            Ok(Answer::HandEye {
                x: got,
                methods,
                quality,
                ..
            }) => {
                let got = got.isometry();
                mm.push((got.translation.vector - x.translation.vector).norm() * 1e3);
                deg.push(got.rotation.angle_to(&x.rotation).to_degrees());
                let park = methods
                    .iter()
                    .find(|(name, _)| name == "Park")
                    .expect("Park")
                    .1
                    .isometry();
                best_closed.push((park.translation.vector - x.translation.vector).norm() * 1e3);
                sure.push(quality.std_mm);
                assert_eq!(methods.len(), 7, "{methods:?}");
            }
            Ok(other) => panic!("{other:?}"),
            Err(e) => {
                println!("seed {seed}: {e}");
                refused += 1;
            }
        }
    }
    let sorted = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        [
            values[values.len() / 2],
            values[values.len() * 9 / 10],
            values[values.len() - 1],
        ]
    };
    let (mm, deg) = (sorted(&mut mm), sorted(&mut deg));
    println!(
        "{mount:?} {noise:?}: {mm:.2?} mm, {deg:.3?} deg (median, nine tenths, largest); Park {:.2?} mm; said {:.2?} mm; {refused} refused",
        sorted(&mut best_closed),
        sorted(&mut sure)
    );
    (mm, deg, refused)
}

#[test]
fn an_industrial_arm_places_its_camera_within_a_millimetre_and_a_half() {
    for mount in [Mount::EyeInHand, Mount::EyeToHand] {
        let (mm, deg, refused) = rounds(mount, INDUSTRIAL, 20);
        assert!(mm[2] < 1.5 && deg[2] < 0.15 && refused == 0);
    }
}

#[test]
fn a_hobby_arm_places_its_camera_within_three_millimetres() {
    for mount in [Mount::EyeInHand, Mount::EyeToHand] {
        let (mm, _, refused) = rounds(mount, HOBBY, 60);
        // Of so inexact an arm not every draw is within 3 mm; 40 poses would be.
        assert!(mm[0] < 2.0 && mm[1] < 3.2 && refused <= 2);
    }
}

#[test]
fn poses_that_say_too_little_are_refused() {
    let (x, z) = (
        some([0.05, -0.02, 0.08], [0.1, -0.2, 1.5]),
        some([0.4, 0.1, 0.05], [0.05, 3.0, 0.1]),
    );
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mount = Mount::EyeInHand;
    let mut of =
        |count: usize, span: f64| samples((&x, &z), mount, (count, span), INDUSTRIAL, &mut rng);
    let (few, narrow, mut good) = (of(14, 62.0), of(20, 30.0), of(20, 62.0));
    let said = |samples: &[Sample]| fit(mount, INDUSTRIAL, samples).expect_err("refused");
    assert!(
        said(&few).contains("too few poses: expected at least 15"),
        "{}",
        said(&few)
    );
    let reason = said(&narrow);
    assert!(
        reason.contains("turns too little: expected 60 degrees") && reason.contains("got 3"),
        "{reason}"
    );
    // The hand only slides.
    let still: Vec<Sample> = good
        .iter()
        .map(|s| Sample {
            view: s.view.clone(),
            x_be: good[0].x_be,
            q: Vec::new(),
        })
        .collect();
    assert!(
        said(&still).contains("turns too little"),
        "{}",
        said(&still)
    );
    // About one axis only.
    let mut one = Vec::new();
    for (k, sample) in good.iter().enumerate() {
        let mut sample = sample.clone();
        sample.x_be = some([0.3, 0.0, 0.3], [0.0, 0.0, 0.1 * k as f64]).into();
        one.push(sample);
    }
    assert!(said(&one).contains("one axis only"), "{}", said(&one));
    // Somebody moved the board half way.
    let mut moved = good.clone();
    for sample in &mut moved[10..] {
        sample.x_be = (some([0.0, 0.05, 0.0], [0.0; 3]) * sample.x_be.isometry()).into();
    }
    let reason = said(&moved);
    assert!(
        reason.contains("did the board or the camera move"),
        "{reason}"
    );
    // Squares of another length than was said.
    let wrong: Board = "charuco:7x5:30:22.3".parse().expect("legal");
    let answer = hand_eye::fit(
        &wrong,
        (&lens(LensModel::PlumbBob), None),
        mount,
        INDUSTRIAL,
        &good,
        false,
    );
    let reason = answer.expect_err("refused");
    assert!(
        reason.contains("square as long") || reason.contains("disagree"),
        "{reason}"
    );
    good[4].view.size = (320, 240);
    assert!(
        said(&good).contains("pose 4: expected 640x480"),
        "{}",
        said(&good)
    );
}

/// No residual shows a lens that is a little off: the place is as unsure as the lens says that it is.
#[test]
fn the_deviation_of_the_place_has_that_of_the_lens_in_it() {
    let x = some([0.05, -0.02, 0.08], [0.1, -0.2, 1.5]);
    let z = some([0.4, 0.1, 0.05], [0.05, 3.0, 0.1]);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mount = Mount::EyeInHand;
    let samples = samples((&x, &z), mount, (20, 62.0), INDUSTRIAL, &mut rng);
    let mut off = lens(LensModel::PlumbBob);
    let std_px = [1.0, 1.0, 0.8, 0.8];
    for (value, by) in off.camera.iter_mut().zip(std_px) {
        *value += by;
    }
    let fit = |std_px: Option<[f64; 4]>| {
        let board = Board::default();
        let lens = (&off, std_px);
        match hand_eye::fit(&board, lens, mount, INDUSTRIAL, &samples, false) {
            Ok(Answer::HandEye { x, quality, .. }) => (x.isometry(), quality),
            other => panic!("{other:?}"),
        }
    };
    let (_, without) = fit(None);
    let (got, with) = fit(Some(std_px));
    let mm = (got.translation.vector - x.translation.vector).norm() * 1e3;
    let deg = got.rotation.angle_to(&x.rotation).to_degrees();
    println!("off by {mm:.2} mm, {deg:.3} degrees; {without:?}; {with:?}");
    assert!(deg > 2.0 * without.std_deg && mm > 2.0 * without.std_mm);
    assert!(deg < 2.0 * with.std_deg && mm < 2.0 * with.std_mm);
    assert!(with.std_deg < 2.0 * deg && with.std_mm < 2.0 * mm);
}
