//! Names and numbers of the scene in `assets/cell.xml`. Decides nothing at run time.

use std::sync::Arc;

use mujoco_rs::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::SimError;

/// The scene in MuJoCo's XML format.
pub const CELL_XML: &str = include_str!("../assets/cell.xml");

/// The arm alone as a URDF, from link `base` to link `tip`: joints, ranges and collision shapes (a test compares them with
/// the scene).
pub const ARM_URDF: &str = include_str!("../assets/arm.urdf");

/// Arm joints in the order of every joint vector of this crate. All revolute, radians.
pub const JOINT_NAMES: [&str; 6] = [
    "base_yaw",
    "shoulder_pitch",
    "elbow_pitch",
    "forearm_roll",
    "wrist_pitch",
    "wrist_roll",
];

/// Slide joints of the two fingers, 0 (pads touch) to [`FINGER_TRAVEL_M`] each.
pub const FINGER_NAMES: [&str; 2] = ["finger_left", "finger_right"];

/// Travel of one finger, m. The opening fraction is the sum of both positions over twice this.
pub const FINGER_TRAVEL_M: f64 = 0.042;

/// Lowest and highest position of each arm joint, rad; the same as in the scene (a test compares them).
pub const JOINT_RANGE_RAD: [[f64; 2]; 6] = [
    [-2.6, 2.6],
    [-1.3, 2.0],
    [-0.2, 2.75],
    [-2.8, 2.8],
    [-2.0, 2.0],
    [-2.8, 2.8],
];

/// Physics time step, s.
pub const STEP_S: f64 = 0.002;

/// Physics steps per policy period.
pub const STEPS_PER_PERIOD: usize = 25;

/// Policy period, s.
pub const PERIOD_S: f64 = 0.05;

/// Edge of a cube, m.
pub const CUBE_EDGE_M: f64 = 0.04;

/// Height of a cube's centre when it rests on the table, m.
pub const CUBE_REST_Z_M: f64 = CUBE_EDGE_M / 2.0;

/// The middle of the bowl, half-way up, in the base frame, m.
pub const BOWL_CENTRE_M: [f64; 3] = [0.10, -0.225, 0.02];

/// Horizontal distance from the bowl's middle to the inside of its rim, m: where its facets are nearest.
pub const BOWL_RADIUS_M: f64 = 0.059;

/// Horizontal distance from the bowl's middle beyond which nothing of it is, m.
pub const BOWL_REACH_M: f64 = 0.067;

/// Height of the bowl's rim above the table, m.
pub const BOWL_RIM_Z_M: f64 = 0.043;

/// The cameras that a policy sees, in the order of the data set and of the prompt.
pub const CAMERA_NAMES: [&str; 2] = ["scene", "wrist"];

/// Width and height of a camera picture, pixels.
pub const PICTURE_SIZE: usize = 224;

/// JPEG quality of camera pictures.
pub const JPEG_QUALITY: u8 = 90;

/// One of the three cubes, in the order of every per-cube array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cube {
    /// Index 0.
    Red,
    /// Index 1.
    Green,
    /// Index 2.
    Blue,
}

impl Cube {
    /// All cubes in index order.
    pub const ALL: [Self; 3] = [Self::Red, Self::Green, Self::Blue];

    /// Position in per-cube arrays, 0..3.
    pub fn index(self) -> usize {
        match self {
            Self::Red => 0,
            Self::Green => 1,
            Self::Blue => 2,
        }
    }

    /// The colour's name, which is also the name of the cube's body, joint and geom in the scene.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
        }
    }
}

/// Compiles the built-in scene, to be shared.
///
/// # Errors
/// [`SimError::Scene`] if MuJoCo refuses it.
pub fn load() -> Result<Arc<MjModel>, SimError> {
    load_owned().map(Arc::new)
}

/// Compiles the built-in scene, to be changed.
///
/// # Errors
/// [`SimError::Scene`] if MuJoCo refuses it.
pub fn load_owned() -> Result<MjModel, SimError> {
    compile(CELL_XML)
}

/// Compiles a scene.
pub(crate) fn compile(xml: &str) -> Result<MjModel, SimError> {
    MjModel::from_xml_string(xml).map_err(|error| SimError::Scene {
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bowl's numbers are those of its facets in the scene, and a cube has room on its floor.
    #[test]
    fn the_bowl_is_where_and_what_it_is_said_to_be() {
        let model = load_owned().unwrap();
        let bowl = model.name_to_id(MjtObjBase::mjOBJ_BODY, "bowl").unwrap();
        let [x, y, z] = model.body_pos()[bowl];
        assert_eq!([x, y], BOWL_CENTRE_M[..2]);
        assert_eq!(z, 0.0);
        let (mut inner, mut outer, mut rim) = (f64::MAX, 0.0f64, f64::MAX);
        let mut floor_radius = f64::MAX;
        for geom in 0..model.geom_bodyid().len() {
            if model.geom_bodyid()[geom] as usize != bowl {
                continue;
            }
            let [size_x, size_y, size_z] = model.geom_size()[geom];
            if model.geom_type()[geom] != MjtGeomBase::mjGEOM_BOX {
                continue;
            }
            let [w, i, j, k] = model.geom_quat()[geom];
            let turn =
                nalgebra::UnitQuaternion::from_quaternion(nalgebra::Quaternion::new(w, i, j, k));
            let middle = nalgebra::Vector3::from(model.geom_pos()[geom]);
            let corner = |a: f64, b: f64, c: f64| {
                middle + turn * nalgebra::Vector3::new(a * size_x, b * size_y, c * size_z)
            };
            let across = |at: nalgebra::Vector3<f64>| at.x.hypot(at.y);
            inner = inner.min(across(corner(-1.0, 0.0, 1.0)));
            outer = outer.max(across(corner(1.0, 1.0, 1.0)));
            rim = rim.min(corner(-1.0, 0.0, 1.0).z);
            floor_radius = floor_radius.min(across(corner(-1.0, 0.0, -1.0)));
        }
        assert!((inner - BOWL_RADIUS_M).abs() < 1e-3, "inner radius {inner}");
        assert!(
            outer < BOWL_REACH_M && BOWL_REACH_M < outer + 3e-3,
            "outer radius {outer}"
        );
        assert!((rim - BOWL_RIM_Z_M).abs() < 1e-3, "rim at {rim}");
        assert!(
            floor_radius > CUBE_EDGE_M / 2f64.sqrt() + 0.01,
            "floor of radius {floor_radius}"
        );
    }
}
