//! Joint state and actions to normalised columns and back.
//!
//! Columns are the bundle's joints in its order, then the gripper's opening if there is one; `(value - offset) / scale`
//! of its statistics in f64, f32 at the graphs. An action's joint columns are absolute or relative to the joint
//! positions of the observation (the *anchor*); its gripper column is absolute, and -1..1 is opening 0..1.

use tactus_bundle::{Affine, Bundle, Representation};
use tactus_types::{Action, JointState, JointVec};

use crate::{error::VlaError, joints};

/// One column: `value = offset + scale * normalised`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Column {
    offset: f64,
    scale: f64,
    range: f64,
}

impl Column {
    fn normalise(self, value: f64) -> f32 {
        ((value - self.offset) / self.scale) as f32
    }

    fn value(self, normalised: f32) -> f64 {
        self.offset + self.scale * f64::from(normalised)
    }
}

fn columns(affine: &Affine) -> Vec<Column> {
    let Affine {
        offset,
        scale,
        range,
    } = affine;
    let both = offset.iter().zip(scale).zip(range);
    both.map(|((offset, scale), range)| Column {
        offset: *offset,
        scale: *scale,
        range: *range,
    })
    .collect()
}

/// Joint state to the columns of `state`.
#[derive(Debug, Clone)]
pub struct StateColumns {
    /// Index in the arm's joints, and statistics, of each joint column.
    joints: Vec<(usize, Column)>,
    gripper: Option<Column>,
}

impl StateColumns {
    /// The bundle's state columns for an arm with these joints.
    ///
    /// # Errors
    /// [`VlaError::Joints`] when the arm lacks a joint.
    pub fn new(bundle: &Bundle, arm: &[String]) -> Result<Self, VlaError> {
        let state = &bundle.manifest().state;
        let columns = columns(&bundle.stats().state);
        let indices = joints::find("state.joints", &state.joints, arm)?;
        let gripper = state
            .gripper
            .then(|| columns.get(indices.len()).copied())
            .flatten();
        Ok(Self {
            joints: indices.into_iter().zip(columns).collect(),
            gripper,
        })
    }

    /// Writes the normalised columns of `state`, whose joints are the arm's, into `out` (`[columns]`).
    pub fn normalise(&self, state: &JointState, out: &mut [f32]) {
        let joints = self
            .joints
            .iter()
            .map(|(i, column)| column.normalise(state.q[*i]));
        let gripper = self
            .gripper
            .iter()
            .map(|column| column.normalise(state.opening));
        out.iter_mut()
            .zip(joints.chain(gripper))
            .for_each(|(out, value)| *out = value);
    }
}

/// Actions to the columns of `x` and back.
#[derive(Debug, Clone)]
pub struct ActionColumns {
    /// Index in the arm's joints, and statistics, of each joint column.
    joints: Vec<(usize, Column)>,
    gripper: Option<Column>,
    representation: Representation,
}

impl ActionColumns {
    /// The bundle's action columns for an arm with these joints.
    ///
    /// # Errors
    /// [`VlaError::Joints`] when the bundle's and the arm's joints are not the same set.
    pub fn new(bundle: &Bundle, arm: &[String]) -> Result<Self, VlaError> {
        let action = &bundle.manifest().action;
        let columns = columns(&bundle.stats().action);
        let indices = joints::find_all("action.joints", &action.joints, arm)?;
        let gripper = action
            .gripper
            .then(|| columns.get(indices.len()).copied())
            .flatten();
        Ok(Self {
            joints: indices.into_iter().zip(columns).collect(),
            gripper,
            representation: action.representation,
        })
    }

    /// Writes the normalised columns of `action`, as seen from `anchor`, into the first of `out` (`[columns]`).
    pub fn normalise(&self, action: &Action, anchor: &JointState, out: &mut [f32]) {
        let origin = |i: usize| match self.representation {
            Representation::RelativeJoints => anchor.q[i],
            Representation::AbsoluteJoints => 0.0,
        };
        let joints = self
            .joints
            .iter()
            .map(|(i, column)| column.normalise(action.q[*i] - origin(*i)));
        let gripper = self
            .gripper
            .iter()
            .map(|column| column.normalise(action.opening));
        out.iter_mut()
            .zip(joints.chain(gripper))
            .for_each(|(out, value)| *out = value);
    }

    /// The absolute action that `normalised` (`[columns]`) means, as seen from `anchor`: joints in the arm's order,
    /// rad; opening within 0..1, or the anchor's where the policy has no gripper.
    pub fn action(&self, normalised: &[f32], anchor: &JointState) -> Action {
        let mut q = match self.representation {
            Representation::RelativeJoints => anchor.q,
            Representation::AbsoluteJoints => JointVec::zeros(anchor.q.len()),
        };
        for ((i, column), value) in self.joints.iter().zip(normalised) {
            q[*i] += column.value(*value);
        }
        let opening = match (self.gripper, normalised.get(self.joints.len())) {
            // NaN passes through the clamp, and is found by who checks the action.
            (Some(column), Some(value)) => column.value(*value).clamp(0.0, 1.0),
            _ => anchor.opening,
        };
        Action { q, opening }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.joints.len() + usize::from(self.gripper.is_some())
    }

    /// Whether there are no columns; never true of a valid bundle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Range of each column in the units of its value: of a joint as the statistics have it, of the gripper its whole
    /// stroke.
    pub fn ranges(&self) -> Vec<f64> {
        let joints = self.joints.iter().map(|(_, column)| column.range);
        joints.chain(self.gripper.iter().map(|_| 1.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_types::Time;

    use super::*;

    /// Two joints, swapped with respect to the arm, and a gripper.
    fn action_columns(representation: Representation) -> ActionColumns {
        ActionColumns {
            joints: vec![
                (
                    1,
                    Column {
                        offset: 0.5,
                        scale: 0.1,
                        range: 1.0,
                    },
                ),
                (
                    0,
                    Column {
                        offset: -0.25,
                        scale: 2.0,
                        range: 1.0,
                    },
                ),
            ],
            gripper: Some(Column {
                offset: 0.5,
                scale: 0.5,
                range: 1.0,
            }),
            representation,
        }
    }

    fn state(q: [f64; 2], opening: f64) -> JointState {
        let q = JointVec::from_slice(&q).expect("two joints");
        JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 0,
            q,
            dq: q,
            opening,
            torque: true,
        }
    }

    #[test]
    fn relative_joints_count_from_the_anchor_and_the_gripper_does_not() {
        let columns = action_columns(Representation::RelativeJoints);
        let anchor = state([1.0, 10.0], 0.3);
        let action = columns.action(&[2.0, 0.5, -1.0], &anchor);
        // Arm joint 1: 10 + 0.5 + 0.1 * 2; arm joint 0: 1 - 0.25 + 2 * 0.5.
        assert!((action.q[1] - 10.7).abs() < 1e-9 && (action.q[0] - 1.75).abs() < 1e-9);
        assert_eq!(action.opening, 0.0);
        let absolute = action_columns(Representation::AbsoluteJoints);
        let action = absolute.action(&[2.0, 0.5, 1.0], &anchor);
        assert!((action.q[1] - 0.7).abs() < 1e-9 && (action.q[0] - 0.75).abs() < 1e-9);
        assert_eq!(action.opening, 1.0);
    }

    #[test]
    fn an_opening_outside_is_clamped_and_nan_is_not_hidden() {
        let columns = action_columns(Representation::AbsoluteJoints);
        let anchor = state([0.0; 2], 0.0);
        assert_eq!(columns.action(&[0.0, 0.0, 7.0], &anchor).opening, 1.0);
        assert_eq!(columns.action(&[0.0, 0.0, -7.0], &anchor).opening, 0.0);
        assert!(
            columns
                .action(&[0.0, 0.0, f32::NAN], &anchor)
                .opening
                .is_nan()
        );
        assert!(columns.action(&[f32::NAN, 0.0, 0.0], &anchor).q[1].is_nan());
    }

    #[test]
    fn a_policy_without_a_gripper_leaves_the_opening() {
        let mut columns = action_columns(Representation::RelativeJoints);
        columns.gripper = None;
        assert_eq!(columns.len(), 2);
        assert_eq!(
            columns.action(&[0.0, 0.0], &state([0.0; 2], 0.3)).opening,
            0.3
        );
    }

    #[test]
    fn state_columns_follow_the_bundle_s_order() {
        let ActionColumns {
            joints, gripper, ..
        } = action_columns(Representation::AbsoluteJoints);
        let columns = StateColumns { joints, gripper };
        let mut out = [0.0; 3];
        columns.normalise(&state([1.75, 0.7], 1.0), &mut out);
        for (value, expected) in out.iter().zip([2.0, 1.0, 1.0]) {
            assert!((value - expected).abs() < 1e-6, "{out:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_and_back_is_the_identity(
            q in prop::array::uniform2(-3.2..3.2), anchor in prop::array::uniform2(-3.2..3.2),
            opening in 0.0..=1.0,
        ) {
            for representation in [Representation::RelativeJoints, Representation::AbsoluteJoints] {
                let columns = action_columns(representation);
                let anchor = state(anchor, 0.5);
                let action = Action { q: state(q, 0.0).q, opening };
                let mut normalised = [0.0; 3];
                columns.normalise(&action, &anchor, &mut normalised);
                let back = columns.action(&normalised, &anchor);
                // f32 in between: 24 bits of at most 70 standard deviations.
                let error = back.q.zip(&action.q, |a, b| a - b).max_abs();
                prop_assert!(error < 1e-5, "{error}");
                prop_assert!((back.opening - opening).abs() < 1e-6);
            }
        }
    }
}
