//! What a control loop decided from: the notes that let a recording be decided again, tick for tick.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tactus_types::{JointState, JointVec, LeaseId, MAX_JOINTS, OperatorSetpoint, Time};

use super::lease::{request_from, request_to};
use super::mode::{order_from, order_to};
use crate::{
    LeaseRequest, LeasedOrder, Message, ModeOrder, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// Most ticks of one batch: half a minute at 1 kHz and some.
const MAX_TICKS: usize = 1 << 15;
/// Most questions before one tick.
const MAX_ASKED: usize = 16;

/// What was asked of an arm host before a tick.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// To stop: by its key, or because the process was told to end.
    Stop,
    /// An order from outside.
    Order(LeasedOrder),
    /// Something about the lease.
    Lease(LeaseRequest),
    /// An order of the process itself, which needs no lease: a simulation in lock-step.
    Own(ModeOrder),
}

/// Which reply a tick took: what the reply's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyRef {
    /// When it was published.
    pub published_at: Time,
    /// Its number.
    pub seq: u64,
}

/// Everything that one tick was decided from.
#[derive(Debug, Clone, PartialEq)]
pub struct TickNote {
    /// Number of the tick, from 1, without gaps.
    pub tick: u64,
    /// The instant that was decided for.
    pub now: Time,
    /// Newest joint state, as it was: finite or not.
    pub state: Option<JointState>,
    /// The chunk or refusal that was taken.
    pub reply: Option<ReplyRef>,
    /// A human's setpoint.
    pub operator: Option<OperatorSetpoint>,
    /// The engine's liveliness token was there.
    pub engine_alive: bool,
    /// Time since anything was heard from the engine's host.
    pub engine_silent: Duration,
    /// A camera that was gone.
    pub dead_camera: Option<Arc<str>>,
    /// Why the driver did not take the last command.
    pub driver_error: Option<Arc<str>>,
    /// What was asked before, in the order in which it was dealt with.
    pub asked: Vec<Asked>,
}

/// Notes of consecutive ticks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TickBatch {
    /// Random number of the arm host's boot.
    pub boot: u64,
    /// Digest of the loop's configuration.
    pub spec: u64,
    /// Notes that the arm host lost since it started; above 0 they do not tell everything.
    pub lost: u64,
    /// At most 32768.
    pub ticks: Vec<TickNote>,
}

impl Message for TickBatch {
    const SCHEMA: &'static str = "tactus.v1.TickBatch";
    const QOS: Qos = Qos::Data;
    const MAX_BYTES: usize = 16 << 20;

    fn encode(&self) -> Vec<u8> {
        pb::TickBatch {
            boot: self.boot,
            spec: self.spec,
            lost: self.lost,
            ticks: self.ticks.iter().map(note_to).collect(),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let batch: pb::TickBatch = parse(Self::SCHEMA, payload, envelope)?;
        envelope.at_most("ticks", &batch.ticks, MAX_TICKS)?;
        let ticks = batch.ticks.into_iter();
        let ticks = ticks.map(|note| note_from(note, envelope));
        Ok(Self {
            boot: batch.boot,
            spec: batch.spec,
            lost: batch.lost,
            ticks: ticks.collect::<Result<_, _>>()?,
        })
    }
}

fn note_to(note: &TickNote) -> pb::TickInput {
    use pb::tick_input::{Reply, Setpoint, State};
    let TickNote {
        tick,
        now,
        state,
        reply,
        operator,
        engine_alive,
        engine_silent,
        dead_camera,
        driver_error,
        asked,
    } = note;
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    pb::TickInput {
        tick: *tick,
        now_nanos: now.as_nanos(),
        state: state.as_ref().map(|state| State {
            captured_nanos: state.captured_at.as_nanos(),
            seq: state.seq,
            state: Some(pb::JointState {
                epoch: state.epoch,
                q: state.q.as_slice().to_vec(),
                dq: state.dq.as_slice().to_vec(),
                opening: state.opening,
                torque: Some(state.torque),
            }),
        }),
        reply: reply.map(|reply| Reply {
            published_nanos: reply.published_at.as_nanos(),
            seq: reply.seq,
        }),
        operator: operator.as_ref().map(|setpoint| Setpoint {
            captured_nanos: setpoint.captured_at.as_nanos(),
            sequence: setpoint.sequence,
            setpoint: Some(pb::OperatorSetpoint {
                lease: setpoint.lease.0,
                q: setpoint.q.as_slice().to_vec(),
                opening: setpoint.opening,
                engaged: setpoint.engaged,
            }),
        }),
        engine_alive: *engine_alive,
        engine_silent_nanos: u64::try_from(engine_silent.as_nanos()).unwrap_or(u64::MAX),
        dead_camera: text(dead_camera),
        driver_error: text(driver_error),
        asked: asked.iter().map(asked_to).collect(),
    }
}

fn asked_to(asked: &Asked) -> pb::Asked {
    use pb::asked::{Asked as To, Stop};
    let asked = match asked {
        Asked::Stop => To::Stop(Stop {}),
        Asked::Order(LeasedOrder { order, under }) => To::Order(order_to(order, *under)),
        Asked::Lease(request) => To::Lease(request_to(request)),
        Asked::Own(order) => To::Own(order_to(order, None)),
    };
    pb::Asked { asked: Some(asked) }
}

fn note_from(note: pb::TickInput, envelope: &Envelope<'_>) -> Result<TickNote, WireError> {
    envelope.at_most("asked", &note.asked, MAX_ASKED)?;
    let text = |field: &str, text: String| match text.is_empty() {
        true => Ok(None),
        false => envelope.shared_text(field, text).map(Some),
    };
    let operator = note.operator.map(|operator| {
        let setpoint = envelope.present("operator.setpoint", operator.setpoint)?;
        Ok(OperatorSetpoint {
            lease: LeaseId(setpoint.lease),
            sequence: operator.sequence,
            captured_at: Time::from_nanos(operator.captured_nanos),
            q: numbers("operator.q", &setpoint.q, envelope)?,
            opening: setpoint.opening,
            engaged: setpoint.engaged,
        })
    });
    let state = note.state.map(|of| {
        let state = envelope.present("state.state", of.state)?;
        Ok(JointState {
            captured_at: Time::from_nanos(of.captured_nanos),
            seq: of.seq,
            epoch: state.epoch,
            q: numbers("state.q", &state.q, envelope)?,
            dq: numbers("state.dq", &state.dq, envelope)?,
            opening: state.opening,
            torque: state.torque.unwrap_or(true),
        })
    });
    let asked = note.asked.into_iter().map(|a| asked_from(a, envelope));
    Ok(TickNote {
        tick: note.tick,
        now: Time::from_nanos(note.now_nanos),
        state: state.transpose()?,
        reply: note.reply.map(|reply| ReplyRef {
            published_at: Time::from_nanos(reply.published_nanos),
            seq: reply.seq,
        }),
        operator: operator.transpose()?,
        engine_alive: note.engine_alive,
        engine_silent: Duration::from_nanos(note.engine_silent_nanos),
        dead_camera: text("dead_camera", note.dead_camera)?,
        driver_error: text("driver_error", note.driver_error)?,
        asked: asked.collect::<Result<_, _>>()?,
    })
}

fn asked_from(asked: pb::Asked, envelope: &Envelope<'_>) -> Result<Asked, WireError> {
    use pb::asked::{Asked as From, Stop};
    Ok(match envelope.present("asked", asked.asked)? {
        From::Stop(Stop {}) => Asked::Stop,
        From::Order(order) => Asked::Order(order_from(order, envelope)?),
        From::Lease(request) => Asked::Lease(request_from(request, envelope)?),
        From::Own(order) => Asked::Own(order_from(order, envelope)?.order),
    })
}

/// At most [`MAX_JOINTS`] numbers, finite or not: what was decided from them depends on that.
fn numbers(field: &str, values: &[f64], envelope: &Envelope<'_>) -> Result<JointVec, WireError> {
    JointVec::from_slice(values).ok_or_else(|| {
        let expected = format!("at most {MAX_JOINTS} numbers");
        envelope.wrong(field, expected, values.len())
    })
}
