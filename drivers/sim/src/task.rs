//! The tasks: pick up the named cube, or put it in the bowl. Decides the sentences and how long an episode may last;
//! [`crate::judge`] says what counts as done.

use serde::{Deserialize, Serialize};

use crate::scene::Cube;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    }
}
