//! How an episode starts: cube poses, arm pose and the named cube, all drawn from one seed.
//!
//! Decides the distributions, and keeps cubes and low starts clear of the bowl. Does not touch the physics: [`crate::world::World::reset`] puts a scenario in place.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::kinematics::{VerticalGrip, joints_for};
use crate::scene::{BOWL_CENTRE_M, BOWL_REACH_M, Cube};

/// Cube centres lie in this rectangle, m in the base frame: x from, x to, y from, y to.
pub const CUBE_AREA_M: [f64; 4] = [0.20, 0.38, -0.17, 0.17];
/// Least distance between two cube centres, m: room for the fingers.
pub const CUBE_SPACING_M: f64 = 0.09;
/// Cube yaw is uniform within plus and minus this, rad.
pub const CUBE_YAW_RAD: f64 = 0.25;

/// From which distribution the arm's start pose is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartPoses {
    /// Tip above the table, fingers open: what evaluation uses.
    Narrow,
    /// Half of the starts as in `Narrow`, a quarter anywhere in reach, a quarter above some cube, and a fifth of all
    /// with the gripper partly closed: for data that shows recoveries.
    Wide,
}

/// Start pose of one cube, resting on the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CubeStart {
    /// Centre, m in the base frame.
    pub x_m: f64,
    /// Centre, m in the base frame.
    pub y_m: f64,
    /// Rotation about z, rad.
    pub yaw_rad: f64,
}

/// Everything that differs between two episodes before the first command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// The seed it was drawn from.
    pub seed: u64,
    /// The cube that the instruction names.
    pub target: Cube,
    /// Seed of how the cell looks (see [`crate::variation`]); `None`: as the scene file says.
    pub variation: Option<u64>,
    /// Red, green, blue.
    pub cubes: [CubeStart; 3],
    /// Arm joints, rad, at rest.
    pub q_rad: [f64; 6],
    /// Gripper opening, 0 closed to 1 open.
    pub opening: f64,
}

impl Scenario {
    /// Draws a scenario. The same seed and `starts` give the same scenario on every machine.
    pub fn sample(seed: u64, starts: StartPoses) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let target = Cube::ALL[rng.random_range(0..3)];
        let cubes = sample_cubes(&mut rng);
        let (tip_m, opening) = sample_tip(&mut rng, &cubes, starts);
        let yaw_rad = rng.random_range(-0.04..0.04);
        let forearm_roll_rad = rng.random_range(-0.04..0.04);
        // Every start region is in reach; the fallback is its middle and cannot be drawn in practice.
        let mut q_rad = joints_for(&VerticalGrip { tip_m, yaw_rad }).unwrap_or(MIDDLE_RAD);
        q_rad[3] = forearm_roll_rad;
        Self {
            seed,
            target,
            variation: None,
            cubes,
            q_rad,
            opening,
        }
    }

    /// The same scenario, whose looks are drawn from its seed if `varied`, and as the scene file says if not.
    pub fn looking(mut self, varied: bool) -> Self {
        self.variation = varied.then_some(self.seed);
        self
    }
}

/// Horizontal distance from the tip to the outside of an open finger, m.
const FINGERS_REACH_M: f64 = 0.057;

/// Joints for the tip at about (0.28, 0, 0.17), rad.
const MIDDLE_RAD: [f64; 6] = [0.0, -0.13, 1.83, 0.0, 1.44, 0.0];

fn sample_cubes(rng: &mut ChaCha8Rng) -> [CubeStart; 3] {
    let [x_low, x_high, y_low, y_high] = CUBE_AREA_M;
    loop {
        let cubes = std::array::from_fn(|_| CubeStart {
            x_m: rng.random_range(x_low..x_high),
            y_m: rng.random_range(y_low..y_high),
            yaw_rad: rng.random_range(-CUBE_YAW_RAD..CUBE_YAW_RAD),
        });
        let apart =
            |a: &CubeStart, b: &CubeStart| (a.x_m - b.x_m).hypot(a.y_m - b.y_m) > CUBE_SPACING_M;
        let [red, green, blue] = &cubes;
        if apart(red, green) && apart(green, blue) && apart(blue, red) {
            return cubes;
        }
    }
}

/// Horizontal distance of a point from the bowl's middle, m.
fn from_bowl(x_m: f64, y_m: f64) -> f64 {
    (x_m - BOWL_CENTRE_M[0]).hypot(y_m - BOWL_CENTRE_M[1])
}

/// Tip position (m) and opening.
fn sample_tip(rng: &mut ChaCha8Rng, cubes: &[CubeStart; 3], starts: StartPoses) -> ([f64; 3], f64) {
    let above_table = |rng: &mut ChaCha8Rng| {
        [
            rng.random_range(0.18..0.38),
            rng.random_range(-0.16..0.16),
            rng.random_range(0.12..0.22),
        ]
    };
    match starts {
        StartPoses::Narrow => (above_table(rng), 1.0),
        StartPoses::Wide => {
            let kind: f64 = rng.random();
            let tip_m = if kind < 0.25 {
                anywhere(rng, cubes)
            } else if kind < 0.5 {
                let cube = &cubes[rng.random_range(0..3)];
                [
                    cube.x_m + rng.random_range(-0.025..0.025),
                    cube.y_m + rng.random_range(-0.025..0.025),
                    rng.random_range(0.085..0.20),
                ]
            } else {
                above_table(rng)
            };
            let opening = if rng.random_bool(0.2) {
                rng.random_range(0.0..1.0)
            } else {
                1.0
            };
            (tip_m, opening)
        }
    }
}

/// A tip anywhere above the table where the fingers are not inside a cube or the bowl.
fn anywhere(rng: &mut ChaCha8Rng, cubes: &[CubeStart; 3]) -> [f64; 3] {
    loop {
        let tip_m = [
            rng.random_range(0.17..0.39),
            rng.random_range(-0.18..0.18),
            rng.random_range(0.03..0.24),
        ];
        let clear = cubes
            .iter()
            .all(|cube| (cube.x_m - tip_m[0]).hypot(cube.y_m - tip_m[1]) > 0.085)
            && from_bowl(tip_m[0], tip_m[1]) > BOWL_REACH_M + FINGERS_REACH_M;
        if tip_m[2] > 0.08 || clear {
            return tip_m;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinematics::{tip_m, within_range};
    use crate::scene::CUBE_EDGE_M;

    #[test]
    fn starts_are_in_range_in_reach_and_apart() {
        for starts in [StartPoses::Narrow, StartPoses::Wide] {
            let mut named = [0; 3];
            for seed in 0..2000 {
                let scenario = Scenario::sample(seed, starts);
                named[scenario.target.index()] += 1;
                assert!(within_range(&scenario.q_rad), "{scenario:?}");
                assert_ne!(
                    scenario.q_rad[0], MIDDLE_RAD[0],
                    "seed {seed} fell back to the middle pose"
                );
                let tip = tip_m(&scenario.q_rad);
                assert!(
                    tip[2] > 0.02 && tip[2] < 0.25,
                    "seed {seed}: tip at {tip:?}"
                );
                for cube in &scenario.cubes {
                    let clear = from_bowl(cube.x_m, cube.y_m) - BOWL_REACH_M;
                    assert!(
                        clear > CUBE_EDGE_M / 2f64.sqrt() + 0.01,
                        "seed {seed}: {clear} m"
                    );
                }
                let low = tip[2] < 0.08;
                assert!(
                    !low || from_bowl(tip[0], tip[1]) > BOWL_REACH_M + 0.05,
                    "seed {seed}: fingers in the bowl"
                );
                let [red, green, blue] = &scenario.cubes;
                for (a, b) in [(red, green), (green, blue), (blue, red)] {
                    assert!((a.x_m - b.x_m).hypot(a.y_m - b.y_m) > CUBE_SPACING_M);
                }
            }
            assert!(
                named.iter().all(|count| (550..790).contains(count)),
                "targets are uneven: {named:?}"
            );
        }
    }

    #[test]
    fn a_seed_names_one_scenario() {
        assert_eq!(
            Scenario::sample(7, StartPoses::Wide),
            Scenario::sample(7, StartPoses::Wide)
        );
        assert_ne!(
            Scenario::sample(7, StartPoses::Wide),
            Scenario::sample(8, StartPoses::Wide)
        );
        let plain = Scenario::sample(7, StartPoses::Wide);
        let varied = plain.clone().looking(true);
        assert_eq!(varied.variation, Some(7));
        assert_eq!(varied.looking(false), plain, "only the looks differ");
    }
}
