//! What the numbers of a state or an action mean: which joint each is, in which unit, and where an action counts from.
//!
//! Decides the way from numbers to joints and back, for both directions: a client's state and our actions to it, our state
//! and a server's actions. Rows are those of one chunk, from its first. Does not know keys, shapes or messages.

use std::time::Duration;

use serde::Deserialize;
use tactus_types::{Action, JointVec};

/// What one number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The joint of this index in the arm's order.
    Joint(usize),
    /// The gripper.
    Gripper,
    /// Nothing: written as 0, not read.
    Unused,
}

/// Unit of joint angles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Radians.
    #[default]
    Rad,
    /// Degrees.
    Deg,
}

impl Unit {
    fn per_rad(self) -> f64 {
        match self {
            Self::Rad => 1.0,
            Self::Deg => 180.0 / std::f64::consts::PI,
        }
    }

    /// Name in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rad => "rad",
            Self::Deg => "deg",
        }
    }
}

/// Which number is an open gripper, and which a closed one; linear in between.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GripperSense {
    /// Fully open.
    pub open: f64,
    /// Closed.
    pub closed: f64,
}

impl Default for GripperSense {
    fn default() -> Self {
        Self {
            open: 1.0,
            closed: 0.0,
        }
    }
}

impl GripperSense {
    fn number(self, opening: f64) -> f64 {
        self.closed + opening * (self.open - self.closed)
    }

    /// Policies overshoot: a gripper cannot be more than open.
    fn opening(self, number: f64) -> f64 {
        ((number - self.closed) / (self.open - self.closed)).clamp(0.0, 1.0)
    }
}

/// What the joint numbers of an action are. The *anchor* is where the arm is at the observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Representation {
    /// Target.
    #[default]
    AbsoluteJoints,
    /// Target minus the anchor.
    RelativeJoints,
    /// Target minus the target of the row before; of the first row, minus the anchor.
    JointSteps,
    /// Velocity per second, held for one period.
    JointVelocities,
}

impl Representation {
    /// Name in files and metadata.
    pub fn word(self) -> &'static str {
        match self {
            Self::AbsoluteJoints => "absolute_joints",
            Self::RelativeJoints => "relative_joints",
            Self::JointSteps => "joint_steps",
            Self::JointVelocities => "joint_velocities",
        }
    }
}

/// How a row of numbers is laid out.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// What each number is.
    pub columns: Vec<Column>,
    /// Unit of joints.
    pub unit: Unit,
    /// Sense of the gripper.
    pub gripper: GripperSense,
}

impl Columns {
    /// Numbers in a row.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether a row has no number.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Sense of the gripper, where a row has one.
    pub fn sense(&self) -> Option<GripperSense> {
        self.columns
            .contains(&Column::Gripper)
            .then_some(self.gripper)
    }

    /// The row of `at`.
    pub fn write(&self, at: &Action, row: &mut Vec<f64>) {
        let number = |column: &Column| match column {
            Column::Joint(i) => {
                at.q.as_slice().get(*i).copied().unwrap_or_default() * self.unit.per_rad()
            }
            Column::Gripper => self.gripper.number(at.opening),
            Column::Unused => 0.0,
        };
        row.extend(self.columns.iter().map(number));
    }

    /// What `row`, which has as many numbers, says of the joints and the gripper; the rest stays as `before`.
    pub fn read(&self, row: &[f64], before: Action) -> Action {
        let mut at = before;
        for (column, number) in self.columns.iter().zip(row) {
            match column {
                Column::Joint(i) if *i < at.q.len() => at.q[*i] = number / self.unit.per_rad(),
                Column::Joint(_) | Column::Unused => {}
                Column::Gripper => at.opening = self.gripper.opening(*number),
            }
        }
        at
    }
}

/// How the rows of a chunk are laid out.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionColumns {
    /// Each row.
    pub columns: Columns,
    /// What joint numbers are.
    pub representation: Representation,
    /// Time between rows; not zero.
    pub period: Duration,
}

impl ActionColumns {
    /// The numbers of `actions`, row by row, for an arm at `anchor`.
    pub fn write(&self, actions: &[Action], anchor: &Action) -> Vec<f64> {
        let mut rows = Vec::with_capacity(actions.len() * self.columns.len());
        let mut before = anchor.q;
        for action in actions {
            let from = |from: &JointVec, scale: f64| action.q.zip(from, |a, b| (a - b) * scale);
            let q = match self.representation {
                Representation::AbsoluteJoints => action.q,
                Representation::RelativeJoints => from(&anchor.q, 1.0),
                Representation::JointSteps => from(&before, 1.0),
                Representation::JointVelocities => from(&before, 1.0 / self.period.as_secs_f64()),
            };
            before = action.q;
            let opening = action.opening;
            self.columns.write(&Action { q, opening }, &mut rows);
        }
        rows
    }

    /// The actions of `rows`, whole rows one after the other, for an arm at `anchor`.
    pub fn read(&self, rows: &[f64], anchor: &Action) -> Vec<Action> {
        let mut before = anchor.q;
        let none = Action {
            q: JointVec::zeros(anchor.q.len()),
            opening: anchor.opening,
        };
        let action = |row: &[f64]| {
            let Action { q, opening } = self.columns.read(row, none);
            let onto = |from: &JointVec, scale: f64| from.zip(&q, |a, b| a + b * scale);
            let q = match self.representation {
                Representation::AbsoluteJoints => q,
                Representation::RelativeJoints => onto(&anchor.q, 1.0),
                Representation::JointSteps => onto(&before, 1.0),
                Representation::JointVelocities => onto(&before, self.period.as_secs_f64()),
            };
            before = q;
            Action { q, opening }
        };
        rows.chunks_exact(self.columns.len().max(1))
            .map(action)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn columns(unit: Unit, gripper: GripperSense, representation: Representation) -> ActionColumns {
        ActionColumns {
            columns: Columns {
                columns: vec![
                    Column::Joint(2),
                    Column::Gripper,
                    Column::Joint(0),
                    Column::Unused,
                    Column::Joint(1),
                ],
                unit,
                gripper,
            },
            representation,
            period: Duration::from_millis(50),
        }
    }

    fn action(q: [f64; 3], opening: f64) -> Action {
        Action {
            q: JointVec::from_fn(3, |i| q[i]),
            opening,
        }
    }

    #[test]
    fn a_row_in_degrees_with_a_gripper_that_counts_the_other_way() {
        let sense = GripperSense {
            open: -1.0,
            closed: 1.0,
        };
        let columns = columns(Unit::Deg, sense, Representation::JointSteps);
        let at = action([0.0, 0.1, 0.2], 0.5);
        let actions = [action([0.0, 0.1, 0.2 + 1.0_f64.to_radians()], 1.0)];
        let rows = columns.write(&actions, &at);
        let expected = [1.0, -1.0, 0.0, 0.0, 0.0];
        assert!(
            rows.iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12),
            "{rows:?}"
        );
        assert_eq!(
            columns.read(&[0.0, -3.0, 0.0, 9.0, 0.0], &at)[0].opening,
            1.0
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            which in 0..4_usize,
            degrees: bool,
            (open, closed) in (-2.0..2.0_f64, 3.0..5.0_f64),
            anchor in prop::array::uniform3(-3.0..3.0_f64),
            rows in prop::collection::vec((prop::array::uniform3(-3.0..3.0_f64), 0.0..=1.0_f64), 1..20),
        ) {
            let representation = [
                Representation::AbsoluteJoints,
                Representation::RelativeJoints,
                Representation::JointSteps,
                Representation::JointVelocities,
            ][which];
            let unit = if degrees { Unit::Deg } else { Unit::Rad };
            let columns = columns(unit, GripperSense { open, closed }, representation);
            let anchor = action(anchor, 0.3);
            let actions: Vec<Action> = rows.into_iter().map(|(q, opening)| action(q, opening)).collect();
            let back = columns.read(&columns.write(&actions, &anchor), &anchor);
            prop_assert_eq!(back.len(), actions.len());
            for (a, b) in actions.iter().zip(&back) {
                prop_assert!(a.q.zip(&b.q, |a, b| a - b).max_abs() < 1e-9);
                prop_assert!((a.opening - b.opening).abs() < 1e-9);
            }
        }
    }
}
