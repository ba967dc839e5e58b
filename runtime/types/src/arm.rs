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
        }
    }

    #[test]
    fn hostile_infos_are_refused() {
        assert_eq!(info().check(), Ok(()));
        let break_it: [fn(&mut ArmInfo); 7] = [
            |i| i.joints.clear(),
            |i| i.limits.truncate(1),
            |i| i.limits[1].lower = f64::NAN,
            |i| i.limits[1].lower = 2.0,
            |i| i.limits[0].velocity = f64::INFINITY,
            |i| i.limits[0].jerk = 0.0,
            |i| i.command_deadline_secs = 0.0,
        ];
        for break_it in break_it {
            let mut i = info();
            break_it(&mut i);
            assert!(i.check().is_err(), "{i:?}");
        }
    }
}
