//! A human commands the arm with the keys of a page: what `tactus teleop --source keyboard` does, with the page as the
//! terminal. The same feed, commander, lease and orders; a key moves for a moment and stops by itself.
//!
//! Decides that whoever took over has to be there: a page that goes away, or says nothing for [`SILENT`], ends in a hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_teleop::filter::Shaping;
use tactus_teleop::keyboard::Keys;
use tactus_teleop::{Jog, JogSpec, Keyboard, Pilot, Source, Wish};
use tactus_types::{ArmInfo, Clock, Reference};
use tactus_wire::{CellClock, Session};

use crate::cell::{Cell, period};
use crate::roles;
use crate::teleop::{Ask, Commander, Feed, Seen, WAITING};

/// A page that says nothing for this long while its operator commands has lost them.
pub const SILENT: Duration = Duration::from_millis(1500);
/// How long taking over may take.
const TAKEN_WITHIN: Duration = Duration::from_secs(4);
/// How often it looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);
/// Setpoints a second.
const RATE_HZ: f64 = 100.0;

/// One operator's hand on the arm.
pub struct Hand {
    /// Connection of the page that it is.
    pub by: u64,
    seen: Arc<Seen>,
    ask: Ask,
    keys: Keys,
    clock: Arc<CellClock>,
    heard: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Hand {
    /// Takes the arm over for the page of connection `by`, at `speed` of the arm's limits, above 0 to 1.
    ///
    /// # Errors
    /// When somebody else has the arm, or it does not want to be taken over; nothing is held then.
    pub fn take_over(
        cell: &Arc<Cell>,
        session: &Session,
        clock: &Arc<CellClock>,
        info: &ArmInfo,
        by: u64,
        speed: f64,
    ) -> anyhow::Result<Self> {
        let keys = Keys::default();
        let source = Box::new(Keyboard::new(&keys));
        let reference = Reference::Clutch;
        let seen = Arc::new(Seen::new(info, source.name(), reference, cell));
        let subscriptions = seen.follow(cell, session)?;
        let jog = Jog::new(info, Jog::frame_for(info), JogSpec::at(speed))?;
        let (to, asked) = sync_channel(WAITING);
        let ask = Ask::new(seen.clone(), to);
        let feed = Feed {
            source,
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
                let feeding = std::thread::Builder::new().name("panel-feed".into());
                if let Err(e) = feeding.spawn_scoped(scope, || feed.run()) {
                    shared.note(format!("thread `panel-feed`: {e}"));
                    return;
                }
                let mut commander = Commander::new(&cell, &session, shared.clone(), reference);
                match commander.serve(&asked) {
                    Ok(said) => shared.note(said),
                    Err(e) => shared.note(format!("{e:#}")),
                }
                shared.ended.store(true, Ordering::Relaxed);
            });
        };
        let thread = std::thread::Builder::new()
            .name("panel-hand".into())
            .spawn(run)
            .context("thread `panel-hand`")?;
        let mut hand = Self {
            by,
            seen,
            ask,
            keys,
            clock: clock.clone(),
            heard: Instant::now(),
            thread: Some(thread),
        };
        hand.begin()?;
        Ok(hand)
    }

    fn begin(&mut self) -> anyhow::Result<()> {
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
        self.heard = Instant::now();
        Ok(())
    }

    /// The page says that it is there.
    pub fn beat(&mut self) {
        self.heard = Instant::now();
    }

    /// A key of the page. False when it moves nothing.
    pub fn press(&mut self, key: char) -> bool {
        self.beat();
        self.seen.in_command() && self.keys.press(key, self.clock.now())
    }

    /// Asks without waiting.
    pub fn wish(&self, wish: Wish) {
        self.ask.wish(wish);
    }

    /// Whether the arm follows this hand.
    pub fn in_command(&self) -> bool {
        self.seen.in_command()
    }

    /// Whether the clutch is closed.
    pub fn closed(&self) -> bool {
        self.seen.closed.load(Ordering::Relaxed)
    }

    /// Whether the page has fallen silent.
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > SILENT
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

impl Drop for Hand {
    /// Lets go first, where it is in command: the arm holds.
    fn drop(&mut self) {
        self.ask.leave();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
