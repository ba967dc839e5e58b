//! What the camera sees at poses of the arm: the arm goes there by orders to its host, or an operator moves it.
//!
//! Decides when a pose counts: at rest, with a frame that was captured after that, in which the board is found; and which
//! motions that failed are gone on from: those that the host refused before they began, and those after which the arm stands
//! still a little off, from where it is enabled again. After any other, the arm holds and an operator has to look; what was
//! gathered is kept. The motion is bound to this process' lease: if it dies, or is interrupted, the arm holds.

use std::io::{BufRead, stdin};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};
use tactus_calibration::exchange::{Answer, ArmNoise, Ask, Sample, Seen, View};
use tactus_calibration::{Board, Lens, Mount};
use tactus_control::Pose;
use tactus_types::{FaultKind, JointState, JointVec, Time};
use tactus_wire::{Authority, ModeOrder, ModeReport, ModeWord};

use super::args::HandEyeArgs;
use super::fitter::Fitter;
use super::pictures::Frames;
use super::plan::{EXPLORE_RAD, Reach, Scene};
use crate::arm_tools::{self, Shared};
use crate::cell::Cell;
use crate::roles::Joined;
use crate::{order, result};

/// An arm is at rest when no joint is faster, rad/s ..
const REST_RAD_PER_SEC: f64 = 0.01;
/// .. for this long.
const REST: Duration = Duration::from_millis(250);
/// An arm that is further from where it was did not rest meanwhile, rad.
const MOVED_RAD: f64 = 0.002;
/// How long it may take to come to rest, and a frame to come.
const REST_WITHIN: Duration = Duration::from_secs(20);
const FRAME_WITHIN: Duration = Duration::from_secs(20);
/// Frames that are tried at a pose.
const TRIES: usize = 3;
/// Motions that may fail or show no board, of all.
const FAILURES: usize = 12;
/// What is known of the scene is worked out again after so many poses.
const AGAIN_EVERY: usize = 5;

/// Poses with which where camera and board are need not be explored again.
const ENOUGH: usize = 6;

/// Keeps what was gathered so far.
pub type Keep<'a> = dyn Fn(&[Sample]) -> anyhow::Result<()> + 'a;

/// Waits until the arm is at rest: its state.
///
/// # Errors
/// When it does not come to rest, or says nothing.
pub fn rest(seen: &Shared) -> anyhow::Result<JointState> {
    let until = Instant::now() + REST_WITHIN;
    let mut since: Option<Time> = None;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        let state = seen.lock().unwrap_or_else(PoisonError::into_inner).state;
        let Some(state) = state else { continue };
        if state.dq.max_abs() > REST_RAD_PER_SEC {
            since = None;
            continue;
        }
        let from = *since.get_or_insert(state.captured_at);
        if state.captured_at.since(from) >= REST {
            return Ok(state);
        }
    }
    bail!("the arm does not come to rest, or does not say where it is")
}

/// Has the arm go to `q` under the lease, unless this process is to stop.
///
/// # Errors
/// When it does not get there.
pub fn go(
    cell: &Cell,
    joined: &Joined,
    authority: &Authority,
    seen: &Shared,
    q: JointVec,
    speed: f64,
) -> anyhow::Result<()> {
    if joined.stop.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    let to = Pose { q, opening: None };
    let (report, _) = arm_tools::go(cell, joined, authority, seen, to, speed, |_| ())?;
    if report.mode != ModeWord::Ready {
        bail!(not_there(&report));
    }
    Ok(())
}

/// Everything that is needed at a pose.
pub struct Stand<'a> {
    pub cell: &'a Cell,
    pub joined: &'a Joined,
    pub seen: &'a Shared,
    pub frames: &'a Frames,
    pub fitter: &'a mut Fitter,
    pub reach: &'a Reach,
    pub board: Board,
    pub lens: Lens,
    pub mount: Mount,
    pub noise: ArmNoise,
    /// How the board was seen last.
    pub gauge: Option<Seen>,
}

impl Stand<'_> {
    fn rest(&self) -> anyhow::Result<JointState> {
        rest(self.seen)
    }

    /// Where the arm is now, which stood a moment ago.
    fn here(&self) -> anyhow::Result<JointState> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.state
            .context("the arm host does not say where the arm is")
    }

    /// The board where the arm is, and `X_CW`; the inner error is why there is none.
    pub fn placed(
        &mut self,
        name: &str,
    ) -> anyhow::Result<Result<(Sample, Isometry3<f64>), String>> {
        let sample = match self.look(name)? {
            Ok(sample) => sample,
            Err(reason) => return Ok(Err(reason)),
        };
        let ask = Ask::Place {
            board: self.board,
            lens: self.lens.clone(),
            view: sample.view.clone(),
        };
        match self.fitter.ask(&ask)? {
            Answer::Placed { x_cw, .. } => Ok(Ok((sample, x_cw.isometry()))),
            Answer::Refused { reason } => Ok(Err(reason)),
            _ => bail!("tactus-fit answers something else"),
        }
    }

    /// What is seen where the arm is; the inner error is why it is nothing.
    pub fn look(&mut self, name: &str) -> anyhow::Result<Result<Sample, String>> {
        let rests = self.rest()?;
        // A camera that stamps frames when they arrive took them before: by no more than the arm has rested already.
        let mut after = rests.captured_at;
        let mut why = String::new();
        for _ in 0..TRIES {
            let Some((grey, at)) = self.frames.next(after, FRAME_WITHIN)? else {
                bail!(
                    "the camera published nothing within {} s; see `tactus camera status`",
                    FRAME_WITHIN.as_secs()
                );
            };
            after = at;
            let found = self.fitter.find(name, &self.board, &grey)?;
            match found.and_then(|(view, seen)| seen.refusal(name).map_or(Ok((view, seen)), Err)) {
                Ok((view, seen)) => {
                    let state = self.here()?;
                    let moved = state.q.zip(&rests.q, |a, b| a - b).max_abs() > MOVED_RAD;
                    if moved || state.dq.max_abs() > REST_RAD_PER_SEC {
                        return Ok(Err("the arm moved meanwhile".into()));
                    }
                    self.gauge = Some(seen);
                    let x_be = self.reach.chain().forward(&state.q).into();
                    let q = state.q.as_slice().to_vec();
                    return Ok(Ok(Sample { view, x_be, q }));
                }
                Err(reason) => why = reason,
            }
        }
        Ok(Err(why))
    }

    fn stopped(&self) -> anyhow::Result<()> {
        if self.joined.stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// An operator moves the arm: a pose for every line.
    pub fn by_hand(
        &mut self,
        count: usize,
        mut samples: Vec<Sample>,
        keep: &Keep<'_>,
    ) -> anyhow::Result<Vec<Sample>> {
        result::line(format_args!(
            "move the arm so that the board is in view, let go, press Enter; {count} poses, turned by 60 degrees in all, about more than one axis; q and Enter ends"
        ))?;
        for line in stdin().lock().lines() {
            self.stopped()?;
            if line?.trim() == "q" {
                break;
            }
            let name = format!("pose {}", samples.len() + 1);
            match self.look(&name)? {
                Err(reason) => result::line(format_args!("not taken: {reason}"))?,
                Ok(sample) => {
                    let span = span_deg(&samples, &sample);
                    samples.push(sample);
                    keep(&samples)?;
                    result::line(format_args!(
                        "{name} of {count}: {} corners, {span:.0} degrees from the pose farthest away",
                        samples.last().map_or(0, |s| s.view.corners.len())
                    ))?;
                }
            }
            if samples.len() >= count {
                break;
            }
        }
        Ok(samples)
    }

    /// The arm moves by itself: a little about each axis first, to learn roughly where camera and board are, then through poses
    /// that turn it as far as the board stays in view. `samples` are those that there are already; each that comes is shown to
    /// `keep` with all before it.
    pub fn by_itself(
        &mut self,
        args: &HandEyeArgs,
        mut samples: Vec<Sample>,
        keep: &Keep<'_>,
    ) -> anyhow::Result<Vec<Sample>> {
        let count = usize::from(args.count);
        let rank = order::rank(args.take_over);
        let authority = order::authority(&self.joined.session, self.cell, "calibrate", rank)?;
        let home = self.rest()?;
        let mut failures = 0;
        let mut rough = Vec::new();
        if samples.len() < ENOUGH {
            let first = match self.look("pose 1")? {
                Ok(sample) => sample,
                Err(reason) => {
                    bail!("where the arm is now the board has to be in view: {reason}")
                }
            };
            rough = self.explored(&authority, &first, &home, args.speed)?;
            samples.push(first);
        }
        let all: Vec<Sample> = samples.iter().chain(&rough).cloned().collect();
        let mut scene = self.scene(&all).context(
            "where camera and board are could not be told from small turns; bring the board to the middle of the picture",
        )?;
        let start = all.first().context("a first pose")?.x_be.isometry();
        let mut wanted = scene.wanted(&scene.board_at(&start));
        while samples.len() < count {
            self.stopped()?;
            let taken: Vec<Isometry3<f64>> = samples.iter().map(|s| s.x_be.isometry()).collect();
            let here = self.here()?;
            let seeds = [home.q, here.q];
            let Some(target) = self
                .reach
                .next(&scene, &mut wanted, &taken, &here.q, &seeds)
            else {
                bail!(
                    "the arm reaches only {} of {count} poses with the board in view: bring the board to where the arm is free to turn around it, or --hand-guided",
                    samples.len()
                );
            };
            let name = format!("pose {}", samples.len() + 1);
            let looked = match self.try_go(&authority, target.q, args.speed)? {
                Ok(()) => self.look(&name)?,
                Err(reason) => Err(reason),
            };
            match looked {
                Ok(sample) => {
                    let span = span_deg(&samples, &sample);
                    result::line(format_args!(
                        "{name} of {count}: {} corners, {span:.0} degrees from the pose farthest away",
                        sample.view.corners.len()
                    ))?;
                    samples.push(sample);
                    keep(&samples)?;
                    if samples.len().is_multiple_of(AGAIN_EVERY) {
                        let all: Vec<Sample> = samples.iter().chain(&rough).cloned().collect();
                        scene = self.scene(&all)?;
                    }
                }
                Err(reason) => {
                    failures += 1;
                    result::line(format_args!("not taken: {reason}"))?;
                    if failures > FAILURES {
                        bail!("{failures} poses could not be taken");
                    }
                }
            }
        }
        self.go(&authority, home.q, args.speed)?;
        Ok(samples)
    }

    /// The arm moves by itself through views for a lens: the board everywhere in the picture, straight on and tilted each way,
    /// near and far; whatever of it is in view. Each view is handed to `take`, until that says that there are enough, or the
    /// arm reaches no more. The lens that is known is a rough one.
    pub fn views(
        &mut self,
        speed: f64,
        take_over: bool,
        mut take: impl FnMut(View, &Seen) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let rank = order::rank(take_over);
        let authority = order::authority(&self.joined.session, self.cell, "calibrate", rank)?;
        let home = self.rest()?;
        let first = match self.look("view 1")? {
            Ok(sample) => sample,
            Err(reason) => bail!("where the arm is now the board has to be in view: {reason}"),
        };
        if let Some(seen) = self.gauge {
            take(first.view.clone(), &seen)?;
        }
        let mut all = self.explored(&authority, &first, &home, speed)?;
        let start = first.x_be.isometry();
        all.push(first);
        let mut scene = self.scene(&all).context(
            "where camera and board are could not be told from small turns; bring the board to the middle of the picture",
        )?;
        scene.partly = true;
        let mut wanted = scene.wanted_for_lens(&scene.board_at(&start));
        let mut taken = vec![scene.board_at(&start)];
        while !self.joined.stop.load(Ordering::Relaxed) {
            let here = self.here()?;
            let seeds = [home.q, here.q];
            let apart = |view: &Isometry3<f64>| scene.unlike(view, &taken);
            let next = self
                .reach
                .next_by(&scene, &mut wanted, apart, &here.q, &seeds);
            let Some(target) = next else { break };
            // What was tried and not seen need not be tried again.
            taken.push(scene.board_at(&target.x_be));
            let name = format!("view {}", taken.len());
            let looked = match self.try_go(&authority, target.q, speed)? {
                Ok(()) => self.look(&name)?,
                Err(reason) => Err(reason),
            };
            match (looked, self.gauge) {
                (Ok(sample), Some(seen)) => {
                    if take(sample.view, &seen)? {
                        break;
                    }
                }
                (Ok(_), None) => {}
                (Err(reason), _) => result::line(format_args!("not taken: {reason}"))?,
            }
        }
        self.stopped()?;
        self.go(&authority, home.q, speed)
    }

    /// What is seen when the hand turns a little about each of its own axes.
    fn explored(
        &mut self,
        authority: &Authority,
        first: &Sample,
        home: &JointState,
        speed: f64,
    ) -> anyhow::Result<Vec<Sample>> {
        let start = first.x_be.isometry();
        let mut rough = Vec::new();
        for axis in [Vector3::x(), Vector3::y(), Vector3::z()] {
            for way in [EXPLORE_RAD, -EXPLORE_RAD] {
                let turn = UnitQuaternion::from_scaled_axis(axis * way);
                let here = self.here()?;
                let to = start * turn;
                let Some(target) = self.reach.target(&to, &here.q, &[home.q, here.q]) else {
                    continue;
                };
                let looked = match self.try_go(authority, target.q, speed)? {
                    Ok(()) => self.look(&format!("turn {}", rough.len() + 1))?,
                    Err(reason) => Err(reason),
                };
                match looked {
                    Ok(sample) => rough.push(sample),
                    Err(reason) => result::line(format_args!("not taken: {reason}"))?,
                }
            }
        }
        Ok(rough)
    }

    /// Has the arm go to `q`.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn go(&self, authority: &Authority, q: JointVec, speed: f64) -> anyhow::Result<()> {
        go(self.cell, self.joined, authority, self.seen, q, speed)
    }

    /// Has the arm go to `q`; the inner error is why it is not there but may be asked to go elsewhere.
    fn try_go(
        &self,
        authority: &Authority,
        q: JointVec,
        speed: f64,
    ) -> anyhow::Result<Result<(), String>> {
        self.stopped()?;
        let to = Pose { q, opening: None };
        let went = arm_tools::go(
            self.cell,
            self.joined,
            authority,
            self.seen,
            to,
            speed,
            |_| (),
        );
        let report = match went {
            Err(e) => {
                // In another mode than this process left it somebody else wants something of the arm.
                let elsewhere = |refuses: &order::Refuses| refuses.mode == ModeWord::Ready;
                return match e.downcast_ref().is_some_and(elsewhere) {
                    true => Ok(Err(e.to_string())),
                    false => Err(e),
                };
            }
            Ok((report, _)) => report,
        };
        if report.mode == ModeWord::Ready {
            return Ok(Ok(()));
        }
        if self.joined.stop.load(Ordering::Relaxed) || !is_short(&report) {
            bail!(not_there(&report));
        }
        self.rest()?;
        // Somebody may have held the arm meanwhile, which is theirs to end.
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen.mode.as_ref().map(|(report, _)| report.clone());
        drop(seen);
        if let Some(now) = now.filter(|now| !is_short(now)) {
            bail!(not_there(&now));
        }
        order::under(authority, self.cell, &ModeOrder::Enable, false)?;
        Ok(Err(report.reason))
    }

    fn scene(&mut self, samples: &[Sample]) -> anyhow::Result<Scene> {
        let ask = Ask::HandEye {
            board: self.board,
            lens: self.lens.clone(),
            lens_std_px: None,
            mount: self.mount,
            noise: self.noise,
            samples: samples.to_vec(),
            roughly: true,
        };
        match self.fitter.ask(&ask)? {
            Answer::HandEye { x, x_board, .. } => Ok(Scene {
                board: self.board,
                lens: self.lens.clone(),
                mount: self.mount,
                x: x.isometry(),
                z: x_board.isometry(),
                partly: false,
            }),
            Answer::Refused { reason } => bail!(reason),
            _ => bail!("tactus-fit answers something else"),
        }
    }
}

/// Whether the arm stands still a little off a pose; what pushed back would have been a fault of tracking.
fn is_short(report: &ModeReport) -> bool {
    report.fault == Some(FaultKind::Goto) && report.reason.contains("did not arrive")
}

fn not_there(report: &ModeReport) -> String {
    format!(
        "the arm did not get to a pose: {}: {}",
        report.mode, report.reason
    )
}

/// Angle between the hand of `sample` and the one of `samples` that is farthest from it, degrees.
fn span_deg(samples: &[Sample], sample: &Sample) -> f64 {
    let here = sample.x_be.isometry().rotation;
    let angles = samples
        .iter()
        .map(|s| s.x_be.isometry().rotation.angle_to(&here));
    angles.fold(0.0, f64::max).to_degrees()
}
