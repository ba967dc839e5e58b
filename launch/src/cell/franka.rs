//! `[device]` of a Franka Research 3: over FCI, or behind a `franka-node`.

use serde::Deserialize;
use tactus_franka::node::{self, Gates};
use tactus_franka::{FrankaSpec, NodeSpec};

use super::{CellError, Check, device};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFranka {
    model: String,
    host: String,
    rate_hz: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFrankaNode {
    model: String,
    endpoint: String,
    arm: String,
    rate_hz: u32,
    budget: Option<f64>,
    max_step_rad: Option<f64>,
    max_deviation_rad: Option<f64>,
}

/// A Franka Research 3.
#[derive(Debug, Clone, PartialEq)]
pub struct CellFranka {
    /// Address or name of its controller, with `:port` where that is not FCI's.
    pub host: String,
    /// How it is served.
    pub spec: FrankaSpec,
}

/// Whether a Franka is one that is known here, at a rate that it has.
fn fr3(check: &Check<'_>, model: &str, rate_hz: u32, rates: &[u32]) -> Result<(), CellError> {
    let known = tactus_franka::model::MODEL;
    if model != known {
        let expected = format!("{known}; a Panda (FER) speaks another version of FCI");
        return Err(check.error("device.model", &expected, model));
    }
    if !rates.contains(&rate_hz) {
        let rates: Vec<String> = rates.iter().map(u32::to_string).collect();
        let expected = format!("one of {} Hz", rates.join(", "));
        return Err(check.error("device.rate_hz", &expected, rate_hz));
    }
    Ok(())
}

impl RawFrankaNode {
    pub(super) fn read(self, check: &Check<'_>) -> Result<NodeSpec, CellError> {
        fr3(check, &self.model, self.rate_hz, &node::RATES_HZ)?;
        let address = self.endpoint.strip_prefix("tcp/").unwrap_or_default();
        let port = address.rsplit_once(':').map(|(_, port)| port.parse());
        if !matches!(port, Some(Ok(1..=u16::MAX))) {
            let expected = "an endpoint such as `tcp/192.168.1.10:7447`";
            return Err(check.error("device.endpoint", expected, self.endpoint));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.arm.is_empty() || !self.arm.chars().all(plain) {
            let expected = "the arm's name in the node's configuration: letters, digits, _ and -";
            return Err(check.error("device.arm", expected, format!("`{}`", self.arm)));
        }
        let Gates {
            budget,
            max_step,
            max_deviation,
        } = Gates::default();
        let number =
            |field, value: Option<f64>, usual| check.bounded(field, value.unwrap_or(usual));
        Ok(NodeSpec {
            endpoint: self.endpoint,
            arm: self.arm,
            rate_hz: self.rate_hz,
            gates: Gates {
                budget: number("device.budget", self.budget, budget)?,
                max_step: number("device.max_step_rad", self.max_step_rad, max_step)?,
                max_deviation: number(
                    "device.max_deviation_rad",
                    self.max_deviation_rad,
                    max_deviation,
                )?,
            },
        })
    }
}

impl RawFranka {
    pub(super) fn read(self, check: &Check<'_>) -> Result<CellFranka, CellError> {
        fr3(
            check,
            &self.model,
            self.rate_hz,
            &tactus_franka::model::RATES_HZ,
        )?;
        device::host(check, "device.host", &self.host)?;
        Ok(CellFranka {
            host: self.host,
            spec: FrankaSpec {
                rate_hz: self.rate_hz,
            },
        })
    }
}
