//! `[arm]`: the arm host, its control thread, and how far a command may go; and who ends a hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tactus_calibration::{ArmLatency, Seal};
use tactus_control::{EnableSpec, LadderSpec, LimitSpec, Resume};
use tactus_host::RealtimeSpec;
use tactus_wire::Name;

use super::pose::{self, CellPoses, RawPose};
use super::space::{RawWorkspace, Space};
use super::{CellError, Check};

/// Of a cell file that says nothing about it.
const OPERATOR_LIMIT_MS: f64 = 100.0;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawResume {
    Auto,
    Operator,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArm {
    name: String,
    device: String,
    control_rate_hz: f64,
    realtime_priority: i32,
    spin_us: Option<f64>,
    cpu: Option<u32>,
    limit_scale: f64,
    max_lead_rad: f64,
    max_step_rad: f64,
    tail_ms: f64,
    proprio_limit_ms: f64,
    settle_ms: f64,
    link_limit_ms: f64,
    track_rad: f64,
    track_limit_ms: f64,
    storm_rad: f64,
    storm_limit_ms: f64,
    operator_limit_ms: Option<f64>,
    workspace: Option<RawWorkspace>,
    self_collision: Option<bool>,
    clearance_m: Option<f64>,
    leave_out: Option<Vec<String>>,
    enable_window_ms: Option<f64>,
    enable_tolerance_rad: Option<f64>,
    start_tolerance_rad: Option<f64>,
    latency: Option<PathBuf>,
    #[serde(default)]
    poses: BTreeMap<String, RawPose>,
}

/// The arm host of a cell.
#[derive(Debug, Clone)]
pub(super) struct CellArm {
    pub(super) name: Name,
    pub(super) device: Name,
    pub(super) control_rate_hz: f64,
    pub(super) realtime: RealtimeSpec,
    pub(super) ladder: LadderSpec,
    pub(super) resume: Resume,
    pub(super) limit: LimitSpec,
    pub(super) space: Space,
    pub(super) enable: EnableSpec,
    pub(super) poses: CellPoses,
    pub(super) latency: Option<(PathBuf, ArmLatency, Seal)>,
}

impl RawArm {
    /// `frame_limit` and `answer_within` are bounds of the ladder that other sections hold; files lie in `directory`.
    pub(super) fn read(
        self,
        directory: &Path,
        resume: RawResume,
        frame_limit: Duration,
        answer_within: Duration,
        check: &Check<'_>,
    ) -> Result<CellArm, CellError> {
        let control_rate_hz = check.bounded("arm.control_rate_hz", self.control_rate_hz)?;
        check.bounded("arm.realtime_priority", f64::from(self.realtime_priority))?;
        let latency = match &self.latency {
            None => None,
            Some(file) => {
                let file = directory.join(file);
                let read = ArmLatency::read(&file, &self.name);
                let (latency, seal) = read
                    .map_err(|e| check.error("arm.latency", "a measured latency of this arm", e))?;
                Some((file, latency, seal))
            }
        };
        Ok(CellArm {
            latency,
            name: check.name("arm.name", &self.name)?,
            device: check.name("arm.device", &self.device)?,
            control_rate_hz,
            realtime: RealtimeSpec {
                priority: self.realtime_priority,
                cpu: match self.cpu {
                    None => None,
                    Some(cpu) => Some(check.bounded("arm.cpu", f64::from(cpu))? as usize),
                },
                spin: check.micros("arm.spin_us", self.spin_us.unwrap_or(0.0))?,
            },
            ladder: LadderSpec {
                period: Duration::from_nanos((1e9 / control_rate_hz).round() as u64),
                tail: check.millis("arm.tail_ms", self.tail_ms)?,
                proprio_limit: check.millis("arm.proprio_limit_ms", self.proprio_limit_ms)?,
                settle: check.millis("arm.settle_ms", self.settle_ms)?,
                frame_limit,
                answer_within,
                link_limit: check.millis("arm.link_limit_ms", self.link_limit_ms)?,
                track_rad: check.bounded("arm.track_rad", self.track_rad)?,
                track_limit: check.millis("arm.track_limit_ms", self.track_limit_ms)?,
                storm_rad: check.bounded("arm.storm_rad", self.storm_rad)?,
                storm_limit: check.millis("arm.storm_limit_ms", self.storm_limit_ms)?,
                operator_limit: check.millis(
                    "arm.operator_limit_ms",
                    self.operator_limit_ms.unwrap_or(OPERATOR_LIMIT_MS),
                )?,
            },
            resume: match resume {
                RawResume::Auto => Resume::Auto,
                RawResume::Operator => Resume::Operator,
            },
            limit: LimitSpec {
                max_lead: check.bounded("arm.max_lead_rad", self.max_lead_rad)?,
                max_step: check.bounded("arm.max_step_rad", self.max_step_rad)?,
                scale: check.bounded("arm.limit_scale", self.limit_scale)?,
            },
            enable: pose::enable(self.enable_window_ms, self.enable_tolerance_rad, check)?,
            poses: CellPoses::read(&self.poses, self.start_tolerance_rad, check)?,
            space: Space::read(
                self.workspace,
                self.self_collision,
                self.clearance_m,
                self.leave_out,
                check,
            )?,
        })
    }
}
