//! The order of trials, and who is called what: pure functions of the plan.
//!
//! Trials come in blocks: one start condition of one task, tried with every policy in turn (*interleaved*, so that what
//! drifts in a lab drifts for all). Over the blocks of a task every policy takes every place equally often, as nearly as the
//! counts allow (*counterbalanced*), in an order drawn from the seed (*randomised*). So are the order of start conditions,
//! and that of tasks, which alternate.
//!
//! The generator is ChaCha with 8 rounds and the shuffle is written out here, so that a seed means the same order in every
//! version; the results file holds a hash of it.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::plan::{LABELS, Plan, sha256_hex};

/// One trial to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Place in the order, from 0.
    pub trial: u64,
    /// Trials of one block start from the same condition, one after the other.
    pub block: u64,
    /// Index of the task.
    pub task: usize,
    /// Start condition of the task, from 0.
    pub condition: u64,
    /// Index of the policy.
    pub policy: usize,
}

/// All trials of `plan`, in order.
pub fn order(plan: &Plan) -> Vec<Slot> {
    let policies = plan.policies.len();
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    // For each task: its start conditions in some order, and for each of them the policies in some order.
    let tasks: Vec<Vec<(u64, Vec<usize>)>> = plan
        .tasks
        .iter()
        .map(|_| {
            let mut conditions: Vec<u64> = (0..plan.trials).collect();
            shuffle(&mut rng, &mut conditions);
            conditions
                .into_iter()
                .zip(turns(&mut rng, policies, plan.trials))
                .collect()
        })
        .collect();
    let mut slots = Vec::new();
    let mut block = 0;
    for round in 0..plan.trials as usize {
        let mut turn: Vec<usize> = (0..tasks.len()).collect();
        shuffle(&mut rng, &mut turn);
        for task in turn {
            let (condition, policies) = &tasks[task][round];
            for policy in policies {
                slots.push(Slot {
                    trial: slots.len() as u64,
                    block,
                    task,
                    condition: *condition,
                    policy: *policy,
                });
            }
            block += 1;
        }
    }
    slots
}

/// Orders of all policies, one per block: sets of rotations of a drawn order, each set shuffled, so that in every set each
/// policy takes each place once. For two policies: AB and BA in drawn order, and so on.
fn turns(rng: &mut ChaCha8Rng, policies: usize, blocks: u64) -> Vec<Vec<usize>> {
    let mut turns = Vec::new();
    while (turns.len() as u64) < blocks {
        let mut base: Vec<usize> = (0..policies).collect();
        shuffle(rng, &mut base);
        let mut set: Vec<Vec<usize>> = (0..policies)
            .map(|by| (0..policies).map(|i| base[(i + by) % policies]).collect())
            .collect();
        shuffle(rng, &mut set);
        turns.extend(set);
    }
    turns.truncate(blocks as usize);
    turns
}

/// What each policy is called until the end, by its index.
pub fn labels(plan: &Plan) -> Vec<&'static str> {
    // Of another stream than the order, so that the order says nothing about the labels.
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    rng.set_stream(1);
    let mut labels = LABELS[..plan.policies.len()].to_vec();
    shuffle(&mut rng, &mut labels);
    labels
}

/// Hash of the order and labels, to be sure that both are still the same when an evaluation goes on.
pub fn fingerprint(plan: &Plan) -> String {
    let mut text = labels(plan).join(",");
    for Slot {
        trial,
        block,
        task,
        condition,
        policy,
    } in order(plan)
    {
        text += &format!("\n{trial} {block} {task} {condition} {policy}");
    }
    sha256_hex(text.as_bytes())
}

/// Fisher and Yates' shuffle.
fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        // Of 2^64 values the remainder favours none by more than one part in 10^15.
        let j = rng.next_u64() % (i as u64 + 1);
        items.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PolicyPlan, Start, Stop, TaskPlan};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn plan(seed: u64, trials: u64, policies: usize, tasks: usize) -> Plan {
        Plan {
            name: "p".into(),
            question: String::new(),
            cell: None,
            seed,
            trials,
            blind: true,
            score: crate::plan::Judge::Simulator,
            level: 0.95,
            prior: crate::posterior::Prior::Jeffreys,
            stop: Stop::Fixed,
            policies: (0..policies)
                .map(|i| PolicyPlan {
                    name: format!("policy {i}"),
                    bundle: format!("{i}").into(),
                })
                .collect(),
            tasks: (0..tasks)
                .map(|i| TaskPlan {
                    name: format!("task {i}"),
                    instruction: None,
                    kind: None,
                    time_limit_s: 10.0,
                    milestones: vec![],
                    start: Start::FirstSeed(0),
                })
                .collect(),
        }
    }

    #[test]
    fn a_seed_means_the_same_order_for_ever() {
        let plan = plan(7, 3, 2, 1);
        let order: Vec<(u64, usize)> = order(&plan)
            .iter()
            .map(|s| (s.condition, s.policy))
            .collect();
        assert_eq!(order, GOLDEN);
        assert_eq!(labels(&plan), GOLDEN_LABELS);
    }
    const GOLDEN: [(u64, usize); 6] = [(1, 0), (1, 1), (2, 1), (2, 0), (0, 0), (0, 1)];
    const GOLDEN_LABELS: [&str; 2] = ["A", "B"];

    #[test]
    fn neither_order_nor_labels_are_always_the_same() {
        let first = |seed| order(&plan(seed, 5, 2, 1))[0].policy;
        let label = |seed| labels(&plan(seed, 5, 2, 1))[0];
        let firsts: usize = (0..200).map(first).sum();
        let a = (0..200).filter(|seed| label(*seed) == "A").count();
        assert!(
            (70..130).contains(&firsts) && (70..130).contains(&a),
            "{firsts} {a}"
        );
        // Who comes first says nothing about who is called A.
        let both = (0..200)
            .filter(|s| (first(*s) == 0) == (label(*s) == "A"))
            .count();
        assert!((70..130).contains(&both), "{both}");
    }

    proptest! {
        /// Every trial once; blocks hold every policy once, from one condition; places are balanced within one.
        #[test]
        fn the_order_is_fair(seed in any::<u64>(), trials in 1_u64..30, policies in 1_usize..6, tasks in 1_usize..4) {
            let plan = plan(seed, trials, policies, tasks);
            let slots = order(&plan);
            prop_assert_eq!(slots.len() as u64, plan.slots());
            prop_assert_eq!(&slots, &order(&plan));
            let all: BTreeSet<_> = slots.iter().map(|s| (s.task, s.condition, s.policy)).collect();
            prop_assert_eq!(all.len(), slots.len());
            for block in slots.chunks(policies) {
                let one: BTreeSet<_> = block.iter().map(|s| (s.block, s.task, s.condition)).collect();
                prop_assert_eq!(one.len(), 1);
            }
            for task in 0..tasks {
                let blocks: Vec<&[Slot]> = slots.chunks(policies).filter(|b| b[0].task == task).collect();
                for place in 0..policies {
                    let counts: Vec<usize> = (0..policies)
                        .map(|policy| blocks.iter().filter(|b| b[place].policy == policy).count())
                        .collect();
                    let (most, least) = (counts.iter().max(), counts.iter().min());
                    prop_assert!(most.zip(least).is_some_and(|(m, l)| m - l <= 1), "{:?}", counts);
                }
                // Tasks alternate: no task is more than a round ahead.
                let at: Vec<u64> = blocks.iter().map(|b| b[0].block / tasks as u64).collect();
                prop_assert_eq!(at, (0..trials).collect::<Vec<_>>());
            }
            let names: BTreeSet<_> = labels(&plan).into_iter().collect();
            prop_assert_eq!(names.len(), policies);
        }
    }
}
