//! What the cell says, on topics: the newest of everything, at most at the rate asked for; pictures on a thread of their own, so
//! that none keeps a joint state waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tactus_calibration::Lens;
use tactus_ros::keys::part;
use tactus_ros::messages::{
    CameraInfo as RosCameraInfo, CompressedImage, JointState as RosJointState, Text,
};
use tactus_ros::{Qos, RosError, RosPublisher, show};
use tactus_types::{CameraFrame, Encoding, JointState, JointVec, Time};
use tactus_wire::{AppliedBatch, Delivery, ModeReport, Sparse, Topic};

use super::{Bridge, Kept, thread};
use crate::cell::CellCamera;

/// The mode is said again after this long, for whoever came late.
const MODE_AGAIN: Duration = Duration::from_secs(1);
/// How often the thread of pictures looks for new ones.
const PICTURES: Duration = Duration::from_millis(4);

/// The newest of something that nobody has taken yet.
struct Newest<T>(Mutex<Option<T>>);

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Newest<T> {
    fn set(&self, new: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What was commanded, and when.
#[derive(Clone, Copy)]
struct Commanded {
    at: Time,
    q: JointVec,
    opening: f64,
}

/// Declares the topics and begins to publish.
pub fn start(bridge: &Arc<Bridge>, rate_hz: u16) -> anyhow::Result<Kept> {
    let mut kept = Kept::new(bridge);
    arm(bridge, rate_hz, &mut kept)?;
    pictures(bridge, &mut kept)?;
    Ok(kept)
}

fn arm(bridge: &Arc<Bridge>, rate_hz: u16, kept: &mut Kept) -> anyhow::Result<()> {
    let Bridge {
        cell, joined, node, ..
    } = bridge.as_ref();
    let session = &joined.session;
    let (states, commands, modes) = <(
        Arc<Newest<JointState>>,
        Arc<Newest<Commanded>>,
        Arc<Newest<ModeReport>>,
    )>::default();
    let key = |topic: fn(tactus_wire::Name) -> Topic| cell.wire.key(&topic(cell.arm.clone()));
    let to = states.clone();
    let heard = move |m: Result<Delivery<JointState>, _>| {
        if let Ok(delivery) = m {
            to.set(delivery.message);
        }
    };
    kept.subscriptions
        .push(session.subscribe(&key(Topic::ArmState), heard)?);
    let to = commands.clone();
    let heard = move |m: Result<Delivery<AppliedBatch>, _>| {
        let Ok(delivery) = m else { return };
        if let Some(last) = delivery.message.applied.last() {
            to.set(Commanded {
                at: delivery.header.published_at,
                q: last.command.q,
                opening: last.command.opening,
            });
        }
    };
    kept.subscriptions
        .push(session.subscribe(&key(Topic::ArmApplied), heard)?);
    let to = modes.clone();
    let heard = move |m: Result<Delivery<ModeReport>, _>| {
        if let Ok(delivery) = m {
            to.set(delivery.message);
        }
    };
    kept.subscriptions
        .push(session.subscribe(&key(Topic::ArmMode), heard)?);

    let measured: RosPublisher<RosJointState> =
        node.publisher(&bridge.name("joint_states")?, Qos::USUAL)?;
    let commanded: RosPublisher<RosJointState> =
        node.publisher(&bridge.name("joint_commands")?, Qos::USUAL)?;
    let mode: RosPublisher<Text> = node.publisher(&bridge.name("mode")?, Qos::USUAL)?;
    let period = Duration::from_secs(1) / u32::from(rate_hz);
    let at = bridge.clone();
    kept.threads.push(thread("ros-show", move || {
        let failed = Sparse::default();
        let base = part(at.cell.arm.as_str());
        let mut said: Option<(String, Instant)> = None;
        let mut next = Instant::now();
        while !at.is_done() {
            if let Some(state) = states.take() {
                let header = show::header(at.unix_nanos(state.captured_at), &base);
                let opening = at.info.gripper.then_some(state.opening);
                let message = show::joints(
                    header,
                    &at.info.joints,
                    (&state.q, Some(&state.dq)),
                    opening,
                );
                tell(&failed, measured.put(&message));
            }
            if let Some(command) = commands.take() {
                let header = show::header(at.unix_nanos(command.at), &base);
                let opening = at.info.gripper.then_some(command.opening);
                let message = show::joints(header, &at.info.joints, (&command.q, None), opening);
                tell(&failed, commanded.put(&message));
            }
            let newest = modes.take().map(|report| word(&report));
            let due = said
                .as_ref()
                .is_some_and(|(_, at)| at.elapsed() >= MODE_AGAIN);
            let now = newest.or_else(|| said.as_ref().map(|(word, _)| word.clone()));
            if let Some(now) = now
                && (due || said.as_ref().is_none_or(|(word, _)| *word != now))
            {
                tell(&failed, mode.put(&Text { data: now.clone() }));
                said = Some((now, Instant::now()));
            }
            next = (next + period).max(Instant::now());
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(period));
        }
    })?);
    Ok(())
}

/// `hold: wrist is stale`, `policy`.
fn word(report: &ModeReport) -> String {
    match report.reason.is_empty() {
        true => report.mode.to_string(),
        false => format!("{}: {}", report.mode, report.reason),
    }
}

fn tell(failed: &Sparse, sent: Result<(), RosError>) {
    if let Err(e) = sent
        && let Some(times) = failed.told()
    {
        tracing::warn!(times, "not published: {e}");
    }
}

/// The lens that a camera's published pictures have; `None`, said once, where the file does not hold for them.
fn lens_of(camera: &CellCamera) -> Option<Lens> {
    let (_, info) = camera.calibration.intrinsics.as_ref()?;
    let lens = camera.published_lens(&info.lens);
    if let Err(e) = &lens {
        tracing::warn!("its camera_info says zeros: {e}");
    }
    lens.ok()
}

fn pictures(bridge: &Arc<Bridge>, kept: &mut Kept) -> anyhow::Result<()> {
    let Bridge {
        cell, joined, node, ..
    } = bridge.as_ref();
    let mut cameras = Vec::new();
    for camera in &cell.cameras {
        let newest = Arc::<Newest<CameraFrame>>::default();
        let to = newest.clone();
        let key = cell.wire.key(&Topic::CameraImage(camera.name.clone()));
        let heard = move |m: Result<Delivery<CameraFrame>, _>| {
            if let Ok(delivery) = m {
                to.set(delivery.message);
            }
        };
        kept.subscriptions
            .push(joined.session.subscribe(&key, heard)?);
        let name = part(camera.name.as_str());
        let topic = bridge.name(&format!("camera/{name}/image_raw/compressed"))?;
        let image: RosPublisher<CompressedImage> = node.publisher(&topic, Qos::SENSOR)?;
        let topic = bridge.name(&format!("camera/{name}/camera_info"))?;
        let info: RosPublisher<RosCameraInfo> = node.publisher(&topic, Qos::SENSOR)?;
        let frame_id = format!("{name}_optical_frame");
        cameras.push((newest, image, info, lens_of(camera), frame_id));
    }
    let at = bridge.clone();
    kept.threads.push(thread("ros-pictures", move || {
        let (failed, raw) = (Sparse::default(), Sparse::default());
        while !at.is_done() {
            for (newest, image, info, lens, frame_id) in &cameras {
                let Some(frame) = newest.take() else { continue };
                let header = show::header(at.unix_nanos(frame.captured_at), frame_id);
                let size = (frame.width, frame.height);
                tell(&failed, info.put(&show::camera_info(header.clone(), size, lens.as_ref())));
                match frame.encoding {
                    Encoding::Jpeg => tell(&failed, image.put(&show::picture(header, &frame.data))),
                    Encoding::Rgb8 => {
                        if let Some(times) = raw.told() {
                            tracing::warn!(times, camera = %frame.camera, "pictures that are no JPEG are not shown");
                        }
                    }
                }
            }
            std::thread::sleep(PICTURES);
        }
    })?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_calibration::{CameraInfo, LensModel};

    #[test]
    fn a_camera_info_is_of_the_pictures_that_are_published() {
        let text = include_str!("../../cells/so101.toml");
        let cell = crate::cell::parse(text, std::path::Path::new("cells/so101.toml"));
        let mut camera = cell.expect("legal").cameras.remove(0);
        let lens = Lens {
            size: (640, 480),
            camera: [520.0, 521.0, 318.0, 242.0],
            model: LensModel::PlumbBob,
            distortion: vec![-0.3, 0.1, 0.001, -0.002, 0.0],
            straight: [500.0, 501.0, 320.0, 240.0],
        };
        let info = CameraInfo {
            lens: lens.clone(),
            camera: camera.name.to_string(),
            std_px: None,
            sha256: String::new(),
            seal: None,
        };
        camera.calibration.intrinsics = Some(("front.yaml".into(), info));
        assert_eq!(lens_of(&camera), Some(lens.clone()));
        camera.real.as_mut().expect("real").undistort = Some(lens.clone());
        assert_eq!(lens_of(&camera), Some(lens.straightened()));
        camera.real.as_mut().expect("real").rotate = tactus_camera::Rotation::Half;
        assert_eq!(lens_of(&camera), None);
    }
}
