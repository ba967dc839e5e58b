//! What the controller says of itself: modes, errors, how a motion ended; and what an operator does about it. Pure.

use franka::{ControlException, Errors, MoveStatus, RobotMode};

use crate::model::{JOINT_NAMES, JOINTS, ROWS};

/// A state of the robot, as much of it as anybody here looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Measured joint positions, rad.
    pub q: [f64; JOINTS],
    /// Measured joint velocities, rad/s.
    pub dq: [f64; JOINTS],
    /// Its mode.
    pub mode: RobotMode,
    /// Errors that are active.
    pub errors: Errors,
    /// Share of the last 100 commands that reached it in time, 0 to 1; 0 while no motion runs.
    pub success_rate: f64,
}

impl From<&franka::RobotState> for Sample {
    fn from(state: &franka::RobotState) -> Self {
        Self {
            q: state.q,
            dq: state.dq,
            mode: state.robot_mode,
            errors: state.current_errors,
            success_rate: state.control_command_success_rate,
        }
    }
}

impl Sample {
    /// Whether its numbers are numbers.
    pub fn is_finite(&self) -> bool {
        self.q.iter().chain(&self.dq).all(|x| x.is_finite())
    }

    /// Its mode, with the errors that are active.
    pub fn word(&self) -> String {
        match self.errors.any() {
            true => format!("{} ({})", self.mode, self.errors.names().join(", ")),
            false => self.mode.to_string(),
        }
    }
}

/// What an operator does about a mode.
pub(crate) fn remedy(mode: RobotMode) -> &'static str {
    match mode {
        RobotMode::Idle => "",
        RobotMode::Move => ": another motion runs",
        RobotMode::Guiding => ": it is guided by hand; leave guiding",
        RobotMode::Reflex => ": see why, then `tactus device recover`",
        RobotMode::UserStopped => ": release the enabling device or the stop",
        RobotMode::AutomaticErrorRecovery => ": wait until it has recovered",
        RobotMode::Other => ": are the joints unlocked and FCI activated in Desk?",
    }
}

/// Why a motion may not begin in the state `sample`, in a sentence.
pub fn refusal(sample: &Sample) -> Option<String> {
    if sample.mode != RobotMode::Idle {
        return Some(format!(
            "the robot is in mode {}{}",
            sample.word(),
            remedy(sample.mode)
        ));
    }
    if sample.errors.any() {
        let names = sample.errors.names().join(", ");
        return Some(format!(
            "the robot has an error ({names}): see why, then `tactus device recover`"
        ));
    }
    outside(&sample.q)
}

/// The first joint that is outside the range of commands, in a sentence.
pub(crate) fn outside(q: &[f64; JOINTS]) -> Option<String> {
    let outside = (0..JOINTS).find(|i| {
        let [lower, upper] = ROWS[*i].range();
        !(lower..=upper).contains(&q[*i])
    });
    outside.map(|i| {
        let [lower, upper] = ROWS[i].range();
        format!(
            "{} is at {:.3} rad, outside {lower:.3} to {upper:.3} rad, where commands are: guide it back by hand",
            JOINT_NAMES[i], q[i]
        )
    })
}

/// Why the arm does not follow any more, or never did.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The robot stopped by itself.
    Reflex {
        /// Its errors, by FCI's names.
        errors: Vec<&'static str>,
    },
    /// The stop, or the enabling device.
    UserStop,
    /// A safety function.
    Safety,
    /// It was not permitted, or ended from elsewhere: the controller's words.
    Refused(String),
    /// The connection.
    Lost(String),
    /// Whoever commands does not run any more.
    Silent,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reflex { errors } => {
                let names = match errors.is_empty() {
                    true => "no error named".to_owned(),
                    false => errors.join(", "),
                };
                write!(f, "reflex: {names}{}", remedy(RobotMode::Reflex))
            }
            Self::UserStop => write!(f, "user stop{}", remedy(RobotMode::UserStopped)),
            Self::Safety => f.write_str("a safety function of the robot is active: see Desk"),
            Self::Refused(words) => f.write_str(words),
            Self::Lost(words) => write!(f, "the connection to the controller is lost: {words}"),
            Self::Silent => f.write_str("the device's own thread does not run"),
        }
    }
}

/// What libfranka's texts begin with.
const LIBFRANKA: &str = "libfranka: ";

impl From<franka::FrankaError> for Ended {
    fn from(error: franka::FrankaError) -> Self {
        match error {
            franka::FrankaError::Control(exception) => Self::from(&exception),
            franka::FrankaError::Network(words) => Self::Lost(
                words
                    .trim_start_matches(LIBFRANKA)
                    .trim_end_matches('.')
                    .to_owned(),
            ),
            other => Self::Refused(sentence(&other.to_string())),
        }
    }
}

impl From<&ControlException> for Ended {
    fn from(exception: &ControlException) -> Self {
        match exception.move_status {
            Some(MoveStatus::ReflexAborted | MoveStatus::InputErrorAborted) => Self::Reflex {
                errors: exception.last_motion_errors.names(),
            },
            Some(MoveStatus::EmergencyAborted) => Self::UserStop,
            Some(
                MoveStatus::PreemptedDueToActivatedSafetyFunctions
                | MoveStatus::CommandRejectedDueToActivatedSafetyFunctions,
            ) => Self::Safety,
            _ => Self::Refused(sentence(&exception.message)),
        }
    }
}

/// The first line of libfranka's words, without its name.
pub fn sentence(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    line.trim_start_matches(LIBFRANKA).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Sample {
        Sample {
            q: [0.0, 0.0, 0.0, -1.57, 0.0, 1.57, 0.785],
            dq: [0.0; JOINTS],
            mode: RobotMode::Idle,
            errors: Errors::default(),
            success_rate: 0.0,
        }
    }

    fn errors(name: &str) -> Errors {
        let mut errors = Errors::default();
        errors.0[Errors::index_of(name).expect("known")] = true;
        errors
    }

    #[test]
    fn a_motion_begins_only_at_rest_without_errors_and_inside_the_range() {
        assert_eq!(refusal(&idle()), None);
        let refused = |sample: Sample, word: &str| {
            let text = refusal(&sample).expect("refused");
            assert!(text.contains(word), "{text}");
        };
        for (mode, word) in [
            (RobotMode::Other, "FCI activated in Desk"),
            (RobotMode::Move, "another motion"),
            (RobotMode::Guiding, "leave guiding"),
            (RobotMode::UserStopped, "enabling device"),
            (RobotMode::AutomaticErrorRecovery, "wait"),
        ] {
            refused(Sample { mode, ..idle() }, word);
        }
        let reflex = Sample {
            mode: RobotMode::Reflex,
            errors: errors("cartesian_reflex"),
            ..idle()
        };
        refused(
            reflex,
            "Reflex (cartesian_reflex): see why, then `tactus device recover`",
        );
        refused(
            Sample {
                errors: errors("joint_reflex"),
                ..idle()
            },
            "joint_reflex",
        );
        let mut near = idle();
        near.q[3] = -0.2;
        refused(near, "fr3_joint4 is at -0.200 rad");
        near.q[3] = f64::NAN;
        refused(near, "fr3_joint4");
        assert!(!near.is_finite());
    }

    #[test]
    fn how_a_motion_ended_is_said_in_the_controllers_words() {
        let exception = |status, message: &str| {
            franka::FrankaError::Control(ControlException {
                message: message.into(),
                move_status: status,
                last_motion_errors: errors("communication_constraints_violation"),
                log: Vec::new(),
            })
        };
        let reflex = Ended::from(exception(Some(MoveStatus::ReflexAborted), "x"));
        assert_eq!(
            reflex.to_string(),
            "reflex: communication_constraints_violation: see why, then `tactus device recover`"
        );
        let stop = Ended::from(exception(Some(MoveStatus::EmergencyAborted), "x"));
        assert_eq!(stop, Ended::UserStop);
        let safety = Some(MoveStatus::PreemptedDueToActivatedSafetyFunctions);
        assert_eq!(Ended::from(exception(safety, "x")), Ended::Safety);
        let text = "libfranka: Move command preempted!\nmore";
        let preempted = Ended::from(exception(Some(MoveStatus::Preempted), text));
        assert_eq!(preempted.to_string(), "Move command preempted!");
        let lost = franka::FrankaError::Network("libfranka: UDP receive: Timeout".into());
        assert_eq!(
            Ended::from(lost),
            Ended::Lost("UDP receive: Timeout".into())
        );
    }
}
