//! Successes among trials, and what they say of the probability behind them: exact and score intervals.
//!
//! Decides nothing about which trials count; see [`crate::posterior`] for the Bayesian reading of the same counts.

use serde::{Deserialize, Serialize};

use crate::distribution::{beta_quantile, normal_quantile};
use crate::error::StatisticsError;

/// Successes among independent trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Trials that succeeded.
    pub successes: u64,
    /// All trials, the successes included.
    pub trials: u64,
}

/// A range of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end, 0 to 1.
    pub low: f64,
    /// Upper end, 0 to 1.
    pub high: f64,
}

impl Interval {
    /// Everything a probability can be: what no trial at all says.
    pub const ALL: Self = Self {
        low: 0.0,
        high: 1.0,
    };

    /// Whether `p` lies inside, the ends included.
    pub fn contains(&self, p: f64) -> bool {
        (self.low..=self.high).contains(&p)
    }
}

impl Tally {
    /// Checked counts.
    ///
    /// # Errors
    /// [`StatisticsError::Counts`] where there are more successes than trials.
    pub fn new(successes: u64, trials: u64) -> Result<Self, StatisticsError> {
        if successes > trials {
            return Err(StatisticsError::Counts { successes, trials });
        }
        Ok(Self { successes, trials })
    }

    /// Counts of outcomes.
    pub fn of(outcomes: impl IntoIterator<Item = bool>) -> Self {
        let mut tally = Self::default();
        for success in outcomes {
            tally.successes += u64::from(success);
            tally.trials += 1;
        }
        tally
    }

    /// Share of successes; `None` without trials.
    pub fn rate(&self) -> Option<f64> {
        (self.trials > 0).then(|| self.successes as f64 / self.trials as f64)
    }

    /// Both counts together.
    pub fn and(self, other: Self) -> Self {
        Self {
            successes: self.successes + other.successes,
            trials: self.trials + other.trials,
        }
    }

    /// Exact interval of confidence `level` (0 to 1, such as 0.95), by Clopper and Pearson 1934: covers the true
    /// probability at least that often, whatever it is. Everything where there are no trials.
    ///
    /// Source: Clopper, Pearson, Biometrika 26 (1934) 404, in its form of beta quantiles.
    pub fn clopper_pearson(&self, level: f64) -> Interval {
        let Self { successes, trials } = *self;
        if trials == 0 {
            return Interval::ALL;
        }
        let tail = (1.0 - level) / 2.0;
        let (k, n) = (successes as f64, trials as f64);
        Interval {
            low: if successes == 0 {
                0.0
            } else {
                beta_quantile(k, n - k + 1.0, tail)
            },
            high: if successes == trials {
                1.0
            } else {
                beta_quantile(k + 1.0, n - k, 1.0 - tail)
            },
        }
    }

    /// Score interval of confidence `level`, by Wilson: narrower than the exact one, covers that often on average over
    /// the true probability, not for each. Everything where there are no trials.
    ///
    /// Source: Wilson, JASA 22 (1927) 209.
    pub fn wilson(&self, level: f64) -> Interval {
        let Self { successes, trials } = *self;
        if trials == 0 {
            return Interval::ALL;
        }
        let (n, z) = (trials as f64, normal_quantile(0.5 + level / 2.0));
        let p = successes as f64 / n;
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        // What rounding leaves of an end that is 0 or 1 is taken away.
        Interval {
            low: if successes == 0 {
                0.0
            } else {
                (centre - half).max(0.0)
            },
            high: if successes == trials {
                1.0
            } else {
                (centre + half).min(1.0)
            },
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.successes, self.trials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Binomial;
    use proptest::prelude::*;

    fn tally(successes: u64, trials: u64) -> Tally {
        Tally::new(successes, trials).expect("counts")
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263.
        let Interval { low, high } = tally(81, 263).wilson(0.95);
        assert!((low - 0.2553).abs() < 5e-5, "{low}");
        assert!((high - 0.3662).abs() < 5e-5, "{high}");
        assert_eq!(Tally::default().wilson(0.95), Interval::ALL);
    }

    #[test]
    fn more_successes_than_trials_are_refused() {
        let error = Tally::new(4, 3).expect_err("impossible");
        assert!(error.to_string().contains("4 successes"), "{error}");
    }

    #[test]
    fn the_exact_interval_covers_whatever_the_probability_is() {
        for trials in [1, 5, 24, 50] {
            let binomial = Binomial::new(trials);
            let intervals: Vec<Interval> = (0..=trials)
                .map(|k| tally(k, trials).clopper_pearson(0.95))
                .collect();
            for step in 1..200 {
                let p = f64::from(step) / 200.0;
                let covered: f64 = intervals
                    .iter()
                    .zip(binomial.masses(p))
                    .filter(|(interval, _)| interval.contains(p))
                    .map(|(_, mass)| mass)
                    .sum();
                assert!(covered >= 0.95 - 1e-12, "n = {trials}, p = {p}: {covered}");
            }
        }
    }

    #[test]
    fn the_score_interval_covers_on_average() {
        let binomial = Binomial::new(24);
        let steps = 400;
        let mut covered = 0.0;
        for step in 0..steps {
            let p = (f64::from(step) + 0.5) / f64::from(steps);
            for (k, mass) in binomial.masses(p).iter().enumerate() {
                if tally(k as u64, 24).wilson(0.95).contains(p) {
                    covered += mass / f64::from(steps);
                }
            }
        }
        assert!((0.94..0.965).contains(&covered), "{covered}");
    }

    proptest! {
        /// Intervals hold the observed share, grow with the level, and rise with the successes; the exact one is never
        /// the narrower one at its outer ends.
        #[test]
        fn intervals_are_ordered(trials in 1_u64..300, share in 0.0..=1.0_f64, level in 0.5..0.99_f64) {
            let successes = (share * trials as f64).round() as u64;
            let t = tally(successes, trials);
            let rate = t.rate().expect("trials");
            for of in [Tally::clopper_pearson, Tally::wilson] {
                let (inner, outer) = (of(&t, level), of(&t, level + 0.009));
                prop_assert!(inner.contains(rate), "{:?} {}", inner, rate);
                prop_assert!(outer.low <= inner.low && inner.high <= outer.high);
                if successes < trials {
                    let more = of(&tally(successes + 1, trials), level);
                    prop_assert!(inner.low <= more.low && inner.high <= more.high);
                }
            }
        }
    }
}
