//! What a running cell shows: do its streams keep their rates, and do joints and pictures look as in training?
//!
//! Listens for a moment and asks the device what it is; moves nothing, and nothing of the arm host's is needed. What the
//! bundle's reference says about joints and pictures is `tactus_preflight`'s; here it becomes findings. `sure` ones are failures.
//! The others fail a `doctor`, and are only said by `tactus run`: an arm that is parked has to be brought to its start by
//! a cell that runs.

use std::path::Path;
use std::time::Duration;

use tactus_bundle::AnyBundle;
use tactus_preflight::{Live, Reference, judge};
use tactus_types::{ArmInfo, CameraFrame, JointState, Time};
use tactus_vla::joints::{find, find_all};
use tactus_wire::{Name, Session, Topic};

use super::{Finding, Verdict};
use crate::bundle::reference::look;
use crate::calibrate::scene::{self, Change};
use crate::cell::{Cell, CellCamera};
use crate::conformance::heard::{Heard, Stream, sound};

/// How long is listened.
pub const LISTEN: Duration = Duration::from_millis(1500);
/// A stream may be so much slower or faster than declared: a shared machine is late now and then.
const RATE_SHARE: f64 = 0.25;
/// What is older than this when it comes is not live, or its clock is another.
const AGE: Duration = Duration::from_millis(250);
/// A joint may be measured so far outside its range, rad: at a stop, by noise.
const BEYOND: f64 = 0.05;

/// What a cell showed.
pub struct Shown {
    states: Stream<JointState>,
    cameras: Vec<(CellCamera, Stream<CameraFrame>)>,
}

/// Listens to the device and the cameras of `cell` for `span`.
///
/// # Errors
/// When a key cannot be subscribed.
pub fn listen(session: &Session, cell: &Cell, span: Duration) -> anyhow::Result<Shown> {
    let states = Heard::listen(
        session,
        &cell.wire.key(&Topic::DeviceState(cell.device.clone())),
    )?;
    let mut cameras = Vec::new();
    for camera in &cell.cameras {
        let key = cell.wire.key(&Topic::CameraImage(camera.name.clone()));
        cameras.push((camera.clone(), Heard::listen(session, &key)?));
    }
    std::thread::sleep(span);
    Ok(Shown {
        states: states.take(),
        cameras: cameras
            .into_iter()
            .map(|(camera, heard)| (camera, heard.take()))
            .collect(),
    })
}

impl Shown {
    /// Whether everything has shown itself.
    pub fn is_complete(&self) -> bool {
        let shown = |(_, frames): &(CellCamera, Stream<CameraFrame>)| !frames.messages.is_empty();
        !self.states.messages.is_empty() && self.cameras.iter().all(shown)
    }
}

/// Whether a stream keeps its rate and is fresh.
fn stream<M>(
    name: &'static str,
    of: &str,
    stream: &Stream<M>,
    hz: f64,
    captured: impl Fn(&M) -> Time,
) -> Finding {
    let mend = "the process that publishes it: its log, its cell file, what else this machine does";
    let expected = format!("{of} at {hz:.0} Hz");
    if let Err(actual) = sound(stream) {
        return Finding::fail(name, format!("{of}: {actual}"), mend).expecting(expected);
    }
    let times: Vec<Time> = stream
        .messages
        .iter()
        .map(|d| captured(&d.message))
        .collect();
    let (first, last) = (times.first(), times.last());
    let span = first.zip(last).map_or(0.0, |(a, b)| b.secs_from(*a));
    let actual = (times.len() - 1) as f64 / span.max(1e-9);
    let mut ages: Vec<Duration> = stream
        .messages
        .iter()
        .map(|d| d.received_at.since(captured(&d.message)))
        .collect();
    ages.sort_unstable();
    let age = ages.get(ages.len() / 2).copied().unwrap_or_default();
    let found = format!(
        "{of}: {actual:.1} Hz, {:.1} ms old",
        age.as_secs_f64() * 1e3
    );
    if age > AGE {
        Finding::fail(name, found, mend).expecting(format!("at most {} ms old", AGE.as_millis()))
    } else if (actual / hz - 1.0).abs() > RATE_SHARE {
        Finding::fail(
            name,
            found,
            "the rate in the cell file or the driver's info, or what keeps it from it",
        )
        .expecting(expected)
    } else {
        Finding::pass(name, found)
    }
}

/// What `shown` says about the cell of an arm of `info` and `bundle`.
///
/// # Errors
/// When the bundle's reference cannot be read.
pub fn findings(
    shown: &Shown,
    cell: &Cell,
    info: &ArmInfo,
    bundle: &AnyBundle,
) -> anyhow::Result<Vec<Finding>> {
    let mut all = vec![joints(bundle, info)];
    let named = all.iter().all(|f| f.verdict == Verdict::Pass);
    let of = format!("joint states of `{}`", cell.device);
    let rate = info.state_rate_hz;
    all.push(stream("joint states", &of, &shown.states, rate, |s| s.captured_at).doubtful());
    let state = shown.states.messages.last().map(|d| d.message);
    if let Some(state) = state {
        all.extend(inside(info, &state));
    }
    for (camera, frames) in &shown.cameras {
        let of = format!("camera `{}`", camera.name);
        all.push(stream("pictures", &of, frames, camera.rate_hz, |f| f.captured_at).doubtful());
        if let (Some(kept), Some(frame)) = (&camera.scene, frames.messages.last()) {
            all.push(moved(&camera.name, kept, &frame.message).doubtful());
        }
        if camera.real.is_some() {
            all.extend(frozen(&of, frames));
        }
    }
    let Some(bytes) = bundle.reference()? else {
        let mend = "`tactus bundle reference` learns one from recordings: then swapped joints and mirrored pictures are found";
        all.push(Finding::warn(
            "as in training",
            "the bundle has no reference",
            mend,
        ));
        return Ok(all);
    };
    let reference = match Reference::from_bytes(&bytes) {
        Ok(reference) => reference,
        Err(e) => {
            let mend = "`tactus bundle reference` writes it again";
            all.push(Finding::fail(
                "as in training",
                format!("the bundle's reference: {e}"),
                mend,
            ));
            return Ok(all);
        }
    };
    if let (true, Some(state)) = (named, state) {
        match live(shown, info, bundle, &reference, &state) {
            Ok(live) => all.extend(trained(&reference, &live)),
            Err(finding) => all.push(*finding),
        }
    }
    Ok(all)
}

/// The bundle's joints are the arm's.
fn joints(bundle: &AnyBundle, info: &ArmInfo) -> Finding {
    let outline = bundle.outline();
    let state = find("state.joints", &outline.state.joints, &info.joints);
    let action = find_all("action.joints", &outline.action.joints, &info.joints);
    let expected = outline.action.joints.join(", ");
    let mend = "the names in the driver's configuration, or another bundle";
    match state.and(action) {
        Err(e) => Finding::fail("joint names", e.to_string(), mend).expecting(expected),
        Ok(_) if outline.action.gripper && !info.gripper => Finding::fail(
            "joint names",
            "no gripper",
            "[device.gripper], or another bundle",
        )
        .expecting(format!("{expected}, and a gripper")),
        Ok(_) => Finding::pass("joint names", info.joints.join(", ")),
    }
}

/// Every joint is measured where it can be.
fn inside(info: &ArmInfo, state: &JointState) -> Option<Finding> {
    let joints = info.joints.iter().zip(&info.limits).zip(state.q.iter());
    let ((name, limits), q) = joints
        .into_iter()
        .find(|((_, l), q)| **q < l.lower - BEYOND || **q > l.upper + BEYOND)?;
    let mend = "a unit (degrees for rad), a zero, or a calibration of another arm";
    Some(
        Finding::fail("joint range", format!("`{name}` at {q:.3} rad"), mend)
            .expecting(format!("{:.3} to {:.3} rad", limits.lower, limits.upper)),
    )
}

/// A camera never takes the same picture twice, to the bit.
fn frozen(of: &str, frames: &Stream<CameraFrame>) -> Option<Finding> {
    let first = &frames.messages.first()?.message;
    let same = frames.messages.iter().all(|d| d.message.data == first.data);
    let mend = "its driver hangs, or a file is served: `tactus camera status` counts frozen frames";
    (same && frames.messages.len() > 2)
        .then(|| Finding::warn("pictures", format!("{of}: every picture is the same"), mend))
}

/// Whether the camera stands where it stood, in the light it had.
fn moved(camera: &Name, kept: &Path, frame: &CameraFrame) -> Finding {
    let mend = "put the camera back, or keep a new picture (`tactus calibrate scene`) and calibrate it again";
    match scene::compare(kept, frame) {
        Err(e) => Finding::fail("scene", format!("camera `{camera}`: {e:#}"), mend),
        Ok(since) => {
            let found = format!("camera `{camera}`: {since}");
            let expected = scene::expected();
            match since.verdict() {
                Change::Small => Finding::pass("scene", found),
                Change::Some => Finding::warn("scene", found, mend).expecting(expected),
                Change::Large => Finding::fail("scene", found, mend).expecting(expected),
            }
        }
    }
}

/// One state and one picture of each camera as the reference has them.
fn live(
    shown: &Shown,
    info: &ArmInfo,
    bundle: &AnyBundle,
    reference: &Reference,
    state: &JointState,
) -> Result<Live, Box<Finding>> {
    let outline = bundle.outline();
    let fail = |found: String, mend| Err(Box::new(Finding::fail("as in training", found, mend)));
    let names = reference.cameras.iter().map(|(name, _)| name);
    let of_bundle = outline.cameras.iter().map(|c| &c.name);
    if !names.eq(of_bundle) || reference.states.joints() != outline.state.joints {
        let mend = "`tactus bundle reference` writes it again";
        return fail(
            "the bundle's reference is that of another policy".into(),
            mend,
        );
    }
    let index = find("state.joints", &outline.state.joints, &info.joints);
    let mut columns: Vec<f64> = index
        .unwrap_or_default()
        .into_iter()
        .filter_map(|j| state.q.as_slice().get(j).copied())
        .collect();
    if outline.state.gripper {
        columns.push(state.opening);
    }
    let mut looks = Vec::new();
    let mut pixels = Vec::new();
    for spec in &outline.cameras {
        let frames = shown
            .cameras
            .iter()
            .find(|(c, _)| c.name.as_str() == spec.name);
        let Some(frame) = frames.and_then(|(_, frames)| frames.messages.last()) else {
            return fail(format!("no picture of `{}`", spec.name), "start its camera");
        };
        match look(&frame.message, spec, &mut pixels) {
            Ok(look) => looks.push(look),
            // The engine refuses such a picture by itself; who calibrates the camera wants it as it is.
            Err(e) => {
                let mend = "the camera's size, crop and rotate in the cell file";
                let finding = Finding::fail("as in training", format!("{e:#}"), mend);
                return Err(Box::new(finding.doubtful()));
            }
        }
    }
    Ok(Live {
        state: columns,
        looks,
    })
}

/// The verdict as findings.
fn trained(reference: &Reference, live: &Live) -> Vec<Finding> {
    let Some(verdict) = judge(reference, live) else {
        let found = "the bundle's reference is that of another policy";
        let mend = "`tactus bundle reference` writes it again";
        return vec![Finding::fail("as in training", found, mend)];
    };
    let misfits = verdict.misfits.into_iter().map(|m| {
        let found = format!("{}: {}", m.about, m.actual);
        let finding = Finding::fail("as in training", found, m.mend).expecting(m.expected);
        Finding {
            sure: m.sure,
            ..finding
        }
    });
    let fits = verdict.fits.into_iter();
    let fits = fits.map(|(about, how)| Finding::pass("as in training", format!("{about}: {how}")));
    misfits.chain(fits).collect()
}
