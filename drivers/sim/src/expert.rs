//! A scripted expert: a pure function from the whole state of the world to the next goal.
//!
//! Decides: how a task is demonstrated. It keeps no memory, so it can be asked in any state, however the world got
//! there: a disturbed episode shows a recovery, and the label of a disturbed step is still what the expert wants.
//!
//! Rules of [`Task::Pick`], first match wins:
//! 1. both pads press the named cube: go straight up, fingers closing;
//! 2. the tip is around the cube's centre: stay there, fingers closing;
//! 3. otherwise, fingers opening, go to the cube inside a funnel: the closer to its vertical axis, the lower the tip
//!    may be. Below the funnel, climb before moving sideways.
//!
//! Rules of [`Task::Place`], first match wins:
//! 1. the cube is in the bowl: fingers opening, and straight up once they do not press it any more;
//! 2. the cube is above the bowl and the tip low enough to let go: stay there, fingers opening;
//! 3. both pads press the cube: carry it to the bowl, fingers closing, inside a funnel as above, but a wider one that
//!    stands on the place where the cube is let go;
//! 4. otherwise as rules 2 and 3 of `Pick`.

use crate::judge::in_bowl;
use crate::kinematics::{VerticalGrip, joints_for};
use crate::scene::{BOWL_CENTRE_M, BOWL_RIM_Z_M};
use crate::task::Task;
use crate::world::{Goal, WorldState};

/// How far ahead of the measured tip the goal may be, m per policy period.
const LEAD_M: f64 = 0.019;
/// Horizontal distance within which the fingers may go all the way down, m.
const FUNNEL_MOUTH_M: f64 = 0.012;
/// Height gained per horizontal distance outside the mouth.
const FUNNEL_SLOPE: f64 = 4.0;
/// The funnel's height, m above the cube's centre: fingers clear of other cubes.
const FUNNEL_TOP_M: f64 = 0.10;
/// Around the centre: horizontally ...
const CLOSE_ACROSS_M: f64 = 0.014;
/// ... and vertically, m.
const CLOSE_HEIGHT_M: f64 = 0.012;
/// With a cube between the pads the gripper is less open than this.
const HOLDING_OPENING: f64 = 0.67;
/// Fingers must be at least this open to go down around a cube.
const OPEN_ENOUGH: f64 = 0.85;
/// Height of the tip at which a lifted cube is held, m.
const LIFTED_Z_M: f64 = 0.17;
/// Height of the tip to which a cube is lowered above the bowl, m: the fingers, which end 15 mm below the tip, stay
/// clear of the rim.
const RELEASE_Z_M: f64 = BOWL_RIM_Z_M + 0.021;
/// A cube is let go at most this far above [`RELEASE_Z_M`] ...
const RELEASE_ABOVE_M: f64 = 0.008;
/// ... and this far below it, m: lower, the fingers are in the bowl and grasp a cube that got stuck there.
const RELEASE_BELOW_M: f64 = 0.010;
/// A cube is let go when its centre is this close to the bowl's axis, m.
const RELEASE_ACROSS_M: f64 = 0.012;
/// Once they have begun to open, the fingers go on while the centre is this close to the axis, m.
const FALL_ACROSS_M: f64 = 0.035;
/// Goals stay in this cylinder about the yaw axis, where the inverse kinematics always has an answer, m.
const RADIUS_M: [f64; 2] = [0.10, 0.43];
const HEIGHT_M: [f64; 2] = [0.005, 0.26];

/// The goal to be reached one policy period from now.
pub fn goal(state: &WorldState, task: Task) -> Goal {
    let tip = state.tip_m;
    let cube = state.cubes[task.cube().index()].position_m;
    let pinched = state.pinched[task.cube().index()];
    let held = pinched && state.opening < HOLDING_OPENING;
    match task {
        Task::Pick(_) if held => rise(state, 0.0),
        Task::Place(_) if in_bowl(cube) => {
            if pinched {
                reach(state, tip, 1.0)
            } else {
                rise(state, 1.0)
            }
        }
        Task::Place(_) if lets_go(state, cube, held) => reach(state, tip, 1.0),
        Task::Place(_) if held => carry(state, cube),
        Task::Pick(_) | Task::Place(_) => fetch(state, cube),
    }
}

/// Straight up to where a lifted cube is held.
fn rise(state: &WorldState, opening: f64) -> Goal {
    let [x, y, z] = state.tip_m;
    let up = (LIFTED_Z_M - z).clamp(-LEAD_M, LEAD_M);
    reach(state, [x, y, z + up], opening)
}

/// Whether the fingers are to open, or to go on opening, above the bowl.
fn lets_go(state: &WorldState, cube_m: [f64; 3], held: bool) -> bool {
    let above = state.tip_m[2] - RELEASE_Z_M;
    if !(-RELEASE_BELOW_M..RELEASE_ABOVE_M).contains(&above) {
        return false;
    }
    let across = (cube_m[0] - BOWL_CENTRE_M[0]).hypot(cube_m[1] - BOWL_CENTRE_M[1]);
    if held {
        across < RELEASE_ACROSS_M
    } else {
        across < FALL_ACROSS_M && state.opening < OPEN_ENOUGH
    }
}

/// With the cube between the pads: to the place above the bowl where it is let go.
fn carry(state: &WorldState, cube_m: [f64; 3]) -> Goal {
    let to_bowl = [BOWL_CENTRE_M[0] - cube_m[0], BOWL_CENTRE_M[1] - cube_m[1]];
    let height = state.tip_m[2] - RELEASE_Z_M;
    let across = to_bowl[0].hypot(to_bowl[1]);
    let floor = (FUNNEL_SLOPE * (across - FUNNEL_MOUTH_M)).clamp(0.0, FUNNEL_TOP_M);
    descend(state, to_bowl, height, floor, 0.0)
}

/// Without the cube: to it, and around it.
fn fetch(state: &WorldState, cube_m: [f64; 3]) -> Goal {
    let tip = state.tip_m;
    let to_cube = [cube_m[0] - tip[0], cube_m[1] - tip[1]];
    let across = to_cube[0].hypot(to_cube[1]);
    let height = tip[2] - cube_m[2];
    if across < CLOSE_ACROSS_M && height.abs() < CLOSE_HEIGHT_M {
        return reach(state, cube_m, 0.0);
    }
    let mut floor = (FUNNEL_SLOPE * (across - FUNNEL_MOUTH_M)).clamp(0.0, FUNNEL_TOP_M);
    if state.opening < OPEN_ENOUGH {
        floor = floor.max(0.06);
    }
    descend(state, to_cube, height, floor, 1.0)
}

/// One step inside a funnel: `sideways_m` to go, at `height_m` above the funnel's tip, of which `floor_m` must be kept.
fn descend(
    state: &WorldState,
    sideways_m: [f64; 2],
    height_m: f64,
    floor_m: f64,
    opening: f64,
) -> Goal {
    let tip = state.tip_m;
    let below = (floor_m - height_m).max(0.0);
    let sideways = (1.0 - below / 0.03).clamp(0.0, 1.0);
    let wish = [
        sideways * sideways_m[0],
        sideways * sideways_m[1],
        floor_m - height_m,
    ];
    let length = (wish[0] * wish[0] + wish[1] * wish[1] + wish[2] * wish[2]).sqrt();
    let share = if length > LEAD_M {
        LEAD_M / length
    } else {
        1.0
    };
    reach(
        state,
        std::array::from_fn(|axis| tip[axis] + share * wish[axis]),
        opening,
    )
}

/// Joints for a tip position, fingers opening along the base frame's y axis; the present joints if there are none.
fn reach(state: &WorldState, tip_m: [f64; 3], opening: f64) -> Goal {
    let [x, y, z] = tip_m;
    let radius = x.hypot(y).max(1e-6);
    let scale = radius.clamp(RADIUS_M[0], RADIUS_M[1]) / radius;
    let tip_m = [x * scale, y * scale, z.clamp(HEIGHT_M[0], HEIGHT_M[1])];
    let q_rad = joints_for(&VerticalGrip {
        tip_m,
        yaw_rad: 0.0,
    })
    .unwrap_or(state.q_rad);
    Goal { q_rad, opening }
}
