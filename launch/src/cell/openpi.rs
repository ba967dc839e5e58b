//! `policy = "openpi://host:port"` and `[openpi]`: a policy that a remote OpenPI server runs.
//!
//! The server says nothing about time, joints or units, so the cell does. Whether columns are the arm's joints is known when
//! the engine has met the arm.

use serde::Deserialize;
use tactus_openpi::remote::MAX_HORIZON;
use tactus_openpi::{Anchor, CameraShape, Endpoint, MappingFile};
use tactus_policies::Declared;

use super::{CellCamera, CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOpenpi {
    horizon: u32,
    period_ms: f64,
    first_action_offset_ms: f64,
    #[serde(default)]
    anchor: Anchor,
    #[serde(default)]
    keys: MappingFile,
}

impl RawOpenpi {
    pub(super) fn read(
        self,
        endpoint: Endpoint,
        cameras: &[CellCamera],
        check: &Check<'_>,
    ) -> Result<Declared, CellError> {
        let horizon = self.horizon as usize;
        if !(1..=MAX_HORIZON).contains(&horizon) {
            let expected = format!("1 to {MAX_HORIZON} actions");
            return Err(check.error("openpi.horizon", &expected, horizon));
        }
        let period = check.millis("openpi.period_ms", self.period_ms)?;
        let offset = "openpi.first_action_offset_ms";
        let shape = |camera: &CellCamera| CameraShape {
            name: camera.name.to_string(),
            size: camera.real.as_ref().map(|spec| {
                let (width, height) = spec.published_size();
                (width as usize, height as usize)
            }),
        };
        Ok(Declared {
            endpoint,
            horizon,
            period,
            first_action_offset: check.millis(offset, self.first_action_offset_ms)?,
            anchor: self.anchor,
            cameras: cameras.iter().map(shape).collect(),
            keys: self.keys,
        })
    }
}
