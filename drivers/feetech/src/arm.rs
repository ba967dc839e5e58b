//! The arms that are made of these servos: joints, limits, and what the registers of each servo have to say.
//!
//! Decides what an SO-100 or SO-101 is and which settings its servos need. Opens nothing.
//!
//! The arms have no brakes. Their geometry is not described here, so there are no limits in space. What the servos are
//! rated for is not published as acceleration or jerk; the limits below are chosen well inside what they do: no load speed
//! 4.7 rad/s (Feetech's data sheet of the STS3215: 0.222 s for 60 degrees at 7.4 V).

use tactus_types::{ArmInfo, JointLimits};

use crate::calibration::{Calibration, ServoCalibration};
use crate::registers::{self as reg, Register};

/// Motors of an arm, in LeRobot's names: joints in the order of every joint vector, then the gripper.
pub const MOTORS: [&str; 6] = [
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    GRIPPER,
];
/// The one that is no joint.
pub const GRIPPER: &str = "gripper";

const VELOCITY_RAD_PER_SEC: f64 = 3.0;
const ACCELERATION_RAD_PER_SEC2: f64 = 20.0;
const JERK_RAD_PER_SEC3: f64 = 600.0;
/// Without a command for this long the device holds by itself, seconds.
const COMMAND_DEADLINE_SECS: f64 = 0.1;

/// Which arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// SO-100.
    So100,
    /// SO-101.
    So101,
}

impl Model {
    /// As LeRobot writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::So100 => "so100",
            Self::So101 => "so101",
        }
    }
}

/// What the arm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It follows commands.
    Follower,
    /// A person moves it; it never has torque.
    Leader,
}

/// One servo of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servo {
    /// Name of its motor.
    pub name: &'static str,
    /// Its calibration, with its id.
    pub calibration: ServoCalibration,
}

impl std::fmt::Display for Servo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "servo {} (`{}`)", self.calibration.id, self.name)
    }
}

/// The servos of an arm that `calibration` is of, in the order of [`MOTORS`].
pub fn servos(calibration: &Calibration) -> Vec<Servo> {
    let servo = |name| {
        let calibration = *calibration.servos.get(name)?;
        Some(Servo { name, calibration })
    };
    MOTORS.into_iter().filter_map(servo).collect()
}

/// What an arm says of itself.
pub fn info(model: Model, part: Part, servos: &[Servo], rate_hz: f64) -> ArmInfo {
    let joints = servos.iter().filter(|servo| servo.name != GRIPPER);
    ArmInfo {
        model: match part {
            Part::Follower => model.name().into(),
            Part::Leader => format!("{}-leader", model.name()),
        },
        joints: joints.clone().map(|servo| servo.name.into()).collect(),
        limits: joints
            .map(|servo| {
                let [lower, upper] = servo.calibration.range_rad();
                JointLimits {
                    lower,
                    upper,
                    velocity: VELOCITY_RAD_PER_SEC,
                    acceleration: ACCELERATION_RAD_PER_SEC2,
                    jerk: JERK_RAD_PER_SEC3,
                }
            })
            .collect(),
        gripper: servos.iter().any(|servo| servo.name == GRIPPER),
        state_rate_hz: rate_hz,
        brakes: false,
        torque_switch: part == Part::Follower,
        command_deadline_secs: COMMAND_DEADLINE_SECS,
        geometry: None,
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

/// What the EEPROM of `servo` has to hold: the calibration, and LeRobot's configuration of these arms.
pub fn settings(servo: &Servo, part: Part) -> Vec<Setting> {
    let ServoCalibration {
        homing_offset,
        range_min,
        range_max,
        ..
    } = servo.calibration;
    let vital = |register, value| Setting {
        register,
        mask: None,
        value,
        vital: true,
    };
    let wanted = |register, value| Setting {
        vital: false,
        ..vital(register, value)
    };
    let mut settings = vec![
        vital(reg::HOMING_OFFSET, homing_offset),
        vital(reg::MIN_POSITION, range_min),
        vital(reg::MAX_POSITION, range_max),
        vital(reg::OPERATING_MODE, 0),
        // Position within one turn.
        Setting {
            mask: Some(0x10),
            ..vital(reg::PHASE, 0)
        },
        wanted(reg::RETURN_DELAY, 0),
        wanted(reg::MAX_ACCELERATION, 254),
    ];
    if part == Part::Follower {
        settings.extend([
            wanted(reg::P_GAIN, 16),
            wanted(reg::I_GAIN, 0),
            wanted(reg::D_GAIN, 32),
        ]);
        if servo.name == GRIPPER {
            // Half of its torque, so that it does not burn out on what it grips.
            settings.extend([
                wanted(reg::MAX_TORQUE, 500),
                wanted(reg::PROTECTION_CURRENT, 250),
                wanted(reg::OVERLOAD_TORQUE, 25),
            ]);
        }
    }
    settings
}

impl Setting {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        let servo = |id| ServoCalibration {
            id,
            drive_mode: 0,
            homing_offset: 10 * i32::from(id),
            range_min: 1000,
            range_max: 3000,
        };
        let servos = MOTORS.iter().zip(1..);
        Calibration {
            servos: servos.map(|(m, id)| ((*m).to_owned(), servo(id))).collect(),
        }
    }

    #[test]
    fn an_arm_has_five_joints_a_gripper_no_brakes_and_legal_info() {
        let servos = servos(&calibration());
        let info_of = |part| info(Model::So101, part, &servos, 100.0);
        let follower = info_of(Part::Follower);
        assert!(follower.check().is_ok());
        assert_eq!(follower.joints, MOTORS[..5]);
        assert!(follower.gripper && !follower.brakes && follower.torque_switch);
        assert!((follower.limits[0].upper - 1000.0 * std::f64::consts::TAU / 4095.0).abs() < 1e-12);
        let leader = info_of(Part::Leader);
        assert!(leader.check().is_ok() && !leader.torque_switch);
    }

    #[test]
    fn settings_compare_and_change_only_the_bits_that_count() {
        let servos = servos(&calibration());
        let all = settings(&servos[5], Part::Follower);
        let phase = all
            .iter()
            .find(|s| s.register == reg::PHASE)
            .expect("there");
        assert!(phase.met_by(0x0C) && !phase.met_by(0x1C));
        assert_eq!(phase.over(0x1C), 0x0C);
        let offset = &all[0];
        assert!(offset.met_by(60) && !offset.met_by(-60));
        assert!(all.iter().all(|s| s.register.is_eeprom()));
        assert_eq!(settings(&servos[0], Part::Leader).len(), 7);
    }
}
