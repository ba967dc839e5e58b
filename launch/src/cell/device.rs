//! `[device]`: the arm on this machine that `tactus device` serves and `tactus run` starts it for.
//!
//! Decides what the file says of the arm; whether the arm is really like that is asked of the arm.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tactus_feetech::registers::BAUDS;
use tactus_feetech::{Calibration, Model, Part, arm::MOTORS, calibration};
use tactus_ur::UrSpec;
use tactus_ur::program::{GAIN, LOOKAHEAD_SECS, Servo};

use super::{CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum RawDevice {
    Feetech(RawFeetech),
    Ur(RawUr),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawModel {
    So100,
    So101,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPart {
    Follower,
    Leader,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeetech {
    model: RawModel,
    part: RawPart,
    port: PathBuf,
    baud: Option<u32>,
    rate_hz: f64,
    calibration: Option<PathBuf>,
    lerobot_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUr {
    model: String,
    host: String,
    rate_hz: u32,
    lookahead_time: f64,
    gain: u32,
}

/// The arm that a cell's device process serves.
#[derive(Debug, Clone, PartialEq)]
pub enum CellDevice {
    /// SO-100 or SO-101.
    Feetech(CellFeetech),
    /// An arm of Universal Robots.
    Ur(CellUr),
}

/// An arm of Universal Robots.
#[derive(Debug, Clone, PartialEq)]
pub struct CellUr {
    /// Address or name of its controller.
    pub host: String,
    /// Which arm, and how it follows.
    pub spec: UrSpec,
}

/// An arm of Feetech servos.
#[derive(Debug, Clone, PartialEq)]
pub struct CellFeetech {
    /// Which arm.
    pub model: Model,
    /// What it is for.
    pub part: Part,
    /// Its serial port.
    pub port: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// Ticks per second.
    pub rate_hz: f64,
    /// Where its calibration lies.
    pub calibration: CalibrationAt,
}

/// Where a calibration lies.
#[derive(Debug, Clone, PartialEq)]
pub enum CalibrationAt {
    /// In this file.
    File(PathBuf),
    /// Where LeRobot keeps the arm that it calls so.
    LeRobot(String),
}

impl RawDevice {
    pub(super) fn read(self, check: &Check<'_>, directory: &Path) -> Result<CellDevice, CellError> {
        match self {
            Self::Feetech(raw) => raw.read(check, directory),
            Self::Ur(raw) => raw.read(check),
        }
    }
}

impl RawUr {
    fn read(self, check: &Check<'_>) -> Result<CellDevice, CellError> {
        let model = tactus_ur::Model::named(&self.model).ok_or_else(|| {
            let names = tactus_ur::Model::ALL.map(tactus_ur::Model::name);
            let expected = format!("one of {}", names.join(", "));
            check.error("device.model", &expected, &self.model)
        })?;
        if self.host.is_empty() || self.host.contains(|c: char| c.is_whitespace() || c == '/') {
            let expected = "an IP address or a host's name";
            return Err(check.error("device.host", expected, format!("`{}`", self.host)));
        }
        if !model.rates_hz().contains(&self.rate_hz) {
            let rates: Vec<String> = model.rates_hz().iter().map(u32::to_string).collect();
            let expected = format!("{} Hz for a {}", rates.join(", "), model.name());
            return Err(check.error("device.rate_hz", &expected, self.rate_hz));
        }
        let [low, high] = LOOKAHEAD_SECS;
        if !(low..=high).contains(&self.lookahead_time) {
            let expected = format!("{low} to {high} s");
            return Err(check.error("device.lookahead_time", &expected, self.lookahead_time));
        }
        let [low, high] = GAIN;
        if !(low..=high).contains(&self.gain) {
            let expected = format!("{low} to {high}");
            return Err(check.error("device.gain", &expected, self.gain));
        }
        Ok(CellDevice::Ur(CellUr {
            host: self.host,
            spec: UrSpec {
                model,
                servo: Servo {
                    rate_hz: self.rate_hz,
                    lookahead_secs: self.lookahead_time,
                    gain: self.gain,
                },
            },
        }))
    }
}

impl RawFeetech {
    fn read(self, check: &Check<'_>, directory: &Path) -> Result<CellDevice, CellError> {
        let raw = self;
        let baud = raw.baud.unwrap_or(BAUDS[0]);
        if !BAUDS.contains(&baud) {
            let rates: Vec<String> = BAUDS.iter().map(u32::to_string).collect();
            let expected = format!("one of {}", rates.join(", "));
            return Err(check.error("device.baud", &expected, baud));
        }
        let calibration = match (raw.calibration, raw.lerobot_id) {
            (Some(file), None) => CalibrationAt::File(directory.join(file)),
            (None, Some(id)) if !id.is_empty() && !id.contains(['/', '\\']) => {
                CalibrationAt::LeRobot(id)
            }
            (None, Some(id)) => {
                return Err(check.error("device.lerobot_id", "a name without slashes", id));
            }
            (None, None) => {
                let expected = "a file, or device.lerobot_id instead";
                return Err(check.error("device.calibration", expected, "neither"));
            }
            (Some(_), Some(_)) => {
                let expected = "a file, or device.lerobot_id instead";
                return Err(check.error("device.calibration", expected, "both"));
            }
        };
        Ok(CellDevice::Feetech(CellFeetech {
            model: match raw.model {
                RawModel::So100 => Model::So100,
                RawModel::So101 => Model::So101,
            },
            part: match raw.part {
                RawPart::Follower => Part::Follower,
                RawPart::Leader => Part::Leader,
            },
            port: raw.port,
            baud,
            rate_hz: check.bounded("device.rate_hz", raw.rate_hz)?,
            calibration,
        }))
    }
}

impl CellFeetech {
    /// Its calibration file.
    pub fn calibration_file(&self) -> anyhow::Result<PathBuf> {
        match &self.calibration {
            CalibrationAt::File(file) => Ok(file.clone()),
            CalibrationAt::LeRobot(id) => {
                let root = lerobot_home()?.join("calibration");
                let leader = self.part == Part::Leader;
                Ok(calibration::lerobot_file(
                    &root,
                    id,
                    leader,
                    self.model.name(),
                )?)
            }
        }
    }

    /// Its calibration.
    pub fn calibration(&self) -> anyhow::Result<Calibration> {
        Ok(Calibration::read(&self.calibration_file()?, &MOTORS)?)
    }
}

/// Where LeRobot keeps its files, by LeRobot's own rules.
fn lerobot_home() -> anyhow::Result<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(home) = var("HF_LEROBOT_HOME") {
        return Ok(home);
    }
    let hugging_face = var("HF_HOME").or_else(|| Some(var("HOME")?.join(".cache/huggingface")));
    let home = hugging_face.context("where LeRobot keeps calibrations: HOME is not set")?;
    Ok(home.join("lerobot"))
}
