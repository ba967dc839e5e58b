//! ROS 2 over `rmw_zenoh`: the cell as a node of a ROS 2 graph, and a ROS 2 arm as a device. No ROS 2 is linked or needed.
//!
//! - [`keys`]: data keys and liveliness tokens; [`attachment`]: what every message carries; both pure.
//! - [`messages`]: the few messages and services; [`cdr`]: their bytes.
//! - [`plan`]: what ROS 2 commands an arm to do, as a motion over time. Pure.
//! - [`show`]: what a cell says, as messages. Pure.
//! - [`node`]: a node on the network.
//! - [`device`]: a ROS 2 arm in service.
#![forbid(unsafe_code)]

pub mod attachment;
pub mod cdr;
pub mod device;
pub mod error;
pub mod keys;
pub mod messages;
pub mod node;
pub mod plan;
pub mod show;

pub use attachment::{Attachment, AttachmentError, Gid};
pub use device::{CommandTopic, RosArm, RosArmSpec};
pub use error::RosError;
pub use keys::{Endpoint, Kind, NodeName, Qos, RosName, RosType};
pub use node::{NodeOptions, RosNode, RosPublisher};
pub use plan::{NotTaken, Plan, Spec, Target};
