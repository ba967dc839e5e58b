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
mod file;
mod fit;
mod franka;
mod gripper;
mod host;
mod links;
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
use std::time::Duration;

use tactus_calibration::{ArmLatency, Seal};
use tactus_control::{
    EnableSpec, LadderSpec, LimitSpec, RequestSpec, Resume, ScheduleSpec, TeleopSpec,
};
use tactus_host::RealtimeSpec;
use tactus_policies::{Declared, Provider};
use tactus_sim::BoardPlace;
use tactus_types::Budget;
use tactus_wire::{Members, Name};

pub use camera::CellCamera;
pub use check::CellError;
pub use device::{CellDevice, CellServos, CellUr, Make};
pub use file::{
    described_device_of, device_of, load, load_any, load_arm, load_arms, movable, parse,
};
pub use franka::CellFranka;
pub use gripper::{CellGripper, GripperLine};
pub use host::{CellHost, Links, Place};
pub use links::CellLinks;
pub use pair::CellPair;
pub use pose::CellPoses;
pub use record::CellRecord;
pub use security::CellSecurity;
pub use vouched::Vouched;

use check::Check;
use space::Space;

use crate::cli::ControlWord;

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
    /// What describes that arm's links, where the file says it.
    pub links: Option<CellLinks>,
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
}
