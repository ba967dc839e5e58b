//! The arm's URDF is the arm of the scene, as MuJoCo has it: joints, tip poses, Jacobians, and shapes that contain the
//! links. None of the numbers compared with come from this repository's own kinematics.

#![allow(clippy::unwrap_used)]

use mujoco_rs::prelude::*;
use nalgebra::{Matrix3, Rotation3, UnitQuaternion, Vector3};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tactus_kinematics::{Chain, SelfCollision};
use tactus_sim::kinematics::{VerticalGrip, joints_for};
use tactus_sim::{ARM_URDF, scene};
use tactus_types::JointVec;

const POSES: usize = 200;

fn chain() -> Chain {
    Chain::from_urdf(ARM_URDF, "base", "tip", &scene::JOINT_NAMES).unwrap()
}

/// Place of each arm joint in MuJoCo's positions and velocities.
fn addresses(model: &MjModel) -> [(usize, usize); 6] {
    scene::JOINT_NAMES.map(|name| {
        let id = model.name_to_id(MjtObjBase::mjOBJ_JOINT, name).unwrap();
        (
            model.jnt_qposadr()[id] as usize,
            model.jnt_dofadr()[id] as usize,
        )
    })
}

/// Random joints inside their ranges.
fn draw(rng: &mut ChaCha8Rng) -> JointVec {
    JointVec::from_fn(6, |i| {
        let [low, high] = scene::JOINT_RANGE_RAD[i];
        rng.random_range(low..=high)
    })
}

/// Brings MuJoCo's bodies to `q`.
fn pose(data: &mut MjData<&MjModel>, q: &JointVec, addresses: &[(usize, usize); 6]) {
    for (q, (at, _)) in q.iter().zip(addresses) {
        data.qpos_mut()[*at] = *q;
    }
    data.kinematics();
    data.com_pos();
}

fn turn(row_major: &[f64; 9]) -> UnitQuaternion<f64> {
    let matrix = Matrix3::from_row_slice(row_major);
    UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(matrix))
}

#[test]
fn joints_and_ranges_are_those_of_the_scene() {
    let chain = chain();
    let along: Vec<_> = chain.joints_along().collect();
    assert_eq!(along, scene::JOINT_NAMES);
    assert_eq!(chain.limits(), scene::JOINT_RANGE_RAD);
    let model = scene::load_owned().unwrap();
    for (name, limits) in scene::JOINT_NAMES.iter().zip(chain.limits()) {
        let id = model.name_to_id(MjtObjBase::mjOBJ_JOINT, name).unwrap();
        assert_eq!(model.jnt_range()[id], *limits, "{name}");
    }
}

#[test]
fn tip_poses_and_jacobians_are_those_of_mujoco() {
    let model = scene::load_owned().unwrap();
    let (chain, addresses) = (chain(), addresses(&model));
    let tip = model.name_to_id(MjtObjBase::mjOBJ_SITE, "tip").unwrap();
    let dofs = model.ffi().nv as usize;
    let mut data = MjData::new(&model);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut worst_m, mut worst_rad, mut worst_jacobian) = (0.0f64, 0.0f64, 0.0f64);
    for _ in 0..POSES {
        let q = draw(&mut rng);
        pose(&mut data, &q, &addresses);
        let ours = chain.forward(&q);
        let apart = ours.translation.vector - Vector3::from(data.site_xpos()[tip]);
        worst_m = worst_m.max(apart.norm());
        let theirs = turn(&data.site_xmat()[tip]);
        worst_rad = worst_rad.max(ours.rotation.angle_to(&theirs));
        let (linear, angular) = data.jac_site(true, true, tip);
        for (column, (_, dof)) in chain.jacobian(&q).columns().iter().zip(&addresses) {
            for row in 0..3 {
                for (value, theirs) in [(column[row], &linear), (column[3 + row], &angular)] {
                    let error = (value - theirs[row * dofs + dof]).abs();
                    worst_jacobian = worst_jacobian.max(error);
                }
            }
        }
    }
    println!("worst: {worst_m:.1e} m, {worst_rad:.1e} rad, Jacobian {worst_jacobian:.1e}");
    assert!(worst_m < 1e-9, "{worst_m} m");
    assert!(worst_rad < 1e-9, "{worst_rad} rad");
    assert!(worst_jacobian < 1e-9, "{worst_jacobian}");
}

/// Geoms of the arm with the link that should contain them: fingers belong to the hand, the hand's neck to the wrist.
fn geoms(model: &MjModel) -> Vec<(usize, &'static str)> {
    let links = [
        ("base", "base"),
        ("turret", "turret"),
        ("upper_arm", "upper_arm"),
        ("forearm", "forearm"),
        ("forearm_tube", "forearm_tube"),
        ("wrist", "wrist"),
        ("hand", "hand"),
        ("finger_left", "hand"),
        ("finger_right", "hand"),
    ];
    let of_body = |(body, link): (&'static str, &'static str)| {
        let id = model.name_to_id(MjtObjBase::mjOBJ_BODY, body).unwrap();
        let ours = move |geom: &usize| model.geom_bodyid()[*geom] as usize == id;
        let geoms: Vec<_> = (0..model.geom_bodyid().len()).filter(ours).collect();
        assert!(!geoms.is_empty(), "no geom on {body}");
        geoms.into_iter().map(move |geom| {
            let neck = body == "hand" && model.geom_type()[geom] == MjtGeomBase::mjGEOM_CYLINDER;
            (geom, if neck { "wrist" } else { link })
        })
    };
    links.into_iter().flat_map(of_body).collect()
}

/// Points all over the surface of a box, cylinder or capsule, in its frame.
fn surface(kind: MjtGeomBase, [a, b, c]: [f64; 3]) -> Vec<Vector3<f64>> {
    const N: i32 = 12;
    let share = |k: i32| f64::from(k) / f64::from(N);
    let mut points = Vec::new();
    for i in -N..=N {
        for j in -N..=N {
            let (u, v) = (share(i), share(j));
            let (sin, cos) = (std::f64::consts::PI * u).sin_cos();
            match kind {
                MjtGeomBase::mjGEOM_BOX => {
                    for s in [-1.0, 1.0] {
                        points.push(Vector3::new(s * a, u * b, v * c));
                        points.push(Vector3::new(u * a, s * b, v * c));
                        points.push(Vector3::new(u * a, v * b, s * c));
                    }
                }
                MjtGeomBase::mjGEOM_CYLINDER => {
                    points.push(Vector3::new(a * cos, a * sin, v * b));
                    for s in [-1.0, 1.0] {
                        points.push(Vector3::new(v * a * cos, v * a * sin, s * b));
                    }
                }
                MjtGeomBase::mjGEOM_CAPSULE => {
                    points.push(Vector3::new(a * cos, a * sin, v * b));
                    let (up, out) = (0.5 * std::f64::consts::PI * v).sin_cos();
                    let end = up.signum() * b;
                    points.push(Vector3::new(a * out * cos, a * out * sin, end + a * up));
                }
                _ => panic!("a geom that is no box, cylinder or capsule: {kind:?}"),
            }
        }
    }
    points
}

#[test]
fn the_shapes_of_a_link_contain_all_its_geoms() {
    let model = scene::load_owned().unwrap();
    let collision = SelfCollision::from_urdf(ARM_URDF, chain(), &[]).unwrap();
    let addresses = addresses(&model);
    let fingers = scene::FINGER_NAMES.map(|name| {
        let id = model.name_to_id(MjtObjBase::mjOBJ_JOINT, name).unwrap();
        model.jnt_qposadr()[id] as usize
    });
    let mut data = MjData::new(&model);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut checked = 0;
    for opening in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let q = draw(&mut rng);
        for finger in fingers {
            data.qpos_mut()[finger] = opening * scene::FINGER_TRAVEL_M;
        }
        pose(&mut data, &q, &addresses);
        for (geom, link) in geoms(&model) {
            let link_number = collision.links().iter().position(|l| l == link).unwrap();
            let capsules: Vec<_> = collision.capsules(link_number, &q).collect();
            let (at, turned) = (data.geom_xpos()[geom], turn(&data.geom_xmat()[geom]));
            for point in surface(model.geom_type()[geom], model.geom_size()[geom]) {
                let point = Vector3::from(at) + turned * point;
                let outside = capsules
                    .iter()
                    .map(|c| c.distance_to_point_m(&point))
                    .fold(f64::INFINITY, f64::min);
                assert!(outside < 1e-9, "geom {geom} is {outside} m out of {link}");
                checked += 1;
            }
        }
    }
    println!("{checked} points");
}

/// Never farther than the geoms are by MuJoCo's own measure, and free where the arm works.
#[test]
fn distances_are_never_above_those_of_the_geoms() {
    let model = scene::load_owned().unwrap();
    let (collision, addresses) = (
        SelfCollision::from_urdf(ARM_URDF, chain(), &[]).unwrap(),
        addresses(&model),
    );
    for pair in collision.left_out() {
        let (one, other) = pair.links;
        let [one, other] = [one, other].map(|link| &collision.links()[link]);
        println!("left out: {one}, {other}: {:?}", pair.because);
    }
    let geoms = geoms(&model);
    let of_link = |link: usize| {
        let name = &collision.links()[link];
        geoms
            .iter()
            .filter(move |(_, l)| l == name)
            .map(|(g, _)| *g)
    };
    let mut data = MjData::new(&model);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut gap, mut free) = (0.0f64, 0);
    for _ in 0..POSES {
        let q = draw(&mut rng);
        pose(&mut data, &q, &addresses);
        let mut theirs = f64::INFINITY;
        for &(one, other) in collision.compared() {
            for a in of_link(one) {
                for b in of_link(other) {
                    theirs = theirs.min(data.geom_distance(a, b, 2.0, None));
                }
            }
        }
        let ours = collision.nearest(&q).distance_m;
        if theirs > 0.0 {
            // MuJoCo's search for the distance of boxes and cylinders ends at 1e-6 m.
            assert!(
                ours <= theirs + 1e-5,
                "{ours} m, by MuJoCo {theirs} m, at {q:?}"
            );
            gap = gap.max(theirs - ours);
            free += 1;
        }
    }
    println!(
        "{free} of {POSES} poses free, at most {:.1} mm lost to the covers",
        1e3 * gap
    );
    let mut least = f64::INFINITY;
    for x in 0..8 {
        for y in -6..=6 {
            for z in 0..6 {
                let grip = VerticalGrip {
                    tip_m: [
                        0.20 + 0.025 * f64::from(x),
                        0.04 * f64::from(y),
                        0.02 + 0.04 * f64::from(z),
                    ],
                    yaw_rad: 0.0,
                };
                let Some(q) = joints_for(&grip) else { continue };
                let q = JointVec::from_slice(&q).unwrap();
                least = least.min(collision.nearest(&q).distance_m);
            }
        }
    }
    println!("nearest in the working space: {:.1} mm", 1e3 * least);
    assert!(least > 0.0, "{least} m where the arm works");
}
