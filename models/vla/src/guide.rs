//! Guidance of inference-time real-time chunking (Black, Galliker, Levine: "Real-Time Execution of Action Chunking Flow
//! Policies", arXiv 2506.07339): how much each row is drawn towards the old plan, and how hard at each denoising step.
//!
//! Decides the two weights. The correction itself is computed by the bundle's `denoise_vjp` graph, or by
//! [`identity_step`] where the derivative is taken to be the identity.

/// Weight of each of `rows`, in [0, 1] and never growing: 1 for the `decided` first ones, 0 from `planned` on, which the
/// old plan does not reach; in between `c (e^c - 1) / (e - 1)` with `c = (planned - i) / (planned - decided + 1)`.
/// Equation 5, where `decided` is d and `planned` is H - s.
pub fn soft_mask(rows: usize, decided: usize, planned: usize) -> Vec<f32> {
    let weight = |i: usize| {
        if i >= planned {
            return 0.0;
        }
        if i < decided {
            return 1.0;
        }
        let c = (planned - i) as f64 / (planned - decided + 1) as f64;
        (c * (c.exp() - 1.0) / (std::f64::consts::E - 1.0)) as f32
    };
    (0..rows).map(weight).collect()
}

/// Weight of the guidance at denoising time `tau` in [0, 1): `min(beta, (1 - tau) / (tau r^2))` with
/// `r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2)`. Equations 2 and 4; at 0 it is `beta`.
pub fn guidance_weight(tau: f64, beta: f64) -> f64 {
    let rest = 1.0 - tau;
    let raw = (tau * tau + rest * rest) / (tau * rest);
    // 0 / 0 and 1 / 0 at the ends.
    if raw.is_finite() { raw.min(beta) } else { beta }
}

/// What is drawn towards the old plan in one step.
#[derive(Debug, Clone, Copy)]
pub struct Pull<'a> {
    /// The old plan, normalised, `[H, A]`.
    pub target: &'a [f32],
    /// [`soft_mask`], `[H]`.
    pub weight: &'a [f32],
    /// [`guidance_weight`] of the step.
    pub guidance: f32,
}

/// Adds the guidance to an unguided Euler step from `x` at `tau` by `dt` to `x_next` (`[H, A]` each), with the identity
/// in place of the derivative of the estimate by the sample. With `v = (x_next - x) / dt` the estimate is
/// `x + (1 - tau) v`, and `x_next` moves by `dt guidance W (target - estimate)`.
pub fn identity_step(x: &[f32], x_next: &mut [f32], tau: f32, dt: f32, pull: &Pull<'_>) {
    let columns = x.len() / pull.weight.len().max(1);
    for (i, (next, x)) in x_next.iter_mut().zip(x).enumerate() {
        let row = i / columns.max(1);
        let (Some(weight), Some(target)) = (pull.weight.get(row), pull.target.get(i)) else {
            continue;
        };
        let v = (*next - x) / dt;
        let estimate = x + (1.0 - tau) * v;
        *next += dt * pull.guidance * weight * (target - estimate);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// numpy, from the paper's equation: H = 8, d = 2, H - s = 6.
    /// `c = (6 - i) / (6 - 2 + 1); w = c * (np.exp(c) - 1) / (np.e - 1)` for i = 2..5.
    #[test]
    fn the_soft_mask_is_that_of_the_paper() {
        let expected = [
            1.0, 1.0, 0.570_589, 0.287_072, 0.114_492, 0.025_770, 0.0, 0.0,
        ];
        for (i, (got, want)) in soft_mask(8, 2, 6).iter().zip(expected).enumerate() {
            assert!((got - want).abs() < 1e-6, "row {i}: {got}, expected {want}");
        }
    }

    #[test]
    fn guidance_of_four_steps_is_clipped_at_both_ends() {
        let weights: Vec<f64> = (0..4)
            .map(|k| guidance_weight(f64::from(k) / 4.0, 5.0))
            .collect();
        let expected = [5.0, 10.0 / 3.0, 2.0, 10.0 / 3.0];
        for (got, want) in weights.iter().zip(expected) {
            assert!((got - want).abs() < 1e-12, "{weights:?}");
        }
        assert_eq!(guidance_weight(1.0, 5.0), 5.0);
    }

    #[test]
    fn a_full_pull_at_the_last_moment_lands_on_the_target() {
        // One step of the whole time: the estimate is x + v, and guidance 1 replaces it by the target.
        let (x, mut next) = ([0.5f32, -1.0], [0.7f32, 2.0]);
        let pull = Pull {
            target: &[3.0, 4.0],
            weight: &[1.0],
            guidance: 1.0,
        };
        identity_step(&x, &mut next, 0.0, 1.0, &pull);
        assert_eq!(next, [3.0, 4.0]);
    }

    proptest! {
        #[test]
        fn masks_are_shares_that_never_grow(rows in 1usize..64, decided in 0usize..64, planned in 0usize..64) {
            let mask = soft_mask(rows, decided, planned);
            prop_assert_eq!(mask.len(), rows);
            prop_assert!(mask.iter().all(|w| (0.0..=1.0).contains(w)));
            prop_assert!(mask.windows(2).all(|w| w[1] <= w[0] + 1e-6));
            prop_assert!(mask.iter().skip(planned).all(|w| *w == 0.0));
        }

        #[test]
        fn guidance_lies_between_two_and_beta(tau in 0.0f64..1.0, beta in 2.0f64..20.0) {
            let w = guidance_weight(tau, beta);
            prop_assert!((2.0 - 1e-9..=beta).contains(&w), "{w}");
        }
    }
}
