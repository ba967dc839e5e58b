//! The arms: names, joints, limits, rates. Decides which controller a model belongs to; opens nothing.
//!
//! Speeds are those of the makers' user manuals, as their ROS description lists them. What a joint may accelerate is not
//! published: [`ACCELERATION`] and [`JERK`] are chosen, well inside what `servoj` follows. Joints turn two turns, except the
//! elbow, which meets the upper arm near half a turn. Their geometry is not described here: limits in space need a URDF.

use std::f64::consts::{PI, TAU};

use tactus_types::{ArmInfo, JointLimits};

/// How many joints every arm has.
pub const JOINTS: usize = 6;

/// Joints, base to tool, in the names of the maker's ROS drivers.
pub const JOINT_NAMES: [&str; JOINTS] = [
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
];

/// Acceleration that commands may ask for, rad/s^2; chosen.
pub const ACCELERATION: f64 = 8.0;
/// Jerk that commands may ask for, rad/s^3; chosen.
pub const JERK: f64 = 200.0;
/// Without a command for this long the device holds by itself, seconds.
const COMMAND_DEADLINE_SECS: f64 = 0.1;

/// Which arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// UR3, CB3.
    Ur3,
    /// UR5, CB3.
    Ur5,
    /// UR10, CB3.
    Ur10,
    /// UR3e.
    Ur3e,
    /// UR5e.
    Ur5e,
    /// UR10e.
    Ur10e,
    /// UR16e.
    Ur16e,
    /// UR20.
    Ur20,
    /// UR30.
    Ur30,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ur3,
        Self::Ur5,
        Self::Ur10,
        Self::Ur3e,
        Self::Ur5e,
        Self::Ur10e,
        Self::Ur16e,
        Self::Ur20,
        Self::Ur30,
    ];

    /// As cell files write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ur3 => "ur3",
            Self::Ur5 => "ur5",
            Self::Ur10 => "ur10",
            Self::Ur3e => "ur3e",
            Self::Ur5e => "ur5e",
            Self::Ur10e => "ur10e",
            Self::Ur16e => "ur16e",
            Self::Ur20 => "ur20",
            Self::Ur30 => "ur30",
        }
    }

    /// The model that cell files call `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// The model that a controller with software `major` calls `said`: `UR5` is a UR5 to software 3, a UR5e to software 5.
    pub fn said(said: &str, major: u32) -> Option<Self> {
        let said = said.trim().to_ascii_lowercase();
        let mut models = Self::ALL.into_iter();
        models.find(|m| {
            m.major() == major && m.name().trim_end_matches('e') == said.trim_end_matches('e')
        })
    }

    /// Major version of its controller's software.
    pub fn major(self) -> u32 {
        match self {
            Self::Ur3 | Self::Ur5 | Self::Ur10 => 3,
            _ => 5,
        }
    }

    /// Rate of its controller, Hz.
    pub fn rate_hz(self) -> u32 {
        match self.major() {
            3 => 125,
            _ => 500,
        }
    }

    /// Rates that it can be led at, Hz: whole parts of its own.
    pub fn rates_hz(self) -> &'static [u32] {
        match self.major() {
            3 => &[125],
            _ => &[500, 250, 125],
        }
    }

    /// Speed of each joint, degrees per second.
    fn speeds(self) -> [f64; JOINTS] {
        match self {
            Self::Ur3 | Self::Ur3e => [180.0, 180.0, 180.0, 360.0, 360.0, 360.0],
            Self::Ur5 | Self::Ur5e => [180.0; JOINTS],
            Self::Ur10 | Self::Ur10e | Self::Ur16e => [120.0, 120.0, 180.0, 180.0, 180.0, 180.0],
            Self::Ur20 | Self::Ur30 => [120.0, 120.0, 150.0, 210.0, 210.0, 210.0],
        }
    }

    /// Speed of its fastest joint, rad/s.
    pub fn top_speed(self) -> f64 {
        self.speeds().into_iter().fold(0.0, f64::max).to_radians()
    }
}

/// What an arm says of itself.
pub fn info(model: Model, rate_hz: u32) -> ArmInfo {
    let limits = (0..JOINTS).map(|i| {
        let reach = if JOINT_NAMES[i] == "elbow_joint" {
            PI
        } else {
            TAU
        };
        JointLimits {
            lower: -reach,
            upper: reach,
            velocity: model.speeds()[i].to_radians(),
            acceleration: ACCELERATION,
            jerk: JERK,
        }
    });
    ArmInfo {
        model: model.name().into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_name_of_its_own_and_legal_info() {
        for model in Model::ALL {
            assert_eq!(Model::named(model.name()), Some(model));
            assert!(info(model, model.rate_hz()).check().is_ok());
            assert!(
                model
                    .rates_hz()
                    .iter()
                    .all(|rate| model.rate_hz() % rate == 0)
            );
        }
        assert_eq!(Model::named("ur7"), None);
    }

    #[test]
    fn controllers_leave_out_the_e_and_their_software_tells() {
        assert_eq!(Model::said("UR5\n", 5), Some(Model::Ur5e));
        assert_eq!(Model::said("UR5", 3), Some(Model::Ur5));
        assert_eq!(Model::said("UR5e", 5), Some(Model::Ur5e));
        assert_eq!(Model::said("UR20", 5), Some(Model::Ur20));
        assert_eq!(Model::said("UR3", 10), None);
        assert_eq!(Model::said("", 5), None);
    }

    #[test]
    fn limits_are_the_manuals() {
        let arm = info(Model::Ur10e, 500);
        assert!((arm.limits[1].velocity - 120f64.to_radians()).abs() < 1e-12);
        assert!(
            (arm.limits[2].upper - PI).abs() < 1e-12 && (arm.limits[5].lower + TAU).abs() < 1e-12
        );
        assert!((Model::Ur3e.top_speed() - TAU).abs() < 1e-12);
        assert!(arm.brakes && arm.torque_switch && !arm.gripper);
    }
}
