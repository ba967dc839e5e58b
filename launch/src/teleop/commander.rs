//! The operator's orders: the lease in the rank of a human, take over, hand back, hold, stop; and an orderly end.
//!
//! The lease is taken with the trigger and not before: from then on a policy is silent. What the take-over begins is *bound* to
//! it, so that the death of this process, too, ends in a hold. Hand-back is not bound, and gives the lease back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tactus_teleop::Wish;
use tactus_types::{Rank, Reference};
use tactus_wire::{Authority, ModeOrder, ModeOrderReply, ModeWord, Nothing, Session, Topic};

use super::Asked;
use super::seen::Seen;
use crate::cell::Cell;
use crate::order;

/// How often it looks whether the lease is still ours.
const LOOK: Duration = Duration::from_millis(100);
/// How long the first setpoints may take to be heard.
const HEARD_WITHIN: Duration = Duration::from_millis(800);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(15);
/// How long an arm is given to come to rest when its operator leaves.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// Gives the orders of one operator.
pub struct Commander<'a> {
    cell: &'a Cell,
    session: &'a Session,
    seen: Arc<Seen>,
    reference: Reference,
    rank: Rank,
    authority: Option<Authority>,
}

impl<'a> Commander<'a> {
    pub fn new(
        cell: &'a Cell,
        session: &'a Session,
        seen: Arc<Seen>,
        reference: Reference,
    ) -> Self {
        Self {
            cell,
            session,
            seen,
            reference,
            rank: Rank::Teleop,
            authority: None,
        }
    }

    /// Of another rank than a human's.
    pub fn with_rank(self, rank: Rank) -> Self {
        Self { rank, ..self }
    }

    /// Carries out what is asked until someone leaves; says how it was left.
    ///
    /// # Errors
    /// When the device failed.
    pub fn serve(&mut self, asked: &Receiver<Asked>) -> anyhow::Result<String> {
        loop {
            match asked.recv_timeout(LOOK) {
                Ok(Asked::Wish(wish)) => {
                    if let Err(e) = self.carry_out(wish) {
                        self.seen.note(format!("{}: {e:#}", wish.word()));
                    }
                }
                Ok(Asked::Leave) | Err(RecvTimeoutError::Disconnected) => return Ok(self.leave()),
                Ok(Asked::Failed(why)) => {
                    let left = self.leave();
                    bail!("{why}; {left}");
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let lost = self.authority.as_ref().and_then(Authority::lost);
        if let Some(why) = lost {
            self.seen.note(why);
            self.release();
        }
    }

    fn carry_out(&mut self, wish: Wish) -> anyhow::Result<()> {
        match wish {
            Wish::TakeOver => self.take_over(),
            Wish::HandBack => self.hand_back(),
            Wish::Hold => {
                let key = self.session.order_key(&self.cell.wire, &self.cell.arm);
                order::send(self.session, &key, &ModeOrder::Hold)?;
                self.release();
                self.seen
                    .note("hold: `tactus order enable` resumes, or take over");
                Ok(())
            }
            Wish::Stop => {
                let key = self.cell.wire.key(&Topic::ArmStop(self.cell.arm.clone()));
                let reply = self.session.query::<Nothing, ModeOrderReply>(
                    &key,
                    &Nothing,
                    order::ANSWER_WITHIN,
                );
                reply.context("the arm host does not answer")?;
                self.release();
                self.seen
                    .note("stopped: only a restart of the arm host leaves it");
                Ok(())
            }
            Wish::Clutch => {
                let closed = !self.seen.closed.fetch_xor(true, Ordering::Relaxed);
                self.seen.note(match closed {
                    true => "the clutch is closed",
                    false => {
                        "the clutch is open: the arm holds; close it to go on from where it is"
                    }
                });
                Ok(())
            }
        }
    }

    fn take_over(&mut self) -> anyhow::Result<()> {
        if self.seen.in_command() {
            return Ok(());
        }
        let authority = match self.authority.take() {
            Some(held) if held.lost().is_none() => held,
            _ => order::authority(self.session, self.cell, self.rank.word(), self.rank)?,
        };
        self.seen.closed.store(true, Ordering::Relaxed);
        let before = self.seen.sent.load(Ordering::Relaxed);
        self.seen.send_under(Some(authority.lease()));
        let until = Instant::now() + HEARD_WITHIN;
        while self.seen.sent.load(Ordering::Relaxed) == before {
            if Instant::now() > until {
                self.seen.send_under(None);
                bail!("{} says nothing new", self.seen.source);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let take_over = ModeOrder::TakeOver {
            reference: self.reference,
        };
        // Order and setpoints travel apart: the first may be there before the second.
        loop {
            match order::under(&authority, self.cell, &take_over, true) {
                Ok(_) => break,
                Err(e) if Instant::now() > until => {
                    self.seen.send_under(None);
                    return Err(e);
                }
                Err(_) => std::thread::sleep(AGAIN),
            }
        }
        self.authority = Some(authority);
        self.seen.note(match self.reference {
            Reference::Leader => "taken over: bring the leader to where the arm is",
            Reference::Slide => "taken over: the arm comes to the leader",
            Reference::Clutch => "taken over",
        });
        Ok(())
    }

    fn hand_back(&mut self) -> anyhow::Result<()> {
        let authority = self.authority.as_ref();
        let authority = authority.ok_or_else(|| anyhow!("the arm is not ours to hand back"))?;
        order::under(authority, self.cell, &ModeOrder::HandBack, false)?;
        self.release();
        self.seen.note("handed back");
        Ok(())
    }

    /// Sends nothing any more, and gives the lease back; what is bound to it ends in a hold.
    fn release(&mut self) {
        self.seen.send_under(None);
        self.authority = None;
    }

    /// Lets go, waits for the arm to rest, and gives the lease back. Says what follows.
    fn leave(&mut self) -> String {
        if !self.seen.in_command() {
            self.release();
            return "left".to_owned();
        }
        self.seen.closed.store(false, Ordering::Relaxed);
        let until = Instant::now() + REST_WITHIN;
        while self.seen.mode() == Some(ModeWord::Teleop) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.release();
        let until = Instant::now() + REST_WITHIN;
        while self.seen.mode() != Some(ModeWord::Hold) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mode = self.seen.mode().map_or("unknown".into(), |m| m.to_string());
        format!(
            "left while in command: mode {mode}; torque stays on, `tactus order enable` goes on with what was interrupted"
        )
    }
}
