//! The demo policy is taught the sentences that the cell speaks.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tactus_sim::{Cube, Task, TaskKind};

/// The sentences of a tuple `NAME = (...)` in the policy's prompt.py, with `{colour}` where it has `{c}`.
fn taught(name: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/prompt.py");
    let text = std::fs::read_to_string(file).unwrap();
    let from = text.split_once(&format!("\n{name} = (\n")).unwrap().1;
    let tuple = from.split_once("\n)").unwrap().0;
    tuple
        .lines()
        .map(|line| {
            let line = line.trim().trim_end_matches(',');
            line.trim_matches('"').replace("{c}", "{colour}")
        })
        .collect()
}

#[test]
fn the_policy_is_taught_what_the_cell_says() {
    let place: Vec<String> = TaskKind::Place
        .phrasings()
        .iter()
        .map(|s| (*s).to_owned())
        .collect();
    assert_eq!(taught("PLACE"), place);
    let pick = taught("PICK");
    for phrasing in TaskKind::Pick.phrasings() {
        assert!(pick.iter().any(|known| known == phrasing), "{phrasing}");
    }
}

#[test]
fn the_cell_understands_what_the_policy_is_taught() {
    for (name, kind) in [("PICK", TaskKind::Pick), ("PLACE", TaskKind::Place)] {
        for phrasing in taught(name) {
            for cube in Cube::ALL {
                let sentence = phrasing.replace("{colour}", cube.name());
                assert_eq!(
                    Task::named(&sentence),
                    Some(Task::new(kind, cube)),
                    "{sentence}"
                );
            }
        }
    }
}
