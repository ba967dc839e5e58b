//! What is a reason to write the black box. Pure: what was seen goes in, reasons come out; *when* they are acted on is
//! decided in [`crate::patience`].
//!
//! | seen | reason |
//! |---|---|
//! | the mode changes to hold | [`Reason::Hold`], with the fault in the arm host's words |
//! | the mode changes from policy or hold to stopped | [`Reason::Stopped`] |
//! | a human takes over | [`Reason::Takeover`] |
//! | a command was clamped by a limit that ordinary motion does not meet | [`Reason::Clamped`], see [`notable`] |
//! | a chunk had a stage over its budget | [`Reason::OverBudget`], with the stage that was furthest over |
//! | a role's liveliness token is gone | [`Reason::Gone`] |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tactus_types::{Applied, Budget, ClampedBy, Stage, Time};
use tactus_wire::{ModeReport, ModeWord, Name, Role, Telemetry};

/// Something that messages say, of what may be a reason.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// What an arm host is doing.
    Mode(ModeReport),
    /// What was commanded.
    Applied(Vec<Applied>),
    /// What a chunk took.
    Telemetry(Telemetry),
    /// A role came or went.
    Alive {
        /// Which role.
        role: Role,
        /// Its name.
        name: Name,
        /// Whether it is there now.
        alive: bool,
        /// When that was seen.
        at: Time,
    },
}

/// A limit whose clamping is a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// A joint position limit.
    Position,
    /// The largest lead of the command over the measured state.
    Lead,
    /// The setpoint was not finite.
    NotFinite,
    /// The workspace.
    Workspace,
    /// Two links of the arm came too close.
    Collision,
}

impl Limit {
    /// One word, for reasons and file names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Lead => "lead",
            Self::NotFinite => "not-finite",
            Self::Workspace => "workspace",
            Self::Collision => "collision",
        }
    }
}

/// Why the black box is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The arm holds because of a fault.
    Hold {
        /// The fault, in the arm host's words.
        reason: String,
    },
    /// The arm was stopped in the middle of an episode.
    Stopped,
    /// A human took over.
    Takeover,
    /// A command was clamped.
    Clamped {
        /// By which limit.
        by: Limit,
        /// In which tick of the control loop.
        tick: u64,
    },
    /// A chunk had a stage over its budget.
    OverBudget {
        /// The request behind the chunk.
        request_id: u64,
        /// The stage that was furthest over.
        stage: Stage,
        /// By how much.
        over: Duration,
    },
    /// A process is gone.
    Gone {
        /// What it was.
        role: Role,
        /// Its name.
        name: Name,
    },
}

impl Reason {
    /// What kind of reason it is: a word of `a-z`, `-`, and a name's characters. Reasons of one kind are one story.
    pub fn kind(&self) -> String {
        match self {
            Self::Hold { .. } => "hold".into(),
            Self::Stopped => "stopped".into(),
            Self::Takeover => "takeover".into(),
            Self::Clamped { by, .. } => format!("clamped-{}", by.word()),
            Self::OverBudget { .. } => "over-budget".into(),
            Self::Gone { role, name } => format!("gone-{}-{name}", role.word()),
        }
    }

    /// How much it tells: the weightiest reason of a file names it.
    pub fn weight(&self) -> u8 {
        match self {
            Self::OverBudget { .. } => 0,
            Self::Clamped { .. } => 1,
            Self::Gone { .. } => 2,
            Self::Stopped | Self::Takeover => 3,
            Self::Hold { .. } => 4,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hold { reason } => write!(f, "hold: {reason}"),
            Self::Stopped => write!(f, "stopped during an episode"),
            Self::Takeover => write!(f, "a human took over"),
            Self::Clamped { by, tick } => {
                write!(f, "tick {tick}: command clamped by {}", by.word())
            }
            Self::OverBudget {
                request_id,
                stage,
                over,
            } => write!(
                f,
                "chunk {request_id}: stage {} over its budget by {:.1} ms",
                stage.name(),
                over.as_secs_f64() * 1e3
            ),
            Self::Gone { role, name } => write!(f, "{} `{name}` is gone", role.word()),
        }
    }
}

/// The limits whose clamping is a reason. Velocity, acceleration and jerk are not among them: a policy that asks for a
/// little more than the arm may do is met by them in ordinary motion.
///
/// Total on purpose: a new limit does not compile until someone has decided.
pub fn notable(clamped_by: ClampedBy) -> impl Iterator<Item = Limit> {
    let ClampedBy {
        position,
        velocity: _,
        acceleration: _,
        lead,
        not_finite,
        jerk: _,
        workspace,
        collision,
    } = clamped_by;
    [
        (position, Limit::Position),
        (lead, Limit::Lead),
        (not_finite, Limit::NotFinite),
        (workspace, Limit::Workspace),
        (collision, Limit::Collision),
    ]
    .into_iter()
    .filter_map(|(acted, limit)| acted.then_some(limit))
}

/// The reason in a change of mode, if there is one.
pub fn change(before: ModeWord, after: ModeWord, said: &str) -> Option<Reason> {
    match (before, after) {
        (_, ModeWord::Hold) => Some(Reason::Hold {
            reason: said.to_owned(),
        }),
        (
            ModeWord::Policy | ModeWord::Goto | ModeWord::Align | ModeWord::Teleop | ModeWord::Hold,
            ModeWord::Stopped,
        ) => Some(Reason::Stopped),
        (ModeWord::Align, ModeWord::Teleop) => None,
        (_, ModeWord::Align | ModeWord::Teleop) => Some(Reason::Takeover),
        (
            _,
            ModeWord::Boot
            | ModeWord::Ready
            | ModeWord::Policy
            | ModeWord::Goto
            | ModeWord::Stopped,
        ) => None,
    }
}

/// Looks for reasons; remembers what it needs to tell a change from a repetition.
#[derive(Debug)]
pub struct Watcher {
    budget: Budget,
    mode: Option<(ModeWord, Time)>,
    request_id: u64,
    /// Limits that acted in the newest command.
    acting: BTreeSet<Limit>,
    present: BTreeSet<(Role, Name)>,
    /// Whose token went, and when; it may be back in a moment.
    leaving: BTreeMap<(Role, Name), Time>,
}

/// A role counts as gone when its token has been for this long: when an engine was killed, the token of a camera that lived
/// was seen to go.
pub const FLICKER: Duration = Duration::from_millis(300);

/// Most roles that are remembered; a cell has a handful.
const MAX_ROLES: usize = 256;

impl Watcher {
    /// Has seen nothing; chunks are held against `budget`.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            mode: None,
            request_id: 0,
            acting: BTreeSet::new(),
            present: BTreeSet::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// Who has been gone for [`FLICKER`] at `now`, and since when.
    pub fn gone(&mut self, now: Time) -> Vec<(Reason, Time)> {
        let gone = self
            .leaving
            .extract_if(.., |_, since| now.since(*since) >= FLICKER);
        gone.map(|((role, name), since)| (Reason::Gone { role, name }, since))
            .collect()
    }

    /// Every reason in `sight`, but for who is gone, whom [`Watcher::gone`] names.
    pub fn see(&mut self, sight: &Sight) -> Vec<Reason> {
        match sight {
            Sight::Mode(report) => self.mode(report).into_iter().collect(),
            Sight::Applied(applied) => applied.iter().flat_map(|a| self.applied(a)).collect(),
            Sight::Telemetry(telemetry) => self.telemetry(telemetry).into_iter().collect(),
            Sight::Alive {
                role,
                name,
                alive,
                at,
            } => {
                let who = (*role, name.clone());
                if *alive {
                    self.leaving.remove(&who);
                    if self.present.len() < MAX_ROLES {
                        self.present.insert(who);
                    }
                } else if self.present.remove(&who) && self.leaving.len() < MAX_ROLES {
                    self.leaving.insert(who, *at);
                }
                Vec::new()
            }
        }
    }

    /// Reports are repeated; a mode is another one when it began at another time. The first report is no change.
    fn mode(&mut self, report: &ModeReport) -> Option<Reason> {
        let (before, since) = self.mode.replace((report.mode, report.since))?;
        if (before, since) == (report.mode, report.since) {
            return None;
        }
        change(before, report.mode, &report.reason)
    }

    /// A limit that goes on acting says so once.
    fn applied(&mut self, applied: &Applied) -> Vec<Reason> {
        let acting: BTreeSet<Limit> = notable(applied.command.clamped_by).collect();
        let tick = applied.command.tick;
        let begun = acting.difference(&self.acting);
        let reasons = begun.map(|by| Reason::Clamped { by: *by, tick }).collect();
        self.acting = acting;
        reasons
    }

    /// Telemetry repeats the newest chunk until there is another; 0 is none.
    fn telemetry(&mut self, telemetry: &Telemetry) -> Option<Reason> {
        let request_id = telemetry.request_id;
        if std::mem::replace(&mut self.request_id, request_id) == request_id || request_id == 0 {
            return None;
        }
        let (stage, over) = telemetry.stages.guilty(&self.budget)?;
        Some(Reason::OverBudget {
            request_id,
            stage,
            over,
        })
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::{Command, Generation, JointVec, Setpoint, Source, StageTimes};
    use tactus_wire::Counters;

    use super::*;

    fn watcher() -> Watcher {
        let mut stages = StageTimes::default();
        for stage in Stage::ALL {
            stages.set(stage, Duration::from_millis(10));
        }
        Watcher::new(Budget::new(stages, Duration::ZERO))
    }

    fn report(mode: ModeWord, since: u64) -> Sight {
        Sight::Mode(ModeReport {
            mode,
            reason: "the engine process is gone".into(),
            fault: None,
            generation: Generation::default(),
            since: Time::from_millis(since),
            instruction: String::new(),
            counters: Counters::default(),
            lease: None,
        })
    }

    fn applied(tick: u64, bits: u32) -> Applied {
        let q = JointVec::zeros(6);
        Applied {
            at: Time::from_millis(tick),
            command: Command {
                tick,
                epoch: 1,
                q,
                dq: q,
                ddq: q,
                opening: 0.0,
                setpoint: Setpoint {
                    source: Source::Policy,
                    q,
                    dq: q,
                    ddq: q,
                    opening: 0.0,
                    request_id: 1,
                    action_index: 0,
                    observed_at: None,
                },
                clamped_by: ClampedBy::from_bits(bits),
                clamped_rad: 0.0,
                generation: Generation::default(),
                torque: tactus_types::Torque::Keep,
            },
        }
    }

    #[test]
    fn a_hold_is_one_reason_however_often_it_is_reported() {
        let mut watcher = watcher();
        assert_eq!(
            watcher.see(&report(ModeWord::Hold, 1)),
            [],
            "it began before us"
        );
        assert_eq!(watcher.see(&report(ModeWord::Policy, 2)), []);
        let hold = || Reason::Hold {
            reason: "the engine process is gone".into(),
        };
        assert_eq!(watcher.see(&report(ModeWord::Hold, 3)), [hold()]);
        assert_eq!(watcher.see(&report(ModeWord::Hold, 3)), []);
        assert_eq!(
            watcher.see(&report(ModeWord::Hold, 9)),
            [hold()],
            "what was between them was lost"
        );
    }

    #[test]
    fn every_pair_of_modes_is_decided() {
        use ModeWord::{Boot, Hold, Policy, Ready, Stopped};
        let all = [Boot, Ready, Policy, Hold, Stopped];
        for before in all {
            for after in all {
                let kind = change(before, after, "x").map(|r| r.kind());
                let wanted = match (before, after) {
                    (_, Hold) => Some("hold"),
                    (Policy | Hold, Stopped) => Some("stopped"),
                    _ => None,
                };
                assert_eq!(kind.as_deref(), wanted, "{before} -> {after}");
            }
        }
    }

    #[test]
    fn smoothing_is_no_reason_and_a_lasting_clamp_is_one() {
        let mut watcher = watcher();
        let (position, velocity, acceleration, lead, not_finite, jerk) = (1, 2, 4, 8, 16, 32);
        let smooth = (0..100).map(|t| applied(t, velocity | acceleration | jerk));
        assert_eq!(watcher.see(&Sight::Applied(smooth.collect())), []);
        let reasons = watcher.see(&Sight::Applied(vec![
            applied(100, position | velocity),
            applied(101, position | lead),
            applied(102, 0),
            applied(103, position),
            applied(104, not_finite),
            applied(105, 64),
            applied(106, 128),
        ]));
        let kinds: Vec<String> = reasons.iter().map(Reason::kind).collect();
        let wanted = [
            "position",
            "lead",
            "position",
            "not-finite",
            "workspace",
            "collision",
        ];
        assert_eq!(kinds, wanted.map(|w| format!("clamped-{w}")));
    }

    #[test]
    fn each_chunk_is_held_against_the_budget_once_and_the_guilty_stage_is_named() {
        let mut watcher = watcher();
        let telemetry = |request_id, millis| {
            let mut stages = StageTimes::default();
            stages.set(Stage::Vision, Duration::from_millis(millis));
            stages.set(Stage::Denoise, Duration::from_millis(11));
            Sight::Telemetry(Telemetry {
                request_id,
                stages,
                ..Telemetry::default()
            })
        };
        assert_eq!(watcher.see(&telemetry(0, 50)), [], "no chunk yet");
        let reason = watcher.see(&telemetry(7, 14)).remove(0);
        assert_eq!(
            reason.to_string(),
            "chunk 7: stage vision over its budget by 4.0 ms"
        );
        assert_eq!(watcher.see(&telemetry(7, 14)), []);
        assert_eq!(watcher.see(&telemetry(8, 1)).len(), 1);
    }

    #[test]
    fn only_who_was_there_can_be_gone() {
        let mut watcher = watcher();
        let at = Time::from_millis;
        let mut see = |alive, millis| {
            let engine = Sight::Alive {
                role: Role::Engine,
                name: Name::new("engine").expect("legal"),
                alive,
                at: at(millis),
            };
            assert_eq!(watcher.see(&engine), []);
            assert_eq!(watcher.gone(at(millis + 299)), []);
            if alive || millis == 5000 {
                return None;
            }
            let (reason, since) = watcher.gone(at(millis + 300)).pop()?;
            Some((reason.kind(), since))
        };
        assert_eq!(see(false, 0), None);
        assert_eq!(see(true, 1000), None);
        assert_eq!(
            see(false, 2000),
            Some(("gone-engine-engine".into(), at(2000)))
        );
        assert_eq!(see(false, 3000), None);
        // Back in a moment: nothing happened.
        assert_eq!(see(true, 4000), None);
        assert_eq!(see(false, 5000), None);
        assert_eq!(see(true, 5200), None);
        assert_eq!(watcher.gone(at(9000)), []);
    }
}
