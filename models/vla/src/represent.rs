//! What the numbers of an action mean: from the policy's representation to joint targets, and back.
//!
//! Decides where each row of a chunk leads, walking from the anchor (where the arm is at `observed_at`) row by row:
//!
//! | representation | target of row i, from numbers `v` |
//! |---|---|
//! | `absolute_joints` | `q = v` |
//! | `relative_joints` | `q = q_anchor + v` |
//! | `joint_steps` | `q = q_before + v`, before row 0 the anchor |
//! | `joint_velocities` | `q = q_before + v period` |
//! | `tool_poses` | `X = v` |
//! | `relative_tool_poses` | `X = X_anchor . v` |
//! | `tool_steps` | `X = X_before . v` |
//!
//! `X . v` with `v = (d, D)` is `p = p0 + d, R = D R0` in the base frame and `X0 v` in the tool's. A tool pose becomes joints
//! by [`Inverse::follow`] from the joints of the row before; near a singularity the arm goes only the share of the way that
//! it returns. Steps add up on the poses that were asked for, so what is slowed down is caught up with. A pose that no joints
//! were found for, or at whose singularity the arm would stop, is an error: the chunk is none, and the arm host's ladder
//! decides what the arm does.
//!
//! Back, for what is still planned when a new chunk is made: the same, solved for `v`. Does not normalise, and does not
//! know the gripper.

use nalgebra::{Isometry3, Vector3};
use tactus_bundle::{Action, Representation, Rotation, Tool, WayFrame};
use tactus_kinematics::{Chain, Inverse, InverseSpec, RotationError, RotationFormat};
use tactus_types::{ArmInfo, JointVec};

use crate::{error::VlaError, joints};

/// A tool point this near to a pose has reached it, m: what a policy's own error is at best.
const REACHED_M: f64 = 0.005;
/// A tool turned from a pose by no more than this has reached it, rad.
const REACHED_RAD: f64 = 0.05;
/// Steps towards one pose. The first of a chunk may be far from the arm, unlike those that a control tick seeks.
const MAX_STEPS: usize = 50;
/// Condition numbers are those of an arm of one metre; one with less reach is measured by its reach, down to this, m.
const SHORTEST_ARM_M: f64 = 0.1;

/// Why the numbers of an action lead nowhere.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RepresentError {
    /// They are no rotation.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// No joints within the arm's limits were found for a tool pose.
    #[error(
        "expected a tool pose within {REACHED_M} m and {REACHED_RAD} rad of one that the arm reaches, got {place_m:.3?} m, which \
         is {residual_m:.3} m and {residual_rad:.3} rad off"
    )]
    OutOfReach {
        /// Where it is in the base frame, m.
        place_m: [f64; 3],
        /// Distance of the nearest that was found, m.
        residual_m: f64,
        /// Angle from it, rad.
        residual_rad: f64,
    },
    /// The way to a tool pose ends where the arm would stop because of a singularity.
    #[error(
        "expected a tool pose that is not singular (condition number below {expected}), got {actual:.0} at {place_m:.3?} m"
    )]
    Singular {
        /// Where it is in the base frame, m.
        place_m: [f64; 3],
        /// Condition number at which the arm stops.
        expected: f64,
        /// That at the pose.
        actual: f64,
    },
    /// Nothing is known of the arm whose tool it is.
    #[error("expected an arm, since tool poses lead to joints only with one, got none")]
    NoArm,
}

/// What the numbers of a policy's actions mean for one arm.
#[derive(Debug, Clone)]
pub struct Represent {
    representation: Representation,
    /// Index in the arm's joints of each of the manifest's.
    indices: Vec<usize>,
    period_secs: f64,
    tool: Option<ToolWay>,
}

#[derive(Debug, Clone)]
struct ToolWay {
    /// Without an arm there is none, and poses lead nowhere.
    inverse: Option<Inverse>,
    rotation: RotationFormat,
    frame: WayFrame,
}

/// A way through the rows of one chunk: from row 0 on, either all to joints or all back.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    of: &'a Represent,
    anchor: JointVec,
    before: JointVec,
    tool: Option<ToolWalk<'a>>,
}

/// What a way of the tool is at.
#[derive(Debug, Clone)]
struct ToolWalk<'a> {
    of: &'a ToolWay,
    inverse: &'a Inverse,
    x_anchor: Isometry3<f64>,
    x_before: Isometry3<f64>,
}

/// The representation's format of a rotation.
fn format(rotation: Rotation) -> RotationFormat {
    match rotation {
        Rotation::QuaternionXyzw => RotationFormat::QuaternionXyzw,
        Rotation::QuaternionWxyz => RotationFormat::QuaternionWxyz,
        Rotation::Vector => RotationFormat::RotationVector,
        Rotation::SixColumns => RotationFormat::SixColumns,
        Rotation::SixRows => RotationFormat::SixRows,
        Rotation::EulerIntrinsic => RotationFormat::EulerXyzIntrinsic,
        Rotation::EulerExtrinsic => RotationFormat::EulerXyzExtrinsic,
    }
}

/// What seeks joints for the tool poses of `action`.
fn inverse(
    action: &Action,
    tool: &Tool,
    arm: &[String],
    info: &ArmInfo,
) -> Result<Inverse, VlaError> {
    let Some(geometry) = &info.geometry else {
        return Err(VlaError::NoGeometry {
            representation: action.representation.word(),
        });
    };
    let names: Vec<&str> = arm.iter().map(String::as_str).collect();
    let chain = Chain::from_urdf(&geometry.urdf, &tool.base_link, &tool.tool_link, &names)
        .map_err(VlaError::Kinematics)?;
    let limits: Vec<[f64; 2]> = info.limits.iter().map(|l| [l.lower, l.upper]).collect();
    let spec = InverseSpec {
        max_iterations: MAX_STEPS,
        length_m: chain.reach().max_abs().clamp(SHORTEST_ARM_M, 1.0),
        ..InverseSpec::default()
    };
    Inverse::new(chain, &limits, spec).map_err(VlaError::Kinematics)
}

impl Represent {
    /// What `action` of a manifest means for an arm with the joints `arm`; `info` is that arm's: without one, tool poses
    /// lead nowhere.
    ///
    /// # Errors
    /// [`VlaError`] when the manifest's joints and the arm's are not the same set, or the arm does not describe the links that
    /// tool poses are between.
    pub fn new(action: &Action, arm: &[String], info: Option<&ArmInfo>) -> Result<Self, VlaError> {
        let tool = match &action.tool {
            None => None,
            Some(tool) => Some(ToolWay {
                inverse: info
                    .map(|info| inverse(action, tool, arm, info))
                    .transpose()?,
                rotation: format(tool.rotation),
                frame: tool.frame,
            }),
        };
        Ok(Self {
            representation: action.representation,
            indices: joints::find_all("action.joints", &action.joints, arm)?,
            period_secs: action.period.as_secs_f64(),
            tool,
        })
    }

    /// How many numbers an action has, the gripper's not counted.
    pub fn columns(&self) -> usize {
        match &self.tool {
            Some(tool) => 3 + tool.rotation.count(),
            None => self.indices.len(),
        }
    }

    /// How far row `index` of a chunk may be off, in ranges of its motion columns, when every row up to it is off by one
    /// range: errors of steps add up. 1 for tool poses, as the numbers that they are.
    pub fn spread(&self, index: usize) -> f64 {
        let rows = (index + 1) as f64;
        match self.representation {
            Representation::JointSteps => rows,
            Representation::JointVelocities => rows * self.period_secs,
            Representation::RelativeJoints
            | Representation::AbsoluteJoints
            | Representation::ToolPoses
            | Representation::RelativeToolPoses
            | Representation::ToolSteps => 1.0,
        }
    }

    /// The way through a chunk from `anchor`, the arm's joints in its order, rad.
    ///
    /// # Errors
    /// [`RepresentError::NoArm`] where actions are tool poses and there is no arm.
    pub fn walk(&self, anchor: JointVec) -> Result<Walk<'_>, RepresentError> {
        let tool = match &self.tool {
            None => None,
            Some(of) => {
                let inverse = of.inverse.as_ref().ok_or(RepresentError::NoArm)?;
                let x = inverse.chain().forward(&anchor);
                Some(ToolWalk {
                    of,
                    inverse,
                    x_anchor: x,
                    x_before: x,
                })
            }
        };
        Ok(Walk {
            of: self,
            anchor,
            before: anchor,
            tool,
        })
    }

    /// What a joint column is added to, and how often it counts.
    fn origin(&self, anchor: JointVec, before: JointVec) -> (JointVec, f64) {
        match self.representation {
            Representation::RelativeJoints => (anchor, 1.0),
            Representation::JointSteps => (before, 1.0),
            Representation::JointVelocities => (before, self.period_secs),
            // Tool poses have no joint columns.
            Representation::AbsoluteJoints
            | Representation::ToolPoses
            | Representation::RelativeToolPoses
            | Representation::ToolSteps => (JointVec::zeros(anchor.len()), 1.0),
        }
    }
}

impl Walk<'_> {
    /// The joint targets, rad in the arm's order, that the next row means by `values`, which are finite.
    ///
    /// # Errors
    /// [`RepresentError`] when the numbers are no rotation, or the arm does not reach the pose.
    pub fn action(&mut self, values: &[f64]) -> Result<JointVec, RepresentError> {
        let q = match &mut self.tool {
            Some(tool) => tool.reached(self.of.representation, values, &self.before)?,
            None => {
                let (mut q, scale) = self.of.origin(self.anchor, self.before);
                for (i, value) in self.of.indices.iter().zip(values) {
                    q[*i] += scale * value;
                }
                q
            }
        };
        self.before = q;
        Ok(q)
    }

    /// Writes the numbers by which the next row means `q`, rad in the arm's order; the inverse of [`Walk::action`].
    ///
    /// # Errors
    /// [`RepresentError::Rotation`] when `out` has another length than [`Represent::columns`].
    pub fn values(&mut self, q: &JointVec, out: &mut [f64]) -> Result<(), RepresentError> {
        match &mut self.tool {
            Some(tool) => tool.posed(self.of.representation, q, out)?,
            None => {
                let (origin, scale) = self.of.origin(self.anchor, self.before);
                for (i, out) in self.of.indices.iter().zip(out) {
                    *out = (q[*i] - origin[*i]) / scale;
                }
            }
        }
        self.before = *q;
        Ok(())
    }
}

impl ToolWalk<'_> {
    /// The pose that the next row's way begins at; `None`: it is no way.
    fn x_from(&self, representation: Representation) -> Option<Isometry3<f64>> {
        match representation {
            Representation::RelativeToolPoses => Some(self.x_anchor),
            Representation::ToolSteps => Some(self.x_before),
            _ => None,
        }
    }

    fn reached(
        &mut self,
        representation: Representation,
        values: &[f64],
        before: &JointVec,
    ) -> Result<JointVec, RepresentError> {
        let (place, turn) = values.split_at(values.len().min(3));
        // Too few numbers are refused here.
        let rotation = self.of.rotation.read(turn)?;
        let v = Isometry3::from_parts(Vector3::from_column_slice(place).into(), rotation);
        let target = match (self.x_from(representation), self.of.frame) {
            (None, _) => v,
            (Some(from), WayFrame::Tool) => from * v,
            (Some(from), WayFrame::Base) => Isometry3::from_parts(
                (from.translation.vector + v.translation.vector).into(),
                v.rotation * from.rotation,
            ),
        };
        let followed = self.inverse.follow(&target, before);
        let place_m = target.translation.vector.into();
        // Written so that NaN is out of reach.
        if !(followed.residual_m <= REACHED_M && followed.residual_rad <= REACHED_RAD) {
            return Err(RepresentError::OutOfReach {
                place_m,
                residual_m: followed.residual_m,
                residual_rad: followed.residual_rad,
            });
        }
        if followed.slow_down <= 0.0 {
            return Err(RepresentError::Singular {
                place_m,
                expected: InverseSpec::default().condition_stop,
                actual: self.inverse.condition(&followed.q),
            });
        }
        self.x_before = target;
        Ok(before.lerp(&followed.q, followed.slow_down))
    }

    fn posed(
        &mut self,
        representation: Representation,
        q: &JointVec,
        out: &mut [f64],
    ) -> Result<(), RepresentError> {
        let x = self.inverse.chain().forward(q);
        let v = match (self.x_from(representation), self.of.frame) {
            (None, _) => x,
            (Some(from), WayFrame::Tool) => from.inv_mul(&x),
            (Some(from), WayFrame::Base) => Isometry3::from_parts(
                (x.translation.vector - from.translation.vector).into(),
                x.rotation * from.rotation.inverse(),
            ),
        };
        let (place, turn) = out.split_at_mut(out.len().min(3));
        self.of.rotation.write(&v.rotation, turn)?;
        place.copy_from_slice(v.translation.vector.as_slice());
        self.x_before = x;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
