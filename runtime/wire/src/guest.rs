//! A guest on another system's Zenoh network: its keys, its bytes, its rules. Nothing of this process' own cell passes there.
//!
//! Decides how such a session is opened and what may be asked of it; what the keys and bytes mean is the guest's own driver's.
//! It connects to one endpoint and to nobody else (no multicast, no gossip, nothing listens), comes back by itself where the
//! link breaks, and is taken for dead by the other side after the lease that it is opened with.

use std::time::Duration;

use serde_json::json;
use zenoh::{
    Wait,
    handlers::FifoChannel,
    qos::{CongestionControl, Priority},
    query::ConsolidationMode,
};

use crate::session::check_endpoint;
use crate::{AliveToken, QueryError, RawPublisher, SessionError, Subscriber};

/// A session on somebody else's network.
#[derive(Clone)]
pub struct Guest {
    zenoh: zenoh::Session,
}

impl Guest {
    /// Connects to `endpoint` (`tcp/192.168.1.10:7447`) within `within`. Its link is dead for both sides after `lease`
    /// without a sign of life.
    ///
    /// # Errors
    /// [`SessionError`] naming the endpoint; at the latest shortly after `within`.
    pub fn open(endpoint: &str, within: Duration, lease: Duration) -> Result<Self, SessionError> {
        check_endpoint("connect", endpoint, false)?;
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let text = json!({
            "mode": "peer",
            "listen": { "endpoints": [] },
            "connect": {
                "endpoints": [endpoint],
                "timeout_ms": millis(within),
                "exit_on_failure": true,
                "retry": { "period_init_ms": 20, "period_max_ms": 500, "period_increase_factor": 2 },
            },
            "scouting": { "multicast": { "enabled": false }, "gossip": { "enabled": false } },
            "transport": { "link": { "tx": { "lease": millis(lease) } } },
        });
        let config = zenoh::Config::from_json5(&text.to_string());
        let config = config.map_err(|e| SessionError::Option {
            field: "connect",
            expected: "an endpoint that Zenoh takes".into(),
            actual: e.to_string(),
        })?;
        let zenoh = zenoh::open(config).wait();
        let zenoh = zenoh.map_err(|e| SessionError::Unreachable {
            endpoints: endpoint.to_owned(),
            timeout_millis: within.as_millis(),
            reason: e.to_string(),
        })?;
        Ok(Self { zenoh })
    }

    /// Whether it is connected now.
    pub fn is_connected(&self) -> bool {
        let info = self.zenoh.info();
        info.peers_zid().wait().next().is_some() || info.routers_zid().wait().next().is_some()
    }

    /// Calls `on_bytes` with everything that is published on `key`. It is called on a thread of Zenoh's: it must be short.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn subscribe(
        &self,
        key: &str,
        on_bytes: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Result<Subscriber, SessionError> {
        self.zenoh
            .declare_subscriber(key.to_owned())
            .callback(move |sample| on_bytes(&sample.payload().to_bytes()))
            .wait()
            .map(|zenoh| Subscriber { _zenoh: zenoh })
            .map_err(|e| error(key, "subscribe", &e))
    }

    /// Declares that this process publishes on `key`; a congested link drops what it says.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn publisher(&self, key: &str) -> Result<RawPublisher, SessionError> {
        self.zenoh
            .declare_publisher(key.to_owned())
            .congestion_control(CongestionControl::Drop)
            .priority(Priority::RealTime)
            .express(true)
            .wait()
            .map(|zenoh| RawPublisher { zenoh })
            .map_err(|e| error(key, "publish", &e))
    }

    /// Holds the liveliness token `key` for as long as the result, this process and its link live.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn token(&self, key: &str) -> Result<AliveToken, SessionError> {
        let token = self.zenoh.liveliness().declare_token(key.to_owned());
        token
            .wait()
            .map(|zenoh| AliveToken { _zenoh: zenoh })
            .map_err(|e| error(key, "declare alive", &e))
    }

    /// Asks `question` on `key` and waits for the first answer.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn ask(&self, key: &str, question: &[u8], within: Duration) -> Result<Vec<u8>, QueryError> {
        let replies = self
            .zenoh
            .get(key)
            .payload(question.to_vec())
            .congestion_control(CongestionControl::Block)
            .priority(Priority::RealTime)
            .express(true)
            .consolidation(ConsolidationMode::None)
            .timeout(within)
            .with(FifoChannel::new(4))
            .wait()
            .map_err(|e| error(key, "ask", &e))?;
        let no_answer = || QueryError::NoAnswer {
            key: key.to_owned(),
            timeout_millis: within.as_millis(),
        };
        let reply = replies.recv().map_err(|_| no_answer())?;
        match reply.result() {
            Ok(sample) => Ok(sample.payload().to_bytes().into_owned()),
            Err(e) => match String::from_utf8_lossy(&e.payload().to_bytes()).into_owned() {
                reason if reason == "Timeout" => Err(no_answer()),
                reason => Err(QueryError::Refused {
                    key: key.to_owned(),
                    reason,
                }),
            },
        }
    }

    /// Says goodbye; what was declared on the session is gone with it.
    pub fn close(&self) {
        if let Err(e) = self.zenoh.close().wait() {
            tracing::warn!("closing a guest's Zenoh session: {e}");
        }
    }
}

fn error(key: &str, action: &'static str, e: &zenoh::Error) -> SessionError {
    SessionError::Key {
        key: key.to_owned(),
        action,
        reason: e.to_string(),
    }
}
