//! franka-sim as a process, and what it counted. `FRANKA_SIM_PYTHON` is a Python with the packages of `requirements.txt`.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Where the simulated arm begins, rad.
pub const HOME: [f64; 7] = [0.0, 0.0, 0.0, -1.57, 0.0, 1.57, 0.785];

/// A port of loopback that nobody listens at.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a port").port()
}

fn python() -> std::ffi::OsString {
    std::env::var_os("FRANKA_SIM_PYTHON")
        .expect("FRANKA_SIM_PYTHON: a Python with drivers/franka/tests/requirements.txt")
}

/// The URDF that it serves.
pub fn urdf() -> String {
    let text = "import franka_sim, pathlib; \
         print((pathlib.Path(franka_sim.__file__).parent / 'models' / 'fr3.urdf').read_text())";
    let output = Command::new(python()).args(["-c", text]).output();
    String::from_utf8(output.expect("runs").stdout).expect("text")
}

/// What it counted, by its own cycles.
#[derive(Debug, Default)]
pub struct Account {
    /// In motion and answered at least once.
    pub cycles: u64,
    /// Of them, without an answer in time.
    pub lost: u64,
    /// In a row.
    pub longest: u64,
    /// Motions that were begun.
    pub motions: u64,
    /// Of them, ended for 20 in a row.
    pub violations: u64,
    /// Cycles that the simulator, which is an ordinary process, made longer than 2 ms; a controller makes none.
    pub slow: u64,
    /// The longest, us.
    pub slowest_us: u64,
}

/// A simulated robot; ended with the test.
pub struct Robot {
    child: Child,
    /// FCI's.
    pub port: u16,
    account: PathBuf,
    said: Receiver<String>,
}

impl Robot {
    /// An FR3.
    pub fn start() -> Self {
        Self::at(free_port(), None)
    }

    /// At `port`, with the URDF of a file.
    pub fn at(port: u16, urdf: Option<&Path>) -> Self {
        Self::launch(port, urdf, None)
    }

    /// An FR3 with a Hand, and where that is; there are 30 mm between its fingers.
    pub fn with_hand() -> (Self, String) {
        let hand = free_port();
        let robot = Self::launch(free_port(), None, Some(hand));
        (robot, format!("127.0.0.1:{hand}"))
    }

    fn launch(port: u16, urdf: Option<&Path>, hand: Option<u16>) -> Self {
        let name = format!("tactus-franka-sim-{}-{port}", std::process::id());
        let account = std::env::temp_dir().join(name);
        let sim = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|folder| folder.join("drivers/franka/tests/sim.py"))
            .find(|file| file.is_file());
        let mut command = Command::new(python());
        command
            .arg(sim.expect("sim.py"))
            .arg(port.to_string())
            .arg(&account)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(urdf) = urdf {
            command.arg("--urdf").arg(urdf);
        }
        if let Some(hand) = hand {
            command.arg("--hand").arg(hand.to_string());
        }
        let mut child = command.spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (to, said) = sync_channel(64);
        std::thread::Builder::new()
            .spawn(move || {
                lines
                    .map_while(Result::ok)
                    .all(|line| to.send(line).is_ok())
            })
            .expect("a thread");
        let robot = Self {
            child,
            port,
            account,
            said,
        };
        robot.hear("ready");
        robot
    }

    fn hear(&self, word: &str) {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(120));
            if line.expect("the simulator answers") == word {
                return;
            }
        }
    }

    /// Something happens to it.
    pub fn does(&mut self, what: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{what}").expect("told");
        self.hear(&format!("did {what}"));
    }

    /// As cell files write it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it; what it counted.
    pub fn end(mut self) -> Account {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), Signal::TERM).expect("told");
        self.child.wait().expect("ended");
        let text = std::fs::read_to_string(&self.account).expect("an account");
        let mut account = Account::default();
        for line in text.lines() {
            let (name, count) = line.split_once(' ').expect("two words");
            let count = count.parse().expect("a number");
            match name {
                "cycles" => account.cycles = count,
                "lost" => account.lost = count,
                "longest" => account.longest = count,
                "motions" => account.motions = count,
                "violations" => account.violations = count,
                "slow" => account.slow = count,
                "slowest_us" => account.slowest_us = count,
                other => panic!("what is {other}?"),
            }
        }
        account
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.account);
    }
}
