//! What comes from ROS 2: the states of its arms, its commands, what its services are asked, and the attachments of all.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tactus_ros::messages::{Bool, Float64MultiArray, JointState, JointTrajectory, Nothing};
use tactus_ros::plan::{Spec, Target};
use tactus_ros::{Attachment, cdr, device};
use tactus_types::{JointLimits, JointVec, Time};

/// A payload, or an attachment. The first byte says of what.
pub fn ros(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    let joints = ["a".to_owned(), "bb".to_owned()];
    match which % 6 {
        0 => message::<JointState>(bytes).is_some_and(|state| {
            let sample = device::sample(&state, &joints, Some(1));
            if let Ok(sample) = &sample {
                assert!(sample.q.is_finite() && sample.dq.is_finite(), "{sample:?}");
            }
            sample.is_ok()
        }),
        1 => message::<JointTrajectory>(bytes).is_some_and(|asked| {
            let plan = arm(&joints).trajectory(&asked, resting(), (NOW, 1_700_000_000_000_000_000));
            plan.is_ok_and(|plan| followed(|now| plan.at(now)))
        }),
        2 => message::<Float64MultiArray>(bytes).is_some_and(|asked| {
            let plan = arm(&joints).positions(&asked, resting(), NOW);
            plan.is_ok_and(|plan| followed(|now| plan.at(now)))
        }),
        3 => message::<Nothing>(bytes).is_some(),
        4 => message::<Bool>(bytes).is_some(),
        _ => Attachment::decode(Some(bytes)).is_ok_and(|known| {
            assert_eq!(known.encode(), bytes, "an attachment that was taken");
            true
        }),
    }
}

const NOW: Time = Time::from_millis(1_000_000);

fn arm(joints: &[String]) -> Spec {
    let limits = JointLimits {
        lower: -2.0,
        upper: 2.0,
        velocity: 100.0,
        acceleration: 5.0,
        jerk: 100.0,
    };
    Spec {
        joints: joints.to_vec(),
        limits: vec![limits; joints.len()],
        reach: 1.0,
        silent_after: Duration::from_millis(200),
    }
}

fn resting() -> Target {
    Target {
        q: JointVec::zeros(2),
        opening: 0.5,
    }
}

/// Wherever a plan that was taken leads, is a place.
fn followed(at: impl Fn(Time) -> Option<Target>) -> bool {
    for millis in (0..2_000_u64).step_by(37) {
        if let Some(target) = at(NOW + Duration::from_millis(millis)) {
            assert!(
                target.q.is_finite() && target.opening.is_finite(),
                "{target:?}"
            );
        }
    }
    true
}

/// What is accepted is written, and then accepted again.
fn message<M: Serialize + for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<M> {
    let message = cdr::decode::<M>(bytes).ok()?;
    let again = cdr::encode(&message).and_then(|bytes| cdr::decode::<M>(&bytes));
    assert!(again.is_ok(), "what was accepted: {:?}", again.err());
    Some(message)
}
