//! The device that the command line names, opened for one arm. Decides the defaults that depend on the device: how leader
//! and arm come together, how often it is read, how deflections are shaped.

use std::path::Path;

use anyhow::{Context, bail};
use tactus_drivers_api::servo::Part;
use tactus_teleop::filter::Shaping;
use tactus_teleop::keyboard::Keys;
use tactus_teleop::{Frame, Gamepad, Jog, JogSpec, Keyboard, Leader, Pilot, Source, SpaceMouse};
use tactus_types::{ArmInfo, Clock, Reference};

use crate::cell::{self, CellDevice};
use crate::cli::{FrameWord, SourceWord, TeleopArgs};
use crate::device;

/// Readings a second of a device that says no other rate.
const RATE_HZ: f64 = 100.0;

/// A device, ready to be read.
pub struct Opened {
    pub source: Box<dyn Source>,
    pub pilot: Pilot,
    /// Where the terminal's keys go, for the keyboard.
    pub keys: Option<Keys>,
    pub rate_hz: f64,
    /// How it and the arm come together unless asked otherwise.
    pub reference: Reference,
}

/// Opens the device of `args` for the arm of `info`. Nothing moves and nothing has torque.
pub fn open(args: &TeleopArgs, info: &ArmInfo, clock: &dyn Clock) -> anyhow::Result<Opened> {
    let device = args.device.as_deref();
    let takes_device = matches!(args.source, SourceWord::Gamepad | SourceWord::Spacemouse);
    if device.is_some() && !takes_device {
        bail!("--device is an input device, for --source gamepad or spacemouse");
    }
    if args.leader_cell.is_some() && args.source != SourceWord::Leader {
        bail!("--leader-cell is for --source leader");
    }
    let mut keys = None;
    let (source, shaping, own_rate): (Box<dyn Source>, _, _) = match args.source {
        SourceWord::Leader => {
            let file = args.leader_cell.as_deref();
            let file = file.context(
                "--source leader needs --leader-cell FILE, whose [device] says where the leader arm is",
            )?;
            let (leader, rate_hz) = leader(file, info, clock)?;
            (leader, Shaping::NONE, rate_hz)
        }
        SourceWord::Gamepad => {
            let pad = Box::new(Gamepad::open(device)?);
            (pad, Shaping::default(), RATE_HZ)
        }
        SourceWord::Spacemouse => {
            let mouse = Box::new(SpaceMouse::open(device)?);
            (mouse, Shaping::default(), RATE_HZ)
        }
        SourceWord::Keyboard => {
            let own = keys.insert(Keys::default());
            (Box::new(Keyboard::new(own)), Shaping::NONE, RATE_HZ)
        }
    };
    let frame = match args.frame {
        _ if args.source == SourceWord::Leader => Frame::Joints,
        Some(FrameWord::Base) => Frame::Base,
        Some(FrameWord::Tool) => Frame::Tool,
        Some(FrameWord::Joints) => Frame::Joints,
        None => Jog::frame_for(info),
    };
    let jog = Jog::new(info, frame, JogSpec::at(args.speed))?;
    Ok(Opened {
        source,
        pilot: Pilot::new(jog, shaping),
        keys,
        rate_hz: args.rate.map_or(own_rate, f64::from),
        reference: match args.source {
            SourceWord::Leader => Reference::Leader,
            SourceWord::Gamepad | SourceWord::Spacemouse | SourceWord::Keyboard => {
                Reference::Clutch
            }
        },
    })
}

/// The leader arm that the `[device]` section of `file` describes, and how often it is read.
fn leader(
    file: &Path,
    info: &ArmInfo,
    clock: &dyn Clock,
) -> anyhow::Result<(Box<dyn Source>, f64)> {
    let CellDevice::Servos(arm) = cell::device_of(file)? else {
        bail!(
            "cell file {}: expected an arm of servos as a leader",
            file.display()
        );
    };
    if arm.part != Part::Leader {
        bail!(
            "cell file {}: field `device.part`: expected leader, got follower: a leader is moved by hand and has no torque",
            file.display()
        );
    }
    let device = device::start(&arm, &arm.calibration()?, clock.now())?;
    Ok((Box::new(Leader::new(device, info)?), arm.rate_hz))
}
