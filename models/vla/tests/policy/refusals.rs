//! Bundles and arms that a policy is not opened with, each by what is wrong.

use std::path::Path;

use tactus_vla::{VlaOptions, VlaPolicy};
use tempfile::TempDir;

use crate::{demo, joints, options};

/// A copy of the demo bundle in whose manifest `from` was replaced by `to`.
pub fn edited(from: &str, to: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    copy(&demo(), dir.path());
    let manifest = dir.path().join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("manifest");
    assert!(text.contains(from), "nothing to replace: {from}");
    std::fs::write(manifest, text.replacen(from, to, 1)).expect("manifest");
    dir
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

fn refusal(dir: &Path, joints: &[String]) -> String {
    VlaPolicy::open(dir, options(joints))
        .err()
        .expect("refused")
        .to_string()
}

#[test]
fn a_graph_of_another_shape_than_the_manifest_says_is_named() {
    let joints = joints();
    for (from, to, says) in [
        (
            "horizon = 16",
            "horizon = 17",
            "graph `denoise`: input `x`: expected f32 [1, 17, 7], got f32 [1, 16, 7]",
        ),
        (
            "hidden = 128",
            "hidden = 256",
            "graph `vision`: output `image_embeds`: expected f32 [32, 256], got f32 [?, 128]",
        ),
        (
            "temporal_patch = 1",
            "temporal_patch = 2",
            "graph `vision`: input `pixel_values`: expected f32 [128, 1176], got f32 [?, 588]",
        ),
        (
            "context = { file = \"graphs/context.onnx\"",
            "context = { file = \"graphs/backbone.onnx\"",
            "graph `context`: input `features`: expected f32 [1, ?, 128], got no such input; \
             there are: input_ids, image_embeds, image_rows, position_ids",
        ),
    ] {
        assert_eq!(refusal(edited(from, to).path(), &joints), says);
    }
}

#[test]
fn bf16_on_a_cpu_is_refused_with_what_to_do() {
    let joints = joints();
    let dir = edited(
        "denoise.onnx\", precision = \"fp32\"",
        "denoise.onnx\", precision = \"bf16\"",
    );
    assert_eq!(
        refusal(dir.path(), &joints),
        "graph `denoise`: expected provider `cuda` for precision `bf16`, got `cpu`: ONNX Runtime has no such \
         arithmetic on a CPU; export the bundle with fp16 or fp32 for a host without a GPU"
    );
}

#[test]
fn a_changed_or_missing_file_a_newer_schema_and_a_newer_library_are_named() {
    let joints = joints();
    let dir = edited("schema = 1", "schema = 9");
    assert_eq!(
        refusal(dir.path(), &joints),
        "bundle.toml: field `schema`: expected 1 (the bundle is newer than this runtime), got 9"
    );
    let dir = edited("name", "name");
    let weights = dir.path().join("graphs/weights.bin");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).expect("weights");
    let error = refusal(dir.path(), &joints);
    assert!(
        error.starts_with("graphs/weights.bin: file was changed: expected SHA-256 "),
        "{error}"
    );
    std::fs::remove_file(&weights).expect("removed");
    assert_eq!(
        refusal(dir.path(), &joints),
        "graphs/weights.bin: file is missing: `files` of bundle.toml names it"
    );
    let error = refusal(
        edited("min_ort = \"1.24\"", "min_ort = \"1.999\"").path(),
        &joints,
    );
    assert!(
        error.contains("expected ONNX Runtime 1.999 or newer, got 1."),
        "{error}"
    );
}

#[test]
fn a_tokenizer_without_the_tokens_of_the_prompt_is_named() {
    let joints = joints();
    for (from, to, says) in [
        (
            "image_token = \"<|image_pad|>\"",
            "image_token = \"<|nothing|>\"",
            "the token `<|nothing|>` (prompt.image_token), got no such token",
        ),
        (
            "<|im_start|>user",
            "<|action_start|>user",
            "the token `<|action_start|>` (prompt.template), got no such token",
        ),
        (
            "<|vision_end|>",
            "<|vision_stop|>",
            "the token `<|vision_stop|>` (prompt.image), got no such token",
        ),
    ] {
        let error = refusal(edited(from, to).path(), &joints);
        assert!(
            error.contains("tokenizer.json: expected ") && error.ends_with(says),
            "{error}"
        );
    }
}

#[test]
fn joints_that_are_not_the_arm_s_are_named() {
    let mut joints = joints();
    joints[5] = "wrist_yaw".into();
    let error = refusal(&demo(), &joints);
    assert!(
        error.starts_with("bundle.toml: field `state.joints`: expected joints of the arm (")
            && error.ends_with("got `wrist_roll`, which the arm does not have"),
        "{error}"
    );
    let mut joints = self::joints();
    joints.push("rail".into());
    let error = refusal(&demo(), &joints);
    assert!(
        error.contains("`action.joints`: expected every joint of the arm, with `rail`"),
        "{error}"
    );
}

#[test]
fn no_thread_is_refused() {
    let joints = joints();
    let options = VlaOptions {
        intra_threads: 0,
        ..options(&joints)
    };
    let error = VlaPolicy::open(demo(), options)
        .err()
        .expect("refused")
        .to_string();
    assert_eq!(error, "intra-op threads: expected 1 or more, got 0");
}
