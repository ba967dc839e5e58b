//! The task: pick up the named cube. Decides the sentences and what counts as lifted.

use crate::scene::{CUBE_REST_Z_M, Cube};
use crate::world::WorldState;

/// A cube counts as lifted when its centre is this far above its resting height, m ...
pub const LIFT_M: f64 = 0.05;
/// ... at this many policy periods in a row.
pub const LIFT_PERIODS: u32 = 5;

/// An episode without success ends after this many policy periods.
pub const MAX_PERIODS: usize = 150;

/// Ways to ask for a cube; `{colour}` stands for its name.
pub const PHRASINGS: [&str; 6] = [
    "pick up the {colour} cube",
    "lift the {colour} cube",
    "grab the {colour} block",
    "please raise the {colour} cube",
    "take the {colour} block",
    "pick the {colour} cube up",
];

/// The sentence number `phrasing` (taken modulo the number of phrasings) for a cube.
pub fn instruction(cube: Cube, phrasing: usize) -> String {
    PHRASINGS[phrasing % PHRASINGS.len()].replace("{colour}", cube.name())
}

/// The cube that a sentence names: the only colour word in it, whatever its case. `None` if there is no colour word or
/// more than one colour.
pub fn named_cube(instruction: &str) -> Option<Cube> {
    let lower = instruction.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphanumeric())
        .collect();
    let mut named = Cube::ALL
        .into_iter()
        .filter(|cube| words.contains(&cube.name()));
    let first = named.next();
    if named.next().is_some() { None } else { first }
}

/// Counts, per cube, for how many policy periods in a row it has been up.
#[derive(Debug, Clone, Default)]
pub struct LiftDetector {
    up_for: [u32; 3],
}

impl LiftDetector {
    /// Nothing lifted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// To be called once per policy period. Returns, per cube, whether it counts as lifted now.
    pub fn update(&mut self, state: &WorldState) -> [bool; 3] {
        for (count, cube) in self.up_for.iter_mut().zip(&state.cubes) {
            let up = cube.position_m[2] >= CUBE_REST_Z_M + LIFT_M;
            *count = if up { count.saturating_add(1) } else { 0 };
        }
        self.up_for.map(|count| count >= LIFT_PERIODS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::CubePose;

    fn heights(z_m: [f64; 3]) -> WorldState {
        WorldState {
            time_s: 0.0,
            q_rad: [0.0; 6],
            dq_rad_per_sec: [0.0; 6],
            opening: 1.0,
            tip_m: [0.0; 3],
            cubes: z_m.map(|z| CubePose {
                position_m: [0.3, 0.0, z],
                quaternion: [1.0, 0.0, 0.0, 0.0],
            }),
            pinched: [false; 3],
        }
    }

    #[test]
    fn lifted_needs_five_periods_in_a_row() {
        let mut detector = LiftDetector::new();
        let (up, down) = (heights([0.02, 0.0701, 0.02]), heights([0.02, 0.0699, 0.02]));
        for _ in 0..4 {
            assert_eq!(detector.update(&up), [false; 3]);
        }
        assert_eq!(
            detector.update(&down),
            [false; 3],
            "a dip starts the count anew"
        );
        for _ in 0..4 {
            assert_eq!(detector.update(&up), [false; 3]);
        }
        assert_eq!(detector.update(&up), [false, true, false]);
        assert_eq!(detector.update(&up), [false, true, false]);
        assert_eq!(detector.update(&down), [false; 3]);
    }

    #[test]
    fn every_sentence_names_its_cube() {
        for cube in Cube::ALL {
            for phrasing in 0..PHRASINGS.len() {
                assert_eq!(named_cube(&instruction(cube, phrasing)), Some(cube));
            }
        }
        assert_eq!(named_cube("Please, lift the GREEN one!"), Some(Cube::Green));
        assert_eq!(named_cube("the reddish cube"), None);
        assert_eq!(named_cube("put the red cube on the blue cube"), None);
    }
}
