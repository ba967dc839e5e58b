//! A reference, learnt from episodes.

use nalgebra::DVector;

use crate::look::Look;
use crate::picture::{BEYOND, Pictures, Seen, exchange, fold};
use crate::state::States;
use crate::turn::Turn;

/// Fewest episodes that say anything about the next.
pub const LEAST_EPISODES: usize = 20;
/// Fewest instants of them.
pub const LEAST_SAMPLES: usize = 100;
/// Least standard deviation of a column, where pictures are predicted from it: one that never moved predicts nothing.
const LEAST_DEVIATION: f64 = 1e-3;

/// One instant of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The columns of the state.
    pub state: Vec<f64>,
    /// A picture of each camera.
    pub looks: Vec<Look>,
    /// Number of the episode.
    pub episode: usize,
    /// Whether it is the episode's first.
    pub first: bool,
}

/// Two cameras, and what it takes to say that they have changed places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Indices of the cameras.
    pub cameras: (usize, usize),
    /// How much more likely pictures of an episode that was left out seemed at most when they were exchanged, nats.
    pub(crate) chance: f64,
    /// Share of such instants of which it would be noticed.
    pub noticed: f64,
}

/// What a policy was trained on, as far as a live cell can be compared with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Joint states.
    pub states: States,
    /// Names of the cameras, and their pictures.
    pub cameras: Vec<(String, Pictures)>,
    /// All pairs of cameras.
    pub pairs: Vec<Pair>,
    /// How many episodes and instants it was learnt from.
    pub counts: (usize, usize),
    /// Mean and standard deviation of each column.
    pub(crate) scale: (DVector<f64>, DVector<f64>),
}

/// Why nothing can be learnt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// Too little.
    #[error("{what}: expected at least {expected}, got {actual}")]
    Few {
        /// Of what.
        what: &'static str,
        /// Number that is enough.
        expected: usize,
        /// Number there is.
        actual: usize,
    },
    /// The samples do not agree about columns and cameras.
    #[error("sample {sample}: expected {expected}, got {actual}")]
    Shape {
        /// Index of the sample.
        sample: usize,
        /// Columns and cameras.
        expected: String,
        /// Its own.
        actual: String,
    },
    /// The numbers have no distribution.
    #[error("{what} cannot be learnt: numbers that are not finite, or all alike")]
    Degenerate {
        /// What.
        what: String,
    },
}

/// Learns from `samples`, whose states have `columns`, the last of them the gripper's opening where `gripper` says so, and
/// whose pictures are those of `cameras`. Takes seconds.
///
/// # Errors
/// [`LearnError`].
pub fn learn(
    columns: &[String],
    gripper: bool,
    cameras: &[String],
    samples: &[Sample],
) -> Result<Reference, LearnError> {
    let expected = format!("{} columns and {} cameras", columns.len(), cameras.len());
    for (i, sample) in samples.iter().enumerate() {
        if (sample.state.len(), sample.looks.len()) != (columns.len(), cameras.len()) {
            let (c, k) = (sample.state.len(), sample.looks.len());
            return Err(LearnError::Shape {
                sample: i,
                expected,
                actual: format!("{c} columns and {k} cameras"),
            });
        }
    }
    let episodes = samples.iter().filter(|s| s.first).count();
    for (what, least, actual) in [
        ("episodes", LEAST_EPISODES, episodes),
        ("samples", LEAST_SAMPLES, samples.len()),
    ] {
        if actual < least {
            return Err(LearnError::Few {
                what,
                expected: least,
                actual,
            });
        }
    }
    let degenerate = |what: &str| LearnError::Degenerate { what: what.into() };
    let given: Vec<(&[f64], bool)> = samples.iter().map(|s| (&s.state[..], s.first)).collect();
    let states = States::learn(columns.to_vec(), gripper, &given)
        .ok_or_else(|| degenerate("joint states"))?;
    let scale = scale(columns.len(), samples);
    let standard: Vec<DVector<f64>> = samples.iter().map(|s| standard(&scale, &s.state)).collect();
    let mut learnt = Vec::with_capacity(cameras.len());
    let mut left_out = Vec::with_capacity(cameras.len());
    for (k, name) in cameras.iter().enumerate() {
        let seen: Vec<Seen<'_>> = samples
            .iter()
            .zip(&standard)
            .map(|(s, state)| Seen {
                look: &s.looks[k],
                state,
                episode: s.episode,
            })
            .collect();
        let pictures = Pictures::learn(&seen);
        let (pictures, without) =
            pictures.ok_or_else(|| degenerate(&format!("pictures of `{name}`")))?;
        left_out.push(without);
        learnt.push((name.clone(), pictures));
    }
    let mut reference = Reference {
        states,
        cameras: learnt,
        pairs: Vec::new(),
        counts: (episodes, samples.len()),
        scale,
    };
    for a in 0..cameras.len() {
        for b in a + 1..cameras.len() {
            // By what is learnt without the episode: its own pictures would seem less exchangeable than those of the next.
            let gain = |(s, state): (&Sample, &DVector<f64>)| {
                let without = |k: usize| left_out[k][fold(s.episode)].as_ref();
                let looks = [&s.looks[a], &s.looks[b]];
                Some(exchange([without(a)?, without(b)?], looks, state))
            };
            let gains: Vec<f64> = samples.iter().zip(&standard).filter_map(gain).collect();
            let chance = gains.iter().copied().fold(0.0, f64::max);
            let mut pair = Pair {
                cameras: (a, b),
                chance,
                noticed: 0.0,
            };
            let found = gains.iter().filter(|gain| -**gain > pair.limit()).count();
            pair.noticed = found as f64 / gains.len().max(1) as f64;
            reference.pairs.push(pair);
        }
    }
    Ok(reference)
}

impl Pair {
    /// What exchanging them must explain better, nats.
    pub(crate) fn limit(&self) -> f64 {
        self.chance + BEYOND
    }
}

impl Reference {
    /// Mistakes with pictures, and the share of instants, 0 to 1, at which each would be noticed.
    pub fn would_notice(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        for (name, pictures) in &self.cameras {
            for (turn, share) in Turn::ALL.iter().zip(&pictures.noticed).skip(1) {
                all.push((format!("`{name}` {}", turn.undo().words()), *share));
            }
        }
        for pair in &self.pairs {
            let [a, b] = [pair.cameras.0, pair.cameras.1].map(|k| &self.cameras[k].0);
            all.push((format!("`{a}` and `{b}` exchanged"), pair.noticed));
        }
        all
    }

    /// `state` in standard deviations from the mean. Has as many numbers as there are columns, whatever is given.
    pub(crate) fn standard(&self, state: &[f64]) -> DVector<f64> {
        standard(&self.scale, state)
    }

    /// How much likelier the pictures of two cameras are when they are exchanged, nats.
    pub(crate) fn exchange(
        &self,
        (a, b): (usize, usize),
        looks: [&Look; 2],
        state: &DVector<f64>,
    ) -> f64 {
        exchange([a, b].map(|k| &self.cameras[k].1), looks, state)
    }
}

fn scale(columns: usize, samples: &[Sample]) -> (DVector<f64>, DVector<f64>) {
    let count = samples.len() as f64;
    let mean = DVector::from_fn(columns, |j, _| {
        samples.iter().map(|s| s.state[j]).sum::<f64>() / count
    });
    let deviation = DVector::from_fn(columns, |j, _| {
        let square = |s: &Sample| (s.state[j] - mean[j]).powi(2);
        let variance = samples.iter().map(square).sum::<f64>() / count;
        variance.sqrt().max(LEAST_DEVIATION)
    });
    (mean, deviation)
}

fn standard(scale: &(DVector<f64>, DVector<f64>), state: &[f64]) -> DVector<f64> {
    let (mean, deviation) = scale;
    DVector::from_fn(mean.len(), |j, _| {
        (state.get(j).copied().unwrap_or(0.0) - mean[j]) / deviation[j]
    })
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::look::SIDE;

    #[test]
    fn cameras_that_nothing_tells_apart_are_not_told_apart_by_what_was_learnt_by_heart() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // Sixteen patches of any red and any cyan, from the same urn for both cameras.
        let mut noise = || {
            let values: [u8; 32] = rng.random();
            let pixel = |i: usize| {
                let patch = i / SIDE / 4 * 4 + i % SIDE / 4;
                let cyan = values[16 + patch];
                [values[patch], cyan, cyan]
            };
            let rgb: Vec<u8> = (0..SIDE * SIDE).flat_map(pixel).collect();
            Look::of(&rgb, SIDE, SIDE).expect("large enough")
        };
        let sample = |i: usize| Sample {
            state: vec![(i % 7) as f64],
            looks: vec![noise(), noise()],
            episode: i / 5,
            first: i.is_multiple_of(5),
        };
        let samples: Vec<Sample> = (0..120).map(sample).collect();
        let [columns, cameras] = [vec!["pan".into()], vec!["left".into(), "right".into()]];
        let reference = learn(&columns, false, &cameras, &samples).expect("enough");
        let Pair {
            chance, noticed, ..
        } = reference.pairs[0];
        assert!(chance > BEYOND && noticed < 0.1, "{chance} nats, {noticed}");
    }
}
