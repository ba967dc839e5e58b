//! Who is there: liveliness tokens, which end with the process that holds them.
//!
//! A killed process on the same host is seen after a few milliseconds, a pulled cable only after Zenoh's lease (10 s):
//! that is what staleness bounds are for.

use zenoh::{Wait, sample::SampleKind};

use crate::{Cell, Name, Role, Session, SessionError, Topic};

/// Says that a role is there for as long as it is kept.
#[must_use = "the role counts as dead when this is dropped"]
pub struct AliveToken {
    pub(crate) _zenoh: zenoh::liveliness::LivelinessToken,
}

/// Keeps a watch over tokens; dropping it ends it.
#[must_use = "the watch ends when this is dropped"]
pub struct AliveWatch {
    _zenoh: zenoh::pubsub::Subscriber<()>,
}

impl Session {
    /// Declares that `role` `name` of `cell` is there.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn alive(&self, cell: &Cell, role: Role, name: &Name) -> Result<AliveToken, SessionError> {
        let key = cell.key(&Topic::Alive(role, name.clone()));
        self.zenoh
            .liveliness()
            .declare_token(key.as_str().to_owned())
            .wait()
            .map(|zenoh| AliveToken { _zenoh: zenoh })
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "declare alive",
                reason: e.to_string(),
            })
    }

    /// Calls `on_change(role, name, alive)` for every role of `cell` that is there, comes or goes.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn watch_alive(
        &self,
        cell: &Cell,
        on_change: impl Fn(Role, &Name, bool) + Send + Sync + 'static,
    ) -> Result<AliveWatch, SessionError> {
        let key = cell.all_alive();
        let cell = cell.clone();
        self.zenoh
            .liveliness()
            .declare_subscriber(key.as_str().to_owned())
            .history(true)
            .callback(move |sample| match cell.topic(sample.key_expr().as_str()) {
                Ok(Topic::Alive(role, name)) => {
                    on_change(role, &name, sample.kind() == SampleKind::Put);
                }
                Ok(_) => {}
                Err(e) => tracing::warn!("liveliness token ignored: {e}"),
            })
            .wait()
            .map(|zenoh| AliveWatch { _zenoh: zenoh })
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "watch",
                reason: e.to_string(),
            })
    }
}
