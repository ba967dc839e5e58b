//! LeRobot's calibration of an arm: the file, and what it makes of a servo's ticks.
//!
//! The file is LeRobot's own (`MotorCalibration` per motor, JSON), read and written unchanged. Joint angles here are
//! LeRobot's *degrees* in rad: zero in the middle of the calibrated range, 4095 ticks to a turn. (The servo counts 4096; the
//! difference, 0.02 %, stays below a tick within half a turn, and being exact to LeRobot's data sets is worth more.) As
//! there, `drive_mode` turns the normalised units around and leaves degrees alone.
//!
//! Servos that turn themselves around (Dynamixel) say so in a register instead, and nothing is left to turn here.
//!
//! | unit | value of `ticks` | clamped to the range |
//! |---|---|---|
//! | rad (the wire's) | (ticks - middle) * 2 pi / 4095 | no |
//! | [`Unit::Degrees`] | (ticks - middle) * 360 / 4095 | no |
//! | [`Unit::Range100`] | -100 .. 100 over the range, turned around by `drive_mode` | yes |
//! | [`Unit::Percent`], and the gripper's opening as 0..1 | 0 .. 100 over the range, turned around by `drive_mode` | yes |
//!
//! Source: `lerobot/motors/motors_bus.py` (`_normalize`), 0.6.2 and 0.4.4.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::packet::MAX_ID;

/// Calibration of one servo, in the fields of LeRobot's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServoCalibration {
    /// Id on the bus.
    pub id: u8,
    /// 1 turns the normalised units around.
    pub drive_mode: u8,
    /// Where zero is: present position = encoder - this (Feetech) or + this (Dynamixel), ticks.
    pub homing_offset: i32,
    /// Smallest position of the joint, ticks.
    pub range_min: i32,
    /// Largest position of the joint, ticks.
    pub range_max: i32,
}

/// In which unit a number of a data set or policy is. LeRobot's default for joints was `Range100` until 2026-02 and is
/// `Degrees` since; for grippers it is `Percent`. Nothing in a number tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Degrees from the middle of the range.
    Degrees,
    /// -100 to 100 over the range.
    Range100,
    /// 0 to 100 over the range.
    Percent,
}

impl ServoCalibration {
    /// The same for a servo that turns itself around: there is nothing left to turn.
    pub fn unturned(self) -> Self {
        Self {
            drive_mode: 0,
            ..self
        }
    }

    /// Middle of the range, ticks.
    pub fn middle(&self) -> f64 {
        f64::from(self.range_min + self.range_max) / 2.0
    }

    fn span(&self) -> f64 {
        f64::from(self.range_max - self.range_min)
    }

    /// Position of `ticks`, rad.
    pub fn rad(&self, ticks: i32) -> f64 {
        (f64::from(ticks) - self.middle()) * RAD_PER_TICK
    }

    /// The nearest tick of `rad` inside the range: a goal beyond it is not reachable.
    pub fn ticks(&self, rad: f64) -> i32 {
        self.nearest(rad / RAD_PER_TICK + self.middle())
    }

    /// Opening of `ticks`, 0 closed to 1 open.
    pub fn opening(&self, ticks: i32) -> f64 {
        self.value(ticks, Unit::Percent) / 100.0
    }

    /// The nearest tick of an opening of 0 to 1.
    pub fn opening_ticks(&self, opening: f64) -> i32 {
        self.ticks_of(opening * 100.0, Unit::Percent)
    }

    /// `ticks` in `unit`, as LeRobot has it.
    pub fn value(&self, ticks: i32, unit: Unit) -> f64 {
        let share = (f64::from(ticks.clamp(self.range_min, self.range_max))
            - f64::from(self.range_min))
            / self.span();
        let share = if self.drive_mode == 1 {
            1.0 - share
        } else {
            share
        };
        match unit {
            Unit::Degrees => self.rad(ticks).to_degrees(),
            Unit::Range100 => share * 200.0 - 100.0,
            Unit::Percent => share * 100.0,
        }
    }

    /// The nearest tick of `value` in `unit`, inside the range. (LeRobot truncates; this is up to one tick nearer.)
    pub fn ticks_of(&self, value: f64, unit: Unit) -> i32 {
        let share = match unit {
            Unit::Degrees => return self.ticks(value.to_radians()),
            Unit::Range100 => (value + 100.0) / 200.0,
            Unit::Percent => value / 100.0,
        };
        let share = if self.drive_mode == 1 {
            1.0 - share
        } else {
            share
        };
        self.nearest(f64::from(self.range_min) + share * self.span())
    }

    /// A number that is not finite lands on the middle; none gets this far.
    fn nearest(&self, ticks: f64) -> i32 {
        let ticks = if ticks.is_finite() {
            ticks
        } else {
            self.middle()
        };
        (ticks
            .round()
            .clamp(f64::from(self.range_min), f64::from(self.range_max))) as i32
    }

    /// Limits of the joint, rad: `[lower, upper]`.
    pub fn range_rad(&self) -> [f64; 2] {
        [self.rad(self.range_min), self.rad(self.range_max)]
    }
}

/// Ticks of one turn.
pub const TICKS_PER_TURN: i32 = 4096;
/// Largest position within one turn.
pub const MAX_TICK: i32 = TICKS_PER_TURN - 1;
/// Radians per tick, in LeRobot's count.
pub const RAD_PER_TICK: f64 = TAU / MAX_TICK as f64;

/// Calibration of an arm, by name of the motor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Calibration {
    /// By name.
    pub servos: BTreeMap<String, ServoCalibration>,
}

/// Why a calibration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// It cannot be read or written.
    #[error("calibration {}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// It is not LeRobot's JSON.
    #[error("calibration {}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, in the parser's words.
        reason: serde_json::Error,
    },
    /// A field has a value that cannot be.
    #[error("calibration {}: field `{motor}.{field}`: expected {expected}, got {actual}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Name of the motor.
        motor: String,
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: i64,
    },
    /// It is of an arm with other motors.
    #[error("calibration {}: expected motors {}, got {}", file.display(), expected.join(", "), actual.join(", "))]
    Motors {
        /// The file.
        file: PathBuf,
        /// Those of the arm.
        expected: Vec<String>,
        /// Those in the file.
        actual: Vec<String>,
    },
    /// LeRobot has no file of that name.
    #[error("no LeRobot calibration `{id}`: looked for {}", looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotFound {
        /// LeRobot's id of the arm.
        id: String,
        /// Where it could have been.
        looked: Vec<PathBuf>,
    },
    /// LeRobot has several, and they differ.
    #[error("two LeRobot calibrations `{id}` that differ: {} and {}; name one with device.calibration", one.display(), other.display())]
    Ambiguous {
        /// LeRobot's id of the arm.
        id: String,
        /// The first.
        one: PathBuf,
        /// The second.
        other: PathBuf,
    },
}

impl Calibration {
    /// Reads a file of LeRobot's for an arm with these motors, whose homing offsets go to `homing` ticks either way.
    ///
    /// # Errors
    /// [`CalibrationError`].
    pub fn read(file: &Path, motors: &[&str], homing: i32) -> Result<Self, CalibrationError> {
        let text = std::fs::read_to_string(file).map_err(|reason| CalibrationError::File {
            file: file.into(),
            reason,
        })?;
        let calibration: Self =
            serde_json::from_str(&text).map_err(|reason| CalibrationError::Malformed {
                file: file.into(),
                reason,
            })?;
        calibration.check(file, motors, homing)?;
        Ok(calibration)
    }

    /// Writes LeRobot's file; parents are made, an existing file is replaced as a whole.
    ///
    /// # Errors
    /// [`CalibrationError`].
    pub fn write(&self, file: &Path) -> Result<(), CalibrationError> {
        let fail = |reason| CalibrationError::File {
            file: file.into(),
            reason,
        };
        let text = self.json().map_err(|reason| CalibrationError::Malformed {
            file: file.into(),
            reason,
        })?;
        if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(fail)?;
        }
        let part = file.with_extension("json.part");
        std::fs::write(&part, text).map_err(fail)?;
        std::fs::rename(&part, file).map_err(fail)
    }

    /// The text of LeRobot's file: motors by id, four spaces to a level, no newline at the end.
    fn json(&self) -> Result<String, serde_json::Error> {
        let mut motors: Vec<_> = self.servos.iter().collect();
        motors.sort_by_key(|(_, servo)| servo.id);
        let mut entries = Vec::new();
        for (name, servo) in motors {
            let fields = serde_json::to_string_pretty(servo)?
                .replace("\n  ", "\n        ")
                .replace("\n}", "\n    }");
            entries.push(format!("    {}: {fields}", serde_json::to_string(name)?));
        }
        Ok(format!("{{\n{}\n}}", entries.join(",\n")))
    }

    /// Of an arm of which nothing but the order of its motors is known: ids from 1, every range the whole turn.
    pub fn unknown(motors: &[&str]) -> Self {
        let servo = |id| ServoCalibration {
            id,
            drive_mode: 0,
            homing_offset: 0,
            range_min: 0,
            range_max: MAX_TICK,
        };
        let servos = motors.iter().zip(1..);
        Self {
            servos: servos
                .map(|(motor, id)| ((*motor).to_owned(), servo(id)))
                .collect(),
        }
    }

    fn check(&self, file: &Path, motors: &[&str], homing: i32) -> Result<(), CalibrationError> {
        if self.servos.len() != motors.len() || !motors.iter().all(|m| self.servos.contains_key(*m))
        {
            return Err(CalibrationError::Motors {
                file: file.into(),
                expected: motors.iter().map(|m| (*m).to_owned()).collect(),
                actual: self.servos.keys().cloned().collect(),
            });
        }
        let mut ids = Vec::new();
        for (motor, servo) in &self.servos {
            let refuse = |field, expected: &str, actual: i32| CalibrationError::Field {
                file: file.into(),
                motor: motor.clone(),
                field,
                expected: expected.into(),
                actual: actual.into(),
            };
            let ServoCalibration {
                id,
                drive_mode,
                homing_offset,
                range_min,
                range_max,
            } = *servo;
            if id > MAX_ID || ids.contains(&id) {
                let expected = format!("0 to {MAX_ID}, each once");
                return Err(refuse("id", &expected, id.into()));
            }
            ids.push(id);
            if drive_mode > 1 {
                return Err(refuse("drive_mode", "0 or 1", drive_mode.into()));
            }
            if !(-homing..=homing).contains(&homing_offset) {
                let expected = format!("-{homing} to {homing}");
                return Err(refuse("homing_offset", &expected, homing_offset));
            }
            if !(0..=MAX_TICK).contains(&range_min) {
                return Err(refuse("range_min", "0 to 4095", range_min));
            }
            if !(range_min + 1..=MAX_TICK).contains(&range_max) {
                let expected = format!("{} to 4095", range_min + 1);
                return Err(refuse("range_max", &expected, range_max));
            }
        }
        Ok(())
    }
}

/// Where LeRobot keeps the calibration of the arm that it calls `id`, under `root` (its `calibration` folder), for arms that
/// it calls or called one of `names` (its folders are `<name>_follower` and `<name>_leader`), the present name first.
///
/// # Errors
/// [`CalibrationError`] when there is none, or several that differ.
pub fn lerobot_file(
    root: &Path,
    id: &str,
    leader: bool,
    names: &[&str],
) -> Result<PathBuf, CalibrationError> {
    let (role, word) = match leader {
        true => ("teleoperators", "leader"),
        false => ("robots", "follower"),
    };
    let folder = |name| root.join(role).join(format!("{name}_{word}"));
    let looked: Vec<PathBuf> = names
        .iter()
        .map(|name| folder(name).join(format!("{id}.json")))
        .collect();
    let mut there = looked.iter().filter(|file| file.is_file());
    let id = id.to_owned();
    let Some(one) = there.next() else {
        return Err(CalibrationError::NotFound { id, looked });
    };
    if let Some(other) = there.next()
        && std::fs::read(one).ok() != std::fs::read(other).ok()
    {
        let (one, other) = (one.clone(), other.clone());
        return Err(CalibrationError::Ambiguous { id, one, other });
    }
    Ok(one.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAN: ServoCalibration = ServoCalibration {
        id: 1,
        drive_mode: 0,
        homing_offset: -12,
        range_min: 700,
        range_max: 3300,
    };

    /// Values of LeRobot 0.4.4's `FeetechMotorsBus._normalize` for the same calibration.
    #[test]
    fn units_are_lerobot_s() {
        let turned = ServoCalibration {
            drive_mode: 1,
            ..PAN
        };
        for (ticks, degrees, range, percent) in LEROBOT {
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{ticks}: {a} {b}");
            close(PAN.value(ticks, Unit::Degrees), degrees);
            close(PAN.value(ticks, Unit::Range100), range);
            close(PAN.value(ticks, Unit::Percent), percent);
            close(turned.value(ticks, Unit::Degrees), degrees);
            close(turned.value(ticks, Unit::Range100), -range);
            close(turned.value(ticks, Unit::Percent), 100.0 - percent);
        }
    }

    const LEROBOT: [(i32, f64, f64, f64); 5] = [
        (700, -114.28571428571429, -100.0, 0.0),
        (2000, 0.0, 0.0, 50.0),
        (
            2047,
            4.131868131868132,
            3.6153846153846203,
            51.80769230769231,
        ),
        (3300, 114.28571428571429, 100.0, 100.0),
        (3400, 123.07692307692308, 100.0, 100.0),
    ];

    fn file(json: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("arm.json");
        std::fs::write(&path, json).expect("written");
        (dir, path)
    }

    const TEXT: &str = r#"{
    "shoulder_pan": {
        "id": 1,
        "drive_mode": 0,
        "homing_offset": -12,
        "range_min": 700,
        "range_max": 3300
    },
    "gripper": {
        "id": 6,
        "drive_mode": 0,
        "homing_offset": 1407,
        "range_min": 2031,
        "range_max": 3476
    }
}"#;
    const MOTORS: [&str; 2] = ["shoulder_pan", "gripper"];

    #[test]
    fn lerobot_s_file_is_read_and_written_byte_for_byte() {
        let (dir, path) = file(TEXT);
        let calibration = Calibration::read(&path, &MOTORS, 2047).expect("legal");
        assert_eq!(calibration.servos["shoulder_pan"], PAN);
        let copy = dir.path().join("so_follower/copy.json");
        calibration.write(&copy).expect("written");
        assert_eq!(std::fs::read_to_string(&copy).expect("read"), TEXT);
    }

    #[test]
    fn a_file_that_cannot_be_is_refused_by_field() {
        for (from, to, wanted) in [
            (
                "\"id\": 6",
                "\"id\": 1",
                "`shoulder_pan.id`: expected 0 to 252, each once, got 1",
            ),
            (
                "-12",
                "-2048",
                "`shoulder_pan.homing_offset`: expected -2047 to 2047, got -2048",
            ),
            (
                "3300",
                "700",
                "`shoulder_pan.range_max`: expected 701 to 4095, got 700",
            ),
            (
                "2031",
                "-1",
                "`gripper.range_min`: expected 0 to 4095, got -1",
            ),
            (
                "\"drive_mode\": 0",
                "\"drive_mode\": 2",
                "`shoulder_pan.drive_mode`: expected 0 or 1, got 2",
            ),
            (
                "gripper",
                "wrist",
                "expected motors shoulder_pan, gripper, got shoulder_pan, wrist",
            ),
            ("\"id\": 6", "\"id\": 6, \"x\": 1", "unknown field `x`"),
            ("\"id\": 6", "\"id\": 300", "300"),
            ("}", "", "EOF"),
        ] {
            let text = match to {
                "" => TEXT.trim_end_matches('}').to_owned(),
                _ => TEXT.replacen(from, to, 1),
            };
            let (_dir, path) = file(&text);
            let error = Calibration::read(&path, &MOTORS, 2047)
                .expect_err(to)
                .to_string();
            assert!(
                error.contains(wanted) && error.contains("arm.json"),
                "{error}"
            );
        }
        let error =
            Calibration::read(Path::new("/none/arm.json"), &MOTORS, 2047).expect_err("none");
        assert!(error.to_string().contains("/none/arm.json"), "{error}");
    }

    #[test]
    fn both_of_lerobot_s_folder_names_are_known() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        let place = |folder: &str, text: &str| {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("mine.json"), text).expect("written");
        };
        let find = |leader| {
            lerobot_file(root, "mine", leader, &["so", "so101"]).map_err(|e| e.to_string())
        };
        let missing = find(false).expect_err("none yet");
        assert!(
            missing.contains("so_follower") && missing.contains("so101_follower"),
            "{missing}"
        );
        place("robots/so101_follower", "a");
        assert!(find(false).is_ok_and(|f| f.ends_with("so101_follower/mine.json")));
        place("robots/so_follower", "a");
        assert!(find(false).is_ok_and(|f| f.ends_with("so_follower/mine.json")));
        place("robots/so_follower", "b");
        assert!(find(false).expect_err("two").contains("differ"));
        place("teleoperators/so_leader", "c");
        assert!(find(true).is_ok_and(|f| f.ends_with("so_leader/mine.json")));
    }

    proptest! {
        #[test]
        fn ticks_round_trip_through_every_unit(ticks in 700..=3300i32, drive_mode in 0..=1u8) {
            let servo = ServoCalibration { drive_mode, ..PAN };
            for unit in [Unit::Degrees, Unit::Range100, Unit::Percent] {
                prop_assert_eq!(servo.ticks_of(servo.value(ticks, unit), unit), ticks);
            }
            prop_assert_eq!(servo.ticks(servo.rad(ticks)), ticks);
            prop_assert_eq!(servo.opening_ticks(servo.opening(ticks)), ticks);
        }

        #[test]
        fn a_goal_never_leaves_the_range(value in proptest::num::f64::ANY) {
            for ticks in [PAN.ticks(value), PAN.opening_ticks(value), PAN.ticks_of(value, Unit::Range100)] {
                prop_assert!((700..=3300).contains(&ticks));
            }
        }
    }
}
