//! A scripted expert: a pure function from the whole state of the world to the next goal.
//!
//! Decides: how the task is demonstrated. It keeps no memory, so it can be asked in any state, however the world got
//! there: a disturbed episode shows a recovery, and the label of a disturbed step is still what the expert wants.
//!
//! Rules, first match wins:
//! 1. both pads press the named cube: go straight up, fingers closing;
//! 2. the tip is around the cube's centre: stay there, fingers closing;
//! 3. otherwise, fingers opening, go to the cube inside a funnel: the closer to its vertical axis, the lower the tip
//!    may be. Below the funnel, climb before moving sideways.

use crate::kinematics::{VerticalGrip, joints_for};
use crate::scene::Cube;
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
/// Goals stay in this cylinder about the yaw axis, where the inverse kinematics always has an answer, m.
const RADIUS_M: [f64; 2] = [0.10, 0.43];
const HEIGHT_M: [f64; 2] = [0.005, 0.26];

/// The goal to be reached one policy period from now.
pub fn goal(state: &WorldState, target: Cube) -> Goal {
    let tip = state.tip_m;
    let cube = state.cubes[target.index()].position_m;
    let to_cube = [cube[0] - tip[0], cube[1] - tip[1]];
    let across = to_cube[0].hypot(to_cube[1]);
    let height = tip[2] - cube[2];

    if state.pinched[target.index()] && state.opening < HOLDING_OPENING {
        let up = (LIFTED_Z_M - tip[2]).clamp(-LEAD_M, LEAD_M);
        return reach(state, [tip[0], tip[1], tip[2] + up], 0.0);
    }
    if across < CLOSE_ACROSS_M && height.abs() < CLOSE_HEIGHT_M {
        return reach(state, cube, 0.0);
    }
    let mut floor = (FUNNEL_SLOPE * (across - FUNNEL_MOUTH_M)).clamp(0.0, FUNNEL_TOP_M);
    if state.opening < OPEN_ENOUGH {
        floor = floor.max(0.06);
    }
    let below = (floor - height).max(0.0);
    let sideways = (1.0 - below / 0.03).clamp(0.0, 1.0);
    let wish = [sideways * to_cube[0], sideways * to_cube[1], floor - height];
    let length = (wish[0] * wish[0] + wish[1] * wish[1] + wish[2] * wish[2]).sqrt();
    let share = if length > LEAD_M {
        LEAD_M / length
    } else {
        1.0
    };
    reach(
        state,
        std::array::from_fn(|axis| tip[axis] + share * wish[axis]),
        1.0,
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
