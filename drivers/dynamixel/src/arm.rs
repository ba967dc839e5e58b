//! The arms that are made of these servos: joints, limits, and what the registers of each servo have to say.
//!
//! Decides what a Koch v1.1 or a ViperX 300 6DOF is and which settings its servos need. Opens nothing.
//!
//! The arms have no brakes. Their geometry is not described here: limits in space need a URDF. Acceleration and jerk of
//! the servos are not published; the limits below are chosen well inside what they do, their no-load speeds being 6.4 rad/s
//! (XL430-W250), 10.8 (XL330-M288), 4.8 (XM430-W350) and 3.1 (XM540-W270) by ROBOTIS's data sheets.
//!
//! Two joints of a ViperX have two motors. The second one, its *shadow*, has the first one's id as its secondary id: it obeys
//! what that one is told, turned around by its drive mode, and answers only to its own id.

use tactus_drivers_api::servo::{
    ArmError, Bench, Calibration, Family, GRIPPER, Part, Report, Servo, ServoCalibration,
    ServoModel, Setting,
};
use tactus_types::{ArmInfo, JointLimits};

use crate::packet::{PROTOCOL, alarms};
use crate::registers as reg;

/// X servos.
pub static FAMILY: Family = Family {
    make: "Dynamixel",
    protocol: &PROTOCOL,
    bauds: &reg::BAUDS,
    model: reg::MODEL_NUMBER,
    id: reg::ID,
    torque_enable: reg::TORQUE_ENABLE,
    present_position: reg::PRESENT_POSITION,
    homing_offset: reg::HOMING_OFFSET,
    homing: (true, reg::HOMING),
    min_position: reg::MIN_POSITION,
    max_position: reg::MAX_POSITION,
    drive_mode: Some(reg::DRIVE_MODE),
    lock: None,
    is_eeprom: reg::is_eeprom,
    cycle_bytes: |n| (14 + 5 * n) + (14 + n) + n * (11 + 21),
    report,
};

/// Without a command for this long the device holds by itself, seconds.
const COMMAND_DEADLINE_SECS: f64 = 0.1;
/// Turned around; profiles in time; torque by a goal: the bits of the drive mode that count.
const DRIVE_MODE_BITS: i32 = 0b1101;
/// Overload, electrical shock and overheating switch torque off.
const SHUTDOWN_BITS: i32 = 0b11_0100;

/// One motor of an arm.
struct Motor {
    name: &'static str,
    follower: &'static ServoModel,
    leader: &'static ServoModel,
    shadow_of: Option<&'static str>,
}

const fn motor(
    name: &'static str,
    follower: &'static ServoModel,
    leader: &'static ServoModel,
) -> Motor {
    Motor {
        name,
        follower,
        leader,
        shadow_of: None,
    }
}

const fn shadow(name: &'static str, model: &'static ServoModel, of: &'static str) -> Motor {
    Motor {
        name,
        follower: model,
        leader: model,
        shadow_of: Some(of),
    }
}

static KOCH: [Motor; 6] = [
    motor("shoulder_pan", &reg::XL430_W250, &reg::XL330_M077),
    motor("shoulder_lift", &reg::XL430_W250, &reg::XL330_M077),
    motor("elbow_flex", &reg::XL330_M288, &reg::XL330_M077),
    motor("wrist_flex", &reg::XL330_M288, &reg::XL330_M077),
    motor("wrist_roll", &reg::XL330_M288, &reg::XL330_M077),
    motor(GRIPPER, &reg::XL330_M288, &reg::XL330_M077),
];

static VIPERX: [Motor; 9] = [
    motor("waist", &reg::XM540_W270, &reg::XM540_W270),
    motor("shoulder", &reg::XM540_W270, &reg::XM540_W270),
    shadow("shoulder_shadow", &reg::XM540_W270, "shoulder"),
    motor("elbow", &reg::XM540_W270, &reg::XM540_W270),
    shadow("elbow_shadow", &reg::XM540_W270, "elbow"),
    motor("forearm_roll", &reg::XM540_W270, &reg::XM540_W270),
    motor("wrist_angle", &reg::XM540_W270, &reg::XM540_W270),
    motor("wrist_rotate", &reg::XM430_W350, &reg::XM430_W350),
    motor(GRIPPER, &reg::XM430_W350, &reg::XM430_W350),
];

/// Which arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Koch v1.1.
    Koch,
    /// ViperX 300 6DOF (`vx300s`), follower of ALOHA.
    ViperX,
}

impl Model {
    /// As LeRobot writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Koch => "koch",
            Self::ViperX => "viperx",
        }
    }

    fn table(self) -> &'static [Motor] {
        match self {
            Self::Koch => &KOCH,
            Self::ViperX => &VIPERX,
        }
    }

    /// Its motors in LeRobot's names: joints in the order of every joint vector, shadows behind their first motors, the
    /// gripper last.
    pub fn motors(self) -> Vec<&'static str> {
        self.table().iter().map(|m| m.name).collect()
    }

    /// Model numbers of its servos by id from 1 on, as makers and LeRobot number them.
    pub fn numbers(self, part: Part) -> Vec<u16> {
        let table = self.table().iter();
        table.map(|m| m.servo(part).number).collect()
    }

    /// Whether a person can move such an arm to lead another.
    pub fn has_leader(self) -> bool {
        self == Self::Koch
    }

    /// Current that its gripper may use where nobody says, mA. ALOHA's for the ViperX; chosen for the Koch, a third of what
    /// its servo stalls at.
    pub fn gripper_current_ma(self) -> f64 {
        match self {
            Self::Koch => 500.0,
            Self::ViperX => 800.0,
        }
    }

    /// Highest speed, acceleration and jerk of a joint: rad/s, rad/s^2, rad/s^3.
    fn limits(self) -> (f64, f64, f64) {
        match self {
            Self::Koch => (3.0, 20.0, 600.0),
            Self::ViperX => (2.0, 10.0, 300.0),
        }
    }
}

impl Motor {
    fn servo(&self, part: Part) -> &'static ServoModel {
        match part {
            Part::Follower => self.follower,
            Part::Leader => self.leader,
        }
    }
}

/// The servos of the arm that `calibration` is of, with a gripper that may use `gripper_current_ma`.
pub fn servos(
    model: Model,
    part: Part,
    calibration: &Calibration,
    gripper_current_ma: f64,
) -> Vec<Servo> {
    let of = |name: &str| calibration.servos.get(name).copied();
    let servo = |motor: &Motor| {
        let held = of(motor.name)?;
        let shadow_of = match motor.shadow_of {
            Some(first) => Some(of(first)?.id),
            None => None,
        };
        let model = motor.servo(part);
        let current = current_raw(model, gripper_current_ma).filter(|_| motor.name == GRIPPER);
        Some(Servo {
            name: motor.name,
            model,
            shadow_of,
            // The servo turns itself around; there is nothing left to turn.
            calibration: held.unturned(),
            settings: settings(motor.name, &held, shadow_of, current),
        })
    };
    model.table().iter().filter_map(servo).collect()
}

/// A current in the unit of `model`; `None` where it has none.
pub fn current_raw(model: &ServoModel, milliamps: f64) -> Option<i32> {
    let unit = reg::current_unit_ma(model)?;
    Some((milliamps / unit).round().clamp(0.0, 2047.0) as i32)
}

/// What the EEPROM of motor `name` has to hold: the calibration, and LeRobot's configuration of these arms.
fn settings(
    name: &str,
    calibration: &ServoCalibration,
    shadow_of: Option<u8>,
    gripper_current: Option<i32>,
) -> Vec<Setting> {
    let ServoCalibration {
        drive_mode,
        homing_offset,
        range_min,
        range_max,
        ..
    } = *calibration;
    let (vital, wanted) = (Setting::vital, Setting::wanted);
    let mode = match name {
        GRIPPER => reg::CURRENT_POSITION,
        _ => reg::EXTENDED_POSITION,
    };
    let mut settings = vec![
        // First of all: a new mode resets gains.
        vital(reg::OPERATING_MODE, mode),
        vital(reg::DRIVE_MODE, drive_mode.into()).masked(DRIVE_MODE_BITS),
        vital(
            reg::SECONDARY_ID,
            shadow_of.map_or(reg::NO_SECONDARY, i32::from),
        ),
        vital(reg::HOMING_OFFSET, homing_offset),
        vital(reg::MIN_POSITION, range_min),
        vital(reg::MAX_POSITION, range_max),
        wanted(reg::RETURN_DELAY, 0),
        wanted(reg::SHUTDOWN, SHUTDOWN_BITS).masked(SHUTDOWN_BITS),
    ];
    settings.extend(gripper_current.map(|current| wanted(reg::CURRENT_LIMIT, current)));
    settings
}

/// Gains that a motor of a follower is given whenever it gets torque, where its factory's are not right: derivative,
/// integral, proportional. LeRobot's.
pub fn gains(model: Model, motor: &str) -> Option<[i32; 3]> {
    (model == Model::Koch && motor == "elbow_flex").then_some([600, 0, 1500])
}

/// `position` without the whole turns that bring it nearest to the calibrated range, and those turns, ticks. A servo that
/// counts over several turns forgets at power-off which one it is in.
pub fn within_turn(calibration: &ServoCalibration, position: i32) -> (i32, i32) {
    let turn = 4096;
    let off = f64::from(position) - calibration.middle();
    let turns = (off / f64::from(turn)).round() as i32 * turn;
    (position - turns, turns)
}

/// What an arm says of itself.
pub fn info(model: Model, part: Part, servos: &[Servo], rate_hz: f64) -> ArmInfo {
    let joints = servos.iter().filter(|servo| servo.is_joint());
    let (velocity, acceleration, jerk) = model.limits();
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
                    velocity,
                    acceleration,
                    jerk,
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

fn report(bench: &mut Bench, index: usize) -> Result<Report, ArmError> {
    let servo = bench.servos[index].clone();
    let full = full_load(bench, &servo)?;
    let position = bench.read(&servo, reg::PRESENT_POSITION)?;
    Ok(Report {
        firmware: bench.read(&servo, reg::FIRMWARE)?.to_string(),
        position: within_turn(&servo.calibration, position).0,
        voltage_v: f64::from(bench.read(&servo, reg::PRESENT_VOLTAGE)?) / 10.0,
        temperature_c: f64::from(bench.read(&servo, reg::PRESENT_TEMPERATURE)?),
        load: f64::from(bench.read(&servo, reg::PRESENT_CURRENT)?) / full,
        torque: bench.read(&servo, reg::TORQUE_ENABLE)? != 0,
        alarms: alarms(bench.read(&servo, reg::HARDWARE_ERROR_STATUS)?),
    })
}

/// What its present current (or load) is at most.
///
/// # Errors
/// [`ArmError`] when it does not answer.
pub fn full_load(bench: &mut Bench, servo: &Servo) -> Result<f64, ArmError> {
    match reg::current_unit_ma(servo.model) {
        Some(_) => Ok(f64::from(bench.read(servo, reg::CURRENT_LIMIT)?.max(1))),
        None => Ok(1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(model: Model) -> Calibration {
        let mut calibration = Calibration::unknown(&model.motors());
        for servo in calibration.servos.values_mut() {
            (servo.range_min, servo.range_max) = (1000, 3000);
            servo.homing_offset = -10 * i32::from(servo.id);
        }
        calibration
    }

    #[test]
    fn a_koch_has_five_joints_and_a_gripper_of_the_right_servos() {
        let of = |part| servos(Model::Koch, part, &calibration(Model::Koch), 500.0);
        let follower = of(Part::Follower);
        let said = info(Model::Koch, Part::Follower, &follower, 100.0);
        assert!(said.check().is_ok() && said.gripper && !said.brakes && said.torque_switch);
        assert_eq!(said.joints, Model::Koch.motors()[..5]);
        assert_eq!(
            Model::Koch.numbers(Part::Follower),
            [1060, 1060, 1200, 1200, 1200, 1200]
        );
        assert_eq!(Model::Koch.numbers(Part::Leader), [1190; 6]);
        let limit = |servo: &Servo| {
            servo
                .settings
                .iter()
                .any(|s| s.register == reg::CURRENT_LIMIT)
        };
        assert_eq!(follower.iter().filter(|s| limit(s)).count(), 1);
        let leader = info(Model::Koch, Part::Leader, &of(Part::Leader), 100.0);
        assert!(leader.check().is_ok() && !leader.torque_switch);
    }

    #[test]
    fn a_viperx_has_six_joints_of_which_two_have_a_shadow() {
        let mut held = calibration(Model::ViperX);
        for name in ["shoulder_shadow", "elbow_shadow"] {
            held.servos.get_mut(name).expect("there").drive_mode = 1;
        }
        let servos = servos(Model::ViperX, Part::Follower, &held, 807.0);
        let said = info(Model::ViperX, Part::Follower, &servos, 100.0);
        assert!(said.check().is_ok());
        assert_eq!(
            said.joints,
            [
                "waist",
                "shoulder",
                "elbow",
                "forearm_roll",
                "wrist_angle",
                "wrist_rotate"
            ]
        );
        let shadows: Vec<_> = servos.iter().filter_map(|s| s.shadow_of).collect();
        assert_eq!(shadows, [2, 4]);
        let value = |index: usize, register| {
            let found = servos[index]
                .settings
                .iter()
                .find(|s| s.register == register);
            found.expect("there").value
        };
        assert_eq!(value(2, reg::SECONDARY_ID), 2);
        assert_eq!(
            (value(2, reg::DRIVE_MODE), servos[2].calibration.drive_mode),
            (1, 0)
        );
        assert_eq!(value(1, reg::SECONDARY_ID), 255);
        assert_eq!(value(8, reg::OPERATING_MODE), 5);
        // ALOHA's 300 of 2.69 mA.
        assert_eq!(value(8, reg::CURRENT_LIMIT), 300);
        assert!(
            servos
                .iter()
                .flat_map(|s| &s.settings)
                .all(|s| reg::is_eeprom(s.register))
        );
    }

    #[test]
    fn whole_turns_are_taken_off_and_nothing_else() {
        let servo = calibration(Model::Koch).servos["elbow_flex"];
        for (raw, wanted) in [
            (2000, (2000, 0)),
            (6096, (2000, 4096)),
            (-1096, (3000, -4096)),
            (900, (900, 0)),
            (3100 - 2 * 4096, (3100, -2 * 4096)),
        ] {
            assert_eq!(within_turn(&servo, raw), wanted, "{raw}");
        }
    }
}
