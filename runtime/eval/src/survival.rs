//! Time to success: how soon, not only how often.
//!
//! A trial that succeeded at t is an event at t; one that did not is *censored*: all that is known is that success had not
//! come by then. Whoever calls this decides when: an evaluation censors a failure at the task's time limit, also one
//! that ended sooner because the policy gave up or was stopped, since it would not have succeeded by then. Censoring it
//! where it ended would claim that it could still have succeeded like any other, and flatter the policy.

use serde::Serialize;

use crate::distribution::{normal_quantile, normal_two_sided};

/// One trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// Time of success, or of the end of watching, s; finite, at least 0.
    pub secs: f64,
    /// Whether it succeeded then.
    pub success: bool,
}

/// One step of the curve: from this time on, up to the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Time, s.
    pub secs: f64,
    /// Probability of not having succeeded by then.
    pub survival: f64,
    /// Lower end of its pointwise interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Trials that had neither succeeded nor left just before.
    pub at_risk: u64,
    /// Successes at that time.
    pub events: u64,
}

/// Kaplan and Meier's estimate of the probability of not having succeeded by a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// Each time of a success, ascending.
    pub steps: Vec<Step>,
    /// How long the last trial was watched, s.
    pub until_secs: f64,
}

impl Curve {
    /// Of `trials`, with a pointwise band of confidence `level`: Greenwood's variance on the scale of log(-log S), which keeps
    /// the band inside 0 to 1. Where S is 0 that scale has no band, and the ends are the estimate's.
    ///
    /// Source: Kaplan, Meier, JASA 53 (1958) 457; Kalbfleisch, Prentice, The Statistical Analysis of Failure Time Data
    /// (2002), eq. 1.14; as scipy's `ecdf(...).sf.confidence_interval(method="log-log")`.
    pub fn new(trials: &[Observed], level: f64) -> Self {
        let z = normal_quantile(0.5 + level / 2.0);
        let (mut survival, mut variance) = (1.0, 0.0);
        let mut steps = Vec::new();
        for secs in times(trials.iter()) {
            let (at_risk, events) = counts(trials, secs);
            let (n, d) = (at_risk as f64, events as f64);
            survival *= 1.0 - d / n;
            variance += d / (n * (n - d));
            let (low, high) = if at_risk > events {
                let half = z * variance.sqrt() / f64::ln(survival).abs();
                (survival.powf(half.exp()), survival.powf((-half).exp()))
            } else {
                survival = 0.0;
                (0.0, 0.0)
            };
            steps.push(Step {
                secs,
                survival,
                low,
                high,
                at_risk,
                events,
            });
        }
        Self {
            steps,
            until_secs: trials.iter().map(|t| t.secs).fold(0.0, f64::max),
        }
    }

    /// Probability of having succeeded by `secs`.
    pub fn done_by(&self, secs: f64) -> f64 {
        let last = self.steps.iter().take_while(|s| s.secs <= secs).last();
        1.0 - last.map_or(1.0, |s| s.survival)
    }

    /// The time by which half of the trials have succeeded, s; `None` where fewer ever do.
    pub fn median_secs(&self) -> Option<f64> {
        // A product of shares that is a half may be rounded up: 3/4 of 2/3 need not be what 1/2 is.
        let reached = self.steps.iter().find(|s| s.survival <= 0.5 + 1e-9)?;
        Some(reached.secs)
    }
}

/// What the log-rank test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogRank {
    /// Standard normal where both curves are the same; above 0 where the first policy succeeds sooner.
    pub statistic: f64,
    /// Two-sided.
    pub p_value: f64,
}

/// Tests whether two policies succeed equally soon, by Mantel's log-rank test. Without any success nothing is known: p = 1.
///
/// Source: Mantel, Cancer Chemotherapy Reports 50 (1966) 163; as scipy's `logrank`.
pub fn log_rank(first: &[Observed], second: &[Observed]) -> LogRank {
    let (mut observed, mut expected, mut variance) = (0.0, 0.0, 0.0);
    for secs in times(first.iter().chain(second)) {
        let ((n1, d1), (n2, d2)) = (counts(first, secs), counts(second, secs));
        let (n, d) = ((n1 + n2) as f64, (d1 + d2) as f64);
        let (n1, n2) = (n1 as f64, n2 as f64);
        observed += d1 as f64;
        expected += n1 * d / n;
        if n > 1.0 {
            variance += n1 * n2 * d * (n - d) / (n * n * (n - 1.0));
        }
    }
    if variance <= 0.0 {
        return LogRank {
            statistic: 0.0,
            p_value: 1.0,
        };
    }
    let statistic = (observed - expected) / f64::sqrt(variance);
    LogRank {
        statistic,
        p_value: normal_two_sided(statistic),
    }
}

/// Times of success, ascending, each once.
fn times<'a>(trials: impl Iterator<Item = &'a Observed>) -> Vec<f64> {
    let mut times: Vec<f64> = trials.filter(|t| t.success).map(|t| t.secs).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    times
}

/// Trials at risk just before `secs`, and successes then.
fn counts(trials: &[Observed], secs: f64) -> (u64, u64) {
    let at_risk = trials.iter().filter(|t| t.secs >= secs).count() as u64;
    let events = trials.iter().filter(|t| t.success && t.secs == secs);
    (at_risk, events.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn success(secs: f64) -> Observed {
        Observed {
            secs,
            success: true,
        }
    }

    fn none(secs: f64) -> Observed {
        Observed {
            secs,
            success: false,
        }
    }

    #[test]
    fn a_curve_by_hand() {
        let curve = Curve::new(&[success(2.0), none(3.0), success(4.0), none(10.0)], 0.95);
        let survivals: Vec<f64> = curve.steps.iter().map(|s| s.survival).collect();
        assert_eq!(survivals, [0.75, 0.375]);
        assert_eq!(curve.median_secs(), Some(4.0));
        assert_eq!(curve.done_by(1.9), 0.0);
        assert_eq!(curve.done_by(2.0), 0.25);
        assert_eq!(curve.until_secs, 10.0);
        assert_eq!(Curve::new(&[none(1.0)], 0.95).median_secs(), None);
    }

    #[test]
    fn the_median_is_the_middle_success() {
        for n in 2..=400_u32 {
            // All but `failures` succeed, at 1, 2, .. s.
            for failures in [0, n / 4, n / 2] {
                let secs = |i: u32| f64::from(i);
                let mut trials: Vec<Observed> =
                    (1..=n - failures).map(|i| success(secs(i))).collect();
                trials.extend((0..failures).map(|_| none(secs(n) + 1.0)));
                let median = Curve::new(&trials, 0.95).median_secs();
                assert_eq!(
                    median,
                    Some(secs(n.div_ceil(2))),
                    "{n} trials, {failures} failures"
                );
            }
        }
    }

    #[test]
    fn who_succeeds_sooner_has_the_positive_sign() {
        let soon: Vec<Observed> = (1..=12).map(|s| success(f64::from(s) * 0.5)).collect();
        let late: Vec<Observed> = (1..=12).map(|s| success(f64::from(s) * 1.5)).collect();
        let LogRank { statistic, p_value } = log_rank(&soon, &late);
        assert!(statistic > 0.0 && p_value < 0.05, "{statistic} {p_value}");
        assert_eq!(log_rank(&[none(1.0)], &[none(2.0)]).p_value, 1.0);
    }

    fn trials() -> impl Strategy<Value = Vec<Observed>> {
        let trial = (1_u32..40, any::<bool>()).prop_map(|(t, success)| Observed {
            secs: f64::from(t) / 4.0,
            success,
        });
        proptest::collection::vec(trial, 1..40)
    }

    proptest! {
        /// Curves fall within their band; with one common limit the end is the share of failures.
        #[test]
        fn curves_fall(mut trials in trials()) {
            let curve = Curve::new(&trials, 0.9);
            let mut before = 1.0;
            for step in &curve.steps {
                prop_assert!(step.survival < before && step.events > 0);
                prop_assert!(step.low <= step.survival + 1e-12 && step.survival <= step.high + 1e-12);
                prop_assert!((0.0..=1.0).contains(&step.low) && (0.0..=1.0).contains(&step.high));
                before = step.survival;
            }
            for trial in trials.iter_mut().filter(|t| !t.success) {
                trial.secs = 10.0;
            }
            let failures = trials.iter().filter(|t| !t.success).count() as f64;
            let share = failures / trials.len() as f64;
            prop_assert!((1.0 - Curve::new(&trials, 0.9).done_by(10.0) - share).abs() < 1e-9);
        }

        /// Swapping policies changes the sign only.
        #[test]
        fn log_rank_is_antisymmetric(a in trials(), b in trials()) {
            let (one, other) = (log_rank(&a, &b), log_rank(&b, &a));
            prop_assert!((one.statistic + other.statistic).abs() < 1e-9);
            prop_assert!((one.p_value - other.p_value).abs() < 1e-9);
        }
    }
}
