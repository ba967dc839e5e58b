//! What a cell says, as ROS 2 messages. Pure.

use tactus_calibration::Lens;
use tactus_types::JointVec;

use crate::messages::{Bytes, CameraInfo, CompressedImage, Header, JointState, Time};
use crate::plan::GRIPPER;

/// When, in which frame.
pub fn header(unix_nanos: u64, frame_id: &str) -> Header {
    Header {
        stamp: Time::from_unix_nanos(unix_nanos),
        frame_id: frame_id.to_owned(),
    }
}

/// Joints of an arm, and its gripper behind them where it has one: position 0 closed, 1 open.
pub fn joints(
    header: Header,
    names: &[String],
    (q, dq): (&JointVec, Option<&JointVec>),
    opening: Option<f64>,
) -> JointState {
    let gripper = opening.iter().map(|_| GRIPPER.to_owned());
    let velocity = dq.map_or_else(Vec::new, |dq| {
        dq.iter().copied().chain(opening.map(|_| 0.0)).collect()
    });
    JointState {
        header,
        name: names.iter().cloned().chain(gripper).collect(),
        position: q.iter().copied().chain(opening).collect(),
        velocity,
        effort: vec![],
    }
}

/// A JPEG file.
pub fn picture(header: Header, jpeg: &[u8]) -> CompressedImage {
    CompressedImage {
        header,
        format: "jpeg".into(),
        data: Bytes(jpeg.to_vec()),
    }
}

/// The lens of pictures of `width` by `height`; one that nobody has calibrated, or for pictures of another size, says so by
/// zeros, as ROS 2 has it.
pub fn camera_info(header: Header, (width, height): (u32, u32), lens: Option<&Lens>) -> CameraInfo {
    let empty = CameraInfo {
        header,
        height,
        width,
        ..CameraInfo::default()
    };
    let Some(lens) = lens.filter(|lens| lens.size == (width, height)) else {
        return empty;
    };
    let [fx, fy, cx, cy] = lens.camera;
    let [sx, sy, ox, oy] = lens.straight;
    CameraInfo {
        distortion_model: lens.model.word().into(),
        d: lens.distortion.clone(),
        k: [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: [sx, 0.0, ox, 0.0, 0.0, sy, oy, 0.0, 0.0, 0.0, 1.0, 0.0],
        ..empty
    }
}
