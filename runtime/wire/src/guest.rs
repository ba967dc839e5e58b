//! A guest on another system's Zenoh network: its keys, its bytes, its rules. Nothing of this process' own cell passes there.
//!
//! Decides how such a session is opened and what may be asked of it; what the keys and bytes mean is the guest's own driver's.
//! It connects to one endpoint and to nobody else (no multicast, no gossip, nothing listens), comes back by itself where the
//! link breaks, and is taken for dead by the other side after the lease that it is opened with. Or it joins a mesh
//! ([`Guest::join`]), where peers find each other by what a router tells them.

use std::time::Duration;

use serde_json::json;
use zenoh::{
    Wait,
    handlers::FifoChannel,
    qos::{CongestionControl, Priority},
    query::ConsolidationMode,
};

use crate::session::{check_endpoint, is_here};
use crate::{AliveToken, QueryError, Queryable, RawPublisher, SessionError, Subscriber};

/// Longest message that a guest takes, bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How a mesh of peers is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// Endpoints to connect to, a router's as a rule; tried again and again in the background while nobody is there.
    pub connect: Vec<String>,
    /// Endpoints to listen on, for peers that a router has told of this one.
    pub listen: Vec<String>,
    /// Use and listen on addresses beyond this host, in the clear.
    pub network: bool,
}

/// What came on a key, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// The key.
    pub key: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The attachment, where there is one.
    pub attachment: Option<&'a [u8]>,
}

/// A question to a guest, with the right to answer it once.
pub struct Question {
    query: zenoh::query::Query,
}

impl Question {
    /// The payload.
    pub fn payload(&self) -> Vec<u8> {
        let payload = self.query.payload();
        payload.map_or_else(Vec::new, |p| p.to_bytes().into_owned())
    }

    /// The attachment, where there is one.
    pub fn attachment(&self) -> Option<Vec<u8>> {
        let attachment = self.query.attachment();
        attachment.map(|a| a.to_bytes().into_owned())
    }

    /// Answers. Whoever asked may not wait any more; then nothing happens.
    pub fn answer(self, attachment: &[u8], payload: &[u8]) {
        let reply = self.query.reply(self.query.key_expr(), payload.to_vec());
        if let Err(e) = reply.attachment(attachment.to_vec()).wait() {
            tracing::debug!("an answer came to nothing: {e}");
        }
    }
}

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

    /// Joins a mesh of peers. Succeeds also where nobody is there yet.
    ///
    /// # Errors
    /// [`SessionError`] naming the endpoint that is beyond this host though [`Mesh::network`] does not say so, or that cannot
    /// be listened on.
    pub fn join(mesh: &Mesh) -> Result<Self, SessionError> {
        let Mesh {
            connect,
            listen,
            network,
        } = mesh;
        for (field, endpoints) in [("connect", connect), ("listen", listen)] {
            for endpoint in endpoints {
                check_endpoint(field, endpoint, false)?;
                if !network && !is_here(endpoint) {
                    return Err(SessionError::Option {
                        field,
                        expected: "an address of this host alone; beyond it nothing is encrypted and nobody is who they say, \
                                   which has to be wanted"
                            .into(),
                        actual: endpoint.clone(),
                    });
                }
            }
        }
        // As the other side has it: peers are met of which a router tells, and one of two opens the link.
        let text = json!({
            "mode": "peer",
            "listen": { "endpoints": listen },
            "connect": {
                "endpoints": connect,
                "timeout_ms": -1,
                "exit_on_failure": false,
                "retry": { "period_init_ms": 50, "period_max_ms": 1000, "period_increase_factor": 2 },
            },
            "scouting": {
                "multicast": { "enabled": false },
                "gossip": {
                    "enabled": true,
                    "autoconnect": { "router": [], "peer": ["router", "peer"] },
                    "autoconnect_strategy": { "peer": { "to_router": "always", "to_peer": "greater-zid" } },
                },
            },
            "timestamping": { "enabled": { "router": true, "peer": true, "client": true } },
            "transport": {
                "link": { "rx": { "max_message_size": MAX_MESSAGE_BYTES } },
                "shared_memory": crate::shared::config(false),
            },
        });
        let config = zenoh::Config::from_json5(&text.to_string());
        let config = config.map_err(|e| SessionError::Option {
            field: "connect, listen",
            expected: "endpoints that Zenoh takes".into(),
            actual: e.to_string(),
        })?;
        let zenoh = zenoh::open(config).wait();
        let zenoh = zenoh.map_err(|e| SessionError::Listen {
            endpoints: listen.join(", "),
            reason: e.to_string(),
        })?;
        Ok(Self { zenoh })
    }

    /// Zenoh's identity of this session.
    pub fn id(&self) -> String {
        self.zenoh.zid().to_string()
    }

    /// The endpoints that others can connect to, with the ports that were chosen.
    pub fn endpoints(&self) -> Vec<String> {
        let locators = self.zenoh.info().locators().wait();
        locators.iter().map(ToString::to_string).collect()
    }

    /// Calls `on_heard` with everything that is published on `key`, attachments too. It is called on a thread of Zenoh's: it
    /// must be short.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn listen(
        &self,
        key: &str,
        on_heard: impl Fn(Heard<'_>) + Send + Sync + 'static,
    ) -> Result<Subscriber, SessionError> {
        let callback = move |sample: zenoh::sample::Sample| {
            let attachment = sample.attachment().map(|a| a.to_bytes());
            on_heard(Heard {
                key: sample.key_expr().as_str(),
                payload: &sample.payload().to_bytes(),
                attachment: attachment.as_deref(),
            });
        };
        self.zenoh
            .declare_subscriber(key.to_owned())
            .callback(callback)
            .wait()
            .map(|zenoh| Subscriber { _zenoh: zenoh })
            .map_err(|e| error(key, "subscribe", &e))
    }

    /// Calls `on_question` with every question on `key`. It is called on a thread of Zenoh's: hand the question over and
    /// return.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn answer(
        &self,
        key: &str,
        on_question: impl Fn(Question) + Send + Sync + 'static,
    ) -> Result<Queryable, SessionError> {
        self.zenoh
            .declare_queryable(key.to_owned())
            .complete(true)
            .callback(move |query| on_question(Question { query }))
            .wait()
            .map(|zenoh| Queryable { _zenoh: zenoh })
            .map_err(|e| error(key, "answer queries", &e))
    }

    /// The liveliness tokens under `pattern` that are known within `within`.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn tokens(&self, pattern: &str, within: Duration) -> Result<Vec<String>, SessionError> {
        let get = self.zenoh.liveliness().get(pattern.to_owned());
        let replies = get.timeout(within).with(FifoChannel::new(256)).wait();
        let replies = replies.map_err(|e| error(pattern, "ask who is alive", &e))?;
        let key = |reply: zenoh::query::Reply| {
            let sample = reply.into_result().ok()?;
            Some(sample.key_expr().as_str().to_owned())
        };
        Ok(std::iter::from_fn(|| replies.recv().ok())
            .filter_map(key)
            .collect())
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

    /// As [`Self::publisher`], for what is large and may wait: pictures.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn bulk_publisher(&self, key: &str) -> Result<RawPublisher, SessionError> {
        self.zenoh
            .declare_publisher(key.to_owned())
            .congestion_control(CongestionControl::Drop)
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
        Ok(self.ask_with(key, None, question, within)?.0)
    }

    /// As [`Self::ask`], with an attachment; the answer and its attachment.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn ask_with(
        &self,
        key: &str,
        attachment: Option<&[u8]>,
        question: &[u8],
        within: Duration,
    ) -> Result<(Vec<u8>, Option<Vec<u8>>), QueryError> {
        let replies = self
            .zenoh
            .get(key)
            .payload(question.to_vec())
            .attachment(attachment.map(<[u8]>::to_vec))
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
            Ok(sample) => Ok((
                sample.payload().to_bytes().into_owned(),
                sample.attachment().map(|a| a.to_bytes().into_owned()),
            )),
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
