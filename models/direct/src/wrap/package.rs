//! `policy_package` folders, as Physical AI Studio and LeRobot's exporter write them: `manifest.json`, one ONNX file, and a
//! `stats.safetensors`. Read to what the map would say.
//!
//! Decides which packages are understood: format `policy_package` 1.0; a runner that runs the graph once per chunk
//! (`single_pass`, `action_chunking`); `normalize`, `resize` and `to_float_tensor` before it; `denormalize` and
//! `action_chunk_trimmer` after it. Anything else would make another policy of it, and is refused by its name. What no `normalize`
//! or `denormalize` lists goes through as it is; one that lists nothing is for every feature of the statistics.
//!
//! Source of the format: `physicalai/inference/manifest.py` and the components' classes of openvinotoolkit/physicalai.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FeatureStats, WrapError};

/// Name of the manifest.
const MANIFEST: &str = "manifest.json";
/// Field of the components before the graph.
const BEFORE: &str = "model.preprocessors";
/// Of those after it.
const AFTER: &str = "model.postprocessors";

/// What a package says.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// Its ONNX file.
    pub graph: PathBuf,
    /// Its statistics, if it has any.
    pub stats: Option<PathBuf>,
    /// What it says of the policy, as lines of a map.
    pub says: toml::Table,
    /// Cameras it was made for, with width and height where it says them.
    pub cameras: Vec<(String, Option<[i64; 2]>)>,
    /// Size that pictures are brought to before the graph, width and height, and how.
    pub resize: Option<([i64; 2], &'static str)>,
    /// What is normalised before the graph.
    pub before: Vec<Normaliser>,
}

/// A component that normalises, or undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normaliser {
    /// Features that it lists; none stands for all that the statistics have.
    pub features: Vec<String>,
    /// How, in a map's words.
    pub word: &'static str,
}

impl Normaliser {
    /// How the one of `all` that is for a feature such as `is` does it; `as_is` where none is.
    fn of(all: &[Self], field: &str, is: impl Fn(&str) -> bool) -> Result<&'static str, WrapError> {
        let mut found = all
            .iter()
            .filter(|n| n.features.is_empty() || n.features.iter().any(|name| is(name)));
        match (found.next(), found.next()) {
            (one, None) => Ok(one.map_or("as_is", |n| n.word)),
            (_, Some(other)) => {
                let twice = format!("one more, `{}`", other.word);
                Err(error(field, "one component for a feature", twice))
            }
        }
    }
}

impl Package {
    /// How the pictures of the input `name` are normalised before the graph; `as_is` where they are not.
    ///
    /// # Errors
    /// [`WrapError::Field`] where that is done twice.
    pub fn normalises(
        &self,
        name: &str,
        stats: Option<&FeatureStats>,
    ) -> Result<&'static str, WrapError> {
        let has = stats.is_some_and(|stats| stats.of(&[name]).is_some());
        let named = |n: &&Normaliser| !n.features.is_empty() || has;
        let these: Vec<Normaliser> = self.before.iter().filter(named).cloned().collect();
        Normaliser::of(&these, BEFORE, |feature| feature == name)
    }

    /// Whether `path` is a folder with a manifest.
    pub fn is(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// Reads the package in `folder`.
    ///
    /// # Errors
    /// [`WrapError`] naming what is not understood.
    pub fn read(folder: &Path) -> Result<Self, WrapError> {
        let file = folder.join(MANIFEST);
        let bytes = std::fs::read(&file).map_err(|source| WrapError::File {
            file: file.clone(),
            source,
        })?;
        let manifest: Value = serde_json::from_slice(&bytes).map_err(|e| WrapError::Format {
            file: file.clone(),
            expected: "JSON".into(),
            actual: e.to_string(),
        })?;
        let mut reader = Reader {
            folder,
            package: Self {
                graph: PathBuf::new(),
                stats: None,
                says: toml::Table::new(),
                cameras: Vec::new(),
                resize: None,
                before: Vec::new(),
            },
            after: Vec::new(),
        };
        reader.all(&manifest)?;
        Ok(reader.package)
    }
}

struct Reader<'a> {
    folder: &'a Path,
    package: Package,
    after: Vec<Normaliser>,
}

fn error(field: &str, expected: &str, actual: impl std::fmt::Display) -> WrapError {
    WrapError::field(format!("{MANIFEST}: `{field}`"), expected, actual)
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// The name of a component, and its arguments: `type` with them beside it, or `class_path` with `init_args`.
fn component(value: &Value) -> (String, &Value) {
    match value.get("class_path").and_then(Value::as_str) {
        Some(path) if !path.is_empty() => {
            let last = path.rsplit('.').next().unwrap_or(path);
            (
                last.to_owned(),
                value.get("init_args").unwrap_or(&Value::Null),
            )
        }
        _ => {
            let name = value.get("type").and_then(Value::as_str);
            (name.unwrap_or("nothing").to_owned(), value)
        }
    }
}

impl Reader<'_> {
    fn all(&mut self, manifest: &Value) -> Result<(), WrapError> {
        for (field, expected) in [("format", "policy_package"), ("version", "1.0")] {
            let actual = manifest.get(field).and_then(Value::as_str);
            if actual != Some(expected) {
                let actual = actual.map_or("nothing".into(), |word| format!("`{word}`"));
                return Err(error(field, &format!("`{expected}`"), actual));
            }
        }
        if let Some(name) = manifest.pointer("/policy/name").and_then(Value::as_str) {
            self.package.says.insert("variant".into(), name.into());
        }
        self.artifacts(manifest)?;
        if let Some(runner) = manifest.pointer("/model/runner").filter(|r| !r.is_null()) {
            self.runner(runner)?;
        }
        if let Some(steps) = manifest
            .pointer("/model/n_obs_steps")
            .and_then(Value::as_i64)
        {
            self.package.says.insert("history".into(), steps.into());
        }
        for value in list(manifest, "/model/preprocessors") {
            self.before(value)?;
        }
        for value in list(manifest, "/model/postprocessors") {
            self.after(value)?;
        }
        // What no component is for goes through as it is.
        let state = Normaliser::of(&self.package.before, BEFORE, |f| f.ends_with("state"))?;
        let action = Normaliser::of(&self.after, AFTER, |f| f.starts_with("action"))?;
        for (key, word) in [("state", state), ("action", action)] {
            let key = format!("{key}_normalisation");
            self.package.says.insert(key, word.into());
        }
        self.hardware(manifest)
    }

    fn artifacts(&mut self, manifest: &Value) -> Result<(), WrapError> {
        let artifacts = manifest
            .pointer("/model/artifacts")
            .and_then(Value::as_object);
        let files = artifacts
            .into_iter()
            .flatten()
            .filter_map(|(_, v)| v.as_str());
        let graphs: Vec<&str> = files.clone().filter(|f| f.ends_with(".onnx")).collect();
        let [graph] = graphs[..] else {
            let found: Vec<&str> = files.collect();
            let actual = match found[..] {
                [] => "none".to_owned(),
                _ => found.join(", "),
            };
            return Err(error(
                "model.artifacts",
                "one ONNX file (export with the ONNX backend)",
                actual,
            ));
        };
        self.package.graph = self.inside("model.artifacts", graph)?;
        Ok(())
    }

    /// `name` as a path inside the package.
    fn inside(&self, field: &str, name: &str) -> Result<PathBuf, WrapError> {
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        match Path::new(name).components().all(plain) && !name.is_empty() {
            true => Ok(self.folder.join(name)),
            false => Err(error(
                field,
                "a file inside the package",
                format!("`{name}`"),
            )),
        }
    }

    fn runner(&self, runner: &Value) -> Result<(), WrapError> {
        let (name, arguments) = component(runner);
        match name.as_str() {
            "single_pass" | "SinglePass" => Ok(()),
            "action_chunking" | "ActionChunking" => match arguments.get("runner") {
                Some(inner) if inner.is_object() => self.runner(inner),
                _ => Ok(()),
            },
            _ => Err(error(
                "model.runner",
                "`single_pass` or `action_chunking`, which run one graph once per chunk",
                format!("`{name}`"),
            )),
        }
    }

    fn normaliser(&mut self, field: &str, arguments: &Value) -> Result<Normaliser, WrapError> {
        let mode = arguments.get("mode").and_then(Value::as_str);
        let word = match mode.unwrap_or("mean_std") {
            "mean_std" => "mean_std",
            "min_max" => "min_max",
            "quantiles" => "quantile",
            "identity" => "as_is",
            other => {
                let expected = "`mean_std`, `min_max`, `quantiles` or `identity`";
                return Err(error(field, expected, format!("`{other}`")));
            }
        };
        let named =
            ["artifact", "stats_path"].map(|key| arguments.get(key).and_then(Value::as_str));
        if let Some(name) = named.into_iter().flatten().next() {
            let file = self.inside(field, name)?;
            match &self.package.stats {
                Some(other) if *other != file => {
                    let expected = format!("`{}`, as before", other.display());
                    return Err(error(field, &expected, format!("`{name}`")));
                }
                _ => self.package.stats = Some(file),
            }
        } else if word != "as_is" {
            return Err(error(field, "an artifact with the statistics", "none"));
        }
        let features = list(arguments, "/features").iter();
        let features = features.filter_map(Value::as_str).map(str::to_owned);
        Ok(Normaliser {
            features: features.collect(),
            word,
        })
    }

    fn before(&mut self, value: &Value) -> Result<(), WrapError> {
        let field = BEFORE;
        let (name, arguments) = component(value);
        match name.as_str() {
            "normalize" | "StatsNormalizer" => {
                let normaliser = self.normaliser(field, arguments)?;
                self.package.before.push(normaliser);
                Ok(())
            }
            "resize" | "ResizePreprocessor" => {
                let size = list(arguments, "/image_resolution");
                let sides: Vec<i64> = size.iter().filter_map(Value::as_i64).collect();
                let [height, width] = sides[..] else {
                    let expected = "`image_resolution` of a resize: height, width";
                    return Err(error(field, expected, format!("{size:?}")));
                };
                let mode = arguments.get("mode").and_then(Value::as_str);
                let fit = match mode.unwrap_or("letterbox") {
                    "stretch" => "stretch",
                    "letterbox" => "pad",
                    other => {
                        let expected = "`stretch` or `letterbox`";
                        return Err(error(field, expected, format!("`{other}`")));
                    }
                };
                let pad = arguments.get("pad_value").and_then(Value::as_f64);
                if pad.is_some_and(|value| value != 0.0) {
                    return Err(error(field, "`pad_value` 0", pad.unwrap_or_default()));
                }
                self.package.resize = Some(([width, height], fit));
                Ok(())
            }
            "to_float_tensor" | "ToFloatTensorPreprocessor" => Ok(()),
            _ => Err(error(
                field,
                "`normalize`, `resize` and `to_float_tensor` only",
                format!("`{name}`"),
            )),
        }
    }

    fn after(&mut self, value: &Value) -> Result<(), WrapError> {
        let field = AFTER;
        let (name, arguments) = component(value);
        match name.as_str() {
            "denormalize" | "StatsDenormalizer" => {
                let normaliser = self.normaliser(field, arguments)?;
                self.after.push(normaliser);
                Ok(())
            }
            "action_chunk_trimmer" | "ActionChunkTrimmer" => {
                let steps = arguments.get("n_action_steps").and_then(Value::as_i64);
                let steps =
                    steps.ok_or_else(|| error(field, "`n_action_steps` of a trimmer", "none"))?;
                self.package.says.insert("horizon".into(), steps.into());
                Ok(())
            }
            _ => Err(error(
                field,
                "`denormalize` and `action_chunk_trimmer` only",
                format!("`{name}`"),
            )),
        }
    }

    fn hardware(&mut self, manifest: &Value) -> Result<(), WrapError> {
        for camera in list(manifest, "/hardware/cameras") {
            let Some(name) = camera.get("name").and_then(Value::as_str) else {
                continue;
            };
            let shape: Vec<i64> = list(camera, "/shape")
                .iter()
                .filter_map(Value::as_i64)
                .collect();
            // (C, H, W)
            let size = match shape[..] {
                [_, height, width] => Some([width, height]),
                _ => None,
            };
            self.package.cameras.push((name.into(), size));
        }
        let order = list(manifest, "/hardware/robots/0/state/order").iter();
        let order = order.filter_map(Value::as_str);
        let mut names: Vec<&str> = order.map(|name| name.trim_end_matches(".pos")).collect();
        let is = |name: &str| name.ends_with("gripper");
        // Of two arms each gripper is a column like a joint's; that of one arm is the last.
        let one = names.iter().filter(|name| is(name)).count() == 1;
        if one && !names.pop().is_some_and(is) {
            let field = "hardware.robots[0].state.order";
            let actual = "it before others";
            return Err(error(field, "the one gripper last", actual));
        }
        if !names.is_empty() {
            let names: Vec<toml::Value> = names.into_iter().map(Into::into).collect();
            self.package.says.insert("joints".into(), names.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
