//! What tests of arms of servos share: a cell file of the shipped ones, processes, and what the cell says.
#![allow(dead_code, reason = "each user takes its own part")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tactus_types::JointState;
use tactus_wire::{
    Cell as WireCell, ModeReport, ModeWord, MonotonicClock, Name, Session, SessionOptions,
    Subscriber, Topic,
};

use crate::cell::{checkout, program, tactus};

/// The shipped cell `model` on `port`, with a calibration beside it: name, id, drive mode, homing offset and range of every
/// servo.
pub fn cell_file<'a>(
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

/// A role as a process; killed with the test.
pub struct Role(Child);

impl Role {
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
        kill_process(pid, signal).expect("told");
    }

    pub fn terminate(&self) {
        self.tell(Signal::TERM);
    }

    /// It does nothing any more, until [`Role::go_on`].
    pub fn pause(&self) {
        self.tell(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.tell(Signal::CONT);
    }

    /// Whether it succeeded, and what it wrote to stderr.
    pub fn end(mut self) -> (bool, String) {
        let mut text = String::new();
        let mut stderr = self.0.stderr.take().expect("piped");
        stderr.read_to_string(&mut text).expect("text");
        (self.0.wait().expect("ended").success(), text)
    }

    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("tcp/{}", listener.local_addr().expect("a port"))
}

/// What the cell says, newest last.
pub struct Ears {
    modes: Arc<Mutex<Vec<ModeReport>>>,
    states: Arc<Mutex<Vec<JointState>>>,
    _session: Session,
    _subscriptions: [Subscriber; 2],
}

impl Ears {
    /// Listens to device and arm of the cell `name`, whose device is called so too.
    pub fn open(endpoint: &str, cell: &str) -> Self {
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let options = SessionOptions {
            connect: vec![endpoint.into()],
            connect_timeout: Duration::from_secs(20),
            ..SessionOptions::default()
        };
        let session = Session::open(&options, "test", clock).expect("reaches the cell");
        let wire = WireCell::new(cell).expect("legal");
        let name = |text| Name::new(text).expect("legal");
        let (modes, states) =
            <(Arc<Mutex<Vec<ModeReport>>>, Arc<Mutex<Vec<JointState>>>)>::default();
        let (to_modes, to_states) = (modes.clone(), states.clone());
        let subscriptions = [
            session
                .subscribe(&wire.key(&Topic::ArmMode(name("arm"))), move |m| {
                    if let Ok(delivery) = m {
                        let delivery: tactus_wire::Delivery<ModeReport> = delivery;
                        to_modes.lock().expect("unpoisoned").push(delivery.message);
                    }
                })
                .expect("subscribed"),
            session
                .subscribe(&wire.key(&Topic::DeviceState(name(cell))), move |m| {
                    if let Ok(delivery) = m {
                        let delivery: tactus_wire::Delivery<JointState> = delivery;
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

    pub fn mode(&self) -> Option<ModeWord> {
        self.modes
            .lock()
            .expect("unpoisoned")
            .last()
            .map(|m| m.mode)
    }

    pub fn state(&self) -> Option<JointState> {
        self.states.lock().expect("unpoisoned").last().copied()
    }

    /// Joint states heard so far.
    pub fn heard(&self) -> usize {
        self.states.lock().expect("unpoisoned").len()
    }

    pub fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + within;
        while !done(self) {
            assert!(
                Instant::now() < until,
                "waited in vain until {what}; mode {:?}",
                self.mode()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn ok(args: &[&str]) -> String {
    let output = tactus(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn refused(args: &[&str], wanted: &[&str]) {
    let output = tactus(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} succeeded");
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("tactus: "))
        .collect();
    assert_eq!(lines.len(), 1, "one sentence: {stderr}");
    for word in wanted {
        assert!(
            lines[0].contains(word),
            "expected `{word}` in: {}",
            lines[0]
        );
    }
}
