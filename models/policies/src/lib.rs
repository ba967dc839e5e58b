//! The one place where policy families meet: whoever runs a policy opens it here and knows nothing of its family.
//!
//! Decides which family opens what a cell names, and what every family has to offer beside chunks ([`Served`]). Does not
//! decide how a chunk is made; that is each family's own.
//!
//! - [`served`]: what a family offers.
//! - [`open`](mod@open): from what a cell names to an open policy.
#![forbid(unsafe_code)]

pub mod open;
pub mod served;

pub use open::{OpenError, Options, Source, open};
pub use served::Served;
pub use tactus_vla::{Probe, Provider, StageCost};
