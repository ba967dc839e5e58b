//! Who of the others is alive and when they were last heard: written by Zenoh's threads, read by the control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tactus_control::{Partner, PartnerMode};
use tactus_types::{Clock, Time};
use tactus_wire::{
    Cell, Delivery, ModeReport, ModeWord, Name, Session, SessionError, Sparse, Subscriber, Topic,
};

/// What is alive, written by Zenoh's threads.
#[derive(Default)]
pub(super) struct Alive {
    pub(super) engine: AtomicBool,
    /// One bit per camera of [`super::ArmOptions::cameras`].
    pub(super) cameras: AtomicU64,
    /// When the engine's host was last heard, nanoseconds of the cell's clock.
    pub(super) heard: AtomicU64,
    pub(super) partner: HeardPartner,
}

/// The other arm of a pair, as it was heard last.
#[derive(Default)]
pub(super) struct HeardPartner {
    pub(super) alive: AtomicBool,
    /// One more than the place of its mode in [`PartnerMode::ALL`]; 0 before it said anything.
    mode: AtomicU8,
    /// When it said so, nanoseconds of the cell's clock.
    pub(super) heard: AtomicU64,
}

impl HeardPartner {
    /// As the cycle looks at it at `now`.
    pub(super) fn seen<'a>(&self, name: &'a Arc<str>, now: Time) -> Partner<'a> {
        // The time first: a report between the two makes it seem older than it is, never newer.
        let heard = self.heard.load(Ordering::Acquire);
        let mode = usize::from(self.mode.load(Ordering::Acquire)).checked_sub(1);
        Partner {
            name,
            alive: self.alive.load(Ordering::Relaxed),
            mode: mode.and_then(|i| PartnerMode::ALL.get(i)).copied(),
            silent: now.since(Time::from_nanos(heard)),
        }
    }

    fn hears(&self, mode: ModeWord, now: Time) {
        let place = PartnerMode::ALL
            .iter()
            .position(|m| *m == partner_mode(mode));
        let code = place.and_then(|i| u8::try_from(i + 1).ok()).unwrap_or(0);
        self.mode.store(code, Ordering::Release);
        self.heard.store(now.as_nanos(), Ordering::Release);
    }
}

fn partner_mode(mode: ModeWord) -> PartnerMode {
    match mode {
        ModeWord::Boot => PartnerMode::Boot,
        ModeWord::Ready => PartnerMode::Ready,
        ModeWord::Policy => PartnerMode::Policy,
        ModeWord::Goto => PartnerMode::Goto,
        ModeWord::Align | ModeWord::Teleop => PartnerMode::Teleop,
        ModeWord::Hold => PartnerMode::Hold,
        ModeWord::Stopped => PartnerMode::Stopped,
    }
}

/// Listens to what the arm host of `partner` says of itself.
pub(super) fn hear_partner(
    session: &Session,
    cell: &Cell,
    partner: &Name,
    alive: &Arc<Alive>,
    clock: &Arc<dyn Clock>,
) -> Result<Subscriber, SessionError> {
    let (to, ears, refused) = (alive.clone(), clock.clone(), Sparse::default());
    let key = cell.key(&Topic::ArmMode(partner.clone()));
    session.subscribe(
        &key,
        move |report: Result<Delivery<ModeReport>, _>| match report {
            Ok(delivery) => to.partner.hears(delivery.message.mode, ears.now()),
            Err(e) => {
                if let Some(times) = refused.told() {
                    tracing::warn!(times, "mode of the other arm refused: {e}");
                }
            }
        },
    )
}
