//! `tactus calibrate hand-eye`: where a camera is, from what it sees at poses of the arm.
//!
//! Decides where the poses come from, which lens the frames have, and what the file says. A result that was refused leaves the
//! old file as it was. Which lens published pictures have is the cell's (`CellCamera::published_lens`).

use std::path::Path;

use anyhow::{Context, bail};
use nalgebra::Isometry3;
use serde::{Deserialize, Serialize};
use tactus_calibration::exchange::{Answer, ArmNoise, Ask, Sample};
use tactus_calibration::hand_eye::Belongs;
use tactus_calibration::{Board, CameraInfo, HandEye, HandEyeQuality, Lens, Mount, Pose, seal};
use tactus_types::{ArmInfo, Clock};

use super::args::HandEyeArgs;
use super::fitter::Fitter;
use super::gather::Stand;
use super::pictures::Frames;
use super::plan::Reach;
use super::write_sealed;
use crate::cell::{self, Cell};
use crate::cli::RoleArgs;
use crate::{arm_tools, camera, result, roles};

/// Version of files of poses.
const SCHEMA: u32 = 1;

/// What was seen at poses, as `--save-poses` writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Poses {
    schema: u32,
    camera: String,
    /// Where the camera is.
    pub mount: Mount,
    /// The link whose frame the result is in.
    link: String,
    /// SHA-256 of the arm's description.
    pub arm_sha256: String,
    lens_sha256: String,
    /// The board.
    pub board: Board,
    /// The lens that the frames have.
    pub lens: Lens,
    /// Standard deviations of its fx, fy, cx, cy, pixels, where its file says; not in poses of earlier versions.
    #[serde(default)]
    lens_std_px: Option<[f64; 4]>,
    /// What was seen.
    pub samples: Vec<Sample>,
}

/// Dispatches.
pub fn hand_eye(args: &HandEyeArgs) -> anyhow::Result<()> {
    for (field, value, most) in [
        ("--arm-mm", args.arm_mm, 20.0),
        ("--arm-deg", args.arm_deg, 5.0),
        ("--speed", args.speed, 1.0),
    ] {
        if !(value > 0.0 && value <= most) {
            bail!("{field}: expected above 0 to {most}, got {value}");
        }
    }
    let mut fitter = Fitter::start()?;
    let poses = match (&args.poses, &args.cell) {
        (Some(file), _) => read(file, &args.camera)?,
        (None, Some(file)) => gathered(args, file, &mut fitter)?,
        (None, None) => bail!("expected --cell and --connect, or --poses, got neither"),
    };
    if let Some(file) = &args.save_poses {
        poses.write(file)?;
    }
    let ask = Ask::HandEye {
        board: poses.board,
        lens: poses.lens,
        lens_std_px: poses.lens_std_px,
        mount: poses.mount,
        noise: noise(args),
        samples: poses.samples,
        roughly: false,
    };
    let (x, methods, quality) = match fitter.ask(&ask)? {
        Answer::HandEye {
            x,
            methods,
            quality,
            ..
        } => (x, methods, quality),
        Answer::Refused { reason } => bail!("camera `{}`: {reason}", args.camera),
        _ => bail!("tactus-fit answers something else"),
    };
    let belongs = Belongs {
        camera: poses.camera,
        link: poses.link,
        arm_sha256: poses.arm_sha256,
        lens_sha256: poses.lens_sha256,
    };
    let place = HandEye::new(belongs, poses.mount, x, quality);
    let id = write_sealed(&args.out, &place.write()?)?;
    // They were kept for a run that does not get this far.
    if let (None, Some(file)) = (&args.save_poses, args.kept())
        && args.poses.is_none()
        && file.is_file()
    {
        std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
    }
    say(&place, &x, &methods)?;
    result::line(format_args!("{id}: {}", args.out.display()))
}

fn noise(args: &HandEyeArgs) -> ArmNoise {
    ArmNoise {
        mm: args.arm_mm,
        deg: args.arm_deg,
    }
}

fn say(place: &HandEye, x: &Pose, methods: &[(String, Pose)]) -> anyhow::Result<()> {
    let name = match place.mount {
        Mount::EyeInHand => "X_EC",
        Mount::EyeToHand => "X_BC",
    };
    let [a, b, c] = x.xyz_m.map(|m| m * 1e3);
    let (roll, pitch, yaw) = x.isometry().rotation.euler_angles();
    let [roll, pitch, yaw] = [roll, pitch, yaw].map(f64::to_degrees);
    let HandEyeQuality {
        poses,
        span_deg,
        agreement_mm,
        agreement_deg,
        held_out_mm,
        std_mm,
        std_deg,
    } = place.quality;
    result::line(format_args!(
        "{name}, camera `{}` in link `{}`: {a:.2}, {b:.2}, {c:.2} mm +- {std_mm:.2}; roll {roll:.3}, pitch {pitch:.3}, yaw {yaw:.3} degrees +- {std_deg:.3}",
        place.camera, place.link
    ))?;
    let x = x.isometry();
    for (method, other) in methods {
        let other = other.isometry();
        result::line(format_args!(
            "  {method}: {:.2} mm and {:.3} degrees from it",
            (other.translation.vector - x.translation.vector).norm() * 1e3,
            other.rotation.angle_to(&x.rotation).to_degrees()
        ))?;
    }
    result::line(format_args!(
        "{poses} poses over {span_deg:.0} degrees; Park, Horaud and Daniilidis within {agreement_mm:.2} mm and {agreement_deg:.3} degrees; held-out poses see the board within {held_out_mm:.2} mm"
    ))
}

/// Poses that were saved.
///
/// # Errors
/// A file that is none of this camera's.
pub fn read(file: &Path, camera: &str) -> anyhow::Result<Poses> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let poses: Poses = serde_json::from_str(&text)
        .with_context(|| format!("{}: no file of poses", file.display()))?;
    let field = |field: &str, expected: &str, actual: &dyn std::fmt::Display| {
        bail!(
            "{}: field `{field}`: expected {expected}, got {actual}",
            file.display()
        )
    };
    if poses.schema != SCHEMA {
        return field("schema", &SCHEMA.to_string(), &poses.schema);
    }
    if poses.camera != camera {
        return field("camera", &format!("`{camera}`"), &poses.camera);
    }
    if !poses.board.is_legal() {
        return field("board", "a board", &poses.board);
    }
    if let Err((name, expected, actual)) = poses.lens.check() {
        return field(name, &expected, &actual);
    }
    Ok(poses)
}

/// What is known of a camera whose pictures are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// Its lens: this file, or the cell's; and where it is, if that is not what the cell says.
    Lens(Option<&'a Path>, Option<Mount>),
    /// Its lens and its place, as the cell file names them.
    Placed,
}

/// A camera of a running cell, and a board.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Cell file.
    pub cell: &'a Path,
    /// Endpoints of the running cell.
    pub connect: &'a [String],
    /// Name of the camera.
    pub camera: &'a str,
    /// What is known of it.
    pub known: Known<'a>,
    /// The board.
    pub board: Board,
    /// How exactly the arm knows where it is.
    pub noise: ArmNoise,
}

/// What was found when a setting was opened.
pub struct Opened {
    /// What the arm says of itself.
    pub info: ArmInfo,
    /// The file of the lens.
    pub lens: CameraInfo,
    /// `X_EC` or `X_BC`, where the cell file has it.
    pub place: Option<Isometry3<f64>>,
}

/// Opens a setting for `work`.
///
/// # Errors
/// When it is not all there, and those of `work`.
pub fn with_stand<T>(
    setting: &Setting<'_>,
    fitter: &mut Fitter,
    work: impl FnOnce(&mut Stand<'_>, &Opened) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let cell: Cell = cell::load(setting.cell)?;
    let camera = camera::one(&cell, setting.camera)?;
    let place = camera
        .calibration
        .hand_eye
        .as_ref()
        .map(|(_, place, _)| place);
    let lens = match setting.known {
        Known::Lens(Some(file), _) => {
            let lens = CameraInfo::read(file)?;
            lens.check_camera(file, setting.camera)?;
            lens
        }
        _ => {
            let known = camera.calibration.intrinsics.as_ref();
            let (_, lens) = known.context(
                "expected the camera's lens: --intrinsics FILE.yaml, or camera.intrinsics of the cell file",
            )?;
            lens.clone()
        }
    };
    let mount = match setting.known {
        Known::Lens(_, Some(mount)) => mount,
        _ => {
            let place = place.context(
                "expected to know where the camera is: --eye-in-hand, --eye-to-hand, or camera.hand_eye of the cell file",
            )?;
            place.mount
        }
    };
    let place = match setting.known {
        Known::Placed => {
            let pose = place.and_then(HandEye::pose);
            Some(pose.context("camera.hand_eye of the cell file")?.isometry())
        }
        Known::Lens(..) => None,
    };
    let role = RoleArgs {
        cell: setting.cell.into(),
        connect: setting.connect.to_vec(),
        listen: Vec::new(),
        supervised: false,
        host: None,
    };
    let joined = roles::join(&role, "calibrate")?;
    let info = arm_tools::info(&cell, &joined)?;
    camera.calibration.check_arm(setting.camera, &info)?;
    let spec = cell.arm_spec(joined.clock.now().as_nanos(), &info)?;
    let reach = Reach::new(&info, spec.guard)?;
    let frames = Frames::hear(&cell, camera, &joined)?;
    let (seen, _subscriptions) = arm_tools::follow(&cell, &joined)?;
    let opened = Opened { info, lens, place };
    let mut stand = Stand {
        cell: &cell,
        joined: &joined,
        seen: &seen,
        frames: &frames,
        fitter,
        reach: &reach,
        board: setting.board,
        lens: camera
            .published_lens(&opened.lens.lens)
            .context("the lens of its pictures has to be known while the camera measures")?,
        mount,
        noise: setting.noise,
        gauge: None,
    };
    work(&mut stand, &opened)
}

/// What the camera sees at poses of the running cell's arm.
///
/// # Errors
/// When the cell is not all there, or the arm or the operator does not get through the poses. What was gathered until then is in
/// the file that [`HandEyeArgs::kept`] names.
pub fn gathered(args: &HandEyeArgs, file: &Path, fitter: &mut Fitter) -> anyhow::Result<Poses> {
    let mount = match (args.eye_in_hand, args.eye_to_hand) {
        (_, true) => Some(Mount::EyeToHand),
        (true, _) => Some(Mount::EyeInHand),
        _ => None,
    };
    let setting = Setting {
        cell: file,
        connect: &args.connect,
        camera: &args.camera,
        known: Known::Lens(args.intrinsics.as_deref(), mount),
        board: args.board,
        noise: noise(args),
    };
    with_stand(&setting, fitter, |stand, opened| {
        let geometry = opened.info.geometry.clone();
        let geometry =
            geometry.context("the arm does not describe its links: expected a URDF in its info")?;
        let mut poses = Poses {
            schema: SCHEMA,
            camera: args.camera.clone(),
            mount: stand.mount,
            link: match stand.mount {
                Mount::EyeInHand => geometry.tool_link,
                Mount::EyeToHand => geometry.base_link,
            },
            arm_sha256: seal::sha256(geometry.urdf.as_bytes()),
            lens_sha256: opened.lens.sha256.clone(),
            board: args.board,
            lens: stand.lens.clone(),
            lens_std_px: opened.lens.std_px,
            samples: Vec::new(),
        };
        let kept = args.kept();
        if args.resume {
            let file = kept.as_deref().context("--resume: no file of poses")?;
            let before = read(file, &args.camera)?;
            poses.check_same(file, &before)?;
            poses.samples = before.samples;
            let n = poses.samples.len();
            result::line(format_args!("{}: {n} poses are there", file.display()))?;
        }
        let keep = |samples: &[Sample]| match &kept {
            None => Ok(()),
            Some(file) => Poses {
                samples: samples.to_vec(),
                ..poses.clone()
            }
            .write(file),
        };
        let before = poses.samples.clone();
        let samples = if args.hand_guided {
            stand.by_hand(args.count.into(), before, &keep)
        } else {
            stand.by_itself(args, before, &keep)
        };
        let samples = samples.with_context(|| match kept.as_ref().filter(|f| f.is_file()) {
            None => "no pose was kept".to_owned(),
            Some(file) => format!(
                "the poses until then are in {}; `--resume` goes on with them",
                file.display()
            ),
        })?;
        Ok(Poses { samples, ..poses })
    })
}

impl Poses {
    fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string(self).context("writing the poses")?;
        Ok(seal::replace(file, text.as_bytes())?)
    }

    /// Refuses to go on with poses of another camera, lens, board or arm.
    fn check_same(&self, file: &Path, before: &Self) -> anyhow::Result<()> {
        let differs = [
            ("mount", self.mount != before.mount),
            ("link", self.link != before.link),
            ("arm", self.arm_sha256 != before.arm_sha256),
            ("lens", self.lens_sha256 != before.lens_sha256),
            // Of the same file, and straightened or not.
            ("lens of its pictures", !is_same(&self.lens, &before.lens)),
            ("board", self.board != before.board),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((field, _)) => bail!(
                "{}: expected poses to go on with, got some of another {field}",
                file.display()
            ),
        }
    }
}

/// Whether one lens is the other, but for the last bit of a number that went through JSON.
fn is_same(a: &Lens, b: &Lens) -> bool {
    let numbers = |of: &Lens| [&of.camera[..], &of.straight, &of.distortion].concat();
    let (ours, theirs) = (numbers(a), numbers(b));
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    (a.size, a.model, ours.len()) == (b.size, b.model, theirs.len())
        && ours.iter().zip(&theirs).all(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_calibration::LensModel;

    #[test]
    fn poses_of_pictures_that_were_straightened_since_are_not_gone_on_with() {
        let lens = Lens {
            size: (640, 480),
            camera: [520.1, 521.3, 318.7, 242.9],
            model: LensModel::PlumbBob,
            distortion: vec![-0.3, 0.1, 0.001, -0.002, 0.07],
            straight: [500.3, 500.7, 320.1, 240.9],
        };
        let raw = Poses {
            schema: SCHEMA,
            camera: "wrist".into(),
            mount: Mount::EyeInHand,
            link: "tool".into(),
            arm_sha256: "a".into(),
            lens_sha256: "l".into(),
            board: Board::default(),
            lens,
            lens_std_px: None,
            samples: Vec::new(),
        };
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("wrist.poses.json");
        raw.write(&file).expect("written");
        let before = read(&file, "wrist").expect("legal");
        raw.check_same(&file, &before).expect("the same");
        // The file of the lens is the same one; `undistort` was put into the cell file.
        let straight = Poses {
            lens: raw.lens.straightened(),
            ..raw
        };
        let refused = straight.check_same(&file, &before).expect_err("another");
        let said = refused.to_string();
        assert!(said.contains("another lens of its pictures"), "{said}");
    }
}
