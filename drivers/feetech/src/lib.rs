//! Arms of Feetech STS servos: SO-100 and SO-101, follower and leader.
//!
//! Read straight down: bytes, registers, a bus, LeRobot's calibration, the arm, what can be done with one at rest, the device.
//!
//! - [`packet`]: packets out, statuses in, as bytes.
//! - [`registers`]: the register table.
//! - [`bus`]: instructions and replies on a line, with retries.
//! - [`calibration`]: LeRobot's calibration file, units.
//! - [`arm`]: joints, limits, and what the servos' registers have to hold.
//! - [`bench`]: an arm at rest: found, checked against its calibration, set up, released.
//! - [`probe`]: who answers on a port that nobody has described yet.
//! - [`watch`]: temperature, load, supply, complaints.
//! - [`device`]: the arm in service, a [`Device`](tactus_drivers_api::Device).
//!
//! What moves the arm is only [`device`]; what writes EEPROM is only [`bench::Bench::set_up`].
#![forbid(unsafe_code)]

pub mod arm;
pub mod bench;
pub mod bus;
pub mod calibration;
pub mod device;
pub mod error;
pub mod packet;
pub mod probe;
pub mod registers;
pub mod watch;

pub use arm::{Model, Part, Servo};
pub use bench::Bench;
pub use bus::{Bus, BusError};
pub use calibration::{Calibration, CalibrationError};
pub use device::ServoArm;
pub use error::ArmError;
