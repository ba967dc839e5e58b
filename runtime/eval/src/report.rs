//! The report of an evaluation: one page that carries everything, and the same as JSON and CSV.
//!
//! Decides what is shown, never what is true: every figure is of `analysis`, every line of the results file. An evaluation
//! that is not over is reported too, under the policies' labels where it is blinded.
//!
//! The page is `html`, its plots `svg`, both private.

mod html;
mod svg;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::analysis::Analysis;
use crate::error::ReportError;
use crate::journal::Journal;
use crate::order::{Slot, order};
use crate::plan::{Plan, sha256_hex};
use crate::progress::Progress;
use crate::sequential::{Evidence, PairCount, Sequential};
use crate::trial::{Begun, Ended, Entry, Finish, Kept, Unblinded};

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// What the policy is called now.
    pub policy: String,
    /// Whether it counts.
    pub counts: bool,
    /// What came of it.
    #[serde(flatten)]
    pub ended: Ended,
}

/// Where a sequential test stands.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Standing {
    /// Complete pairs and their successes, of the plan's first and second policy.
    pub count: PairCount,
    /// Evidence, natural logarithms.
    pub evidence: Evidence,
    /// At which a policy is named.
    pub ln_threshold: f64,
}

/// Everything in a report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was fixed beforehand.
    pub plan: Plan,
    /// The plan as it was written; empty while the evaluation is blinded.
    pub plan_text: String,
    /// What it began with.
    pub begun: Begun,
    /// Why it is over; `None` while it is not.
    pub finished: Option<Finish>,
    /// When it was over.
    pub finished_at: Option<String>,
    /// Who was called what.
    pub policies: Vec<Unblinded>,
    /// All figures.
    pub analysis: Analysis,
    /// Where the sequential test stands, if the plan has one and the blind is lifted.
    pub sequential: Option<Standing>,
    /// Every attempt, in the order they were run.
    pub attempts: Vec<Attempt>,
    /// Trials without an outcome.
    pub left: usize,
    /// Lines of the results file.
    pub lines: usize,
    /// Hash of its last line.
    pub last_hash: String,
    /// Pictures of trials by their file, JPEG, that are there and as they were.
    #[serde(skip)]
    pub pictures: BTreeMap<String, Vec<u8>>,
}

impl Report {
    /// Of the evaluation in `dir`.
    ///
    /// # Errors
    /// [`ReportError`]: no evaluation, results that were edited, or that are not of this plan.
    pub fn read(dir: &Path) -> Result<Self, ReportError> {
        let file: PathBuf = dir.join("plan.toml");
        let plan_text = std::fs::read_to_string(&file).map_err(|source| ReportError::Read {
            file: file.clone(),
            source,
        })?;
        let journal = Journal::read(dir)?;
        let plan = Plan::parse(&plan_text).map_err(|source| ReportError::Plan {
            file: file.clone(),
            source,
        })?;
        let progress = Progress::of(&plan, &journal)?;
        let Some(begun) = progress.begun.cloned() else {
            return Err(ReportError::Nothing { dir: dir.into() });
        };
        if begun.plan_sha256 != sha256_hex(plan_text.as_bytes()) {
            return Err(ReportError::Changed { file });
        }
        let (finished_at, policies) = match journal.entries().last() {
            Some(Entry::Finished { at, policies, .. }) => (Some(at.clone()), policies.clone()),
            _ => (None, vec![]),
        };
        let blinded = plan.blind && progress.finished.is_none();
        let attempts = journal.entries().iter().filter_map(|entry| match entry {
            Entry::Ended(ended) => Some(Attempt {
                policy: progress
                    .name(progress.order[ended.trial as usize].policy)
                    .to_owned(),
                counts: ended.counts(),
                ended: (**ended).clone(),
            }),
            _ => None,
        });
        let attempts: Vec<Attempt> = attempts.collect();
        let pictures = attempts
            .iter()
            .flat_map(|a| [&a.ended.figures.first, &a.ended.figures.last])
            .flatten()
            .filter_map(|kept| Some((kept.file.clone(), as_it_was(dir, kept)?)));
        let sequential = match plan.stop {
            crate::plan::Stop::Sequential { alpha } if !blinded => {
                let (test, count) = (Sequential::new(alpha), progress.pair_count());
                Some(Standing {
                    count,
                    evidence: test.evidence(count),
                    ln_threshold: test.ln_threshold(),
                })
            }
            _ => None,
        };
        Ok(Self {
            plan_text: if blinded { String::new() } else { plan_text },
            begun,
            finished: progress.finished,
            finished_at,
            policies,
            analysis: progress.analysis(),
            sequential,
            pictures: pictures.collect(),
            attempts,
            left: progress.left(),
            lines: journal.entries().len(),
            last_hash: journal.last_hash().to_owned(),
            plan,
        })
    }

    /// As JSON. While it is blinded, without the plan, which names the policies.
    ///
    /// # Errors
    /// Never in practice: every field has a form in JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if self.blinded()
            && let Some(fields) = value.as_object_mut()
        {
            fields.remove("plan");
        }
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }

    /// One line per attempt, in the columns that `tactus eval analyze` reads and more; attempts that do not count have no
    /// `success`, and are left out here: they are in the page and in the JSON.
    pub fn csv(&self) -> String {
        let mut text = "policy,task,condition,success,progress,seconds,trial,attempt,abort,milestones,instruction,note\n".to_owned();
        // Policy by policy, in the order of the figures.
        let place = |attempt: &&Attempt| {
            self.analysis
                .policies
                .iter()
                .position(|p| *p == attempt.policy)
        };
        let slots = order(&self.plan);
        let mut counted: Vec<&Attempt> = self.attempts.iter().filter(|a| a.counts).collect();
        counted.sort_by_key(place);
        for Attempt { policy, ended, .. } in counted {
            let limit = self
                .plan
                .tasks
                .iter()
                .find(|t| t.name == ended.task)
                .map_or(0.0, |t| t.time_limit_s);
            let secs = if ended.success {
                ended.secs
            } else {
                limit.max(ended.secs)
            };
            let abort = ended.abort.map_or("", |a| a.words());
            let slot = usize::try_from(ended.trial)
                .ok()
                .and_then(|at| slots.get(at));
            let again = slot.map_or(0, |slot| self.same_before(slot));
            let condition = match again {
                0 => ended.condition.clone(),
                again => format!("{} ({})", ended.condition, again + 1),
            };
            let fields = [
                policy.as_str(),
                &ended.task,
                &condition,
                if ended.success { "1" } else { "0" },
                &ended.progress.to_string(),
                &secs.to_string(),
                &ended.trial.to_string(),
                &ended.attempt.to_string(),
                abort,
                &ended.milestones.join("; "),
                &ended.instruction,
                &ended.note,
            ];
            text += &fields.map(quoted).join(",");
            text.push('\n');
        }
        text
    }

    /// Start conditions of the same task before that of `slot` that are told by the same words: scenes may be.
    fn same_before(&self, slot: &Slot) -> usize {
        let Some(task) = self.plan.tasks.get(slot.task) else {
            return 0;
        };
        let this = task.condition(slot.condition);
        let same = |k: &u64| task.condition(*k) == this;
        (0..slot.condition).filter(same).count()
    }

    /// The page: no script, no link to anything outside it.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Whether policies go by their labels.
    pub fn blinded(&self) -> bool {
        self.plan.blind && self.finished.is_none()
    }
}

/// The bytes of a kept file; `None` where it is gone, was changed, or lies outside the folder.
fn as_it_was(dir: &Path, kept: &Kept) -> Option<Vec<u8>> {
    let inside = |c| matches!(c, std::path::Component::Normal(_));
    if !Path::new(&kept.file).components().all(inside) {
        return None;
    }
    let bytes = std::fs::read(dir.join(&kept.file)).ok()?;
    (sha256_hex(&bytes) == kept.sha256).then_some(bytes)
}

/// A field of a CSV file. A line that begins with `#` would be a remark.
fn quoted(field: &str) -> String {
    if field.starts_with('#') || field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests;
