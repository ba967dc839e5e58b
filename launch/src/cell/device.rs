//! `[device]`: the arm on this machine that `tactus device` serves and `tactus run` starts it for.
//!
//! Decides what the file says of the arm; whether the arm is really like that is asked of the arm.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tactus_drivers_api::servo::{
    ArmError, Bench, Calibration, CalibrationError, Family, Part, Servo as ArmServo,
    calibration::lerobot_file,
};
use tactus_franka::NodeSpec;
use tactus_ros::RosArmSpec;
use tactus_types::ArmInfo;
use tactus_ur::UrSpec;
use tactus_ur::program::{GAIN, LOOKAHEAD_SECS, Servo};

use super::franka::{CellFranka, RawFranka, RawFrankaNode};
use super::gripper::{CellGripper, RawGripper};
use super::links::CellLinks;
use super::ros::RawRos;
use super::{CellError, Check};

/// The section: the arm, the gripper beside it where that is a device of its own, and what describes its links.
#[derive(Debug, Deserialize)]
pub(super) struct RawHardware {
    gripper: Option<RawGripper>,
    urdf: Option<PathBuf>,
    base_link: Option<String>,
    tool_link: Option<String>,
    #[serde(flatten)]
    device: RawDevice,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum RawDevice {
    Feetech(RawFeetech),
    Dynamixel(RawDynamixel),
    Ur(RawUr),
    Franka(RawFranka),
    #[serde(rename = "franka-node")]
    FrankaNode(RawFrankaNode),
    Ros(RawRos),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawSo {
    So100,
    So101,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDynamixelModel {
    Koch,
    ViperX,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPart {
    Follower,
    Leader,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeetech {
    model: RawSo,
    part: RawPart,
    port: PathBuf,
    baud: Option<u32>,
    rate_hz: f64,
    calibration: Option<PathBuf>,
    lerobot_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDynamixel {
    model: RawDynamixelModel,
    part: RawPart,
    port: PathBuf,
    baud: Option<u32>,
    rate_hz: f64,
    calibration: Option<PathBuf>,
    lerobot_id: Option<String>,
    watchdog_ms: Option<u32>,
    gripper_current_ma: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUr {
    model: String,
    host: String,
    rate_hz: u32,
    lookahead_time: f64,
    gain: u32,
}

/// The arm that a cell's device process serves.
#[derive(Debug, Clone, PartialEq)]
pub enum CellDevice {
    /// An arm of smart servos on one line.
    Servos(CellServos),
    /// An arm of Universal Robots.
    Ur(CellUr),
    /// A Franka Research 3.
    Franka(CellFranka),
    /// A Franka Research 3 behind a `franka-node`.
    FrankaNode(NodeSpec),
    /// An arm that ROS 2 moves.
    Ros(RosArmSpec),
}

/// An arm of Universal Robots.
#[derive(Debug, Clone, PartialEq)]
pub struct CellUr {
    /// Address or name of its controller.
    pub host: String,
    /// Which arm, and how it follows.
    pub spec: UrSpec,
}

/// Whose servos, and what is said of them alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Make {
    /// SO-100 or SO-101.
    Feetech(tactus_feetech::Model),
    /// Koch or ViperX.
    Dynamixel {
        /// Which arm.
        model: tactus_dynamixel::Model,
        /// When servos stop by themselves, milliseconds.
        watchdog_millis: u32,
        /// Current of the gripper, mA.
        gripper_current_ma: f64,
    },
}

/// An arm of smart servos.
#[derive(Debug, Clone, PartialEq)]
pub struct CellServos {
    /// Which arm.
    pub make: Make,
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

impl RawHardware {
    pub(super) fn read(
        self,
        check: &Check<'_>,
        directory: &Path,
    ) -> Result<(CellDevice, Option<CellGripper>, Option<CellLinks>), CellError> {
        let gripper = self.gripper.map(|raw| raw.read(check)).transpose()?;
        let ends = [self.base_link, self.tool_link];
        let links = CellLinks::read(self.urdf, ends, check, directory)?;
        let device = match self.device {
            RawDevice::Feetech(raw) => CellDevice::Servos(raw.read(check, directory)?),
            RawDevice::Dynamixel(raw) => CellDevice::Servos(raw.read(check, directory)?),
            RawDevice::Ur(raw) => CellDevice::Ur(raw.read(check)?),
            RawDevice::Franka(raw) => CellDevice::Franka(raw.read(check)?),
            RawDevice::FrankaNode(raw) => CellDevice::FrankaNode(raw.read(check)?),
            RawDevice::Ros(raw) => CellDevice::Ros(raw.read(check)?),
        };
        let CellDevice::Servos(arm) = &device else {
            return Ok((device, gripper, links));
        };
        let (servos, highest) = (arm.motors().len(), arm.highest_rate_hz());
        if arm.rate_hz > highest {
            let baud = arm.baud;
            let expected = format!("at most {highest:.0} Hz of {servos} servos at {baud} baud");
            return Err(check.error("device.rate_hz", &expected, arm.rate_hz));
        }
        if gripper.is_some() {
            let expected = format!("none: the arm `{}` has a gripper of its own", arm.name());
            return Err(check.error("device.gripper", &expected, "one"));
        }
        Ok((device, gripper, links))
    }
}

impl RawUr {
    fn read(self, check: &Check<'_>) -> Result<CellUr, CellError> {
        let model = tactus_ur::Model::named(&self.model).ok_or_else(|| {
            let names = tactus_ur::Model::ALL.map(tactus_ur::Model::name);
            let expected = format!("one of {}", names.join(", "));
            check.error("device.model", &expected, &self.model)
        })?;
        host(check, "device.host", &self.host)?;
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
        Ok(CellUr {
            host: self.host,
            spec: UrSpec {
                model,
                servo: Servo {
                    rate_hz: self.rate_hz,
                    lookahead_secs: self.lookahead_time,
                    gain: self.gain,
                },
            },
        })
    }
}

/// Whether the `host` of `field` may be an address or a name.
pub(super) fn host(check: &Check<'_>, field: &str, host: &str) -> Result<(), CellError> {
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        let expected = "an IP address or a host's name";
        return Err(check.error(field, expected, format!("`{host}`")));
    }
    Ok(())
}

impl RawFeetech {
    fn read(self, check: &Check<'_>, directory: &Path) -> Result<CellServos, CellError> {
        Ok(CellServos {
            make: Make::Feetech(match self.model {
                RawSo::So100 => tactus_feetech::Model::So100,
                RawSo::So101 => tactus_feetech::Model::So101,
            }),
            part: self.part.read(),
            port: self.port,
            baud: baud(check, self.baud, &tactus_feetech::FAMILY)?,
            rate_hz: check.bounded("device.rate_hz", self.rate_hz)?,
            calibration: calibration_at(check, directory, self.calibration, self.lerobot_id)?,
        })
    }
}

impl RawDynamixel {
    fn read(self, check: &Check<'_>, directory: &Path) -> Result<CellServos, CellError> {
        let model = match self.model {
            RawDynamixelModel::Koch => tactus_dynamixel::Model::Koch,
            RawDynamixelModel::ViperX => tactus_dynamixel::Model::ViperX,
        };
        let part = self.part.read();
        if part == Part::Leader && !model.has_leader() {
            let expected = format!("\"follower\": a `{}` leads nobody", model.name());
            return Err(check.error("device.part", &expected, "leader"));
        }
        let rate_hz = check.bounded("device.rate_hz", self.rate_hz)?;
        let watchdog = self.watchdog_ms.unwrap_or(WATCHDOG_MILLIS);
        let watchdog = check.bounded("device.watchdog_ms", watchdog.into())?;
        let least = WATCHDOG_PERIODS * 1000.0 / rate_hz;
        if watchdog < least {
            let expected = format!("at least {WATCHDOG_PERIODS} periods, {least:.0} ms");
            return Err(check.error("device.watchdog_ms", &expected, watchdog));
        }
        let current = self.gripper_current_ma;
        let current = current.unwrap_or(model.gripper_current_ma());
        Ok(CellServos {
            make: Make::Dynamixel {
                model,
                watchdog_millis: watchdog as u32,
                gripper_current_ma: check.bounded("device.gripper_current_ma", current)?,
            },
            part,
            port: self.port,
            baud: baud(check, self.baud, &tactus_dynamixel::FAMILY)?,
            rate_hz,
            calibration: calibration_at(check, directory, self.calibration, self.lerobot_id)?,
        })
    }
}

/// When Dynamixel servos that hear nothing stop, where the file does not say: twice the device's own command deadline.
const WATCHDOG_MILLIS: u32 = 200;
/// Servos hear something once a period; one or two may be late.
const WATCHDOG_PERIODS: f64 = 3.0;

impl RawPart {
    fn read(self) -> Part {
        match self {
            Self::Follower => Part::Follower,
            Self::Leader => Part::Leader,
        }
    }
}

fn baud(check: &Check<'_>, baud: Option<u32>, family: &Family) -> Result<u32, CellError> {
    let baud = baud.unwrap_or(family.bauds[0]);
    if family.bauds.contains(&baud) {
        return Ok(baud);
    }
    let rates: Vec<String> = family.bauds.iter().map(u32::to_string).collect();
    let expected = format!("one of {}", rates.join(", "));
    Err(check.error("device.baud", &expected, baud))
}

fn calibration_at(
    check: &Check<'_>,
    directory: &Path,
    file: Option<PathBuf>,
    lerobot_id: Option<String>,
) -> Result<CalibrationAt, CellError> {
    let expected = "a file, or device.lerobot_id instead";
    match (file, lerobot_id) {
        (Some(file), None) => Ok(CalibrationAt::File(directory.join(file))),
        (None, Some(id)) if !id.is_empty() && !id.contains(['/', '\\']) => {
            Ok(CalibrationAt::LeRobot(id))
        }
        (None, Some(id)) => Err(check.error("device.lerobot_id", "a name without slashes", id)),
        (None, None) => Err(check.error("device.calibration", expected, "neither")),
        (Some(_), Some(_)) => Err(check.error("device.calibration", expected, "both")),
    }
}

impl CellServos {
    /// Which arm, as LeRobot writes it.
    pub fn name(&self) -> &'static str {
        match self.make {
            Make::Feetech(model) => model.name(),
            Make::Dynamixel { model, .. } => model.name(),
        }
    }

    /// Its motors, in the order of its servos.
    pub fn motors(&self) -> Vec<&'static str> {
        match self.make {
            Make::Feetech(_) => tactus_feetech::MOTORS.to_vec(),
            Make::Dynamixel { model, .. } => model.motors(),
        }
    }

    fn family(&self) -> &'static Family {
        match self.make {
            Make::Feetech(_) => &tactus_feetech::FAMILY,
            Make::Dynamixel { .. } => &tactus_dynamixel::FAMILY,
        }
    }

    /// How often its servos can be written and read, Hz: what the line takes.
    fn highest_rate_hz(&self) -> f64 {
        self.family()
            .highest_rate_hz(self.motors().len(), self.baud)
    }

    /// Its calibration file.
    pub fn calibration_file(&self) -> anyhow::Result<PathBuf> {
        match &self.calibration {
            CalibrationAt::File(file) => Ok(file.clone()),
            CalibrationAt::LeRobot(id) => {
                let root = lerobot_home()?.join("calibration");
                let names = match self.make {
                    // Since 2026 LeRobot has one name for both.
                    Make::Feetech(model) => vec!["so", model.name()],
                    Make::Dynamixel { model, .. } => vec![model.name()],
                };
                let leader = self.part == Part::Leader;
                Ok(lerobot_file(&root, id, leader, &names)?)
            }
        }
    }

    /// Where a calibration of it belongs, whether one is there or not.
    pub fn calibration_target(&self) -> anyhow::Result<PathBuf> {
        match (self.calibration_file(), &self.calibration) {
            (Err(e), CalibrationAt::LeRobot(id)) => {
                match e.downcast_ref::<CalibrationError>() {
                    // LeRobot would look there first.
                    Some(CalibrationError::NotFound { looked, .. }) if !looked.is_empty() => {
                        Ok(looked[0].clone())
                    }
                    _ => Err(e.context(format!("calibration `{id}`"))),
                }
            }
            (file, _) => file,
        }
    }

    /// Its calibration.
    pub fn calibration(&self) -> anyhow::Result<Calibration> {
        let (_, homing) = self.family().homing;
        let file = self.calibration_file()?;
        Ok(Calibration::read(&file, &self.motors(), homing)?)
    }

    /// Its motors whose joints turn all the way round: LeRobot gives them the whole turn as their range.
    pub fn whole_turn(&self) -> &'static [&'static str] {
        match self.make {
            Make::Feetech(_) => &["wrist_roll"],
            Make::Dynamixel { model, .. } => match model {
                tactus_dynamixel::Model::Koch => &["shoulder_pan", "wrist_roll"],
                tactus_dynamixel::Model::ViperX => &["waist", "forearm_roll", "wrist_rotate"],
            },
        }
    }

    fn servos(&self, calibration: &Calibration) -> Vec<ArmServo> {
        match self.make {
            Make::Feetech(_) => tactus_feetech::arm::servos(calibration, self.part),
            Make::Dynamixel {
                model,
                gripper_current_ma,
                ..
            } => tactus_dynamixel::arm::servos(model, self.part, calibration, gripper_current_ma),
        }
    }

    /// Opens its port and finds its servos there.
    pub fn bench(&self, calibration: &Calibration) -> Result<Bench, ArmError> {
        let servos = self.servos(calibration);
        Bench::open(self.family(), &self.port, self.baud, servos)
    }

    /// What it says of itself, with this calibration.
    pub fn info(&self, calibration: &Calibration) -> ArmInfo {
        let servos = self.servos(calibration);
        match self.make {
            Make::Feetech(model) => {
                tactus_feetech::arm::info(model, self.part, &servos, self.rate_hz)
            }
            Make::Dynamixel { model, .. } => {
                tactus_dynamixel::arm::info(model, self.part, &servos, self.rate_hz)
            }
        }
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
