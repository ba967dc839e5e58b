//! What a joint's movement can do at most, on which it stands that a limiter need not look at every instant.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use proptest::prelude::*;
use tactus_kinematics::{Chain, Distances, Frames, Placed, SelfCollision};
use tactus_types::JointVec;

static ARMS: LazyLock<[(Chain, SelfCollision); 3]> = LazyLock::new(|| [0, 1, 2].map(arm));

fn arm(number: usize) -> (Chain, SelfCollision) {
    let sim = include_str!("../../../drivers/sim/assets/arm.urdf");
    let seven = include_str!("data/seven_arm.urdf");
    let odd = include_str!("data/odd_arm.urdf");
    let (text, base, tip, joints, skip): (_, _, _, &[&str], &[&str]) = match number {
        0 => (
            sim,
            "base",
            "tip",
            &[
                "base_yaw",
                "shoulder_pitch",
                "elbow_pitch",
                "forearm_roll",
                "wrist_pitch",
                "wrist_roll",
            ],
            &[],
        ),
        1 => (
            seven,
            "base",
            "tip",
            &["j1", "j2", "j3", "j4", "j5", "j6", "j7"],
            &[],
        ),
        // One of its joints slides.
        _ => (odd, "pedestal", "tool", &ODD_JOINTS, &["finger"]),
    };
    let chain = Chain::from_urdf(text, base, tip, joints).unwrap();
    let collision = SelfCollision::from_urdf(text, chain.clone(), skip).unwrap();
    (chain, collision)
}

const ODD_JOINTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_moves_farther_than_reach_says(
        number in 0usize..3,
        shares in prop::array::uniform7(0.0f64..1.0),
        moves in prop::array::uniform7(-0.7f64..0.7),
        clearance in -0.02f64..0.1,
    ) {
        let (chain, collision) = &ARMS[number];
        let n = chain.joints().len();
        let limit = |i: usize| {
            let [low, high] = chain.limits()[i];
            [low.max(-3.2), high.min(3.2)]
        };
        let from = JointVec::from_fn(n, |i| limit(i)[0] + shares[i] * (limit(i)[1] - limit(i)[0]));
        let to = JointVec::from_fn(n, |i| (from[i] + moves[i]).clamp(limit(i)[0], limit(i)[1]));
        let most = |reach: JointVec| -> f64 { (0..n).map(|i| reach[i] * (to[i] - from[i]).abs()).sum() };
        let tips = (chain.forward(&from).translation.vector, chain.forward(&to).translation.vector);
        prop_assert!((tips.0 - tips.1).norm() <= most(chain.reach()) + 1e-12);
        // Moving all the way in a second: for as long as it says no two links come nearer than the clearance.
        let (mut frames, mut placed) = (Frames::default(), Placed::default());
        let mut distances = Distances::default();
        chain.frames(&from, &mut frames);
        collision.distances_at(&frames, f64::INFINITY, &mut placed, &mut distances);
        prop_assert_eq!(distances.least_m(), collision.nearest(&from).distance_m);
        let speeds = to.zip(&from, |to, from| (to - from).abs());
        let clear = collision.clear_for(&distances, &speeds, clearance);
        prop_assert_eq!(clear < 0.0, distances.least_m() < clearance);
        let there = collision.nearest(&from.lerp(&to, clear.clamp(0.0, 1.0))).distance_m;
        prop_assert!(clear < 0.0 || there >= clearance - 1e-12, "{there} after {clear} s");
        // Written short, nothing is said to be clear for longer.
        let mut short = Distances::default();
        collision.distances_at(&frames, clearance + 0.02, &mut placed, &mut short);
        prop_assert!(collision.clear_for(&short, &speeds, clearance) <= clear);
        prop_assert_eq!(short.least_m().min(clearance), distances.least_m().min(clearance));
    }
}

#[test]
fn reach_is_that_of_the_stretched_arm() {
    // Shoulder to tip: 0.26 + 0.26 + 0.15 m; the first joint turns about the vertical, 0.06 m below the shoulder.
    let (chain, _) = arm(0);
    let reach = chain.reach();
    for (i, expected) in [0.73, 0.67, 0.41, 0.41, 0.15, 0.15].into_iter().enumerate() {
        assert!((reach[i] - expected).abs() < 1e-12, "{i}: {reach:?}");
    }
}
