//! Limits in space of `[arm]`: the box for the tool point and how near links may come to each other.
//!
//! Decides what the file says and what it leaves to the arm's own description; the limits themselves are
//! `tactus-control`'s [`Guard`].

use serde::Deserialize;
use tactus_control::{Guard, GuardSpec};
use tactus_kinematics::KinematicsError;
use tactus_types::ArmInfo;

use super::{CellError, Check};

/// How near two links may come to each other where the cell file does not say, m.
const CLEARANCE_M: f64 = 0.005;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkspace {
    min: [f64; 3],
    max: [f64; 3],
}

/// Limits in space as the file has them; what it leaves open the arm's info decides.
#[derive(Debug, Clone)]
pub(super) struct Space {
    workspace: Option<[[f64; 3]; 2]>,
    self_collision: Option<bool>,
    clearance_m: f64,
    leave_out: Vec<String>,
}

impl Space {
    pub(super) fn read(
        workspace: Option<RawWorkspace>,
        self_collision: Option<bool>,
        clearance_m: Option<f64>,
        leave_out: Option<Vec<String>>,
        check: &Check<'_>,
    ) -> Result<Self, CellError> {
        if let Some(RawWorkspace { min, max }) = &workspace {
            for value in min.iter().chain(max) {
                check.bounded("arm.workspace", *value)?;
            }
            if min.iter().zip(max).any(|(min, max)| min >= max) {
                let actual = format!("{min:?} .. {max:?}");
                return Err(check.error("arm.workspace", "min < max along x, y and z", actual));
            }
        }
        let clearance_m = clearance_m.unwrap_or(CLEARANCE_M);
        Ok(Self {
            workspace: workspace.map(|raw| [raw.min, raw.max]),
            self_collision,
            clearance_m: check.bounded("arm.clearance_m", clearance_m)?,
            leave_out: leave_out.unwrap_or_default(),
        })
    }

    /// The same of an arm whose links the file describes. Makers' URDFs are mostly meshes, and fingers beside the chain, which
    /// links cannot be compared with: they are only where the file says so.
    pub(super) fn of_described_links(self) -> Self {
        Self {
            self_collision: Some(self.self_collision.unwrap_or(false)),
            ..self
        }
    }

    /// Whether the file has a box for the tool point.
    pub(super) fn has_box(&self) -> bool {
        self.workspace.is_some()
    }

    /// Whether the file says that links are kept apart.
    pub(super) fn compares_links(&self) -> bool {
        self.self_collision == Some(true)
    }

    /// The limits for the arm of `info`; `None` where neither it nor the file has any.
    ///
    /// # Errors
    /// [`KinematicsError`] when the arm does not describe its links well enough.
    pub(super) fn guard(&self, info: &ArmInfo) -> Result<Option<Guard>, KinematicsError> {
        let own = info.geometry.as_ref();
        let compares = self.self_collision.unwrap_or(own.is_some());
        let spec = GuardSpec {
            workspace: self.workspace.or(own.and_then(|g| g.workspace)),
            clearance_m: compares.then_some(self.clearance_m),
            leave_out: self.leave_out.clone(),
        };
        Guard::new(info, &spec)
    }
}
