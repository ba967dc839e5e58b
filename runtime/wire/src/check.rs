//! The bounds that every field from the network is held to, in one place, and the checks that name the field.

use std::{fmt::Display, sync::Arc};

use tactus_types::{JointVec, MAX_JOINTS};

use crate::{WireError, message::Envelope};

/// Largest image file, bytes.
pub(crate) const MAX_IMAGE_BYTES: usize = 16 << 20;
/// Most actions in a chunk.
pub(crate) const MAX_ACTIONS: usize = 1024;
/// Longest text, bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 64 << 10;
/// Most cameras behind a chunk.
pub(crate) const MAX_CAMERAS: usize = 16;
/// Most commands in one batch.
pub(crate) const MAX_BATCH: usize = 1024;
/// Most position coordinates of a simulated world.
pub(crate) const MAX_QPOS: usize = 1024;
/// Most objects of a simulated world.
pub(crate) const MAX_OBJECTS: usize = 64;
/// Largest width or height of an image, pixels.
pub(crate) const MAX_PIXELS: u32 = 1 << 14;

impl Envelope<'_> {
    /// The error that says what field `field` holds.
    pub(crate) fn wrong(
        &self,
        field: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Display,
    ) -> WireError {
        WireError::Field {
            key: self.key.into(),
            field: field.into(),
            expected: expected.into(),
            actual: actual.to_string(),
        }
    }

    /// A sub-message that has to be there.
    pub(crate) fn present<T>(&self, field: &str, value: Option<T>) -> Result<T, WireError> {
        value.ok_or_else(|| self.wrong(field, "a value", "nothing"))
    }

    /// 1 to [`MAX_JOINTS`] finite numbers.
    pub(crate) fn joints(&self, field: &str, values: &[f64]) -> Result<JointVec, WireError> {
        let joints = JointVec::from_slice(values)
            .filter(|v| !v.is_empty())
            .ok_or_else(|| {
                let expected = format!("1 to {MAX_JOINTS} numbers");
                self.wrong(field, expected, values.len())
            })?;
        match joints.iter().find(|v| !v.is_finite()) {
            Some(v) => Err(self.wrong(field, "finite numbers", v)),
            None => Ok(joints),
        }
    }

    /// As [`Self::joints`], as many as `like` has.
    pub(crate) fn joints_like(
        &self,
        field: &str,
        values: &[f64],
        like: &JointVec,
    ) -> Result<JointVec, WireError> {
        if values.len() != like.len() {
            return Err(self.wrong(field, format!("{} numbers", like.len()), values.len()));
        }
        self.joints(field, values)
    }

    /// As many numbers as `like` has, finite or not: the record of a bad setpoint must not be lost for being bad.
    pub(crate) fn recorded_like(
        &self,
        field: &str,
        values: &[f64],
        like: &JointVec,
    ) -> Result<JointVec, WireError> {
        JointVec::from_slice(values)
            .filter(|v| v.len() == like.len())
            .ok_or_else(|| self.wrong(field, format!("{} numbers", like.len()), values.len()))
    }

    /// A finite number.
    pub(crate) fn finite(&self, field: &str, value: f64) -> Result<f64, WireError> {
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.wrong(field, "a finite number", value))
        }
    }

    /// A finite number that is not negative.
    pub(crate) fn not_negative(&self, field: &str, value: f64) -> Result<f64, WireError> {
        if value.is_finite() && value >= 0.0 {
            Ok(value)
        } else {
            Err(self.wrong(field, "a finite number >= 0", value))
        }
    }

    /// A number within 0..=1.
    pub(crate) fn fraction(&self, field: &str, value: f64) -> Result<f64, WireError> {
        if (0.0..=1.0).contains(&value) {
            Ok(value)
        } else {
            Err(self.wrong(field, "0.0 to 1.0", value))
        }
    }

    /// At most `most` elements.
    pub(crate) fn at_most<T>(
        &self,
        field: &str,
        values: &[T],
        most: usize,
    ) -> Result<(), WireError> {
        if values.len() <= most {
            Ok(())
        } else {
            Err(self.wrong(field, format!("at most {most}"), values.len()))
        }
    }

    /// A text of at most [`MAX_TEXT_BYTES`].
    pub(crate) fn text(&self, field: &str, value: String) -> Result<String, WireError> {
        if value.len() <= MAX_TEXT_BYTES {
            Ok(value)
        } else {
            let expected = format!("at most {MAX_TEXT_BYTES} bytes");
            Err(self.wrong(field, expected, value.len()))
        }
    }

    /// As [`Self::text`], shared.
    pub(crate) fn shared_text(&self, field: &str, value: String) -> Result<Arc<str>, WireError> {
        self.text(field, value).map(Into::into)
    }
}
