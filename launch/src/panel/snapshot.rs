//! What the wire said lately, and one small JSON of it: everything that a page shows but pictures.
//!
//! Pure: what is heard goes in with the time at which it was, a text comes out for the time at which it is asked. Only the
//! newest of everything is kept, so that what is remembered does not grow. Decides what is told of a fault (the ladder's
//! row), of lateness (`age_s`: how long ago it was heard), and that a blinded trial tells nothing of the bundle.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tactus_control::rule;
use tactus_kinematics::{Chain, Frames};
use tactus_types::{Applied, ArmInfo, Budget, Followed, JointState, JointVec, Source, Stage, Time};
use tactus_wire::{
    AppliedBatch, EpisodeEvent, EpisodePhase, EvalPhase, EvalReport, ModeReport, ModeWord,
    Reasoning, Role, Service, Telemetry,
};

use crate::cell::Cell;

/// Why an episode ended of which nobody said how it went.
pub const NOT_SCORED: &str = "not scored";

/// News that are shown at most.
const NEWS: usize = 12;
/// An evaluation that does not report for this long is over or gone.
const EVAL_GONE_SECS: f64 = 3.0;

/// What of a cell file is shown, and does not change.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Name of the cell.
    pub cell: String,
    /// Control rate, Hz.
    pub rate_hz: f64,
    /// Declared latency budget.
    pub budget: Budget,
    /// Who should be there: role and name.
    pub roles: Vec<(&'static str, String)>,
    /// Cameras, in the cell's order.
    pub cameras: Vec<String>,
    /// Whether holds end by themselves.
    pub resumes: bool,
}

impl Facts {
    /// Of `cell`.
    pub fn of(cell: &Cell) -> Self {
        let name = |role: Role, name: &tactus_wire::Name| (role.word(), name.to_string());
        let mut roles = vec![
            name(Role::Arm, &cell.arm),
            name(Role::Engine, &cell.engine),
            name(Role::Device, &cell.device),
        ];
        roles.extend(cell.cameras.iter().map(|c| name(Role::Camera, &c.name)));
        Self {
            cell: cell.name.to_string(),
            rate_hz: cell.control_rate_hz,
            budget: cell.budget,
            roles,
            cameras: cell.cameras.iter().map(|c| c.name.to_string()).collect(),
            resumes: cell.resume == tactus_control::Resume::Auto,
        }
    }
}

/// The arm as it described itself.
#[derive(Debug)]
pub struct Arm {
    /// What it said.
    pub info: ArmInfo,
    chain: Option<Chain>,
}

impl Arm {
    /// Of `info`; without a geometry that can be computed with there is no pose to draw.
    pub fn new(info: ArmInfo) -> Self {
        let chain = info.geometry.as_ref().and_then(|geometry| {
            let joints: Vec<&str> = info.joints.iter().map(String::as_str).collect();
            let (base, tip) = (&geometry.base_link, &geometry.tool_link);
            Chain::from_urdf(&geometry.urdf, base, tip, &joints)
                .map_err(|e| tracing::info!("the arm is not drawn: {e}"))
                .ok()
        });
        Self { info, chain }
    }

    /// Where the joints and the tool point are, m in the base frame, along the chain.
    fn points(&self, q: &JointVec) -> Option<Vec<[f64; 3]>> {
        let chain = self.chain.as_ref()?;
        if q.len() != chain.joints().len() {
            return None;
        }
        let mut frames = Frames::default();
        chain.frames(q, &mut frames);
        let bodies = frames.bodies().iter().chain([frames.tip()]);
        Some(
            bodies
                .map(|x| {
                    let at = x.translation.vector;
                    [at.x, at.y, at.z].map(|v| round(v, 1e3))
                })
                .collect(),
        )
    }
}

/// Outcomes of the episodes that were scored while the panel listened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Episodes that began.
    pub begun: u64,
    /// Done as told.
    pub successes: u64,
    /// Not done.
    pub failures: u64,
}

/// Who commands by hand from a page.
#[derive(Debug, Clone, Default)]
pub struct InHand {
    /// Number of the page's connection.
    pub by: u64,
    /// The arm follows.
    pub in_command: bool,
    /// The clutch is closed.
    pub closed: bool,
}

/// The newest of everything.
#[derive(Debug, Default)]
pub struct Lately {
    /// The arm host's report, and when it came.
    pub mode: Option<(ModeReport, Time)>,
    /// Its statistics, and when they came.
    pub telemetry: Option<(Telemetry, Time)>,
    /// Measured joints.
    pub state: Option<(JointState, Time)>,
    /// The newest command.
    pub command: Option<(Applied, Time)>,
    /// The arm's description.
    pub arm: Option<Arc<Arm>>,
    /// Roles that were there, and whether they are.
    pub present: BTreeMap<(&'static str, String), bool>,
    /// How processes of other hosts than the arm's know cell time, by role and name.
    pub followed: BTreeMap<(&'static str, String), Followed>,
    /// What the engine's language model says.
    pub reasoning: Option<(Reasoning, Time)>,
    /// How the engine serves this arm, and when it said so.
    pub service: Option<(Service, Time)>,
    /// How a trial stands.
    pub eval: Option<(EvalReport, Time)>,
    /// Outcomes.
    pub tally: Tally,
    /// An episode that this panel began and that waits for its score.
    pub episode: Option<Episode>,
    /// Who commands by hand.
    pub hand: Option<InHand>,
    news: VecDeque<(u64, Time, String)>,
    told: u64,
}

/// An episode that was started from the panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Its number.
    pub number: u64,
    /// What the arm was told.
    pub instruction: String,
    /// When it began.
    pub began: Time,
}

impl Lately {
    /// Something an operator should read.
    pub fn tell(&mut self, text: impl Into<String>, now: Time) {
        self.told += 1;
        self.news.push_back((self.told, now, text.into()));
        if self.news.len() > NEWS {
            self.news.pop_front();
        }
    }

    /// How a role knows cell time; by itself where it is on the arm's host.
    pub fn time_of(&mut self, role: Role, name: &str, followed: Option<Followed>) {
        let key = (role.word(), name.to_owned());
        match followed {
            Some(followed) => self.followed.insert(key, followed),
            None => self.followed.remove(&key),
        };
    }

    /// Takes a mode report; a change into or out of a hold is news.
    pub fn mode(&mut self, report: ModeReport, now: Time) {
        let before = self.mode.as_ref().map(|(m, _)| m.mode);
        let text = match (before, report.mode) {
            (Some(old), new) if old == new => None,
            (_, ModeWord::Hold | ModeWord::Stopped) => {
                Some(format!("{}: {}", report.mode, report.reason))
            }
            (Some(_), new) => Some(new.to_string()),
            (None, _) => None,
        };
        self.mode = Some((report, now));
        if let Some(text) = text {
            self.tell(text, now);
        }
    }

    /// Takes commands.
    pub fn applied(&mut self, batch: &AppliedBatch, now: Time) {
        if let Some(newest) = batch.applied.last() {
            self.command = Some((*newest, now));
        }
    }

    /// Takes the beginning or end of an episode.
    pub fn episode(&mut self, event: &EpisodeEvent, now: Time) {
        match &event.phase {
            EpisodePhase::Started { instruction, .. } => {
                self.tally.begun += 1;
                self.tell(format!("episode {}: {instruction}", event.episode), now);
            }
            EpisodePhase::Stopped {
                success,
                reason,
                excluded,
            } => {
                match success {
                    true => self.tally.successes += 1,
                    false if *excluded || reason == NOT_SCORED => {}
                    false => self.tally.failures += 1,
                }
                let word = match (success, excluded) {
                    (true, _) => "success",
                    (false, true) => "excluded",
                    (false, false) => "no success",
                };
                let because = if reason.is_empty() { "" } else { ": " };
                self.tell(
                    format!("episode {}: {word}{because}{reason}", event.episode),
                    now,
                );
            }
        }
    }

    /// The evaluation that runs now.
    pub fn running_eval(&self, now: Time) -> Option<&EvalReport> {
        let (report, heard) = self.eval.as_ref()?;
        let fresh = now.since(*heard).as_secs_f64() < EVAL_GONE_SECS;
        (fresh || report.phase == EvalPhase::Done).then_some(report)
    }

    /// All of it, for a page, as of `now`.
    pub fn json(&self, facts: &Facts, pictures: &[(u64, Option<f64>)], now: Time) -> String {
        let cameras = facts.cameras.iter().zip(pictures);
        let cameras: Vec<Value> = cameras
            .map(|(name, (n, age))| json!({ "name": name, "n": n, "age_s": age.map(|a| round(a, 1e2)) }))
            .collect();
        let here = |role: &str, name: &str| {
            let found = self
                .present
                .iter()
                .find(|((r, n), _)| *r == role && n == name);
            found.is_some_and(|(_, here)| *here)
        };
        let roles: Vec<Value> = facts
            .roles
            .iter()
            .map(|(role, name)| json!({ "role": role, "name": name, "here": here(role, name) }))
            .collect();
        let news: Vec<Value> = self
            .news
            .iter()
            .map(|(n, at, text)| json!({ "n": n, "ago_s": round(now.since(*at).as_secs_f64(), 1.0), "text": text }))
            .collect();
        json!({
            "cell": facts.cell,
            "rate_hz": facts.rate_hz,
            "resumes": facts.resumes,
            "mode": self.mode_json(now),
            "latency": self.latency_json(facts, now),
            "arm": self.arm_json(now),
            "roles": roles,
            "cameras": cameras,
            "tally": {
                "begun": self.tally.begun,
                "successes": self.tally.successes,
                "failures": self.tally.failures,
            },
            "episode": self.episode.as_ref().map(|e| json!({
                "number": e.number,
                "instruction": e.instruction,
                "secs": round(now.since(e.began).as_secs_f64(), 1e1),
            })),
            "hand": self.hand.as_ref().map(|h| json!({
                "by": h.by, "in_command": h.in_command, "closed": h.closed,
            })),
            "eval": self.running_eval(now).map(eval_json),
            "reasoning": self.reasoning_json(now),
            "news": news,
        })
        .to_string()
    }

    /// Of a blinded trial nothing: words tell policies apart.
    fn reasoning_json(&self, now: Time) -> Value {
        let (Some((said, heard)), None) = (&self.reasoning, self.running_eval(now)) else {
            return Value::Null;
        };
        json!({
            "talk": said.talk,
            "text": &*said.text,
            "instruction": &*said.instruction,
            "finish": said.finish.as_deref(),
            "tokens": said.tokens,
            "age_s": round(now.since(*heard).as_secs_f64(), 1e1),
        })
    }

    fn mode_json(&self, now: Time) -> Value {
        let Some((report, heard)) = &self.mode else {
            return Value::Null;
        };
        let fault = report.fault.map(|kind| {
            let row = rule(kind);
            json!({ "name": kind.name(), "what": row.what, "rung": row.rung.word() })
        });
        let lease = report.lease.as_ref().map(|by| {
            json!({
                "holder": &*by.holder,
                "rank": by.rank.word(),
                "left_s": round(by.expires.since(now).as_secs_f64(), 1e1),
            })
        });
        let c = &report.counters;
        json!({
            "word": report.mode.to_string(),
            "reason": report.reason,
            "for_s": round(now.since(report.since).as_secs_f64(), 1e1),
            "age_s": round(now.since(*heard).as_secs_f64(), 1e1),
            "fault": fault,
            "instruction": report.instruction,
            "lease": lease,
            "holds": c.holds,
            "starved_ticks": c.starved_ticks,
            "limited_ticks": c.limited_ticks,
            "overruns": c.overruns,
            "chunks": c.chunks_accepted,
            "chunks_discarded": c.chunks_discarded,
        })
    }

    fn latency_json(&self, facts: &Facts, now: Time) -> Value {
        let Some((t, heard)) = &self.telemetry else {
            return Value::Null;
        };
        let budget = &facts.budget;
        let millis = |d: std::time::Duration| round(1e3 * d.as_secs_f64(), 1e2);
        let taken = (t.request_id != 0).then_some(&t.stages);
        let stages = Stage::ALL.map(|stage| {
            json!({
                "name": stage.name(),
                "ms": taken.map(|s| millis(s.get(stage))),
                "budget_ms": millis(budget.get(stage)),
                "model": stage.is_inference(),
            })
        });
        let sum = taken.map(|s| Stage::ALL.iter().map(|stage| s.get(*stage)).sum());
        let guilty = taken.and_then(|s| s.guilty(budget));
        let late = &t.lateness;
        let late_us = [late.p50_micros, late.p99_micros, late.max_micros].map(|v| round(v, 1.0));
        let ages = [t.age_p50_millis, t.age_p99_millis].map(|v| round(v, 1e1));
        json!({
            "age_s": round(now.since(*heard).as_secs_f64(), 1e1),
            "chunk": t.request_id,
            "ticks": t.ticks,
            "stages": stages,
            "sum_ms": sum.map(millis),
            "budget_ms": millis(budget.total()),
            "guilty": guilty.map(|(stage, _)| stage.name()),
            "late_us": late_us,
            "observation_ms": ages,
            "inference_ms": round(t.inference_millis, 1e1),
            "overhead_ms": round(t.overhead_millis, 1e1),
            "queue_ms": round(t.queue_millis, 1e1),
            "misses": { "chunks": t.misses.stages.iter().sum::<u64>(), "host": t.misses.host, "unanswered": t.misses.unanswered },
            "host": { "busy": round(t.host.busy, 1e2), "steal": round(t.host.steal, 1e2) },
        })
    }

    fn arm_json(&self, now: Time) -> Value {
        let Some(arm) = &self.arm else {
            return Value::Null;
        };
        let state = self.state.as_ref().map(|(state, _)| state);
        let command = self.command.as_ref().map(|(applied, _)| &applied.command);
        let at = |q: Option<&JointVec>, i: usize| {
            let q = q?.as_slice().get(i)?;
            Some(round(*q, 1e3))
        };
        let joints = arm.info.joints.iter().zip(&arm.info.limits).enumerate();
        let joints: Vec<Value> = joints
            .map(|(i, (name, limits))| {
                json!({
                    "name": name,
                    "q": at(state.map(|s| &s.q), i),
                    "wanted": at(command.map(|c| &c.q), i),
                    "lower": round(limits.lower, 1e3),
                    "upper": round(limits.upper, 1e3),
                })
            })
            .collect();
        let source = command.map(|command| match command.setpoint.source {
            Source::Hold => "hold",
            Source::Policy => "policy",
            Source::Goto => "goto",
            Source::Align => "align",
            Source::Teleop => "teleop",
        });
        let workspace = arm.info.geometry.as_ref().and_then(|g| g.workspace);
        json!({
            "model": arm.info.model,
            "age_s": self.state.as_ref().map(|(_, heard)| round(now.since(*heard).as_secs_f64(), 1e1)),
            "torque": state.map(|s| s.torque),
            "joints": joints,
            "gripper": arm.info.gripper.then(|| state.map(|s| round(s.opening, 1e2))),
            "points": state.and_then(|s| arm.points(&s.q)),
            "wanted": command.and_then(|c| arm.points(&c.q)),
            "workspace": workspace,
            "source": source,
        })
    }
}

fn eval_json(report: &EvalReport) -> Value {
    json!({
        "name": report.name,
        "phase": report.phase.word(),
        "trial": report.trial,
        "trials": report.trials,
        "scored": report.scored,
        "attempt": report.attempt,
        "blind": report.blind,
        "label": report.label,
        "task": report.task,
        "condition": report.condition,
        "instruction": report.instruction,
        "milestones": report.milestones,
        "secs": round(report.secs, 1e1),
        "limit_secs": report.limit_secs,
        "picture": report.picture,
        "note": report.note,
    })
}

/// `value` in steps of `1 / per`; what is not finite is `null` as JSON.
fn round(value: f64, per: f64) -> f64 {
    (value * per).round() / per
}

#[cfg(test)]
pub mod tests;
