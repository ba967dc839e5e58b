//! What is plugged in: video devices that capture, by their lasting names, with their formats. Only asks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::CameraError;
use crate::v4l2::{self, Node};

/// A video device that captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its node, `/dev/video0`.
    pub node: PathBuf,
    /// Names that stay when cables or the order of plugging change: by maker and serial number, then by socket.
    pub lasting: Vec<PathBuf>,
    /// What it calls itself.
    pub card: String,
    /// Formats, `MJPG`, each with its sizes.
    pub formats: Vec<(String, Vec<String>)>,
}

/// Every video node of this machine, `/dev/video0` before `/dev/video10`.
pub fn nodes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/class/video4linux").into_iter().flatten();
    let mut numbers: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("video")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
        .iter()
        .map(|n| format!("/dev/video{n}").into())
        .collect()
}

/// The device at `node`; `None` when it captures no video.
///
/// # Errors
/// [`CameraError`] when it cannot be asked.
pub fn look(node: &Path) -> Result<Option<Found>, CameraError> {
    let mut kernel = v4l2::take(node)?;
    let lasting = ["/dev/v4l/by-id", "/dev/v4l/by-path"];
    let lasting = lasting
        .iter()
        .flat_map(|folder| names(Path::new(folder), node));
    ask(&mut kernel, node, lasting.collect())
}

fn ask(
    device: &mut dyn Node,
    node: &Path,
    lasting: Vec<PathBuf>,
) -> Result<Option<Found>, CameraError> {
    let what = format!("video device {}", node.display());
    let capability = device
        .querycap()
        .map_err(|e| CameraError::lost(&what, &e))?;
    if !v4l2::captures(&capability) {
        return Ok(None);
    }
    let formats = v4l2::formats(device);
    Ok(Some(Found {
        node: node.into(),
        lasting,
        card: v4l2::text(&capability.card),
        formats: formats
            .into_iter()
            .map(|format| (v4l2::format_name(format), v4l2::sizes(device, format)))
            .collect(),
    }))
}

/// Names in `folder` that lead to `node`.
fn names(folder: &Path, node: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|name| name.canonicalize().is_ok_and(|target| target == node))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tactus_drivers_api::wire::MonotonicClock;

    use super::*;
    use crate::v4l2::recorded::RecordedNode;
    use crate::v4l2::table::{CAP_STREAMING, PIX_FMT_MJPEG, PIX_FMT_YUYV};

    #[test]
    fn a_camera_is_described_and_another_node_is_none() {
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let mut device = RecordedNode::webcam(PIX_FMT_MJPEG, (640, 480), vec![], clock);
        device
            .formats
            .push((PIX_FMT_YUYV, vec![(160, 120), (320, 240)]));
        let node = Path::new("/dev/video0");
        let found = ask(&mut device, node, vec!["/dev/v4l/by-id/usb-cam".into()])
            .expect("asked")
            .expect("a camera");
        assert_eq!(
            (found.card.as_str(), found.node.as_path()),
            ("Recorded Camera", node)
        );
        assert_eq!(
            found.formats,
            [
                ("MJPG".to_owned(), vec!["640x480".to_owned()]),
                (
                    "YUYV".to_owned(),
                    vec!["160x120".to_owned(), "320x240".to_owned()]
                )
            ]
        );
        device.capabilities = CAP_STREAMING;
        assert_eq!(ask(&mut device, node, vec![]).expect("asked"), None);
    }

    #[test]
    fn lasting_names_are_those_that_lead_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let (node, other) = (root.join("video0"), root.join("video1"));
        for file in [&node, &other] {
            fs::write(file, "").expect("written");
        }
        let by_id = root.join("by-id");
        fs::create_dir(&by_id).expect("made");
        std::os::unix::fs::symlink(&node, by_id.join("front")).expect("linked");
        std::os::unix::fs::symlink(&other, by_id.join("wrist")).expect("linked");
        assert_eq!(names(&by_id, &node), [by_id.join("front")]);
        assert!(names(&root.join("none"), &node).is_empty());
    }
}
