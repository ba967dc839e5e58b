//! Golden cases of all committed bundles through the Rust path.
//!
//! The demo's goldens were computed by the code it was trained with, those of the tiny bundles of random weights by
//! Hugging Face transformers.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tactus_vla::{RunOptions, verify};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn options() -> RunOptions {
    RunOptions {
        ort_library: Some(root().join("third_party/onnxruntime/libonnxruntime.so")),
        ..RunOptions::default()
    }
}

fn every_boundary_is_reproduced(bundle: &str) {
    let report = verify(root().join(bundle), &options()).expect("it opens");
    println!("{report}");
    assert!(report.passed(), "{report}");
}

#[test]
fn of_the_demo() {
    every_boundary_is_reproduced("models/demo/bundle");
}

#[test]
fn of_a_tiny_qwen2_5_vl() {
    every_boundary_is_reproduced("models/export/tests/bundles/qwen2_5_vl");
}

#[test]
fn of_a_tiny_qwen3_vl() {
    every_boundary_is_reproduced("models/export/tests/bundles/qwen3_vl");
}

#[test]
fn of_a_tiny_qwen3_vl_with_the_head_of_n1_7() {
    every_boundary_is_reproduced("models/export/tests/bundles/qwen3_vl_n1_7");
}

#[test]
fn of_a_tiny_pi0() {
    every_boundary_is_reproduced("models/export/tests/bundles/pi0");
}

#[test]
fn of_a_tiny_pi0_5_which_says_the_state() {
    every_boundary_is_reproduced("models/export/tests/bundles/pi05");
}

#[test]
fn of_a_tiny_smolvla() {
    every_boundary_is_reproduced("models/export/tests/bundles/smolvla");
}

#[test]
fn tiny_decoders_say_what_transformers_says_for_64_tokens() {
    for bundle in ["qwen2_5_vl", "qwen3_vl"] {
        let dir = root().join("models/export/tests/bundles").join(bundle);
        let said = tactus_vla::greedy_tokens(dir, &options()).expect("it opens");
        assert_eq!(said.len(), 1);
        let tactus_vla::Greedy { golden, said } = &said[0];
        assert_eq!((golden.len(), golden), (64, said), "{bundle}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("directory") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).expect("directory");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("file");
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(bytes) {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out
}

#[test]
fn weights_that_were_changed_and_hashed_again_are_found() {
    let dir = tempfile::tempdir().expect("temporary directory");
    copy(
        &root().join("models/export/tests/bundles/qwen3_vl"),
        dir.path(),
    );
    let weights = dir.path().join("graphs/weights.bin");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let before = sha256(&bytes);
    // One per cent off in every hundredth number.
    for number in bytes.as_chunks_mut::<4>().0.iter_mut().step_by(100) {
        *number = (f32::from_le_bytes(*number) * 1.01).to_le_bytes();
    }
    std::fs::write(&weights, &bytes).expect("written");
    let manifest = dir.path().join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("manifest");
    assert!(text.contains(&before));
    std::fs::write(manifest, text.replace(&before, &sha256(&bytes))).expect("written");
    let report = verify(dir.path(), &options()).expect("its hashes are right");
    assert!(!report.passed(), "{report}");
    let failed = |boundary: &str| {
        report
            .rows
            .iter()
            .any(|row| row.boundary == boundary && !row.passed)
    };
    assert!(failed("image_embeds") && failed("features"), "{report}");
    assert!(!failed("pixel_values") && !failed("input_ids"), "{report}");
}

#[test]
fn a_decoder_without_a_case_of_its_own_is_not_verified() {
    let dir = tempfile::tempdir().expect("temporary directory");
    copy(
        &root().join("models/export/tests/bundles/qwen3_vl"),
        dir.path(),
    );
    let manifest = dir.path().join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("manifest");
    let cases = "cases = [\"golden/case-0.safetensors\", ";
    assert!(text.contains(cases));
    std::fs::write(manifest, text.replace(cases, "cases = [")).expect("written");
    let error = verify(dir.path(), &options()).expect_err("refused");
    let expected = "golden/case-1.safetensors: tensor `decoder.tokens`: expected it in one case";
    assert!(error.to_string().starts_with(expected), "{error}");
}
