//! What an arm says of itself before anything may move it.

use crate::JointVec;

/// Limits of one joint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointLimits {
    /// Lowest position, rad.
    pub lower: f64,
    /// Highest position, rad.
    pub upper: f64,
    /// Highest speed, rad/s.
    pub velocity: f64,
    /// Highest acceleration, rad/s^2.
    pub acceleration: f64,
    /// Highest jerk, rad/s^3.
    pub jerk: f64,
}

/// Longest description of an arm's geometry, bytes: four times the longest URDF in use for one arm.
pub const MAX_URDF_BYTES: usize = 256 << 10;

/// Where an arm's links are: what limits in space and tool poses are computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmGeometry {
    /// URDF text, at most [`MAX_URDF_BYTES`]. Checked as XML and as a robot by who computes with it.
    pub urdf: String,
    /// Link whose frame is the base frame.
    pub base_link: String,
    /// Link whose frame is the tool frame; its origin is the tool point.
    pub tool_link: String,
    /// Lowest and highest corner of the box, in the base frame, that the tool point should stay in, m.
    pub workspace: Option<[[f64; 3]; 2]>,
}

/// Description of an arm, as its driver publishes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmInfo {
    /// Model of the arm, for example `tactus-sim-6`.
    pub model: String,
    /// Joint names in the order of every joint vector.
    pub joints: Vec<String>,
    /// Limits, one per joint.
    pub limits: Vec<JointLimits>,
    /// Whether there is a gripper.
    pub gripper: bool,
    /// Rate at which the device reports its state, Hz.
    pub state_rate_hz: f64,
    /// Whether the arm has brakes, so that losing torque does not let it fall.
    pub brakes: bool,
    /// Whether the device can switch the motors' torque off and on; without it they hold whenever the device runs.
    pub torque_switch: bool,
    /// The device's own command deadline: without a command for this long it holds by itself. Seconds.
    pub command_deadline_secs: f64,
    /// Its geometry; without it there are no limits in space and no tool poses.
    pub geometry: Option<ArmGeometry>,
}

/// Why an [`ArmInfo`] cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("arm info of `{model}`: field `{field}`: expected {expected}, got {actual}")]
pub struct ArmInfoError {
    /// Model named by the info.
    pub model: String,
    /// Field that is wrong.
    pub field: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub actual: String,
}

impl ArmInfo {
    /// Checks everything a controller relies on: anything the network sends is hostile until checked.
    ///
    /// # Errors
    /// [`ArmInfoError`] naming the first field that is unusable.
    pub fn check(&self) -> Result<(), ArmInfoError> {
        let error = |field: String, expected: &str, actual: String| ArmInfoError {
            model: self.model.clone(),
            field,
            expected: expected.into(),
            actual,
        };
        let n = self.joints.len();
        if n == 0 || n > crate::MAX_JOINTS {
            return Err(error("joints".into(), "1 to 16 names", n.to_string()));
        }
        if self.limits.len() != n {
            return Err(error(
                "limits".into(),
                "one per joint",
                self.limits.len().to_string(),
            ));
        }
        for (name, l) in self.joints.iter().zip(&self.limits) {
            let JointLimits {
                lower,
                upper,
                velocity,
                acceleration,
                jerk,
            } = *l;
            if !(lower.is_finite() && upper.is_finite() && lower < upper) {
                let actual = format!("{lower} .. {upper}");
                return Err(error(
                    format!("limits.{name}"),
                    "finite lower < upper (rad)",
                    actual,
                ));
            }
            for (field, v) in [
                ("velocity", velocity),
                ("acceleration", acceleration),
                ("jerk", jerk),
            ] {
                if !(v.is_finite() && v > 0.0) {
                    let field = format!("limits.{name}.{field}");
                    return Err(error(field, "a finite number > 0", v.to_string()));
                }
            }
        }
        for (field, v) in [
            ("state_rate_hz", self.state_rate_hz),
            ("command_deadline_secs", self.command_deadline_secs),
        ] {
            if !(v.is_finite() && v > 0.0) {
                return Err(error(field.into(), "a finite number > 0", v.to_string()));
            }
        }
        let Some(ArmGeometry {
            urdf,
            base_link,
            tool_link,
            workspace,
        }) = &self.geometry
        else {
            return Ok(());
        };
        if urdf.len() > MAX_URDF_BYTES {
            let expected = format!("at most {MAX_URDF_BYTES} bytes");
            let actual = urdf.len().to_string();
            return Err(error("geometry.urdf".into(), &expected, actual));
        }
        for (field, link) in [("base_link", base_link), ("tool_link", tool_link)] {
            if link.is_empty() {
                let field = format!("geometry.{field}");
                return Err(error(field, "the name of a link", "nothing".into()));
            }
        }
        let below = |(min, max): (&f64, &f64)| min.is_finite() && max.is_finite() && min < max;
        if let Some([min, max]) = workspace
            && !min.iter().zip(max).all(below)
        {
            let expected = "finite min < max along x, y and z (m)";
            let actual = format!("{min:?} .. {max:?}");
            return Err(error("geometry.workspace".into(), expected, actual));
        }
        Ok(())
    }

    /// `q` moved into the position limits.
    pub fn clamp(&self, q: &JointVec) -> JointVec {
        JointVec::from_fn(q.len().min(self.limits.len()), |i| {
            q[i].clamp(self.limits[i].lower, self.limits[i].upper)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> ArmInfo {
        let limits = JointLimits {
            lower: -1.0,
            upper: 1.0,
            velocity: 1.0,
            acceleration: 1.0,
            jerk: 1.0,
        };
        ArmInfo {
            model: "test".into(),
            joints: vec!["a".into(), "b".into()],
            limits: vec![limits; 2],
            gripper: true,
            state_rate_hz: 500.0,
            brakes: false,
            torque_switch: true,
            command_deadline_secs: 0.1,
            geometry: Some(ArmGeometry {
                urdf: "<robot/>".into(),
                base_link: "base".into(),
                tool_link: "tip".into(),
                workspace: Some([[-1.0; 3], [1.0; 3]]),
            }),
        }
    }

    #[test]
    fn hostile_infos_are_refused() {
        assert_eq!(info().check(), Ok(()));
        let geometry = |i: &mut ArmInfo, break_it: fn(&mut ArmGeometry)| {
            i.geometry.as_mut().map(break_it).expect("one is there");
        };
        let break_it: [&dyn Fn(&mut ArmInfo); 12] = [
            &|i| i.joints.clear(),
            &|i| i.limits.truncate(1),
            &|i| i.limits[1].lower = f64::NAN,
            &|i| i.limits[1].lower = 2.0,
            &|i| i.limits[0].velocity = f64::INFINITY,
            &|i| i.limits[0].jerk = 0.0,
            &|i| i.command_deadline_secs = 0.0,
            &|i| geometry(i, |g| g.urdf = " ".repeat(MAX_URDF_BYTES + 1)),
            &|i| geometry(i, |g| g.tool_link.clear()),
            &|i| geometry(i, |g| g.base_link.clear()),
            &|i| geometry(i, |g| g.workspace = Some([[0.0; 3], [1.0, 0.0, 1.0]])),
            &|i| geometry(i, |g| g.workspace = Some([[f64::NAN; 3], [1.0; 3]])),
        ];
        for break_it in break_it {
            let mut i = info();
            break_it(&mut i);
            assert!(i.check().is_err(), "{i:?}");
        }
    }
}
