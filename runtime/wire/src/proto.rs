//! The generated protobuf types; private, so that only checked nouns leave this crate.

/// Package `tactus.v1`.
#[allow(missing_docs, clippy::all)]
pub mod tactus {
    include!(concat!(env!("OUT_DIR"), "/tactus.v1.rs"));
}

/// Package `foxglove`.
#[allow(missing_docs, clippy::all)]
pub mod foxglove {
    include!(concat!(env!("OUT_DIR"), "/foxglove.rs"));
}
