//! An engine whose arm's host has gone: it ends, so that whoever supervises it starts it again.
//!
//! Decides when that is so: arm host, device or all cameras, which were there, have been gone for [`LOST_FOR`]. A link that
//! breaks while it is being made is not dialled again by Zenoh (1.10): it comes back with the next process. Only for engines on
//! another host than the arm's: on one host there is no cable to be cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tactus_wire::{AliveWatch, Cell, Role, Session};

/// For so long somebody may be gone; longer than Zenoh takes to make a link again where it does.
pub const LOST_FOR: Duration = Duration::from_secs(8);

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(200);

/// Who was seen, and whether they are there.
#[derive(Debug, Default)]
struct Seen {
    here: BTreeMap<(Role, String), bool>,
    gone_since: Option<Instant>,
}

impl Seen {
    /// Whether a kind of process that was there has been gone for [`LOST_FOR`].
    fn lost(&mut self, now: Instant) -> bool {
        let gone = [Role::Arm, Role::Device, Role::Camera].iter().any(|role| {
            let mut of = self
                .here
                .iter()
                .filter(|((of, _), _)| of == role)
                .peekable();
            of.peek().is_some() && of.all(|(_, here)| !here)
        });
        self.gone_since = gone.then(|| self.gone_since.unwrap_or(now));
        self.gone_since
            .is_some_and(|since| now.saturating_duration_since(since) >= LOST_FOR)
    }
}

/// Watches who is there until it is dropped.
pub struct Lost {
    _watch: AliveWatch,
    lost: Arc<AtomicBool>,
}

impl Lost {
    /// Sets `stop` when somebody is lost.
    ///
    /// # Errors
    /// When the network or the system refuses.
    pub fn watch(session: &Session, cell: &Cell, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let to = Arc::clone(&seen);
        let watch = session.watch_alive(cell, move |role, name, here| {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            to.here.insert((role, name.to_string()), here);
        })?;
        let lost = Arc::new(AtomicBool::new(false));
        let (stop, says) = (Arc::clone(stop), Arc::clone(&lost));
        let look = move || {
            while !stop.load(Ordering::Relaxed) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.lost(Instant::now()) {
                    says.store(true, Ordering::Relaxed);
                    stop.store(true, Ordering::Relaxed);
                }
                drop(seen);
                std::thread::sleep(EVERY);
            }
        };
        std::thread::Builder::new()
            .name("links".into())
            .spawn(look)
            .context("thread `links`")?;
        Ok(Self {
            _watch: watch,
            lost,
        })
    }

    /// Whether somebody was lost.
    pub fn is(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_there_and_has_been_gone_for_long_is_lost() {
        let mut seen = Seen::default();
        let start = Instant::now();
        let at = |seen: &mut Seen, secs: u64| seen.lost(start + Duration::from_secs(secs));
        assert!(!at(&mut seen, 100), "nobody was ever there");
        let camera = |name: &str| (Role::Camera, name.to_owned());
        seen.here.insert((Role::Arm, "arm".into()), true);
        seen.here.insert(camera("scene"), true);
        seen.here.insert(camera("wrist"), false);
        assert!(!at(&mut seen, 200), "one camera is enough");
        seen.here.insert(camera("scene"), false);
        assert!(!at(&mut seen, 201));
        assert!(!at(&mut seen, 208));
        seen.here.insert(camera("scene"), true);
        assert!(!at(&mut seen, 220), "it came back in time");
        seen.here.insert((Role::Arm, "arm".into()), false);
        assert!(!at(&mut seen, 300));
        assert!(at(&mut seen, 308));
        // Others may go.
        let mut others = Seen::default();
        others.here.insert((Role::Engine, "engine".into()), false);
        assert!(!at(&mut others, 0) && !at(&mut others, 1000));
    }
}
