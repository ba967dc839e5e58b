//! A camera's frame as pixels, and those at the size that a policy was trained on.
//!
//! Decides which frames are refused, and how every byte of a resized picture comes about: as PIL's or torchvision's would. Does
//! not decide which size a policy sees (`tactus-vla`, `tactus-direct` and `tactus-openpi` do), nor what numbers pixels become.
//!
//! - [`decode`]: JPEG to pixels.
//! - [`size`]: width and height.
//! - [`resample`]: pixels to another size.
#![forbid(unsafe_code)]

pub mod decode;
pub mod resample;
pub mod size;

pub use decode::{DecodeError, decode, jpeg_size};
pub use resample::Resample;
pub use size::Size;
