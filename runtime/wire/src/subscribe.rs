//! Receiving: one kind of message, checked; or everything, as it came.

use tactus_types::Time;
use zenoh::{Wait, bytes::ZBytes};

use crate::{
    Delivery, Key, Message, Session, SessionError, WireError,
    message::{Raw, decode},
    shared,
};

/// Keeps a subscription; dropping it ends it.
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscriber {
    pub(crate) _zenoh: zenoh::pubsub::Subscriber<()>,
}

impl Session {
    /// Calls `on_message` with every message on `key` that passes the checks, and with the error of every other.
    ///
    /// It is called on a thread of Zenoh's that serves other subscriptions too, so it must be short: hand the message
    /// over and return.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn subscribe<M: Message>(
        &self,
        key: &Key,
        on_message: impl Fn(Result<Delivery<M>, WireError>) + Send + Sync + 'static,
    ) -> Result<Subscriber, SessionError> {
        let stamper = self.stamper.clone();
        self.zenoh
            .declare_subscriber(key.as_str().to_owned())
            .callback(move |sample| {
                let raw = raw(
                    sample.key_expr().as_str(),
                    sample.attachment(),
                    sample.payload(),
                    stamper.now(),
                );
                on_message(raw.and_then(|raw| decode(&raw, stamper.clock_id())));
            })
            .wait()
            .map(|zenoh| Subscriber { _zenoh: zenoh })
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "subscribe",
                reason: e.to_string(),
            })
    }

    /// Calls `on_message` with everything published on `key`, which may be a pattern, unchecked: for a recorder, which
    /// keeps what came and not what it should have been.
    ///
    /// It is called on a thread of Zenoh's, as in [`Session::subscribe`]. Copy the bytes that are to be kept: a borrowed
    /// payload of 50 bytes may lie in a receive buffer of 64 KiB.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn subscribe_raw(
        &self,
        key: &Key,
        on_message: impl Fn(Raw<'_>) + Send + Sync + 'static,
    ) -> Result<Subscriber, SessionError> {
        let stamper = self.stamper.clone();
        self.zenoh
            .declare_subscriber(key.as_str().to_owned())
            .callback(move |sample| {
                let raw = raw(
                    sample.key_expr().as_str(),
                    sample.attachment(),
                    sample.payload(),
                    stamper.now(),
                );
                match raw {
                    Ok(raw) => on_message(raw),
                    // A gap in its sequence, as of any message that was lost.
                    Err(e) => tracing::warn!("{e}"),
                }
            })
            .wait()
            .map(|zenoh| Subscriber { _zenoh: zenoh })
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "subscribe",
                reason: e.to_string(),
            })
    }
}

/// A sample's bytes, borrowed where they are contiguous and nobody else's.
///
/// # Errors
/// As [`shared::bytes`].
pub(crate) fn raw<'a>(
    key: &'a str,
    attachment: Option<&'a ZBytes>,
    payload: &'a ZBytes,
    received_at: Time,
) -> Result<Raw<'a>, WireError> {
    Ok(Raw {
        key,
        attachment: attachment.map(ZBytes::to_bytes),
        payload: shared::bytes(key, payload)?,
        received_at,
    })
}
