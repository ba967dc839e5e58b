//! An arm of ROS 2 as a device, as processes over loopback: a played state broadcaster and trajectory controller.

mod cell;
mod device_cell;
mod ros_node;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::checkout;
use device_cell::{Ears, Role, SOON, endpoint, ok, refused};
use ros_node::{Node, until};
use tactus_ros::messages::{JointState, JointTrajectory};
use tactus_ros::{cdr, show};
use tactus_wire::ModeWord;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
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
