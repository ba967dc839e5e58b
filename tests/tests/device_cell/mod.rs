//! A real arm's cell as processes over loopback: the roles, an observer on its wire, verbs that succeed and that are refused.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tactus_types::JointState;
use tactus_wire::{
    Cell as WireCell, Delivery, ModeReport, ModeWord, MonotonicClock, Name, Session,
    SessionOptions, Subscriber, Topic,
};

use crate::cell::{checkout, program, tactus};

/// Most things have happened after this.
pub const SOON: Duration = Duration::from_secs(10);

/// The shipped cell `model` of servos on `port`, with a calibration beside it: name, id, drive mode, homing offset and range
/// of every servo.
pub fn servo_cell<'a>(
    dir: &Path,
    model: &str,
    port: &Path,
    servos: impl IntoIterator<Item = (&'a str, i32, u8, i32, i32, i32)>,
) -> PathBuf {
    let shipped = checkout().join(format!("launch/cells/{model}.toml"));
    let text = std::fs::read_to_string(shipped).expect("the shipped cell");
    let port = port.display().to_string();
    let text = text
        .replace("/dev/ttyACM0", &port)
        .replace("/dev/ttyUSB0", &port);
    let file = dir.join("cell.toml");
    std::fs::write(&file, text).expect("written");
    let servos: Vec<String> = servos
        .into_iter()
        .map(|(name, id, drive_mode, homing_offset, min, max)| {
            format!(
                r#""{name}": {{"id": {id}, "drive_mode": {drive_mode}, "homing_offset": {homing_offset}, "range_min": {min}, "range_max": {max}}}"#
            )
        })
        .collect();
    let calibration = dir.join(format!("{model}.json"));
    std::fs::write(calibration, format!("{{{}}}", servos.join(","))).expect("written");
    file
}

/// An address on loopback that nobody listens at.
pub fn endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("tcp/{}", listener.local_addr().expect("a port"))
}

/// A role as a process; killed with the test.
pub struct Role(Child);

impl Role {
    /// Starts `tactus ARGS`.
    pub fn start(args: &[&str]) -> Self {
        let child = Command::new(program())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("starts"))
    }

    fn tell(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id() as i32).expect("a process");
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }

    /// It does nothing any more, until [`Role::go_on`].
    pub fn pause(&self) {
        self.tell(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.tell(Signal::CONT);
    }

    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Ends it in order: whether it succeeded, and what it wrote to stderr.
    pub fn end(self) -> (bool, String) {
        self.tell(Signal::TERM);
        self.outcome()
    }

    /// Waits for its end: whether it succeeded, and what it wrote to stderr.
    pub fn outcome(mut self) -> (bool, String) {
        let mut text = String::new();
        let mut stderr = self.0.stderr.take().expect("piped");
        stderr.read_to_string(&mut text).expect("text");
        (self.0.wait().expect("ended").success(), text)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A session with the cell at `endpoint`.
pub fn session(endpoint: &str) -> Session {
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let options = SessionOptions {
        connect: vec![endpoint.into()],
        connect_timeout: Duration::from_secs(20),
        ..SessionOptions::default()
    };
    Session::open(&options, "test", clock).expect("reaches the cell")
}

/// What the cell says, newest last.
pub struct Ears {
    pub modes: Arc<Mutex<Vec<ModeReport>>>,
    pub states: Arc<Mutex<Vec<JointState>>>,
    _session: Session,
    _subscriptions: [Subscriber; 2],
}

impl Ears {
    /// Of the cell `cell`, with the arm `arm` and the device `device`.
    pub fn open(endpoint: &str, cell: &str, device: &str) -> Self {
        let session = session(endpoint);
        let wire = WireCell::new(cell).expect("legal");
        let name = |text| Name::new(text).expect("legal");
        let (modes, states) =
            <(Arc<Mutex<Vec<ModeReport>>>, Arc<Mutex<Vec<JointState>>>)>::default();
        let (to_modes, to_states) = (modes.clone(), states.clone());
        let mode_key = wire.key(&Topic::ArmMode(name("arm")));
        let state_key = wire.key(&Topic::DeviceState(name(device)));
        let subscriptions = [
            session
                .subscribe(&mode_key, move |m| {
                    if let Ok::<Delivery<ModeReport>, _>(delivery) = m {
                        to_modes.lock().expect("unpoisoned").push(delivery.message);
                    }
                })
                .expect("subscribed"),
            session
                .subscribe(&state_key, move |m| {
                    if let Ok::<Delivery<JointState>, _>(delivery) = m {
                        to_states.lock().expect("unpoisoned").push(delivery.message);
                    }
                })
                .expect("subscribed"),
        ];
        Self {
            modes,
            states,
            _session: session,
            _subscriptions: subscriptions,
        }
    }

    /// The newest.
    pub fn mode(&self) -> Option<ModeWord> {
        let modes = self.modes.lock().expect("unpoisoned");
        modes.last().map(|m| m.mode)
    }

    /// The newest.
    pub fn state(&self) -> Option<JointState> {
        self.states.lock().expect("unpoisoned").last().copied()
    }

    /// Joint states heard so far.
    pub fn heard(&self) -> usize {
        self.states.lock().expect("unpoisoned").len()
    }

    /// Waits until `done`; how long that took.
    pub fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !done(self) {
            let mode = self.mode();
            assert!(
                began.elapsed() < within,
                "waited in vain until {what}; mode {mode:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        began.elapsed()
    }
}

/// `tactus ARGS` succeeds; what it says.
pub fn ok(args: &[&str]) -> String {
    let output = tactus(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `tactus ARGS` fails with one sentence, which has these words.
pub fn refused(args: &[&str], wanted: &[&str]) {
    let output = tactus(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} succeeded");
    let mut lines = stderr.lines().filter(|l| l.starts_with("tactus: "));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no sentence: {stderr}"));
    assert_eq!(lines.next(), None, "one sentence: {stderr}");
    for word in wanted {
        assert!(line.contains(word), "expected `{word}` in: {line}");
    }
}
