//! A human commands the arm with the keys of a page: what `tactus teleop --source keyboard` does, with the page as the
//! terminal. The same feed, commander, lease and orders; a key moves for a moment and stops by itself.
//!
//! Decides that whoever took over has to be there: a page that goes away, or says nothing for [`SILENT`], ends in a hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tactus_teleop::keyboard::Keys;
use tactus_teleop::{Keyboard, Source, Wish};
use tactus_types::{ArmInfo, Clock, Rank, Reference};
use tactus_wire::{CellClock, Session};

use crate::cell::Cell;
use crate::teleop::{Held, Manner};

/// A page that says nothing for this long while its operator commands has lost them.
pub const SILENT: Duration = Duration::from_millis(1500);

/// One operator's hand on the arm.
pub struct Hand {
    /// Connection of the page that it is.
    pub by: u64,
    held: Held,
    keys: Keys,
    clock: Arc<CellClock>,
    heard: Instant,
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
        let keyboard = Keyboard::new(&keys);
        let name = keyboard.name().to_owned();
        let manner = Manner {
            reference: Reference::Clutch,
            rank: Rank::Teleop,
            speed,
        };
        let held = Held::take_over((cell, info), (session, clock), manner, &name, |_| {
            Box::new(keyboard)
        })?;
        Ok(Self {
            by,
            held,
            keys,
            clock: clock.clone(),
            heard: Instant::now(),
        })
    }

    /// The page says that it is there.
    pub fn beat(&mut self) {
        self.heard = Instant::now();
    }

    /// A key of the page. False when it moves nothing.
    pub fn press(&mut self, key: char) -> bool {
        self.beat();
        self.held.in_command() && self.keys.press(key, self.clock.now())
    }

    /// Asks without waiting.
    pub fn wish(&self, wish: Wish) {
        self.held.wish(wish);
    }

    /// Whether the arm follows this hand.
    pub fn in_command(&self) -> bool {
        self.held.in_command()
    }

    /// Whether the clutch is closed.
    pub fn closed(&self) -> bool {
        self.held.closed()
    }

    /// Whether the page has fallen silent.
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > SILENT
    }

    /// The last thing that the operator should know.
    pub fn said(&self) -> String {
        self.held.said()
    }

    /// Hands the arm back, and says whether it went.
    ///
    /// # Errors
    /// The arm host's reason.
    pub fn hand_back(&self) -> anyhow::Result<()> {
        self.held.hand_back()
    }
}
