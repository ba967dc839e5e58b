//! What statistics say of the meaning of numbers: absolute joints or not, rad or not, the gripper's ends.

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

    /// Whether no column leaves what a joint in rad does.
    fn is_rad(&self) -> bool {
        let inside = |[mean, std]: &[f64; 2]| mean.abs() + 2.0 * std < 2.0 * std::f64::consts::PI;
        let some = |[mean, std]: &[f64; 2]| mean.abs() + 2.0 * std > 0.05;
        self.action.iter().all(inside) && self.action.iter().any(some)
    }
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

pub(super) fn units(
    map: &Map,
    spread: Option<&Spread>,
    (has_gripper, (state, action)): (bool, (Stats<'_>, Stats<'_>)),
    manifest: &mut toml::Table,
    draft: &mut Draft,
) {
    let joints = match (&map.units, spread) {
        (Some(said), _) => Some(said.clone()),
        (None, _) if map.tool.is_some() => Some("rad".into()),
        (None, Some(spread)) if spread.is_rad() => {
            draft.note(
                "joints in rad",
                "statistics: no joint turns further than that",
            );
            Some("rad".into())
        }
        _ => None,
    };
    if joints.is_none() {
        draft.ask(
            "units",
            "in which unit are its joints: rad or deg?",
            "\"rad\"",
        );
    }
    let ends = |stats: Stats<'_>| -> Option<[f64; 2]> {
        let (mean, std) = (stats?.get("mean")?.last()?, stats?.get("std")?.last()?);
        Some([mean - 2.0 * std, mean + 2.0 * std])
    };
    let fraction = |[low, high]: [f64; 2]| low > -1.5 && high < 2.5 && high > 0.05;
    let gripper = match map.gripper {
        Some(said) => Some(said),
        None if !has_gripper => Some([0.0, 1.0]),
        None if [state, action].into_iter().filter_map(ends).any(fraction)
            && [state, action].into_iter().filter_map(ends).all(fraction) =>
        {
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
