//! Barnard's exact test: are two policies' success probabilities equal?
//!
//! Unconditional: only the numbers of trials are fixed beforehand, as they are in an evaluation, so it finds more than
//! Fisher's test, which also fixes the number of successes. The statistic is Wald's with pooled variance
//! (Suissa and Shuster 1985, the default of scipy's `barnard_exact`); the p-value is the largest probability, over the common
//! success probability, of a table at least as extreme.
//!
//! Source: Barnard, Nature 156 (1945) 177; Suissa, Shuster, JRSS A 148 (1985) 317.

use std::f64::consts::FRAC_PI_2;

use crate::distribution::Binomial;
use crate::tally::Tally;

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Barnard {
    /// Wald's statistic of the table; above 0 where the first policy has the higher share.
    pub statistic: f64,
    /// Two-sided.
    pub p_value: f64,
}

/// Tests whether the success probabilities behind two tallies are equal. Without trials on either side nothing is known:
/// p = 1.
pub fn barnard(first: Tally, second: Tally) -> Barnard {
    if first.trials == 0 || second.trials == 0 {
        return Barnard {
            statistic: 0.0,
            p_value: 1.0,
        };
    }
    let design = Design::new(first.trials, second.trials);
    let statistic = design.statistic(first.successes as usize, second.successes as usize);
    Barnard {
        statistic,
        p_value: design.p_value(statistic),
    }
}

/// Everything that depends only on the numbers of trials.
pub(crate) struct Design {
    first: u64,
    second: u64,
    of_first: Binomial,
    of_second: Binomial,
}

/// Tables whose statistics differ by less than this are equally extreme: they differ by rounding. DIFFERENCE: scipy compares
/// them as they are rounded, and so misses some (7 of 15 against 12 of 15: two tables of 130, p 0.06815 for 0.06822).
const TIE: f64 = 1e-10;
/// Least number of steps between the common success probabilities looked at before the best ones are refined.
const LEAST_STEPS: u32 = 256;
/// .. and steps per square root of all trials. Over arcsin(sqrt p) a peak is as wide everywhere, 1 / (2 sqrt(trials)); with these
/// steps the nearest point reaches 0.98 of it.
const STEPS: f64 = 8.0;
/// A peak whose nearest point is lower than this share of the highest cannot be the highest.
const REACHED: f64 = 0.9;

impl Design {
    /// Of so many trials of each policy, both above 0.
    pub(crate) fn new(first: u64, second: u64) -> Self {
        Self {
            first,
            second,
            of_first: Binomial::new(first),
            of_second: Binomial::new(second),
        }
    }

    /// Wald's statistic with pooled variance; 0 where both shares are equal.
    pub(crate) fn statistic(&self, x: usize, y: usize) -> f64 {
        let (n, m) = (self.first as f64, self.second as f64);
        let (x, y) = (x as f64, y as f64);
        let difference = x / n - y / m;
        if difference == 0.0 {
            return 0.0;
        }
        let pooled = (x + y) / (n + m);
        difference / (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt()
    }

    /// Tables at least as extreme as `statistic`, as runs of the second policy's successes for each number of the first's.
    pub(crate) fn tail(&self, statistic: f64) -> Tail {
        let least = statistic.abs() - TIE;
        let mut runs = Vec::new();
        for x in 0..=self.first as usize {
            let mut open = None;
            for y in 0..=self.second as usize {
                let extreme = self.statistic(x, y).abs() >= least;
                match (extreme, open) {
                    (true, None) => open = Some(y),
                    (false, Some(from)) => {
                        runs.push((x, from, y));
                        open = None;
                    }
                    _ => {}
                }
            }
            if let Some(from) = open {
                runs.push((x, from, self.second as usize + 1));
            }
        }
        Tail { runs }
    }

    /// Probability of the tables of `tail`, where the policies succeed with probabilities `p` and `q`.
    pub(crate) fn probability(&self, tail: &Tail, p: f64, q: f64, scratch: &mut Scratch) -> f64 {
        let Scratch { masses, below } = scratch;
        self.of_second.fill(q, masses);
        below.clear();
        below.push(0.0);
        let mut sum = 0.0;
        below.extend(masses.iter().map(|mass| {
            sum += mass;
            sum
        }));
        self.of_first.fill(p, masses);
        tail.runs
            .iter()
            .map(|&(x, from, to)| masses[x] * (below[to] - below[from]))
            .sum()
    }

    /// The largest probability of tables at least as extreme as `statistic`, over the common success probability.
    pub(crate) fn p_value(&self, statistic: f64) -> f64 {
        let tail = self.tail(statistic);
        let mut scratch = Scratch::default();
        let mut at = |angle: f64| {
            let p = angle.sin().powi(2);
            self.probability(&tail, p, p, &mut scratch)
        };
        let trials = (self.first + self.second) as f64;
        let steps = LEAST_STEPS.max((STEPS * trials.sqrt()).ceil() as u32);
        let angle = |i: usize| FRAC_PI_2 * (i as f64 / f64::from(steps)).min(1.0);
        let values: Vec<f64> = (0..=steps as usize).map(|i| at(angle(i))).collect();
        let highest = values.iter().copied().fold(0.0, f64::max);
        let mut best = highest;
        let near = |j: Option<usize>| j.and_then(|j| values.get(j)).copied().unwrap_or(0.0);
        for (i, value) in values.iter().enumerate() {
            let peak = *value >= near(i.checked_add(1)) && *value >= near(i.checked_sub(1));
            if peak && *value > REACHED * highest {
                let (from, to) = (angle(i.saturating_sub(1)), angle(i + 1));
                best = best.max(highest_between(&mut at, from, to));
            }
        }
        best.min(1.0)
    }
}

/// Tables, as (successes of the first, and of the second from .. to).
pub(crate) struct Tail {
    runs: Vec<(usize, usize, usize)>,
}

/// Vectors that are used again.
#[derive(Default)]
pub(crate) struct Scratch {
    masses: Vec<f64>,
    below: Vec<f64>,
}

/// The highest value of a function with one peak between `low` and `high`, by golden section.
fn highest_between(at: &mut impl FnMut(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_a, mut at_b) = (at(a), at(b));
    let mut best = at_a.max(at_b);
    // At a peak an error of 1e-7 in place is one of 1e-13 in height.
    while high - low > 1e-8 {
        if at_a < at_b {
            (low, a, at_a) = (a, b, at_b);
            b = low + ratio * (high - low);
            at_b = at(b);
        } else {
            (high, b, at_b) = (b, a, at_a);
            a = high - ratio * (high - low);
            at_a = at(a);
        }
        best = best.max(at_a).max(at_b);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn test(x: u64, n: u64, y: u64, m: u64) -> Barnard {
        let tally = |successes, trials| Tally { successes, trials };
        barnard(tally(x, n), tally(y, m))
    }

    #[test]
    fn what_a_lab_can_know_of_twenty_trials() {
        // Against 50 %: 17 of 20 is the first count that is enough.
        assert!(test(16, 20, 10, 20).p_value > 0.05);
        assert!(test(17, 20, 10, 20).p_value < 0.05);
        assert!(test(35, 50, 25, 50).p_value < 0.05);
    }

    #[test]
    fn the_size_is_kept_whatever_the_common_probability() {
        for (n, m) in [(5, 5), (12, 12), (8, 15)] {
            let design = Design::new(n, m);
            let p_values: Vec<Vec<f64>> = (0..=n as usize)
                .map(|x| {
                    (0..=m as usize)
                        .map(|y| design.p_value(design.statistic(x, y)))
                        .collect()
                })
                .collect();
            for step in 1..100 {
                let p = f64::from(step) / 100.0;
                let (first, second) = (design.of_first.masses(p), design.of_second.masses(p));
                let mut rejected = 0.0;
                for (x, row) in p_values.iter().enumerate() {
                    for (y, p_value) in row.iter().enumerate() {
                        if *p_value <= 0.05 {
                            rejected += first[x] * second[y];
                        }
                    }
                }
                assert!(rejected <= 0.05 + 1e-9, "{n} {m} {p}: {rejected}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Swapping policies, or success and failure, changes the sign at most; equal shares say nothing.
        #[test]
        fn the_test_is_symmetric(n in 1_u64..25, m in 1_u64..25, u in 0.0..=1.0_f64, v in 0.0..=1.0_f64) {
            let (x, y) = ((u * n as f64).round() as u64, (v * m as f64).round() as u64);
            let this = test(x, n, y, m);
            prop_assert!((0.0..=1.0).contains(&this.p_value));
            let swapped = test(y, m, x, n);
            prop_assert!((this.p_value - swapped.p_value).abs() < 1e-9);
            prop_assert!((this.statistic + swapped.statistic).abs() < 1e-9);
            let failures = test(n - x, n, m - y, m);
            prop_assert!((this.p_value - failures.p_value).abs() < 1e-9);
            if x * m == y * n {
                prop_assert!(this.p_value > 1.0 - 1e-9);
            }
        }
    }
}
