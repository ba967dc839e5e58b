//! Arms of Feetech STS servos: SO-100 and SO-101, follower and leader.
//!
//! What servos of all makes share (bus, calibration, the arm on the bench, watching) is
//! [`tactus_drivers_api::servo`]; here is what is Feetech's. Read straight down: bytes, registers, the arm, the device.
//!
//! - [`packet`]: packets out, statuses in, as bytes.
//! - [`registers`]: the register table.
//! - [`arm`]: joints, limits, and what the servos' registers have to hold.
//! - [`device`]: the arm in service, a [`Device`](tactus_drivers_api::Device).
//!
//! What moves the arm is only [`device`]; what writes EEPROM is only [`Bench::set_up`](tactus_drivers_api::servo::Bench::set_up).
#![forbid(unsafe_code)]

pub mod arm;
pub mod device;
pub mod packet;
pub mod registers;

pub use arm::{FAMILY, MOTORS, Model};
pub use device::ServoArm;
