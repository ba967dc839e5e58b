//! Between the arm host and the engine: requests, chunks, refusals.

use std::time::Duration;

use prost::Message as _;
use tactus_types::{
    Action, ActionChunk, Conditioning, FrameRef, InferenceRequest, Jacobian, JointVec, Leftover,
    MAX_JOINTS, MAX_LEFTOVER, Refusal, RefusalReason, Stage, StageTimes, Time, TimedAction,
};

use super::device::{generation_from, generation_to};
use crate::{
    Message, Qos, WireError,
    check::{MAX_ACTIONS, MAX_CAMERAS},
    message::{Envelope, parse},
    proto::tactus as pb,
};

impl Message for InferenceRequest {
    const SCHEMA: &'static str = "tactus.v1.InferenceRequest";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        pb::InferenceRequest {
            id: self.id,
            generation: generation_to(self.generation),
            instruction: self.instruction.to_string(),
            observe_after_nanos: self.observe_after.as_nanos(),
            deadline_nanos: self.deadline.as_nanos(),
            expected_delay_nanos: nanos(self.expected_delay),
            leftover: self
                .leftover
                .as_slice()
                .iter()
                .map(|timed| pb::TimedAction {
                    due_nanos: timed.due.as_nanos(),
                    action: Some(action_to(&timed.action)),
                })
                .collect(),
            seed: self.seed,
            conditioning: Some(conditioning_to(self.conditioning)),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let request: pb::InferenceRequest = parse(Self::SCHEMA, payload, envelope)?;
        envelope.at_most("leftover", &request.leftover, MAX_LEFTOVER)?;
        let mut leftover = Leftover::none();
        for (i, timed) in request.leftover.into_iter().enumerate() {
            let field = format!("leftover[{i}]");
            let action = envelope.present(&field, timed.action)?;
            let first = leftover.as_slice().first().map(|first| first.action.q);
            let due = Time::from_nanos(timed.due_nanos);
            if leftover
                .as_slice()
                .last()
                .is_some_and(|last| last.due >= due)
            {
                return Err(envelope.wrong(
                    field,
                    "a later time than the one before",
                    due.as_nanos(),
                ));
            }
            leftover.push(TimedAction {
                due,
                action: action_from(&field, &action, first.as_ref(), envelope)?,
            });
        }
        let conditioning = envelope.present("conditioning", request.conditioning)?;
        Ok(Self {
            id: request.id,
            generation: generation_from(request.generation, envelope)?,
            instruction: envelope.shared_text("instruction", request.instruction)?,
            observe_after: Time::from_nanos(request.observe_after_nanos),
            deadline: Time::from_nanos(request.deadline_nanos),
            expected_delay: Duration::from_nanos(request.expected_delay_nanos),
            leftover,
            conditioning: conditioning_from(&conditioning, envelope)?,
            seed: request.seed,
        })
    }
}

fn conditioning_to(conditioning: Conditioning) -> pb::Conditioning {
    use pb::conditioning::{Conditioning as To, Guided, None, Prefix};
    let conditioning = match conditioning {
        Conditioning::None => To::None(None {}),
        Conditioning::Prefix => To::Prefix(Prefix {}),
        Conditioning::Guided { beta, jacobian } => To::Guided(Guided {
            beta,
            identity: jacobian == Jacobian::Identity,
        }),
    };
    pb::Conditioning {
        conditioning: Some(conditioning),
    }
}

fn conditioning_from(
    conditioning: &pb::Conditioning,
    envelope: &Envelope<'_>,
) -> Result<Conditioning, WireError> {
    use pb::conditioning::Conditioning as From;
    let field = "conditioning";
    match envelope.present(field, conditioning.conditioning.as_ref())? {
        From::None(_) => Ok(Conditioning::None),
        From::Prefix(_) => Ok(Conditioning::Prefix),
        From::Guided(guided) if guided.beta.is_finite() && guided.beta > 0.0 => {
            Ok(Conditioning::Guided {
                beta: guided.beta,
                jacobian: match guided.identity {
                    true => Jacobian::Identity,
                    false => Jacobian::Exact,
                },
            })
        }
        From::Guided(guided) => {
            let field = "conditioning.guided.beta";
            Err(envelope.wrong(field, "a finite number above 0", guided.beta))
        }
    }
}

/// The engine's answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum ChunkReply {
    /// Actions.
    Chunk(ActionChunk),
    /// None, and why.
    Refusal(Refusal),
}

impl Message for ChunkReply {
    const SCHEMA: &'static str = "tactus.v1.ChunkReply";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        let reply = match self {
            Self::Chunk(chunk) => pb::chunk_reply::Reply::Chunk(chunk_to(chunk)),
            Self::Refusal(refusal) => pb::chunk_reply::Reply::Refusal(refusal_to(refusal)),
        };
        pb::ChunkReply { reply: Some(reply) }.encode_to_vec()
    }

    /// At most as many actions, and joints in each, as there is room for. Anything else that a chunk can be wrong in
    /// (numbers that are not finite, no action, no period) is for the scheduler to say: it makes a fault of it.
    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let reply: pb::ChunkReply = parse(Self::SCHEMA, payload, envelope)?;
        match envelope.present("reply", reply.reply)? {
            pb::chunk_reply::Reply::Chunk(chunk) => chunk_from(chunk, envelope).map(Self::Chunk),
            pb::chunk_reply::Reply::Refusal(refusal) => {
                refusal_from(refusal, envelope).map(Self::Refusal)
            }
        }
    }
}

fn chunk_to(chunk: &ActionChunk) -> pb::ActionChunk {
    pb::ActionChunk {
        request_id: chunk.request_id,
        generation: generation_to(chunk.generation),
        observed_at_nanos: chunk.observed_at.as_nanos(),
        first_due_nanos: chunk.first_due.as_nanos(),
        period_nanos: nanos(chunk.period),
        actions: chunk.actions.iter().map(action_to).collect(),
        bundle_id: chunk.bundle_id.to_string(),
        frames: chunk
            .frames
            .iter()
            .map(|frame| pb::FrameRef {
                camera: frame.camera.to_string(),
                seq: frame.seq,
                captured_nanos: frame.captured_at.as_nanos(),
            })
            .collect(),
        stages: stages_to(&chunk.stages),
        state_nanos: chunk
            .states
            .iter()
            .flatten()
            .map(|t| t.as_nanos())
            .collect(),
    }
}

fn chunk_from(chunk: pb::ActionChunk, envelope: &Envelope<'_>) -> Result<ActionChunk, WireError> {
    let count = chunk.actions.len();
    envelope.at_most("actions", &chunk.actions, MAX_ACTIONS)?;
    let mut actions: Vec<Action> = Vec::with_capacity(count);
    for action in &chunk.actions {
        let q = JointVec::from_slice(&action.q).ok_or_else(|| {
            let expected = format!("at most {MAX_JOINTS} numbers");
            envelope.wrong("actions.q", expected, action.q.len())
        })?;
        let opening = action.opening;
        actions.push(Action { q, opening });
    }
    envelope.at_most("frames", &chunk.frames, MAX_CAMERAS)?;
    let mut frames = Vec::with_capacity(chunk.frames.len());
    for frame in chunk.frames {
        frames.push(FrameRef {
            camera: envelope.shared_text("frames.camera", frame.camera)?,
            seq: frame.seq,
            captured_at: Time::from_nanos(frame.captured_nanos),
        });
    }
    let states = match chunk.state_nanos[..] {
        [] => None,
        [before, after] => Some([before, after].map(Time::from_nanos)),
        _ => return Err(envelope.wrong("state_nanos", "none or two", chunk.state_nanos.len())),
    };
    Ok(ActionChunk {
        request_id: chunk.request_id,
        generation: generation_from(chunk.generation, envelope)?,
        observed_at: Time::from_nanos(chunk.observed_at_nanos),
        first_due: Time::from_nanos(chunk.first_due_nanos),
        period: Duration::from_nanos(chunk.period_nanos),
        actions,
        bundle_id: envelope.shared_text("bundle_id", chunk.bundle_id)?,
        states,
        frames,
        stages: stages_from(&chunk.stages, envelope)?,
    })
}

fn refusal_to(refusal: &Refusal) -> pb::Refusal {
    use pb::refusal::{Ahead, Frozen, Missing, Overloaded, Policy, Reason, Stale};
    let reason = match &refusal.reason {
        RefusalReason::Missing { stream } => Reason::Missing(Missing {
            stream: stream.to_string(),
        }),
        RefusalReason::Stale {
            stream,
            age_millis,
            limit_millis,
        } => Reason::Stale(Stale {
            stream: stream.to_string(),
            age_millis: *age_millis,
            limit_millis: *limit_millis,
        }),
        RefusalReason::Frozen {
            stream,
            still_millis,
        } => Reason::Frozen(Frozen {
            stream: stream.to_string(),
            still_millis: *still_millis,
        }),
        RefusalReason::Ahead {
            stream,
            ahead_millis,
        } => Reason::Ahead(Ahead {
            stream: stream.to_string(),
            ahead_millis: *ahead_millis,
        }),
        RefusalReason::Overloaded { message } => Reason::Overloaded(Overloaded {
            message: message.to_string(),
        }),
        RefusalReason::Policy { message } => Reason::Policy(Policy {
            message: message.to_string(),
        }),
    };
    pb::Refusal {
        request_id: refusal.request_id,
        generation: generation_to(refusal.generation),
        reason: Some(reason),
    }
}

fn refusal_from(refusal: pb::Refusal, envelope: &Envelope<'_>) -> Result<Refusal, WireError> {
    use pb::refusal::Reason;
    let reason = match envelope.present("reason", refusal.reason)? {
        Reason::Missing(missing) => RefusalReason::Missing {
            stream: envelope.shared_text("missing.stream", missing.stream)?,
        },
        Reason::Stale(stale) => RefusalReason::Stale {
            stream: envelope.shared_text("stale.stream", stale.stream)?,
            age_millis: stale.age_millis,
            limit_millis: stale.limit_millis,
        },
        Reason::Frozen(frozen) => RefusalReason::Frozen {
            stream: envelope.shared_text("frozen.stream", frozen.stream)?,
            still_millis: frozen.still_millis,
        },
        Reason::Ahead(ahead) => RefusalReason::Ahead {
            stream: envelope.shared_text("ahead.stream", ahead.stream)?,
            ahead_millis: ahead.ahead_millis,
        },
        Reason::Overloaded(overloaded) => RefusalReason::Overloaded {
            message: envelope.shared_text("overloaded.message", overloaded.message)?,
        },
        Reason::Policy(policy) => RefusalReason::Policy {
            message: envelope.shared_text("policy.message", policy.message)?,
        },
    };
    Ok(Refusal {
        request_id: refusal.request_id,
        generation: generation_from(refusal.generation, envelope)?,
        reason,
    })
}

fn action_to(action: &Action) -> pb::Action {
    pb::Action {
        q: action.q.as_slice().to_vec(),
        opening: action.opening,
    }
}

fn action_from(
    field: &str,
    action: &pb::Action,
    like: Option<&JointVec>,
    envelope: &Envelope<'_>,
) -> Result<Action, WireError> {
    let q_field = format!("{field}.q");
    Ok(Action {
        q: match like {
            Some(like) => envelope.joints_like(&q_field, &action.q, like)?,
            None => envelope.joints(&q_field, &action.q)?,
        },
        opening: envelope.finite(&format!("{field}.opening"), action.opening)?,
    })
}

/// Saturating: the wire's durations end after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn stages_to(stages: &StageTimes) -> Vec<pb::StageTime> {
    Stage::ALL
        .iter()
        .filter(|stage| !stages.get(**stage).is_zero())
        .map(|stage| pb::StageTime {
            stage: stage_to(*stage).into(),
            nanos: nanos(stages.get(*stage)),
        })
        .collect()
}

pub(crate) fn stages_from(
    stages: &[pb::StageTime],
    envelope: &Envelope<'_>,
) -> Result<StageTimes, WireError> {
    envelope.at_most("stages", stages, Stage::ALL.len())?;
    let mut times = StageTimes::default();
    for time in stages {
        let stage = Stage::ALL
            .into_iter()
            .find(|stage| i32::from(stage_to(*stage)) == time.stage)
            .ok_or_else(|| envelope.wrong("stages.stage", "a known stage", time.stage))?;
        times.set(stage, Duration::from_nanos(time.nanos));
    }
    Ok(times)
}

pub(crate) fn stage_to(stage: Stage) -> pb::Stage {
    match stage {
        Stage::Capture => pb::Stage::Capture,
        Stage::Transport => pb::Stage::Transport,
        Stage::Queue => pb::Stage::Queue,
        Stage::Assemble => pb::Stage::Assemble,
        Stage::Decode => pb::Stage::Decode,
        Stage::Preprocess => pb::Stage::Preprocess,
        Stage::Vision => pb::Stage::Vision,
        Stage::Backbone => pb::Stage::Backbone,
        Stage::Context => pb::Stage::Context,
        Stage::Denoise => pb::Stage::Denoise,
        Stage::Deliver => pb::Stage::Deliver,
        Stage::Limit => pb::Stage::Limit,
        Stage::Actuate => pb::Stage::Actuate,
    }
}
