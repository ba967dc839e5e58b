//! `tactus bundle verify`: the golden tensors through the Rust path, as a table.

use std::process::ExitCode;

use tactus_vla::{VerifyOptions, verify};

use crate::cli::{BundleArgs, BundleVerb};
use crate::result;

/// Verifies; exit code 3 when a boundary is off.
pub fn bundle(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    let BundleVerb::Verify {
        bundle,
        onnxruntime,
    } = &args.verb;
    let options = VerifyOptions {
        ort_library: onnxruntime.clone(),
        ..VerifyOptions::default()
    };
    let report = verify(bundle, &options)?;
    result::line(&report)?;
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}
