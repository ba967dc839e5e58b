//! Where a joint state belongs: where episodes start, somewhere along them, or nowhere; and which one mistake would explain
//! a state that belongs nowhere.
//!
//! A state has a column per joint, rad, and perhaps a last one, the gripper's opening. Where episodes start says most: it
//! is narrow, and an operator can bring the arm there. A gripper is judged only there; along episodes it may be anywhere.

use std::f64::consts::PI;

use nalgebra::{DMatrix, DVector};

use crate::gauss::Gauss;

/// Least standard deviation of a column, rad or opening: an arm stands a degree beside where it stood.
const FLOOR: f64 = 0.02;
/// How far a column may lie beyond what was seen: this share of what it ranged over, and
const MARGIN_SHARE: f64 = 0.25;
/// this, rad or opening.
const MARGIN: f64 = 0.1;
/// A state may be this much further from the middle than the furthest that was seen (of squared distances) ..
const FURTHER: f64 = 1.5;
/// .. and by so many times the number of columns in any case.
const FREE: f64 = 4.0;

/// States that were seen, as moments and bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    pub(crate) gauss: Gauss,
    /// Lowest and highest value of each column.
    pub(crate) low: DVector<f64>,
    pub(crate) high: DVector<f64>,
    /// Squared distance of the furthest state from the middle.
    pub(crate) furthest: f64,
}

impl Region {
    /// Learns from `states`, all of the same length. `None` without any, or when they are not finite.
    pub(crate) fn learn(states: &[&[f64]]) -> Option<Self> {
        let columns = states.first()?.len();
        if columns == 0 || states.iter().any(|s| s.len() != columns) {
            return None;
        }
        let matrix = DMatrix::from_fn(states.len(), columns, |i, j| states[i][j]);
        let gauss = Gauss::learn(&matrix, FLOOR)?;
        let bound = |pick: fn(f64, f64) -> f64, from: f64| {
            DVector::from_fn(columns, |j, _| {
                matrix.column(j).iter().copied().fold(from, pick)
            })
        };
        let far = |s: &&[f64]| gauss.distance(&DVector::from_row_slice(s));
        Some(Self {
            low: bound(f64::min, f64::INFINITY),
            high: bound(f64::max, f64::NEG_INFINITY),
            furthest: states.iter().map(far).fold(0.0, f64::max),
            gauss,
        })
    }

    fn columns(&self) -> usize {
        self.low.len()
    }

    /// Lowest and highest value that column `j` may have.
    fn bounds(&self, j: usize) -> (f64, f64) {
        let (low, high) = (self.low[j], self.high[j]);
        let margin = MARGIN_SHARE * (high - low) + MARGIN;
        (low - margin, high + margin)
    }

    fn is_inside(&self, j: usize, value: f64) -> bool {
        let (low, high) = self.bounds(j);
        (low..=high).contains(&value)
    }

    /// Whether `state` could be one of these.
    fn holds(&self, state: &[f64]) -> bool {
        let far = self.gauss.distance(&DVector::from_row_slice(state));
        let limit = (FURTHER * self.furthest).max(FREE * self.columns() as f64);
        far <= limit && (0..self.columns()).all(|j| self.is_inside(j, state[j]))
    }
}

/// One mistake about a joint state.
#[derive(Debug, Clone, PartialEq)]
pub enum Mistake {
    /// Two joints have changed places.
    Swapped(String, String),
    /// A joint turns the other way.
    Sign(String),
    /// A joint is said in degrees.
    Degrees(String),
    /// All joints are said in degrees.
    AllDegrees,
    /// A joint is said in rad where degrees were taken for them, and so is 57 times too small.
    Shrunk(String),
    /// All joints are 57 times too small.
    AllShrunk,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Swapped(a, b) => write!(f, "joints `{a}` and `{b}` have changed places"),
            Self::Sign(a) => write!(f, "joint `{a}` has the wrong sign"),
            Self::Degrees(a) => write!(f, "joint `{a}` is in degrees, not rad"),
            Self::AllDegrees => write!(f, "the joints are in degrees, not rad"),
            Self::Shrunk(a) => write!(f, "joint `{a}` was converted to rad twice"),
            Self::AllShrunk => write!(f, "the joints were converted to rad twice"),
        }
    }
}

/// What is odd about a gripper where episodes start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grip {
    /// As it was.
    Usual,
    /// What it says is the opposite of what was always said there.
    Opposite,
    /// What it says is a hundredth of what was always said there.
    Hundredth,
    /// Something else.
    Odd,
}

/// Where a joint state belongs.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// Where episodes start.
    Start(Grip),
    /// Where the arm was in the course of episodes.
    Along,
    /// Nowhere, but for one of these mistakes.
    Mistaken(Vec<Mistake>),
    /// Nowhere: the joint that is furthest out, its value and what it ranged over; `None` where only the joints together
    /// are as they never were.
    Nowhere(Option<(String, f64, (f64, f64))>),
}

/// What states of episodes were like.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Whether the last column is the gripper's opening.
    pub gripper: bool,
    /// The joints of the first states of episodes, and of all.
    pub(crate) start: Region,
    pub(crate) all: Region,
    /// Lowest and highest opening of the first states; without a gripper nothing that counts.
    pub(crate) grip: (f64, f64),
}

impl States {
    /// Learns from states and whether each is an episode's first. `None` when there is none of either kind, or a number is not finite.
    pub(crate) fn learn(
        columns: Vec<String>,
        gripper: bool,
        states: &[(&[f64], bool)],
    ) -> Option<Self> {
        let joints = columns.len().checked_sub(usize::from(gripper))?;
        if states.iter().any(|(s, _)| s.len() != columns.len()) {
            return None;
        }
        let of = |first: bool| -> Vec<&[f64]> {
            let wanted = states.iter().filter(|(_, f)| *f || !first);
            wanted.map(|(s, _)| &s[..joints]).collect()
        };
        let grips = || {
            states
                .iter()
                .filter(|(_, f)| *f)
                .filter_map(|(s, _)| s.get(joints))
        };
        let grip = (
            grips().copied().fold(f64::INFINITY, f64::min),
            grips().copied().fold(f64::NEG_INFINITY, f64::max),
        );
        Some(Self {
            start: Region::learn(&of(true))?,
            all: Region::learn(&of(false))?,
            grip: if gripper { grip } else { (0.0, 1.0) },
            columns,
            gripper,
        })
    }

    /// Names of the joints.
    pub fn joints(&self) -> &[String] {
        let joints = self.columns.len() - usize::from(self.gripper);
        &self.columns[..joints]
    }

    /// Where `state`, one number per column, belongs. `None` when it has another length.
    pub fn place(&self, state: &[f64]) -> Option<Place> {
        if state.len() != self.columns.len() {
            return None;
        }
        let joints = &state[..self.joints().len()];
        if self.start.holds(joints) {
            let grip = state.get(joints.len());
            return Some(Place::Start(
                grip.map_or(Grip::Usual, |g| self.judge_grip(*g)),
            ));
        }
        if self.all.holds(joints) {
            return Some(Place::Along);
        }
        for region in [&self.start, &self.all] {
            let explains =
                |(mistake, mended): (Mistake, Vec<f64>)| region.holds(&mended).then_some(mistake);
            let mistakes: Vec<Mistake> = self.mended(joints).filter_map(explains).collect();
            if !mistakes.is_empty() {
                return Some(Place::Mistaken(mistakes));
            }
        }
        let beyond = |j: usize| {
            let ((low, high), value) = (self.all.bounds(j), joints[j]);
            ((low - value).max(value - high), j)
        };
        let worst = (0..joints.len())
            .map(beyond)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        Some(Place::Nowhere(worst.filter(|(by, _)| *by > 0.0).map(
            |(_, j)| {
                let range = (self.all.low[j], self.all.high[j]);
                (self.columns[j].clone(), joints[j], range)
            },
        )))
    }

    fn judge_grip(&self, opening: f64) -> Grip {
        let (low, high) = (self.grip.0 - MARGIN, self.grip.1 + MARGIN);
        let is_usual = |opening: f64| (low..=high).contains(&opening);
        if is_usual(opening) {
            Grip::Usual
        } else if opening > 1e-3 && is_usual(100.0 * opening) {
            Grip::Hundredth
        } else if is_usual(1.0 - opening) {
            Grip::Opposite
        } else {
            Grip::Odd
        }
    }

    /// What the joints would be without each mistake.
    fn mended(&self, joints: &[f64]) -> impl Iterator<Item = (Mistake, Vec<f64>)> {
        let names = self.joints();
        let with = |j: usize, value: f64| {
            let mut mended = joints.to_vec();
            mended[j] = value;
            mended
        };
        let scaled = |by: f64| joints.iter().map(|q| q * by).collect::<Vec<_>>();
        let (rad, deg) = (PI / 180.0, 180.0 / PI);
        let mut all = vec![
            (Mistake::AllDegrees, scaled(rad)),
            (Mistake::AllShrunk, scaled(deg)),
        ];
        for (j, name) in names.iter().enumerate() {
            all.push((Mistake::Sign(name.clone()), with(j, -joints[j])));
            all.push((Mistake::Degrees(name.clone()), with(j, rad * joints[j])));
            all.push((Mistake::Shrunk(name.clone()), with(j, deg * joints[j])));
            for (k, other) in names.iter().enumerate().skip(j + 1) {
                let mut mended = joints.to_vec();
                mended.swap(j, k);
                all.push((Mistake::Swapped(name.clone(), other.clone()), mended));
            }
        }
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal};

    use super::*;

    const START: [f64; 3] = [0.3, -0.9, 1.6];

    /// Joints near [`START`] with an open gripper, then a way of up to half a rad from there.
    fn states() -> States {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let noise = Normal::new(0.0, 0.05).expect("a deviation");
        let mut all = Vec::new();
        for i in 0..200 {
            let along = f64::from(i % 10) / 10.0;
            let mut state: Vec<f64> = START
                .iter()
                .map(|q| q + 0.5 * along + noise.sample(&mut rng))
                .collect();
            state.push(1.0 - along);
            all.push((state, i % 10 == 0));
        }
        let columns = ["pan", "lift", "elbow", "gripper"]
            .map(String::from)
            .to_vec();
        let given: Vec<(&[f64], bool)> = all.iter().map(|(s, f)| (&s[..], *f)).collect();
        States::learn(columns, true, &given).expect("enough")
    }

    fn place(state: [f64; 4]) -> Place {
        states().place(&state).expect("of this length")
    }

    #[test]
    fn the_start_and_the_way_are_known() {
        assert_eq!(place([0.3, -0.9, 1.6, 1.0]), Place::Start(Grip::Usual));
        assert_eq!(place([0.6, -0.6, 1.9, 0.2]), Place::Along);
    }

    #[test]
    fn one_mistake_is_named() {
        let only = |state| match place(state) {
            Place::Mistaken(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
            other => vec![format!("{other:?}")],
        };
        assert_eq!(
            only([0.3, 1.6, -0.9, 1.0]),
            ["joints `lift` and `elbow` have changed places"]
        );
        assert_eq!(
            only([0.3, -0.9, -1.6, 1.0]),
            ["joint `elbow` has the wrong sign"]
        );
        assert_eq!(
            only([0.3, -0.9, 1.6 * 180.0 / PI, 1.0]),
            ["joint `elbow` is in degrees, not rad"]
        );
        let degrees = START.map(|q| q * 180.0 / PI);
        assert_eq!(
            only([degrees[0], degrees[1], degrees[2], 1.0]),
            ["the joints are in degrees, not rad"]
        );
        let small = START.map(|q| q * PI / 180.0);
        assert_eq!(
            only([small[0], small[1], small[2], 1.0]),
            ["the joints were converted to rad twice"]
        );
    }

    #[test]
    fn a_gripper_is_judged_at_the_start() {
        for (opening, grip) in [
            (1.0, Grip::Usual),
            (0.0, Grip::Opposite),
            (0.01, Grip::Hundredth),
            (0.5, Grip::Odd),
        ] {
            assert_eq!(
                place([0.3, -0.9, 1.6, opening]),
                Place::Start(grip),
                "{opening}"
            );
        }
    }

    #[test]
    fn the_joint_that_is_furthest_out_is_named() {
        let Place::Nowhere(Some((joint, value, _))) = place([0.3, -0.9, 3.0, 1.0]) else {
            panic!("{:?}", place([0.3, -0.9, 3.0, 1.0]));
        };
        assert_eq!((joint.as_str(), value), ("elbow", 3.0));
    }

    proptest! {
        #[test]
        fn whatever_is_said_has_a_place(state in proptest::collection::vec(-1e9..1e9f64, 0..6)) {
            prop_assert_eq!(states().place(&state).is_some(), state.len() == 4);
        }
    }
}
