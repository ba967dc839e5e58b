//! The plan: everything about an evaluation that is fixed before its first trial, as a TOML file.
//!
//! Decides what a plan may say, and refuses the rest with field, what was expected and what is there. Does not open bundles
//! or pictures, and does not know which tasks a cell can judge: the launcher checks that. The file is documented in
//! `runtime/eval/README.md`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::PlanError;
use crate::posterior::Prior;

/// Version of the plan file that this program reads.
pub const SCHEMA: u32 = 1;
/// Labels of blinded policies.
pub const LABELS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

const MOST_TRIALS: u64 = 1000;
const MOST_TASKS: usize = 20;
const MOST_SLOTS: u64 = 20_000;

/// A plan that was checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Name of the evaluation.
    pub name: String,
    /// What is to be found out, in words; may be empty.
    pub question: String,
    /// Cell file, relative to the plan's folder; `None`: the built-in simulated cell.
    pub cell: Option<PathBuf>,
    /// Of the order of trials and of the blinded labels.
    pub seed: u64,
    /// Trials of each policy on each task, each from a start condition of its own.
    pub trials: u64,
    /// Whether policies are called by their labels until the end.
    pub blind: bool,
    /// Who says how a trial went.
    pub score: Judge,
    /// Of every interval.
    pub level: f64,
    /// Of every success probability.
    pub prior: Prior,
    /// When it ends.
    pub stop: Stop,
    /// Who is compared.
    pub policies: Vec<PolicyPlan>,
    /// On what.
    pub tasks: Vec<TaskPlan>,
}

/// Who says how a trial went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The simulator.
    #[default]
    Simulator,
    /// An operator, at a panel or a terminal.
    Operator,
}

impl Judge {
    /// The word in the results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Operator => "operator",
        }
    }
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyPlan {
    /// Name in the report.
    pub name: String,
    /// Bundle directory, relative to the plan's folder.
    pub bundle: PathBuf,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskPlan {
    /// Name in the report.
    pub name: String,
    /// What the arm is told; `None`, on a simulated cell only: what the start condition's seed asks for, of `kind`.
    pub instruction: Option<String>,
    /// On a simulated cell, what seeds ask for: `pick` or `place`.
    pub kind: Option<String>,
    /// A trial that has not succeeded by then is over, s.
    pub time_limit_s: f64,
    /// What there is on the way to success, in order, each with the words by which an operator tells it.
    pub milestones: Vec<String>,
    /// Where trials start, one for each trial.
    pub start: Start,
}

/// Start conditions of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Start {
    /// Seeds of the simulated world: trial k starts in the world of this one plus k.
    FirstSeed(u64),
    /// Seeds of the simulated world, each.
    Seeds(Vec<u64>),
    /// Reference pictures of the scene, relative to the plan's folder.
    Pictures(Vec<PathBuf>),
    /// Descriptions for whoever sets the scene up.
    Scenes(Vec<String>),
}

/// When an evaluation ends; fixed before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Stop {
    /// After all trials.
    Fixed,
    /// As soon as the sequential test names the better of two policies, or after all trials; see [`crate::sequential`].
    Sequential {
        /// Chance, at most, to name one where there is none.
        alpha: f64,
    },
}

/// A start condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Seed of the simulated world.
    Seed(u64),
    /// Picture of the scene.
    Picture(&'a Path),
    /// Description of the scene.
    Scene(&'a str),
}

impl std::fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed {seed}"),
            Self::Picture(file) => write!(f, "picture {}", file.display()),
            Self::Scene(words) => f.write_str(words),
        }
    }
}

impl TaskPlan {
    /// Start condition number `k`, from 0; `None` past the last.
    pub fn condition(&self, k: u64) -> Option<Condition<'_>> {
        let at = usize::try_from(k).ok()?;
        match &self.start {
            Start::FirstSeed(first) => first.checked_add(k).map(Condition::Seed),
            Start::Seeds(seeds) => seeds.get(at).copied().map(Condition::Seed),
            Start::Pictures(files) => files.get(at).map(|file| Condition::Picture(file)),
            Start::Scenes(scenes) => scenes.get(at).map(|words| Condition::Scene(words)),
        }
    }
}

/// `[stop]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStop {
    rule: String,
    alpha: Option<f64>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    schema: u32,
    name: String,
    #[serde(default)]
    question: String,
    cell: Option<PathBuf>,
    seed: u64,
    trials: u64,
    #[serde(default = "yes")]
    blind: bool,
    #[serde(default)]
    score: Judge,
    #[serde(default = "ninety_five")]
    level: f64,
    #[serde(default)]
    prior: Prior,
    stop: RawStop,
    policy: Vec<PolicyPlan>,
    task: Vec<RawTask>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    name: String,
    instruction: Option<String>,
    kind: Option<String>,
    time_limit_s: f64,
    #[serde(default)]
    milestones: Vec<String>,
    start: Start,
}

fn yes() -> bool {
    true
}

fn ninety_five() -> f64 {
    0.95
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn wrong(
    field: impl Into<String>,
    expected: impl Into<String>,
    actual: impl ToString,
) -> PlanError {
    PlanError::Value {
        field: field.into(),
        expected: expected.into(),
        actual: actual.to_string(),
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// [`PlanError`]: not TOML, fields that are missing or unknown, values out of range, counts that cannot be.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let raw: RawPlan = toml::from_str(text).map_err(|e| PlanError::Syntax(Box::new(e)))?;
        if raw.schema != SCHEMA {
            return Err(wrong("schema", SCHEMA.to_string(), raw.schema));
        }
        if raw.name.trim().is_empty() {
            return Err(wrong("name", "a name", "empty"));
        }
        if !(1..=MOST_TRIALS).contains(&raw.trials) {
            return Err(wrong(
                "trials",
                format!("1 to {MOST_TRIALS} of each policy for each task"),
                raw.trials,
            ));
        }
        if !(0.5..=0.999).contains(&raw.level) {
            return Err(wrong("level", "0.5 to 0.999", raw.level));
        }
        names("policy", raw.policy.iter().map(|p| &p.name), LABELS.len())?;
        names("task", raw.task.iter().map(|t| &t.name), MOST_TASKS)?;
        let slots = raw.trials * (raw.policy.len() * raw.task.len()) as u64;
        if slots > MOST_SLOTS {
            return Err(wrong(
                "trials",
                format!("at most {MOST_SLOTS} over all policies and tasks"),
                slots,
            ));
        }
        let stop = stop(&raw.stop, raw.policy.len())?;
        let trials = raw.trials;
        Ok(Self {
            name: raw.name,
            question: raw.question,
            cell: raw.cell,
            seed: raw.seed,
            trials,
            blind: raw.blind,
            score: raw.score,
            level: raw.level,
            prior: raw.prior,
            stop,
            policies: raw.policy,
            tasks: raw
                .task
                .into_iter()
                .map(|t| task(t, trials))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Trials over all policies and tasks.
    pub fn slots(&self) -> u64 {
        self.trials * (self.policies.len() * self.tasks.len()) as u64
    }
}

fn names<'a>(
    table: &str,
    names: impl Iterator<Item = &'a String>,
    most: usize,
) -> Result<(), PlanError> {
    let names: Vec<&String> = names.collect();
    if names.is_empty() || names.len() > most {
        return Err(wrong(
            format!("[[{table}]]"),
            format!("1 to {most} of them"),
            names.len(),
        ));
    }
    for (i, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(wrong(format!("{table}.name"), "a name", "empty"));
        }
        if names[..i].contains(name) {
            return Err(wrong(
                format!("{table}.name"),
                "names that differ",
                format!("`{name}` twice"),
            ));
        }
    }
    Ok(())
}

fn stop(raw: &RawStop, policies: usize) -> Result<Stop, PlanError> {
    match (raw.rule.as_str(), raw.alpha) {
        ("fixed", None) => Ok(Stop::Fixed),
        ("fixed", Some(alpha)) => Err(wrong("stop.alpha", "none where the rule is fixed", alpha)),
        ("sequential", _) if policies != 2 => Err(wrong(
            "stop.rule",
            "fixed, unless two policies are compared",
            format!("sequential, with {policies}"),
        )),
        ("sequential", Some(alpha)) if (1e-4..=0.5).contains(&alpha) => {
            Ok(Stop::Sequential { alpha })
        }
        ("sequential", alpha) => {
            let actual = alpha.map_or("missing".to_owned(), |a| a.to_string());
            Err(wrong("stop.alpha", "0.0001 to 0.5", actual))
        }
        (other, _) => Err(wrong("stop.rule", "fixed or sequential", other)),
    }
}

fn task(raw: RawTask, trials: u64) -> Result<TaskPlan, PlanError> {
    let field = |name: &str| format!("task `{}`: {name}", raw.name);
    if !(0.1..=3600.0).contains(&raw.time_limit_s) {
        return Err(wrong(
            field("time_limit_s"),
            "0.1 to 3600 s",
            raw.time_limit_s,
        ));
    }
    if raw
        .instruction
        .as_ref()
        .is_some_and(|words| words.trim().is_empty())
    {
        return Err(wrong(field("instruction"), "a sentence", "empty"));
    }
    for (i, milestone) in raw.milestones.iter().enumerate() {
        if milestone.trim().is_empty() || raw.milestones[..i].contains(milestone) {
            return Err(wrong(
                field("milestones"),
                "names that differ",
                format!("`{milestone}`"),
            ));
        }
    }
    let (count, twice) = match &raw.start {
        Start::FirstSeed(first) => {
            if first.checked_add(trials).is_none() {
                return Err(wrong(
                    field("start.first_seed"),
                    "a seed that leaves room for all trials",
                    first,
                ));
            }
            (trials, None)
        }
        Start::Seeds(seeds) => {
            let twice = seeds
                .iter()
                .enumerate()
                .find(|(i, s)| seeds[..*i].contains(s));
            (seeds.len() as u64, twice.map(|(_, seed)| seed.to_string()))
        }
        Start::Pictures(files) => (files.len() as u64, None),
        Start::Scenes(scenes) => (scenes.len() as u64, None),
    };
    if let Some(seed) = twice {
        return Err(wrong(
            field("start.seeds"),
            "seeds that differ",
            format!("{seed} twice"),
        ));
    }
    if count < trials {
        let expected =
            format!("at least {trials} start conditions, one for each trial of a policy");
        return Err(wrong(field("start"), expected, count));
    }
    Ok(TaskPlan {
        name: raw.name,
        instruction: raw.instruction,
        kind: raw.kind,
        time_limit_s: raw.time_limit_s,
        milestones: raw.milestones,
        start: raw.start,
    })
}

#[cfg(test)]
pub(crate) mod tests;
