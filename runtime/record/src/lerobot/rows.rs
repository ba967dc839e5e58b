//! The rows of an episode: one per frame of the reference camera.
//!
//! Decides what belongs to a row, by times alone. With *t* the capture time of the row's frame: of every other camera the
//! frame captured nearest to *t*; the joint state interpolated to *t*; the first command applied at or after *t*, which is
//! the action; and what happened to commands from *t* until the next row's.

use std::collections::BTreeMap;

use tactus_types::{Applied, CameraFrame, JointState, Source, Time};
use tactus_wire::{AppliedBatch, ModeReport, ModeWord, Topic};

use super::ExportError;
use super::episodes::{Content, Episode};
use crate::read::{Told, read};

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Capture time of the row's frame, seconds since the episode's first.
    pub captured_at: f64,
    /// The same for each camera's frame.
    pub cameras: Vec<f64>,
    /// Measured joint positions, rad, and gripper opening.
    pub state: Vec<f32>,
    /// Commanded joint positions, rad, and gripper opening.
    pub action: Vec<f32>,
    /// Who asked for the action: 0 hold, 1 policy, 2 goto, 3 align, 4 teleop.
    pub source: i64,
    /// A human had the arm: align or teleop.
    pub intervention: bool,
    /// The arm was in hold.
    pub held: bool,
    /// No action of the policy was due although it had the arm.
    pub starved: bool,
    /// A limit changed a command.
    pub clamped: bool,
}

/// An episode as a table, and the frames of each camera, one per row.
pub struct Rows {
    /// The rows.
    pub rows: Vec<Row>,
    /// Of each camera, in order of their names: the frame of every row.
    pub frames: Vec<Vec<CameraFrame>>,
}

/// Everything of an episode.
#[derive(Default)]
struct Heard {
    frames: BTreeMap<String, Vec<CameraFrame>>,
    states: Vec<JointState>,
    applied: Vec<Applied>,
    modes: Vec<(Time, ModeWord)>,
}

/// Reads `episode` of the recording `content` is of.
///
/// # Errors
/// [`ExportError`] when the recording cannot be read or lacks frames, states or commands of the episode.
pub fn rows(episode: &Episode, content: &Content, reference: &str) -> Result<Rows, ExportError> {
    let mut heard = hear(episode, content)?;
    let lacks = |what: String| ExportError::Lacks {
        file: episode.file.clone(),
        what: format!("episode {}: {what}", episode.number),
    };
    let of_episode = |at: Time| (episode.from..=episode.until).contains(&at);
    let wanted = heard.frames.get(reference);
    let times: Vec<Time> = wanted
        .into_iter()
        .flatten()
        .map(|frame| frame.captured_at)
        .filter(|at| of_episode(*at))
        .collect();
    let Some(begin) = times.first().copied() else {
        return Err(lacks(format!("no frame of camera `{reference}`")));
    };
    let (mut rows, mut kept) = (Vec::new(), vec![Vec::new(); content.cameras.len()]);
    for (i, at) in times.iter().enumerate() {
        let until = times.get(i + 1).copied().unwrap_or(episode.until);
        let (Some(state), Some((applied, clamped))) =
            (heard.state_at(*at), heard.commands(*at, until))
        else {
            // Before the first state or command, or after the last: such rows are at the ends.
            continue;
        };
        let mut nearest = Vec::new();
        for camera in content.cameras.keys() {
            nearest.push(
                heard
                    .nearest(camera, *at)
                    .ok_or_else(|| lacks(format!("no frame of camera `{camera}`")))?,
            );
        }
        let mode = heard.mode_at(*at);
        let source = applied.command.setpoint.source;
        let floats = |q: &[f64], opening: f64| {
            let joints = q.iter().map(|v| *v as f32);
            joints.chain([opening as f32]).collect()
        };
        rows.push(Row {
            captured_at: at.secs_from(begin),
            cameras: nearest
                .iter()
                .map(|f| f.captured_at.secs_from(begin))
                .collect(),
            state: floats(state.q.as_slice(), state.opening),
            action: floats(applied.command.q.as_slice(), applied.command.opening),
            source: number(source),
            intervention: matches!(source, Source::Align | Source::Teleop),
            held: source == Source::Hold && mode != Some(ModeWord::Policy),
            starved: source == Source::Hold && mode == Some(ModeWord::Policy),
            clamped,
        });
        for (kept, frame) in kept.iter_mut().zip(nearest) {
            kept.push(frame.clone());
        }
    }
    if rows.is_empty() {
        return Err(lacks(
            "no joint states or commands beside its frames".into(),
        ));
    }
    heard.frames.clear();
    Ok(Rows { rows, frames: kept })
}

/// The number of a source in a set; the wire's, less one.
fn number(source: Source) -> i64 {
    match source {
        Source::Hold => 0,
        Source::Policy => 1,
        Source::Goto => 2,
        Source::Align => 3,
        Source::Teleop => 4,
    }
}

fn hear(episode: &Episode, content: &Content) -> Result<Heard, ExportError> {
    let mut heard = Heard::default();
    let margin = std::time::Duration::from_millis(500);
    let (from, until) = (episode.from.before(margin), episode.until + margin);
    read(&episode.file, |told| {
        let Told::Message(message) = told else {
            return true;
        };
        if !(from..=until).contains(&message.captured_at) {
            return true;
        }
        match content.cell.topic(message.topic) {
            Ok(Topic::CameraImage(camera)) => {
                if let Ok(delivery) = message.decode::<CameraFrame>() {
                    let frames = heard.frames.entry(camera.to_string()).or_default();
                    frames.push(delivery.message);
                }
            }
            Ok(Topic::ArmState(arm)) if arm == content.arm => {
                if let Ok(delivery) = message.decode::<JointState>() {
                    heard.states.push(delivery.message);
                }
            }
            Ok(Topic::ArmApplied(arm)) if arm == content.arm => {
                if let Ok(delivery) = message.decode::<AppliedBatch>() {
                    heard.applied.extend(delivery.message.applied);
                }
            }
            Ok(Topic::ArmMode(arm)) if arm == content.arm => {
                if let Ok(delivery) = message.decode::<ModeReport>() {
                    let report = delivery.message;
                    heard.modes.push((report.since, report.mode));
                }
            }
            _ => {}
        }
        true
    })?;
    for frames in heard.frames.values_mut() {
        frames.sort_by_key(|frame| frame.captured_at);
    }
    heard.states.sort_by_key(|state| state.captured_at);
    heard.applied.sort_by_key(|applied| applied.at);
    heard.modes.sort_by_key(|(at, _)| *at);
    Ok(heard)
}

impl Heard {
    fn state_at(&self, at: Time) -> Option<JointState> {
        let after = self.states.partition_point(|s| s.captured_at < at);
        let b = self.states.get(after)?;
        if b.captured_at == at {
            return Some(*b);
        }
        let a = self.states.get(after.checked_sub(1)?)?;
        if a.q.len() != b.q.len() {
            return None;
        }
        let span = b.captured_at.secs_from(a.captured_at);
        let t = at.secs_from(a.captured_at) / span;
        Some(JointState {
            captured_at: at,
            q: a.q.lerp(&b.q, t),
            dq: a.dq.lerp(&b.dq, t),
            opening: a.opening + t * (b.opening - a.opening),
            ..*a
        })
    }

    /// The first command at or after `at`, and whether any before `until` was clamped.
    fn commands(&self, at: Time, until: Time) -> Option<(&Applied, bool)> {
        let first = self.applied.partition_point(|applied| applied.at < at);
        let here = self.applied.get(first)?;
        let during = self.applied.get(first..).unwrap_or_default();
        let mut during = during.iter().take_while(|applied| applied.at < until);
        Some((here, during.any(|applied| applied.command.clamped_by.any())))
    }

    fn nearest(&self, camera: &str, at: Time) -> Option<&CameraFrame> {
        let frames = self.frames.get(camera)?;
        let apart = |f: &&CameraFrame| f.captured_at.since(at).max(at.since(f.captured_at));
        frames.iter().min_by_key(apart)
    }

    fn mode_at(&self, at: Time) -> Option<ModeWord> {
        let after = self.modes.partition_point(|(since, _)| *since <= at);
        self.modes.get(after.checked_sub(1)?).map(|(_, mode)| *mode)
    }
}
