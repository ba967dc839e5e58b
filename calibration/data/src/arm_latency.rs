//! How much later an arm moves than it is commanded, as `tactus calibrate latency arm` writes it.
//!
//! Decides the file, and which numbers in it can be. What becomes of the latency is the schedule's: actions are commanded so
//! much before they are due.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::CalibrationError;
use crate::seal::{self, Seal};

/// Version of these files.
const SCHEMA: u32 = 1;
/// Longest latency that is believed, ms: no arm that policies command is later.
pub const MOST_MS: f64 = 500.0;
/// A latency that is not known within this is not used, ms.
pub const ERROR_MS: f64 = 10.0;

/// An arm's latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmLatency {
    schema: u32,
    /// Name of the arm in its cell.
    pub arm: String,
    /// Model of the arm, as it says itself.
    pub model: String,
    /// Joint that was swung.
    pub joint: String,
    /// From a command to the same in the measured state, ms.
    pub command_to_motion_ms: f64,
    /// How far off that may be, ms.
    pub error_ms: f64,
    /// How much alike command and motion were, 0 to 1.
    pub alike: f64,
    /// How old a joint state is when it comes: median, ms.
    pub state_age_ms: f64,
}

impl ArmLatency {
    /// What was measured of `arm`, a `model`, at `joint`: latency, its error and how old states are, ms; and likeness.
    pub fn new(
        (arm, model, joint): (&str, &str, &str),
        [command_to_motion_ms, error_ms, state_age_ms]: [f64; 3],
        alike: f64,
    ) -> Self {
        Self {
            schema: SCHEMA,
            arm: arm.into(),
            model: model.into(),
            joint: joint.into(),
            command_to_motion_ms,
            error_ms,
            alike,
            state_age_ms,
        }
    }

    /// Field, what was expected and what is there, of a latency that cannot be used.
    ///
    /// # Errors
    /// See there.
    pub fn check(&self) -> Result<(), (&'static str, String, f64)> {
        if !(0.0..=MOST_MS).contains(&self.command_to_motion_ms) {
            let expected = format!("0 to {MOST_MS} ms");
            return Err(("command_to_motion_ms", expected, self.command_to_motion_ms));
        }
        if !(0.0..=ERROR_MS).contains(&self.error_ms) {
            let expected = format!("at most {ERROR_MS} ms");
            return Err(("error_ms", expected, self.error_ms));
        }
        Ok(())
    }

    /// The latency.
    pub fn command_to_motion(&self) -> Duration {
        let secs = self.command_to_motion_ms.clamp(0.0, MOST_MS) * 1e-3;
        Duration::try_from_secs_f64(secs).unwrap_or_default()
    }

    /// Reads a file of the arm called `arm`.
    ///
    /// # Errors
    /// [`CalibrationError`]: not readable, edited, of another arm, or with numbers that cannot be.
    pub fn read(file: &Path, arm: &str) -> Result<(Self, Seal), CalibrationError> {
        let failed = |reason: String| CalibrationError::File {
            path: file.into(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
        let seal = seal::open(file, &text)?;
        let read: Self = toml::from_str(&text).map_err(|e| failed(e.to_string()))?;
        let field = |field: &str, expected: String, actual: String| CalibrationError::Field {
            what: file.display().to_string(),
            field: field.into(),
            expected,
            actual,
        };
        if read.schema != SCHEMA {
            return Err(field("schema", SCHEMA.to_string(), read.schema.to_string()));
        }
        read.check()
            .map_err(|(name, expected, actual)| field(name, expected, actual.to_string()))?;
        if read.arm != arm {
            return Err(CalibrationError::Foreign {
                path: file.into(),
                expected: format!("the latency of arm `{arm}`"),
                actual: format!("that of `{}`", read.arm),
            });
        }
        match seal {
            Some(seal) => Ok((read, seal)),
            None => Err(failed("expected a seal in its last line, got none".into())),
        }
    }

    /// Refuses a latency of another model of arm.
    ///
    /// # Errors
    /// [`CalibrationError::Foreign`].
    pub fn check_model(&self, file: &Path, model: &str) -> Result<(), CalibrationError> {
        if self.model == model {
            return Ok(());
        }
        Err(CalibrationError::Foreign {
            path: file.into(),
            expected: format!("the latency of a `{model}`"),
            actual: format!("that of a `{}`", self.model),
        })
    }

    /// The text of the file, without a seal.
    ///
    /// # Errors
    /// [`CalibrationError::File`] when a number cannot be written.
    pub fn write(&self) -> Result<String, CalibrationError> {
        toml::to_string(self).map_err(|e| CalibrationError::File {
            path: "latency".into(),
            reason: e.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_and_what_cannot_be_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("arm.toml");
        let good = ArmLatency::new(("arm", "so101", "elbow_flex"), [82.5, 1.5, 3.0], 0.999);
        let keep = |latency: &ArmLatency| {
            let text = seal::sealed(&latency.write().expect("written"), 1, "then");
            std::fs::write(&file, text).expect("written");
            ArmLatency::read(&file, "arm")
        };
        let (read, _) = keep(&good).expect("legal");
        assert_eq!(read, good);
        assert_eq!(read.command_to_motion(), Duration::from_micros(82_500));
        assert!(read.check_model(&file, "so101").is_ok());
        assert!(read.check_model(&file, "koch").is_err());
        for (bad, wanted) in [
            (
                ArmLatency {
                    command_to_motion_ms: 501.0,
                    ..good.clone()
                },
                "`command_to_motion_ms`",
            ),
            (
                ArmLatency {
                    command_to_motion_ms: f64::NAN,
                    ..good.clone()
                },
                "`command_to_motion_ms`",
            ),
            (
                ArmLatency {
                    error_ms: 12.0,
                    ..good.clone()
                },
                "at most 10 ms",
            ),
            (
                ArmLatency {
                    arm: "other".into(),
                    ..good.clone()
                },
                "that of `other`",
            ),
        ] {
            let refused = keep(&bad).expect_err(wanted).to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
        keep(&good).expect("legal");
        let edited = std::fs::read_to_string(&file)
            .expect("there")
            .replace("82.5", "12.5");
        std::fs::write(&file, edited).expect("written");
        assert!(matches!(
            ArmLatency::read(&file, "arm"),
            Err(CalibrationError::Edited { .. })
        ));
    }
}
