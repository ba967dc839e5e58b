//! `X_AB`: the pose of frame B in frame A, as files and processes write it.

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};
use serde::{Deserialize, Serialize};

/// A pose; which frames it is between, the name of the field says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pose {
    /// Origin of B in A, m.
    pub xyz_m: [f64; 3],
    /// Rotation from B to A: w x y z, of length 1.
    pub quaternion_wxyz: [f64; 4],
}

impl Pose {
    /// As a transformation that takes points of B to A.
    pub fn isometry(&self) -> Isometry3<f64> {
        let [w, i, j, k] = self.quaternion_wxyz;
        Isometry3::from_parts(
            Translation3::from(self.xyz_m),
            UnitQuaternion::from_quaternion(Quaternion::new(w, i, j, k)),
        )
    }

    /// Whether its numbers are a pose: finite, the quaternion of length 1 within a thousandth.
    pub fn is_legal(&self) -> bool {
        let norm = self.quaternion_wxyz.iter().map(|v| v * v).sum::<f64>();
        self.xyz_m.iter().all(|v| v.abs() < 1e3) && (norm.sqrt() - 1.0).abs() < 1e-3
    }
}

impl From<Isometry3<f64>> for Pose {
    fn from(x: Isometry3<f64>) -> Self {
        // Of the two quaternions of a rotation the one with w >= 0, so that files compare.
        let q = x.rotation.quaternion();
        let q = if q.w < 0.0 { -q } else { *q };
        Self {
            xyz_m: x.translation.vector.into(),
            quaternion_wxyz: [q.w, q.i, q.j, q.k],
        }
    }
}
