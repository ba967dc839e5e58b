//! A device and cameras that a test shows on the wire: what the simulated ones showed, changed as a mistake would.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cell::{cell_file, program};
use tactus_types::{ArmInfo, CameraFrame, Clock as _, JointState};
use tactus_wire::{
    Cell as WireCell, Delivery, MonotonicClock, Name, Nothing, Queryable, Responder, Session,
    SessionOptions, SimReset, SimResetReply, Subscriber, Topic,
};

/// Doctors that are asked at once.
pub const AT_ONCE: usize = 9;
/// Joint states that a shown device reports, Hz.
pub const STATE_HZ: f64 = 100.0;
pub const CAMERAS: [&str; 2] = ["scene", "wrist"];
pub const SIDE: usize = 224;

pub fn name(text: &str) -> Name {
    Name::new(text).expect("legal")
}

/// What a cell shows.
#[derive(Clone)]
pub struct Shown {
    pub info: ArmInfo,
    pub state: JointState,
    /// By camera.
    pub pictures: BTreeMap<String, Vec<u8>>,
    pub state_hz: f64,
    pub picture_hz: f64,
    /// How old a picture is when it is published.
    pub age: Duration,
}

/// The simulated device and cameras as processes, without an arm host.
pub struct Sim {
    pub roles: Vec<Child>,
    pub session: Session,
    pub endpoint: String,
    pub wire: WireCell,
    pub states: Arc<Mutex<Option<JointState>>>,
    pub pictures: Arc<Mutex<BTreeMap<String, CameraFrame>>>,
    pub _subscriptions: Vec<Subscriber>,
    pub dir: tempfile::TempDir,
}

impl Sim {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = cell_file(dir.path(), |text| text).display().to_string();
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let endpoint = format!("tcp/{}", port.expect("a port"));
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let options = SessionOptions {
            listen: vec![endpoint.clone()],
            ..SessionOptions::default()
        };
        let session = Session::open(&options, "test", clock).expect("listens");
        let role = |role: &str| {
            Command::new(program())
                .args([role, "--cell", &file, "--connect", &endpoint])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts")
        };
        let roles = vec![role("sim"), role("camera")];
        let wire = WireCell::new("demo").expect("legal");
        let states = Arc::<Mutex<Option<JointState>>>::default();
        let pictures = Arc::<Mutex<BTreeMap<String, CameraFrame>>>::default();
        let to = states.clone();
        let key = wire.key(&Topic::DeviceState(name("sim")));
        let mut subscriptions = vec![
            session
                .subscribe(&key, move |m: Result<Delivery<JointState>, _>| {
                    *to.lock().expect("unpoisoned") = m.ok().map(|d| d.message);
                })
                .expect("subscribed"),
        ];
        for camera in CAMERAS {
            let to = pictures.clone();
            let key = wire.key(&Topic::CameraImage(name(camera)));
            let take = move |m: Result<Delivery<CameraFrame>, _>| {
                let frame = m.expect("sound").message;
                to.lock().expect("unpoisoned").insert(camera.into(), frame);
            };
            subscriptions.push(session.subscribe(&key, take).expect("subscribed"));
        }
        Self {
            roles,
            session,
            endpoint,
            wire,
            states,
            pictures,
            _subscriptions: subscriptions,
            dir,
        }
    }

    /// What the world of `seed` shows.
    pub fn world(&self, seed: u64) -> Shown {
        let until = Instant::now() + Duration::from_secs(60);
        let wait = || {
            assert!(Instant::now() < until, "the simulated cell shows nothing");
            std::thread::sleep(Duration::from_millis(5));
        };
        let ask = SimReset {
            seed,
            variation: true,
        };
        let key = self.wire.key(&Topic::SimReset);
        let reset = loop {
            let timeout = Duration::from_secs(2);
            let reply = self.session.query::<_, SimResetReply>(&key, &ask, timeout);
            if let Ok(reply) = reply {
                break reply;
            }
            wait();
        };
        let state = loop {
            let state = *self.states.lock().expect("unpoisoned");
            if let Some(state) = state.filter(|s| s.epoch == reset.message.epoch) {
                break state;
            }
            wait();
        };
        // Pictures of this world, and not of the last one.
        let pictures = loop {
            let pictures = self.pictures.lock().expect("unpoisoned").clone();
            let fresh = |f: &CameraFrame| f.captured_at > state.captured_at;
            if pictures.len() == CAMERAS.len() && pictures.values().all(fresh) {
                break pictures;
            }
            wait();
        };
        let key = self.wire.key(&Topic::DeviceInfo(name("sim")));
        let timeout = Duration::from_secs(5);
        let info = self
            .session
            .query::<Nothing, ArmInfo>(&key, &Nothing, timeout);
        Shown {
            info: ArmInfo {
                state_rate_hz: STATE_HZ,
                ..info.expect("the device answers").message
            },
            state,
            pictures: pictures
                .into_iter()
                .map(|(camera, frame)| (camera, frame.data.to_vec()))
                .collect(),
            state_hz: STATE_HZ,
            picture_hz: 20.0,
            age: Duration::ZERO,
        }
    }

    /// What the doctor says of a cell that shows `shown`, whose file `edit` has changed: exit code and findings.
    pub fn doctor(
        &self,
        cell: &str,
        shown: Shown,
        edit: impl Fn(String) -> String,
    ) -> (Option<i32>, Vec<String>) {
        let dir = self.dir.path().join(cell);
        std::fs::create_dir(&dir).expect("a folder");
        let own = format!("name = \"{cell}\"");
        let file = cell_file(&dir, |text| edit(text.replacen("name = \"demo\"", &own, 1)));
        let _stage = Stage::show(&self.session, cell, shown);
        let json = dir.join("findings.json");
        let said = Command::new(program())
            .arg("doctor")
            .arg(&file)
            .args(["--quick", "--connect", &self.endpoint, "--json"])
            .arg(&json)
            .stdin(Stdio::null())
            .output()
            .expect("starts");
        (said.status.code(), failures(&json))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        for role in &mut self.roles {
            role.kill().and_then(|()| role.wait()).expect("reaped");
        }
    }
}

/// Every failure of the doctor's as one line.
pub fn failures(json: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(json).expect("findings");
    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let findings = said["findings"].as_array().expect("a list");
    let failed = findings.iter().filter(|f| f["verdict"] == "fail");
    failed
        .map(|f| {
            assert!(f["mend"].is_string(), "{f}");
            format!("{}: {}", f["name"], f["found"]).replace(['"', '`'], "")
        })
        .collect()
}

/// A device and cameras, shown until dropped.
pub struct Stage {
    pub end: Arc<AtomicBool>,
    pub thread: Option<JoinHandle<()>>,
    pub _info: Queryable,
}

impl Stage {
    pub fn show(session: &Session, cell: &str, shown: Shown) -> Self {
        let wire = WireCell::new(cell).expect("legal");
        let info = shown.info.clone();
        let answer = move |_: Delivery<Nothing>, to: Responder<ArmInfo>| to.answer(&info);
        let key = wire.key(&Topic::DeviceInfo(name("sim")));
        let queryable = session.queryable(&key, answer).expect("answers");
        let key = wire.key(&Topic::DeviceState(name("sim")));
        let states = session.publisher::<JointState>(&key).expect("publishes");
        let cameras: Vec<_> = shown
            .pictures
            .iter()
            .map(|(camera, data)| {
                let key = wire.key(&Topic::CameraImage(name(camera)));
                let publisher = session.publisher::<CameraFrame>(&key).expect("publishes");
                let frame = CameraFrame {
                    camera: camera.as_str().into(),
                    captured_at: shown.state.captured_at,
                    received_at: shown.state.captured_at,
                    seq: 0,
                    width: SIDE as u32,
                    height: SIDE as u32,
                    encoding: tactus_types::Encoding::Jpeg,
                    data: data.as_slice().into(),
                };
                (publisher, frame)
            })
            .collect();
        let end = Arc::new(AtomicBool::new(false));
        let (ends, clock) = (end.clone(), MonotonicClock::new().expect("a clock"));
        let play = move || {
            let began = Instant::now();
            let (mut state, mut cameras) = (shown.state, cameras);
            let (mut stated, mut pictured) = (0u64, 0u64);
            while !ends.load(Ordering::Relaxed) {
                let secs = began.elapsed().as_secs_f64();
                if secs * shown.state_hz > stated as f64 {
                    stated += 1;
                    (state.seq, state.captured_at) = (stated, clock.now());
                    states.put(&state).expect("published");
                }
                if secs * shown.picture_hz > pictured as f64 {
                    pictured += 1;
                    for (publisher, frame) in &mut cameras {
                        let at = clock.now().as_nanos() - shown.age.as_nanos() as u64;
                        frame.captured_at = tactus_types::Time::from_nanos(at);
                        frame.seq = pictured;
                        publisher.put(frame).expect("published");
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        Self {
            end,
            thread: Some(std::thread::Builder::new().spawn(play).expect("starts")),
            _info: queryable,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("once");
        thread.join().expect("no panic");
    }
}

/// `jpeg` with each pixel taken from elsewhere and changed; `from` says where, of row and column.
pub fn repainted(
    jpeg: &[u8],
    from: impl Fn(usize, usize) -> (usize, usize),
    colour: impl Fn([u8; 3]) -> [u8; 3],
) -> Vec<u8> {
    let mut decoder = zune_jpeg::JpegDecoder::new(zune_core::bytestream::ZCursor::new(jpeg));
    let rgb = decoder.decode().expect("a JPEG file");
    let mut out = Vec::with_capacity(rgb.len());
    for row in 0..SIDE {
        for column in 0..SIDE {
            let (r, c) = from(row, column);
            let at = (r * SIDE + c) * 3;
            out.extend(colour([rgb[at], rgb[at + 1], rgb[at + 2]]));
        }
    }
    encoded(&out, SIDE)
}

pub fn encoded(rgb: &[u8], side: usize) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
    let colours = jpeg_encoder::ColorType::Rgb;
    encoder
        .encode(rgb, side as u16, side as u16, colours)
        .expect("encodes");
    jpeg
}
