//! The client of `franka-node` on a node that is played after its documentation (0.4.0): lease, sessions, gates, its two
//! watchdogs, faults, silence. No network and no robot: those are `tests/tests/franka_node.rs`', with the real one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tactus_drivers_api::lock::own_name;
use tactus_drivers_api::wire::MonotonicClock;
use tactus_drivers_api::{Device, Goal, Pacer};
use tactus_franka::node::link::Wire;
use tactus_franka::node::wire::{STATE_BYTES, TARGET_BYTES, Verb};
use tactus_franka::node::{Gates, Inbox};
use tactus_franka::{FrankaError, NodeArm, NodeSpec};
use tactus_types::{Clock, JointState, JointVec};

const HOME: [f64; 7] = [0.0, 0.0, 0.0, -1.57, 0.0, 1.57, 0.785];
const SOON: Duration = Duration::from_secs(10);
const IDLE: u8 = 0;
const ACQUIRED: u8 = 1;
const ACTIVE: u8 = 2;
const FAULTED: u8 = 4;
/// Modes of the robot.
const MODE_IDLE: u8 = 1;
const MODE_MOVE: u8 = 2;
const MODE_REFLEX: u8 = 4;

/// A node with one arm.
struct Node {
    phase: u8,
    mode: u8,
    holder: u32,
    joints: bool,
    holding: bool,
    q: [f64; 7],
    target: [f64; 7],
    began: [f64; 7],
    seq: u64,
    accepted: u64,
    refused: u64,
    robot_millis: u64,
    last_accepted: Instant,
    last_arrived: Instant,
    asked: Vec<Verb>,
    /// Answers to `acquire` before it sees the token.
    blind: u32,
    /// It reads the robot no more, and repeats what it read.
    frozen: bool,
    /// It publishes nothing and answers nothing.
    silent: bool,
    /// Targets that the network loses.
    lost: u32,
    max_step: f64,
    /// Largest step that was ever asked for.
    largest: f64,
}

impl Node {
    fn tick(&mut self, millis: u64) {
        self.robot_millis += millis;
        if self.phase != ACTIVE {
            return;
        }
        for i in 0..7 {
            // A fifth of 2.62 rad/s.
            let step = 0.524e-3 * millis as f64;
            self.q[i] += (self.target[i] - self.q[i]).clamp(-step, step);
            if (self.q[i] - self.began[i]).abs() > 1.0 {
                (self.phase, self.mode) = (FAULTED, MODE_IDLE);
                return;
            }
        }
        self.holding = self.last_accepted.elapsed() > Duration::from_millis(200);
        if self.last_arrived.elapsed() > Duration::from_secs(2) {
            self.end();
        }
    }

    fn end(&mut self) {
        (self.phase, self.mode) = (IDLE, MODE_IDLE);
        (self.joints, self.holding, self.target) = (false, false, self.q);
    }

    fn target(&mut self, bytes: &[u8]) {
        assert_eq!((bytes.len(), bytes[0], bytes[1]), (TARGET_BYTES, 1, 2));
        if self.lost > 0 {
            self.lost -= 1;
            return;
        }
        let seq = u64::from_le_bytes(bytes[8..16].try_into().expect("eight"));
        let client = u32::from_le_bytes(bytes[4..8].try_into().expect("four"));
        if self.phase != ACTIVE || client != self.holder || seq <= self.seq {
            self.refused += 1;
            return;
        }
        let q: [f64; 7] = std::array::from_fn(|i| {
            f64::from_le_bytes(bytes[24 + 8 * i..32 + 8 * i].try_into().expect("eight"))
        });
        self.last_arrived = Instant::now();
        let pairs = q.iter().zip(&self.target);
        let step = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if step > self.max_step {
            self.refused += 1;
            return;
        }
        self.largest = self.largest.max(step);
        (self.target, self.seq, self.last_accepted) = (q, seq, self.last_arrived);
        self.accepted += 1;
    }

    fn answer(&mut self, verb: Verb, client: u32) -> Result<(), String> {
        self.asked.push(verb);
        let not_allowed = || Err("not allowed in this phase".to_owned());
        match (verb, self.phase) {
            (Verb::Acquire, _) if self.blind > 0 => {
                self.blind -= 1;
                Err("no lease".into())
            }
            (Verb::Acquire, _) if self.holder != 0 && self.holder != client => {
                Err(format!("held by {}", self.holder))
            }
            (Verb::Acquire, IDLE | ACQUIRED) => {
                (self.holder, self.phase) = (client, ACQUIRED);
                Ok(())
            }
            (Verb::Acquire, FAULTED) => Err("not allowed in faulted".into()),
            (Verb::Release, ACTIVE) => not_allowed(),
            (Verb::Release, _) => {
                (self.holder, self.phase) = (0, IDLE);
                Ok(())
            }
            (Verb::Enable, IDLE | ACQUIRED) if self.holder == client => {
                (self.phase, self.mode, self.joints) = (ACTIVE, MODE_MOVE, true);
                (self.began, self.target, self.seq) = (self.q, self.q, 0);
                (self.accepted, self.refused) = (0, 0);
                (self.last_accepted, self.last_arrived) = (Instant::now(), Instant::now());
                Ok(())
            }
            (Verb::Stop, ACTIVE) => {
                self.end();
                Ok(())
            }
            (Verb::Recover, phase) if phase != ACTIVE => {
                self.end();
                Ok(())
            }
            _ => not_allowed(),
        }
    }

    fn state(&self) -> Vec<u8> {
        let mut bytes = vec![0; STATE_BYTES];
        let head = [1, self.phase, self.mode, u8::from(self.mode == MODE_REFLEX)];
        bytes[..4].copy_from_slice(&head);
        bytes[4] = u8::from(self.holding) | u8::from(self.joints) << 1;
        bytes[6..10].copy_from_slice(&self.holder.to_le_bytes());
        bytes[34..42].copy_from_slice(&self.robot_millis.to_le_bytes());
        for (at, values) in [(50, self.q), (394, self.target)] {
            for (i, value) in values.iter().enumerate() {
                bytes[at + 8 * i..at + 8 * i + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes[450..458].copy_from_slice(&self.accepted.to_le_bytes());
        bytes[458..466].copy_from_slice(&self.refused.to_le_bytes());
        bytes
    }
}

/// The node as a process: its states come a hundred times a second, and once a second anew while no session runs.
struct Played {
    node: Arc<Mutex<Node>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Cable(Arc<Mutex<Node>>);

impl Wire for Cable {
    fn put(&self, target: &[u8]) -> Result<(), String> {
        let mut node = self.0.lock().expect("unpoisoned");
        if !node.silent {
            node.target(target);
        }
        Ok(())
    }

    fn ask(&self, verb: Verb, request: &str, _: Duration) -> Result<Vec<u8>, String> {
        let mut node = self.0.lock().expect("unpoisoned");
        if node.silent {
            return Err("no answer".into());
        }
        let request: serde_json::Value = serde_json::from_str(request).expect("JSON");
        let client = request["client_id"].as_u64().expect("a number") as u32;
        assert_eq!(request["mode"] == "joints", verb == Verb::Enable);
        Ok(match node.answer(verb, client) {
            Ok(()) => r#"{"ok":true}"#.into(),
            Err(reason) => serde_json::json!({"ok": false, "error": reason}).to_string(),
        }
        .into_bytes())
    }
}

impl Played {
    fn start(inbox: &Inbox) -> Self {
        let node = Arc::new(Mutex::new(Node {
            phase: IDLE,
            mode: MODE_IDLE,
            holder: 0,
            joints: false,
            holding: false,
            q: HOME,
            target: HOME,
            began: HOME,
            seq: 0,
            accepted: 0,
            refused: 0,
            robot_millis: 1,
            last_accepted: Instant::now(),
            last_arrived: Instant::now(),
            asked: Vec::new(),
            blind: 2,
            frozen: false,
            silent: false,
            lost: 0,
            max_step: 0.2,
            largest: 0.0,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (played, ended, inbox) = (node.clone(), stop.clone(), inbox.clone());
        let mut idle = 100;
        let mut at = Instant::now();
        let run = move || {
            while !ended.load(Ordering::Relaxed) {
                let mut node = played.lock().expect("unpoisoned");
                let millis = at.elapsed().as_millis() as u64;
                idle += 1;
                if !node.frozen && (node.phase == ACTIVE || idle >= 100) {
                    node.tick(millis);
                    (idle, at) = (0, Instant::now());
                }
                let (bytes, silent) = (node.state(), node.silent);
                drop(node);
                if !silent {
                    inbox.hear(&bytes);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let thread = std::thread::Builder::new().name("node".into()).spawn(run);
        let played = Self {
            node,
            stop,
            thread: Some(thread.expect("a thread")),
        };
        std::thread::sleep(Duration::from_millis(50));
        played
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().expect("unpoisoned")
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("ended");
        }
    }
}

/// A device shell without a wire: ticks the arm as `serve_device` does.
struct Shell {
    arm: NodeArm,
    goal: [f64; 7],
    state: JointState,
    clock: Arc<dyn Clock>,
    pacer: Pacer,
    node: Played,
}

fn connect(prepare: impl Fn(&mut Node)) -> (Result<NodeArm, FrankaError>, Played, Arc<dyn Clock>) {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new().expect("a clock"));
    let inbox = Inbox::new(clock.clone());
    let node = Played::start(&inbox);
    prepare(&mut node.node());
    std::thread::sleep(Duration::from_millis(30));
    let spec = NodeSpec {
        endpoint: "tcp/127.0.0.1:1".into(),
        arm: "fr3".into(),
        rate_hz: 100,
        gates: Gates::default(),
    };
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let own = own_name(&format!("node-test-{}-{number}", std::process::id())).expect("free");
    let arm = NodeArm::over(&spec, Box::new(Cable(node.node.clone())), inbox, own);
    (arm, node, clock)
}

impl Shell {
    fn start() -> Self {
        let (arm, node, clock) = connect(|_| {});
        let mut arm = arm.expect("an arm");
        let state = arm.state(clock.now()).expect("a state");
        let (period, lag) = (Duration::from_millis(10), Duration::from_millis(50));
        Self {
            goal: std::array::from_fn(|i| state.q[i]),
            arm,
            state,
            pacer: Pacer::new(clock.now(), period, lag),
            clock,
            node,
        }
    }

    fn tick(&mut self) {
        self.pacer.wait(self.clock.as_ref());
        let now = self.clock.now();
        let goal = Goal {
            q: JointVec::from_fn(7, |i| self.goal[i]),
            dq: JointVec::zeros(7),
            opening: 0.0,
        };
        self.arm.apply(&goal).expect("applied");
        self.arm.step(now).expect("stepped");
        self.state = self.arm.state(self.clock.now()).expect("a state");
    }

    fn rest(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.tick();
        }
    }

    /// Asks for torque as an arm host does, for so long; whether it came.
    fn asks(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        self.goal = std::array::from_fn(|i| self.state.q[i]);
        while !self.state.torque && Instant::now() < until {
            self.arm.set_torque(true).expect("told");
            self.tick();
        }
        self.state.torque
    }

    fn enable(&mut self) {
        assert!(self.asks(SOON), "enabled");
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < SOON, "waited in vain until {what}");
            self.tick();
        }
    }

    fn asked(&self, verb: Verb) -> usize {
        let node = self.node.node();
        node.asked.iter().filter(|asked| **asked == verb).count()
    }
}

#[test]
fn starting_takes_the_lease_and_nothing_else_and_only_enabling_begins_a_session() {
    let mut shell = Shell::start();
    shell.goal[0] = 0.5;
    shell.rest(500);
    {
        let node = shell.node.node();
        assert_eq!((node.phase, node.q), (ACQUIRED, HOME));
        assert!(node.asked.iter().all(|verb| *verb == Verb::Acquire));
    }
    assert!(!shell.state.torque);
    shell.enable();
    shell.rest(100);
    let from = shell.goal[1];
    for tick in 1..=100 {
        shell.goal[1] = from + 0.3 * f64::from(tick) / 100.0;
        shell.tick();
    }
    shell.until("it is there", |s| (s.state.q[1] - from - 0.3).abs() < 0.005);
    assert_eq!(shell.node.node().refused, 0);
    // A pause of the policy is none of the node's business: the same target goes on going out.
    shell.rest(2500);
    assert!(shell.state.torque && !shell.node.node().holding);

    shell.arm.set_torque(false).expect("told");
    shell.tick();
    assert!(!shell.state.torque);
    shell.until("the session is over", |s| s.node.node().phase == IDLE);
    assert_ne!(shell.node.node().holder, 0, "the lease is kept");
    shell.enable();
    let counts = shell.arm.counts();
    assert!(counts.targets > 300 && counts.refused == 0, "{counts:?}");
    let Shell { arm, node, .. } = shell;
    drop(arm);
    let node = node.node();
    assert_eq!((node.phase, node.holder), (IDLE, 0), "the end in order");
}

#[test]
fn a_leap_is_walked_and_a_goal_beyond_the_session_s_room_ends_nothing() {
    let mut shell = Shell::start();
    shell.enable();
    shell.goal[0] = 1.5;
    shell.until("it is where its room ends", |s| s.state.q[0] > 0.89);
    shell.rest(500);
    let node = shell.node.node();
    assert_eq!((node.phase, node.refused), (ACTIVE, 0));
    assert!(node.q[0] < 0.91 && node.largest <= 0.1, "{}", node.largest);
}

#[test]
fn lost_targets_that_make_a_step_too_large_are_walked_again() {
    let mut shell = Shell::start();
    shell.enable();
    shell.rest(100);
    shell.node.node().max_step = 0.03;
    shell.goal[6] = 1.3;
    shell.rest(200);
    shell.node.node().lost = 10;
    shell.until("it arrives", |s| (s.state.q[6] - 1.3).abs() < 0.005);
    assert!(shell.state.torque);
    assert!(shell.node.node().refused > 0 && shell.arm.counts().refused > 0);
}

#[test]
fn a_node_that_refuses_everything_is_a_fault_and_not_a_hope() {
    let mut shell = Shell::start();
    shell.enable();
    shell.rest(100);
    shell.node.node().max_step = 1e-9;
    shell.goal[6] = 1.3;
    shell.until("it is not enabled any more", |s| !s.state.torque);
    shell.until("the session is over", |s| s.node.node().phase == IDLE);
    let moved = (shell.state.q[6] - HOME[6]).abs();
    assert!(moved < 0.01, "{moved}");
}

#[test]
fn what_others_and_the_robot_do_ends_following_and_only_an_operator_goes_on() {
    let mut shell = Shell::start();
    // Somebody says stop.
    shell.enable();
    shell.node.node().end();
    shell.until("it says so", |s| !s.state.torque);
    shell.rest(300);
    assert_eq!(shell.node.node().phase, IDLE, "nothing resumes by itself");
    // A reflex.
    shell.enable();
    {
        let mut node = shell.node.node();
        (node.phase, node.mode) = (FAULTED, MODE_REFLEX);
    }
    shell.until("it says so", |s| !s.state.torque);
    let enabled = shell.asked(Verb::Enable);
    assert!(
        !shell.asks(Duration::from_millis(600)),
        "not while it lasts"
    );
    assert_eq!(shell.asked(Verb::Enable), enabled);
    shell.node.node().end();
    shell.enable();
    // The node loses sight of this client, and sees it again.
    {
        let mut node = shell.node.node();
        node.end();
        node.holder = 0;
    }
    shell.until("it says so", |s| !s.state.torque);
    shell.until("the lease is ours again", |s| s.node.node().holder != 0);
    shell.rest(200);
    assert_ne!(shell.node.node().phase, ACTIVE);
    shell.enable();
}

#[test]
fn a_silent_node_is_lost_and_comes_back_without_torque_in_a_new_epoch() {
    let mut shell = Shell::start();
    shell.enable();
    let epoch = shell.state.epoch;
    shell.node.node().silent = true;
    let seen = shell.state.captured_at;
    shell.until("it says so", |s| !s.state.torque);
    shell.rest(1500);
    let age = shell.clock.now().since(shell.state.captured_at);
    assert!(
        age > Duration::from_secs(1),
        "an old state stays old: {age:?}"
    );
    assert!(shell.state.captured_at.since(seen) < Duration::from_millis(200));
    // It has ended the session by itself meanwhile.
    {
        let mut node = shell.node.node();
        node.end();
        node.silent = false;
    }
    shell.until("it is back", |s| s.state.epoch == epoch + 1);
    shell.rest(300);
    assert!(!shell.state.torque && shell.node.node().phase != ACTIVE);
    assert_eq!(shell.arm.counts().reconnections, 1);
    shell.enable();
}

#[test]
fn a_device_that_hangs_is_not_spoken_for() {
    let mut shell = Shell::start();
    shell.enable();
    shell.goal[0] = 0.5;
    shell.rest(200);
    let targets = shell.arm.counts().targets;
    // Its thread does not run.
    let until = Instant::now() + SOON;
    while shell.node.node().phase == ACTIVE {
        assert!(Instant::now() < until, "the session is ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(shell.arm.counts().targets <= targets + 2);
    shell.rest(100);
    assert!(!shell.state.torque);
}

#[test]
fn a_measurement_that_is_repeated_is_as_old_as_it_is_but_for_the_second_between_two_at_rest() {
    let mut shell = Shell::start();
    let age = |shell: &Shell| shell.clock.now().since(shell.state.captured_at);
    let mut oldest = Duration::ZERO;
    for _ in 0..150 {
        shell.tick();
        oldest = oldest.max(age(&shell));
    }
    assert!(oldest < Duration::from_millis(500), "{oldest:?}");
    shell.node.node().frozen = true;
    shell.until("it ages", |s| age(s) > Duration::from_millis(1600));
    // In a session every state is new, or counts as old.
    shell.node.node().frozen = false;
    shell.until("it is young again", |s| age(s) < Duration::from_millis(100));
    shell.enable();
    shell.rest(100);
    shell.node.node().frozen = true;
    shell.rest(300);
    let old = age(&shell);
    assert!(old > Duration::from_millis(200), "{old:?}");
}

#[test]
fn an_arm_that_somebody_has_is_refused_and_a_faulted_one_is_served_and_leased_later() {
    let (refused, node, _) = connect(|node| (node.blind, node.holder) = (0, 9));
    let text = refused.err().expect("refused").to_string();
    assert!(
        text.contains("`acquire` of the arm `fr3`: held by 9"),
        "{text}"
    );
    drop(node);
    let (arm, node, _) = connect(|node| (node.blind, node.phase) = (0, FAULTED));
    let arm = arm.expect("served");
    assert_eq!(node.node().holder, 0);
    node.node().end();
    let until = Instant::now() + SOON;
    while node.node().holder == 0 {
        assert!(Instant::now() < until, "leased");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(arm);
    assert_eq!(node.node().holder, 0);
}
