//! Joint state and actions to normalised columns and back.
//!
//! Columns are the bundle's joints in its order, or a tool pose, then the gripper's opening if there is one;
//! `(value - offset) / scale` of its statistics in f64, f32 at the graphs. What an action's columns mean is decided by
//! [`crate::represent`]; its gripper column is absolute, and -1..1 is opening 0..1.

use tactus_bundle::{Affine, BinaryGripper, Bundle, State};
use tactus_types::{Action, ArmInfo, JointState};

use crate::{
    error::{InferError, VlaError},
    gripper::opens,
    joints,
    represent::Represent,
};

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
        Self::of(&bundle.manifest().state, &bundle.stats().state, arm)
    }

    /// As [`StateColumns::new`], for columns declared elsewhere.
    ///
    /// # Errors
    /// As [`StateColumns::new`].
    pub fn of(state: &State, affine: &Affine, arm: &[String]) -> Result<Self, VlaError> {
        let columns = columns(affine);
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
    /// Statistics of all columns, the gripper's last.
    columns: Vec<Column>,
    represent: Represent,
    gripper: bool,
    binary: Option<BinaryGripper>,
}

impl ActionColumns {
    /// The bundle's action columns for an arm with these joints; `info` is that arm's, needed for tool poses.
    ///
    /// # Errors
    /// [`VlaError`] when the bundle's and the arm's joints are not the same set, or the arm does not describe the links that
    /// tool poses are between.
    pub fn new(bundle: &Bundle, arm: &[String], info: Option<&ArmInfo>) -> Result<Self, VlaError> {
        Self::of(&bundle.manifest().action, &bundle.stats().action, arm, info)
    }

    /// As [`ActionColumns::new`], for columns declared elsewhere.
    ///
    /// # Errors
    /// As [`ActionColumns::new`].
    pub fn of(
        action: &tactus_bundle::Action,
        affine: &Affine,
        arm: &[String],
        info: Option<&ArmInfo>,
    ) -> Result<Self, VlaError> {
        Ok(Self {
            columns: columns(affine),
            represent: Represent::new(action, arm, info)?,
            gripper: action.gripper,
            binary: action.binary_gripper,
        })
    }

    /// Writes the normalised columns of `actions`, from row 0 of a chunk on and as seen from `anchor`, into the first of
    /// each row of `out`.
    ///
    /// # Errors
    /// [`InferError::Action`] where actions are tool poses and there is no arm.
    pub fn normalise<'a>(
        &self,
        actions: &[Action],
        anchor: &Action,
        out: impl Iterator<Item = &'a mut [f32]>,
    ) -> Result<(), InferError> {
        let rows = self.rows_of(actions, anchor)?;
        for (row, out) in rows.chunks_exact(self.len()).zip(out) {
            let columns = row.iter().zip(&self.columns);
            out.iter_mut()
                .zip(columns.map(|(v, c)| c.normalise(*v)))
                .for_each(|(out, value)| *out = value);
        }
        Ok(())
    }

    /// The rows that `actions` are, from row 0 of a chunk on and as seen from `anchor`: `[actions, columns]`, in SI and not
    /// normalised. [`ActionColumns::actions_of`] takes them back.
    ///
    /// # Errors
    /// [`InferError::Action`] where actions are tool poses and there is no arm.
    pub fn rows_of(&self, actions: &[Action], anchor: &Action) -> Result<Vec<f64>, InferError> {
        let mut rows = vec![0.0; actions.len() * self.len()];
        if actions.is_empty() {
            return Ok(rows);
        }
        let of_row = |index| move |error| InferError::Action { index, error };
        let mut walk = self.represent.walk(anchor.q).map_err(of_row(0))?;
        let into = rows.chunks_exact_mut(self.len());
        for (index, (action, values)) in actions.iter().zip(into).enumerate() {
            let motion = &mut values[..self.represent.columns()];
            walk.values(&action.q, motion).map_err(of_row(index))?;
            if self.gripper
                && let Some(last) = values.last_mut()
            {
                *last = action.opening;
            }
        }
        Ok(rows)
    }

    /// The absolute actions that the rows of a chunk (normalised, `[columns]` or wider) mean, as seen from `anchor`: joints
    /// in the arm's order, rad; opening within 0..1, or the anchor's where the policy has no gripper. `open`: whether a
    /// binary gripper was open before the first of them.
    ///
    /// # Errors
    /// [`InferError`] naming the row whose numbers are not finite or mean nothing.
    pub fn actions<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f32]>,
        anchor: &Action,
        open: bool,
    ) -> Result<Vec<Action>, InferError> {
        self.actions_of(rows.map(|row| self.values(row)), anchor, open)
    }

    /// As [`ActionColumns::actions`], of rows in SI and not normalised, each with all columns.
    ///
    /// # Errors
    /// [`InferError`] naming the row whose numbers are not finite or mean nothing.
    pub fn actions_of(
        &self,
        rows: impl Iterator<Item = Vec<f64>>,
        anchor: &Action,
        mut open: bool,
    ) -> Result<Vec<Action>, InferError> {
        let of_row = |index| move |error| InferError::Action { index, error };
        let mut walk = self.represent.walk(anchor.q).map_err(of_row(0))?;
        let mut actions = Vec::new();
        for (index, values) in rows.enumerate() {
            if !values.iter().all(|v| v.is_finite()) {
                let actual = format!("{values:?}");
                return Err(InferError::NotFinite { index, actual });
            }
            let (motion, gripper) = values.split_at(self.represent.columns().min(values.len()));
            let opening = match gripper.first() {
                Some(value) => self.opening(*value, &mut open),
                None => anchor.opening,
            };
            let q = walk.action(motion).map_err(of_row(index))?;
            if !q.is_finite() {
                let actual = format!("{q:?}");
                return Err(InferError::NotFinite { index, actual });
            }
            actions.push(Action { q, opening });
        }
        Ok(actions)
    }

    /// The opening, 0..1, that `value` means for a gripper that was `open` or not before, and is then.
    fn opening(&self, value: f64, open: &mut bool) -> f64 {
        match self.binary {
            None => value.clamp(0.0, 1.0),
            Some(binary) => {
                *open = opens(binary, value, *open);
                f64::from(*open)
            }
        }
    }

    /// What the columns of one row say in SI, before the arm does anything with it.
    fn values(&self, row: &[f32]) -> Vec<f64> {
        let both = self.columns.iter().zip(row);
        both.map(|(column, v)| column.value(*v)).collect()
    }

    /// What the rows of a chunk say in SI, without an arm: numbers of tool poses stay what they are, openings are as of
    /// [`ActionColumns::actions`].
    pub fn said<'a>(&self, rows: impl Iterator<Item = &'a [f32]>, mut open: bool) -> Vec<f64> {
        let of = |row| {
            let mut values = self.values(row);
            if self.gripper
                && let Some(last) = values.last_mut()
            {
                *last = self.opening(*last, &mut open);
            }
            values
        };
        rows.flat_map(of).collect()
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns; never true of a valid bundle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Range of each column of each of `rows` rows of actions: of a joint or a pose as the statistics have it, times the rows
    /// that add up to it; of the gripper its whole stroke.
    pub fn ranges(&self, rows: usize) -> Vec<f64> {
        let motion = &self.columns[..self.represent.columns()];
        let of_row = |row| {
            let spread = self.represent.spread(row);
            let gripper = self.gripper.then_some(1.0);
            let motion = motion.iter().map(move |column| column.range * spread);
            motion.chain(gripper)
        };
        (0..rows).flat_map(of_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tactus_bundle::{Alignment, Anchor, Normalisation, Representation};
    use tactus_types::{JointVec, Time};

    use super::*;

    const JOINTS: [Representation; 4] = [
        Representation::RelativeJoints,
        Representation::AbsoluteJoints,
        Representation::JointSteps,
        Representation::JointVelocities,
    ];

    fn column(offset: f64, scale: f64) -> Column {
        Column {
            offset,
            scale,
            range: 1.0,
        }
    }

    /// Two joints, swapped with respect to the arm, and a gripper.
    fn action_columns(representation: Representation) -> ActionColumns {
        let action = tactus_bundle::Action {
            joints: vec!["b".into(), "a".into()],
            gripper: true,
            binary_gripper: None,
            representation,
            anchor: Anchor::Measured,
            tool: None,
            normalisation: Normalisation::MeanStd,
            horizon: 4,
            period: Duration::from_millis(100),
            first_action_offset: Duration::ZERO,
            alignment: Alignment::StateAtImage,
            max_prefix: 0,
            max_feature_age: std::time::Duration::ZERO,
            width: 3,
        };
        let arm = ["a".to_owned(), "b".to_owned()];
        ActionColumns {
            columns: vec![column(0.5, 0.1), column(-0.25, 2.0), column(0.5, 0.5)],
            represent: Represent::new(&action, &arm, None).expect("the same joints"),
            gripper: true,
            binary: None,
        }
    }

    fn action(q: [f64; 2], opening: f64) -> Action {
        let q = JointVec::from_slice(&q).expect("two joints");
        Action { q, opening }
    }

    fn actions(columns: &ActionColumns, rows: &[[f32; 3]], anchor: &Action) -> Vec<Action> {
        let rows = rows.iter().map(|row| &row[..]);
        columns.actions(rows, anchor, false).expect("actions")
    }

    #[test]
    fn relative_joints_count_from_the_anchor_and_the_gripper_does_not() {
        let anchor = action([1.0, 10.0], 0.3);
        let one =
            |representation, row| actions(&action_columns(representation), &[row], &anchor)[0];
        let relative = one(Representation::RelativeJoints, [2.0, 0.5, -1.0]);
        // Arm joint 1: 10 + 0.5 + 0.1 * 2; arm joint 0: 1 - 0.25 + 2 * 0.5.
        assert!((relative.q[1] - 10.7).abs() < 1e-9 && (relative.q[0] - 1.75).abs() < 1e-9);
        assert_eq!(relative.opening, 0.0);
        let absolute = one(Representation::AbsoluteJoints, [2.0, 0.5, 1.0]);
        assert!((absolute.q[1] - 0.7).abs() < 1e-9 && (absolute.q[0] - 0.75).abs() < 1e-9);
        assert_eq!(absolute.opening, 1.0);
    }

    #[test]
    fn steps_and_velocities_add_up_from_the_anchor() {
        let anchor = action([1.0, 10.0], 0.3);
        let rows = [[2.0, 0.5, 0.0]; 3];
        for (representation, scale) in [
            (Representation::JointSteps, 1.0),
            (Representation::JointVelocities, 0.1),
        ] {
            let out = actions(&action_columns(representation), &rows, &anchor);
            for (i, action) in out.iter().enumerate() {
                let count = scale * (i + 1) as f64;
                assert!((action.q[1] - 10.0 - 0.7 * count).abs() < 1e-9, "{out:?}");
                assert!((action.q[0] - 1.0 - 0.75 * count).abs() < 1e-9, "{out:?}");
            }
        }
    }

    #[test]
    fn ranges_of_steps_add_up() {
        let ranges = |representation| action_columns(representation).ranges(2);
        for (representation, expected) in [
            (
                Representation::AbsoluteJoints,
                [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            ),
            (Representation::JointSteps, [1.0, 1.0, 1.0, 2.0, 2.0, 1.0]),
            (
                Representation::JointVelocities,
                [0.1, 0.1, 1.0, 0.2, 0.2, 1.0],
            ),
        ] {
            assert_eq!(ranges(representation), expected, "{representation:?}");
        }
    }

    #[test]
    fn an_opening_outside_is_clamped_and_what_is_no_number_is_an_error_of_its_row() {
        let columns = action_columns(Representation::AbsoluteJoints);
        let anchor = action([0.0; 2], 0.0);
        let openings: Vec<f64> = actions(&columns, &[[0.0, 0.0, 7.0], [0.0, 0.0, -7.0]], &anchor)
            .iter()
            .map(|action| action.opening)
            .collect();
        assert_eq!(openings, [1.0, 0.0]);
        for bad in [
            [0.0, 0.0, f32::NAN],
            [f32::NAN, 0.0, 0.0],
            [0.0, f32::INFINITY, 0.0],
        ] {
            let rows = [[0.0; 3], bad];
            let rows = rows.iter().map(|row| &row[..]);
            let error = columns
                .actions(rows, &anchor, false)
                .expect_err("no number");
            assert!(
                matches!(error, InferError::NotFinite { index: 1, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_binary_gripper_stays_between_its_thresholds() {
        let mut columns = action_columns(Representation::RelativeJoints);
        columns.binary = Some(BinaryGripper {
            open_above: 0.6,
            close_below: 0.4,
        });
        // Openings 0.5, 0.7, 0.5, 0.3, 0.5.
        let rows = [0.0, 0.4, 0.0, -0.4, 0.0].map(|opening| [0.0, 0.0, opening]);
        let rows = || rows.iter().map(|row| &row[..]);
        for (open, expected) in [
            (false, [0.0, 1.0, 1.0, 0.0, 0.0]),
            (true, [1.0, 1.0, 1.0, 0.0, 0.0]),
        ] {
            let out = columns.actions(rows(), &action([0.0; 2], 0.3), open);
            let out: Vec<f64> = out.expect("actions").iter().map(|a| a.opening).collect();
            assert_eq!(out, expected);
            let said = columns.said(rows(), open);
            assert!(said.iter().skip(2).step_by(3).eq(&expected), "{said:?}");
        }
    }

    #[test]
    fn a_policy_without_a_gripper_leaves_the_opening() {
        let mut columns = action_columns(Representation::RelativeJoints);
        columns.gripper = false;
        columns.columns.pop();
        assert_eq!(columns.len(), 2);
        let out = actions(&columns, &[[0.0; 3]], &action([0.0; 2], 0.3));
        assert_eq!(out[0].opening, 0.3);
    }

    #[test]
    fn state_columns_follow_the_bundle_s_order() {
        let columns = StateColumns {
            joints: vec![(1, column(0.5, 0.1)), (0, column(-0.25, 2.0))],
            gripper: Some(column(0.5, 0.5)),
        };
        let Action { q, opening } = action([1.75, 0.7], 1.0);
        let state = JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 0,
            q,
            dq: q,
            opening,
            torque: true,
        };
        let mut out = [0.0; 3];
        columns.normalise(&state, &mut out);
        for (value, expected) in out.iter().zip([2.0, 1.0, 1.0]) {
            assert!((value - expected).abs() < 1e-6, "{out:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_and_back_is_the_identity(
            rows in prop::collection::vec((prop::array::uniform2(-3.2..3.2), 0.0..=1.0), 1..5),
            anchor in prop::array::uniform2(-3.2..3.2),
        ) {
            let anchor = action(anchor, 0.5);
            let planned: Vec<Action> = rows.into_iter().map(|(q, opening)| action(q, opening)).collect();
            for representation in JOINTS {
                let columns = action_columns(representation);
                let mut normalised = [[0.0; 3]; 5];
                let out = normalised.iter_mut().map(|row| &mut row[..]);
                columns.normalise(&planned, &anchor, out).expect("joints");
                let back = actions(&columns, &normalised[..planned.len()], &anchor);
                for (back, action) in back.iter().zip(&planned) {
                    // f32 in between: 24 bits of at most 700 standard deviations, added up.
                    let error = back.q.zip(&action.q, |a, b| a - b).max_abs();
                    prop_assert!(error < 2e-5, "{representation:?}: {error}");
                    prop_assert!((back.opening - action.opening).abs() < 1e-6);
                }
            }
        }
    }
}
