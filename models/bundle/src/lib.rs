//! A bundle: an exported policy as a directory whose every byte and every choice is declared.
//!
//! Decides whether a directory is a bundle this runtime understands, and whether it is the one its manifest says it
//! is. Does not decide whether the graphs compute what they should (`tactus-vla`'s verification does, with the golden
//! tensors read here), and knows nothing of ONNX Runtime.
//!
//! ```text
//! bundle.toml          what the policy is (schema below); its SHA-256 is the bundle id
//! stats.json           normalisation statistics of state and action
//! tokenizer.json       Hugging Face tokenizer
//! graphs/*.onnx        vision, backbone, context, denoise, perhaps denoise_vjp; weights.bin holds the weights of all, each once
//! golden/*.safetensors inputs and outputs of every boundary, from the reference implementation
//! bundle.sig           perhaps: a signature over the id
//! reference.safetensors perhaps: what states and pictures were like in training
//! ```
//!
//! Read in data order:
//! - [`error`]: every way a bundle can be unusable.
//! - [`raw`] (private): `bundle.toml` as it is written.
//! - [`bounds`] (private): every legal range, in one table.
//! - [`manifest`]: the validated manifest.
//! - [`validate`] (private): the way from raw to validated; [`expert`] (private): what only policies with an expert declare.
//! - [`files`] (private): SHA-256 of every file.
//! - [`signature`]: who vouches for it.
//! - [`stats`]: what `stats.json` says.
//! - [`golden`]: golden cases.
//! - [`bundle`]: opening a directory.
//! - [`direct`]: the other family's manifest and directory: one graph, whoever exported it.
//! - [`outline`]: what every policy says of itself; [`any`]: a bundle of whichever family.
#![forbid(unsafe_code)]

pub mod any;
mod bounds;
pub mod bundle;
pub mod direct;
pub mod error;
mod expert;
mod files;
pub mod golden;
pub mod manifest;
pub mod outline;
mod raw;
pub mod signature;
pub mod stats;
mod validate;

pub use any::AnyBundle;
pub use bundle::Bundle;
pub use direct::DirectBundle;
pub use error::BundleError;
pub use golden::{GoldenCase, GoldenData, GoldenTensor};
pub use manifest::{
    Action, Alignment, Anchor, Backbone, BinaryGripper, CameraSpec, Cost, Decoder, Denoise, Family,
    Fast, Graph, GraphFile, Letterbox, Manifest, NormPlace, Normalisation, OrtVersion, Padding,
    PaddingSide, PositionIds, Precision, Processor, Prompt, Representation, Rotation, SCHEMA,
    Scaling, Source, State, StateWords, Tool, Variant, Vision, WayFrame,
};
pub use outline::Outline;
pub use signature::{SIGNATURE, SignatureError, Signer};
pub use stats::{Affine, Stats};
