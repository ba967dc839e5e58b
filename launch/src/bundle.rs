//! `tactus bundle`: what a bundle is, whether it computes what it should, and what that costs here; as tables and JSON.

mod copy;
mod cost;
mod degrade;
mod direct;
mod inspect;
pub mod reference;
mod sign;
mod wrap;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tactus_bundle::AnyBundle;
use tactus_policies::{measure, verify};
use tactus_vla::{RunOptions, VerifyReport, VerifyRow};

use crate::cli::{BundleArgs, BundleVerb, GraphArgs};
use crate::result;

/// Runs the verb; exit code 3 when a boundary is off.
pub fn bundle(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        BundleVerb::Inspect { bundle: dir } => {
            let bundle = AnyBundle::open(dir)?;
            result::line(match &bundle {
                AnyBundle::Vla(bundle) => inspect::page(bundle),
                AnyBundle::Direct(bundle) => direct::page(bundle),
            })?;
            result::line(sign::line(dir, bundle.id()))
        }
        BundleVerb::Sign { bundle, key } => result::line(sign::sign(bundle, key)?),
        BundleVerb::Wrap(args) => result::line(wrap::wrap(args, &options(&args.run))?),
        BundleVerb::Verify { bundle, run, json } => {
            let report = verify(bundle, &options(run))?;
            write_json(json.as_deref(), || rows(&report))?;
            result::line(&report)?;
            if !report.passed() {
                return Ok(ExitCode::from(3));
            }
            Ok(())
        }
        BundleVerb::Degrade {
            bundle,
            out,
            noise,
            seed,
        } => result::line(degrade::degrade(bundle, out, *noise, *seed)?),
        BundleVerb::Reference {
            bundle,
            recordings,
            out,
            each,
        } => result::line(reference::reference(
            bundle,
            recordings,
            out,
            usize::from(*each),
        )?),
        BundleVerb::Bench {
            bundle,
            run,
            chunks,
            json,
        } => {
            let bar = ProgressBar::new(u64::from(*chunks));
            bar.set_style(ProgressStyle::with_template(
                "{bar:30} {pos}/{len} chunks, {eta} left",
            )?);
            let report = measure(bundle, &options(run), *chunks as usize, || bar.inc(1))?;
            bar.finish_and_clear();
            write_json(json.as_deref(), || cost::json(&report))?;
            result::line(cost::table(&report))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &GraphArgs) -> RunOptions {
    RunOptions {
        ort_library: args.onnxruntime.clone(),
        intra_threads: usize::from(args.threads),
        provider: args.provider(),
        require_provider: args.require_cuda,
    }
}

fn write_json(file: Option<&Path>, value: impl FnOnce() -> Value) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(&value()).context("figures as JSON")?;
    std::fs::write(file, text + "\n").with_context(|| format!("result file {}", file.display()))
}

fn rows(report: &VerifyReport) -> Value {
    let row = |row: &VerifyRow| {
        json!({
            "case": row.case,
            "boundary": row.boundary,
            // NaN has no number in JSON and becomes null.
            "max_abs": row.max_abs,
            "scale": row.scale,
            "max_rel_to_scale": row.max_rel_to_scale,
            "cosine": row.cosine,
            "tolerance": row.tolerance,
            "passed": row.passed,
        })
    };
    json!({
        "name": report.name,
        "bundle_id": report.bundle_id,
        "provider": report.provider,
        "passed": report.passed(),
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
