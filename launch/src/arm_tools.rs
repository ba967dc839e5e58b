//! `tactus arm`: the arm host as a role, and motions to a pose that another process's arm host carries out.
//!
//! Decides which pose a name means and how the motion looks in a terminal. Whether it may begin, where it goes and when
//! it ends is decided in the arm host. The motion is bound to the lease of this process: if it dies, the arm holds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tactus_control::Pose;
use tactus_types::{ArmInfo, Clock, JointState, JointVec, MAX_JOINTS};
use tactus_wire::{
    Authority, Delivery, ModeOrder, ModeReport, ModeWord, Nothing, Subscriber, Topic,
};

use crate::cell::{self, Cell};
use crate::cli::{ArmArgs, ArmVerb, GotoArgs};
use crate::roles::Joined;
use crate::{order, probe, result, roles};

/// How often the motion is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// An arm host that does not report for this long is gone.
const SILENT: Duration = Duration::from_secs(2);

/// Dispatches; without a verb the arm host runs.
pub fn arm(args: &ArmArgs) -> anyhow::Result<()> {
    match (&args.verb, &args.role) {
        (Some(ArmVerb::Home(args)), _) => goto("home", args),
        (Some(ArmVerb::Goto { pose, args }), _) => goto(pose, args),
        (Some(ArmVerb::Probe(args)), _) => probe::arm(args),
        (None, Some(role)) => roles::arm(role),
        (None, None) => {
            bail!("give --cell FILE to run the arm host, or a verb; see `tactus arm --help`")
        }
    }
}

/// The newest of what the arm host says, and when.
#[derive(Default)]
pub struct Seen {
    /// The newest report of its mode, and when it came.
    pub mode: Option<(ModeReport, Instant)>,
    /// The arm's own newest state.
    pub state: Option<JointState>,
}

/// What is heard, for those who look.
pub type Shared = Arc<Mutex<Seen>>;

/// The pose that `text` means: a name of the cell file, or numbers.
fn pose(cell: &Cell, text: &str) -> anyhow::Result<Pose> {
    if let Some(pose) = cell.poses.named.get(text) {
        return Ok(*pose);
    }
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|q| q.trim().parse()).collect();
    let q = numbers
        .ok()
        .and_then(|q| JointVec::from_slice(&q))
        .filter(JointVec::is_finite);
    let Some(q) = q else {
        let names: Vec<&str> = cell.poses.named.keys().map(String::as_str).collect();
        bail!(
            "pose `{text}`: expected one of the poses of {} ({}), or up to {MAX_JOINTS} numbers in rad, q1,q2,...",
            cell.file.display(),
            if names.is_empty() {
                "it has none".into()
            } else {
                names.join(", ")
            }
        );
    };
    Ok(Pose { q, opening: None })
}

fn goto(text: &str, args: &GotoArgs) -> anyhow::Result<()> {
    let cell = cell::load_arm(&args.role.cell)?;
    let Pose { q, opening } = pose(&cell, text)?;
    let opening = args.opening.or(opening);
    for (field, value) in [("--speed", Some(args.speed)), ("--opening", opening)] {
        if value.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
            bail!(
                "{field}: expected 0 to 1, got {}",
                value.unwrap_or_default()
            );
        }
    }
    let joined = roles::join(&args.role, "goto")?;
    let info = info(&cell, &joined)?;
    let (seen, _subscriptions) = follow(&cell, &joined)?;
    let rank = order::rank(args.take_over);
    let authority = order::authority(&joined.session, &cell, "goto", rank)?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("progress line")?);
    let to = Pose { q, opening };
    let look = |state: &JointState| {
        bar.set_message(left(&info, &q, state));
        bar.tick();
    };
    let ended = go(&cell, &joined, &authority, &seen, to, args.speed, look);
    bar.finish_and_clear();
    match ended? {
        (
            ModeReport {
                mode: ModeWord::Ready,
                ..
            },
            state,
        ) => {
            let left = state.map_or(String::new(), |s| format!(": {}", left(&info, &q, &s)));
            result::line(format_args!("mode: ready, at {text}{left}"))
        }
        (ModeReport { mode, reason, .. }, _) => Err(anyhow!("not at {text}: {mode}: {reason}")),
    }
}

/// What the arm host says of its arm.
///
/// # Errors
/// When nobody answers.
pub fn info(cell: &Cell, joined: &Joined) -> anyhow::Result<ArmInfo> {
    let session = &joined.session;
    let key = cell.wire.key(&Topic::ArmInfo(cell.arm.clone()));
    session.wait_for_answerer(&key, order::ANSWER_WITHIN)?;
    let info = session.query(&key, &Nothing, order::ANSWER_WITHIN);
    Ok(info.context("the arm host does not answer")?.message)
}

/// Has the arm move and waits for the end, looking at its states meanwhile; when this process is to stop, the arm holds.
/// Returns what the arm host said when the motion was over, whichever way: `ready` is there.
///
/// # Errors
/// When the arm host refuses, or does not report any more.
pub fn go(
    cell: &Cell,
    joined: &Joined,
    authority: &Authority,
    seen: &Shared,
    Pose { q, opening }: Pose,
    speed: f64,
    look: impl Fn(&JointState),
) -> anyhow::Result<(ModeReport, Option<JointState>)> {
    let asked_at = joined.clock.now();
    order::under(
        authority,
        cell,
        &ModeOrder::Goto { q, opening, speed },
        true,
    )?;
    let started = Instant::now();
    let mut held = false;
    loop {
        std::thread::sleep(LOOK);
        if joined.stop.load(Ordering::Relaxed) && !held {
            held = true;
            let key = joined.session.order_key(&cell.wire, &cell.arm);
            order::send(&joined.session, &key, &ModeOrder::Hold)?;
        }
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = &seen.state {
            look(state);
        }
        let (report, at) = match &seen.mode {
            Some((report, at)) => (Some(report), *at),
            None => (None, started),
        };
        if at.elapsed() > SILENT {
            bail!("the arm host does not report any more");
        }
        // What was said before the order was taken does not count.
        if let Some(report) = report.filter(|r| r.since >= asked_at && r.mode != ModeWord::Goto) {
            return Ok((report.clone(), seen.state));
        }
    }
}

/// Hears what the arm host says from now on.
///
/// # Errors
/// When the network cannot be used.
pub fn follow(cell: &Cell, joined: &Joined) -> anyhow::Result<(Shared, [Subscriber; 2])> {
    let seen = Shared::default();
    let lock = |seen: &Shared, f: &dyn Fn(&mut Seen)| {
        f(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let to = seen.clone();
    let modes = joined.session.subscribe(
        &cell.wire.key(&Topic::ArmMode(cell.arm.clone())),
        move |m: Result<Delivery<ModeReport>, _>| {
            if let Ok(delivery) = m {
                lock(&to, &|seen| {
                    seen.mode = Some((delivery.message.clone(), Instant::now()));
                });
            }
        },
    )?;
    let to = seen.clone();
    let states = joined.session.subscribe(
        &cell.wire.key(&Topic::ArmState(cell.arm.clone())),
        move |m: Result<Delivery<JointState>, _>| {
            if let Ok(delivery) = m {
                lock(&to, &|seen| seen.state = Some(delivery.message));
            }
        },
    )?;
    Ok((seen, [modes, states]))
}

/// How far each joint has to go.
fn left(info: &ArmInfo, to: &JointVec, state: &JointState) -> String {
    let away = to.zip(&state.q, |to, q| to - q);
    let joints = info.joints.iter().zip(away.iter());
    let words: Vec<String> = joints
        .map(|(name, rad)| format!("{name} {rad:+.3}"))
        .collect();
    format!("rad left: {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_is_a_name_or_numbers() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cells/demo.toml");
        let cell = cell::load(&file).expect("legal");
        assert_eq!(pose(&cell, "home").expect("named").q.len(), 6);
        assert_eq!(
            pose(&cell, "-1, 2.5").expect("numbers").q.as_slice(),
            [-1.0, 2.5]
        );
        for bad in ["house", "", "1,x", "1,nan", &"1,".repeat(20)] {
            let refused = pose(&cell, bad).expect_err(bad).to_string();
            assert!(refused.contains("home"), "{refused}");
        }
    }
}
