//! What an inference thread takes in: frames, joint states and requests, in the order of their arrival.
//!
//! Zenoh's threads only hand messages over. Decides what wakes the thread: not joint states, which come at hundreds of
//! hertz. Knows nothing of what the messages mean.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tactus_types::{CameraFrame, InferenceRequest, JointState};
use tactus_wire::{
    Cell, ChunkReply, Delivery, Key, Message, Name, Session, SessionError, Sparse, Subscriber,
    Topic, WireError,
};

/// Messages kept for the inference thread; more arrive only when it hangs, and then the oldest are worthless.
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
}

#[derive(Default)]
struct Inbox {
    messages: Mutex<Vec<Inbound>>,
    arrived: Condvar,
}

impl Inbox {
    /// A thread that panicked while holding the lock left at worst a message unqueued.
    fn lock(&self) -> MutexGuard<'_, Vec<Inbound>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: Inbound) {
        let mut messages = self.lock();
        if messages.len() < INBOX {
            let wake = !matches!(message, Inbound::State(_));
            messages.push(message);
            drop(messages);
            if wake {
                self.arrived.notify_one();
            }
        }
    }
}

/// Open subscriptions and what they delivered.
pub(crate) struct Intake {
    inbox: Arc<Inbox>,
    subscriptions: Vec<Subscriber>,
}

impl Intake {
    /// Listens to `cameras`, and to the states and requests of `arm`.
    pub(crate) fn open(
        session: &Session,
        cell: &Cell,
        arm: &Name,
        cameras: &[Arc<str>],
    ) -> Result<Self, SessionError> {
        let mut me = Self {
            inbox: Arc::default(),
            subscriptions: Vec::new(),
        };
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
        Ok(me)
    }

    /// Also listens to what the engine of `arm` answers.
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
        let to = self.inbox.clone();
        let refused = Sparse::default();
        let taken = move |delivery: Result<Delivery<M>, WireError>| match delivery {
            Ok(delivery) => to.push(inbound(delivery)),
            Err(e) => {
                if let Some(times) = refused.told() {
                    tracing::warn!(times, "message refused: {e}");
                }
            }
        };
        self.subscriptions.push(session.subscribe(key, taken)?);
        Ok(())
    }

    /// Moves what arrived into `batch`; waits a little when nothing did that is worth waking for.
    pub(crate) fn take_into(&self, batch: &mut Vec<Inbound>) {
        let messages = self.inbox.lock();
        let has_news = messages.iter().any(|m| !matches!(m, Inbound::State(_)));
        let mut messages = if has_news {
            messages
        } else {
            self.inbox
                .arrived
                .wait_timeout(messages, NAP)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        };
        batch.append(&mut messages);
    }
}
