//! Which joints bring the tip to a pose, starting from where the arm is. Decides the damping, how joint limits are kept
//! and how much slower the arm should go near a singularity; does not decide speeds, nor whether the way is free.
//!
//! Damped least squares: of all joint moves d the one with the least `|e - J d|^2 + lambda^2 |d|^2`, which is
//! `d = J^T (J J^T + lambda^2 I)^-1 e`. Sources: Wampler, *Manipulator Inverse Kinematic Solutions Based on Vector
//! Formulations and Damped Least-Squares Methods*, 1986; Nakamura and Hanafusa, *Inverse Kinematic Solutions With
//! Singularity Robustness for Robot Manipulator Control*, 1986. The error e is the way to the target, m, above the rotation
//! vector to it, rad, both in the base frame; its linear rows, like those of J, are divided by a length.
//!
//! The damping has two parts, `lambda^2 = lambda_s^2 + w |e|^2`:
//! - `lambda_s = lambda_0 (1 - c_slow / c)` where the condition number c of J is above `c_slow`, else 0: the form of
//!   Nakamura and Hanafusa, eq. 28. DIFFERENCE: they measure by manipulability, whose scale is the arm's own.
//! - `w |e|^2` far from the target: a step that does not come nearer is taken back and w raised, one that does lowers it
//!   (Levenberg-Marquardt; the factor |e|^2 is that of Sugihara, *Solvability-Unconcerned Inverse Kinematics by the
//!   Levenberg-Marquardt Method*, 2011). A target out of reach so ends at its nearest pose and not in wild joint moves.
//!
//! Joint limits: a joint that would leave its range goes to its end and the others are solved again without it.

use nalgebra::{Cholesky, Isometry3, Matrix6, Vector6};
use tactus_types::{JointVec, MAX_JOINTS};

use crate::chain::{Chain, Frames};
use crate::error::KinematicsError;
use crate::jacobian::Jacobian;

/// How a target is sought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseSpec {
    /// Most steps of one call, 1 or more; a step is one Jacobian or one pose that was taken back.
    pub max_iterations: usize,
    /// A tip this near to the target is there, m.
    pub tolerance_m: f64,
    /// A tip turned from the target by no more than this is there, rad.
    pub tolerance_rad: f64,
    /// Damping at a singularity, `lambda_0`, rad. More makes joints calmer there and the last of the way longer: with the
    /// default, targets 0.01 rad per joint away, anywhere in a six-joint arm's range, end within 15 um (99 %).
    pub damping: f64,
    /// Condition number above which the arm slows down and is damped, 1 or more.
    pub condition_slow: f64,
    /// Condition number at which it stops, above `condition_slow`.
    pub condition_stop: f64,
    /// Length that counts as one radian, m: weighs a distance against an angle, in errors and in condition numbers. These
    /// depend on it: of upright grips of the simulated arm (reach 0.5 m) one in seven lies above 17 with 1 m, one in fifty
    /// with 0.3 m. An arm much smaller than a Franka Panda wants less than 1 m.
    pub length_m: f64,
}

impl Default for InverseSpec {
    /// Thresholds and length of MoveIt Servo (`lower_singularity_threshold` 17, `hard_stop_singularity_threshold` 30).
    fn default() -> Self {
        Self {
            max_iterations: 20,
            tolerance_m: 1e-7,
            tolerance_rad: 1e-7,
            damping: 0.02,
            condition_slow: 17.0,
            condition_stop: 30.0,
            length_m: 1.0,
        }
    }
}

/// What was found for a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Followed {
    /// Joints in the arm's order, rad or m: finite and inside the limits whatever was asked. Not slowed down.
    pub q: JointVec,
    /// Distance of the tip at `q` from the target, m; infinite when the target or the start is not finite.
    pub residual_m: f64,
    /// Angle between the tip at `q` and the target, rad, 0..=pi; infinite when the target or the start is not finite.
    pub residual_rad: f64,
    /// Share of the speed that is left, 0..=1: 1 unless the way leads nearer to a singularity, 0 at `condition_stop`.
    /// The caller applies it, by advancing towards `q` or along its path by this share only.
    pub slow_down: f64,
    /// Steps that were taken, 0 when the start was there.
    pub iterations: usize,
}

/// Seeks joints for tip poses of one chain.
#[derive(Debug, Clone)]
pub struct Inverse {
    chain: Chain,
    lower: JointVec,
    upper: JointVec,
    spec: InverseSpec,
}

/// Levenberg-Marquardt's w: at first, its bounds, and how it goes down and up.
const WEIGHT_FIRST: f64 = 0.1;
const WEIGHT_LEAST: f64 = 1e-4;
const WEIGHT_MOST: f64 = 1e6;
const WEIGHT_DOWN: f64 = 0.1;
const WEIGHT_UP: f64 = 8.0;
/// A floor under lambda, so that the matrix is positive definite in rounded numbers too.
const DAMPING_LEAST: f64 = 1e-6;
/// A step that shortens the error by less than this share of it is the last: the target is out of reach.
const STALLED: f64 = 1e-6;
/// Nothing farther than this is a pose of an arm, m: squares stay finite.
const FARTHEST_M: f64 = 1e6;

/// Where the search is.
#[derive(Clone, Copy)]
struct Place {
    q: JointVec,
    jacobian: Jacobian,
    /// Scaled way to the target, rad.
    error: Vector6<f64>,
    residual_m: f64,
    residual_rad: f64,
}

impl Inverse {
    /// `limits` are the lowest and highest position of each joint in the arm's order, rad or m.
    ///
    /// # Errors
    /// [`KinematicsError::Field`] for a `spec` or limits that are not usable.
    pub fn new(
        chain: Chain,
        limits: &[[f64; 2]],
        spec: InverseSpec,
    ) -> Result<Self, KinematicsError> {
        let field = |field, expected, actual: String| {
            Err(KinematicsError::Field {
                field,
                expected,
                actual,
            })
        };
        let n = chain.joints().len();
        if limits.len() != n {
            return field("limits", "one per joint", limits.len().to_string());
        }
        let unusable = |[l, u]: &&[f64; 2]| l >= u || l.is_nan() || u.is_nan();
        if let Some([lower, upper]) = limits.iter().find(unusable) {
            return field("limits", "lower < upper", format!("{lower} .. {upper}"));
        }
        if spec.max_iterations == 0 {
            return field("max_iterations", "1 or more", "0".into());
        }
        for (name, value) in [
            ("tolerance_m", spec.tolerance_m),
            ("tolerance_rad", spec.tolerance_rad),
            ("damping", spec.damping),
            ("length_m", spec.length_m),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return field(name, "a finite number > 0", value.to_string());
            }
        }
        let (slow, stop) = (spec.condition_slow, spec.condition_stop);
        if !(slow >= 1.0 && slow < stop && stop.is_finite()) {
            let actual = format!("{slow} and {stop}");
            return field("condition_slow", "1 <= slow < condition_stop", actual);
        }
        Ok(Self {
            lower: JointVec::from_fn(n, |i| limits[i][0]),
            upper: JointVec::from_fn(n, |i| limits[i][1]),
            chain,
            spec,
        })
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Joints near `from` whose tip is at `target`, `X_BT`; the nearest that was found if none is. Never NaN, inside the
    /// limits, in at most `max_iterations` steps. `from` outside the limits is first moved into them.
    pub fn follow(&self, target: &Isometry3<f64>, from: &JointVec) -> Followed {
        let start = self.clamp(from);
        let finite = from.len() == start.len() && from.is_finite();
        let within = |v: f64| v.abs() <= FARTHEST_M;
        if !(finite
            && target.translation.vector.iter().all(|v| within(*v))
            && target.rotation.coords.iter().all(|v| v.is_finite()))
        {
            return Followed {
                q: start,
                residual_m: f64::INFINITY,
                residual_rad: f64::INFINITY,
                slow_down: 0.0,
                iterations: 0,
            };
        }
        let mut place = self.place(start, target);
        let first = place.jacobian.condition();
        let (mut condition, mut weight, mut iterations) = (first, WEIGHT_FIRST, 0);
        while iterations < self.spec.max_iterations && !self.arrived(&place) {
            iterations += 1;
            let apart = place.error.norm_squared();
            let singular = self.damping_at(condition);
            let damping = singular * singular + weight * apart;
            let dq = self.constrained(&place, damping);
            let next = self.place(self.clamp(&place.q.zip(&dq, |q, d| q + d)), target);
            let apart_next = next.error.norm_squared();
            // Written so that NaN counts as no improvement.
            if apart_next < apart {
                place = next;
                weight = (weight * WEIGHT_DOWN).max(WEIGHT_LEAST);
                condition = place.jacobian.condition();
                if apart_next > apart * (1.0 - STALLED) {
                    break;
                }
            } else if weight >= WEIGHT_MOST {
                break;
            } else {
                weight *= WEIGHT_UP;
            }
        }
        Followed {
            q: place.q,
            residual_m: place.residual_m,
            residual_rad: place.residual_rad,
            slow_down: self.slow_down(first, condition),
            iterations,
        }
    }

    /// The joint move for a small tip move `[m; rad]` in the base frame, at `q`: one damped step, as for a velocity that is
    /// commanded tick by tick. No joint leaves its limits. All zero when `q` or the move is not finite.
    pub fn step(&self, tip_move: &Vector6<f64>, q: &JointVec) -> JointVec {
        let n = self.lower.len();
        let within = tip_move.iter().all(|v| v.abs() <= FARTHEST_M);
        if !(within && q.len() == n && q.is_finite()) {
            return JointVec::zeros(n);
        }
        let mut error = *tip_move;
        error
            .fixed_rows_mut::<3>(0)
            .scale_mut(1.0 / self.spec.length_m);
        let q = self.clamp(q);
        let place = Place {
            q,
            jacobian: self.chain.jacobian(&q).scaled(self.spec.length_m),
            error,
            residual_m: 0.0,
            residual_rad: 0.0,
        };
        let damping = self.damping_at(place.jacobian.condition());
        self.constrained(&place, damping * damping)
    }

    /// Condition number at `q`, as [`Followed::slow_down`] is made from.
    ///
    /// # Panics
    /// If `q` has fewer values than the chain has joints.
    pub fn condition(&self, q: &JointVec) -> f64 {
        let jacobian = self.chain.jacobian(q);
        jacobian.scaled(self.spec.length_m).condition()
    }

    /// Share of the speed left on a way between two condition numbers: linear between the thresholds on the way in, 1 on
    /// the way out. Source: MoveIt Servo, `velocityScalingFactorForSingularity`. DIFFERENCE: Servo also slows down on the
    /// way out, between thresholds twice as far apart, against wild joint moves where it inverts without damping; beyond the
    /// second it stops for good. Here damping bounds the moves, and an arm must be able to leave.
    pub fn slow_down(&self, from: f64, to: f64) -> f64 {
        let InverseSpec {
            condition_slow: slow,
            condition_stop: stop,
            ..
        } = self.spec;
        // Along a way of equal condition the two differ by rounding only.
        if to <= from * (1.0 + 1e-9) {
            return 1.0;
        }
        ((stop - to) / (stop - slow)).clamp(0.0, 1.0)
    }

    /// `lambda_s`, rad.
    fn damping_at(&self, condition: f64) -> f64 {
        self.spec.damping * (1.0 - self.spec.condition_slow / condition).max(0.0)
    }

    fn arrived(&self, place: &Place) -> bool {
        place.residual_m <= self.spec.tolerance_m && place.residual_rad <= self.spec.tolerance_rad
    }

    /// `q` inside the limits; what is missing or not a number counts as 0.
    fn clamp(&self, q: &JointVec) -> JointVec {
        JointVec::from_fn(self.lower.len(), |i| {
            let q = q.as_slice().get(i).copied().unwrap_or(0.0);
            let q = if q.is_finite() { q } else { 0.0 };
            q.clamp(self.lower[i], self.upper[i])
        })
    }

    fn place(&self, q: JointVec, target: &Isometry3<f64>) -> Place {
        let mut frames = Frames::default();
        self.chain.frames(&q, &mut frames);
        let tip = frames.tip();
        let way = target.translation.vector - tip.translation.vector;
        let turn = (target.rotation * tip.rotation.inverse()).scaled_axis();
        let scaled = way / self.spec.length_m;
        Place {
            q,
            jacobian: self.chain.jacobian_at(&frames).scaled(self.spec.length_m),
            error: Vector6::new(scaled.x, scaled.y, scaled.z, turn.x, turn.y, turn.z),
            residual_m: way.norm(),
            residual_rad: turn.norm(),
        }
    }

    /// The damped step from `place` that leaves every joint inside its limits: at most n + 1 solutions, in each of which
    /// the joints that would leave go to their ends and what they achieve is taken off the error.
    fn constrained(&self, place: &Place, damping_squared: f64) -> JointVec {
        let columns = place.jacobian.columns();
        let n = columns.len();
        let mut error = place.error;
        let mut dq = JointVec::zeros(n);
        let mut free = [true; MAX_JOINTS];
        for _ in 0..=n {
            let damping = damping_squared.max(DAMPING_LEAST * DAMPING_LEAST);
            let mut a = Matrix6::from_diagonal_element(damping);
            for (column, _) in columns.iter().zip(free).filter(|(_, free)| *free) {
                a.syger(1.0, column, column, 1.0);
            }
            a.fill_upper_triangle_with_lower_triangle();
            let Some(cholesky) = Cholesky::new(a) else {
                return JointVec::zeros(n);
            };
            let y = cholesky.solve(&error);
            let mut left = false;
            for i in 0..n {
                if !free[i] {
                    continue;
                }
                let (low, high) = (self.lower[i] - place.q[i], self.upper[i] - place.q[i]);
                let d = columns[i].dot(&y);
                dq[i] = d.clamp(low, high);
                if dq[i] != d {
                    (free[i], left) = (false, true);
                    error -= columns[i] * dq[i];
                }
            }
            if !left {
                break;
            }
        }
        if dq.is_finite() {
            dq
        } else {
            JointVec::zeros(n)
        }
    }
}
