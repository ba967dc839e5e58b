//! Human sources of setpoints: what a leader arm, a gamepad, a SpaceMouse or a keyboard says, and where it wants the arm.
//!
//! Read in data order:
//! - [`reading`]: [`Reading`], what any device says at one time, and [`Source`], what every device is to the rest.
//! - The devices: [`leader`] (any [`Device`](tactus_drivers_api::Device) that a person moves), [`events`] (what the kernel
//!   reports of input devices) with [`gamepad`] and [`spacemouse`] on it, [`keyboard`] (a terminal's).
//! - [`filter`]: dead zone, curve and smoothing of deflections; [`jog`]: from deflections to joints.
//! - [`pilot`]: [`Pilot`], from readings to what is wanted of the arm.
//!
//! Nothing here decides who commands, when the arm follows, or limits it: that is the arm host's (`tactus-control`), for any
//! source. Nothing here touches the wire: `tactus teleop` takes the lease, publishes, and gives the orders.
//!
//! Terms. *Deflection*: how far a stick or puck is pushed, -1..1 along each axis. *Dead man's switch*: what has to be held for
//! the arm to follow; letting go of it is *not engaged*. *Clutch*: the same on purpose, to move the device elsewhere.
#![forbid(unsafe_code)]

pub mod reading;

pub mod leader;

pub mod events;
pub mod gamepad;
pub mod spacemouse;

pub mod keyboard;

pub mod filter;
pub mod jog;
pub mod pilot;

pub mod error;

pub use error::TeleopError;
pub use gamepad::Gamepad;
pub use jog::{Frame, Jog, JogSpec};
pub use keyboard::Keyboard;
pub use leader::Leader;
pub use pilot::{ArmView, Pilot, Wanted};
pub use reading::{AXES, Deflection, Motion, Reading, Source, Wish};
pub use spacemouse::SpaceMouse;
