//! Cell files: which processes a cell has, how they find each other, and the times they promise.
//!
//! Decides what a legal cell is: every field is known, present and within its bounds (`check`, one module per section of
//! the file beside it), or the file is refused with the field, what was expected and what was there. Starts nothing.

mod arm;
mod budget;
mod calibration;
mod camera;
mod check;
mod device;
mod engine;
mod franka;
mod gripper;
mod host;
mod openpi;
mod pair;
mod pose;
mod record;
mod ros;
mod schedule;
mod security;
mod space;
mod teleop;
#[cfg(test)]
mod tests;
mod vouched;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tactus_bundle::Outline;
use tactus_calibration::{ArmLatency, Seal};
use tactus_control::{
    ArmSpec, AssemblySpec, ChunkShape, EnableSpec, LadderSpec, LimitSpec, RequestSpec, Resume,
    ScheduleSpec, TeleopSpec, Timing,
};
use tactus_host::RealtimeSpec;
use tactus_openpi::Endpoint;
use tactus_policies::Declared;
use tactus_policies::Provider;
use tactus_sim::BoardPlace;
use tactus_types::{ArmInfo, Budget, Stage, StageTimes};
use tactus_wire::{Members, Name};

pub use camera::CellCamera;
pub use check::CellError;
pub use device::{CellDevice, CellServos, CellUr, Make};
pub use franka::CellFranka;
pub use gripper::{CellGripper, GripperLine};
pub use host::{CellHost, Links, Place};
pub use pair::CellPair;
pub use pose::CellPoses;
pub use record::CellRecord;
pub use security::CellSecurity;
pub use vouched::Vouched;

use arm::{CellArm, RawArm, RawResume};
use budget::RawBudget;
use camera::RawCamera;
use check::Check;
use device::RawHardware;
use engine::{CellEngine, RawEngine};
use host::RawHost;
use openpi::RawOpenpi;
use record::RawRecord;
use schedule::{RawRequest, RawSchedule};
use security::RawSecurity;
use space::Space;
use teleop::RawTeleop;

use crate::cli::ControlWord;

/// Version of cell files that this program reads.
const SCHEMA: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCell {
    schema: u32,
    name: String,
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

/// The simulated device of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellSim {
    /// Seed of its first world.
    pub seed: u64,
    /// Every world looks different.
    pub variation: bool,
    /// The arm has brakes; without them it falls when its torque is off.
    pub brakes: bool,
    /// A calibration board is in the cell.
    pub board: Option<BoardPlace>,
}

/// A legal cell.
#[derive(Debug, Clone)]
pub struct Cell {
    /// File it came from.
    pub file: PathBuf,
    /// Its name.
    pub name: Name,
    /// Its keys: the name as their prefix.
    pub wire: tactus_wire::Cell,
    /// Bundle directory; of a remote policy, its address.
    pub bundle: PathBuf,
    /// What a bundle has to be to be let act.
    pub vouched: Vouched,
    /// The policy, where a remote server runs it.
    pub openpi: Option<Declared>,
    /// Name of the arm host.
    pub arm: Name,
    /// How it belongs to a pair, where one policy moves two arms.
    pub pair: Option<CellPair>,
    /// Name of the device that the arm host drives.
    pub device: Name,
    /// Name of the engine.
    pub engine: Name,
    /// Cameras.
    pub cameras: Vec<CellCamera>,
    /// Control rate, Hz.
    pub control_rate_hz: f64,
    /// How the control thread wants to run.
    pub realtime: RealtimeSpec,
    /// Provider that the engine tries first.
    pub provider: Provider,
    /// Threads inside ONNX Runtime.
    pub intra_threads: usize,
    /// Denoising steps, where other than the bundle says.
    pub denoise_steps: Option<usize>,
    /// How long features serve chunks after their own; zero: every chunk has its own.
    pub features_every: Duration,
    /// What acts: the bundle's head or its language model.
    pub control: ControlWord,
    /// Rate of explanations beside the policy, Hz; `None` for none.
    pub explain_hz: Option<f64>,
    /// The engine serves other cells too: nobody but an operator starts it.
    pub shared_engine: bool,
    /// Latency budget.
    pub budget: Budget,
    /// The device is the simulator, which `tactus run` then starts.
    pub sim: Option<CellSim>,
    /// The device is an arm on this machine, whose process `tactus run` then starts.
    pub hardware: Option<CellDevice>,
    /// The gripper beside that arm, where it is a device of its own.
    pub gripper: Option<CellGripper>,
    /// What becomes of a chunk that arrives while another is executed.
    pub schedule: ScheduleSpec,
    /// How late the arm is, as it was measured.
    pub latency: Option<(PathBuf, ArmLatency, Seal)>,
    /// The black box, where the file says something about it.
    pub record: Option<CellRecord>,
    /// The cell's keys, where it has any.
    pub security: Option<CellSecurity>,
    /// Whether its processes hand each other long messages in memory that they share.
    pub shared_memory: bool,
    /// Its hosts, where the file places its roles on several.
    pub hosts: Vec<CellHost>,
    request: RequestSpec,
    /// How enabling is verified.
    pub enable: EnableSpec,
    /// How a human commands.
    pub teleop: TeleopSpec,
    /// Named poses of the arm.
    pub poses: CellPoses,
    /// The ladder's times.
    pub ladder: LadderSpec,
    /// Who ends a hold.
    pub resume: Resume,
    limit: LimitSpec,
    space: Space,
    frame_limit: Duration,
    max_skew: Duration,
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

/// The cell of each arm of the file with this text.
fn parse_arms(text: &str, file: &Path) -> Result<Vec<Cell>, CellError> {
    let halves = pair::halves(text, &Check { file })?;
    let Some(halves) = halves else {
        let raw: RawCell = toml::from_str(text).map_err(|e| {
            let reason = e.to_string().trim_end().to_owned();
            CellError::Malformed {
                file: file.into(),
                reason,
            }
        })?;
        return Ok(vec![read(raw, None, file)?]);
    };
    let halves = halves.into_iter();
    halves
        .map(|(raw, pair)| read(raw, Some(pair), file))
        .collect()
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
    let directory = file.parent().unwrap_or(Path::new("."));
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
    let (hardware, gripper) = match raw.device {
        None => (None, None),
        Some(device) => {
            let (device, gripper) = device.read(&check, directory)?;
            (Some(device), gripper)
        }
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
    #[derive(Deserialize)]
    struct RawFile {
        device: Option<device::RawHardware>,
    }
    let text = std::fs::read_to_string(file).map_err(|reason| CellError::Unreadable {
        file: file.into(),
        reason,
    })?;
    let raw: RawFile = toml::from_str(&text).map_err(|e| CellError::Malformed {
        file: file.into(),
        reason: e.to_string().trim_end().to_owned(),
    })?;
    let check = Check { file };
    let Some(device) = raw.device else {
        return Err(check.error("device", "a section [device]", "none"));
    };
    let directory = file.parent().unwrap_or(Path::new("."));
    Ok(device.read(&check, directory)?.0)
}

/// Time between two of something that happens `rate_hz` times a second.
pub fn period(rate_hz: f64) -> Duration {
    Duration::from_nanos((1e9 / rate_hz).round() as u64)
}

impl Cell {
    /// What its arm is named by to another process: the file, and of a cell of two arms which one.
    pub fn reference(&self) -> PathBuf {
        match &self.pair {
            None => self.file.clone(),
            Some(_) => format!("{}#{}", self.file.display(), self.arm).into(),
        }
    }

    /// Who belongs to the cell, where it has keys.
    pub fn members(&self) -> Option<Members> {
        let security = self.security.as_ref()?;
        Some(Members {
            cell: self.wire.clone(),
            arm: self.arm.clone(),
            device: self.device.clone(),
            engine: self.engine.clone(),
            cameras: self.cameras.iter().map(|c| c.name.clone()).collect(),
            operators: security.operators.clone(),
        })
    }

    /// The host of that name.
    ///
    /// # Errors
    /// [`CellError`] when there is none.
    pub fn host(&self, name: &Name) -> Result<&CellHost, CellError> {
        let named = self.hosts.iter().find(|host| host.name == *name);
        named.ok_or_else(|| {
            let known: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
            let expected = format!("a [[host]] of the name that was given (--host): `{name}`");
            Check { file: &self.file }.error(
                "host",
                &expected,
                match known.is_empty() {
                    true => "none".into(),
                    false => known.join(", "),
                },
            )
        })
    }

    /// What a process that calls itself `source` listens on and dials in a cell with hosts; `here` is where it runs.
    ///
    /// # Errors
    /// [`CellError`] when it is a role, and is not placed on `here`.
    pub fn links(&self, here: Option<&Name>, source: &str) -> Result<Links, CellError> {
        let place = Place::of_source(source);
        let host = here.map(|here| self.host(here)).transpose()?;
        if let Some(place) = place.filter(|place| *place != Place::Launch)
            && !host.is_some_and(|host| host.roles.contains(&place))
        {
            let word = place.word();
            let expected = format!("--host with the host on which `{word}` is placed");
            let actual = here.map_or("none", Name::as_str);
            return Err(Check { file: &self.file }.error("host", &expected, actual));
        }
        let protocol = if self.security.is_some() {
            "tls"
        } else {
            "tcp"
        };
        Ok(host::links(&self.hosts, here, place, protocol))
    }

    /// The bundle of the cell, or the one that was named instead.
    ///
    /// # Errors
    /// [`CellError`] when the policy is a remote one, which has none.
    pub fn bundle_dir<'a>(&'a self, named: Option<&'a Path>) -> Result<&'a Path, CellError> {
        match (named, &self.openpi) {
            (Some(named), _) => Ok(named),
            (None, None) => Ok(&self.bundle),
            (None, Some(declared)) => Err(Check { file: &self.file }.error(
                "policy",
                "a bundle, which this needs (--bundle DIR)",
                &declared.endpoint,
            )),
        }
    }

    /// What the arm host of the arm of `info` is configured with; `boot` is drawn once per start of it.
    ///
    /// # Errors
    /// [`CellError`] when the arm does not describe its links well enough for the limits in space.
    pub fn arm_spec(&self, boot: u64, info: &ArmInfo) -> Result<ArmSpec, CellError> {
        if let Some((file, latency, _)) = &self.latency {
            let check = Check { file: &self.file };
            latency
                .check_model(file, &info.model)
                .map_err(|e| check.error("arm.latency", "a measured latency of this arm", e))?;
        }
        let guard = self.space.guard(info).map_err(|e| CellError::Space {
            file: self.file.clone(),
            model: info.model.clone(),
            reason: e,
        })?;
        Ok(ArmSpec {
            request: RequestSpec {
                overlap: self.schedule.strategy.overlaps(),
                ..self.request
            },
            schedule: self.schedule,
            ladder: self.ladder,
            resume: self.resume,
            limit: self.limit,
            guard,
            enable: self.enable,
            teleop: self.teleop,
            start: self.poses.start(),
            bundle: self.vouched.id.clone(),
            period_secs: 1.0 / self.control_rate_hz,
            boot,
        })
    }

    /// Everything of the cell that has to fit together with the chunks of the policy of `outline`, were the stages to take `stages`.
    pub fn timing(&self, outline: &Outline, stages: StageTimes) -> Timing {
        let rates = self.cameras.iter().map(|camera| camera.rate_hz);
        let action = &outline.action;
        Timing {
            stages,
            budget: self.budget,
            control_period: period(self.control_rate_hz),
            chunk: ChunkShape {
                horizon: action.horizon,
                period: action.period,
                first_action_offset: action.first_action_offset,
                max_prefix: action.max_prefix,
            },
            request: RequestSpec {
                overlap: self.schedule.strategy.overlaps(),
                ..self.request
            },
            schedule: self.schedule,
            frame_period: period(rates.fold(1000.0, f64::min)),
            frame_limit: self.frame_limit,
            proprio_limit: self.ladder.proprio_limit,
        }
    }

    /// Whether the cameras of the cell take the pictures that the policy of `outline` wants.
    ///
    /// # Errors
    /// [`CellError`] with the camera whose pictures have another size.
    pub fn check_sizes(&self, outline: &Outline) -> Result<(), CellError> {
        for wanted in &outline.cameras {
            let camera = self.cameras.iter().find(|c| c.name.as_str() == wanted.name);
            let Some(spec) = camera.and_then(|c| c.real.as_ref()) else {
                continue;
            };
            let (width, height) = spec.published_size();
            if (width as usize, height as usize) != (wanted.width, wanted.height) {
                let expected = format!(
                    "`{}` to take {}x{} after crop and rotate, as the bundle wants",
                    wanted.name, wanted.width, wanted.height
                );
                let actual = format!("{width}x{height}");
                return Err(Check { file: &self.file }.error("camera", &expected, actual));
            }
        }
        Ok(())
    }

    /// Refuses calibrations of cameras that were measured on another arm than that of `info`.
    ///
    /// # Errors
    /// With the camera's file.
    pub fn check_places(&self, info: &ArmInfo) -> Result<(), CellError> {
        for camera in &self.cameras {
            let checked = camera.calibration.check_arm(camera.name.as_str(), info);
            checked.map_err(|e| {
                let expected = format!("the place of `{}` on this arm", camera.name);
                Check { file: &self.file }.error("camera.hand_eye", &expected, e)
            })?;
        }
        Ok(())
    }

    /// What the engine's assembler is configured with, for the cameras of a bundle in its order.
    ///
    /// # Errors
    /// [`CellError`] when the bundle wants a camera that the cell does not have.
    pub fn assembly(&self, cameras: &[Arc<str>]) -> Result<AssemblySpec, CellError> {
        for camera in cameras {
            if !self.cameras.iter().any(|c| c.name.as_str() == &**camera) {
                let expected = format!("a [[camera]] named `{camera}`, which the bundle wants");
                let names: Vec<&str> = self.cameras.iter().map(|c| c.name.as_str()).collect();
                return Err(Check { file: &self.file }.error(
                    "camera",
                    &expected,
                    names.join(", "),
                ));
            }
        }
        Ok(AssemblySpec {
            cameras: cameras.to_vec(),
            frame_limit: self.frame_limit,
            // The arm host's own bound, and the way to the engine's host.
            proprio_limit: self.ladder.proprio_limit.max(Duration::from_millis(20))
                + self.budget.get(Stage::Transport),
            max_skew: self.max_skew,
        })
    }
}
