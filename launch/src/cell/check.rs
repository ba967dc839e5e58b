//! Checks of a cell file's fields: the legal range of every number in one table ([`BOUNDS`]), and how a refusal reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tactus_kinematics::KinematicsError;
use tactus_wire::Name;

/// Legal range of every number in a cell file, with its unit.
const BOUNDS: &[(&str, f64, f64, &str)] = &[
    ("arm.control_rate_hz", 50.0, 1000.0, "Hz"),
    ("arm.realtime_priority", 1.0, 98.0, ""),
    ("arm.spin_us", 0.0, 500.0, "us"),
    ("arm.cpu", 0.0, 1023.0, ""),
    ("arm.limit_scale", 0.01, 1.0, ""),
    ("arm.max_lead_rad", 0.01, 1.5, "rad"),
    ("arm.max_step_rad", 0.0001, 0.5, "rad"),
    ("arm.tail_ms", 0.0, 1000.0, "ms"),
    ("arm.proprio_limit_ms", 2.0, 500.0, "ms"),
    ("arm.settle_ms", 0.0, 60_000.0, "ms"),
    ("arm.link_limit_ms", 60.0, 5000.0, "ms"),
    ("arm.track_rad", 0.001, 1.5, "rad"),
    ("arm.track_limit_ms", 10.0, 5000.0, "ms"),
    ("arm.storm_rad", 0.01, 3.0, "rad"),
    ("arm.storm_limit_ms", 10.0, 5000.0, "ms"),
    ("arm.operator_limit_ms", 10.0, 2000.0, "ms"),
    ("teleop.tolerance_rad", 0.005, 0.5, "rad"),
    ("teleop.reach_rad", 0.01, 3.0, "rad"),
    ("teleop.part_rad", 0.05, 1.5, "rad"),
    ("teleop.smooth_ms", 2.0, 500.0, "ms"),
    ("teleop.blend_ms", 0.0, 5000.0, "ms"),
    ("teleop.slide_share", 0.01, 1.0, ""),
    ("arm.enable_window_ms", 50.0, 5000.0, "ms"),
    ("arm.enable_tolerance_rad", 0.0001, 0.5, "rad"),
    ("arm.start_tolerance_rad", 0.0001, 3.0, "rad"),
    ("arm.poses", -100.0, 100.0, "rad"),
    ("opening", 0.0, 1.0, ""),
    ("arm.workspace", -10.0, 10.0, "m"),
    ("arm.clearance_m", 0.0, 0.1, "m"),
    ("request.trigger.every_ms", 1.0, 5000.0, "ms"),
    ("request.trigger.below_ms", 1.0, 60_000.0, "ms"),
    ("request.answer_within_ms", 5.0, 10_000.0, "ms"),
    ("request.retry_ms", 1.0, 10_000.0, "ms"),
    ("schedule.ease_ms", 0.0, 2000.0, "ms"),
    ("openpi.period_ms", 1.0, 10_000.0, "ms"),
    ("openpi.first_action_offset_ms", 0.0, 10_000.0, "ms"),
    ("schedule.strategy.blend_ms", 1.0, 5000.0, "ms"),
    ("schedule.strategy.decay", 0.0, 10.0, ""),
    ("schedule.strategy.beta", 0.1, 100.0, ""),
    ("engine.intra_threads", 1.0, 64.0, "threads"),
    ("engine.features_every_ms", 0.0, 5000.0, "ms"),
    ("engine.explain_hz", 0.01, 20.0, "Hz"),
    ("engine.denoise_steps", 1.0, 100.0, "steps"),
    ("engine.frame_limit_ms", 1.0, 5000.0, "ms"),
    ("engine.max_skew_ms", 0.0, 1000.0, "ms"),
    ("camera.rate_hz", 1.0, 200.0, "Hz"),
    ("camera.width", 1.0, 16384.0, "pixels"),
    ("camera.height", 1.0, 16384.0, "pixels"),
    ("camera.exposure_us", 100.0, 1_000_000.0, "us"),
    ("camera.gain", 0.0, 65535.0, ""),
    ("camera.white_balance_k", 1000.0, 20_000.0, "K"),
    ("camera.quality", 1.0, 100.0, ""),
    ("camera.frozen_ms", 20.0, 60_000.0, "ms"),
    ("camera.latency_ms", 0.0, 1000.0, "ms"),
    ("camera.calibration_days", 0.1, 3650.0, "days"),
    ("device.rate_hz", 20.0, 250.0, "Hz"),
    ("device.stale_ms", 20.0, 1000.0, "ms"),
    ("device.budget", 0.01, 1.0, ""),
    ("device.max_step_rad", 0.01, 1.0, "rad"),
    ("device.max_deviation_rad", 0.2, 6.0, "rad"),
    ("device.watchdog_ms", 40.0, 2540.0, "ms"),
    ("device.gripper_current_ma", 20.0, 3000.0, "mA"),
    ("device.gripper.baud", 9600.0, 115_200.0, "baud"),
    ("device.gripper.slave", 1.0, 247.0, ""),
    ("device.gripper.speed", 0.0, 1.0, ""),
    ("device.gripper.force", 0.0, 1.0, ""),
    ("record.seconds", 1.0, 120.0, "s"),
    ("budget", 0.0, 10_000.0, "ms"),
];

/// Why a cell file was refused.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// It cannot be read.
    #[error("cell file {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// It is not a cell file: bad TOML, an unknown field, a missing one, a wrong type.
    #[error("cell file {}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line, field and expectation, in the parser's words.
        reason: String,
    },
    /// A field has a value that cannot be used.
    #[error("cell file {}: field `{field}`: expected {expected}, got {actual}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The arm does not describe its links well enough for limits in space.
    #[error(
        "cell file {}: `arm.workspace` and `arm.self_collision` cannot be kept for arm `{model}`: {reason}; \
         name links in `arm.leave_out`, or set `arm.self_collision = false`",
        file.display()
    )]
    Space {
        /// The file.
        file: PathBuf,
        /// Model of the arm.
        model: String,
        /// What is wrong with its description.
        reason: KinematicsError,
    },
}

/// Checks of one file's fields.
pub(super) struct Check<'a> {
    pub(super) file: &'a Path,
}

impl Check<'_> {
    pub(super) fn error(
        &self,
        field: &str,
        expected: &str,
        actual: impl std::fmt::Display,
    ) -> CellError {
        CellError::Field {
            file: self.file.into(),
            field: field.into(),
            expected: expected.into(),
            actual: actual.to_string(),
        }
    }

    /// `value`, if it lies within the range that [`BOUNDS`] gives `field` (or the table it is in).
    pub(super) fn bounded(&self, field: &str, value: f64) -> Result<f64, CellError> {
        let key = if field.starts_with("budget.") {
            "budget"
        } else {
            field
        };
        match BOUNDS.iter().find(|(name, ..)| *name == key) {
            Some((_, low, high, _)) if (*low..=*high).contains(&value) => Ok(value),
            Some((_, low, high, unit)) => {
                let expected = format!("{low} to {high} {unit}");
                Err(self.error(field, expected.trim_end(), value))
            }
            None => Err(self.error(field, "a field with bounds", value)),
        }
    }

    /// As [`Check::bounded`], for numbers without a fraction.
    pub(super) fn whole(&self, field: &str, value: u32) -> Result<u32, CellError> {
        self.bounded(field, f64::from(value)).map(|_| value)
    }

    pub(super) fn millis(&self, field: &str, value: f64) -> Result<Duration, CellError> {
        // Bounded above, so the product is far inside u64.
        Ok(Duration::from_nanos(
            (self.bounded(field, value)? * 1e6).round() as u64,
        ))
    }

    pub(super) fn micros(&self, field: &str, value: f64) -> Result<Duration, CellError> {
        Ok(Duration::from_nanos(
            (self.bounded(field, value)? * 1e3).round() as u64,
        ))
    }

    pub(super) fn secs(&self, field: &str, value: f64) -> Result<Duration, CellError> {
        let secs = self.bounded(field, value)?;
        Duration::try_from_secs_f64(secs).map_err(|e| self.error(field, "seconds", e))
    }

    pub(super) fn name(&self, field: &str, value: &str) -> Result<Name, CellError> {
        Name::new(value)
            .map_err(|_| self.error(field, "1 to 64 characters of a-z, 0-9, _ and -", value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_table_has_no_name_twice_and_no_empty_range() {
        for (i, (name, low, high, _)) in BOUNDS.iter().enumerate() {
            assert!(low < high);
            assert!(BOUNDS.iter().skip(i + 1).all(|(other, ..)| other != name));
        }
    }
}
