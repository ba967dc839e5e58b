//! The tasks: pick up the named cube, or put it in the bowl. Decides the sentences, what counts as done, and how long
//! an episode may last.
//!
//! Terms. *Lifted*: a cube's centre has been [`LIFT_M`] above its resting height for [`DONE_PERIODS`] policy periods.
//! *Placed*: a cube's centre has been inside the bowl, and the cube not between the pads, for as many.

use serde::{Deserialize, Serialize};

use crate::scene::{self, CUBE_REST_Z_M, Cube};
use crate::world::WorldState;

/// A cube is up when its centre is this far above its resting height, m.
pub const LIFT_M: f64 = 0.05;
/// A cube that is up, or in the bowl, counts after this many policy periods in a row.
pub const DONE_PERIODS: u32 = 5;

/// What is done with a cube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Lift it.
    Pick,
    /// Put it in the bowl.
    Place,
}

impl TaskKind {
    /// Both kinds in index order.
    pub const ALL: [Self; 2] = [Self::Pick, Self::Place];

    /// The one of `kinds` that an episode of this seed is about; [`TaskKind::Pick`] if there are none. Of two kinds each
    /// gets one of the seeds 2k and 2k + 1; which one is as good as drawn, so that neither the workers of a recording,
    /// which take every n-th seed, nor the cubes of a demo, which change every third, meet one kind more than the other.
    ///
    /// Source: the mixing steps of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    pub fn of_seed(kinds: &[Self], seed: u64) -> Self {
        let count = kinds.len().max(1) as u64;
        let mut mixed = (seed / count).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let at = (seed % count + mixed % count) % count;
        kinds.get(at as usize).copied().unwrap_or(Self::Pick)
    }

    /// Position in per-task tables, 0..2: the `task` column of a recording.
    pub fn index(self) -> usize {
        match self {
            Self::Pick => 0,
            Self::Place => 1,
        }
    }

    /// `pick` or `place`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pick => "pick",
            Self::Place => "place",
        }
    }

    /// What is true of a cube with which the task has been done.
    pub fn done_word(self) -> &'static str {
        match self {
            Self::Pick => "lifted",
            Self::Place => "in bowl",
        }
    }

    /// Ways to ask for it; `{colour}` stands for the cube's name. The demo policy's phrasings hold these and more.
    pub fn phrasings(self) -> &'static [&'static str] {
        match self {
            Self::Pick => &[
                "pick up the {colour} cube",
                "lift the {colour} cube",
                "grab the {colour} block",
                "please raise the {colour} cube",
                "take the {colour} block",
                "pick the {colour} cube up",
            ],
            Self::Place => &[
                "put the {colour} cube in the bowl",
                "place the {colour} block into the bowl",
                "drop the {colour} cube into the bowl",
                "move the {colour} block to the bowl",
                "please put the {colour} block in the bowl",
                "place the {colour} cube in the bowl",
                "bring the {colour} cube to the bowl",
            ],
        }
    }

    /// An episode of the scripted expert without success ends after this many policy periods.
    pub fn most_periods(self) -> usize {
        match self {
            Self::Pick => 150,
            Self::Place => 300,
        }
    }

    /// An episode of a policy without success ends after this much time of the simulated world, s.
    pub fn most_secs(self) -> f64 {
        match self {
            Self::Pick => 10.0,
            Self::Place => 15.0,
        }
    }
}

/// What an episode asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Lift the cube.
    Pick(Cube),
    /// Put the cube in the bowl.
    Place(Cube),
}

impl Task {
    /// `kind` done with `cube`.
    pub fn new(kind: TaskKind, cube: Cube) -> Self {
        match kind {
            TaskKind::Pick => Self::Pick(cube),
            TaskKind::Place => Self::Place(cube),
        }
    }

    /// What is to be done.
    pub fn kind(self) -> TaskKind {
        match self {
            Self::Pick(_) => TaskKind::Pick,
            Self::Place(_) => TaskKind::Place,
        }
    }

    /// The cube that it is to be done with.
    pub fn cube(self) -> Cube {
        match self {
            Self::Pick(cube) | Self::Place(cube) => cube,
        }
    }

    /// The sentence number `phrasing` (taken modulo the number of phrasings) that asks for it.
    pub fn instruction(self, phrasing: usize) -> String {
        let phrasings = self.kind().phrasings();
        phrasings[phrasing % phrasings.len()].replace("{colour}", self.cube().name())
    }

    /// The task that a sentence names, whatever its case: [`Task::Place`] if the word "bowl" is in it, and the only
    /// colour word in it. `None` if there is no colour word or more than one colour.
    pub fn named(instruction: &str) -> Option<Self> {
        let lower = instruction.to_lowercase();
        let words: Vec<&str> = lower
            .split(|letter: char| !letter.is_alphanumeric())
            .collect();
        let mut named = Cube::ALL
            .into_iter()
            .filter(|cube| words.contains(&cube.name()));
        let cube = named.next()?;
        if named.next().is_some() {
            return None;
        }
        Some(if words.contains(&"bowl") {
            Self::Place(cube)
        } else {
            Self::Pick(cube)
        })
    }
}

/// Whether a point of the base frame (m) lies inside the bowl: within its inner radius and below its rim.
pub fn in_bowl(point_m: [f64; 3]) -> bool {
    let [x, y, z] = point_m;
    let [bowl_x, bowl_y, _] = scene::BOWL_CENTRE_M;
    (x - bowl_x).hypot(y - bowl_y) < scene::BOWL_RADIUS_M && (0.0..scene::BOWL_RIM_Z_M).contains(&z)
}

/// What counts as done now, per cube, and what did first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Whether the cube is lifted.
    pub lifted: [bool; 3],
    /// The cube that was lifted first.
    pub first_lifted: Option<Cube>,
    /// Whether the cube is placed.
    pub placed: [bool; 3],
    /// The cube that was placed first.
    pub first_placed: Option<Cube>,
}

impl Score {
    /// Whether the task is done now.
    pub fn done(&self, task: Task) -> bool {
        let done = match task.kind() {
            TaskKind::Pick => &self.lifted,
            TaskKind::Place => &self.placed,
        };
        done[task.cube().index()]
    }

    /// The cube with which a task of this kind was done first.
    pub fn first(&self, kind: TaskKind) -> Option<Cube> {
        match kind {
            TaskKind::Pick => self.first_lifted,
            TaskKind::Place => self.first_placed,
        }
    }
}

/// Keeps the score of an episode: counts, per cube, for how many policy periods in a row it has been up or in the bowl.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    up_for: [u32; 3],
    in_bowl_for: [u32; 3],
    score: Score,
}

impl Judge {
    /// Nothing done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The score as of the last update.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// To be called once per policy period.
    pub fn update(&mut self, state: &WorldState) -> &Score {
        for cube in Cube::ALL {
            let i = cube.index();
            let centre_m = state.cubes[i].position_m;
            let up = centre_m[2] >= CUBE_REST_Z_M + LIFT_M;
            let lies_in_bowl = in_bowl(centre_m) && !state.pinched[i];
            self.score.lifted[i] = counted(&mut self.up_for[i], up);
            self.score.placed[i] = counted(&mut self.in_bowl_for[i], lies_in_bowl);
            let Score {
                lifted,
                first_lifted,
                placed,
                first_placed,
            } = &mut self.score;
            if lifted[i] {
                first_lifted.get_or_insert(cube);
            }
            if placed[i] {
                first_placed.get_or_insert(cube);
            }
        }
        &self.score
    }
}

/// Counts a period in which something holds, or starts anew; whether it has held long enough.
fn counted(periods: &mut u32, holds: bool) -> bool {
    *periods = if holds { periods.saturating_add(1) } else { 0 };
    *periods >= DONE_PERIODS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{BOWL_CENTRE_M, BOWL_RADIUS_M, BOWL_RIM_Z_M};
    use crate::world::CubePose;
    use proptest::prelude::*;

    fn world(centres_m: [[f64; 3]; 3]) -> WorldState {
        WorldState {
            time_s: 0.0,
            q_rad: [0.0; 6],
            dq_rad_per_sec: [0.0; 6],
            opening: 1.0,
            tip_m: [0.0; 3],
            cubes: centres_m.map(|position_m| CubePose {
                position_m,
                quaternion: [1.0, 0.0, 0.0, 0.0],
            }),
            pinched: [false; 3],
        }
    }

    fn heights(z_m: [f64; 3]) -> WorldState {
        world(z_m.map(|z| [0.3, 0.0, z]))
    }

    /// The green cube at a point, the others on the table.
    fn green_at(point_m: [f64; 3]) -> WorldState {
        world([[0.3, 0.1, 0.02], point_m, [0.3, -0.1, 0.02]])
    }

    #[test]
    fn lifted_needs_five_periods_in_a_row() {
        let mut judge = Judge::new();
        let (up, down) = (heights([0.02, 0.0701, 0.02]), heights([0.02, 0.0699, 0.02]));
        for _ in 0..4 {
            assert_eq!(judge.update(&up).lifted, [false; 3]);
        }
        assert_eq!(
            judge.update(&down).lifted,
            [false; 3],
            "a dip starts the count anew"
        );
        for _ in 0..4 {
            assert_eq!(judge.update(&up).lifted, [false; 3]);
        }
        assert_eq!(judge.update(&up).lifted, [false, true, false]);
        assert_eq!(judge.update(&up).lifted, [false, true, false]);
        let score = *judge.update(&down);
        assert_eq!(score.lifted, [false; 3]);
        assert_eq!(score.first(TaskKind::Pick), Some(Cube::Green));
        assert!(!score.done(Task::Pick(Cube::Green)));
    }

    #[test]
    fn placed_needs_five_periods_in_a_row_without_a_pinch() {
        let inside = green_at([BOWL_CENTRE_M[0] + 0.01, BOWL_CENTRE_M[1], 0.026]);
        let mut held = inside.clone();
        held.pinched[Cube::Green.index()] = true;
        let mut judge = Judge::new();
        for state in [&inside, &inside, &inside, &inside, &held] {
            assert_eq!(
                judge.update(state).placed,
                [false; 3],
                "held by the gripper"
            );
        }
        for _ in 0..4 {
            assert_eq!(judge.update(&inside).placed, [false; 3]);
        }
        let score = *judge.update(&inside);
        assert!(score.done(Task::Place(Cube::Green)) && !score.done(Task::Pick(Cube::Green)));
        assert!(!score.done(Task::Place(Cube::Red)), "another cube is");
        assert_eq!(score.first(TaskKind::Place), Some(Cube::Green));
        assert_eq!(score.first(TaskKind::Pick), None);
    }

    #[test]
    fn no_worker_and_no_cube_meets_one_kind_much_more_than_the_other() {
        let place = |seed: u64| TaskKind::of_seed(&TaskKind::ALL, seed) == TaskKind::Place;
        for pair in 0..1000 {
            assert_ne!(place(2 * pair), place(2 * pair + 1));
        }
        for step in [1, 2, 3, 4, 6, 8] {
            for first in 0..step {
                let seeds: Vec<u64> = (100_000 + first..112_000).step_by(step as usize).collect();
                let share = seeds.iter().filter(|s| place(**s)).count() as f64 / seeds.len() as f64;
                assert!(
                    (0.45..0.55).contains(&share),
                    "{share} of every {step}th seed"
                );
            }
        }
        for seed in 0..9 {
            assert_eq!(TaskKind::of_seed(&[TaskKind::Place], seed), TaskKind::Place);
        }
    }

    #[test]
    fn every_sentence_names_its_task() {
        for kind in TaskKind::ALL {
            assert!(kind.phrasings().len() >= 6);
            for cube in Cube::ALL {
                for phrasing in 0..kind.phrasings().len() {
                    let task = Task::new(kind, cube);
                    assert_eq!(Task::named(&task.instruction(phrasing)), Some(task));
                }
            }
        }
        for (sentence, task) in [
            ("Please, lift the GREEN one!", Some(Task::Pick(Cube::Green))),
            ("Into the bowl: the BLUE.", Some(Task::Place(Cube::Blue))),
            ("the reddish cube", None),
            ("put it in the bowl", None),
            ("put the red cube on the blue cube", None),
            ("lift the green bowler hat", Some(Task::Pick(Cube::Green))),
        ] {
            assert_eq!(Task::named(sentence), task, "{sentence}");
        }
    }

    proptest! {
        /// Whatever is written: a task comes out only where exactly one colour stands as a word of its own.
        #[test]
        fn a_named_task_has_one_colour(
            words in proptest::collection::vec("red|Green|BLUE|bowl|Bowl,|[a-zé!]{0,6}", 0..8)
        ) {
            let sentence = words.join(" ");
            let lower = sentence.to_lowercase();
            let has = |word: &str| lower.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
            let colours: Vec<Cube> = Cube::ALL.into_iter().filter(|c| has(c.name())).collect();
            match Task::named(&sentence) {
                Some(task) => {
                    prop_assert_eq!(colours, vec![task.cube()]);
                    prop_assert_eq!(has("bowl"), task.kind() == TaskKind::Place);
                }
                None => prop_assert_ne!(colours.len(), 1),
            }
        }

        /// Only what lies inside the bowl's cylinder, of inner radius and rim, is ever placed.
        #[test]
        fn placed_means_inside(x in 0.0..0.2f64, y in -0.33..-0.12f64, z in 0.0..0.1f64, pinched: bool) {
            let mut state = green_at([x, y, z]);
            state.pinched[1] = pinched;
            let mut judge = Judge::new();
            for _ in 0..DONE_PERIODS {
                judge.update(&state);
            }
            let across = (x - BOWL_CENTRE_M[0]).hypot(y - BOWL_CENTRE_M[1]);
            let inside = across < BOWL_RADIUS_M && z < BOWL_RIM_Z_M && !pinched;
            prop_assert_eq!(judge.score().placed, [false, inside, false]);
        }
    }
}
