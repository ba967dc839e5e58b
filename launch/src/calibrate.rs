//! `tactus calibrate`: a cell is measured, and what came out lies in files that say where they came from.
//!
//! Decides where pictures and poses come from, what an operator sees, and that a file is replaced only by a result that was
//! good enough. What a board and a file are is `tactus-calibration`'s; every estimate, and whether it is good enough, is made by
//! the program `tactus-fit`, which this one starts ([`fitter`]).
//!
//! - [`board`](self): a board to print. [`intrinsics`]: the lens, from a folder or the running cell.
//! - [`clocks`]: how far the processes' clocks are apart; [`arm_latency`], [`camera_latency`]: how late arm and cameras are.
//! - [`joints`]: homing of servos, signs and scales, zeros.
//! - [`hand_eye`]: the camera's place; [`gather`] moves the arm, or lets an operator move it, through poses that [`plan`] seeks.

mod args;
mod arm_latency;
mod camera_latency;
pub mod clocks;
mod fitter;
mod gather;
mod hand_eye;
mod intrinsics;
mod joints;
mod pictures;
mod plan;
pub mod scene;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tactus_calibration::{drawing, seal};
use tactus_types::{Clock, Time};
use tactus_wire::MonotonicClock;

use crate::result;

pub use args::CalibrateArgs;
use args::{BoardArgs, CalibrateVerb, LatencyVerb};

/// Dispatches.
pub fn calibrate(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        CalibrateVerb::Board(args) => board(args).map(|()| ExitCode::SUCCESS),
        CalibrateVerb::Intrinsics(args) => intrinsics::intrinsics(args),
        CalibrateVerb::Scene(args) => scene::scene(args),
        CalibrateVerb::Clocks(args) => clocks::clocks(args).map(|()| ExitCode::SUCCESS),
        CalibrateVerb::Latency(LatencyVerb::Arm(args)) => {
            arm_latency::arm(args).map(|()| ExitCode::SUCCESS)
        }
        CalibrateVerb::Latency(LatencyVerb::Camera(args)) => {
            camera_latency::camera(args).map(|()| ExitCode::SUCCESS)
        }
        CalibrateVerb::Joints(verb) => joints::joints(verb),
        CalibrateVerb::HandEye(args) => hand_eye::hand_eye(args).map(|()| ExitCode::SUCCESS),
    }
}

/// `tactus calibrate board`.
fn board(args: &BoardArgs) -> anyhow::Result<()> {
    let BoardArgs {
        board,
        pdf,
        svg,
        png,
    } = args;
    let mut files: Vec<(&Path, Vec<u8>)> = Vec::new();
    if let Some(file) = pdf {
        files.push((file, drawing::pdf(board)));
    }
    if let Some(file) = svg {
        files.push((file, drawing::svg(board).into_bytes()));
    }
    if let Some(file) = png {
        files.push((file, drawing::png(board).context("encoding the PNG")?));
    }
    if files.is_empty() {
        bail!("expected --pdf, --svg or --png FILE, got none");
    }
    for (file, bytes) in files {
        seal::replace(file, &bytes)?;
        result::line(format_args!("{board}: {}", file.display()))?;
    }
    Ok(())
}

/// Writes figures to `file`.
fn write_json(file: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("figures as JSON")?;
    std::fs::write(file, text + "\n").with_context(|| format!("result file {}", file.display()))
}

/// Writes `body` with its seal to `file`, whole or not at all; returns the id.
fn write_sealed(file: &Path, body: &str) -> anyhow::Result<String> {
    let clock = MonotonicClock::new()?;
    let unix = clock.unix_offset() + clock.now().since(Time::ZERO);
    let made = tactus_record::date::readable(unix);
    let text = seal::sealed(body, unix.as_secs(), &made);
    seal::replace(file, text.as_bytes())?;
    let id = seal::open(file, &text)?.map(|seal| seal.id);
    id.context("a sealed file has an id")
}
