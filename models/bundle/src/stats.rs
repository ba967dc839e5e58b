//! `stats.json`: normalisation statistics, one number per column of the state and of the action.

use serde::Deserialize;

use crate::{bundle::STATS, error::BundleError, manifest::Manifest};

/// Mean and standard deviation per column. Units are those of the column: rad, or opening fraction for the gripper.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations, each > 0.
    pub std: Vec<f64>,
}

/// Normalisation statistics of a bundle.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Of the state's columns.
    pub state: Moments,
    /// Of the action's columns.
    pub action: Moments,
}

impl Stats {
    /// Parses and checks the text of `stats.json` for the columns that `manifest` declares.
    ///
    /// # Errors
    /// [`BundleError::Syntax`] or [`BundleError::Field`]: wrong length, a number that is not finite, a standard
    /// deviation that is not positive, a gripper column that is not the declared mapping of -1..1 to 0..1.
    pub(crate) fn parse(text: &str, manifest: &Manifest) -> Result<Self, BundleError> {
        let stats: Self = serde_json::from_str(text).map_err(|error| BundleError::Syntax {
            file: STATS.into(),
            reason: error.to_string(),
        })?;
        stats.state.check("state", manifest.state.columns())?;
        stats.action.check("action", manifest.action.columns())?;
        if manifest.action.gripper {
            let column = manifest.action.joints.len();
            for (name, values) in [("mean", &stats.action.mean), ("std", &stats.action.std)] {
                if (values[column] - 0.5).abs() > 1e-6 {
                    let expected = "0.5 (the gripper's normalised -1..1 is opening 0..1)".into();
                    let field = format!("action.{name}[{column}]");
                    let actual = values[column].to_string();
                    return Err(BundleError::Field {
                        file: STATS.into(),
                        field,
                        expected,
                        actual,
                    });
                }
            }
        }
        Ok(stats)
    }
}

impl Moments {
    fn check(&self, of: &str, columns: usize) -> Result<(), BundleError> {
        let Self { mean, std } = self;
        for (name, values) in [("mean", mean), ("std", std)] {
            let error = |field: String, expected: String, actual: String| BundleError::Field {
                file: STATS.into(),
                field,
                expected,
                actual,
            };
            if values.len() != columns {
                let expected = format!("{columns} numbers (the columns of `{of}` in bundle.toml)");
                return Err(error(
                    format!("{of}.{name}"),
                    expected,
                    values.len().to_string(),
                ));
            }
            for (i, value) in values.iter().enumerate() {
                let good = value.is_finite() && (name == "mean" || *value > 0.0);
                if !good {
                    let expected = match name {
                        "mean" => "a finite number",
                        _ => "a finite number > 0",
                    };
                    let field = format!("{of}.{name}[{i}]");
                    return Err(error(field, expected.into(), value.to_string()));
                }
            }
        }
        Ok(())
    }
}
