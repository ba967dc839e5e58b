//! A graph's tensors, statistics, a cell and what a user says: to a mapping, or to the questions that are left.
//!
//! Decides what follows from names (LeRobot's and other usual ones), element types, ranks and dimensions, and from statistics;
//! [`pictures`] has the part of it that is about pictures, [`sides`] that about state and action, [`meaning`] what
//! statistics tell. What a user says always counts before what is inferred. A question is
//! asked where two answers would both run, and one of them would only move the arm wrongly.

mod meaning;
mod pictures;
mod sides;

use tactus_onnx::{Dim, Element, TensorSpec};
use toml::Value;

use self::{pictures::pictures, sides::sides};
use super::{FeatureStats, Map, Package, WrapError};

/// Everything that is known of a graph beside what a user says of it.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// Its inputs.
    pub inputs: &'a [TensorSpec],
    /// Its outputs.
    pub outputs: &'a [TensorSpec],
    /// Statistics of the training data.
    pub stats: Option<&'a FeatureStats>,
    /// Cameras of the cell, with the width and height of their pictures where the cell says them.
    pub cameras: &'a [(String, Option<[usize; 2]>)],
    /// Joints of the cell's arm; none where it is not known.
    pub joints: &'a [String],
    /// The package that the graph came in.
    pub package: Option<&'a Package>,
    /// Name of the file, without its ending.
    pub stem: &'a str,
}

/// Something that a user has to say, as a line of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Key of the line.
    pub key: String,
    /// What is asked.
    pub ask: String,
    /// An answer, as TOML, that could stand there.
    pub example: String,
}

/// What was taken: a bundle's manifest and statistics, and why.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The manifest, but for files and provenance.
    pub manifest: toml::Table,
    /// `stats.json`.
    pub stats: serde_json::Value,
    /// What was taken, and from where it is known.
    pub notes: Vec<[String; 2]>,
}

/// What follows.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// Everything is known.
    Mapping(Box<Mapping>),
    /// This is not.
    Questions(Vec<Question>),
}

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Camera,
    State,
    Noise,
}

/// What is being put together.
#[derive(Default)]
struct Draft {
    questions: Vec<Question>,
    notes: Vec<[String; 2]>,
}

impl Draft {
    fn ask(&mut self, key: impl Into<String>, ask: impl Into<String>, example: impl Into<String>) {
        self.questions.push(Question {
            key: key.into(),
            ask: ask.into(),
            example: example.into(),
        });
    }

    fn note(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.notes.push([what.into(), why.into()]);
    }
}

/// Key of `field` of the input `name`, as TOML.
fn input_key(name: &str, field: &str) -> String {
    format!("input.{}.{field}", Value::String(name.into()))
}

/// Puts together what is known and said.
///
/// # Errors
/// [`WrapError::Field`] for what cannot be, whatever is said.
pub fn infer(known: &Known<'_>, map: &Map) -> Result<Resolved, WrapError> {
    if let Some(name) = map
        .input
        .keys()
        .find(|name| !known.inputs.iter().any(|i| i.name == **name))
    {
        let names: Vec<&str> = known.inputs.iter().map(|i| i.name.as_str()).collect();
        return Err(WrapError::field(
            format!("map: input `{name}`"),
            names.join(", "),
            "no such input",
        ));
    }
    let mut draft = Draft::default();
    let mut manifest = toml::Table::new();
    let name = map.name.clone().unwrap_or_else(|| known.stem.to_owned());
    for (key, value) in [
        ("name", name),
        ("family", "direct".to_owned()),
        (
            "variant",
            map.variant.clone().unwrap_or_else(|| "unknown".into()),
        ),
        ("min_ort", "1.24".to_owned()),
    ] {
        manifest.insert(key.into(), value.into());
    }
    manifest.insert("schema".into(), 1.into());
    let roles = roles(known, map, &mut draft)?;
    let of = |role: Role| {
        let with = known.inputs.iter().zip(&roles);
        with.filter(move |(_, r)| **r == Some(role))
            .map(|(input, _)| input)
    };
    let steps = history(map, of(Role::State).next())?;
    if let Some(cameras) = pictures(known, map, of(Role::Camera), steps, &mut draft)? {
        manifest.insert("camera".into(), cameras.into());
    }
    if steps > 1 {
        let period = map.history_period_s.or(map.period_s);
        manifest.insert(
            "history".into(),
            table([
                ("steps", steps.into()),
                ("period_s", period.unwrap_or(0.0).into()),
            ]),
        );
        draft.note(
            format!("{steps} observations, {period:?} s apart"),
            "rank of the inputs; `history_period_s`, otherwise `period_s`",
        );
    }
    let output = output(known, map)?;
    let columns = last(output);
    let joints = joints(known, map, columns, &mut draft)?;
    if let Some(noise) = of(Role::Noise).next() {
        let shape = noise
            .dims
            .iter()
            .enumerate()
            .map(|(i, dim)| match (dim, i) {
                (Dim::Is(n), _) => Ok(Value::from(*n as i64)),
                (Dim::Any, 0) => Ok(1.into()),
                (Dim::Any, _) => Err(dynamic(noise)),
            });
        let shape = shape.collect::<Result<Vec<_>, _>>()?;
        manifest.insert(
            "noise".into(),
            table([
                ("input", noise.name.as_str().into()),
                ("shape", shape.into()),
            ]),
        );
        draft.note(
            format!("input `{}` is noise, standard normal", noise.name),
            "its name",
        );
    }
    task(map, &mut manifest, &mut draft);
    let state = of(Role::State).next();
    let stats = sides(
        known,
        map,
        (state, output, joints),
        &mut manifest,
        &mut draft,
    )?;
    match draft.questions.is_empty() {
        false => Ok(Resolved::Questions(draft.questions)),
        true => Ok(Resolved::Mapping(Box::new(Mapping {
            manifest,
            stats,
            notes: draft.notes,
        }))),
    }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Value::Table(entries.into_iter().collect())
}

fn dynamic(tensor: &TensorSpec) -> WrapError {
    let expected = "fixed dimensions, but for the batch";
    WrapError::field(format!("input `{}`", tensor.name), expected, tensor.shape())
}

/// The last dimension, where it is fixed.
fn last(tensor: &TensorSpec) -> Option<usize> {
    match tensor.dims.last() {
        Some(Dim::Is(n)) => Some(*n),
        _ => None,
    }
}

/// Whether a name has one of these words in it.
fn says(name: &str, words: &[&str]) -> bool {
    let name = name.to_lowercase();
    words.iter().any(|word| name.contains(word))
}

fn roles(known: &Known<'_>, map: &Map, draft: &mut Draft) -> Result<Vec<Option<Role>>, WrapError> {
    let mut roles = Vec::new();
    for input in known.inputs {
        let said = map.input(&input.name);
        let picture = input.dims.len() >= 4 || input.element == Element::U8;
        let role = match said.role.as_deref() {
            Some("camera") => Some(Role::Camera),
            Some("state") => Some(Role::State),
            Some("noise") => Some(Role::Noise),
            Some(other) => {
                let expected = "`camera`, `state` or `noise`";
                return Err(WrapError::field(
                    format!("map: {}", input_key(&input.name, "role")),
                    expected,
                    format!("`{other}`"),
                ));
            }
            None if said.camera.is_some() || said.cameras.is_some() || picture => {
                Some(Role::Camera)
            }
            None if says(&input.name, &["noise"]) => Some(Role::Noise),
            None if says(
                &input.name,
                &["state", "qpos", "proprio", "agent_pos", "joint"],
            ) =>
            {
                Some(Role::State)
            }
            None => None,
        };
        if matches!(input.element, Element::I64 | Element::Other(_)) {
            let text = says(&input.name, &["ids", "token", "mask", "lang", "task"]);
            let expected = match text {
                true => {
                    "pictures, state or noise (a policy that reads text is not one of the `direct` family)"
                }
                false => "numbers of type f32 or u8",
            };
            return Err(WrapError::field(
                format!("input `{}`", input.name),
                expected,
                input.shape(),
            ));
        }
        roles.push(role);
    }
    // What is left over when everything else has a name is the state.
    let open = roles.iter().filter(|role| role.is_none()).count();
    let has_state = roles.contains(&Some(Role::State));
    for (input, role) in known.inputs.iter().zip(&mut roles) {
        if role.is_some() {
            continue;
        }
        if open == 1 && !has_state && matches!(input.dims.len(), 1..=3) {
            *role = Some(Role::State);
        } else {
            let ask = format!(
                "what is input `{}`, {}: `camera`, `state` or `noise`?",
                input.name,
                input.shape()
            );
            draft.ask(input_key(&input.name, "role"), ask, "\"state\"");
        }
    }
    for role in [Role::State, Role::Noise] {
        let mut of = known
            .inputs
            .iter()
            .zip(&roles)
            .filter(|(_, r)| **r == Some(role));
        if let (Some((first, _)), Some((second, _))) = (of.next(), of.next()) {
            let expected = format!("one input of its kind, as `{}` is", first.name);
            return Err(WrapError::field(
                format!("input `{}`", second.name),
                expected,
                format!("another {role:?}").to_lowercase(),
            ));
        }
    }
    Ok(roles)
}

/// Observations that the graph takes.
fn history(map: &Map, state: Option<&TensorSpec>) -> Result<i64, WrapError> {
    let of_rank = match state.map(|s| (&s.dims[..], s)) {
        Some(([_, Dim::Is(n), _], _)) => Some(*n as i64),
        Some(([_, Dim::Any, _], state)) if map.history.is_none() => return Err(dynamic(state)),
        _ => None,
    };
    match (map.history, of_rank) {
        (Some(said), Some(n)) if said != n => Err(WrapError::field(
            "history",
            format!("{n}, as the state's input has"),
            said,
        )),
        (said, n) => Ok(said.or(n).unwrap_or(1)),
    }
}

fn output<'a>(known: &Known<'a>, map: &Map) -> Result<&'a TensorSpec, WrapError> {
    let names: Vec<&str> = known.outputs.iter().map(|o| o.name.as_str()).collect();
    let found = match (&map.output, known.outputs) {
        (Some(said), all) => all.iter().find(|o| o.name == *said).ok_or_else(|| {
            WrapError::field(
                "output",
                format!("one of {}", names.join(", ")),
                format!("`{said}`"),
            )
        })?,
        (None, [only]) => only,
        (None, all) => {
            let mut named = all
                .iter()
                .filter(|o| says(&o.name, &["action"]) && o.dims.len() == 3);
            match (named.next(), named.next()) {
                (Some(one), None) => one,
                _ => {
                    let expected = "one output named as actions are, or `output` in the map";
                    return Err(WrapError::field("output", expected, names.join(", ")));
                }
            }
        }
    };
    let field = || format!("output `{}`", found.name);
    if found.element != Element::F32 || found.dims.len() != 3 {
        let expected = "f32 [B, H, D]: a chunk of H actions of D columns";
        return Err(WrapError::field(field(), expected, found.shape()));
    }
    if matches!(found.dims.first(), Some(Dim::Is(n)) if *n != 1) {
        return Err(WrapError::field(field(), "a batch of 1", found.shape()));
    }
    Ok(found)
}

/// Joints of the action, and of the state.
fn joints(
    known: &Known<'_>,
    map: &Map,
    columns: Option<usize>,
    draft: &mut Draft,
) -> Result<Option<[Vec<String>; 2]>, WrapError> {
    let action = match (&map.joints, known.joints) {
        (Some(said), _) => said.clone(),
        (None, []) => {
            let many = columns
                .map(|n| format!(" ({n} columns, the gripper's last)"))
                .unwrap_or_default();
            draft.ask(
                "joints",
                format!("which joints does it move, in the order of its columns{many}?"),
                "[\"shoulder\", \"elbow\"]",
            );
            return Ok(None);
        }
        (None, arm) => {
            draft.note(
                format!("joints {}", arm.join(", ")),
                "the cell's arm, in its order",
            );
            arm.to_vec()
        }
    };
    if let Some(name) = action
        .iter()
        .find(|name| !known.joints.is_empty() && !known.joints.contains(name))
    {
        return Err(WrapError::field(
            "joints",
            known.joints.join(", "),
            format!("`{name}`"),
        ));
    }
    let state = map.state_joints.clone().unwrap_or_else(|| action.clone());
    Ok(Some([action, state]))
}

fn task(map: &Map, manifest: &mut toml::Table, draft: &mut Draft) {
    match &map.task {
        None => draft.ask(
            "task",
            "what does it do, as an operator would say it?",
            "\"pick up the red cube\"",
        ),
        Some(task) => {
            let others = map.others.clone().unwrap_or_else(|| "refuse".into());
            let also: Vec<Value> = map.also.iter().map(|a| a.as_str().into()).collect();
            draft.note(format!("task `{task}`; {others} any other"), "said");
            manifest.insert(
                "task".into(),
                table([
                    ("instruction", task.as_str().into()),
                    ("also", also.into()),
                    ("others", others.into()),
                ]),
            );
        }
    }
}

#[cfg(test)]
mod tests;
