//! What an arm host is doing, and the orders it takes.

use prost::Message as _;
use tactus_types::{Generation, Mode, Time};

use super::device::{generation_from, generation_to};
use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// A [`Mode`] without its reason: the word of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModeWord {
    /// [`Mode::Boot`].
    Boot,
    /// [`Mode::Ready`].
    Ready,
    /// [`Mode::Policy`].
    Policy,
    /// [`Mode::Hold`].
    Hold,
    /// [`Mode::Stopped`].
    Stopped,
}

impl From<&Mode> for ModeWord {
    fn from(mode: &Mode) -> Self {
        match mode {
            Mode::Boot => Self::Boot,
            Mode::Ready => Self::Ready,
            Mode::Policy => Self::Policy,
            Mode::Hold(_) => Self::Hold,
            Mode::Stopped => Self::Stopped,
        }
    }
}

impl std::fmt::Display for ModeWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Ready => "ready",
            Self::Policy => "policy",
            Self::Hold => "hold",
            Self::Stopped => "stopped",
        })
    }
}

fn word_to(word: ModeWord) -> i32 {
    match word {
        ModeWord::Boot => pb::Mode::Boot,
        ModeWord::Ready => pb::Mode::Ready,
        ModeWord::Policy => pb::Mode::Policy,
        ModeWord::Hold => pb::Mode::Hold,
        ModeWord::Stopped => pb::Mode::Stopped,
    }
    .into()
}

fn word_from(word: i32, envelope: &Envelope<'_>) -> Result<ModeWord, WireError> {
    match pb::Mode::try_from(word) {
        Ok(pb::Mode::Boot) => Ok(ModeWord::Boot),
        Ok(pb::Mode::Ready) => Ok(ModeWord::Ready),
        Ok(pb::Mode::Policy) => Ok(ModeWord::Policy),
        Ok(pb::Mode::Hold) => Ok(ModeWord::Hold),
        Ok(pb::Mode::Stopped) => Ok(ModeWord::Stopped),
        Ok(pb::Mode::Unspecified) | Err(_) => Err(envelope.wrong("mode", "1 to 5", word)),
    }
}

/// What happened since the arm host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Ticks of the control loop.
    pub ticks: u64,
    /// Ticks that finished after their deadline.
    pub overruns: u64,
    /// Ticks in policy mode without an action that was due.
    pub starved_ticks: u64,
    /// Times the arm went into a hold by a fault.
    pub holds: u64,
    /// Ticks whose setpoint a limit changed.
    pub limited_ticks: u64,
    /// Chunks that entered the schedule.
    pub chunks_accepted: u64,
    /// Chunks that did not.
    pub chunks_discarded: u64,
}

/// What an arm host is doing; published on every change and periodically.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeReport {
    /// The mode.
    pub mode: ModeWord,
    /// Why, in an operator's words; empty when there is nothing to say.
    pub reason: String,
    /// Generation in force.
    pub generation: Generation,
    /// When the mode began.
    pub since: Time,
    /// The task in words; empty outside episodes.
    pub instruction: String,
    /// What happened so far.
    pub counters: Counters,
}

impl Message for ModeReport {
    const SCHEMA: &'static str = "tactus.v1.ModeReport";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        let Counters {
            ticks,
            overruns,
            starved_ticks,
            holds,
            limited_ticks,
            chunks_accepted,
            chunks_discarded,
        } = self.counters;
        pb::ModeReport {
            mode: word_to(self.mode),
            reason: self.reason.clone(),
            generation: generation_to(self.generation),
            since_nanos: self.since.as_nanos(),
            instruction: self.instruction.clone(),
            counters: Some(pb::Counters {
                ticks,
                overruns,
                starved_ticks,
                holds,
                limited_ticks,
                chunks_accepted,
                chunks_discarded,
            }),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let report: pb::ModeReport = parse(Self::SCHEMA, payload, envelope)?;
        let pb::Counters {
            ticks,
            overruns,
            starved_ticks,
            holds,
            limited_ticks,
            chunks_accepted,
            chunks_discarded,
        } = envelope.present("counters", report.counters)?;
        Ok(Self {
            mode: word_from(report.mode, envelope)?,
            reason: envelope.text("reason", report.reason)?,
            generation: generation_from(report.generation, envelope)?,
            since: Time::from_nanos(report.since_nanos),
            instruction: envelope.text("instruction", report.instruction)?,
            counters: Counters {
                ticks,
                overruns,
                starved_ticks,
                holds,
                limited_ticks,
                chunks_accepted,
                chunks_discarded,
            },
        })
    }
}

/// What an arm host can be told; a query on its mode key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeOrder {
    /// Leave Boot: the operator looked at the arm.
    Enable,
    /// Begin an episode.
    StartEpisode {
        /// Number of the episode.
        episode: u64,
        /// The task in words.
        instruction: String,
        /// Seed of the policy's noise.
        seed: u64,
    },
    /// End the episode: back to Ready.
    StopEpisode,
    /// Controlled stop, from every mode.
    Stop,
}

impl Message for ModeOrder {
    const SCHEMA: &'static str = "tactus.v1.ModeOrder";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        use pb::mode_order::{Enable, Order, StartEpisode, Stop, StopEpisode};
        let order = match self.clone() {
            Self::Enable => Order::Enable(Enable {}),
            Self::StartEpisode {
                episode,
                instruction,
                seed,
            } => Order::StartEpisode(StartEpisode {
                episode,
                instruction,
                seed,
            }),
            Self::StopEpisode => Order::StopEpisode(StopEpisode {}),
            Self::Stop => Order::Stop(Stop {}),
        };
        pb::ModeOrder { order: Some(order) }.encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        use pb::mode_order::{Enable, Order, Stop, StopEpisode};
        let order: pb::ModeOrder = parse(Self::SCHEMA, payload, envelope)?;
        Ok(match envelope.present("order", order.order)? {
            Order::Enable(Enable {}) => Self::Enable,
            Order::StartEpisode(start) => Self::StartEpisode {
                episode: start.episode,
                instruction: envelope.text("start_episode.instruction", start.instruction)?,
                seed: start.seed,
            },
            Order::StopEpisode(StopEpisode {}) => Self::StopEpisode,
            Order::Stop(Stop {}) => Self::Stop,
        })
    }
}

/// The answer to a [`ModeOrder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeOrderReply {
    /// Whether the order was carried out.
    pub accepted: bool,
    /// Why not, or what follows; in an operator's words.
    pub message: String,
    /// The mode after the order.
    pub mode: ModeWord,
}

impl Message for ModeOrderReply {
    const SCHEMA: &'static str = "tactus.v1.ModeOrderReply";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        pb::ModeOrderReply {
            accepted: self.accepted,
            message: self.message.clone(),
            mode: word_to(self.mode),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let reply: pb::ModeOrderReply = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self {
            accepted: reply.accepted,
            message: envelope.text("message", reply.message)?,
            mode: word_from(reply.mode, envelope)?,
        })
    }
}
