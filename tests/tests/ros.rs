//! The demo cell as a node of ROS 2, as processes over loopback: what it shows, what it may be told, and what not.
//!
//! (Messages read by `rosbags`, over Zenoh's own Python: drivers/ros/tests.)

mod cell;
mod device_cell;
mod ros_node;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::{Cell, checkout, tactus};
use device_cell::{Role, SOON, endpoint, refused};
use ros_node::{Node, attachment, last, until};
use tactus_ros::cdr;
use tactus_ros::messages::{
    self, Bool, CameraInfo, CompressedImage, Float64MultiArray, JointState, JointTrajectory,
    Nothing, SetBool, Text, TrajectoryPoint, Trigger,
};
use tactus_types::{Rank, Source};
use tactus_wire::{Guest, Mesh, ModeWord};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
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
