//! Where a node's states come in, and where the link and the device see each other. Decides how old a measurement is, and
//! that a node which speaks again is a new connection.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactus_types::{Clock, Time};

use super::watch::Sample;
use super::wire::{self, Phase};
use crate::device::Exchange;
use crate::modes::Ended;
use crate::stream::Wanted;

/// Without a session the node reads the robot once a second, and repeats it in between. For so long it is taken for the present:
/// the controller holds the arm, which then moves only by somebody's hand, and whoever enables it looks whether it did.
const READS: Duration = Duration::from_millis(1500);

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// States that came.
    pub states: u64,
    /// What came in their place and was none.
    pub nonsense: u64,
    /// Targets that went.
    pub targets: u64,
    /// Targets that the node refused.
    pub refused: u64,
    /// Times that the node was back.
    pub reconnections: u64,
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) exchange: Exchange<Sample>,
    /// When the newest measurement first came.
    pub(super) measured: Time,
    /// When the node last said anything.
    pub(super) heard: Time,
    pub(super) complaint: Option<String>,
    pub(super) counts: Counts,
    pub(super) why: Option<Ended>,
    /// Which session is to be followed (0 for none), and its goal.
    pub(super) session: u64,
    pub(super) wanted: Option<Wanted>,
    /// Of the device.
    pub(super) ticks: u64,
}

pub(super) struct Room {
    shared: Mutex<Shared>,
    pub(super) ticked: Condvar,
}

/// Where a node's states come in, whichever thread brings them.
#[derive(Clone)]
pub struct Inbox {
    pub(super) room: Arc<Room>,
    pub(super) clock: Arc<dyn Clock>,
    client: u32,
}

impl Inbox {
    /// Of a new client, with a number that no other has.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let random = RandomState::new().hash_one((std::process::id(), clock.now().as_nanos()));
        let shared = Shared {
            exchange: Exchange::default(),
            measured: clock.now(),
            heard: clock.now(),
            complaint: None,
            counts: Counts::default(),
            why: None,
            session: 0,
            wanted: None,
            ticks: 0,
        };
        Self {
            room: Arc::new(Room {
                shared: Mutex::new(shared),
                ticked: Condvar::new(),
            }),
            clock,
            client: (random as u32).max(1),
        }
    }

    /// This client's number, as the node knows it.
    pub fn client(&self) -> u32 {
        self.client
    }

    /// Takes what came as a state.
    pub fn hear(&self, bytes: &[u8]) {
        let read = wire::state(bytes);
        let now = self.clock.now();
        let mut shared = self.lock();
        let state = match read {
            Ok(state) => state,
            Err(e) => {
                if shared.counts.nonsense == 0 {
                    tracing::warn!("franka-node: {e}; ignored, and counted from now on");
                }
                shared.counts.nonsense += 1;
                shared.complaint = Some(e.to_string());
                return;
            }
        };
        shared.counts.states += 1;
        shared.heard = now;
        let sample = Sample {
            state,
            client: self.client,
        };
        let repeats = shared.exchange.newest.is_some_and(|(before, _)| {
            before.state.robot_millis == state.robot_millis && before.state.q == state.q
        });
        if !repeats {
            shared.measured = now;
        }
        let rests = matches!(state.phase, Phase::Idle | Phase::Acquired | Phase::Faulted);
        let came = match rests && now.since(shared.measured) <= READS {
            true => now,
            false => shared.measured,
        };
        shared.exchange.newest = Some((sample, came));
        if !shared.exchange.up {
            // What was wanted before is void: nobody knows what happened in between.
            (shared.session, shared.wanted) = (0, None);
            shared.exchange.up = true;
            shared.exchange.connection += 1;
            shared.counts.reconnections += 1;
            tracing::info!("franka-node is back");
        }
    }

    /// The newest state, and when it came.
    pub fn newest(&self) -> Option<(Sample, Time)> {
        self.lock().exchange.newest
    }

    /// What came in place of a state.
    pub fn complaint(&self) -> Option<String> {
        self.lock().complaint.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        let shared = self.room.shared.lock();
        shared.unwrap_or_else(PoisonError::into_inner)
    }
}
