//! The distributions that the tests stand on, over the special functions of `statrs`: normal, beta, chi-squared, binomial.
//!
//! Decides nothing about trials. Golden values from scipy in `tests/golden.rs`.

use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::gamma_ur;

/// Quantile of the standard normal distribution; `p` strictly between 0 and 1.
pub fn normal_quantile(p: f64) -> f64 {
    let z = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p);
    // One Newton step: the rational approximation alone is good to about 1e-15 in the middle, less in the tails.
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if density > 0.0 {
        z - (normal_cdf(z) - p) / density
    } else {
        z
    }
}

/// Probability of a standard normal variable below `z`.
pub fn normal_cdf(z: f64) -> f64 {
    erfc(-z / std::f64::consts::SQRT_2) / 2.0
}

/// Probability that the absolute value of a standard normal variable is above that of `z`.
pub fn normal_two_sided(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Probability that a chi-squared variable with `degrees` of freedom is above `x`.
pub fn chi_squared_above(x: f64, degrees: u32) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    gamma_ur(f64::from(degrees) / 2.0, x / 2.0)
}

/// Probability of a Beta(a, b) variable below `x`; `a` and `b` above 0.
pub fn beta_cdf(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        0.0
    } else if x >= 1.0 {
        1.0
    } else {
        beta_reg(a, b, x)
    }
}

/// Quantile of Beta(a, b): bisection down to neighbouring numbers, since the distribution function is exact to 1e-14 and
/// nothing faster is needed.
pub fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if beta_cdf(a, b, middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// The binomial distribution of `n` trials, its coefficients computed once.
#[derive(Debug, Clone)]
pub struct Binomial {
    /// ln of n over k, for k from 0 to n.
    ln_choose: Vec<f64>,
}

impl Binomial {
    /// Of `trials`.
    pub fn new(trials: u64) -> Self {
        let n = trials as usize;
        let mut ln_choose = Vec::with_capacity(n + 1);
        let mut sum = 0.0;
        ln_choose.push(0.0);
        for k in 1..=n {
            sum += ((n - k + 1) as f64 / k as f64).ln();
            ln_choose.push(sum);
        }
        Self { ln_choose }
    }

    /// Probability of each number of successes, 0 to n, where each trial succeeds with probability `p`.
    pub fn masses(&self, p: f64) -> Vec<f64> {
        let mut masses = Vec::new();
        self.fill(p, &mut masses);
        masses
    }

    /// As [`Binomial::masses`], into a vector that is used again.
    pub fn fill(&self, p: f64, masses: &mut Vec<f64>) {
        let n = self.ln_choose.len() - 1;
        masses.clear();
        if p <= 0.0 || p >= 1.0 {
            let all = if p <= 0.0 { 0 } else { n };
            masses.extend((0..=n).map(|k| if k == all { 1.0 } else { 0.0 }));
            return;
        }
        let (yes, no) = (p.ln(), (-p).ln_1p());
        masses.extend(
            self.ln_choose
                .iter()
                .enumerate()
                .map(|(k, ln)| (ln + k as f64 * yes + (n - k) as f64 * no).exp()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_undo_distributions() {
        for p in [1e-6, 0.025, 0.3, 0.5, 0.9, 0.975, 1.0 - 1e-6] {
            assert!((normal_cdf(normal_quantile(p)) - p).abs() < 1e-14, "{p}");
            for (a, b) in [(0.5, 0.5), (0.5, 24.5), (3.0, 4.0), (120.5, 30.5)] {
                let x = beta_quantile(a, b, p);
                assert!((beta_cdf(a, b, x) - p).abs() < 1e-10, "{a} {b} {p}");
            }
        }
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-10);
    }

    #[test]
    fn masses_sum_to_one() {
        for n in [0, 1, 24, 500] {
            let binomial = Binomial::new(n);
            for p in [0.0, 1e-9, 0.2, 0.5, 0.999, 1.0] {
                let sum: f64 = binomial.masses(p).iter().sum();
                assert!((sum - 1.0).abs() < 1e-11, "{n} {p}: {sum}");
            }
        }
    }
}
