//! Without ONNX Runtime a policy is one clear error. A process of its own, because a loaded library stays loaded.

use std::path::Path;

use tactus_bundle::Bundle;
use tactus_types::Conditioning;
use tactus_vla::{Provider, VlaOptions, VlaPolicy};

#[test]
fn a_missing_library_is_an_error_that_says_how_to_get_it() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/bundle");
    let joints = Bundle::open(&demo)
        .expect("the demo bundle")
        .manifest()
        .action
        .joints
        .clone();
    let options = VlaOptions {
        ort_library: Some("/nowhere/libonnxruntime.so".into()),
        intra_threads: 1,
        provider: Provider::Cpu,
        require_provider: false,
        joints: &joints,
        arm: None,
        conditioning: Conditioning::None,
        denoise_steps: None,
        features_every: std::time::Duration::ZERO,
    };
    let error = VlaPolicy::open(demo, options)
        .err()
        .expect("no library")
        .to_string();
    assert_eq!(
        error,
        "libonnxruntime.so was not found: looked for /nowhere/libonnxruntime.so; \
         `./launch/setup` places it in third_party/onnxruntime"
    );
}
