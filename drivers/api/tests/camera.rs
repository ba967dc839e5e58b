//! Laws of the camera shell, over real sessions on the loopback interface.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use tactus_drivers_api::{CameraPort, ServeError, serve_camera};
use tactus_types::{Camera, CameraError, CameraFrame, Clock, Encoding};
use tactus_wire::{
    CameraInfo, Cell, MonotonicClock, Name, Nothing, Role, Session, SessionOptions, Topic,
};

const WAIT: Duration = Duration::from_secs(5);

/// A picture of nothing, 100 times a second; not ready every other time; breaks after `left` frames.
struct Blank {
    clock: Arc<dyn Clock>,
    calls: u64,
    left: u64,
}

impl Camera for Blank {
    fn capture(&mut self) -> Result<Option<CameraFrame>, CameraError> {
        std::thread::sleep(Duration::from_millis(5));
        self.calls += 1;
        if self.calls % 2 == 1 {
            return Ok(None);
        }
        if self.calls / 2 > self.left {
            return Err(CameraError {
                camera: "scene".into(),
                reason: "unplugged".into(),
            });
        }
        let now = self.clock.now();
        Ok(Some(CameraFrame {
            camera: "scene".into(),
            captured_at: now,
            received_at: now,
            seq: self.calls / 2,
            width: 8,
            height: 8,
            encoding: Encoding::Jpeg,
            data: include_bytes!("blank.jpg")[..].into(),
        }))
    }
}

fn open(source: &str, connect: &[String]) -> Session {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new().expect("boot id"));
    let options = SessionOptions {
        connect: connect.to_vec(),
        ..SessionOptions::default()
    };
    Session::open(&options, source, clock).expect("session")
}

#[test]
fn a_camera_is_alive_says_what_it_is_and_delivers_until_it_breaks() {
    let cell = Cell::new("test").expect("name");
    let scene = Name::new("scene").expect("name");
    let info = CameraInfo {
        width: 8,
        height: 8,
        rate_hz: 100.0,
    };
    let session = open("camera/scene", &[]);
    let port = CameraPort::open(&session, &cell, &scene, info).expect("port");

    let reader = open("engine/e", &session.endpoints());
    let (sender, changes) = mpsc::sync_channel(16);
    let _watch = reader
        .watch_alive(&cell, move |role, name, alive| {
            sender.send((role, name.clone(), alive)).unwrap_or(());
        })
        .expect("watch");
    assert_eq!(
        changes.recv_timeout(WAIT),
        Ok((Role::Camera, scene.clone(), true))
    );

    let info_key = cell.key(&Topic::CameraInfo(scene.clone()));
    let answer = reader
        .query::<_, CameraInfo>(&info_key, &Nothing, WAIT)
        .expect("an answer");
    assert_eq!(answer.message, info);

    let (sender, frames) = mpsc::sync_channel(64);
    let _frames = reader
        .subscribe::<CameraFrame>(
            &cell.key(&Topic::CameraImage(scene.clone())),
            move |frame| {
                sender.send(frame).unwrap_or(());
            },
        )
        .expect("subscriber");
    std::thread::sleep(Duration::from_millis(200));

    let stop = AtomicBool::new(false);
    let mut camera = Blank {
        clock: session.clock().clone(),
        calls: 0,
        left: 10,
    };
    let broken = serve_camera(&mut camera, &port, &stop).expect_err("unplugged");
    assert!(matches!(broken, ServeError::Camera(_)), "{broken:?}");
    for seq in 1..=10 {
        let frame = frames
            .recv_timeout(WAIT)
            .expect("a frame")
            .expect("a good one");
        assert_eq!((frame.message.seq, frame.message.width), (seq, 8));
        assert_eq!(&*frame.message.camera, "scene");
        assert_eq!(frame.message.received_at, frame.received_at);
        assert!(frame.capture_time() < Duration::from_secs(1));
    }

    drop(port);
    assert_eq!(changes.recv_timeout(WAIT), Ok((Role::Camera, scene, false)));
}

#[test]
fn a_camera_stops_when_told() {
    let cell = Cell::new("test").expect("name");
    let scene = Name::new("scene").expect("name");
    let info = CameraInfo {
        width: 8,
        height: 8,
        rate_hz: 100.0,
    };
    let session = open("camera/scene", &[]);
    let port = CameraPort::open(&session, &cell, &scene, info).expect("port");
    let stop = AtomicBool::new(false);
    let mut camera = Blank {
        clock: session.clock().clone(),
        calls: 0,
        left: u64::MAX,
    };
    let frames = std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve_camera(&mut camera, &port, &stop));
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        serving.join().expect("no panic").expect("served")
    });
    assert!(frames > 5, "{frames}");
}
