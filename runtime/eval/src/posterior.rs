//! What the trials say in Bayesian terms: a beta posterior of each policy's success probability, and how probable it is
//! that one policy is the better one.
//!
//! The prior is declared, never chosen by the data. Policies are independent a priori.

use serde::{Deserialize, Serialize};

use crate::distribution::{beta_cdf, beta_quantile};
use crate::tally::{Interval, Tally};
use statrs::function::beta::ln_beta;

/// What is believed of a success probability before the first trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// Beta(1/2, 1/2): Jeffreys' rule, the same belief in whatever scale probability is measured.
    #[default]
    Jeffreys,
    /// Beta(1, 1): every probability is as likely as any other.
    Uniform,
}

impl Prior {
    /// Both parameters of the beta distribution.
    pub fn pseudo_count(self) -> f64 {
        match self {
            Self::Jeffreys => 0.5,
            Self::Uniform => 1.0,
        }
    }

    /// As it is written in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jeffreys => "Jeffreys, Beta(1/2, 1/2)",
            Self::Uniform => "uniform, Beta(1, 1)",
        }
    }
}

/// Beta(a, b), of a success probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    /// Successes and what the prior adds to them.
    pub a: f64,
    /// Failures and what the prior adds to them.
    pub b: f64,
}

impl Posterior {
    /// After `tally`.
    pub fn new(prior: Prior, tally: Tally) -> Self {
        Self {
            a: prior.pseudo_count() + tally.successes as f64,
            b: prior.pseudo_count() + (tally.trials - tally.successes) as f64,
        }
    }

    /// Mean.
    pub fn mean(&self) -> f64 {
        self.a / (self.a + self.b)
    }

    /// The interval that holds the probability with probability `level` and leaves as much below as above.
    pub fn credible(&self, level: f64) -> Interval {
        let tail = (1.0 - level) / 2.0;
        Interval {
            low: beta_quantile(self.a, self.b, tail),
            high: beta_quantile(self.a, self.b, 1.0 - tail),
        }
    }

    /// Density at `x`; infinite at an end that Jeffreys' prior leaves open.
    pub fn density(&self, x: f64) -> f64 {
        let power = |base: f64, exponent: f64| match exponent {
            0.0 => 0.0,
            _ => exponent * base.ln(),
        };
        (power(x, self.a - 1.0) + power(1.0 - x, self.b - 1.0) - ln_beta(self.a, self.b)).exp()
    }

    /// Probability that this probability is above the `other`'s: the integral of this density times the other's
    /// distribution function.
    ///
    /// With x = sin^2 t the integrand is free of the ends' singularities (a, b at least 1/2), and Gauss-Legendre panels
    /// carry it to 1e-12; golden values from scipy's adaptive quadrature.
    pub fn above(&self, other: &Self) -> f64 {
        // Ten points, symmetric about the middle of a panel: Abramowitz, Stegun, table 25.4.
        const NODES: [(f64, f64); 5] = [
            (0.148_874_338_981_631_22, 0.295_524_224_714_752_87),
            (0.433_395_394_129_247_2, 0.269_266_719_309_996_35),
            (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
            (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
            (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
        ];
        const PANELS: u32 = 96;
        let width = std::f64::consts::FRAC_PI_2 / f64::from(PANELS);
        let ln_scale = std::f64::consts::LN_2 - ln_beta(self.a, self.b);
        let at = |t: f64| {
            let (sin, cos) = t.sin_cos();
            let ln = (2.0 * self.a - 1.0) * sin.ln() + (2.0 * self.b - 1.0) * cos.ln();
            (ln_scale + ln).exp() * beta_cdf(other.a, other.b, sin * sin)
        };
        let mut sum = 0.0;
        for panel in 0..PANELS {
            let middle = (f64::from(panel) + 0.5) * width;
            for (node, weight) in NODES {
                let off = node * width / 2.0;
                sum += weight * (at(middle - off) + at(middle + off));
            }
        }
        (sum * width / 2.0).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn posterior(prior: Prior, successes: u64, trials: u64) -> Posterior {
        Posterior::new(prior, Tally { successes, trials })
    }

    #[test]
    fn one_uniform_trial_each_is_known_in_closed_form() {
        // Beta(2, 1) above Beta(1, 2): the integral of 2x (2x - x^2) is 4/3 - 1/2.
        let (won, lost) = (
            posterior(Prior::Uniform, 1, 1),
            posterior(Prior::Uniform, 0, 1),
        );
        assert!((won.above(&lost) - 5.0 / 6.0).abs() < 1e-12);
    }

    proptest! {
        /// One of two is the better one; equals are even; more successes never make a policy the worse one.
        #[test]
        fn being_better_is_a_probability(
            n in 1_u64..200, m in 1_u64..200, x in 0.0..1.0_f64, y in 0.0..1.0_f64, uniform in any::<bool>(),
        ) {
            let prior = if uniform { Prior::Uniform } else { Prior::Jeffreys };
            let (k, l) = ((x * n as f64) as u64, (y * m as f64) as u64);
            let (a, b) = (posterior(prior, k, n), posterior(prior, l, m));
            prop_assert!((a.above(&b) + b.above(&a) - 1.0).abs() < 1e-9);
            prop_assert!((a.above(&a) - 0.5).abs() < 1e-9);
            let more = posterior(prior, k + 1, n.max(k + 1));
            prop_assert!(more.above(&b) >= a.above(&b) - 1e-12);
            let inside = a.credible(0.9);
            prop_assert!(inside.low < a.mean() && a.mean() < inside.high);
        }
    }
}
