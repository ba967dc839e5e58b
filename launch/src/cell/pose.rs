//! Poses and enabling of `[arm]`: named poses, where an episode has to start, and how enabling is verified.
//!
//! Decides what the file says by itself, and whether its poses fit the arm that is really there. Moves nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tactus_control::{EnableSpec, Pose, StartPose};
use tactus_types::{ArmInfo, JointVec, MAX_JOINTS};

use super::{CellError, Check};

/// The pose that episodes start from.
pub const START: &str = "start";

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a pose: a list of rad, or { q = a list of rad, opening = 0 to 1 }"
)]
pub(super) enum RawPose {
    Joints(Vec<f64>),
    WithGripper { q: Vec<f64>, opening: f64 },
}

/// Named poses of a cell's arm.
#[derive(Debug, Clone, PartialEq)]
pub struct CellPoses {
    /// By name; of the one called [`START`], how far away an episode may start.
    pub named: BTreeMap<String, Pose>,
    start_tolerance_rad: Option<f64>,
}

impl CellPoses {
    pub(super) fn read(
        raw: &BTreeMap<String, RawPose>,
        start_tolerance_rad: Option<f64>,
        check: &Check<'_>,
    ) -> Result<Self, CellError> {
        match (raw.contains_key(START), start_tolerance_rad) {
            (true, None) => {
                let expected = "a number beside arm.poses.start";
                return Err(check.error("arm.start_tolerance_rad", expected, "none"));
            }
            (false, Some(_)) => {
                let expected = "a pose beside arm.start_tolerance_rad";
                return Err(check.error("arm.poses.start", expected, "none"));
            }
            (_, Some(tolerance)) => drop(check.bounded("arm.start_tolerance_rad", tolerance)?),
            (false, None) => {}
        }
        let mut named = BTreeMap::new();
        for (name, pose) in raw {
            let (q, opening) = match pose {
                RawPose::Joints(q) => (q, None),
                RawPose::WithGripper { q, opening } => {
                    (q, Some(check.bounded("opening", *opening)?))
                }
            };
            check.name("arm.poses", name)?;
            for q in q {
                check.bounded("arm.poses", *q)?;
            }
            let q = JointVec::from_slice(q)
                .filter(|q| !q.is_empty())
                .ok_or_else(|| {
                    let expected = format!("1 to {MAX_JOINTS} numbers");
                    check.error(&format!("arm.poses.{name}"), &expected, q.len())
                })?;
            named.insert(name.clone(), Pose { q, opening });
        }
        Ok(Self {
            named,
            start_tolerance_rad,
        })
    }

    /// Where an episode has to start, where the file says.
    pub(super) fn start(&self) -> Option<StartPose> {
        let Pose { q, .. } = *self.named.get(START)?;
        let tolerance = self.start_tolerance_rad?;
        Some(StartPose { q, tolerance })
    }

    /// Checks the poses of cell file `file` against the arm that is really there.
    ///
    /// # Errors
    /// [`CellError`] for a pose of another number of joints, or outside their limits.
    pub fn check(&self, file: &Path, info: &ArmInfo) -> Result<(), CellError> {
        let check = Check { file };
        for (name, pose) in &self.named {
            let field = format!("arm.poses.{name}");
            if pose.q.len() != info.joints.len() {
                let n = info.joints.len();
                let expected = format!("{n} numbers: {}", info.joints.join(", "));
                return Err(check.error(&field, &expected, pose.q.len()));
            }
            for ((joint, l), q) in info.joints.iter().zip(&info.limits).zip(pose.q.iter()) {
                if !(l.lower..=l.upper).contains(q) {
                    let expected = format!("{joint} within {} to {} rad", l.lower, l.upper);
                    return Err(check.error(&field, &expected, q));
                }
            }
        }
        Ok(())
    }
}

/// How enabling is verified; what the file leaves open is the arm host's default.
pub(super) fn enable(
    window_ms: Option<f64>,
    tolerance_rad: Option<f64>,
    check: &Check<'_>,
) -> Result<EnableSpec, CellError> {
    let mut enable = EnableSpec::default();
    if let Some(window) = window_ms {
        enable.window = check.millis("arm.enable_window_ms", window)?;
    }
    if let Some(tolerance) = tolerance_rad {
        enable.tolerance = check.bounded("arm.enable_tolerance_rad", tolerance)?;
    }
    Ok(enable)
}
