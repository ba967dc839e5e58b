//! `tactus shadow`: a candidate bundle beside the one in command, on the same observations, without a way to the arm.
//!
//! Decides how polite it is: the whole process runs only when nobody else wants to, and the candidate infers between the
//! engine's inferences unless told otherwise. What it made of each request is a line of `--out`; the sum is a table.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tactus_host::account::Durations;
use tactus_host::{Comparison, ShadowOptions, Shadowed, Skip, realtime, run_shadow};
use tactus_types::Policy;

use crate::cli::ShadowArgs;
use crate::summary::Millis;
use crate::{cell, result, roles};

/// How long the arm's device may take to say what it is.
const DEVICE_WITHIN: Duration = Duration::from_secs(10);

/// Listens, compares, and says what came of it. Exit code 3 when nothing could be compared.
pub fn shadow(args: &ShadowArgs) -> anyhow::Result<ExitCode> {
    let cell = cell::load(&args.role.cell)?;
    if args.policy.bundle.is_none() {
        bail!("give --bundle DIR: the candidate");
    }
    // Before there are threads: they inherit it.
    if let Err(e) = realtime::give_way() {
        bail!("this process cannot give way to the others of the cell: {e}");
    }
    let mut rows = args.out.as_ref().map(Rows::create).transpose()?;
    let joined = roles::join(&args.role, "shadow")?;
    let info = tactus_drivers_api::wire_driver::ask_info(
        &joined.session,
        &cell.wire,
        &cell.device,
        DEVICE_WITHIN,
    )?;
    let mut policy = roles::open_policy(&cell, &args.policy, &info.joints, Some(&info))?;
    cell.check_sizes(&policy.outline())?;
    let options = ShadowOptions {
        cell: cell.wire.clone(),
        arm: cell.arm.clone(),
        assembly: cell.assembly(policy.cameras())?,
        overlap: args.overlap,
    };
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("progress line")?);
    let mut sum = Sum {
        bundle_id: policy.bundle_id().to_string(),
        provider: policy.provider().to_owned(),
        ..Sum::default()
    };
    let mut failed = None;
    let listened = run_shadow(
        &mut policy,
        &options,
        &joined.session,
        joined.clock.as_ref(),
        &joined.stop,
        |news| {
            sum.take(&news);
            bar.set_message(format!(
                "{} chunks, {} skipped, {} failed",
                sum.chunks,
                sum.skipped.all(),
                sum.failed
            ));
            bar.tick();
            if let (Some(rows), Shadowed::Chunk(comparison)) = (&mut rows, &news)
                && let Err(e) = rows.write(comparison, &info.joints)
            {
                failed = Some(e);
                return false;
            }
            args.chunks.is_none_or(|enough| sum.chunks < enough)
        },
    );
    bar.finish_and_clear();
    listened?;
    if let Some(e) = failed {
        return Err(e);
    }
    let report = sum.report(&info.joints);
    result::line(report.table())?;
    if sum.chunks == 0 && sum.skipped.no_time > 0 {
        result::line(
            "the candidate never had time between two inferences of the engine: --overlap lets it infer at any time",
        )?;
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("report as JSON")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("result file {}", file.display()))?;
    }
    Ok(match report.compared {
        0 => ExitCode::from(3),
        _ => ExitCode::SUCCESS,
    })
}

/// The file of `--out`.
struct Rows {
    file: BufWriter<File>,
    name: String,
}

/// One line of it.
#[derive(Serialize)]
struct Row<'a> {
    request_id: u64,
    observed_at_ns: u64,
    took_ms: f64,
    inference_ms: f64,
    late: bool,
    engine_bundle_id: Option<&'a str>,
    engine_inference_ms: Option<f64>,
    same_frames: bool,
    compared_actions: usize,
    rms_rad: Option<f64>,
    most_rad: Option<f64>,
    most_joint: Option<&'a str>,
    opening: Option<f64>,
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

impl Rows {
    fn create(file: &std::path::PathBuf) -> anyhow::Result<Self> {
        let name = format!("result file {}", file.display());
        let file = File::create_new(file).with_context(|| name.clone())?;
        Ok(Self {
            file: BufWriter::new(file),
            name,
        })
    }

    fn write(&mut self, comparison: &Comparison, joints: &[String]) -> anyhow::Result<()> {
        let apart = comparison.disagreement;
        let engine = comparison.engine.as_ref();
        let row = Row {
            request_id: comparison.request_id,
            observed_at_ns: comparison.observed_at.as_nanos(),
            took_ms: millis(comparison.took),
            inference_ms: millis(comparison.inference),
            late: comparison.late,
            engine_bundle_id: engine.map(|(id, _)| &**id),
            engine_inference_ms: engine.map(|(_, took)| millis(*took)),
            same_frames: comparison.same_frames,
            compared_actions: apart.map_or(0, |d| d.actions),
            rms_rad: apart.map(|d| d.rms),
            most_rad: apart.map(|d| d.most.0),
            most_joint: apart.and_then(|d| joints.get(d.most.1)).map(String::as_str),
            opening: apart.map(|d| d.opening),
        };
        let text = serde_json::to_string(&row).context("row as JSON")?;
        // Each line as it comes: who kills this process keeps what it saw.
        writeln!(self.file, "{text}")
            .and_then(|()| self.file.flush())
            .with_context(|| self.name.clone())
    }
}

/// Requests that the candidate was not asked, by reason.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Skipped {
    engine_silent: u64,
    no_time: u64,
    no_observation: u64,
}

impl Skipped {
    fn all(self) -> u64 {
        self.engine_silent + self.no_time + self.no_observation
    }
}

/// What came so far.
#[derive(Default)]
struct Sum {
    bundle_id: String,
    provider: String,
    chunks: u64,
    late: u64,
    same_frames: u64,
    skipped: Skipped,
    failed: u64,
    failure: Option<String>,
    engine: Option<String>,
    took: Durations,
    inference: Durations,
    engine_inference: Durations,
    rms: Vec<f64>,
    opening: Vec<f64>,
    most: (f64, usize),
}

/// The whole of it, as `--json` has it.
#[derive(Serialize)]
struct Report {
    bundle_id: String,
    engine_bundle_id: Option<String>,
    provider: String,
    chunks: u64,
    compared: usize,
    same_frames: u64,
    late: u64,
    skipped: Skipped,
    failed: u64,
    failure: Option<String>,
    took_ms: Millis,
    inference_ms: Millis,
    engine_inference_ms: Millis,
    rms_rad: Spread,
    opening: Spread,
    most_rad: f64,
    most_joint: Option<String>,
}

/// Quantiles of what was compared; zeros for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return Self::default();
        };
        let at = |share: f64| sorted[(share * last as f64).round() as usize];
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl Sum {
    fn take(&mut self, news: &Shadowed) {
        let comparison = match news {
            Shadowed::Chunk(comparison) => comparison,
            Shadowed::Failed(reason) => {
                self.failed += 1;
                self.failure = Some(reason.clone());
                return;
            }
            Shadowed::Skipped(Skip::Unanswered) => return self.skipped.engine_silent += 1,
            Shadowed::Skipped(Skip::NoTime) => return self.skipped.no_time += 1,
            Shadowed::Skipped(Skip::Unfit) => return self.skipped.no_observation += 1,
        };
        self.chunks += 1;
        self.late += u64::from(comparison.late);
        self.same_frames += u64::from(comparison.same_frames);
        self.took.record(comparison.took);
        self.inference.record(comparison.inference);
        if let Some((id, took)) = &comparison.engine {
            self.engine = Some(id.to_string());
            self.engine_inference.record(*took);
        }
        if let Some(apart) = comparison.disagreement {
            self.rms.push(apart.rms);
            self.opening.push(apart.opening);
            if apart.most.0 > self.most.0 {
                self.most = apart.most;
            }
        }
    }

    fn report(&self, joints: &[String]) -> Report {
        let most_joint = joints.get(self.most.1).filter(|_| self.most.0 > 0.0);
        Report {
            bundle_id: self.bundle_id.clone(),
            engine_bundle_id: self.engine.clone(),
            provider: self.provider.clone(),
            chunks: self.chunks,
            compared: self.rms.len(),
            same_frames: self.same_frames,
            late: self.late,
            skipped: self.skipped,
            failed: self.failed,
            failure: self.failure.clone(),
            took_ms: Millis::of(&self.took),
            inference_ms: Millis::of(&self.inference),
            engine_inference_ms: Millis::of(&self.engine_inference),
            rms_rad: Spread::of(&self.rms),
            opening: Spread::of(&self.opening),
            most_rad: self.most.0,
            most_joint: most_joint.cloned(),
        }
    }
}

impl Report {
    fn table(&self) -> Table {
        let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
        let engine = self.engine_bundle_id.as_deref().map_or("-".into(), short);
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED);
        table.set_header(["", "p50", "p99", "most"]);
        let time = |t: &Millis| [format!("{:.1}", t.p50), format!("{:.1}", t.p99)];
        let mut row = |what: String, [p50, p99]: [String; 2], most: String| {
            table.add_row([what, p50, p99, most]);
        };
        let candidate = short(&self.bundle_id);
        let blank = String::new;
        row(
            format!("inference of the candidate {candidate}, ms"),
            time(&self.inference_ms),
            blank(),
        );
        row(
            format!("inference of the engine's {engine}, ms"),
            time(&self.engine_inference_ms),
            blank(),
        );
        let apart = |s: &Spread, scale: f64| {
            let [p50, p99, most] = [s.p50, s.p99, s.max].map(|v| format!("{:.2}", v * scale));
            ([p50, p99], most)
        };
        let (quantiles, most) = apart(&self.rms_rad, 1e3);
        row(
            "disagreement, root mean square, mrad".into(),
            quantiles,
            most,
        );
        let joint = self.most_joint.as_deref().unwrap_or("-");
        row(
            format!("disagreement of one joint (`{joint}`), mrad"),
            [blank(), blank()],
            format!("{:.2}", self.most_rad * 1e3),
        );
        let (quantiles, most) = apart(&self.opening, 1.0);
        row(
            "disagreement of the gripper, 0 to 1".into(),
            quantiles,
            most,
        );
        let Skipped {
            engine_silent,
            no_time,
            no_observation,
        } = self.skipped;
        let mut count = |what: &str, n: u64| {
            table.add_row([what.to_owned(), blank(), blank(), n.to_string()]);
        };
        count("chunks of the candidate", self.chunks);
        count("  from the very frames of the engine", self.same_frames);
        count("  later than their requests' deadlines", self.late);
        count("skipped: no time between two inferences", no_time);
        count("skipped: the engine did not answer", engine_silent);
        count("skipped: no observation in time", no_observation);
        count("failed", self.failed);
        table
    }
}
