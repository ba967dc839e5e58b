//! Cameras: V4L2 (UVC), HTTP and RTSP streams, video files and folders of images, each as a camera of a cell.
//!
//! Decides what is a whole frame, when it was captured and by which clock, what was dropped, when a picture is frozen and
//! when a camera counts as lost and is tried again. Does not decide how old a frame may be for a policy: that is the host's.
//! A JPEG that needs no change leaves as it came.
//!
//! Read in data order:
//! - [`spec`]: what a cell says of a camera; [`error`]: why one cannot be used.
//! - [`source`]: where frames come from, behind one trait: [`v4l2`], [`http`], [`playback`] of a [`folder`] or a
//!   [`video`], which also receives RTSP.
//! - [`develop`]: from a shot to what is published; [`jpeg`]: what is a whole JPEG file; [`picture`]: pixels, where they have to be touched; [`lens`]: undistortion.
//! - [`watch`]: drops, frozen pictures, silence, reconnection, as functions of (state, now).
//! - [`serve`]: the process: a thread and a port for each camera; one that fails does not stop the others.
//! - [`probe`]: what is plugged in.
//!
//! Terms. *Shot*: what a source delivers, not checked yet. *Number*: the driver's counter of frames, which shows drops.
#![deny(unsafe_code)]

pub mod develop;
pub mod error;
pub mod folder;
pub mod http;
pub mod jpeg;
pub mod lens;
pub mod picture;
pub mod playback;
pub mod probe;
pub mod serve;
pub mod source;
pub mod spec;
pub mod v4l2;
pub mod video;
pub mod watch;

pub use error::CameraError;
pub use serve::{RunError, Served, Snap, run_cameras, snap};
pub use source::{Shot, Source};
pub use spec::{CameraSpec, Crop, PixelFormat, PlaybackSpec, Rotation, SourceSpec, V4l2Spec};
