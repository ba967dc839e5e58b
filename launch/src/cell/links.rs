//! `urdf`, `base_link` and `tool_link` of `[device]`: where the links are of an arm that does not say it itself.
//!
//! Decides what the file may say of them, and whether the URDF can be of this arm: its joints by name, that they turn, and how far.
//! Whether its zeros are the arm's no file tells: `tactus calibrate joints zeros` does. The URDF is read where the arm is served,
//! as calibrations of servos are: the other hosts of a cell, and a replay, need not have it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tactus_control::limit::guard;
use tactus_kinematics::KinematicsError;
use tactus_types::{ArmGeometry, ArmInfo, MAX_URDF_BYTES};

use super::{Cell, CellDevice, CellError, Check};

/// How much farther an arm may turn than its URDF says, rad: roundings of the same limit.
const ROUNDING_RAD: f64 = 0.02;

/// Where the file says that the links of its arm are described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellLinks {
    /// The URDF.
    pub urdf: PathBuf,
    base_link: String,
    tool_link: String,
}

impl CellLinks {
    /// Of the three fields, which stand together or not at all.
    pub(super) fn read(
        urdf: Option<PathBuf>,
        [base_link, tool_link]: [Option<String>; 2],
        check: &Check<'_>,
        directory: &Path,
    ) -> Result<Option<Self>, CellError> {
        let fields = ["urdf", "base_link", "tool_link"];
        let there = [urdf.is_some(), base_link.is_some(), tool_link.is_some()];
        match (urdf, base_link, tool_link) {
            (None, None, None) => Ok(None),
            (Some(urdf), Some(base_link), Some(tool_link)) => Ok(Some(Self {
                urdf: directory.join(urdf),
                base_link,
                tool_link,
            })),
            _ => {
                let given = fields.into_iter().zip(there).filter(|(_, there)| *there);
                let given: Vec<&str> = given.map(|(field, _)| field).collect();
                let expected = "`urdf`, `base_link` and `tool_link` together, or none of them";
                Err(check.error("device.urdf", expected, given.join(", ")))
            }
        }
    }

    /// What the arm of `device` says of itself, with its links from the URDF; `file` is the cell file.
    ///
    /// # Errors
    /// When the URDF cannot be read or is not of this arm, or its servos' calibration cannot be read.
    pub fn describe(&self, file: &Path, device: &CellDevice) -> anyhow::Result<ArmInfo> {
        let check = Check { file };
        let info = ArmInfo {
            geometry: Some(ArmGeometry {
                urdf: self.text(&check)?,
                base_link: self.base_link.clone(),
                tool_link: self.tool_link.clone(),
                workspace: None,
            }),
            ..info(device)?
        };
        self.fit(&info, matches!(device, CellDevice::Servos(_)), &check)?;
        Ok(info)
    }

    fn text(&self, check: &Check<'_>) -> Result<String, CellError> {
        let refused = |expected: &str, actual: String| {
            let actual = format!("{}: {actual}", self.urdf.display());
            check.error("device.urdf", expected, actual)
        };
        let mut bytes = Vec::new();
        File::open(&self.urdf)
            .and_then(|file| file.take(MAX_URDF_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(|e| refused("a URDF that can be read", e.to_string()))?;
        if bytes.len() > MAX_URDF_BYTES {
            let expected = format!("at most {MAX_URDF_BYTES} bytes");
            return Err(refused(&expected, "more".into()));
        }
        String::from_utf8(bytes).map_err(|e| refused("text in UTF-8", e.to_string()))
    }

    /// Whether the URDF can be of the arm of `info`. The range of an arm that was `calibrated` by hand is its own, and only has to
    /// overlap the URDF's; any other has to lie inside.
    fn fit(&self, info: &ArmInfo, calibrated: bool, check: &Check<'_>) -> Result<(), CellError> {
        let refused = |expected: &str, actual: String| check.error("device.urdf", expected, actual);
        let chain = guard::chain(info).map_err(|e| {
            let expected = match &e {
                KinematicsError::JointMissing { .. } | KinematicsError::JointNotInChain { .. } => {
                    format!(
                        "joints from `{}` to `{}` with the names that the arm has: {} (rename them in the URDF)",
                        self.base_link,
                        self.tool_link,
                        info.joints.join(", ")
                    )
                }
                _ => "a URDF of this arm, with `base_link` and `tool_link`".into(),
            };
            refused(&expected, e.to_string())
        })?;
        let joints = info.joints.iter().zip(&info.limits).zip(chain.limits());
        for (index, ((name, own), [lower, upper])) in joints.enumerate() {
            if chain.slides(index) {
                let expected = format!("joint `{name}` to turn, as the arm's does");
                return Err(refused(&expected, "one that slides".into()));
            }
            let fits = match calibrated {
                true => own.lower < *upper && *lower < own.upper,
                false => own.lower > lower - ROUNDING_RAD && own.upper < upper + ROUNDING_RAD,
            };
            if !fits {
                let word = if calibrated { "overlap" } else { "contain" };
                let expected = format!(
                    "the range of joint `{name}` to {word} the arm's, {:.3} to {:.3} rad",
                    own.lower, own.upper
                );
                return Err(refused(&expected, format!("{lower:.3} to {upper:.3} rad")));
            }
        }
        Ok(())
    }
}

/// What the arm of `device` says of itself, known before anybody has reached it.
fn info(device: &CellDevice) -> anyhow::Result<ArmInfo> {
    let franka = tactus_franka::model::info;
    Ok(match device {
        CellDevice::Servos(arm) => arm.info(&arm.calibration()?),
        CellDevice::Ur(arm) => tactus_ur::model::info(arm.spec.model, arm.spec.servo.rate_hz),
        CellDevice::Franka(arm) => franka(arm.spec.rate_hz, 1.0),
        CellDevice::FrankaNode(arm) => franka(arm.rate_hz, arm.gates.budget),
        CellDevice::Ros(arm) => arm.info(),
    })
}

impl Cell {
    /// Where the links of its arm are, where the file says it: read now, and of this arm, and enough for the limits in space.
    ///
    /// # Errors
    /// As of [`CellLinks::describe`] and [`Cell::arm_spec`].
    pub fn geometry(&self) -> anyhow::Result<Option<ArmGeometry>> {
        let (Some(links), Some(device)) = (&self.links, &self.hardware) else {
            return Ok(None);
        };
        let info = links.describe(&self.file, device)?;
        self.arm_spec(0, &info)?;
        Ok(info.geometry)
    }

    /// Which limits in space there are with links that the file describes, in words.
    pub fn says_of_space(&self) -> String {
        let boxed = match self.space.has_box() {
            true => "the tool point stays in `arm.workspace`",
            false => "there is no box (`arm.workspace`)",
        };
        let apart = match self.space.compares_links() {
            true => "links are kept apart",
            false => "links are not kept apart (`arm.self_collision`)",
        };
        format!("{boxed}; {apart}")
    }
}

#[cfg(test)]
mod tests;
