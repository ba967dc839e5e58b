//! What an operator does with the cell: orders under a lease, episodes, hands on the arm.

use std::time::Instant;

use anyhow::{Context, bail};
use tactus_types::{JointVec, Rank, Reference};
use tactus_wire::{ModeOrder, ModeWord, SimReset, SimResetReply, Topic};

use super::{STEP_WITHIN, Stage};
use crate::cell::Cell;
use crate::drill::live::flood::Flood;
use crate::drill::live::human::LiveHuman;
use crate::drill::live::observe::Observer;
use crate::order;

impl Stage<'_> {
    /// Gives an order under the lease, which is taken for it when it is not held.
    ///
    /// # Errors
    /// When nobody answers, or the arm host refuses.
    pub fn order(&mut self, order: &ModeOrder) -> anyhow::Result<()> {
        if self.authority.as_ref().is_some_and(|a| a.lost().is_some()) {
            self.authority = None;
        }
        if self.authority.is_none() {
            let rank = order::rank(false);
            self.authority = Some(order::authority(&self.session, self.cell, "drill", rank)?);
        }
        let Some(authority) = &self.authority else {
            bail!("no lease");
        };
        let given = order::under(authority, self.cell, order, true);
        if given.is_err() {
            // Perhaps the arm host was restarted, and knows nothing of it.
            self.authority = None;
        }
        given.map(drop)
    }

    /// Gives an order until it is carried out.
    ///
    /// # Errors
    /// With the last refusal.
    pub fn insist(&mut self, order: &ModeOrder) -> anyhow::Result<()> {
        let until = Instant::now() + STEP_WITHIN;
        loop {
            match self.order(order) {
                Ok(()) => return Ok(()),
                Err(e) if Instant::now() > until => return Err(e),
                Err(_) => {}
            }
            for _ in 0..10 {
                self.go_on(until + STEP_WITHIN, "an order is carried out")?;
            }
        }
    }

    /// The order that starts an episode.
    pub fn start_order(&mut self, instruction: &str, seed: u64) -> ModeOrder {
        self.episodes += 1;
        ModeOrder::StartEpisode {
            episode: self.episodes,
            instruction: instruction.to_owned(),
            seed,
        }
    }

    /// Brakes; holds until an operator enables.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn hold(&self) -> anyhow::Result<()> {
        let key = self.session.order_key(&self.sides.near, &self.cell.arm);
        order::send(&self.session, &key, &ModeOrder::Hold).map(drop)
    }

    /// A motion of the first joint by `by` rad towards the middle of its range, at a share of the limits.
    ///
    /// # Errors
    /// When the arm has not been heard of.
    pub fn pose(&self, by: f64, speed: f64) -> anyhow::Result<ModeOrder> {
        let state = self.observer.state().context("no joint state")?;
        let to = |i: usize| match state.q[i] {
            q if i == 0 && q > 0.0 => q - by,
            q if i == 0 => q + by,
            q => q,
        };
        Ok(ModeOrder::Goto {
            q: self.info.clamp(&JointVec::from_fn(state.q.len(), to)),
            opening: None,
            speed,
        })
    }

    /// A human takes the lease, sends setpoints, and takes over.
    ///
    /// # Errors
    /// When that is refused.
    pub fn take_over(&mut self) -> anyhow::Result<()> {
        self.human_leaves();
        let lease = order::authority(&self.session, self.cell, "human", Rank::Teleop)?;
        let state = self.observer.state().context("no joint state")?;
        let key = self.session.setpoint_key(&self.sides.near, &self.cell.arm);
        let human = LiveHuman::start(&self.session, &key, lease.lease(), &state)?;
        self.authority = Some(lease);
        self.human = Some(human);
        let over = ModeOrder::TakeOver {
            reference: Reference::Clutch,
        };
        let until = Instant::now() + STEP_WITHIN;
        loop {
            let authority = self.authority.as_ref().context("the human's lease")?;
            match order::under(authority, self.cell, &over, true) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > until => return Err(e),
                // Not heard of yet.
                Err(_) => self.go_on(until + STEP_WITHIN, "a human takes over")?,
            }
        }
    }

    /// The human, if there is one, falls silent, or sends again.
    pub fn silence(&self, silent: bool) {
        if let Some(human) = &self.human {
            human.silence(silent);
        }
    }

    /// The human, if there is one, goes away and gives the lease back.
    pub fn human_leaves(&mut self) {
        if self.human.take().is_some() {
            self.authority = None;
        }
    }

    /// Floods the cell.
    ///
    /// # Errors
    /// When a key cannot be declared or a thread cannot be started.
    pub fn flood(&self) -> anyhow::Result<Flood> {
        let Cell { arm, engine, .. } = self.cell;
        Flood::start(&self.session, &self.sides.near, arm, engine)
    }

    /// No process of the cell can write to a file any more, or all can again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fill_disk(&self, full: bool) -> anyhow::Result<()> {
        self.children.limit_files(full.then_some(0))
    }

    /// Ends an episode, if there is one.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn end_episode(&self) -> anyhow::Result<()> {
        let mode = self.observer.mode().map(|m| m.mode);
        let moves = matches!(mode, Some(ModeWord::Goto));
        if moves {
            self.hold()?;
        }
        if moves
            || matches!(
                mode,
                Some(ModeWord::Policy | ModeWord::Align | ModeWord::Teleop | ModeWord::Hold)
            )
        {
            let key = self.session.order_key(&self.sides.near, &self.cell.arm);
            order::send(&self.session, &key, &ModeOrder::StopEpisode).map(drop)?;
            let ready = |o: &Observer| {
                o.mode()
                    .is_some_and(|m| matches!(m.mode, ModeWord::Ready | ModeWord::Boot))
            };
            self.wait("the episode has ended", STEP_WITHIN, ready)?;
        }
        Ok(())
    }

    /// Resets the simulated world, where there is one.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub fn reset(&self, seed: u64) -> anyhow::Result<()> {
        if self.cell.sim.is_none() {
            return Ok(());
        }
        let side = self.sides.device.as_ref().unwrap_or(&self.sides.near);
        let reset = SimReset {
            seed,
            variation: self.cell.sim.is_some_and(|sim| sim.variation),
        };
        let key = side.key(&Topic::SimReset);
        let reply = self
            .session
            .query::<SimReset, SimResetReply>(&key, &reset, STEP_WITHIN)
            .context("the simulator does not answer")?;
        let epoch = reply.message.epoch;
        self.wait("the new world is seen", STEP_WITHIN, |o| {
            let commanded = o.applied().is_some_and(|a| a.command.epoch == epoch);
            commanded && o.state().is_some_and(|s| s.epoch == epoch)
        })
    }
}
