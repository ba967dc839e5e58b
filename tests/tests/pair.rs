//! Two simulated arms that one policy moves, as real processes over loopback (`tactus run` of a file with `[[pair]]`).
//!
//! The policy (`pair/circles.onnx`, by `pair/make.py`) leads two joints of each arm round a circle, wrapped here by `bundle wrap`. Its
//! cameras play pictures of noise. What holds: both arms play the same step of the same chunk at the same time of the cell; what
//! holds one arm holds the other, by name; both come back together, or not at all; and what does not fit is refused before there is
//! an arm host.

mod cell;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cell::{checkout, program, tactus};
use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, FaultKind, Source, Time};
use tactus_wire::{
    AppliedBatch, Cell as WireCell, Delivery, ModeReport, ModeWord, MonotonicClock, Name, Session,
    SessionOptions, Subscriber, Topic,
};

const SIDES: [&str; 2] = ["left", "right"];
/// Side of the pictures, pixels.
const SIDE: u16 = 32;
/// Of the cell file below.
const LINK_LIMIT: Duration = Duration::from_millis(400);
/// A busy machine lets a thread wait for as long.
const BUSY: Duration = Duration::from_millis(400);

/// Two cores are few for one cell of two arms, and too few for two.
static ALONE: Mutex<()> = Mutex::new(());

/// The bundle, wrapped once for all tests.
fn bundle() -> &'static Path {
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

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).expect("text")
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

/// The demo's cell with two arms and one camera, changed by `edit`.
fn file(dir: &Path, edit: &dyn Fn(String) -> String) -> PathBuf {
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
struct Heard {
    applied: Arc<Mutex<Vec<Applied>>>,
    modes: Arc<Mutex<Vec<ModeReport>>>,
}

impl Heard {
    fn mode(&self) -> Option<ModeReport> {
        self.modes.lock().expect("unpoisoned").last().cloned()
    }

    /// Commands from `since` on, in order.
    fn since(&self, since: Time) -> Vec<Applied> {
        let applied = self.applied.lock().expect("unpoisoned");
        applied.iter().filter(|a| a.at >= since).copied().collect()
    }

    fn moves(&self) -> bool {
        let applied = self.applied.lock().expect("unpoisoned");
        let last = applied.last();
        last.is_some_and(|a| {
            a.command.setpoint.source == Source::Policy && a.command.dq.max_abs() > 0.05
        })
    }
}

/// A running cell of two arms, and an observer.
struct Twins {
    _subscriptions: Vec<Subscriber>,
    session: Session,
    run: Child,
    file: PathBuf,
    endpoint: String,
    heard: [Heard; 2],
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Twins {
    fn start(edit: &dyn Fn(String) -> String) -> Self {
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

    fn now(&self) -> Time {
        self.session.clock().now()
    }

    fn modes(&self) -> [Option<ModeWord>; 2] {
        self.heard
            .each_ref()
            .map(|heard| heard.mode().map(|m| m.mode))
    }

    fn both(&self, mode: ModeWord) -> bool {
        self.modes() == [Some(mode); 2]
    }

    fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
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
    fn order(&self, of: &str, words: &[&str]) -> Output {
        let file = format!("{}{of}", self.file.display());
        let mut args = vec!["order", "--cell", &file, "--connect", &self.endpoint];
        args.extend(words);
        tactus(&args)
    }

    fn ordered(&self, of: &str, words: &[&str]) {
        let output = self.order(of, words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }

    /// Enables both and lets the policy have them.
    fn begin(&self) {
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

    fn moving(&self) {
        self.wait("the policy moves both", Duration::from_secs(30), |me| {
            me.heard.iter().all(Heard::moves)
        });
    }

    /// `kill` of a role of one arm; returns the instant before.
    fn kill(&self, role: &str, side: &str, signal: Signal) -> Time {
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
    fn faults(&self, which: usize, from: usize) -> Vec<FaultKind> {
        let modes = self.heard[which].modes.lock().expect("unpoisoned");
        let mut faults: Vec<_> = modes[from..].iter().filter_map(|m| m.fault).collect();
        faults.dedup();
        faults
    }

    fn reports(&self) -> [usize; 2] {
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

/// The last command from a chunk, and the first of the hold after `since`.
fn hold_after(applied: &[Applied]) -> Option<Time> {
    let last = applied
        .iter()
        .rposition(|a| a.command.setpoint.source == Source::Policy);
    let hold = applied.get(last.map_or(0, |last| last + 1))?;
    Some(hold.at)
}

#[test]
fn both_arms_move_in_step_and_each_by_its_own_columns() {
    let twins = Twins::start(&|text| text);
    twins.begin();
    let from = twins.now();
    std::thread::sleep(Duration::from_secs(6));
    let [left, right] = twins.heard.each_ref().map(|heard| heard.since(from));
    // Every observation behind a command of the one is behind commands of the other.
    let steps = |applied: &[Applied]| {
        let mut steps: BTreeMap<(Time, usize), (Time, Time)> = BTreeMap::new();
        for a in applied
            .iter()
            .filter(|a| a.command.setpoint.source == Source::Policy)
        {
            let setpoint = &a.command.setpoint;
            let key = (
                setpoint.observed_at.expect("of a chunk"),
                setpoint.action_index as usize,
            );
            let span = steps.entry(key).or_insert((a.at, a.at));
            span.1 = a.at;
        }
        steps
    };
    let [left_steps, right_steps] = [steps(&left), steps(&right)];
    let observed = |steps: &BTreeMap<(Time, usize), (Time, Time)>| {
        let mut times: Vec<Time> = steps.keys().map(|(at, _)| *at).collect();
        times.dedup();
        times
    };
    let [of_left, of_right] = [observed(&left_steps), observed(&right_steps)];
    assert!(of_left.len() > 10, "{} chunks", of_left.len());
    let common = of_left.iter().filter(|at| of_right.contains(at)).count();
    let all = of_left.len().max(of_right.len());
    assert!(
        common + 2 >= all,
        "{common} of {all} observations are of both"
    );
    // A step of both is played by both within the same time: its spans overlap, but for ticks that came late.
    let both: Vec<_> = left_steps
        .iter()
        .filter_map(|(key, span)| Some((span, right_steps.get(key)?)))
        .collect();
    let apart = |(a, b): &(&(Time, Time), &(Time, Time))| a.0.max(b.0).since(a.1.min(b.1));
    let late = both
        .iter()
        .filter(|pair| apart(pair) > Duration::from_millis(20))
        .count();
    println!(
        "{common} of {all} observations common; {} steps played by both, {late} apart by more than 20 ms",
        both.len()
    );
    assert!(
        both.len() > 30 && late * 20 < both.len(),
        "{late} of {}",
        both.len()
    );
    // The grippers have a target each, and the arms go opposite ways.
    let last = |applied: &[Applied]| applied.last().expect("commands").command;
    assert!(
        (last(&left).opening - 0.3).abs() < 0.02,
        "{}",
        last(&left).opening
    );
    assert!(
        (last(&right).opening - 0.8).abs() < 0.02,
        "{}",
        last(&right).opening
    );
    let turn = |applied: &[Applied]| -> f64 {
        let pairs = applied.windows(2);
        let place = |a: &Applied| (a.command.q[0] - 0.1, a.command.q[5]);
        pairs
            .map(|pair| {
                let ((x, y), (u, v)) = (place(&pair[0]), place(&pair[1]));
                x * v - y * u
            })
            .sum()
    };
    assert!(
        turn(&left) * turn(&right) < 0.0,
        "{} {}",
        turn(&left),
        turn(&right)
    );
    // A stop of one stops both.
    twins.ordered("#right", &["stop"]);
    twins.wait("both are stopped", Duration::from_secs(5), |me| {
        me.both(ModeWord::Stopped)
    });
    let recording = twins.dir.path().join("pair.mcap").display().to_string();
    drop_run(twins, |dir| {
        let replayed = tactus(&["replay", &recording]);
        assert!(!replayed.status.success());
        assert!(
            said(&replayed).contains("a cell with one arm"),
            "{}",
            said(&replayed)
        );
        // 3: a machine that was too busy to record all of it.
        let doctor = tactus(&["recording", "doctor", &recording]);
        assert!(
            matches!(doctor.status.code(), Some(0 | 3)),
            "{}",
            said(&doctor)
        );
        let out = dir.join("set").display().to_string();
        let exported = tactus(&["recording", "export", "--lerobot", &out, &recording]);
        assert!(!exported.status.success());
        assert!(
            said(&exported).contains("expected one arm, got two"),
            "{}",
            said(&exported)
        );
    });
}

/// Ends the cell, and looks at what it left.
fn drop_run(mut twins: Twins, look: impl FnOnce(&Path)) {
    let pid = i32::try_from(twins.run.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::TERM).expect("told");
    twins.run.wait().expect("ends");
    look(twins.dir.path());
}

#[test]
fn a_fault_of_one_arm_holds_both_within_the_bound_and_both_come_back() {
    let twins = Twins::start(&|text| text);
    twins.begin();
    let from = twins.reports();
    let stopped = twins.kill("sim", "left", Signal::STOP);
    twins.wait("both hold", Duration::from_secs(10), |me| {
        me.both(ModeWord::Hold)
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        twins.faults(0, from[0]).contains(&FaultKind::ProprioStale),
        "{:?}",
        twins.faults(0, from[0])
    );
    assert_eq!(twins.faults(1, from[1]), [FaultKind::PartnerHeld]);
    let right = hold_after(&twins.heard[1].since(stopped)).expect("a hold");
    // What the left arm's ladder takes, then the pair's bound, and a machine that is busy.
    let bound = Duration::from_millis(150) + LINK_LIMIT + BUSY;
    println!(
        "right held {:?} after the left device stopped",
        right.since(stopped)
    );
    assert!(right.since(stopped) < bound, "{:?}", right.since(stopped));
    // One alone stays where it is, however well it is.
    std::thread::sleep(Duration::from_secs(2));
    assert!(twins.both(ModeWord::Hold), "{:?}", twins.modes());
    twins.kill("sim", "left", Signal::CONT);
    twins.wait("both resume", Duration::from_secs(20), |me| {
        me.both(ModeWord::Policy)
    });
    twins.moving();
}

#[test]
fn an_arm_host_that_dies_holds_the_other_and_an_operator_has_to_enable_both() {
    let twins = Twins::start(&|text| text.replace("resume = \"auto\"", "resume = \"operator\""));
    twins.begin();
    // An operator holds one: both hold, and both have to be enabled.
    let from = twins.reports();
    twins.ordered("#left", &["hold"]);
    twins.wait("both hold", Duration::from_secs(5), |me| {
        me.both(ModeWord::Hold)
    });
    assert_eq!(twins.faults(1, from[1]), [FaultKind::PartnerHeld]);
    let enabled = twins.now();
    twins.ordered("#right", &["enable"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(twins.both(ModeWord::Hold), "one alone: {:?}", twins.modes());
    let moves = |a: &Applied| a.command.setpoint.source == Source::Policy;
    assert!(
        !twins.heard[1].since(enabled).iter().any(moves),
        "it moved alone"
    );
    twins.ordered("#left", &["enable"]);
    twins.wait("both resume", Duration::from_secs(10), |me| {
        me.both(ModeWord::Policy)
    });
    twins.moving();
    // One arm host dies.
    let from = twins.reports();
    let killed = twins.kill("arm", "left", Signal::KILL);
    twins.wait("the right holds", Duration::from_secs(5), |me| {
        me.modes()[1] == Some(ModeWord::Hold)
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(twins.faults(1, from[1]), [FaultKind::PartnerHeld]);
    let right = hold_after(&twins.heard[1].since(killed)).expect("a hold");
    println!(
        "right held {:?} after the left arm host was killed",
        right.since(killed)
    );
    assert!(
        right.since(killed) < LINK_LIMIT + BUSY,
        "{:?}",
        right.since(killed)
    );
    twins.wait("the left is in boot again", Duration::from_secs(20), |me| {
        me.modes()[0] == Some(ModeWord::Boot)
    });
    // Neither starts without the other.
    let refused = twins.order("#left", &["start", "go round"]);
    assert!(!refused.status.success());
    twins.ordered("#left", &["enable"]);
    let refused = said(&twins.order("#left", &["start", "go round"]));
    assert!(
        refused.contains("`right`, is in mode `hold`; both start, or neither"),
        "{refused}"
    );
    twins.ordered("#right", &["end"]);
    twins.wait("both are ready", Duration::from_secs(5), |me| {
        me.both(ModeWord::Ready)
    });
    twins.ordered("", &["start", "go round"]);
    twins.moving();
    twins.ordered("", &["stop"]);
    twins.wait("both are stopped", Duration::from_secs(5), |me| {
        me.both(ModeWord::Stopped)
    });
}

#[test]
fn what_does_not_fit_is_refused_before_there_is_an_arm_host() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |edit: &dyn Fn(String) -> String| {
        let file = file(dir.path(), edit);
        let log = dir.path().join("refused.log");
        let run = Command::new(program())
            .args(["run", &file.display().to_string()])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn();
        let mut run = run.expect("starts");
        let until = Instant::now() + Duration::from_secs(60);
        let ended = loop {
            match run.try_wait().expect("asked") {
                Some(status) => break Some(status),
                None if Instant::now() > until => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let text = std::fs::read_to_string(&log).expect("the log");
        if ended.is_none() {
            let pid = i32::try_from(run.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.expect("a process"), Signal::TERM).expect("told");
            run.wait().expect("ends");
        }
        assert!(ended.is_some_and(|status| !status.success()), "{text}");
        text
    };
    let text = refused(&|text| text.replace("prefix = \"right_\"", "prefix = \"r_\""));
    assert!(
        text.contains("which neither arm has") && text.contains("arm hosts were not started"),
        "{text}"
    );
    let text =
        refused(&|text| text.replace("bundle = \"", "policy = \"openpi://127.0.0.1:1\" # \""));
    assert!(text.contains("field `policy`"), "{text}");
    let whole = file(dir.path(), &|text| text).display().to_string();
    let text = said(&tactus(&["run", &format!("{whole}#left")]));
    assert!(text.contains("the whole cell file"), "{text}");
    for verb in [
        &["doctor", whole.as_str()][..],
        &["demo", "--cell", &whole],
        &["panel", "--cell", &whole],
    ] {
        let text = said(&tactus(verb));
        assert!(text.contains("a cell with one arm"), "{verb:?}: {text}");
    }
}
