//! Two policies tried from the same start conditions: McNemar's exact test, which looks only at conditions where one of
//! them succeeded and the other did not; and Holm's correction where several pairs are tested at once.

use crate::distribution::Binomial;

/// Start conditions by what became of both trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Pairs {
    /// Both succeeded.
    pub both: u64,
    /// Only the first policy succeeded.
    pub only_first: u64,
    /// Only the second policy succeeded.
    pub only_second: u64,
    /// Neither succeeded.
    pub neither: u64,
}

impl Pairs {
    /// Counts outcomes (first, second) of each start condition.
    pub fn of(outcomes: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut pairs = Self::default();
        for outcome in outcomes {
            *match outcome {
                (true, true) => &mut pairs.both,
                (true, false) => &mut pairs.only_first,
                (false, true) => &mut pairs.only_second,
                (false, false) => &mut pairs.neither,
            } += 1;
        }
        pairs
    }

    /// Start conditions.
    pub fn conditions(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// McNemar's exact test, two-sided: where both policies are equally good, each of the conditions that tells them apart
    /// is won by either with probability one half.
    ///
    /// Source: McNemar, Psychometrika 12 (1947) 153, in its exact binomial form.
    pub fn mc_nemar(&self) -> f64 {
        let discordant = self.only_first + self.only_second;
        let fewer = self.only_first.min(self.only_second) as usize;
        let below: f64 = Binomial::new(discordant).masses(0.5)[..=fewer].iter().sum();
        (2.0 * below).min(1.0)
    }
}

/// p-values corrected for being several, in their order: with them, the chance to call any pair different that is not stays
/// below the level.
///
/// Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut least = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        least = least.max((factor * p_values[index]).min(1.0));
        corrected[index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ten_to_nothing() {
        let pairs = Pairs::of((0..10).map(|_| (true, false)));
        assert!((pairs.mc_nemar() - 2.0 / 1024.0).abs() < 1e-15);
        assert!((Pairs::default().mc_nemar() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn holm_by_hand() {
        let corrected = holm(&[0.04, 0.01, 0.03]);
        for (actual, expected) in corrected.iter().zip([0.06, 0.03, 0.06]) {
            assert!((actual - expected).abs() < 1e-15, "{corrected:?}");
        }
    }

    proptest! {
        /// Corrected p-values are never smaller, never above Bonferroni's, and keep the order.
        #[test]
        fn holm_lies_between(p in proptest::collection::vec(0.0..=1.0_f64, 1..12)) {
            let corrected = holm(&p);
            for (i, (raw, holm)) in p.iter().zip(&corrected).enumerate() {
                prop_assert!(holm >= raw && *holm <= (raw * p.len() as f64).min(1.0) + 1e-15);
                for (other, corrected_other) in p.iter().zip(&corrected).skip(i) {
                    prop_assert!((raw <= other) == (holm <= corrected_other) || holm == corrected_other);
                }
            }
        }

        /// What happened where both did the same changes nothing, and the more one-sided, the smaller.
        #[test]
        fn only_discordant_conditions_count(a in 0_u64..40, b in 0_u64..40, c in 0_u64..40, d in 0_u64..40) {
            let pairs = Pairs { both: a, only_first: b, only_second: c, neither: d };
            let bare = Pairs { both: 0, neither: 0, ..pairs };
            prop_assert_eq!(pairs.mc_nemar(), bare.mc_nemar());
            prop_assert!((0.0..=1.0).contains(&pairs.mc_nemar()));
            let more = Pairs { only_first: b.max(c) + 1, only_second: b.min(c), ..pairs };
            let less = Pairs { only_first: b.max(c), only_second: b.min(c), ..pairs };
            prop_assert!(more.mc_nemar() <= less.mc_nemar() + 1e-12);
        }
    }
}
