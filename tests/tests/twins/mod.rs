//! A cell of two simulated arms, as real processes: its file, its bundle, and ears on its wire.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, FaultKind, Source, Time};
use tactus_wire::{
    AppliedBatch, Cell as WireCell, Delivery, ModeReport, ModeWord, MonotonicClock, Name, Session,
    SessionOptions, Subscriber, Topic,
};

use crate::cell::{checkout, program, tactus};

pub const SIDES: [&str; 2] = ["left", "right"];
/// Side of the pictures, pixels.
pub const SIDE: u16 = 32;
/// Of the cell file below.
pub const LINK_LIMIT: Duration = Duration::from_millis(400);
/// A busy machine lets a thread wait for as long.
pub const BUSY: Duration = Duration::from_millis(400);

/// Two cores are few for one cell of two arms, and too few for two.
pub static ALONE: Mutex<()> = Mutex::new(());

/// The bundle, wrapped once for all tests.
pub fn bundle() -> &'static Path {
    static BUNDLE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &BUNDLE
        .get_or_init(|| {
            let dir = tempfile::tempdir().expect("a folder");
            let out = dir.path().join("bundle");
            let of = |file: &str| checkout().join("tests/tests/pair").join(file);
            let (graph, map) = (of("circles.onnx"), of("map.toml"));
            let [graph, map, to] = [&graph, &map, &out].map(|path| path.display().to_string());
            let wrapped = tactus(&["bundle", "wrap", &graph, "--map", &map, "--out", &to]);
            assert!(wrapped.status.success(), "{}", said(&wrapped));
            (dir, out)
        })
        .1
}

pub fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).expect("text")
}

/// Pictures of noise in `dir`, each another.
pub fn pictures(dir: &Path) -> PathBuf {
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

/// The demo's cell with two arms and one camera, changed by `edit`.
pub fn file(dir: &Path, edit: &dyn Fn(String) -> String) -> PathBuf {
    let text = std::fs::read_to_string(checkout().join("launch/cells/demo.toml")).expect("a cell");
    let cut = |text: &str, from: &str, to: &str| {
        let (start, end) = (text.find(from).expect(from), text.find(to).expect(to));
        format!("{}{}", &text[..start], &text[end..])
    };
    // Only the scene's camera, and no simulator of one arm.
    let wrist = text.rfind("[[camera]]").expect("two");
    let text = format!(
        "{}{}",
        &text[..wrist],
        &text[text.find("# Present only").expect("a section")..]
    );
    let text = cut(&text, "# Present only", "# Latency budget");
    let camera = format!(
        "source = \"folder\"\npath = \"{}\"\nwidth = {SIDE}\nheight = {SIDE}\nrepeat = true",
        pictures(dir).display()
    );
    let arms = SIDES.map(|side| {
        format!("[[pair]]\nname = \"{side}\"\nprefix = \"{side}_\"\ndevice = \"sim-{side}\"\nsim = {{ seed = 7, variation = false }}\n")
    });
    let mut text = text;
    for (from, to) in [
        (
            "../../models/demo/bundle",
            bundle().display().to_string().as_str(),
        ),
        ("name = \"demo\"", "name = \"twins\""),
        (
            "name = \"arm\"\ndevice = \"sim\"                    # the device process behind device/sim/{state,command,info}\n",
            "",
        ),
        ("source = \"sim\"", &camera),
        ("answer_within_ms = 250", "answer_within_ms = 900"),
        (
            "link_limit_ms = 150",
            &format!("link_limit_ms = {}", LINK_LIMIT.as_millis()),
        ),
        ("proprio_limit_ms = 20", "proprio_limit_ms = 150"),
        ("frame_limit_ms = 150", "frame_limit_ms = 500"),
        // A device that is stopped is stale before it is far behind.
        ("track_limit_ms = 100", "track_limit_ms = 1000"),
        ("storm_limit_ms = 200", "storm_limit_ms = 1000"),
        ("[schedule]", &format!("{}\n[schedule]", arms.join("\n"))),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let file = dir.join("twins.toml");
    std::fs::write(&file, edit(text)).expect("written");
    file
}

/// What is heard of one arm.
#[derive(Clone, Default)]
pub struct Heard {
    pub applied: Arc<Mutex<Vec<Applied>>>,
    pub modes: Arc<Mutex<Vec<ModeReport>>>,
}

impl Heard {
    pub fn mode(&self) -> Option<ModeReport> {
        self.modes.lock().expect("unpoisoned").last().cloned()
    }

    /// Commands from `since` on, in order.
    pub fn since(&self, since: Time) -> Vec<Applied> {
        let applied = self.applied.lock().expect("unpoisoned");
        applied.iter().filter(|a| a.at >= since).copied().collect()
    }

    pub fn moves(&self) -> bool {
        let applied = self.applied.lock().expect("unpoisoned");
        let last = applied.last();
        last.is_some_and(|a| {
            a.command.setpoint.source == Source::Policy && a.command.dq.max_abs() > 0.05
        })
    }
}

/// A running cell of two arms, and an observer.
pub struct Twins {
    pub _subscriptions: Vec<Subscriber>,
    pub session: Session,
    pub run: Child,
    pub file: PathBuf,
    pub endpoint: String,
    pub heard: [Heard; 2],
    pub dir: tempfile::TempDir,
    pub _alone: MutexGuard<'static, ()>,
}

impl Twins {
    pub fn start(edit: &dyn Fn(String) -> String) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().expect("a folder");
        let file = file(dir.path(), edit);
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let log = std::fs::File::create(dir.path().join("run.log")).expect("a log");
        let run = Command::new(program())
            .args(["run", &file.display().to_string(), "--listen", &endpoint])
            .args([
                "--record",
                &dir.path().join("pair.mcap").display().to_string(),
            ])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts");
        let options = SessionOptions {
            connect: vec![endpoint.clone()],
            connect_timeout: Duration::from_secs(20),
            ..SessionOptions::default()
        };
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let session = Session::open(&options, "test", clock).expect("reaches the cell");
        let wire = WireCell::new("twins").expect("legal");
        let heard = <[Heard; 2]>::default();
        let mut subscriptions = Vec::new();
        for (heard, side) in heard.iter().zip(SIDES) {
            let arm = || Name::new(side).expect("legal");
            let to = heard.modes.clone();
            let mode = move |m: Result<Delivery<ModeReport>, _>| {
                if let Ok(delivery) = m {
                    to.lock().expect("unpoisoned").push(delivery.message);
                }
            };
            let to = heard.applied.clone();
            let applied = move |m: Result<Delivery<AppliedBatch>, _>| {
                if let Ok(delivery) = m {
                    let mut to = to.lock().expect("unpoisoned");
                    to.extend(delivery.message.applied);
                }
            };
            let key = wire.key(&Topic::ArmMode(arm()));
            subscriptions.push(session.subscribe(&key, mode).expect("subscribed"));
            let key = wire.key(&Topic::ArmApplied(arm()));
            subscriptions.push(session.subscribe(&key, applied).expect("subscribed"));
        }
        let twins = Self {
            _subscriptions: subscriptions,
            session,
            run,
            file,
            endpoint,
            heard,
            dir,
            _alone: alone,
        };
        twins.wait("both arm hosts report", Duration::from_secs(90), |me| {
            me.heard.iter().all(|heard| heard.mode().is_some())
        });
        twins
    }

    pub fn now(&self) -> Time {
        self.session.clock().now()
    }

    pub fn modes(&self) -> [Option<ModeWord>; 2] {
        self.heard
            .each_ref()
            .map(|heard| heard.mode().map(|m| m.mode))
    }

    pub fn both(&self, mode: ModeWord) -> bool {
        self.modes() == [Some(mode); 2]
    }

    pub fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + within;
        while !done(self) {
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.dir.path().join("run.log"));
                let why = self.heard.each_ref().map(|h| h.mode().map(|m| m.reason));
                panic!(
                    "waited {within:?} in vain until {what}; modes {:?} {why:?}; {}",
                    self.modes(),
                    log.unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `tactus order` to both arms, or to the one after `#`.
    pub fn order(&self, of: &str, words: &[&str]) -> Output {
        let file = format!("{}{of}", self.file.display());
        let mut args = vec!["order", "--cell", &file, "--connect", &self.endpoint];
        args.extend(words);
        tactus(&args)
    }

    pub fn ordered(&self, of: &str, words: &[&str]) {
        let output = self.order(of, words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }

    /// Enables both and lets the policy have them.
    pub fn begin(&self) {
        // Who enables both finds one that is enabled already.
        self.ordered("#left", &["enable"]);
        self.ordered("", &["enable"]);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            // The engine may still probe its stages.
            let started = self.order("", &["start", "go round"]);
            if started.status.success() {
                break;
            }
            assert!(Instant::now() < until, "{}", said(&started));
            std::thread::sleep(Duration::from_millis(200));
        }
        self.moving();
    }

    pub fn moving(&self) {
        self.wait("the policy moves both", Duration::from_secs(30), |me| {
            me.heard.iter().all(Heard::moves)
        });
    }

    /// `kill` of a role of one arm; returns the instant before.
    pub fn kill(&self, role: &str, side: &str, signal: Signal) -> Time {
        let file = format!("{}#{side}", self.file.display());
        let pid = std::fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .find_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let words: Vec<&str> = line.split('\0').collect();
                (words.contains(&file.as_str()) && words.get(3) == Some(&role)).then_some(pid)
            });
        let before = self.now();
        kill_process(pid.and_then(Pid::from_raw).expect("it runs"), signal).expect("killed");
        before
    }

    /// Faults of the holds of arm `which` among the reports from the `from`th on.
    pub fn faults(&self, which: usize, from: usize) -> Vec<FaultKind> {
        let modes = self.heard[which].modes.lock().expect("unpoisoned");
        let mut faults: Vec<_> = modes[from..].iter().filter_map(|m| m.fault).collect();
        faults.dedup();
        faults
    }

    pub fn reports(&self) -> [usize; 2] {
        self.heard
            .each_ref()
            .map(|heard| heard.modes.lock().expect("unpoisoned").len())
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        let runs = matches!(self.run.try_wait(), Ok(None));
        let pid = i32::try_from(self.run.id()).ok().and_then(Pid::from_raw);
        let pid = pid.filter(|_| runs);
        if pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok()) {
            let until = Instant::now() + Duration::from_secs(15);
            while Instant::now() < until && matches!(self.run.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if matches!(self.run.try_wait(), Ok(None)) && self.run.kill().is_ok() {
            self.run.wait().expect("reaped");
        }
    }
}
