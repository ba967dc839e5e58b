//! Where an evaluation stands: which trials have an outcome, which were excluded and why, which comes next, and when it is over.
//!
//! A pure function of the plan and the lines of the results file. Refuses lines that are whole, but say together what
//! cannot be: a trial that ended twice, one that the plan does not have, something after the end.

use crate::analysis::{Analysis, Outcome, Settings};
use crate::error::JournalError;
use crate::journal::Journal;
use crate::order::{Slot, labels, order};
use crate::plan::{Plan, Stop};
use crate::sequential::{Better, PairCount, Sequential};
use crate::trial::{Begun, Ended, Entry, Finish};

/// Where an evaluation stands.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    plan: &'a Plan,
    /// All trials in order.
    pub order: Vec<Slot>,
    /// What each policy is called until the end.
    pub labels: Vec<&'static str>,
    /// What it began with; `None` before the first line.
    pub begun: Option<&'a Begun>,
    /// The end of each trial that counts, by its place in the order.
    pub ended: Vec<Option<&'a Ended>>,
    /// Trials that do not count, and were or will be tried again.
    pub excluded: Vec<&'a Ended>,
    /// The trial that began and did not end, and its attempt.
    pub open: Option<(u64, u32)>,
    /// Why it is over.
    pub finished: Option<Finish>,
    attempts: Vec<u32>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Run this trial, for the so-manieth time.
    Trial(Slot, u32),
    /// It is over: write the last line.
    Finish(Finish),
    /// Nothing.
    Nothing,
}

impl<'a> Progress<'a> {
    /// Of the lines of `journal`.
    ///
    /// # Errors
    /// [`JournalError::Story`] with the line that cannot be.
    pub fn of(plan: &'a Plan, journal: &'a Journal) -> Result<Self, JournalError> {
        let order = order(plan);
        let mut progress = Self {
            plan,
            labels: labels(plan),
            begun: None,
            ended: vec![None; order.len()],
            attempts: vec![0; order.len()],
            order,
            excluded: Vec::new(),
            open: None,
            finished: None,
        };
        for (i, entry) in journal.entries().iter().enumerate() {
            progress.take(entry).map_err(|what| JournalError::Story {
                file: journal.file().into(),
                line: i + 1,
                what,
            })?;
        }
        Ok(progress)
    }

    fn take(&mut self, entry: &'a Entry) -> Result<(), String> {
        if self.finished.is_some() {
            return Err("something follows the end".into());
        }
        match entry {
            Entry::Begun(begun) if self.begun.is_none() => self.begun = Some(begun),
            Entry::Begun(_) => return Err("it begins a second time".into()),
            _ if self.begun.is_none() => {
                return Err("the first line does not say what it began with".into());
            }
            Entry::Started { trial, attempt, .. } => {
                if let Some((open, _)) = self.open {
                    return Err(format!(
                        "trial {trial} begins before trial {open} has ended"
                    ));
                }
                let tried = self.attempts_of(*trial)?;
                if self.ended[*trial as usize].is_some() || *attempt != tried + 1 {
                    return Err(format!(
                        "trial {trial} begins for the time {attempt}, after {tried}"
                    ));
                }
                self.attempts[*trial as usize] = *attempt;
                self.open = Some((*trial, *attempt));
            }
            Entry::Ended(ended) => {
                self.check(ended)?;
                self.open = None;
                if ended.counts() {
                    self.ended[ended.trial as usize] = Some(ended);
                } else {
                    self.excluded.push(ended);
                }
            }
            Entry::Finished { reason, .. } => {
                if *reason == Finish::Complete && self.left() > 0 {
                    return Err(format!(
                        "it is called complete, but {} trials are left",
                        self.left()
                    ));
                }
                self.finished = Some(*reason);
            }
        }
        Ok(())
    }

    fn attempts_of(&self, trial: u64) -> Result<u32, String> {
        let tried = usize::try_from(trial)
            .ok()
            .and_then(|at| self.attempts.get(at));
        tried
            .copied()
            .ok_or_else(|| format!("trial {trial}: the plan has {}", self.attempts.len()))
    }

    fn check(&self, ended: &Ended) -> Result<(), String> {
        let Ended { trial, attempt, .. } = *ended;
        self.attempts_of(trial)?;
        if self.open != Some((trial, attempt)) {
            return Err(format!(
                "trial {trial} ends without having begun, or a second time"
            ));
        }
        let slot = self.order[trial as usize];
        let (label, task) = (self.labels[slot.policy], &self.plan.tasks[slot.task]);
        if ended.label != label || ended.task != task.name {
            return Err(format!(
                "trial {trial} is of {label} on {}, not {} on {}",
                task.name, ended.label, ended.task
            ));
        }
        if ended.success == ended.abort.is_some() {
            return Err(format!(
                "trial {trial} has both succeeded and failed, or neither"
            ));
        }
        if !((0.0..=100.0).contains(&ended.progress) && (0.0..f64::INFINITY).contains(&ended.secs))
        {
            return Err(format!(
                "trial {trial}: progress {} %, {} s",
                ended.progress, ended.secs
            ));
        }
        if ended
            .milestones
            .iter()
            .any(|m| !task.milestones.contains(m))
        {
            return Err(format!(
                "trial {trial} has milestones that the plan does not have"
            ));
        }
        Ok(())
    }

    /// Trials without an outcome.
    pub fn left(&self) -> usize {
        self.ended.iter().filter(|ended| ended.is_none()).count()
    }

    /// What is to be done next.
    pub fn next(&self) -> Next {
        if self.finished.is_some() {
            return Next::Nothing;
        }
        // A rule that is fixed beforehand is looked at between blocks only.
        let waiting = self
            .order
            .iter()
            .find(|slot| self.ended[slot.trial as usize].is_none());
        let Some(slot) = waiting else {
            return Next::Finish(match self.named() {
                Some(_) => Finish::Decided,
                None => Finish::Complete,
            });
        };
        if slot.trial.is_multiple_of(self.plan.policies.len() as u64) && self.named().is_some() {
            return Next::Finish(Finish::Decided);
        }
        Next::Trial(*slot, self.attempts[slot.trial as usize] + 1)
    }

    /// The policy that the sequential rule of the plan names, after the blocks that are complete.
    pub fn named(&self) -> Option<Better> {
        let Stop::Sequential { alpha } = self.plan.stop else {
            return None;
        };
        Sequential::new(alpha).decides(self.pair_count())
    }

    /// Successes of the two policies of a plan in the blocks that are complete.
    pub fn pair_count(&self) -> PairCount {
        let mut count = PairCount::default();
        for block in self.order.chunks(self.plan.policies.len()) {
            let ends = block.iter().map(|slot| self.ended[slot.trial as usize]);
            if let Some(ends) = ends.collect::<Option<Vec<_>>>() {
                count.pairs += 1;
                for (slot, _) in block.iter().zip(ends).filter(|(_, end)| end.success) {
                    match slot.policy {
                        0 => count.first += 1,
                        _ => count.second += 1,
                    }
                }
            }
        }
        count
    }

    /// What a policy is called now: its name once the blind is lifted, or where there is none.
    pub fn name(&self, policy: usize) -> &str {
        if self.plan.blind && self.finished.is_none() {
            self.labels[policy]
        } else {
            &self.plan.policies[policy].name
        }
    }

    /// Every trial that counts, with the policies named as by [`Progress::name`], policy by policy. A failure is watched
    /// until the task's time limit, however it ended; see [`crate::survival`].
    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
        for (slot, ended) in self.order.iter().zip(&self.ended) {
            let Some(ended) = ended else { continue };
            let task = &self.plan.tasks[slot.task];
            let secs = if ended.success {
                ended.secs
            } else {
                task.time_limit_s.max(ended.secs)
            };
            let outcome = Outcome {
                policy: self.name(slot.policy).to_owned(),
                task: task.name.clone(),
                condition: Some(slot.condition.to_string()),
                success: ended.success,
                progress: Some(ended.progress),
                secs: Some(secs),
            };
            // While they are blinded, their order says no more than their labels do.
            let rank = if self.plan.blind && self.finished.is_none() {
                usize::from(self.labels[slot.policy].as_bytes()[0])
            } else {
                slot.policy
            };
            outcomes.push((rank * self.plan.tasks.len() + slot.task, outcome));
        }
        outcomes.sort_by_key(|(rank, _)| *rank);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// All figures so far.
    pub fn analysis(&self) -> Analysis {
        let settings = Settings {
            level: self.plan.level,
            prior: self.plan.prior,
        };
        Analysis::new(&self.outcomes(), settings)
    }
}

#[cfg(test)]
mod tests;
