//! An arm on the bench: found, checked, set up, released. Nothing here moves it.
//!
//! Opening asks every servo for itself: is it there, is it alone with its id, is it an STS3215. EEPROM is written by
//! [`Bench::set_up`] alone, and only while no servo has torque: a new homing offset moves the zero under a goal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tactus_drivers_api::{Line, SerialLine};

use crate::ArmError;
use crate::arm::{self, Part, Servo};
use crate::bus::{Bus, BusError};
use crate::calibration::{Calibration, ServoCalibration};
use crate::packet::Alarms;
use crate::registers::{self as reg, Register};

/// What writing EEPROM takes.
const EEPROM: Duration = Duration::from_millis(10);

/// Servos that were found.
#[derive(Debug)]
pub struct Bench {
    /// The bus.
    pub bus: Bus,
    /// The servos, in the order of [`arm::MOTORS`].
    pub servos: Vec<Servo>,
    port: PathBuf,
    part: Part,
}

/// A register that does not hold what it has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Which servo of [`Bench::servos`].
    pub servo: usize,
    /// What it has to hold.
    pub setting: arm::Setting,
    /// What it holds.
    pub actual: i32,
}

/// What a servo says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Firmware, major and minor.
    pub firmware: (u8, u8),
    /// Where it is, ticks.
    pub position: i32,
    /// Supply, V.
    pub voltage_v: f64,
    /// Degrees Celsius.
    pub temperature_c: f64,
    /// Share of its motor's duty, -1 to 1.
    pub load: f64,
    /// Torque that it may use, 0.1 %.
    pub max_torque: i32,
    /// Whether it holds.
    pub torque: bool,
    /// Its complaints.
    pub alarms: Alarms,
}

impl Bench {
    /// Opens `port` and finds the servos that `calibration` names.
    ///
    /// # Errors
    /// [`ArmError`].
    pub fn open(
        port: &Path,
        baud: u32,
        calibration: &Calibration,
        part: Part,
    ) -> Result<Self, ArmError> {
        let line = SerialLine::open(port, baud)?;
        Self::on(Box::new(line), port, baud, calibration, part)
    }

    /// As [`Bench::open`], on a line that is open already; `port` is what it is called.
    ///
    /// # Errors
    /// [`ArmError`].
    pub fn on(
        line: Box<dyn Line>,
        port: &Path,
        baud: u32,
        calibration: &Calibration,
        part: Part,
    ) -> Result<Self, ArmError> {
        let mut bench = Self {
            bus: Bus::new(line, baud),
            servos: arm::servos(calibration),
            port: port.into(),
            part,
        };
        bench.find(baud)?;
        Ok(bench)
    }

    fn find(&mut self, baud: u32) -> Result<(), ArmError> {
        let mut first_error = None;
        let mut found = 0;
        for servo in self.servos.clone() {
            match self.bus.alone(servo.calibration.id) {
                Ok(()) => {
                    let actual = self.read(&servo, reg::MODEL)?;
                    if actual != i32::from(reg::STS3215) {
                        return Err(ArmError::Model {
                            port: self.port.clone(),
                            servo: servo.to_string(),
                            expected: reg::STS3215,
                            actual,
                        });
                    }
                    found += 1;
                }
                Err(reason @ BusError::Line { .. }) => return Err(self.servo_error(&servo, reason)),
                Err(reason) => {
                    first_error.get_or_insert((servo, reason));
                }
            }
        }
        match first_error {
            None => Ok(()),
            // A wrong rate is silence or rubbish from everyone.
            Some(_) if found == 0 => Err(self.other_baud(baud)),
            Some((servo, reason)) => Err(self.servo_error(&servo, reason)),
        }
    }

    /// Why nobody answers at `baud`.
    fn other_baud(&mut self, baud: u32) -> ArmError {
        for actual in reg::BAUDS.into_iter().filter(|other| *other != baud) {
            if self.bus.set_baud(actual).is_err() {
                continue;
            }
            for servo in self.servos.clone() {
                if self.bus.ping(servo.calibration.id).is_ok() {
                    return ArmError::Baud {
                        port: self.port.clone(),
                        baud,
                        servo: servo.to_string(),
                        actual,
                    };
                }
            }
        }
        ArmError::Nobody {
            port: self.port.clone(),
            baud,
        }
    }

    /// What the arm is for.
    pub fn part(&self) -> Part {
        self.part
    }

    /// What the port is called.
    pub fn port(&self) -> &Path {
        &self.port
    }

    pub(crate) fn servo_error(&self, servo: &Servo, reason: BusError) -> ArmError {
        ArmError::Servo {
            port: self.port.clone(),
            servo: servo.to_string(),
            reason,
        }
    }

    fn read(&mut self, servo: &Servo, register: Register) -> Result<i32, ArmError> {
        self.bus
            .read(servo.calibration.id, register)
            .map_err(|reason| self.servo_error(servo, reason))
    }

    fn write(&mut self, servo: &Servo, register: Register, value: i32) -> Result<(), ArmError> {
        self.bus
            .write(servo.calibration.id, register, value)
            .map_err(|reason| self.servo_error(servo, reason))
    }

    /// Writes a register until it holds what was written.
    fn keep(&mut self, servo: &Servo, register: Register, value: i32) -> Result<(), ArmError> {
        self.write(servo, register, value)?;
        if register.is_eeprom() {
            std::thread::sleep(EEPROM);
        }
        let actual = self.read(servo, register)?;
        if actual == value {
            return Ok(());
        }
        Err(ArmError::NotKept {
            port: self.port.clone(),
            servo: servo.to_string(),
            register: register.name,
            expected: value,
            actual,
        })
    }

    /// Registers that do not hold what they have to.
    ///
    /// # Errors
    /// [`ArmError`] when a servo does not answer.
    pub fn mismatches(&mut self) -> Result<Vec<Mismatch>, ArmError> {
        let mut mismatches = Vec::new();
        for (index, servo) in self.servos.clone().iter().enumerate() {
            for setting in arm::settings(servo, self.part) {
                let actual = self.read(servo, setting.register)?;
                if !setting.met_by(actual) {
                    mismatches.push(Mismatch {
                        servo: index,
                        setting,
                        actual,
                    });
                }
            }
        }
        Ok(mismatches)
    }

    /// Refuses an arm whose servos mean other positions than the calibration; warns of the rest.
    ///
    /// # Errors
    /// [`ArmError::Settings`] with the first register; [`ArmError`] when a servo does not answer.
    pub fn check(&mut self) -> Result<(), ArmError> {
        let mismatches = self.mismatches()?;
        for Mismatch {
            servo,
            setting,
            actual,
        } in mismatches.iter().filter(|m| !m.setting.vital)
        {
            tracing::warn!(
                "{}: register {} holds {actual}, {} is usual (`tactus device setup` writes it)",
                self.servos[*servo],
                setting.register.name,
                setting.value
            );
        }
        let mut vital = mismatches.iter().filter(|m| m.setting.vital);
        let Some(first) = vital.next() else {
            return Ok(());
        };
        Err(ArmError::Settings {
            port: self.port.clone(),
            servo: self.servos[first.servo].to_string(),
            register: first.setting.register.name,
            expected: first.setting.value,
            actual: first.actual,
            others: vital.count(),
        })
    }

    /// The first servo that has torque.
    ///
    /// # Errors
    /// [`ArmError`] when a servo does not answer.
    pub fn with_torque(&mut self) -> Result<Option<Servo>, ArmError> {
        for servo in self.servos.clone() {
            if self.read(&servo, reg::TORQUE_ENABLE)? != 0 {
                return Ok(Some(servo));
            }
        }
        Ok(None)
    }

    /// Refuses an arm with torque, because `why`.
    pub(crate) fn refuse_torque(&mut self, why: &'static str) -> Result<(), ArmError> {
        match self.with_torque()? {
            None => Ok(()),
            Some(servo) => Err(ArmError::Torque {
                port: self.port.clone(),
                servo: servo.to_string(),
                why,
            }),
        }
    }

    /// Writes calibration and configuration into the servos' EEPROM, and reads them back. Returns what was changed.
    ///
    /// # Errors
    /// [`ArmError::Torque`] when a servo has torque: nothing was written then.
    pub fn set_up(&mut self) -> Result<Vec<Mismatch>, ArmError> {
        self.refuse_torque("its registers are about to change")?;
        let mismatches = self.mismatches()?;
        for Mismatch {
            servo,
            setting,
            actual,
        } in &mismatches
        {
            let servo = self.servos[*servo].clone();
            self.write(&servo, reg::LOCK, 0)?;
            let kept = self.keep(&servo, setting.register, setting.over(*actual));
            // Whatever came of it, the next power-off should find it locked.
            self.write(&servo, reg::LOCK, 1)?;
            kept?;
        }
        Ok(mismatches)
    }

    /// Switches torque off. An arm without brakes falls: the caller asked for it.
    ///
    /// # Errors
    /// [`ArmError`] of the first servo that does not obey; the others were switched off.
    pub fn torque_off(&mut self) -> Result<(), ArmError> {
        let mut outcome = Ok(());
        for servo in self.servos.clone() {
            outcome = outcome.and(self.keep(&servo, reg::TORQUE_ENABLE, 0));
        }
        outcome
    }

    /// The calibration that the servos hold.
    ///
    /// # Errors
    /// [`ArmError`] when a servo does not answer.
    pub fn calibration(&mut self) -> Result<Calibration, ArmError> {
        let mut calibration = Calibration::default();
        for servo in self.servos.clone() {
            let held = ServoCalibration {
                id: servo.calibration.id,
                drive_mode: servo.calibration.drive_mode,
                homing_offset: self.read(&servo, reg::HOMING_OFFSET)?,
                range_min: self.read(&servo, reg::MIN_POSITION)?,
                range_max: self.read(&servo, reg::MAX_POSITION)?,
            };
            calibration.servos.insert(servo.name.into(), held);
        }
        Ok(calibration)
    }

    /// What servo `index` says of itself.
    ///
    /// # Errors
    /// [`ArmError`] when it does not answer.
    pub fn report(&mut self, index: usize) -> Result<Report, ArmError> {
        let servo = self.servos[index].clone();
        let firmware = self.read(&servo, reg::FIRMWARE)?.to_le_bytes();
        let (_, alarms) = self
            .bus
            .read_bytes(servo.calibration.id, reg::ID.address, reg::ID.bytes)
            .map_err(|reason| self.servo_error(&servo, reason))?;
        Ok(Report {
            firmware: (firmware[0], firmware[1]),
            position: self.read(&servo, reg::PRESENT_POSITION)?,
            voltage_v: f64::from(self.read(&servo, reg::PRESENT_VOLTAGE)?) / 10.0,
            temperature_c: f64::from(self.read(&servo, reg::PRESENT_TEMPERATURE)?),
            load: f64::from(self.read(&servo, reg::PRESENT_LOAD)?) / 1000.0,
            max_torque: self.read(&servo, reg::MAX_TORQUE)?,
            torque: self.read(&servo, reg::TORQUE_ENABLE)? != 0,
            alarms,
        })
    }
}
