//! A two-finger gripper as a [`Gripper`].
//!
//! Decides nothing but what its registers are told: an opening as a position with the speed and force that were set, an
//! activation from reset. It is never activated, and no finger moved, unless somebody asks for it.

use std::path::{Path, PathBuf};

use tactus_drivers_api::{
    DeviceError, Gripper, GripperState, Line, NetworkLine, PortError, SerialLine,
};

use crate::modbus::{Modbus, ModbusError};
use crate::registers::{self as reg, Status};

/// Bits per second of a gripper from the factory.
pub const BAUD: u32 = 115_200;
/// Slave id of a gripper from the factory.
pub const SLAVE: u8 = 9;

/// How a gripper is reached, and how it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Bits per second.
    pub baud: u32,
    /// Slave id.
    pub slave: u8,
    /// Speed of its fingers, 0 slowest to 1 fastest.
    pub speed: f64,
    /// Force of its fingers, 0 least to 1 most.
    pub force: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            baud: BAUD,
            slave: SLAVE,
            speed: 0.5,
            force: 0.3,
        }
    }
}

/// Why a gripper cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GripperError {
    /// The port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// It cannot be talked to.
    #[error("port {}: gripper {slave}: {reason}", port.display())]
    Gripper {
        /// The port.
        port: PathBuf,
        /// Its slave id.
        slave: u8,
        /// Why.
        reason: ModbusError,
    },
}

/// A gripper on a line of its own.
#[derive(Debug)]
pub struct TwoFinger {
    modbus: Modbus,
    port: PathBuf,
    settings: Settings,
    /// What it was told last.
    told: Option<[u16; 3]>,
}

impl TwoFinger {
    /// Opens `port` and asks the gripper there how it is. Moves nothing.
    ///
    /// # Errors
    /// [`GripperError`].
    pub fn open(port: &Path, settings: Settings) -> Result<Self, GripperError> {
        let line = SerialLine::open(port, settings.baud)?;
        let mut gripper = Self::on(Box::new(line), port, settings);
        gripper.status()?;
        Ok(gripper)
    }

    /// Connects to `address`, where somebody passes the gripper's line on over TCP, and asks it how it is. Moves nothing.
    ///
    /// # Errors
    /// [`GripperError`].
    pub fn reach(address: &str, settings: Settings) -> Result<Self, GripperError> {
        let line = NetworkLine::open(address)?;
        let mut gripper = Self::on(Box::new(line), Path::new(address), settings);
        gripper.status()?;
        Ok(gripper)
    }

    /// A gripper on a line that is open already; `port` is what it is called.
    pub fn on(line: Box<dyn Line>, port: &Path, settings: Settings) -> Self {
        Self {
            modbus: Modbus::new(line, settings.baud, settings.slave),
            port: port.into(),
            settings,
            told: None,
        }
    }

    fn error(&self, reason: ModbusError) -> GripperError {
        GripperError::Gripper {
            port: self.port.clone(),
            slave: self.settings.slave,
            reason,
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// [`GripperError`].
    pub fn status(&mut self) -> Result<Status, GripperError> {
        let read = self.modbus.read(reg::IN);
        read.map(Status::of).map_err(|e| self.error(e))
    }

    fn tell(&mut self, registers: [u16; 3]) -> Result<(), GripperError> {
        self.modbus
            .write(reg::OUT, registers)
            .map_err(|e| self.error(e))?;
        self.told = Some(registers);
        Ok(())
    }

    /// Sends the fingers to an opening of 0 closed to 1 open.
    ///
    /// # Errors
    /// [`GripperError`].
    pub fn go_to(&mut self, opening: f64) -> Result<(), GripperError> {
        let share = |share: f64| (share.clamp(0.0, 1.0) * 255.0).round() as u8;
        let Settings { speed, force, .. } = self.settings;
        let position = reg::position_of(opening);
        let registers = reg::go_to(position, share(speed), share(force));
        // It keeps what it was told.
        match self.told == Some(registers) {
            true => Ok(()),
            false => self.tell(registers),
        }
    }

    fn device_error(&self, e: &GripperError) -> DeviceError {
        let reason = match e {
            GripperError::Gripper { reason, .. } => reason.to_string(),
            GripperError::Port(e) => e.to_string(),
        };
        DeviceError {
            device: self.name(),
            reason,
        }
    }
}

impl Gripper for TwoFinger {
    fn name(&self) -> String {
        format!("robotiq gripper at {}", self.port.display())
    }

    fn exchange(&mut self, opening: Option<f64>) -> Result<GripperState, DeviceError> {
        let mut status = self.status().map_err(|e| self.device_error(&e))?;
        if let Some(opening) = opening.filter(|_| status.active()) {
            self.go_to(opening).map_err(|e| self.device_error(&e))?;
        }
        if !status.active() {
            // Whatever it was told, it has forgotten.
            self.told = None;
            status.object = reg::Object::Nothing;
        }
        Ok(GripperState {
            opening: status.opening(),
            active: status.active(),
            object: status.following && status.object.is_met(),
            fault: status.fault(),
        })
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        self.tell(reg::RESET)
            .and_then(|()| self.tell(reg::ACTIVATE))
            .map_err(|e| self.device_error(&e))
    }
}
