//! `tactus calibrate scene`: a picture of what a camera should see, and by how much it has moved since, and its light changed.
//!
//! Decides how much is too much. How a camera has moved is `tactus_drift`'s. A kept picture that shows too little to be found
//! again is refused before it replaces anything.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, bail};
use tactus_calibration::seal;
use tactus_camera::picture::{Picture, decode};
use tactus_drift::{Drift, Grey, LightDrift, drift, light_drift};
use tactus_types::{CameraFrame, Encoding};
use tactus_wire::{Delivery, Topic};

use super::args::SceneArgs;
use super::pictures::decoded;
use crate::{camera, cell, result, roles};

/// How long a camera may take to deliver a picture.
const PICTURE_WITHIN: Duration = Duration::from_secs(10);
/// A camera has moved, and has moved far, when some point of its picture has by this share of the width.
const MOVED: f64 = 0.005;
const FAR: f64 = 0.02;
/// Light that has changed, and much, octaves.
const CHANGED: f64 = 0.5;
const MUCH: f64 = 1.0;

/// Keeps a picture, or compares with one.
pub fn scene(args: &SceneArgs) -> anyhow::Result<ExitCode> {
    let cell = cell::load(&args.role.cell)?;
    let of = camera::one(&cell, &args.camera)?;
    let session = roles::session(&args.role, "scene")?;
    let (sender, frames) = sync_channel(1);
    let key = cell.wire.key(&Topic::CameraImage(of.name.clone()));
    let _images = session.subscribe(&key, move |frame: Result<Delivery<CameraFrame>, _>| {
        // Full: one is enough.
        sender.try_send(frame).unwrap_or(());
    })?;
    let Ok(frame) = frames.recv_timeout(PICTURE_WITHIN) else {
        bail!(
            "camera `{}` published nothing; see `tactus camera status`",
            of.name
        );
    };
    let frame = frame?.message;
    if let Some(kept) = &args.compare {
        let since = compare(kept, &frame)?;
        result::line(format_args!("camera `{}`: {since}", of.name))?;
        return Ok(match since.verdict() {
            Change::Small | Change::Some => ExitCode::SUCCESS,
            Change::Large => ExitCode::from(3),
        });
    }
    let out = args.out.as_deref().context("--out or --compare")?;
    let grey = grey(&decoded(&frame)?)?;
    // What cannot be found again in itself cannot be found in another.
    let parts = drift(&grey, &grey)?.parts;
    if frame.encoding != Encoding::Jpeg {
        bail!(
            "camera `{}` publishes raw pictures; only JPEG is kept",
            of.name
        );
    }
    seal::replace(out, &frame.data)?;
    result::line(format_args!(
        "{}: {}x{}, {} parts that can be found again; `scene = \"{}\"` in the [[camera]] section compares with it",
        out.display(),
        frame.width,
        frame.height,
        parts.0,
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What has changed since a picture was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Since {
    moved: Drift,
    light: LightDrift,
    width: f64,
}

/// How much it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing worth a word.
    Small,
    /// Something.
    Some,
    /// Too much.
    Large,
}

impl Since {
    /// How much has changed.
    pub fn verdict(&self) -> Change {
        let graded = |value: f64, some: f64, large: f64| match value.abs() {
            v if v > large => Change::Large,
            v if v > some => Change::Some,
            _ => Change::Small,
        };
        let LightDrift {
            brighter,
            red,
            blue,
        } = self.light;
        let light = [brighter, red, blue].map(|l| graded(l, CHANGED, MUCH));
        let moved = graded(self.moved.px / self.width, MOVED, FAR);
        light.into_iter().fold(moved, Ord::max)
    }
}

impl std::fmt::Display for Since {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Drift {
            px,
            shift_px: (x, y),
            turn_deg,
            parts: (agree, _, parts),
            ..
        } = self.moved;
        let LightDrift {
            brighter,
            red,
            blue,
        } = self.light;
        write!(
            f,
            "moved by {px:.1} px at most (middle {x:+.1}, {y:+.1}, turned {turn_deg:+.2} deg; {agree} of {parts} parts agree), brighter by {brighter:+.2}, red {red:+.2}, blue {blue:+.2} octaves"
        )
    }
}

/// What counts as unchanged, in words.
pub fn expected() -> String {
    format!(
        "moved by at most {} % of the picture's width, light within {CHANGED} octaves",
        100.0 * MOVED
    )
}

/// Compares `frame` with the picture in the file `kept`.
///
/// # Errors
/// When the file cannot be read, or the pictures have nothing in common.
pub fn compare(kept: &Path, frame: &CameraFrame) -> anyhow::Result<Since> {
    let of = || format!("kept picture {}", kept.display());
    let bytes = std::fs::read(kept).with_context(of)?;
    let then = decode(&bytes).with_context(of)?;
    let now = decoded(frame)?;
    let moved = drift(&grey(&then).with_context(of)?, &grey(&now)?).with_context(of)?;
    Ok(Since {
        moved,
        light: light_drift(&then.rgb, &now.rgb),
        width: f64::from(now.width),
    })
}

fn grey(picture: &Picture) -> anyhow::Result<Grey> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let grey = Grey::of(&picture.rgb, width, height);
    grey.with_context(|| format!("{width}x{height} is too small to be compared"))
}
