//! ROS 2 on both sides, as processes over loopback: the demo cell as a node, and an arm of ROS 2 as a device.
//!
//! The other side is a plain Zenoh session that speaks rmw_zenoh's bytes: keys and attachments are written out here, by hand.
//! (Messages read by `rosbags`, over Zenoh's own Python: drivers/ros/tests.)

mod cell;
mod device_cell;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::{Cell, checkout, tactus};
use device_cell::{Ears, Role, SOON, endpoint, ok, refused};
use tactus_ros::messages::{
    self, Bool, CameraInfo, CompressedImage, Float64MultiArray, JointState, JointTrajectory,
    Nothing, Outcome, RosMessage, RosService, SetBool, Text, TrajectoryPoint, Trigger,
};
use tactus_ros::{RosType, cdr, show};
use tactus_types::{Rank, Source};
use tactus_wire::{Guest, Mesh, ModeWord, RawPublisher, Subscriber};

/// Of the services' answers.
const ANSWER: Duration = Duration::from_secs(10);
/// A gid that some client of ROS 2 may have.
const GID: [u8; 16] = *b"a client's gid..";

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 33 bytes, as rmw_zenoh writes them.
fn attachment(sequence: i64) -> Vec<u8> {
    let at: i64 = 1_700_000_000_000_000_000;
    let mut bytes = Vec::new();
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.push(16);
    bytes.extend(GID);
    bytes
}

fn key(domain: u8, name: &str, ty: RosType) -> String {
    format!("{domain}/{name}/{}/{}", ty.dds, ty.hash)
}

/// Everything that came on a topic: attachment and payload.
type Came = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A node of ROS 2, made by hand.
struct Node {
    guest: Guest,
    domain: u8,
    sequence: AtomicI64,
}

impl Node {
    fn connect(endpoint: &str, domain: u8) -> Self {
        let guest = Guest::join(&Mesh {
            connect: vec![endpoint.into()],
            listen: vec![],
            network: false,
        });
        Self {
            guest: guest.expect("joins"),
            domain,
            sequence: AtomicI64::new(0),
        }
    }

    fn listening(at: &str, domain: u8) -> Self {
        let guest = Guest::join(&Mesh {
            connect: vec![],
            listen: vec![at.into()],
            network: false,
        });
        Self {
            guest: guest.expect("listens"),
            domain,
            sequence: AtomicI64::new(0),
        }
    }

    fn next(&self) -> Vec<u8> {
        attachment(self.sequence.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn listen<M: RosMessage>(&self, topic: &str) -> (Subscriber, Came) {
        let came = Came::default();
        let to = came.clone();
        let heard = move |heard: tactus_wire::Heard<'_>| {
            let attachment = heard.attachment.unwrap_or_default().to_vec();
            let mut came = to.lock().expect("unpoisoned");
            came.push((attachment, heard.payload.to_vec()));
        };
        let listening = self.guest.listen(&key(self.domain, topic, M::TYPE), heard);
        (listening.expect("subscribed"), came)
    }

    fn publisher<M: RosMessage>(&self, topic: &str) -> RawPublisher {
        let publisher = self.guest.publisher(&key(self.domain, topic, M::TYPE));
        publisher.expect("declared")
    }

    fn put<M: RosMessage>(&self, to: &RawPublisher, message: &M) {
        let payload = cdr::encode(message).expect("encoded");
        to.put(Some(&self.next()), &payload).expect("sent");
    }

    fn ask<S: RosService>(
        &self,
        name: &str,
        request: &S::Request,
        attachment: Option<&[u8]>,
        within: Duration,
    ) -> Result<(S::Response, Vec<u8>), String> {
        let payload = cdr::encode(request).expect("encoded");
        let key = key(self.domain, name, S::TYPE);
        let asked = self.guest.ask_with(&key, attachment, &payload, within);
        let (payload, attachment) = asked.map_err(|e| e.to_string())?;
        let answer = cdr::decode(&payload).map_err(|e| e.to_string())?;
        Ok((answer, attachment.unwrap_or_default()))
    }

    fn call<S: RosService<Response = Outcome>>(&self, name: &str, request: &S::Request) -> Outcome {
        let mine = self.next();
        let (outcome, theirs) = self
            .ask::<S>(name, request, Some(&mine), ANSWER)
            .expect("an answer");
        // The same question, by sequence and gid; another time.
        assert_eq!(theirs.len(), 33);
        assert_eq!((&theirs[..8], &theirs[16..]), (&mine[..8], &mine[16..]));
        outcome
    }

    fn trigger(&self, name: &str) -> Outcome {
        self.call::<Trigger>(name, &Nothing::default())
    }
}

/// Waits until `done`.
fn until(what: &str, within: Duration, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < within, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn last<M: RosMessage>(came: &Came) -> Option<M> {
    let came = came.lock().expect("unpoisoned");
    let (attachment, payload) = came.last()?;
    assert_eq!(attachment.len(), 33, "rmw_zenoh aborts on another");
    Some(cdr::decode(payload).expect("a message"))
}

/// The demo cell, patient with a busy machine.
fn sim_cell() -> Cell {
    Cell::start(|text| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
            .replace(
                "settle_ms = 200 ",
                "operator_limit_ms = 1500\nsettle_ms = 200 ",
            )
    })
}

/// `tactus ros` beside `cell`, and a node connected to it.
fn bridge(cell: &Cell, domain: u8, more: &[&str]) -> (Role, Node) {
    let (file, at) = (cell.file.display().to_string(), endpoint());
    // No router is there; whoever knows where the bridge listens needs none.
    let (router, domain_word) = (endpoint(), domain.to_string());
    let args = [
        &["ros", "--cell", &file, "--connect", &cell.endpoint][..],
        &["--ros-router", &router, "--ros-listen", &at],
        &["--domain-id", &domain_word],
        more,
    ];
    let bridge = Role::start(&args.concat());
    let node = Node::connect(&at, domain);
    until(
        "the bridge is in the graph",
        Duration::from_secs(20),
        || !graph(&node).is_empty(),
    );
    (bridge, node)
}

/// Tokens of the domain without session and numbers: `MP /tactus/mode`.
fn graph(node: &Node) -> Vec<String> {
    let pattern = format!("@ros2_lv/{}/**", node.domain);
    let tokens = node.guest.tokens(&pattern, Duration::from_secs(1));
    let short = |token: &String| {
        let fields: Vec<&str> = token.split('/').collect();
        // @ros2_lv domain session node number kind enclave namespace name ..
        assert_eq!(
            (fields[0], fields[6], fields[7], fields[8]),
            ("@ros2_lv", "%", "%tactus", "demo")
        );
        match fields[5] {
            "NN" => "NN".to_owned(),
            kind => format!("{kind} {}", fields[9].replace('%', "/")),
        }
    };
    let mut short: Vec<String> = tokens.expect("asked").iter().map(short).collect();
    short.sort();
    short
}

fn mode(cell: &Cell) -> Option<ModeWord> {
    cell.mode().map(|m| m.mode)
}

#[test]
fn the_cell_is_a_node_that_shows_itself_and_can_be_held_and_nothing_else() {
    let _alone = alone();
    let cell = sim_cell();
    let (bridge, node) = bridge(&cell, 7, &[]);
    let wanted = [
        "MP /tactus/camera/scene/camera_info",
        "MP /tactus/camera/scene/image_raw/compressed",
        "MP /tactus/camera/wrist/camera_info",
        "MP /tactus/camera/wrist/image_raw/compressed",
        "MP /tactus/joint_commands",
        "MP /tactus/joint_states",
        "MP /tactus/mode",
        "NN",
        "SS /tactus/end",
        "SS /tactus/hold",
        "SS /tactus/stop",
    ];
    until("everything is in the graph", SOON, || {
        graph(&node) == wanted
    });

    let (_joints, states) = node.listen::<JointState>("tactus/joint_states");
    let (_commands, commands) = node.listen::<JointState>("tactus/joint_commands");
    let (_modes, modes) = node.listen::<Text>("tactus/mode");
    let (_pictures, pictures) =
        node.listen::<CompressedImage>("tactus/camera/scene/image_raw/compressed");
    let (_infos, infos) = node.listen::<CameraInfo>("tactus/camera/scene/camera_info");
    until("all topics speak", SOON, || {
        [&states, &modes, &pictures, &infos]
            .iter()
            .all(|came| came.lock().expect("unpoisoned").len() > 1)
    });
    let said: JointState = last(&states).expect("joints");
    assert_eq!(said.name.last().map(String::as_str), Some("gripper"));
    assert_eq!(
        (said.name.len(), said.position.len(), said.velocity.len()),
        (7, 7, 7)
    );
    let measured = cell.states.lock().expect("unpoisoned").last().copied();
    let measured = measured.expect("a state");
    for (ours, theirs) in measured.q.iter().zip(&said.position) {
        assert!((ours - theirs).abs() < 0.05, "{measured:?} {said:?}");
    }
    let rows = states.lock().expect("unpoisoned").clone();
    let sequences: Vec<i64> = rows
        .iter()
        .map(|(a, _)| i64::from_le_bytes(a[..8].try_into().expect("eight")))
        .collect();
    assert!(
        sequences.windows(2).all(|pair| pair[1] > pair[0]),
        "{sequences:?}"
    );
    assert!(
        rows.iter()
            .all(|(a, _)| a[16] == 16 && a[17..] == rows[0].0[17..])
    );
    let picture: CompressedImage = last(&pictures).expect("a picture");
    assert_eq!(
        (picture.format.as_str(), &picture.data.0[..2]),
        ("jpeg", &[0xff, 0xd8][..])
    );
    let info: CameraInfo = last(&infos).expect("an info");
    assert!(
        info.width > 0 && info.k[0] == 0.0,
        "nobody has calibrated it: {info:?}"
    );
    assert_eq!(info.header.frame_id, "scene_optical_frame");

    cell.start_episode(7401);
    cell.wait("the policy commands", SOON, || {
        mode(&cell) == Some(ModeWord::Policy)
    });
    until("ROS 2 hears of it", SOON, || {
        last::<Text>(&modes).is_some_and(|text| text.data.starts_with("policy"))
    });
    until("commands are shown", SOON, || {
        last::<JointState>(&commands).is_some()
    });

    // A question with another attachment, or none, is not answered, and ends no motion.
    let soon = Duration::from_millis(700);
    let whole = attachment(1);
    let mut gid = whole.clone();
    gid[16] = 15;
    for wrong in [None, Some(&whole[..32]), Some(&[0; 77][..]), Some(&gid[..])] {
        let asked = node.ask::<Trigger>("tactus/hold", &Nothing::default(), wrong, soon);
        assert!(asked.is_err(), "{asked:?}");
    }
    // A hold that was asked for would stay.
    cell.wait("the policy commands", SOON, || {
        mode(&cell) == Some(ModeWord::Policy)
    });
    // What begins motion is not there.
    let asked = node.ask::<Trigger>("tactus/enable", &Nothing::default(), Some(&whole), soon);
    assert!(asked.is_err(), "{asked:?}");

    let held = node.trigger("tactus/hold");
    assert!(held.success, "{held:?}");
    cell.wait("the arm holds", SOON, || {
        mode(&cell) == Some(ModeWord::Hold)
    });
    let (done, said) = bridge.end();
    assert!(done, "{said}");
    assert!(said.contains("expected 33 bytes, got 32"), "{said}");
    until("the node is gone", SOON, || graph(&node).is_empty());
}

fn to(joints: &[String], q: &[f64], secs: f64) -> JointTrajectory {
    let span = Duration::try_from_secs_f64(secs).expect("a span");
    JointTrajectory {
        joint_names: joints.to_vec(),
        points: vec![TrajectoryPoint {
            positions: q.to_vec(),
            time_from_start: messages::Duration::from_std(span),
            ..TrajectoryPoint::default()
        }],
        ..JointTrajectory::default()
    }
}

#[test]
fn ros_2_commands_the_arm_under_a_lease_below_an_operators() {
    let _alone = alone();
    let cell = sim_cell();
    let (bridge, node) = bridge(
        &cell,
        0,
        &["--commands", "--instruction", "pick up the red cube"],
    );
    let trajectories = node.publisher::<JointTrajectory>("tactus/command/joint_trajectory");
    let positions = node.publisher::<Float64MultiArray>("tactus/command/positions");
    let (_joints, states) = node.listen::<JointState>("tactus/joint_states");
    until("joints come", SOON, || {
        last::<JointState>(&states).is_some()
    });
    let at = || {
        let said: JointState = last(&states).expect("joints");
        let n = said.name.len() - 1;
        (said.name[..n].to_vec(), said.position[..n].to_vec())
    };
    // Subscribers of the bridge are known here only after a while.
    std::thread::sleep(Duration::from_millis(500));

    until("enabled", SOON, || node.trigger("tactus/enable").success);
    cell.wait("ready", SOON, || mode(&cell) == Some(ModeWord::Ready));
    let (joints, home) = at();
    let mut goal = home.clone();
    goal[0] += 0.25;
    // Nobody has taken over: it moves nothing.
    node.put(&trajectories, &to(&joints, &goal, 1.5));
    std::thread::sleep(Duration::from_millis(600));
    let moved = |by: &[f64]| (at().1[0] - by[0]).abs();
    assert!(moved(&home) < 0.02, "{:?}", at());
    assert_eq!(mode(&cell), Some(ModeWord::Ready));

    let taken = node.call::<SetBool>("tactus/command", &Bool { data: true });
    assert!(taken.success, "{taken:?}");
    let holder = cell.mode().and_then(|m| m.lease).expect("a lease");
    assert_eq!(holder.rank, Rank::Outside);
    // By others, with a name too many, too fast, out of reach, not a number: refused, and nothing moves.
    let mut foreign = to(&joints, &goal, 1.5);
    foreign.joint_names[0] = "another".into();
    node.put(&trajectories, &foreign);
    node.put(&trajectories, &to(&joints, &goal, 0.01));
    let mut nan = goal.clone();
    nan[1] = f64::NAN;
    node.put(&trajectories, &to(&joints, &nan, 1.5));
    let mut far = home.clone();
    far[0] += 1.0;
    node.put(
        &positions,
        &Float64MultiArray {
            data: far,
            ..Float64MultiArray::default()
        },
    );
    // One that would be good, but for its attachment.
    let payload = cdr::encode(&to(&joints, &goal, 1.5)).expect("encoded");
    trajectories.put(None, &payload).expect("sent");
    trajectories.put(Some(&[0; 77]), &payload).expect("sent");
    // And bytes that are none.
    trajectories
        .put(Some(&node.next()), &payload[..payload.len() - 9])
        .expect("sent");
    std::thread::sleep(Duration::from_millis(600));
    assert!(moved(&home) < 0.02, "{:?}", at());

    node.put(&trajectories, &to(&joints, &goal, 1.5));
    cell.wait("the arm is where ROS 2 wants it", SOON, || {
        moved(&goal) < 0.03
    });
    let applied = cell.applied.lock().expect("unpoisoned").clone();
    assert!(
        applied
            .iter()
            .any(|a| a.command.setpoint.source == Source::Teleop)
    );
    // It has fallen silent: the arm holds, and waits for it.
    cell.wait("the arm waits", SOON, || {
        mode(&cell) == Some(ModeWord::Align)
    });
    // Positions, as a stream; the arm goes back with it.
    let from = at().1;
    let until_back = Instant::now() + SOON;
    let mut share: f64 = 0.0;
    while moved(&home) > 0.03 {
        assert!(Instant::now() < until_back, "{:?} {:?}", at(), mode(&cell));
        share = (share + 0.01).min(1.0);
        let data = from
            .iter()
            .zip(&home)
            .map(|(a, b)| a + share * (b - a))
            .collect();
        node.put(
            &positions,
            &Float64MultiArray {
                data,
                ..Float64MultiArray::default()
            },
        );
        std::thread::sleep(Duration::from_millis(20));
    }

    // An operator takes over: ROS 2 is out, and does not come back while the operator is there.
    let human = cell.acquire("human", Rank::Teleop).expect("above it");
    cell.wait("the arm holds", SOON, || {
        matches!(mode(&cell), Some(ModeWord::Hold))
    });
    let before = at().1;
    node.put(&trajectories, &to(&joints, &goal, 1.5));
    let again = node.call::<SetBool>("tactus/command", &Bool { data: true });
    assert!(
        !again.success && again.message.contains("human"),
        "{again:?}"
    );
    std::thread::sleep(Duration::from_millis(500));
    assert!(moved(&before) < 0.02);
    drop(human);

    // Orders: enabled, started, held, stopped.
    until("enabled", SOON, || node.trigger("tactus/enable").success);
    until("started", SOON, || node.trigger("tactus/start").success);
    cell.wait("the policy commands", SOON, || {
        mode(&cell) == Some(ModeWord::Policy)
    });
    assert_eq!(
        cell.mode().map(|m| m.instruction),
        Some("pick up the red cube".into())
    );
    // It takes over from the policy, and the death of the bridge ends in a hold.
    let taken = node.call::<SetBool>("tactus/command", &Bool { data: true });
    assert!(taken.success, "{taken:?}");
    drop(bridge);
    cell.wait("the arm holds", SOON, || {
        mode(&cell) == Some(ModeWord::Hold)
    });
}

#[test]
fn the_network_of_ros_2_has_to_be_wanted_and_names_to_be_legal() {
    let cell = checkout().join("launch/cells/demo.toml");
    let cell = cell.display().to_string();
    let help = String::from_utf8(tactus(&["ros", "--help"]).stdout).expect("text");
    for word in ["--ros-network", "--commands", "--domain-id", "rmw_zenoh"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    refused(
        &["ros", "--cell", &cell, "--namespace", "tactus"],
        &["--namespace", "slash"],
    );
    let wrong = tactus(&["ros", "--cell", &cell, "--domain-id", "233"]);
    assert_eq!(wrong.status.code(), Some(2));
    let far = Guest::join(&Mesh {
        connect: vec!["tcp/192.0.2.1:7447".into()],
        listen: vec![],
        network: false,
    });
    let error = far.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        error.contains("192.0.2.1") && error.contains("this host alone"),
        "{error}"
    );
    let all = Guest::join(&Mesh {
        connect: vec![],
        listen: vec!["tcp/0.0.0.0:0".into()],
        network: false,
    });
    assert!(all.is_err());
    let wanted = Guest::join(&Mesh {
        connect: vec![],
        listen: vec!["tcp/0.0.0.0:0".into()],
        network: true,
    });
    assert!(wanted.is_ok());
}

/// Joints of launch/cells/ros2.toml.
const JOINTS: [&str; 6] = [
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
];

/// A ROS 2 arm: a state broadcaster and a trajectory controller, played at 100 Hz by what they document.
struct RosArm {
    q: Arc<Mutex<Vec<f64>>>,
    /// It says its joints, and its stamps move on.
    speaks: Arc<AtomicBool>,
    moves_on: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<JointTrajectory>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RosArm {
    fn start(at: &str) -> Self {
        let node = Node::listening(at, 3);
        let states = node.publisher::<JointState>("joint_states");
        let mut arm = Self {
            q: Arc::new(Mutex::new(vec![0.1; 6])),
            speaks: Arc::new(AtomicBool::new(true)),
            moves_on: Arc::new(AtomicBool::new(true)),
            heard: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (heard, q) = (arm.heard.clone(), arm.q.clone());
        let (speaks, moves_on, stop) = (arm.speaks.clone(), arm.moves_on.clone(), arm.stop.clone());
        let run = move || {
            let (_listening, came) =
                node.listen::<JointTrajectory>("joint_trajectory_controller/joint_trajectory");
            let mut playing: Option<(Instant, Vec<f64>, JointTrajectory)> = None;
            let mut tick: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                let new = std::mem::take(&mut *came.lock().expect("unpoisoned"));
                for (attachment, payload) in new {
                    assert_eq!(attachment.len(), 33);
                    let asked: JointTrajectory = cdr::decode(&payload).expect("a trajectory");
                    let from = q.lock().expect("unpoisoned").clone();
                    heard.lock().expect("unpoisoned").push(asked.clone());
                    playing = Some((Instant::now(), from, asked));
                }
                if let Some((since, from, asked)) = &playing {
                    let t = since.elapsed().as_secs_f64();
                    let mut last = (0.0, from.clone());
                    let mut now = None;
                    for point in &asked.points {
                        let at = point
                            .time_from_start
                            .to_std()
                            .expect("positive")
                            .as_secs_f64();
                        if t < at {
                            let share = (t - last.0) / (at - last.0);
                            let pairs = last.1.iter().zip(&point.positions);
                            now = Some(pairs.map(|(a, b)| a + share * (b - a)).collect());
                            break;
                        }
                        last = (at, point.positions.clone());
                    }
                    *q.lock().expect("unpoisoned") = now.unwrap_or(last.1);
                }
                if moves_on.load(Ordering::Relaxed) {
                    tick += 1;
                }
                if speaks.load(Ordering::Relaxed) {
                    // Another joint among them, and not in the cell's order.
                    let q = q.lock().expect("unpoisoned").clone();
                    let names = JOINTS.iter().rev().map(|n| (*n).to_owned());
                    let message = JointState {
                        header: show::header(1_700_000_000_000_000_000 + tick * 10_000_000, "base"),
                        name: ["finger".to_owned()].into_iter().chain(names).collect(),
                        position: [0.5].into_iter().chain(q.into_iter().rev()).collect(),
                        ..JointState::default()
                    };
                    node.put(&states, &message);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let thread = std::thread::Builder::new()
            .name("ros-arm".into())
            .spawn(run);
        arm.thread = Some(thread.expect("a thread"));
        arm
    }

    fn at(&self) -> Vec<f64> {
        self.q.lock().expect("unpoisoned").clone()
    }

    fn trajectories(&self) -> usize {
        self.heard.lock().expect("unpoisoned").len()
    }
}

impl Drop for RosArm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The shipped cell, of the arm at `router`, patient with a busy machine.
fn ros_cell(dir: &std::path::Path, router: &str) -> String {
    let shipped = checkout().join("launch/cells/ros2.toml");
    let text = std::fs::read_to_string(shipped).expect("the shipped cell");
    let patient = text
        .replace("tcp/127.0.0.1:7447", router)
        .replace("domain_id = 0 ", "domain_id = 3 ")
        .replace("stale_ms = 100 ", "stale_ms = 300 ")
        .replace("proprio_limit_ms = 100 ", "proprio_limit_ms = 400 ");
    assert_ne!(patient, text);
    let file = dir.join("cell.toml");
    std::fs::write(&file, patient).expect("written");
    file.display().to_string()
}

#[test]
fn an_arm_of_ros_2_is_enabled_moved_falls_silent_and_freezes_and_only_an_operator_goes_on() {
    let _alone = alone();
    let router = endpoint();
    let arm = RosArm::start(&router);
    let dir = tempfile::tempdir().expect("a folder");
    let file = ros_cell(dir.path(), &router);
    let said = ok(&["device", "check", "--cell", &file]);
    assert!(
        said.contains("wrist_3_joint") && said.contains("0.1000 rad"),
        "{said}"
    );

    let endpoint = endpoint();
    let serving = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
    let ears = Ears::open(&endpoint, "ros2", "ros2");
    let host = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
    ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
        e.mode() == Some(ModeWord::Boot) && e.state().is_some()
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(arm.trajectories(), 0, "starting commands nothing");
    let at = ["--cell", &file, "--connect", &endpoint];
    let order = |word: &'static str| [&["order"], &at[..], &[word]].concat();
    let goto = |pose: &'static str| [&["arm", "goto", pose, "--speed", "0.9"], &at[..]].concat();
    ok(&order("enable"));
    ok(&goto("0.3,-0.2,0.2,0.1,0.1,0.2"));
    until("the arm is there", SOON, || {
        let wanted = [0.3, -0.2, 0.2, 0.1, 0.1, 0.2];
        arm.at()
            .iter()
            .zip(wanted)
            .all(|(q, w)| (q - w).abs() < 0.01)
    });
    {
        let heard = arm.heard.lock().expect("unpoisoned");
        assert!(heard.iter().all(|t| {
            t.joint_names == JOINTS
                && t.header.stamp.is_zero()
                && t.points
                    .last()
                    .is_some_and(|p| p.velocities.iter().all(|v| *v == 0.0))
        }));
    }
    // At rest it is left alone.
    std::thread::sleep(Duration::from_millis(600));
    let then = arm.trajectories();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(arm.trajectories(), then);

    for fault in ["silent", "frozen"] {
        let epoch = ears.state().expect("a state").epoch;
        let moving = Role::start(&goto(match fault {
            "silent" => "-0.9,-0.2,0.2,0.1,0.1,0.2",
            _ => "0.9,-0.2,0.2,0.1,0.1,0.2",
        }));
        let before = arm.at()[0];
        until("the arm moves", SOON, || {
            (arm.at()[0] - before).abs() > 0.05
        });
        let flag = if fault == "silent" {
            &arm.speaks
        } else {
            &arm.moves_on
        };
        flag.store(false, Ordering::Relaxed);
        let held = ears.wait("the arm holds", SOON, |e| e.mode() == Some(ModeWord::Hold));
        println!("{fault} to hold reported: {held:?}");
        assert!(!moving.outcome().0, "the motion is not done");
        std::thread::sleep(Duration::from_millis(700));
        let stopped = arm.at();
        flag.store(true, Ordering::Relaxed);
        ears.wait("a new epoch", SOON, |e| {
            e.state().is_some_and(|s| s.epoch > epoch)
        });
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(ears.mode(), Some(ModeWord::Hold));
        let apart = arm
            .at()
            .iter()
            .zip(&stopped)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(apart < 0.005, "nothing moves by itself: {apart}");
        ok(&order("enable"));
        ok(&goto("0.0,-0.2,0.2,0.1,0.1,0.2"));
    }

    refused(&["device", "--cell", &file], &["joint_states", "process"]);
    drop(host);
    let (_, text) = serving.end();
    for word in ["has said nothing that counts", "speaks again"] {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[test]
fn an_arm_with_other_joints_or_none_is_refused() {
    let _alone = alone();
    let router = endpoint();
    let dir = tempfile::tempdir().expect("a folder");
    let file = ros_cell(dir.path(), &router);
    refused(
        &["device", "check", "--cell", &file],
        &["/joint_states", "nothing came", "domain 3"],
    );
    let _arm = RosArm::start(&router);
    let text = std::fs::read_to_string(&file).expect("text");
    std::fs::write(&file, text.replace("wrist_3_joint", "wrist_4_joint")).expect("written");
    refused(
        &["device", "check", "--cell", &file],
        &["wrist_4_joint", "missing"],
    );
}
