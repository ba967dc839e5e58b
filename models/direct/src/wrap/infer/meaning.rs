//! What statistics say of the meaning of numbers: absolute joints or not, rad or not, the gripper's ends. The last two follow from
//! numbers that are places; of steps and velocities, which are small in every unit, they would follow wrongly.

use tactus_bundle::direct::is_gripper;
use toml::Value;

use super::{Draft, table};
use crate::wrap::Map;

pub(super) type Stats<'a> = Option<&'a std::collections::BTreeMap<String, Vec<f64>>>;

/// Mean and spread of joint columns of state and action.
pub(super) struct Spread {
    action: Vec<[f64; 2]>,
    state: Option<Vec<[f64; 2]>>,
}

impl Spread {
    pub(super) fn of(
        (state, action): (Stats<'_>, Stats<'_>),
        joints: usize,
        same: bool,
    ) -> Option<Self> {
        let of = |stats: Stats<'_>| {
            let (mean, std) = (stats?.get("mean")?, stats?.get("std")?);
            let both = mean.iter().zip(std).take(joints).map(|(m, s)| [*m, *s]);
            let both: Vec<[f64; 2]> = both.collect();
            (both.len() == joints).then_some(both)
        };
        Some(Self {
            action: of(action)?,
            state: of(state).filter(|_| same),
        })
    }

    /// Whether actions are where states are, as absolute joints are.
    fn is_absolute(&self) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        // A joint that hardly moves may do so more in one of the two than in the other.
        let most = state.iter().fold(0.0, |most: f64, [_, std]| most.max(*std));
        let slack = 0.15 * most;
        let mut both = self.action.iter().zip(state);
        let near = |([a, of_a], [s, of_s]): (&[f64; 2], &[f64; 2])| {
            (a - s).abs() <= 0.5 * (of_a + of_s) + slack
                && *of_a <= 3.0 * of_s + slack
                && *of_s <= 3.0 * of_a + slack
        };
        // Where everything is about 0, relative ones would be too.
        let tells = state.iter().any(|[mean, std]| mean.abs() > 2.0 * std);
        tells && both.all(near)
    }
}

/// Columns whose numbers say where something is, and their statistics.
pub(super) struct Places<'a> {
    /// Of the first columns.
    pub(super) joints: &'a [String],
    /// Whether the last column is the gripper's.
    pub(super) gripper: bool,
    pub(super) columns: usize,
    /// Whether those of `joints` say where they are, and not how far or how fast they go.
    pub(super) absolute: bool,
    pub(super) stats: Stats<'a>,
}

impl Places<'_> {
    /// Whether it has columns of grippers, or of joints.
    fn counts(&self, gripper: bool) -> bool {
        (gripper && self.gripper) || self.joints.iter().any(|name| is_gripper(name) == gripper)
    }

    /// Columns of grippers, or of joints; of those that are places.
    fn of(&self, gripper: bool) -> impl Iterator<Item = usize> {
        let named = self.joints.iter().enumerate();
        let named = named.filter(move |(_, name)| self.absolute && is_gripper(name) == gripper);
        let last = self.columns.checked_sub(1);
        named
            .map(|(i, _)| i)
            .chain(last.filter(|_| gripper && self.gripper))
    }

    /// What nearly all numbers of these columns lie between.
    fn between(&self, gripper: bool) -> impl Iterator<Item = [f64; 2]> {
        let number = |of, i: usize| self.stats?.get(of)?.get(i).copied();
        self.of(gripper).filter_map(move |i| {
            let (mean, std) = (number("mean", i)?, number("std", i)?);
            Some([mean - 2.0 * std, mean + 2.0 * std])
        })
    }
}

/// Whether joints that go so far do it in rad: none turns further than once, and something moves.
fn is_rad(between: impl Iterator<Item = [f64; 2]>) -> bool {
    let furthest = between
        .flatten()
        .fold(0.0, |most: f64, end| most.max(end.abs()));
    (0.05..2.0 * std::f64::consts::PI).contains(&furthest)
}

pub(super) fn representation(
    map: &Map,
    spread: Option<&Spread>,
    draft: &mut Draft,
) -> Option<String> {
    if let Some(said) = &map.representation {
        draft.note(format!("actions are {said}"), "said");
        return Some(said.clone());
    }
    if spread.is_some_and(Spread::is_absolute) {
        draft.note(
            "actions are absolute_joints",
            "statistics: every joint's mean and spread are the state's",
        );
        return Some("absolute_joints".into());
    }
    draft.ask(
        "representation",
        "what are its actions: absolute_joints, relative_joints, joint_steps, joint_velocities or tool poses?",
        "\"absolute_joints\"",
    );
    None
}

/// The unit of the joints and the ends of the gripper, of `sides`: the state, if there is one, and the action.
pub(super) fn units(
    map: &Map,
    sides: &[Places<'_>],
    manifest: &mut toml::Table,
    draft: &mut Draft,
) {
    // Steps and velocities may be small in any unit; without places nothing tells.
    let has_joints = sides.iter().any(|side| side.counts(false));
    let joints = match &map.units {
        Some(said) => Some(said.clone()),
        None if !has_joints => Some("rad".into()),
        None if is_rad(sides.iter().flat_map(|side| side.between(false))) => {
            draft.note(
                "joints in rad",
                "statistics: no joint turns further than that",
            );
            Some("rad".into())
        }
        None => {
            draft.ask(
                "units",
                "in which unit are its joints: rad or deg?",
                "\"rad\"",
            );
            None
        }
    };
    let has_gripper = sides.iter().any(|side| side.counts(true));
    let fraction = |[low, high]: [f64; 2]| low > -1.5 && high < 2.5 && high > 0.05;
    let mut ends = sides.iter().flat_map(|side| side.between(true)).peekable();
    let gripper = match map.gripper {
        Some(said) => Some(said),
        None if !has_gripper => Some([0.0, 1.0]),
        None if ends.peek().is_some() && ends.all(fraction) => {
            draft.note(
                "gripper: 0 closed, 1 open",
                "statistics: a fraction; say `gripper = [1.0, 0.0]` if 1 is closed",
            );
            Some([0.0, 1.0])
        }
        None => {
            draft.ask(
                "gripper",
                "what does it call a closed and an open gripper?",
                "[0.0, 100.0]",
            );
            None
        }
    };
    if let (Some(joints), Some([closed, open])) = (joints, gripper) {
        let zero: toml::Table = map
            .zero
            .iter()
            .map(|(k, v)| (k.clone(), (*v).into()))
            .collect();
        let inverted: Vec<Value> = map
            .inverted
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let ends: Vec<Value> = vec![closed.into(), open.into()];
        manifest.insert(
            "units".into(),
            table([
                ("joints", joints.into()),
                ("gripper", ends.into()),
                ("inverted", inverted.into()),
                ("zero", zero.into()),
            ]),
        );
    }
}
