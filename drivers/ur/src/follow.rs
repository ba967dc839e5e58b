//! What to make of a state: whether our program follows, why it ended, and whether the arm is slower than it is told. Pure.

use std::time::Duration;

use tactus_types::Time;

use crate::modes::{RobotMode, Runtime, Safety};
use crate::program::Doing;
use crate::recipe::Sample;

/// A program that does not follow after this long does not any more. The arm host waits no longer for torque.
pub const START_WITHIN: Duration = Duration::from_millis(950);

/// How our program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is none that may follow.
    Idle,
    /// It was sent, for this session.
    Starting {
        /// Its session.
        session: i32,
        /// When.
        since: Time,
    },
    /// It follows.
    Following {
        /// Its session.
        session: i32,
    },
}

/// Why it does not follow any more, or never did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The safety system.
    Safety(Safety),
    /// The arm's motors.
    Mode(RobotMode),
    /// The program itself.
    Program(Doing),
    /// Somebody at the pendant, or the controller.
    Runtime(Runtime),
    /// It never began.
    NotStarted(Runtime),
    /// The connection.
    Lost,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Safety(safety) => write!(f, "{safety}{}", safety.remedy()),
            Self::Mode(mode) => write!(f, "robot mode {mode}{}", mode.remedy()),
            Self::Program(doing) => write!(f, "the program on the controller ended: {doing}"),
            Self::Runtime(runtime) => {
                write!(
                    f,
                    "the program on the controller was ended from elsewhere ({runtime})"
                )
            }
            Self::NotStarted(runtime) => write!(
                f,
                "the program on the controller did not begin within {} ms ({runtime}): is the robot in remote control?",
                START_WITHIN.as_millis()
            ),
            Self::Lost => f.write_str("the connection to the controller is lost"),
        }
    }
}

/// Watches our program.
#[derive(Debug, Clone)]
pub struct Follow {
    phase: Phase,
}

impl Default for Follow {
    fn default() -> Self {
        Self { phase: Phase::Idle }
    }
}

impl Follow {
    /// How it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it follows.
    pub fn follows(&self) -> bool {
        matches!(self.phase, Phase::Following { .. })
    }

    /// The session that commands are for; 0 for none.
    pub fn session(&self) -> i32 {
        match self.phase {
            Phase::Idle => 0,
            Phase::Starting { session, .. } | Phase::Following { session } => session,
        }
    }

    /// Why a program may not be started in the state `sample`, in a sentence.
    pub fn refusal(sample: &Sample) -> Option<String> {
        if !sample.safety.permits_motion() {
            return Some(Ended::Safety(sample.safety).to_string());
        }
        if sample.mode != RobotMode::RUNNING {
            return Some(Ended::Mode(sample.mode).to_string());
        }
        match sample.runtime {
            Runtime::STOPPED => None,
            runtime => Some(format!(
                "another program is on the controller ({runtime}): stop it at the pendant, or wait until it has ended"
            )),
        }
    }

    /// A program was sent for `session` at `now`.
    pub fn start(&mut self, session: i32, now: Time) {
        self.phase = Phase::Starting {
            session,
            since: now,
        };
    }

    /// It is to end.
    pub fn stop(&mut self) {
        self.phase = Phase::Idle;
    }

    /// The connection is lost.
    pub fn lost(&mut self) -> Option<Ended> {
        let was = std::mem::replace(&mut self.phase, Phase::Idle);
        (was != Phase::Idle).then_some(Ended::Lost)
    }

    /// Looks at a state; says why it ended, once.
    pub fn judge(&mut self, sample: &Sample, now: Time) -> Option<Ended> {
        let account = &sample.account;
        let doing = Doing::from(account.doing);
        let ended = match self.phase {
            Phase::Idle => return None,
            _ if !sample.safety.permits_motion() => Ended::Safety(sample.safety),
            _ if sample.mode != RobotMode::RUNNING => Ended::Mode(sample.mode),
            Phase::Starting { session, since } => {
                let ours = account.session == session;
                match doing {
                    Doing::Follows if ours && sample.runtime == Runtime::PLAYING => {
                        self.phase = Phase::Following { session };
                        return None;
                    }
                    Doing::Waits | Doing::Follows => {
                        if now.since(since) <= START_WITHIN {
                            return None;
                        }
                        Ended::NotStarted(sample.runtime)
                    }
                    // What an earlier program left in the registers means nothing.
                    _ if !ours && now.since(since) <= START_WITHIN => return None,
                    _ if !ours => Ended::NotStarted(sample.runtime),
                    doing => Ended::Program(doing),
                }
            }
            Phase::Following { session } if account.session != session => {
                Ended::Runtime(sample.runtime)
            }
            Phase::Following { .. } if doing != Doing::Follows => Ended::Program(doing),
            Phase::Following { .. } if sample.runtime != Runtime::PLAYING => {
                Ended::Runtime(sample.runtime)
            }
            Phase::Following { .. } => return None,
        };
        self.phase = Phase::Idle;
        Some(ended)
    }
}

/// Warned of below this share of the speed ..
const SLOWED: f64 = 0.995;
/// .. and of an arm that is this far behind its command while it is slowed, rad.
const BEHIND_RAD: f64 = 0.1;

/// Watches the controller's speed scaling, which stretches our commands in time: the arm falls behind and is not caught up
/// with by any extrapolation; the arm host's limits on lead and tracking end that.
#[derive(Debug, Clone, Default)]
pub struct Scaling {
    slowed: bool,
    behind: bool,
}

impl Scaling {
    /// What is worth a warning about a following arm at `share` of its speed, `behind` rad behind its command; once, until
    /// things are well again.
    pub fn judge(&mut self, share: f64, behind: f64) -> Option<String> {
        let (was_slowed, was_behind) = (self.slowed, self.behind);
        self.slowed = share < SLOWED;
        self.behind = self.slowed && behind > BEHIND_RAD;
        if self.behind && !was_behind {
            return Some(format!(
                "the speed is scaled to {:.0} %, and the arm is {behind:.2} rad behind its command: it does not keep up",
                100.0 * share
            ));
        }
        (self.slowed && !was_slowed).then(|| {
            format!(
                "the speed is scaled to {:.0} % (speed slider, or reduced mode): the arm follows more slowly than it is told",
                100.0 * share
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Account;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn sample(session: i32, doing: i32) -> Sample {
        Sample {
            q: [0.0; 6],
            qd: [0.0; 6],
            mode: RobotMode::RUNNING,
            safety: Safety::NORMAL,
            runtime: Runtime::PLAYING,
            speed_scaling: 1.0,
            account: Account {
                session,
                doing,
                ..Account::default()
            },
        }
    }

    fn following() -> Follow {
        let mut follow = Follow::default();
        follow.start(7, at(0));
        assert_eq!(follow.judge(&sample(7, 2), at(10)), None);
        assert!(follow.follows() && follow.session() == 7);
        follow
    }

    #[test]
    fn it_follows_once_the_program_of_its_own_session_says_so() {
        let mut follow = Follow::default();
        assert_eq!(
            (follow.session(), follow.judge(&sample(7, 2), at(0))),
            (0, None)
        );
        follow.start(7, at(0));
        // An old program's words, still in the registers.
        for old in [sample(6, 2), sample(6, 3), sample(0, 0), sample(7, 1)] {
            assert_eq!(follow.judge(&old, at(100)), None);
            assert!(!follow.follows());
        }
        assert_eq!(follow.judge(&sample(7, 2), at(200)), None);
        assert!(follow.follows());
    }

    #[test]
    fn one_that_never_begins_is_given_up() {
        for stuck in [sample(6, 3), sample(7, 1), sample(6, 2)] {
            let mut follow = Follow::default();
            follow.start(7, at(0));
            let late = Time::ZERO + START_WITHIN + Duration::from_millis(1);
            let ended = follow.judge(&stuck, late);
            assert_eq!(ended, Some(Ended::NotStarted(Runtime::PLAYING)));
            assert!(ended.is_some_and(|e| e.to_string().contains("remote control")));
            assert_eq!(follow.phase(), Phase::Idle);
        }
        let mut follow = Follow::default();
        follow.start(7, at(0));
        assert_eq!(
            follow.judge(&sample(7, 6), at(1)),
            Some(Ended::Program(Doing::Apart))
        );
    }

    #[test]
    fn whatever_ends_it_has_its_name_and_is_said_once() {
        let stopped = Sample {
            safety: Safety::PROTECTIVE_STOP,
            runtime: Runtime::PAUSED,
            ..sample(7, 2)
        };
        let off = Sample {
            mode: RobotMode(3),
            ..sample(7, 2)
        };
        let paused = Sample {
            runtime: Runtime::PAUSED,
            ..sample(7, 2)
        };
        for (state, wanted, word) in [
            (
                stopped,
                Ended::Safety(Safety::PROTECTIVE_STOP),
                "protective stop: see why",
            ),
            (
                off,
                Ended::Mode(RobotMode(3)),
                "POWER_OFF: `tactus device power-on`",
            ),
            (
                paused,
                Ended::Runtime(Runtime::PAUSED),
                "ended from elsewhere (PAUSED)",
            ),
            (
                sample(8, 2),
                Ended::Runtime(Runtime::PLAYING),
                "from elsewhere",
            ),
            (
                sample(7, 3),
                Ended::Program(Doing::Starved),
                "no command reached it for 200 ms",
            ),
            (
                sample(7, 4),
                Ended::Program(Doing::Leapt),
                "further from the last",
            ),
        ] {
            let mut follow = following();
            let ended = follow.judge(&state, at(20));
            assert_eq!(ended, Some(wanted));
            assert!(wanted.to_string().contains(word), "{wanted}");
            assert_eq!((follow.session(), follow.judge(&state, at(30))), (0, None));
            // It never comes back by itself.
            assert_eq!(follow.judge(&sample(7, 2), at(40)), None);
            assert!(!follow.follows());
        }
        let mut follow = following();
        assert_eq!(follow.lost(), Some(Ended::Lost));
        assert_eq!(follow.lost(), None);
    }

    #[test]
    fn nothing_is_started_over_a_stop_or_another_program() {
        let idle = Sample {
            runtime: Runtime::STOPPED,
            ..sample(0, 0)
        };
        assert_eq!(Follow::refusal(&idle), None);
        let refused = |sample: Sample| Follow::refusal(&sample).expect("refused");
        let safeguard = Safety(1 << 4);
        assert!(
            refused(Sample {
                safety: safeguard,
                ..idle
            })
            .contains("safeguard stop")
        );
        assert!(
            refused(Sample {
                mode: RobotMode(5),
                ..idle
            })
            .contains("brake-release")
        );
        assert!(refused(sample(3, 2)).contains("another program"));
    }

    #[test]
    fn scaling_is_warned_of_once_and_again_when_the_arm_falls_behind() {
        let mut scaling = Scaling::default();
        assert_eq!(scaling.judge(1.0, 0.5), None);
        let slowed = scaling.judge(0.5, 0.01).expect("a warning");
        assert!(slowed.contains("50 %"), "{slowed}");
        assert_eq!(scaling.judge(0.5, 0.01), None);
        assert!(
            scaling
                .judge(0.5, 0.2)
                .is_some_and(|w| w.contains("0.20 rad behind"))
        );
        assert_eq!(scaling.judge(0.5, 0.3), None);
        assert_eq!(scaling.judge(1.0, 0.0), None);
        assert!(scaling.judge(0.9, 0.0).is_some());
    }
}
