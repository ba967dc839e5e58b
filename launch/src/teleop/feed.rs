//! The thread that reads the device and publishes where the human wants the arm, at the device's rate.
//!
//! Sends only what was read since the last time, and only under our lease: a device that falls silent falls silent on the wire
//! too, and the arm holds. Decides nothing about modes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tactus_drivers_api::Pacer;
use tactus_teleop::{Pilot, Source, Wish};
use tactus_types::{Clock, OperatorSetpoint};
use tactus_wire::{CellClock, Publisher};

use super::Ask;
use super::seen::Seen;

/// Lag beyond which readings are left out instead of caught up.
const MAX_LAG: Duration = Duration::from_millis(20);

/// Everything the thread needs.
pub struct Feed {
    pub source: Box<dyn Source>,
    pub pilot: Pilot,
    pub publisher: Publisher<OperatorSetpoint>,
    pub seen: Arc<Seen>,
    pub clock: Arc<CellClock>,
    pub period: Duration,
    pub ask: Ask,
}

impl Feed {
    /// Reads and publishes until the device fails or [`Seen::done`] is set.
    pub fn run(mut self) {
        let clock = self.clock.clone();
        let mut pacer = Pacer::new(clock.now(), self.period, MAX_LAG);
        let (mut sequence, mut failed) = (0, false);
        while !self.seen.done.load(Ordering::Relaxed) {
            pacer.wait(clock.as_ref());
            let now = clock.now();
            let reading = match self.source.read(now) {
                Ok(reading) => reading,
                Err(e) => {
                    self.ask.failed(e.to_string());
                    return;
                }
            };
            if let Some(wish) = reading.wish {
                self.ask.wish(wish);
            }
            let Some(arm) = self.seen.arm() else {
                continue;
            };
            let closed = self.seen.closed.load(Ordering::Relaxed);
            let Some(wanted) = self.pilot.follow(&reading, &arm, closed) else {
                continue;
            };
            if let Some(lease) = self.seen.lease() {
                sequence += 1;
                match self.publisher.put(&wanted.under(lease, sequence)) {
                    Ok(()) => _ = self.seen.sent.fetch_add(1, Ordering::Relaxed),
                    Err(e) if !std::mem::replace(&mut failed, true) => {
                        tracing::error!("setpoints are not published: {e}");
                    }
                    Err(_) => {}
                }
            }
            let took = clock.now().since(now);
            let mut now = self.seen.lock();
            now.wanted = Some(wanted);
            now.put = now.put.max(took);
        }
    }
}

/// What a word means.
pub fn wish(word: &str) -> Option<Wish> {
    Wish::ALL.into_iter().find(|wish| wish.word() == word)
}
