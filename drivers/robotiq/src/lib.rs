//! Robotiq's two-finger grippers (2F-85, 2F-140, and Hand-E, which has the same registers) by Modbus RTU.
//!
//! Read straight down: registers, the line, the gripper.
//!
//! - [`registers`]: what the six bytes out and the six bytes in mean.
//! - [`modbus`]: requests and replies on a line, with retries.
//! - [`gripper`]: a [`Gripper`](tactus_drivers_api::Gripper).
//!
//! What moves fingers is only [`Gripper::activate`](tactus_drivers_api::Gripper::activate), and
//! [`Gripper::exchange`](tactus_drivers_api::Gripper::exchange) with an opening.
#![forbid(unsafe_code)]

pub mod gripper;
pub mod modbus;
pub mod registers;

pub use gripper::{Settings, TwoFinger};
pub use modbus::ModbusError;
pub use registers::{Object, Status};
