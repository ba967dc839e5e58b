//! How many trials are needed to tell two policies apart, and what a number of trials can tell.
//!
//! Decided before the first trial. Power is computed over all tables of Barnard's test, not approximated.

use serde::Serialize;

use crate::barnard::{Design, Scratch, Tail};
use crate::distribution::normal_quantile;
use crate::error::StatisticsError;
use crate::sequential::{Outlook, Sequential};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// Success probability of one policy, 0 to 1.
    pub baseline: f64,
    /// Of the other, above or below it.
    pub better: f64,
    /// Chance, at most, to call equal policies different.
    pub alpha: f64,
    /// Chance, at least, to call these two different.
    pub power: f64,
}

/// What `trials` per policy can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Power {
    /// Trials per policy.
    pub trials: u64,
    /// Chance that Barnard's two-sided test calls the two different.
    pub power: f64,
}

/// A sequential evaluation of at most `most` pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SequentialPower {
    /// Pairs at most.
    pub most: u64,
    /// What becomes of it.
    pub outlook: Outlook,
}

/// No more trials per policy than this are looked at: each more would take seconds.
pub const MOST_TRIALS: u64 = 1000;
/// Power goes up and down a little with each trial; this many numbers in a row must have enough.
const STEADY: u64 = 4;

impl Question {
    /// Checked numbers.
    ///
    /// # Errors
    /// [`StatisticsError::Range`] where a number is out of its range, or both success rates are the same.
    pub fn check(&self) -> Result<(), StatisticsError> {
        let range = |what, expected, actual, ok: bool| {
            if ok {
                Ok(())
            } else {
                Err(StatisticsError::Range {
                    what,
                    expected,
                    actual,
                })
            }
        };
        let unit = "0 to 1";
        range(
            "the baseline's success rate",
            unit,
            self.baseline,
            (0.0..=1.0).contains(&self.baseline),
        )?;
        range(
            "the better policy's success rate",
            unit,
            self.better,
            (0.0..=1.0).contains(&self.better),
        )?;
        range(
            "the better policy's success rate",
            "one that differs from the baseline's by at least 0.01",
            self.better,
            (self.better - self.baseline).abs() >= 0.01 - 1e-12,
        )?;
        range(
            "alpha",
            "0.0001 to 0.5",
            self.alpha,
            (1e-4..=0.5).contains(&self.alpha),
        )?;
        range(
            "power",
            "0.05 to 0.999",
            self.power,
            (0.05..=0.999).contains(&self.power),
        )
    }

    /// The least number of trials per policy from which on Barnard's test has the power that is asked for.
    ///
    /// # Errors
    /// As [`Question::check`]; [`StatisticsError::TooMany`] above [`MOST_TRIALS`].
    pub fn trials(&self) -> Result<Power, StatisticsError> {
        self.check()?;
        let too_many = StatisticsError::TooMany {
            most: MOST_TRIALS,
            baseline: self.baseline,
            better: self.better,
        };
        // The normal approximation says where to look; the exact test needs about as many.
        let (p, q) = (self.baseline, self.better);
        let z = normal_quantile(1.0 - self.alpha / 2.0) + normal_quantile(self.power).max(0.0);
        let near = z * z * (p * (1.0 - p) + q * (1.0 - q)) / ((p - q) * (p - q));
        if near > MOST_TRIALS as f64 {
            return Err(too_many);
        }
        let mut trials = ((near * 0.7) as u64).saturating_sub(8).max(2);
        let mut first = None;
        while trials <= MOST_TRIALS {
            let power = self.power_of(trials);
            match first {
                _ if power < self.power => first = None,
                None => first = Some(Power { trials, power }),
                Some(_) => {}
            }
            if let Some(enough) = first.filter(|f| trials + 1 - f.trials >= STEADY) {
                return Ok(enough);
            }
            trials += 1;
        }
        Err(too_many)
    }

    /// Chance that Barnard's test, with so many trials of each policy, calls the two different. The question's `power` plays
    /// no part.
    pub fn power_of(&self, trials: u64) -> f64 {
        let design = Design::new(trials, trials);
        let mut scratch = Scratch::default();
        critical(&design, trials, self.alpha).map_or(0.0, |tail| {
            design.probability(&tail, self.baseline, self.better, &mut scratch)
        })
    }

    /// What a sequential evaluation of at most `most` pairs would do; first is the better one, whichever of the two that is.
    pub fn sequential(&self, most: u64) -> SequentialPower {
        let better = self.better.max(self.baseline);
        let worse = self.better.min(self.baseline);
        SequentialPower {
            most,
            outlook: Sequential::new(self.alpha).outlook(better, worse, most),
        }
    }
}

/// All tables that the test rejects at `alpha`; `None` where it rejects none.
fn critical(design: &Design, trials: u64, alpha: f64) -> Option<Tail> {
    let n = trials as usize;
    let mut statistics: Vec<f64> = (0..=n)
        .flat_map(|x| (0..x).map(move |y| (x, y)))
        .map(|(x, y)| design.statistic(x, y).abs())
        .collect();
    statistics.sort_by(f64::total_cmp);
    statistics.dedup_by(|a, b| (*a - *b).abs() < 1e-10);
    // p falls as the statistic rises: the least statistic with p at most alpha.
    let least = statistics.partition_point(|statistic| design.p_value(*statistic) > alpha);
    statistics
        .get(least)
        .map(|statistic| design.tail(*statistic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barnard::barnard;
    use crate::distribution::Binomial;
    use crate::tally::Tally;

    const QUESTION: Question = Question {
        baseline: 0.5,
        better: 0.9,
        alpha: 0.05,
        power: 0.8,
    };

    #[test]
    fn power_is_the_chance_of_the_tables_that_the_test_rejects() {
        let n = 12;
        let (p, q) = (Binomial::new(n).masses(0.5), Binomial::new(n).masses(0.9));
        let mut chance = 0.0;
        for x in 0..=n {
            for y in 0..=n {
                let tally = |successes| Tally {
                    successes,
                    trials: n,
                };
                if barnard(tally(x), tally(y)).p_value <= 0.05 {
                    chance += p[x as usize] * q[y as usize];
                }
            }
        }
        let power = QUESTION.power_of(n);
        assert!((power - chance).abs() < 1e-9, "{power} {chance}");
    }

    #[test]
    fn more_trials_tell_more() {
        let Power { trials, power } = QUESTION.trials().expect("an answer");
        assert!(
            (17..=22).contains(&trials) && power >= 0.8,
            "{trials} {power}"
        );
        assert!(QUESTION.power_of(trials / 2) < 0.6);
        let closer = Question {
            better: 0.8,
            ..QUESTION
        };
        assert!(closer.trials().expect("an answer").trials > trials);
        let surer = Question {
            power: 0.95,
            ..QUESTION
        };
        assert!(surer.trials().expect("an answer").trials > trials);
        let mirrored = Question {
            baseline: 0.9,
            better: 0.5,
            ..QUESTION
        };
        assert_eq!(mirrored.trials().expect("an answer").trials, trials);
        let named = QUESTION.sequential(trials).outlook;
        assert!(named.first > 0.3, "{named:?}");
        assert_eq!(mirrored.sequential(trials).outlook, named);
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let same = Question {
            better: 0.5,
            ..QUESTION
        };
        assert!(
            same.trials()
                .expect_err("equal")
                .to_string()
                .contains("differs")
        );
        let near = Question {
            better: 0.52,
            ..QUESTION
        };
        assert!(
            near.trials()
                .expect_err("too near")
                .to_string()
                .contains("1000")
        );
        let alpha = Question {
            alpha: 0.0,
            ..QUESTION
        };
        assert!(
            alpha
                .trials()
                .expect_err("alpha")
                .to_string()
                .contains("alpha")
        );
    }
}
