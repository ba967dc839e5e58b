//! `tactus arm probe`: what is plugged in here, and a cell file to begin with.
//!
//! Decides which finds make an arm that a cell file can be drafted for. Only asks servos and controllers who they are:
//! nothing moves, nothing is written but the draft.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tactus_drivers_api::line::serial_ports;
use tactus_feetech::probe::{Found, probe};
use tactus_ur::{Bench, Host, Model};

use crate::cli::ProbeArgs;
use crate::result;

/// The cell file that a draft begins as, and what is changed in it.
const SO101: &str = include_str!("../cells/so101.toml");
const PORT: &str = "port = \"/dev/ttyACM0\"";
const BAUD: &str = "rate_hz = 100 ";

/// The same for an arm of Universal Robots.
const UR5E: &str = include_str!("../cells/ur5e.toml");
const UR_LINES: [&str; 3] = [
    "model = \"ur5e\"",
    "host = \"192.168.0.100\"",
    "rate_hz = 500 ",
];

/// `tactus arm probe`.
pub fn arm(args: &ProbeArgs) -> anyhow::Result<()> {
    if let Some(host) = &args.host {
        return at_host(host, args.draft.as_deref());
    }
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
    for (node, name) in cameras() {
        result::line(format_args!("camera {node}: {name}"))?;
    }
    let Some(draft) = &args.draft else {
        return Ok(());
    };
    match &arms[..] {
        [(port, found)] => write(draft, port, found),
        [] => bail!("no draft: no port with six STS3215 servos of the ids 1 to 6"),
        several => bail!(
            "no draft: {} arms are plugged in; name one with --port",
            several.len()
        ),
    }
}

/// A controller on the network.
fn at_host(name: &str, draft: Option<&Path>) -> anyhow::Result<()> {
    let bench = Bench::open(&Host::resolve(name)?)?;
    let said = bench
        .identity
        .model
        .as_deref()
        .unwrap_or("of unknown model");
    let serial = bench.identity.serial.as_deref().unwrap_or("not told");
    result::line(format_args!(
        "host {name}: an arm of Universal Robots: {said}, serial number {serial}, software {}",
        bench.version
    ))?;
    let Some(draft) = draft else {
        return Ok(());
    };
    match bench.model() {
        Some(model) => save(draft, &drafted_ur(model, name)),
        None => bail!(
            "no draft: this arm, or the software of its controller, is not one that is known here"
        ),
    }
}

/// The shipped cell file with this model and host.
fn drafted_ur(model: Model, host: &str) -> String {
    let lines = [
        format!("model = {}", toml::Value::from(model.name())),
        format!("host = {}", toml::Value::from(host)),
        format!("rate_hz = {} ", model.rate_hz()),
    ];
    let pairs = UR_LINES.iter().zip(&lines);
    pairs.fold(UR5E.to_owned(), |text, (from, to)| {
        text.replacen(from, to, 1)
    })
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

fn write(draft: &Path, port: &Path, found: &[Found]) -> anyhow::Result<()> {
    save(draft, &drafted(port, found)?)
}

fn save(draft: &Path, text: &str) -> anyhow::Result<()> {
    if draft.exists() {
        bail!("cell file {}: there is one already", draft.display());
    }
    fs::write(draft, text).with_context(|| format!("cell file {}", draft.display()))?;
    result::line(format_args!(
        "draft: {}; change what is marked with <-, then `tactus device check --cell {}`",
        draft.display(),
        draft.display()
    ))
}

/// The shipped cell file with this port and rate.
fn drafted(port: &Path, found: &[Found]) -> anyhow::Result<String> {
    let port = port.to_str().context("the port's name is not text")?;
    let mut text = SO101.replacen(PORT, &format!("port = {}", toml::Value::from(port)), 1);
    if let Some(first) = found.first().filter(|f| f.baud != 1_000_000) {
        text = text.replacen(BAUD, &format!("baud = {}\n{BAUD}", first.baud), 1);
    }
    Ok(text)
}

/// Video devices by the kernel's word: node and name.
fn cameras() -> Vec<(String, String)> {
    let entries = fs::read_dir("/sys/class/video4linux").into_iter().flatten();
    let mut cameras: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("name")).ok()?;
            let node = PathBuf::from("/dev").join(entry.file_name());
            Some((node.display().to_string(), name.trim().to_owned()))
        })
        .collect();
    cameras.sort();
    cameras
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
        fs::write(&file, drafted(port, &found).expect("text")).expect("written");
        let cell = crate::cell::load(&file).expect("legal");
        let Some(crate::cell::CellDevice::Feetech(arm)) = cell.hardware else {
            panic!("no device");
        };
        assert_eq!((arm.port.as_path(), arm.baud), (port, 500_000));
    }

    #[test]
    fn a_controller_s_draft_is_the_shipped_cell_with_its_model_and_host() {
        for (model, rate_hz) in [(Model::Ur10e, 500), (Model::Ur3, 125)] {
            let dir = tempfile::tempdir().expect("a folder");
            let file = dir.path().join("cell.toml");
            fs::write(&file, drafted_ur(model, "robot-7.lab")).expect("written");
            let cell = crate::cell::load(&file).expect("legal");
            let Some(crate::cell::CellDevice::Ur(arm)) = cell.hardware else {
                panic!("no device");
            };
            assert_eq!((arm.host.as_str(), arm.spec.model), ("robot-7.lab", model));
            assert_eq!(arm.spec.servo.rate_hz, rate_hz);
        }
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
