//! Two arms on one engine: two simulated cells and a `tactus engine --also`, real processes, real time.
//!
//! The engine is told that no inference takes less than so long (`--at-least-ms`), so that the load is known, and a busy machine
//! shows less in it: each arm asks every 300 ms. Its cameras play pictures, since nobody looks at what the policy does.
//! What holds: at 60 % of the engine's time neither arm misses a deadline, and at 130 % the second is refused with its first
//! request, by name, and the first does not notice.

mod cell;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{arm, checkout, options_as, program, tactus};
use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, FaultKind, Rank};
use tactus_wire::{
    AppliedBatch, Authority, Cell as WireCell, Delivery, EngineStatus, ModeOrder, ModeReport,
    ModeWord, MonotonicClock, Name, Service, Session, SessionOptions, SimReset, SimResetReply,
    Subscriber, Topic,
};

/// What an inference takes at 60 % load of two arms, and at 130 %.
const AT_60: u64 = 90;
const AT_130: u64 = 195;
/// Each arm asks so often, s.
const EVERY: f64 = 0.3;
/// Side of the pictures, pixels.
const SIDE: u16 = 224;

/// Asked to end like by a service manager, then made to.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok()) {
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            self.0.wait().expect("reaped");
        }
    }
}

/// A cell without an engine of its own, and an observer.
struct Side {
    // Dropped in this order: the lease, the network, the processes.
    authority: Option<Authority>,
    _subscriptions: Vec<Subscriber>,
    session: Session,
    _run: Process,
    wire: WireCell,
    file: PathBuf,
    endpoint: String,
    modes: Arc<Mutex<Vec<ModeReport>>>,
    /// Commands that came from a chunk.
    commands: Arc<AtomicU64>,
    service: Arc<Mutex<Option<Service>>>,
}

/// Pictures of noise in `dir`, each another.
fn pictures(dir: &Path) -> PathBuf {
    let folder = dir.join("pictures");
    std::fs::create_dir_all(&folder).expect("a folder");
    for n in 0..4u32 {
        let pixels = 3 * usize::from(SIDE) * usize::from(SIDE);
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(7 + n) as u8;
        let pixels: Vec<u8> = (0..pixels).map(noise).collect();
        let file = folder.join(format!("{n}.jpg"));
        jpeg_encoder::Encoder::new_file(file, 60)
            .and_then(|encoder| encoder.encode(&pixels, SIDE, SIDE, jpeg_encoder::ColorType::Rgb))
            .expect("written");
    }
    folder
}

/// The demo's cell as `name`, asking more seldom.
fn file(dir: &Path, name: &str, edit: &dyn Fn(String) -> String) -> PathBuf {
    let text = std::fs::read_to_string(checkout().join("launch/cells/demo.toml")).expect("a cell");
    let bundle = checkout().join("models/demo/bundle").display().to_string();
    let camera = format!(
        "source = \"folder\"\npath = \"{}\"\nwidth = {SIDE}\nheight = {SIDE}\nrepeat = true",
        pictures(dir).display()
    );
    let mut text = edit(text);
    for (from, to) in [
        ("../../models/demo/bundle", bundle.as_str()),
        ("name = \"demo\"", &format!("name = \"{name}\"")),
        ("every_ms = 100", "every_ms = 300"),
        ("answer_within_ms = 250", "answer_within_ms = 700"),
        ("rate_hz = 20", "rate_hz = 10"),
        ("frame_limit_ms = 150", "frame_limit_ms = 400"),
        ("max_skew_ms = 25", "max_skew_ms = 60"),
        ("denoise = 16", "denoise = 140"),
        ("source = \"sim\"", &camera),
        (
            "provider = \"cpu\"",
            "provider = \"cpu\"\nshared = true\ndenoise_steps = 1",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("written");
    file
}

impl Side {
    fn start(file: PathBuf, name: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let run = Command::new(program())
            .args(["run", &file.display().to_string(), "--listen", &endpoint])
            // Pictures of noise are no cell's.
            .arg("--despite-preflight")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let run = Process(run);
        let options = SessionOptions {
            connect: vec![endpoint.clone()],
            connect_timeout: Duration::from_secs(20),
            ..options_as(None)
        };
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let session = Session::open(&options, "test", clock).expect("reaches the cell");
        let wire = WireCell::new(name).expect("legal");
        let modes: Arc<Mutex<Vec<ModeReport>>> = Arc::default();
        let to = modes.clone();
        let mode = move |m: Result<Delivery<ModeReport>, _>| {
            if let Ok(delivery) = m {
                to.lock().expect("unpoisoned").push(delivery.message);
            }
        };
        let service: Arc<Mutex<Option<Service>>> = Arc::default();
        let to = service.clone();
        let status = move |m: Result<Delivery<EngineStatus>, _>| {
            if let Ok(delivery) = m {
                *to.lock().expect("unpoisoned") = delivery.message.service;
            }
        };
        let commands: Arc<AtomicU64> = Arc::default();
        let to = commands.clone();
        let applied = move |m: Result<Delivery<AppliedBatch>, _>| {
            if let Ok(delivery) = m {
                let of_chunks = |a: &&Applied| a.command.setpoint.observed_at.is_some();
                let n = delivery.message.applied.iter().filter(of_chunks).count();
                to.fetch_add(n as u64, Ordering::Relaxed);
            }
        };
        let engine = Topic::EngineStatus(Name::new("engine").expect("legal"));
        let subscriptions = vec![
            session
                .subscribe(&wire.key(&Topic::ArmMode(arm())), mode)
                .expect("subscribed"),
            session
                .subscribe(&wire.key(&engine), status)
                .expect("subscribed"),
            session
                .subscribe(&wire.key(&Topic::ArmApplied(arm())), applied)
                .expect("subscribed"),
        ];
        Self {
            authority: None,
            _subscriptions: subscriptions,
            session,
            _run: run,
            wire,
            file,
            endpoint,
            modes,
            commands,
            service,
        }
    }

    fn service(&self) -> Option<Service> {
        self.service.lock().expect("unpoisoned").clone()
    }

    fn mode(&self) -> Option<ModeWord> {
        let modes = self.modes.lock().expect("unpoisoned");
        modes.last().map(|report| report.mode)
    }

    fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + within;
        while !done(self) {
            assert!(
                Instant::now() < until,
                "{}: waited {within:?} in vain until {what}; mode {:?}, {:?}",
                self.wire.name(),
                self.mode(),
                self.service()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Enables the arm and lets the policy have it, whether anybody answers or not.
    fn begin(&mut self) {
        self.wait("the arm host reports", Duration::from_secs(60), |me| {
            me.mode().is_some()
        });
        let world = SimReset {
            seed: 7001,
            variation: false,
        };
        let key = self.wire.key(&Topic::SimReset);
        let _: Delivery<SimResetReply> = self
            .session
            .query(&key, &world, Duration::from_secs(5))
            .expect("resets");
        std::thread::sleep(Duration::from_millis(300));
        let ttl = Duration::from_secs(2);
        let authority =
            Authority::acquire(&self.session, &self.wire, &arm(), "test", Rank::Policy, ttl);
        let authority = self.authority.insert(authority.expect("free"));
        let within = Duration::from_secs(5);
        let order = |order: &ModeOrder| {
            let reply = authority.order(order, false, within);
            reply.expect("the arm host answers")
        };
        let enabled = order(&ModeOrder::Enable);
        assert!(enabled.accepted, "{}", enabled.message);
        let start = ModeOrder::StartEpisode {
            episode: 1,
            instruction: "pick up the red cube".into(),
            seed: 7001,
        };
        let until = Instant::now() + within;
        loop {
            let reply = order(&start);
            if reply.accepted {
                return;
            }
            assert!(Instant::now() < until, "{}", reply.message);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Faults of the holds since `from` reports ago.
    fn faults(&self, from: usize) -> Vec<FaultKind> {
        let modes = self.modes.lock().expect("unpoisoned");
        let mut faults: Vec<_> = modes[from..].iter().filter_map(|m| m.fault).collect();
        faults.dedup();
        faults
    }

    fn reports(&self) -> usize {
        self.modes.lock().expect("unpoisoned").len()
    }
}

/// Two cells and their engine, none of whose inferences takes less than `millis`.
fn two(dir: &Path, millis: u64) -> (Side, Side, Process) {
    let same = |text: String| text;
    let left = Side::start(file(dir, "left", &same), "left");
    let right = Side::start(file(dir, "right", &same), "right");
    for side in [&left, &right] {
        side.wait("the arm host reports", Duration::from_secs(60), |me| {
            me.mode().is_some()
        });
    }
    let log = std::fs::File::create(dir.join("engine.log")).expect("a log");
    let engine = Command::new(program())
        .args(["engine", "--cell", &left.file.display().to_string()])
        .args(["--connect", &left.endpoint, "--also"])
        .arg(format!("{}@{}", right.file.display(), right.endpoint))
        .args(["--at-least-ms", &millis.to_string()])
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("starts");
    let engine = Process(engine);
    for side in [&left, &right] {
        side.wait(
            "the engine says how it serves",
            Duration::from_secs(60),
            |me| me.service().is_some_and(|s| s.arms == 2),
        );
    }
    (left, right, engine)
}

/// What an arm may not blame the engine for.
const OF_THE_ENGINE: [FaultKind; 4] = [
    FaultKind::EngineLate,
    FaultKind::EngineBusy,
    FaultKind::EngineRefused,
    FaultKind::EngineDead,
];

fn at_60_percent_neither_misses(span: Duration) {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut left, mut right, _engine) = two(dir.path(), AT_60);
    left.begin();
    right.begin();
    // On a machine that stood still while it was probed, admission waits until that is over.
    for side in [&left, &right] {
        side.wait("it is served", Duration::from_secs(60), |me| {
            me.service().is_some_and(|s| s.admitted && s.answered > 3)
        });
    }
    let before = [left.service(), right.service()].map(|s| s.expect("served"));
    let from = [left.reports(), right.reports()];
    std::thread::sleep(span);
    for (side, (before, from)) in [&left, &right].into_iter().zip(before.iter().zip(from)) {
        let now = side.service().expect("served");
        println!("{}: {now:?}", side.wire.name());
        let asked = span.as_secs_f64() / EVERY;
        let answered = now.answered - before.answered;
        assert!(answered as f64 > 0.8 * asked, "{answered} of {asked}");
        assert_eq!((now.late, now.rejected), (before.late, before.rejected));
        assert!(now.slack.is_some_and(|slack| slack.least > 0));
        let faults = side.faults(from);
        assert!(
            !faults.iter().any(|fault| OF_THE_ENGINE.contains(fault)),
            "{faults:?}"
        );
    }
}

#[test]
fn at_60_percent_neither_arm_misses_a_deadline_for_a_minute() {
    at_60_percent_neither_misses(Duration::from_secs(60));
}

#[test]
#[ignore = "ten minutes"]
fn long_at_60_percent_neither_arm_misses_a_deadline_for_ten_minutes() {
    at_60_percent_neither_misses(Duration::from_secs(600));
}

#[test]
fn at_130_percent_the_second_is_refused_and_the_first_does_not_notice() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut left, mut right, engine) = two(dir.path(), AT_130);
    left.begin();
    left.wait("it is served", Duration::from_secs(30), |me| {
        me.service().is_some_and(|s| s.admitted && s.answered > 3)
    });
    let (before, from) = (left.service().expect("served"), left.reports());
    right.begin();
    right.wait("it is refused by name", Duration::from_secs(10), |me| {
        me.faults(0).contains(&FaultKind::EngineBusy)
    });
    std::thread::sleep(Duration::from_secs(15));
    let refused = right.service().expect("said");
    assert!(!refused.admitted && refused.answered == 0, "{refused:?}");
    assert!(refused.rejected > 3, "asked again and again: {refused:?}");
    assert!(refused.refused_for.contains("busy for"), "{refused:?}");
    assert!(!right.faults(0).contains(&FaultKind::EngineLate));
    assert_eq!(right.mode(), Some(ModeWord::Hold));
    let moved = right.commands.load(Ordering::Relaxed);
    assert_eq!(moved, 0, "commands without a chunk");
    let now = left.service().expect("said");
    assert!(now.answered > before.answered + 30, "{before:?} {now:?}");
    assert_eq!((now.late, now.rejected), (0, 0));
    let faults = left.faults(from);
    assert!(
        !faults.iter().any(|fault| OF_THE_ENGINE.contains(fault)),
        "{faults:?}"
    );
    // The first is gone: its time is the second's.
    drop(left);
    right.wait("it has the place", Duration::from_secs(30), |me| {
        me.service().is_some_and(|s| s.admitted && s.answered > 3)
    });
    drop(engine);
}

#[test]
fn cells_that_want_another_engine_are_refused_with_the_field() {
    let dir = tempfile::tempdir().expect("a folder");
    let left = file(dir.path(), "left", &|text| text);
    let refused = |name: &str, edit: &dyn Fn(String) -> String| {
        let other = file(dir.path(), name, edit).display().to_string();
        let left = left.display().to_string();
        let said = tactus(&["engine", "--cell", &left, "--also", &other]);
        assert!(!said.status.success());
        String::from_utf8(said.stderr).expect("text")
    };
    let threads = |text: String| text.replace("intra_threads = 1", "intra_threads = 2");
    let said = refused("right", &threads);
    let expected = "field `engine.intra_threads`: expected 1, as in ";
    assert!(said.contains(expected), "{said}");
    let said = refused("left", &|text| text);
    assert!(said.contains("field `name`: expected another"), "{said}");
}
