//! An arm on the bench: found, checked, set up, released. Nothing here moves it.
//!
//! Opening asks every servo for itself: is it there, is it alone with its id, is it of the right model. EEPROM is written by
//! [`Bench::set_up`] alone, and only while no servo has torque: a new homing offset moves the zero under a goal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arm::{Family, Report, Servo, Setting};
use super::bus::{Bus, BusError};
use super::calibration::{Calibration, ServoCalibration};
use super::error::ArmError;
use super::register::Register;
use crate::{Line, SerialLine};

/// What writing EEPROM takes.
const EEPROM: Duration = Duration::from_millis(10);

/// Servos that were found.
#[derive(Debug)]
pub struct Bench {
    /// The bus.
    pub bus: Bus,
    /// The servos: joints in the order of every joint vector, the second motors of joints after the first ones.
    pub servos: Vec<Servo>,
    port: PathBuf,
}

/// A register that does not hold what it has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Which servo of [`Bench::servos`].
    pub servo: usize,
    /// What it has to hold.
    pub setting: Setting,
    /// What it holds.
    pub actual: i32,
}

impl Bench {
    /// Opens `port` and finds `servos` of `family` there.
    ///
    /// # Errors
    /// [`ArmError`].
    pub fn open(
        family: &'static Family,
        port: &Path,
        baud: u32,
        servos: Vec<Servo>,
    ) -> Result<Self, ArmError> {
        let line = SerialLine::open(port, baud)?;
        Self::on(family, Box::new(line), port, baud, servos)
    }

    /// As [`Bench::open`], on a line that is open already; `port` is what it is called.
    ///
    /// # Errors
    /// [`ArmError`].
    pub fn on(
        family: &'static Family,
        line: Box<dyn Line>,
        port: &Path,
        baud: u32,
        servos: Vec<Servo>,
    ) -> Result<Self, ArmError> {
        let mut bench = Self {
            bus: Bus::new(family, line, baud),
            servos,
            port: port.into(),
        };
        bench.find(baud)?;
        Ok(bench)
    }

    fn find(&mut self, baud: u32) -> Result<(), ArmError> {
        let mut first_error = None;
        let mut found = 0;
        for servo in self.servos.clone() {
            match self.bus.alone(servo.id()) {
                Ok(()) => {
                    let actual = self.read(&servo, self.bus.family().model)?;
                    if actual != i32::from(servo.model.number) {
                        return Err(ArmError::Model {
                            port: self.port.clone(),
                            servo: servo.to_string(),
                            expected: servo.model.number,
                            model: servo.model.name,
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
        let others = self.bus.family().bauds.iter().copied();
        for actual in others.filter(|other| *other != baud) {
            if self.bus.set_baud(actual).is_err() {
                continue;
            }
            for servo in self.servos.clone() {
                if self.bus.ping(servo.id()).is_ok() {
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

    /// What the port is called.
    pub fn port(&self) -> &Path {
        &self.port
    }

    /// Why `servo` cannot be talked to.
    pub fn servo_error(&self, servo: &Servo, reason: BusError) -> ArmError {
        ArmError::Servo {
            port: self.port.clone(),
            servo: servo.to_string(),
            reason,
        }
    }

    /// What `register` of `servo` holds.
    ///
    /// # Errors
    /// [`ArmError`] when it does not answer.
    pub fn read(&mut self, servo: &Servo, register: Register) -> Result<i32, ArmError> {
        self.bus
            .read(servo.id(), register)
            .map_err(|reason| self.servo_error(servo, reason))
    }

    fn write(&mut self, servo: &Servo, register: Register, value: i32) -> Result<(), ArmError> {
        self.bus
            .write(servo.id(), register, value)
            .map_err(|reason| self.servo_error(servo, reason))
    }

    /// Writes a register until it holds what was written.
    fn keep(&mut self, servo: &Servo, register: Register, value: i32) -> Result<(), ArmError> {
        self.write(servo, register, value)?;
        if (self.bus.family().is_eeprom)(register) {
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

    /// Registers of servo `index` that do not hold what they have to.
    fn mismatches_of(&mut self, index: usize) -> Result<Vec<Mismatch>, ArmError> {
        let servo = self.servos[index].clone();
        let mut mismatches = Vec::new();
        for setting in &servo.settings {
            let actual = self.read(&servo, setting.register)?;
            if !setting.met_by(actual) {
                mismatches.push(Mismatch {
                    servo: index,
                    setting: *setting,
                    actual,
                });
            }
        }
        Ok(mismatches)
    }

    /// Registers that do not hold what they have to.
    ///
    /// # Errors
    /// [`ArmError`] when a servo does not answer.
    pub fn mismatches(&mut self) -> Result<Vec<Mismatch>, ArmError> {
        let mut mismatches = Vec::new();
        for index in 0..self.servos.len() {
            mismatches.extend(self.mismatches_of(index)?);
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
            if self.read(&servo, self.bus.family().torque_enable)? != 0 {
                return Ok(Some(servo));
            }
        }
        Ok(None)
    }

    /// Refuses an arm with torque, because `why`.
    ///
    /// # Errors
    /// [`ArmError::Torque`].
    pub fn refuse_torque(&mut self, why: &'static str) -> Result<(), ArmError> {
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
    /// The second motor of a joint obeys what the first is told, so it comes after it and is looked at only then.
    ///
    /// # Errors
    /// [`ArmError::Torque`] when a servo has torque: nothing was written then.
    pub fn set_up(&mut self) -> Result<Vec<Mismatch>, ArmError> {
        self.refuse_torque("its registers are about to change")?;
        let mut order: Vec<usize> = (0..self.servos.len()).collect();
        order.sort_by_key(|index| self.servos[*index].shadow_of.is_some());
        let mut changed = Vec::new();
        for index in order {
            let servo = self.servos[index].clone();
            for mismatch in self.mismatches_of(index)? {
                let Mismatch {
                    setting, actual, ..
                } = mismatch;
                if let Some(lock) = self.bus.family().lock {
                    self.write(&servo, lock, 0)?;
                }
                let kept = self.keep(&servo, setting.register, setting.over(actual));
                // Whatever came of it, the next power-off should find it locked.
                if let Some(lock) = self.bus.family().lock {
                    self.write(&servo, lock, 1)?;
                }
                kept?;
                changed.push(mismatch);
            }
        }
        Ok(changed)
    }

    /// Switches torque off. An arm without brakes falls: the caller asked for it.
    ///
    /// # Errors
    /// [`ArmError`] of the first servo that does not obey; the others were switched off.
    pub fn torque_off(&mut self) -> Result<(), ArmError> {
        let mut outcome = Ok(());
        for servo in self.servos.clone() {
            outcome = outcome.and(self.keep(&servo, self.bus.family().torque_enable, 0));
        }
        outcome
    }

    /// The calibration that the servos hold.
    ///
    /// # Errors
    /// [`ArmError`] when a servo does not answer.
    pub fn calibration(&mut self) -> Result<Calibration, ArmError> {
        let mut calibration = Calibration::default();
        let family = self.bus.family();
        for servo in self.servos.clone() {
            let drive_mode = match family.drive_mode {
                Some(register) => (self.read(&servo, register)? & 1) as u8,
                None => servo.calibration.drive_mode,
            };
            let held = ServoCalibration {
                id: servo.id(),
                drive_mode,
                homing_offset: self.read(&servo, family.homing_offset)?,
                range_min: self.read(&servo, family.min_position)?,
                range_max: self.read(&servo, family.max_position)?,
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
        (self.bus.family().report)(self, index)
    }
}
