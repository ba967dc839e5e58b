//! What a node's state means: whether the arm may be enabled, and why it does not follow any more. Pure.

use std::time::Duration;

use tactus_types::Time;

use super::Joints;
use super::wire::{Phase, State};
use crate::device::Sampled;
use crate::modes::{self, Ended};

/// A node that says that it holds although targets go out is believed after so long: it says so after its own `hold_after_ms`,
/// and takes it back with the next target that it accepts.
const HOLDS: Duration = Duration::from_millis(250);
/// Without a state for so long a session is lost. The node publishes 100 a second where it is not told otherwise.
pub const SILENCE: Duration = Duration::from_millis(250);

/// A state, with who looks at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// What the node said.
    pub state: State,
    /// This client.
    pub client: u32,
}

impl Sample {
    /// Whether this client has the lease.
    pub fn is_ours(&self) -> bool {
        self.state.holder == self.client
    }

    /// Whether this client's joints session runs.
    pub fn follows(&self) -> bool {
        self.is_ours() && self.state.phase == Phase::Active && self.state.joints
    }

    /// The robot's mode.
    pub fn word(&self) -> String {
        match self.state.has_errors {
            true => format!("{} (with errors)", self.state.mode),
            false => self.state.mode.to_string(),
        }
    }

    /// Why the arm cannot be enabled as it is, whoever asks.
    pub fn unfit(&self) -> Option<String> {
        let State {
            phase,
            mode,
            has_errors,
            q,
            ..
        } = &self.state;
        let remedy = modes::remedy(*mode);
        match phase {
            Phase::Faulted => {
                return Some(format!(
                    "franka-node is faulted and the robot in mode {}: see why, then `tactus device recover`",
                    self.word()
                ));
            }
            Phase::Active | Phase::Homing | Phase::Stopping => {
                return Some(format!("franka-node is {phase}: another session runs"));
            }
            Phase::Idle | Phase::Acquired => {}
        }
        if *mode != franka::RobotMode::Idle {
            return Some(format!("the robot is in mode {}{remedy}", self.word()));
        }
        if *has_errors {
            return Some("the robot has an error: see why, then `tactus device recover`".into());
        }
        modes::outside(q)
    }
}

impl Sampled for Sample {
    fn q(&self) -> Joints {
        self.state.q
    }

    fn dq(&self) -> Joints {
        self.state.dq
    }

    fn refusal(&self) -> Option<String> {
        match self.state.holder {
            _ if self.is_ours() => self.unfit(),
            0 => Some("franka-node has not given the arm to this client yet".into()),
            other => Some(format!(
                "franka-node has given the arm to client {other}: an arm has one owner"
            )),
        }
    }
}

/// Watches a session of this client's.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    refused: u64,
    holding_since: Option<Time>,
}

/// What a state says of the session.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// It goes on.
    Well,
    /// The node refused so many targets since the last look; its last accepted one is the state's.
    Refused(u64),
    /// It is over.
    Over(Ended),
}

impl Watch {
    /// A session that begins in the state `sample`.
    pub fn new(sample: &Sample) -> Self {
        Self {
            refused: sample.state.refused,
            holding_since: None,
        }
    }

    /// Looks at the newest state at `now`, which came at `came`.
    pub fn look(&mut self, sample: &Sample, came: Time, now: Time) -> Seen {
        let State {
            phase,
            mode,
            holder,
            holding,
            refused,
            ..
        } = sample.state;
        let over = |words: String| Seen::Over(Ended::Refused(words));
        if now.since(came) > SILENCE {
            let words = format!("no state of franka-node for {} ms", SILENCE.as_millis());
            return Seen::Over(Ended::Lost(words));
        }
        if !sample.is_ours() {
            return over(match holder {
                0 => "franka-node has freed the arm: it lost sight of this client".into(),
                other => format!("franka-node has given the arm to client {other}"),
            });
        }
        match phase {
            Phase::Active if sample.state.joints => {}
            // The mode is the one from before the session ended, where nothing newer was read.
            Phase::Faulted => {
                return Seen::Over(match mode {
                    franka::RobotMode::Reflex => Ended::Reflex { errors: Vec::new() },
                    franka::RobotMode::UserStopped => Ended::UserStop,
                    _ => Ended::Refused(
                        "franka-node ended its session with an error, which its log names: see why, then `tactus device recover`"
                            .into(),
                    ),
                });
            }
            other => {
                return over(format!(
                    "franka-node ended the session and is {other}: somebody told it to, or it heard nothing for its stop_after_ms"
                ));
            }
        }
        // A count that fell is of another session.
        let more = refused.saturating_sub(std::mem::replace(&mut self.refused, refused));
        if !holding {
            self.holding_since = None;
        } else if now.since(*self.holding_since.get_or_insert(now)) > HOLDS {
            return over(format!(
                "franka-node holds the arm and accepts no target ({refused} refused): do device.max_step_rad and device.budget agree with its configuration?"
            ));
        }
        match more {
            0 => Seen::Well,
            more => Seen::Refused(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use franka::RobotMode;

    use super::*;

    fn sample(phase: Phase) -> Sample {
        Sample {
            state: State {
                phase,
                mode: match phase {
                    Phase::Active => RobotMode::Move,
                    _ => RobotMode::Idle,
                },
                has_errors: false,
                holding: false,
                joints: phase == Phase::Active,
                holder: 7,
                robot_millis: 1,
                q: [0.0, 0.0, 0.0, -1.57, 0.0, 1.57, 0.785],
                dq: [0.0; 7],
                target: [0.0; 7],
                accepted: 0,
                refused: 0,
            },
            client: 7,
        }
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn only_the_holder_of_an_idle_arm_may_enable_it() {
        assert_eq!(sample(Phase::Idle).refusal(), None);
        assert_eq!(sample(Phase::Acquired).refusal(), None);
        let refused = |change: &dyn Fn(&mut Sample), word: &str| {
            let mut other = sample(Phase::Acquired);
            change(&mut other);
            let text = other.refusal().expect("refused");
            assert!(text.contains(word), "{text}");
        };
        refused(&|s| s.state.holder = 0, "has not given the arm");
        refused(&|s| s.state.holder = 9, "to client 9");
        for phase in [Phase::Active, Phase::Homing, Phase::Stopping] {
            refused(&|s| s.state.phase = phase, "another session runs");
        }
        refused(&|s| s.state.phase = Phase::Faulted, "tactus device recover");
        refused(
            &|s| s.state.mode = RobotMode::UserStopped,
            "enabling device",
        );
        refused(&|s| s.state.mode = RobotMode::Guiding, "leave guiding");
        refused(&|s| s.state.has_errors = true, "has an error");
        refused(&|s| s.state.q[3] = -0.1, "fr3_joint4 is at -0.100");
    }

    #[test]
    fn what_ends_a_session_is_named() {
        let mut watch = Watch::new(&sample(Phase::Active));
        let good = sample(Phase::Active);
        assert_eq!(watch.look(&good, at(10), at(15)), Seen::Well);
        let over = |watch: &mut Watch, sample: &Sample, now: u64| match watch.look(
            sample,
            at(1000),
            at(now),
        ) {
            Seen::Over(ended) => ended.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(over(&mut watch, &good, 1251).contains("no state of franka-node for 250 ms"));
        let mut other = good;
        other.state.holder = 0;
        assert!(over(&mut watch, &other, 1000).contains("freed the arm"));
        other.state.holder = 8;
        assert!(over(&mut watch, &other, 1000).contains("to client 8"));
        for phase in [Phase::Stopping, Phase::Idle, Phase::Acquired, Phase::Homing] {
            let text = over(&mut watch, &sample(phase), 1000);
            assert!(text.contains("ended the session"), "{text}");
        }
        let mut cartesian = good;
        cartesian.state.joints = false;
        assert!(over(&mut watch, &cartesian, 1000).contains("ended the session"));
        let mut faulted = sample(Phase::Faulted);
        assert!(over(&mut watch, &faulted, 1000).contains("its log names"));
        faulted.state.mode = RobotMode::Reflex;
        assert!(over(&mut watch, &faulted, 1000).contains("reflex"));
        faulted.state.mode = RobotMode::UserStopped;
        assert!(over(&mut watch, &faulted, 1000).contains("user stop"));
    }

    #[test]
    fn refusals_are_counted_and_a_node_that_holds_although_targets_go_out_is_believed() {
        let mut watch = Watch::new(&sample(Phase::Active));
        let mut state = sample(Phase::Active);
        state.state.refused = 3;
        assert_eq!(watch.look(&state, at(0), at(0)), Seen::Refused(3));
        assert_eq!(watch.look(&state, at(0), at(0)), Seen::Well);
        // A flag that goes again is a hiccup.
        state.state.holding = true;
        assert_eq!(watch.look(&state, at(10), at(10)), Seen::Well);
        assert_eq!(watch.look(&state, at(200), at(200)), Seen::Well);
        state.state.holding = false;
        assert_eq!(watch.look(&state, at(240), at(240)), Seen::Well);
        state.state.holding = true;
        assert_eq!(watch.look(&state, at(300), at(300)), Seen::Well);
        assert_eq!(watch.look(&state, at(550), at(550)), Seen::Well);
        let Seen::Over(ended) = watch.look(&state, at(560), at(560)) else {
            panic!("it goes on");
        };
        assert!(ended.to_string().contains("accepts no target (3 refused)"));
    }
}
