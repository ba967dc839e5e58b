//! The simulated cameras as a process: pictures of the published world, as a camera at a fixed rate would take them.
//!
//! Decides which world becomes a picture: the first that is at least one frame period newer than the last one drawn, so
//! that a frame is drawn the moment its world arrives and costs no waiting. Both cameras draw the same world, and their
//! frames carry its time as capture time. Draws on the calling thread, which owns the OpenGL context.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tactus_drivers_api::CameraPort;
use tactus_drivers_api::wire::{CameraInfo, Cell, Delivery, Name, Session, SimWorld, Topic};
use tactus_types::{CameraFrame, Clock, Encoding};

use crate::SimError;
use crate::board::{self, BoardPlace};
use crate::device::RunError;
use crate::render::Renderer;
use crate::scene::{CAMERA_NAMES, PICTURE_SIZE};
use crate::world::WorldSnapshot;

/// How often a process without worlds looks whether it should stop.
const NAP: Duration = Duration::from_millis(50);

/// Which cameras are served.
#[derive(Debug, Clone)]
pub struct CameraOptions {
    /// The cell.
    pub cell: Cell,
    /// Names of the cameras; each must be one of [`CAMERA_NAMES`].
    pub cameras: Vec<Name>,
    /// Frames per second.
    pub rate_hz: f64,
    /// A calibration board is in the cell; pictures are then of [`board::PICTURE_SIZE`].
    pub board: Option<BoardPlace>,
}

/// The newest world, and whether it has been looked at.
#[derive(Default)]
struct Newest {
    world: Mutex<Option<SimWorld>>,
    arrived: Condvar,
}

/// Serves the simulated cameras until `stop` is set; returns the number of rounds drawn.
///
/// # Errors
/// [`RunError`] for an unknown camera, without a usable EGL, or when the network cannot be used.
pub fn run_cameras(
    options: &CameraOptions,
    session: &Session,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<u64, RunError> {
    let CameraOptions {
        cell,
        cameras,
        rate_hz,
        board,
    } = options;
    for camera in cameras {
        if !CAMERA_NAMES.contains(&camera.as_str()) {
            let name = camera.to_string();
            return Err(SimError::MissingName {
                kind: "camera",
                name,
            }
            .into());
        }
    }
    let newest = Arc::new(Newest::default());
    let to = newest.clone();
    let key = cell.key(&Topic::SimWorld);
    let _worlds = session.subscribe(
        &key,
        move |world: Result<Delivery<SimWorld>, _>| match world {
            Ok(delivery) => {
                let mut slot = to.world.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(delivery.message);
                drop(slot);
                to.arrived.notify_one();
            }
            Err(e) => tracing::warn!("world refused: {e}"),
        },
    )?;
    let (mut renderer, width, height) = match board {
        None => (Renderer::new()?, PICTURE_SIZE as u32, PICTURE_SIZE as u32),
        Some(place) => {
            let (width, height) = board::PICTURE_SIZE;
            (Renderer::with_board(*place)?, width.into(), height.into())
        }
    };
    let info = CameraInfo {
        width,
        height,
        rate_hz: *rate_hz,
    };
    let mut ports = Vec::with_capacity(cameras.len());
    for camera in cameras {
        ports.push((
            camera.shared(),
            CameraPort::open(session, cell, camera, info)?,
        ));
    }
    let mut round = Round::new(1.0 / rate_hz);
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(world) = newest.take() else { continue };
        if !round.is_due(world.epoch, world.sim_time_secs) {
            continue;
        }
        renderer.show(&WorldSnapshot {
            time_s: world.sim_time_secs,
            qpos: world.qpos,
            variation: world.variation,
        })?;
        for (camera, port) in &ports {
            let frame = CameraFrame {
                camera: camera.clone(),
                captured_at: world.captured_at,
                received_at: clock.now(),
                seq: rounds,
                width,
                height,
                encoding: Encoding::Jpeg,
                data: renderer.jpeg(camera)?.into(),
            };
            port.publish(&frame)?;
        }
        rounds += 1;
    }
    Ok(rounds)
}

impl Newest {
    /// The newest world, once; waits a little when there is none.
    fn take(&self) -> Option<SimWorld> {
        let mut slot = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            slot = self
                .arrived
                .wait_timeout(slot, NAP)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        slot.take()
    }
}

/// Which worlds are drawn.
#[derive(Debug)]
struct Round {
    period_secs: f64,
    epoch: Option<u64>,
    next_secs: f64,
}

impl Round {
    fn new(period_secs: f64) -> Self {
        Self {
            period_secs,
            epoch: None,
            next_secs: 0.0,
        }
    }

    /// Whether the world at `secs` of `epoch` is to be drawn. Deadlines are a grid of simulated time, so late worlds do
    /// not shift the ones after them; missed ones are skipped.
    fn is_due(&mut self, epoch: u64, secs: f64) -> bool {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.next_secs = secs;
        }
        // Half a physics step of slack against rounding.
        if secs < self.next_secs - 0.001 {
            return false;
        }
        let periods = ((secs - self.next_secs) / self.period_secs + 1e-6)
            .floor()
            .max(0.0)
            + 1.0;
        self.next_secs += periods * self.period_secs;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_world_of_a_hundred_hertz_becomes_a_frame() {
        let mut round = Round::new(0.05);
        let drawn: Vec<u32> = (1..=21)
            .filter(|k| round.is_due(1, f64::from(*k) * 0.01))
            .collect();
        assert_eq!(drawn, [1, 6, 11, 16, 21]);
    }

    #[test]
    fn missed_frames_are_skipped_and_a_reset_starts_at_once() {
        let mut round = Round::new(0.05);
        assert!(round.is_due(1, 0.01));
        assert!(round.is_due(1, 0.18), "late");
        assert!(!round.is_due(1, 0.20), "no burst");
        assert!(round.is_due(1, 0.21), "back on the grid");
        assert!(round.is_due(2, 0.01), "another world");
    }
}
