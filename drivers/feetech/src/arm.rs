//! The arms that are made of these servos: joints, limits, and what the registers of each servo have to say.
//!
//! Decides what an SO-100 or SO-101 is and which settings its servos need. Opens nothing.
//!
//! The arms have no brakes. Their geometry is not described here: limits in space need a URDF. What the servos are
//! rated for is not published as acceleration or jerk; the limits below are chosen well inside what they do: no load speed
//! 4.7 rad/s (Feetech's data sheet of the STS3215: 0.222 s for 60 degrees at 7.4 V).

use tactus_types::{ArmInfo, JointLimits};

use tactus_drivers_api::servo::{
    ArmError, Bench, Calibration, Family, GRIPPER, Part, Report, Servo, ServoCalibration, Setting,
};

use crate::packet::{PROTOCOL, alarms};
use crate::registers as reg;

/// STS and SMS servos.
pub static FAMILY: Family = Family {
    make: "Feetech",
    protocol: &PROTOCOL,
    bauds: &reg::BAUDS,
    model: reg::MODEL,
    id: reg::ID,
    torque_enable: reg::TORQUE_ENABLE,
    present_position: reg::PRESENT_POSITION,
    homing_offset: reg::HOMING_OFFSET,
    homing: (false, HOMING),
    min_position: reg::MIN_POSITION,
    max_position: reg::MAX_POSITION,
    drive_mode: None,
    lock: Some(reg::LOCK),
    is_eeprom: reg::is_eeprom,
    cycle_bytes: |n| (8 + 3 * n) + (8 + n) + n * (6 + 8),
    report,
};

/// Largest homing offset that a servo takes, ticks.
pub const HOMING: i32 = 2047;

/// Motors of an arm, in LeRobot's names: joints in the order of every joint vector, then the gripper.
pub const MOTORS: [&str; 6] = [
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    GRIPPER,
];

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

/// The servos of an arm that `calibration` is of, in the order of [`MOTORS`].
pub fn servos(calibration: &Calibration, part: Part) -> Vec<Servo> {
    let servo = |name| {
        let calibration = *calibration.servos.get(name)?;
        Some(Servo {
            name,
            model: &reg::STS3215,
            shadow_of: None,
            calibration,
            settings: settings(name, &calibration, part),
        })
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

/// What the EEPROM of motor `name` has to hold: the calibration, and LeRobot's configuration of these arms.
fn settings(name: &str, calibration: &ServoCalibration, part: Part) -> Vec<Setting> {
    let ServoCalibration {
        homing_offset,
        range_min,
        range_max,
        ..
    } = *calibration;
    let (vital, wanted) = (Setting::vital, Setting::wanted);
    let mut settings = vec![
        vital(reg::HOMING_OFFSET, homing_offset),
        vital(reg::MIN_POSITION, range_min),
        vital(reg::MAX_POSITION, range_max),
        vital(reg::OPERATING_MODE, 0),
        // Position within one turn.
        vital(reg::PHASE, 0).masked(0x10),
        wanted(reg::RETURN_DELAY, 0),
        wanted(reg::MAX_ACCELERATION, 254),
    ];
    if part == Part::Follower {
        settings.extend([
            wanted(reg::P_GAIN, 16),
            wanted(reg::I_GAIN, 0),
            wanted(reg::D_GAIN, 32),
        ]);
        if name == GRIPPER {
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

fn report(bench: &mut Bench, index: usize) -> Result<Report, ArmError> {
    let servo = bench.servos[index].clone();
    let [major, minor, ..] = bench.read(&servo, reg::FIRMWARE)?.to_le_bytes();
    let (_, error) = bench
        .bus
        .read_bytes(servo.id(), reg::ID.address, reg::ID.bytes)
        .map_err(|reason| bench.servo_error(&servo, reason))?;
    Ok(Report {
        firmware: format!("{major}.{minor}"),
        position: bench.read(&servo, reg::PRESENT_POSITION)?,
        voltage_v: f64::from(bench.read(&servo, reg::PRESENT_VOLTAGE)?) / 10.0,
        temperature_c: f64::from(bench.read(&servo, reg::PRESENT_TEMPERATURE)?),
        load: f64::from(bench.read(&servo, reg::PRESENT_LOAD)?) / 1000.0,
        torque: bench.read(&servo, reg::TORQUE_ENABLE)? != 0,
        alarms: alarms(error),
    })
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
        let servos = servos(&calibration(), Part::Follower);
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
        let of = |part| servos(&calibration(), part);
        let all = &of(Part::Follower)[5].settings;
        let phase = all
            .iter()
            .find(|s| s.register == reg::PHASE)
            .expect("there");
        assert!(phase.met_by(0x0C) && !phase.met_by(0x1C));
        assert_eq!(phase.over(0x1C), 0x0C);
        let offset = &all[0];
        assert!(offset.met_by(60) && !offset.met_by(-60));
        assert!(all.iter().all(|s| reg::is_eeprom(s.register)));
        assert_eq!(of(Part::Leader)[0].settings.len(), 7);
    }
}
