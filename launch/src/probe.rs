//! `tactus arm probe`: what is plugged in here, and a cell file to begin with.
//!
//! Decides which finds make an arm that a cell file can be drafted for. Only asks the servos who they are: nothing moves,
//! nothing is written but the draft.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use tactus_camera::probe::Found as FoundCamera;
use tactus_drivers_api::line::serial_ports;
use tactus_feetech::probe::{Found, probe};

use crate::cli::ProbeArgs;
use crate::{camera, result};

/// The cell file that a draft begins as, and what is changed in it.
const SO101: &str = include_str!("../cells/so101.toml");
const PORT: &str = "port = \"/dev/ttyACM0\"";
const BAUD: &str = "rate_hz = 100 ";
const CAMERAS: [&str; 2] = [
    "device = \"/dev/v4l/by-id/FRONT\"",
    "device = \"/dev/v4l/by-id/WRIST\"",
];

/// `tactus arm probe`.
pub fn arm(args: &ProbeArgs) -> anyhow::Result<()> {
    let ports = match args.port.is_empty() {
        true => serial_ports(),
        false => args.port.clone(),
    };
    if ports.is_empty() {
        result::line("no serial port here (/dev/ttyACM*, /dev/ttyUSB*): is the arm plugged in?")?;
    }
    let mut arms = Vec::new();
    for port in ports {
        match probe(&port) {
            Ok(found) => {
                result::line(describe(&port, &found))?;
                if is_so_arm(&found) {
                    arms.push((port, found));
                }
            }
            Err(e) => result::line(e)?,
        }
    }
    let cameras = camera::found()?;
    let Some(draft) = &args.draft else {
        return Ok(());
    };
    match &arms[..] {
        [(port, found)] => write(draft, port, found, &cameras),
        [] => bail!("no draft: no port with six STS3215 servos of the ids 1 to 6"),
        several => bail!(
            "no draft: {} arms are plugged in; name one with --port",
            several.len()
        ),
    }
}

fn describe(port: &Path, found: &[Found]) -> String {
    let port = port.display();
    let Some(first) = found.first() else {
        return format!("port {port}: no Feetech servo answers");
    };
    let servos: Vec<String> = found
        .iter()
        .map(|f| match f.model {
            Some(_) if f.is_sts3215() => format!("{} STS3215", f.id),
            Some(model) => format!("{} model {model}", f.id),
            None => format!("{} of unknown model", f.id),
        })
        .collect();
    let arm = match is_so_arm(found) {
        true => ": an SO-100 or SO-101, follower or leader",
        false => "",
    };
    format!(
        "port {port}: at {} baud servos {}{arm}",
        first.baud,
        servos.join(", ")
    )
}

/// Six servos of the right model with LeRobot's ids.
fn is_so_arm(found: &[Found]) -> bool {
    found.iter().map(|f| f.id).eq(1..=6) && found.iter().all(Found::is_sts3215)
}

fn write(
    draft: &Path,
    port: &Path,
    found: &[Found],
    cameras: &[FoundCamera],
) -> anyhow::Result<()> {
    if draft.exists() {
        bail!("cell file {}: there is one already", draft.display());
    }
    fs::write(draft, drafted(port, found, cameras)?)
        .with_context(|| format!("cell file {}", draft.display()))?;
    result::line(format_args!(
        "draft: {}; change what is marked with <-, then `tactus device check --cell {}`",
        draft.display(),
        draft.display()
    ))
}

/// The shipped cell file with this port and rate, and these cameras in the order of their nodes, as many as it has.
fn drafted(port: &Path, found: &[Found], cameras: &[FoundCamera]) -> anyhow::Result<String> {
    let port = port.to_str().context("the port's name is not text")?;
    let mut text = SO101.replacen(PORT, &format!("port = {}", toml::Value::from(port)), 1);
    if let Some(first) = found.first().filter(|f| f.baud != 1_000_000) {
        text = text.replacen(BAUD, &format!("baud = {}\n{BAUD}", first.baud), 1);
    }
    for (placeholder, camera) in CAMERAS.iter().zip(cameras) {
        let device = camera.lasting.first().unwrap_or(&camera.node);
        let device = device.to_str().context("the camera's name is not text")?;
        text = text.replacen(
            placeholder,
            &format!("device = {}", toml::Value::from(device)),
            1,
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servo(id: u8, baud: u32, model: i32) -> Found {
        let model = Some(model);
        Found { baud, id, model }
    }

    #[test]
    fn a_draft_is_the_shipped_cell_with_what_was_found() {
        let found: Vec<Found> = (1..=6).map(|id| servo(id, 500_000, 777)).collect();
        assert!(is_so_arm(&found) && !is_so_arm(&found[1..]));
        let port = Path::new("/dev/serial/by-id/usb-1a86");
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("cell.toml");
        let camera = |node: &str, lasting: &[&str]| FoundCamera {
            node: node.into(),
            lasting: lasting.iter().map(Into::into).collect(),
            card: "Webcam".into(),
            formats: vec![],
        };
        let cameras = [
            camera(
                "/dev/video0",
                &["/dev/v4l/by-id/usb-a", "/dev/v4l/by-path/b"],
            ),
            camera("/dev/video2", &[]),
            camera("/dev/video4", &[]),
        ];
        fs::write(&file, drafted(port, &found, &cameras).expect("text")).expect("written");
        let cell = crate::cell::load(&file).expect("legal");
        let devices: Vec<_> = cell
            .cameras
            .iter()
            .map(|camera| match &camera.real.as_ref().expect("real").source {
                tactus_camera::SourceSpec::V4l2(device) => device.device.to_str(),
                _ => None,
            })
            .collect();
        assert_eq!(devices, [Some("/dev/v4l/by-id/usb-a"), Some("/dev/video2")]);
        let Some(crate::cell::CellDevice::Feetech(arm)) = cell.hardware else {
            panic!("no device");
        };
        assert_eq!((arm.port.as_path(), arm.baud), (port, 500_000));
    }

    #[test]
    fn finds_are_one_line() {
        let port = Path::new("/dev/ttyACM0");
        let mut found: Vec<Found> = (1..=6).map(|id| servo(id, 1_000_000, 777)).collect();
        assert!(
            describe(port, &found).ends_with("6 STS3215: an SO-100 or SO-101, follower or leader")
        );
        found[5] = servo(6, 1_000_000, 2825);
        assert!(describe(port, &found).ends_with("5 STS3215, 6 model 2825"));
        assert_eq!(
            describe(port, &[]),
            "port /dev/ttyACM0: no Feetech servo answers"
        );
    }
}
