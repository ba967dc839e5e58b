//! `tactus camera`: the cell's cameras as a process; and a look at them: what is plugged in, a picture, how they are.
//!
//! Decides which cameras of the cell are rendered and which are real; what a camera does is the drivers'.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use tactus_camera::probe::{self, Found};
use tactus_camera::{Served, run_cameras};
use tactus_types::Clock;
use tactus_wire::{CameraStatus, ClockedFrame, Delivery, MonotonicClock, Name, Nothing, Topic};

use crate::cell::{self, Cell, CellCamera};
use crate::cli::{CameraArgs, CameraVerb, RoleArgs, SnapArgs, StepArgs};
use crate::roles::{self, Joined};
use crate::{order, result};

/// How long a camera may take to deliver a picture.
const PICTURE_WITHIN: Duration = Duration::from_secs(10);
/// How long is listened for cameras that say how they are, once a second.
const LISTEN: Duration = Duration::from_millis(2500);

/// Dispatches; without a verb the cameras are served.
pub fn camera(args: &CameraArgs) -> anyhow::Result<()> {
    match (&args.verb, &args.role) {
        (Some(CameraVerb::Probe), _) => look(),
        (Some(CameraVerb::Snap(args)), _) => snap(args),
        (Some(CameraVerb::Status(args)), _) => status(args),
        (Some(CameraVerb::Step(args)), _) => step(args),
        (None, Some(role)) => serve(role, &args.name),
        (None, None) => {
            bail!("give --cell FILE to serve its cameras, or a verb; see `tactus camera --help`")
        }
    }
}

/// The cameras of `cell` called `names`; all of them without any.
fn chosen<'a>(cell: &'a Cell, names: &[String]) -> anyhow::Result<Vec<&'a CellCamera>> {
    if names.is_empty() {
        return Ok(cell.cameras.iter().collect());
    }
    names.iter().map(|name| one(cell, name)).collect()
}

/// The camera of `cell` called `name`.
///
/// # Errors
/// When there is none, with those that there are.
pub fn one<'a>(cell: &'a Cell, name: &str) -> anyhow::Result<&'a CellCamera> {
    let camera = cell.cameras.iter().find(|c| c.name.as_str() == name);
    camera.with_context(|| {
        let names: Vec<&str> = cell.cameras.iter().map(|c| c.name.as_str()).collect();
        format!(
            "cell file {}: no camera `{name}`, only {}",
            cell.file.display(),
            names.join(", ")
        )
    })
}

/// The role.
fn serve(args: &RoleArgs, names: &[String]) -> anyhow::Result<()> {
    let cell = cell::load_any(&args.cell)?;
    let cameras = chosen(&cell, names)?;
    let Joined {
        session,
        clock,
        stop,
    } = roles::join(args, "camera")?;
    let rendered: Vec<&CellCamera> = cameras
        .iter()
        .filter(|c| c.real.is_none())
        .copied()
        .collect();
    let clock: Arc<dyn Clock> = clock;
    let real: Vec<Served> = cameras
        .iter()
        .filter_map(|camera| camera.real.clone())
        .map(|spec| Served::new(spec, clock.clone()))
        .collect();
    let serve_real = || run_cameras(real, &cell.wire, &session, &clock, &stop);
    let Some(first) = rendered.first() else {
        return Ok(serve_real()?);
    };
    let options = tactus_sim::CameraOptions {
        cell: cell.wire.clone(),
        cameras: rendered.iter().map(|c| c.name.clone()).collect(),
        rate_hz: first.rate_hz,
        board: cell.sim.and_then(|sim| sim.board),
    };
    // The renderer stays on this thread, which owns its OpenGL context.
    std::thread::scope(|scope| {
        let real = std::thread::Builder::new()
            .name("cameras".into())
            .spawn_scoped(scope, serve_real)
            .context("a thread for cameras")?;
        let rendered = tactus_sim::run_cameras(&options, &session, clock.as_ref(), &stop);
        stop.store(true, Ordering::Relaxed);
        match real.join() {
            Ok(served) => served?,
            Err(_) => bail!("the thread of the cameras panicked"),
        }
        rendered?;
        Ok(())
    })
}

/// `tactus camera probe`.
fn look() -> anyhow::Result<()> {
    let found = found()?;
    if found.is_empty() {
        result::line("no video device that captures (/dev/video*): is the camera plugged in?")?;
    }
    Ok(())
}

/// Prints every video device that captures, and returns them.
pub fn found() -> anyhow::Result<Vec<Found>> {
    let mut all = Vec::new();
    for node in probe::nodes() {
        match probe::look(&node) {
            Ok(None) => {}
            Ok(Some(found)) => {
                result::line(describe(&found))?;
                all.push(found);
            }
            Err(e) => result::line(e)?,
        }
    }
    Ok(all)
}

fn describe(found: &Found) -> String {
    let mut text = format!("camera {}: {}", found.node.display(), found.card);
    for name in &found.lasting {
        text += &format!("\n  {}", name.display());
    }
    for (format, sizes) in &found.formats {
        text += &format!("\n  {format}: {}", sizes.join(", "));
    }
    text
}

/// `tactus camera snap`.
fn snap(args: &SnapArgs) -> anyhow::Result<()> {
    let cell = cell::load_any(&args.cell)?;
    let camera = one(&cell, &args.name)?;
    let write = |file: &Path, data: &[u8], what: &str| {
        fs::write(file, data).with_context(|| format!("picture {}", file.display()))?;
        result::line(format_args!("{what}: {}", file.display()))
    };
    if !args.connect.is_empty() {
        let delivery = published(args, &cell, camera)?;
        let ClockedFrame { frame, clock } = &delivery.message;
        let age = delivery.received_at.since(frame.captured_at);
        result::line(format_args!(
            "{}x{}, {} bytes, capture time read by {}, {:.1} ms old when it arrived",
            frame.width,
            frame.height,
            frame.data.len(),
            word(clock.word()),
            age.as_secs_f64() * 1e3
        ))?;
        return write(&args.out, &frame.data, "as published");
    }
    let Some(spec) = camera.real.clone() else {
        bail!(
            "camera `{}` is rendered by the simulator: give --connect ENDPOINT of the running cell",
            camera.name
        );
    };
    let edits = spec.edits();
    let clock = Arc::new(MonotonicClock::new()?);
    let settle = Duration::from_millis(args.settle_ms);
    let mut served = Served::new(spec, clock.clone());
    let snap = tactus_camera::snap(&mut served, clock.as_ref(), settle, PICTURE_WITHIN);
    let snap = snap.with_context(|| format!("camera `{}`", camera.name))?;
    let (width, height) = snap.shot.size;
    result::line(format_args!(
        "{width}x{height}, {} bytes, capture time read by {}",
        snap.taken.len(),
        word(snap.shot.clock.word())
    ))?;
    if edits {
        let taken = as_taken(&args.out);
        write(&taken, &snap.taken, "as taken")?;
    }
    write(&args.out, &snap.published, "as published")
}

/// `picture.jpg` -> `picture.taken.jpg`.
fn as_taken(out: &Path) -> PathBuf {
    let extension = out.extension().and_then(|e| e.to_str()).unwrap_or("jpg");
    out.with_extension(format!("taken.{extension}"))
}

/// What the running cell publishes.
fn published(
    args: &SnapArgs,
    cell: &Cell,
    camera: &CellCamera,
) -> anyhow::Result<Delivery<ClockedFrame>> {
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: args.connect.clone(),
        listen: Vec::new(),
        supervised: false,
        host: None,
    };
    let session = roles::session(&role, "snap")?;
    let (sender, frames) = sync_channel(1);
    let key = cell.wire.key(&Topic::CameraImage(camera.name.clone()));
    let _images = session.subscribe(&key, move |frame| {
        // Full: one is enough.
        sender.try_send(frame).unwrap_or(());
    })?;
    match frames.recv_timeout(PICTURE_WITHIN) {
        Ok(frame) => Ok(frame?),
        Err(_) => bail!(
            "camera `{}` published nothing within {} s; see `tactus camera status`",
            camera.name,
            PICTURE_WITHIN.as_secs()
        ),
    }
}

/// `tactus camera status`.
fn status(args: &RoleArgs) -> anyhow::Result<()> {
    let cell = cell::load_any(&args.cell)?;
    let session = roles::session(args, "camera-status")?;
    let (sender, statuses) = sync_channel(64);
    let mut subscriptions = Vec::new();
    for camera in &cell.cameras {
        let (sender, name) = (sender.clone(), camera.name.clone());
        let key = cell.wire.key(&Topic::CameraStatus(camera.name.clone()));
        subscriptions.push(session.subscribe(
            &key,
            move |status: Result<Delivery<CameraStatus>, _>| {
                if let Ok(status) = status {
                    sender
                        .try_send((name.clone(), status.message))
                        .unwrap_or(());
                }
            },
        )?);
    }
    let until = Instant::now() + LISTEN;
    let mut newest: Vec<(Name, CameraStatus)> = Vec::new();
    let all = |newest: &Vec<(Name, CameraStatus)>| newest.len() == cell.cameras.len();
    while !all(&newest) {
        match statuses.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((name, status)) => {
                newest.retain(|(known, _)| *known != name);
                newest.push((name, status));
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "camera",
        "frames",
        "Hz",
        "dropped",
        "corrupt",
        "frozen",
        "reconnected",
        "capture time by",
        "state",
    ]);
    for camera in &cell.cameras {
        let Some((_, s)) = newest.iter().find(|(name, _)| *name == camera.name) else {
            let says = match camera.real {
                Some(_) => "says nothing: does it run?",
                None => "rendered: keeps no count",
            };
            table.add_row([camera.name.as_str(), "", "", "", "", "", "", "", says]);
            continue;
        };
        table.add_row([
            camera.name.to_string(),
            s.frames.to_string(),
            format!("{:.1}", s.rate_hz),
            s.dropped.to_string(),
            s.corrupt.to_string(),
            s.frozen.to_string(),
            s.reconnections.to_string(),
            word(s.clock.word()).to_owned(),
            match s.connected {
                true => "frames come in".into(),
                false if s.fault.is_empty() => "no frame yet".into(),
                false => s.fault.clone(),
            },
        ]);
    }
    result::line(table)
}

/// `tactus camera step`.
fn step(args: &StepArgs) -> anyhow::Result<()> {
    let cell = cell::load_any(&args.role.cell)?;
    let camera = one(&cell, &args.name)?;
    if !camera.real.as_ref().is_some_and(|spec| spec.stepped()) {
        bail!(
            "cell file {}: field `camera.stepped`: expected true for `{}`, got false",
            cell.file.display(),
            camera.name
        );
    }
    let session = roles::session(&args.role, "camera-step")?;
    let key = cell.wire.key(&Topic::CameraStep(camera.name.clone()));
    session.wait_for_answerer(&key, order::ANSWER_WITHIN)?;
    for _ in 0..args.count {
        let answer = session.query::<Nothing, CameraStatus>(&key, &Nothing, order::ANSWER_WITHIN);
        let answer = answer.with_context(|| format!("camera `{}`", camera.name))?;
        result::line(format_args!("{} frames", answer.message.frames))?;
    }
    Ok(())
}

fn word(word: &str) -> &str {
    match word {
        "" => "nobody knows whom",
        word => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_described_with_its_lasting_names() {
        let found = Found {
            node: "/dev/video0".into(),
            lasting: vec!["/dev/v4l/by-id/usb-cam".into()],
            card: "Webcam".into(),
            formats: vec![("MJPG".into(), vec!["640x480".into(), "1280x720".into()])],
        };
        assert_eq!(
            describe(&found),
            "camera /dev/video0: Webcam\n  /dev/v4l/by-id/usb-cam\n  MJPG: 640x480, 1280x720"
        );
    }

    #[test]
    fn the_picture_as_taken_lies_beside_the_one_published() {
        assert_eq!(as_taken(Path::new("a/b.jpg")), Path::new("a/b.taken.jpg"));
        assert_eq!(as_taken(Path::new("b")), Path::new("b.taken.jpg"));
    }
}
