//! `tactus order`: one order to an arm host, and its answer.

use std::time::Duration;

use anyhow::{Context, bail};
use tactus_wire::{Key, ModeOrder, ModeOrderReply, Session, Topic};

use crate::cli::{OrderArgs, OrderVerb};
use crate::{cell, result, roles};

/// How long an arm host may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Sends the order; an order that is refused is an error with the arm host's reason.
pub fn order(args: &OrderArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.role.cell)?;
    let joined = roles::join(&args.role, "order")?;
    let key = cell.wire.key(&Topic::ArmMode(cell.arm.clone()));
    let order = match &args.order {
        OrderVerb::Enable => ModeOrder::Enable,
        OrderVerb::Start { instruction, seed } => ModeOrder::StartEpisode {
            episode: 0,
            instruction: instruction.clone(),
            seed: *seed,
        },
        OrderVerb::End => ModeOrder::StopEpisode,
        OrderVerb::Stop => ModeOrder::Stop,
    };
    // This process has just opened its session; whoever answers may not be known to it yet.
    joined.session.wait_for_answerer(&key, ANSWER_WITHIN)?;
    let reply = send(&joined.session, &key, &order)?;
    result::line(format_args!("mode: {}", reply.mode))
}

/// Sends `order` and returns the answer.
///
/// # Errors
/// When nobody answers, or the arm host refuses.
pub fn send(session: &Session, key: &Key, order: &ModeOrder) -> anyhow::Result<ModeOrderReply> {
    let reply = session
        .query::<ModeOrder, ModeOrderReply>(key, order, ANSWER_WITHIN)
        .context("the arm host does not answer")?
        .message;
    if !reply.accepted {
        bail!("the arm host refuses: {}", reply.message);
    }
    Ok(reply)
}
