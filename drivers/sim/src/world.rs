//! The moving world: one MuJoCo model and its state.
//!
//! Decides: what a reset puts where, what one physics step does, and what can be read out. Does not decide when to
//! step (real time or lock-step is the caller's business) and knows no clock but its own simulated one.
//!
//! The same scenario and the same goals give the same trajectory bit for bit on one build of MuJoCo: reading never
//! changes the state, and nothing here is random.

use std::sync::Arc;

use mujoco_rs::prelude::*;
use serde::{Deserialize, Serialize};

use crate::camera::Pinhole;
use crate::error::SimError;
use crate::kinematics;
use crate::scenario::Scenario;
use crate::scene::{
    self, CUBE_REST_Z_M, Cube, FINGER_NAMES, FINGER_TRAVEL_M, JOINT_NAMES, STEPS_PER_PERIOD,
};
use crate::variation::Variation;

/// Position targets for the whole device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Arm joints in the order of [`JOINT_NAMES`], rad.
    pub q_rad: [f64; 6],
    /// Gripper opening, 0 closed to 1 open.
    pub opening: f64,
}

impl Goal {
    /// The goal a fraction `share` (0..1) of the way from `self` to `to`, all seven numbers linearly.
    pub fn towards(&self, to: &Self, share: f64) -> Self {
        Self {
            q_rad: std::array::from_fn(|joint| {
                self.q_rad[joint] + share * (to.q_rad[joint] - self.q_rad[joint])
            }),
            opening: self.opening + share * (to.opening - self.opening),
        }
    }
}

/// Pose of a cube in the base frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CubePose {
    /// Centre, m.
    pub position_m: [f64; 3],
    /// Unit quaternion w, x, y, z.
    pub quaternion: [f64; 4],
}

/// Everything the simulator knows about the present: more than a real cell could measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorldState {
    /// Simulated time since the reset, s.
    pub time_s: f64,
    /// Measured arm joints, rad.
    pub q_rad: [f64; 6],
    /// Measured arm joint velocities, rad/s.
    pub dq_rad_per_sec: [f64; 6],
    /// Measured gripper opening, 0 closed to 1 open.
    pub opening: f64,
    /// Tip in the base frame, m.
    pub tip_m: [f64; 3],
    /// Red, green, blue.
    pub cubes: [CubePose; 3],
    /// For each cube, whether both finger pads touch it (as of the start of the last physics step).
    pub pinched: [bool; 3],
}

/// Just enough to draw the world in another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorldSnapshot {
    /// Simulated time since the reset, s.
    pub time_s: f64,
    /// MuJoCo's generalised positions: 6 arm joints (rad), 2 fingers (m), 3 cubes (position m, quaternion w x y z).
    pub qpos: Vec<f64>,
    /// Seed of how the cell looks; `None`: as the scene file says.
    pub variation: Option<u64>,
}

/// The simulated cell.
#[derive(Debug)]
pub struct World {
    data: MjData<Arc<MjModel>>,
    /// Where things are in qpos, qvel and ctrl.
    address: Addresses,
    /// As the scene file says.
    nominal_camera: Pinhole,
    /// In this episode.
    scene_camera: Pinhole,
    variation: Option<u64>,
}

#[derive(Debug)]
struct Addresses {
    arm_qpos: [usize; 6],
    arm_qvel: [usize; 6],
    arm_ctrl: [usize; 6],
    /// Of the arm's actuators: kv / kp, s.
    arm_damping: [f64; 6],
    finger_qpos: [usize; 2],
    finger_ctrl: [usize; 2],
    cube_qpos: [usize; 3],
    cube_geom: [i32; 3],
    pad_geom: [i32; 2],
}

impl World {
    /// Loads the scene; call [`World::reset`] before anything else.
    ///
    /// # Errors
    /// [`SimError::Scene`] or [`SimError::MissingName`] if `assets/cell.xml` is not what this crate expects.
    pub fn new() -> Result<Self, SimError> {
        let model = scene::load()?;
        let address = Addresses::of(&model)?;
        let mut data = MjData::new(model);
        data.forward();
        let nominal_camera = Pinhole::of(&data, scene::CAMERA_NAMES[0])?;
        Ok(Self {
            data,
            address,
            scene_camera: nominal_camera.clone(),
            nominal_camera,
            variation: None,
        })
    }

    /// Puts a scenario in place, at rest, with the actuators' goals on the start pose, and time zero.
    pub fn reset(&mut self, scenario: &Scenario) {
        self.data.reset();
        let address = &self.address;
        let qpos = self.data.qpos_mut();
        for (joint, q) in scenario.q_rad.iter().enumerate() {
            qpos[address.arm_qpos[joint]] = *q;
        }
        for finger in address.finger_qpos {
            qpos[finger] = scenario.opening * FINGER_TRAVEL_M;
        }
        for (cube, start) in address.cube_qpos.iter().zip(&scenario.cubes) {
            let (sin, cos) = (start.yaw_rad / 2.0).sin_cos();
            qpos[*cube..*cube + 7].copy_from_slice(&[
                start.x_m,
                start.y_m,
                CUBE_REST_Z_M,
                cos,
                0.0,
                0.0,
                sin,
            ]);
        }
        self.set_goal(&Goal {
            q_rad: scenario.q_rad,
            opening: scenario.opening,
        });
        self.data.forward();
        self.variation = scenario.variation;
        self.scene_camera = match scenario.variation {
            None => self.nominal_camera.clone(),
            Some(seed) => {
                let [scene, _wrist] = Variation::sample(seed).cameras;
                self.nominal_camera.moved(&scene)
            }
        };
    }

    /// One physics step of 2 ms without torque, brakes or whatever balances the arm: it falls, the fingers slide.
    pub fn step_limp(&mut self) {
        // A position actuator pulls with kp (ctrl - q) - kv dq. This goal makes that zero.
        let address = &self.address;
        let (qpos, qvel) = (self.data.qpos(), self.data.qvel());
        let damping = address.arm_damping;
        let limp: [f64; 6] = std::array::from_fn(|i| {
            qpos[address.arm_qpos[i]] + damping[i] * qvel[address.arm_qvel[i]]
        });
        let fingers = address.finger_qpos.map(|at| qpos[at]);
        let weight = address.arm_qvel.map(|at| self.data.qfrc_gravcomp()[at]);
        for (at, q) in address.arm_ctrl.iter().zip(limp) {
            self.data.ctrl_mut()[*at] = q;
        }
        for (at, q) in address.finger_ctrl.iter().zip(fingers) {
            self.data.ctrl_mut()[*at] = q;
        }
        for (at, weight) in address.arm_qvel.iter().zip(weight) {
            self.data.qfrc_applied_mut()[*at] = -weight;
        }
        self.data.step();
        for at in address.arm_qvel {
            self.data.qfrc_applied_mut()[at] = 0.0;
        }
    }

    /// One physics step of 2 ms with the actuators' goals set to `goal`. The actuators clamp it to the joint ranges.
    pub fn step(&mut self, goal: &Goal) {
        self.set_goal(goal);
        self.data.step();
    }

    /// One policy period (50 ms), in which the goal moves linearly from `from` and reaches `to` at its end.
    pub fn step_period(&mut self, from: &Goal, to: &Goal) {
        for step in 1..=STEPS_PER_PERIOD {
            self.step(&from.towards(to, step as f64 / STEPS_PER_PERIOD as f64));
        }
    }

    /// Reads everything out.
    pub fn state(&self) -> WorldState {
        let address = &self.address;
        let qpos = self.data.qpos();
        let qvel = self.data.qvel();
        let q_rad = address.arm_qpos.map(|at| qpos[at]);
        let fingers_m: f64 = address.finger_qpos.iter().map(|at| qpos[*at]).sum();
        WorldState {
            time_s: self.data.time(),
            q_rad,
            dq_rad_per_sec: address.arm_qvel.map(|at| qvel[at]),
            opening: fingers_m / (2.0 * FINGER_TRAVEL_M),
            tip_m: kinematics::tip_m(&q_rad),
            cubes: address.cube_qpos.map(|at| CubePose {
                position_m: [qpos[at], qpos[at + 1], qpos[at + 2]],
                quaternion: [qpos[at + 3], qpos[at + 4], qpos[at + 5], qpos[at + 6]],
            }),
            pinched: self.pinched(),
        }
    }

    /// What a renderer in another process needs.
    pub fn snapshot(&self) -> WorldSnapshot {
        WorldSnapshot {
            time_s: self.data.time(),
            qpos: self.data.qpos().to_vec(),
            variation: self.variation,
        }
    }

    /// Where a point of the base frame (m) appears in the scene camera: (u right, v down), 0..1 inside the picture.
    pub fn scene_uv(&self, point_m: [f64; 3]) -> [f64; 2] {
        self.scene_camera.project(point_m)
    }

    fn set_goal(&mut self, goal: &Goal) {
        let address = &self.address;
        let ctrl = self.data.ctrl_mut();
        for (at, q) in address.arm_ctrl.iter().zip(&goal.q_rad) {
            ctrl[*at] = *q;
        }
        for at in address.finger_ctrl {
            ctrl[at] = goal.opening * FINGER_TRAVEL_M;
        }
    }

    fn pinched(&self) -> [bool; 3] {
        let touches = |pad: i32, cube: i32| {
            self.data.contact().iter().any(|contact| {
                (contact.geom == [pad, cube] || contact.geom == [cube, pad]) && contact.dist < 0.0
            })
        };
        let [left, right] = self.address.pad_geom;
        self.address
            .cube_geom
            .map(|cube| touches(left, cube) && touches(right, cube))
    }
}

impl Addresses {
    fn of(model: &MjModel) -> Result<Self, SimError> {
        let id = |kind: &'static str, object: MjtObjBase, name: &str| {
            model
                .name_to_id(object, name)
                .ok_or_else(|| SimError::MissingName {
                    kind,
                    name: name.to_owned(),
                })
        };
        let joint = |name: &str| id("joint", MjtObjBase::mjOBJ_JOINT, name);
        let actuator = |name: &str| id("actuator", MjtObjBase::mjOBJ_ACTUATOR, name);
        let geom = |name: &str| id("geom", MjtObjBase::mjOBJ_GEOM, name).map(|id| id as i32);
        let qpos = |name: &str| joint(name).map(|id| model.jnt_qposadr()[id] as usize);
        let qvel = |name: &str| joint(name).map(|id| model.jnt_dofadr()[id] as usize);
        let cubes = Cube::ALL.map(Cube::name);
        let arm_ctrl = each(JOINT_NAMES, actuator)?;
        let (gain, bias) = (model.actuator_gainprm(), model.actuator_biasprm());
        Ok(Self {
            arm_damping: arm_ctrl.map(|at| -bias[at][2] / gain[at][0]),
            arm_qpos: each(JOINT_NAMES, qpos)?,
            arm_qvel: each(JOINT_NAMES, qvel)?,
            arm_ctrl,
            finger_qpos: each(FINGER_NAMES, qpos)?,
            finger_ctrl: each(FINGER_NAMES, actuator)?,
            cube_qpos: each(cubes, qpos)?,
            cube_geom: each(cubes, geom)?,
            pad_geom: each(["pad_left", "pad_right"], geom)?,
        })
    }
}

/// Looks every name up; the first failure wins.
fn each<T: Copy + Default, const N: usize>(
    names: [&str; N],
    find: impl Fn(&str) -> Result<T, SimError>,
) -> Result<[T; N], SimError> {
    let mut found = [T::default(); N];
    for (slot, name) in found.iter_mut().zip(names) {
        *slot = find(name)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::StartPoses;
    use crate::scene::JOINT_RANGE_RAD;

    fn wave(start: &Goal, step: usize) -> Goal {
        let phase = step as f64 * 0.01;
        Goal {
            q_rad: std::array::from_fn(|joint| {
                start.q_rad[joint] + 0.3 * (phase + joint as f64).sin()
            }),
            opening: 0.5 + 0.5 * phase.cos(),
        }
    }

    #[test]
    fn same_seed_and_goals_give_the_same_bits() {
        let run = |world: &mut World| {
            let scenario = Scenario::sample(42, StartPoses::Wide);
            world.reset(&scenario);
            let start = Goal {
                q_rad: scenario.q_rad,
                opening: scenario.opening,
            };
            let mut bits = Vec::new();
            for step in 0..1500 {
                world.step(&wave(&start, step));
                bits.extend(world.snapshot().qpos.iter().map(|value| value.to_bits()));
            }
            bits
        };
        let mut used = World::new().unwrap();
        used.reset(&Scenario::sample(1, StartPoses::Narrow));
        for step in 0..200 {
            used.step(&wave(
                &Goal {
                    q_rad: [0.3; 6],
                    opening: 1.0,
                },
                step,
            ));
        }
        let first = run(&mut World::new().unwrap());
        assert!(first == run(&mut used), "a reset must leave nothing behind");
        assert!(first[..100] != first[100..200], "the world must move");
    }

    #[test]
    fn reading_does_not_change_the_trajectory() {
        let scenario = Scenario::sample(3, StartPoses::Narrow);
        let start = Goal {
            q_rad: scenario.q_rad,
            opening: 1.0,
        };
        let end = |read: bool| {
            let mut world = World::new().unwrap();
            world.reset(&scenario);
            for step in 0..500 {
                world.step(&wave(&start, step));
                if read {
                    let _ = (world.state(), world.snapshot());
                }
            }
            world.snapshot()
        };
        assert_eq!(end(false), end(true));
    }

    #[test]
    fn kinematics_agree_with_the_scene() {
        let mut world = World::new().unwrap();
        let model = scene::load().unwrap();
        let tip = model.name_to_id(MjtObjBase::mjOBJ_SITE, "tip").unwrap();
        for (joint, name) in JOINT_NAMES.iter().enumerate() {
            let id = model.name_to_id(MjtObjBase::mjOBJ_JOINT, name).unwrap();
            assert_eq!(
                model.jnt_range()[id],
                JOINT_RANGE_RAD[joint],
                "range of {name}"
            );
        }
        for seed in 0..50 {
            let mut scenario = Scenario::sample(seed, StartPoses::Wide);
            for (joint, q) in scenario.q_rad.iter_mut().enumerate() {
                *q += 0.4 * (seed as f64 * 1.7 + joint as f64).sin();
            }
            world.reset(&scenario);
            let site = world.data.site_xpos()[tip];
            let ours = world.state().tip_m;
            for axis in 0..3 {
                assert!(
                    (site[axis] - ours[axis]).abs() < 1e-9,
                    "seed {seed}: {site:?} and {ours:?}"
                );
            }
        }
    }

    #[test]
    fn a_limp_arm_falls_and_can_be_caught_where_it_is() {
        let mut world = World::new().unwrap();
        let scenario = Scenario::sample(5, StartPoses::Narrow);
        world.reset(&scenario);
        let height = world.state().tip_m[2];
        for _ in 0..250 {
            world.step_limp();
        }
        let fallen = world.state();
        assert!(
            fallen.tip_m[2] < height - 0.03,
            "{} after {height}",
            fallen.tip_m[2]
        );
        let caught = Goal {
            q_rad: fallen.q_rad,
            opening: fallen.opening,
        };
        for _ in 0..1000 {
            world.step(&caught);
        }
        let state = world.state();
        for joint in 0..6 {
            let off = state.q_rad[joint] - caught.q_rad[joint];
            assert!(off.abs() < 0.02, "{state:?} for {caught:?}");
        }
    }

    #[test]
    fn the_arm_holds_its_start_pose() {
        let mut world = World::new().unwrap();
        for seed in 0..10 {
            let scenario = Scenario::sample(seed, StartPoses::Narrow);
            world.reset(&scenario);
            let goal = Goal {
                q_rad: scenario.q_rad,
                opening: scenario.opening,
            };
            for _ in 0..500 {
                world.step(&goal);
            }
            let state = world.state();
            for joint in 0..6 {
                assert!(
                    (state.q_rad[joint] - scenario.q_rad[joint]).abs() < 2e-3,
                    "{state:?}"
                );
            }
            for (cube, start) in state.cubes.iter().zip(&scenario.cubes) {
                assert!(
                    (cube.position_m[0] - start.x_m).abs() < 1e-3,
                    "a cube slid: {cube:?}"
                );
                assert!(
                    (cube.position_m[2] - CUBE_REST_Z_M).abs() < 1e-3,
                    "a cube sank: {cube:?}"
                );
            }
        }
    }
}
