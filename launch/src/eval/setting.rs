//! What a plan names, opened and checked: cell, bundles, tasks; and whether it is still the same when an evaluation goes on.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tactus_bundle::AnyBundle;
use tactus_eval::order::fingerprint;
use tactus_eval::plan::{Condition, Judge, Plan, PolicyPlan, TaskPlan, sha256_hex};
use tactus_eval::trial::Begun;
use tactus_sim::{Task, TaskKind};

use super::run::now;
use crate::cell::{self, Cell};
use crate::checkout;

/// What a simulated cell can tell on the way to success.
pub const MILESTONES: [&str; 2] = ["lifted", "in bowl"];

/// What a plan names, opened.
pub struct Setting {
    /// The cell.
    pub cell: Cell,
    cell_sha256: String,
    /// Folder that the plan's paths are relative to.
    pub folder: PathBuf,
    /// Bundle directory and id of each policy.
    pub bundles: Vec<(PathBuf, String)>,
}

impl Setting {
    /// Opens everything, and refuses what the cell cannot run.
    pub fn open(plan: &Plan, folder: &Path) -> anyhow::Result<Self> {
        let file = match &plan.cell {
            Some(file) => folder.join(file),
            None => checkout::demo_cell()?,
        };
        let cell = cell::load(&file)?;
        let simulated = cell.sim.is_some();
        if !simulated && plan.score == Judge::Simulator {
            bail!(
                "cell file {}: without [sim] nothing but an operator can tell how a trial went: score = \"operator\"",
                file.display()
            );
        }
        let bytes =
            std::fs::read(&file).with_context(|| format!("cell file {}", file.display()))?;
        let open = |policy: &PolicyPlan| -> anyhow::Result<(PathBuf, String)> {
            let dir = folder.join(&policy.bundle);
            let bundle =
                AnyBundle::open(&dir).with_context(|| format!("policy `{}`", policy.name))?;
            Ok((dir, bundle.id().to_string()))
        };
        let bundles = plan
            .policies
            .iter()
            .map(open)
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (i, (_, id)) in bundles.iter().enumerate() {
            if let Some(same) = bundles[..i].iter().position(|(_, other)| other == id) {
                let [a, b] = [same, i].map(|i| &plan.policies[i].name);
                bail!("policies `{a}` and `{b}` are the same bundle {id}");
            }
        }
        for task in &plan.tasks {
            let tell = |what: String| anyhow::anyhow!("task `{}`: {what}", task.name);
            if !simulated {
                real(task).map_err(|what| tell(what.into()))?;
            }
            if plan.score == Judge::Operator {
                for k in 0..plan.trials {
                    if let Some(Condition::Picture(file)) = task.condition(k) {
                        picture(&folder.join(file)).map_err(|e| tell(format!("{e:#}")))?;
                    }
                }
                // Whoever looks can judge anything that can be said.
                if task.instruction.is_some() {
                    continue;
                }
            } else if !matches!(task.condition(0), Some(Condition::Seed(_))) {
                return Err(tell(
                    "a simulated cell starts from seeds: start.first_seed or start.seeds".into(),
                ));
            }
            let unknown = |m: &&String| !MILESTONES.contains(&m.as_str());
            if plan.score == Judge::Simulator
                && let Some(milestone) = task.milestones.iter().find(unknown)
            {
                return Err(tell(format!(
                    "a simulated cell knows no milestone `{milestone}`, only {}",
                    MILESTONES.join(", ")
                )));
            }
            let kinds = kinds(task.kind.as_deref())
                .ok_or_else(|| tell("`kind` is neither pick, place nor both".into()))?;
            if let Some(words) = &task.instruction
                && Task::named(words).is_none_or(|t| !kinds.contains(&t.kind()))
            {
                return Err(tell(format!(
                    "the simulated cell cannot judge \"{words}\" (kind {:?})",
                    task.kind
                )));
            }
        }
        Ok(Self {
            cell,
            cell_sha256: sha256_hex(&bytes),
            folder: folder.to_owned(),
            bundles,
        })
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.bundles.iter().map(|(_, id)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// The first line of its results.
    pub fn begun(
        &self,
        plan: &Plan,
        text: &str,
        folder: &Path,
        mode: &str,
        recorded: bool,
    ) -> Begun {
        Begun {
            at: now(),
            tactus: env!("CARGO_PKG_VERSION").into(),
            mode: mode.into(),
            plan_folder: folder.display().to_string(),
            plan_sha256: sha256_hex(text.as_bytes()),
            order_sha256: fingerprint(plan),
            cell: self.cell.name.to_string(),
            cell_file: self.cell.file.display().to_string(),
            cell_sha256: self.cell_sha256.clone(),
            bundles: self.ids(),
            recorded,
            facts: [
                ("kernel", "/proc/sys/kernel/osrelease"),
                ("machine", "/proc/sys/kernel/hostname"),
            ]
            .into_iter()
            .filter_map(|(name, file)| {
                Some((
                    name.into(),
                    std::fs::read_to_string(file).ok()?.trim().into(),
                ))
            })
            .chain([(
                "cpus".into(),
                std::thread::available_parallelism()
                    .map_or(0, usize::from)
                    .to_string(),
            )])
            .collect(),
        }
    }

    /// Whether everything is still what the evaluation began with.
    pub fn same_as(&self, begun: &Begun, plan: &Plan) -> anyhow::Result<()> {
        for (policy, (dir, id)) in plan.policies.iter().zip(&self.bundles) {
            if !begun.bundles.contains(id) {
                bail!(
                    "policy `{}`: {} is bundle {id}, which is none of those that the evaluation began with: {}",
                    policy.name,
                    dir.display(),
                    begun.bundles.join(", ")
                );
            }
        }
        if self.ids() != begun.bundles {
            bail!(
                "the evaluation began with bundles {}",
                begun.bundles.join(", ")
            );
        }
        if self.cell_sha256 != begun.cell_sha256 {
            bail!(
                "cell file {} was changed since the evaluation began",
                self.cell.file.display()
            );
        }
        Ok(())
    }
}

/// Whether `task` can be set up by hand.
fn real(task: &TaskPlan) -> Result<(), &'static str> {
    if task.instruction.is_none() || task.kind.is_some() {
        return Err("without [sim] it needs an `instruction`, and has no `kind`");
    }
    match task.condition(0) {
        Some(Condition::Seed(_)) => {
            Err("nobody can set a scene up by a seed: start.scenes or start.pictures")
        }
        _ => Ok(()),
    }
}

/// Whether `file` can be a reference picture: a JPEG or PNG file that goes over the wire.
fn picture(file: &Path) -> anyhow::Result<()> {
    const MOST_BYTES: u64 = 8 << 20;
    let say = || format!("picture {}", file.display());
    let bytes = std::fs::metadata(file).with_context(say)?.len();
    let mut head = [0; 4];
    std::fs::File::open(file)
        .and_then(|mut open| std::io::Read::read_exact(&mut open, &mut head))
        .with_context(say)?;
    let known = head.starts_with(&[0xff, 0xd8, 0xff]) || head == *b"\x89PNG";
    if bytes > MOST_BYTES || !known {
        bail!(
            "{}: expected a JPEG or PNG file of at most {MOST_BYTES} bytes, got {bytes} bytes",
            say()
        );
    }
    Ok(())
}

/// The kinds of tasks that a plan's word stands for; `None` for another word.
pub fn kinds(word: Option<&str>) -> Option<&'static [TaskKind]> {
    match word {
        None | Some("both") => Some(&TaskKind::ALL),
        Some("pick") => Some(&[TaskKind::Pick]),
        Some("place") => Some(&[TaskKind::Place]),
        Some(_) => None,
    }
}
