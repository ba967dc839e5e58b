//! Exposure, gain and white balance: locked to what the cell says, or left to the camera.

use super::node::Node;
use super::table::*;
use super::{Failed, refuse};
use crate::CameraError;
use crate::spec::V4l2Spec;

/// Microseconds in a unit of exposure.
const EXPOSURE_UNIT_US: u32 = 100;

/// Sets the controls as `device` says. What has to be locked and cannot be is an error; what should be automatic and has no
/// such control is left alone.
pub(super) fn apply(node: &mut dyn Node, device: &V4l2Spec, what: &str) -> Result<(), Failed> {
    // A longer exposure would lengthen the frame period in the dark, and halve the rate.
    wish(node, CID_EXPOSURE_AUTO_PRIORITY, Some(0));
    let mut lock = Lock { node, what };
    match device.exposure_us {
        Some(us) => {
            lock.set("exposure_us", CID_EXPOSURE_AUTO, EXPOSURE_MANUAL, 1)?;
            let units = (us / EXPOSURE_UNIT_US).max(1) as i32;
            lock.set(
                "exposure_us",
                CID_EXPOSURE_ABSOLUTE,
                units,
                EXPOSURE_UNIT_US as i32,
            )?;
        }
        None => wish(lock.node, CID_EXPOSURE_AUTO, None),
    }
    match device.gain {
        Some(gain) => {
            wish(lock.node, CID_AUTOGAIN, Some(0));
            lock.set("gain", CID_GAIN, gain as i32, 1)?;
        }
        None => wish(lock.node, CID_AUTOGAIN, Some(1)),
    }
    match device.white_balance_k {
        Some(kelvin) => {
            lock.set("white_balance_k", CID_AUTO_WHITE_BALANCE, 0, 1)?;
            lock.set(
                "white_balance_k",
                CID_WHITE_BALANCE_TEMPERATURE,
                kelvin as i32,
                1,
            )?;
        }
        None => wish(lock.node, CID_AUTO_WHITE_BALANCE, Some(1)),
    }
    Ok(())
}

/// The control `id`, where the device has it and it can be written.
fn control(node: &mut dyn Node, id: u32) -> Option<QueryCtrl> {
    let mut value = QueryCtrl {
        id,
        ..QueryCtrl::default()
    };
    node.queryctrl(&mut value).ok()?;
    (value.flags & (CTRL_FLAG_DISABLED | CTRL_FLAG_READ_ONLY) == 0).then_some(value)
}

/// Sets a control, or to its default, where the device has it.
fn wish(node: &mut dyn Node, id: u32, value: Option<i32>) {
    let Some(control) = control(node, id) else {
        return;
    };
    let value = value.unwrap_or(control.default_value);
    if let Err(e) = node.s_ctrl(&mut Control { id, value }) {
        tracing::debug!("control {id:#x}: {e}");
    }
}

struct Lock<'a> {
    node: &'a mut dyn Node,
    what: &'a str,
}

impl Lock<'_> {
    /// Sets a control to `value`, in units of `unit` of the field, and reads it back.
    fn set(&mut self, field: &'static str, id: u32, value: i32, unit: i32) -> Result<(), Failed> {
        let refused = |expected: String, actual: String| {
            Err(refuse(CameraError::Control {
                what: self.what.into(),
                field,
                expected,
                actual,
            }))
        };
        let in_field = |value: i32| i64::from(value) * i64::from(unit);
        let asked = in_field(value).to_string();
        let Some(control) = control(self.node, id) else {
            let expected = format!("none, since the camera has no such control ({id:#x})");
            return refused(expected, asked);
        };
        if !(control.minimum..=control.maximum).contains(&value) {
            let (low, high) = (in_field(control.minimum), in_field(control.maximum));
            return refused(format!("{low} to {high}, which the camera offers"), asked);
        }
        self.node.s_ctrl(&mut Control { id, value }).map_err(Err)?;
        let mut read = Control { id, value: 0 };
        self.node.g_ctrl(&mut read).map_err(Err)?;
        // A control with steps takes the nearest one.
        if (i64::from(read.value) - i64::from(value)).abs() >= i64::from(control.step.max(1)) {
            let expected = format!(
                "a value that the camera keeps; it made {} of it",
                in_field(read.value)
            );
            return refused(expected, asked);
        }
        Ok(())
    }
}
