//! A graph's tensors, statistics, a cell and what a user says: to a mapping, or to the questions that are left.
//!
//! Decides what follows from names (LeRobot's and other usual ones), element types, ranks and dimensions, and from statistics;
//! [`pictures`] has the part of it that is about pictures. What a user says always counts before what is inferred. A question is
//! asked where two answers would both run, and one of them would only move the arm wrongly.

pub mod pictures;

use serde_json::json;
use tactus_onnx::{Dim, Element, TensorSpec};
use toml::Value;

use self::pictures::pictures;
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

/// Whether one more column than `joints` is there, for the gripper.
fn gripper(what: &str, tensor: &TensorSpec, joints: &[String]) -> Result<bool, WrapError> {
    let columns = last(tensor).ok_or_else(|| dynamic(tensor))?;
    match columns.checked_sub(joints.len()) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => {
            let expected = format!(
                "{} columns ({}), or one more for the gripper",
                joints.len(),
                joints.join(", ")
            );
            Err(WrapError::field(
                format!("{what} `{}`", tensor.name),
                expected,
                columns,
            ))
        }
    }
}

/// State and action: columns, meaning, units, statistics.
fn sides(
    known: &Known<'_>,
    map: &Map,
    (state, output, joints): (Option<&TensorSpec>, &TensorSpec, Option<[Vec<String>; 2]>),
    manifest: &mut toml::Table,
    draft: &mut Draft,
) -> Result<serde_json::Value, WrapError> {
    let Some([action_joints, state_joints]) = joints else {
        return Ok(json!({}));
    };
    let is_tool = map.tool.is_some();
    let action_gripper = match is_tool {
        // A tool pose has as many columns as its rotation has; that is checked with the manifest.
        true => map.gripper.is_some(),
        false => gripper("output", output, &action_joints)?,
    };
    let state_gripper = match state {
        Some(state) => gripper("input", state, &state_joints)?,
        None => false,
    };
    let own = |name: &str| name.to_owned();
    let state_names: Vec<String> = state
        .map(|s| own(&s.name))
        .into_iter()
        .chain(["observation.state".into(), "state".into(), "qpos".into()])
        .collect();
    let action_names = [own(&output.name), "action".into(), "actions".into()];
    let (state_words, state_stats) = match state {
        None => ("as_is".to_owned(), json!({})),
        Some(state) => {
            let columns = state_joints.len() + usize::from(state_gripper);
            let said = map
                .state_normalisation
                .as_ref()
                .or(map.normalisation.as_ref());
            normalisation(
                known,
                ("state", "state_normalisation", &state_names, columns),
                said,
                draft,
                &state.name,
            )?
        }
    };
    let columns = last(output).unwrap_or(0);
    let said = map
        .action_normalisation
        .as_ref()
        .or(map.normalisation.as_ref());
    let (action_words, action_stats) = normalisation(
        known,
        ("action", "action_normalisation", &action_names, columns),
        said,
        draft,
        &output.name,
    )?;

    let names = |list: &[String]| -> Value {
        list.iter()
            .map(|name| Value::from(name.as_str()))
            .collect::<Vec<_>>()
            .into()
    };
    manifest.insert(
        "state".into(),
        table([
            ("joints", names(&state_joints)),
            ("gripper", state_gripper.into()),
            ("normalisation", state_words.into()),
        ]),
    );
    if let Some(state) = state {
        let layout = ["d", "bd", "btd"]
            .get(state.dims.len().saturating_sub(1))
            .copied()
            .unwrap_or("bd");
        manifest.insert(
            "proprio".into(),
            table([
                ("input", state.name.as_str().into()),
                ("layout", layout.into()),
            ]),
        );
        let gripper = if state_gripper { ", gripper" } else { "" };
        draft.note(
            format!(
                "input `{}` {} is the state: {}{gripper}",
                state.name,
                state.shape(),
                state_joints.join(", ")
            ),
            "its name and columns",
        );
    }
    let rows = match output.dims.get(1) {
        Some(Dim::Is(n)) => *n as i64,
        // A run says how many.
        _ => -1,
    };
    let first_row = map.first_row.unwrap_or(0);
    let horizon = map.horizon.unwrap_or(rows - first_row);
    manifest.insert(
        "chunk".into(),
        table([
            ("output", output.name.as_str().into()),
            ("layout", "bhd".into()),
            ("rows", rows.into()),
            ("first_row", first_row.into()),
        ]),
    );
    let stats_of = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        known.stats.and_then(|stats| stats.of(&names))
    };
    let both = (stats_of(&state_names), stats_of(&action_names));
    let spread = Spread::of(both, action_joints.len(), state_joints == action_joints);
    let Some(representation) = representation(map, spread.as_ref(), draft) else {
        return Ok(json!({}));
    };
    let Some(period) = map.period_s else {
        draft.ask(
            "period_s",
            "how much time is between two actions, in s (1 / fps of the training data)?",
            "0.05",
        );
        return Ok(json!({}));
    };
    let offset = map.first_action_offset_s.unwrap_or(0.0);
    let mut action = toml::Table::new();
    for (key, value) in [
        ("joints", names(&action_joints)),
        ("gripper", action_gripper.into()),
        ("representation", representation.into()),
        ("normalisation", action_words.into()),
        ("horizon", horizon.into()),
        ("period_s", period.into()),
        ("first_action_offset_s", offset.into()),
        ("alignment", "state_at_image".into()),
        ("max_prefix", 0.into()),
        ("width", (columns as i64).into()),
    ] {
        action.insert(key.into(), value);
    }
    let optional = [
        ("anchor", map.anchor.clone().map(Value::from)),
        ("tool", map.tool.clone().map(Value::from)),
        (
            "binary_gripper",
            map.binary_gripper.clone().map(Value::from),
        ),
    ];
    action.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?))),
    );
    manifest.insert("action".into(), action.into());
    draft.note(format!("output `{}` {} is the chunk: actions every {period} s, the first {offset} s after the observation", output.name, output.shape()), "its rank; said");
    units(
        map,
        spread.as_ref(),
        (state_gripper || action_gripper, both),
        manifest,
        draft,
    );
    Ok(json!({"state": state_stats, "action": action_stats}))
}

type Stats<'a> = Option<&'a std::collections::BTreeMap<String, Vec<f64>>>;

/// Mean and spread of joint columns of state and action.
struct Spread {
    action: Vec<[f64; 2]>,
    state: Option<Vec<[f64; 2]>>,
}

impl Spread {
    fn of((state, action): (Stats<'_>, Stats<'_>), joints: usize, same: bool) -> Option<Self> {
        let of = |stats: Stats<'_>| {
            let (mean, std) = (stats?.get("mean")?, stats?.get("std")?);
            let both = mean.iter().zip(std).take(joints).map(|(m, s)| [*m, *s]);
            let both: Vec<[f64; 2]> = both.collect();
            (both.len() == joints).then_some(both)
        };
        Some(Self {
            action: of(action)?,
            state: of(state).filter(|_| same),
        })
    }

    /// Whether actions are where states are, as absolute joints are.
    fn is_absolute(&self) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        // A joint that hardly moves may do so more in one of the two than in the other.
        let most = state.iter().fold(0.0, |most: f64, [_, std]| most.max(*std));
        let slack = 0.15 * most;
        let mut both = self.action.iter().zip(state);
        let near = |([a, of_a], [s, of_s]): (&[f64; 2], &[f64; 2])| {
            (a - s).abs() <= 0.5 * (of_a + of_s) + slack
                && *of_a <= 3.0 * of_s + slack
                && *of_s <= 3.0 * of_a + slack
        };
        // Where everything is about 0, relative ones would be too.
        let tells = state.iter().any(|[mean, std]| mean.abs() > 2.0 * std);
        tells && both.all(near)
    }

    /// Whether no column leaves what a joint in rad does.
    fn is_rad(&self) -> bool {
        let inside = |[mean, std]: &[f64; 2]| mean.abs() + 2.0 * std < 2.0 * std::f64::consts::PI;
        let some = |[mean, std]: &[f64; 2]| mean.abs() + 2.0 * std > 0.05;
        self.action.iter().all(inside) && self.action.iter().any(some)
    }
}

fn representation(map: &Map, spread: Option<&Spread>, draft: &mut Draft) -> Option<String> {
    if let Some(said) = &map.representation {
        draft.note(format!("actions are {said}"), "said");
        return Some(said.clone());
    }
    if spread.is_some_and(Spread::is_absolute) {
        draft.note(
            "actions are absolute_joints",
            "statistics: every joint's mean and spread are the state's",
        );
        return Some("absolute_joints".into());
    }
    draft.ask(
        "representation",
        "what are its actions: absolute_joints, relative_joints, joint_steps, joint_velocities or tool poses?",
        "\"absolute_joints\"",
    );
    None
}

fn units(
    map: &Map,
    spread: Option<&Spread>,
    (has_gripper, (state, action)): (bool, (Stats<'_>, Stats<'_>)),
    manifest: &mut toml::Table,
    draft: &mut Draft,
) {
    let joints = match (&map.units, spread) {
        (Some(said), _) => Some(said.clone()),
        (None, _) if map.tool.is_some() => Some("rad".into()),
        (None, Some(spread)) if spread.is_rad() => {
            draft.note(
                "joints in rad",
                "statistics: no joint turns further than that",
            );
            Some("rad".into())
        }
        _ => None,
    };
    if joints.is_none() {
        draft.ask(
            "units",
            "in which unit are its joints: rad or deg?",
            "\"rad\"",
        );
    }
    let ends = |stats: Stats<'_>| -> Option<[f64; 2]> {
        let (mean, std) = (stats?.get("mean")?.last()?, stats?.get("std")?.last()?);
        Some([mean - 2.0 * std, mean + 2.0 * std])
    };
    let fraction = |[low, high]: [f64; 2]| low > -1.5 && high < 2.5 && high > 0.05;
    let gripper = match map.gripper {
        Some(said) => Some(said),
        None if !has_gripper => Some([0.0, 1.0]),
        None if [state, action].into_iter().filter_map(ends).any(fraction)
            && [state, action].into_iter().filter_map(ends).all(fraction) =>
        {
            draft.note(
                "gripper: 0 closed, 1 open",
                "statistics: a fraction; say `gripper = [1.0, 0.0]` if 1 is closed",
            );
            Some([0.0, 1.0])
        }
        None => {
            draft.ask(
                "gripper",
                "what does it call a closed and an open gripper?",
                "[0.0, 100.0]",
            );
            None
        }
    };
    if let (Some(joints), Some([closed, open])) = (joints, gripper) {
        let zero: toml::Table = map
            .zero
            .iter()
            .map(|(k, v)| (k.clone(), (*v).into()))
            .collect();
        let inverted: Vec<Value> = map
            .inverted
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let ends: Vec<Value> = vec![closed.into(), open.into()];
        manifest.insert(
            "units".into(),
            table([
                ("joints", joints.into()),
                ("gripper", ends.into()),
                ("inverted", inverted.into()),
                ("zero", zero.into()),
            ]),
        );
    }
}

/// The word of a side's normalisation, and the numbers that it takes.
fn normalisation(
    known: &Known<'_>,
    (side, key, names, columns): (&str, &str, &[String], usize),
    said: Option<&String>,
    draft: &mut Draft,
    tensor: &str,
) -> Result<(String, serde_json::Value), WrapError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stats = known.stats.and_then(|stats| stats.of(&names));
    let pairs = [
        ("mean_std", ["mean", "std"]),
        ("min_max", ["min", "max"]),
        ("quantile", ["q01", "q99"]),
    ];
    let word = match (said, stats) {
        (Some(said), _) => said.clone(),
        (None, Some(stats)) if stats.contains_key("mean") && stats.contains_key("std") => {
            draft.note(
                format!("{side} normalised by mean and standard deviation"),
                format!("statistics of it; `{key}` says otherwise"),
            );
            "mean_std".into()
        }
        (None, _) => {
            draft.ask(key, format!("how is the {side} (`{tensor}`) normalised: mean_std, min_max or quantile (with --stats FILE), or as_is where the graph does it?"), "\"as_is\"");
            return Ok((String::new(), json!({})));
        }
    };
    if word == "as_is" {
        return Ok((word, json!({})));
    }
    let Some((_, keys)) = pairs.iter().find(|(name, _)| *name == word) else {
        return Err(WrapError::field(
            key,
            "`mean_std`, `min_max`, `quantile` or `as_is`",
            format!("`{word}`"),
        ));
    };
    let missing = |what: String| {
        WrapError::field(
            format!("statistics of the {side}"),
            format!("{} of {}", keys.join(" and "), names.join(" or ")),
            what,
        )
    };
    let Some(stats) = stats else {
        let there = known.stats.map_or("no --stats FILE".to_owned(), |s| {
            let names: Vec<&str> = s.0.keys().map(String::as_str).collect();
            names.join(", ")
        });
        return Err(missing(there));
    };
    let mut out = serde_json::Map::new();
    for key in keys {
        let values = stats.get(*key).ok_or_else(|| {
            let there: Vec<&str> = stats.keys().map(String::as_str).collect();
            missing(there.join(", "))
        })?;
        if values.len() != columns {
            let expected = format!("{columns} numbers, the columns of `{tensor}`");
            return Err(WrapError::field(
                format!("statistics of the {side}: {key}"),
                expected,
                values.len(),
            ));
        }
        out.insert((*key).to_owned(), json!(values));
    }
    if stats.contains_key("mask") {
        return Err(WrapError::field(
            format!("statistics of the {side}"),
            "no `mask`",
            "one: columns that are left alone are not supported",
        ));
    }
    Ok((word, out.into()))
}

#[cfg(test)]
mod tests;
