//! `tactus camera` as a real process over loopback: several sources at once, one of which is not there; a picture, a step,
//! how they are; and what is refused. No camera hangs on the machine of a test.

mod cell;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{checkout, program, tactus};
use rustix::process::{Pid, Signal, kill_process};
use tactus_wire::{
    CameraInfo, CaptureClock, Cell, ClockedFrame, Delivery, MonotonicClock, Name, Nothing, Session,
    SessionOptions, Topic,
};

const WAIT: Duration = Duration::from_secs(30);

/// A JPEG file that is there anyway.
fn picture() -> Vec<u8> {
    std::fs::read(checkout().join("launch/pictures/cell.jpg")).expect("a picture")
}

/// Width and height of [`picture`].
const SIZE: (u32, u32) = (1280, 720);

/// The demo's cell file with other cameras.
fn cell_file(dir: &Path, cameras: &str) -> PathBuf {
    cell::cell_file(dir, |text| {
        let (head, rest) = text.split_once("[[camera]]").expect("cameras");
        let (_, tail) = rest.split_once("[sim]").expect("the simulator");
        format!("{head}{cameras}\n[sim]{tail}")
    })
}

fn camera(name: &str, lines: &str) -> String {
    let (width, height) = SIZE;
    format!(
        "[[camera]]\nname = \"{name}\"\nrate_hz = 20\nwidth = {width}\nheight = {height}\n{lines}\n"
    )
}

/// MJPEG for ever, to whoever asks.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let image = picture();
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=--edge\r\n\r\n");
            let part = [
                b"--edge\r\nContent-Type: image/jpeg\r\n\r\n",
                &image[..],
                b"\r\n",
            ]
            .concat();
            while stream.write_all(&part).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    };
    std::thread::Builder::new()
        .name("server".into())
        .spawn(serve)
        .expect("a thread");
    address
}

/// A `tactus camera` that runs until this is dropped.
struct Cameras(Child, String);

impl Cameras {
    fn start(file: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port");
        let endpoint = format!("tcp/{port}");
        let child = Command::new(program())
            .args([
                "camera",
                "--cell",
                &file.display().to_string(),
                "--listen",
                &endpoint,
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        Self(child, endpoint)
    }

    fn session(&self) -> Session {
        let options = SessionOptions {
            connect: vec![self.1.clone()],
            connect_timeout: WAIT,
            ..SessionOptions::default()
        };
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        Session::open(&options, "test", clock).expect("reaches the cameras")
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id() as i32).expect("a process");
        let _ = kill_process(pid, Signal::TERM);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wire() -> Cell {
    Cell::new("demo").expect("legal")
}

fn out(args: &[&str]) -> String {
    let out = tactus(args);
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn cameras_of_several_kinds_are_served_by_one_process_and_one_that_is_not_there_stops_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).expect("made");
    std::fs::write(pictures.join("1.jpg"), picture()).expect("written");
    let http = format!(
        "source = \"http\"\nurl = \"http://{}/live\"\nfrozen_ms = 0",
        server()
    );
    let file = cell_file(
        dir.path(),
        &[
            camera("scene", "source = \"folder\"\npath = \"pictures\"\nrepeat = true"),
            camera("wrist", &http),
            camera("turned", "source = \"folder\"\npath = \"pictures\"\nrepeat = true\ncrop = [10, 20, 64, 48]\nrotate = 90"),
            camera("steps", "source = \"folder\"\npath = \"pictures\"\nrepeat = true\nstepped = true"),
            camera("gone", "source = \"v4l2\"\ndevice = \"/dev/tactus-none\""),
        ]
        .concat(),
    );
    let cameras = Cameras::start(&file);
    let session = cameras.session();
    let names = ["scene", "wrist", "turned"].map(|n| Name::new(n).expect("legal"));
    let frames: Vec<Arc<Mutex<Vec<ClockedFrame>>>> = names.iter().map(|_| Arc::default()).collect();
    let subscriptions: Vec<_> = names
        .iter()
        .zip(&frames)
        .map(|(name, to)| {
            let (key, to) = (wire().key(&Topic::CameraImage(name.clone())), to.clone());
            let take = move |frame: Result<Delivery<ClockedFrame>, _>| {
                to.lock()
                    .expect("unpoisoned")
                    .push(frame.expect("a good frame").message);
            };
            session.subscribe(&key, take).expect("subscribed")
        })
        .collect();
    let until = Instant::now() + WAIT;
    while frames
        .iter()
        .any(|f| f.lock().expect("unpoisoned").len() < 40)
    {
        assert!(
            Instant::now() < until,
            "{:?}",
            frames
                .iter()
                .map(|f| f.lock().expect("unpoisoned").len())
                .collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(subscriptions);
    let last = |k: usize| {
        frames[k]
            .lock()
            .expect("unpoisoned")
            .last()
            .expect("a frame")
            .clone()
    };
    for (k, clock) in [(0, CaptureClock::Playback), (1, CaptureClock::Arrival)] {
        let ClockedFrame { frame, clock: by } = last(k);
        assert_eq!(((frame.width, frame.height), by), (SIZE, clock));
        assert_eq!(frame.data[..], picture()[..], "passed through");
    }
    let turned = last(2).frame;
    assert_eq!((turned.width, turned.height), (48, 64));
    let info = wire().key(&Topic::CameraInfo(names[2].clone()));
    let info = session
        .query::<Nothing, CameraInfo>(&info, &Nothing, WAIT)
        .expect("an answer")
        .message;
    assert_eq!((info.width, info.height, info.rate_hz), (48, 64, 20.0));

    let (file, endpoint) = (file.display().to_string(), &cameras.1);
    let text = out(&["camera", "status", "--cell", &file, "--connect", endpoint]);
    let row = |name: &str| {
        text.lines()
            .find(|l| l.contains(name))
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()
    };
    for (name, wanted) in [
        ("scene", "playback"),
        ("wrist", "arrival"),
        ("turned", "frames come in"),
    ] {
        assert!(row(name).contains(wanted), "{text}");
    }
    assert!(text.contains("/dev/tactus-none: there is none"), "{text}");
    assert!(row("steps").contains("no frame yet"), "{text}");

    // What the policy sees, of the running cell and without it.
    let snap = dir.path().join("snap.jpg");
    let to = snap.display().to_string();
    let said = out(&[
        "camera",
        "snap",
        "--cell",
        &file,
        "--connect",
        endpoint,
        "--name",
        "wrist",
        "--out",
        &to,
    ]);
    assert!(
        said.contains("1280x720") && said.contains("arrival"),
        "{said}"
    );
    assert_eq!(std::fs::read(&snap).expect("a file"), picture());
    let said = out(&[
        "camera",
        "snap",
        "--cell",
        &file,
        "--name",
        "turned",
        "--out",
        &to,
        "--settle-ms",
        "0",
    ]);
    assert!(
        said.contains("as taken") && said.contains("playback"),
        "{said}"
    );
    assert_eq!(
        std::fs::read(dir.path().join("snap.taken.jpg")).expect("a file"),
        picture()
    );
    assert_ne!(std::fs::read(&snap).expect("a file"), picture());

    let said = out(&[
        "camera",
        "step",
        "--cell",
        &file,
        "--connect",
        endpoint,
        "--name",
        "steps",
        "--count",
        "3",
    ]);
    assert_eq!(said, "1 frames\n2 frames\n3 frames\n");
    let refused = tactus(&[
        "camera",
        "step",
        "--cell",
        &file,
        "--connect",
        endpoint,
        "--name",
        "scene",
    ]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.contains("field `camera.stepped`: expected true for `scene`"),
        "{refused}"
    );
}

#[test]
fn a_camera_that_is_not_as_the_cell_says_is_one_sentence_and_an_exit_code() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("1.jpg"), picture()).expect("written");
    let not_a_folder = "source = \"folder\"\npath = \"none\"";
    let wrong_size = "source = \"folder\"\npath = \".\"";
    let no_camera = "source = \"v4l2\"\ndevice = \"/dev/null\"";
    for (lines, size, wanted) in [
        (not_a_folder, SIZE, "camera `scene`: "),
        (
            wrong_size,
            (640, 480),
            "camera `scene`: its frames: camera.width x camera.height: expected 640x480, got 1280x720",
        ),
        (
            no_camera,
            SIZE,
            "camera `scene`: video device /dev/null: `no video device` captures no video",
        ),
    ] {
        let text = camera("scene", lines)
            .replace("width = 1280", &format!("width = {}", size.0))
            .replace("height = 720", &format!("height = {}", size.1));
        let file = cell_file(dir.path(), &text);
        let ended = tactus(&["camera", "--cell", &file.display().to_string()]);
        assert_eq!(ended.status.code(), Some(1), "{lines}");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let sentence = said.lines().last().unwrap_or_default();
        assert!(
            sentence.starts_with("tactus: ") && sentence.contains(wanted),
            "{said}"
        );
    }
    let file = cell_file(dir.path(), &camera("scene", wrong_size));
    let file = file.display().to_string();
    let unknown = tactus(&["camera", "--cell", &file, "--name", "left"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        unknown.status.code() == Some(1) && said.contains("no camera `left`, only scene"),
        "{said}"
    );
}

#[test]
fn what_cameras_cost_is_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("cameras.json");
    let said = out(&[
        "bench",
        "cameras",
        "--secs",
        "3",
        "--json",
        &file.display().to_string(),
    ]);
    assert!(said.contains("of one core"), "{said}");
    let text = std::fs::read_to_string(&file).expect("figures");
    let figures: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let number = |a: &str, b: &str| {
        figures[a][b]
            .as_f64()
            .unwrap_or_else(|| panic!("{a}.{b}: {text}"))
    };
    assert!(
        figures["frames"]
            .as_u64()
            .is_some_and(|n| (200..=280).contains(&n)),
        "{text}"
    );
    // The bounds, with room for whatever else runs here: 10 % of a core and 2 ms.
    assert!(
        figures["cpu_share_of_one_core"]
            .as_f64()
            .is_some_and(|share| share > 0.0 && share < 0.2),
        "{text}"
    );
    assert!(number("capture_to_received_ms", "p50") < 5.0, "{text}");
    let skew = number("skew_ms", "p50");
    assert!(
        (skew - 8.0).abs() < 2.5,
        "cameras take their pictures 4 ms one after the other: {text}"
    );
}
