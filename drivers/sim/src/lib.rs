//! The simulated robot cell: physics, cameras, the task, a scripted expert and the recorder of its episodes.
//!
//! Decides: what the arm, the table, the cubes and the cameras are ([`scene`], `assets/cell.xml`), how an episode
//! starts ([`scenario`]), how the world moves ([`world`]), what is asked ([`task`]) and what counts as done
//! ([`judge`]), how the pictures look ([`render`], [`variation`]), and what a demonstration is ([`expert`], [`dart`],
//! [`record`], [`dataset`]).
//!
//! Does not decide: what moves the arm. A policy, the expert or a person all speak through [`world::Goal`].
//!
//! Terms. *Goal*: the position targets a device is given. *Policy period*: 50 ms, 25 physics steps. *Tip*: the point
//! between the finger pads, 15 mm above their ends. *Base frame*: origin under the yaw axis, x forward, y left,
//! z up, z = 0 on the table; it coincides with the world frame.

#![cfg_attr(test, allow(clippy::unwrap_used))]

// What there is.
pub mod scene;

// How it starts and moves.
pub mod kinematics;
pub mod scenario;
pub mod world;

// What it is for.
pub mod task;

pub mod judge;

// What is seen of it.
pub mod board;
pub mod camera;
pub mod render;
pub mod variation;

// What is learnt from it.
pub mod expert;

pub mod dart;
pub mod dataset;
pub mod record;

// What processes of a cell run.
pub mod cameras;
pub mod device;

pub mod error;

pub use board::BoardPlace;
pub use cameras::{CameraOptions, run_cameras};
pub use device::{RunError, SimOptions, arm_info, run_sim};
pub use error::SimError;
pub use judge::{Judge, Score};
pub use render::Renderer;
pub use scenario::{Scenario, StartPoses};
pub use scene::{ARM_URDF, Cube};
pub use task::{Task, TaskKind};
pub use world::{Goal, World, WorldSnapshot};
