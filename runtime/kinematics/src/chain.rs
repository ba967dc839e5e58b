//! The joints between a base link and a tip link, and where they put every body. Decides which joints of a description
//! make the chain and in which order their values come; does not decide limits' use, nor what reaches a pose.
//!
//! With joints 1..n along the chain, `X_BT = X_1 J_1(q) X_2 J_2(q) .. X_n J_n(q) X_T`: `X_i` are the joints' origins with
//! the fixed joints before them folded in, `J_i` turns about the joint's axis (revolute, continuous) or moves along it
//! (prismatic), `X_T` is what is fixed after the last joint. Jacobian: columns `[a_i x (p_T - p_i); a_i]` of revolute and
//! `[a_i; 0]` of prismatic joints. Source: Siciliano et al., *Robotics: Modelling, Planning and Control* (2009), eq. 3.30.

use nalgebra::{Isometry3, Translation3, Unit, UnitQuaternion, Vector3, Vector6};
use tactus_types::{JointVec, MAX_JOINTS};
use urdf_rs::JointType;

use crate::error::KinematicsError;
use crate::jacobian::Jacobian;
use crate::urdf::{self, Tree, names};

/// How a joint moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Motion {
    Turns,
    Slides,
}

/// One movable joint.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    motion: Motion,
    /// Axis in the joint's frame.
    axis: Unit<Vector3<f64>>,
    /// The joint's frame at zero in the frame of the body before it.
    x_before: Isometry3<f64>,
    /// Which value of the arm's joint vector it is.
    index: usize,
}

/// A serial chain of joints. Immutable: a description that changed is a new chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    base: String,
    tip: String,
    joints: Vec<String>,
    limits: Vec<[f64; 2]>,
    steps: Vec<Step>,
    x_tip: Isometry3<f64>,
}

/// Poses in the base frame of every body of a chain and of its tip. Fixed size, to be kept and written again.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    bodies: [Isometry3<f64>; MAX_JOINTS + 1],
    len: usize,
    tip: Isometry3<f64>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            bodies: [Isometry3::identity(); MAX_JOINTS + 1],
            len: 1,
            tip: Isometry3::identity(),
        }
    }
}

impl Frames {
    /// `X_Bi`: the frame of each body; body 0 is the base itself, body i the link below the i-th joint along the chain.
    pub fn bodies(&self) -> &[Isometry3<f64>] {
        &self.bodies[..self.len]
    }

    /// `X_BT`.
    pub fn tip(&self) -> &Isometry3<f64> {
        &self.tip
    }
}

impl Chain {
    /// The chain from `base_link` to `tip_link` of the URDF `text`; `joints` are the names of its movable joints in the
    /// arm's order. Fixed joints are folded in; everything off the way from base to tip is left out.
    ///
    /// # Errors
    /// [`KinematicsError`], naming what is at fault: a link that does not exist or is not below the base, a movable joint
    /// that is not in `joints`, a name in `joints` that does not move the chain or comes twice, joints that follow another
    /// (`mimic`) or have several degrees of freedom, more than [`MAX_JOINTS`] or none, numbers that are not usable.
    pub fn from_urdf(
        text: &str,
        base_link: &str,
        tip_link: &str,
        joints: &[&str],
    ) -> Result<Self, KinematicsError> {
        let tree = Tree::from_urdf(text)?;
        tree.check_link(base_link)?;
        tree.check_link(tip_link)?;
        if joints.is_empty() || joints.len() > MAX_JOINTS {
            return Err(KinematicsError::Field {
                field: "joints",
                expected: "1 to 16 names",
                actual: joints.len().to_string(),
            });
        }
        let mut way = Vec::new();
        if base_link != tip_link {
            way.extend(tree.above(tip_link));
            let Some(first) = way.iter().position(|j| j.parent.link == base_link) else {
                let root = way.last().map_or(tip_link, |j| &j.parent.link);
                return Err(KinematicsError::NotBelow {
                    tip: tip_link.into(),
                    base: base_link.into(),
                    root: root.into(),
                });
            };
            way.truncate(first + 1);
            way.reverse();
        }
        let mut steps = Vec::new();
        let mut limits = vec![[f64::NEG_INFINITY, f64::INFINITY]; joints.len()];
        let mut x_before = Isometry3::identity();
        for joint in &way {
            x_before *= urdf::pose(&joint.origin, || format!("joint `{}`", joint.name))?;
            let Some(motion) = motion(joint)? else {
                continue;
            };
            let Some(index) = joints.iter().position(|name| *name == joint.name) else {
                return Err(KinematicsError::JointMissing {
                    joint: joint.name.clone(),
                    arm: names(joints.iter().copied()),
                });
            };
            limits[index] = position_limits(joint)?;
            steps.push(Step {
                motion,
                axis: urdf::axis(joint)?,
                x_before,
                index,
            });
            x_before = Isometry3::identity();
        }
        for (i, name) in joints.iter().enumerate() {
            let actual = if joints[..i].contains(name) {
                "the same name twice"
            } else if steps.iter().any(|step| step.index == i) {
                continue;
            } else if way.iter().any(|j| j.name == **name) {
                "a fixed joint"
            } else if tree.joint(name).is_some() {
                "a joint elsewhere"
            } else {
                "no joint of this robot"
            };
            return Err(KinematicsError::JointNotInChain {
                joint: (*name).into(),
                base: base_link.into(),
                tip: tip_link.into(),
                actual: actual.into(),
            });
        }
        Ok(Self {
            base: base_link.into(),
            tip: tip_link.into(),
            joints: joints.iter().map(|name| (*name).to_owned()).collect(),
            limits,
            steps,
            x_tip: x_before,
        })
    }

    /// Name of the link whose frame is the base frame.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Name of the link whose frame is the tip frame.
    pub fn tip(&self) -> &str {
        &self.tip
    }

    /// Names of the joints in the arm's order.
    pub fn joints(&self) -> &[String] {
        &self.joints
    }

    /// Lowest and highest position of each joint in the arm's order, rad or m, as the description has them; infinite for
    /// continuous joints. What the arm's driver says of itself may be narrower, and counts.
    pub fn limits(&self) -> &[[f64; 2]] {
        &self.limits
    }

    /// Whether the joint in that place of the arm's order slides: its positions are m, not rad.
    pub fn slides(&self, joint: usize) -> bool {
        let step = self.steps.iter().find(|step| step.index == joint);
        step.is_some_and(|step| step.motion == Motion::Slides)
    }

    /// Names of the joints from base to tip: the i-th moves body i + 1.
    pub fn joints_along(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|s| self.joints[s.index].as_str())
    }

    /// Places in the arm's order of the joints from base to tip: the i-th moves body i + 1.
    pub(crate) fn indices_along(
        &self,
    ) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.steps.iter().map(|s| s.index)
    }

    /// `X_BT`: pose of the tip in the base frame, m. `q` in the arm's order, rad or m.
    ///
    /// # Panics
    /// If `q` has fewer values than the chain has joints.
    pub fn forward(&self, q: &JointVec) -> Isometry3<f64> {
        let mut x = Isometry3::identity();
        for step in &self.steps {
            x = step.advance(&x, q);
        }
        x * self.x_tip
    }

    /// Poses of all bodies and of the tip in the base frame, in one pass. `q` in the arm's order, rad or m.
    ///
    /// # Panics
    /// If `q` has fewer values than the chain has joints.
    pub fn frames(&self, q: &JointVec, frames: &mut Frames) {
        let mut x = Isometry3::identity();
        frames.bodies[0] = x;
        for (step, body) in self.steps.iter().zip(&mut frames.bodies[1..]) {
            x = step.advance(&x, q);
            *body = x;
        }
        frames.len = self.steps.len() + 1;
        frames.tip = x * self.x_tip;
    }

    /// How far the tip moves at most per unit of each joint's movement, whatever the other joints do: m/rad of a joint that
    /// turns, 1 of one that slides; in the arm's order. Infinite where an endless joint that slides lies in between.
    pub fn reach(&self) -> JointVec {
        let last = self.steps.len();
        self.reach_of(|body| (body == last).then(|| self.x_tip.translation.vector.norm()))
    }

    /// As [`Chain::reach`], of all points of bodies that lie within `extent_m(body)` of the body's origin; `None` for a body
    /// without such points.
    pub(crate) fn reach_of(&self, extent_m: impl Fn(usize) -> Option<f64>) -> JointVec {
        let mut reach = JointVec::zeros(self.joints.len());
        // From the tip back: the farthest point of all bodies from here on, from the origin of this body.
        let mut beyond: Option<f64> = None;
        for (i, step) in self.steps.iter().enumerate().rev() {
            let own = extent_m(i + 1);
            beyond = match (beyond, own) {
                (Some(beyond), Some(own)) => Some(beyond.max(own)),
                (beyond, own) => beyond.or(own),
            };
            let Some(farthest) = beyond else { continue };
            let [lower, upper] = self.limits[step.index];
            let (per_unit, travel) = match step.motion {
                Motion::Turns => (farthest, 0.0),
                Motion::Slides => (1.0, lower.abs().max(upper.abs())),
            };
            reach[step.index] = per_unit;
            beyond = Some(farthest + travel + step.x_before.translation.vector.norm());
        }
        reach
    }

    /// The geometric Jacobian at the tip in the base frame: columns in the arm's order; rows 0..3 the tip's velocity, m/s,
    /// rows 3..6 its angular velocity, rad/s, per unit of joint velocity.
    ///
    /// # Panics
    /// If `q` has fewer values than the chain has joints.
    pub fn jacobian(&self, q: &JointVec) -> Jacobian {
        let mut frames = Frames::default();
        self.frames(q, &mut frames);
        self.jacobian_at(&frames)
    }

    /// [`Chain::jacobian`] from `frames` that [`Chain::frames`] of this chain has written.
    pub fn jacobian_at(&self, frames: &Frames) -> Jacobian {
        let tip = frames.tip.translation.vector;
        let mut jacobian = Jacobian::zeros(self.joints.len());
        for (step, x) in self.steps.iter().zip(&frames.bodies[1..]) {
            // A joint does not turn its own axis: the frame after the joint does as well as the one before.
            let axis = x.rotation * step.axis.into_inner();
            let (linear, angular) = match step.motion {
                Motion::Turns => (axis.cross(&(tip - x.translation.vector)), axis),
                Motion::Slides => (axis, Vector3::zeros()),
            };
            *jacobian.column_mut(step.index) = Vector6::new(
                linear.x, linear.y, linear.z, angular.x, angular.y, angular.z,
            );
        }
        jacobian
    }
}

impl Step {
    /// The body's frame from the frame `x` of the body before it.
    fn advance(&self, x: &Isometry3<f64>, q: &JointVec) -> Isometry3<f64> {
        let (q, x) = (q[self.index], x * self.x_before);
        match self.motion {
            Motion::Turns => x * UnitQuaternion::from_axis_angle(&self.axis, q),
            Motion::Slides => x * Translation3::from(self.axis.into_inner() * q),
        }
    }
}

/// How a joint of the chain moves; `None` for a fixed one.
fn motion(joint: &urdf_rs::Joint) -> Result<Option<Motion>, KinematicsError> {
    let motion = match joint.joint_type {
        JointType::Fixed => return Ok(None),
        JointType::Revolute | JointType::Continuous => Motion::Turns,
        JointType::Prismatic => Motion::Slides,
        JointType::Floating | JointType::Planar | JointType::Spherical => {
            return Err(urdf::element(
                format!("joint `{}`", joint.name),
                "a fixed, revolute, continuous or prismatic joint",
                format!("{:?}", joint.joint_type).to_lowercase(),
            ));
        }
    };
    if let Some(mimic) = &joint.mimic {
        return Err(urdf::element(
            format!("joint `{}`", joint.name),
            "a joint with a position of its own",
            format!("one that mimics `{}`", mimic.joint),
        ));
    }
    Ok(Some(motion))
}

/// Lowest and highest position; infinite where the joint has none.
fn position_limits(joint: &urdf_rs::Joint) -> Result<[f64; 2], KinematicsError> {
    if joint.joint_type == JointType::Continuous {
        return Ok([f64::NEG_INFINITY, f64::INFINITY]);
    }
    let urdf_rs::JointLimit { lower, upper, .. } = joint.limit;
    if lower >= upper || lower.is_nan() || upper.is_nan() {
        return Err(urdf::element(
            format!("joint `{}`, limit", joint.name),
            "lower < upper",
            format!("{lower} .. {upper}"),
        ));
    }
    Ok([lower, upper])
}
