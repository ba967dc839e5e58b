//! Laws of the process: several cameras over real sessions on the loopback interface, some of which fail.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tactus_camera::http::Url;
use tactus_camera::picture::{self, Picture};
use tactus_camera::v4l2::recorded::{Recorded, RecordedNode};
use tactus_camera::v4l2::{Capture, table};
use tactus_camera::{
    CameraError, CameraSpec, Crop, PixelFormat, PlaybackSpec, Rotation, RunError, Served, Source,
    SourceSpec, V4l2Spec, run_cameras,
};
use tactus_drivers_api::wire::{
    CameraStatus, CaptureClock, Cell, ClockedFrame, Delivery, MonotonicClock, Name, Nothing,
    Session, SessionOptions, Subscriber, Topic,
};
use tactus_types::Clock;

const WAIT: Duration = Duration::from_secs(20);

fn name(text: &str) -> Name {
    Name::new(text).expect("legal")
}

fn cell() -> Cell {
    Cell::new("test").expect("legal")
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new().expect("boot id"))
}

fn jpeg(seed: u8) -> Vec<u8> {
    let rgb = (0..64 * 48 * 3).map(|k| (k % 251) as u8 ^ seed).collect();
    let picture = Picture {
        width: 64,
        height: 48,
        rgb,
    };
    picture::encode(&picture, 90).expect("encoded")
}

fn spec(camera: &str, source: SourceSpec) -> CameraSpec {
    CameraSpec {
        name: name(camera),
        source,
        width: 64,
        height: 48,
        rate_hz: 50.0,
        undistort: None,
        crop: None,
        rotate: Rotation::None,
        quality: 90,
        frozen_after: None,
        latency: Duration::ZERO,
    }
}

fn folder(camera: &str, path: &Path, repeat: bool) -> CameraSpec {
    let playback = PlaybackSpec {
        path: path.into(),
        repeat,
        stepped: false,
    };
    spec(camera, SourceSpec::Folder(playback))
}

/// A folder with `n` images.
fn images(n: u8) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for k in 0..n {
        std::fs::write(dir.path().join(format!("{k}.jpg")), jpeg(k)).expect("written");
    }
    dir
}

/// What a cell's cameras publish.
struct Ears {
    frames: Arc<Mutex<BTreeMap<Name, Vec<Delivery<ClockedFrame>>>>>,
    statuses: Arc<Mutex<BTreeMap<Name, CameraStatus>>>,
    session: Session,
    _subscriptions: Vec<Subscriber>,
}

impl Ears {
    fn open(session: Session, cameras: &[&str]) -> Self {
        let (frames, statuses) = <(
            Arc<Mutex<BTreeMap<Name, Vec<Delivery<ClockedFrame>>>>>,
            Arc<Mutex<BTreeMap<Name, CameraStatus>>>,
        )>::default();
        let mut subscriptions = Vec::new();
        for camera in cameras {
            let (to, camera) = (frames.clone(), name(camera));
            let (key, of) = (
                cell().key(&Topic::CameraImage(camera.clone())),
                camera.clone(),
            );
            let images =
                session.subscribe(&key, move |frame: Result<Delivery<ClockedFrame>, _>| {
                    let frame = frame.expect("a good one");
                    to.lock()
                        .expect("unpoisoned")
                        .entry(of.clone())
                        .or_default()
                        .push(frame);
                });
            subscriptions.push(images.expect("subscribed"));
            let to = statuses.clone();
            let key = cell().key(&Topic::CameraStatus(camera.clone()));
            let status =
                session.subscribe(&key, move |status: Result<Delivery<CameraStatus>, _>| {
                    let status = status.expect("a good one").message;
                    to.lock()
                        .expect("unpoisoned")
                        .insert(camera.clone(), status);
                });
            subscriptions.push(status.expect("subscribed"));
        }
        Self {
            frames,
            statuses,
            session,
            _subscriptions: subscriptions,
        }
    }

    fn frames(&self, camera: &str) -> Vec<Delivery<ClockedFrame>> {
        let frames = self.frames.lock().expect("unpoisoned");
        frames.get(&name(camera)).cloned().unwrap_or_default()
    }

    fn status(&self, camera: &str) -> CameraStatus {
        let statuses = self.statuses.lock().expect("unpoisoned");
        statuses.get(&name(camera)).cloned().unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, what: &str, happens: impl Fn(&Self) -> bool) {
        let until = Instant::now() + WAIT;
        while !happens(self) {
            assert!(Instant::now() < until, "never: {what}; {:?}", self.statuses);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Cameras that run until this is dropped.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<(), RunError>>>,
    ears: Ears,
}

impl Running {
    fn start(cameras: Vec<Served>) -> Self {
        let open = |connect: Vec<String>, source: &str| {
            let options = SessionOptions {
                connect,
                ..SessionOptions::default()
            };
            let clock = Arc::new(MonotonicClock::new().expect("boot id"));
            Session::open(&options, source, clock).expect("session")
        };
        let names: Vec<String> = cameras.iter().map(|c| c.spec.name.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let reader = open(vec![], "test");
        let session = open(reader.endpoints(), "camera");
        let ears = Ears::open(reader, &names);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new()
            .name("cameras".into())
            .spawn(move || run_cameras(cameras, &cell(), &session, &clock(), &stopping))
            .expect("a thread");
        Self {
            stop,
            thread: Some(thread),
            ears,
        }
    }

    fn end(&mut self) -> Result<(), RunError> {
        let thread = self.thread.take().expect("once");
        thread.join().expect("no panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("served");
        }
    }
}

/// Buffers of a video device: `n` frames 20 ms apart, number 5 of which the driver never hands over, and number 7 cut short.
fn buffers(n: u32) -> Vec<Recorded> {
    let frame = |k: u32| {
        let mut data = jpeg(k as u8);
        if k == 7 {
            data.truncate(data.len() / 2);
        }
        Recorded {
            at: Duration::from_millis(20 * u64::from(k) + 8),
            stamp: Duration::from_millis(20 * u64::from(k)),
            sequence: k,
            flags: table::BUF_FLAG_TIMESTAMP_MONOTONIC | table::BUF_FLAG_TSTAMP_SRC_SOE,
            data: data.into(),
        }
    };
    (0..n).filter(|k| *k != 5).map(frame).collect()
}

/// A video device that is gone after `n` frames, and there again the next time but one that it is opened.
fn webcam(camera: &str, n: u32) -> (Served, Arc<AtomicU32>) {
    let device = V4l2Spec {
        device: "recorded".into(),
        format: PixelFormat::Mjpeg,
        exposure_us: None,
        gain: None,
        white_balance_k: None,
    };
    let spec = spec(camera, SourceSpec::V4l2(device.clone()));
    let (of, opened) = (spec.clone(), Arc::new(AtomicU32::new(0)));
    let counter = opened.clone();
    let open = Box::new(move || {
        if counter.fetch_add(1, Ordering::Relaxed) % 3 == 1 {
            return Err(CameraError::Missing {
                path: "/dev/video0".into(),
                there: vec![],
            });
        }
        let mut node = RecordedNode::webcam(table::PIX_FMT_MJPEG, (64, 48), buffers(n), clock());
        node.then = Some(std::io::ErrorKind::NotConnected);
        let capture = Capture::start(node, &of, &device, clock())?;
        Ok(Box::new(capture) as Box<dyn Source>)
    });
    (Served { spec, open }, opened)
}

#[test]
fn a_camera_that_fails_comes_back_and_the_others_do_not_notice() {
    let dir = images(5);
    let (webcam, opened) = webcam("wrist", 20);
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let url = Url::parse(&format!("http://{closed}/")).expect("legal");
    let cameras = vec![
        webcam,
        Served::new(spec("away", SourceSpec::Http { url }), clock()),
        Served::new(folder("front", dir.path(), true), clock()),
    ];
    let running = Running::start(cameras);
    let ears = &running.ears;
    ears.wait("the webcam comes back twice", |e| {
        e.status("wrist").reconnections >= 2
    });
    assert!(opened.load(Ordering::Relaxed) >= 4);
    let frames = ears.frames("wrist");
    let first: Vec<_> = frames.iter().take(18).collect();
    let kept = (0..20_u8).filter(|k| ![5, 7].contains(k));
    for (frame, k) in first.iter().zip(kept) {
        assert_eq!(frame.message.clock, CaptureClock::Exposure);
        assert_eq!(
            &frame.message.frame.data[..],
            &jpeg(k)[..],
            "not passed through: {k}"
        );
        assert!(
            frame.capture_time() >= Duration::from_millis(8),
            "stamped before it was there"
        );
    }
    let numbers: Vec<u64> = frames.iter().map(|f| f.message.frame.seq).collect();
    assert!(numbers.windows(2).all(|n| n[0] < n[1]), "{numbers:?}");
    let status = ears.status("wrist");
    let visits = status.reconnections + 1;
    // The last visit may not have come so far yet.
    assert!(
        (visits - 1..=visits).contains(&status.dropped),
        "{status:?}"
    );
    assert!(
        (visits - 1..=visits).contains(&status.corrupt),
        "{status:?}"
    );

    let away = ears.status("away");
    assert!(
        !away.connected && away.fault.contains(&closed.to_string()) && away.frames == 0,
        "{away:?}"
    );
    assert!(ears.frames("away").is_empty());

    // The folder never stopped: its times are exactly a period apart.
    let frames = ears.frames("front");
    assert!(frames.len() > 50, "{}", frames.len());
    for pair in frames.windows(2) {
        let [a, b] = [&pair[0].message, &pair[1].message];
        assert_eq!(b.clock, CaptureClock::Playback);
        let apart = b.frame.captured_at.since(a.frame.captured_at).as_nanos();
        assert_eq!(apart % 20_000_000, 0, "on the grid");
        assert!(apart < 500_000_000, "{apart}");
    }
    assert_eq!(ears.status("front").reconnections, 0);
    ears.wait("a rate", |e| e.status("front").rate_hz > 40.0);
}

/// A server of MJPEG that sends `per_visit` images to each client and then hangs up.
fn server(per_visit: u8) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::Builder::new()
        .name("server".into())
        .spawn(move || {
            for (visit, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 2048];
                let _ = stream.read(&mut request);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                for k in 0..per_visit {
                    let image = jpeg(visit as u8 * per_visit + k);
                    let head = format!("--b\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", image.len());
                    let part = [head.as_bytes(), &image, b"\r\n"].concat();
                    if stream.write_all(&part).is_err() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        })
        .expect("a thread");
    address
}

#[test]
fn a_stream_that_hangs_up_is_asked_for_again() {
    let url = Url::parse(&format!("http://{}/stream", server(10))).expect("legal");
    let running = Running::start(vec![Served::new(
        spec("front", SourceSpec::Http { url }),
        clock(),
    )]);
    let ears = &running.ears;
    ears.wait("it comes back", |e| e.frames("front").len() >= 25);
    let frames = ears.frames("front");
    for (frame, k) in frames.iter().zip(0_u8..) {
        assert_eq!(
            &frame.message.frame.data[..],
            &jpeg(k)[..],
            "every image, as it was"
        );
        assert_eq!(frame.message.clock, CaptureClock::Arrival);
    }
    ears.wait("it says so", |e| e.status("front").reconnections >= 2);
}

#[test]
fn a_frozen_picture_is_left_out_and_said() {
    let dir = images(1);
    let mut spec = folder("front", dir.path(), true);
    spec.frozen_after = Some(Duration::from_millis(200));
    let running = Running::start(vec![Served::new(spec, clock())]);
    let ears = &running.ears;
    ears.wait("it is frozen", |e| e.status("front").frozen > 20);
    let published = ears.frames("front").len();
    assert!(
        (5..=12).contains(&published),
        "{published} in the first 200 ms"
    );
}

#[test]
fn a_known_latency_is_taken_off_the_capture_time() {
    let dir = images(3);
    let mut late = folder("late", dir.path(), true);
    late.latency = Duration::from_millis(120);
    let on_time = folder("front", dir.path(), true);
    let running = Running::start(vec![
        Served::new(late, clock()),
        Served::new(on_time, clock()),
    ]);
    let ears = &running.ears;
    ears.wait("ten frames of each", |e| {
        e.frames("late").len() >= 10 && e.frames("front").len() >= 10
    });
    let youngest = |camera| {
        let frames = ears.frames(camera);
        let age = |d: &Delivery<ClockedFrame>| d.received_at.since(d.message.frame.captured_at);
        frames.iter().map(age).min().expect("frames")
    };
    let (late, on_time) = (youngest("late"), youngest("front"));
    assert!(late >= Duration::from_millis(120), "{late:?}");
    assert!(
        late < Duration::from_millis(120) + on_time + Duration::from_millis(60),
        "{late:?}"
    );
    assert!(on_time < Duration::from_millis(100), "{on_time:?}");
}

#[test]
fn pictures_are_cut_and_turned_and_say_their_size() {
    let dir = images(3);
    let mut spec = folder("front", dir.path(), true);
    spec.crop = Some(Crop {
        x: 8,
        y: 4,
        width: 32,
        height: 16,
    });
    spec.rotate = Rotation::Quarter;
    spec.quality = 100;
    let running = Running::start(vec![Served::new(spec, clock())]);
    running
        .ears
        .wait("three frames", |e| e.frames("front").len() >= 3);
    let frames = running.ears.frames("front");
    let first = frames
        .iter()
        .map(|f| &f.message.frame)
        .find(|f| f.seq % 3 == 0)
        .expect("one of three");
    let published = picture::decode(&first.data).expect("a picture");
    assert_eq!((published.width, published.height), (16, 32));
    let wanted = picture::decode(&jpeg(0)).expect("a picture");
    // The upper right corner is the upper left one of the part that is kept.
    let pixel = |p: &Picture, x: u32, y: u32| {
        let at = ((y * p.width + x) * 3) as usize;
        [p.rgb[at], p.rgb[at + 1], p.rgb[at + 2]]
    };
    for (a, b) in pixel(&published, 15, 0).iter().zip(pixel(&wanted, 8, 4)) {
        assert!(a.abs_diff(b) < 25, "{a} {b}");
    }
}

#[test]
fn when_everything_was_played_the_process_ends() {
    let dir = images(60);
    let mut running = Running::start(vec![Served::new(
        folder("front", dir.path(), false),
        clock(),
    )]);
    assert!(running.end().is_ok());
    running.ears.wait("it says so", |e| {
        e.status("front").fault.contains("every image was played")
    });
    let status = running.ears.status("front");
    assert_eq!(
        (status.frames, status.dropped, status.connected),
        (60, 0, false)
    );
    let last = running.ears.frames("front").pop().expect("frames");
    assert_eq!(&last.message.frame.data[..], &jpeg(59)[..]);
}

#[test]
fn a_stepped_camera_waits_to_be_asked() {
    let dir = images(3);
    let playback = PlaybackSpec {
        path: dir.path().into(),
        repeat: false,
        stepped: true,
    };
    let running = Running::start(vec![Served::new(
        spec("front", SourceSpec::Folder(playback)),
        clock(),
    )]);
    let ears = &running.ears;
    let key = cell().key(&Topic::CameraStep(name("front")));
    assert!(ears.session.wait_for_answerer(&key, WAIT).expect("asked"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(ears.frames("front").is_empty());
    for k in 1..=3_u64 {
        let answer = ears
            .session
            .query::<Nothing, CameraStatus>(&key, &Nothing, WAIT)
            .expect("an answer");
        assert_eq!((answer.message.frames, answer.message.dropped), (k, 0));
        ears.wait("the frame", |e| e.frames("front").len() as u64 == k);
    }
    let end = ears
        .session
        .query::<Nothing, CameraStatus>(&key, &Nothing, WAIT)
        .expect_err("no further");
    assert!(end.to_string().contains("every image was played"), "{end}");
}

#[test]
fn a_camera_that_cannot_be_as_the_cell_says_ends_the_process_at_its_start() {
    let dir = images(3);
    let mut small = folder("front", dir.path(), true);
    small.width = 32;
    let mut running = Running::start(vec![
        Served::new(folder("wrist", dir.path(), true), clock()),
        Served::new(small, clock()),
    ]);
    let error = running.end().expect_err("of the wrong size").to_string();
    assert_eq!(
        error,
        "camera `front`: its frames: camera.width x camera.height: expected 32x48, got 64x48"
    );
    let mut running = Running::start(vec![Served::new(
        folder("front", &dir.path().join("none"), true),
        clock(),
    )]);
    let error = running.end().expect_err("no folder").to_string();
    assert!(
        error.starts_with("camera `front`: ") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn a_camera_whose_thread_panics_ends_the_process_with_its_name() {
    let dir = images(3);
    let broken = Served {
        spec: folder("broken", dir.path(), true),
        open: Box::new(|| panic!("a defect")),
    };
    let front = Served::new(folder("front", dir.path(), true), clock());
    let mut running = Running::start(vec![front, broken]);
    let error = running.end().expect_err("a panic").to_string();
    assert_eq!(error, "camera `broken`: its thread panicked");
}
