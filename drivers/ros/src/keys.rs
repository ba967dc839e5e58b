//! Where things are on rmw_zenoh's network: keys of data, tokens of the graph. Opens nothing.
//!
//! ```text
//! data    <domain>/<name without outer slashes>/<type>/<hash>
//! node    @ros2_lv/<domain>/<zid>/<n>/<n>/NN/%/<namespace>/<node>
//! others  @ros2_lv/<domain>/<zid>/<n>/<e>/<MP|MS|SS|SC>/%/<namespace>/<node>/<name>/<type>/<hash>/<qos>
//! ```
//! In tokens every slash inside a field is a `%`; an empty namespace or enclave is a `%` alone. A token says that somebody is
//! there; without it data flows, and nobody sees by whom.

use crate::attachment::Gid;
use crate::error::RosError;

/// Highest domain.
pub const MAX_DOMAIN: u8 = 232;
/// Longest name of a node, topic or service, bytes.
const MAX_NAME_BYTES: usize = 200;

/// A type of messages or services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RosType {
    /// As DDS spells it, `std_msgs::msg::dds_::String_`.
    pub dds: &'static str,
    /// Hash of its definition, `RIHS01_` and 64 digits.
    pub hash: &'static str,
}

/// What takes part in the graph besides nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Publishes on a topic.
    Publisher,
    /// Listens to a topic.
    Subscriber,
    /// Answers a service.
    Service,
    /// Asks a service.
    Client,
}

impl Kind {
    /// As tokens spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Publisher => "MP",
            Self::Subscriber => "MS",
            Self::Service => "SS",
            Self::Client => "SC",
        }
    }
}

/// How much a topic promises. Volatile, keep last; deadlines and the rest are the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qos {
    /// Reliable, or best effort.
    pub reliable: bool,
    /// How many are kept.
    pub depth: u16,
}

impl Qos {
    /// States and commands, services.
    pub const USUAL: Self = Self {
        reliable: true,
        depth: 10,
    };
    /// Pictures.
    pub const SENSOR: Self = Self {
        reliable: false,
        depth: 5,
    };

    /// As tokens spell it; what is a default is left empty.
    fn token(self) -> String {
        let reliability = if self.reliable { "" } else { "2" };
        format!("{reliability}::,{}:,:,:,,", self.depth)
    }
}

/// A name that ROS 2 takes for a topic, a service or a namespace: absolute, `/tactus/arm/joint_states`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RosName(String);

impl RosName {
    /// The name `text`: parts of `a-z A-Z 0-9 _`, none of them empty or beginning with a digit, each behind a slash.
    ///
    /// # Errors
    /// [`RosError::Name`].
    pub fn new(text: &str) -> Result<Self, RosError> {
        let parts = text.strip_prefix('/').unwrap_or("").split('/');
        let legal = |part: &str| {
            part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
                && !part.contains("__")
        };
        if text.len() <= MAX_NAME_BYTES && parts.into_iter().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(RosError::Name {
            expected: "a name such as /tactus/arm: a slash before each part of a-z A-Z 0-9 _, no digit first, no two _ together",
            actual: text.chars().take(MAX_NAME_BYTES).collect(),
        })
    }

    /// `self` and then `part`.
    ///
    /// # Errors
    /// [`RosError::Name`].
    pub fn join(&self, part: &str) -> Result<Self, RosError> {
        Self::new(&format!("{}/{part}", self.0))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RosName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of a name of a node or topic made from a name that is legal elsewhere: `-` becomes `_`, a digit gets one before it.
pub fn part(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut out = String::with_capacity(name.len() + 1);
    for c in name.chars().map(legal) {
        if !(c == '_' && out.ends_with('_')) {
            out.push(c);
        }
    }
    match out.chars().next() {
        Some(c) if !c.is_ascii_digit() => out,
        _ => format!("n{out}"),
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    /// Domain, 0 to [`MAX_DOMAIN`].
    pub domain: u8,
    /// Identity of its Zenoh session.
    pub session: String,
    /// Its namespace; `None` for the root.
    pub namespace: Option<RosName>,
    /// Its name, one part of a [`RosName`].
    pub name: String,
}

/// Number of a node in its session: there is one.
const NODE: u32 = 0;

fn mangled(text: &str) -> String {
    text.replace('/', "%")
}

impl NodeName {
    fn token_until_kind(&self, id: u32) -> String {
        let Self {
            domain, session, ..
        } = self;
        format!("@ros2_lv/{domain}/{session}/{NODE}/{id}")
    }

    fn called(&self) -> String {
        let namespace = self.namespace.as_ref();
        let namespace = namespace.map_or("%".to_owned(), |ns| mangled(ns.as_str()));
        format!("%/{namespace}/{}", self.name)
    }

    /// Its liveliness token.
    pub fn token(&self) -> String {
        format!("{}/NN/{}", self.token_until_kind(NODE), self.called())
    }
}

/// The key of data of `ty` on topic or service `name`.
pub fn data_key(domain: u8, name: &RosName, ty: RosType) -> String {
    let name = name.as_str().trim_start_matches('/');
    format!("{domain}/{name}/{}/{}", ty.dds, ty.hash)
}

/// A publisher, subscriber, service or client of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Number in its node, from 1.
    pub id: u32,
    /// What it does.
    pub kind: Kind,
    /// On which topic, or which service.
    pub name: RosName,
    /// Of which type.
    pub ty: RosType,
    /// What it promises.
    pub qos: Qos,
}

impl Endpoint {
    /// Its liveliness token, in `node`.
    pub fn token(&self, node: &NodeName) -> String {
        format!(
            "{}/{}/{}/{}/{}/{}/{}",
            node.token_until_kind(self.id),
            self.kind.word(),
            node.called(),
            mangled(self.name.as_str()),
            self.ty.dds,
            self.ty.hash,
            self.qos.token()
        )
    }

    /// Where its data is.
    pub fn key(&self, node: &NodeName) -> String {
        data_key(node.domain, &self.name, self.ty)
    }

    /// Who it is in attachments.
    pub fn gid(&self, node: &NodeName) -> Gid {
        Gid::of(&self.token(node))
    }
}
