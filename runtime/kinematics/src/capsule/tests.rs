use super::*;
use nalgebra::UnitQuaternion;
use proptest::prelude::*;

fn volume(capsule: &Capsule) -> f64 {
    use std::f64::consts::PI;
    let r = capsule.radius_m;
    PI * r * r * (capsule.b - capsule.a).norm() + 4.0 / 3.0 * PI * r * r * r
}

fn shape(geometry: Geometry) -> Capsule {
    capsule_of(&geometry, "test").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A box's corners are all in its capsule, which lies along the longest side, and no other radius does with less.
    #[test]
    fn a_box_is_contained_and_no_capsule_is_smaller(sides in prop::array::uniform3(0.01f64..1.0)) {
        let capsule = shape(Geometry::Box { size: urdf_rs::Vec3(sides) });
        let half = Vector3::from(sides) * 0.5;
        let longest = half.imax();
        for corner in 0..8 {
            let sign = |bit: usize| if corner >> bit & 1 == 0 { -1.0 } else { 1.0 };
            let p = Vector3::from_fn(|i, _| sign(i) * half[i]);
            prop_assert!(capsule.distance_to_point_m(&p) < 1e-12, "{:?} sticks out of {:?}", p, capsule);
        }
        for i in (0..3).filter(|i| *i != longest) {
            prop_assert!(capsule.a[i] == 0.0 && capsule.b[i] == 0.0);
        }
        let across = (half.norm_squared() - half[longest] * half[longest]).sqrt();
        for k in 0..=200 {
            let s = half[longest] * f64::from(k) / 200.0;
            let end = Vector3::z() * (half[longest] - s);
            let other = Capsule { a: -end, b: end, radius_m: across.hypot(s) };
            prop_assert!(volume(&capsule) <= volume(&other) * (1.0 + 1e-9), "s = {}: {:?}", s, other);
        }
    }

    /// A cylinder's rims are in its capsule; flat ones become spheres.
    #[test]
    fn a_cylinder_is_contained(radius in 0.01f64..1.0, length in 0.01f64..1.0, turn in 0.0f64..6.3) {
        let capsule = shape(Geometry::Cylinder { radius, length });
        for z in [-0.5 * length, 0.5 * length] {
            let rim = Vector3::new(radius * turn.cos(), radius * turn.sin(), z);
            prop_assert!(capsule.distance_to_point_m(&rim) < 1e-12);
        }
        prop_assert!(capsule.radius_m <= radius.hypot(0.5 * length) + 1e-12);
    }

    /// Distance of two capsules against a search over both segments; also parallel, crossing and zero-length ones.
    #[test]
    fn the_distance_is_that_of_the_nearest_points(
        p in prop::array::uniform12(-1.0f64..1.0), kind in 0usize..5, r in prop::array::uniform2(0.01f64..0.3)
    ) {
        let v = |i: usize| Vector3::new(p[3 * i], p[3 * i + 1], p[3 * i + 2]);
        let one = Capsule { a: v(0), b: if kind == 1 { v(0) } else { v(1) }, radius_m: r[0] };
        let end = match kind {
            1 | 2 => v(2),
            3 => v(2) + (v(1) - v(0)) * p[9],
            4 => v(2) + (v(1) - v(0)) * p[9] + v(3) * 1e-7,
            _ => v(3),
        };
        let other = Capsule { a: v(2), b: end, radius_m: r[1] };
        let distance = one.distance_m(&other);
        // The distance of a point of one segment from the other is convex along it: a ternary search finds its least.
        let at = |s: f64| other.distance_to_point_m(&(one.a + (one.b - one.a) * s)) - r[0];
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..200 {
            let (s, t) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
            if at(s) < at(t) { high = t } else { low = s }
        }
        let expected = at(0.5 * (low + high)).min(at(0.0)).min(at(1.0));
        // Of nearly parallel segments the nearest points are not known, their distance is.
        prop_assert!((distance - expected).abs() < 1e-7, "{} and {}: {:?} {:?}", distance, expected, one, other);
        prop_assert!((other.distance_m(&one) - distance).abs() < 1e-7);
        let x = Isometry3::from_parts(v(3).into(), UnitQuaternion::from_scaled_axis(v(1)));
        let moved = one.transformed(&x).distance_m(&other.transformed(&x));
        prop_assert!((moved - distance).abs() < 1e-7, "{} and {}", moved, distance);
    }
}

#[test]
fn shapes_without_size_and_meshes_are_refused_by_name() {
    let cases = [
        Geometry::Sphere { radius: 0.0 },
        Geometry::Cylinder {
            radius: f64::NAN,
            length: 1.0,
        },
        Geometry::Capsule {
            radius: 1.0,
            length: -1.0,
        },
        Geometry::Box {
            size: urdf_rs::Vec3([1.0, f64::INFINITY, 1.0]),
        },
        Geometry::Mesh {
            filename: "arm.stl".into(),
            scale: None,
        },
    ];
    for geometry in cases {
        let error = capsule_of(&geometry, "elbow").unwrap_err().to_string();
        assert!(error.contains("link `elbow`"), "{error}");
    }
}

#[test]
fn capsules_and_spheres_are_taken_as_they_are() {
    let capsule = shape(Geometry::Capsule {
        radius: 0.1,
        length: 0.4,
    });
    assert_eq!(
        (capsule.a.z, capsule.b.z, capsule.radius_m),
        (-0.2, 0.2, 0.1)
    );
    let sphere = shape(Geometry::Sphere { radius: 0.3 });
    assert_eq!((sphere.a, sphere.b), (Vector3::zeros(), Vector3::zeros()));
}
