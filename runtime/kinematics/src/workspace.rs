//! The box in which the tip may be. Decides how far outside a pose is; does not decide what follows from it.

use nalgebra::{Isometry3, Vector3};

use crate::error::KinematicsError;

/// A box in the base frame with sides along its axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkspaceBox {
    min: Vector3<f64>,
    max: Vector3<f64>,
}

impl WorkspaceBox {
    /// The box between two corners in the base frame, m.
    ///
    /// # Errors
    /// [`KinematicsError::Field`] unless all are finite and `min` below `max` along every axis.
    pub fn new(min: [f64; 3], max: [f64; 3]) -> Result<Self, KinematicsError> {
        let below = |(low, high): (&f64, &f64)| low.is_finite() && high.is_finite() && low < high;
        if !min.iter().zip(&max).all(below) {
            return Err(KinematicsError::Field {
                field: "workspace",
                expected: "finite min < max along x, y and z (m)",
                actual: format!("{min:?} .. {max:?}"),
            });
        }
        Ok(Self {
            min: min.into(),
            max: max.into(),
        })
    }

    /// Corner of the lowest coordinates, m.
    pub fn min(&self) -> [f64; 3] {
        self.min.into()
    }

    /// Corner of the highest coordinates, m.
    pub fn max(&self) -> [f64; 3] {
        self.max.into()
    }

    /// How far the origin of `tip`, `X_BT`, is from the nearest face, m: positive inside, negative outside, where it is the
    /// distance from the box; minus infinity if it is not finite.
    pub fn room_m(&self, tip: &Isometry3<f64>) -> f64 {
        let p = tip.translation.vector;
        let to_faces = (p - self.min).inf(&(self.max - p)).min();
        match self.outside_m(tip) {
            0.0 => to_faces,
            outside => -outside,
        }
    }

    /// Distance of the origin of `tip`, `X_BT`, from the box, m: 0 inside and on its faces; infinite if it is not finite.
    pub fn outside_m(&self, tip: &Isometry3<f64>) -> f64 {
        let p = tip.translation.vector;
        if !p.iter().all(|v| v.is_finite()) {
            return f64::INFINITY;
        }
        let beyond = |i: usize| (self.min[i] - p[i]).max(p[i] - self.max[i]).max(0.0);
        Vector3::new(beyond(0), beyond(1), beyond(2)).norm()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_box_inside_out_or_endless_is_refused() {
        for (min, max) in [
            ([0.0, 0.0, 1.0], [1.0, 1.0, 1.0]),
            ([0.0; 3], [1.0, 1.0, f64::NAN]),
            ([f64::NEG_INFINITY, 0.0, 0.0], [1.0; 3]),
        ] {
            assert!(WorkspaceBox::new(min, max).is_err(), "{min:?} {max:?}");
        }
    }

    #[test]
    fn what_is_not_a_place_is_endlessly_far_outside() {
        let room = WorkspaceBox::new([-1.0; 3], [1.0; 3]).unwrap();
        let lost = Isometry3::translation(f64::NAN, 0.0, 0.0);
        assert_eq!(room.outside_m(&lost), f64::INFINITY);
        assert_eq!(room.room_m(&lost), f64::NEG_INFINITY);
    }

    proptest! {
        /// The distance is that to the nearest point of the box.
        #[test]
        fn it_is_the_way_to_the_nearest_point(p in prop::array::uniform3(-3.0f64..3.0)) {
            let room = WorkspaceBox::new([-0.5, -1.0, 0.0], [0.5, 1.0, 2.0]).unwrap();
            let tip = Isometry3::translation(p[0], p[1], p[2]);
            let nearest = Vector3::from_fn(|i, _| p[i].clamp(room.min()[i], room.max()[i]));
            let expected = (Vector3::from(p) - nearest).norm();
            prop_assert!((room.outside_m(&tip) - expected).abs() < 1e-12);
            prop_assert_eq!(room.outside_m(&tip) == 0.0, nearest == Vector3::from(p));
        }

        /// Nobody leaves the box by a way shorter than the room; outside the room is the way back, negative.
        #[test]
        fn room_is_the_way_to_the_nearest_face(
            p in prop::array::uniform3(-3.0f64..3.0), way in prop::array::uniform3(-1.0f64..1.0),
        ) {
            let room = WorkspaceBox::new([-0.5, -1.0, 0.0], [0.5, 1.0, 2.0]).unwrap();
            let at = |p: Vector3<f64>| Isometry3::translation(p.x, p.y, p.z);
            let p = Vector3::from(p);
            let left = room.room_m(&at(p));
            if left < 0.0 {
                prop_assert_eq!(-left, room.outside_m(&at(p)));
            } else {
                let way = Vector3::from(way).normalize() * left * 0.999_999;
                prop_assert_eq!(room.outside_m(&at(p + way)), 0.0);
                let axes = [Vector3::x(), Vector3::y(), Vector3::z()];
                let mut out = axes.iter().flat_map(|a| [p + a * (left + 1e-9), p - a * (left + 1e-9)]);
                prop_assert!(out.any(|q| room.outside_m(&at(q)) > 0.0));
            }
        }
    }
}
