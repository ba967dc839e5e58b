//! Statistics of the training data, by feature: LeRobot's `stats.json`, or a `stats.safetensors` whose keys are
//! `feature/statistic`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::WrapError;

/// Numbers of each statistic (`mean`, `std`, `min`, ..) of each feature (`observation.state`, `action`, ..), flat.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeatureStats(pub BTreeMap<String, BTreeMap<String, Vec<f64>>>);

impl FeatureStats {
    /// Reads `file`, by its ending.
    ///
    /// # Errors
    /// [`WrapError`] when it is neither.
    pub fn read(file: &Path) -> Result<Self, WrapError> {
        let bytes = std::fs::read(file).map_err(|source| WrapError::File {
            file: file.into(),
            source,
        })?;
        let wrong = |actual: String| {
            WrapError::Format {
            file: file.into(),
            expected: "statistics by feature: JSON {\"action\": {\"mean\": [..], ..}, ..}, or safetensors `action/mean`, .."
                .into(),
            actual,
        }
        };
        let is_json = file.extension().is_some_and(|ending| ending == "json");
        let read = if is_json {
            json(&bytes)
        } else {
            tensors(&bytes)
        };
        match read {
            Ok(Self(features)) if features.is_empty() => Err(wrong("no feature".into())),
            Ok(stats) => Ok(stats),
            Err(reason) => Err(wrong(reason)),
        }
    }

    /// The statistics of the first of `names` that there is.
    pub fn of(&self, names: &[&str]) -> Option<&BTreeMap<String, Vec<f64>>> {
        names.iter().find_map(|name| self.0.get(*name))
    }
}

fn json(bytes: &[u8]) -> Result<FeatureStats, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut all = BTreeMap::new();
    for (feature, stats) in value.as_object().ok_or("no object")? {
        let Some(stats) = stats.as_object() else {
            continue;
        };
        let mut of = BTreeMap::new();
        for (name, value) in stats {
            let mut flat = Vec::new();
            // What is no list of numbers is none of the statistics that count.
            if numbers(value, &mut flat) {
                of.insert(name.clone(), flat);
            }
        }
        if !of.is_empty() {
            all.insert(feature.clone(), of);
        }
    }
    Ok(FeatureStats(all))
}

/// Collects the numbers of nested lists; whether there was nothing else.
fn numbers(value: &Value, out: &mut Vec<f64>) -> bool {
    match value {
        Value::Array(values) => values.iter().all(|value| numbers(value, out)),
        value => match value.as_f64() {
            Some(number) => {
                out.push(number);
                true
            }
            None => false,
        },
    }
}

fn tensors(bytes: &[u8]) -> Result<FeatureStats, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut all: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for (key, view) in file.iter() {
        let Some((feature, name)) = key.rsplit_once('/') else {
            continue;
        };
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from(f32::from_le_bytes(*b)))
                .collect(),
            Dtype::F64 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect(),
            Dtype::BOOL | Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
            Dtype::I64 => continue,
            other => return Err(format!("`{key}` of type {other:?}")),
        };
        all.entry(feature.into())
            .or_default()
            .insert(name.into(), values);
    }
    Ok(FeatureStats(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_lerobot_is_read_whatever_else_is_in_it() {
        let text = r#"{"action": {"mean": [1, 2.5], "std": [0.5, 1], "count": [100]},
            "observation.images.top": {"mean": [[[0.4]], [[0.5]], [[0.6]]]}, "task_index": {"names": ["a"]}}"#;
        let stats = json(text.as_bytes()).expect("statistics");
        assert_eq!(
            stats.of(&["none", "action"]).map(|s| s["mean"].clone()),
            Some(vec![1.0, 2.5])
        );
        assert_eq!(stats.0["observation.images.top"]["mean"], [0.4, 0.5, 0.6]);
        assert!(!stats.0.contains_key("task_index"));
        assert!(json(b"[1]").is_err() && json(b"{").is_err());
    }

    #[test]
    fn safetensors_by_feature_and_statistic_are_read() {
        let values: Vec<u8> = [1.0_f32, 2.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &values).expect("two");
        let bytes =
            safetensors::serialize([("observation.state/mean", view)], None).expect("bytes");
        let stats = tensors(&bytes).expect("statistics");
        assert_eq!(stats.0["observation.state"]["mean"], [1.0, 2.0]);
        assert!(tensors(&bytes[..20]).is_err());
    }
}
