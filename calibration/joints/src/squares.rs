//! Least squares by Levenberg and Marquardt, with numbers that are known beforehand within deviations. Pure.

use nalgebra::{DMatrix, DVector};

const STEP: f64 = 1e-6;
const ROUNDS: usize = 60;

/// What came out.
#[derive(Debug, Clone)]
pub struct Solved {
    /// The numbers.
    pub at: DVector<f64>,
    /// Their covariance, scaled by how well the residuals are explained where that is worse than their weights say.
    pub covariance: DMatrix<f64>,
    /// Root mean square of the residuals, which are in units of their deviation.
    pub rms: f64,
}

/// The numbers at which `residuals`, each in units of its deviation, are least in squares, from zero on; number `i` is known
/// beforehand to be zero within `before[i]`. `None` where `residuals` fails at the start, or nothing can be solved.
pub fn least(
    before: &[f64],
    residuals: impl Fn(&DVector<f64>) -> Option<DVector<f64>>,
) -> Option<Solved> {
    let n = before.len();
    let weights = DVector::from_iterator(n, before.iter().map(|s| 1.0 / (s * s)));
    let cost =
        |at: &DVector<f64>, r: &DVector<f64>| r.norm_squared() + at.component_mul(at).dot(&weights);
    let mut at = DVector::zeros(n);
    let mut r = residuals(&at)?;
    let mut now = cost(&at, &r);
    let mut damping = 1e-6;
    let mut normal = DMatrix::zeros(n, n);
    for _ in 0..ROUNDS {
        let mut j = DMatrix::zeros(r.len(), n);
        for i in 0..n {
            let mut ahead = at.clone();
            ahead[i] += STEP;
            let mut behind = at.clone();
            behind[i] -= STEP;
            j.set_column(
                i,
                &((residuals(&ahead)? - residuals(&behind)?) / (2.0 * STEP)),
            );
        }
        normal = j.transpose() * &j + DMatrix::from_diagonal(&weights);
        let gradient = j.transpose() * &r + at.component_mul(&weights);
        let mut better = false;
        for _ in 0..12 {
            let damped = &normal + DMatrix::from_diagonal(&(normal.diagonal() * damping));
            let next = &at - damped.cholesky()?.solve(&gradient);
            let there = residuals(&next).map(|r| (cost(&next, &r), r));
            if let Some((there, next_r)) = there.filter(|(there, _)| *there <= now) {
                better = now - there > 1e-10 * now;
                (at, r, now) = (next, next_r, there);
                damping = (damping / 10.0).max(1e-12);
                break;
            }
            damping = damping.max(1e-9) * 10.0;
        }
        if !better {
            break;
        }
    }
    let mean = r.norm_squared() / (r.len().saturating_sub(n)).max(1) as f64;
    let covariance = normal.try_inverse()? * mean.max(1.0);
    let rms = (r.norm_squared() / r.len().max(1) as f64).sqrt();
    Some(Solved {
        at,
        covariance,
        rms,
    })
}
