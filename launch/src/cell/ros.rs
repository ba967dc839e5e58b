//! `[device]` of an arm that ROS 2 moves: topics, joints and their limits, none of which ROS 2 would tell.

use serde::Deserialize;
use tactus_ros::device::{CommandTopic, RosArmSpec};
use tactus_ros::keys::{MAX_DOMAIN, part};
use tactus_ros::node::{LISTEN, ROUTER};
use tactus_ros::{NodeOptions, RosName};
use tactus_types::JointLimits;
use tactus_wire::Mesh;

use super::{CellError, Check};

/// A state is stale after this long, where the file does not say, ms.
const STALE_MILLIS: f64 = 100.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRos {
    model: String,
    joint_states: String,
    trajectory: Option<String>,
    positions: Option<String>,
    rate_hz: f64,
    stale_ms: Option<f64>,
    #[serde(default)]
    domain_id: u8,
    router: Option<String>,
    listen: Option<String>,
    #[serde(default)]
    network: bool,
    joints: Vec<RawRosJoint>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRosJoint {
    name: String,
    lower: f64,
    upper: f64,
    velocity: f64,
    acceleration: f64,
    jerk: f64,
}

impl RawRos {
    pub(super) fn read(self, check: &Check<'_>) -> Result<RosArmSpec, CellError> {
        let topic = |field: &str, name: &str| {
            let wrong = |e| check.error(field, "a topic's name from the root, /joint_states", e);
            RosName::new(name).map_err(wrong)
        };
        let commands = match (&self.trajectory, &self.positions) {
            (Some(name), None) => CommandTopic::Trajectory(topic("device.trajectory", name)?),
            (None, Some(name)) => CommandTopic::Positions(topic("device.positions", name)?),
            (None, None) | (Some(_), Some(_)) => {
                let expected =
                    "a topic of JointTrajectory, or device.positions with one of Float64MultiArray";
                let actual = if self.trajectory.is_some() {
                    "both"
                } else {
                    "neither"
                };
                return Err(check.error("device.trajectory", expected, actual));
            }
        };
        if self.domain_id > MAX_DOMAIN {
            let expected = format!("0 to {MAX_DOMAIN}");
            return Err(check.error("device.domain_id", &expected, self.domain_id));
        }
        let rate_hz = check.bounded("device.rate_hz", self.rate_hz)?;
        let stale = self.stale_ms.unwrap_or(STALE_MILLIS);
        let mut spec = RosArmSpec {
            node: NodeOptions {
                domain: self.domain_id,
                namespace: None,
                name: format!("tactus_device_{}", part(&self.model)),
                mesh: Mesh {
                    connect: vec![self.router.unwrap_or_else(|| ROUTER.to_owned())],
                    listen: vec![self.listen.unwrap_or_else(|| LISTEN.to_owned())],
                    network: self.network,
                },
            },
            model: self.model,
            states: topic("device.joint_states", &self.joint_states)?,
            commands,
            joints: vec![],
            limits: vec![],
            rate_hz,
            stale: check.millis("device.stale_ms", stale)?,
        };
        for joint in self.joints {
            let RawRosJoint {
                name,
                lower,
                upper,
                velocity,
                acceleration,
                jerk,
            } = joint;
            if spec.joints.contains(&name) {
                return Err(check.error(
                    "device.joints",
                    "each joint once",
                    format!("`{name}` twice"),
                ));
            }
            spec.joints.push(name);
            spec.limits.push(JointLimits {
                lower,
                upper,
                velocity,
                acceleration,
                jerk,
            });
        }
        spec.info()
            .check()
            .map_err(|e| check.error("device.joints", "limits of an arm", e))?;
        Ok(spec)
    }
}
