//! Cell files: which processes a cell has, how they find each other, and the times they promise.
//!
//! Decides what a legal cell is: every field is known, present and within its bounds ([`BOUNDS`]), or the file is
//! refused with the field, what was expected and what was there. Starts nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tactus_control::{
    ArmSpec, AssemblySpec, Bounds, EnableSpec, LimitSpec, Pose, RequestSpec, Resume, ScheduleSpec,
    StartPose, Strategy, Trigger,
};
use tactus_types::{ArmInfo, Budget, Jacobian, JointVec, MAX_JOINTS, Stage, StageTimes};
use tactus_wire::Name;

/// The pose that episodes start from.
pub const START: &str = "start";

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
    ("arm.enable_window_ms", 50.0, 5000.0, "ms"),
    ("arm.enable_tolerance_rad", 0.0001, 0.5, "rad"),
    ("arm.start_tolerance_rad", 0.0001, 3.0, "rad"),
    ("arm.poses", -100.0, 100.0, "rad"),
    ("opening", 0.0, 1.0, ""),
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
    brakes: Option<bool>,
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
    enable_window_ms: Option<f64>,
    enable_tolerance_rad: Option<f64>,
    start_tolerance_rad: Option<f64>,
    #[serde(default)]
    poses: BTreeMap<String, RawPose>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a pose: a list of rad, or { q = a list of rad, opening = 0 to 1 }"
)]
enum RawPose {
    Joints(Vec<f64>),
    WithGripper { q: Vec<f64>, opening: f64 },
}

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
    /// How enabling is verified.
    pub enable: EnableSpec,
    /// Named poses of the arm; of the one called [`START`], how far away an episode may start.
    pub poses: BTreeMap<String, Pose>,
    start_tolerance_rad: Option<f64>,
    bounds: Bounds,
    limit: LimitSpec,
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
        sim: raw.sim.map(
            |RawSim {
                 seed,
                 variation,
                 brakes,
             }| CellSim {
                seed,
                variation,
                brakes: brakes.unwrap_or(true),
            },
        ),
        schedule: ScheduleSpec {
            strategy: check.strategy(&raw.schedule.strategy)?,
            ease: check.millis("schedule.ease_ms", raw.schedule.ease_ms)?,
        },
        record,
        enable: check.enable(&raw.arm)?,
        poses: check.poses(&raw.arm)?,
        start_tolerance_rad: raw.arm.start_tolerance_rad,
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
        frame_limit: check.millis("engine.frame_limit_ms", raw.engine.frame_limit_ms)?,
        max_skew: check.millis("engine.max_skew_ms", raw.engine.max_skew_ms)?,
    })
}

impl Cell {
    /// What the arm host is configured with; `boot` is drawn once per start of it.
    pub fn arm_spec(&self, boot: u64) -> ArmSpec {
        ArmSpec {
            request: RequestSpec {
                overlap: self.schedule.strategy.overlaps(),
                ..self.request
            },
            schedule: self.schedule,
            bounds: self.bounds,
            limit: self.limit,
            enable: self.enable,
            start: self.start_tolerance_rad.and_then(|tolerance| {
                let Pose { q, .. } = *self.poses.get(START)?;
                Some(StartPose { q, tolerance })
            }),
            period_secs: 1.0 / self.control_rate_hz,
            boot,
        }
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

    /// Checks the poses against the arm that is really there.
    ///
    /// # Errors
    /// [`CellError`] for a pose of another number of joints, or outside their limits.
    pub fn check_poses(&self, info: &ArmInfo) -> Result<(), CellError> {
        let check = Check { file: &self.file };
        for (name, pose) in &self.poses {
            let field = format!("arm.poses.{name}");
            if pose.q.len() != info.joints.len() {
                let n = info.joints.len();
                let expected = format!("{n} numbers: {}", info.joints.join(", "));
                return Err(check.error(&field, &expected, pose.q.len()));
            }
            for ((joint, l), q) in info.joints.iter().zip(&info.limits).zip(pose.q.iter()) {
                if !(l.lower..=l.upper).contains(q) {
                    let expected = format!("{joint} within {} to {} rad", l.lower, l.upper);
                    return Err(check.error(&field, &expected, q));
                }
            }
        }
        Ok(())
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

    fn enable(&self, raw: &RawArm) -> Result<EnableSpec, CellError> {
        let mut enable = EnableSpec::default();
        if let Some(window) = raw.enable_window_ms {
            enable.window = self.millis("arm.enable_window_ms", window)?;
        }
        if let Some(tolerance) = raw.enable_tolerance_rad {
            enable.tolerance = self.bounded("arm.enable_tolerance_rad", tolerance)?;
        }
        Ok(enable)
    }

    fn poses(&self, raw: &RawArm) -> Result<BTreeMap<String, Pose>, CellError> {
        match (raw.poses.contains_key(START), raw.start_tolerance_rad) {
            (true, None) => {
                let expected = "a number beside arm.poses.start";
                return Err(self.error("arm.start_tolerance_rad", expected, "none"));
            }
            (false, Some(_)) => {
                let expected = "a pose beside arm.start_tolerance_rad";
                return Err(self.error("arm.poses.start", expected, "none"));
            }
            (_, Some(tolerance)) => drop(self.bounded("arm.start_tolerance_rad", tolerance)?),
            (false, None) => {}
        }
        let mut poses = BTreeMap::new();
        for (name, pose) in &raw.poses {
            let (q, opening) = match pose {
                RawPose::Joints(q) => (q, None),
                RawPose::WithGripper { q, opening } => {
                    (q, Some(self.bounded("opening", *opening)?))
                }
            };
            self.name("arm.poses", name)?;
            for q in q {
                self.bounded("arm.poses", *q)?;
            }
            let q = JointVec::from_slice(q)
                .filter(|q| !q.is_empty())
                .ok_or_else(|| {
                    let expected = format!("1 to {MAX_JOINTS} numbers");
                    self.error(&format!("arm.poses.{name}"), &expected, q.len())
                })?;
            poses.insert(name.clone(), Pose { q, opening });
        }
        Ok(poses)
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
            brakes: true,
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
    fn poses_are_named_bounded_and_fit_the_arm() {
        let cell = parsed(DEMO).expect("legal");
        let info = tactus_sim::arm_info();
        assert!(cell.poses.contains_key("home") && cell.check_poses(&info).is_ok());
        assert_eq!(cell.arm_spec(1).start, None);
        let with =
            |poses: &str| parsed(&DEMO.replacen("[schedule]", &format!("{poses}\n[schedule]"), 1));
        let start = "start = { q = [0, 0, 1, 0, 1, 0], opening = 1 }\n";
        let refused = with(start).expect_err("no tolerance");
        assert!(
            refused.contains("`arm.start_tolerance_rad`: expected a number"),
            "{refused}"
        );
        let tolerant = DEMO.replacen(
            "settle_ms = 200",
            "start_tolerance_rad = 0.1\nsettle_ms = 200",
            1,
        );
        let refused = parsed(&tolerant).expect_err("no start");
        assert!(
            refused.contains("`arm.poses.start`: expected a pose"),
            "{refused}"
        );
        let both = tolerant.replacen("[schedule]", &format!("{start}\n[schedule]"), 1);
        let cell = parsed(&both).expect("legal");
        assert_eq!(
            cell.arm_spec(1).start.map(|s| (s.q[2], s.tolerance)),
            Some((1.0, 0.1))
        );
        let short = with("away = [0, 1]\n").expect("legal by itself");
        let refused = short.check_poses(&info).expect_err("short").to_string();
        assert!(
            refused.contains("`arm.poses.away`: expected 6 numbers: base_yaw"),
            "{refused}"
        );
        let far = with("away = [0, 2.5, 0, 0, 0, 0]\n").expect("legal by itself");
        let refused = far.check_poses(&info).expect_err("far").to_string();
        assert!(
            refused.contains("shoulder_pitch within -1.3 to 2 rad, got 2.5"),
            "{refused}"
        );
        for (bad, wanted) in [
            (
                "away = [0, nan]",
                "`arm.poses`: expected -100 to 100 rad, got NaN",
            ),
            (
                "away = []",
                "`arm.poses.away`: expected 1 to 16 numbers, got 0",
            ),
            (
                "away = { q = [0], opening = 2 }",
                "`opening`: expected 0 to 1, got 2",
            ),
            ("away = { q = [0] }", "a pose: a list of rad"),
        ] {
            let refused = with(bad).expect_err(bad);
            assert!(refused.contains(wanted), "{refused}");
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
