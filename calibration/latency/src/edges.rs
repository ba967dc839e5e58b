//! How long after each change of a light the pictures show it.
//!
//! The light goes on and off at known instants. Of each change, the last picture that shows it not yet bounds the latency
//! from below and the first that does from above; changes at instants that have nothing to do with the pictures' leave a
//! narrow interval together. Pictures that were exposed across a change show part of it and are taken for neither. Nothing
//! is assumed but that the latency is the same for all.

use crate::lag::Sampled;

/// Changes that are needed.
const LEAST: usize = 10;
/// Of the way from dark to bright: a picture below the first shows dark, above the second bright.
const DARK: f64 = 0.25;
const BRIGHT: f64 = 0.75;
/// Difference between dark and bright that can be told from noise, of the pictures' own unit.
const LEAST_CONTRAST: f64 = 1e-3;
/// Share of changes that may contradict the others: a picture that was lost, a light that flickered.
const STRAY: f64 = 0.1;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edges {
    /// The latency, seconds.
    pub secs: f64,
    /// It is not further from that, seconds.
    pub bound_secs: f64,
    /// Changes that counted.
    pub changes: usize,
    /// Changes that contradicted the others and were left out.
    pub strays: usize,
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EdgeError {
    /// Too few changes were seen.
    #[error("{actual} changes of the light are between pictures; expected at least {LEAST}")]
    Few {
        /// How many.
        actual: usize,
    },
    /// Dark and bright look alike.
    #[error(
        "dark and bright differ by {actual:.4}; expected more than {LEAST_CONTRAST}: does the camera see the light?"
    )]
    Flat {
        /// By how much.
        actual: f64,
    },
    /// The changes contradict each other.
    #[error("{strays} of {changes} changes contradict the others; expected at most a tenth")]
    Contradiction {
        /// How many.
        strays: usize,
        /// Of how many.
        changes: usize,
    },
}

/// The latency between `changes` of a light, when it went on (true) or off, seconds, and `pictures`, how bright each is at its
/// capture time; from 0 to `longest` seconds.
///
/// # Errors
/// [`EdgeError`].
pub fn edges(
    changes: &[(f64, bool)],
    pictures: &[Sampled],
    longest: f64,
) -> Result<Edges, EdgeError> {
    let mut sorted: Vec<f64> = pictures.iter().map(|p| p.value).collect();
    sorted.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let index = (q * sorted.len().saturating_sub(1) as f64) as usize;
        sorted.get(index).copied().unwrap_or(0.0)
    };
    let (dark, bright) = (quantile(0.1), quantile(0.9));
    let contrast = bright - dark;
    if contrast.is_nan() || contrast <= LEAST_CONTRAST {
        return Err(EdgeError::Flat { actual: contrast });
    }
    let share = |p: &Sampled| (p.value - dark) / contrast;
    let mut intervals = Vec::new();
    for (i, (at, on)) in changes.iter().enumerate() {
        // Until the next change has begun to show, pictures are about this one.
        let until = changes.get(i + 1).map_or(f64::INFINITY, |next| next.0);
        let is_new = |p: &Sampled| {
            if *on {
                share(p) > BRIGHT
            } else {
                share(p) < DARK
            }
        };
        let is_old = |p: &Sampled| {
            if *on {
                share(p) < DARK
            } else {
                share(p) > BRIGHT
            }
        };
        let about = pictures
            .iter()
            .filter(|p| p.at >= *at && p.at < until.min(at + longest));
        let Some(first) = about.clone().find(|p| is_new(p)) else {
            continue;
        };
        let before = pictures
            .iter()
            .filter(|p| p.at < first.at && p.at > at - longest);
        let Some(last) = before.rev().find(|p| is_old(p)) else {
            continue;
        };
        intervals.push(((last.at - at).max(0.0), first.at - at));
    }
    if intervals.len() < LEAST {
        return Err(EdgeError::Few {
            actual: intervals.len(),
        });
    }
    // The latency that most intervals allow.
    let holds = |secs: f64| {
        intervals
            .iter()
            .filter(|(a, b)| (*a..=*b).contains(&secs))
            .count()
    };
    let ends = || intervals.iter().flat_map(|(a, b)| [*a, *b]);
    let most = ends().map(holds).max().unwrap_or(0);
    let strays = intervals.len() - most;
    if strays as f64 > STRAY * intervals.len() as f64 {
        return Err(EdgeError::Contradiction {
            strays,
            changes: intervals.len(),
        });
    }
    let best: Vec<f64> = ends().filter(|secs| holds(*secs) == most).collect();
    let low = best.iter().copied().fold(f64::INFINITY, f64::min);
    let high = best.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Ok(Edges {
        secs: f64::midpoint(low, high),
        bound_secs: (high - low) / 2.0,
        changes: most,
        strays,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Sixty changes, 0.4 to 0.8 s apart.
    fn changes(rng: &mut ChaCha8Rng) -> Vec<(f64, bool)> {
        let mut at = 10.0;
        (0..60)
            .map(|i| {
                at += rng.random_range(0.4..0.8);
                (at, i % 2 == 0)
            })
            .collect()
    }

    /// Pictures at `hz`, each the mean of what the light was `latency` before, over an exposure that ends there.
    fn pictures(
        changes: &[(f64, bool)],
        latency: f64,
        hz: f64,
        exposure: f64,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Sampled> {
        let light = |at: f64| {
            let last = changes.iter().rev().find(|(t, _)| *t <= at);
            f64::from(u8::from(last.is_some_and(|(_, on)| *on)))
        };
        let end = changes.last().map_or(0.0, |(t, _)| *t) + 1.0;
        (0..((end - 9.0) * hz) as usize)
            .map(|i| {
                let at = 9.0 + i as f64 / hz;
                let seen = (0..20).map(|k| light(at - latency - exposure * f64::from(k) / 20.0));
                let noise = rng.random_range(-0.02..0.02);
                Sampled {
                    at,
                    value: 0.2 + 0.3 * seen.sum::<f64>() / 20.0 + noise,
                }
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_latency_of_20_to_300_ms_is_found_within_5_ms(
            latency in 0.02..0.3f64,
            seed: u64,
            hz in prop_oneof![Just(20.0), Just(30.0), Just(60.0)],
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let changes = changes(&mut rng);
            let pictures = pictures(&changes, latency, hz, 0.004, &mut rng);
            let found = edges(&changes, &pictures, 0.39).expect("seen");
            prop_assert!((found.secs - latency).abs() < 5e-3, "{latency} {found:?}");
            prop_assert!(found.bound_secs < 5e-3, "{found:?}");
        }
    }

    #[test]
    fn lost_pictures_are_strays_and_a_covered_lens_is_said() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let changes = changes(&mut rng);
        let all = pictures(&changes, 0.1, 30.0, 0.004, &mut rng);
        let kept: Vec<Sampled> = all
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 7 != 3)
            .map(|(_, p)| *p)
            .collect();
        let found = edges(&changes, &kept, 0.39).expect("seen");
        assert!((found.secs - 0.1).abs() < 5e-3, "{found:?}");
        let covered: Vec<Sampled> = all.iter().map(|p| Sampled { value: 0.0, ..*p }).collect();
        assert!(matches!(
            edges(&changes, &covered, 0.39),
            Err(EdgeError::Flat { .. })
        ));
        let few = edges(&changes[..5], &all, 0.39);
        assert!(matches!(few, Err(EdgeError::Few { .. })));
    }

    #[test]
    fn pictures_of_another_light_contradict_each_other() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (ours, theirs) = (changes(&mut rng), changes(&mut rng));
        let pictures = pictures(&theirs, 0.1, 30.0, 0.004, &mut rng);
        let found = edges(&ours, &pictures, 0.39);
        assert!(
            matches!(
                found,
                Err(EdgeError::Contradiction { .. } | EdgeError::Few { .. })
            ),
            "{found:?}"
        );
    }
}
