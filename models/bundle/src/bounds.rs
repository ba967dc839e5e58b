//! Every legal range of the manifest, in one table, with the field's name for the error text.
//!
//! The limits are sanity limits: wide enough for any policy of this family, narrow enough that a typing error or a
//! hostile file cannot ask for terabytes or for a control period of a year.

use crate::error::BundleError;

/// An inclusive range of a numeric field.
pub(crate) struct Bound {
    field: &'static str,
    min: f64,
    max: f64,
}

const fn bound(field: &'static str, min: f64, max: f64) -> Bound {
    Bound { field, min, max }
}

pub(crate) const LAYERS: Bound = bound("backbone.layers", 1.0, 256.0);
pub(crate) const HIDDEN: Bound = bound("backbone.hidden", 1.0, 65_536.0);
pub(crate) const FEATURES: Bound = bound("backbone.features", 1.0, 1_048_576.0);
pub(crate) const PADDED_LENGTH: Bound = bound("backbone.padded_length", 2.0, 65_536.0);
pub(crate) const PATCH: Bound = bound("vision.patch", 1.0, 64.0);
pub(crate) const TEMPORAL_PATCH: Bound = bound("vision.temporal_patch", 1.0, 8.0);
pub(crate) const MERGE: Bound = bound("vision.merge", 1.0, 8.0);
pub(crate) const WINDOW: Bound = bound("vision.window", 1.0, 4096.0);
pub(crate) const POSITION_TABLE: Bound = bound("vision.position_table", 1.0, 1024.0);
pub(crate) const DEEPSTACK: Bound = bound("vision.deepstack", 1.0, 64.0);
pub(crate) const PIXELS: Bound = bound("vision.{min,max}_pixels", 1.0, 16_777_216.0);
pub(crate) const BARS: Bound = bound("vision.bars", -100.0, 100.0);
pub(crate) const STATE_BINS: Bound = bound("prompt.state.bins", 2.0, 65_536.0);
pub(crate) const STATE_COLUMNS: Bound = bound("prompt.state.columns", 1.0, 1024.0);
pub(crate) const MEAN: Bound = bound("vision.mean", -10.0, 10.0);
pub(crate) const STD: Bound = bound("vision.std", 1e-6, 10.0);
pub(crate) const CAMERAS: Bound = bound("camera", 1.0, 8.0);
pub(crate) const CAMERA_SIDE: Bound = bound("camera[].{width,height}", 1.0, 8192.0);
pub(crate) const HORIZON: Bound = bound("action.horizon", 1.0, 1024.0);
pub(crate) const ACTION_WIDTH: Bound = bound("action.width", 1.0, 1024.0);
pub(crate) const PERIOD_SECS: Bound = bound("action.period_s", 1e-3, 10.0);
pub(crate) const FIRST_ACTION_OFFSET_SECS: Bound = bound("action.first_action_offset_s", 0.0, 10.0);
pub(crate) const FEATURE_AGE_SECS: Bound = bound("action.max_feature_age_s", 0.0, 60.0);
pub(crate) const STEPS: Bound = bound("denoise.steps", 1.0, 100.0);
pub(crate) const DECODER_LENGTH: Bound = bound("decoder.max_length", 2.0, 65_536.0);
pub(crate) const VOCABULARY: Bound = bound("decoder.vocabulary", 2.0, 1e6);
pub(crate) const BUCKETS: Bound = bound("denoise.buckets", 1.0, 1e6);

pub(crate) const HISTORY_STEPS: Bound = bound("history.steps", 1.0, 64.0);
pub(crate) const HISTORY_PERIOD_SECS: Bound = bound("history.period_s", 0.0, 10.0);
pub(crate) const NOISE_SIDE: Bound = bound("noise.shape", 1.0, 4096.0);
pub(crate) const PICTURE_TOP: Bound = bound("camera[].top", 1e-3, 1e3);
pub(crate) const PICTURE_MEAN: Bound = bound("camera[].mean", -1e3, 1e3);
pub(crate) const PICTURE_STD: Bound = bound("camera[].std", 1e-6, 1e3);
pub(crate) const JOINT_ZERO: Bound = bound("units.zero", -1e6, 1e6);

impl Bound {
    /// `value` as a count inside the bound.
    pub(crate) fn count(&self, value: i64) -> Result<usize, BundleError> {
        self.count_at(self.field, value)
    }

    /// As [`Bound::count`], for a field that occurs more than once.
    pub(crate) fn count_at(&self, field: &str, value: i64) -> Result<usize, BundleError> {
        let inside = value as f64 >= self.min && value as f64 <= self.max;
        match usize::try_from(value) {
            Ok(count) if inside => Ok(count),
            _ => Err(BundleError::manifest(
                field,
                format!("an integer in {self}"),
                value,
            )),
        }
    }

    /// `value` as a finite number inside the bound.
    pub(crate) fn real(&self, value: f64) -> Result<f64, BundleError> {
        self.real_at(self.field, value)
    }

    /// As [`Bound::real`], for a field that occurs more than once.
    pub(crate) fn real_at(&self, field: &str, value: f64) -> Result<f64, BundleError> {
        // NaN fails both comparisons.
        if value >= self.min && value <= self.max {
            Ok(value)
        } else {
            Err(BundleError::manifest(
                field,
                format!("a number in {self}"),
                value,
            ))
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_inside_and_what_is_not_a_number_is_outside() {
        assert_eq!(LAYERS.count(1).ok(), Some(1));
        assert_eq!(LAYERS.count(256).ok(), Some(256));
        for outside in [0, 257, -1, i64::MIN, i64::MAX] {
            assert!(LAYERS.count(outside).is_err(), "{outside}");
        }
        assert_eq!(PERIOD_SECS.real(0.001).ok(), Some(0.001));
        for outside in [0.0, -0.0, 10.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(PERIOD_SECS.real(outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn the_error_says_the_range() {
        let error = HORIZON.count(0).expect_err("0 is outside").to_string();
        assert_eq!(
            error,
            "bundle.toml: field `action.horizon`: expected an integer in 1..=1024, got 0"
        );
    }
}
