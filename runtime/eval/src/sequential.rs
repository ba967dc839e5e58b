//! A test that may be looked at after every pair of trials, and stopped at any of them: which of two policies is better?
//!
//! Trials come in pairs, one of each policy. For an alternative in which the policies succeed with probabilities
//! (a, b), the *e-variable* of Turner, Ly and Grünwald multiplies, for each pair, p_a(y_A) / p_m(y_A) with
//! p_b(y_B) / p_m(y_B), where m = (a + b) / 2 and p_t is the probability of an outcome that succeeds with probability t.
//! Where both policies succeed equally often its expectation is at most 1: with u the common probability, each factor
//! f(t) = u t / m + (1 - u)(1 - t) / (1 - m) is linear in t, the mean of f(a) and f(b) is f(m) = 1, and so their product is
//! at most 1. Where a > b and the first policy is the worse one it is smaller still. The evidence here is the mean of these
//! products over a fixed grid of alternatives with a > b (a mixture of test supermartingales is one), and the same for
//! b > a.
//!
//! **Error control.** By Ville's inequality the evidence for "the first is better" ever reaches 2 / alpha with probability at
//! most alpha / 2 while the first is not better, however often one looks and whenever one stops; likewise for the second.
//! So the chance of ever naming a better policy where there is none is at most alpha, and that of ever naming the worse
//! one at most alpha / 2. Nothing has to be fixed beforehand for this but alpha, and an evaluation may be extended. Start
//! conditions may differ in difficulty from pair to pair. What is assumed: within a pair both trials start alike, and a
//! condition that is hard for one policy is not the easier for the other.
//!
//! Evidence depends on counts alone, so the chance of every decision can be computed, not only simulated
//! ([`Sequential::outlook`]).
//!
//! Source: Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional stopping",
//! J. Statistical Planning and Inference 230 (2024) 106116, Theorem 1 with blocks of one trial of each (arXiv 2106.02693);
//! Ville 1939; the mixture: Robbins, Annals of Mathematical Statistics 41 (1970) 1397.

use serde::{Deserialize, Serialize};

/// Which of two policies, in the order they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The first.
    First,
    /// The second.
    Second,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PairCount {
    /// Complete pairs: trials of each policy.
    pub pairs: u64,
    /// Successes of the first policy.
    pub first: u64,
    /// Successes of the second policy.
    pub second: u64,
}

/// How strongly the trials speak, as natural logarithms of e-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evidence {
    /// For the first policy being better.
    pub ln_first: f64,
    /// For the second policy being better.
    pub ln_second: f64,
}

/// Chances of a design.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outlook {
    /// Probability that the first policy is named the better one.
    pub first: f64,
    /// Probability that the second policy is.
    pub second: f64,
    /// Mean number of pairs until a decision or the end.
    pub mean_pairs: f64,
}

/// The test.
#[derive(Debug, Clone)]
pub struct Sequential {
    ln_threshold: f64,
    /// Of every alternative with a > b, what one outcome adds: first succeeds, first fails, second succeeds, second fails.
    alternatives: Vec<[f64; 4]>,
}

/// Success probabilities of the alternatives are multiples of one part in this many.
const PARTS: u32 = 20;

impl Sequential {
    /// With a chance of at most `alpha`, strictly between 0 and 1, of ever naming a better policy where there is none.
    pub fn new(alpha: f64) -> Self {
        let mut alternatives = Vec::new();
        for b in 1..PARTS {
            for a in b + 1..PARTS {
                let [a, b] = [a, b].map(|part| f64::from(part) / f64::from(PARTS));
                let m = (a + b) / 2.0;
                let fail = |t: f64| ((1.0 - t) / (1.0 - m)).ln();
                alternatives.push([(a / m).ln(), fail(a), (b / m).ln(), fail(b)]);
            }
        }
        Self {
            ln_threshold: (2.0 / alpha).ln(),
            alternatives,
        }
    }

    /// Evidence at which a policy is named, as a natural logarithm.
    pub fn ln_threshold(&self) -> f64 {
        self.ln_threshold
    }

    /// Evidence of these counts.
    pub fn evidence(&self, count: PairCount) -> Evidence {
        let PairCount {
            pairs,
            first,
            second,
        } = count;
        Evidence {
            ln_first: self.one_sided(pairs, first, second),
            ln_second: self.one_sided(pairs, second, first),
        }
    }

    /// The policy that these counts name; the first time that there is one decides.
    pub fn decides(&self, count: PairCount) -> Option<Better> {
        let Evidence {
            ln_first,
            ln_second,
        } = self.evidence(count);
        if ln_first >= self.ln_threshold {
            Some(Better::First)
        } else if ln_second >= self.ln_threshold {
            Some(Better::Second)
        } else {
            None
        }
    }

    /// ln of the mean over all alternatives in which what succeeded `better` times is the better one.
    fn one_sided(&self, pairs: u64, better: u64, worse: u64) -> f64 {
        let counts = [better, pairs - better, worse, pairs - worse].map(|n| n as f64);
        let ln =
            |outcome: &[f64; 4]| -> f64 { outcome.iter().zip(counts).map(|(l, n)| l * n).sum() };
        let highest = self.alternatives.iter().map(ln).fold(f64::MIN, f64::max);
        let sum: f64 = self
            .alternatives
            .iter()
            .map(|a| (ln(a) - highest).exp())
            .sum();
        highest + (sum / self.alternatives.len() as f64).ln()
    }

    /// What becomes of an evaluation of at most `most` pairs between policies that succeed with probabilities `p` and `q`,
    /// independently. Exact: all counts, each with its probability.
    pub fn outlook(&self, p: f64, q: f64, most: u64) -> Outlook {
        let width = most as usize + 1;
        // Probability of having come to (successes of first, of second) undecided.
        let mut alive = vec![0.0; width * width];
        alive[0] = 1.0;
        let mut outlook = Outlook {
            first: 0.0,
            second: 0.0,
            mean_pairs: 0.0,
        };
        for pairs in 1..=most {
            let mut next = vec![0.0; width * width];
            for first in 0..pairs as usize {
                for second in 0..pairs as usize {
                    let mass = alive[first * width + second];
                    if mass > 0.0 {
                        let at = first * width + second;
                        next[at] += mass * (1.0 - p) * (1.0 - q);
                        next[at + 1] += mass * (1.0 - p) * q;
                        next[at + width] += mass * p * (1.0 - q);
                        next[at + width + 1] += mass * p * q;
                        outlook.mean_pairs += mass;
                    }
                }
            }
            for first in 0..=pairs {
                for second in 0..=pairs {
                    let mass = &mut next[first as usize * width + second as usize];
                    // What is as good as impossible needs no decision.
                    if *mass < 1e-16 {
                        continue;
                    }
                    let count = PairCount {
                        pairs,
                        first,
                        second,
                    };
                    match self.decides(count) {
                        Some(Better::First) => outlook.first += std::mem::take(mass),
                        Some(Better::Second) => outlook.second += std::mem::take(mass),
                        None => {}
                    }
                }
            }
            alive = next;
        }
        outlook
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn where_no_policy_is_better_none_is_named_more_often_than_alpha() {
        for alpha in [0.05, 0.2] {
            let test = Sequential::new(alpha);
            for p in [0.02, 0.1, 0.3, 0.5, 0.8, 0.95] {
                let outlook = test.outlook(p, p, 40);
                assert!(outlook.first <= alpha / 2.0, "{alpha} {p}: {outlook:?}");
                assert!(outlook.second <= alpha / 2.0, "{alpha} {p}: {outlook:?}");
                assert!((outlook.first - outlook.second).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_worse_policy_is_named_less_often_still() {
        let test = Sequential::new(0.05);
        let outlook = test.outlook(0.4, 0.5, 40);
        assert!(
            outlook.first <= 0.025 && outlook.first < outlook.second,
            "{outlook:?}"
        );
        let clear = test.outlook(0.95, 0.3, 25);
        assert!(clear.first > 0.9 && clear.second < 1e-4, "{clear:?}");
        assert!(clear.mean_pairs < 18.0, "{clear:?}");
    }

    /// Long runs, looked at after every pair, with start conditions of all difficulties; the bound holds for them too.
    #[test]
    fn simulated_evaluations_of_equal_policies_seldom_end_in_a_decision() {
        let test = Sequential::new(0.1);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (runs, mut named) = (400, 0);
        for _ in 0..runs {
            let mut count = PairCount::default();
            for _ in 0..250 {
                let difficulty: f64 = rng.random();
                count.pairs += 1;
                count.first += u64::from(rng.random_bool(difficulty));
                count.second += u64::from(rng.random_bool(difficulty));
                if test.decides(count).is_some() {
                    named += 1;
                    break;
                }
            }
        }
        // At most 10 % are expected; 400 runs stay below 15 % with a probability above 0.999.
        assert!(named * 100 <= runs * 15, "{named} of {runs}");
    }

    #[test]
    fn the_chances_computed_are_those_that_happen() {
        let test = Sequential::new(0.05);
        let outlook = test.outlook(0.9, 0.5, 25);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (runs, mut named, mut pairs) = (3000, 0, 0);
        for _ in 0..runs {
            let mut count = PairCount::default();
            while count.pairs < 25 && test.decides(count).is_none() {
                count.pairs += 1;
                count.first += u64::from(rng.random_bool(0.9));
                count.second += u64::from(rng.random_bool(0.5));
            }
            named += u64::from(test.decides(count) == Some(Better::First));
            pairs += count.pairs;
        }
        let share = named as f64 / runs as f64;
        assert!((share - outlook.first).abs() < 0.04, "{share} {outlook:?}");
        let mean = pairs as f64 / runs as f64;
        assert!(
            (mean - outlook.mean_pairs).abs() < 0.6,
            "{mean} {outlook:?}"
        );
    }

    proptest! {
        /// Every alternative's factor has an expectation of at most 1 where the policy it favours is not better.
        #[test]
        fn one_pair_is_worth_at_most_one_under_the_null(p in 0.0..=1.0_f64, more in 0.0..=1.0_f64) {
            let q = p + (1.0 - p) * more;
            for [won, lost, other_won, other_lost] in Sequential::new(0.05).alternatives {
                let first = p * won.exp() + (1.0 - p) * lost.exp();
                let second = q * other_won.exp() + (1.0 - q) * other_lost.exp();
                prop_assert!(first * second <= 1.0 + 1e-12, "{p} {q}: {}", first * second);
            }
        }

        /// A further success of a policy speaks for it, and both sides mirror each other.
        #[test]
        fn evidence_follows_successes(pairs in 1_u64..60, a in 0.0..1.0_f64, b in 0.0..1.0_f64) {
            let test = Sequential::new(0.05);
            let (first, second) = ((a * pairs as f64) as u64, (b * pairs as f64) as u64);
            let count = PairCount { pairs, first, second };
            let here = test.evidence(count);
            let there = test.evidence(PairCount { first: second, second: first, ..count });
            prop_assert!((here.ln_first - there.ln_second).abs() < 1e-12);
            if first < pairs {
                let more = test.evidence(PairCount { first: first + 1, ..count });
                prop_assert!(more.ln_first > here.ln_first && more.ln_second < here.ln_second);
            }
        }
    }
}
