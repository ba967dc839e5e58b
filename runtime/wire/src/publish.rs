//! Publishing on one key: one kind of message; or bytes that others have encoded.

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
        Ok(Publisher {
            zenoh: self.declare(key, M::QOS)?,
            stamper: self.stamper.with_own_counter(),
            message: PhantomData,
        })
    }

    /// Declares that this process publishes on `key` what others have encoded: for a bridge, which passes on what came.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn publisher_raw(&self, key: &Key, qos: Qos) -> Result<RawPublisher, SessionError> {
        Ok(RawPublisher {
            zenoh: self.declare(key, qos)?,
        })
    }

    fn declare(
        &self,
        key: &Key,
        qos: Qos,
    ) -> Result<zenoh::pubsub::Publisher<'static>, SessionError> {
        let (priority, express) = match qos {
            Qos::RealTime => (Priority::RealTime, true),
            Qos::Data => (Priority::Data, false),
        };
        self.zenoh
            .declare_publisher(key.as_str().to_owned())
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .express(express)
            .wait()
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "publish",
                reason: e.to_string(),
            })
    }
}

/// Publishes bytes on one key, as they are.
pub struct RawPublisher {
    pub(crate) zenoh: zenoh::pubsub::Publisher<'static>,
}

impl RawPublisher {
    /// Sends `payload` with the encoded header `attachment`. Congested links drop it.
    ///
    /// It may take milliseconds: never call it on a thread that ticks.
    ///
    /// # Errors
    /// [`SessionError::Key`] when the session is closed.
    pub fn put(&self, attachment: Option<&[u8]>, payload: &[u8]) -> Result<(), SessionError> {
        let put = self.zenoh.put(payload.to_vec());
        let sent = match attachment {
            Some(attachment) => put.attachment(attachment.to_vec()).wait(),
            None => put.wait(),
        };
        sent.map_err(|e| put_error(&self.zenoh, &e))
    }
}

fn put_error(publisher: &zenoh::pubsub::Publisher<'_>, e: &zenoh::Error) -> SessionError {
    SessionError::Key {
        key: publisher.key_expr().to_string(),
        action: "put",
        reason: e.to_string(),
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
            .map_err(|e| put_error(&self.zenoh, &e))
    }
}
