//! What an arm host is doing, and the orders it takes. Which of them need a lease is decided in `tactus-control`.

use prost::Message as _;
use tactus_types::{
    FaultKind, Generation, JointVec, LeaseHolder, LeaseId, Mode, Reference, Time, Under,
};

use super::device::{generation_from, generation_to};
use super::lease::{holder_from, holder_to};
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
    /// [`Mode::Goto`].
    Goto,
    /// [`Mode::Align`].
    Align,
    /// [`Mode::Teleop`].
    Teleop,
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
            Mode::Goto => Self::Goto,
            Mode::Align => Self::Align,
            Mode::Teleop => Self::Teleop,
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
            Self::Goto => "goto",
            Self::Align => "align",
            Self::Teleop => "teleop",
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
        ModeWord::Goto => pb::Mode::Goto,
        ModeWord::Align => pb::Mode::Align,
        ModeWord::Teleop => pb::Mode::Teleop,
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
        Ok(pb::Mode::Goto) => Ok(ModeWord::Goto),
        Ok(pb::Mode::Align) => Ok(ModeWord::Align),
        Ok(pb::Mode::Teleop) => Ok(ModeWord::Teleop),
        Ok(pb::Mode::Hold) => Ok(ModeWord::Hold),
        Ok(pb::Mode::Stopped) => Ok(ModeWord::Stopped),
        Ok(pb::Mode::Unspecified) | Err(_) => Err(envelope.wrong("mode", "1 to 8", word)),
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
    /// Orders that were refused.
    pub orders_refused: u64,
    /// Setpoints of humans that were refused.
    pub setpoints_refused: u64,
    /// Orders, questions for a lease and setpoints under a lease, in a name or for a rank that was not their sender's; and
    /// setpoints that were none.
    pub turned_away: u64,
    /// Messages that the network dropped because their sender may not say them; in cells with keys.
    pub denied: u64,
}

/// What an arm host is doing; published on every change and periodically.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeReport {
    /// The mode.
    pub mode: ModeWord,
    /// Why, in an operator's words; empty when there is nothing to say.
    pub reason: String,
    /// Row of the ladder's table behind a hold; `None` in any other mode.
    pub fault: Option<FaultKind>,
    /// Generation in force.
    pub generation: Generation,
    /// When the mode began.
    pub since: Time,
    /// The task in words; empty outside episodes.
    pub instruction: String,
    /// What happened so far.
    pub counters: Counters,
    /// Who holds the lease.
    pub lease: Option<LeaseHolder>,
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
            orders_refused,
            setpoints_refused,
            turned_away,
            denied,
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
                orders_refused,
                setpoints_refused,
                turned_away,
                denied,
            }),
            lease: self.lease.as_ref().map(holder_to),
            fault: self.fault.map_or("", FaultKind::name).to_owned(),
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
            orders_refused,
            setpoints_refused,
            turned_away,
            denied,
        } = envelope.present("counters", report.counters)?;
        Ok(Self {
            mode: word_from(report.mode, envelope)?,
            reason: envelope.text("reason", report.reason)?,
            fault: match report.fault.as_str() {
                "" => None,
                name => Some(FaultKind::named(name).ok_or_else(|| {
                    envelope.wrong(
                        "fault",
                        "a fault of the ladder",
                        name.chars().take(64).collect::<String>(),
                    )
                })?),
            },
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
                orders_refused,
                setpoints_refused,
                turned_away,
                denied,
            },
            lease: report
                .lease
                .map(|by| holder_from(by, envelope))
                .transpose()?,
        })
    }
}

/// What an arm host can be told; a query on its mode key.
#[derive(Debug, Clone, PartialEq)]
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
    /// Brake and hold; an episode may be resumed by an operator.
    Hold,
    /// Torque off, at rest.
    TorqueOff {
        /// The operator says that the arm is supported: needed for one without brakes.
        arm_is_supported: bool,
    },
    /// Move to a pose, under the limits.
    Goto {
        /// Joint positions, rad.
        q: JointVec,
        /// Gripper opening, 0..1; `None` leaves it.
        opening: Option<f64>,
        /// Share of the limits that may be used, in (0, 1].
        speed: f64,
    },
    /// A human takes over.
    TakeOver {
        /// How leader and arm come together.
        reference: Reference,
    },
    /// The human hands back to the episode that was interrupted.
    HandBack,
}

fn reference_to(reference: Reference) -> i32 {
    match reference {
        Reference::Leader => pb::Reference::Leader,
        Reference::Slide => pb::Reference::Slide,
        Reference::Clutch => pb::Reference::Clutch,
    }
    .into()
}

fn reference_from(reference: i32, envelope: &Envelope<'_>) -> Result<Reference, WireError> {
    match pb::Reference::try_from(reference) {
        Ok(pb::Reference::Leader) => Ok(Reference::Leader),
        Ok(pb::Reference::Slide) => Ok(Reference::Slide),
        Ok(pb::Reference::Clutch) => Ok(Reference::Clutch),
        Ok(pb::Reference::Unspecified) | Err(_) => {
            Err(envelope.wrong("take_over.reference", "1 to 3", reference))
        }
    }
}

/// An order and the lease that it is given under: what really travels. A bare [`ModeOrder`] is one without a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedOrder {
    /// The order.
    pub order: ModeOrder,
    /// The lease.
    pub under: Option<Under>,
}

impl Message for ModeOrder {
    const SCHEMA: &'static str = "tactus.v1.ModeOrder";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        order_to(self, None).encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        LeasedOrder::decode(payload, envelope).map(|leased| leased.order)
    }
}

impl Message for LeasedOrder {
    const SCHEMA: &'static str = ModeOrder::SCHEMA;
    const QOS: Qos = ModeOrder::QOS;

    fn encode(&self) -> Vec<u8> {
        order_to(&self.order, self.under).encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        order_from(parse(Self::SCHEMA, payload, envelope)?, envelope)
    }
}

pub(crate) fn order_from(
    order: pb::ModeOrder,
    envelope: &Envelope<'_>,
) -> Result<LeasedOrder, WireError> {
    use pb::mode_order::{
        Enable, Goto, HandBack, Hold, Order, Stop, StopEpisode, TakeOver, TorqueOff,
    };
    let under = order.under.map(|under| Under {
        lease: LeaseId(under.lease),
        sequence: under.sequence,
        bound: under.bound,
    });
    let order = match envelope.present("order", order.order)? {
        Order::Enable(Enable {}) => ModeOrder::Enable,
        Order::StartEpisode(start) => ModeOrder::StartEpisode {
            episode: start.episode,
            instruction: envelope.text("start_episode.instruction", start.instruction)?,
            seed: start.seed,
        },
        Order::StopEpisode(StopEpisode {}) => ModeOrder::StopEpisode,
        Order::Stop(Stop {}) => ModeOrder::Stop,
        Order::Hold(Hold {}) => ModeOrder::Hold,
        Order::TorqueOff(TorqueOff { arm_is_supported }) => {
            ModeOrder::TorqueOff { arm_is_supported }
        }
        Order::Goto(Goto { q, opening, speed }) => ModeOrder::Goto {
            q: envelope.joints("goto.q", &q)?,
            opening: opening
                .map(|opening| envelope.fraction("goto.opening", opening))
                .transpose()?,
            speed: envelope.fraction("goto.speed", speed)?,
        },
        Order::TakeOver(TakeOver { reference }) => ModeOrder::TakeOver {
            reference: reference_from(reference, envelope)?,
        },
        Order::HandBack(HandBack {}) => ModeOrder::HandBack,
    };
    Ok(LeasedOrder { order, under })
}

pub(crate) fn order_to(order: &ModeOrder, under: Option<Under>) -> pb::ModeOrder {
    use pb::mode_order::{
        Enable, Goto, HandBack, Hold, Order, StartEpisode, Stop, StopEpisode, TakeOver, TorqueOff,
    };
    let order = match order.clone() {
        ModeOrder::Enable => Order::Enable(Enable {}),
        ModeOrder::StartEpisode {
            episode,
            instruction,
            seed,
        } => Order::StartEpisode(StartEpisode {
            episode,
            instruction,
            seed,
        }),
        ModeOrder::StopEpisode => Order::StopEpisode(StopEpisode {}),
        ModeOrder::Stop => Order::Stop(Stop {}),
        ModeOrder::Hold => Order::Hold(Hold {}),
        ModeOrder::TorqueOff { arm_is_supported } => {
            Order::TorqueOff(TorqueOff { arm_is_supported })
        }
        ModeOrder::Goto { q, opening, speed } => Order::Goto(Goto {
            q: q.as_slice().to_vec(),
            opening,
            speed,
        }),
        ModeOrder::TakeOver { reference } => Order::TakeOver(TakeOver {
            reference: reference_to(reference),
        }),
        ModeOrder::HandBack => Order::HandBack(HandBack {}),
    };
    let under = under.map(|under| pb::Under {
        lease: under.lease.0,
        sequence: under.sequence,
        bound: under.bound,
    });
    let order = Some(order);
    pb::ModeOrder { order, under }
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
