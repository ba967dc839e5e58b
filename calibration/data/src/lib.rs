//! What calibration knows and how it is kept: boards, lenses, poses of cameras, their files and where these came from.
//!
//! Decides the formats, what a legal file is, and when one is stale or foreign. Estimates nothing and needs no OpenCV: that is
//! `tactus-fit`'s, and [`exchange`] is what is said to it.
//!
//! - [`board`]: the flat target, its corners in m; [`drawing`] prints it with its true size.
//! - [`lens`]: intrinsics and distortion; [`camera_info`]: the ROS file of them, and Kalibr's.
//! - [`pose`]: `X_AB`, the pose of frame B in frame A; [`hand_eye`]: the file with a camera's.
//! - [`arm_latency`]: how late an arm is.
//! - [`coverage`]: which regions, tilts and distances the views of a board still lack.
//! - [`seal`]: id, date and SHA-256 of a file; [`seal::replace`] writes one whole or not at all.
//!
//! Terms. *Board frame* W: origin at the board's upper left outer corner, x right, y down, z away from who looks at it.
//! *Camera frame* C: x right, y down, z forward. *Base* B and *hand* E: the two ends of an arm's chain, by the names of its links.
#![forbid(unsafe_code)]

pub mod arm_latency;

pub mod board;
mod dictionary;
pub mod drawing;

pub mod lens;

pub mod pose;

pub mod camera_info;
pub mod hand_eye;
pub mod seal;

pub mod coverage;
pub mod exchange;

pub mod error;

pub use arm_latency::ArmLatency;
pub use board::{Board, Pattern};
pub use camera_info::{CameraInfo, IntrinsicsQuality};
pub use error::CalibrationError;
pub use hand_eye::{HandEye, HandEyeQuality, Mount};
pub use lens::{Lens, LensModel};
pub use pose::Pose;
pub use seal::Seal;
