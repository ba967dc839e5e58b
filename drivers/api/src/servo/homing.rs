//! Homing by hand: from the middle of every joint's range, and then its ends, what LeRobot calls a calibration.
//!
//! Decides what homing offset and range follow from the positions that a person brought the joints to, and when they cannot
//! be right. Reads and writes nothing; the offsets that the servos hold need not be changed for it, since only differences of
//! positions count. As in LeRobot, half a turn is where the joint was in its middle, and a joint that turns all the way round
//! has the whole turn as its range.
//!
//! Source: `lerobot/motors/motors_bus.py` (`set_half_turn_homings`, `record_ranges_of_motion`), `feetech.py` and
//! `dynamixel.py` (`_get_half_turn_homings`).

use super::calibration::{Calibration, MAX_TICK, ServoCalibration, TICKS_PER_TURN};

/// Where LeRobot puts the middle, ticks.
const HALF_TURN: i32 = MAX_TICK / 2;
/// A joint that was moved by less was forgotten, ticks: 15 degrees.
const LEAST_SWEEP: i32 = 171;

/// One servo that is brought through its range.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Swept {
    name: String,
    held: ServoCalibration,
    whole_turn: bool,
    middle: i32,
    last: i32,
    /// Way from the middle, ticks: now, and the ends so far.
    at: i32,
    low: i32,
    high: i32,
}

/// Where a joint is in its range, for whoever moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep<'a> {
    /// Name of the motor.
    pub name: &'a str,
    /// Its range is the whole turn, whatever it is brought through.
    pub whole_turn: bool,
    /// Smallest position so far, where it is, and largest, ticks of the calibration to come.
    pub ticks: [i32; 3],
    /// Whether it was moved far enough to count.
    pub enough: bool,
}

/// Why there is no calibration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HomingError {
    /// It was not moved.
    #[error(
        "motor `{motor}`: expected to be brought from one end of its range to the other, got {degrees} degrees of way: begin again, and move every joint"
    )]
    Still {
        /// Which.
        motor: String,
        /// How far it went.
        degrees: i32,
    },
    /// It went further than half a turn from what was taken for its middle.
    #[error(
        "motor `{motor}`: expected both ends of its range within half a turn of its middle, got {degrees} degrees to one side: begin again, with this joint in the middle of its range"
    )]
    FarFromMiddle {
        /// Which.
        motor: String,
        /// How far it went.
        degrees: i32,
    },
    /// A servo that was there is not.
    #[error("expected positions of {expected} servos, got {actual}")]
    Count {
        /// How many began.
        expected: usize,
        /// How many were read.
        actual: usize,
    },
}

/// An arm that a person brings through its ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homing {
    swept: Vec<Swept>,
    adds: bool,
    most: i32,
}

fn degrees(ticks: i32) -> i32 {
    ticks * 360 / TICKS_PER_TURN
}

/// The shortest way that ends where `ticks` does.
fn nearest(ticks: i32) -> i32 {
    (ticks + TICKS_PER_TURN / 2).rem_euclid(TICKS_PER_TURN) - TICKS_PER_TURN / 2
}

impl Homing {
    /// Every joint is in the middle of its range. `servos` are name, calibration as the servo holds it now, and position in
    /// ticks; `whole_turn` names those that turn all the way round; `adds` says whether a homing offset is added to what the
    /// encoder says (Dynamixel) or taken from it (Feetech), and `most` how large it may be.
    pub fn begin<'a>(
        servos: impl IntoIterator<Item = (&'a str, ServoCalibration, i32)>,
        whole_turn: &[&str],
        adds: bool,
        most: i32,
    ) -> Self {
        let swept = |(name, held, position): (&str, ServoCalibration, i32)| Swept {
            name: name.into(),
            held,
            whole_turn: whole_turn.contains(&name),
            middle: position,
            last: position,
            at: 0,
            low: 0,
            high: 0,
        };
        Self {
            swept: servos.into_iter().map(swept).collect(),
            adds,
            most,
        }
    }

    /// Where the servos are now, in the order that they began in; no joint may go half a turn between two calls.
    ///
    /// # Errors
    /// [`HomingError::Count`].
    pub fn take(&mut self, positions: &[i32]) -> Result<(), HomingError> {
        if positions.len() != self.swept.len() {
            return Err(HomingError::Count {
                expected: self.swept.len(),
                actual: positions.len(),
            });
        }
        for (swept, position) in self.swept.iter_mut().zip(positions) {
            // A servo that counts within one turn jumps at its end.
            swept.at += nearest(position - swept.last);
            swept.last = *position;
            swept.low = swept.low.min(swept.at);
            swept.high = swept.high.max(swept.at);
        }
        Ok(())
    }

    /// Homing offset that puts the middle at half a turn, and where the middle then is: where the register cannot say it, a
    /// tick beside.
    fn homed(&self, swept: &Swept) -> (i32, i32) {
        let sign = if self.adds { 1 } else { -1 };
        let wanted = nearest(swept.held.homing_offset + sign * (HALF_TURN - swept.middle));
        let offset = wanted.clamp(-self.most, self.most);
        (offset, HALF_TURN + sign * (offset - wanted))
    }

    /// How far each joint was brought.
    pub fn sweeps(&self) -> impl Iterator<Item = Sweep<'_>> {
        self.swept.iter().map(|swept| {
            let (_, middle) = self.homed(swept);
            Sweep {
                name: &swept.name,
                whole_turn: swept.whole_turn,
                ticks: [swept.low, swept.at, swept.high].map(|ticks| middle + ticks),
                enough: swept.whole_turn || swept.high - swept.low >= LEAST_SWEEP,
            }
        })
    }

    /// The calibration that follows.
    ///
    /// # Errors
    /// [`HomingError`], naming the joint.
    pub fn done(&self) -> Result<Calibration, HomingError> {
        let mut calibration = Calibration::default();
        for swept in &self.swept {
            let (homing_offset, middle) = self.homed(swept);
            let (mut range_min, mut range_max) = (0, MAX_TICK);
            if !swept.whole_turn {
                let motor = swept.name.clone();
                if swept.high - swept.low < LEAST_SWEEP {
                    let degrees = degrees(swept.high - swept.low);
                    return Err(HomingError::Still { motor, degrees });
                }
                (range_min, range_max) = (middle + swept.low, middle + swept.high);
                if range_min < 0 || range_max > MAX_TICK {
                    let degrees = degrees(swept.high.max(-swept.low));
                    return Err(HomingError::FarFromMiddle { motor, degrees });
                }
            }
            let homed = ServoCalibration {
                homing_offset,
                range_min,
                range_max,
                ..swept.held
            };
            calibration.servos.insert(swept.name.clone(), homed);
        }
        Ok(calibration)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(homing_offset: i32) -> ServoCalibration {
        ServoCalibration {
            id: 3,
            drive_mode: 0,
            homing_offset,
            range_min: 0,
            range_max: MAX_TICK,
        }
    }

    /// What a servo with such an offset says of its encoder.
    fn says(encoder: i32, offset: i32, adds: bool) -> i32 {
        let position = if adds {
            encoder + offset
        } else {
            encoder - offset
        };
        position.rem_euclid(TICKS_PER_TURN)
    }

    /// Brings a joint whose encoder says `middle` there to the ends `low` and `high` of it.
    fn brought(before: i32, adds: bool, [middle, low, high]: [i32; 3]) -> Homing {
        let read = |ticks: i32| says(middle + ticks, before, adds);
        let mut homing = Homing::begin([("elbow_flex", held(before), read(0))], &[], adds, 2047);
        let ways = (low..=0).rev().chain(low..=high).chain((0..=high).rev());
        for ticks in ways.step_by(50).chain([low, low / 2, 0, high / 2, high]) {
            homing.take(&[read(ticks)]).expect("one servo");
        }
        homing
    }

    /// LeRobot's sums: after a reset of the offset, `pos - int(4095 / 2)` (Feetech) and `int(4095 / 2) - pos` (Dynamixel).
    #[test]
    fn offsets_and_ranges_are_lerobot_s_whatever_the_servo_held_before() {
        for before in [0, 800, -1500] {
            let feetech = brought(before, false, [3000, -900, 700]).done();
            let expected = ServoCalibration {
                homing_offset: 3000 - 2047,
                range_min: 2047 - 900,
                range_max: 2047 + 700,
                ..held(before)
            };
            assert_eq!(feetech.expect("swept").servos["elbow_flex"], expected);
            let dynamixel = brought(before, true, [3000, -900, 700]).done();
            let expected = ServoCalibration {
                homing_offset: 2047 - 3000,
                ..expected
            };
            assert_eq!(dynamixel.expect("swept").servos["elbow_flex"], expected);
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_by_name() {
        let still = brought(0, false, [3000, -80, 60]).done();
        let degrees = 12;
        let motor = || "elbow_flex".to_owned();
        assert_eq!(
            still,
            Err(HomingError::Still {
                motor: motor(),
                degrees
            })
        );
        let far = brought(0, false, [3000, -100, 2500]).done();
        let degrees = 219;
        assert_eq!(
            far,
            Err(HomingError::FarFromMiddle {
                motor: motor(),
                degrees
            })
        );
        let mut homing = brought(0, false, [3000, -900, 700]);
        assert!(homing.take(&[]).is_err());
    }

    #[test]
    fn a_joint_that_turns_all_the_way_round_has_the_whole_turn() {
        let servos = [("wrist_roll", held(5), 100)];
        let homing = Homing::begin(servos, &["wrist_roll"], false, 2047);
        let roll = homing.done().expect("need not be moved").servos["wrist_roll"];
        assert_eq!((roll.range_min, roll.range_max), (0, MAX_TICK));
        assert_eq!(roll.homing_offset, 105 - 2047);
    }

    proptest! {
        /// With the new calibration in it, the servo says half a turn in the middle and the ends of the range at its ends.
        #[test]
        fn the_servo_then_says_what_the_file_says(
            before in -2047..=2047i32, middle in 0..=4095i32, low in -1900..=-200i32, high in 200..=1900i32, adds: bool,
        ) {
            let homing = brought(before, adds, [middle, low, high]);
            let servo = homing.done().expect("swept").servos["elbow_flex"];
            prop_assert!((-2047..=2047).contains(&servo.homing_offset));
            let at = |ticks: i32| says(middle + ticks, servo.homing_offset, adds);
            prop_assert!((at(0) - HALF_TURN).abs() <= 1);
            prop_assert_eq!([at(low), at(high)], [servo.range_min, servo.range_max]);
            let sweep = homing.sweeps().next().expect("one");
            prop_assert_eq!([sweep.ticks[0], sweep.ticks[2]], [servo.range_min, servo.range_max]);
        }
    }
}
