//! Two arms that one policy moves: as one arm to the policy, and what of its chunk is whose.
//!
//! ```text
//!   left:  shoulder elbow | gripper      prefix `left_`
//!   right: shoulder elbow | gripper      prefix `right_`
//!   to the policy: left_shoulder left_elbow left_gripper right_shoulder right_elbow right_gripper
//! ```
//! A joint of an arm is the policy's of the same name behind the arm's prefix; the arm's gripper is `<prefix>gripper`, a column like
//! a joint's whose value is the opening, 0 closed .. 1 open. A policy that does not list a gripper leaves it where it is measured, as
//! one without a gripper leaves that of a single arm. Everything else has to fit exactly: what a policy lists and no arm has, what
//! an arm has and no action moves, and what is named twice is refused, by name.
//!
//! Decides which column is whose. Does not decide when the two are asked for ([`crate::rendezvous`]).

use std::sync::Arc;

use tactus_types::{Action, ActionChunk, JointState, JointVec, MAX_JOINTS};

/// What a gripper's column is called, behind its arm's prefix.
const GRIPPER: &str = "gripper";

/// An arm of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairArm {
    /// Its name in the cell.
    pub name: Arc<str>,
    /// What the policy's names of its joints begin with.
    pub prefix: String,
    /// Its joints, in its own order.
    pub joints: Vec<String>,
    /// Whether it has a gripper.
    pub gripper: bool,
}

/// Why a policy does not move these two arms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// No arm has that joint.
    #[error(
        "bundle.toml: field `{field}`: expected joints of the pair ({known}), got `{joint}`, which neither arm has"
    )]
    Unknown {
        /// `state.joints` or `action.joints`.
        field: &'static str,
        /// The joint.
        joint: String,
        /// Every column that there could be.
        known: String,
    },
    /// The policy does not say what becomes of a joint.
    #[error(
        "bundle.toml: field `action.joints`: expected every joint of both arms, with `{joint}` of arm `{arm}`, got {listed}"
    )]
    Missing {
        /// As the policy would call it.
        joint: String,
        /// Whose it is.
        arm: Arc<str>,
        /// What the policy lists.
        listed: String,
    },
    /// A name stands for two things.
    #[error("`{joint}`: expected one joint of that name in {of}, got two")]
    Double {
        /// The name.
        joint: String,
        /// Where.
        of: &'static str,
    },
    /// There is no room.
    #[error(
        "expected at most {MAX_JOINTS} joints and grippers of both arms together, got {actual}"
    )]
    TooMany {
        /// How many there are.
        actual: usize,
    },
}

/// Where the columns of an arm are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    name: Arc<str>,
    /// Its first column.
    from: usize,
    joints: usize,
    /// Whether its gripper has a column, after its joints.
    gripper: bool,
}

/// Two arms as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    sides: [Side; 2],
    columns: Vec<String>,
}

impl Pair {
    /// `arms` as one for a policy whose state and action list these joints.
    ///
    /// # Errors
    /// [`PairError`] for the first thing that does not fit.
    pub fn new(
        arms: &[PairArm; 2],
        state: &[String],
        action: &[String],
    ) -> Result<Self, PairError> {
        let mut columns = Vec::new();
        let mut owners = Vec::new();
        let sides = arms.each_ref().map(|arm| {
            let from = columns.len();
            let named = |joint: &String| format!("{}{joint}", arm.prefix);
            columns.extend(arm.joints.iter().map(named));
            let own = format!("{}{GRIPPER}", arm.prefix);
            let gripper = arm.gripper && (state.contains(&own) || action.contains(&own));
            columns.extend(gripper.then_some(own));
            owners.resize(columns.len(), arm.name.clone());
            Side {
                name: arm.name.clone(),
                from,
                joints: arm.joints.len(),
                gripper,
            }
        });
        if columns.len() > MAX_JOINTS {
            return Err(PairError::TooMany {
                actual: columns.len(),
            });
        }
        for (listed, of) in [
            (columns.as_slice(), "the two arms"),
            (state, "state.joints"),
            (action, "action.joints"),
        ] {
            if let Some(joint) = double(listed) {
                let joint = joint.clone();
                return Err(PairError::Double { joint, of });
            }
        }
        for (field, listed) in [("state.joints", state), ("action.joints", action)] {
            if let Some(joint) = listed.iter().find(|joint| !columns.contains(joint)) {
                return Err(PairError::Unknown {
                    field,
                    joint: joint.clone(),
                    known: columns.join(", "),
                });
            }
        }
        let unmoved = columns.iter().zip(&owners);
        if let Some((joint, arm)) = unmoved.into_iter().find(|(c, _)| !action.contains(c)) {
            return Err(PairError::Missing {
                joint: joint.clone(),
                arm: arm.clone(),
                listed: action.join(", "),
            });
        }
        Ok(Self { sides, columns })
    }

    /// The columns, as the policy calls them: the joints of the one arm that it sees.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether a gripper is among the columns.
    pub fn has_grippers(&self) -> bool {
        self.sides.iter().any(|side| side.gripper)
    }

    /// Names of the arms.
    pub fn names(&self) -> [Arc<str>; 2] {
        self.sides.each_ref().map(|side| side.name.clone())
    }

    /// Whether `state` can be one of arm `which`.
    pub fn is_of(&self, which: usize, state: &JointState) -> bool {
        let side = self.sides.get(which);
        side.is_some_and(|side| side.joints == state.q.len() && side.joints == state.dq.len())
    }

    /// The two as one, at the instant of the first; `None` where a state is not of its arm. Its epoch is another when that of either
    /// arm is.
    pub fn state(&self, states: [&JointState; 2]) -> Option<JointState> {
        let [first, second] = states;
        let mut q = JointVec::zeros(self.columns.len());
        let mut dq = q;
        for (which, (side, state)) in self.sides.iter().zip(states).enumerate() {
            if !self.is_of(which, state) {
                return None;
            }
            for joint in 0..side.joints {
                q[side.from + joint] = state.q[joint];
                dq[side.from + joint] = state.dq[joint];
            }
            if side.gripper {
                q[side.from + side.joints] = state.opening;
            }
        }
        Some(JointState {
            q,
            dq,
            opening: 0.0,
            epoch: first.epoch.rotate_left(1) ^ second.epoch,
            torque: first.torque && second.torque,
            ..*first
        })
    }

    /// What of `chunk` is arm `which`'s, whose gripper was measured at `opening`; `None` where an action has not the columns of the
    /// pair. Times stay what they are: both arms are due the same action at the same instant.
    pub fn share(&self, which: usize, chunk: &ActionChunk, opening: f64) -> Option<ActionChunk> {
        let side = self.sides.get(which)?;
        let own = |action: &Action| {
            if action.q.len() != self.columns.len() {
                return None;
            }
            let opening = match side.gripper {
                true => action.q[side.from + side.joints].clamp(0.0, 1.0),
                false => opening,
            };
            Some(Action {
                q: JointVec::from_fn(side.joints, |joint| action.q[side.from + joint]),
                opening,
            })
        };
        let actions: Option<Vec<Action>> = chunk.actions.iter().map(own).collect();
        Some(ActionChunk {
            actions: actions?,
            ..chunk.clone()
        })
    }
}

/// A name that is listed twice.
fn double(listed: &[String]) -> Option<&String> {
    let mut others = listed.iter().enumerate();
    others.find_map(|(i, joint)| listed[..i].contains(joint).then_some(joint))
}

#[cfg(test)]
mod tests;
