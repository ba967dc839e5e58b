//! The arm: names of joints, limits, rates. Decides what commands may ask of it; opens nothing.
//!
//! What FCI checks is Franka's and the same for every joint (10 rad/s^2, 5000 rad/s^3), but for speed: a joint may be as fast
//! as it can still be stopped before its end,
//!
//! ```text
//! |dq| <= min(speed, -offset + sqrt(2 * deceleration * distance to the end))
//! ```
//!
//! with the constants that the robot serves in its URDF (`<limit>`, `<position_based_velocity_limits>`). They are in
//! [`ROWS`] as libfranka's `fr3.urdf` has them, and compared with the robot's own when it is reached ([`fits`]). Commands
//! know one speed per joint, so this is what a joint may do [`INSET`] before either end, where commands stop; it is slower
//! than the arm is in the middle of its range, and never too fast.

use tactus_types::{ArmInfo, JointLimits};

/// How many joints the arm has.
pub const JOINTS: usize = 7;

/// Joints, base to flange, in the names of the maker's description for ROS.
pub const JOINT_NAMES: [&str; JOINTS] = [
    "fr3_joint1",
    "fr3_joint2",
    "fr3_joint3",
    "fr3_joint4",
    "fr3_joint5",
    "fr3_joint6",
    "fr3_joint7",
];

/// As cell files write it.
pub const MODEL: &str = "fr3";
/// States and goals per second that the device may have; the controller has 1 kHz in any case.
pub const RATES_HZ: [u32; 4] = [1000, 500, 250, 125];

/// Where commands stop before the end of a joint's range, rad.
pub const INSET: f64 = 0.15;
/// What is sent at most, rad/s^2; FCI permits 10.
pub const ACCELERATION: f64 = 7.0;
/// What is sent at most, rad/s^3; FCI permits 5000. Where a packet comes late and one side takes it for lost, what the other
/// sees is up to four times as much.
pub const JERK: f64 = 1200.0;
/// Acceleration that commands may ask for, rad/s^2; chosen, so that what is sent can catch up.
const COMMAND_ACCELERATION: f64 = 5.0;
/// Jerk that commands may ask for, rad/s^3; chosen.
const COMMAND_JERK: f64 = 500.0;
/// Share of a joint's speed that commands may ask for.
const COMMAND_SPEED: f64 = 0.9;
/// libfranka's tolerance of speed limits, and room for rounding, rad/s.
const SPEED_MARGIN: f64 = 0.005;
/// Without a command for this long the device holds by itself, seconds.
const COMMAND_DEADLINE_SECS: f64 = 0.1;

/// What the robot's URDF says of a joint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// End of its range, rad.
    pub lower: f64,
    /// End of its range, rad.
    pub upper: f64,
    /// Its speed far from both, rad/s.
    pub speed: f64,
    /// What it loses of it near an end, rad/s.
    pub offset: f64,
    /// How it is stopped there, rad/s^2.
    pub deceleration: f64,
}

const fn row(lower: f64, upper: f64, speed: f64, offset: f64, deceleration: f64) -> Row {
    Row {
        lower,
        upper,
        speed,
        offset,
        deceleration,
    }
}

/// The joints.
#[rustfmt::skip]
pub const ROWS: [Row; JOINTS] = [
    //  lower     upper    speed  offset deceleration
    row(-2.7501,  2.7501,  2.62,  0.30,  6.0),
    row(-1.7918,  1.7918,  2.62,  0.20,  2.585),
    row(-2.9065,  2.9065,  2.62,  0.20,  3.5),
    row(-3.0481, -0.1458,  2.62,  0.30,  4.0),
    row(-2.8101,  2.8101,  5.26,  0.35, 17.0),
    row( 0.54092, 4.5205,  4.18,  0.35,  5.5),
    row(-3.0196,  3.0196,  5.26,  0.35, 17.0),
];

impl Row {
    /// Range of commands, rad.
    pub fn range(&self) -> [f64; 2] {
        [self.lower + INSET, self.upper - INSET]
    }

    /// What is sent at most, anywhere in the range of commands, rad/s.
    pub fn velocity(&self) -> f64 {
        let near = (2.0 * self.deceleration * INSET).sqrt() - self.offset;
        self.speed.min(near) - SPEED_MARGIN
    }
}

/// What FCI permits of acceleration and jerk, rad/s^2 and rad/s^3.
const PERMITTED: [f64; 2] = [10.0, 5000.0];

/// How fast a joint may go that has the share `budget` of the arm's limits, rad/s.
pub fn speed(row: &Row, budget: f64) -> f64 {
    row.velocity().min(budget * row.speed)
}

/// What an arm says of itself whose commands have the share `budget` (above 0 to 1) of the arm's limits.
pub fn info(rate_hz: u32, budget: f64) -> ArmInfo {
    let share = COMMAND_SPEED * budget;
    let limits = ROWS.iter().map(|row| {
        let [lower, upper] = row.range();
        JointLimits {
            lower,
            upper,
            velocity: COMMAND_SPEED * speed(row, budget),
            acceleration: COMMAND_ACCELERATION.min(share * PERMITTED[0]),
            jerk: COMMAND_JERK.min(share * PERMITTED[1]),
        }
    });
    ArmInfo {
        model: MODEL.into(),
        joints: JOINT_NAMES.map(str::to_owned).to_vec(),
        limits: limits.collect(),
        gripper: false,
        state_rate_hz: f64::from(rate_hz),
        brakes: true,
        torque_switch: true,
        command_deadline_secs: COMMAND_DEADLINE_SECS,
        geometry: None,
    }
}

/// Name of the robot that a URDF describes.
pub fn robot_name(urdf: &str) -> Option<&str> {
    let (_, tag) = urdf.split_once("<robot")?;
    let (tag, _) = tag.split_once('>')?;
    let (_, value) = tag.split_once("name=")?;
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next()
}

/// A joint that the robot permits less than commands may ask for.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{joint} at {at:.2} rad may move at {actual:.2} rad/s, {expected:.2} rad/s is expected")]
pub struct Misfit {
    /// The joint.
    pub joint: &'static str,
    /// Where, rad.
    pub at: f64,
    /// What commands may ask for there, rad/s.
    pub expected: f64,
    /// What the robot permits, rad/s.
    pub actual: f64,
}

/// Whether a robot permits what is sent at most. `upper` and `lower` are its limits of velocity with all joints at the
/// positions that they are given, rad/s.
///
/// # Errors
/// The first joint that it does not.
pub fn fits(
    upper: impl Fn(&[f64; JOINTS]) -> [f64; JOINTS],
    lower: impl Fn(&[f64; JOINTS]) -> [f64; JOINTS],
) -> Result<(), Misfit> {
    let at_top: [f64; JOINTS] = std::array::from_fn(|i| ROWS[i].range()[1]);
    let at_bottom: [f64; JOINTS] = std::array::from_fn(|i| ROWS[i].range()[0]);
    // An end that lies elsewhere shows as a limit of zero.
    let (top, bottom) = (upper(&at_top), lower(&at_bottom).map(|v| -v));
    for i in 0..JOINTS {
        let expected = ROWS[i].velocity();
        for (at, actual) in [(at_top[i], top[i]), (at_bottom[i], bottom[i])] {
            if actual.is_nan() || actual < expected {
                return Err(Misfit {
                    joint: JOINT_NAMES[i],
                    at,
                    expected,
                    actual,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use franka::rate_limiting::{
        compute_lower_limits_joint_velocity, compute_upper_limits_joint_velocity,
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn info_is_legal_and_within_what_is_sent() {
        let arm = info(500, 1.0);
        assert!(arm.check().is_ok());
        let small = info(100, 0.2);
        assert!(small.check().is_ok() && (small.limits[6].velocity - 0.9468).abs() < 1e-9);
        assert!((small.limits[0].acceleration - 1.8).abs() < 1e-9);
        assert_eq!(small.limits[0].jerk, 500.0);
        assert!(arm.brakes && arm.torque_switch && !arm.gripper);
        for (l, row) in arm.limits.iter().zip(ROWS) {
            assert!(l.velocity < row.velocity() && l.acceleration < ACCELERATION && l.jerk < JERK);
            assert!(l.lower > row.lower && l.upper < row.upper);
        }
        // As the README says.
        let speeds: Vec<f64> = ROWS
            .iter()
            .map(|r| (r.velocity() * 100.0).round() / 100.0)
            .collect();
        assert_eq!(speeds, [1.04, 0.68, 0.82, 0.79, 1.9, 0.93, 1.9]);
    }

    proptest! {
        /// libfranka's own envelope, which `franka-rs` ports, is nowhere below what is sent.
        #[test]
        fn one_speed_per_joint_is_nowhere_too_fast(share in proptest::array::uniform7(0.0..=1.0f64)) {
            let q: [f64; JOINTS] = std::array::from_fn(|i| {
                let [lower, upper] = ROWS[i].range();
                lower + share[i] * (upper - lower)
            });
            let (top, bottom) = (
                compute_upper_limits_joint_velocity(&q),
                compute_lower_limits_joint_velocity(&q),
            );
            for i in 0..JOINTS {
                prop_assert!(ROWS[i].velocity() <= top[i] && -ROWS[i].velocity() >= bottom[i]);
            }
        }
    }

    #[test]
    fn a_robot_with_other_limits_does_not_fit() {
        let upper = compute_upper_limits_joint_velocity;
        let lower = compute_lower_limits_joint_velocity;
        assert_eq!(fits(upper, lower), Ok(()));
        let slow = |q: &[f64; JOINTS]| {
            let mut v = upper(q);
            v[3] = 0.5;
            v
        };
        let misfit = fits(slow, lower).expect_err("slower");
        assert_eq!(misfit.joint, "fr3_joint4");
        assert!(misfit.to_string().contains("may move at 0.50 rad/s"));
        assert!(fits(upper, |_| [0.0; JOINTS]).is_err());
        assert!(fits(|_| [f64::NAN; JOINTS], lower).is_err());
    }

    #[test]
    fn the_name_of_the_robot_is_found_in_its_urdf() {
        let urdf = "<?xml version=\"1.0\" ?>\n<!-- x -->\n<robot name=\"fr3\">\n<link name=\"base\"/></robot>";
        assert_eq!(robot_name(urdf), Some("fr3"));
        assert_eq!(robot_name("<robot xmlns='a' name='panda'/>"), Some("panda"));
        for none in ["", "<robot>", "<robot name=>", "<robot name"] {
            assert_eq!(robot_name(none), None, "{none}");
        }
    }
}
