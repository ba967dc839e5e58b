//! A recorded data set is what its meta.json says, and the same options give the same numbers.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tactus_sim::SimError;
use tactus_sim::dataset::{COLUMNS, EpisodeEntry, Meta};
use tactus_sim::judge::in_bowl;
use tactus_sim::record::{RecordOptions, record};
use tactus_sim::scenario::StartPoses;
use tactus_sim::task::TaskKind;

fn options(directory: &Path) -> RecordOptions {
    RecordOptions {
        directory: directory.to_owned(),
        first_seed: 720_000,
        episodes: 4,
        workers: 2,
        starts: StartPoses::Wide,
        disturb: true,
        tasks: TaskKind::ALL.to_vec(),
        variation: true,
    }
}

struct Shard {
    rows: Vec<[f32; COLUMNS]>,
    offsets: Vec<u64>,
    frames: Vec<u8>,
    episodes: Vec<EpisodeEntry>,
}

fn read(directory: &Path, number: usize) -> Shard {
    let file = |name: &str| {
        std::fs::read(directory.join(format!("shard-{number:03}")).join(name)).unwrap()
    };
    let numbers: Vec<f32> = file("rows.bin")
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(numbers.len() % COLUMNS, 0);
    Shard {
        rows: numbers
            .chunks_exact(COLUMNS)
            .map(|row| row.try_into().unwrap())
            .collect(),
        offsets: file("frames.idx")
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
            .collect(),
        frames: file("frames.bin"),
        episodes: serde_json::from_slice(&file("episodes.json")).unwrap(),
    }
}

#[test]
fn files_agree_with_each_other_and_with_meta() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let mut calls = Vec::new();
    let report = record(&options(&directory), &mut |done, total| {
        calls.push((done, total))
    })
    .unwrap();
    assert_eq!(calls, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    assert_eq!(report.attempted, 4);
    assert!(
        0 < report.kept_place && report.kept_place < report.kept,
        "{report:?}"
    );

    let meta: Meta =
        serde_json::from_slice(&std::fs::read(directory.join("meta.json")).unwrap()).unwrap();
    assert_eq!(meta, Meta::current());
    assert_eq!(meta.columns.len(), COLUMNS);
    let column = |name: &str| meta.columns.iter().position(|other| other == name).unwrap();

    let (mut rows, mut episodes, mut bytes) = (0, 0, 0);
    for number in 0..2 {
        let shard = read(&directory, number);
        assert_eq!(
            shard.offsets.len(),
            shard.rows.len() * meta.cameras.len() + 1
        );
        assert_eq!(shard.offsets[0], 0);
        assert_eq!(*shard.offsets.last().unwrap(), shard.frames.len() as u64);
        for window in shard.offsets.windows(2) {
            let picture = &shard.frames[window[0] as usize..window[1] as usize];
            assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));
        }
        let mut next = 0;
        for episode in &shard.episodes {
            assert!(episode.success);
            assert_eq!(episode.first_row, next);
            next += episode.rows;
            let rows = &shard.rows[episode.first_row..next];
            for pair in rows.windows(2) {
                // The world follows what was executed: the base turns towards its commanded angle.
                let (before, after, goal) = (
                    pair[0][column("q0")],
                    pair[1][column("q0")],
                    pair[0][column("c0")],
                );
                let lead = goal - before;
                assert!(
                    (after - before) * lead > -1e-2,
                    "from {before} to {after} for {goal}"
                );
            }
            let last = rows.last().unwrap();
            let cube = &meta.cubes[episode.target];
            assert!(episode.variation);
            assert_eq!(
                episode.task,
                TaskKind::of_seed(&TaskKind::ALL, episode.seed)
            );
            assert_eq!(last[column("target")], episode.target as f32);
            assert_eq!(last[column("task")], episode.task.index() as f32);
            let at = ["x", "y", "z"].map(|axis| f64::from(last[column(&format!("{cube}_{axis}"))]));
            match episode.task {
                TaskKind::Pick => {
                    assert!(at[2] > 0.07);
                    let drift = (at[0] - f64::from(last[column("tip_x")])).abs();
                    assert!(drift < 0.03, "the lifted cube is {drift} m from the tip");
                }
                TaskKind::Place => {
                    assert!(in_bowl(at), "{at:?}");
                    let uv = ["u", "v"].map(|axis| {
                        let of = |what: &str| last[column(&format!("{what}_{axis}"))];
                        (of(cube) - of("bowl")).abs()
                    });
                    assert!(uv[0] < 0.05 && uv[1] < 0.05, "{uv:?}");
                }
            }
            if episode.noise_rad == 0.0 {
                for row in rows {
                    assert_eq!(
                        row[column("a0")..=column("a_opening")],
                        row[column("c0")..=column("c_opening")]
                    );
                }
            }
        }
        assert_eq!(next, shard.rows.len());
        rows += shard.rows.len();
        episodes += shard.episodes.len();
        bytes += shard.frames.len() as u64;
    }
    assert_eq!(
        (rows, episodes, bytes),
        (report.rows, report.kept, report.picture_bytes)
    );

    let again = folder.path().join("again");
    record(&options(&again), &mut |_, _| {}).unwrap();
    for number in 0..2 {
        let (first, second) = (read(&directory, number), read(&again, number));
        assert!(second.rows == first.rows, "rows of shard {number} differ");
        assert!(
            second.frames == first.frames,
            "pictures of shard {number} differ"
        );
    }
    let refused = record(&options(&directory), &mut |_, _| {}).unwrap_err();
    assert!(
        matches!(refused, SimError::OutputExists { .. }),
        "{refused}"
    );
}
