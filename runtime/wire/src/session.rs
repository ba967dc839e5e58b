//! One Zenoh peer session per process: how processes find each other and what is off by default.
//!
//! - Processes of a cell *connect* to one seed endpoint (the launcher's) and listen on loopback. Gossip then introduces
//!   every peer to every other, so that they exchange directly and the seed's death cuts nothing between them.
//! - Or ([`SessionOptions::named_links`]) every process has an address, and each dials those that it is told to, again and
//!   again: such links come back by themselves, but for a rare one that breaks while it is made (Zenoh 1.10). What gossip has introduced does not meet again.
//! - No multicast: nothing is found, and nothing is told, outside the configured endpoints.
//! - No shared memory, unless asked for ([`SessionOptions::shared_memory`]): JPEG frames gain nothing from it.
//!
//! Everything here is synchronous and made for plain threads. Zenoh runs its own; inside a Tokio runtime it needs the
//! multi-thread flavour.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tactus_types::{Clock, ClockId, Reading, Time};
use zenoh::{Wait, config::EndPoint};

use crate::{Cell, CellClock, Header, Key, Name, Security, Topic, follow::Following, shared};

/// The endpoint that a process listens on unless it is told otherwise: any free port of the loopback interface.
pub const LOOPBACK: &str = "tcp/127.0.0.1:0";

/// Batches that may wait for a link, per priority; an express message is a batch of its own. Zenoh's default of two
/// drops messages of a short burst on a busy machine, where its sending thread waits for a core.
const REAL_TIME_BATCHES: u32 = 16;
const DATA_BATCHES: u32 = 8;

/// Longest message that is put together from its fragments: a raw picture of 12 megapixels. Zenoh's default is a gigabyte.
pub(crate) const MAX_MESSAGE_BYTES: usize = 48 << 20;

/// Most processes that one is linked with: a cell has some twenty, a shared engine has links with those of all its cells. Zenoh's
/// default is a thousand. Those who have not yet said who they are, at most a hundred at a time, are counted apart.
const MAX_PEERS: u32 = 256;

/// On named links, a silent peer is gone after this, milliseconds (Zenoh's default is 10 s), and an attempt to link given up: the
/// next one may find the cable back in.
const LEASE_MILLIS: u64 = 2000;

/// How long a `put` waits for room before it drops the message. Zenoh's default is 1 ms; no thread that ticks puts.
const WAIT_BEFORE_DROP_MICROS: u32 = 5000;

/// How a session is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Endpoints to listen on, for example `tcp/127.0.0.1:7447`. Default: [`LOOPBACK`].
    pub listen: Vec<String>,
    /// Endpoints that must be reachable. Default: none.
    pub connect: Vec<String>,
    /// How long to try to reach them. Default: 5 s.
    pub connect_timeout: Duration,
    /// What this process is in a cell that has keys; without it nothing is encrypted, and nobody is who they say. Default: none.
    pub security: Option<Security>,
    /// Without keys, listen beyond this host all the same. Default: no.
    pub plain_network: bool,
    /// The endpoints of `connect` are all that there is, and need not be reachable yet: each is tried until it is, and again
    /// whenever its link breaks, and nobody else is looked for. For cells whose processes have addresses. Default: no.
    pub named_links: bool,
    /// The endpoints of `connect` are Zenoh routers, and everything passes through one of them: a router passes nothing on between
    /// peers, which it takes to be linked with each other. Not with `security`: what comes in is judged by who sends it, and that
    /// would be the router. Default: no.
    pub through_router: bool,
    /// Long messages (256 KiB and more: raw pictures) between processes of this host that all have this go through memory that
    /// they share. It is locked, so that this process needs leave to lock memory, without which such messages do not arrive, and a place
    /// for it, without which no session opens ([`no_shared_memory`](crate::no_shared_memory)). Not
    /// with `security`: whoever runs as the same user reads and writes it. Default: no.
    pub shared_memory: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            listen: vec![LOOPBACK.into()],
            connect: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            security: None,
            plain_network: false,
            named_links: false,
            through_router: false,
            shared_memory: false,
        }
    }
}

/// Why the network cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// An option is wrong.
    #[error("session option `{field}`: expected {expected}, got `{actual}`")]
    Option {
        /// Which option.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// No connection within the time.
    #[error("cannot reach {endpoints} within {timeout_millis} ms: {reason}")]
    Unreachable {
        /// The endpoints that were tried.
        endpoints: String,
        /// How long, milliseconds.
        timeout_millis: u128,
        /// What Zenoh said.
        reason: String,
    },
    /// The listener cannot be opened.
    #[error("cannot listen on {endpoints}: {reason}")]
    Listen {
        /// The endpoints.
        endpoints: String,
        /// What Zenoh said.
        reason: String,
    },
    /// A key cannot be published, subscribed, queried or watched.
    #[error("key `{key}`: cannot {action}: {reason}")]
    Key {
        /// The key.
        key: String,
        /// What was tried.
        action: &'static str,
        /// What Zenoh said.
        reason: String,
    },
}

/// Stamps outgoing messages. It holds no session, so that callbacks may keep it without keeping the session open.
#[derive(Clone)]
pub(crate) struct Stamper {
    clock: Arc<dyn Clock>,
    source: Arc<str>,
    seq: Arc<AtomicU64>,
}

impl Stamper {
    pub(crate) fn new(clock: Arc<dyn Clock>, source: &str) -> Self {
        Self {
            clock,
            source: source.into(),
            seq: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The same process and clock with a counter of its own.
    pub(crate) fn with_own_counter(&self) -> Self {
        Self {
            seq: Arc::new(AtomicU64::new(0)),
            ..self.clone()
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) fn clock_id(&self) -> ClockId {
        self.clock.id()
    }

    /// The header of a message that is handed to the network now.
    pub(crate) fn header(&self, captured_at: Option<Time>, seq: Option<u64>) -> Header {
        let Reading {
            clock,
            at: published_at,
            followed,
        } = self.clock.reading();
        Header {
            clock,
            followed,
            captured_at: captured_at.unwrap_or(published_at),
            published_at,
            seq: seq.unwrap_or_else(|| self.seq.fetch_add(1, Ordering::Relaxed)),
            source: self.source.to_string(),
        }
    }
}

/// A peer on the network. Clones share it; it closes when the last clone is gone.
#[derive(Clone)]
pub struct Session {
    pub(crate) zenoh: zenoh::Session,
    pub(crate) stamper: Stamper,
    pub(crate) who: Name,
    /// What keeps the clock current; ends with the last clone.
    pub(crate) following: Option<Arc<Following>>,
}

impl Session {
    /// Opens a session. `source` names this process in every message, for example `camera/scene`; `clock` stamps them
    /// and is the cell's clock for everything received. Who it is on the wire is in its certificate, or, without one, `source`.
    ///
    /// # Errors
    /// [`SessionError`] naming the option or the endpoint; at the latest shortly after the connect timeout.
    pub fn open(
        options: &SessionOptions,
        source: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SessionError> {
        let SessionOptions {
            listen,
            connect,
            connect_timeout,
            security,
            plain_network,
            named_links: _,
            through_router,
            shared_memory,
        } = options;
        if *shared_memory && security.is_some() {
            return Err(SessionError::Option {
                field: "shared_memory",
                expected: "a cell without keys: memory that is shared is not encrypted".into(),
                actual: "a cell with keys".into(),
            });
        }
        if *through_router && security.is_some() {
            return Err(SessionError::Option {
                field: "through_router",
                expected:
                    "a cell without keys: behind a router nobody can be told by their certificate"
                        .into(),
                actual: "a cell with keys".into(),
            });
        }
        for (field, endpoints) in [("listen", listen), ("connect", connect)] {
            for endpoint in endpoints {
                check_endpoint(field, endpoint, security.is_some())?;
            }
        }
        if security.is_none() && !plain_network {
            listen
                .iter()
                .try_for_each(|endpoint| stays_here(endpoint))?;
        }
        let who = match security {
            Some(security) => {
                security.check()?;
                security.who()?
            }
            None => Name::new(&source.replace('/', "-")).map_err(|e| SessionError::Option {
                field: "source",
                expected: "names, with a slash between them".into(),
                actual: e.to_string(),
            })?,
        };
        if connect_timeout.is_zero() {
            return Err(SessionError::Option {
                field: "connect_timeout",
                expected: "more than 0 ms".into(),
                actual: "0 ms".into(),
            });
        }
        let config = config(options).map_err(|reason| SessionError::Option {
            field: "listen, connect",
            expected: "endpoints that Zenoh takes".into(),
            actual: reason,
        })?;
        let zenoh = zenoh::open(config).wait().map_err(|e| {
            let reason = e.to_string();
            if connect.is_empty() || reason.contains("listener") {
                SessionError::Listen {
                    endpoints: listen.join(", "),
                    reason,
                }
            } else {
                SessionError::Unreachable {
                    endpoints: connect.join(", "),
                    timeout_millis: connect_timeout.as_millis(),
                    reason,
                }
            }
        })?;
        Ok(Self {
            zenoh,
            stamper: Stamper::new(clock, source),
            who,
            following: None,
        })
    }

    /// Keeps `clock`, which is this session's, on the time of whoever answers on one of `keys`, for as long as the session or
    /// a clone of it is there.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn follow(&mut self, clock: Arc<CellClock>, keys: Vec<Key>) -> std::io::Result<()> {
        self.following = Some(Arc::new(Following::start(self.clone(), clock, keys)?));
        Ok(())
    }

    /// Who this process is on the wire, in keys that say so.
    pub fn who(&self) -> &Name {
        &self.who
    }

    /// Where this process asks `arm` for its lease.
    pub fn lease_key(&self, cell: &Cell, arm: &Name) -> Key {
        cell.key(&Topic::ArmLease(arm.clone(), self.who.clone()))
    }

    /// Where this process gives `arm` orders.
    pub fn order_key(&self, cell: &Cell, arm: &Name) -> Key {
        cell.key(&Topic::ArmOrder(arm.clone(), self.who.clone()))
    }

    /// Where this process sends `arm` a human's setpoints.
    pub fn setpoint_key(&self, cell: &Cell, arm: &Name) -> Key {
        cell.key(&Topic::ArmSetpoint(arm.clone(), self.who.clone()))
    }

    /// The endpoints that others can connect to, with the ports that were chosen.
    pub fn endpoints(&self) -> Vec<String> {
        let locators = self.zenoh.info().locators().wait();
        locators.iter().map(ToString::to_string).collect()
    }

    /// Zenoh's identity of this session; another one after every restart.
    pub fn id(&self) -> String {
        self.zenoh.zid().to_string()
    }

    /// Identities of the sessions that this one is connected to directly.
    pub fn peers(&self) -> Vec<String> {
        let peers = self.zenoh.info().peers_zid().wait();
        peers.map(|peer| peer.to_string()).collect()
    }

    /// The clock that stamps this session's messages.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.stamper.clock
    }

    /// Says goodbye to every peer and closes; what was declared on the session is gone with it.
    pub fn close(&self) {
        if let Err(e) = self.zenoh.close().wait() {
            tracing::warn!("closing the Zenoh session: {e}");
        }
    }
}

/// Refuses an endpoint that is not one of `tls/` or `tcp/`, as the cell has keys or not.
pub(crate) fn check_endpoint(
    field: &'static str,
    endpoint: &str,
    keys: bool,
) -> Result<(), SessionError> {
    let protocol = if keys { "tls" } else { "tcp" };
    match endpoint.parse::<EndPoint>() {
        Ok(parsed) if parsed.protocol().as_str() == protocol => Ok(()),
        Ok(_) | Err(_) => Err(SessionError::Option {
            field,
            expected: match keys {
                true => "an endpoint such as `tls/192.168.1.2:7447`, since the cell has keys",
                false => "an endpoint such as `tcp/127.0.0.1:7447`",
            }
            .into(),
            actual: endpoint.into(),
        }),
    }
}

/// Whether an endpoint is of this host alone.
pub(crate) fn is_here(endpoint: &str) -> bool {
    let parsed = endpoint.parse::<EndPoint>();
    let address = parsed
        .as_ref()
        .map_or("", |e| e.address().as_str())
        .to_owned();
    let host = address
        .rsplit_once(':')
        .map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Refuses an endpoint to listen on that others than this host can reach.
fn stays_here(endpoint: &str) -> Result<(), SessionError> {
    if is_here(endpoint) {
        return Ok(());
    }
    Err(SessionError::Option {
        field: "listen",
        expected: "an address of this host alone, or a cell with keys (`tactus keys init`), or the flag --plain-network, \
                   with which whoever reaches the address can move the arm"
            .into(),
        actual: endpoint.into(),
    })
}

fn config(options: &SessionOptions) -> Result<zenoh::Config, String> {
    let timeout_millis = u64::try_from(options.connect_timeout.as_millis()).unwrap_or(u64::MAX);
    let mut link = json!({ "rx": { "max_message_size": MAX_MESSAGE_BYTES }, "tx": { "queue": {
        "size": { "real_time": REAL_TIME_BATCHES, "data": DATA_BATCHES },
        "congestion_control": { "drop": { "wait_before_drop": WAIT_BEFORE_DROP_MICROS } },
    } } });
    let mut access = json!({ "enabled": false });
    if let Some(security) = &options.security {
        link["tls"] = security.link();
        // What gossip tells of is no other way in.
        link["protocols"] = json!(["tls"]);
        access = security.access();
    }
    // What gossip brought together, Zenoh does not bring together again: it dials again what it was told to dial.
    let named = options.named_links;
    let mut transport =
        json!({ "link": link, "shared_memory": shared::config(options.shared_memory) });
    transport["unicast"] = json!({ "max_sessions": MAX_PEERS });
    let mut timeout = json!(timeout_millis);
    if named {
        timeout = json!(-1);
        transport["link"]["tx"]["lease"] = json!(LEASE_MILLIS);
        transport["unicast"]["open_timeout"] = json!(LEASE_MILLIS);
        transport["unicast"]["accept_timeout"] = json!(LEASE_MILLIS);
    }
    let found: &[&str] = if named { &[] } else { &["peer"] };
    let text = json!({
        "mode": if options.through_router { "client" } else { "peer" },
        "listen": { "endpoints": if options.through_router { &[][..] } else { &options.listen } },
        "connect": {
            "endpoints": options.connect,
            "timeout_ms": timeout,
            "exit_on_failure": !named,
            "retry": { "period_init_ms": 20, "period_max_ms": 500, "period_increase_factor": 2 },
        },
        "scouting": {
            "multicast": { "enabled": false },
            "gossip": {
                "enabled": true,
                "autoconnect": { "peer": found },
                "autoconnect_strategy": { "peer": { "to_peer": "greater-zid" } },
            },
        },
        "transport": transport,
        "access_control": access,
    });
    zenoh::Config::from_json5(&text.to_string()).map_err(|e| e.to_string())
}
