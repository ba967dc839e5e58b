//! `tactus order`: one order to an arm host, and its answer; or how it is.
//!
//! Orders that begin motion are given under the arm's lease, which this process takes for as long as it lasts and gives
//! back. An episode that it starts is not bound to that lease: it goes on unattended, which is what a command that ends
//! at once can only mean. The demo, which stays, binds its episodes.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tactus_types::{Clock, Rank};
use tactus_wire::{
    Authority, Delivery, Key, ModeOrder, ModeOrderReply, ModeReport, ModeWord, Nothing, Session,
    Topic,
};

use crate::cell::{self, Cell};
use crate::cli::{OrderArgs, OrderVerb};
use crate::roles::Joined;
use crate::{result, roles};

/// How long an arm host may take to answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a lease outlives the process that holds it.
pub const TTL: Duration = Duration::from_secs(3);

/// Sends the order; an order that is refused is an error with the arm host's reason. Of a cell of two arms both are told, unless one
/// is meant (`FILE#ARM`).
pub fn order(args: &OrderArgs) -> anyhow::Result<()> {
    let cells = cell::load_arms(&args.role.cell)?;
    let joined = roles::join(&args.role, "order")?;
    match &cells[..] {
        [first, second] => both([first, second], &joined, args),
        [cell, ..] => one(cell, &joined, args),
        [] => Ok(()),
    }
}

fn one(cell: &Cell, joined: &Joined, args: &OrderArgs) -> anyhow::Result<()> {
    let session = &joined.session;
    // This process has just opened its session; whoever answers may not be known to it yet.
    session.wait_for_answerer(&session.order_key(&cell.wire, &cell.arm), ANSWER_WITHIN)?;
    let reply = match needs_lease(&args.order) {
        Some(order) => {
            let authority = authority(session, cell, "order", rank(args.take_over))?;
            under(&authority, cell, &order, false)?
        }
        None if matches!(args.order, OrderVerb::Status) => return status(cell, joined),
        None => freely(cell, session, &args.order)?,
    };
    result::line(format_args!("mode: {}", reply.mode))
}

/// The order, where it is given under a lease.
fn needs_lease(order: &OrderVerb) -> Option<ModeOrder> {
    match order {
        OrderVerb::Enable => Some(ModeOrder::Enable),
        OrderVerb::Start { instruction, seed } => Some(ModeOrder::StartEpisode {
            episode: 0,
            instruction: instruction.clone(),
            seed: *seed,
        }),
        OrderVerb::TorqueOff { arm_is_supported } => Some(ModeOrder::TorqueOff {
            arm_is_supported: *arm_is_supported,
        }),
        OrderVerb::End | OrderVerb::Hold | OrderVerb::Stop | OrderVerb::Status => None,
    }
}

/// Gives an order that anyone may give.
fn freely(cell: &Cell, session: &Session, order: &OrderVerb) -> anyhow::Result<ModeOrderReply> {
    let key = session.order_key(&cell.wire, &cell.arm);
    if matches!(order, OrderVerb::Stop) {
        let key = cell.wire.key(&Topic::ArmStop(cell.arm.clone()));
        session.wait_for_answerer(&key, ANSWER_WITHIN)?;
        let reply = session.query::<Nothing, ModeOrderReply>(&key, &Nothing, ANSWER_WITHIN);
        return Ok(reply.context("the arm host does not answer")?.message);
    }
    session.wait_for_answerer(&key, ANSWER_WITHIN)?;
    let order = match order {
        OrderVerb::End => ModeOrder::StopEpisode,
        _ => ModeOrder::Hold,
    };
    send(session, &key, &order)
}

/// Tells both arms of a pair. What ends motion both are told, whatever the first says. Motion begins under both leases, and the
/// first is told to end it where the second refuses.
fn both(cells: [&Cell; 2], joined: &Joined, args: &OrderArgs) -> anyhow::Result<()> {
    let session = &joined.session;
    if matches!(args.order, OrderVerb::Status) {
        return cells.into_iter().try_for_each(|cell| {
            result::line(format_args!("arm: {}", cell.arm))?;
            status(cell, joined)
        });
    }
    let Some(order) = needs_lease(&args.order) else {
        // At once: an arm host that does not answer keeps the other from nothing.
        let told = std::thread::scope(|threads| {
            let asked = cells.map(|cell| threads.spawn(|| freely(cell, session, &args.order)));
            asked.map(|asked| {
                asked
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("could not be told")))
            })
        });
        let mut outcome = Ok(());
        for (cell, reply) in cells.into_iter().zip(told) {
            match reply {
                Ok(reply) => result::line(format_args!("arm {}: mode: {}", cell.arm, reply.mode))?,
                Err(e) => outcome = outcome.and(Err(e.context(format!("arm `{}`", cell.arm)))),
            }
        }
        return outcome;
    };
    if matches!(order, ModeOrder::TorqueOff { .. }) {
        bail!(
            "torque-off: expected one arm, `--cell {}` or `--cell {}`, got both",
            cells[0].reference().display(),
            cells[1].reference().display()
        );
    }
    let mut leases = Vec::new();
    for cell in cells {
        session.wait_for_answerer(&session.order_key(&cell.wire, &cell.arm), ANSWER_WITHIN)?;
        let lease = authority(session, cell, "order", rank(args.take_over));
        leases.push(lease.with_context(|| format!("arm `{}`", cell.arm))?);
    }
    let mut replies = Vec::new();
    for (cell, lease) in cells.into_iter().zip(&leases) {
        let reply = lease.order(&order, false, ANSWER_WITHIN + cell.enable.window);
        let reply = reply.context("the arm host does not answer");
        let judged = reply.and_then(|reply| match (&order, reply.mode) {
            // One that was enabled alone is enabled.
            (ModeOrder::Enable, ModeWord::Ready | ModeWord::Policy) => Ok(reply),
            _ => accepted(reply),
        });
        match judged {
            Ok(reply) => replies.push((&cell.arm, reply.mode)),
            Err(e) => {
                let starts = matches!(order, ModeOrder::StartEpisode { .. });
                if let (true, [(_, _), ..]) = (starts, &replies[..]) {
                    freely(cells[0], session, &OrderVerb::End)?;
                }
                let first = match &replies[..] {
                    [] => "neither begins".to_owned(),
                    _ if starts => format!("`{}` ends its episode again", cells[0].arm),
                    _ => format!(
                        "`{}` is enabled, and neither moves until both are",
                        cells[0].arm
                    ),
                };
                return Err(e.context(format!("arm `{}` ({first})", cell.arm)));
            }
        }
    }
    for (arm, mode) in replies {
        result::line(format_args!("arm {arm}: mode: {mode}"))?;
    }
    Ok(())
}

/// The arm host does not do as it was told; nothing has begun.
#[derive(Debug, thiserror::Error)]
#[error("the arm host refuses: {message}")]
pub struct Refuses {
    /// Why.
    pub message: String,
    /// Mode in which it does.
    pub mode: ModeWord,
}

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
        return Err(Refuses {
            message: reply.message,
            mode: reply.mode,
        }
        .into());
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
