//! Latencies and clocks that are known are found: an arm that moves so much later than it is told, a camera that sees this
//! program's terminal so much later than it changes, a process whose clock is ahead and gains.

mod cell;

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{cell_file, program, tactus};
use tactus_calibration::ArmLatency;
use tactus_drivers_api::{Device, DeviceError, DeviceOptions, Goal, serve_device};
use tactus_types::{
    ArmInfo, CameraFrame, Clock, ClockId, Encoding, JointLimits, JointState, JointVec, Time,
};
use tactus_wire::{Cell as WireCell, MonotonicClock, Name, Session, SessionOptions, Topic};

/// What must be found, and by how much it may be missed, milliseconds.
const WITHIN_MS: f64 = 5.0;
const JOINTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn name(text: &str) -> Name {
    Name::new(text).expect("legal")
}

fn wire() -> WireCell {
    WireCell::new("demo").expect("legal")
}

fn hub(clock: Arc<dyn Clock>) -> (Session, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let endpoint = format!("tcp/{}", port.expect("a port"));
    let options = SessionOptions {
        listen: vec![endpoint.clone()],
        ..SessionOptions::default()
    };
    (
        Session::open(&options, "test", clock).expect("listens"),
        endpoint,
    )
}

fn json(file: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(file).expect("figures");
    serde_json::from_str(&text).expect("JSON")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("reaped");
    }
}

/// Sets its flag when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An arm that is where it was told to be `late` ago.
struct Late {
    late: Duration,
    told: VecDeque<(Time, Goal)>,
    now: Time,
    epoch: u64,
}

impl Late {
    fn at(&self, now: Time) -> Goal {
        let then = now.before(self.late);
        let told = self.told.iter().rev().find(|(at, _)| *at <= then);
        told.or(self.told.front()).map_or(
            Goal {
                q: home(),
                dq: JointVec::zeros(6),
                opening: 1.0,
            },
            |t| t.1,
        )
    }
}

fn home() -> JointVec {
    JointVec::from_fn(6, |_| 0.3)
}

impl Device for Late {
    fn info(&self) -> ArmInfo {
        let limits = JointLimits {
            lower: -3.0,
            upper: 3.0,
            velocity: 2.0,
            acceleration: 8.0,
            jerk: 100.0,
        };
        ArmInfo {
            model: "late".into(),
            joints: JOINTS.map(String::from).to_vec(),
            limits: vec![limits; 6],
            gripper: true,
            state_rate_hz: 500.0,
            brakes: true,
            torque_switch: false,
            command_deadline_secs: 0.5,
            geometry: None,
        }
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        self.now = now;
        let goal = self.at(now);
        Ok(JointState {
            captured_at: now,
            seq: 0,
            epoch: self.epoch,
            q: goal.q,
            dq: goal.dq,
            opening: goal.opening,
            torque: true,
        })
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        self.told.push_back((self.now, *goal));
        while self.told.len() > 2000 {
            self.told.pop_front();
        }
        Ok(())
    }

    fn step(&mut self, _now: Time) -> Result<(), DeviceError> {
        Ok(())
    }
}

fn arm_latency(late_ms: u64) -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| {
        // How quick the machine is is not what is tested.
        text.replacen("track_limit_ms = 100 ", "track_limit_ms = 1000 ", 1)
            .replacen("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ", 1)
    });
    let file = file.display().to_string();
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let (session, endpoint) = hub(clock.clone());
    let stop = AtomicBool::new(false);
    let figures = dir.path().join("latency.json");
    std::thread::scope(|scope| {
        let serve = || {
            let mut device = Late {
                late: Duration::from_millis(late_ms),
                told: VecDeque::new(),
                now: clock.now(),
                epoch: clock.now().as_nanos(),
            };
            let options = DeviceOptions {
                cell: wire(),
                name: name("sim"),
                geometry: None,
            };
            serve_device(&mut device, &options, &session, &stop).expect("served");
        };
        scope.spawn(serve);
        // However this ends, the device does too.
        let _ending = Ending(&stop);
        let own = ["--cell", &file, "--connect", &endpoint];
        let run = |args: &[&str], last: &[&str]| tactus(&[args, &own, last].concat());
        let arm = Command::new(program())
            .arg("arm")
            .args(own)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let arm = Role(arm.expect("starts"));
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let enabled = run(&["order"], &["enable"]);
            if enabled.status.success() {
                break;
            }
            assert!(Instant::now() < until, "{}", said(&enabled));
            std::thread::sleep(Duration::from_millis(100));
        }
        let to = figures.display().to_string();
        let kept = dir.path().join("arm.toml").display().to_string();
        let last = ["--arm-is-clear", "--json", &to, "--out", &kept];
        let measured = run(&["calibrate", "latency", "arm"], &last);
        drop(arm);
        assert!(measured.status.success(), "{}", said(&measured));
        let (held, _) = ArmLatency::read(kept.as_ref(), "arm").expect("a sealed file");
        // JSON is read to within the last bit of a number.
        let figure = json(&figures)["command_to_motion_ms"].as_f64();
        let apart = figure.map(|figure| (held.command_to_motion_ms - figure).abs());
        assert!(apart.is_some_and(|ms| ms < 1e-9), "{held:?}, {figure:?}");
        assert_eq!((held.model.as_str(), held.joint.as_str()), ("late", "a"));
    });
    let found = json(&figures);
    let number = |field: &str| found[field].as_f64().expect("a number");
    (number("command_to_motion_ms"), number("error_ms"))
}

#[test]
fn an_arm_that_is_late_by_20_100_and_300_ms_is_found_to_be() {
    // One after the other: side by side on two cores they make each other late.
    for late in [20, 100, 300] {
        let (found, error) = arm_latency(late);
        println!("late by {late} ms: found {found:.2} +- {error:.2} ms");
        assert!((found - late as f64).abs() < WITHIN_MS, "{late}: {found}");
    }
}

#[test]
fn an_arm_is_not_moved_without_the_word() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text).display().to_string();
    let (_session, endpoint) = hub(Arc::new(MonotonicClock::new().expect("a clock")));
    let refused = tactus(&[
        "calibrate",
        "latency",
        "arm",
        "--cell",
        &file,
        "--connect",
        &endpoint,
    ]);
    assert!(!refused.status.success());
}

/// A clock that is ahead and gains.
struct Other {
    own: MonotonicClock,
    zero: Time,
    ahead: Duration,
    ppm: u64,
}

impl Clock for Other {
    fn id(&self) -> ClockId {
        ClockId(7)
    }

    fn now(&self) -> Time {
        let now = self.own.now();
        let gained = now.since(self.zero).as_nanos() as u64 * self.ppm / 1_000_000;
        now + self.ahead + Duration::from_nanos(gained)
    }
}

#[test]
fn a_clock_that_is_ahead_and_gains_is_followed() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text).display().to_string();
    let own = MonotonicClock::new().expect("a clock");
    let (ahead, ppm) = (Duration::from_secs(4321), 120);
    let other = Arc::new(Other {
        own,
        zero: own.now(),
        ahead,
        ppm,
    });
    let (session, endpoint) = hub(other.clone());
    let key = wire().key(&Topic::Clock(name("engine-engine")));
    session.answer_pings(&key).expect("answers");
    let figures = dir.path().join("clocks.json");
    let to = figures.display().to_string();
    let asked = tactus(&[
        "calibrate",
        "clocks",
        "--cell",
        &file,
        "--connect",
        &endpoint,
        "--span-s",
        "8",
        "--json",
        &to,
    ]);
    let now = own.now();
    assert!(asked.status.success(), "{}", said(&asked));
    let truth = 1e3 * other.now().secs_from(now);
    let found = json(&figures)["processes"][1].clone();
    let number = |field: &str| {
        found[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field}: {found}"))
    };
    println!("truth {truth:.3} ms, {ppm} ppm: {found}");
    assert_eq!(found["same_clock"], false);
    // Since it was asked last it has gained some hundredths of a millisecond.
    assert!((number("offset_ms") - truth).abs() < 0.2, "{truth} {found}");
    let (drift, bound) = (number("drift_ppm"), number("drift_bound_ppm"));
    assert!(
        (drift - ppm as f64).abs() <= bound + 1.0 && bound < ppm as f64,
        "{found}"
    );
}

/// What a camera would see of a terminal: when it was made white, and when black.
type Light = Arc<Mutex<Vec<(Time, bool)>>>;

fn camera_latency(late_ms: u64) -> serde_json::Value {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), |text| text).display().to_string();
    let clock = MonotonicClock::new().expect("a clock");
    let (session, endpoint) = hub(Arc::new(clock));
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let path = ptsname(&master, Vec::new()).expect("a name");
    let terminal = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path.to_str().expect("a path"))
        .expect("the terminal");
    let figures = dir.path().join("latency.json");
    let mut child = Command::new(program())
        .args(["calibrate", "latency", "camera", "--camera", "scene"])
        .args([
            "--cell",
            &file,
            "--connect",
            &endpoint,
            "--changes",
            "40",
            "--json",
        ])
        .arg(&figures)
        .stdin(Stdio::null())
        .stdout(terminal)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let light = Light::default();
    let to = light.clone();
    let watching = move || watch(std::fs::File::from(master), &clock, &to);
    let screen = std::thread::Builder::new().spawn(watching).expect("starts");
    let key = wire().key(&Topic::CameraImage(name("scene")));
    let images = session.publisher::<CameraFrame>(&key).expect("publishes");
    let (dark, bright) = (picture(20), picture(200));
    let mut seq = 0;
    while child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_micros(33_333));
        seq += 1;
        let at = clock.now();
        let then = at.before(Duration::from_millis(late_ms));
        let light = light.lock().expect("unpoisoned");
        let on = light
            .iter()
            .rev()
            .find(|(t, _)| *t <= then)
            .is_some_and(|(_, on)| *on);
        drop(light);
        let frame = CameraFrame {
            camera: "scene".into(),
            captured_at: at,
            received_at: at,
            seq,
            width: 64,
            height: 48,
            encoding: Encoding::Jpeg,
            data: if on { bright.clone() } else { dark.clone() },
        };
        images.put(&frame).expect("published");
    }
    let output = child.wait_with_output().expect("a child");
    screen.join().expect("no panic");
    assert!(output.status.success(), "{}", said(&output));
    json(&figures)
}

/// Notes when the terminal's ground becomes white and black.
fn watch(mut terminal: std::fs::File, clock: &MonotonicClock, light: &Light) {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    // The terminal ends with an error when its last user is gone.
    while let Ok(count @ 1..) = terminal.read(&mut piece) {
        let now = clock.now();
        seen.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        for (at, on) in [("48;2;255;255;255m", true), ("48;2;0;0;0m", false)] {
            if text.contains(at) {
                light.lock().expect("unpoisoned").push((now, on));
                seen.clear();
            }
        }
    }
}

/// A room in which a screen of this level takes up a quarter of the picture.
fn picture(level: u8) -> Arc<[u8]> {
    let rgb: Vec<u8> = (0..64 * 48)
        .flat_map(|i| {
            let (row, column) = (i / 64, i % 64);
            let on_screen = (12..36).contains(&row) && (16..48).contains(&column);
            [if on_screen { level } else { 90 }; 3]
        })
        .collect();
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 90)
        .encode(&rgb, 64, 48, jpeg_encoder::ColorType::Rgb)
        .expect("encodes");
    jpeg.into()
}

#[test]
fn a_camera_that_is_late_by_20_and_300_ms_is_found_to_be() {
    std::thread::scope(|scope| {
        let measured = [20, 300].map(|late| (late, scope.spawn(move || camera_latency(late))));
        for (late, measured) in measured {
            let found = measured.join().expect("no panic");
            println!("late by {late} ms: {found}");
            let ms = found["photon_to_capture_ms"].as_f64().expect("a number");
            assert!((ms - late as f64).abs() < WITHIN_MS, "{late}: {found}");
        }
    });
}
