//! The demo bundle's golden cases through the Rust path.

use std::path::{Path, PathBuf};

use tactus_vla::{RunOptions, verify};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_boundary_of_the_demo_bundle_is_reproduced() {
    let options = RunOptions {
        ort_library: Some(root().join("third_party/onnxruntime/libonnxruntime.so")),
        ..RunOptions::default()
    };
    let report = verify(root().join("models/demo/bundle"), &options).expect("it opens");
    println!("{report}");
    assert!(report.passed(), "{report}");
}
