//! The simulated device as a process: physics in real time behind the same wire as any arm.
//!
//! Decides when the world is shown to cameras and scored, and what a reset does to the device: a new epoch, in which no
//! old command counts. What moves the arm, and the command deadline, are the device shell's (`tactus-drivers-api`).
//!
//! The simulated arm starts with torque on, in the pose of its world. Without torque its brakes keep it where it is; told
//! that it has none, it falls.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use tactus_drivers_api::device::first_epoch;
use tactus_drivers_api::wire::{
    Cell, Delivery, Name, Publisher, Responder, Session, SimReset, SimResetReply, SimWorld, Topic,
};
use tactus_drivers_api::{
    Device, DeviceError, DeviceOptions, DeviceReport, Goal as DeviceGoal, ServeError, serve_device,
};
use tactus_types::{ArmGeometry, ArmInfo, Clock, JointLimits, JointState, JointVec, Time};

use crate::board::BoardPlace;
use crate::error::SimError;
use crate::scene::{ARM_URDF, JOINT_NAMES, JOINT_RANGE_RAD, STEP_S, STEPS_PER_PERIOD};
use crate::{Cube, Goal, Judge, Scenario, Score, StartPoses, World, WorldSnapshot};

/// Physics steps between two publications of the world: 100 Hz.
const WORLD_EVERY: u64 = 5;
/// Worlds and answers that may wait for the publisher thread.
const OUTGOING: usize = 32;
/// Speed that the simulated joints are rated for, rad/s.
const VELOCITY_RAD_PER_SEC: f64 = 4.0;
/// Acceleration that the simulated joints are rated for, rad/s^2.
const ACCELERATION_RAD_PER_SEC2: f64 = 60.0;
/// Jerk that the simulated joints are rated for, rad/s^3: the full acceleration within 20 ms.
const JERK_RAD_PER_SEC3: f64 = 3000.0;
/// Without a command for this long the device holds by itself, seconds.
const COMMAND_DEADLINE_SECS: f64 = 0.1;
/// Where the tool point should stay, m: above the table, and as far as the arm reaches.
const WORKSPACE_M: [[f64; 3]; 2] = [[-0.7, -0.7, 0.0], [0.7, 0.7, 0.85]];

/// Where the simulated device is served, and its first world.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// The cell.
    pub cell: Cell,
    /// Name of the device in it.
    pub device: Name,
    /// Seed of the first world.
    pub seed: u64,
    /// Whether it looks different from others (see [`crate::variation`]); a reset says for itself.
    pub variation: bool,
    /// Whether the arm has brakes.
    pub brakes: bool,
    /// A calibration board is in the cell, and the cubes are out of its way.
    pub board: Option<BoardPlace>,
    /// Its world is the one that cameras of the cell render; not so of the second arm of a pair, which has a table of its own.
    pub shown: bool,
}

/// Why the simulated device does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The world or a picture of it.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The shell around the device.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The network.
    #[error(transparent)]
    Session(#[from] tactus_drivers_api::wire::SessionError),
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// What the simulated arm says of itself.
pub fn arm_info() -> ArmInfo {
    let limits = |[lower, upper]: [f64; 2]| JointLimits {
        lower,
        upper,
        velocity: VELOCITY_RAD_PER_SEC,
        acceleration: ACCELERATION_RAD_PER_SEC2,
        jerk: JERK_RAD_PER_SEC3,
    };
    ArmInfo {
        model: "tactus-sim-6".into(),
        joints: JOINT_NAMES.map(str::to_owned).to_vec(),
        limits: JOINT_RANGE_RAD.map(limits).to_vec(),
        gripper: true,
        state_rate_hz: 1.0 / STEP_S,
        brakes: true,
        torque_switch: true,
        command_deadline_secs: COMMAND_DEADLINE_SECS,
        geometry: Some(ArmGeometry {
            urdf: ARM_URDF.into(),
            base_link: "base".into(),
            tool_link: "tip".into(),
            workspace: Some(WORKSPACE_M),
        }),
    }
}

/// A reset that waits for the ticking thread.
type PendingReset = Arc<Mutex<Option<(SimReset, Responder<SimResetReply>)>>>;

/// What the ticking thread hands to the publisher thread.
enum Outgoing {
    World(SimWorld),
    Reset(Responder<SimResetReply>, u64),
}

/// Serves the simulated device on the calling thread until `stop` is set.
///
/// # Errors
/// [`RunError`] when the scene cannot be loaded or the network not be used.
pub fn run_sim(
    options: &SimOptions,
    session: &Session,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<DeviceReport, RunError> {
    let SimOptions {
        cell,
        device,
        seed,
        variation,
        brakes,
        board,
        shown,
    } = options;
    let pending: PendingReset = Arc::default();
    let asked = pending.clone();
    let _resets = session.queryable(
        &cell.key(&Topic::SimReset),
        move |q: Delivery<SimReset>, responder: Responder<SimResetReply>| {
            let mut slot = asked.lock().unwrap_or_else(PoisonError::into_inner);
            // An earlier reset that was not carried out yet is overtaken; its asker is told by the missing answer.
            *slot = Some((q.message, responder));
        },
    )?;
    let worlds = match shown {
        true => Some(session.publisher::<SimWorld>(&cell.key(&Topic::SimWorld))?),
        false => None,
    };
    let (outgoing, publishing) = sync_channel(OUTGOING);
    let first = SimReset {
        seed: *seed,
        variation: *variation,
    };
    let mut sim = SimDevice::new(
        first,
        first_epoch(clock.now()),
        (*brakes, *board),
        pending,
        outgoing,
    )?;
    let options = DeviceOptions {
        cell: cell.clone(),
        name: device.clone(),
        geometry: None,
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("world-publish".into())
            .spawn_scoped(scope, move || publish(&publishing, worlds.as_ref()))
            .map_err(|e| RunError::Thread {
                thread: "world-publish",
                reason: e.to_string(),
            })?;
        let report = serve_device(&mut sim, &options, session, stop);
        // The publisher thread ends when its channel does.
        drop(sim);
        Ok(report?)
    })
}

fn publish(publishing: &Receiver<Outgoing>, worlds: Option<&Publisher<SimWorld>>) {
    while let Ok(outgoing) = publishing.recv() {
        match outgoing {
            Outgoing::World(world) => {
                if let Some(Err(e)) = worlds.map(|worlds| worlds.put(&world)) {
                    tracing::debug!("world not sent: {e}");
                }
            }
            Outgoing::Reset(responder, epoch) => responder.answer(&SimResetReply { epoch }),
        }
    }
}

/// The world behind the device shell.
struct SimDevice {
    world: World,
    goal: Goal,
    torque: bool,
    brakes: bool,
    board: Option<BoardPlace>,
    /// Where the brakes keep the arm while torque is off.
    braked: Goal,
    judge: Judge,
    epoch: u64,
    steps: u64,
    pending: PendingReset,
    outgoing: SyncSender<Outgoing>,
}

impl SimDevice {
    fn new(
        first: SimReset,
        epoch: u64,
        (brakes, board): (bool, Option<BoardPlace>),
        pending: PendingReset,
        outgoing: SyncSender<Outgoing>,
    ) -> Result<Self, SimError> {
        let nowhere = Goal {
            q_rad: [0.0; 6],
            opening: 0.0,
        };
        let mut device = Self {
            world: World::new()?,
            goal: nowhere,
            torque: true,
            brakes,
            board,
            braked: nowhere,
            judge: Judge::new(),
            epoch,
            steps: 0,
            pending,
            outgoing,
        };
        device.reset(first);
        Ok(device)
    }

    fn reset(&mut self, to: SimReset) {
        let mut scenario = Scenario::sample(to.seed, StartPoses::Narrow).looking(to.variation);
        if let Some(board) = self.board {
            board.clear(&mut scenario);
        }
        self.world.reset(&scenario);
        self.goal = Goal {
            q_rad: scenario.q_rad,
            opening: scenario.opening,
        };
        self.braked = self.goal;
        self.judge = Judge::new();
        self.steps = 0;
    }

    /// Carries out a waiting reset; a lock that is held by the asker right now is looked at again in the next tick.
    fn take_reset(&mut self) {
        let taken = match self.pending.try_lock() {
            Ok(mut slot) => slot.take(),
            Err(TryLockError::Poisoned(slot)) => slot.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some((to, responder)) = taken {
            self.reset(to);
            self.epoch += 1;
            self.tell(Outgoing::Reset(responder, self.epoch));
        }
    }

    /// A publisher thread that does not keep up loses worlds: the next one is newer.
    fn tell(&self, outgoing: Outgoing) {
        if self.outgoing.try_send(outgoing).is_err() {
            tracing::debug!("the publisher of the world does not keep up");
        }
    }
}

impl Device for SimDevice {
    fn info(&self) -> ArmInfo {
        ArmInfo {
            brakes: self.brakes,
            ..arm_info()
        }
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        let state = self.world.state();
        let vec = |values: [f64; 6]| JointVec::from_fn(values.len(), |i| values[i]);
        Ok(JointState {
            captured_at: now,
            seq: 0,
            epoch: self.epoch,
            q: vec(state.q_rad),
            dq: vec(state.dq_rad_per_sec),
            opening: state.opening.clamp(0.0, 1.0),
            torque: self.torque,
        })
    }

    fn apply(&mut self, goal: &DeviceGoal) -> Result<(), DeviceError> {
        for (to, q) in self.goal.q_rad.iter_mut().zip(goal.q.iter()) {
            *to = *q;
        }
        self.goal.opening = goal.opening;
        Ok(())
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        if self.torque && !on {
            self.braked = self.goal;
        }
        self.torque = on;
        Ok(())
    }

    fn step(&mut self, now: Time) -> Result<(), DeviceError> {
        self.take_reset();
        match (self.torque, self.brakes) {
            (true, _) => self.world.step(&self.goal),
            (false, true) => self.world.step(&self.braked),
            (false, false) => self.world.step_limp(),
        }
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_PERIOD as u64) {
            self.judge.update(&self.world.state());
        }
        if self.steps.is_multiple_of(WORLD_EVERY) {
            let state = self.world.state();
            let Score {
                lifted,
                first_lifted,
                placed,
                first_placed,
            } = *self.judge.score();
            let WorldSnapshot {
                qpos, variation, ..
            } = self.world.snapshot();
            let index = |cube: Option<Cube>| cube.map(|cube| cube.index() as u32);
            let world = SimWorld {
                captured_at: now,
                epoch: self.epoch,
                sim_time_secs: self.steps as f64 * STEP_S,
                qpos,
                lifted: lifted.to_vec(),
                first_lifted: index(first_lifted),
                placed: placed.to_vec(),
                first_placed: index(first_placed),
                variation,
                cube_heights: state.cubes.iter().map(|c| c.position_m[2]).collect(),
            };
            self.tell(Outgoing::World(world));
        }
        Ok(())
    }
}
