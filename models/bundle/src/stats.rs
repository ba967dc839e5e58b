//! `stats.json`: normalisation statistics, one number per column of the state and of the action.
//!
//! Whatever the manifest calls the normalisation, it is affine: `value = offset + scale * normalised`. Which two
//! numbers of the file make offset and scale is decided here, and nowhere else.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    bundle::STATS,
    error::BundleError,
    manifest::{Action, Manifest, Normalisation, State},
};

/// `value = offset + scale * normalised`, per column. Units are those of the column: rad, or opening fraction for the
/// gripper.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// What a normalised 0 means.
    pub offset: Vec<f64>,
    /// What a normalised 1 adds, > 0.
    pub scale: Vec<f64>,
    /// How far a column ranges: four standard deviations, or from its lowest to its highest value. Errors are measured
    /// against it.
    pub range: Vec<f64>,
}

/// Normalisation statistics of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Of the state's columns.
    pub state: Affine,
    /// Of the action's columns.
    pub action: Affine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStats {
    state: BTreeMap<String, Vec<f64>>,
    action: BTreeMap<String, Vec<f64>>,
}

impl Normalisation {
    /// The keys of `stats.json`: two, or none.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::MeanStd => &["mean", "std"],
            Self::MinMax => &["min", "max"],
            Self::Quantile => &["q01", "q99"],
            Self::AsIs => &[],
        }
    }
}

impl Stats {
    /// Parses and checks the text of `stats.json` for the columns that `manifest` declares.
    ///
    /// # Errors
    /// [`BundleError::Syntax`] or [`BundleError::Field`]: other keys than the normalisation's, a wrong length, a number
    /// that is not finite, a column without extent, a gripper column that is not the declared mapping of -1..1 to 0..1.
    pub(crate) fn parse(text: &str, manifest: &Manifest) -> Result<Self, BundleError> {
        let Manifest { state, action, .. } = manifest;
        let stats = Self::columns(text, state, action)?;
        if action.gripper {
            let column = action.columns() - 1;
            let (offset, scale) = (stats.action.offset[column], stats.action.scale[column]);
            if (offset - 0.5).abs() > 1e-6 || (scale - 0.5).abs() > 1e-6 {
                let keys = action.normalisation.keys().join(", ");
                return Err(field(
                    format!("action.{{{keys}}}[{column}]"),
                    "0..1 (the gripper's normalised -1..1 is opening 0..1)",
                    format!("{}..{}", offset - scale, offset + scale),
                ));
            }
        }
        Ok(stats)
    }

    /// As [`Stats::parse`], whatever a gripper's numbers mean.
    pub(crate) fn columns(text: &str, state: &State, action: &Action) -> Result<Self, BundleError> {
        let raw: RawStats = serde_json::from_str(text).map_err(|error| BundleError::Syntax {
            file: STATS.into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            state: affine("state", &raw.state, state.normalisation, state.columns())?,
            action: affine(
                "action",
                &raw.action,
                action.normalisation,
                action.columns(),
            )?,
        })
    }
}

fn field(field: String, expected: impl Into<String>, actual: impl ToString) -> BundleError {
    BundleError::Field {
        file: STATS.into(),
        field,
        expected: expected.into(),
        actual: actual.to_string(),
    }
}

fn affine(
    of: &str,
    raw: &BTreeMap<String, Vec<f64>>,
    normalisation: Normalisation,
    columns: usize,
) -> Result<Affine, BundleError> {
    let keys = normalisation.keys();
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    if !raw.keys().eq(sorted.iter()) {
        let word = normalisation.word();
        let found: Vec<&str> = raw.keys().map(String::as_str).collect();
        let expected = match keys {
            [] => format!("no keys, as of `{word}`"),
            keys => format!("the keys {} of `{word}`", keys.join(" and ")),
        };
        return Err(field(of.into(), expected, found.join(", ")));
    }
    let [first, second] = keys else {
        return Ok(Affine {
            offset: vec![0.0; columns],
            scale: vec![1.0; columns],
            range: vec![1.0; columns],
        });
    };
    let [first, second] = [first, second].map(|key| (*key, &raw[*key]));
    for (key, values) in [first, second] {
        if values.len() != columns {
            let expected = format!("{columns} numbers (the columns of `{of}` in bundle.toml)");
            return Err(field(format!("{of}.{key}"), expected, values.len()));
        }
    }
    let ((first, low), (second, high)) = (first, second);
    let mut out = Affine {
        offset: Vec::with_capacity(columns),
        scale: Vec::with_capacity(columns),
        range: Vec::with_capacity(columns),
    };
    for (i, (a, b)) in low.iter().zip(high).enumerate() {
        if !a.is_finite() {
            return Err(field(format!("{of}.{first}[{i}]"), "a finite number", a));
        }
        let (offset, scale, range, least) = match normalisation {
            Normalisation::MeanStd => (*a, *b, 4.0 * b, 0.0),
            Normalisation::MinMax | Normalisation::Quantile | Normalisation::AsIs => {
                (f64::midpoint(*a, *b), (b - a) / 2.0, b - a, *a)
            }
        };
        // NaN is not larger than anything.
        if !(b.is_finite() && scale > 0.0) {
            let expected = format!("a finite number > {least}");
            return Err(field(format!("{of}.{second}[{i}]"), expected, b));
        }
        out.offset.push(offset);
        out.scale.push(scale);
        out.range.push(range);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(normalisation: Normalisation, first: f64, second: f64) -> Result<Affine, String> {
        let values = [first, second].map(|v| vec![v]);
        let keys = normalisation.keys().iter().map(ToString::to_string);
        let raw = keys.zip(values).collect();
        affine("state", &raw, normalisation, 1).map_err(|e| e.to_string())
    }

    #[test]
    fn the_ends_of_a_range_are_minus_one_and_one() {
        for normalisation in [Normalisation::MinMax, Normalisation::Quantile] {
            let Affine {
                offset,
                scale,
                range,
            } = of(normalisation, -1.0, 3.0).expect("a range");
            assert_eq!((offset[0] - scale[0], offset[0] + scale[0]), (-1.0, 3.0));
            assert_eq!(range, [4.0]);
        }
        let mean_std = of(Normalisation::MeanStd, -1.0, 3.0).expect("moments");
        assert_eq!((mean_std.offset[0], mean_std.scale[0]), (-1.0, 3.0));
    }

    #[test]
    fn a_column_without_extent_is_refused() {
        let refused = |normalisation, a, b| of(normalisation, a, b).expect_err("refused");
        assert_eq!(
            refused(Normalisation::MinMax, 2.0, 2.0),
            "stats.json: field `state.max[0]`: expected a finite number > 2, got 2"
        );
        assert_eq!(
            refused(Normalisation::MeanStd, 2.0, 0.0),
            "stats.json: field `state.std[0]`: expected a finite number > 0, got 0"
        );
        refused(Normalisation::Quantile, f64::NAN, 1.0);
        refused(Normalisation::Quantile, 0.0, f64::INFINITY);
    }

    #[test]
    fn keys_of_another_normalisation_are_named() {
        let raw = BTreeMap::from([("mean".into(), vec![0.0]), ("std".into(), vec![1.0])]);
        let error = affine("action", &raw, Normalisation::Quantile, 1).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "stats.json: field `action`: expected the keys q01 and q99 of `quantile`, got mean, std"
        );
    }
}
