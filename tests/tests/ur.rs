//! An emulated UR5e from the command line: looked at, powered, enabled, moved, stopped and unlocked, cut off and back.

mod cell;
#[path = "../../drivers/ur/tests/emulator/mod.rs"]
mod emulator;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{checkout, program, tactus};
use emulator::{Controller, Options, PLAYING, STOPPED};
use rustix::process::{Pid, Signal, kill_process};
use tactus_types::JointState;
use tactus_wire::{
    Cell as WireCell, Delivery, ModeReport, ModeWord, MonotonicClock, Name, Session,
    SessionOptions, Subscriber, Topic,
};

/// The shipped cell at `host`, patient with the emulated controller, which runs as an ordinary process.
fn cell_file(dir: &Path, host: &str) -> PathBuf {
    let shipped = checkout().join("launch/cells/ur5e.toml");
    let text = std::fs::read_to_string(shipped).expect("the shipped cell");
    let file = dir.join("cell.toml");
    let text = text.replace("192.168.0.100", host);
    let patient = text.replace("proprio_limit_ms = 40 ", "proprio_limit_ms = 200 ");
    assert_ne!(patient, text);
    std::fs::write(&file, patient).expect("written");
    file
}

/// A role as a process; killed with the test.
struct Role(Child);

impl Role {
    fn start(args: &[&str]) -> Self {
        let child = Command::new(program())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("starts"))
    }

    /// Ends it in order; what it wrote to stderr.
    fn end(self) -> String {
        let pid = Pid::from_raw(self.0.id() as i32).expect("a process");
        let _ = kill_process(pid, Signal::TERM);
        self.outcome().1
    }

    /// Waits for its end: whether it succeeded, and what it wrote to stderr.
    fn outcome(mut self) -> (bool, String) {
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

/// What the cell says, newest last.
struct Ears {
    modes: Arc<Mutex<Vec<ModeReport>>>,
    states: Arc<Mutex<Vec<JointState>>>,
    _session: Session,
    _subscriptions: [Subscriber; 2],
}

impl Ears {
    fn open(endpoint: &str) -> Self {
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let options = SessionOptions {
            connect: vec![endpoint.into()],
            connect_timeout: Duration::from_secs(20),
            ..SessionOptions::default()
        };
        let session = Session::open(&options, "test", clock).expect("reaches the cell");
        let wire = WireCell::new("ur5e").expect("legal");
        let name = |text| Name::new(text).expect("legal");
        let (modes, states) =
            <(Arc<Mutex<Vec<ModeReport>>>, Arc<Mutex<Vec<JointState>>>)>::default();
        let (to_modes, to_states) = (modes.clone(), states.clone());
        let mode_key = wire.key(&Topic::ArmMode(name("arm")));
        let state_key = wire.key(&Topic::DeviceState(name("ur5e")));
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

    fn mode(&self) -> Option<ModeWord> {
        let modes = self.modes.lock().expect("unpoisoned");
        modes.last().map(|m| m.mode)
    }

    fn state(&self) -> Option<JointState> {
        self.states.lock().expect("unpoisoned").last().copied()
    }

    fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) -> Duration {
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

fn ok(args: &[&str]) -> String {
    let output = tactus(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(args: &[&str], wanted: &[&str]) {
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

const SOON: Duration = Duration::from_secs(10);

#[test]
fn an_arm_is_enabled_moved_stopped_unlocked_cut_off_and_only_an_operator_goes_on() {
    let controller = Controller::start(Options {
        locked_for: Duration::from_millis(200),
        ..Options::default()
    });
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), &controller.host());
    let file = file.display().to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp/{}", listener.local_addr().expect("a port"));
    drop(listener);
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint);
    let arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some_and(|s| !s.torque)
    });
    assert_eq!(controller.world().programs, 0, "starting sends no program");

    let at = ["--cell", &file, "--connect", &endpoint];
    let order = |word: &'static str| [&["order"], &at[..], &[word]].concat();
    let goto = |pose: &'static str, speed: &'static str| {
        [&["arm", "goto", pose, "--speed", speed], &at[..]].concat()
    };
    ok(&order("enable"));
    ok(&goto("0.3,-1.4,1.4,-1.5,-1.6,0.2", "0.9"));
    let q = controller.world().q;
    for (q, wanted) in q.iter().zip([0.3, -1.4, 1.4, -1.5, -1.6, 0.2]) {
        assert!((q - wanted).abs() < 0.03, "{q} {wanted}");
    }

    // A protective stop in motion.
    let moving = Role::start(&goto("-1.2,-1.0,1.2,-1.2,-1.2,0.5", "0.4"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < 0.2)
    });
    controller.world().protective_stop();
    let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    println!("protective stop to hold reported: {held:?}");
    assert!(!moving.outcome().0, "the motion is not done");
    refused(
        &["device", "check", "--cell", &file],
        &["protective stop", "unlock-protective-stop"],
    );
    refused(&order("enable"), &["torque"]);
    std::thread::sleep(Duration::from_millis(250));
    let said = ok(&["device", "unlock-protective-stop", "--cell", &file]);
    assert!(said.contains("Protective stop releasing"), "{said}");
    let stopped_at = controller.world().q;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ears.mode(), Some(ModeWord::Hold));
    assert_eq!(controller.world().q, stopped_at);
    ok(&order("enable"));

    // The cable is cut in motion, and put back.
    let moving = Role::start(&goto("-1.2,-1.0,1.2,-1.2,-1.2,0.5", "0.4"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < stopped_at[0] - 0.05)
    });
    controller.world().network = false;
    let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    println!("cut to hold reported: {held:?}");
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    assert!(!moving.outcome().0, "the motion is not done");
    let epoch = ears.state().expect("a state").epoch;
    let cut_at = controller.world().q;
    controller.world().network = true;
    ears.wait("the device is back", SOON, |e| {
        e.state().is_some_and(|s| s.epoch > epoch)
    });
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(ears.mode(), Some(ModeWord::Hold));
    assert_eq!(controller.world().q, cut_at, "nothing moves by itself");
    ok(&order("enable"));
    ok(&goto("-0.2,-1.2,1.3,-1.4,-1.4,0.4", "0.9"));
    assert_eq!(controller.world().runtime, PLAYING);

    // A second one is refused; the first ends in order, and the controller holds.
    refused(
        &["device", "--cell", &file],
        &["in use by process", "an arm has one owner"],
    );
    drop(arm);
    let text = serving.end();
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    for word in [
        "the arm does not follow any more: protective stop",
        "the arm is not enabled: protective stop",
        "the connection to the controller is lost",
        "connected again",
        "the controller holds the arm",
    ] {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
}

#[test]
fn a_controller_is_found_drafted_checked_and_powered() {
    let controller = Controller::start(Options::default());
    controller.world().robot_mode = 3;
    let host = controller.host();
    let dir = tempfile::tempdir().expect("a folder");
    let draft = dir.path().join("mine.toml").display().to_string();
    let said = ok(&["arm", "probe", "--host", &host, "--draft", &draft]);
    assert!(
        said.contains(&format!(
            "host {host}: an arm of Universal Robots: UR5, serial number 2019"
        )),
        "{said}"
    );
    let check = ["device", "check", "--cell", &draft];
    refused(&check, &["robot mode POWER_OFF", "tactus device power-on"]);
    let verb = |word: &'static str| ["device", word, "--cell", &draft];
    assert!(ok(&verb("power-on")).contains("Powering on"));
    refused(&check, &["robot mode IDLE", "brake-release"]);
    assert!(ok(&verb("brake-release")).contains("Brake releasing"));
    let table = ok(&check);
    for word in [
        "software 5.12.0.1101319",
        "remote",
        "RUNNING",
        "normal",
        "STOPPED",
        "100 %",
        "wrist_3_joint",
        "-89.95 deg",
    ] {
        assert!(table.contains(word), "expected `{word}` in: {table}");
    }
    assert!(ok(&verb("power-off")).contains("Powering off"));
    refused(&verb("setup"), &["`device setup` is for arms of servos"]);
    controller.world().remote = false;
    refused(
        &verb("power-on"),
        &["please switch robot to Remote Control mode"],
    );
    refused(&check, &["local control"]);
    let world = controller.world();
    assert_eq!((world.programs, world.commands), (0, 0));
}

#[test]
fn what_is_no_such_robot_is_refused_in_one_sentence() {
    let controller = Controller::start(Options {
        model: "UR10".into(),
        ..Options::default()
    });
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), &controller.host())
        .display()
        .to_string();
    refused(
        &["device", "--cell", &file],
        &["the arm is a UR10, expected a ur5e"],
    );
    let file = cell_file(dir.path(), "127.1.9.9").display().to_string();
    refused(
        &["device", "--cell", &file],
        &["host 127.1.9.9, port 30004 (RTDE)", "is the controller on"],
    );
    refused(
        &["arm", "probe", "--host", "no-such-robot.invalid"],
        &["host `no-such-robot.invalid`"],
    );
    let so101 = checkout()
        .join("launch/cells/so101.toml")
        .display()
        .to_string();
    refused(
        &["device", "power-on", "--cell", &so101],
        &["`device power-on` is for another kind of arm"],
    );
}
