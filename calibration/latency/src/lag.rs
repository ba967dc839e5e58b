//! By how much one series follows another: the shift at which they are most alike (largest correlation), as UMI calibrates
//! its arms (Chi et al., "Universal Manipulation Interface", arXiv:2402.10329, appendix on latency).
//!
//! Both are interpolated to one grid. The shift is found on that grid and then between its points, by a parabola through
//! the best and its neighbours. Parts of the series, taken one by one, say how sure it is.

/// Step of the grid, seconds.
const STEP: f64 = 1e-3;
/// Parts that are looked at one by one.
const PARTS: usize = 4;
/// What two series must agree by at least, of 1.
const ALIKE: f64 = 0.9;
/// What must have moved, as a standard deviation, of the series' own unit.
const MOVED: f64 = 1e-3;

/// One number at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// When, seconds.
    pub at: f64,
    /// The number.
    pub value: f64,
}

/// By how much a series follows another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// The shift, seconds.
    pub secs: f64,
    /// How far the parts of the series are from it, as a standard error, seconds.
    pub error_secs: f64,
    /// How alike the series are at that shift: correlation, up to 1.
    pub alike: f64,
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LagError {
    /// The series do not overlap for long enough.
    #[error("the two series overlap for {actual:.2} s; expected at least {expected:.2} s")]
    Short {
        /// Needed, seconds.
        expected: f64,
        /// There is, seconds.
        actual: f64,
    },
    /// One of them hardly changes.
    #[error("`{which}` changes by {actual:.5} (standard deviation); expected at least {MOVED}")]
    Still {
        /// Which series.
        which: &'static str,
        /// Standard deviation.
        actual: f64,
    },
    /// They do not belong together, or by more than the longest shift.
    #[error(
        "the series are alike to {alike:.3} at a shift of {secs:.3} s; expected at least {ALIKE}, and less than the longest shift"
    )]
    Unlike {
        /// Best correlation.
        alike: f64,
        /// Where it was found.
        secs: f64,
    },
    /// Times that do not grow, or numbers that are not finite.
    #[error("`{which}`: expected finite numbers at growing times")]
    Disorder {
        /// Which series.
        which: &'static str,
    },
}

/// The shift, from 0 to `longest` seconds, by which `follower` follows `leader`. Both may be sampled at any times.
///
/// # Errors
/// [`LagError`].
pub fn lag(leader: &[Sampled], follower: &[Sampled], longest: f64) -> Result<Lag, LagError> {
    let sound = |series: &[Sampled]| {
        series
            .iter()
            .all(|s| s.at.is_finite() && s.value.is_finite())
            && series.is_sorted_by(|a, b| a.at < b.at)
    };
    for (which, series) in [("leader", leader), ("follower", follower)] {
        if !sound(series) {
            return Err(LagError::Disorder { which });
        }
    }
    let ends = |s: &[Sampled]| {
        s.first()
            .zip(s.last())
            .map_or((0.0, 0.0), |(a, b)| (a.at, b.at))
    };
    let ((a, b), (c, d)) = (ends(leader), ends(follower));
    // A shifted leader must reach every instant of the follower that counts.
    let (from, until) = (c.max(a + longest), d.min(b));
    let needed = 4.0 * longest.max(0.1);
    if until - from < needed {
        return Err(LagError::Short {
            expected: needed,
            actual: (until - from).max(0.0),
        });
    }
    let shifts = (longest / STEP).ceil() as usize;
    let count = ((until - from) / STEP) as usize;
    let lead = resampled(leader, from - shifts as f64 * STEP, count + shifts);
    let follow = resampled(follower, from, count);
    for (which, series) in [("leader", &lead), ("follower", &follow)] {
        let actual = deviation(series);
        if actual < MOVED {
            return Err(LagError::Still { which, actual });
        }
    }
    let (secs, alike) = best(&lead, &follow, shifts);
    if alike < ALIKE || secs > longest - STEP {
        return Err(LagError::Unlike { alike, secs });
    }
    let part = count / PARTS;
    let each: Vec<f64> = (0..PARTS)
        .filter_map(|k| {
            let follow = follow.get(k * part..(k + 1) * part)?;
            let lead = lead.get(k * part..(k + 1) * part + shifts)?;
            let moved = deviation(follow) > MOVED && deviation(lead) > MOVED;
            moved.then(|| best(lead, follow, shifts).0)
        })
        .collect();
    let spread = each.iter().map(|s| (s - secs).powi(2)).sum::<f64>();
    let error_secs = match each.len() {
        0 | 1 => STEP,
        n => (spread / (n * (n - 1)) as f64).sqrt(),
    };
    Ok(Lag {
        secs,
        error_secs,
        alike,
    })
}

/// `count` values of `series` from `from` on, [`STEP`] apart, between samples on a straight line.
fn resampled(series: &[Sampled], from: f64, count: usize) -> Vec<f64> {
    let mut next = 0;
    (0..count)
        .map(|i| {
            let at = from + i as f64 * STEP;
            while series.get(next).is_some_and(|s| s.at < at) {
                next += 1;
            }
            match (
                next.checked_sub(1).and_then(|k| series.get(k)),
                series.get(next),
            ) {
                (Some(a), Some(b)) => a.value + (b.value - a.value) * (at - a.at) / (b.at - a.at),
                (Some(one), None) | (None, Some(one)) => one.value,
                (None, None) => 0.0,
            }
        })
        .collect()
}

fn mean(series: &[f64]) -> f64 {
    series.iter().sum::<f64>() / series.len().max(1) as f64
}

fn deviation(series: &[f64]) -> f64 {
    let mean = mean(series);
    let square = series.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (square / series.len().max(1) as f64).sqrt()
}

/// Correlation of `follow` with `lead`, `shift` steps earlier.
fn correlation(lead: &[f64], follow: &[f64], shifts: usize, shift: usize) -> f64 {
    let lead = lead.get(shifts - shift..).unwrap_or_default();
    let lead = lead.get(..follow.len()).unwrap_or_default();
    let (a, b) = (mean(lead), mean(follow));
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (l, f) in lead.iter().zip(follow) {
        both += (l - a) * (f - b);
        one += (l - a).powi(2);
        other += (f - b).powi(2);
    }
    both / (one * other).sqrt().max(f64::MIN_POSITIVE)
}

/// Best shift, seconds, and correlation there.
fn best(lead: &[f64], follow: &[f64], shifts: usize) -> (f64, f64) {
    let alike: Vec<f64> = (0..=shifts)
        .map(|s| correlation(lead, follow, shifts, s))
        .collect();
    let at = (0..alike.len())
        .max_by(|a, b| alike[*a].total_cmp(&alike[*b]))
        .unwrap_or(0);
    let between = match (at.checked_sub(1).map(|i| alike[i]), alike.get(at + 1)) {
        (Some(before), Some(after)) => {
            let bend = before - 2.0 * alike[at] + after;
            if bend < 0.0 {
                (before - after) / (2.0 * bend)
            } else {
                0.0
            }
        }
        _ => 0.0,
    };
    ((at as f64 + between.clamp(-0.5, 0.5)) * STEP, alike[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal};

    use super::*;

    /// Back and forth between rest and rest, quicker and slower.
    fn motion(at: f64) -> f64 {
        0.05 * (0.9 * at).sin() + 0.04 * (2.3 * at + 0.4).sin() + 0.02 * (5.1 * at).sin()
    }

    fn sampled(hz: f64, noise: f64, seed: u64, of: impl Fn(f64) -> f64) -> Vec<Sampled> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let normal = Normal::new(0.0, noise).expect("a deviation");
        let jitter = 0.3 / hz;
        (0..(8.0 * hz) as usize)
            .map(|i| {
                let at = 100.0 + i as f64 / hz + rng.random_range(0.0..jitter);
                Sampled {
                    at,
                    value: of(at) + normal.sample(&mut rng),
                }
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_delay_of_20_to_300_ms_is_found_within_5_ms(
            delay in 0.02..0.3f64,
            seed: u64,
            hz in prop_oneof![Just(50.0), Just(125.0), Just(500.0)],
        ) {
            let leader = sampled(hz, 0.0, seed, motion);
            let follower = sampled(hz, 5e-4, seed ^ 1, |at| 0.97 * motion(at - delay) + 0.01);
            let lag = lag(&leader, &follower, 0.5).expect("alike");
            prop_assert!((lag.secs - delay).abs() < 5e-3, "{delay} {lag:?}");
            prop_assert!(lag.error_secs < 5e-3, "{lag:?}");
        }
    }

    #[test]
    fn what_does_not_move_or_does_not_belong_together_is_refused() {
        let moves = sampled(100.0, 0.0, 1, motion);
        let still = sampled(100.0, 1e-5, 2, |_| 0.3);
        let other = sampled(100.0, 0.0, 3, |at| 0.1 * (11.0 * at).cos());
        let refused = |a: &[Sampled], b: &[Sampled]| lag(a, b, 0.3).expect_err("refused");
        let which = |e| match e {
            LagError::Still { which, .. } => which,
            other => panic!("{other}"),
        };
        assert_eq!(which(refused(&still, &moves)), "leader");
        assert_eq!(which(refused(&moves, &still)), "follower");
        assert!(matches!(refused(&moves, &other), LagError::Unlike { .. }));
        assert!(matches!(
            refused(&moves, &moves[..50]),
            LagError::Short { .. }
        ));
        let reversed: Vec<Sampled> = moves.iter().rev().copied().collect();
        assert!(matches!(
            refused(&moves, &reversed),
            LagError::Disorder { .. }
        ));
        assert!(matches!(refused(&[], &[]), LagError::Short { .. }));
    }

    #[test]
    fn a_delay_beyond_the_longest_is_not_taken_for_the_longest() {
        let leader = sampled(100.0, 0.0, 1, motion);
        let follower = sampled(100.0, 0.0, 2, |at| motion(at - 0.4));
        assert!(matches!(
            lag(&leader, &follower, 0.2),
            Err(LagError::Unlike { .. })
        ));
    }
}
