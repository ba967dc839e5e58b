//! A trial that an operator judges: how it stands, what the operator says of it, and the picture that its scene is set up by.
//! Who is compared is not among it: the operator is blinded. What counts is decided in `tactus-eval`.

use prost::Message as _;

use crate::{
    Message, Qos, WireError,
    check::MAX_IMAGE_BYTES,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// Most milestones of a task.
const MAX_MILESTONES: usize = 64;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvalPhase {
    /// The cell's processes start.
    Preparing,
    /// The operator sets the scene up, and says when it is.
    Setup,
    /// The policy is in command.
    Running,
    /// The operator says how it went.
    Scoring,
    /// There are no trials left.
    Done,
}

impl EvalPhase {
    /// One word, for display.
    pub fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Setup => "setup",
            Self::Running => "running",
            Self::Scoring => "scoring",
            Self::Done => "done",
        }
    }
}

/// How the trial stands; published by `tactus eval` several times a second.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalReport {
    /// Name of the evaluation.
    pub name: String,
    /// What is waited for.
    pub phase: EvalPhase,
    /// Place in the order, from 0.
    pub trial: u64,
    /// Trials over all policies and tasks.
    pub trials: u64,
    /// Trials that have an outcome.
    pub scored: u64,
    /// How often it was tried, from 1.
    pub attempt: u32,
    /// Nobody is to learn which policy is which before the end.
    pub blind: bool,
    /// What the policy is called.
    pub label: String,
    /// The task.
    pub task: String,
    /// Start condition, in words.
    pub condition: String,
    /// What the arm is told.
    pub instruction: String,
    /// What there is on the way to success, in order.
    pub milestones: Vec<String>,
    /// How long the policy has been in command, s.
    pub secs: f64,
    /// It is over after this, s.
    pub limit_secs: f64,
    /// There is a reference picture of the scene.
    pub picture: bool,
    /// What the operator should know; may be empty.
    pub note: String,
}

/// What the operator says of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalAnswer {
    /// Which trial is meant.
    pub trial: u64,
    /// Which attempt is meant.
    pub attempt: u32,
    /// What is said.
    pub said: EvalSaid,
}

/// See [`EvalAnswer`].
#[derive(Debug, Clone, PartialEq)]
pub enum EvalSaid {
    /// The scene is set up: begin.
    Ready,
    /// It is over: end the episode.
    End,
    /// How it went; ends the episode where it still runs.
    Score {
        /// Whether it succeeded.
        success: bool,
        /// How far it came, 0 to 100.
        progress: f64,
        /// Milestones that were reached.
        milestones: Vec<String>,
        /// Free text.
        note: String,
    },
    /// It does not count, because of the set-up or the hardware, and is tried again.
    Exclude {
        /// The arm, a camera or a cable; else the set-up.
        hardware: bool,
        /// What it was.
        note: String,
    },
}

/// Whether what was said is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalReply {
    /// It is.
    pub accepted: bool,
    /// Why not.
    pub message: String,
}

/// The picture that a scene is set up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalPicture {
    /// Of which trial.
    pub trial: u64,
    /// A JPEG or PNG file; empty where there is none. Not looked into here.
    pub data: Vec<u8>,
}

fn phase_to(phase: EvalPhase) -> i32 {
    match phase {
        EvalPhase::Preparing => pb::EvalPhase::Preparing,
        EvalPhase::Setup => pb::EvalPhase::Setup,
        EvalPhase::Running => pb::EvalPhase::Running,
        EvalPhase::Scoring => pb::EvalPhase::Scoring,
        EvalPhase::Done => pb::EvalPhase::Done,
    }
    .into()
}

fn phase_from(phase: i32, envelope: &Envelope<'_>) -> Result<EvalPhase, WireError> {
    match pb::EvalPhase::try_from(phase) {
        Ok(pb::EvalPhase::Preparing) => Ok(EvalPhase::Preparing),
        Ok(pb::EvalPhase::Setup) => Ok(EvalPhase::Setup),
        Ok(pb::EvalPhase::Running) => Ok(EvalPhase::Running),
        Ok(pb::EvalPhase::Scoring) => Ok(EvalPhase::Scoring),
        Ok(pb::EvalPhase::Done) => Ok(EvalPhase::Done),
        Ok(pb::EvalPhase::Unspecified) | Err(_) => Err(envelope.wrong("phase", "1 to 5", phase)),
    }
}

fn percent(field: &str, value: f64, envelope: &Envelope<'_>) -> Result<f64, WireError> {
    if (0.0..=100.0).contains(&value) {
        Ok(value)
    } else {
        Err(envelope.wrong(field, "0 to 100", value))
    }
}

fn milestones_from(
    field: &str,
    milestones: Vec<String>,
    envelope: &Envelope<'_>,
) -> Result<Vec<String>, WireError> {
    envelope.at_most(field, &milestones, MAX_MILESTONES)?;
    let each = milestones.into_iter().map(|m| envelope.text(field, m));
    each.collect()
}

impl Message for EvalReport {
    const SCHEMA: &'static str = "tactus.v1.EvalReport";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        let Self {
            name,
            phase,
            trial,
            trials,
            scored,
            attempt,
            blind,
            label,
            task,
            condition,
            instruction,
            milestones,
            secs,
            limit_secs,
            picture,
            note,
        } = self.clone();
        pb::EvalReport {
            name,
            phase: phase_to(phase),
            trial,
            trials,
            scored,
            attempt,
            blind,
            label,
            task,
            condition,
            instruction,
            milestones,
            secs,
            limit_secs,
            picture,
            note,
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let report: pb::EvalReport = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self {
            name: envelope.text("name", report.name)?,
            phase: phase_from(report.phase, envelope)?,
            trial: report.trial,
            trials: report.trials,
            scored: report.scored,
            attempt: report.attempt,
            blind: report.blind,
            label: envelope.text("label", report.label)?,
            task: envelope.text("task", report.task)?,
            condition: envelope.text("condition", report.condition)?,
            instruction: envelope.text("instruction", report.instruction)?,
            milestones: milestones_from("milestones", report.milestones, envelope)?,
            secs: envelope.not_negative("secs", report.secs)?,
            limit_secs: envelope.not_negative("limit_secs", report.limit_secs)?,
            picture: report.picture,
            note: envelope.text("note", report.note)?,
        })
    }
}

impl Message for EvalAnswer {
    const SCHEMA: &'static str = "tactus.v1.EvalAnswer";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        use pb::eval_answer::{End, Exclude, Ready, Said, Score};
        let said = match self.said.clone() {
            EvalSaid::Ready => Said::Ready(Ready {}),
            EvalSaid::End => Said::End(End {}),
            EvalSaid::Score {
                success,
                progress,
                milestones,
                note,
            } => Said::Score(Score {
                success,
                progress,
                milestones,
                note,
            }),
            EvalSaid::Exclude { hardware, note } => Said::Exclude(Exclude { hardware, note }),
        };
        pb::EvalAnswer {
            trial: self.trial,
            attempt: self.attempt,
            said: Some(said),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        use pb::eval_answer::Said;
        let answer: pb::EvalAnswer = parse(Self::SCHEMA, payload, envelope)?;
        let said = match envelope.present("said", answer.said)? {
            Said::Ready(_) => EvalSaid::Ready,
            Said::End(_) => EvalSaid::End,
            Said::Score(score) => EvalSaid::Score {
                success: score.success,
                progress: percent("score.progress", score.progress, envelope)?,
                milestones: milestones_from("score.milestones", score.milestones, envelope)?,
                note: envelope.text("score.note", score.note)?,
            },
            Said::Exclude(exclude) => EvalSaid::Exclude {
                hardware: exclude.hardware,
                note: envelope.text("exclude.note", exclude.note)?,
            },
        };
        Ok(Self {
            trial: answer.trial,
            attempt: answer.attempt,
            said,
        })
    }
}

impl Message for EvalReply {
    const SCHEMA: &'static str = "tactus.v1.EvalReply";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        let Self { accepted, message } = self.clone();
        pb::EvalReply { accepted, message }.encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let reply: pb::EvalReply = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self {
            accepted: reply.accepted,
            message: envelope.text("message", reply.message)?,
        })
    }
}

impl Message for EvalPicture {
    const SCHEMA: &'static str = "tactus.v1.EvalPicture";
    const QOS: Qos = Qos::Data;
    const MAX_BYTES: usize = MAX_IMAGE_BYTES + 1024;

    fn encode(&self) -> Vec<u8> {
        let Self { trial, data } = self.clone();
        pb::EvalPicture { trial, data }.encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let picture: pb::EvalPicture = parse(Self::SCHEMA, payload, envelope)?;
        envelope.at_most("data", &picture.data, MAX_IMAGE_BYTES)?;
        Ok(Self {
            trial: picture.trial,
            data: picture.data,
        })
    }
}
