//! An arm taken over by a source in this process: the feed, the commander and the lease of `tactus teleop` without its terminal.
//!
//! Decides that a take-over that comes to nothing leaves nothing held, and that dropping it lets go first: the arm holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_teleop::filter::Shaping;
use tactus_teleop::{Jog, JogSpec, Pilot, Source, Wish};
use tactus_types::{ArmInfo, Rank, Reference};
use tactus_wire::{CellClock, Session};

use super::{Ask, Commander, Feed, Seen, WAITING};
use crate::cell::{Cell, period};
use crate::roles;

/// How long taking over may take.
const TAKEN_WITHIN: Duration = Duration::from_secs(4);
/// How often it looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);
/// Setpoints a second.
const RATE_HZ: f64 = 100.0;

/// How a source commands.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How it and the arm come together.
    pub reference: Reference,
    /// Under which rank.
    pub rank: Rank,
    /// Share of the arm's limits that deflections may use, above 0 to 1.
    pub speed: f64,
}

/// An arm that is held.
pub struct Held {
    seen: Arc<Seen>,
    ask: Ask,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    /// Takes the arm of `info` over for what `source` makes, called `name`.
    ///
    /// # Errors
    /// When somebody else has the arm, or it does not want to be taken over; nothing is held then.
    pub fn take_over(
        (cell, info): (&Arc<Cell>, &ArmInfo),
        (session, clock): (&Session, &Arc<CellClock>),
        manner: Manner,
        name: &str,
        source: impl FnOnce(&Arc<Seen>) -> Box<dyn Source>,
    ) -> anyhow::Result<Self> {
        let Manner {
            reference,
            rank,
            speed,
        } = manner;
        let seen = Arc::new(Seen::new(info, name, reference, cell));
        let subscriptions = seen.follow(cell, session)?;
        let jog = Jog::new(info, Jog::frame_for(info), JogSpec::at(speed))?;
        let (to, asked) = sync_channel(WAITING);
        let ask = Ask::new(seen.clone(), to);
        let feed = Feed {
            source: source(&seen),
            pilot: Pilot::new(jog, Shaping::NONE),
            publisher: session.publisher(&session.setpoint_key(&cell.wire, &cell.arm))?,
            seen: seen.clone(),
            clock: clock.clone(),
            period: period(RATE_HZ),
            ask: ask.clone(),
        };
        let (cell, session, shared) = (cell.clone(), session.clone(), seen.clone());
        let run = move || {
            let _subscriptions = subscriptions;
            std::thread::scope(|scope| {
                let _done = roles::Stopping(&shared.done);
                let feeding = std::thread::Builder::new().name("hand-feed".into());
                if let Err(e) = feeding.spawn_scoped(scope, || feed.run()) {
                    shared.note(format!("thread `hand-feed`: {e}"));
                    return;
                }
                let commander = Commander::new(&cell, &session, shared.clone(), reference);
                match commander.with_rank(rank).serve(&asked) {
                    Ok(said) => shared.note(said),
                    Err(e) => shared.note(format!("{e:#}")),
                }
                shared.ended.store(true, Ordering::Relaxed);
            });
        };
        let thread = std::thread::Builder::new()
            .name("hand".into())
            .spawn(run)
            .context("thread `hand`")?;
        let held = Self {
            seen,
            ask,
            thread: Some(thread),
        };
        held.begin()?;
        Ok(held)
    }

    fn begin(&self) -> anyhow::Result<()> {
        // The pilot has to know where the arm is before it can say where it should be.
        let until = Instant::now() + TAKEN_WITHIN;
        while self.seen.arm().is_none() {
            if Instant::now() > until {
                bail!("the arm host says nothing of its joints");
            }
            std::thread::sleep(LOOK);
        }
        let noted = self.seen.lock().noted;
        self.ask.wish(Wish::TakeOver);
        while !self.seen.in_command() {
            let said = {
                let now = self.seen.lock();
                let last = now.notes.back().filter(|_| now.noted > noted).cloned();
                last.filter(|note| note.starts_with(Wish::TakeOver.word()))
            };
            if let Some(why) = said {
                bail!("{why}");
            }
            if Instant::now() > until {
                bail!("the arm host did not follow within {TAKEN_WITHIN:?}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Asks without waiting.
    pub fn wish(&self, wish: Wish) {
        self.ask.wish(wish);
    }

    /// Whether we command the arm.
    pub fn in_command(&self) -> bool {
        self.seen.in_command()
    }

    /// Whether the clutch is closed.
    pub fn closed(&self) -> bool {
        self.seen.closed.load(Ordering::Relaxed)
    }

    /// The last thing that the operator should know.
    pub fn said(&self) -> String {
        self.seen.lock().notes.back().cloned().unwrap_or_default()
    }

    /// Hands the arm back, and says whether it went.
    ///
    /// # Errors
    /// The arm host's reason.
    pub fn hand_back(&self) -> anyhow::Result<()> {
        let noted = self.seen.lock().noted;
        self.ask.wish(Wish::HandBack);
        let until = Instant::now() + TAKEN_WITHIN;
        while Instant::now() < until {
            let said = {
                let now = self.seen.lock();
                now.notes.back().filter(|_| now.noted > noted).cloned()
            };
            match said {
                Some(said) if said.starts_with(Wish::HandBack.word()) => bail!("{said}"),
                Some(_) => return Ok(()),
                None => std::thread::sleep(LOOK),
            }
        }
        bail!("the arm host did not answer within {TAKEN_WITHIN:?}")
    }
}

impl Drop for Held {
    /// Lets go first, where it is in command: the arm holds.
    fn drop(&mut self) {
        self.ask.leave();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
