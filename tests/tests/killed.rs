//! What happens when a process of the cell is killed in the middle of an episode: real processes, real time, kill -9.
//!
//! Bounds are those of the ladder: a tail of at most 150 ms, the first hold command within 200 ms, rest within 500 ms.
//! The tail begins when the fault is noticed; liveliness over loopback takes milliseconds of the 50 that it may.

mod cell;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cell::{Cell, cell_file, program};
use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, Source, Time};
use tactus_wire::{ModeOrder, ModeWord};

/// A camera frame older than this is stale: three frame periods, as the demo cell has it.
const STALE: Duration = Duration::from_millis(150);

/// The commands after `since`, once there are some of at least `for_millis`.
fn commands_after(cell: &Cell, since: Time, for_millis: u64) -> Vec<Applied> {
    std::thread::sleep(Duration::from_millis(for_millis + 100));
    let applied = cell.applied.lock().expect("unpoisoned");
    applied.iter().filter(|a| a.at > since).copied().collect()
}

/// Holds the commands after a kill against the ladder's bounds; returns when the first hold was commanded.
fn assert_ladder(after: &[Applied], killed: Time) -> Duration {
    let holds = |a: &&Applied| a.command.setpoint.source == Source::Hold;
    let first_hold = after.iter().find(holds).expect("a hold").at;
    let last_policy = after
        .iter()
        .take_while(|a| a.at < first_hold)
        .last()
        .map_or(killed, |a| a.at);
    assert!(
        last_policy.since(killed) <= Duration::from_millis(200),
        "tail of {:?}",
        last_policy.since(killed)
    );
    assert!(
        first_hold.since(killed) <= Duration::from_millis(200),
        "hold after {:?}",
        first_hold.since(killed)
    );
    let rest = after
        .iter()
        .find(|a| a.at >= first_hold && a.command.dq.max_abs() < 0.01)
        .expect("rest");
    assert!(
        rest.at.since(killed) <= Duration::from_millis(500),
        "rest after {:?}",
        rest.at.since(killed)
    );
    let opening = after.iter().find(holds).expect("a hold").command.opening;
    let until_resumed = after
        .iter()
        .skip_while(|a| a.at < first_hold)
        .take_while(holds);
    assert!(
        until_resumed
            .into_iter()
            .all(|a| a.command.opening == opening),
        "a hold keeps the gripper"
    );
    first_hold.since(killed)
}

#[test]
fn the_engine() {
    let cell = Cell::start(|text| text);
    cell.start_episode(7001);
    let generation = cell.mode().expect("a mode").generation;
    let killed = cell.kill("engine");
    let after = commands_after(&cell, killed, 600);
    let hold = assert_ladder(&after, killed);
    println!("engine killed: first hold command after {hold:?}");
    let reasons: Vec<String> = cell
        .modes
        .lock()
        .expect("unpoisoned")
        .iter()
        .map(|m| m.reason.clone())
        .collect();
    assert!(
        reasons.iter().any(|r| r.contains("engine")),
        "the reason is said: {reasons:?}"
    );
    // The demo cell resumes by itself once the supervisor has started the engine again.
    cell.wait("the policy resumes", Duration::from_secs(20), || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Policy)
    });
    assert!(
        cell.mode().expect("a mode").generation > generation,
        "in a new generation"
    );
}

#[test]
fn the_cameras() {
    let cell = Cell::start(|text| text);
    cell.start_episode(7002);
    let killed = cell.kill("camera");
    let after = commands_after(&cell, killed, 800);
    // The ladder counts from the staleness bound; a lost liveliness token is usually noticed long before.
    let hold = assert_ladder(&after, killed + STALE) + STALE;
    println!("cameras killed: first hold command at most {hold:?} after the kill");
    let reasons: Vec<String> = cell
        .modes
        .lock()
        .expect("unpoisoned")
        .iter()
        .map(|m| m.reason.clone())
        .collect();
    assert!(
        reasons.iter().any(|r| r.contains("camera")),
        "the reason is said: {reasons:?}"
    );
    cell.wait("the policy resumes", Duration::from_secs(20), || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Policy)
    });
}

#[test]
fn the_arm_host() {
    let cell = Cell::start(|text| text);
    cell.start_episode(7003);
    cell.kill("arm");
    std::thread::sleep(Duration::from_millis(700));
    // The device is alone now, and holds by its own deadline of 100 ms.
    let moving = |cell: &Cell| {
        let states = cell.states.lock().expect("unpoisoned");
        states
            .iter()
            .rev()
            .take(50)
            .map(|s| s.dq.max_abs())
            .fold(0.0, f64::max)
    };
    assert!(
        moving(&cell) < 0.05,
        "the device holds by itself: {} rad/s",
        moving(&cell)
    );
    cell.wait("the arm host is back", Duration::from_secs(20), || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Boot)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        cell.mode().expect("a mode").mode,
        ModeWord::Boot,
        "never into policy by itself"
    );
    assert!(moving(&cell) < 0.05, "and it moves nothing");
    assert!(
        cell.order(&ModeOrder::Enable).accepted,
        "until an operator enables it"
    );
}

#[test]
fn a_cell_that_resumes_by_an_operator_stays_in_hold() {
    let cell = Cell::start(|text| text.replace("resume = \"auto\"", "resume = \"operator\""));
    cell.start_episode(7004);
    cell.kill("engine");
    cell.wait("it holds", Duration::from_secs(5), || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Hold)
    });
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(cell.mode().expect("a mode").mode, ModeWord::Hold);
}

/// `tactus run`, told to end when this is dropped.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok()) {
            let _ = self.0.wait();
        }
    }
}

/// The process of `role` in the cell of `file`, and what it is called, once there is one besides `but`.
fn role(file: &Path, role: &str, but: Option<Pid>) -> (Pid, String) {
    let file = file.display().to_string();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let found = entries.filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let words: Vec<&str> = line.split('\0').collect();
            let ours = words.contains(&file.as_str()) && words.get(3) == Some(&role);
            (ours && Some(pid) != but).then(|| (pid, words[0].to_owned()))
        });
        if let Some(found) = found.into_iter().next() {
            return found;
        }
        assert!(Instant::now() < until, "no `{role}` is started");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As an update does to a cell that runs.
#[test]
fn a_role_is_started_again_when_the_programs_file_is_gone() {
    let program = program();
    let beside = program.parent().expect("a folder");
    let dir = tempfile::tempdir_in(beside).expect("a folder");
    let link = dir.path().join("tactus");
    std::fs::hard_link(&program, &link).expect("another name of the program");
    let file = cell_file(dir.path(), |text| text);
    let run = Command::new(&link)
        .arg("run")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _run = Run(run.expect("starts"));
    // From here on what ends is started again.
    role(&file, "arm", None);
    let (camera, called) = role(&file, "camera", None);
    assert_eq!(Path::new(&called), link);
    std::fs::remove_file(&link).expect("removed");
    kill_process(camera, Signal::KILL).expect("killed");
    let (_, called) = role(&file, "camera", Some(camera));
    assert_eq!(Path::new(&called), link);
}
