//! What an operator may ask for at a page, and how it goes to the arm host: the ways of `tactus order` and `tactus teleop`,
//! and the answers to an evaluation.
//!
//! Orders are carried out one after the other, and one that comes meanwhile is refused; hold and stop wait for nobody. An
//! episode that is started here goes on without the panel, as with `tactus order start`. Decides nothing about the arm:
//! what may be done, and when, is the arm host's to say, and its words are what the page shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_teleop::Wish;
use tactus_types::{Clock, Rank};
use tactus_wire::{
    CellClock, EpisodeEvent, EpisodePhase, EvalAnswer, EvalPicture, EvalReply, EvalSaid, ModeOrder,
    ModeOrderReply, ModeWord, Nothing, Publisher, Session, Topic,
};

use super::ask::{Ask, Said, Score};
use super::hand::Hand;
use super::snapshot::{Episode, InHand, Lately, NOT_SCORED};
use crate::cell::Cell;
use crate::order::{self, ANSWER_WITHIN};
use crate::roles::Joined;

/// Where asks are carried out. Clones are the same desk.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    cell: Arc<Cell>,
    session: Session,
    clock: Arc<CellClock>,
    lately: Arc<Mutex<Lately>>,
    events: Publisher<EpisodeEvent>,
    /// Held by the order that is carried out.
    one: Mutex<()>,
    hand: Mutex<Option<Hand>>,
    /// Counts what ends motion: a take-over that began before is void.
    holds: AtomicU64,
    episodes: AtomicU64,
}

impl Desk {
    /// Of the arm of `cell`.
    ///
    /// # Errors
    /// When the network cannot be used.
    pub fn new(
        cell: &Arc<Cell>,
        joined: &Joined,
        lately: Arc<Mutex<Lately>>,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            cell: cell.clone(),
            session: joined.session.clone(),
            clock: joined.clock.clone(),
            events: joined.session.publisher(&cell.wire.key(&Topic::Episode))?,
            lately,
            one: Mutex::new(()),
            hand: Mutex::new(None),
            holds: AtomicU64::new(0),
            episodes: AtomicU64::new(0),
        })))
    }

    /// Carries `ask` out, and says what came of it. Blocks for seconds where nobody answers.
    ///
    /// # Errors
    /// Why not, in words for the operator.
    pub fn carry_out(&self, ask: Ask) -> anyhow::Result<String> {
        let desk = &*self.0;
        let ask = match ask {
            Ask::Hold {} => return desk.hold(),
            Ask::Stop {} => return desk.stop(),
            // Both are one flag.
            Ask::Clutch {} => return desk.with_hand(|hand| hand.wish(Wish::Clutch)),
            // To the evaluation, which takes one answer at a time.
            Ask::Trial {
                trial,
                attempt,
                said,
            } => return desk.answer(trial, attempt, said),
            ask => ask,
        };
        let _one = match desk.one.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => bail!("busy with the order before"),
        };
        match ask {
            Ask::Enable {} => desk.under_lease(&ModeOrder::Enable),
            Ask::Start { instruction, seed } => desk.start(instruction, seed),
            Ask::End {} => desk.send(&ModeOrder::StopEpisode),
            Ask::TakeOver { page, speed } => desk.take_over(page, speed),
            Ask::HandBack {} => desk.hand_back(),
            Ask::Score(score) => desk.score(&score),
            Ask::Hold {} | Ask::Stop {} | Ask::Clutch {} | Ask::Trial { .. } => Ok(String::new()),
        }
    }

    /// A key of page `page`: moves the arm where that page commands it.
    pub fn press(&self, page: u64, key: char) {
        if let Some(hand) = &mut *self.0.hand()
            && hand.by == page
        {
            hand.press(key);
        }
    }

    /// Page `page` is there.
    pub fn beat(&self, page: u64) {
        if let Some(hand) = &mut *self.0.hand()
            && hand.by == page
        {
            hand.beat();
        }
    }

    /// Page `page` is gone; what it commanded by hand holds.
    pub fn gone(&self, page: u64) {
        let hand = self.0.hand().take_if(|hand| hand.by == page);
        if hand.is_some() {
            self.0.tell("the page that commanded is gone: hold");
            self.0.let_go(hand);
        }
    }

    /// Looks after whoever commands by hand.
    pub fn look(&self) {
        let desk = &*self.0;
        let mut over = None;
        {
            let mut hand = desk.hand();
            if let Some(now) = &*hand {
                if !now.in_command() {
                    over = hand.take();
                } else if now.is_silent(Instant::now()) {
                    desk.tell("the page that commands has fallen silent: hold");
                    over = hand.take();
                }
            }
            let in_hand = hand.as_ref().map(|hand| InHand {
                by: hand.by,
                in_command: hand.in_command(),
                closed: hand.closed(),
            });
            desk.lately().hand = in_hand;
        }
        if let Some(hand) = &over
            && !hand.said().is_empty()
        {
            desk.tell(hand.said());
        }
        desk.let_go(over);
    }

    /// Whoever is in command lets go.
    pub fn leave(&self) {
        let hand = self.0.hand().take();
        drop(hand);
    }

    /// The reference picture of the trial that an evaluation runs: its trial and file.
    ///
    /// # Errors
    /// When there is no evaluation that answers.
    pub fn picture(&self) -> anyhow::Result<EvalPicture> {
        let desk = &*self.0;
        let key = desk.cell.wire.key(&Topic::EvalPicture);
        let picture = desk
            .session
            .query::<Nothing, EvalPicture>(&key, &Nothing, ANSWER_WITHIN);
        Ok(picture.context("no evaluation answers")?.message)
    }
}

impl Inner {
    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self) -> MutexGuard<'_, Option<Hand>> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, text: impl Into<String>) {
        self.lately().tell(text, self.clock.now());
    }

    /// Ends a hand on a thread of its own: it waits for the arm to rest.
    fn let_go(&self, hand: Option<Hand>) {
        let Some(hand) = hand else { return };
        // Where no thread can be started, the closure and the hand with it are dropped here.
        let ending = std::thread::Builder::new().name("panel-let-go".into());
        if let Err(e) = ending.spawn(move || drop(hand)) {
            tracing::warn!("thread `panel-let-go`: {e}");
        }
    }

    fn with_hand(&self, run: impl FnOnce(&Hand)) -> anyhow::Result<String> {
        match &*self.hand() {
            Some(hand) => {
                run(hand);
                Ok(String::new())
            }
            None => bail!("nobody commands from this panel"),
        }
    }

    fn send(&self, order: &ModeOrder) -> anyhow::Result<String> {
        let key = self.session.order_key(&self.cell.wire, &self.cell.arm);
        let reply = order::send(&self.session, &key, order)?;
        Ok(format!("mode: {}", reply.mode))
    }

    fn under_lease(&self, order: &ModeOrder) -> anyhow::Result<String> {
        let authority = order::authority(&self.session, &self.cell, "panel", Rank::Policy)?;
        let reply = order::under(&authority, &self.cell, order, false)?;
        Ok(format!("mode: {}", reply.mode))
    }

    fn hold(&self) -> anyhow::Result<String> {
        self.holds.fetch_add(1, Ordering::Relaxed);
        let held = self.send(&ModeOrder::Hold);
        let hand = self.hand().take();
        if let Some(hand) = &hand {
            hand.wish(Wish::Hold);
        }
        self.let_go(hand);
        held
    }

    fn stop(&self) -> anyhow::Result<String> {
        self.holds.fetch_add(1, Ordering::Relaxed);
        let key = self.cell.wire.key(&Topic::ArmStop(self.cell.arm.clone()));
        let reply = self
            .session
            .query::<Nothing, ModeOrderReply>(&key, &Nothing, ANSWER_WITHIN);
        let hand = self.hand().take();
        self.let_go(hand);
        let mode = reply.context("the arm host does not answer")?.message.mode;
        Ok(format!(
            "mode: {mode}; only a restart of the arm host leaves it"
        ))
    }

    fn start(&self, instruction: String, seed: u64) -> anyhow::Result<String> {
        let said = self.under_lease(&ModeOrder::StartEpisode {
            episode: 0,
            instruction: instruction.clone(),
            seed,
        })?;
        self.close(false, NOT_SCORED.to_owned());
        let number = self.episodes.fetch_add(1, Ordering::Relaxed) + 1;
        self.publish(
            number,
            EpisodePhase::Started {
                instruction: instruction.clone(),
                seed,
            },
        );
        let began = self.clock.now();
        self.lately().episode = Some(Episode {
            number,
            instruction,
            began,
        });
        Ok(said)
    }

    fn take_over(&self, page: u64, speed: f64) -> anyhow::Result<String> {
        if let Some(hand) = &*self.hand() {
            if hand.by == page {
                return Ok("in command already".into());
            }
            bail!("another page is in command: hand back there, or hold");
        }
        let info = self.lately().arm.as_ref().map(|arm| arm.info.clone());
        let info = info.context("the arm host has not said yet what its arm is")?;
        let holds = self.holds.load(Ordering::Relaxed);
        let (cell, session, clock) = (&self.cell, &self.session, &self.clock);
        let hand = Hand::take_over(cell, session, clock, &info, page, speed)?;
        if self.holds.load(Ordering::Relaxed) != holds {
            drop(hand);
            bail!("held meanwhile");
        }
        *self.hand() = Some(hand);
        Ok("taken over".into())
    }

    fn hand_back(&self) -> anyhow::Result<String> {
        let hand = self.hand().take();
        let hand = hand.context("nobody commands from this panel")?;
        match hand.hand_back() {
            Ok(()) => {
                self.let_go(Some(hand));
                Ok("handed back".into())
            }
            Err(e) => {
                // It is still in command; so is its page.
                *self.hand() = Some(hand);
                Err(e)
            }
        }
    }

    /// Ends the episode that was started here, where it still runs, and tells recorders how it went.
    fn score(&self, score: &Score) -> anyhow::Result<String> {
        if self.lately().episode.is_none() {
            bail!("no episode that was started here waits for a score");
        }
        let runs = {
            let lately = self.lately();
            lately.mode.as_ref().map(|(report, _)| report.mode) == Some(ModeWord::Policy)
        };
        if runs {
            self.send(&ModeOrder::StopEpisode)?;
        }
        let mut reason = Vec::new();
        if !score.success {
            reason.push(format!("progress {:.0} %", score.progress));
        }
        reason.extend(score.milestones.iter().cloned());
        if !score.note.is_empty() {
            reason.push(score.note.clone());
        }
        self.close(score.success, reason.join("; "));
        Ok("scored".into())
    }

    fn close(&self, success: bool, reason: String) {
        let episode = self.lately().episode.take();
        if let Some(episode) = episode {
            let phase = EpisodePhase::Stopped {
                success,
                reason,
                excluded: false,
            };
            self.publish(episode.number, phase);
        }
    }

    fn publish(&self, episode: u64, phase: EpisodePhase) {
        if let Err(e) = self.events.put(&EpisodeEvent { episode, phase }) {
            self.tell(format!("the episode's mark was not sent: {e}"));
        }
    }

    fn answer(&self, trial: u64, attempt: u32, said: Said) -> anyhow::Result<String> {
        let said = match said {
            Said::Ready {} => EvalSaid::Ready,
            Said::End {} => EvalSaid::End,
            Said::Score(score) => EvalSaid::Score {
                success: score.success,
                progress: score.progress,
                milestones: score.milestones,
                note: score.note,
            },
            Said::Exclude { hardware, note } => EvalSaid::Exclude { hardware, note },
        };
        let answer = EvalAnswer {
            trial,
            attempt,
            said,
        };
        let key = self.cell.wire.key(&Topic::Eval);
        let within = Duration::from_secs(5);
        let reply = self
            .session
            .query::<EvalAnswer, EvalReply>(&key, &answer, within)
            .context("no evaluation answers")?
            .message;
        if !reply.accepted {
            bail!("{}", reply.message);
        }
        Ok(reply.message)
    }
}
