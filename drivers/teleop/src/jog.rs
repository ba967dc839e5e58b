//! From deflections to joints: a reference for the arm that moves at the deflections' speed, tool point or joint by joint.
//!
//! Decides how fast a deflection is, how the arm slows down near a singularity, and that the reference waits for an arm that
//! does not follow. Does not limit the arm: the reference is a setpoint like any other, and the arm host's limiter has the
//! last word.
//!
//! In space, one damped step of least squares per reading ([`Inverse::step`]): a way that leads nearer to a singularity is
//! slowed down ([`Inverse::slow_down`]), one that leads out is not. Joints that would be too fast slow all of the motion down,
//! so that its direction stays. No joint leaves its limits.

use nalgebra::{Vector3, Vector6};
use tactus_kinematics::{Chain, Inverse, InverseSpec, KinematicsError};
use tactus_types::{ArmInfo, JointVec, MAX_JOINTS};

use crate::error::SpaceReason;
use crate::{Deflection, TeleopError};

/// The reference does not get further ahead of the measured arm than this, rad: an arm that is blocked is not pushed harder.
const LEAD_RAD: f64 = 0.25;
/// Joints that moving along every axis of space takes.
const SPACE_JOINTS: usize = 6;
/// Length that counts as one radian, as a share of the arm's reach: 0.3 m for an arm that reaches 0.5 m (see
/// [`InverseSpec::length_m`]).
const LENGTH_SHARE: f64 = 0.6;

/// What deflections are along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// The arm's base frame.
    Base,
    /// The tool's own frame, at the tool point.
    Tool,
    /// The arm's joints, one axis each.
    Joints,
}

/// Speeds of a full deflection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JogSpec {
    /// Of the tool point, m/s.
    pub linear_m_per_sec: f64,
    /// Of the tool about itself, rad/s.
    pub angular_rad_per_sec: f64,
    /// Of a joint, as a share of its velocity limit; in space no joint is faster either.
    pub joint_share: f64,
    /// Of the gripper, openings per second.
    pub opening_per_sec: f64,
}

impl JogSpec {
    /// `share` (0..1) of the fastest: 0.25 m/s (the reduced speed of ISO 10218-1), 1 rad/s, half of the joints' limits, and the gripper open or closed within a second at any share.
    pub fn at(share: f64) -> Self {
        Self {
            linear_m_per_sec: 0.25 * share,
            angular_rad_per_sec: share,
            joint_share: 0.5 * share,
            opening_per_sec: 1.0,
        }
    }
}

/// A reference that deflections move.
#[derive(Debug, Clone)]
pub struct Jog {
    frame: Frame,
    spec: JogSpec,
    lower: JointVec,
    upper: JointVec,
    /// Fastest per joint, rad/s.
    speed: JointVec,
    space: Option<Inverse>,
    q: JointVec,
    opening: f64,
    slow_down: f64,
}

impl Jog {
    /// A reference for the arm of `info`, which has to be anchored before it moves.
    ///
    /// # Errors
    /// [`TeleopError::NoSpace`] when the arm has fewer than six joints or does not describe its links, and `frame` is not
    /// [`Frame::Joints`].
    pub fn new(info: &ArmInfo, frame: Frame, spec: JogSpec) -> Result<Self, TeleopError> {
        let n = info.limits.len();
        let of = |value: fn(&tactus_types::JointLimits) -> f64| {
            JointVec::from_fn(n, |i| value(&info.limits[i]))
        };
        let space = match frame {
            Frame::Joints => None,
            Frame::Base | Frame::Tool => {
                Some(space(info).map_err(|reason| TeleopError::NoSpace {
                    arm: info.model.clone(),
                    reason,
                })?)
            }
        };
        Ok(Self {
            frame,
            spec,
            lower: of(|l| l.lower),
            upper: of(|l| l.upper),
            speed: JointVec::from_fn(n, |i| spec.joint_share * info.limits[i].velocity),
            space,
            q: JointVec::zeros(n),
            opening: 0.0,
            slow_down: 1.0,
        })
    }

    /// The best frame for the arm of `info`: its base, or joint by joint where it cannot be moved in space.
    pub fn frame_for(info: &ArmInfo) -> Frame {
        match space(info) {
            Ok(_) => Frame::Base,
            Err(_) => Frame::Joints,
        }
    }

    /// The reference is where the arm is commanded to be.
    pub fn anchor(&mut self, q: &JointVec, opening: f64) {
        self.q = *q;
        self.opening = opening.clamp(0.0, 1.0);
        self.slow_down = 1.0;
    }

    /// Where the reference is: joints, rad, and gripper opening, 0..1.
    pub fn reference(&self) -> (JointVec, f64) {
        (self.q, self.opening)
    }

    /// Share of the speed that a singularity left at the last step, 0..1.
    pub fn slow_down(&self) -> f64 {
        self.slow_down
    }

    /// Moves the reference by `secs` of `deflection`, with the arm measured at `measured`.
    pub fn advance(&mut self, deflection: &Deflection, measured: &JointVec, secs: f64) {
        let opening = self.spec.opening_per_sec * deflection.opening * secs;
        self.opening = (self.opening + opening).clamp(0.0, 1.0);
        let mut dq = match &self.space {
            None => JointVec::from_fn(self.q.len(), |i| {
                let axis = deflection.axes.get(i).copied().unwrap_or(0.0);
                axis * self.speed[i] * secs
            }),
            Some(space) => space.step(&self.tip_move(space, deflection, secs), &self.q),
        };
        let fastest = dq
            .iter()
            .zip(self.speed.iter())
            .fold(0.0, |most: f64, (d, v)| most.max(d.abs() / (v * secs)));
        let mut share = if fastest > 1.0 { 1.0 / fastest } else { 1.0 };
        if let Some(space) = &self.space {
            let next = self.q.zip(&dq, |q, d| q + share * d);
            self.slow_down = space.slow_down(space.condition(&self.q), space.condition(&next));
            share *= self.slow_down;
        }
        dq = JointVec::from_fn(dq.len(), |i| {
            (self.q[i] + share * dq[i]).clamp(self.lower[i], self.upper[i]) - self.q[i]
        });
        let waits = (0..dq.len().min(measured.len())).any(|i| {
            let (ahead, next) = (self.q[i] - measured[i], self.q[i] + dq[i] - measured[i]);
            next.abs() > LEAD_RAD.max(ahead.abs())
        });
        if !waits && dq.is_finite() {
            self.q = self.q.zip(&dq, |q, d| q + d);
        }
    }

    /// The move of the tool in the base frame, `[m; rad]`.
    fn tip_move(&self, space: &Inverse, deflection: &Deflection, secs: f64) -> Vector6<f64> {
        let [x, y, z, rx, ry, rz, _] = deflection.axes;
        let mut linear = Vector3::new(x, y, z) * (self.spec.linear_m_per_sec * secs);
        let mut angular = Vector3::new(rx, ry, rz) * (self.spec.angular_rad_per_sec * secs);
        if self.frame == Frame::Tool {
            let tip = space.chain().forward(&self.q).rotation;
            (linear, angular) = (tip * linear, tip * angular);
        }
        Vector6::new(
            linear.x, linear.y, linear.z, angular.x, angular.y, angular.z,
        )
    }
}

/// What moves the tool of the arm of `info` in space.
fn space(info: &ArmInfo) -> Result<Inverse, SpaceReason> {
    let joints = info.joints.len();
    if !(SPACE_JOINTS..=MAX_JOINTS).contains(&joints) {
        return Err(SpaceReason::Joints { joints });
    }
    let Some(geometry) = &info.geometry else {
        return Err(SpaceReason::Geometry(KinematicsError::Field {
            field: "geometry",
            expected: "an arm whose info describes its links (URDF)",
            actual: format!("none in the info of `{}`", info.model),
        }));
    };
    let names: Vec<&str> = info.joints.iter().map(String::as_str).collect();
    let chain = Chain::from_urdf(
        &geometry.urdf,
        &geometry.base_link,
        &geometry.tool_link,
        &names,
    )?;
    let length_m = LENGTH_SHARE * chain.reach().max_abs();
    let limits: Vec<[f64; 2]> = info.limits.iter().map(|l| [l.lower, l.upper]).collect();
    let spec = InverseSpec {
        length_m,
        ..InverseSpec::default()
    };
    Ok(Inverse::new(chain, &limits, spec)?)
}

#[cfg(test)]
mod tests;
