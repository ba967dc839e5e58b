//! `tactus calibrate intrinsics`: views of a board, taken where they add something, and the lens that explains them.
//!
//! Decides which views are taken of a running cell: sharp, still, and of something that was missing. An operator sees in the
//! terminal what that is.

use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_calibration::coverage::Coverage;
use tactus_calibration::exchange::{Answer, ArmNoise, Ask, Seen, View};
use tactus_calibration::{CameraInfo, IntrinsicsQuality, Lens, Mount, camera_info, seal};
use tactus_types::Time;

use super::args::IntrinsicsArgs;
use super::fitter::Fitter;
use super::hand_eye::{Known, Setting, with_stand};
use super::pictures::{self, Frames};
use super::write_sealed;
use crate::cell::{self, CellCamera};
use crate::cli::RoleArgs;
use crate::{camera, result, roles};

/// A lens that explains views worse than this is not theirs, pixels.
const VERIFIED_PX: f64 = 1.0;
/// Less of the picture's regions is refused: nothing is known of the rest. A camera in the hand sees the hand in a third.
const LEAST_COVERAGE: f64 = 0.4;
/// A board that moves further between two frames is not still, pixels.
const STILL_PX: f64 = 1.5;
/// A view whose corners are nearer than this to those of one that was taken, in the mean, is no other view, pixels.
const OTHER_PX: f64 = 15.0;
/// How long a camera may be silent.
const FRAME_WITHIN: Duration = Duration::from_secs(20);

/// Views, how the board was seen in each, and what they cover together.
#[derive(Default)]
struct Gathered {
    views: Vec<View>,
    seen: Vec<Seen>,
    coverage: Coverage,
}

impl Gathered {
    fn count(&mut self, view: View, seen: Seen) {
        self.coverage.add(&view, &seen);
        self.views.push(view);
        self.seen.push(seen);
    }

    fn add(&mut self, view: View, seen: Seen, picture: Option<&Path>) -> anyhow::Result<()> {
        self.count(view, seen);
        self.draw(picture)
    }

    fn draw(&self, picture: Option<&Path>) -> anyhow::Result<()> {
        if let Some(file) = picture {
            seal::replace(file, self.coverage.svg(&self.views).as_bytes())?;
        }
        Ok(())
    }

    /// What is left where the fit has no error of a view: a view that the lens was not made from covers nothing.
    fn fitted(self, errors_px: &[Option<f64>]) -> Self {
        let mut left = Self::default();
        let views = self.views.into_iter().zip(self.seen).zip(errors_px);
        for ((view, seen), _) in views.filter(|(_, error)| error.is_some()) {
            left.count(view, seen);
        }
        left
    }
}

/// Dispatches.
pub fn intrinsics(args: &IntrinsicsArgs) -> anyhow::Result<ExitCode> {
    // What cannot be is said before anybody holds a board.
    tactus_wire::Name::new(&args.camera).context("--camera")?;
    let read = |file: &Path| -> anyhow::Result<Lens> {
        let info = CameraInfo::read(file)?;
        info.check_camera(file, &args.camera)?;
        Ok(info.lens)
    };
    let verify = args.verify.as_deref().map(read).transpose()?;
    let start = args.start.as_deref().map(read).transpose()?;
    let mut fitter = Fitter::start()?;
    let gathered = match (&args.folder, &args.cell) {
        (Some(folder), _) => from_folder(args, folder, &mut fitter)?,
        (None, Some(file)) if args.arm_moves => by_arm(args, file, &mut fitter)?,
        (None, Some(file)) => live(args, file, &mut fitter)?,
        (None, None) => bail!("expected --cell and --connect, or --folder, got neither"),
    };
    if let Some(lens) = verify {
        return verified(args, lens, gathered, &mut fitter);
    }
    let ask = Ask::Intrinsics {
        board: args.board,
        model: args.model.model(),
        views: gathered.views.clone(),
        start,
    };
    let (lens, quality, errors_px) = match fitter.ask(&ask)? {
        Answer::Intrinsics {
            lens,
            quality,
            errors_px,
        } => (lens, quality, errors_px),
        Answer::Refused { reason } => bail!("camera `{}`: {reason}", args.camera),
        _ => bail!("tactus-fit answers something else"),
    };
    for (view, error) in gathered.views.iter().zip(&errors_px) {
        if error.is_none() {
            result::line(format_args!(
                "{}: left out: it fits no lens that explains the others",
                view.name
            ))?;
        }
    }
    let gathered = gathered.fitted(&errors_px);
    gathered.draw(args.picture.as_deref())?;
    let coverage = gathered.coverage;
    let share = coverage.share();
    if share < LEAST_COVERAGE {
        bail!(
            "camera `{}`: the views show too little of the picture: expected corners in {:.0} % of its regions, got {:.0} %; {}",
            args.camera,
            LEAST_COVERAGE * 100.0,
            share * 100.0,
            coverage.missing().join("; ")
        );
    }
    let quality = IntrinsicsQuality {
        coverage: share,
        ..quality
    };
    let out = args.out.as_deref().context("--out FILE")?;
    let id = write_sealed(out, &camera_info::write(&args.camera, &lens, &quality))?;
    if let Some(file) = &args.kalibr {
        let text = camera_info::kalibr(&lens, &format!("/{}/image_raw", args.camera));
        let text = text.with_context(|| format!("Kalibr has no `{}`", lens.model.word()))?;
        write_sealed(file, &text)?;
    }
    say(&lens, &quality)?;
    let missing = coverage.missing();
    if !missing.is_empty() {
        result::line(format_args!(
            "it would be better with: {}",
            missing.join("; ")
        ))?;
    }
    result::line(format_args!("{id}: {}", out.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn say(lens: &Lens, quality: &IntrinsicsQuality) -> anyhow::Result<()> {
    let [fx, fy, cx, cy] = lens.camera;
    let [sx, sy, ux, uy] = quality.std_px;
    result::line(format_args!(
        "{} of {}x{}: fx {fx:.2} +- {sx:.2}, fy {fy:.2} +- {sy:.2}, cx {cx:.2} +- {ux:.2}, cy {cy:.2} +- {uy:.2} px",
        lens.model.word(),
        lens.size.0,
        lens.size.1
    ))?;
    result::line(format_args!(
        "{} views, {} left out, {} corners in {:.0} % of the regions; error {:.3} px, on views held out {:.3} px",
        quality.views,
        quality.rejected,
        quality.corners,
        quality.coverage * 100.0,
        quality.rms_px,
        quality.held_out_rms_px
    ))
}

fn verified(
    args: &IntrinsicsArgs,
    lens: Lens,
    Gathered { views, .. }: Gathered,
    fitter: &mut Fitter,
) -> anyhow::Result<ExitCode> {
    let ask = Ask::Verify {
        board: args.board,
        lens,
        views: views.clone(),
    };
    match fitter.ask(&ask)? {
        Answer::Verified { rms_px, errors_px } => {
            for (view, error) in views.iter().zip(errors_px) {
                result::line(format_args!("{}: {error:.3} px", view.name))?;
            }
            let good = rms_px <= VERIFIED_PX;
            let word = if good { "explains" } else { "does not explain" };
            result::line(format_args!(
                "the lens {word} {} views: error {rms_px:.3} px, at most {VERIFIED_PX} expected",
                views.len()
            ))?;
            Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(3)
            })
        }
        Answer::Refused { reason } => bail!("camera `{}`: {reason}", args.camera),
        _ => bail!("tactus-fit answers something else"),
    }
}

fn from_folder(
    args: &IntrinsicsArgs,
    folder: &Path,
    fitter: &mut Fitter,
) -> anyhow::Result<Gathered> {
    let mut gathered = Gathered::default();
    let mut reasons = Vec::new();
    for file in tactus_camera::folder::files(folder)? {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match fitter.find(&name, &args.board, &pictures::read(&file)?)? {
            Ok((view, seen)) => match seen.refusal(&name) {
                None => gathered.add(view, seen, args.picture.as_deref())?,
                Some(reason) => reasons.push(reason),
            },
            Err(reason) => reasons.push(reason),
        }
    }
    for reason in &reasons {
        result::line(format_args!("left out: {reason}"))?;
    }
    if gathered.views.is_empty() {
        bail!(
            "{}: no picture of {} can be used; the first: {}",
            folder.display(),
            reasons.len(),
            reasons.first().map_or("", String::as_str)
        );
    }
    Ok(gathered)
}

/// A camera whose frames are as the sensor sees them.
///
/// # Errors
/// When the cell file has them changed.
fn unchanged(camera: &CellCamera) -> anyhow::Result<()> {
    if camera
        .real
        .as_ref()
        .is_some_and(tactus_camera::CameraSpec::edits)
    {
        bail!(
            "camera `{}`: expected frames as the camera takes them, got changed ones: take undistort, crop and rotate out of the cell file while its lens is measured",
            camera.name
        );
    }
    Ok(())
}

/// The arm brings the board everywhere in the picture, or the picture everywhere over the board.
fn by_arm(args: &IntrinsicsArgs, file: &Path, fitter: &mut Fitter) -> anyhow::Result<Gathered> {
    let cell = cell::load(file)?;
    unchanged(camera::one(&cell, &args.camera)?)?;
    let mount = if args.eye_to_hand {
        Mount::EyeToHand
    } else {
        Mount::EyeInHand
    };
    let setting = Setting {
        cell: file,
        connect: &args.connect,
        camera: &args.camera,
        known: Known::Lens(args.start.as_deref(), Some(mount)),
        board: args.board,
        // Of a lens that is known roughly more is not to be expected.
        noise: ArmNoise { mm: 5.0, deg: 1.0 },
    };
    let mut gathered = Gathered::default();
    let mut screen = Screen::default();
    let until = Instant::now() + Duration::from_secs(args.within);
    with_stand(&setting, fitter, |stand, _| {
        stand.views(args.speed, args.take_over, |view, seen| {
            gathered.add(view, *seen, args.picture.as_deref())?;
            screen.show(&gathered.coverage, "taken; the arm goes on")?;
            Ok(gathered.views.len() >= args.views
                || gathered.coverage.missing().is_empty()
                || Instant::now() > until)
        })
    })?;
    Ok(gathered)
}

fn live(args: &IntrinsicsArgs, file: &Path, fitter: &mut Fitter) -> anyhow::Result<Gathered> {
    let cell = cell::load(file)?;
    let camera = camera::one(&cell, &args.camera)?;
    unchanged(camera)?;
    let role = RoleArgs {
        cell: file.into(),
        connect: args.connect.clone(),
        listen: Vec::new(),
        supervised: false,
        host: None,
    };
    let joined = roles::join(&role, "calibrate")?;
    let frames = Frames::hear(&cell, camera, &joined)?;
    let until = Instant::now() + Duration::from_secs(args.within);
    let mut gathered = Gathered::default();
    let mut screen = Screen::default();
    let (mut last, mut before): (Time, Option<View>) = (Time::ZERO, None);
    let enough = |g: &Gathered| g.views.len() >= args.views || g.coverage.missing().is_empty();
    while !enough(&gathered) && !joined.stop.load(Ordering::Relaxed) && Instant::now() < until {
        let Some((grey, at)) = frames.next(last, FRAME_WITHIN)? else {
            if joined.stop.load(Ordering::Relaxed) {
                break;
            }
            let silent = format!(
                "camera `{}` published nothing within {} s; see `tactus camera status`",
                args.camera,
                FRAME_WITHIN.as_secs()
            );
            if gathered.views.is_empty() {
                bail!(silent);
            }
            // What was taken is still good for something.
            tracing::warn!("{silent}");
            break;
        };
        last = at;
        let name = format!("view {}", gathered.views.len());
        let said = match fitter.find(&name, &args.board, &grey)? {
            Err(reason) => {
                before = None;
                reason
            }
            Ok((view, seen)) => {
                let still = before
                    .as_ref()
                    .is_some_and(|b| apart(b, &view).is_some_and(|px| px < STILL_PX));
                before = Some(view.clone());
                let known = gathered
                    .views
                    .iter()
                    .filter_map(|v| apart(v, &view))
                    .any(|px| px < OTHER_PX);
                if let Some(reason) = seen.refusal("blurred or badly lit") {
                    reason
                } else if !still {
                    "hold it still".into()
                } else if known {
                    "taken; now something else".into()
                } else {
                    gathered.add(view, seen, args.picture.as_deref())?;
                    format!("view {} taken", gathered.views.len())
                }
            }
        };
        screen.show(&gathered.coverage, &said)?;
    }
    Ok(gathered)
}

/// Mean distance between corners that both views have, pixels; `None` when they share few.
fn apart(a: &View, b: &View) -> Option<f64> {
    let other = |id: usize| b.corners.iter().find(|c| c.id == id);
    let both = a.corners.iter().filter_map(|c| Some((c, other(c.id)?)));
    let off: Vec<f64> = both
        .map(|(a, b)| (a.pixel[0] - b.pixel[0]).hypot(a.pixel[1] - b.pixel[1]))
        .collect();
    (off.len() >= 4).then(|| off.iter().sum::<f64>() / off.len() as f64)
}

/// The guide in a terminal, always in the same place; elsewhere a line for every new view.
#[derive(Default)]
struct Screen {
    lines: usize,
    views: usize,
}

impl Screen {
    fn show(&mut self, coverage: &Coverage, said: &str) -> anyhow::Result<()> {
        let mut out = stderr().lock();
        if out.is_terminal() {
            let text = format!("{}{said}\n", coverage.text());
            let mut shown = String::new();
            if self.lines > 0 {
                shown += &format!("\x1b[{}A", self.lines);
            }
            for line in text.lines() {
                // Cut, so that a line is a line: the way back up is counted in them.
                let line: String = line.chars().take(110).collect();
                shown += &format!("\x1b[2K{line}\n");
            }
            self.lines = text.lines().count();
            out.write_all(shown.as_bytes())?;
        } else if coverage.views() != self.views {
            self.views = coverage.views();
            writeln!(
                out,
                "view {}; missing: {}",
                self.views,
                coverage.missing().join("; ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_calibration::exchange::Corner;

    #[test]
    fn a_view_that_the_fit_left_out_covers_nothing() {
        // Corners everywhere in the left half, and in the right one.
        let half = |name: &str, from: f64| View {
            name: name.into(),
            size: (640, 480),
            corners: (0..30 * 40)
                .map(|id| Corner {
                    id,
                    pixel: [from + (id % 30) as f64 * 10.0, (id / 30) as f64 * 12.0],
                })
                .collect(),
        };
        let seen = Seen {
            blur_px: 1.0,
            saturated: 0.0,
            contrast: 200.0,
            tilt_deg: 30.0,
            towards_deg: 0.0,
            extent: 0.5,
        };
        let dir = tempfile::tempdir().expect("a folder");
        let picture = dir.path().join("guide.svg");
        let mut gathered = Gathered::default();
        for (name, from) in [("a", 10.0), ("b", 330.0)] {
            gathered
                .add(half(name, from), seen, Some(&picture))
                .expect("drawn");
        }
        assert_eq!((gathered.coverage.share(), gathered.views.len()), (1.0, 2));
        let left = gathered.fitted(&[Some(0.1), None]);
        assert_eq!((left.coverage.share(), left.coverage.views()), (0.5, 1));
        assert_eq!(left.views[0].name, "a");
        let before = std::fs::read_to_string(&picture).expect("a picture");
        left.draw(Some(&picture)).expect("drawn");
        let after = std::fs::read_to_string(&picture).expect("a picture");
        assert!(before.contains("regions 100 %") && after.contains("regions 50 %"));
    }
}
