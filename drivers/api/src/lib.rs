//! What every driver process shares, and how the arm host reaches one.
//!
//! A device process owns joints. It reports their state at a fixed rate, takes position goals, and holds by itself when
//! none comes: nothing above it has to work for the arm to stand still.
//!
//! - [`pace`]: absolute deadlines of a loop that may not drift and may not burst.
//! - [`watchdog`]: the device-side command deadline.
//! - [`gate`]: which commands a device takes, and the goal that follows from them.
//! - [`device`]: the [`Device`] trait and [`serve_device`], the shell around one.
//! - [`line`]: a serial line under a bus protocol; [`lock`]: one owner per physical device.
//! - [`gripper`]: the [`Gripper`] trait, and [`WithGripper`], which joins one to an arm without delaying it.
//! - [`servo`]: arms of smart servos on one line, whoever made them.
//! - [`camera`]: [`CameraPort`] and [`serve_camera`], the shell around a camera.
//! - [`wire_driver`]: [`WireDriver`], the arm host's side of a device process.
//!
//! # The protocol of a device process, for any language
//! Keys, under `tactus/<cell>/device/<name>/`; messages are those of `runtime/wire/proto`, each with a
//! `tactus.v1.Header` as Zenoh attachment, times on the host's `CLOCK_MONOTONIC`:
//! - `info`: answers every query with `ArmInfo`, and publishes it once.
//! - `state`: publishes `JointState` at `ArmInfo.state_rate_hz`. The epoch is a number never used before on this host
//!   (the clock's nanoseconds at start do), and grows when old commands must not count any more.
//! - `state.torque` says whether the motors hold the arm; a device that cannot switch them (`ArmInfo.torque_switch` false)
//!   may leave it out.
//! - `command`: subscribes to `DeviceCommand`. A command counts when its epoch is the device's, its tick is above the
//!   last one's, its length is the arm's, its numbers are finite, its joints are within the limits that `info` declares, its opening is within 0..1 and it was published less
//!   than a command deadline ago. Anything else is counted and ignored. Once the device holds for want of commands, ticks may
//!   begin anew.
//! - `DeviceCommand.opening`: whoever begins to command (in a new epoch, with ticks that begin anew or another
//!   `generation.boot`, or by enabling) begins with the opening that was measured. That is not what the gripper was told, and
//!   presses with: the device keeps its own until that commander asks for another than it began with.
//! - `DeviceCommand.torque`: `TORQUE_ON` makes the measured pose the goal, then switches torque on, then follows commands;
//!   `TORQUE_OFF` switches it off; both are said in every command until `state.torque` agrees, so a lost one costs
//!   nothing, and change nothing where it agrees already. `TORQUE_KEEP`, the default, is said at all other times. While
//!   torque is off the goal follows the measured pose. A device that cannot switch refuses a command with `TORQUE_OFF`.
//!   Neither a missing command nor a lost link switches torque.
//! - The token `tactus/<cell>/alive/device/<name>` is held while the device serves.
//! - Without a command for `command_deadline_secs` the device holds: it keeps its last goal; when there was none in this
//!   epoch, the pose measured when the epoch began.
//!
//! # The protocol of a camera process
//! Keys, under `tactus/<cell>/camera/<name>/`, with the same header:
//! - `info`: answers every query with `CameraInfo`, and publishes it once: size and rate of its images.
//! - `image`: publishes `foxglove.CompressedImage`, a whole JPEG file of that size at that rate; the header's capture time is
//!   the image's, and `capture_clock` may say how it was read.
//! - `status`: may publish `CameraStatus` once a second: what it dropped, and why no image comes.
//! - The token `tactus/<cell>/alive/camera/<name>` is held while it is served.
#![forbid(unsafe_code)]

pub mod camera;
pub mod device;
pub mod gate;
pub mod gripper;
pub mod line;
pub mod lock;
pub mod network_line;
pub mod pace;
pub mod servo;
pub mod watchdog;
pub mod wire_driver;

/// The wire, for drivers: they depend on this crate alone.
pub use tactus_wire as wire;

pub use camera::{CameraPort, serve_camera};
pub use device::{Device, DeviceError, DeviceOptions, DeviceReport, ServeError, serve_device};
pub use gate::{CommandGate, Goal, Refusals, Refused};
pub use gripper::{Gripper, GripperState, WithGripper};
pub use line::{Line, PortError, SerialLine};
pub use network_line::NetworkLine;
pub use pace::Pacer;
pub use watchdog::Watchdog;
pub use wire_driver::{ConnectError, WireDriver};
