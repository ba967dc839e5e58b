//! An FR3 behind `franka-node`, from the command line: looked at, leased, enabled, moved, stopped by somebody else, by a reflex and
//! by the node's death. The node is the published one (`FRANKA_NODE`, its program), the robot franka-sim; `./tests/run --long`
//! builds and installs both and runs the ignored tests here, whose names begin with `node_`.

mod cell;
mod device_cell;
#[path = "../../drivers/franka/tests/robot/mod.rs"]
mod robot;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cell::checkout;
use device_cell::{Ears, Role, SOON, endpoint, ok, refused};
use robot::Robot;
use rustix::process::{Pid, Signal, kill_process};
use tactus_wire::{Guest, ModeWord, MonotonicClock, Session, SessionOptions};

/// The shipped cell with its node at `endpoint`.
fn cell_file(dir: &Path, endpoint: &str) -> String {
    let shipped = checkout().join("launch/cells/fr3-node.toml");
    let text = std::fs::read_to_string(shipped).expect("the shipped cell");
    let text = text.replace("tcp/172.16.0.10:7447", endpoint);
    // Simulator and node are ordinary processes of the same machine.
    let patient = text.replace("proprio_limit_ms = 100 ", "proprio_limit_ms = 300 ");
    assert_ne!(patient, text);
    let file = dir.join("cell.toml");
    std::fs::write(&file, patient).expect("written");
    file.display().to_string()
}

#[test]
fn where_no_node_answers_one_sentence_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), &endpoint());
    for verb in [
        &["device"][..],
        &["device", "check"],
        &["device", "recover"],
    ] {
        let args = [verb, &["--cell", &file]].concat();
        refused(
            &args,
            &[
                "franka-node at tcp/127.0.0.1:",
                "does it run, and listen there?",
            ],
        );
    }
    refused(
        &["device", "power-on", "--cell", &file],
        &["`device power-on` is for other arms", "franka-node"],
    );
    // Zenoh answers, and no arm.
    let at = endpoint();
    let options = SessionOptions {
        listen: vec![at.clone()],
        ..SessionOptions::default()
    };
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let session = Session::open(&options, "test", clock).expect("listens");
    let file = cell_file(dir.path(), &at);
    refused(
        &["device", "--cell", &file],
        &[
            "no state of the arm `fr3` within 3 s",
            "its name in the node's configuration?",
        ],
    );
    session.close();
}

/// The node as a process, for an arm `fr3` at `robot`; ended with the test.
struct Node(Child);

impl Node {
    fn start(dir: &Path, endpoint: &str, robot: &str) -> Self {
        let config = dir.join("node.toml");
        let text = format!(
            "name = \"test\"\n[zenoh]\nlisten = [\"{endpoint}\"]\nmulticast_scouting = false\n\n\
             [[arm]]\nname = \"fr3\"\nhost = \"{robot}\"\nrealtime = \"ignore\"\nstate_hz = 100\n"
        );
        std::fs::write(&config, text).expect("written");
        let program =
            std::env::var_os("FRANKA_NODE").expect("FRANKA_NODE: the program franka-node");
        let child = Command::new(program)
            .arg(config)
            .stdin(Stdio::null())
            .spawn()
            .expect("starts");
        Self(child)
    }

    fn ends(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id() as i32).expect("a process");
        let _ = kill_process(pid, signal);
        self.0.wait().expect("ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the node answers, whatever it says of the arm.
fn until_served(file: &str) {
    let until = Instant::now() + 3 * SOON;
    while !cell::tactus(&["device", "check", "--cell", file])
        .status
        .success()
    {
        assert!(Instant::now() < until, "the node answers");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
#[ignore = "needs franka-sim and franka-node; ./tests/run --long"]
fn node_an_arm_is_leased_enabled_moved_stopped_recovered_cut_off_and_only_an_operator_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut robot = Robot::start();
    let at_node = endpoint();
    let mut node = Node::start(dir.path(), &at_node, &robot.host());
    let file = cell_file(dir.path(), &at_node);
    until_served(&file);
    let check = ["device", "check", "--cell", &file];
    let table = ok(&check);
    for word in ["idle", "nobody", "Idle", "fr3_joint4"] {
        assert!(table.contains(word), "expected `{word}` in: {table}");
    }
    refused(
        &["device", "recover", "--cell", &file],
        &["nothing to recover from"],
    );

    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "fr3-node", "fr3-node");
    let arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", 2 * SOON, |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some_and(|s| !s.torque)
    });
    let table = ok(&check);
    assert!(
        table.contains("acquired") && table.contains("client "),
        "{table}"
    );
    refused(
        &["device", "--cell", &file],
        &["in use by process", "one owner"],
    );
    let at = ["--cell", &file, "--connect", &endpoint];
    let order = |word: &'static str| [&["order"], &at[..], &[word]].concat();
    let goto = |pose: &'static str| [&["arm", "goto", pose, "--speed", "0.9"], &at[..]].concat();
    ok(&order("enable"));
    ok(&goto("0.3,-0.2,0.1,-1.8,0.1,1.7,0.9"));
    let q = ears.state().expect("a state").q;
    for (q, wanted) in q.iter().zip([0.3, -0.2, 0.1, -1.8, 0.1, 1.7, 0.9]) {
        assert!((q - wanted).abs() < 0.05, "{q} {wanted}");
    }

    // Anybody may stop the node's session.
    let guest = Guest::open(&at_node, SOON, SOON).expect("reaches the node");
    let moving = Role::start(&goto("-0.4,-0.2,0.1,-1.8,0.1,1.7,0.9"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < 0.2)
    });
    let stopped = guest.ask("franka/fr3/cmd/stop", br#"{"client_id":1}"#, SOON);
    assert_eq!(stopped.expect("answers"), br#"{"ok":true}"#);
    ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    assert!(!moving.outcome().0, "the motion is not done");
    // And nobody else takes the arm.
    let token = guest.token("franka/fr3/lease/1").expect("declared");
    std::thread::sleep(Duration::from_millis(300));
    let taken = guest.ask("franka/fr3/cmd/acquire", br#"{"client_id":1}"#, SOON);
    let taken = String::from_utf8(taken.expect("answers")).expect("text");
    assert!(taken.contains("held by "), "{taken}");
    drop(token);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        ears.mode(),
        Some(ModeWord::Hold),
        "nothing resumes by itself"
    );
    ok(&order("enable"));

    // A reflex in motion.
    let moving = Role::start(&goto("-0.4,-0.2,0.1,-1.8,0.1,1.7,0.9"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < 0.1)
    });
    robot.does("reflex cartesian_velocity_violation");
    let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    println!("reflex to hold reported: {held:?}");
    assert!(!moving.outcome().0, "the motion is not done");
    refused(&order("enable"), &["torque"]);
    refused(&check, &["faulted", "tactus device recover"]);
    let said = ok(&["device", "recover", "--cell", &file]);
    assert!(
        said.contains("recovered: franka-node was faulted"),
        "{said}"
    );
    // What was refused is not tried again for two seconds.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(ears.mode(), Some(ModeWord::Hold));
    ok(&order("enable"));
    ok(&goto("0.0,0.0,0.0,-1.57,0.0,1.57,0.785"));

    // The node dies in motion, and another one comes.
    let moving = Role::start(&goto("-0.4,-0.2,0.1,-1.8,0.1,1.7,0.9"));
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] < -0.1)
    });
    let epoch = ears.state().expect("a state").epoch;
    node.ends(Signal::KILL);
    let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
    println!("node killed to hold reported: {held:?}");
    assert!(!moving.outcome().0, "the motion is not done");
    robot.does("idle");
    std::thread::sleep(Duration::from_secs(2));
    let _other = Node::start(dir.path(), &at_node, &robot.host());
    ears.wait("the node is back", 3 * SOON, |e| {
        e.state().is_some_and(|s| s.epoch > epoch && !s.torque)
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(ears.mode(), Some(ModeWord::Hold));
    ok(&order("enable"));
    ok(&goto("0.2,-0.2,0.1,-1.8,0.1,1.7,0.9"));
    ok(&order("torque-off"));
    ears.wait("the session is over", SOON, |e| {
        e.state().is_some_and(|s| !s.torque)
    });

    drop(arm);
    let (success, text) = serving.end();
    assert!(success, "{text}");
    for word in [
        "somebody told it to",
        "the arm is not enabled: franka-node is faulted",
        "nothing of franka-node for 1 s",
        "franka-node is back",
        // Of targets.
        "refused: 0",
        "the controller holds the arm",
    ] {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
    let table = ok(&check);
    assert!(table.contains("nobody"), "given back: {table}");
}

#[test]
#[ignore = "needs franka-sim and franka-node; ./tests/run --long"]
fn node_a_device_that_is_killed_in_motion_leaves_an_arm_that_stops_and_is_free() {
    let dir = tempfile::tempdir().expect("a folder");
    let robot = Robot::start();
    let at_node = endpoint();
    let _node = Node::start(dir.path(), &at_node, &robot.host());
    let file = cell_file(dir.path(), &at_node);
    until_served(&file);
    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "fr3-node", "fr3-node");
    let _arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", 2 * SOON, |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some()
    });
    let at = ["--cell", &file, "--connect", &endpoint];
    ok(&[&["order"], &at[..], &["enable"]].concat());
    let pose = "0.6,0.0,0.0,-1.57,0.0,1.57,0.785";
    let _moving = Role::start(&[&["arm", "goto", pose], &at[..]].concat());
    ears.wait("the arm moves", SOON, |e| {
        e.state().is_some_and(|s| s.q[0] > 0.1)
    });
    drop(serving);
    let killed = Instant::now();
    let check = ["device", "check", "--cell", &file];
    while !cell::tactus(&check).status.success() {
        assert!(
            killed.elapsed() < SOON,
            "the session is ended and the arm is free"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("free after {:?}", killed.elapsed());
    let table = ok(&check);
    assert!(table.contains("nobody"), "{table}");
}
