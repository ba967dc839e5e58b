//! Arms of Dynamixel X servos, protocol 2.0: Koch v1.1 (follower and leader) and ViperX 300 6DOF, as ALOHA has it.
//!
//! What servos of all makes share (bus, calibration, the arm on the bench, watching) is
//! [`tactus_drivers_api::servo`]; here is what is Dynamixel's. Read straight down: bytes, registers, the arms, the device.
//!
//! - [`packet`]: packets out, statuses in, as bytes.
//! - [`registers`]: the register table.
//! - [`arm`]: which arms there are: joints, limits, and what the servos' registers have to hold.
//! - [`device`]: the arm in service, a [`Device`](tactus_drivers_api::Device).
//!
//! What moves the arm is only [`device`]; what writes EEPROM is only [`Bench::set_up`](tactus_drivers_api::servo::Bench::set_up).
//!
//! # Why no crate for the protocol
//! `dynamixel2` 0.9.1 and `rustypot` 1.13 speak it. Both own the port and its timing: an instruction that is not answered is
//! an error to the caller, who cannot tell an echo from an answer, a late answer from the next one's, one servo's silence
//! from everybody's, nor go on listening for a second servo of the same id. Here each of these decides whether an arm is
//! served, so the packets are this crate's (a hundred lines) and the rest is the bus that Feetech's servos have too. The
//! bytes in the tests are those of the vendor's SDK, which also drives the emulator that the driver is tested on.
#![forbid(unsafe_code)]

pub mod arm;
pub mod device;
pub mod packet;
pub mod registers;

pub use arm::{FAMILY, Model};
pub use device::DynamixelArm;
