//! `[[camera]]`: the cameras of a cell, each name once.

use serde::Deserialize;
use tactus_wire::Name;

use super::{CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCamera {
    name: String,
    source: RawSource,
    rate_hz: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSource {
    Sim,
}

/// A camera of the cell, rendered by the simulator.
#[derive(Debug, Clone, PartialEq)]
pub struct CellCamera {
    /// Its name.
    pub name: Name,
    /// Frames per second.
    pub rate_hz: f64,
}

pub(super) fn read(raw: &[RawCamera], check: &Check<'_>) -> Result<Vec<CellCamera>, CellError> {
    if raw.is_empty() {
        return Err(check.error("camera", "at least one [[camera]]", "none"));
    }
    let mut cameras: Vec<CellCamera> = Vec::new();
    for RawCamera {
        name,
        source: RawSource::Sim,
        rate_hz,
    } in raw
    {
        let name = check.name("camera.name", name)?;
        if cameras.iter().any(|c| c.name == name) {
            return Err(check.error("camera.name", "each name once", name));
        }
        cameras.push(CellCamera {
            name,
            rate_hz: check.bounded("camera.rate_hz", *rate_hz)?,
        });
    }
    Ok(cameras)
}
