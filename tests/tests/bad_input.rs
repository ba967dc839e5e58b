//! Bad input is one clear sentence with file, field, expected and actual, an exit code that is not 0, and no motion.

mod cell;

use std::path::{Path, PathBuf};

use cell::{cell_file, checkout, tactus};

/// Asserts that `tactus ARGS` fails with one line on stderr that says all of `wanted`.
fn refused(args: &[&str], wanted: &[&str]) {
    let output = tactus(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} succeeded");
    let lines: Vec<&str> = stderr.lines().filter(|l| l.contains("tactus: ")).collect();
    assert_eq!(lines.len(), 1, "one sentence: {stderr}");
    for word in wanted {
        assert!(stderr.contains(word), "expected `{word}` in: {stderr}");
    }
    assert!(
        !stderr.contains("arm enabled"),
        "nothing may move: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A copy of the demo bundle in `dir`, to be spoilt.
fn bundle_copy(dir: &Path) -> PathBuf {
    let to = dir.join("bundle");
    copy(&checkout().join("models/demo/bundle"), &to);
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn demo_with_bundle(bundle: &Path, wanted: &[&str]) {
    let bundle = bundle.display().to_string();
    refused(
        &["demo", "--headless", "--episodes", "1", "--bundle", &bundle],
        wanted,
    );
}

#[test]
fn a_missing_bundle_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = bundle_copy(dir.path());
    std::fs::remove_file(bundle.join("graphs/denoise.onnx")).expect("removed");
    demo_with_bundle(&bundle, &["graphs/denoise.onnx"]);
}

#[test]
fn a_changed_bundle_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = bundle_copy(dir.path());
    let file = bundle.join("graphs/weights.bin");
    let mut bytes = std::fs::read(&file).expect("weights");
    bytes[1000] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    demo_with_bundle(&bundle, &["graphs/weights.bin", "expected SHA-256"]);
}

#[test]
fn a_graph_of_another_shape_than_the_manifest_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = bundle_copy(dir.path());
    let file = bundle.join("bundle.toml");
    let text = std::fs::read_to_string(&file).expect("manifest");
    let (from, to) = ("horizon = 16", "horizon = 17");
    assert!(text.contains(from));
    std::fs::write(&file, text.replace(from, to)).expect("written");
    demo_with_bundle(
        &bundle,
        &["graph `denoise`", "input `x`", "[1, 17, 7]", "[1, 16, 7]"],
    );
}

#[test]
fn a_bundle_that_is_not_there() {
    demo_with_bundle(Path::new("/nowhere/bundle"), &["/nowhere/bundle"]);
}

#[test]
fn a_cell_file_with_an_unknown_field() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text.replace("tail_ms", "tial_ms"));
    refused(
        &["demo", "--headless", "--cell", &file.display().to_string()],
        &["cell.toml", "tial_ms"],
    );
}

#[test]
fn a_cell_file_with_a_value_out_of_range() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| {
        text.replace("control_rate_hz = 500", "control_rate_hz = 50000")
    });
    let file = file.display().to_string();
    let wanted = [
        "cell.toml",
        "`arm.control_rate_hz`",
        "50 to 1000 Hz",
        "50000",
    ];
    refused(&["demo", "--headless", "--cell", &file], &wanted);
    refused(&["run", &file], &wanted);
    refused(&["arm", "--cell", &file], &wanted);
}

#[test]
fn a_bundle_camera_that_the_cell_does_not_have() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| {
        text.replace("name = \"wrist\"", "name = \"side\"")
    });
    let file = file.display().to_string();
    refused(
        &["demo", "--headless", "--lockstep", "--cell", &file],
        &["cell.toml", "`camera`", "wrist", "side"],
    );
}

#[test]
fn an_unreachable_endpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text).display().to_string();
    let nobody = "tcp/127.0.0.1:1";
    for role in ["arm", "engine", "camera", "sim"] {
        refused(
            &[role, "--cell", &file, "--connect", nobody],
            &[nobody, "reach"],
        );
    }
}

#[test]
fn a_missing_onnxruntime() {
    let library = "/nowhere/libonnxruntime.so";
    let demo = [
        "demo",
        "--headless",
        "--episodes",
        "1",
        "--onnxruntime",
        library,
    ];
    refused(&demo, &[library]);
    refused(&[&demo[..], &["--lockstep"]].concat(), &[library]);
    let bundle = checkout().join("models/demo/bundle").display().to_string();
    refused(
        &["bundle", "verify", &bundle, "--onnxruntime", library],
        &[library],
    );
}

#[test]
fn cuda_where_there_is_none() {
    let library = checkout().join("third_party/onnxruntime/libonnxruntime.so");
    let library = library.display().to_string();
    let bundle = checkout().join("models/demo/bundle").display().to_string();
    for verb in ["verify", "bench"] {
        let args = [
            "bundle",
            verb,
            &bundle,
            "--require-cuda",
            "--onnxruntime",
            &library,
        ];
        refused(&args, &["graph `vision`", "provider `cuda`"]);
    }
    let demo = [
        "demo",
        "--headless",
        "--episodes",
        "1",
        "--onnxruntime",
        &library,
        "--require-cuda",
    ];
    refused(&demo, &["graph `vision`", "provider `cuda`"]);
}

#[test]
fn help_names_every_verb() {
    let help = String::from_utf8(tactus(&["--help"]).stdout).expect("text");
    for verb in [
        "demo", "run", "engine", "arm", "camera", "sim", "order", "bundle", "doctor", "bench",
    ] {
        assert!(help.contains(&format!("  {verb} ")), "{verb} in: {help}");
    }
}
