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
use serde::Deserialize;
use tactus_teleop::Wish;
use tactus_types::{Clock, Rank};
use tactus_wire::{
    EpisodeEvent, EpisodePhase, EvalAnswer, EvalPicture, EvalReply, EvalSaid, ModeOrder,
    ModeOrderReply, ModeWord, MonotonicClock, Nothing, Publisher, Session, Topic,
};

use super::hand::Hand;
use super::snapshot::{Episode, InHand, Lately, NOT_SCORED};
use crate::cell::Cell;
use crate::order::{self, ANSWER_WITHIN};
use crate::roles::Joined;

/// Longest instruction, characters.
const INSTRUCTION: usize = 500;
/// Longest note, characters.
const NOTE: usize = 2000;

/// What may be asked, as JSON with the field `ask`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Verify the arm and let it be commanded.
    Enable {},
    /// Begin an episode.
    Start {
        /// What the arm is told.
        instruction: String,
        /// Seed of the policy's noise.
        #[serde(default)]
        seed: u64,
    },
    /// End it.
    End {},
    /// Brake and stay.
    Hold {},
    /// Controlled stop, which only a restart of the arm host leaves.
    Stop {},
    /// Command the arm with this page's keys.
    TakeOver {
        /// Number of the page's connection.
        page: u64,
        /// Share of the arm's limits, above 0 to 1.
        #[serde(default = "quarter")]
        speed: f64,
    },
    /// Give it back to the policy.
    HandBack {},
    /// Open or close the clutch.
    Clutch {},
    /// How the episode went that was started here.
    Score(Score),
    /// What is said of a trial of an evaluation.
    Trial {
        /// Which.
        trial: u64,
        /// The so-manieth time.
        attempt: u32,
        /// What.
        said: Said,
    },
}

/// A score.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Whether it succeeded.
    pub success: bool,
    /// How far it came, 0 to 100.
    pub progress: f64,
    /// What was reached on the way.
    #[serde(default)]
    pub milestones: Vec<String>,
    /// Free text.
    #[serde(default)]
    pub note: String,
}

/// See [`Ask::Trial`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Said {
    /// The scene is set up.
    Ready {},
    /// It is over.
    End {},
    /// How it went.
    Score(Score),
    /// It does not count.
    Exclude {
        /// Because of the arm, a camera or a cable; else the set-up.
        hardware: bool,
        /// What it was.
        #[serde(default)]
        note: String,
    },
}

fn quarter() -> f64 {
    0.25
}

impl Ask {
    /// What `text` asks for, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut ask: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let score = |score: &mut Score| -> Result<(), String> {
            if !(0.0..=100.0).contains(&score.progress) {
                return Err(format!(
                    "progress: expected 0 to 100, got {}",
                    score.progress
                ));
            }
            words("note", &mut score.note, NOTE)
        };
        match &mut ask {
            Self::Start { instruction, .. } => {
                words("instruction", instruction, INSTRUCTION)?;
                if instruction.is_empty() {
                    return Err("instruction: expected a sentence, got nothing".into());
                }
            }
            Self::TakeOver { speed, .. } if !(*speed > 0.0 && *speed <= 1.0) => {
                return Err(format!("speed: expected above 0 to 1, got {speed}"));
            }
            Self::Score(s) => score(s)?,
            Self::Trial { said, .. } => match said {
                Said::Score(s) => score(s)?,
                Said::Exclude { note, .. } => words("note", note, NOTE)?,
                Said::Ready {} | Said::End {} => {}
            },
            _ => {}
        }
        Ok(ask)
    }
}

/// Trims `text`; it may have `most` characters, and no control characters.
fn words(field: &str, text: &mut String, most: usize) -> Result<(), String> {
    let trimmed = text.trim().replace(['\n', '\r', '\t'], " ");
    if trimmed.chars().count() > most || trimmed.chars().any(char::is_control) {
        return Err(format!(
            "{field}: expected at most {most} characters of text"
        ));
    }
    *text = trimmed;
    Ok(())
}

/// Where asks are carried out. Clones are the same desk.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    cell: Arc<Cell>,
    session: Session,
    clock: Arc<MonotonicClock>,
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
        match ask {
            Ask::Hold {} => return desk.hold(),
            Ask::Stop {} => return desk.stop(),
            // Both are one flag.
            Ask::Clutch {} => return desk.with_hand(|hand| hand.wish(Wish::Clutch)),
            _ => {}
        }
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
            Ask::Trial {
                trial,
                attempt,
                said,
            } => desk.answer(trial, attempt, said),
            Ask::Hold {} | Ask::Stop {} | Ask::Clutch {} => Ok(String::new()),
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
        let key = self.cell.wire.key(&Topic::ArmMode(self.cell.arm.clone()));
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
            self.publish(episode.number, EpisodePhase::Stopped { success, reason });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Ask, String> {
        Ask::parse(text.as_bytes())
    }

    #[test]
    fn every_ask_has_its_words_and_nothing_else_is_one() {
        assert_eq!(parse(r#"{"ask":"hold"}"#), Ok(Ask::Hold {}));
        let start = parse(r#"{"ask":"start","instruction":"  pick up\nthe cube "}"#);
        let instruction = "pick up the cube".to_owned();
        assert_eq!(
            start,
            Ok(Ask::Start {
                instruction,
                seed: 0
            })
        );
        let trial = parse(
            r#"{"ask":"trial","trial":3,"attempt":1,"said":{"score":{"success":true,"progress":100}}}"#,
        );
        assert!(matches!(
            trial,
            Ok(Ask::Trial {
                trial: 3,
                attempt: 1,
                said: Said::Score(Score { success: true, .. })
            })
        ));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"ask":"torque_off"}"#,
            r#"{"ask":"hold","now":true}"#,
            r#"{"ask":"start"}"#,
            r#"{"ask":"start","instruction":"   "}"#,
            r#"{"ask":"start","instruction":"a\u0000b"}"#,
            r#"{"ask":"take_over","page":1,"speed":0}"#,
            r#"{"ask":"take_over","page":1,"speed":1.5}"#,
            r#"{"ask":"score","success":true,"progress":101}"#,
            r#"{"ask":"score","success":true,"progress":null}"#,
            r#"{"ask":"trial","trial":3,"attempt":1,"said":{"forget":{}}}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let long = format!(r#"{{"ask":"start","instruction":"{}"}}"#, "x".repeat(501));
        assert!(parse(&long).is_err());
    }
}
