//! `tactus arm probe`: what is plugged in here, and a cell file to begin with.
//!
//! Decides which finds make an arm that a cell file can be drafted for. Only asks servos and controllers who they are:
//! nothing moves, nothing is written but the draft.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use tactus_camera::probe::Found as FoundCamera;
use tactus_drivers_api::PortError;
use tactus_drivers_api::line::serial_ports;
use tactus_drivers_api::servo::{Family, Found, Part, probe};
use tactus_dynamixel::registers::MODELS;
use tactus_feetech::registers::STS3215;
use tactus_ur::{Bench, Host, Model};

use crate::cli::ProbeArgs;
use crate::{camera, result};

/// Whose servos are asked for. Neither kind understands the other's packets.
static FAMILIES: [&Family; 2] = [&tactus_feetech::FAMILY, &tactus_dynamixel::FAMILY];

/// An arm that a cell file can be drafted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    So,
    Koch(Part),
    ViperX,
}

impl Arm {
    /// Which arm is made of just these servos, numbered from 1 on.
    fn of(found: &[Found]) -> Option<Self> {
        use tactus_dynamixel::Model;
        let is = |models: &[u16]| {
            found.len() == models.len()
                && found.iter().zip(1..).all(|(f, id)| f.id == id)
                && (found.iter().zip(models)).all(|(f, m)| f.model == Some((*m).into()))
        };
        [
            (Self::So, vec![STS3215.number; tactus_feetech::MOTORS.len()]),
            (
                Self::Koch(Part::Follower),
                Model::Koch.numbers(Part::Follower),
            ),
            (Self::Koch(Part::Leader), Model::Koch.numbers(Part::Leader)),
            (Self::ViperX, Model::ViperX.numbers(Part::Follower)),
        ]
        .into_iter()
        .find(|(_, models)| is(models))
        .map(|(arm, _)| arm)
    }

    fn words(self) -> &'static str {
        match self {
            Self::So => "an SO-100 or SO-101, follower or leader",
            Self::Koch(Part::Follower) => "a Koch v1.1, follower",
            Self::Koch(Part::Leader) => "a Koch v1.1, leader",
            Self::ViperX => "a ViperX 300 6DOF",
        }
    }

    fn family(self) -> &'static Family {
        match self {
            Self::So => &tactus_feetech::FAMILY,
            Self::Koch(_) | Self::ViperX => &tactus_dynamixel::FAMILY,
        }
    }

    /// The shipped cell file that a draft begins as.
    fn cell(self) -> &'static str {
        match self {
            Self::So => include_str!("../cells/so101.toml"),
            Self::Koch(_) => include_str!("../cells/koch.toml"),
            Self::ViperX => include_str!("../cells/viperx.toml"),
        }
    }
}

/// What is changed in a shipped cell file.
const PORTS: [&str; 2] = ["port = \"/dev/ttyACM0\"", "port = \"/dev/ttyUSB0\""];
const RATE: &str = "rate_hz = 100 ";
/// How old a joint state may be: so many periods.
const OLD: &str = "proprio_limit_ms = 60 ";
const PERIODS: f64 = 6.0;
const PART: &str = "part = \"follower\"";
const CAMERAS: [&str; 2] = [
    "device = \"/dev/v4l/by-id/FRONT\"",
    "device = \"/dev/v4l/by-id/WRIST\"",
];

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
        match servos(&port) {
            Ok(found) => {
                result::line(describe(&port, &found))?;
                if let Some(arm) = Arm::of(&found) {
                    arms.push((arm, port, found));
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
        [(arm, port, found)] => write(draft, *arm, port, (found, &cameras)),
        [] => bail!(
            "no draft: no port with the servos of a known arm (SO-100, SO-101, Koch v1.1, ViperX 300), numbered from 1 on"
        ),
        several => bail!(
            "no draft: {} arms are plugged in; name one with --port",
            several.len()
        ),
    }
}

/// Servos on `port`, of the first make of which any answers.
fn servos(port: &Path) -> Result<Vec<Found>, PortError> {
    for family in FAMILIES {
        let found = probe(family, port)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
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
        return format!("port {port}: no Feetech and no Dynamixel servo answers");
    };
    let name = |number: i32| {
        let mut known = MODELS.iter().copied().chain([&STS3215]);
        known.find(|m| i32::from(m.number) == number)
    };
    let servos: Vec<String> = found
        .iter()
        .map(|f| match f.model {
            Some(number) => match name(number) {
                Some(model) => format!("{} {}", f.id, model.name),
                None => format!("{} model {number}", f.id),
            },
            None => format!("{} of unknown model", f.id),
        })
        .collect();
    let arm = Arm::of(found).map_or(String::new(), |arm| format!(": {}", arm.words()));
    format!(
        "port {port}: at {} baud servos {}{arm}",
        first.baud,
        servos.join(", ")
    )
}

fn write(
    draft: &Path,
    arm: Arm,
    port: &Path,
    found: (&[Found], &[FoundCamera]),
) -> anyhow::Result<()> {
    save(draft, &drafted(arm, port, found)?)
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

/// The shipped cell file with this port, rate and part.
fn drafted(
    arm: Arm,
    port: &Path,
    (found, cameras): (&[Found], &[FoundCamera]),
) -> anyhow::Result<String> {
    let port = port.to_str().context("the port's name is not text")?;
    let mut text = arm.cell().to_owned();
    for shipped in PORTS {
        text = text.replacen(shipped, &format!("port = {}", toml::Value::from(port)), 1);
    }
    if let Some(first) = found.first().filter(|f| f.baud != 1_000_000) {
        let highest = arm.family().highest_rate_hz(found.len(), first.baud);
        let rate_hz = highest.min(100.0).floor();
        let said = format!("baud = {}\nrate_hz = {rate_hz} ", first.baud);
        text = text.replacen(RATE, &said, 1);
        let old = format!("proprio_limit_ms = {:.0} ", PERIODS * 1000.0 / rate_hz);
        text = text.replacen(OLD, &old, 1);
    }
    if arm == Arm::Koch(Part::Leader) {
        text = text.replacen(PART, "part = \"leader\"", 1);
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

    fn found(models: &[i32], baud: u32) -> Vec<Found> {
        let each = models.iter().zip(1..);
        each.map(|(model, id)| Found {
            baud,
            id,
            model: Some(*model),
        })
        .collect()
    }

    const KOCH: [i32; 6] = [1060, 1060, 1200, 1200, 1200, 1200];
    const VIPERX: [i32; 9] = [1120, 1120, 1120, 1120, 1120, 1120, 1120, 1020, 1020];

    #[test]
    fn a_draft_is_the_shipped_cell_with_what_was_found() {
        let port = Path::new("/dev/serial/by-id/usb-1a86");
        let dir = tempfile::tempdir().expect("a folder");
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
        for (models, baud, part) in [
            (&[777; 6][..], 500_000, Part::Follower),
            (&KOCH[..], 57_600, Part::Follower),
            (&[1190; 6][..], 1_000_000, Part::Leader),
            (&VIPERX[..], 1_000_000, Part::Follower),
        ] {
            let found = found(models, baud);
            assert_eq!(Arm::of(&found[1..]), None);
            let arm = Arm::of(&found).expect("known");
            let file = dir.path().join("cell.toml");
            let text = drafted(arm, port, (&found, &cameras)).expect("text");
            fs::write(&file, text).expect("written");
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
            let Some(crate::cell::CellDevice::Servos(cell)) = cell.hardware else {
                panic!("no device");
            };
            assert_eq!(
                (cell.port.as_path(), cell.baud, cell.part),
                (port, baud, part),
                "{arm:?}"
            );
        }
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
        let mut so = found(&[777; 6], 1_000_000);
        let said = describe(port, &so);
        assert!(
            said.ends_with("6 STS3215: an SO-100 or SO-101, follower or leader"),
            "{said}"
        );
        so[5].model = Some(2825);
        assert!(describe(port, &so).ends_with("5 STS3215, 6 model 2825"));
        let said = describe(port, &found(&KOCH, 1_000_000));
        assert!(
            said.contains("1 XL430-W250, 2 XL430-W250, 3 XL330-M288"),
            "{said}"
        );
        assert!(said.ends_with(": a Koch v1.1, follower"), "{said}");
        let said = describe(port, &found(&[1190; 6], 1_000_000));
        assert!(said.ends_with(": a Koch v1.1, leader"), "{said}");
        let said = describe(port, &found(&VIPERX, 1_000_000));
        assert!(said.ends_with(": a ViperX 300 6DOF"), "{said}");
        assert_eq!(
            describe(port, &[]),
            "port /dev/ttyACM0: no Feetech and no Dynamixel servo answers"
        );
    }
}
