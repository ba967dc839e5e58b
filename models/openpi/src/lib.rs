//! OpenPI both ways: policies of ours for `openpi-client`, and a policy that is a remote OpenPI server.
//!
//! An OpenPI server sends one metadata message, then answers each observation with a chunk of actions: MessagePack maps with
//! numpy arrays inside, over a websocket without compression.
//!
//! - [`value`], [`array`], [`pack`]: the messages, read where they lie and written once.
//! - [`mapping`]: which key is which camera, which number is which joint. [`columns`]: what the numbers mean.
//! - [`front`]: one observation of a client in, one answer out, by any [`Policy`](tactus_types::Policy) of ours; without IO.
//!   [`server`]: connections, their bounds and their times.
//! - [`endpoint`], [`pixels`], [`remote`], [`link`]: the other direction, a [`Policy`](tactus_types::Policy) whose chunks come from a server.
//!
//! Decides which messages count. Does not decide when a chunk is asked for, how long it is good for, nor what becomes of an arm
//! whose policy does not answer: that is the arm host's, as with every policy.
#![forbid(unsafe_code)]

pub mod array;
pub mod columns;
pub mod endpoint;
pub mod front;
pub mod link;
pub mod mapping;
pub mod pack;
pub mod pixels;
pub mod remote;
pub mod server;
mod timed;
pub mod value;

pub use columns::{GripperSense, Representation};
pub use endpoint::Endpoint;
pub use front::{Front, FrontError, FrontSpec};
pub use mapping::{CameraShape, Mapping, MappingError, MappingFile, Reads, Side};
pub use remote::{Anchor, RemoteError, RemotePolicy, RemoteSpec};
pub use server::{ServerSpec, serve};
