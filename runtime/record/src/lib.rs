//! Recording a cell: everything that travels on its wire, as MCAP files that explain themselves.
//!
//! Two uses. The *black box* keeps the last seconds in memory and writes them when something went wrong. A *recording*
//! writes everything to one file until it is stopped. Both only listen: they publish nothing, decide nothing about the
//! arm, and no other process waits for them.
//!
//! Read in data order:
//! - [`inbox`]: from Zenoh's threads to ours; bounded, what does not fit is dropped and counted.
//! - [`entry`]: one message as it is kept; [`intake`]: bytes become entries, refused ones included, and what they say.
//! - [`continuity`]: what sequence numbers say of losses.
//! - [`ring`]: the last seconds.
//! - [`trigger`]: which messages are a reason to write; [`patience`]: when, and how often.
//! - [`write`](mod@write): entries to MCAP; [`folder`]: black-box files on a disk that may be full; [`date`]: their names.
//! - [`black_box`] and [`recording`]: the two uses, as loops that run until they are stopped.
//! - [`inspect`](mod@inspect): what a file holds, whole or cut short; [`read`](mod@read): its messages, one by one;
//!   [`cut`](mod@cut): a part of it, or all that can be read, as a new file.
//! - [`lerobot`]: recordings as a dataset to learn from.
//!
//! Everything up to `write` is pure: messages and `now` in, values out.
//!
//! # Terms
//! - *Window*: how far back the black box reaches from the first reason of a file.
//! - *Refused*: a message that no other process would take: no header, another clock, a NaN, not protobuf, a key that the
//!   grammar does not know. It is kept as it came, on a channel of its own, and counted.
//! - *Late*: received more than 100 ms after it was published.
//! - *Missing*: sequence numbers that never came; *dropped*: messages that came and did not fit.
#![forbid(unsafe_code)]

pub mod black_box;
pub mod continuity;
pub mod cut;
pub mod date;
pub mod entry;
pub mod error;
pub mod folder;
pub mod inbox;
pub mod inspect;
pub mod intake;
pub mod lerobot;
mod listen;
pub mod patience;
pub mod read;
pub mod recording;
pub mod ring;
pub mod trigger;
mod walk;
pub mod write;

pub use black_box::{BlackBoxOptions, run_black_box};
pub use cut::{Part, cut};
pub use entry::{Entry, Kind};
pub use error::RecordError;
pub use folder::Folder;
pub use inspect::{ChannelReport, Report, inspect};
pub use listen::Listened;
pub use patience::{Dump, Patience};
pub use read::{Told, read};
pub use recording::{Attached, Ending, Progress, RecordingOptions, run_recording};
pub use ring::Ring;
pub use trigger::{Reason, Watcher};
pub use write::{About, McapFile};
