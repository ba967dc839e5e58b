//! A device that answers from memory: what it is asked for, what is refused, what becomes of its buffers.

use std::sync::atomic::{AtomicU64, Ordering};

use tactus_drivers_api::wire::Name;
use tactus_types::ClockId;

use super::recorded::{Recorded, RecordedNode};
use super::*;
use crate::spec::{Rotation, SourceSpec};

/// A clock that tests move.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn id(&self) -> ClockId {
        ClockId(1)
    }

    fn now(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn device() -> V4l2Spec {
    V4l2Spec {
        device: "/dev/video7".into(),
        format: PixelFormat::Mjpeg,
        exposure_us: None,
        gain: None,
        white_balance_k: None,
    }
}

fn spec() -> CameraSpec {
    CameraSpec {
        name: Name::new("front").expect("legal"),
        source: SourceSpec::V4l2(device()),
        width: 640,
        height: 480,
        rate_hz: 30.0,
        undistort: None,
        crop: None,
        rotate: Rotation::None,
        quality: 90,
        frozen_after: None,
        latency: Duration::ZERO,
    }
}

fn clock(millis: u64) -> Arc<Hand> {
    Arc::new(Hand(millis.into()))
}

fn webcam(buffers: Vec<Recorded>, clock: &Arc<Hand>) -> RecordedNode {
    RecordedNode::webcam(PIX_FMT_MJPEG, (640, 480), buffers, clock.clone())
}

fn refused(node: RecordedNode, spec: &CameraSpec, device: &V4l2Spec) -> CameraError {
    match Capture::start(node, spec, device, clock(0)) {
        Ok(_) => panic!("taken"),
        Err(e) => e,
    }
}

#[test]
fn buffers_become_shots_with_the_driver_s_times_and_numbers() {
    let soe = BUF_FLAG_TIMESTAMP_MONOTONIC | BUF_FLAG_TSTAMP_SRC_SOE;
    let buffer = |k: u32, flags| Recorded {
        at: Duration::from_millis(u64::from(k) * 33 + 20),
        stamp: Duration::from_millis(u64::from(k) * 33),
        sequence: k,
        flags,
        data: [k as u8; 9].into(),
    };
    let clock = clock(5000);
    let buffers = vec![
        buffer(0, soe),
        buffer(1, BUF_FLAG_TIMESTAMP_MONOTONIC),
        buffer(3, 0),
        buffer(4, soe | BUF_FLAG_ERROR),
    ];
    let node = webcam(buffers, &clock);
    let mut capture =
        Capture::start(node, &spec(), &device(), clock.clone()).unwrap_or_else(|e| panic!("{e}"));
    let next = |capture: &mut Capture<RecordedNode>, millis| {
        clock.0.store(millis, Ordering::Relaxed);
        capture.next(Duration::ZERO).expect("there")
    };
    assert_eq!(next(&mut capture, 5010), None, "not yet");
    for (now, stamp, kind, number, damaged) in [
        (5021, 5000, CaptureClock::Exposure, 0, false),
        (5054, 5033, CaptureClock::EndOfFrame, 1, false),
        // Not of our clock: its arrival counts.
        (5120, 5120, CaptureClock::Arrival, 3, false),
        (5153, 5132, CaptureClock::Exposure, 4, true),
    ] {
        let shot = next(&mut capture, now).expect("a shot");
        assert_eq!(
            (shot.captured_at, shot.clock),
            (Time::from_millis(stamp), kind)
        );
        assert_eq!((shot.number, shot.damaged), (Some(number), damaged));
        assert_eq!(
            (&shot.data[..], shot.pixels),
            (&[number as u8; 9][..], Pixels::Jpeg)
        );
    }
    assert_eq!(next(&mut capture, 9000), None, "silence");
}

#[test]
fn a_stamp_that_cannot_be_gives_way_to_the_arrival() {
    let now = Time::from_millis(10_000);
    let stamp = |secs, micros| {
        let buffer = Buffer {
            flags: BUF_FLAG_TIMESTAMP_MONOTONIC,
            timestamp_sec: secs,
            timestamp_usec: micros,
            ..Buffer::default()
        };
        capture_time(&buffer, now)
    };
    assert_eq!(
        stamp(9, 500_000),
        (Time::from_millis(9500), CaptureClock::EndOfFrame)
    );
    for (secs, micros) in [
        (10, 1),
        (8, 999_999),
        (-1, 0),
        (9, -1),
        (i64::MAX, i64::MAX),
    ] {
        assert_eq!(
            stamp(secs, micros),
            (now, CaptureClock::Arrival),
            "{secs}.{micros}"
        );
    }
}

#[test]
fn a_device_that_goes_away_is_lost() {
    let clock = clock(0);
    let mut node = webcam(vec![], &clock);
    node.then = Some(io::ErrorKind::NotConnected);
    let mut capture =
        Capture::start(node, &spec(), &device(), clock).unwrap_or_else(|e| panic!("{e}"));
    let lost = capture.next(Duration::ZERO).expect_err("gone");
    assert!(
        matches!(lost, CameraError::Lost { .. }) && !lost.is_wrong(),
        "{lost}"
    );
    assert!(
        lost.to_string().starts_with("video device /dev/video7: "),
        "{lost}"
    );
}

#[test]
fn what_a_device_cannot_do_is_refused_with_what_it_can() {
    let clock = clock(0);
    let mut node = webcam(vec![], &clock);
    node.formats = vec![
        (PIX_FMT_YUYV, vec![(640, 480)]),
        (fourcc(b"H264"), vec![(1920, 1080)]),
    ];
    let error = refused(node.clone(), &spec(), &device());
    assert!(error.is_wrong());
    assert_eq!(
        error.to_string(),
        "video device /dev/video7: field `camera.format`: expected one that the camera offers (YUYV, H264), got mjpeg"
    );

    let mut node = webcam(vec![], &clock);
    node.formats = vec![(PIX_FMT_MJPEG, vec![(320, 240), (1280, 720)])];
    let error = refused(node, &spec(), &device());
    assert_eq!(
        error.to_string(),
        "video device /dev/video7: camera.width x camera.height: expected 640x480, got 320x240 (the camera offers 320x240, 1280x720)"
    );

    let mut node = webcam(vec![], &clock);
    node.only_rate_hz = Some(15);
    let error = refused(node, &spec(), &device());
    assert!(
        error.is_wrong()
            && error
                .to_string()
                .contains("got 30, for which it takes 15.000"),
        "{error}"
    );

    let mut node = webcam(vec![], &clock);
    node.capabilities = CAP_STREAMING;
    let error = refused(node, &spec(), &device());
    assert!(
        error
            .to_string()
            .contains("`Recorded Camera` captures no video"),
        "{error}"
    );
}

#[test]
fn exposure_and_white_balance_are_locked_or_the_camera_is_refused() {
    let clock = clock(0);
    let locked = V4l2Spec {
        exposure_us: Some(10_000),
        gain: Some(40),
        white_balance_k: Some(4000),
        ..device()
    };
    let started = |node, device: &V4l2Spec| {
        Capture::start(node, &spec(), device, clock.clone()).unwrap_or_else(|e| panic!("{e}"))
    };
    let values = |capture: &Capture<RecordedNode>| {
        [
            CID_EXPOSURE_AUTO_PRIORITY,
            CID_EXPOSURE_AUTO,
            CID_EXPOSURE_ABSOLUTE,
            CID_GAIN,
            CID_AUTO_WHITE_BALANCE,
            CID_WHITE_BALANCE_TEMPERATURE,
        ]
        .map(|id| capture.node.controls[&id].3)
    };
    let capture = started(webcam(vec![], &clock), &locked);
    assert_eq!(values(&capture), [0, EXPOSURE_MANUAL, 100, 40, 0, 4000]);
    // Left to itself, and whatever somebody locked before is released.
    let mut node = webcam(vec![], &clock);
    node.controls
        .insert(CID_EXPOSURE_AUTO, (0, 3, 3, EXPOSURE_MANUAL));
    node.controls.insert(CID_AUTO_WHITE_BALANCE, (0, 1, 1, 0));
    assert_eq!(values(&started(node, &device())), [0, 3, 250, 0, 1, 4600]);

    let too_long = V4l2Spec {
        exposure_us: Some(500_000),
        ..device()
    };
    let error = refused(webcam(vec![], &clock), &spec(), &too_long);
    assert_eq!(
        error.to_string(),
        "video device /dev/video7: field `camera.exposure_us`: expected 300 to 204700, which the camera offers, got 500000"
    );
    let mut node = webcam(vec![], &clock);
    node.controls.remove(&CID_WHITE_BALANCE_TEMPERATURE);
    let error = refused(node, &spec(), &locked);
    assert!(
        error.is_wrong() && error.to_string().contains("no such control"),
        "{error}"
    );
    // Without any control there is nothing to lock, and nothing to complain about.
    let mut node = webcam(vec![], &clock);
    node.controls.clear();
    started(node, &device());
}

#[test]
fn a_node_that_is_missing_or_no_camera_says_so() {
    let missing = |path: &str| match take(Path::new(path)) {
        Ok(_) => panic!("taken"),
        Err(e) => e,
    };
    let error = missing("/dev/tactus-none");
    assert!(
        !error.is_wrong()
            && error
                .to_string()
                .starts_with("video device /dev/tactus-none: there is none"),
        "{error}"
    );
    let device = V4l2Spec {
        device: "/dev/null".into(),
        ..device()
    };
    let error = match open(&spec(), &device, clock(0)) {
        Ok(_) => panic!("taken"),
        Err(e) => e,
    };
    assert!(
        error.is_wrong() && error.to_string().contains("captures no video"),
        "{error}"
    );
    let error = CameraError::Permission {
        path: "/dev/video0".into(),
        group: Some("video".into()),
    };
    assert_eq!(
        error.to_string(),
        "video device /dev/video0: permission denied; join its group `video` (sudo usermod -aG video $USER) and log in again"
    );
    assert!(error.is_wrong());
}
