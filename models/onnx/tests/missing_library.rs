//! What is said when there is no ONNX Runtime. A process of its own, because a loaded library stays loaded.

use std::path::Path;

use tactus_onnx::{OnnxRuntime, Provider};

fn refusal(path: Option<&Path>) -> String {
    OnnxRuntime::load(path, Provider::Cpu)
        .expect_err("there is no library")
        .to_string()
}

#[test]
fn a_library_that_is_not_there_is_an_error_that_says_how_to_get_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("libonnxruntime.so");
    assert_eq!(
        refusal(Some(&path)),
        format!(
            "libonnxruntime.so was not found: looked for {}; \
             `./launch/setup` places it in third_party/onnxruntime",
            path.display()
        )
    );
}

#[test]
fn a_file_that_is_not_a_library_is_named() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("libonnxruntime.so");
    std::fs::write(&path, "not a library").expect("file");
    let error = refusal(Some(&path));
    let says = format!("{}: cannot be loaded as ONNX Runtime: ", path.display());
    assert!(error.starts_with(&says), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_of_another_kind_is_named() {
    // Every Linux process has one of these.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let libc = maps
        .split_whitespace()
        .find(|word| word.contains("/libc.so"))
        .expect("libc");
    assert_eq!(
        refusal(Some(Path::new(libc))),
        format!("{libc}: cannot be loaded as ONNX Runtime: it does not export `OrtGetApiBase`")
    );
}
