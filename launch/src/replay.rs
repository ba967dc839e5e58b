//! `tactus replay`: a recording decided again by the live code, and what differs.
//!
//! Decides which configuration is held against the recording: the cell file inside it, unless another is named. What is
//! compared, and how, is decided in `tactus-host`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tactus_control::EnableSpec;
use tactus_host::account::Durations;
use tactus_host::replay::{Control, ControlReport, Inference, InferenceReport};
use tactus_record::{Told, read};
use tactus_types::{ArmInfo, Policy};
use tactus_wire::Topic;

use crate::cell::{self, Cell};
use crate::cli::{ReplayArgs, ReplayOf};
use crate::record::{self, CELL_FILE};
use crate::{result, roles};

/// What is inside a file, as far as it is needed before its messages are.
pub(crate) struct Inside {
    cell: Option<String>,
    cell_file: Option<String>,
    lead: Duration,
    bundle: Option<String>,
    info: Option<ArmInfo>,
}

impl Inside {
    /// The arm that `file` describes.
    pub(crate) fn arm(&self, file: &Path, cell: &Cell) -> anyhow::Result<&ArmInfo> {
        self.info.as_ref().with_context(|| {
            format!(
                "{}: it does not describe the arm (no arm/{}/info), so that no policy can be opened for it",
                file.display(),
                cell.arm
            )
        })
    }
}

/// Replays.
pub fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let inside = inside(&args.file)?;
    let cell = cell_of(&args.file, args.cell.as_deref(), &inside)?;
    let policy = match args.only {
        Some(ReplayOf::Control) => None,
        _ => {
            let info = inside.arm(&args.file, &cell)?;
            let policy = roles::open_policy(&cell, &args.policy, &info.joints, Some(info))?;
            Some(policy)
        }
    };
    let (bundle, provider) = match &policy {
        Some(policy) => (policy.bundle_id().to_string(), policy.provider().to_owned()),
        None => (String::new(), String::new()),
    };
    let mut inference = policy.map(|policy| Inference::new(policy));
    // A simulation in lock-step has no motors to enable.
    let spec_of = |info: &ArmInfo, boot: u64| {
        let spec = cell.arm_spec(boot, info).map_err(|e| e.to_string())?;
        let mut at_once = spec.clone();
        at_once.enable = EnableSpec::AT_ONCE;
        Ok(vec![spec, at_once])
    };
    let mut control = (args.only != Some(ReplayOf::Inference)).then(|| Control::new(&spec_of));
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("progress line")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut messages = 0_u64;
    let cut = read(&args.file, |told| {
        if let Told::Message(message) = told
            && let Ok(topic) = cell.wire.topic(message.topic)
            && is_of(&topic, &cell)
        {
            if let Some(control) = &mut control {
                control.take(&topic, &message);
            }
            if let Some(inference) = &mut inference {
                inference.take(&topic, &message);
                if matches!(topic, Topic::ArmChunk(_)) {
                    bar.set_message(format!("{} chunks", inference.done()));
                }
            }
            messages += 1;
        }
        true
    })?;
    bar.finish_and_clear();
    if messages == 0 {
        bail!(
            "{}: nothing of arm `{}` of cell `{}` is in it",
            args.file.display(),
            cell.arm,
            cell.name
        );
    }
    let control = control.map(Control::finish).unwrap_or_default();
    let inference = inference.map(Inference::finish);
    if let Some(why) = &cut {
        tracing::warn!(
            "{}: cut short: {why}; what is before that is replayed",
            args.file.display()
        );
    }
    let ran = Ran {
        control: &control,
        inference: inference.as_ref(),
        bundle: &bundle,
        provider: &provider,
        tolerance: args.tolerance,
    };
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&ran.json()).context("findings as JSON")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("findings {}", file.display()))?;
    }
    ran.print(args.only != Some(ReplayOf::Inference))?;
    Ok(if ran.holds(args.only) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// Whether a topic is about the cell's one arm, or no arm at all.
pub(crate) fn is_of(topic: &Topic, cell: &Cell) -> bool {
    match topic {
        Topic::ArmInfo(arm)
        | Topic::ArmChunk(arm)
        | Topic::ArmRequest(arm)
        | Topic::ArmState(arm)
        | Topic::ArmApplied(arm)
        | Topic::ArmTicks(arm) => *arm == cell.arm,
        Topic::CameraImage(_) => true,
        _ => false,
    }
}

/// Looks into `file`, as far as it is needed.
pub(crate) fn inside(file: &Path) -> anyhow::Result<Inside> {
    let mut inside = Inside {
        cell: None,
        cell_file: None,
        lead: Duration::ZERO,
        bundle: None,
        info: None,
    };
    read(file, |told| {
        match told {
            Told::Words("tactus.configuration", words) => {
                inside.cell_file = words.get("cell_file").cloned();
                let lead = words.get(record::LEAD).and_then(|nanos| nanos.parse().ok());
                inside.lead = Duration::from_nanos(lead.unwrap_or(0));
                inside.bundle = words.get("bundle_of_the_cell_file").cloned();
            }
            Told::Attachment(CELL_FILE, data) => {
                inside.cell = String::from_utf8(data.to_vec()).ok();
            }
            Told::Message(message) if message.topic.ends_with("/info") => {
                if message.topic.contains("/arm/")
                    && let Ok(delivery) = message.decode::<ArmInfo>()
                {
                    inside.info = Some(delivery.message);
                }
            }
            Told::Words(..) | Told::Attachment(..) | Told::Message(_) => {}
        }
        inside.info.is_none()
    })?;
    Ok(inside)
}

/// The cell that `recording` was made of; `named` instead of the one inside.
pub(crate) fn cell_of(
    recording: &Path,
    named: Option<&Path>,
    inside: &Inside,
) -> anyhow::Result<Cell> {
    if let Some(file) = named {
        return Ok(cell::load(file)?);
    }
    let Some(text) = &inside.cell else {
        bail!(
            "{}: no cell file is inside; name the one that it was recorded with: --cell FILE",
            recording.display()
        );
    };
    // What the cell file names beside itself lies where it lay.
    let file = inside.cell_file.as_deref().unwrap_or(CELL_FILE);
    let mut cell = cell::parse(text, Path::new(file))?;
    // The arm may have been measured again since.
    cell.schedule.lead = inside.lead;
    Ok(cell)
}

/// What a replay found, and how it is said.
struct Ran<'a> {
    control: &'a [ControlReport],
    inference: Option<&'a InferenceReport>,
    bundle: &'a str,
    provider: &'a str,
    tolerance: f64,
}

impl Ran<'_> {
    fn holds(&self, only: Option<ReplayOf>) -> bool {
        let control = !self.control.is_empty() && self.control.iter().all(ControlReport::is_equal);
        let inference = self
            .inference
            .is_some_and(|found| found.is_within(self.tolerance));
        (control || only == Some(ReplayOf::Inference))
            && (inference || only == Some(ReplayOf::Control))
    }

    fn json(&self) -> Value {
        let control: Vec<Value> = self
            .control
            .iter()
            .map(|c| {
                json!({
                    "boot": format!("{:016x}", c.boot),
                    "same_configuration": c.same_configuration,
                    "ticks": c.ticks,
                    "commands": c.commands,
                    "equal_commands": c.equal_commands,
                    "requests": c.requests,
                    "equal_requests": c.equal_requests,
                    "missing": c.missing,
                    "first_difference": c.first_difference,
                    "ended": c.ended,
                })
            })
            .collect();
        let inference = self.inference.map(|found| {
            let chunks: Vec<Value> = found
                .chunks
                .iter()
                .map(|c| {
                    json!({
                        "request_id": c.request_id,
                        "observed_at_nanos": c.observed_at.as_nanos(),
                        "equal": c.equal,
                        "joint_rad": c.joint_rad,
                        "opening": c.opening,
                        "alike": c.alike,
                    })
                })
                .collect();
            json!({
                "bundle": self.bundle,
                "provider": self.provider,
                "recorded_bundles": found.bundles.iter().map(|b| b.to_string()).collect::<Vec<_>>(),
                "equal": found.equal(),
                "within_tolerance": found.within(self.tolerance),
                "tolerance": self.tolerance,
                "left_out": found.left_out,
                "failed": found.failed,
                "chunks": chunks,
            })
        });
        json!({ "control": control, "inference": inference })
    }

    fn print(&self, controlled: bool) -> anyhow::Result<()> {
        if controlled && self.control.is_empty() {
            result::line("control loop: no ticks are in the file")?;
        }
        for found in self.control {
            let ControlReport {
                boot,
                same_configuration,
                ticks,
                commands,
                equal_commands,
                requests,
                equal_requests,
                missing,
                first_difference,
                ended,
            } = found;
            result::line(format_args!(
                "control loop, boot {boot:016x}: {ticks} ticks decided again; {equal_commands} of {commands} commands and {equal_requests} of {requests} requests equal bit for bit"
            ))?;
            if *ticks > 0 && !same_configuration {
                result::line("  the configuration is not the recorded one")?;
            }
            if *missing > 0 {
                result::line(format_args!(
                    "  {missing} recorded commands and requests were not made again"
                ))?;
            }
            if let Some((tick, what)) = first_difference {
                result::line(format_args!("  first difference: tick {tick}: {what}"))?;
            }
            if let Some(why) = ended {
                result::line(format_args!("  ended early: {why}"))?;
            }
        }
        match self.inference {
            Some(found) => self.print_inference(found),
            None => Ok(()),
        }
    }

    fn print_inference(&self, found: &InferenceReport) -> anyhow::Result<()> {
        let all = found.chunks.len();
        result::line(format_args!(
            "inference on {}: {} of {all} chunks equal bit for bit, {} within {:e}",
            self.provider,
            found.equal(),
            found.within(self.tolerance),
            self.tolerance
        ))?;
        for bundle in found.bundles.iter().filter(|b| ***b != *self.bundle) {
            result::line(format_args!(
                "  recorded with bundle {bundle}, replayed with {}",
                self.bundle
            ))?;
        }
        for (why, count) in &found.left_out {
            result::line(format_args!("  {count} chunks left out: {why}"))?;
        }
        if found.equal() < all {
            let mut table = Table::new();
            table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
                "largest difference in a chunk",
                "p50",
                "p90",
                "max",
            ]);
            type Of = fn(&tactus_host::replay::ChunkReport) -> f64;
            let rows: [(&str, Of); 2] = [
                ("joint target, rad", |c| c.joint_rad),
                ("gripper opening", |c| c.opening),
            ];
            for (what, of) in rows {
                let mut values: Vec<f64> = found.chunks.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                let at = |share: f64| {
                    let i = ((values.len() - 1) as f64 * share).round() as usize;
                    format!("{:.3e}", values[i])
                };
                table.add_row([what.to_owned(), at(0.5), at(0.9), at(1.0)]);
            }
            result::line(table)?;
        }
        let mut took = Durations::default();
        for chunk in &found.chunks {
            took.record(chunk.inference);
        }
        let p50 = took.quantiles().p50.as_secs_f64() * 1e3;
        result::line(format_args!("  inference p50 {p50:.1} ms"))
    }
}
