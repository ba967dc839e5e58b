//! The file itself: its sections as they are written, and how they become a cell.
//!
//! Decides what has to stand beside what (one device, a bundle or a remote policy, keys or shared memory) and which arm of a file
//! of two is meant. What a section may hold is the section's own module's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tactus_control::ScheduleSpec;
use tactus_openpi::Endpoint;
use tactus_sim::BoardPlace;

use super::arm::{CellArm, RawArm, RawResume};
use super::budget::RawBudget;
use super::camera::{self, RawCamera};
use super::device::RawHardware;
use super::engine::{CellEngine, RawEngine};
use super::host::{self, RawHost};
use super::links::CellLinks;
use super::openpi::RawOpenpi;
use super::record::RawRecord;
use super::schedule::{RawRequest, RawSchedule};
use super::security::RawSecurity;
use super::teleop::RawTeleop;
use super::{Cell, CellDevice, CellError, CellPair, CellSim, Check, Vouched, pair};

/// Version of cell files that this program reads.
const SCHEMA: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCell {
    schema: u32,
    name: String,
    /// Where paths begin, instead of at the file.
    folder: Option<PathBuf>,
    bundle: Option<PathBuf>,
    bundle_id: Option<String>,
    #[serde(default)]
    bundle_signers: Vec<String>,
    policy: Option<String>,
    openpi: Option<RawOpenpi>,
    resume: RawResume,
    #[serde(default)]
    shared_memory: bool,
    arm: RawArm,
    request: RawRequest,
    schedule: RawSchedule,
    #[serde(default)]
    teleop: RawTeleop,
    engine: RawEngine,
    camera: Vec<RawCamera>,
    budget: RawBudget,
    sim: Option<RawSim>,
    device: Option<RawHardware>,
    record: Option<RawRecord>,
    security: Option<RawSecurity>,
    #[serde(default)]
    host: Vec<RawHost>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSim {
    seed: u64,
    variation: bool,
    brakes: Option<bool>,
    board: Option<RawBoardPlace>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawBoardPlace {
    Table,
    Hand,
}

/// Reads `file`, of a cell with one arm, and checks everything that can be checked without starting anything.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn load(file: &Path) -> Result<Cell, CellError> {
    let (path, _) = pair::named(file);
    parse(&text_of(path)?, path)
}

/// As [`load`], of the text of a file that need not be there any more.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn parse(text: &str, file: &Path) -> Result<Cell, CellError> {
    let mut cells = parse_arms(text, file)?;
    match (cells.pop(), cells.is_empty()) {
        (Some(cell), true) => Ok(cell),
        _ => {
            let expected =
                "a cell with one arm: this has not been made for two yet (runtime/host/PAIR.md)";
            Err(Check { file }.error("pair", expected, "two arms"))
        }
    }
}

/// As [`load`], where the file may be of two arms: then the cell of each, in the order of the file, or of the one that is meant:
/// `FILE#ARM`.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn load_arms(file: &Path) -> Result<Vec<Cell>, CellError> {
    let (path, arm) = pair::named(file);
    let mut cells = parse_arms(&text_of(path)?, path)?;
    if let Some(arm) = arm {
        let names: Vec<String> = cells.iter().map(|cell| cell.arm.to_string()).collect();
        cells.retain(|cell| cell.arm.as_str() == arm);
        if cells.is_empty() {
            let expected = format!("one of the file's arms ({}) after `#`", names.join(", "));
            return Err(Check { file: path }.error("pair.name", &expected, arm));
        }
    }
    Ok(cells)
}

/// As [`load`], of one arm: of a file of two the one that is meant, `FILE#ARM`.
///
/// # Errors
/// [`CellError`] with the field that is wrong, or with the arms that there are.
pub fn load_arm(file: &Path) -> Result<Cell, CellError> {
    let mut cells = load_arms(file)?;
    match (cells.pop(), cells.pop()) {
        (Some(cell), None) => Ok(cell),
        (last, first) => {
            let arms: Vec<String> = first
                .iter()
                .chain(&last)
                .map(|cell| format!("`{}`", cell.reference().display()))
                .collect();
            let expected = format!("one arm: {}", arms.join(" or "));
            Err(Check { file }.error("pair", &expected, "both"))
        }
    }
}

/// As [`load`], of a file of two arms the first's cell: for what does not differ between them.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn load_any(file: &Path) -> Result<Cell, CellError> {
    let none = || Check { file }.error("arm", "an arm", "none");
    load_arms(file)?.into_iter().next().ok_or_else(none)
}

fn text_of(file: &Path) -> Result<String, CellError> {
    std::fs::read_to_string(file).map_err(|reason| CellError::Unreadable {
        file: file.into(),
        reason,
    })
}

fn malformed(reason: &toml::de::Error, file: &Path) -> CellError {
    CellError::Malformed {
        file: file.into(),
        reason: reason.to_string().trim_end().to_owned(),
    }
}

/// The cell of each arm of the file with this text.
pub(super) fn parse_arms(text: &str, file: &Path) -> Result<Vec<Cell>, CellError> {
    let halves = pair::halves(text, &Check { file })?;
    let Some(halves) = halves else {
        let raw = toml::from_str(text).map_err(|e| malformed(&e, file))?;
        return Ok(vec![read(raw, None, file)?]);
    };
    let halves = halves.into_iter();
    halves
        .map(|(raw, pair)| read(raw, Some(pair), file))
        .collect()
}

/// What paths in `file` are relative to: the folder that it lies in, or the one that it says.
fn folder(file: &Path, said: Option<&Path>) -> PathBuf {
    let lies_in = file.parent().unwrap_or(Path::new("."));
    said.map_or_else(|| lies_in.into(), |said| lies_in.join(said))
}

/// The cell file with this text, which lies in `from`, as one that can lie anywhere.
///
/// # Errors
/// When it is no TOML, or nothing can be made absolute here.
pub fn movable(text: &str, from: &Path) -> std::io::Result<toml::Table> {
    let mut table: toml::Table = text.parse().map_err(std::io::Error::other)?;
    let said = table.get("folder").and_then(toml::Value::as_str);
    let folder = std::path::absolute(folder(from, said.map(Path::new)))?;
    table.insert("folder".into(), folder.display().to_string().into());
    Ok(table)
}

/// Checks what was read of `file`.
fn read(raw: RawCell, pair: Option<CellPair>, file: &Path) -> Result<Cell, CellError> {
    let check = Check { file };
    if raw.schema != SCHEMA {
        return Err(check.error("schema", &format!("{SCHEMA}"), raw.schema));
    }
    let CellEngine {
        name: engine,
        provider,
        intra_threads,
        denoise_steps,
        features_every,
        control,
        explain_hz,
        shared,
        frame_limit,
        max_skew,
    } = raw.engine.read(&check)?;
    let request = raw.request.read(&check)?;
    let directory = &folder(file, raw.folder.as_deref());
    let CellArm {
        name: arm,
        device,
        control_rate_hz,
        realtime,
        ladder,
        resume,
        limit,
        space,
        enable,
        poses,
        latency,
    } = raw.arm.read(
        directory,
        raw.resume,
        frame_limit,
        request.answer_within,
        &check,
    )?;
    let schedule = ScheduleSpec {
        lead: latency.as_ref().map_or(Duration::ZERO, |(_, latency, _)| {
            latency.command_to_motion()
        }),
        ..raw.schedule.read(&check)?
    };
    if raw.sim.is_some() && raw.device.is_some() {
        return Err(check.error(
            "device",
            "no [sim] beside it: an arm has one device",
            "both",
        ));
    }
    let (hardware, gripper, links) = match raw.device {
        None => (None, None, None),
        Some(device) => {
            let (device, gripper, links) = device.read(&check, directory)?;
            (Some(device), gripper, links)
        }
    };
    let space = match links {
        None => space,
        Some(_) => space.of_described_links(),
    };
    let cameras = camera::read(&raw.camera, &check, directory)?;
    let (bundle, openpi) = match (raw.bundle, raw.policy, raw.openpi) {
        (Some(bundle), None, None) => (directory.join(bundle), None),
        (None, Some(policy), Some(openpi)) => match Endpoint::parse(&policy) {
            Some(endpoint) => {
                let declared = openpi.read(endpoint, &cameras, &check)?;
                (policy.into(), Some(declared))
            }
            None => return Err(check.error("policy", "openpi://host:port", policy)),
        },
        (Some(_), Some(_), _) => {
            return Err(check.error("policy", "no `bundle` beside it", "both"));
        }
        (None, None, _) => {
            return Err(check.error("bundle", "a bundle directory, or `policy`", "neither"));
        }
        (Some(_), None, Some(_)) => {
            return Err(check.error("openpi", "`policy` beside it", "`bundle`"));
        }
        (None, Some(policy), None) if Endpoint::parse(&policy).is_none() => {
            return Err(check.error("policy", "openpi://host:port", policy));
        }
        (None, Some(_), None) => {
            return Err(check.error("openpi", "what the server's actions are", "no such section"));
        }
    };
    if raw.shared_memory && raw.security.is_some() {
        let expected =
            "false in a cell with keys ([security]): memory that is shared is not encrypted";
        return Err(check.error("shared_memory", expected, true));
    }
    let vouched = Vouched::read(raw.bundle_id, &raw.bundle_signers, openpi.is_some(), &check)?;
    Ok(Cell {
        file: file.into(),
        hosts: host::read(raw.host, &check)?,
        name: check.name("name", &raw.name)?,
        wire: tactus_wire::Cell::new(&raw.name)
            .map_err(|e| check.error("name", "a name for keys", e))?,
        bundle,
        vouched,
        openpi,
        arm,
        pair,
        device,
        engine,
        cameras,
        control_rate_hz,
        realtime,
        provider,
        intra_threads,
        denoise_steps,
        features_every,
        control,
        explain_hz,
        shared_engine: shared,
        budget: raw.budget.read(&check)?,
        sim: raw.sim.map(
            |RawSim {
                 seed,
                 variation,
                 brakes,
                 board,
             }| CellSim {
                seed,
                variation,
                brakes: brakes.unwrap_or(true),
                board: board.map(|place| match place {
                    RawBoardPlace::Table => BoardPlace::Table,
                    RawBoardPlace::Hand => BoardPlace::Hand,
                }),
            },
        ),
        hardware,
        gripper,
        links,
        schedule,
        latency,
        teleop: raw.teleop.read(&check)?,
        record: match raw.record {
            None => None,
            Some(record) => Some(record.read(&check, directory)?),
        },
        shared_memory: raw.shared_memory,
        security: match raw.security {
            None => None,
            Some(security) => Some(security.read(&check, directory)?),
        },
        request,
        ladder,
        resume,
        limit,
        space,
        enable,
        poses,
        frame_limit,
        max_skew,
    })
}

/// The `[device]` section of `file`, which need have no other: for an arm on the bench, and a leader, which has no cell around
/// it.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn device_of(file: &Path) -> Result<CellDevice, CellError> {
    Ok(described_device_of(file)?.0)
}

/// As [`device_of`], with where its links are described.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn described_device_of(file: &Path) -> Result<(CellDevice, Option<CellLinks>), CellError> {
    #[derive(Deserialize)]
    struct RawFile {
        folder: Option<PathBuf>,
        device: Option<RawHardware>,
    }
    let raw: RawFile = toml::from_str(&text_of(file)?).map_err(|e| malformed(&e, file))?;
    let check = Check { file };
    let Some(device) = raw.device else {
        return Err(check.error("device", "a section [device]", "none"));
    };
    let directory = folder(file, raw.folder.as_deref());
    let (device, _, links) = device.read(&check, &directory)?;
    Ok((device, links))
}
