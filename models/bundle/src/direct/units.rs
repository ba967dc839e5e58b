//! Statistics in the units of the training data, to SI.
//!
//! Units, sign, zero and the gripper's ends are affine, as is normalisation; so they are folded into it once, and nothing that
//! makes actions has to know of them. Differences (relative joints, steps, velocities) know no zero, and tool poses are in
//! metres and rad already.

use super::manifest::{DirectManifest, Units};
use crate::{
    error::BundleError,
    manifest::{Representation, State},
    stats::{Affine, Stats},
};

/// What the name of a gripper among the joints of two arms ends with: `left_gripper`.
const GRIPPER: &str = "gripper";

/// What one number of the training data means: `si = (raw - zero) * unit`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Meaning {
    zero: f64,
    unit: f64,
}

/// Whether the column `name` among the joints is a gripper: of two arms each is a column like a joint's, and goes by
/// `units.gripper`.
pub fn is_gripper(name: &str) -> bool {
    name.len() > GRIPPER.len() && name.ends_with(GRIPPER)
}

impl Units {
    fn of_gripper(&self) -> Meaning {
        let [closed, open] = self.gripper;
        Meaning {
            zero: closed,
            unit: 1.0 / (open - closed),
        }
    }

    fn of_joint(&self, name: &str) -> Meaning {
        if is_gripper(name) {
            return self.of_gripper();
        }
        let sign = match self.inverted.iter().any(|inverted| inverted == name) {
            true => -1.0,
            false => 1.0,
        };
        Meaning {
            zero: self.zero.get(name).copied().unwrap_or(0.0),
            unit: sign * self.joints.rad(),
        }
    }

    /// What each column of `state` means.
    fn of_state(&self, state: &State) -> impl Iterator<Item = Meaning> {
        let joints = state.joints.iter().map(|name| self.of_joint(name));
        joints.chain(state.gripper.then(|| self.of_gripper()))
    }
}

impl DirectManifest {
    /// A state of the training data in SI, column by column: joints in rad, grippers 0 closed to 1 open.
    pub fn state_in_si(&self, raw: &[f32]) -> Vec<f64> {
        let meanings = self.units.of_state(&self.outline.state);
        let si = |(raw, Meaning { zero, unit }): (&f32, _)| (f64::from(*raw) - zero) * unit;
        raw.iter().zip(meanings).map(si).collect()
    }
}

/// `raw`, in SI.
pub(crate) fn in_si(raw: Stats, manifest: &DirectManifest) -> Result<Stats, BundleError> {
    let units = &manifest.units;
    let joint = |name: &String| units.of_joint(name);
    let (state, action) = (&manifest.outline.state, &manifest.outline.action);
    let motion: Vec<Meaning> = match action.representation {
        Representation::AbsoluteJoints => action.joints.iter().map(joint).collect(),
        Representation::RelativeJoints
        | Representation::JointSteps
        | Representation::JointVelocities => {
            let difference = |name| Meaning {
                zero: 0.0,
                ..joint(name)
            };
            action.joints.iter().map(difference).collect()
        }
        Representation::ToolPoses
        | Representation::RelativeToolPoses
        | Representation::ToolSteps => {
            let count = action.columns() - usize::from(action.gripper);
            vec![
                Meaning {
                    zero: 0.0,
                    unit: 1.0
                };
                count
            ]
        }
    };
    Ok(Stats {
        state: converted(raw.state, units.of_state(state)),
        action: converted(
            raw.action,
            motion
                .into_iter()
                .chain(action.gripper.then(|| units.of_gripper())),
        ),
    })
}

fn converted(raw: Affine, meanings: impl Iterator<Item = Meaning>) -> Affine {
    let mut out = raw;
    let columns = out
        .offset
        .iter_mut()
        .zip(&mut out.scale)
        .zip(&mut out.range);
    for (((offset, scale), range), Meaning { zero, unit }) in columns.zip(meanings) {
        *offset = (*offset - zero) * unit;
        *scale *= unit;
        *range *= unit.abs();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_signs_zeros_and_grippers_are_folded_in() {
        let raw = Affine {
            offset: vec![90.0, 50.0],
            scale: vec![10.0, 20.0],
            range: vec![40.0, 80.0],
        };
        let meanings = [
            Meaning {
                zero: 45.0,
                unit: -std::f64::consts::PI / 180.0,
            },
            // Closed at 100, open at 0.
            Meaning {
                zero: 100.0,
                unit: -0.01,
            },
        ];
        let si = converted(raw, meanings.into_iter());
        assert!((si.offset[0] + std::f64::consts::FRAC_PI_4).abs() < 1e-12);
        assert!((si.scale[0] + 10.0_f64.to_radians()).abs() < 1e-12);
        assert!((si.range[0] - 40.0_f64.to_radians()).abs() < 1e-12);
        assert!((si.offset[1] - 0.5).abs() < 1e-12 && (si.scale[1] + 0.2).abs() < 1e-12);
    }
}
