//! One joint turned by a little, and what a camera saw of it.
//!
//! The arm's own encoders cannot tell a reversed joint: command and state are reversed together. A camera can, since the way
//! that the hand turned does not come from the arm. In which frame the turn is looked at decides what it depends on: for a
//! camera in the hand the hand's own, in which the axis of a joint depends on the joints after it only; for a camera beside the
//! arm the base's, in which it depends on those before it. So joints are judged from the tip to the base, or from the base to
//! the tip, and what was found of one counts for the next ([`Belief`]).

use nalgebra::{UnitQuaternion, Vector3};
use tactus_calibration::Mount;
use tactus_kinematics::Chain;
use tactus_types::JointVec;

/// A turn whose axis is further than this from a joint's is not that joint's: cosine of 25 degrees.
const ALONG: f64 = 0.906;
/// A joint that turns by this much more or less than it says is not to scale.
const SCALE: f64 = 0.1;
/// Less than this share of what was commanded is none.
const STILL: f64 = 0.2;

/// What was seen of a joint that was to turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Which joint.
    pub joint: usize,
    /// How far the arm says that it turned, rad.
    pub said: f64,
    /// How the hand turned, as a rotation vector, rad: in its own frame before it turned, for a camera in the hand; in the base
    /// for one beside the arm.
    pub seen: Vector3<f64>,
}

/// What a joint is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// As the arm says; it turns so many times as far.
    Fits(f64),
    /// It turns the other way.
    Reversed(f64),
    /// It turns so many times as far as the arm says, less than zero for the other way.
    Scaled(f64),
    /// It turns about an axis like that joint's, so many times as far; which one it is does not show where axes are parallel.
    IsJoint(usize, f64),
    /// It turns about an axis that none of the joints has.
    Elsewhere,
    /// The hand hardly turned.
    Still,
    /// The joint slides, or does not turn the hand where the arm is.
    NotJudged,
}

impl Verdict {
    /// Whether the joint is as the arm says, or at least nothing else is known.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Fits(_) | Self::NotJudged)
    }
}

/// The arm as it is believed to be, while its joints are judged one after the other.
#[derive(Debug, Clone)]
pub struct Belief<'a> {
    chain: &'a Chain,
    mount: Mount,
    q: JointVec,
}

/// How the hand turned between two looks at a board that stands still (camera in the hand) or that the hand carries: `r_cw` is
/// the board's orientation in the camera before and after, `x` the camera's in the hand (`R_EC`) or in the base (`R_BC`).
/// In the frame that [`Turn::seen`] says.
pub fn seen(
    mount: Mount,
    x: &UnitQuaternion<f64>,
    [before, after]: [&UnitQuaternion<f64>; 2],
) -> Vector3<f64> {
    let turn = match mount {
        // R_E0E1 = R_EC R_C0W R_WC1 R_CE
        Mount::EyeInHand => x * before * after.inverse() * x.inverse(),
        // R_B1 R_B0^-1, of the hand with the board on it.
        Mount::EyeToHand => x * after * before.inverse() * x.inverse(),
    };
    turn.scaled_axis()
}

impl<'a> Belief<'a> {
    /// An arm that says that it is at `q`.
    pub fn new(chain: &'a Chain, mount: Mount, q: JointVec) -> Self {
        Self { chain, mount, q }
    }

    /// The order in which joints are judged.
    pub fn order(&self) -> Vec<usize> {
        let along = self
            .chain
            .joints_along()
            .filter_map(|name| self.chain.joints().iter().position(|other| other == name));
        let mut order: Vec<usize> = along.collect();
        if self.mount == Mount::EyeInHand {
            order.reverse();
        }
        order
    }

    /// Axis of every joint in the frame that [`Turn::seen`] says; zero of one that slides.
    fn axes(&self) -> Vec<Vector3<f64>> {
        let back = match self.mount {
            Mount::EyeInHand => self.chain.forward(&self.q).rotation.inverse(),
            Mount::EyeToHand => UnitQuaternion::identity(),
        };
        let jacobian = self.chain.jacobian(&self.q);
        let columns = jacobian.columns().iter();
        columns
            .map(|column| back * column.fixed_rows::<3>(3).into_owned())
            .collect()
    }

    /// What `turn` says of its joint. What it says counts for the joints that are judged after it.
    pub fn judge(&mut self, turn: &Turn) -> Verdict {
        let axes = self.axes();
        let Some(axis) = axes.get(turn.joint).filter(|axis| axis.norm() > 0.5) else {
            return Verdict::NotJudged;
        };
        let angle = turn.seen.norm();
        if angle < STILL * turn.said.abs() {
            return Verdict::Still;
        }
        let along = |axis: &Vector3<f64>| turn.seen.dot(axis) / angle;
        let share = along(axis);
        let scale = turn.seen.dot(axis) / turn.said;
        if share.abs() >= ALONG {
            let verdict = match scale {
                s if (s - 1.0).abs() <= SCALE => Verdict::Fits(s),
                s if (s + 1.0).abs() <= SCALE => Verdict::Reversed(s),
                s => Verdict::Scaled(s),
            };
            if let Verdict::Reversed(_) = verdict {
                self.q[turn.joint] = -self.q[turn.joint];
            }
            return verdict;
        }
        let best = axes.iter().enumerate().filter(|(_, a)| a.norm() > 0.5);
        let best = best.max_by(|a, b| along(a.1).abs().total_cmp(&along(b.1).abs()));
        match best {
            Some((other, axis)) if along(axis).abs() >= ALONG => {
                Verdict::IsJoint(other, turn.seen.dot(axis) / turn.said)
            }
            _ => Verdict::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Isometry3;

    const BY: f64 = 0.07;

    /// What is found of each joint of an arm that really is at `real` when it says `said`.
    fn judged(mount: Mount, real: impl Fn(&JointVec) -> JointVec) -> Vec<Verdict> {
        let chain = crate::arm::chain();
        let said = JointVec::from_slice(&[0.4, -0.5, 1.2, 0.6, 0.9, -0.7]).expect("short");
        let x = Isometry3::new(Vector3::new(0.05, 0.0, 0.02), Vector3::new(0.3, -0.2, 1.1));
        let z = Isometry3::new(Vector3::new(0.3, 0.1, 0.0), Vector3::new(0.1, 0.2, -0.4));
        let board = |q: &JointVec| {
            let hand = chain.forward(&real(q));
            match mount {
                Mount::EyeInHand => (hand * x).inverse() * z,
                Mount::EyeToHand => x.inverse() * hand * z,
            }
            .rotation
        };
        let mut belief = Belief::new(&chain, mount, said);
        let mut verdicts = vec![Verdict::NotJudged; 6];
        for joint in belief.order() {
            let mut there = said;
            there[joint] += BY;
            let seen = seen(mount, &x.rotation, [&board(&said), &board(&there)]);
            let turn = Turn {
                joint,
                said: BY,
                seen,
            };
            verdicts[joint] = belief.judge(&turn);
        }
        verdicts
    }

    #[test]
    fn a_sound_arm_fits_whichever_way_it_is_looked_at() {
        for mount in [Mount::EyeInHand, Mount::EyeToHand] {
            let verdicts = judged(mount, |q| *q);
            assert!(
                verdicts
                    .iter()
                    .all(|v| matches!(v, Verdict::Fits(s) if (s - 1.0).abs() < 1e-6)),
                "{mount:?}: {verdicts:?}"
            );
        }
    }

    #[test]
    fn any_one_joint_that_is_reversed_is_found_and_no_other() {
        for mount in [Mount::EyeInHand, Mount::EyeToHand] {
            for flipped in 0..6 {
                let verdicts = judged(mount, |q| {
                    JointVec::from_fn(6, |i| if i == flipped { -q[i] } else { q[i] })
                });
                for (joint, verdict) in verdicts.iter().enumerate() {
                    let wanted = match joint == flipped {
                        true => matches!(verdict, Verdict::Reversed(_)),
                        false => matches!(verdict, Verdict::Fits(_)),
                    };
                    assert!(wanted, "{mount:?}, {flipped} reversed: {verdicts:?}");
                }
            }
        }
    }

    #[test]
    fn scale_exchanged_joints_and_a_joint_that_stands_still_are_told_apart() {
        let half = judged(Mount::EyeInHand, |q| {
            JointVec::from_fn(6, |i| if i == 5 { 0.5 * q[i] } else { q[i] })
        });
        assert!(
            matches!(half[5], Verdict::Scaled(s) if (s - 0.5).abs() < 0.01),
            "{half:?}"
        );
        let exchanged = judged(Mount::EyeInHand, |q| {
            JointVec::from_fn(6, |i| q[[0, 1, 2, 3, 5, 4][i]])
        });
        assert!(
            matches!(exchanged[5], Verdict::IsJoint(..) | Verdict::Elsewhere),
            "{exchanged:?}"
        );
        let stuck = judged(Mount::EyeToHand, |q| {
            JointVec::from_fn(6, |i| if i == 2 { 1.0 } else { q[i] })
        });
        assert_eq!(stuck[2], Verdict::Still);
    }
}
