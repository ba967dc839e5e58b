//! A good bundle opens; every way to spoil it is one clear error with the file, the field, the expected, the actual.

mod families;
mod representations;

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest, Sha256};
use tactus_bundle::{Bundle, OrtVersion, Representation};
use tempfile::TempDir;

const MANIFEST: &str = r#"schema = 1
name = "test"
family = "qwen2_5_vl+gr00t_n1_5"
variant = "frozen"
min_ort = "1.24"

[source]
backbone = "none"
revision = "0"
exporter = "this test"
torch = "0"
transformers = "0"

[backbone]
layers = 3
norm = "pre"
hidden = 128
position_ids = "mrope_chunked"
padding = "none"
padded_length = 0
encoder_mask = "none"

[vision]
patch = 14
temporal_patch = 2
merge = 2
window = 112
position_table = 0
deepstack = 0
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
min_pixels = 3136
max_pixels = 12544
resample = "bicubic"
processor = "pil"

[[camera]]
name = "scene"
width = 224
height = 224

[prompt]
tokenizer = "tokenizer.json"
template = "{instruction}{images}"
image = "<{pads}>"
image_token = "<|image_pad|>"
pad_token = "<|endoftext|>"
lowercase = true
strip_punctuation = true

[state]
joints = ["a", "b"]
gripper = true
normalisation = "mean_std"

[action]
joints = ["a", "b"]
gripper = true
representation = "relative_joints"
normalisation = "mean_std"
horizon = 16
period_s = 0.05
first_action_offset_s = 0.05
alignment = "state_at_image"
max_prefix = 6
width = 3

[denoise]
steps = 4
time_from = 0.0
time_to = 1.0
buckets = 1000
noise = "normal"

[graphs]
vision = { file = "graphs/vision.onnx", precision = "fp32" }
backbone = { file = "graphs/backbone.onnx", precision = "fp32" }
context = { file = "graphs/context.onnx", precision = "fp32" }
denoise = { file = "graphs/denoise.onnx", precision = "fp32" }

[golden]
cases = ["golden/case-0.safetensors"]

[files]
"#;

const STATS: &str = r#"{"state": {"mean": [0.1, 0.2, 0.5], "std": [1, 2, 0.3]},
 "action": {"mean": [0.0, 0.0, 0.5], "std": [0.1, 0.2, 0.5]}}"#;

/// Writes a bundle, after `edit` has had its way with the manifest and `stats.json`.
fn write(edit_manifest: impl Fn(String) -> String, stats: &str) -> TempDir {
    let dir = TempDir::new().expect("temporary directory");
    let files = BTreeMap::from([
        ("graphs/vision.onnx", "vision"),
        ("graphs/backbone.onnx", "backbone"),
        ("graphs/context.onnx", "context"),
        ("graphs/denoise.onnx", "denoise"),
        ("graphs/weights.bin", "weights"),
        ("tokenizer.json", "{}"),
        ("golden/case-0.safetensors", "case"),
        ("stats.json", stats),
    ]);
    let mut manifest = MANIFEST.to_owned();
    for (file, content) in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        std::fs::write(path, content).expect("file");
        let digest: String = Sha256::digest(content)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        manifest += &format!("\"{file}\" = \"{digest}\"\n");
    }
    std::fs::write(dir.path().join("bundle.toml"), edit_manifest(manifest)).expect("manifest");
    dir
}

fn refusal(dir: &Path) -> String {
    Bundle::open(dir)
        .expect_err("this bundle must be refused")
        .to_string()
}

/// The refusal of a bundle in whose manifest `from` was replaced by `to`.
fn refusal_with(from: &str, to: &str) -> String {
    let dir = write(
        |manifest| {
            assert!(manifest.contains(from), "nothing to replace: {from}");
            manifest.replacen(from, to, 1)
        },
        STATS,
    );
    refusal(dir.path())
}

#[test]
fn a_good_bundle_opens_and_its_id_is_the_hash_of_the_manifest() {
    let dir = write(|m| m, STATS);
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    let bytes = std::fs::read(dir.path().join("bundle.toml")).expect("manifest");
    let id: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(**bundle.id(), id);
    let manifest = bundle.manifest();
    assert_eq!(
        manifest.min_ort,
        OrtVersion {
            major: 1,
            minor: 24
        }
    );
    assert_eq!(manifest.action.period.as_millis(), 50);
    assert_eq!(
        manifest.action.representation,
        Representation::RelativeJoints
    );
    assert_eq!(manifest.state.columns(), 3);
    assert_eq!(manifest.vision.row_len(), 1176);
    assert_eq!(
        bundle.graph_paths()[3].1,
        dir.path().join("graphs/denoise.onnx")
    );
    assert_eq!(bundle.stats().state.scale, [1.0, 2.0, 0.3]);
}

#[test]
fn no_bundle_at_all() {
    let dir = TempDir::new().expect("temporary directory");
    for missing in [dir.path().to_path_buf(), dir.path().join("nowhere")] {
        let says = format!(
            "{}: not a bundle: expected a directory holding `bundle.toml`",
            missing.display()
        );
        assert_eq!(refusal(&missing), says);
    }
}

#[test]
fn a_missing_a_changed_and_an_unlisted_file_are_named() {
    let dir = write(|m| m, STATS);
    std::fs::remove_file(dir.path().join("graphs/weights.bin")).expect("removed");
    assert_eq!(
        refusal(dir.path()),
        "graphs/weights.bin: file is missing: `files` of bundle.toml names it"
    );

    let dir = write(|m| m, STATS);
    std::fs::write(dir.path().join("graphs/weights.bin"), "weightS").expect("changed");
    let error = refusal(dir.path());
    let hash = |content: &str| -> String {
        Sha256::digest(content)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    };
    assert_eq!(
        error,
        format!(
            "graphs/weights.bin: file was changed: expected SHA-256 {} (`files` of bundle.toml), got {}",
            hash("weights"),
            hash("weightS")
        )
    );

    let dir = write(|m| m, STATS);
    std::fs::write(dir.path().join("graphs/vision.onnx.bak"), "").expect("added");
    assert_eq!(
        refusal(dir.path()),
        "graphs/vision.onnx.bak: file is not listed in `files` of bundle.toml: expected every file to be listed"
    );
}

#[test]
fn an_unknown_a_missing_and_a_mistyped_field_are_named_with_their_line() {
    for (from, to, says) in [
        (
            "layers = 3",
            "layers = 3\nlayer = 3",
            "line 16: unknown field `layer`, expected one of `layers`, `norm`, `hidden`, \
             `features`, `position_ids`, `padding`, `padded_length`, `encoder_mask`",
        ),
        ("hidden = 128\n", "", "line 14: missing field `hidden`"),
        (
            "hidden = 128",
            "hidden = \"wide\"",
            "line 17: invalid type: string \"wide\", expected i64",
        ),
        (
            "[vision]",
            "[vision",
            "line 23: unclosed table, expected `]`",
        ),
    ] {
        assert_eq!(refusal_with(from, to), format!("bundle.toml: {says}"));
    }
}

#[test]
fn a_newer_schema_is_said_before_its_unknown_fields() {
    let error = refusal_with("schema = 1", "schema = 2\nnewer_than_this = true");
    assert_eq!(
        error,
        "bundle.toml: field `schema`: expected 1 (the bundle is newer than this runtime), got 2"
    );
}

#[test]
fn values_out_of_range_are_named() {
    for (from, to, says) in [
        (
            "layers = 3",
            "layers = 0",
            "`backbone.layers`: expected an integer in 1..=256, got 0",
        ),
        (
            "norm = \"pre\"",
            "norm = \"mid\"",
            "`backbone.norm`: expected `pre` or `post`, got `mid`",
        ),
        (
            "processor = \"pil\"",
            "processor = \"opencv\"",
            "`vision.processor`: expected `pil` or `torchvision`, got `opencv`",
        ),
        (
            "padding = \"none\"",
            "padding = \"centre\"",
            "`backbone.padding`: expected `none` or `left` or `right`, got `centre`",
        ),
        (
            "padding = \"none\"",
            "padding = \"left\"",
            "`backbone.padded_length`: expected an integer in 2..=65536, got 0",
        ),
        (
            "padded_length = 0",
            "padded_length = 80",
            "`backbone.padded_length`: expected 0 (this bundle has none), got 80",
        ),
        (
            "\"mrope_chunked\"",
            "\"mrope_interleaved\"",
            "`backbone.position_ids`: expected `mrope_chunked`, got `mrope_interleaved`",
        ),
        (
            "deepstack = 0",
            "deepstack = 3",
            "`vision.deepstack`: expected 0 (qwen2_5_vl+gr00t_n1_5 has none), got 3",
        ),
        (
            "width = 3",
            "width = 2",
            "`action.width`: expected at least the 3 declared columns, got 2",
        ),
        (
            "max_pixels = 12544",
            "max_pixels = 100",
            "`vision.max_pixels`: expected at least min_pixels = 3136 and one merge unit = 784, got 100",
        ),
        (
            "window = 112",
            "window = 100",
            "`vision.window`: expected a multiple of patch * merge = 28, got 100",
        ),
        (
            "std = [0.25, 0.25, 0.25]",
            "std = [0.25, nan, 0.25]",
            "`vision.std`: expected a number in 0.000001..=10, got NaN",
        ),
        (
            "width = 224",
            "width = 100000",
            "`camera[0].width`: expected an integer in 1..=8192, got 100000",
        ),
        (
            "template = \"{instruction}{images}\"",
            "template = \"{instruction}\"",
            "`prompt.template`: expected `{images}` exactly once, got 0 times",
        ),
        (
            "joints = [\"a\", \"b\"]",
            "joints = [\"a\", \"a\"]",
            "`state.joints`: expected names that are not empty and used once, got `a`",
        ),
        (
            "max_prefix = 6",
            "max_prefix = 16",
            "`action.max_prefix`: expected an integer in 0..16 (less than the horizon), got 16",
        ),
        (
            "period_s = 0.05",
            "period_s = inf",
            "`action.period_s`: expected a number in 0.001..=10, got inf",
        ),
        (
            "time_from = 0.0",
            "time_from = 1.0",
            "`denoise.time_from`: expected 0.0 (time runs from noise at 0 to action at 1), got 1",
        ),
        (
            "vision = { file = \"graphs/vision.onnx\"",
            "vision = { file = \"graphs/other.onnx\"",
            "`graphs.vision.file`: expected a file listed in `files`, got `graphs/other.onnx`",
        ),
        (
            "tokenizer = \"tokenizer.json\"",
            "tokenizer = \"../tokenizer.json\"",
            "`prompt.tokenizer`: expected a path inside the bundle such as `graphs/vision.onnx`, got `../tokenizer.json`",
        ),
        (
            "min_ort = \"1.24\"",
            "min_ort = \"new\"",
            "`min_ort`: expected a version such as `1.24`, got `new`",
        ),
    ] {
        assert_eq!(refusal_with(from, to), format!("bundle.toml: field {says}"));
    }
}

#[test]
fn statistics_that_do_not_fit_are_named() {
    for (from, to, says) in [
        (
            "[0.1, 0.2, 0.5]",
            "[0.1, 0.2]",
            "field `state.mean`: expected 3 numbers (the columns of `state` in bundle.toml), got 2",
        ),
        (
            "[1, 2, 0.3]",
            "[1, 0, 0.3]",
            "field `state.std[1]`: expected a finite number > 0, got 0",
        ),
        (
            "[0.0, 0.0, 0.5]",
            "[0.0, 0.0, 0.4]",
            "field `action.{mean, std}[2]`: expected 0..1 (the gripper's normalised -1..1 is opening 0..1), \
             got -0.09999999999999998..0.9",
        ),
    ] {
        let dir = write(|m| m, &STATS.replacen(from, to, 1));
        assert_eq!(refusal(dir.path()), format!("stats.json: {says}"));
    }
    let dir = write(
        |m| m,
        &STATS.replacen("0.1, 0.2, 0.5", "0.1, 1e999, 0.5", 1),
    );
    assert!(refusal(dir.path()).starts_with("stats.json: number out of range"));
}
