//! A whole simulated cell as real processes over loopback, and an observer on its wire.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, Clock, JointState, Rank, Time};
use tactus_wire::{
    AppliedBatch, Authority, AuthorityError, Cell as WireCell, Delivery, EngineStatus, Member,
    Members, ModeOrder, ModeOrderReply, ModeReport, MonotonicClock, Name, Nothing, Security,
    Session, SessionOptions, SimReset, SimResetReply, Subscriber, Topic,
};

/// The folder that holds the workspace.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the checkout")
        .into()
}

/// The program under test, built beside this test.
pub fn program() -> PathBuf {
    let me = std::env::current_exe().expect("a path");
    let program = me
        .ancestors()
        .map(|dir| dir.join("tactus"))
        .find(|file| file.is_file());
    program.expect("target/debug/tactus: build it first, as ./tests/run does")
}

/// Runs `tactus ARGS` to its end.
pub fn tactus(args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("starts")
}

/// The line of `tactus doctor` on `finding` in the cell of `file`, and what it says to do about it.
#[allow(dead_code)]
pub fn diagnosis(file: &str, finding: &str) -> String {
    let said = tactus(&["doctor", "--cell", file]).stdout;
    let said = String::from_utf8(said).expect("text");
    let lines: Vec<&str> = said.lines().collect();
    let of = |line: &&str| line.get(6..).is_some_and(|rest| rest.starts_with(finding));
    let at = lines.iter().position(of);
    let at = at.unwrap_or_else(|| panic!("no `{finding}` in: {said}"));
    lines[at..].iter().take(2).copied().collect()
}

/// The demo cell's file, changed by `edit`, in `dir`, with the bundle's path made absolute.
pub fn cell_file(dir: &Path, edit: impl Fn(String) -> String) -> PathBuf {
    let text =
        std::fs::read_to_string(checkout().join("launch/cells/demo.toml")).expect("demo cell");
    let bundle = checkout().join("models/demo/bundle");
    let text = text.replace("../../models/demo/bundle", &bundle.display().to_string());
    let file = dir.join("cell.toml");
    std::fs::write(&file, edit(text)).expect("written");
    file
}

/// Where the cell of `file` has keys: they are made, and this is what operator `name` brings along.
pub fn operator(file: &Path, name: &str) -> Option<Security> {
    let text = std::fs::read_to_string(file).expect("a cell file");
    if !text.contains("[security]") {
        return None;
    }
    let made = tactus(&["keys", "init", &file.display().to_string()]);
    assert!(made.status.success(), "{made:?}");
    let legal = |text: &str| Name::new(text).expect("legal");
    Some(Security {
        member: Member::Operator(legal(name)),
        members: Members {
            cell: WireCell::new("demo").expect("legal"),
            arm: arm(),
            device: legal("sim"),
            engine: legal("engine"),
            cameras: vec![legal("scene"), legal("wrist")],
            operators: vec![legal("anna"), legal("ben")],
        },
        keys: file.parent().expect("a folder").join("keys"),
    })
}

/// How a session of such a member is opened.
pub fn options_as(security: Option<Security>) -> SessionOptions {
    let plain = SessionOptions::default();
    SessionOptions {
        listen: match security {
            Some(_) => vec![tactus_wire::security::LOOPBACK.into()],
            None => plain.listen.clone(),
        },
        security,
        ..plain
    }
}

/// A running `tactus run`, seen from its wire.
pub struct Cell {
    run: Child,
    pub file: PathBuf,
    pub endpoint: String,
    pub session: Session,
    pub wire: WireCell,
    pub applied: Arc<Mutex<Vec<Applied>>>,
    pub modes: Arc<Mutex<Vec<ModeReport>>>,
    pub states: Arc<Mutex<Vec<JointState>>>,
    authority: Mutex<Option<Authority>>,
    _subscriptions: Vec<Subscriber>,
    _dir: tempfile::TempDir,
}

pub fn arm() -> Name {
    Name::new("arm").expect("legal")
}

impl Cell {
    /// Brings up the demo cell, changed by `edit`, and waits until all of it answers.
    pub fn start(edit: impl Fn(String) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = cell_file(dir.path(), edit);
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let security = operator(&file, "anna");
        let protocol = if security.is_some() { "tls" } else { "tcp" };
        let endpoint = format!("{protocol}/127.0.0.1:{port}");
        let run = Command::new(program())
            .args(["run", &file.display().to_string(), "--listen", &endpoint])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let options = SessionOptions {
            connect: vec![endpoint.clone()],
            connect_timeout: Duration::from_secs(10),
            ..options_as(security)
        };
        let session = Session::open(&options, "test", clock).expect("reaches the cell");
        let wire = WireCell::new("demo").expect("legal");
        let (applied, modes, states) = <(Arc<_>, Arc<_>, Arc<_>)>::default();
        let to: Arc<Mutex<Vec<Applied>>> = Arc::clone(&applied);
        let mut subscriptions = vec![
            session
                .subscribe(
                    &wire.key(&Topic::ArmApplied(arm())),
                    move |m: Result<Delivery<AppliedBatch>, _>| {
                        if let Ok(delivery) = m {
                            to.lock()
                                .expect("unpoisoned")
                                .extend(delivery.message.applied);
                        }
                    },
                )
                .expect("subscribed"),
        ];
        let to: Arc<Mutex<Vec<ModeReport>>> = Arc::clone(&modes);
        subscriptions.push(
            session
                .subscribe(
                    &wire.key(&Topic::ArmMode(arm())),
                    move |m: Result<Delivery<ModeReport>, _>| {
                        if let Ok(delivery) = m {
                            to.lock().expect("unpoisoned").push(delivery.message);
                        }
                    },
                )
                .expect("subscribed"),
        );
        let to: Arc<Mutex<Vec<JointState>>> = Arc::clone(&states);
        let key = wire.key(&Topic::DeviceState(Name::new("sim").expect("legal")));
        subscriptions.push(
            session
                .subscribe(&key, move |m: Result<Delivery<JointState>, _>| {
                    if let Ok(delivery) = m {
                        to.lock().expect("unpoisoned").push(delivery.message);
                    }
                })
                .expect("subscribed"),
        );
        let cell = Self {
            run,
            file,
            endpoint,
            session,
            wire,
            applied,
            modes,
            states,
            authority: Mutex::new(None),
            _subscriptions: subscriptions,
            _dir: dir,
        };
        cell.wait("the engine answers", Duration::from_secs(60), || {
            let key = cell
                .wire
                .key(&Topic::EngineStatus(Name::new("engine").expect("legal")));
            let timeout = Duration::from_millis(500);
            cell.session
                .query::<Nothing, EngineStatus>(&key, &Nothing, timeout)
                .is_ok()
        });
        cell.wait("the arm host reports", Duration::from_secs(30), || {
            cell.mode().is_some()
        });
        cell
    }

    /// Process id of a role of this cell.
    pub fn pid(&self, role: &str) -> Option<i32> {
        let file = self.file.display().to_string();
        std::fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .find_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let words: Vec<&str> = line.split('\0').collect();
                (words.contains(&file.as_str()) && words.get(3) == Some(&role)).then_some(pid)
            })
    }

    /// Process id of `tactus run`.
    pub fn run_pid(&self) -> Pid {
        Pid::from_raw(self.run.id() as i32).expect("a process")
    }

    /// `kill -9` of a role; returns the instant before.
    pub fn kill(&self, role: &str) -> Time {
        let pid = self
            .pid(role)
            .and_then(Pid::from_raw)
            .expect("the role runs");
        let before = MonotonicClock::new().expect("a clock").now();
        kill_process(pid, Signal::KILL).expect("killed");
        before
    }

    /// Newest mode.
    pub fn mode(&self) -> Option<ModeReport> {
        self.modes.lock().expect("unpoisoned").last().cloned()
    }

    /// An order to the arm host, under a lease of this test's, which is taken for the first order and held from then on.
    pub fn order(&self, order: &ModeOrder) -> ModeOrderReply {
        let mut held = self.authority.lock().expect("unpoisoned");
        let authority =
            held.get_or_insert_with(|| self.acquire("test", Rank::Policy).expect("free"));
        let timeout = Duration::from_secs(5);
        let reply = authority.order(order, false, timeout);
        let reply = reply.expect("the arm host answers");
        if !reply.message.contains("no such lease") {
            return reply;
        }
        // The arm host was restarted: leases are void with it.
        let authority = held.insert(self.acquire("test", Rank::Policy).expect("free"));
        let reply = authority.order(order, false, timeout);
        reply.expect("the arm host answers")
    }

    /// Takes the arm's lease.
    pub fn acquire(&self, holder: &str, rank: Rank) -> Result<Authority, AuthorityError> {
        let ttl = Duration::from_secs(2);
        Authority::acquire(&self.session, &self.wire, &arm(), holder, rank, ttl)
    }

    /// Gives back the lease that [`Cell::order`] holds.
    pub fn release(&self) {
        *self.authority.lock().expect("unpoisoned") = None;
    }

    /// An order without a lease.
    pub fn order_without_lease(&self, order: &ModeOrder) -> ModeOrderReply {
        let key = self.session.order_key(&self.wire, &arm());
        let reply = self.session.query(&key, order, Duration::from_secs(5));
        reply.expect("the arm host answers").message
    }

    /// Resets the world, enables the arm and starts an episode.
    pub fn start_episode(&self, seed: u64) {
        let key = self.wire.key(&Topic::SimReset);
        let reset: Delivery<SimResetReply> = self
            .session
            .query(
                &key,
                &SimReset {
                    seed,
                    variation: false,
                },
                Duration::from_secs(2),
            )
            .expect("resets");
        self.wait("the new world is seen", Duration::from_secs(5), || {
            let states = self.states.lock().expect("unpoisoned");
            states
                .last()
                .is_some_and(|s| s.epoch == reset.message.epoch)
        });
        std::thread::sleep(Duration::from_millis(100));
        let enabled = self.order(&ModeOrder::Enable);
        assert!(enabled.accepted, "{}", enabled.message);
        let start = ModeOrder::StartEpisode {
            episode: 1,
            instruction: "pick up the red cube".into(),
            seed,
        };
        self.wait("the episode starts", Duration::from_secs(5), || {
            self.order(&start).accepted
        });
        self.wait("the policy moves the arm", Duration::from_secs(5), || {
            let applied = self.applied.lock().expect("unpoisoned");
            applied.last().is_some_and(|a| {
                a.command.dq.max_abs() > 0.2 && a.command.setpoint.observed_at.is_some()
            })
        });
    }

    /// Waits until `done`, or fails saying what was waited for.
    pub fn wait(&self, what: &str, within: Duration, done: impl Fn() -> bool) {
        let until = Instant::now() + within;
        while !done() {
            let mode = self.mode().map(|m| (m.mode, m.reason));
            assert!(
                Instant::now() < until,
                "waited {within:?} in vain until {what}; mode {mode:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Ok(held) = self.authority.get_mut() {
            *held = None;
        }
        // An orderly end: SIGTERM, as a service manager would send it.
        let pid = i32::try_from(self.run.id()).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok()) {
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until && matches!(self.run.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if matches!(self.run.try_wait(), Ok(None)) && self.run.kill().is_ok() {
            self.run.wait().expect("reaped");
        }
    }
}
