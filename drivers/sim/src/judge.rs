//! What counts as done.
//!
//! Terms. *Lifted*: a cube's centre has been [`LIFT_M`] above its resting height for [`DONE_PERIODS`] policy periods.
//! *Placed*: a cube's centre has been inside the bowl, and the cube not between the pads, for as many.

use crate::scene::{self, CUBE_REST_Z_M, Cube};
use crate::task::{Task, TaskKind};
use crate::world::WorldState;

/// A cube is up when its centre is this far above its resting height, m.
pub const LIFT_M: f64 = 0.05;
/// A cube that is up, or in the bowl, counts after this many policy periods in a row.
pub const DONE_PERIODS: u32 = 5;

/// Whether a point of the base frame (m) lies inside the bowl: within its inner radius and below its rim.
pub fn in_bowl(point_m: [f64; 3]) -> bool {
    let [x, y, z] = point_m;
    let [bowl_x, bowl_y, _] = scene::BOWL_CENTRE_M;
    (x - bowl_x).hypot(y - bowl_y) < scene::BOWL_RADIUS_M && (0.0..scene::BOWL_RIM_Z_M).contains(&z)
}

/// What counts as done now, per cube, and what did first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Whether the cube is lifted.
    pub lifted: [bool; 3],
    /// The cube that was lifted first.
    pub first_lifted: Option<Cube>,
    /// Whether the cube is placed.
    pub placed: [bool; 3],
    /// The cube that was placed first.
    pub first_placed: Option<Cube>,
}

impl Score {
    /// Whether the task is done now.
    pub fn done(&self, task: Task) -> bool {
        let done = match task.kind() {
            TaskKind::Pick => &self.lifted,
            TaskKind::Place => &self.placed,
        };
        done[task.cube().index()]
    }

    /// The cube with which a task of this kind was done first.
    pub fn first(&self, kind: TaskKind) -> Option<Cube> {
        match kind {
            TaskKind::Pick => self.first_lifted,
            TaskKind::Place => self.first_placed,
        }
    }
}

/// Keeps the score of an episode: counts, per cube, for how many policy periods in a row it has been up or in the bowl.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    up_for: [u32; 3],
    in_bowl_for: [u32; 3],
    score: Score,
}

impl Judge {
    /// Nothing done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The score as of the last update.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// To be called once per policy period.
    pub fn update(&mut self, state: &WorldState) -> &Score {
        for cube in Cube::ALL {
            let i = cube.index();
            let centre_m = state.cubes[i].position_m;
            let up = centre_m[2] >= CUBE_REST_Z_M + LIFT_M;
            let lies_in_bowl = in_bowl(centre_m) && !state.pinched[i];
            self.score.lifted[i] = counted(&mut self.up_for[i], up);
            self.score.placed[i] = counted(&mut self.in_bowl_for[i], lies_in_bowl);
            let Score {
                lifted,
                first_lifted,
                placed,
                first_placed,
            } = &mut self.score;
            if lifted[i] {
                first_lifted.get_or_insert(cube);
            }
            if placed[i] {
                first_placed.get_or_insert(cube);
            }
        }
        &self.score
    }
}

/// Counts a period in which something holds, or starts anew; whether it has held long enough.
fn counted(periods: &mut u32, holds: bool) -> bool {
    *periods = if holds { periods.saturating_add(1) } else { 0 };
    *periods >= DONE_PERIODS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{BOWL_CENTRE_M, BOWL_RADIUS_M, BOWL_RIM_Z_M};
    use crate::world::CubePose;
    use proptest::prelude::*;

    fn world(centres_m: [[f64; 3]; 3]) -> WorldState {
        WorldState {
            time_s: 0.0,
            q_rad: [0.0; 6],
            dq_rad_per_sec: [0.0; 6],
            opening: 1.0,
            tip_m: [0.0; 3],
            cubes: centres_m.map(|position_m| CubePose {
                position_m,
                quaternion: [1.0, 0.0, 0.0, 0.0],
            }),
            pinched: [false; 3],
        }
    }

    fn heights(z_m: [f64; 3]) -> WorldState {
        world(z_m.map(|z| [0.3, 0.0, z]))
    }

    /// The green cube at a point, the others on the table.
    fn green_at(point_m: [f64; 3]) -> WorldState {
        world([[0.3, 0.1, 0.02], point_m, [0.3, -0.1, 0.02]])
    }

    #[test]
    fn lifted_needs_five_periods_in_a_row() {
        let mut judge = Judge::new();
        let (up, down) = (heights([0.02, 0.0701, 0.02]), heights([0.02, 0.0699, 0.02]));
        for _ in 0..4 {
            assert_eq!(judge.update(&up).lifted, [false; 3]);
        }
        assert_eq!(
            judge.update(&down).lifted,
            [false; 3],
            "a dip starts the count anew"
        );
        for _ in 0..4 {
            assert_eq!(judge.update(&up).lifted, [false; 3]);
        }
        assert_eq!(judge.update(&up).lifted, [false, true, false]);
        assert_eq!(judge.update(&up).lifted, [false, true, false]);
        let score = *judge.update(&down);
        assert_eq!(score.lifted, [false; 3]);
        assert_eq!(score.first(TaskKind::Pick), Some(Cube::Green));
        assert!(!score.done(Task::Pick(Cube::Green)));
    }

    #[test]
    fn placed_needs_five_periods_in_a_row_without_a_pinch() {
        let inside = green_at([BOWL_CENTRE_M[0] + 0.01, BOWL_CENTRE_M[1], 0.026]);
        let mut held = inside.clone();
        held.pinched[Cube::Green.index()] = true;
        let mut judge = Judge::new();
        for state in [&inside, &inside, &inside, &inside, &held] {
            assert_eq!(
                judge.update(state).placed,
                [false; 3],
                "held by the gripper"
            );
        }
        for _ in 0..4 {
            assert_eq!(judge.update(&inside).placed, [false; 3]);
        }
        let score = *judge.update(&inside);
        assert!(score.done(Task::Place(Cube::Green)) && !score.done(Task::Pick(Cube::Green)));
        assert!(!score.done(Task::Place(Cube::Red)), "another cube is");
        assert_eq!(score.first(TaskKind::Place), Some(Cube::Green));
        assert_eq!(score.first(TaskKind::Pick), None);
    }

    proptest! {
        /// Only what lies inside the bowl's cylinder, of inner radius and rim, is ever placed.
        #[test]
        fn placed_means_inside(x in 0.0..0.2f64, y in -0.33..-0.12f64, z in 0.0..0.1f64, pinched: bool) {
            let mut state = green_at([x, y, z]);
            state.pinched[1] = pinched;
            let mut judge = Judge::new();
            for _ in 0..DONE_PERIODS {
                judge.update(&state);
            }
            let across = (x - BOWL_CENTRE_M[0]).hypot(y - BOWL_CENTRE_M[1]);
            let inside = across < BOWL_RADIUS_M && z < BOWL_RIM_Z_M && !pinched;
            prop_assert_eq!(judge.score().placed, [false, inside, false]);
        }
    }
}
