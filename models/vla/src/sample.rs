//! Scores of the next token to the token: the best one, or a drawn one that a seed repeats.
//!
//! Decides nothing else; in particular not when to stop. Scores that are not finite are an error and never a token.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Choice {
    /// The best; of equals the first.
    #[default]
    Greedy,
    /// Drawn.
    Sampled(Sampling),
}

/// How tokens are drawn: of the `top_k` best, those that are needed for a share of `top_p`, by scores divided by
/// `temperature`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Above 0; below 1 the better ones gain, above 1 the worse.
    pub temperature: f32,
    /// 1 or more; `usize::MAX` for all.
    pub top_k: usize,
    /// Above 0 up to 1; 1 for all.
    pub top_p: f32,
    /// The same seed draws the same tokens from the same scores.
    pub seed: u64,
}

/// Why scores give no token.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// There are none.
    #[error("scores: expected one for each token, got none")]
    Empty,
    /// Something was computed wrongly.
    #[error("score of token {token}: expected a finite number, got {actual}")]
    NotFinite {
        /// The token.
        token: usize,
        /// Its score.
        actual: f32,
    },
}

/// Chooses one token after the other.
#[derive(Debug)]
pub struct Sampler {
    choice: Choice,
    random: ChaCha8Rng,
    /// Tokens and their weights, best first; kept so that nothing is allocated for each token.
    ranked: Vec<(usize, f32)>,
}

impl Sampler {
    /// A sampler at its first token.
    pub fn new(choice: Choice) -> Self {
        let seed = match choice {
            Choice::Greedy => 0,
            Choice::Sampled(sampling) => sampling.seed,
        };
        Self {
            choice,
            random: ChaCha8Rng::seed_from_u64(seed),
            ranked: Vec::new(),
        }
    }

    /// The token that follows, by the scores of all.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn pick(&mut self, scores: &[f32]) -> Result<i64, SampleError> {
        let best = best(scores)?;
        let Choice::Sampled(sampling) = self.choice else {
            return Ok(best as i64);
        };
        let Sampling {
            temperature,
            top_k,
            top_p,
            ..
        } = sampling;
        let top = scores[best];
        self.ranked.clear();
        // Relative to the best, so that nothing overflows.
        let weight = |score: f32| ((score - top) / temperature).exp();
        let all = scores.iter().map(|score| weight(*score)).enumerate();
        self.ranked.extend(all);
        let by_weight =
            |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if top_k < self.ranked.len() {
            self.ranked
                .select_nth_unstable_by(top_k.max(1) - 1, by_weight);
            self.ranked.truncate(top_k.max(1));
        }
        self.ranked.sort_unstable_by(by_weight);
        let total: f32 = self.ranked.iter().map(|(_, weight)| weight).sum();
        let mut kept = 0.0;
        let enough = self.ranked.iter().position(|(_, weight)| {
            kept += weight;
            kept >= top_p * total
        });
        if let Some(last) = enough {
            self.ranked.truncate(last + 1);
        }
        let total: f32 = self.ranked.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.random::<f32>() * total;
        for (token, weight) in &self.ranked {
            left -= weight;
            if left < 0.0 {
                return Ok(*token as i64);
            }
        }
        // Rounding left something over.
        Ok(self.ranked.last().map_or(best, |(token, _)| *token) as i64)
    }
}

/// The first of the best.
fn best(scores: &[f32]) -> Result<usize, SampleError> {
    let mut best: Option<(usize, f32)> = None;
    for (token, score) in scores.iter().enumerate() {
        if !score.is_finite() {
            let actual = *score;
            return Err(SampleError::NotFinite { token, actual });
        }
        if best.is_none_or(|(_, most)| *score > most) {
            best = Some((token, *score));
        }
    }
    best.map(|(token, _)| token).ok_or(SampleError::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 5] = [0.0, 2.0, 1.0, 2.0, -3.0];

    fn sampling(seed: u64) -> Sampling {
        Sampling {
            temperature: 1.0,
            top_k: usize::MAX,
            top_p: 1.0,
            seed,
        }
    }

    fn drawn(sampling: Sampling, count: usize) -> Vec<i64> {
        let mut sampler = Sampler::new(Choice::Sampled(sampling));
        (0..count)
            .map(|_| sampler.pick(&SCORES).expect("finite"))
            .collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(Choice::Greedy).pick(&SCORES), Ok(1));
    }

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        assert_eq!(drawn(sampling(3), 50), drawn(sampling(3), 50));
        assert_ne!(drawn(sampling(3), 50), drawn(sampling(4), 50));
    }

    #[test]
    fn shares_are_those_of_the_scores() {
        let tokens = drawn(sampling(1), 20_000);
        let total: f32 = SCORES.iter().map(|s| s.exp()).sum();
        for (token, score) in SCORES.iter().enumerate() {
            let share = tokens.iter().filter(|t| **t == token as i64).count() as f32 / 20_000.0;
            assert!((share - score.exp() / total).abs() < 0.015, "{token}");
        }
    }

    #[test]
    fn what_is_beyond_the_best_few_or_the_share_is_never_drawn() {
        let two = drawn(
            Sampling {
                top_k: 2,
                ..sampling(1)
            },
            500,
        );
        assert!(two.iter().all(|t| [1, 3].contains(t)) && two.contains(&1) && two.contains(&3));
        // The two best have 0.79 of the weight.
        let most = drawn(
            Sampling {
                top_p: 0.7,
                ..sampling(1)
            },
            500,
        );
        assert!(most.iter().all(|t| [1, 3].contains(t)));
        let cold = Sampling {
            temperature: 1e-3,
            top_p: 0.4,
            ..sampling(1)
        };
        assert!(drawn(cold, 100).iter().all(|t| *t == 1));
    }

    #[test]
    fn what_is_no_number_is_no_token() {
        let mut sampler = Sampler::new(Choice::Greedy);
        assert!(sampler.pick(&[0.0, f32::NAN]).is_err());
        assert!(sampler.pick(&[f32::INFINITY]).is_err());
        assert_eq!(sampler.pick(&[]), Err(SampleError::Empty));
    }
}
