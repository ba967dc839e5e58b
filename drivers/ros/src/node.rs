//! A node on rmw_zenoh's network: publishers, subscribers, services and clients, each with its token, each message with its
//! attachment. Decides nothing about what is said.
//!
//! What comes is hostile until it is read: a wrong attachment or payload is refused, counted, and seldom told. Nothing here can
//! send a message without an attachment, or with another than [`Attachment`].

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tactus_drivers_api::wire::{
    AliveToken, Guest, Heard, Mesh, Queryable, Question, RawPublisher, Sparse, Subscriber,
};

use crate::attachment::{Attachment, Gid};
use crate::cdr;
use crate::error::RosError;
use crate::keys::{Endpoint, Kind, NodeName, Qos, RosName, RosType};
use crate::messages::{RosMessage, RosService};

/// Where rmw_zenoh's router listens unless it is told otherwise.
pub const ROUTER: &str = "tcp/127.0.0.1:7447";
/// Where a node listens for those that the router tells of it.
pub const LISTEN: &str = "tcp/127.0.0.1:0";

/// Which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// Domain, 0 to [`crate::keys::MAX_DOMAIN`].
    pub domain: u8,
    /// Its namespace; `None` for the root.
    pub namespace: Option<RosName>,
    /// Its name.
    pub name: String,
    /// The network.
    pub mesh: Mesh,
}

/// Now, nanoseconds since 1970: what ROS 2 stamps with. For stamps alone; nothing is timed by it.
pub fn unix_nanos() -> u64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let secs = u64::try_from(at.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000) + u64::try_from(at.tv_nsec).unwrap_or(0)
}

/// What came and did not count.
#[derive(Debug, Default)]
pub struct Refused {
    attachments: Sparse,
    bytes: Sparse,
}

impl Refused {
    /// Messages with a wrong attachment, or none.
    pub fn attachments(&self) -> u64 {
        self.attachments.count()
    }

    /// Messages whose payload was not of the type.
    pub fn bytes(&self) -> u64 {
        self.bytes.count()
    }

    /// The message and its attachment, or a count.
    fn read<T: for<'de> serde::Deserialize<'de>>(
        &self,
        key: &str,
        attachment: Option<&[u8]>,
        payload: &[u8],
    ) -> Option<(T, Attachment)> {
        let attachment = match Attachment::decode(attachment) {
            Ok(attachment) => attachment,
            Err(e) => {
                if let Some(times) = self.attachments.told() {
                    tracing::warn!(times, "refused on `{key}`: {e}");
                }
                return None;
            }
        };
        match cdr::decode(payload) {
            Ok(message) => Some((message, attachment)),
            Err(e) => {
                if let Some(times) = self.bytes.told() {
                    tracing::warn!(times, "refused on `{key}`: {e}");
                }
                None
            }
        }
    }
}

/// A node.
pub struct RosNode {
    guest: Guest,
    name: NodeName,
    endpoints: AtomicU32,
    refused: Arc<Refused>,
    _token: AliveToken,
}

impl RosNode {
    /// Joins the network and says that the node is there. Succeeds also where nobody else is, yet.
    ///
    /// # Errors
    /// [`RosError`].
    pub fn start(options: NodeOptions) -> Result<Self, RosError> {
        let NodeOptions {
            domain,
            namespace,
            name,
            mesh,
        } = options;
        // Checked as a part of a name.
        RosName::new(&format!("/{name}"))?;
        let guest = Guest::join(&mesh)?;
        let name = NodeName {
            domain,
            session: guest.id(),
            namespace,
            name,
        };
        let token = guest.token(&name.token())?;
        Ok(Self {
            guest,
            name,
            endpoints: AtomicU32::new(1),
            refused: Arc::default(),
            _token: token,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Where others can connect to it directly.
    pub fn endpoints(&self) -> Vec<String> {
        self.guest.endpoints()
    }

    /// What came and did not count.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// The tokens of everyone in the domain.
    ///
    /// # Errors
    /// [`RosError::Session`].
    pub fn graph(&self, within: Duration) -> Result<Vec<String>, RosError> {
        let everyone = format!("@ros2_lv/{}/**", self.name.domain);
        Ok(self.guest.tokens(&everyone, within)?)
    }

    fn endpoint(&self, kind: Kind, name: &RosName, ty: RosType, qos: Qos) -> Endpoint {
        Endpoint {
            id: self.endpoints.fetch_add(1, Ordering::Relaxed),
            kind,
            name: name.clone(),
            ty,
            qos,
        }
    }

    /// Publishes messages `M` on `topic`.
    ///
    /// # Errors
    /// [`RosError::Session`].
    pub fn publisher<M: RosMessage>(
        &self,
        topic: &RosName,
        qos: Qos,
    ) -> Result<RosPublisher<M>, RosError> {
        let endpoint = self.endpoint(Kind::Publisher, topic, M::TYPE, qos);
        let key = endpoint.key(&self.name);
        let raw = match qos.reliable {
            true => self.guest.publisher(&key)?,
            false => self.guest.bulk_publisher(&key)?,
        };
        Ok(RosPublisher {
            raw,
            gid: endpoint.gid(&self.name),
            sequence: AtomicU64::new(0),
            _token: self.guest.token(&endpoint.token(&self.name))?,
            message: PhantomData,
        })
    }

    /// Calls `on_message` with every message `M` on `topic` that is one. It is called on a thread of Zenoh's: it must be short.
    ///
    /// # Errors
    /// [`RosError::Session`].
    pub fn subscribe<M: RosMessage>(
        &self,
        topic: &RosName,
        qos: Qos,
        on_message: impl Fn(M, &Attachment) + Send + Sync + 'static,
    ) -> Result<RosSubscriber, RosError> {
        let endpoint = self.endpoint(Kind::Subscriber, topic, M::TYPE, qos);
        let refused = self.refused.clone();
        let heard = move |heard: Heard<'_>| {
            if let Some((message, attachment)) =
                refused.read(heard.key, heard.attachment, heard.payload)
            {
                on_message(message, &attachment);
            }
        };
        Ok(RosSubscriber {
            _zenoh: self.guest.listen(&endpoint.key(&self.name), heard)?,
            _token: self.guest.token(&endpoint.token(&self.name))?,
        })
    }

    /// Calls `on_question` with every question to service `S` called `name`. It is called on a thread of Zenoh's: hand the
    /// question over and return.
    ///
    /// # Errors
    /// [`RosError::Session`].
    pub fn service<S: RosService>(
        &self,
        name: &RosName,
        on_question: impl Fn(S::Request, Answer<S>) + Send + Sync + 'static,
    ) -> Result<ServiceServer, RosError> {
        let endpoint = self.endpoint(Kind::Service, name, S::TYPE, Qos::USUAL);
        let refused = self.refused.clone();
        let key = endpoint.key(&self.name);
        let at = key.clone();
        let answer = move |question: Question| {
            let (payload, attachment) = (question.payload(), question.attachment());
            let read = refused.read::<S::Request>(&at, attachment.as_deref(), &payload);
            if let Some((request, asked)) = read {
                on_question(
                    request,
                    Answer {
                        question,
                        asked,
                        service: PhantomData,
                    },
                );
            }
        };
        Ok(ServiceServer {
            _zenoh: self.guest.answer(&key, answer)?,
            _token: self.guest.token(&endpoint.token(&self.name))?,
        })
    }
}

/// Publishes on one topic.
pub struct RosPublisher<M> {
    raw: RawPublisher,
    gid: Gid,
    sequence: AtomicU64,
    _token: AliveToken,
    message: PhantomData<fn(M)>,
}

impl<M: RosMessage> RosPublisher<M> {
    /// Sends `message`. It may take milliseconds: never call it on a thread that ticks.
    ///
    /// # Errors
    /// [`RosError`].
    pub fn put(&self, message: &M) -> Result<(), RosError> {
        let payload = cdr::encode(message)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let attachment = Attachment::new(sequence, unix_nanos(), self.gid);
        Ok(self.raw.put(Some(&attachment.encode()), &payload)?)
    }
}

/// Keeps a subscription; dropping it ends it.
#[must_use = "the subscription ends when this is dropped"]
pub struct RosSubscriber {
    _zenoh: Subscriber,
    _token: AliveToken,
}

/// Keeps a service; dropping it ends it.
#[must_use = "the service ends when this is dropped"]
pub struct ServiceServer {
    _zenoh: Queryable,
    _token: AliveToken,
}

/// The right to answer one question; may be taken to another thread.
pub struct Answer<S> {
    question: Question,
    asked: Attachment,
    service: PhantomData<fn(S)>,
}

impl<S: RosService> Answer<S> {
    /// Answers.
    pub fn answer(self, response: &S::Response) {
        match cdr::encode(response) {
            Ok(payload) => {
                let attachment = self.asked.answer(unix_nanos());
                self.question.answer(&attachment.encode(), &payload);
            }
            Err(e) => tracing::error!("no answer: {e}"),
        }
    }
}
