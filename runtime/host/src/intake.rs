//! What an inference thread takes in: frames, joint states and requests of one arm or several, in the order of their arrival.
//!
//! Zenoh's threads only hand messages over. Decides what wakes the thread: not joint states, which come at hundreds of
//! hertz; and how much may wait of each arm, so that none crowds out another. Knows nothing of what the messages mean.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactus_types::{CameraFrame, InferenceRequest, JointState};
use tactus_wire::{
    AliveWatch, Cell, ChunkReply, Delivery, Key, Message, Name, Role, Session, SessionError,
    Sparse, Subscriber, Topic, WireError,
};

/// Messages of an arm kept for the inference thread; more arrive only when it hangs, and then the oldest are worthless.
pub(crate) const INBOX: usize = 1024;

/// How long the inference thread sleeps when nothing arrives: staleness is noticed this late at most.
const NAP: Duration = Duration::from_millis(5);

/// What arrived.
pub(crate) enum Inbound {
    /// A frame, and its time on the wire.
    Frame(CameraFrame, Duration),
    State(JointState),
    Request(InferenceRequest),
    /// What the engine answered; for who listens to it.
    Answer(ChunkReply),
    /// The arm host is gone; for who listens to that.
    Gone,
}

#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// By number of the arm.
    messages: Vec<(usize, Inbound)>,
    /// How many there are of each arm.
    of_arm: Vec<usize>,
}

impl Waiting {
    /// Whether `message` of arm `arm` was taken.
    fn push(&mut self, arm: usize, message: Inbound) -> bool {
        if self.of_arm.len() <= arm {
            self.of_arm.resize(arm + 1, 0);
        }
        let Some(count) = self.of_arm.get_mut(arm).filter(|n| **n < INBOX) else {
            return false;
        };
        *count += 1;
        self.messages.push((arm, message));
        true
    }

    fn has_news(&self) -> bool {
        let is_news = |(_, message): &(usize, Inbound)| !matches!(message, Inbound::State(_));
        self.messages.iter().any(is_news)
    }
}

impl Inbox {
    /// A thread that panicked while holding the lock left at worst a message unqueued.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, arm: usize, message: Inbound) {
        let wake = !matches!(message, Inbound::State(_));
        let taken = self.lock().push(arm, message);
        if taken && wake {
            self.arrived.notify_one();
        }
    }
}

/// Open subscriptions and what they delivered.
#[derive(Default)]
pub(crate) struct Intake {
    inbox: Arc<Inbox>,
    subscriptions: Vec<Subscriber>,
    watches: Vec<AliveWatch>,
    arms: usize,
}

impl Intake {
    /// Listens to `cameras`, and to the states and requests of `arm`.
    pub(crate) fn open(
        session: &Session,
        cell: &Cell,
        arm: &Name,
        cameras: &[Arc<str>],
    ) -> Result<Self, SessionError> {
        Self::default().and_arm(session, cell, arm, cameras)
    }

    /// Also listens to `cameras` of `cell`, and to the states and requests of `arm`: the next by number.
    pub(crate) fn and_arm(
        mut self,
        session: &Session,
        cell: &Cell,
        arm: &Name,
        cameras: &[Arc<str>],
    ) -> Result<Self, SessionError> {
        let me = &mut self;
        me.arms += 1;
        for name in cameras.iter().filter_map(|camera| Name::new(camera).ok()) {
            me.listen(session, &cell.key(&Topic::CameraImage(name)), |frame| {
                let transport = frame.transport_time();
                Inbound::Frame(frame.message, transport)
            })?;
        }
        me.listen(session, &cell.key(&Topic::ArmState(arm.clone())), |state| {
            Inbound::State(state.message)
        })?;
        me.listen(session, &cell.key(&Topic::ArmRequest(arm.clone())), |r| {
            Inbound::Request(r.message)
        })?;
        Ok(self)
    }

    /// Also listens to whether the host of `arm`, the last one, is there.
    pub(crate) fn and_departures(
        mut self,
        session: &Session,
        cell: &Cell,
        arm: &Name,
    ) -> Result<Self, SessionError> {
        let (to, number) = (self.inbox.clone(), self.arms.saturating_sub(1));
        let arm = arm.clone();
        let watch = session.watch_alive(cell, move |role, name, is_alive| {
            if role == Role::Arm && *name == arm && !is_alive {
                to.push(number, Inbound::Gone);
            }
        })?;
        self.watches.push(watch);
        Ok(self)
    }

    /// Also listens to what the engine of `arm`, the last one, answers.
    pub(crate) fn and_answers(
        mut self,
        session: &Session,
        cell: &Cell,
        arm: &Name,
    ) -> Result<Self, SessionError> {
        self.listen(session, &cell.key(&Topic::ArmChunk(arm.clone())), |reply| {
            Inbound::Answer(reply.message)
        })?;
        Ok(self)
    }

    fn listen<M: Message + 'static>(
        &mut self,
        session: &Session,
        key: &Key,
        inbound: impl Fn(Delivery<M>) -> Inbound + Send + Sync + 'static,
    ) -> Result<(), SessionError> {
        let (to, arm) = (self.inbox.clone(), self.arms.saturating_sub(1));
        let refused = Sparse::default();
        let taken = move |delivery: Result<Delivery<M>, WireError>| match delivery {
            Ok(delivery) => to.push(arm, inbound(delivery)),
            Err(e) => {
                if let Some(times) = refused.told() {
                    tracing::warn!(times, "message refused: {e}");
                }
            }
        };
        self.subscriptions.push(session.subscribe(key, taken)?);
        Ok(())
    }

    /// Moves what arrived into `batch`, each with the number of its arm. Waits a little when nothing did that is worth waking for,
    /// unless there may be something `to_do` all the same.
    pub(crate) fn take_into(&self, batch: &mut Vec<(usize, Inbound)>, to_do: bool) {
        let waiting = self.inbox.lock();
        let mut waiting = if to_do || waiting.has_news() {
            waiting
        } else {
            self.inbox
                .arrived
                .wait_timeout(waiting, NAP)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        };
        waiting.of_arm.fill(0);
        batch.append(&mut waiting.messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_that_floods_does_not_crowd_out_another() {
        let mut waiting = Waiting::default();
        let taken = (0..2 * INBOX).filter(|_| waiting.push(1, Inbound::Gone));
        assert_eq!(taken.count(), INBOX);
        assert!(waiting.push(0, Inbound::Gone) && !waiting.push(1, Inbound::Gone));
        assert_eq!(waiting.messages.len(), INBOX + 1);
    }
}
