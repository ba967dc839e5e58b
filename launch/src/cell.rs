//! Cell files: which processes a cell has, how they find each other, and the times they promise.
//!
//! Decides what a legal cell is: every field is known, present and within its bounds ([`BOUNDS`]), or the file is
//! refused with the field, what was expected and what was there. Starts nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tactus_control::{
    ArmSpec, AssemblySpec, Bounds, Guard, GuardSpec, LimitSpec, RequestSpec, Resume, ScheduleSpec,
    Strategy, Trigger,
};
use tactus_kinematics::KinematicsError;
use tactus_types::{ArmInfo, Budget, Jacobian, Stage, StageTimes};
use tactus_wire::Name;

/// Version of cell files that this program reads.
const SCHEMA: u32 = 1;

/// Legal range of every number in a cell file, with its unit.
const BOUNDS: &[(&str, f64, f64, &str)] = &[
    ("arm.control_rate_hz", 50.0, 1000.0, "Hz"),
    ("arm.realtime_priority", 1.0, 98.0, ""),
    ("arm.limit_scale", 0.01, 1.0, ""),
    ("arm.max_lead_rad", 0.01, 1.5, "rad"),
    ("arm.max_step_rad", 0.0001, 0.5, "rad"),
    ("arm.tail_ms", 0.0, 1000.0, "ms"),
    ("arm.proprio_limit_ms", 2.0, 500.0, "ms"),
    ("arm.settle_ms", 0.0, 60_000.0, "ms"),
    ("arm.workspace", -10.0, 10.0, "m"),
    ("arm.clearance_m", 0.0, 0.1, "m"),
    ("request.trigger.every_ms", 1.0, 5000.0, "ms"),
    ("request.trigger.below_ms", 1.0, 60_000.0, "ms"),
    ("request.answer_within_ms", 5.0, 10_000.0, "ms"),
    ("request.retry_ms", 1.0, 10_000.0, "ms"),
    ("schedule.ease_ms", 0.0, 2000.0, "ms"),
    ("schedule.strategy.blend_ms", 1.0, 5000.0, "ms"),
    ("schedule.strategy.decay", 0.0, 10.0, ""),
    ("schedule.strategy.beta", 0.1, 100.0, ""),
    ("engine.intra_threads", 1.0, 64.0, "threads"),
    ("engine.frame_limit_ms", 1.0, 5000.0, "ms"),
    ("engine.max_skew_ms", 0.0, 1000.0, "ms"),
    ("camera.rate_hz", 1.0, 200.0, "Hz"),
    ("record.seconds", 1.0, 120.0, "s"),
    ("budget", 0.0, 10_000.0, "ms"),
];

/// Why a cell file was refused.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// It cannot be read.
    #[error("cell file {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// It is not a cell file: bad TOML, an unknown field, a missing one, a wrong type.
    #[error("cell file {}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line, field and expectation, in the parser's words.
        reason: String,
    },
    /// A field has a value that cannot be used.
    #[error("cell file {}: field `{field}`: expected {expected}, got {actual}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The arm does not describe its links well enough for limits in space.
    #[error(
        "cell file {}: `arm.workspace` and `arm.self_collision` cannot be kept for arm `{model}`: {reason}; \
         name links in `arm.leave_out`, or set `arm.self_collision = false`",
        file.display()
    )]
    Space {
        /// The file.
        file: PathBuf,
        /// Model of the arm.
        model: String,
        /// What is wrong with its description.
        reason: KinematicsError,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCell {
    schema: u32,
    name: String,
    bundle: PathBuf,
    resume: RawResume,
    arm: RawArm,
    request: RawRequest,
    schedule: RawSchedule,
    engine: RawEngine,
    camera: Vec<RawCamera>,
    budget: RawBudget,
    sim: Option<RawSim>,
    record: Option<RawRecord>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    black_box: bool,
    seconds: f64,
    folder: Option<PathBuf>,
}

/// The black box of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRecord {
    /// `tactus run` keeps one.
    pub black_box: bool,
    /// How far it reaches back.
    pub window: Duration,
    /// Where its files go; by default a folder of the system's for such things.
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSim {
    seed: u64,
    variation: bool,
}

/// The simulated device of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellSim {
    /// Seed of its first world.
    pub seed: u64,
    /// Every world looks different.
    pub variation: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawResume {
    Auto,
    Operator,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArm {
    name: String,
    device: String,
    control_rate_hz: f64,
    realtime_priority: i32,
    limit_scale: f64,
    max_lead_rad: f64,
    max_step_rad: f64,
    tail_ms: f64,
    proprio_limit_ms: f64,
    settle_ms: f64,
    workspace: Option<RawWorkspace>,
    self_collision: Option<bool>,
    clearance_m: Option<f64>,
    leave_out: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorkspace {
    min: [f64; 3],
    max: [f64; 3],
}

/// Limits in space as the file has them; what it leaves open the arm's info decides.
#[derive(Debug, Clone)]
struct Space {
    workspace: Option<[[f64; 3]; 2]>,
    self_collision: Option<bool>,
    clearance_m: f64,
    leave_out: Vec<String>,
}

/// How near two links may come to each other where the cell file does not say, m.
const CLEARANCE_M: f64 = 0.005;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    trigger: RawTrigger,
    answer_within_ms: f64,
    retry_ms: f64,
}

// Variants without fields are written with braces: serde ignores unknown fields beside a bare one.
#[derive(Debug, Deserialize)]
#[serde(tag = "when", rename_all = "lowercase", deny_unknown_fields)]
enum RawTrigger {
    Continuous {},
    Rate { every_ms: f64 },
    Queue { below_ms: f64 },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    strategy: RawStrategy,
    ease_ms: f64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
enum RawStrategy {
    Align {},
    Blend { blend_ms: f64 },
    Ensemble { decay: f64 },
    RtcPrefix {},
    RtcGuided { beta: f64, jacobian: RawJacobian },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawJacobian {
    Exact,
    Identity,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEngine {
    name: String,
    provider: RawProvider,
    intra_threads: u32,
    frame_limit_ms: f64,
    max_skew_ms: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawProvider {
    Cpu,
    Cuda,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCamera {
    name: String,
    source: RawSource,
    rate_hz: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawSource {
    Sim,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    capture: f64,
    transport: f64,
    queue: f64,
    assemble: f64,
    decode: f64,
    preprocess: f64,
    vision: f64,
    backbone: f64,
    context: f64,
    denoise: f64,
    deliver: f64,
    limit: f64,
    actuate: f64,
    margin: f64,
}

/// A camera of the cell, rendered by the simulator.
#[derive(Debug, Clone, PartialEq)]
pub struct CellCamera {
    /// Its name.
    pub name: Name,
    /// Frames per second.
    pub rate_hz: f64,
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
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Name of the arm host.
    pub arm: Name,
    /// Name of the device that the arm host drives.
    pub device: Name,
    /// Name of the engine.
    pub engine: Name,
    /// Cameras.
    pub cameras: Vec<CellCamera>,
    /// Control rate, Hz.
    pub control_rate_hz: f64,
    /// `SCHED_FIFO` priority that the control thread asks for.
    pub realtime_priority: i32,
    /// Whether the engine prefers CUDA.
    pub cuda: bool,
    /// Threads inside ONNX Runtime.
    pub intra_threads: usize,
    /// Latency budget.
    pub budget: Budget,
    /// The device is the simulator, which `tactus run` then starts.
    pub sim: Option<CellSim>,
    /// What becomes of a chunk that arrives while another is executed.
    pub schedule: ScheduleSpec,
    /// The black box, where the file says something about it.
    pub record: Option<CellRecord>,
    request: RequestSpec,
    bounds: Bounds,
    limit: LimitSpec,
    space: Space,
    frame_limit: Duration,
    max_skew: Duration,
}

/// Reads `file` and checks everything that can be checked without starting anything.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub fn load(file: &Path) -> Result<Cell, CellError> {
    let text = std::fs::read_to_string(file).map_err(|reason| CellError::Unreadable {
        file: file.into(),
        reason,
    })?;
    parse(&text, file)
}

fn parse(text: &str, file: &Path) -> Result<Cell, CellError> {
    let raw: RawCell = toml::from_str(text).map_err(|e| {
        let reason = e.to_string().trim_end().to_owned();
        CellError::Malformed {
            file: file.into(),
            reason,
        }
    })?;
    let check = Check { file };
    if raw.schema != SCHEMA {
        return Err(check.error("schema", &format!("{SCHEMA}"), raw.schema));
    }
    let RawArm {
        control_rate_hz,
        realtime_priority,
        limit_scale,
        max_lead_rad,
        max_step_rad,
        ..
    } = raw.arm;
    check.bounded("arm.control_rate_hz", control_rate_hz)?;
    check.bounded("arm.realtime_priority", f64::from(realtime_priority))?;
    check.bounded("arm.limit_scale", limit_scale)?;
    check.bounded("arm.max_lead_rad", max_lead_rad)?;
    check.bounded("arm.max_step_rad", max_step_rad)?;
    check.bounded("engine.intra_threads", f64::from(raw.engine.intra_threads))?;
    if raw.camera.is_empty() {
        return Err(check.error("camera", "at least one [[camera]]", "none"));
    }
    let mut cameras: Vec<CellCamera> = Vec::new();
    for RawCamera {
        name,
        source: RawSource::Sim,
        rate_hz,
    } in &raw.camera
    {
        let name = check.name("camera.name", name)?;
        if cameras.iter().any(|c| c.name == name) {
            return Err(check.error("camera.name", "each name once", name));
        }
        cameras.push(CellCamera {
            name,
            rate_hz: check.bounded("camera.rate_hz", *rate_hz)?,
        });
    }
    let directory = file.parent().unwrap_or(Path::new("."));
    let record = match raw.record {
        None => None,
        Some(RawRecord {
            black_box,
            seconds,
            folder,
        }) => Some(CellRecord {
            black_box,
            window: check.secs("record.seconds", seconds)?,
            folder: folder.map(|folder| directory.join(folder)),
        }),
    };
    Ok(Cell {
        file: file.into(),
        name: check.name("name", &raw.name)?,
        wire: tactus_wire::Cell::new(&raw.name)
            .map_err(|e| check.error("name", "a name for keys", e))?,
        bundle: directory.join(&raw.bundle),
        arm: check.name("arm.name", &raw.arm.name)?,
        device: check.name("arm.device", &raw.arm.device)?,
        engine: check.name("engine.name", &raw.engine.name)?,
        cameras,
        control_rate_hz,
        realtime_priority,
        cuda: matches!(raw.engine.provider, RawProvider::Cuda),
        intra_threads: raw.engine.intra_threads as usize,
        budget: check.budget(&raw.budget)?,
        sim: raw
            .sim
            .map(|RawSim { seed, variation }| CellSim { seed, variation }),
        schedule: ScheduleSpec {
            strategy: check.strategy(&raw.schedule.strategy)?,
            ease: check.millis("schedule.ease_ms", raw.schedule.ease_ms)?,
        },
        record,
        request: RequestSpec {
            trigger: check.trigger(&raw.request.trigger)?,
            answer_within: check
                .millis("request.answer_within_ms", raw.request.answer_within_ms)?,
            retry_after: check.millis("request.retry_ms", raw.request.retry_ms)?,
            // Decided by the strategy, in `arm_spec`.
            overlap: false,
        },
        bounds: Bounds {
            tail: check.millis("arm.tail_ms", raw.arm.tail_ms)?,
            proprio_limit: check.millis("arm.proprio_limit_ms", raw.arm.proprio_limit_ms)?,
            settle: check.millis("arm.settle_ms", raw.arm.settle_ms)?,
            resume: match raw.resume {
                RawResume::Auto => Resume::Auto,
                RawResume::Operator => Resume::Operator,
            },
        },
        limit: LimitSpec {
            max_lead: max_lead_rad,
            max_step: max_step_rad,
            scale: limit_scale,
        },
        space: check.space(&raw.arm)?,
        frame_limit: check.millis("engine.frame_limit_ms", raw.engine.frame_limit_ms)?,
        max_skew: check.millis("engine.max_skew_ms", raw.engine.max_skew_ms)?,
    })
}

impl Cell {
    /// What the arm host of the arm of `info` is configured with; `boot` is drawn once per start of it.
    ///
    /// # Errors
    /// [`CellError`] when the arm does not describe its links well enough for the limits in space.
    pub fn arm_spec(&self, boot: u64, info: &ArmInfo) -> Result<ArmSpec, CellError> {
        let Space {
            workspace,
            self_collision,
            clearance_m,
            ref leave_out,
        } = self.space;
        let own = info.geometry.as_ref();
        let compares = self_collision.unwrap_or(own.is_some());
        let guard = Guard::new(
            info,
            &GuardSpec {
                workspace: workspace.or(own.and_then(|g| g.workspace)),
                clearance_m: compares.then_some(clearance_m),
                leave_out: leave_out.clone(),
            },
        )
        .map_err(|e| CellError::Space {
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
            bounds: self.bounds,
            limit: self.limit,
            guard,
            period_secs: 1.0 / self.control_rate_hz,
            boot,
        })
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
            proprio_limit: self.bounds.proprio_limit.max(Duration::from_millis(20)),
            max_skew: self.max_skew,
        })
    }

    /// Who ends a hold.
    pub fn resume(&self) -> Resume {
        self.bounds.resume
    }
}

/// Checks of one file's fields.
struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    fn error(&self, field: &str, expected: &str, actual: impl std::fmt::Display) -> CellError {
        CellError::Field {
            file: self.file.into(),
            field: field.into(),
            expected: expected.into(),
            actual: actual.to_string(),
        }
    }

    /// `value`, if it lies within the range that [`BOUNDS`] gives `field` (or the table it is in).
    fn bounded(&self, field: &str, value: f64) -> Result<f64, CellError> {
        let key = if field.starts_with("budget.") {
            "budget"
        } else {
            field
        };
        match BOUNDS.iter().find(|(name, ..)| *name == key) {
            Some((_, low, high, _)) if (*low..=*high).contains(&value) => Ok(value),
            Some((_, low, high, unit)) => {
                let expected = format!("{low} to {high} {unit}");
                Err(self.error(field, expected.trim_end(), value))
            }
            None => Err(self.error(field, "a field with bounds", value)),
        }
    }

    fn millis(&self, field: &str, value: f64) -> Result<Duration, CellError> {
        // Bounded above, so the product is far inside u64.
        Ok(Duration::from_nanos(
            (self.bounded(field, value)? * 1e6).round() as u64,
        ))
    }

    fn trigger(&self, raw: &RawTrigger) -> Result<Trigger, CellError> {
        Ok(match *raw {
            RawTrigger::Continuous {} => Trigger::Continuous,
            RawTrigger::Rate { every_ms } => Trigger::Rate {
                every: self.millis("request.trigger.every_ms", every_ms)?,
            },
            RawTrigger::Queue { below_ms } => Trigger::Queue {
                below: self.millis("request.trigger.below_ms", below_ms)?,
            },
        })
    }

    fn strategy(&self, raw: &RawStrategy) -> Result<Strategy, CellError> {
        Ok(match *raw {
            RawStrategy::Align {} => Strategy::Align,
            RawStrategy::Blend { blend_ms } => Strategy::Blend {
                over: self.millis("schedule.strategy.blend_ms", blend_ms)?,
            },
            RawStrategy::Ensemble { decay } => Strategy::Ensemble {
                decay: self.bounded("schedule.strategy.decay", decay)?,
            },
            RawStrategy::RtcPrefix {} => Strategy::RtcPrefix,
            RawStrategy::RtcGuided { beta, jacobian } => Strategy::RtcGuided {
                beta: self.bounded("schedule.strategy.beta", beta)?,
                jacobian: match jacobian {
                    RawJacobian::Exact => Jacobian::Exact,
                    RawJacobian::Identity => Jacobian::Identity,
                },
            },
        })
    }

    fn space(&self, raw: &RawArm) -> Result<Space, CellError> {
        if let Some(RawWorkspace { min, max }) = &raw.workspace {
            for value in min.iter().chain(max) {
                self.bounded("arm.workspace", *value)?;
            }
            if min.iter().zip(max).any(|(min, max)| min >= max) {
                let actual = format!("{min:?} .. {max:?}");
                return Err(self.error("arm.workspace", "min < max along x, y and z", actual));
            }
        }
        let clearance_m = raw.clearance_m.unwrap_or(CLEARANCE_M);
        Ok(Space {
            workspace: raw.workspace.as_ref().map(|raw| [raw.min, raw.max]),
            self_collision: raw.self_collision,
            clearance_m: self.bounded("arm.clearance_m", clearance_m)?,
            leave_out: raw.leave_out.clone().unwrap_or_default(),
        })
    }

    fn secs(&self, field: &str, value: f64) -> Result<Duration, CellError> {
        let secs = self.bounded(field, value)?;
        Duration::try_from_secs_f64(secs).map_err(|e| self.error(field, "seconds", e))
    }

    fn name(&self, field: &str, value: &str) -> Result<Name, CellError> {
        Name::new(value)
            .map_err(|_| self.error(field, "1 to 64 characters of a-z, 0-9, _ and -", value))
    }

    fn budget(&self, raw: &RawBudget) -> Result<Budget, CellError> {
        let mut stages = StageTimes::default();
        for stage in Stage::ALL {
            let value = match stage {
                Stage::Capture => raw.capture,
                Stage::Transport => raw.transport,
                Stage::Queue => raw.queue,
                Stage::Assemble => raw.assemble,
                Stage::Decode => raw.decode,
                Stage::Preprocess => raw.preprocess,
                Stage::Vision => raw.vision,
                Stage::Backbone => raw.backbone,
                Stage::Context => raw.context,
                Stage::Denoise => raw.denoise,
                Stage::Deliver => raw.deliver,
                Stage::Limit => raw.limit,
                Stage::Actuate => raw.actuate,
            };
            stages.set(
                stage,
                self.millis(&format!("budget.{}", stage.name()), value)?,
            );
        }
        Ok(Budget::new(
            stages,
            self.millis("budget.margin", raw.margin)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = include_str!("../cells/demo.toml");

    fn parsed(text: &str) -> Result<Cell, String> {
        parse(text, Path::new("cells/x.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_demo_cell_is_legal() {
        let cell = parsed(DEMO).expect("legal");
        assert_eq!(cell.resume(), Resume::Auto);
        let sim = CellSim {
            seed: 0,
            variation: true,
        };
        assert_eq!(cell.sim, Some(sim));
        assert_eq!(cell.bundle, Path::new("cells/../../models/demo/bundle"));
        assert!(cell.assembly(&["wrist".into(), "scene".into()]).is_ok());
        let missing = cell
            .assembly(&["left".into()])
            .expect_err("not there")
            .to_string();
        assert!(
            missing.contains("`left`") && missing.contains("scene, wrist"),
            "{missing}"
        );
    }

    #[test]
    fn a_black_box_is_kept_where_the_cell_says_so() {
        assert_eq!(parsed(DEMO).expect("legal").record, None);
        let with = |lines: &str| parsed(&format!("{DEMO}\n[record]\n{lines}"));
        let cell = with("black_box = true\nseconds = 2.5\nfolder = \"boxes\"").expect("legal");
        let record = CellRecord {
            black_box: true,
            window: Duration::from_millis(2500),
            folder: Some("cells/boxes".into()),
        };
        assert_eq!(cell.record, Some(record));
        for (lines, wanted) in [
            ("black_box = true", "missing field `seconds`"),
            (
                "black_box = true\nseconds = 0.5",
                "`record.seconds`: expected 1 to 120 s, got 0.5",
            ),
            (
                "black_box = true\nseconds = nan",
                "`record.seconds`: expected 1 to 120 s, got NaN",
            ),
            (
                "black_box = 1\nseconds = 10",
                "invalid type: integer `1`, expected a boolean",
            ),
            (
                "black_box = true\nseconds = 10\nfile = \"x\"",
                "unknown field `file`",
            ),
        ] {
            let error = with(lines).expect_err(lines);
            assert!(
                error.contains(wanted) && error.contains("cells/x.toml"),
                "{error}"
            );
        }
    }

    #[test]
    fn limits_in_space_are_on_where_the_arm_describes_its_links() {
        let sim = tactus_sim::arm_info();
        let mut bare = sim.clone();
        bare.geometry = None;
        let with = |lines: &str| {
            let text = DEMO.replacen("tail_ms = 150", &format!("tail_ms = 150\n{lines}"), 1);
            parsed(&text)
        };
        let guard = |lines: &str, info: &ArmInfo| {
            let spec = with(lines).and_then(|c| c.arm_spec(1, info).map_err(|e| e.to_string()))?;
            Ok::<_, String>(spec.guard)
        };
        assert!(guard("", &sim).expect("legal").is_some());
        assert_eq!(guard("", &bare), Ok(None));
        assert_eq!(guard("self_collision = false", &bare), Ok(None));
        let wider = guard("workspace = { min = [-1, -1, -1], max = [1, 1, 1] }", &sim);
        assert_ne!(wider, guard("", &sim));
        for (lines, info, wanted) in [
            ("self_collision = true", &bare, "`tactus-sim-6`"),
            (
                "workspace = { min = [0, 0, 0], max = [1, 1, 1] }",
                &bare,
                "URDF",
            ),
            (
                "workspace = { min = [0, 0, 0], max = [1, 0, 1] }",
                &sim,
                "`arm.workspace`: expected min < max along x, y and z, got [0.0, 0.0, 0.0] .. [1.0, 0.0, 1.0]",
            ),
            (
                "workspace = { min = [0, 0, 0], max = [1, nan, 1] }",
                &sim,
                "`arm.workspace`: expected -10 to 10 m, got NaN",
            ),
            (
                "workspace = { min = [0, 0], max = [1, 1, 1] }",
                &sim,
                "workspace",
            ),
            (
                "clearance_m = 1",
                &sim,
                "`arm.clearance_m`: expected 0 to 0.1 m, got 1",
            ),
            ("leave_out = [\"tail\"]", &sim, "`tail`"),
        ] {
            let error = guard(lines, info).expect_err(lines);
            assert!(
                error.contains(wanted) && error.contains("cells/x.toml"),
                "{error}"
            );
        }
    }

    #[test]
    fn every_refusal_names_file_field_expected_and_actual() {
        for (from, to, wanted) in [
            (
                "control_rate_hz = 500",
                "control_rate_hz = 5000",
                "`arm.control_rate_hz`: expected 50 to 1000 Hz, got 5000",
            ),
            (
                "tail_ms = 150",
                "tail_ms = nan",
                "`arm.tail_ms`: expected 0 to 1000 ms, got NaN",
            ),
            (
                "intra_threads = 1",
                "intra_threads = 0",
                "`engine.intra_threads`: expected 1 to 64 threads, got 0",
            ),
            (
                "vision = 12",
                "vision = -1",
                "`budget.vision`: expected 0 to 10000 ms, got -1",
            ),
            (
                "name = \"arm\"",
                "name = \"Arm 1\"",
                "`arm.name`: expected 1 to 64 characters",
            ),
            (
                "name = \"wrist\"",
                "name = \"scene\"",
                "`camera.name`: expected each name once, got scene",
            ),
            ("schema = 1", "schema = 2", "`schema`: expected 1, got 2"),
            ("tail_ms", "tial_ms", "unknown field `tial_ms`"),
            (
                "resume = \"auto\"",
                "resume = \"maybe\"",
                "unknown variant `maybe`",
            ),
            ("limit = 0.5", "", "missing field `limit`"),
            (
                "variation = true",
                "variation = \"some\"",
                "invalid type: string \"some\", expected a boolean",
            ),
        ] {
            let error = parsed(&DEMO.replacen(from, to, 1)).expect_err(to);
            assert!(
                error.contains(wanted) && error.contains("cells/x.toml"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_bounds_table_has_no_name_twice_and_no_empty_range() {
        for (i, (name, low, high, _)) in BOUNDS.iter().enumerate() {
            assert!(low < high);
            assert!(BOUNDS.iter().skip(i + 1).all(|(other, ..)| other != name));
        }
    }
}
