//! A leader arm: joint to joint, by name. Any [`Device`] will do whose joints are the arm's.
//!
//! Decides which of its joints is which of the arm's. The leader is only read: it gets no goal and no torque.

use tactus_drivers_api::Device;
use tactus_types::{ArmInfo, JointVec, Time};

use crate::{Motion, Reading, Source, TeleopError};

/// A leader arm in someone's hand.
#[derive(Debug)]
pub struct Leader<D> {
    device: D,
    name: String,
    gripper: bool,
    /// Index in the leader of each of the arm's joints.
    of_arm: Vec<usize>,
}

impl<D: Device> Leader<D> {
    /// `device` as the leader of `arm`.
    ///
    /// # Errors
    /// [`TeleopError::Joints`] unless both have joints of the same names; their order may differ.
    pub fn new(device: D, arm: &ArmInfo) -> Result<Self, TeleopError> {
        let info = device.info();
        let index = |joint: &String| info.joints.iter().position(|own| own == joint);
        let of_arm: Option<Vec<usize>> = arm.joints.iter().map(index).collect();
        match of_arm {
            Some(of_arm) if info.joints.len() == arm.joints.len() => Ok(Self {
                name: format!("leader {}", info.model),
                gripper: info.gripper,
                of_arm,
                device,
            }),
            _ => Err(TeleopError::Joints {
                leader: info.model,
                arm: arm.model.clone(),
                expected: arm.joints.join(", "),
                actual: info.joints.join(", "),
            }),
        }
    }
}

impl<D: Device> Source for Leader<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, now: Time) -> Result<Reading, TeleopError> {
        self.device.step(now)?;
        let state = self.device.state(now)?;
        let q = state.q.as_slice();
        let q = JointVec::from_fn(self.of_arm.len(), |i| {
            let own = self.of_arm.get(i).and_then(|own| q.get(*own));
            own.copied().unwrap_or(f64::NAN)
        });
        if !(q.is_finite() && state.opening.is_finite()) {
            return Err(TeleopError::NotFinite {
                source_name: self.name.clone(),
            });
        }
        Ok(Reading {
            captured_at: state.captured_at,
            motion: Motion::Joints {
                q,
                // Measured, a gripper may be a little beyond its ends.
                opening: self.gripper.then(|| state.opening.clamp(0.0, 1.0)),
            },
            engaged: true,
            wish: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tactus_drivers_api::{DeviceError, Goal};
    use tactus_types::{JointLimits, JointState};

    use super::*;

    fn info(model: &str, joints: &[&str]) -> ArmInfo {
        let limits = JointLimits {
            lower: -2.0,
            upper: 2.0,
            velocity: 2.0,
            acceleration: 10.0,
            jerk: 100.0,
        };
        ArmInfo {
            model: model.into(),
            joints: joints.iter().map(|j| (*j).to_owned()).collect(),
            limits: vec![limits; joints.len()],
            gripper: true,
            state_rate_hz: 100.0,
            brakes: false,
            torque_switch: false,
            command_deadline_secs: 0.1,
            geometry: None,
        }
    }

    /// A leader whose joint i is at (i + 1) / 10 rad.
    struct Held(ArmInfo, f64);

    impl Device for Held {
        fn info(&self) -> ArmInfo {
            self.0.clone()
        }
        fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
            let n = self.0.joints.len();
            Ok(JointState {
                captured_at: now,
                seq: 0,
                epoch: 1,
                q: JointVec::from_fn(n, |i| self.1 * (i + 1) as f64),
                dq: JointVec::zeros(n),
                opening: 1.02,
                torque: false,
            })
        }
        fn apply(&mut self, _: &Goal) -> Result<(), DeviceError> {
            panic!("a leader gets no goal")
        }
        fn set_torque(&mut self, _: bool) -> Result<(), DeviceError> {
            panic!("a leader gets no torque")
        }
        fn step(&mut self, _: Time) -> Result<(), DeviceError> {
            Ok(())
        }
    }

    #[test]
    fn joints_are_mapped_by_name_whatever_their_order() {
        let held = Held(info("l", &["c", "a", "b"]), 0.1);
        let mut leader = Leader::new(held, &info("f", &["a", "b", "c"])).expect("they fit");
        let reading = leader.read(Time::from_millis(5)).expect("a reading");
        let Motion::Joints { q, opening } = reading.motion else {
            panic!("joints")
        };
        let expected = [0.2, 0.3, 0.1];
        assert!(q.iter().zip(expected).all(|(q, e)| (q - e).abs() < 1e-12));
        assert_eq!(opening, Some(1.0));
        assert_eq!(reading.captured_at, Time::from_millis(5));
    }

    #[test]
    fn other_joints_are_refused_by_name_and_no_number_is_no_reading() {
        for joints in [&["a", "b"][..], &["a", "b", "d"], &["a", "b", "c", "d"]] {
            let refused = Leader::new(Held(info("l", joints), 0.1), &info("f", &["a", "b", "c"]));
            let said = refused.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(
                said.contains("expected the joints a, b, c, got a, b"),
                "{said}"
            );
        }
        let held = Held(info("l", &["a"]), f64::NAN);
        let mut leader = Leader::new(held, &info("f", &["a"])).expect("they fit");
        assert!(leader.read(Time::ZERO).is_err());
    }
}
