//! How likely a picture is where the arm stands: a linear prediction of the picture from the joints, and a normal
//! distribution of what is left, both among the directions in which pictures differ most (principal components).
//!
//! The directions are those of all eight ways to lay the pictures together, so that laying one differently keeps what can
//! be said of it. How much more likely a wrong picture may seem by chance is measured on episodes that were left out of the
//! learning (cross-validation), and so is how many wrong ones would be noticed.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::gauss::Gauss;
use crate::look::{Light, Look, SHAPE};
use crate::turn::Turn;

/// Directions that are kept.
pub const DIRECTIONS: usize = 32;
/// Groups of episodes for cross-validation.
pub(crate) const FOLDS: usize = 5;
/// How much more than by chance a wrong picture must explain, nats.
pub(crate) const BEYOND: f64 = 3.0;
/// Weight of small coefficients.
const RIDGE: f64 = 1.0;
/// Samples per coefficient from which on products of joints are taken too.
const SAMPLES_PER_PRODUCT: usize = 10;
/// Degrees of freedom of what is left of a prediction.
const FREEDOM: f64 = 8.0;
/// Variance that every direction has, of the mean of all.
const LEAST_SHARE: f64 = 1e-2;

/// What one camera's pictures are like.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// Middle of all ways to lay all pictures.
    pub(crate) middle: DVector<f64>,
    /// `[DIRECTIONS, SHAPE]`, of unit length.
    pub(crate) directions: DMatrix<f64>,
    /// Prediction of the directions' numbers from [`features`].
    pub(crate) prediction: DMatrix<f64>,
    /// What is left.
    pub(crate) rest: Gauss,
    /// Squared distance of the furthest picture that was left out.
    pub(crate) furthest: f64,
    /// By way to lay, as in [`Turn::ALL`]: how much more likely a picture of an episode that was left out seemed, laid so, nats.
    pub(crate) chance: Vec<f64>,
    /// By the same: share of pictures that would be noticed, were they laid the way that this undoes.
    pub(crate) noticed: Vec<f64>,
    /// Lowest and highest number of the light, as in [`Light::NAMES`].
    pub(crate) light: Vec<(f64, f64)>,
}

/// One picture, of the episode `episode`, when the joints were `state`, in standard deviations from their mean.
pub(crate) struct Seen<'a> {
    pub look: &'a Look,
    pub state: &'a DVector<f64>,
    pub episode: usize,
}

/// Group of an episode in cross-validation.
pub(crate) fn fold(episode: usize) -> usize {
    episode % FOLDS
}

/// How much likelier two cameras' pictures are when they are exchanged, nats.
pub(crate) fn exchange(
    [a, b]: [&Pictures; 2],
    [first, second]: [&Look; 2],
    state: &DVector<f64>,
) -> f64 {
    let far = |camera: &Pictures, look: &Look| surprise(camera.distance(&look.shape, state));
    far(a, first) + far(b, second) - far(a, second) - far(b, first)
}

/// How unlikely a picture at this squared distance is, nats, but for a constant. Student's distribution, not the normal one: what is
/// left of a prediction has heavy tails, in which distances hardly matter.
pub(crate) fn surprise(distance: f64) -> f64 {
    let directions = DIRECTIONS as f64;
    (FREEDOM + directions) / 2.0 * (distance / FREEDOM).ln_1p()
}

/// Number of features of `columns` standardised columns that `coefficients` coefficients belong to: with products or without.
fn has_products(columns: usize, coefficients: usize) -> bool {
    coefficients > 1 + columns
}

fn products(columns: usize) -> usize {
    1 + columns + columns * (columns + 1) / 2
}

/// 1, the columns of `state`, and where asked for all products of two.
fn features(state: &DVector<f64>, with_products: bool) -> DVector<f64> {
    let n = state.len();
    let mut all = Vec::with_capacity(products(n));
    all.push(1.0);
    all.extend(state.iter());
    if with_products {
        for i in 0..n {
            all.extend((i..n).map(|j| state[i] * state[j]));
        }
    }
    DVector::from_vec(all)
}

/// Prediction and rest of `rows`, indices of `numbers` and `states`.
fn fit(
    rows: &[usize],
    numbers: &DMatrix<f64>,
    states: &[&DVector<f64>],
    with_products: bool,
) -> Option<(DMatrix<f64>, Gauss)> {
    let width = features(states.first()?, with_products).len();
    let mut x = DMatrix::zeros(rows.len(), width);
    for (i, row) in rows.iter().enumerate() {
        let mut to = x.row_mut(i);
        to.tr_copy_from(&features(states[*row], with_products));
    }
    let y = numbers.select_rows(rows);
    let mut square = x.tr_mul(&x);
    for i in 0..width {
        square[(i, i)] += RIDGE;
    }
    let prediction = square.cholesky()?.solve(&x.tr_mul(&y));
    let rest = &y - &x * &prediction;
    let mean = rest.row_mean();
    let variance = rest
        .row_iter()
        .map(|r| (r - &mean).norm_squared())
        .sum::<f64>();
    let share = variance / (rest.nrows() * rest.ncols()) as f64;
    let mut gauss = Gauss::learn(&rest, (LEAST_SHARE * share).sqrt())?;
    // What is left of a prediction has no middle of its own.
    gauss.mean.fill(0.0);
    Some((prediction, gauss))
}

/// Middle and directions of `seen` laid in all ways.
fn directions(seen: &[Seen<'_>]) -> (DVector<f64>, DMatrix<f64>) {
    let shapes = DMatrix::from_fn(seen.len(), SHAPE, |i, j| seen[i].look.shape[j]);
    let count = seen.len() as f64;
    let own = shapes.row_mean().transpose();
    let second = shapes.tr_mul(&shapes) / count;
    let ways = Turn::ALL.map(Turn::indices);
    let share = 1.0 / ways.len() as f64;
    let middle = DVector::from_fn(SHAPE, |i, _| {
        ways.iter().map(|way| own[way[i]]).sum::<f64>() * share
    });
    let mut covariance = DMatrix::from_fn(SHAPE, SHAPE, |i, j| {
        ways.iter().map(|way| second[(way[i], way[j])]).sum::<f64>() * share
    });
    covariance -= &middle * middle.transpose();
    let SymmetricEigen {
        eigenvectors,
        eigenvalues,
    } = covariance.symmetric_eigen();
    let mut order: Vec<usize> = (0..SHAPE).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    order.truncate(DIRECTIONS);
    (middle, eigenvectors.select_columns(&order).transpose())
}

impl Pictures {
    /// Learns from `seen`; beside it, by [`fold`], what is learnt without that group of episodes, if there are others. `None` when
    /// it is too little, or not finite.
    pub(crate) fn learn(seen: &[Seen<'_>]) -> Option<(Self, Vec<Option<Self>>)> {
        let columns = seen.first()?.state.len();
        let (middle, directions) = directions(seen);
        let laid = |look: &Look, turn: Turn| {
            &directions * (DVector::from_vec(turn.apply(&look.shape)) - &middle)
        };
        let mut numbers = DMatrix::zeros(seen.len(), DIRECTIONS);
        for (i, s) in seen.iter().enumerate() {
            numbers.row_mut(i).tr_copy_from(&laid(s.look, Turn::None));
        }
        let states: Vec<&DVector<f64>> = seen.iter().map(|s| s.state).collect();
        let with_products = seen.len() >= SAMPLES_PER_PRODUCT * products(columns);
        let all: Vec<usize> = (0..seen.len()).collect();
        let (prediction, rest) = fit(&all, &numbers, &states, with_products)?;
        let light = (0..Light::NAMES.len())
            .map(|k| {
                let values = || seen.iter().map(|s| s.look.light.numbers()[k]);
                (
                    values().fold(f64::INFINITY, f64::min),
                    values().fold(f64::NEG_INFINITY, f64::max),
                )
            })
            .collect();
        let mut learnt = Self {
            middle,
            directions,
            prediction,
            rest,
            furthest: 0.0,
            chance: vec![0.0; Turn::ALL.len()],
            noticed: vec![0.0; Turn::ALL.len()],
            light,
        };
        let mut left_out = Vec::with_capacity(FOLDS);
        for group in 0..FOLDS {
            let mut rows = all.clone();
            rows.retain(|i| fold(seen[*i].episode) != group);
            left_out.push(match rows.is_empty() {
                true => None,
                false => {
                    let (prediction, rest) = fit(&rows, &numbers, &states, with_products)?;
                    Some(Self {
                        prediction,
                        rest,
                        ..learnt.clone()
                    })
                }
            });
        }
        learnt.validate(seen, &left_out)?;
        Some((learnt, left_out))
    }

    /// Measures what chance does, on every fifth of the episodes with what the others teach.
    fn validate(&mut self, seen: &[Seen<'_>], left_out: &[Option<Self>]) -> Option<()> {
        let mut gains = vec![Vec::new(); Turn::ALL.len()];
        for (group, without) in left_out.iter().enumerate() {
            let Some(without) = without else {
                continue;
            };
            for s in seen.iter().filter(|s| fold(s.episode) == group) {
                let upright = without.distance(&s.look.shape, s.state);
                self.furthest = self.furthest.max(upright);
                for (gains, turn) in gains.iter_mut().zip(Turn::ALL) {
                    let other = without.distance(&turn.apply(&s.look.shape), s.state);
                    gains.push(surprise(upright) - surprise(other));
                }
            }
        }
        for (k, gains) in gains.iter().enumerate() {
            self.chance[k] = gains.iter().copied().fold(0.0, f64::max);
        }
        for (k, turn) in Turn::ALL.into_iter().enumerate() {
            // What a wrong picture loses by being wrong, it gains when that is undone.
            let wrong = Turn::ALL.iter().position(|t| *t == turn.undo())?;
            let limit = self.limit(k);
            let found = gains[wrong].iter().filter(|gain| -**gain > limit).count();
            self.noticed[k] = found as f64 / gains[wrong].len().max(1) as f64;
        }
        Some(())
    }

    /// Squared distance of a shape from what is predicted at `state`.
    pub(crate) fn distance(&self, shape: &[f64], state: &DVector<f64>) -> f64 {
        let with_products = has_products(state.len(), self.prediction.nrows());
        let numbers = &self.directions * (DVector::from_row_slice(shape) - &self.middle);
        let predicted = self.prediction.tr_mul(&features(state, with_products));
        self.rest.distance(&(numbers - predicted))
    }

    /// What the way to lay number `k` of [`Turn::ALL`] must explain better, nats, so that it is not chance.
    pub(crate) fn limit(&self, k: usize) -> f64 {
        self.chance[k] + BEYOND
    }
}
