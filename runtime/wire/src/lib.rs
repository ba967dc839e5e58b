//! The wire of Tactus: which keys there are, what bytes they carry, how they travel. It decides nothing about the arm.
//!
//! Read in data order:
//! - [`clock`]: the monotonic clock that stamps every message, and its identity; [`offset`]: how far another host's is from
//!   it; [`follow`]: cell time on a host that is not the arm's.
//! - [`keys`]: the key grammar under `tactus/<cell>/`.
//! - [`header`]: what every message carries beside its payload.
//! - [`message`]: the [`Message`] trait: a noun, its schema, its quality of service; [`decode`] from hostile bytes.
//! - [`messages`]: nouns of this crate, and the encodings of those of `tactus-types`.
//! - [`schema`]: the descriptors of the messages, for files that have to explain themselves.
//! - [`members`]: who belongs to a cell, and what each may say; [`security`]: that table, and certificates, as Zenoh takes them.
//! - [`session`]: a Zenoh peer session; [`publish`], [`subscribe`], [`query`], [`alive`] on it.
//! - `shared`: long messages by memory that processes of one host share.
//! - [`sparse`]: what may come in floods is counted, and seldom told.
//! - [`guest`]: a session on another system's network, for drivers that speak its keys.
//! - [`authority`]: a client that holds an arm's lease and gives orders under it.
//!
//! Whatever comes from the network is checked before it becomes a noun: schema version, clock, sizes, lengths, finite
//! numbers. What a checked noun means for the arm (is this chunk within its limits?) is decided in `tactus-control`.
//!
//! # Quality of service
//! | traffic | priority | express | congestion |
//! |---|---|---|---|
//! | states, commands, requests, chunks, the simulated world | real time | yes | drop |
//! | images | data | no | drop |
//! | infos, modes, applied commands, telemetry, episodes, reasoning | data | no | drop |
//! | orders and leases (queries): enable, start, goto, stop, reset | real time | yes | block |
//!
//! Nothing periodic may block: a blocked Zenoh transport is closed after five seconds. Loss shows in the sequence
//! numbers. A `put` may take milliseconds, so none is made on a thread that ticks.
#![forbid(unsafe_code)]

pub mod alive;
pub mod authority;
mod check;
pub mod clock;
pub mod error;
pub mod follow;
pub mod guest;
pub mod header;
pub mod keys;
pub mod members;
pub mod message;
pub mod messages;
pub mod offset;
mod ping;
mod proto;
pub mod publish;
pub mod query;
pub mod schema;
pub mod security;
pub mod session;
mod shared;
pub mod sparse;
pub mod subscribe;

pub use alive::{AliveToken, AliveWatch};
pub use authority::{Authority, AuthorityError};
pub use clock::MonotonicClock;
pub use error::WireError;
pub use follow::CellClock;
pub use guest::{Guest, Heard, Mesh, Question};
pub use header::{Header, MOST_BOUND, SCHEMA_VERSION};
pub use keys::{Cell, Key, KeyError, Name, Role, Said, Topic, who_of};
pub use members::{Act, Member, Members};
pub use message::{Delivery, Message, Nothing, Qos, Raw, decode};
pub use messages::{
    AppliedBatch, Asked, CameraInfo, CameraStatus, CaptureClock, ChunkReply, ClockedFrame,
    Counters, DeviceCommand, EngineStatus, EpisodeEvent, EpisodePhase, EvalAnswer, EvalPhase,
    EvalPicture, EvalReply, EvalReport, EvalSaid, Lateness, LeaseReply, LeaseRequest, LeasedOrder,
    MAX_REASONING_BYTES, ModeOrder, ModeOrderReply, ModeReport, ModeWord, Reasoning, ReplyRef,
    Service, SimReset, SimResetReply, SimWorld, SlackNanos, Telemetry, TickBatch, TickNote,
};
pub use offset::{Backwards, Exchange, Offset, OffsetTracker};
pub use ping::Answered;
pub use publish::{Publisher, RawPublisher};
pub use query::{QueryError, Queryable, Responder};
pub use schema::{descriptor_set, schema_of};
pub use security::Security;
pub use session::{Session, SessionError, SessionOptions};
pub use shared::no_shared_memory;
pub use sparse::Sparse;
pub use subscribe::Subscriber;
