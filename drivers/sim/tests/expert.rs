//! The task is solvable: the scripted expert solves it, smoothly.

#![allow(clippy::unwrap_used)]

use tactus_sim::record::{Outcome, run_expert};
use tactus_sim::scenario::{Scenario, StartPoses};
use tactus_sim::world::World;

/// More than any clean step takes, far below 3 rad/s times 50 ms.
const LARGEST_JUMP_RAD: f64 = 0.15;

#[test]
fn lifts_the_named_cube_from_every_kind_of_start() {
    let mut world = World::new().unwrap();
    let mut periods = Vec::new();
    for seed in 0..24 {
        let starts = if seed % 2 == 0 {
            StartPoses::Narrow
        } else {
            StartPoses::Wide
        };
        let scenario = Scenario::sample(700_000 + seed, starts);
        let mut previous = scenario.q_rad;
        let outcome = run_expert(
            &mut world,
            &scenario,
            |label| *label,
            |_, measured| {
                for (joint, q) in measured.label.q_rad.iter().enumerate() {
                    let jump = (q - previous[joint]).abs();
                    assert!(
                        jump < LARGEST_JUMP_RAD,
                        "seed {seed}: joint {joint} jumps by {jump} rad"
                    );
                }
                previous = measured.label.q_rad;
                Ok(())
            },
        )
        .unwrap();
        match outcome {
            Outcome::Lifted { periods: after } => periods.push(after),
            other => panic!("seed {}, {starts:?}: {other:?}", scenario.seed),
        }
    }
    periods.sort_unstable();
    let median = periods[periods.len() / 2];
    assert!((25..50).contains(&median), "median of {median} periods");
}

/// What the detector calls success is the named cube in the air, and the other two on the table.
#[test]
fn success_means_the_named_cube_is_up() {
    let mut world = World::new().unwrap();
    for seed in 0..4 {
        let scenario = Scenario::sample(710_000 + seed, StartPoses::Narrow);
        run_expert(&mut world, &scenario, |label| *label, |_, _| Ok(())).unwrap();
        let state = world.state();
        for (index, cube) in state.cubes.iter().enumerate() {
            let up = cube.position_m[2] > 0.07;
            assert_eq!(
                up,
                index == scenario.target.index(),
                "seed {seed}, cube {index}: {cube:?}"
            );
        }
        assert!(state.pinched[scenario.target.index()]);
    }
}
