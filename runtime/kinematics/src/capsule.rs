//! Capsules, and the smallest ones around the collision shapes of a description. Decides how a shape is covered; does not
//! decide which links are compared.
//!
//! A capsule is all that is within a radius of a line segment. It is what is left when speed and safety are asked of a
//! shape: two of them are as far apart as their segments less their radii, exactly, and it contains what it stands for.

use nalgebra::{Isometry3, Vector3};
use urdf_rs::Geometry;

use crate::error::KinematicsError;
use crate::urdf::element;

/// All points within a radius of the segment from `a` to `b`, which may be one point: then it is a sphere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capsule {
    /// One end of the segment, m.
    pub a: Vector3<f64>,
    /// Its other end, m.
    pub b: Vector3<f64>,
    /// Radius, m, above 0.
    pub radius_m: f64,
}

impl Capsule {
    /// The capsule seen from another frame: `x` is the pose of its frame there.
    pub fn transformed(&self, x: &Isometry3<f64>) -> Self {
        let seen = |p: &Vector3<f64>| x.rotation * p + x.translation.vector;
        Self {
            a: seen(&self.a),
            b: seen(&self.b),
            radius_m: self.radius_m,
        }
    }

    /// Distance to another capsule of the same frame, m; negative when they overlap, down to minus the sum of the radii.
    pub fn distance_m(&self, other: &Self) -> f64 {
        use parry3d_f64::math::Vector;
        use parry3d_f64::query::details::closest_points_segment_segment_with_locations_nD as closest;
        let vector = |v: &Vector3<f64>| Vector::new(v.x, v.y, v.z);
        let (a1, b1) = (vector(&self.a), vector(&self.b));
        let (a2, b2) = (vector(&other.a), vector(&other.b));
        let (at1, at2) = closest((&a1, &b1), (&a2, &b2));
        let (at1, at2) = (at1.barycentric_coordinates(), at2.barycentric_coordinates());
        let p1 = a1 * at1[0] + b1 * at1[1];
        let p2 = a2 * at2[0] + b2 * at2[1];
        (p1 - p2).length() - self.radius_m - other.radius_m
    }

    /// Distance of a point from the surface, m; negative inside.
    pub fn distance_to_point_m(&self, point: &Vector3<f64>) -> f64 {
        let (along, from_a) = (self.b - self.a, point - self.a);
        let length_squared = along.norm_squared();
        let share = if length_squared > 0.0 {
            (from_a.dot(&along) / length_squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        (from_a - along * share).norm() - self.radius_m
    }

    /// The capsule of least volume along z that contains a cylinder along z, or a box whose corners lie on that cylinder.
    ///
    /// With radius `r = sqrt(across^2 + s^2)` the segment may end `s` before the cylinder does, 0 <= s <= `half_m`. The
    /// volume `2 pi r^2 (half - s) + 4/3 pi r^3` is least where its derivative in s,
    /// `2 pi (2 s half - 3 s^2 - across^2 + 2 s r)`, is 0, or at the end, a sphere, if it is nowhere.
    fn around(half_m: f64, across_m: f64) -> Self {
        let slope = |s: f64| {
            let r = across_m.hypot(s);
            2.0 * s * half_m - 3.0 * s * s - across_m * across_m + 2.0 * s * r
        };
        let (mut low, mut high) = (0.0, half_m);
        if slope(high) > 0.0 {
            // Bisection: the slope is -across^2 at 0. 60 halvings reach the last digit.
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if slope(middle) > 0.0 {
                    high = middle;
                } else {
                    low = middle;
                }
            }
        }
        let end = Vector3::z() * (half_m - high);
        Self {
            a: -end,
            b: end,
            radius_m: across_m.hypot(high),
        }
    }
}

/// The smallest capsule around a collision shape, in the shape's frame.
///
/// Cylinders and boxes get the capsule of least volume along their axis or longest side; a sphere is a capsule already. A
/// capsule's `length` is that of its cylinder, as urdfdom has it, so its ends are not counted.
pub(crate) fn capsule_of(geometry: &Geometry, link: &str) -> Result<Capsule, KinematicsError> {
    let refuse = |expected, actual: String| {
        Err(element(
            format!("link `{link}`, collision geometry"),
            expected,
            actual,
        ))
    };
    let usable = |v: &f64| v.is_finite() && *v > 0.0;
    let size = "finite sizes > 0 (m)";
    match geometry {
        Geometry::Cylinder { radius, length } | Geometry::Capsule { radius, length }
            if ![radius, length].into_iter().all(usable) =>
        {
            refuse(size, format!("radius {radius}, length {length}"))
        }
        Geometry::Sphere { radius } if !usable(radius) => refuse(size, format!("radius {radius}")),
        Geometry::Box { size: sides } if !sides.iter().all(usable) => {
            refuse(size, format!("{:?}", sides.0))
        }
        Geometry::Cylinder { radius, length } => Ok(Capsule::around(0.5 * length, *radius)),
        Geometry::Capsule { radius, length } => Ok(Capsule {
            a: Vector3::z() * (-0.5 * length),
            b: Vector3::z() * (0.5 * length),
            radius_m: *radius,
        }),
        Geometry::Sphere { radius } => Ok(Capsule {
            a: Vector3::zeros(),
            b: Vector3::zeros(),
            radius_m: *radius,
        }),
        Geometry::Box { size: sides } => {
            let half = Vector3::from(sides.0) * 0.5;
            let longest = half.imax();
            let mut across = half;
            across[longest] = 0.0;
            let along_z = Capsule::around(half[longest], across.norm());
            let mut end = Vector3::zeros();
            end[longest] = along_z.b.z;
            Ok(Capsule {
                a: -end,
                b: end,
                radius_m: along_z.radius_m,
            })
        }
        Geometry::Mesh { filename, .. } => refuse(
            "capsules, cylinders, spheres or boxes, or the link among those left out",
            format!("mesh `{filename}`"),
        ),
    }
}

#[cfg(test)]
mod tests;
