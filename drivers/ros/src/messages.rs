//! The messages that pass here, as `.msg` and `.srv` files define them, in their order: the order is the encoding.
//!
//! Hashes are those of Jazzy and later (Humble has none, and does not see these topics); `tests/oracle.py` makes them again by
//! `rosbags`. Sizes of what comes are bounded by the payload: a sequence that claims more than is there is refused.

use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::keys::RosType;

/// A message of a topic.
pub trait RosMessage: Serialize + for<'de> Deserialize<'de> {
    /// Its type.
    const TYPE: RosType;
}

macro_rules! ros_type {
    ($message:ty, $dds:literal, $hash:literal) => {
        impl RosMessage for $message {
            const TYPE: RosType = RosType {
                dds: $dds,
                hash: $hash,
            };
        }
    };
}

/// `builtin_interfaces/msg/Time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i32,
    /// And nanoseconds.
    pub nanosec: u32,
}

impl Time {
    /// Of `nanos` since 1970; from 2038 on the last second before.
    pub fn from_unix_nanos(nanos: u64) -> Self {
        Self {
            sec: i32::try_from(nanos / 1_000_000_000).unwrap_or(i32::MAX),
            nanosec: (nanos % 1_000_000_000) as u32,
        }
    }

    /// Nanoseconds since 1970; 0 before.
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.sec).unwrap_or(0) * 1_000_000_000 + u64::from(self.nanosec)
    }

    /// Whether it says nothing.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// `builtin_interfaces/msg/Duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Duration {
    /// Seconds.
    pub sec: i32,
    /// And nanoseconds.
    pub nanosec: u32,
}

impl Duration {
    /// Of a span.
    pub fn from_std(span: std::time::Duration) -> Self {
        Self {
            sec: i32::try_from(span.as_secs()).unwrap_or(i32::MAX),
            nanosec: span.subsec_nanos(),
        }
    }

    /// As a span; `None` when it is negative.
    pub fn to_std(self) -> Option<std::time::Duration> {
        let secs = u64::try_from(self.sec).ok()?;
        Some(
            std::time::Duration::from_secs(secs)
                + std::time::Duration::from_nanos(self.nanosec.into()),
        )
    }
}

/// `std_msgs/msg/Header`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// When it was true.
    pub stamp: Time,
    /// In which frame.
    pub frame_id: String,
}

/// `std_msgs/msg/String`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub data: String,
}
ros_type!(
    Text,
    "std_msgs::msg::dds_::String_",
    "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
);

/// `sensor_msgs/msg/JointState`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JointState {
    /// When it was measured.
    pub header: Header,
    /// Joints.
    pub name: Vec<String>,
    /// rad; as long as `name`, or empty.
    pub position: Vec<f64>,
    /// rad/s; as long as `name`, or empty.
    pub velocity: Vec<f64>,
    /// Nm; as long as `name`, or empty.
    pub effort: Vec<f64>,
}
ros_type!(
    JointState,
    "sensor_msgs::msg::dds_::JointState_",
    "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e"
);

/// `sensor_msgs/msg/CompressedImage`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CompressedImage {
    /// When it was captured, in which optical frame.
    pub header: Header,
    /// `jpeg`.
    pub format: String,
    /// The file.
    pub data: Bytes,
}
ros_type!(
    CompressedImage,
    "sensor_msgs::msg::dds_::CompressedImage_",
    "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a"
);

/// `sensor_msgs/msg/RegionOfInterest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RegionOfInterest {
    /// Pixels.
    pub x_offset: u32,
    /// Pixels.
    pub y_offset: u32,
    /// Pixels; 0 for all.
    pub height: u32,
    /// Pixels; 0 for all.
    pub width: u32,
    /// Rectify this region alone.
    pub do_rectify: bool,
}

/// `sensor_msgs/msg/CameraInfo`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Of the picture that it goes with.
    pub header: Header,
    /// Pixels.
    pub height: u32,
    /// Pixels.
    pub width: u32,
    /// `plumb_bob`, `rational_polynomial`, `equidistant`; empty where nobody has calibrated.
    pub distortion_model: String,
    /// Distortion.
    pub d: Vec<f64>,
    /// Intrinsic matrix, row by row; `k[0]` is 0 where nobody has calibrated.
    pub k: [f64; 9],
    /// Rectification, row by row.
    pub r: [f64; 9],
    /// Projection, row by row.
    pub p: [f64; 12],
    /// 0 and 1: none.
    pub binning_x: u32,
    /// 0 and 1: none.
    pub binning_y: u32,
    /// Which part.
    pub roi: RegionOfInterest,
}
ros_type!(
    CameraInfo,
    "sensor_msgs::msg::dds_::CameraInfo_",
    "RIHS01_b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275"
);

/// `trajectory_msgs/msg/JointTrajectoryPoint`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrajectoryPoint {
    /// rad, in the order of the joints.
    pub positions: Vec<f64>,
    /// rad/s, or empty.
    pub velocities: Vec<f64>,
    /// rad/s^2, or empty.
    pub accelerations: Vec<f64>,
    /// Nm, or empty.
    pub effort: Vec<f64>,
    /// From the header's stamp.
    pub time_from_start: Duration,
}

/// `trajectory_msgs/msg/JointTrajectory`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JointTrajectory {
    /// When it begins; zero for now.
    pub header: Header,
    /// Joints.
    pub joint_names: Vec<String>,
    /// Points in the order of time.
    pub points: Vec<TrajectoryPoint>,
}
ros_type!(
    JointTrajectory,
    "trajectory_msgs::msg::dds_::JointTrajectory_",
    "RIHS01_179b33eba59d676f6d967ac71fe35e7ca2f64b2f3928f4a018cec115e213796e"
);

/// `std_msgs/msg/MultiArrayDimension`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dimension {
    /// What it is.
    pub label: String,
    /// How many.
    pub size: u32,
    /// Elements from one to the next of the dimension before.
    pub stride: u32,
}

/// `std_msgs/msg/MultiArrayLayout`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Layout {
    /// Dimensions; empty for a plain list.
    pub dim: Vec<Dimension>,
    /// Elements to leave out in front.
    pub data_offset: u32,
}

/// `std_msgs/msg/Float64MultiArray`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Float64MultiArray {
    /// How to read it.
    pub layout: Layout,
    /// The numbers.
    pub data: Vec<f64>,
}
ros_type!(
    Float64MultiArray,
    "std_msgs::msg::dds_::Float64MultiArray_",
    "RIHS01_1025ddc6b9552d191f89ef1a8d2f60f3d373e28b283d8891ddcc974e8c55397f"
);

/// A service: what is asked, what is answered.
pub trait RosService {
    /// Its type.
    const TYPE: RosType;
    /// The question.
    type Request: Serialize + for<'de> Deserialize<'de>;
    /// The answer.
    type Response: Serialize + for<'de> Deserialize<'de>;
}

/// What a message without fields is on the wire: one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Nothing {
    structure_needs_at_least_one_member: u8,
}

/// `std_srvs/srv/SetBool_Request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bool {
    /// On or off.
    pub data: bool,
}

/// What `Trigger` and `SetBool` answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it was done.
    pub success: bool,
    /// What came of it, or why it was not done.
    pub message: String,
}

/// `std_srvs/srv/Trigger`.
#[derive(Debug)]
pub enum Trigger {}

impl RosService for Trigger {
    const TYPE: RosType = RosType {
        dds: "std_srvs::srv::dds_::Trigger_",
        hash: "RIHS01_eeff2cd6fa5ad9d27cdf4dec64818317839b62f212a91e6b5304b634b2062c5f",
    };
    type Request = Nothing;
    type Response = Outcome;
}

/// `std_srvs/srv/SetBool`.
#[derive(Debug)]
pub enum SetBool {}

impl RosService for SetBool {
    const TYPE: RosType = RosType {
        dds: "std_srvs::srv::dds_::SetBool_",
        hash: "RIHS01_abe9e4bb6b41b40e6789712c00ec8871923e089af3f667a79992a428cff2da0a",
    };
    type Request = Bool;
    type Response = Outcome;
}

/// A sequence of bytes, copied whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        from.deserialize_byte_buf(Whole)
    }
}
