//! `[teleop]`: how a human commands the arm. Everything has a default.

use serde::Deserialize;
use tactus_control::TeleopSpec;

use super::{CellError, Check};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTeleop {
    tolerance_rad: Option<f64>,
    reach_rad: Option<f64>,
    part_rad: Option<f64>,
    smooth_ms: Option<f64>,
    blend_ms: Option<f64>,
    slide_share: Option<f64>,
}

impl RawTeleop {
    pub(super) fn read(self, check: &Check<'_>) -> Result<TeleopSpec, CellError> {
        let default = TeleopSpec::default();
        let number = |field: &str, value: Option<f64>, default: f64| match value {
            None => Ok(default),
            Some(value) => check.bounded(field, value),
        };
        let millis = |field: &str, value: Option<f64>, default| match value {
            None => Ok(default),
            Some(value) => check.millis(field, value),
        };
        let spec = TeleopSpec {
            tolerance_rad: number(
                "teleop.tolerance_rad",
                self.tolerance_rad,
                default.tolerance_rad,
            )?,
            reach_rad: number("teleop.reach_rad", self.reach_rad, default.reach_rad)?,
            part_rad: number("teleop.part_rad", self.part_rad, default.part_rad)?,
            smooth: millis("teleop.smooth_ms", self.smooth_ms, default.smooth)?,
            blend: millis("teleop.blend_ms", self.blend_ms, default.blend)?,
            slide_share: number("teleop.slide_share", self.slide_share, default.slide_share)?,
        };
        if spec.part_rad <= spec.tolerance_rad {
            let expected = "more than teleop.tolerance_rad";
            return Err(check.error("teleop.part_rad", expected, spec.part_rad));
        }
        Ok(spec)
    }
}
