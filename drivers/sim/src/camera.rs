//! Where a point appears in a fixed camera's picture. Decides the projection only; [`crate::render`] draws.

use std::sync::Arc;

use mujoco_rs::prelude::*;
use nalgebra::{Matrix3, Vector3};

use crate::error::SimError;
use crate::variation::CameraMove;

/// A camera without distortion, square pixels, width = height, as MuJoCo renders it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinhole {
    /// Camera centre in the base frame, m.
    position: Vector3<f64>,
    /// Camera axes in the base frame as columns: x right, y up, z backwards.
    axes: Matrix3<f64>,
    /// Focal length over picture height.
    focal: f64,
}

impl Pinhole {
    /// The named camera as posed in `data`.
    ///
    /// # Errors
    /// [`SimError::MissingName`] if the scene has no such camera.
    pub fn of(data: &MjData<Arc<MjModel>>, name: &str) -> Result<Self, SimError> {
        let model = data.model();
        let id = model
            .name_to_id(MjtObjBase::mjOBJ_CAMERA, name)
            .ok_or_else(|| SimError::MissingName {
                kind: "camera",
                name: name.to_owned(),
            })?;
        let half_angle_rad = model.cam_fovy()[id].to_radians() / 2.0;
        Ok(Self {
            position: Vector3::from(data.cam_xpos()[id]),
            axes: Matrix3::from_row_slice(&data.cam_xmat()[id]),
            focal: 0.5 / half_angle_rad.tan(),
        })
    }

    /// The same camera shifted and turned; it must sit on the world itself.
    pub fn moved(&self, by: &CameraMove) -> Self {
        Self {
            position: self.position + by.shift_m,
            axes: self.axes * by.turn.to_rotation_matrix().matrix(),
            focal: self.focal,
        }
    }

    /// (u right, v down) of a point given in the base frame (m); 0..1 inside the picture, beyond it outside.
    /// Meaningless for points behind the camera.
    pub fn project(&self, point_m: [f64; 3]) -> [f64; 2] {
        let seen = self.axes.tr_mul(&(Vector3::from(point_m) - self.position));
        let depth = -seen.z;
        [
            0.5 + self.focal * seen.x / depth,
            0.5 - self.focal * seen.y / depth,
        ]
    }
}
