//! Servos of an arm, what their registers have to hold, and what drivers say of a family of servos. Opens nothing.

use super::bench::Bench;
use super::calibration::ServoCalibration;
use super::error::ArmError;
use super::packet::Protocol;
use super::register::Register;
use super::watch::Alarms;

/// The motor that is no joint.
pub const GRIPPER: &str = "gripper";

/// What an arm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It follows commands.
    Follower,
    /// A person moves it; it never has torque.
    Leader,
}

/// A kind of servo.
#[derive(Debug, PartialEq, Eq)]
pub struct ServoModel {
    /// What its model register holds.
    pub number: u16,
    /// The maker's name for it.
    pub name: &'static str,
}

/// One servo of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servo {
    /// Name of its motor.
    pub name: &'static str,
    /// What it has to be.
    pub model: &'static ServoModel,
    /// It moves the same joint as the servo of this id, and obeys what that one is told.
    pub shadow_of: Option<u8>,
    /// Its calibration, with its id.
    pub calibration: ServoCalibration,
    /// What its EEPROM has to hold.
    pub settings: Vec<Setting>,
}

impl Servo {
    /// Its id.
    pub fn id(&self) -> u8 {
        self.calibration.id
    }

    /// Whether it is a joint of the arm: neither the gripper nor the second motor of a joint.
    pub fn is_joint(&self) -> bool {
        self.name != GRIPPER && self.shadow_of.is_none()
    }
}

impl std::fmt::Display for Servo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "servo {} (`{}`)", self.calibration.id, self.name)
    }
}

/// What a register of a servo has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The register.
    pub register: Register,
    /// Its bits that count.
    pub mask: Option<i32>,
    /// What they have to be.
    pub value: i32,
    /// Without it positions mean something else: such an arm is not served. Otherwise it is only slower or less stiff.
    pub vital: bool,
}

impl Setting {
    /// `register` has to hold `value`, or positions mean something else.
    pub fn vital(register: Register, value: i32) -> Self {
        Self {
            register,
            mask: None,
            value,
            vital: true,
        }
    }

    /// `register` should hold `value`.
    pub fn wanted(register: Register, value: i32) -> Self {
        Self {
            vital: false,
            ..Self::vital(register, value)
        }
    }

    /// Only these bits count.
    pub fn masked(self, mask: i32) -> Self {
        Self {
            mask: Some(mask),
            ..self
        }
    }

    /// Whether `actual` will do.
    pub fn met_by(&self, actual: i32) -> bool {
        let mask = self.mask.unwrap_or(-1);
        actual & mask == self.value & mask
    }

    /// What to write where `actual` is.
    pub fn over(&self, actual: i32) -> i32 {
        let mask = self.mask.unwrap_or(-1);
        (actual & !mask) | (self.value & mask)
    }
}

/// What a servo says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Version of its firmware.
    pub firmware: String,
    /// Where it is, ticks.
    pub position: i32,
    /// Supply, V.
    pub voltage_v: f64,
    /// Degrees Celsius.
    pub temperature_c: f64,
    /// Share of what its motor can do, -1 to 1.
    pub load: f64,
    /// Whether it holds.
    pub torque: bool,
    /// Its complaints.
    pub alarms: Alarms,
}

/// What a driver says of servos of one make: how to talk to them, and where what lies.
pub struct Family {
    /// The make, for messages.
    pub make: &'static str,
    /// Its protocol.
    pub protocol: &'static Protocol,
    /// Bits per second that its servos can be set to, the usual one of arms first.
    pub bauds: &'static [u32],
    /// What it is, by [`ServoModel::number`].
    pub model: Register,
    /// Its id.
    pub id: Register,
    /// Whether it holds.
    pub torque_enable: Register,
    /// Where it is, ticks.
    pub present_position: Register,
    /// Where zero is.
    pub homing_offset: Register,
    /// Whether the homing offset is added to what the encoder says, or taken from it; and how large it may be, ticks.
    pub homing: (bool, i32),
    /// Smallest goal, ticks.
    pub min_position: Register,
    /// Largest goal, ticks.
    pub max_position: Register,
    /// 1 turns the servo around; where that is a matter of the servo and not of what its positions are taken for.
    pub drive_mode: Option<Register>,
    /// 0 lets EEPROM be written, 1 keeps it.
    pub lock: Option<Register>,
    /// Whether a register survives power-off.
    pub is_eeprom: fn(Register) -> bool,
    /// Bytes on the line in which so many servos are written and read once.
    pub cycle_bytes: fn(usize) -> usize,
    /// Asks servo `index` of a bench how it is.
    pub report: fn(&mut Bench, usize) -> Result<Report, ArmError>,
}

/// What a cycle takes beyond its time on the line: the adapter's latency timer.
const TURNAROUND_SECS: f64 = 1e-3;

impl Family {
    /// How often so many servos can be written and read at `baud` bits per second, Hz.
    pub fn highest_rate_hz(&self, servos: usize, baud: u32) -> f64 {
        let line = super::bus::line_time((self.cycle_bytes)(servos), baud);
        1.0 / (line.as_secs_f64() + TURNAROUND_SECS)
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family")
            .field("make", &self.make)
            .finish_non_exhaustive()
    }
}
