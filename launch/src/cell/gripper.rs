//! `[device.gripper]`: a gripper that is a device of its own, beside an arm that has none.

use std::path::PathBuf;

use serde::Deserialize;
use tactus_drivers_api::Gripper;
use tactus_franka::{Hand, HandSettings, Host, hand};
use tactus_robotiq::{Settings, TwoFinger};

use super::{CellError, Check, device};

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum RawGripper {
    Robotiq(RawRobotiq),
    #[serde(rename = "franka-hand")]
    FrankaHand(RawHand),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHand {
    host: String,
    speed: Option<f64>,
    force: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRobotiq {
    port: Option<PathBuf>,
    host: Option<String>,
    baud: Option<u32>,
    slave: Option<u32>,
    speed: Option<f64>,
    force: Option<f64>,
}

/// The gripper beside a cell's arm.
#[derive(Debug, Clone, PartialEq)]
pub enum CellGripper {
    /// Robotiq's 2F-85, 2F-140 or Hand-E.
    Robotiq {
        /// Its line.
        line: GripperLine,
        /// How it is reached, and how it moves.
        settings: Settings,
    },
    /// The Franka Hand.
    FrankaHand {
        /// The arm's controller.
        host: String,
        /// How it moves.
        settings: HandSettings,
    },
}

/// Where the line of a gripper is.
#[derive(Debug, Clone, PartialEq)]
pub enum GripperLine {
    /// At a serial port of this machine.
    Port(PathBuf),
    /// Behind a TCP port, as host and port.
    Network(String),
}

/// Where controllers of Universal Robots pass on the line of the tool connector.
const TOOL_PORT: u16 = 54321;

impl GripperLine {
    /// Behind `host`, with `:port` where that is not a UR's.
    pub fn of_host(host: &str) -> Self {
        Self::Network(match host.contains(':') {
            true => host.to_owned(),
            false => format!("{host}:{TOOL_PORT}"),
        })
    }

    /// Reaches the gripper there and asks it how it is.
    pub fn open(&self, settings: Settings) -> anyhow::Result<TwoFinger> {
        Ok(match self {
            Self::Port(port) => TwoFinger::open(port, settings)?,
            Self::Network(address) => TwoFinger::reach(address, settings)?,
        })
    }
}

impl RawGripper {
    pub(super) fn read(self, check: &Check<'_>) -> Result<CellGripper, CellError> {
        let share = |field, value: Option<f64>, usual| check.bounded(field, value.unwrap_or(usual));
        let raw = match self {
            Self::Robotiq(raw) => raw,
            Self::FrankaHand(raw) => {
                let HandSettings { speed, force } = HandSettings::default();
                device::host(check, "device.gripper.host", &raw.host)?;
                return Ok(CellGripper::FrankaHand {
                    host: raw.host,
                    settings: HandSettings {
                        speed: share("device.gripper.speed", raw.speed, speed)?,
                        force: share("device.gripper.force", raw.force, force)?,
                    },
                });
            }
        };
        let Settings {
            baud,
            slave,
            speed,
            force,
        } = Settings::default();
        let number = |field, value: Option<u32>, usual: u32| {
            check.bounded(field, f64::from(value.unwrap_or(usual)))
        };
        let expected = "a serial port, or device.gripper.host instead";
        let line = match (raw.port, raw.host) {
            (Some(port), None) => GripperLine::Port(port),
            (None, Some(host)) => {
                device::host(check, "device.gripper.host", &host)?;
                GripperLine::of_host(&host)
            }
            (None, None) => return Err(check.error("device.gripper.port", expected, "neither")),
            (Some(_), Some(_)) => {
                return Err(check.error("device.gripper.port", expected, "both"));
            }
        };
        Ok(CellGripper::Robotiq {
            line,
            settings: Settings {
                baud: number("device.gripper.baud", raw.baud, baud)? as u32,
                slave: number("device.gripper.slave", raw.slave, slave.into())? as u8,
                speed: share("device.gripper.speed", raw.speed, speed)?,
                force: share("device.gripper.force", raw.force, force)?,
            },
        })
    }
}

impl CellGripper {
    /// Reaches it and asks it how it is.
    pub fn open(&self) -> anyhow::Result<Box<dyn Gripper>> {
        Ok(match self {
            Self::Robotiq { line, settings } => Box::new(line.open(*settings)?),
            Self::FrankaHand { host, settings } => {
                Box::new(Hand::open(&Host::resolve_at(host, hand::PORT)?, *settings)?)
            }
        })
    }
}
