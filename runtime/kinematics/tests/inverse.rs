//! Laws of the search for joints: it arrives where it can, never leaves the limits, never makes a number that is none.

#![allow(clippy::unwrap_used)]

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3, Vector6};
use proptest::prelude::*;
use tactus_kinematics::{Chain, Frames, Inverse, InverseSpec};
use tactus_types::JointVec;

fn sim_arm() -> Chain {
    let text = include_str!("../../../drivers/sim/assets/arm.urdf");
    let joints = [
        "base_yaw",
        "shoulder_pitch",
        "elbow_pitch",
        "forearm_roll",
        "wrist_pitch",
        "wrist_roll",
    ];
    Chain::from_urdf(text, "base", "tip", &joints).unwrap()
}

fn seven_arm() -> Chain {
    let text = include_str!("data/seven_arm.urdf");
    let joints = ["j1", "j2", "j3", "j4", "j5", "j6", "j7"];
    Chain::from_urdf(text, "base", "tip", &joints).unwrap()
}

fn odd_arm() -> Chain {
    let text = include_str!("data/odd_arm.urdf");
    Chain::from_urdf(text, "pedestal", "tool", &["f", "c", "a", "d", "b", "e"]).unwrap()
}

/// The sim arm without its last two joints: four joints, so most poses cannot be met.
fn four_arm() -> Chain {
    let text = include_str!("../../../drivers/sim/assets/arm.urdf");
    let joints = ["forearm_roll", "elbow_pitch", "shoulder_pitch", "base_yaw"];
    Chain::from_urdf(text, "base", "forearm_tube", &joints).unwrap()
}

fn arms() -> [Chain; 4] {
    [sim_arm(), seven_arm(), odd_arm(), four_arm()]
}

fn inverse(chain: &Chain) -> Inverse {
    Inverse::new(chain.clone(), chain.limits(), InverseSpec::default()).unwrap()
}

/// Joints at `shares` of their ranges.
fn joints(chain: &Chain, shares: &[f64]) -> JointVec {
    JointVec::from_fn(chain.joints().len(), |i| {
        let [lower, upper] = chain.limits()[i].map(|limit| limit.clamp(-3.0, 3.0));
        lower + (upper - lower) * shares[i]
    })
}

fn inside(chain: &Chain, q: &JointVec) -> bool {
    let mut pairs = q.iter().zip(chain.limits());
    pairs.all(|(q, [lower, upper])| (*lower..=*upper).contains(q))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The Jacobian is the derivative of the pose, in every column.
    #[test]
    fn the_jacobian_is_the_derivative_of_the_pose(shares in prop::array::uniform7(0.01f64..0.99)) {
        const STEP: f64 = 1e-6;
        for chain in arms() {
            let q = joints(&chain, &shares);
            let jacobian = chain.jacobian(&q);
            for i in 0..q.len() {
                let [before, after] = [-STEP, STEP].map(|step| {
                    let mut q = q;
                    q[i] += step;
                    chain.forward(&q)
                });
                let linear = (after.translation.vector - before.translation.vector) / (2.0 * STEP);
                let angular = (after.rotation * before.rotation.inverse()).scaled_axis() / (2.0 * STEP);
                let column = jacobian.columns()[i];
                prop_assert!((linear - column.fixed_rows::<3>(0)).norm() < 1e-8);
                prop_assert!((angular - column.fixed_rows::<3>(3)).norm() < 1e-8);
            }
        }
    }

    /// All bodies' frames at once are what one chain after the other says.
    #[test]
    fn the_last_body_and_the_tip_are_fixed_to_each_other(shares in prop::array::uniform7(0.0f64..1.0)) {
        for chain in arms() {
            let (mut zero, mut frames) = (Frames::default(), Frames::default());
            chain.frames(&JointVec::zeros(chain.joints().len()), &mut zero);
            chain.frames(&joints(&chain, &shares), &mut frames);
            let apart = |f: &Frames| f.bodies().last().unwrap().inv_mul(f.tip());
            prop_assert!((apart(&zero).to_homogeneous() - apart(&frames).to_homogeneous()).norm() < 1e-12);
            prop_assert_eq!(frames.bodies()[0], Isometry3::identity());
        }
    }

    /// From joints nearby, as from one tick to the next, the search arrives, with joints nearby. Not asked close to
    /// singularities, where joints nearby need not exist, nor close to limits.
    #[test]
    fn a_pose_nearby_is_reached(
        shares in prop::array::uniform7(0.1f64..0.9), off in prop::array::uniform7(-0.03f64..0.03)
    ) {
        for chain in [sim_arm(), seven_arm()] {
            let from = joints(&chain, &shares);
            let there = JointVec::from_fn(from.len(), |i| from[i] + off[i]);
            let inverse = inverse(&chain);
            if inverse.condition(&from).max(inverse.condition(&there)) > 30.0 {
                continue;
            }
            let found = inverse.follow(&chain.forward(&there), &from);
            prop_assert!(found.residual_m <= 1e-7 && found.residual_rad <= 1e-7, "{:?}", found);
            prop_assert!(found.iterations <= 10, "{:?}", found);
            prop_assert!(found.q.zip(&from, |a, b| a - b).max_abs() < 0.3, "{:?} from {:?}", found, from);
            let apart = chain.forward(&found.q).translation.vector - chain.forward(&there).translation.vector;
            prop_assert!(apart.norm() <= 1.1e-7);
        }
    }

    /// Whatever is asked, from wherever: joints inside the limits, numbers that are numbers, no worse than the start.
    #[test]
    fn any_target_from_anywhere_ends_well(
        shares in prop::array::uniform7(-0.5f64..1.5),
        place in prop::array::uniform3(prop_oneof![4 => -1.5f64..1.5, 1 => -1e9f64..1e9]),
        turn in prop::array::uniform3(-4.0f64..4.0),
        poison in prop_oneof![9 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)],
        poisoned in 0usize..8,
    ) {
        for chain in arms() {
            let mut from = joints(&chain, &shares);
            let mut place = Vector3::from(place);
            if poisoned < 3 { place[poisoned] += poison } else if poisoned - 3 < from.len() { from[poisoned - 3] += poison }
            let target = Isometry3::from_parts(
                Translation3::from(place), UnitQuaternion::from_scaled_axis(Vector3::from(turn)),
            );
            let inverse = inverse(&chain);
            let found = inverse.follow(&target, &from);
            prop_assert!(found.q.is_finite() && inside(&chain, &found.q), "{:?}", found);
            prop_assert!((0.0..=1.0).contains(&found.slow_down), "{:?}", found);
            prop_assert!(!found.residual_m.is_nan() && !found.residual_rad.is_nan());
            prop_assert!(found.iterations <= 20);
            let step = inverse.step(&Vector6::new(place.x, 0.0, place.z, turn[0], 0.0, 0.0), &from);
            prop_assert!(step.is_finite() && step.len() == from.len());
            if found.residual_m.is_finite() {
                prop_assert!((chain.forward(&found.q).translation.vector - place).norm() - found.residual_m < 1e-9);
                let at_first = inverse.follow(&target, &found.q);
                let weighed = |m: f64, rad: f64| m * m + rad * rad;
                prop_assert!(
                    weighed(at_first.residual_m, at_first.residual_rad)
                        <= weighed(found.residual_m, found.residual_rad) * (1.0 + 1e-9),
                    "a second call is never farther away"
                );
            }
        }
    }
}

/// Where the arm is already, nothing moves.
#[test]
fn the_own_pose_needs_no_step() {
    for chain in arms() {
        let q = joints(&chain, &[0.4; 7]);
        let found = inverse(&chain).follow(&chain.forward(&q), &q);
        assert_eq!((found.q, found.iterations, found.slow_down), (q, 0, 1.0));
    }
}

/// A joint at its limit leaves the work to the others.
#[test]
fn a_joint_at_its_limit_does_not_stop_the_others() {
    let chain = seven_arm();
    let from = JointVec::from_slice(&[0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.7]).unwrap();
    let mut limits = chain.limits().to_vec();
    limits[2] = [from[2] - 1e-9, from[2] + 1e-9];
    let inverse = Inverse::new(chain.clone(), &limits, InverseSpec::default()).unwrap();
    let mut target = chain.forward(&from);
    target.translation.vector += Vector3::new(0.02, 0.03, -0.02);
    let found = inverse.follow(&target, &from);
    assert!(
        found.residual_m < 1e-7 && found.residual_rad < 1e-7,
        "{found:?}"
    );
    assert!((found.q[2] - from[2]).abs() <= 1e-9);
}

/// A straight line out to beyond the arm's reach: the share of speed falls before the arm is stretched and joints never
/// jump; on the way back it is 1 all along.
#[test]
fn the_arm_slows_down_on_the_way_into_a_singularity_only() {
    let chain = sim_arm();
    let inverse = inverse(&chain);
    let mut q = JointVec::from_slice(&[0.0, 0.6, 1.3, 0.0, 1.0, 0.0]).unwrap();
    let first = chain.forward(&q);
    let mut shares = Vec::new();
    for k in 1..=400 {
        let mut target = first;
        target.translation.vector += Vector3::new(0.001, 0.0, 0.0005) * f64::from(k);
        let found = inverse.follow(&target, &q);
        let jump = found.q.zip(&q, |a, b| a - b).max_abs();
        assert!(
            jump < 0.2,
            "{jump} rad in one tick of 1.1 mm, at {k}: {found:?}"
        );
        shares.push((inverse.condition(&found.q), found.slow_down));
        q = found.q;
    }
    assert_eq!(shares.first().unwrap().1, 1.0);
    assert!(
        shares.iter().any(|(_, s)| *s == 0.0),
        "the stretched arm stops"
    );
    for (condition, share) in &shares {
        assert!(*share == 1.0 || *condition > 17.0, "{share} at {condition}");
    }
    for k in (1..=300).rev() {
        let mut target = first;
        target.translation.vector += Vector3::new(0.001, 0.0, 0.0005) * f64::from(k);
        let before = inverse.condition(&q);
        let found = inverse.follow(&target, &q);
        if inverse.condition(&found.q) <= before {
            assert_eq!(found.slow_down, 1.0, "at {k}");
        }
        q = found.q;
    }
    let back = chain.forward(&q);
    let apart = back.translation.vector - first.translation.vector;
    assert!(apart.norm() < 2e-3, "{apart:?}");
}

/// Tick by tick along a velocity: the damped step follows it.
#[test]
fn steps_add_up_to_the_way() {
    let chain = seven_arm();
    let inverse = inverse(&chain);
    let mut q = JointVec::from_slice(&[0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.7]).unwrap();
    let first = chain.forward(&q);
    for _ in 0..1000 {
        let dq = inverse.step(&Vector6::new(1e-4, -5e-5, 0.0, 0.0, 0.0, 2e-4), &q);
        q = q.zip(&dq, |q, d| q + d);
    }
    let last = chain.forward(&q);
    let way = last.translation.vector - first.translation.vector;
    assert!(
        (way - Vector3::new(0.1, -0.05, 0.0)).norm() < 1e-3,
        "{way:?}"
    );
    let turn = (last.rotation * first.rotation.inverse()).scaled_axis();
    assert!(
        (turn - Vector3::new(0.0, 0.0, 0.2)).norm() < 1e-3,
        "{turn:?}"
    );
}
