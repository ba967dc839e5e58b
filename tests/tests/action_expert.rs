//! Tiny pi0, pi0.5 and SmolVLA of random weights on the simulated cell: what they do means nothing, but all of the path is
//! there, from the cameras' pictures, the words and the joints to an arm that stays inside its limits.

mod cell;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cell::{checkout, tactus};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(bytes) {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out
}

fn committed(family: &str) -> PathBuf {
    checkout().join("models/export/tests/bundles").join(family)
}

/// The committed bundle for the simulated cell's cameras: their size, and pictures of that size in its golden cases, which
/// an engine probes itself with. The cases' other values are then of other pictures.
fn for_the_cell(family: &str, dir: &Path) -> PathBuf {
    let (from, to) = (committed(family), dir.join(family));
    for folder in ["graphs", "golden"] {
        std::fs::create_dir_all(to.join(folder)).expect("a folder");
        for entry in std::fs::read_dir(from.join(folder))
            .expect("a folder")
            .flatten()
        {
            let target = to.join(folder).join(entry.file_name());
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
    for file in ["stats.json", "tokenizer.json"] {
        std::fs::copy(from.join(file), to.join(file)).expect("copied");
    }
    let mut manifest = std::fs::read_to_string(from.join("bundle.toml")).expect("a manifest");
    for (before, after) in [
        ("width = 96\nheight = 64", "width = 224\nheight = 224"),
        ("width = 40\nheight = 50", "width = 224\nheight = 224"),
    ] {
        assert!(manifest.contains(before), "{manifest}");
        manifest = manifest.replace(before, after);
    }
    let picture = |name: &str| {
        let file = checkout().join(format!("models/demo/golden/0-{name}.jpg"));
        std::fs::read(file).expect("a picture")
    };
    let jpegs = [
        ("jpeg.scene", picture("scene")),
        ("jpeg.wrist", picture("wrist")),
    ];
    for case in ["case-0", "case-1"] {
        let file = to.join(format!("golden/{case}.safetensors"));
        let bytes = std::fs::read(&file).expect("a case");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a case");
        let own = SafeTensors::deserialize(&bytes).expect("a case");
        let mut tensors: HashMap<String, TensorView<'_>> = own.tensors().into_iter().collect();
        for (name, jpeg) in &jpegs {
            let view = TensorView::new(safetensors::Dtype::U8, vec![jpeg.len()], jpeg);
            tensors.insert((*name).into(), view.expect("bytes"));
        }
        let after = safetensors::serialize(tensors, header.metadata().clone()).expect("a case");
        manifest = manifest.replace(&sha256(&bytes), &sha256(&after));
        std::fs::write(&file, after).expect("written");
    }
    std::fs::write(to.join("bundle.toml"), manifest).expect("written");
    to
}

/// One episode in lock-step; what was commanded.
fn driven(family: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = for_the_cell(family, dir.path()).display().to_string();
    let json = dir.path().join("out.json").display().to_string();
    let figures: Value = {
        let output = tactus(&[
            "demo",
            "--headless",
            "--lockstep",
            "--episodes",
            "1",
            "--seed",
            "9001",
            "--bundle",
            &bundle,
            "--json",
            &json,
        ]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        serde_json::from_str(&std::fs::read_to_string(&json).expect("figures")).expect("JSON")
    };
    let row = &figures["rows"][0];
    let count = |key: &str| row[key].as_u64().expect("a number");
    // Wherever it leads: a random policy may run into a limit and hold there.
    assert!(count("chunks") > 10, "{row}");
    let most = |key: &str| row["motion"][key].as_f64().expect("a number");
    // It moves, and no faster than the arm may.
    assert!(most("acceleration_max") > 0.1, "{row}");
    assert!(most("acceleration_max") <= 60.06, "{row}");
    assert!(most("jerk_max") <= 3003.0, "{row}");
    row["commands_sha256"].as_str().expect("a hash").into()
}

#[test]
fn pi0_moves_the_arm() {
    assert_ne!(driven("pi0"), "");
}

#[test]
fn pi0_5_which_reads_the_state_in_words_moves_the_arm() {
    assert_eq!(driven("pi05"), driven("pi05"), "same seed, same commands");
}

#[test]
fn smolvla_moves_the_arm() {
    assert_ne!(driven("smolvla"), "");
}

#[test]
fn each_is_shown_verified_and_measured() {
    for (family, word, seen) in [
        ("pi0", "paligemma+pi0", "56x56, letterbox_centre"),
        ("pi05", "paligemma+pi0_5", "56x56, letterbox_centre"),
        ("smolvla", "smolvlm2+smolvla", "64x64, letterbox_corner"),
    ] {
        let bundle = committed(family).display().to_string();
        let said = |args: &[&str]| {
            let output = tactus(args);
            let both = [&output.stdout[..], &output.stderr].concat();
            let text = String::from_utf8_lossy(&both).into_owned();
            assert!(output.status.success(), "{text}");
            text
        };
        let page = said(&["bundle", "inspect", &bundle]);
        assert!(page.contains(word) && page.contains(seen), "{page}");
        assert!(page.contains("keys and values of"), "{page}");
        said(&["bundle", "verify", &bundle]);
        let cost = said(&["bundle", "bench", &bundle, "--chunks", "2"]);
        assert!(cost.contains("denoise"), "{cost}");
    }
}
