//! A good bundle opens; every way to spoil it is one clear error with the file, the field, the expected, the actual.

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest, Sha256};
use tactus_bundle::{
    Anchor, BinaryGripper, Bundle, Graph, Letterbox, OrtVersion, Representation, Rotation, Scaling,
    StateWords, Tool, WayFrame,
};
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

/// The manifest with tool poses for actions: three numbers of a rotation, seven columns.
fn with_tool(manifest: &str, representation: &str, tool: &str) -> String {
    let representation = format!("representation = \"{representation}\"");
    let tool = format!("[action.tool]\n{tool}\n\n[denoise]");
    manifest
        .replacen("representation = \"relative_joints\"", &representation, 1)
        .replacen("width = 3", "width = 7", 1)
        .replacen("[denoise]", &tool, 1)
}

const TOOL: &str = "base_link = \"base\"\ntool_link = \"tip\"\nrotation = \"rotation_vector\"";
const TOOL_STATS: &str = r#"{"state": {"mean": [0.1, 0.2, 0.5], "std": [1, 2, 0.3]},
 "action": {"mean": [0, 0, 0, 0, 0, 0, 0.5], "std": [1, 1, 1, 1, 1, 1, 0.5]}}"#;

#[test]
fn every_representation_opens() {
    let joints = [
        ("relative_joints", Representation::RelativeJoints),
        ("absolute_joints", Representation::AbsoluteJoints),
        ("joint_steps", Representation::JointSteps),
        ("joint_velocities", Representation::JointVelocities),
    ];
    for (word, representation) in joints {
        let dir = write(|m| m.replacen("relative_joints", word, 1), STATS);
        let bundle = Bundle::open(dir.path()).expect("a good bundle");
        let action = &bundle.manifest().action;
        assert_eq!(
            (action.representation, action.columns()),
            (representation, 3)
        );
        assert_eq!((action.anchor, &action.tool), (Anchor::Measured, &None));
    }
    let tools = [
        ("tool_poses", "", Representation::ToolPoses, WayFrame::Base),
        (
            "relative_tool_poses",
            "\nframe = \"base\"",
            Representation::RelativeToolPoses,
            WayFrame::Base,
        ),
        (
            "tool_steps",
            "\nframe = \"tool\"",
            Representation::ToolSteps,
            WayFrame::Tool,
        ),
    ];
    for (word, line, representation, frame) in tools {
        let dir = write(
            |m| with_tool(&m, word, &format!("{TOOL}{line}")),
            TOOL_STATS,
        );
        let bundle = Bundle::open(dir.path()).expect("a good bundle");
        let action = &bundle.manifest().action;
        assert_eq!(
            (action.representation, action.columns()),
            (representation, 7)
        );
        let tool = Tool {
            base_link: "base".into(),
            tool_link: "tip".into(),
            rotation: Rotation::Vector,
            frame,
        };
        assert_eq!(action.tool, Some(tool));
    }
}

#[test]
fn a_rotation_has_as_many_columns_as_its_numbers() {
    for (word, columns) in [
        ("quaternion_xyzw", 8),
        ("quaternion_wxyz", 8),
        ("rotation_vector", 7),
        ("six_columns", 10),
        ("six_rows", 10),
        ("euler_xyz_intrinsic", 7),
        ("euler_xyz_extrinsic", 7),
    ] {
        let tool = TOOL.replace("rotation_vector", word);
        let edit =
            |m: String| with_tool(&m, "tool_poses", &tool).replacen("width = 7", "width = 6", 1);
        let dir = write(edit, TOOL_STATS);
        let says = format!(
            "bundle.toml: field `action.width`: expected at least the {columns} declared columns, got 6"
        );
        assert_eq!(refusal(dir.path()), says, "{word}");
    }
}

#[test]
fn an_anchor_and_a_binary_gripper_are_read() {
    let dir = write(
        |m| {
            m.replacen(
                "normalisation = \"mean_std\"\nhorizon",
                "anchor = \"command\"\nbinary_gripper = { open_above = 0.6, close_below = 0.4 }\n\
                 normalisation = \"mean_std\"\nhorizon",
                1,
            )
        },
        STATS,
    );
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    let action = &bundle.manifest().action;
    assert_eq!(action.anchor, Anchor::Command);
    let binary = BinaryGripper {
        open_above: 0.6,
        close_below: 0.4,
    };
    assert_eq!(action.binary_gripper, Some(binary));
}

#[test]
fn representations_that_contradict_themselves_are_named() {
    let relative = "representation = \"relative_joints\"";
    for (from, to, says) in [
        (
            relative,
            "representation = \"joints\"",
            "`action.representation`: expected `relative_joints` or `absolute_joints` or `joint_steps` or `joint_velocities` or \
             `tool_poses` or `relative_tool_poses` or `tool_steps`, got `joints`",
        ),
        (
            relative,
            "representation = \"relative_joints\"\nanchor = \"desired\"",
            "`action.anchor`: expected `measured` or `command`, got `desired`",
        ),
        (
            relative,
            "representation = \"absolute_joints\"\nanchor = \"command\"",
            "`action.anchor`: expected none, since `absolute_joints` counts from nothing, got `command`",
        ),
        (
            relative,
            "representation = \"tool_poses\"",
            "`action.tool`: expected base_link, tool_link and rotation of `tool_poses`, got nothing",
        ),
        (
            "[denoise]",
            &format!("[action.tool]\n{TOOL}\n[denoise]"),
            "`action.tool`: expected none, since no tool is in `relative_joints`, got a table",
        ),
        (
            relative,
            "representation = \"relative_joints\"\nbinary_gripper = { open_above = 0.4, close_below = 0.6 }",
            "`action.binary_gripper`: expected 0 <= close_below < open_above <= 1, got 0.6 and 0.4",
        ),
        (
            relative,
            "representation = \"relative_joints\"\nbinary_gripper = { open_above = nan, close_below = 0.6 }",
            "`action.binary_gripper`: expected 0 <= close_below < open_above <= 1, got 0.6 and NaN",
        ),
        (
            "gripper = true\nrepresentation = \"relative_joints\"",
            "gripper = false\nrepresentation = \"relative_joints\"\n\
             binary_gripper = { open_above = 0.6, close_below = 0.4 }",
            "`action.binary_gripper`: expected none, since `action.gripper` is false, got a table",
        ),
    ] {
        assert_eq!(refusal_with(from, to), format!("bundle.toml: field {says}"));
    }
    for (representation, tool, says) in [
        (
            "tool_poses",
            format!("{TOOL}\nframe = \"base\""),
            "`action.tool.frame`: expected none, since `tool_poses` are in the base frame, got `base`",
        ),
        (
            "tool_steps",
            TOOL.into(),
            "`action.tool.frame`: expected `base` or `tool`, in whose axes `tool_steps` go, got nothing",
        ),
        (
            "relative_tool_poses",
            format!("{TOOL}\nframe = \"world\""),
            "`action.tool.frame`: expected `base` or `tool`, got `world`",
        ),
        (
            "tool_poses",
            TOOL.replace("rotation_vector", "matrix"),
            "`action.tool.rotation`: expected `quaternion_xyzw` or `quaternion_wxyz` or `rotation_vector` or `six_columns` or \
             `six_rows` or `euler_xyz_intrinsic` or `euler_xyz_extrinsic`, got `matrix`",
        ),
        (
            "tool_poses",
            TOOL.replace("\"base\"", "\"\""),
            "`action.tool.base_link`: expected a name, got an empty text",
        ),
        (
            "tool_poses",
            TOOL.replace("\"tip\"", "\"\""),
            "`action.tool.tool_link`: expected a name, got an empty text",
        ),
    ] {
        let dir = write(|m| with_tool(&m, representation, &tool), TOOL_STATS);
        assert_eq!(refusal(dir.path()), format!("bundle.toml: field {says}"));
    }
    let dir = write(
        |m| with_tool(&m, "tool_poses", &format!("{TOOL}\nhand = \"left\"")),
        TOOL_STATS,
    );
    assert!(refusal(dir.path()).contains("unknown field `hand`"));
}

#[test]
fn the_gripper_s_column_is_the_last_also_after_a_tool_pose() {
    let stats = TOOL_STATS.replacen(
        "0, 0.5], \"std\": [1, 1, 1, 1, 1, 1, 0.5]",
        "0, 0.5], \"std\": [1, 1, 1, 1, 1, 1, 0.4]",
        1,
    );
    assert_ne!(stats, TOOL_STATS);
    let dir = write(|m| with_tool(&m, "tool_poses", TOOL), &stats);
    let error = refusal(dir.path());
    assert!(
        error.starts_with("stats.json: field `action.{mean, std}[6]`: expected 0..1 "),
        "{error}"
    );
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

/// The manifest with a decoder of `table`, whose graph is the backbone's file.
fn with_decoder(manifest: &str, table: &str) -> String {
    let graph = "decoder = { file = \"graphs/backbone.onnx\", precision = \"fp32\" }\n";
    let manifest = manifest.replacen("[graphs]", &format!("{table}\n[graphs]"), 1);
    manifest.replacen("\n[golden]", &format!("{graph}\n[golden]"), 1)
}

#[test]
fn a_decoder_is_read_and_a_bundle_without_one_opens_as_before() {
    let dir = write(|m| m, STATS);
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    assert_eq!(bundle.manifest().decoder, None);
    assert_eq!(bundle.manifest().graph(Graph::Decoder), None);
    let table = "[decoder]\nmax_length = 512\nvocabulary = 300\neos = [\"<end>\"]\nthink = [\"<a>\", \"</a>\"]\n\
                 [decoder.fast]\ntokenizer = \"tokenizer.json\"\nconfig = \"stats.json\"\nmarks = [\"<b>\", \"</b>\"]\n\
                 token = \"<action_{n}>\"\n";
    let dir = write(|m| with_decoder(&m, table), STATS);
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    let decoder = bundle.manifest().decoder.as_ref().expect("a decoder");
    assert_eq!((decoder.max_length, decoder.vocabulary), (512, 300));
    assert_eq!(decoder.think, Some(["<a>".into(), "</a>".into()]));
    assert_eq!(decoder.answer, None);
    let fast = decoder.fast.as_ref().expect("action tokens");
    assert_eq!((&*fast.token, &*fast.marks[1]), ("<action_{n}>", "</b>"));
    let last = bundle.manifest().graphs().last().map(|(graph, _)| graph);
    assert_eq!(last, Some(Graph::Decoder));
}

#[test]
fn decoders_that_cannot_be_are_named() {
    let good = "[decoder]\nmax_length = 512\nvocabulary = 300\neos = [\"<end>\"]\n";
    let fast = |token: &str, config: &str| {
        format!(
            "{good}[decoder.fast]\ntokenizer = \"tokenizer.json\"\nconfig = \"{config}\"\nmarks = [\"<b>\", \"</b>\"]\n\
             token = \"{token}\"\n"
        )
    };
    for (table, says) in [
        (good.replace("512", "1"), "`decoder.max_length`"),
        (good.replace("300", "0"), "`decoder.vocabulary`"),
        (
            good.replace("[\"<end>\"]", "[]"),
            "`decoder.eos`: expected at least one token",
        ),
        (good.replace("<end>", ""), "`decoder.eos`"),
        (format!("{good}think = [\"<a>\"]\n"), "line "),
        (format!("{good}seed = 1\n"), "unknown field `seed`"),
        (
            fast("<action>", "stats.json"),
            "`decoder.fast.token`: expected `{n}` exactly once",
        ),
        (
            fast("<{n}>", "fast.json"),
            "`decoder.fast.config`: expected a file listed",
        ),
        (
            String::new(),
            "`graphs.decoder`: expected none without a table",
        ),
    ] {
        let dir = write(|m| with_decoder(&m, &table), STATS);
        let refusal = refusal(dir.path());
        assert!(refusal.contains(says), "expected `{says}` in: {refusal}");
    }
    let alone = format!("{good}\n[graphs]");
    assert!(refusal_with("[graphs]", &alone).contains("expected a graph, since there is a table"));
}

/// The manifest as one of pi0.5.
fn with_an_expert(text: String) -> String {
    [
        ("qwen2_5_vl+gr00t_n1_5", "paligemma+pi0_5"),
        ("hidden = 128", "hidden = 128\nfeatures = 36"),
        ("mrope_chunked", "sequential"),
        ("temporal_patch = 2", "temporal_patch = 1"),
        ("merge = 2", "merge = 1"),
        ("window = 112", "window = 0"),
        ("min_pixels = 3136", "min_pixels = 12544"),
        ("bicubic", "bilinear"),
        (
            "processor = \"pil\"",
            "processor = \"letterbox_centre\"\nbars = -3.0",
        ),
        (
            "{instruction}{images}",
            "{images}{instruction}, State: {state}",
        ),
        (
            "strip_punctuation = true",
            "strip_punctuation = true\nblanks = true\nstate = { bins = 256, columns = 8 }",
        ),
        ("buckets = 1000", "buckets = 0"),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn a_policy_with_an_expert_opens() {
    let dir = write(with_an_expert, STATS);
    let bundle = Bundle::open(dir.path()).expect("it opens");
    let manifest = bundle.manifest();
    assert!(manifest.family.has_expert());
    assert!(manifest.prompt.blanks);
    assert_eq!(
        (manifest.backbone.hidden, manifest.backbone.features),
        (128, 36)
    );
    assert_eq!(
        manifest.vision.scaling,
        Scaling::Letterbox {
            place: Letterbox::Centre,
            bars: -3.0
        }
    );
    let said = StateWords {
        bins: 256,
        columns: 8,
    };
    assert_eq!(manifest.prompt.state, Some(said));
}

#[test]
fn what_only_an_expert_s_policy_has_is_named_where_it_is_missing_and_where_it_is_too_much() {
    for (from, to, says) in [
        (
            "features = 36\n",
            "",
            "`backbone.features`: expected the width of all layers' keys and values, got nothing",
        ),
        (
            "features = 36",
            "features = 0",
            "`backbone.features`: expected an integer in 1..=1048576, got 0",
        ),
        (
            "bars = -3.0\n",
            "",
            "`vision.bars`: expected the value of bars beside a picture, got nothing",
        ),
        (
            "bars = -3.0",
            "bars = inf",
            "`vision.bars`: expected a number in -100..=100, got inf",
        ),
        (
            "letterbox_centre",
            "pil",
            "`vision.processor`: expected `letterbox_centre` or `letterbox_corner`, got `pil`",
        ),
        (
            "bilinear",
            "bicubic",
            "`vision.resample`: expected `bilinear`, got `bicubic`",
        ),
        (
            "max_pixels = 12544",
            "max_pixels = 12545",
            "`vision.max_pixels`: expected as `vision.min_pixels` the square of a multiple of patch * merge, got 12545",
        ),
        (
            "merge = 1",
            "merge = 3",
            "`vision.max_pixels`: expected as `vision.min_pixels` the square",
        ),
        (
            "merge = 1",
            "merge = 9223372036854775807",
            "`vision.max_pixels`: expected as `vision.min_pixels` the square",
        ),
        (
            "temporal_patch = 1",
            "temporal_patch = 2",
            "`vision.temporal_patch`: expected `1`, got `2`",
        ),
        (
            "window = 0",
            "window = 112",
            "`vision.window`: expected 0 (paligemma+pi0_5 has none), got 112",
        ),
        (
            "sequential",
            "mrope_chunked",
            "`backbone.position_ids`: expected `sequential`, got `mrope_chunked`",
        ),
        (
            "state = { bins = 256, columns = 8 }",
            "",
            "`prompt.state`: expected how the prompt says the state, got nothing",
        ),
        (
            "columns = 8",
            "columns = 2",
            "`prompt.state.columns`: expected at least the 3 of the state, got 2",
        ),
        (
            "bins = 256",
            "bins = 1",
            "`prompt.state.bins`: expected an integer in 2..=65536, got 1",
        ),
        (
            ", State: {state}",
            "",
            "`prompt.template`: expected `{state}` exactly once, got 0 times",
        ),
        (
            "paligemma+pi0_5",
            "paligemma+pi0",
            "`prompt.state`: expected none (paligemma+pi0 does not say the state), got a table",
        ),
        (
            "buckets = 0",
            "buckets = 1000",
            "`denoise.buckets`: expected 0 (paligemma+pi0_5 has none), got 1000",
        ),
        (
            "max_prefix = 6",
            "max_prefix = 6\nmax_feature_age_s = 0.2",
            "`action.max_feature_age_s`: expected none, since the state is in the prompt, got 0.2",
        ),
        (
            "padding = \"none\"\npadded_length = 0",
            "padding = \"left\"\npadded_length = 99",
            "`backbone.padding`: expected `none`",
        ),
    ] {
        let dir = write(
            |text| {
                let text = with_an_expert(text);
                assert!(text.contains(from), "{from}");
                text.replacen(from, to, 1)
            },
            STATS,
        );
        let error = Bundle::open(dir.path())
            .expect_err("it is refused")
            .to_string();
        let says = format!("bundle.toml: field {says}");
        assert!(error.starts_with(&says), "{error}\n{says}");
    }
    for (from, to, says) in [
        (
            "hidden = 128",
            "hidden = 128\nfeatures = 128",
            "`backbone.features`: expected none, since features are as wide",
        ),
        (
            "processor = \"pil\"",
            "processor = \"pil\"\nbars = -1.0",
            "`vision.bars`: expected none (qwen2_5_vl+gr00t_n1_5 has none), got -1",
        ),
        (
            "{images}",
            "{images}{state}",
            "`prompt.template`: expected no `{state}`, got 1 times",
        ),
    ] {
        let error = refusal_with(from, to);
        assert!(
            error.starts_with(&format!("bundle.toml: field {says}")),
            "{error}"
        );
    }
}
