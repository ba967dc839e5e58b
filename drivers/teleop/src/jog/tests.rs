use nalgebra::Isometry3;
use proptest::prelude::*;
use tactus_types::{ArmGeometry, JointLimits};

use super::*;
use crate::AXES;

const URDF: &str = include_str!("../../../sim/assets/arm.urdf");
const JOINTS: [&str; 6] = [
    "base_yaw",
    "shoulder_pitch",
    "elbow_pitch",
    "forearm_roll",
    "wrist_pitch",
    "wrist_roll",
];
/// Ready over the table, tool down.
const HOME: [f64; 6] = [0.2, -0.13, 1.83, 0.1, 1.44, 0.0];
const SECS: f64 = 0.01;

/// The simulated arm.
fn arm() -> ArmInfo {
    let limit = |[lower, upper]: [f64; 2]| JointLimits {
        lower,
        upper,
        velocity: 2.0,
        acceleration: 10.0,
        jerk: 100.0,
    };
    let chain = Chain::from_urdf(URDF, "base", "tip", &JOINTS).expect("a chain");
    ArmInfo {
        model: "six".into(),
        joints: JOINTS.map(str::to_owned).to_vec(),
        limits: chain.limits().iter().copied().map(limit).collect(),
        gripper: true,
        state_rate_hz: 500.0,
        brakes: false,
        torque_switch: true,
        command_deadline_secs: 0.1,
        geometry: Some(ArmGeometry {
            urdf: URDF.into(),
            base_link: "base".into(),
            tool_link: "tip".into(),
            workspace: None,
        }),
    }
}

fn home() -> JointVec {
    JointVec::from_slice(&HOME).expect("six")
}

fn along(axis: usize, share: f64) -> Deflection {
    let mut axes = [0.0; AXES];
    axes[axis] = share;
    Deflection { axes, opening: 0.0 }
}

fn jog(frame: Frame) -> Jog {
    let mut jog = Jog::new(&arm(), frame, JogSpec::at(1.0)).expect("it describes its links");
    jog.anchor(&home(), 0.5);
    jog
}

fn tip(q: &JointVec) -> Isometry3<f64> {
    let chain = Chain::from_urdf(URDF, "base", "tip", &JOINTS).expect("a chain");
    chain.forward(q)
}

/// Half a second of `deflection`, with an arm that follows.
fn moved(jog: &mut Jog, deflection: &Deflection) -> (Isometry3<f64>, Isometry3<f64>) {
    let from = tip(&jog.reference().0);
    for _ in 0..50 {
        let (q, _) = jog.reference();
        jog.advance(deflection, &q, SECS);
    }
    (from, tip(&jog.reference().0))
}

#[test]
fn a_deflection_moves_the_tool_along_its_axis_of_the_base_at_its_speed() {
    for axis in 0..3 {
        let (from, to) = moved(&mut jog(Frame::Base), &along(axis, 0.4));
        let way = to.translation.vector - from.translation.vector;
        // 0.4 of 0.25 m/s for half a second.
        let expected = Vector3::from_fn(|i, _| if i == axis { 0.05 } else { 0.0 });
        assert!((way - expected).norm() < 5e-4, "axis {axis}: {way:?}");
        assert!(from.rotation.angle_to(&to.rotation) < 5e-3);
    }
    for axis in 0..3 {
        let (from, to) = moved(&mut jog(Frame::Base), &along(3 + axis, 0.4));
        let turn = (to.rotation * from.rotation.inverse()).scaled_axis();
        let expected = Vector3::from_fn(|i, _| if i == axis { 0.2 } else { 0.0 });
        assert!((turn - expected).norm() < 5e-3, "axis {axis}: {turn:?}");
        assert!((to.translation.vector - from.translation.vector).norm() < 2e-3);
    }
}

#[test]
fn in_the_tool_frame_the_tools_own_axis_counts() {
    let (from, to) = moved(&mut jog(Frame::Tool), &along(2, 0.4));
    let way = from.inverse_transform_vector(&(to.translation.vector - from.translation.vector));
    assert!(
        (way - Vector3::new(0.0, 0.0, 0.05)).norm() < 5e-4,
        "{way:?}"
    );
    let (from, to) = moved(&mut jog(Frame::Tool), &along(3, 0.4));
    let turn = (from.rotation.inverse() * to.rotation).scaled_axis();
    assert!(
        (turn - Vector3::new(0.2, 0.0, 0.0)).norm() < 5e-3,
        "{turn:?}"
    );
}

#[test]
fn joint_by_joint_an_axis_is_a_joint_at_its_share_of_the_limit() {
    let mut jog = jog(Frame::Joints);
    moved(&mut jog, &along(1, -1.0));
    let (q, _) = jog.reference();
    for (i, (q, home)) in q.iter().zip(HOME).enumerate() {
        // Half of 2 rad/s for half a second.
        let expected = if i == 1 { home - 0.5 } else { home };
        assert!((q - expected).abs() < 1e-9, "joint {i}");
    }
}

#[test]
fn the_gripper_opens_and_closes_within_its_range() {
    let mut jog = jog(Frame::Base);
    let open = Deflection {
        opening: 1.0,
        ..Deflection::default()
    };
    jog.advance(&open, &home(), 0.2);
    assert!((jog.reference().1 - 0.7).abs() < 1e-12);
    jog.advance(&open, &home(), 1.0);
    assert_eq!(jog.reference(), (home(), 1.0));
}

#[test]
fn the_reference_waits_for_an_arm_that_does_not_follow() {
    for frame in [Frame::Base, Frame::Joints] {
        let mut jog = jog(frame);
        for _ in 0..2000 {
            jog.advance(&along(0, 1.0), &home(), SECS);
        }
        let ahead = jog.reference().0.zip(&home(), |a, b| a - b).max_abs();
        assert!((0.1..=LEAD_RAD).contains(&ahead), "{frame:?}: {ahead}");
        // Back is free.
        let before = jog.reference().0;
        jog.advance(&along(0, -1.0), &home(), SECS);
        assert_ne!(jog.reference().0, before);
    }
}

#[test]
fn an_arm_stretched_out_slows_down_on_the_way_in_and_not_on_the_way_out() {
    let mut jog = jog(Frame::Base);
    let mut least = 1.0f64;
    for _ in 0..3000 {
        let (q, _) = jog.reference();
        jog.advance(&along(0, 1.0), &q, SECS);
        least = least.min(jog.slow_down());
    }
    assert!(least < 0.2, "it runs into its stretched pose: {least}");
    let stretched = tip(&jog.reference().0);
    let (_, back) = moved(&mut jog, &along(0, -1.0));
    let way = stretched.translation.vector.x - back.translation.vector.x;
    assert!(way > 0.02, "it comes back: {way}");
}

#[test]
fn an_arm_without_links_or_with_too_few_joints_is_jogged_joint_by_joint() {
    let mut few = arm();
    few.joints.truncate(5);
    few.limits.truncate(5);
    let mut bare = arm();
    bare.geometry = None;
    for (info, why) in [
        (&few, "it has 5 joints"),
        (&bare, "none in the info of `six`"),
    ] {
        assert_eq!(Jog::frame_for(info), Frame::Joints);
        assert!(Jog::new(info, Frame::Joints, JogSpec::at(0.5)).is_ok());
        let refused = Jog::new(info, Frame::Base, JogSpec::at(0.5));
        let said = refused.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            said.contains("joint by joint only") && said.contains(why),
            "{said}"
        );
    }
    assert_eq!(Jog::frame_for(&arm()), Frame::Base);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is pushed from wherever: no joint is faster than it may be, leaves its limits, or is no number.
    #[test]
    fn no_joint_is_too_fast_or_leaves_its_limits(
        start in prop::array::uniform6(0.0f64..1.0),
        push in prop::array::uniform7(-1.0f64..1.0),
        tool in any::<bool>(),
    ) {
        let info = arm();
        let frame = if tool { Frame::Tool } else { Frame::Base };
        let mut jog = Jog::new(&info, frame, JogSpec::at(1.0)).expect("links");
        let q = JointVec::from_fn(6, |i| {
            let l = info.limits[i];
            l.lower + start[i] * (l.upper - l.lower)
        });
        jog.anchor(&q, 0.5);
        let deflection = Deflection { axes: push, opening: push[0] };
        for _ in 0..100 {
            let (before, _) = jog.reference();
            jog.advance(&deflection, &before, SECS);
            let (after, opening) = jog.reference();
            prop_assert!(after.is_finite() && (0.0..=1.0).contains(&opening));
            for (i, l) in info.limits.iter().enumerate() {
                prop_assert!((after[i] - before[i]).abs() <= 0.5 * l.velocity * SECS + 1e-12);
                prop_assert!((l.lower..=l.upper).contains(&after[i]));
            }
        }
    }
}
