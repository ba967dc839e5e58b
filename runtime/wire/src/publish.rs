//! Publishing one kind of message on one key.

use std::marker::PhantomData;

use zenoh::{
    Wait,
    qos::{CongestionControl, Priority},
};

use crate::{Key, Message, Qos, Session, SessionError, session::Stamper};

/// Publishes messages `M` on one key.
pub struct Publisher<M> {
    zenoh: zenoh::pubsub::Publisher<'static>,
    stamper: Stamper,
    message: PhantomData<fn(M)>,
}

impl Session {
    /// Declares that this process publishes `M` on `key`, with the quality of service of `M`.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn publisher<M: Message>(&self, key: &Key) -> Result<Publisher<M>, SessionError> {
        let (priority, express) = match M::QOS {
            Qos::RealTime => (Priority::RealTime, true),
            Qos::Data => (Priority::Data, false),
        };
        let zenoh = self
            .zenoh
            .declare_publisher(key.as_str().to_owned())
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .express(express)
            .wait()
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "publish",
                reason: e.to_string(),
            })?;
        Ok(Publisher {
            zenoh,
            stamper: self.stamper.with_own_counter(),
            message: PhantomData,
        })
    }
}

impl<M: Message> Publisher<M> {
    /// Sends `message` to whoever subscribes. Congested links drop it; the sequence numbers show that.
    ///
    /// It may take milliseconds: never call it on a thread that ticks.
    ///
    /// # Errors
    /// [`SessionError::Key`] when the session is closed.
    pub fn put(&self, message: &M) -> Result<(), SessionError> {
        let payload = message.encode();
        let header = self.stamper.header(message.captured_at(), message.seq());
        self.zenoh
            .put(payload)
            .attachment(header.encode())
            .wait()
            .map_err(|e| SessionError::Key {
                key: self.zenoh.key_expr().to_string(),
                action: "put",
                reason: e.to_string(),
            })
    }
}
