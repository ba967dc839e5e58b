//! What comes to the arm host from outside besides chunks: orders, leases, stops; each through a ring of its own, so that
//! a flood of one kind keeps no other waiting.
//!
//! ```text
//!   arm/<name>/order/<who> --LeasedOrder--> orders -+
//!   arm/<name>/lease/<who> --LeaseRequest-> leases -+-> control thread, one of each per tick
//!   arm/<name>/stop        --anything-----> stops  -+
//!   arm/<name>/setpoint/<who> --OperatorSetpoint--> setpoints: all that came, the newest counts
//! ```
//! Decides nothing: which order is carried out, who gets the lease, and whose a lease is, is decided in `tactus-control`; which
//! rank somebody may ask for, in the table of the cell's members. What is said under another's lease is refused and counted
//! here. A stop is taken whatever its payload, header or clock: whoever reaches the key may stop the arm.

use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use tactus_control::{ArmCycle, Bearers, LeaseRefused, Order, OrderRefused, Pose, TickInput};
use tactus_types::{LeaseId, OperatorSetpoint, Time};
use tactus_wire::{
    Asked as Note, Cell, Delivery, LeaseReply, LeaseRequest, LeasedOrder, Members, ModeOrder,
    ModeOrderReply, ModeWord, Name, Queryable, Responder, Said, Session, SessionError, Sparse,
    Subscriber, Topic, decode, who_of,
};

/// Setpoints of humans that may wait for a tick.
const SETPOINTS: usize = 16;
/// Questions of one kind that may wait for a tick.
const WAITING: usize = 8;

type Asked<Q, A> = (Q, Responder<A>);

/// The control thread's end.
pub(crate) struct Orders {
    orders: Consumer<Asked<(Order, LeasedOrder), ModeOrderReply>>,
    leases: Consumer<Asked<LeaseRequest, LeaseReply>>,
    stops: Consumer<Asked<(), ModeOrderReply>>,
    setpoints: Consumer<OperatorSetpoint>,
    /// Waits to hear how switching torque went.
    switching: Option<Responder<ModeOrderReply>>,
}

/// Judges by whom something is said; shared by the threads that receive and the one that answers.
#[derive(Clone, Default)]
pub(crate) struct Door {
    bearers: Arc<Mutex<Bearers>>,
    /// Where the cell has keys: who may ask for which rank.
    members: Option<Arc<Members>>,
    turned_away: Arc<Sparse>,
}

impl Door {
    pub(crate) fn new(members: Option<Members>) -> Self {
        Self {
            members: members.map(Arc::new),
            ..Self::default()
        }
    }

    /// How often somebody spoke under a lease, in a name or for a rank that is not theirs, or sent a setpoint that is none.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.count()
    }

    fn judge(&self, who: Option<&Name>, lease: Option<LeaseId>) -> Result<(), String> {
        let judged = match (who, lease) {
            (None, _) => Err("a question is asked by one, in a name of its own".to_owned()),
            (Some(_), None) => Ok(()),
            (Some(who), Some(lease)) => {
                let bearers = self.bearers.lock().unwrap_or_else(PoisonError::into_inner);
                bearers
                    .judge(lease, who.as_str())
                    .map_err(|e| e.to_string())
            }
        };
        self.counted(judged)
    }

    fn judge_wish(&self, who: Option<&Name>, request: &LeaseRequest) -> Result<(), String> {
        match request {
            LeaseRequest::Renew { lease } | LeaseRequest::Release { lease } => {
                self.judge(who, Some(*lease))
            }
            LeaseRequest::Acquire { rank, .. } => {
                self.judge(who, None)?;
                let Some((members, who)) = self.members.as_ref().zip(who) else {
                    return Ok(());
                };
                self.counted(match members.rank(who) {
                    Some(most) if *rank <= most => Ok(()),
                    _ => Err(format!("`{who}` may not ask for rank {}", rank.word())),
                })
            }
        }
    }

    fn counted(&self, judged: Result<(), String>) -> Result<(), String> {
        if let Err(why) = &judged
            && let Some(times) = self.turned_away.told()
        {
            tracing::warn!(times, "turned away: {why}");
        }
        judged
    }

    fn granted(&self, who: Option<&Name>, reply: &LeaseReply) {
        if let (Some(who), LeaseReply::Granted { lease, .. }) = (who, reply) {
            let mut bearers = self.bearers.lock().unwrap_or_else(PoisonError::into_inner);
            bearers.given(*lease, who.as_str());
        }
    }
}

/// Keeps the keys declared.
pub(crate) struct OrderKeys {
    _mode: Queryable,
    _lease: Queryable,
    _stop: Queryable,
    _setpoint: Subscriber,
}

/// An answer, for the messenger to send.
pub(crate) enum Answer {
    Order(
        Responder<ModeOrderReply>,
        Result<(), OrderRefused>,
        ModeWord,
    ),
    Lease(Responder<LeaseReply>, LeaseReply),
}

/// Declares the keys of arm `arm`.
///
/// # Errors
/// [`SessionError`].
pub(crate) fn listen(
    session: &Session,
    cell: &Cell,
    arm: &Name,
    door: &Door,
) -> Result<(Orders, OrderKeys), SessionError> {
    let (to_orders, orders) = RingBuffer::new(WAITING);
    let (to_leases, leases) = RingBuffer::new(WAITING);
    let (to_stops, stops) = RingBuffer::new(WAITING);
    // A ring has one producer; Zenoh may call from any of its threads. The locks are on their side only.
    let to_orders = Mutex::new(to_orders);
    let at = door.clone();
    let mode = session.queryable(
        &cell.said_to(arm, Said::Order),
        move |q: Delivery<LeasedOrder>, responder: Responder<ModeOrderReply>| {
            let lease = q.message.under.map(|under| under.lease);
            match at.judge(responder.asker().as_ref(), lease) {
                Ok(()) => {
                    let order = order_of(&q.message.order);
                    push(&to_orders, (order, q.message), responder);
                }
                Err(why) => responder.refuse(&why),
            }
        },
    )?;
    let to_leases = Mutex::new(to_leases);
    let at = door.clone();
    let lease = session.queryable(
        &cell.said_to(arm, Said::Lease),
        move |q: Delivery<LeaseRequest>, responder: Responder<LeaseReply>| match at
            .judge_wish(responder.asker().as_ref(), &q.message)
        {
            Ok(()) => push(&to_leases, q.message, responder),
            Err(why) => responder.refuse(&why),
        },
    )?;
    let to_stops = Mutex::new(to_stops);
    let stop_key = cell.key(&Topic::ArmStop(arm.clone()));
    let stop = session.queryable_unchecked(&stop_key, move |responder| {
        push(&to_stops, (), responder);
    })?;
    let (to_setpoints, setpoints) = RingBuffer::new(SETPOINTS);
    let to_setpoints = Mutex::new(to_setpoints);
    let (at, clock) = (door.clone(), session.clock().id());
    let setpoint = session.subscribe_raw(&cell.said_to(arm, Said::Setpoint), move |raw| {
        let setpoint: Delivery<OperatorSetpoint> = match decode(&raw, clock) {
            Ok(setpoint) => setpoint,
            Err(e) => {
                let _ = at.counted(Err(e.to_string()));
                return;
            }
        };
        let lease = Some(setpoint.message.lease);
        if at.judge(who_of(raw.key).as_ref(), lease).is_ok() {
            // A ring that is full loses the setpoint: the next one says the same and more.
            let mut ring = to_setpoints.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = ring.push(setpoint.message);
        }
    })?;
    let orders = Orders {
        orders,
        leases,
        stops,
        setpoints,
        switching: None,
    };
    let keys = OrderKeys {
        _mode: mode,
        _lease: lease,
        _stop: stop,
        _setpoint: setpoint,
    };
    Ok((orders, keys))
}

fn push<Q, A: tactus_wire::Message>(
    ring: &Mutex<Producer<Asked<Q, A>>>,
    question: Q,
    responder: Responder<A>,
) {
    let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(PushError::Full((_, responder))) = ring.push((question, responder)) {
        responder.refuse("the control thread does not take so many at once");
    }
}

/// The order that `order` asks for.
pub(crate) fn order_of(order: &ModeOrder) -> Order {
    match order {
        ModeOrder::Enable => Order::Enable,
        ModeOrder::StartEpisode {
            instruction, seed, ..
        } => Order::Start {
            instruction: instruction.as_str().into(),
            seed: *seed,
        },
        ModeOrder::StopEpisode => Order::EndEpisode,
        ModeOrder::Stop => Order::Stop,
        ModeOrder::Hold => Order::Hold,
        ModeOrder::TorqueOff { arm_is_supported } => Order::TorqueOff {
            supported: *arm_is_supported,
        },
        ModeOrder::Goto { q, opening, speed } => Order::Goto {
            pose: Pose {
                q: *q,
                opening: *opening,
            },
            speed: *speed,
        },
        ModeOrder::TakeOver { reference } => Order::TakeOver {
            reference: *reference,
        },
        ModeOrder::HandBack => Order::HandBack,
    }
}

/// The other way round.
pub(crate) fn order_to(order: &Order) -> ModeOrder {
    match order {
        Order::Enable => ModeOrder::Enable,
        Order::Start { instruction, seed } => ModeOrder::StartEpisode {
            episode: 0,
            instruction: instruction.to_string(),
            seed: *seed,
        },
        Order::EndEpisode => ModeOrder::StopEpisode,
        Order::Stop => ModeOrder::Stop,
        Order::Hold => ModeOrder::Hold,
        Order::TorqueOff { supported } => ModeOrder::TorqueOff {
            arm_is_supported: *supported,
        },
        Order::Goto { pose, speed } => ModeOrder::Goto {
            q: pose.q,
            opening: pose.opening,
            speed: *speed,
        },
        Order::TakeOver { reference } => ModeOrder::TakeOver {
            reference: *reference,
        },
        Order::HandBack => ModeOrder::HandBack,
    }
}

/// What becomes of a question about the lease.
pub(crate) fn lease(cycle: &mut ArmCycle, request: &LeaseRequest, now: Time) -> LeaseReply {
    let granted = match request {
        LeaseRequest::Acquire { holder, rank, ttl } => {
            cycle.acquire(&holder.as_str().into(), *rank, *ttl, now)
        }
        LeaseRequest::Renew { lease } => cycle.renew(*lease, now),
        LeaseRequest::Release { lease } => match cycle.release(*lease, now) {
            Ok(()) => return LeaseReply::Released,
            Err(e) => Err(e),
        },
    };
    match granted {
        Ok(grant) => LeaseReply::Granted {
            lease: grant.lease,
            expires: grant.expires,
        },
        Err(e) => LeaseReply::Refused {
            over: matches!(e, LeaseRefused::Ended(_) | LeaseRefused::Unknown),
            reason: e.to_string(),
        },
    }
}

impl Orders {
    /// Takes at most one question of each kind before a tick: stops first. Returns what is answered, and notes of all that
    /// was asked, in that order.
    pub(crate) fn take(
        &mut self,
        cycle: &mut ArmCycle,
        input: &TickInput<'_>,
        now: Time,
    ) -> ([Option<Answered>; 3], [Option<Note>; 3]) {
        let (stop, stop_note) = match self.stops.pop() {
            Ok(((), responder)) => {
                let result = cycle.order(&Order::Stop, input, now);
                (Some(Answered::Order(responder, result)), Some(Note::Stop))
            }
            Err(_) => (None, None),
        };
        let (lease, lease_note) = match self.leases.pop() {
            Ok((request, responder)) => {
                let reply = lease(cycle, &request, now);
                let answered = Answered::Lease(responder, reply);
                (Some(answered), Some(Note::Lease(request)))
            }
            Err(_) => (None, None),
        };
        let (order, order_note) = match self.orders.pop() {
            Ok(((order, leased), responder)) => {
                let switched_before = cycle.is_switching();
                let result = cycle.order_under(&order, leased.under, input, now);
                let note = Some(Note::Order(leased));
                if result.is_ok() && cycle.is_switching() && !switched_before {
                    self.switching = Some(responder);
                    (None, note)
                } else {
                    (Some(Answered::Order(responder, result)), note)
                }
            }
            Err(_) => (None, None),
        };
        ([stop, lease, order], [stop_note, lease_note, order_note])
    }

    /// The newest setpoint of a human since the last tick.
    pub(crate) fn setpoint(&mut self) -> Option<OperatorSetpoint> {
        let mut newest = None;
        for _ in 0..SETPOINTS {
            match self.setpoints.pop() {
                Ok(setpoint) => newest = Some(setpoint),
                Err(_) => break,
            }
        }
        newest
    }

    /// How switching torque went, for whoever asked for it.
    pub(crate) fn switched(&mut self, result: Result<(), OrderRefused>) -> Option<Answered> {
        let responder = self.switching.take()?;
        Some(Answered::Order(responder, result))
    }
}

/// A question that was dealt with before a tick; the mode that its answer says is the one after the tick.
pub(crate) enum Answered {
    Order(Responder<ModeOrderReply>, Result<(), OrderRefused>),
    Lease(Responder<LeaseReply>, LeaseReply),
}

impl Answered {
    /// With the mode after the tick.
    pub(crate) fn in_mode(self, mode: ModeWord) -> Answer {
        match self {
            Self::Order(responder, result) => Answer::Order(responder, result, mode),
            Self::Lease(responder, reply) => Answer::Lease(responder, reply),
        }
    }
}

impl Answer {
    /// Sends it; a lease is its bearer's from before the bearer hears of it.
    pub(crate) fn send(self, door: &Door) {
        match self {
            Self::Lease(responder, reply) => {
                door.granted(responder.asker().as_ref(), &reply);
                responder.answer(&reply);
            }
            Self::Order(responder, result, mode) => {
                let accepted = result.is_ok();
                let message = match result {
                    Ok(()) => String::new(),
                    Err(e) => e.to_string(),
                };
                responder.answer(&ModeOrderReply {
                    accepted,
                    message,
                    mode,
                });
            }
        }
    }
}
