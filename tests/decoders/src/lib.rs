//! Everything that takes bytes from outside, each as one function of bytes that must return: for a
//! fuzzer, and for the corpora that every test run goes through, changed at random.
//!
//! Decides what belongs together under one name, and what is asked of a decoder beside returning: what it accepts, it also
//! writes and accepts again. Does not decide what is wrong with bytes.

mod files;
mod lines;
mod messages;
mod ros;

pub use files::{bundle, calibration, mcap, plan};
pub use lines::{camera, rtde, serial};
pub use messages::{openpi, wire};
pub use ros::ros;

/// A function of bytes that returns, whatever they are: whether they were accepted.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is the name of its corpus too.
pub const TARGETS: [(&str, Target); 10] = [
    ("wire", wire),
    ("openpi", openpi),
    ("bundle", bundle),
    ("calibration", calibration),
    ("mcap", mcap),
    ("plan", plan),
    ("serial", serial),
    ("rtde", rtde),
    ("camera", camera),
    ("ros", ros),
];
