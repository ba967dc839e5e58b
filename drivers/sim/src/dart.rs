//! Disturbances for recorded episodes: the executed command differs from the expert's, the label does not.
//!
//! Decides how large and how often. Source: Laskey et al., "DART: Noise Injection for Robust Imitation Learning",
//! CoRL 2017. DIFFERENCE: fixed amplitudes and kicks of several steps instead of a fitted covariance.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::kinematics::clamp_to_range;
use crate::world::Goal;

/// Amplitudes an episode may have, rad, with their probabilities.
pub const AMPLITUDES: [(f64, f64); 4] = [(0.0, 0.30), (0.03, 0.30), (0.06, 0.25), (0.10, 0.15)];
/// Probability per step that a kick starts.
const KICK: f64 = 0.10;
/// Probability that a kick also commands the opposite of what the gripper should do.
const FLIP: f64 = 0.10;
/// Probability per step of independent noise on that step.
const WHITE: f64 = 0.15;

/// The disturbance of one episode.
#[derive(Debug, Clone)]
pub struct Disturbance {
    amplitude_rad: f64,
    kick: Option<Kick>,
}

#[derive(Debug, Clone)]
struct Kick {
    steps_left: u32,
    offset_rad: [f64; 6],
    flips_gripper: bool,
}

impl Disturbance {
    /// Draws the episode's amplitude.
    pub fn sample(rng: &mut ChaCha8Rng) -> Self {
        let mut rest: f64 = rng.random();
        let mut amplitude_rad = 0.0;
        for (candidate, probability) in AMPLITUDES {
            amplitude_rad = candidate;
            if rest < probability {
                break;
            }
            rest -= probability;
        }
        Self {
            amplitude_rad,
            kick: None,
        }
    }

    /// Standard deviation of the joint offsets, rad; 0 for an undisturbed episode.
    pub fn amplitude_rad(&self) -> f64 {
        self.amplitude_rad
    }

    /// The goal to execute in place of the expert's `label`.
    pub fn disturb(&mut self, label: &Goal, rng: &mut ChaCha8Rng) -> Goal {
        if self.amplitude_rad == 0.0 {
            return *label;
        }
        if self.kick.is_none() && rng.random_bool(KICK) {
            self.kick = Some(Kick {
                steps_left: rng.random_range(2..=5),
                offset_rad: normal(rng, self.amplitude_rad),
                flips_gripper: rng.random_bool(FLIP),
            });
        }
        let mut goal = *label;
        if let Some(kick) = &mut self.kick {
            add(&mut goal.q_rad, &kick.offset_rad);
            if kick.flips_gripper {
                goal.opening = 1.0 - goal.opening;
            }
            kick.steps_left -= 1;
            if kick.steps_left == 0 {
                self.kick = None;
            }
        }
        if rng.random_bool(WHITE) {
            add(&mut goal.q_rad, &normal(rng, self.amplitude_rad));
        }
        goal.q_rad = clamp_to_range(goal.q_rad);
        goal
    }
}

fn normal(rng: &mut ChaCha8Rng, deviation: f64) -> [f64; 6] {
    std::array::from_fn(|_| {
        let unit: f64 = StandardNormal.sample(rng);
        deviation * unit
    })
}

fn add(q_rad: &mut [f64; 6], offset_rad: &[f64; 6]) {
    for (q, offset) in q_rad.iter_mut().zip(offset_rad) {
        *q += offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn amplitudes_come_as_often_as_declared_and_zero_means_untouched() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let label = Goal {
            q_rad: [0.1, 0.5, 1.9, 0.0, 0.7, 0.1],
            opening: 1.0,
        };
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let mut disturbance = Disturbance::sample(&mut rng);
            let which = AMPLITUDES
                .iter()
                .position(|(a, _)| *a == disturbance.amplitude_rad())
                .unwrap();
            counts[which] += 1;
            let touched = (0..60).any(|_| disturbance.disturb(&label, &mut rng) != label);
            assert_eq!(touched, which != 0);
        }
        for (count, (_, probability)) in counts.iter().zip(AMPLITUDES) {
            let expected = 4000.0 * probability;
            assert!(
                (f64::from(*count) - expected).abs() < 0.15 * expected,
                "{counts:?}"
            );
        }
    }
}
