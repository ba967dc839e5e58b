//! `tactus calibrate hand-eye`: where a camera is, from what it sees at poses of the arm.
//!
//! Decides where the poses come from, which lens the frames have, and what the file says. A result that was refused leaves the
//! old file as it was.

use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tactus_calibration::exchange::{Answer, ArmNoise, Ask, Sample};
use tactus_calibration::hand_eye::Belongs;
use tactus_calibration::{Board, CameraInfo, HandEye, HandEyeQuality, Lens, Mount, Pose, seal};
use tactus_types::Clock;

use super::args::HandEyeArgs;
use super::fitter::Fitter;
use super::gather::Stand;
use super::pictures::Frames;
use super::plan::Reach;
use super::write_sealed;
use crate::cell::{self, Cell, CellCamera};
use crate::cli::RoleArgs;
use crate::{arm_tools, camera, result, roles};

/// Version of files of poses.
const SCHEMA: u32 = 1;

/// What was seen at poses, as `--save-poses` writes it.
#[derive(Debug, Serialize, Deserialize)]
struct Poses {
    schema: u32,
    camera: String,
    mount: Mount,
    /// The link whose frame the result is in.
    link: String,
    arm_sha256: String,
    lens_sha256: String,
    board: Board,
    lens: Lens,
    samples: Vec<Sample>,
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
        (None, Some(file)) => live(args, file, &mut fitter)?,
        (None, None) => bail!("expected --cell and --connect, or --poses, got neither"),
    };
    if let Some(file) = &args.save_poses {
        let text = serde_json::to_string(&poses).context("writing the poses")?;
        seal::replace(file, text.as_bytes())?;
    }
    let ask = Ask::HandEye {
        board: poses.board,
        lens: poses.lens,
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
fn read(file: &Path, camera: &str) -> anyhow::Result<Poses> {
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

/// The lens that published frames of `camera` have, of the file that was calibrated.
///
/// # Errors
/// Frames that are cut or turned, or have another size.
fn lens_of(camera: &CellCamera, lens: Lens) -> anyhow::Result<Lens> {
    let Some(real) = &camera.real else {
        return Ok(lens);
    };
    if (real.width, real.height) != lens.size {
        let (w, h) = lens.size;
        bail!(
            "camera `{}`: expected the lens of {}x{} frames, got one of {w}x{h}",
            camera.name,
            real.width,
            real.height
        );
    }
    if real.published_size() != lens.size
        || real.crop.is_some()
        || real.rotate != tactus_camera::Rotation::None
    {
        bail!(
            "camera `{}`: expected frames as the camera takes them, got cut or turned ones: take crop and rotate out of the cell file while its place is measured",
            camera.name
        );
    }
    Ok(match real.undistort {
        None => lens,
        Some(_) => lens.straightened(),
    })
}

fn live(args: &HandEyeArgs, file: &Path, fitter: &mut Fitter) -> anyhow::Result<Poses> {
    let cell: Cell = cell::load(file)?;
    let camera = camera::one(&cell, &args.camera)?;
    let lens_file = args.intrinsics.as_deref().context("--intrinsics FILE")?;
    let lens = CameraInfo::read(lens_file)?;
    lens.check_camera(lens_file, &args.camera)?;
    let mount = if args.eye_to_hand {
        Mount::EyeToHand
    } else {
        Mount::EyeInHand
    };
    let role = RoleArgs {
        cell: file.into(),
        connect: args.connect.clone(),
        listen: Vec::new(),
        supervised: false,
    };
    let joined = roles::join(&role, "calibrate")?;
    let info = arm_tools::info(&cell, &joined)?;
    let geometry = info.geometry.clone();
    let geometry =
        geometry.context("the arm does not describe its links: expected a URDF in its info")?;
    let spec = cell.arm_spec(joined.clock.now().as_nanos(), &info)?;
    let reach = Reach::new(&info, spec.guard)?;
    let frames = Frames::hear(&cell, camera, &joined)?;
    let (seen, _subscriptions) = arm_tools::follow(&cell, &joined)?;
    let lens_of_frames = lens_of(camera, lens.lens)?;
    let mut stand = Stand {
        cell: &cell,
        joined: &joined,
        seen: &seen,
        frames: &frames,
        fitter,
        reach: &reach,
        board: args.board,
        lens: lens_of_frames.clone(),
        mount,
        noise: noise(args),
    };
    let samples = if args.hand_guided {
        stand.by_hand(args.count.into())?
    } else {
        stand.by_itself(args)?
    };
    Ok(Poses {
        schema: SCHEMA,
        camera: args.camera.clone(),
        mount,
        link: match mount {
            Mount::EyeInHand => geometry.tool_link,
            Mount::EyeToHand => geometry.base_link,
        },
        arm_sha256: seal::sha256(geometry.urdf.as_bytes()),
        lens_sha256: lens.sha256,
        board: args.board,
        lens: lens_of_frames,
        samples,
    })
}
