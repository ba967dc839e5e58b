//! Where the tip is for given joints, and which joints bring a vertical gripper to a given tip.
//!
//! Decides: link lengths, the zero pose (arm straight up) and the elbow-up branch. Does not decide limits on speed.
//!
//! The chain is Rz(q0) · up 0.14 · Ry(q1) · up 0.26 · Ry(q2) · Rz(q3) · up 0.26 · Ry(q4) · Rz(q5) · up 0.15, the last
//! being the way from the wrist's centre to the tip. The three wrist axes meet in one point, so with q3 = 0 the arm
//! is a planar chain turned by q0.

use std::f64::consts::PI;

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

use crate::scene::JOINT_RANGE_RAD;

/// Height of the shoulder above the table, m.
pub const SHOULDER_HEIGHT_M: f64 = 0.14;
/// Shoulder to elbow, m.
pub const UPPER_ARM_M: f64 = 0.26;
/// Elbow to wrist centre, m.
pub const FOREARM_M: f64 = 0.26;
/// Wrist centre to tip, m.
pub const HAND_M: f64 = 0.15;

/// A tip position with the gripper pointing straight down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerticalGrip {
    /// Tip in the base frame, m.
    pub tip_m: [f64; 3],
    /// Direction in which the fingers open, rad about z from the base frame's y axis.
    pub yaw_rad: f64,
}

/// Pose of the tip in the base frame. The tip frame's z axis points out of the gripper, y from the right finger to
/// the left one.
pub fn tip_pose(q_rad: &[f64; 6]) -> Isometry3<f64> {
    let up = |length| {
        Isometry3::from_parts(
            Translation3::new(0.0, 0.0, length),
            UnitQuaternion::identity(),
        )
    };
    let yaw = |angle| Isometry3::rotation(Vector3::z() * angle);
    let pitch = |angle| Isometry3::rotation(Vector3::y() * angle);
    let [q0, q1, q2, q3, q4, q5] = *q_rad;
    yaw(q0)
        * up(SHOULDER_HEIGHT_M)
        * pitch(q1)
        * up(UPPER_ARM_M)
        * pitch(q2)
        * yaw(q3)
        * up(FOREARM_M)
        * pitch(q4)
        * yaw(q5)
        * up(HAND_M)
}

/// Position of the tip in the base frame, m.
pub fn tip_m(q_rad: &[f64; 6]) -> [f64; 3] {
    tip_pose(q_rad).translation.vector.into()
}

/// Joints that bring the tip to `grip` with the gripper vertical, the elbow up and the forearm not rolled
/// (`forearm_roll` = 0), rad. `None` if out of reach or outside the joint ranges.
///
/// Source: law of cosines on the triangle shoulder, elbow, wrist; the wrist pitch makes the three pitches add up to pi.
pub fn joints_for(grip: &VerticalGrip) -> Option<[f64; 6]> {
    let [x, y, z] = grip.tip_m;
    let across = x.hypot(y);
    let above = z + HAND_M - SHOULDER_HEIGHT_M;
    let reach = across.hypot(above);
    let cos_elbow = (reach * reach - UPPER_ARM_M * UPPER_ARM_M - FOREARM_M * FOREARM_M)
        / (2.0 * UPPER_ARM_M * FOREARM_M);
    if !(-1.0..=1.0).contains(&cos_elbow) {
        return None;
    }
    let elbow = cos_elbow.acos();
    let shoulder = across.atan2(above)
        - (FOREARM_M * elbow.sin()).atan2(UPPER_ARM_M + FOREARM_M * elbow.cos());
    let base_yaw = y.atan2(x);
    let q_rad = [
        base_yaw,
        shoulder,
        elbow,
        0.0,
        PI - shoulder - elbow,
        base_yaw - grip.yaw_rad,
    ];
    within_range(&q_rad).then_some(q_rad)
}

/// Whether every joint is inside its range.
pub fn within_range(q_rad: &[f64; 6]) -> bool {
    q_rad
        .iter()
        .zip(&JOINT_RANGE_RAD)
        .all(|(q, [low, high])| (*low..=*high).contains(q))
}

/// The joints moved into their ranges, rad.
pub fn clamp_to_range(mut q_rad: [f64; 6]) -> [f64; 6] {
    for (q, [low, high]) in q_rad.iter_mut().zip(&JOINT_RANGE_RAD) {
        *q = q.clamp(*low, *high);
    }
    q_rad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_then_forward_returns_to_the_grip() {
        let mut reached = 0;
        for x in 0..12 {
            for y in 0..12 {
                for z in 0..6 {
                    let grip = VerticalGrip {
                        tip_m: [
                            0.14 + 0.02 * f64::from(x),
                            -0.18 + 0.03 * f64::from(y),
                            0.01 + 0.04 * f64::from(z),
                        ],
                        yaw_rad: 0.1 * f64::from(y - 6),
                    };
                    let Some(q) = joints_for(&grip) else { continue };
                    reached += 1;
                    let pose = tip_pose(&q);
                    let error = (pose.translation.vector - Vector3::from(grip.tip_m)).norm();
                    assert!(error < 1e-12, "{grip:?} missed by {error} m");
                    let down = pose.rotation * Vector3::z();
                    assert!(
                        (down + Vector3::z()).norm() < 1e-12,
                        "gripper not vertical: {down}"
                    );
                    let opening = pose.rotation * Vector3::y();
                    let yaw = (-opening.x).atan2(opening.y);
                    assert!(
                        (yaw - grip.yaw_rad).abs() < 1e-12,
                        "opens along {yaw}, not {}",
                        grip.yaw_rad
                    );
                }
            }
        }
        assert!(reached > 600, "only {reached} of 864 grid points in reach");
    }

    #[test]
    fn out_of_reach_is_none() {
        assert_eq!(
            joints_for(&VerticalGrip {
                tip_m: [0.60, 0.0, 0.05],
                yaw_rad: 0.0
            }),
            None
        );
    }
}
