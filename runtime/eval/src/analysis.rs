//! Outcomes in, figures out: every policy on every task and over all of them, and every pair of policies.
//!
//! Decides which trials are compared with which. Does not decide which trials count: those handed in do. Over all tasks,
//! trials are pooled, which weighs each task by its trials; where tasks differ in their number of trials the rates over all
//! tasks do too.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::barnard::barnard;
use crate::paired::{Pairs, holm};
use crate::posterior::{Posterior, Prior};
use crate::survival::{Curve, Observed, log_rank};
use crate::tally::{Interval, Tally};

/// One trial that counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Who tried.
    pub policy: String,
    /// What.
    pub task: String,
    /// Where it started; trials of two policies from the same condition of the same task are compared as a pair.
    pub condition: Option<String>,
    /// Whether it succeeded.
    pub success: bool,
    /// How far it came, 0 to 100.
    pub progress: Option<f64>,
    /// Time of success, or until which success had not come, s; see [`crate::survival`].
    pub secs: Option<f64>,
}

/// What is chosen before looking at outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settings {
    /// Of every interval, such as 0.95.
    pub level: f64,
    /// Of every success probability.
    pub prior: Prior,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: 0.95,
            prior: Prior::Jeffreys,
        }
    }
}

/// One policy on one task, or over all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyFigures {
    /// The policy.
    pub policy: String,
    /// The task; `None`: all of them.
    pub task: Option<String>,
    /// Successes among trials.
    #[serde(flatten)]
    pub tally: Tally,
    /// Their share.
    pub rate: Option<f64>,
    /// Clopper and Pearson's interval.
    pub exact: Interval,
    /// Wilson's interval.
    pub wilson: Interval,
    /// What is believed of the success probability after the trials.
    pub posterior: Posterior,
    /// Its mean.
    pub posterior_mean: f64,
    /// Its credible interval.
    pub credible: Interval,
    /// Mean progress of the trials that report it, 0 to 100.
    pub progress: Option<f64>,
    /// Time to success, where every trial has a time.
    pub time_to_success: Option<Curve>,
    /// The time by which half of the trials had succeeded, s.
    pub median_secs: Option<f64>,
}

/// Two policies on one task, or over all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairFigures {
    /// One policy.
    pub first: String,
    /// The other.
    pub second: String,
    /// The task; `None`: all of them.
    pub task: Option<String>,
    /// Success rate of the first less that of the second.
    pub difference: f64,
    /// Barnard's exact test, two-sided.
    pub barnard_p: f64,
    /// The same, corrected by Holm for all pairs of this kind: over all tasks, or each task and pair.
    pub barnard_p_holm: f64,
    /// Posterior probability that the first is the better one.
    pub first_better: f64,
    /// Start conditions that both tried, by outcome; `None` where there are none.
    pub pairs: Option<Pairs>,
    /// McNemar's exact test on them.
    pub mc_nemar_p: Option<f64>,
    /// Log-rank test of time to success, where every trial has a time.
    pub log_rank_p: Option<f64>,
}

/// All figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// What was chosen beforehand.
    pub settings: Settings,
    /// In the order in which they first appear.
    pub policies: Vec<String>,
    /// In the order in which they first appear.
    pub tasks: Vec<String>,
    /// Each task, then all of them, where there are several; within each, every policy.
    pub figures: Vec<PolicyFigures>,
    /// The same for pairs of policies.
    pub pairs: Vec<PairFigures>,
}

impl Analysis {
    /// Of `outcomes`, with policies and tasks in the order in which they first appear.
    pub fn new(outcomes: &[Outcome], settings: Settings) -> Self {
        let policies = in_order(outcomes.iter().map(|o| &o.policy));
        let tasks = in_order(outcomes.iter().map(|o| &o.task));
        let mut scopes: Vec<Option<&String>> = tasks.iter().map(Some).collect();
        if tasks.len() != 1 {
            scopes.push(None);
        }
        let (mut figures, mut pairs) = (Vec::new(), Vec::new());
        for scope in scopes {
            let of = |policy: &String| -> Vec<&Outcome> {
                let wanted =
                    |o: &&Outcome| o.policy == *policy && scope.is_none_or(|t| o.task == *t);
                outcomes.iter().filter(wanted).collect()
            };
            for (index, policy) in policies.iter().enumerate() {
                let trials = of(policy);
                figures.push(policy_figures(policy, scope, &trials, settings));
                for other in policies.iter().skip(index + 1) {
                    pairs.push(pair_figures(
                        (policy, &trials),
                        (other, &of(other)),
                        scope,
                        settings.prior,
                    ));
                }
            }
        }
        for pooled in [true, false] {
            let family = |p: &&mut PairFigures| p.task.is_none() == pooled;
            let raw: Vec<f64> = pairs
                .iter_mut()
                .filter(family)
                .map(|p| p.barnard_p)
                .collect();
            for (pair, corrected) in pairs.iter_mut().filter(family).zip(holm(&raw)) {
                pair.barnard_p_holm = corrected;
            }
        }
        Self {
            settings,
            policies,
            tasks,
            figures,
            pairs,
        }
    }

    /// Figures over all tasks.
    pub fn overall(&self) -> impl Iterator<Item = &PolicyFigures> {
        let single = self.tasks.len() == 1;
        self.figures
            .iter()
            .filter(move |f| single || f.task.is_none())
    }

    /// Pairs over all tasks.
    pub fn overall_pairs(&self) -> impl Iterator<Item = &PairFigures> {
        let single = self.tasks.len() == 1;
        self.pairs
            .iter()
            .filter(move |p| single || p.task.is_none())
    }
}

fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if !seen.contains(name) {
            seen.push(name.clone());
        }
    }
    seen
}

fn policy_figures(
    policy: &str,
    task: Option<&String>,
    trials: &[&Outcome],
    Settings { level, prior }: Settings,
) -> PolicyFigures {
    let tally = Tally::of(trials.iter().map(|o| o.success));
    let posterior = Posterior::new(prior, tally);
    let progress: Vec<f64> = trials.iter().filter_map(|o| o.progress).collect();
    let time_to_success = observed(trials).map(|times| Curve::new(&times, level));
    PolicyFigures {
        policy: policy.to_owned(),
        task: task.cloned(),
        tally,
        rate: tally.rate(),
        exact: tally.clopper_pearson(level),
        wilson: tally.wilson(level),
        posterior,
        posterior_mean: posterior.mean(),
        credible: posterior.credible(level),
        progress: (!progress.is_empty())
            .then(|| progress.iter().sum::<f64>() / progress.len() as f64),
        median_secs: time_to_success.as_ref().and_then(Curve::median_secs),
        time_to_success,
    }
}

fn pair_figures(
    (first, of_first): (&str, &[&Outcome]),
    (second, of_second): (&str, &[&Outcome]),
    task: Option<&String>,
    prior: Prior,
) -> PairFigures {
    let [a, b] = [of_first, of_second].map(|trials| Tally::of(trials.iter().map(|o| o.success)));
    let rate = |tally: Tally| tally.rate().unwrap_or(0.0);
    let barnard_p = barnard(a, b).p_value;
    let starts = by_condition(of_second);
    let matched: Vec<(bool, bool)> = by_condition(of_first)
        .into_iter()
        .filter_map(|(start, success)| Some((success, *starts.get(&start)?)))
        .collect();
    let pairs = (!matched.is_empty()).then(|| Pairs::of(matched));
    let times = observed(of_first).zip(observed(of_second));
    PairFigures {
        first: first.to_owned(),
        second: second.to_owned(),
        task: task.cloned(),
        difference: rate(a) - rate(b),
        barnard_p,
        barnard_p_holm: barnard_p,
        first_better: Posterior::new(prior, a).above(&Posterior::new(prior, b)),
        mc_nemar_p: pairs.as_ref().map(Pairs::mc_nemar),
        pairs,
        log_rank_p: times.map(|(a, b)| log_rank(&a, &b).p_value),
    }
}

/// Success by (task, start condition).
fn by_condition<'a>(trials: &[&'a Outcome]) -> BTreeMap<(&'a str, &'a str), bool> {
    let start = |o: &&'a Outcome| Some(((o.task.as_str(), o.condition.as_deref()?), o.success));
    trials.iter().filter_map(start).collect()
}

/// Times, where every trial has one.
fn observed(trials: &[&Outcome]) -> Option<Vec<Observed>> {
    if trials.is_empty() {
        return None;
    }
    let of = |o: &&Outcome| {
        Some(Observed {
            secs: o.secs?,
            success: o.success,
        })
    };
    trials.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(policy: &str, task: &str, condition: u64, success: bool, secs: f64) -> Outcome {
        Outcome {
            policy: policy.into(),
            task: task.into(),
            condition: Some(condition.to_string()),
            success,
            progress: Some(if success { 100.0 } else { 20.0 }),
            secs: Some(secs),
        }
    }

    #[test]
    fn tasks_stand_alone_and_together() {
        let mut outcomes = Vec::new();
        for k in 0..10 {
            for task in ["pick", "place"] {
                outcomes.push(outcome("good", task, k, true, 3.0));
                outcomes.push(outcome(
                    "bad",
                    task,
                    k,
                    k < 3,
                    if k < 3 { 6.0 } else { 10.0 },
                ));
            }
        }
        let analysis = Analysis::new(&outcomes, Settings::default());
        assert_eq!(analysis.policies, ["good", "bad"]);
        assert_eq!(analysis.figures.len(), 6);
        let overall: Vec<&PolicyFigures> = analysis.overall().collect();
        assert_eq!(overall[0].tally.to_string(), "20 of 20");
        assert_eq!(overall[1].tally.to_string(), "6 of 20");
        assert_eq!(overall[0].median_secs, Some(3.0));
        assert_eq!(overall[1].progress, Some(44.0));
        let pair = analysis.overall_pairs().next().expect("a pair");
        let pairs = pair.pairs.expect("same conditions");
        assert_eq!(
            (pairs.both, pairs.only_first, pairs.only_second),
            (6, 14, 0)
        );
        assert!(pair.barnard_p < 1e-4 && pair.first_better > 0.999);
        assert!(pair.log_rank_p.expect("times") < 1e-4);
        assert_eq!(pair.barnard_p, pair.barnard_p_holm, "one pair over all");
        let by_task: Vec<&PairFigures> =
            analysis.pairs.iter().filter(|p| p.task.is_some()).collect();
        assert!((by_task[0].barnard_p_holm - 2.0 * by_task[0].barnard_p).abs() < 1e-15);
    }

    #[test]
    fn without_conditions_or_times_nothing_is_made_of_them() {
        let bare = |policy: &str, success| Outcome {
            condition: None,
            secs: None,
            progress: None,
            ..outcome(policy, "t", 0, success, 0.0)
        };
        let analysis = Analysis::new(&[bare("a", true), bare("b", false)], Settings::default());
        let pair = &analysis.pairs[0];
        assert_eq!(
            (pair.pairs, pair.mc_nemar_p, pair.log_rank_p),
            (None, None, None)
        );
        assert_eq!(analysis.figures[0].time_to_success, None);
        assert!(Analysis::new(&[], Settings::default()).figures.is_empty());
    }
}
