//! What the policy sees: camera frames, joint states, and the observation made of them.

use std::sync::Arc;

use crate::{JointVec, Time};

/// How a camera frame's bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A baseline JPEG file.
    Jpeg,
    /// `height * width * 3` bytes, row-major, red first, 0..=255.
    Rgb8,
}

/// One image of one camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraFrame {
    /// Name of the camera in the cell, for example `scene`.
    pub camera: Arc<str>,
    /// When the sensor measured.
    pub captured_at: Time,
    /// When this process received it.
    pub received_at: Time,
    /// Counter of the camera process; restarts with it.
    pub seq: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Encoding of `data`.
    pub encoding: Encoding,
    /// The image bytes.
    pub data: Arc<[u8]>,
}

/// Measured state of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointState {
    /// When the joints were measured.
    pub captured_at: Time,
    /// Counter of the device; restarts with it.
    pub seq: u64,
    /// Device epoch: changes when the device restarts or its world is reset, after which no old command counts.
    pub epoch: u64,
    /// Joint positions, rad.
    pub q: JointVec,
    /// Joint velocities, rad/s.
    pub dq: JointVec,
    /// Gripper opening, 0.0 closed .. 1.0 fully open.
    pub opening: f64,
    /// Whether the motors hold the arm. Always true of a device that cannot switch them.
    pub torque: bool,
}

/// A state older than the newest by more than this is not a message that was overtaken: the clock was set back.
const CLOCK_SET_BACK: std::time::Duration = std::time::Duration::from_millis(100);

impl JointState {
    /// Whether it takes the place of `old`: captured later, or after the clock was set back. Messages that arrive out of
    /// order do not, whatever their device epoch: the last state before a restart may arrive after the first one of it.
    pub fn supersedes(&self, old: &Self) -> bool {
        self.captured_at > old.captured_at
            || old.captured_at.since(self.captured_at) > CLOCK_SET_BACK
    }
}

/// Everything the policy sees at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The instant that proprioception is interpolated to; ages and due times count from it.
    pub observed_at: Time,
    /// One frame per camera, in the bundle's camera order.
    pub frames: Vec<CameraFrame>,
    /// Proprioception at `observed_at`.
    pub state: JointState,
}

/// A source of camera frames.
pub trait Camera: Send {
    /// Blocks until the next frame is there and returns it; `Ok(None)` when the source is not ready yet.
    ///
    /// # Errors
    /// [`CameraError`] when the source failed for good.
    fn capture(&mut self) -> Result<Option<CameraFrame>, CameraError>;
}

/// Why a camera cannot deliver.
#[derive(Debug, thiserror::Error)]
#[error("camera `{camera}`: {reason}")]
pub struct CameraError {
    /// Name of the camera.
    pub camera: String,
    /// What happened.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_that_was_measured_last_counts_and_a_straggler_of_the_epoch_before_does_not() {
        let state = |millis: u64, epoch: u64| JointState {
            captured_at: Time::from_millis(millis),
            seq: 0,
            epoch,
            q: JointVec::zeros(1),
            dq: JointVec::zeros(1),
            opening: 0.0,
            torque: true,
        };
        let newest = state(1000, 2);
        assert!(state(1002, 2).supersedes(&newest) && state(1002, 3).supersedes(&newest));
        assert!(!state(998, 2).supersedes(&newest), "overtaken");
        assert!(
            !state(998, 1).supersedes(&newest),
            "and of the world before"
        );
        assert!(!newest.supersedes(&newest), "arrived twice");
        assert!(state(800, 3).supersedes(&newest), "the clock was set back");
    }
}
