//! `tactus order`: one order to an arm host, and its answer; or how it is.
//!
//! Orders that begin motion are given under the arm's lease, which this process takes for as long as it lasts and gives
//! back. An episode that it starts is not bound to that lease: it goes on unattended, which is what a command that ends
//! at once can only mean. The demo, which stays, binds its episodes.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tactus_types::{Clock, Rank};
use tactus_wire::{
    Authority, Delivery, Key, ModeOrder, ModeOrderReply, ModeReport, Nothing, Session, Topic,
};

use crate::cell::{self, Cell};
use crate::cli::{OrderArgs, OrderVerb};
use crate::roles::Joined;
use crate::{result, roles};

/// How long an arm host may take to answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a lease outlives the process that holds it.
pub const TTL: Duration = Duration::from_secs(3);

/// Sends the order; an order that is refused is an error with the arm host's reason.
pub fn order(args: &OrderArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.role.cell)?;
    let joined = roles::join(&args.role, "order")?;
    let session = &joined.session;
    let key = session.order_key(&cell.wire, &cell.arm);
    // This process has just opened its session; whoever answers may not be known to it yet.
    session.wait_for_answerer(&key, ANSWER_WITHIN)?;
    let under_lease = |order: &ModeOrder| {
        let authority = authority(session, &cell, "order", rank(args.take_over))?;
        under(&authority, &cell, order, false)
    };
    let reply = match &args.order {
        OrderVerb::Status => return status(&cell, &joined),
        OrderVerb::End => send(session, &key, &ModeOrder::StopEpisode)?,
        OrderVerb::Hold => send(session, &key, &ModeOrder::Hold)?,
        OrderVerb::Stop => {
            let key = cell.wire.key(&Topic::ArmStop(cell.arm.clone()));
            session.wait_for_answerer(&key, ANSWER_WITHIN)?;
            let reply = session.query::<Nothing, ModeOrderReply>(&key, &Nothing, ANSWER_WITHIN);
            reply.context("the arm host does not answer")?.message
        }
        OrderVerb::Enable => under_lease(&ModeOrder::Enable)?,
        OrderVerb::Start { instruction, seed } => under_lease(&ModeOrder::StartEpisode {
            episode: 0,
            instruction: instruction.clone(),
            seed: *seed,
        })?,
        OrderVerb::TorqueOff { arm_is_supported } => under_lease(&ModeOrder::TorqueOff {
            arm_is_supported: *arm_is_supported,
        })?,
    };
    result::line(format_args!("mode: {}", reply.mode))
}

/// The arm host does not do as it was told; nothing has begun.
#[derive(Debug, thiserror::Error)]
#[error("the arm host refuses: {0}")]
pub struct Refuses(String);

/// What a process commands as: its own episodes, or over those of others.
pub fn rank(take_over: bool) -> Rank {
    if take_over {
        Rank::Teleop
    } else {
        Rank::Policy
    }
}

/// The lease of the cell's arm, in the name of `verb` and this process.
///
/// # Errors
/// When nobody answers, or someone else holds it.
pub fn authority(
    session: &Session,
    cell: &Cell,
    verb: &str,
    rank: Rank,
) -> anyhow::Result<Authority> {
    let key = session.lease_key(&cell.wire, &cell.arm);
    session.wait_for_answerer(&key, ANSWER_WITHIN)?;
    let holder = format!("{verb}-{}", std::process::id());
    Authority::acquire(session, &cell.wire, &cell.arm, &holder, rank, TTL)
        .context("the arm's lease")
}

/// Gives `order` under the lease; with `bound`, what it begins ends with the lease.
///
/// # Errors
/// When nobody answers, or the arm host refuses.
pub fn under(
    authority: &Authority,
    cell: &Cell,
    order: &ModeOrder,
    bound: bool,
) -> anyhow::Result<ModeOrderReply> {
    // Enabling is answered when the arm has stood still for its window.
    let within = ANSWER_WITHIN + cell.enable.window;
    let reply = authority
        .order(order, bound, within)
        .context("the arm host does not answer")?;
    accepted(reply)
}

/// Sends `order` without a lease and returns the answer.
///
/// # Errors
/// When nobody answers, or the arm host refuses.
pub fn send(session: &Session, key: &Key, order: &ModeOrder) -> anyhow::Result<ModeOrderReply> {
    let reply = session
        .query::<ModeOrder, ModeOrderReply>(key, order, ANSWER_WITHIN)
        .context("the arm host does not answer")?;
    accepted(reply.message)
}

fn accepted(reply: ModeOrderReply) -> anyhow::Result<ModeOrderReply> {
    if !reply.accepted {
        return Err(Refuses(reply.message).into());
    }
    Ok(reply)
}

/// Prints what the arm host says of itself.
fn status(cell: &Cell, joined: &Joined) -> anyhow::Result<()> {
    let (sender, reports) = sync_channel(1);
    let key = cell.wire.key(&Topic::ArmMode(cell.arm.clone()));
    let _subscriber =
        joined
            .session
            .subscribe(&key, move |m: Result<Delivery<ModeReport>, _>| {
                if let Ok(delivery) = m {
                    // The first is enough.
                    let _ = sender.try_send(delivery.message);
                }
            })?;
    let report = reports
        .recv_timeout(ANSWER_WITHIN)
        .map_err(|_| anyhow!("the arm host does not report"))?;
    let now = joined.clock.now();
    let ModeReport {
        mode,
        reason,
        since,
        instruction,
        lease,
        ..
    } = report;
    result::line(format_args!("mode: {mode}"))?;
    result::line(format_args!("for: {:.1} s", now.since(since).as_secs_f64()))?;
    if !reason.is_empty() {
        result::line(format_args!("because: {reason}"))?;
    }
    if !instruction.is_empty() {
        result::line(format_args!("instruction: {instruction}"))?;
    }
    match lease {
        None => result::line("lease: free"),
        Some(by) => result::line(format_args!(
            "lease: {} (rank {}), {:.1} s left",
            by.holder,
            by.rank.word(),
            by.expires.since(now).as_secs_f64()
        )),
    }
}
