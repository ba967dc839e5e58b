//! `[engine]`: who runs the policy, on what, and how old its frames may be.

use std::time::Duration;

use serde::Deserialize;
use tactus_policies::Provider;
use tactus_wire::Name;

use super::{CellError, Check};
use crate::cli::ControlWord;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEngine {
    name: String,
    provider: RawProvider,
    intra_threads: u32,
    denoise_steps: Option<u32>,
    features_every_ms: Option<f64>,
    control: Option<RawControl>,
    explain_hz: Option<f64>,
    shared: Option<bool>,
    frame_limit_ms: f64,
    max_skew_ms: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProvider {
    Cpu,
    Cuda,
    Tensorrt,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawControl {
    Head,
    Fast,
}

/// The engine of a cell.
#[derive(Debug, Clone)]
pub(super) struct CellEngine {
    pub(super) name: Name,
    pub(super) provider: Provider,
    pub(super) intra_threads: usize,
    pub(super) denoise_steps: Option<usize>,
    pub(super) features_every: Duration,
    pub(super) control: ControlWord,
    pub(super) explain_hz: Option<f64>,
    pub(super) shared: bool,
    pub(super) frame_limit: Duration,
    pub(super) max_skew: Duration,
}

impl RawEngine {
    pub(super) fn read(&self, check: &Check<'_>) -> Result<CellEngine, CellError> {
        check.bounded("engine.intra_threads", f64::from(self.intra_threads))?;
        Ok(CellEngine {
            name: check.name("engine.name", &self.name)?,
            provider: match self.provider {
                RawProvider::Cpu => Provider::Cpu,
                RawProvider::Cuda => Provider::Cuda,
                RawProvider::Tensorrt => Provider::TensorRt,
            },
            intra_threads: self.intra_threads as usize,
            denoise_steps: match self.denoise_steps {
                None => None,
                Some(steps) => {
                    Some(check.bounded("engine.denoise_steps", f64::from(steps))? as usize)
                }
            },
            features_every: check.millis(
                "engine.features_every_ms",
                self.features_every_ms.unwrap_or(0.0),
            )?,
            control: match self.control {
                None | Some(RawControl::Head) => ControlWord::Head,
                Some(RawControl::Fast) => ControlWord::Fast,
            },
            explain_hz: match self.explain_hz {
                None => None,
                Some(hz) => Some(check.bounded("engine.explain_hz", hz)?),
            },
            shared: self.shared.unwrap_or(false),
            frame_limit: check.millis("engine.frame_limit_ms", self.frame_limit_ms)?,
            max_skew: check.millis("engine.max_skew_ms", self.max_skew_ms)?,
        })
    }
}
