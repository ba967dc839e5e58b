//! What a FAST tokenizer was made for: shape of a chunk, ranges of its dimensions, scale of the coefficients.
//!
//! Decides which files of ranges and which numbers in them can be used. Does not read the BPE model itself.

use std::path::Path;

use serde::Deserialize;

/// Most values of a chunk, `horizon * dims`: far beyond any arm's, and few enough that a transform is short.
pub const MAX_VALUES: usize = 8192;

/// Why a FAST tokenizer cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FastError {
    /// A file cannot be read, or is not what its name says.
    #[error("{file}: {reason}")]
    File {
        /// Path.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A field of it cannot be used.
    #[error("{file}: {field}: expected {expected}, got {actual}")]
    Field {
        /// Path.
        file: String,
        /// Field.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        actual: String,
    },
}

/// Shape, ranges and scale; each dimension's range is what is normalised to -1..1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FastSpec {
    /// Rows of a chunk, 1 or more.
    pub horizon: usize,
    /// Columns of a chunk, 1 or more.
    pub dims: usize,
    /// Coefficients are multiplied by this before they are rounded; above 0.
    pub scale: f64,
    /// Smallest coefficient, after scaling, that has a character; smaller ones are spelt as it.
    pub lowest: i32,
    /// Largest one, if the tokenizer has a bound.
    #[serde(default)]
    pub highest: Option<i32>,
    /// Normalised values are clamped to -clamp..clamp before the transform, if at all.
    #[serde(default)]
    pub clamp: Option<f64>,
    /// Character that spells `lowest`.
    #[serde(default)]
    pub first_character: u32,
    /// Value of each column that is normalised to -1, commonly its 1st percentile, `[dims]`, in the unit of the column.
    pub low: Vec<f64>,
    /// Value of each column that is normalised to 1, commonly its 99th percentile, `[dims]`.
    pub high: Vec<f64>,
    /// What the columns are, for people.
    #[serde(default)]
    pub units: String,
}

/// `processor_config.json` of the published tokenizer, which carries no ranges.
#[derive(Debug, Deserialize)]
struct Published {
    scale: f64,
    min_token: i32,
    time_horizon: Option<usize>,
    action_dim: Option<usize>,
}

impl FastSpec {
    /// Reads a `fast_config.json`, which carries all of it.
    ///
    /// # Errors
    /// [`FastError`] for a file that cannot be read or a field that cannot be used.
    pub fn read(file: &Path) -> Result<Self, FastError> {
        let spec: Self = json(file)?;
        spec.check(file)?;
        Ok(spec)
    }

    /// Reads a `processor_config.json` as published with the universal tokenizer; shape and ranges, which it may leave
    /// open, are the policy's. Characters start at 0 there, and nothing is clamped.
    ///
    /// # Errors
    /// As [`FastSpec::read`]; also where the file names another shape.
    pub fn published(
        file: &Path,
        horizon: usize,
        low: Vec<f64>,
        high: Vec<f64>,
    ) -> Result<Self, FastError> {
        let read: Published = json(file)?;
        let dims = low.len();
        let same = |field, named: Option<usize>, actual: usize| match named {
            Some(expected) if expected != actual => Err(wrong(file, field, expected, actual)),
            _ => Ok(()),
        };
        same("time_horizon", read.time_horizon, horizon)?;
        same("action_dim", read.action_dim, dims)?;
        let spec = Self {
            horizon,
            dims,
            scale: read.scale,
            lowest: read.min_token,
            highest: None,
            clamp: None,
            first_character: 0,
            low,
            high,
            units: String::new(),
        };
        spec.check(file)?;
        Ok(spec)
    }

    /// Values of a chunk.
    pub fn values(&self) -> usize {
        self.horizon * self.dims
    }

    fn check(&self, file: &Path) -> Result<(), FastError> {
        let positive = |field, n: usize| match n {
            1..=MAX_VALUES => Ok(()),
            _ => Err(wrong(file, field, format!("1..={MAX_VALUES}"), n)),
        };
        positive("horizon", self.horizon)?;
        positive("dims", self.dims)?;
        positive("horizon * dims", self.horizon.saturating_mul(self.dims))?;
        let above_zero = |field, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(wrong(file, field, "a number above 0", value))
            }
        };
        above_zero("scale", self.scale)?;
        self.clamp
            .map_or(Ok(()), |clamp| above_zero("clamp", clamp))?;
        // Coefficients beyond this are no chunk's, and characters beyond it do not exist.
        const FAR: i32 = 1 << 20;
        let bounded = |field, value: i32| {
            if (-FAR..=FAR).contains(&value) {
                Ok(())
            } else {
                Err(wrong(file, field, format!("-{FAR}..={FAR}"), value))
            }
        };
        bounded("lowest", self.lowest)?;
        if let Some(highest) = self.highest {
            bounded("highest", highest)?;
            if highest <= self.lowest {
                let above = format!("more than lowest, {}", self.lowest);
                return Err(wrong(file, "highest", above, highest));
            }
            let last = i64::from(self.first_character) + i64::from(highest - self.lowest);
            if u32::try_from(last).ok().and_then(char::from_u32).is_none() {
                return Err(wrong(
                    file,
                    "first_character",
                    "one from which all can be spelt",
                    last,
                ));
            }
        }
        for (field, range) in [("low", &self.low), ("high", &self.high)] {
            if range.len() != self.dims {
                let expected = format!("{} numbers", self.dims);
                return Err(wrong(file, field, expected, range.len()));
            }
            if let Some(value) = range.iter().find(|value| !value.is_finite()) {
                return Err(wrong(file, field, "finite numbers", value));
            }
        }
        let empty = |(low, high): &(&f64, &f64)| high <= low;
        if let Some((low, high)) = self.low.iter().zip(&self.high).find(empty) {
            return Err(wrong(file, "high", format!("more than low, {low}"), high));
        }
        Ok(())
    }
}

fn json<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T, FastError> {
    let unreadable = |reason: String| FastError::File {
        file: file.display().to_string(),
        reason,
    };
    let text = std::fs::read_to_string(file).map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))
}

fn wrong(
    file: &Path,
    field: &'static str,
    expected: impl ToString,
    actual: impl ToString,
) -> FastError {
    FastError::Field {
        file: file.display().to_string(),
        field,
        expected: expected.to_string(),
        actual: actual.to_string(),
    }
}
