//! Arms that are chains of smart servos on one half-duplex line, whoever made the servos.
//!
//! What makers share is here, once: instructions and replies with retries, LeRobot's calibration, what registers have to
//! hold, an arm on the bench, watching over servos, and the state of an arm in service. What a maker's servos are (packets,
//! register table, which arms are made of them, what torque takes) is its driver's.
//!
//! - [`packet`]: what a protocol is made of; packets as bytes.
//! - [`register`]: registers and their tables.
//! - [`bus`]: instructions and replies on a line, with retries.
//! - [`calibration`]: LeRobot's calibration file, units.
//! - [`arm`]: servos, what their registers have to hold, what a [`Family`] of servos is.
//! - [`bench`]: an arm at rest: found, checked against its calibration, set up, released.
//! - [`homing`]: a calibration from joints that a person brings through their ranges.
//! - [`probe`]: who answers on a port that nobody has described yet.
//! - [`watch`]: temperature, load, supply, complaints.
//! - [`service`]: what is known of an arm in service, and when that ends.
//! - [`error`]: why an arm cannot be used.

pub mod arm;
pub mod bench;
pub mod bus;
pub mod calibration;
pub mod error;
pub mod homing;
pub mod packet;
pub mod probe;
pub mod register;
pub mod service;
pub mod watch;

pub use arm::{Family, GRIPPER, Part, Report, Servo, ServoModel, Setting};
pub use bench::{Bench, Mismatch};
pub use bus::{Bus, BusError, Counts, Replies};
pub use calibration::{Calibration, CalibrationError, ServoCalibration, Unit};
pub use error::ArmError;
pub use homing::{Homing, HomingError, Sweep};
pub use packet::{Packet, Protocol, Scan, Status};
pub use probe::{Found, probe};
pub use register::{Register, Sign};
pub use service::{InService, Service};
pub use watch::{AlarmTable, Alarms, Finding, Reading, Watch};
