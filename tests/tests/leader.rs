//! A leader arm in someone's hand moves a follower through `tactus teleop`, joint to joint: an SO-101 an SO-101, a Koch a Koch.
//! Both arms are emulated servos, each on a line of its own; everything else are the processes of a cell, in real time.
#![allow(
    clippy::duplicate_mod,
    reason = "each emulator brings the line that its servos are on"
)]

mod cell;
mod device_cell;
#[path = "../../drivers/dynamixel/tests/emulator/mod.rs"]
mod dynamixel;
#[path = "../../drivers/feetech/tests/emulator/mod.rs"]
mod feetech;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::{program, tactus};
use device_cell::{Ears, Role, SOON, endpoint, ok, servo_cell};
use tactus_wire::ModeWord;

const MOTORS: [&str; 6] = [
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
];
/// Ticks of 0.5 rad.
const HALF_RAD: i32 = 326;

/// One at a time: what watches real time is alone with the machine's cores.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An arm's servos on their line.
trait Line {
    fn path(&self) -> &Path;
    /// Positions as a host reads them, ticks.
    fn present(&self) -> Vec<i32>;
    fn torque(&self) -> Vec<bool>;
    /// Someone's hand turns servo `id`.
    fn turn(&self, id: u8, ticks: i32);
    fn unplug(&self, id: u8);
}

impl Line for feetech::ServoBus {
    fn path(&self) -> &Path {
        self.path()
    }

    fn present(&self) -> Vec<i32> {
        self.world().servos.iter().map(|s| s.present()).collect()
    }

    fn torque(&self) -> Vec<bool> {
        self.world().servos.iter().map(|s| s.torque()).collect()
    }

    fn turn(&self, id: u8, ticks: i32) {
        self.world().servo(id).encoder += f64::from(ticks);
    }

    fn unplug(&self, id: u8) {
        self.world().unplug(id);
    }
}

impl Line for dynamixel::ServoBus {
    fn path(&self) -> &Path {
        self.path()
    }

    fn present(&self) -> Vec<i32> {
        self.world().servos.iter().map(|s| s.present()).collect()
    }

    fn torque(&self) -> Vec<bool> {
        self.world().servos.iter().map(|s| s.torque()).collect()
    }

    fn turn(&self, id: u8, ticks: i32) {
        let mut world = self.world();
        let servo = world.servo(id);
        let to = servo.present() + ticks;
        servo.go_to(to);
    }

    fn unplug(&self, id: u8) {
        self.world().unplug(id);
    }
}

/// `tactus teleop` as a process.
struct Teleop {
    child: Child,
    out: Arc<Mutex<String>>,
}

impl Teleop {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(program())
            .arg("teleop")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let out = Arc::<Mutex<String>>::default();
        for mut pipe in [
            Box::new(child.stdout.take().expect("piped")) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().expect("piped")),
        ] {
            let out = out.clone();
            let read = move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = pipe.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..n]);
                    out.lock().expect("unpoisoned").push_str(&text);
                }
            };
            let named = std::thread::Builder::new().name("teleop-out".into());
            named.spawn(read).expect("a thread");
        }
        Self { child, out }
    }

    fn say(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{word}").expect("it listens");
    }

    fn said(&self) -> String {
        self.out.lock().expect("unpoisoned").clone()
    }

    /// Its exit code, and all that it said.
    fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + SOON;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let code = self
            .child
            .try_wait()
            .expect("a child")
            .and_then(|s| s.code());
        std::thread::sleep(Duration::from_millis(100));
        (code, self.said())
    }
}

impl Drop for Teleop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shipped cell of `model` with an enabled follower, and the cell files of a leader, and of an arm that is none.
struct Pair<'a, L> {
    model: &'a str,
    follower: &'a L,
    leader: &'a L,
    file: String,
    leader_file: String,
    wrong_file: String,
    endpoint: String,
    ears: Ears,
    _roles: [Role; 2],
}

impl<'a, L: Line> Pair<'a, L> {
    /// `kind` and `model` as cell files write them; the leader's calibration is the follower's.
    fn start(dir: &Path, kind: &str, model: &'a str, follower: &'a L, leader: &'a L) -> Self {
        let each = MOTORS.iter().zip(1..);
        let servos = each.map(|(name, id)| (*name, id, 0, 10 * id, 1000, 3000));
        let file = servo_cell(dir, model, follower.path(), servos);
        let text = std::fs::read_to_string(&file).expect("the cell");
        let patient = text.replace(
            "proprio_limit_ms = 60 ",
            "operator_limit_ms = 1500\nproprio_limit_ms = 400 ",
        );
        assert_ne!(patient, text);
        std::fs::write(&file, patient).expect("written");
        let file = file.display().to_string();
        let beside = |part: &str| {
            let port = leader.path().display();
            let text = format!(
                "[device]\nkind = \"{kind}\"\nmodel = \"{model}\"\npart = \"{part}\"\nport = \"{port}\"\nrate_hz = 100\ncalibration = \"{model}.json\"\n",
            );
            let file = dir.join(format!("{part}.toml"));
            std::fs::write(&file, text).expect("written");
            file.display().to_string()
        };
        let (leader_file, wrong_file) = (beside("leader"), beside("follower"));
        for file in [&file, &leader_file] {
            ok(&["device", "setup", "--cell", file]);
            ok(&["device", "check", "--cell", file]);
        }
        let endpoint = endpoint();
        let device = Role::start(&["device", "--cell", &file, "--listen", &endpoint]);
        let ears = Ears::open(&endpoint, model, model);
        let arm = Role::start(&["arm", "--cell", &file, "--connect", &endpoint]);
        ears.wait("the arm host is in boot", Duration::from_secs(20), |e| {
            e.mode() == Some(ModeWord::Boot) && e.state().is_some()
        });
        ok(&["order", "--cell", &file, "--connect", &endpoint, "enable"]);
        Self {
            model,
            follower,
            leader,
            file,
            leader_file,
            wrong_file,
            endpoint,
            ears,
            _roles: [device, arm],
        }
    }

    fn at(&self) -> [&str; 4] {
        ["--cell", &self.file, "--connect", &self.endpoint]
    }

    /// Waits for a mode.
    fn sees(&self, mode: ModeWord, what: &str, teleop: &Teleop) {
        let until = Instant::now() + 2 * SOON;
        while self.ears.mode() != Some(mode) {
            assert!(
                Instant::now() < until,
                "waited in vain until {what}; mode {:?}; {}",
                self.ears.mode(),
                teleop.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes over, moves, hands back, holds the clutch; at last a cable of the leader comes out.
    fn lead(&self) {
        let (follower, leader) = (self.follower, self.leader);
        // The leader's joint 2 is half a radian away, its gripper is as the follower's.
        leader.turn(2, HALF_RAD);
        let words = ["--headless", "--source", "leader", "--leader-cell"];
        let mut teleop =
            Teleop::start(&[&self.at()[..], &words, &[self.leader_file.as_str()]].concat());
        self.ears.wait("it shows the mode", 2 * SOON, |_| {
            teleop.said().contains("mode: ready")
        });
        teleop.say("take-over");
        self.sees(ModeWord::Align, "they align", &teleop);
        let started = follower.present();
        std::thread::sleep(Duration::from_millis(500));
        let mode = self.ears.mode();
        assert_eq!(mode, Some(ModeWord::Align), "half a radian apart");
        for (now, then) in follower.present().iter().zip(&started) {
            assert!(
                (now - then).abs() <= 2,
                "it waits where it was: {started:?}"
            );
        }
        // The human brings the leader to where the arm is.
        leader.turn(2, -HALF_RAD);
        self.sees(ModeWord::Teleop, "they are together", &teleop);

        // And moves it, gripper included: slower than the follower's limits.
        for step in 0..100 {
            leader.turn(2, -2);
            leader.turn(5, 1 + step % 2);
            leader.turn(6, 4);
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(700));
        let (leads, follows) = (leader.present(), follower.present());
        println!("{}: leader {leads:?}, follower {follows:?}", self.model);
        for (id, (lead, follow)) in leads.iter().zip(&follows).enumerate() {
            let servo = id + 1;
            assert!((lead - follow).abs() <= 3, "servo {servo}: {lead} {follow}");
        }
        for (id, by) in [(2, -200), (5, 150), (6, 400)] {
            let moved = follows[id - 1] - started[id - 1];
            assert!((moved - by).abs() <= 10, "servo {id}: {moved}");
        }
        let limp = |line: &L| line.torque().iter().all(|on| !on);
        assert!(limp(leader), "a leader has no torque");

        teleop.say("hand-back");
        self.sees(ModeWord::Ready, "nothing was interrupted", &teleop);
        // They are together already.
        teleop.say("take-over");
        self.sees(ModeWord::Teleop, "the human commands again", &teleop);
        // The clutch: the leader goes elsewhere, the arm stays.
        teleop.say("clutch");
        self.sees(ModeWord::Align, "the arm holds", &teleop);
        teleop.say("clutch");
        self.sees(ModeWord::Teleop, "it goes on", &teleop);
        leader.unplug(3);
        self.sees(ModeWord::Hold, "the arm holds", &teleop);
        let (code, said) = teleop.end();
        assert!(
            code == Some(1)
                && said.contains("servo 3 (`elbow_flex`)")
                && said.contains("mode hold"),
            "{code:?} {said}"
        );
        let torque = follower.torque();
        assert!(torque.iter().all(|on| *on), "the end drops nothing");
        assert!(limp(leader));
    }
}

#[test]
fn an_so101_leads_an_so101_and_what_is_no_leader_does_not() {
    let _alone = alone();
    let servos = || {
        let servo = |id: u8| feetech::Servo::new(id).calibrated(10 * i32::from(id), 1000, 3000);
        (1..=6).map(servo).collect()
    };
    let follower = feetech::ServoBus::start(servos());
    let leader = feetech::ServoBus::beside(servos());
    let dir = tempfile::tempdir().expect("a folder");
    let pair = Pair::start(dir.path(), "feetech", "so101", &follower, &leader);
    let wrong = &pair.wrong_file;
    for (words, why) in [
        (
            &["--source", "leader", "--leader-cell", wrong][..],
            "expected leader",
        ),
        (&["--source", "leader"], "needs --leader-cell FILE"),
        (
            &["--source", "gamepad", "--device", "/dev/null"],
            "input device /dev/null",
        ),
        (&["--source", "keyboard"], "needs the terminal"),
        (
            &[
                "--source", "gamepad", "--frame", "base", "--device", "/nowhere",
            ],
            "/nowhere",
        ),
    ] {
        let refused = tactus(&[&["teleop", "--headless"], &pair.at()[..], words].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains(why),
            "{words:?}: {said}"
        );
    }
    pair.lead();
}

#[test]
fn a_koch_leads_a_koch() {
    let _alone = alone();
    // As the factory leaves them but for ids and rate; `tactus device setup` does the rest, for the leader's own file too.
    let of = |models: [u16; 6]| {
        let each = models.into_iter().zip(1..);
        each.map(|(model, id)| dynamixel::Servo::new(id, model))
            .collect()
    };
    let follower = dynamixel::ServoBus::start(of([1060, 1060, 1200, 1200, 1200, 1200]));
    let leader = dynamixel::ServoBus::beside(of([1190; 6]));
    let dir = tempfile::tempdir().expect("a folder");
    let pair = Pair::start(dir.path(), "dynamixel", "koch", &follower, &leader);
    pair.lead();
}
