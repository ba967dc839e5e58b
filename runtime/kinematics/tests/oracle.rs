//! Forward kinematics, Jacobians and distances agree with Pinocchio and Coal (`data/make.py` made `data/golden.json`).

#![allow(clippy::unwrap_used)]

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};
use serde::Deserialize;
use tactus_kinematics::{Chain, Frames, SelfCollision};
use tactus_types::JointVec;

#[derive(Deserialize)]
struct Arm {
    name: String,
    base: String,
    tip: String,
    joints: Vec<String>,
    skip: Vec<String>,
    poses: Vec<Pose>,
}

#[derive(Deserialize)]
struct Pose {
    q: Vec<f64>,
    tip: [f64; 7],
    jacobian: [Vec<f64>; 6],
    distances: Vec<(String, String, f64)>,
}

fn urdf(name: &str) -> &'static str {
    match name {
        "odd_arm" => include_str!("data/odd_arm.urdf"),
        "seven_arm" => include_str!("data/seven_arm.urdf"),
        "sim_arm" => include_str!("../../../drivers/sim/assets/arm.urdf"),
        _ => panic!("no arm {name}"),
    }
}

fn arms() -> Vec<(Arm, Chain)> {
    let arms: Vec<Arm> = serde_json::from_str(include_str!("data/golden.json")).unwrap();
    assert_eq!(arms.len(), 3);
    let chain = |arm: Arm| {
        let joints: Vec<_> = arm.joints.iter().map(String::as_str).collect();
        let chain = Chain::from_urdf(urdf(&arm.name), &arm.base, &arm.tip, &joints).unwrap();
        assert_eq!(arm.poses.len(), 12);
        (arm, chain)
    };
    arms.into_iter().map(chain).collect()
}

#[test]
fn poses_and_jacobians_are_those_of_pinocchio() {
    let mut worst = [0.0f64; 3];
    for (arm, chain) in arms() {
        for pose in &arm.poses {
            let q = JointVec::from_slice(&pose.q).unwrap();
            let [x, y, z, i, j, k, w] = pose.tip;
            let expected = Isometry3::from_parts(
                Translation3::new(x, y, z),
                UnitQuaternion::from_quaternion(Quaternion::new(w, i, j, k)),
            );
            let tip = chain.forward(&q);
            let apart = (tip.translation.vector - expected.translation.vector).norm();
            worst[0] = worst[0].max(apart);
            worst[1] = worst[1].max(tip.rotation.angle_to(&expected.rotation));
            let mut frames = Frames::default();
            chain.frames(&q, &mut frames);
            assert_eq!(frames.tip(), &tip, "one pass or the other");
            assert_eq!(frames.bodies().len(), q.len() + 1);
            let jacobian = chain.jacobian(&q);
            for (i, column) in jacobian.columns().iter().enumerate() {
                for row in 0..6 {
                    let error = (column[row] - pose.jacobian[row][i]).abs();
                    assert!(error < 1e-12, "{}: column {i}, row {row}", arm.name);
                    worst[2] = worst[2].max(error);
                }
            }
        }
    }
    println!(
        "worst: {:.1e} m, {:.1e} rad, Jacobian {:.1e}",
        worst[0], worst[1], worst[2]
    );
    assert!(worst[0] < 1e-12 && worst[1] < 1e-12, "{worst:?}");
}

#[test]
fn distances_are_those_of_coal() {
    let (mut compared, mut worst) = (0, 0.0f64);
    for (arm, chain) in arms() {
        let skip: Vec<_> = arm.skip.iter().map(String::as_str).collect();
        let collision = SelfCollision::from_urdf(urdf(&arm.name), chain, &skip).unwrap();
        let place = |name: &String| collision.links().iter().position(|l| l == name).unwrap();
        for pose in &arm.poses {
            let q = JointVec::from_slice(&pose.q).unwrap();
            let mut least = f64::INFINITY;
            for (one, other, expected) in &pose.distances {
                let (one, other) = (place(one), place(other));
                let mut distance = f64::INFINITY;
                for a in collision.capsules(one, &q) {
                    for b in collision.capsules(other, &q) {
                        distance = distance.min(a.distance_m(&b));
                    }
                }
                worst = worst.max((distance - expected).abs());
                compared += 1;
                if collision
                    .compared()
                    .contains(&(one.min(other), one.max(other)))
                {
                    least = least.min(*expected);
                }
            }
            let nearest = collision.nearest(&q);
            assert!(
                (nearest.distance_m - least).abs() < 1e-9,
                "{}: {nearest:?}, expected {least}",
                arm.name
            );
        }
    }
    println!("{compared} pairs, worst {worst:.1e} m");
    assert!(
        compared > 900 && worst < 1e-9,
        "{compared} pairs, {worst} m"
    );
}
