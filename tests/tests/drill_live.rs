//! `tactus drill --real-time` as a user types it: processes of a whole cell killed and stopped, links broken, each fault
//! judged against the ladder's bounds; nothing is left behind, whatever ends the drill; and a real arm is not touched
//! without a word.

mod cell;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cell::{cell_file, program, tactus};
use rustix::process::{Pid, Signal, kill_process};

/// Cells in real time run one after the other: two of them disturb each other's times.
static ALONE: Mutex<()> = Mutex::new(());

/// Processes whose command line names `word`, with their states (`R`, `S`, `T`, ..).
fn processes(word: &str) -> Vec<(i32, char, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        let ours = line.split('\0').any(|part| part.contains(word));
        let role = line.split('\0').nth(3).unwrap_or_default().to_owned();
        (ours && state != 'Z').then_some((pid, state, role))
    };
    entries.filter_map(of).collect()
}

/// Waits until no process names `word` any more.
fn assert_gone(word: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while !processes(word).is_empty() {
        assert!(Instant::now() < until, "left behind: {:?}", processes(word));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A machine that is busy with other things can make one trial fall short; code that is wrong makes every one.
const TRIES: usize = 3;

/// The one trial of a drill of `fault` in `mode`.
fn drill(dir: &Path, fault: &str, mode: &str) -> serde_json::Value {
    let json = dir.join("drill.json").display().to_string();
    for tried in 1.. {
        let output = tactus(&[
            "drill",
            "--real-time",
            "--fault",
            fault,
            "--mode",
            mode,
            "--repetitions",
            "1",
            "--json",
            &json,
        ]);
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}");
        if output.status.success() {
            break;
        }
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(tried < TRIES, "{fault}: {said}{talk}");
    }
    let text = std::fs::read_to_string(&json).expect("written");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    document["trials"][0].clone()
}

/// The bound itself is held by the drill's verdict; what is looked at here is that it judged what happened.
#[test]
fn faults_of_processes_and_links_end_within_their_bounds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a folder");
    let faults = [
        ("engine:kill", "policy", &["engine-dead"][..]),
        ("engine:stop", "policy", &["link-lost"]),
        ("camera:kill", "policy", &["camera-dead", "stream-stale"]),
        ("device:kill", "policy", &["proprio-stale"]),
        ("arm:kill", "policy", &["device-deadline"]),
        ("net:corrupt", "policy", &["link-lost"]),
        ("disk:full", "policy", &["engine-dead"]),
        ("operator:silent", "teleop", &["operator-lost"]),
        ("device:kill", "goto", &["proprio-stale"]),
    ];
    for (name, mode, reasons) in faults {
        let trial = drill(dir.path(), name, mode);
        assert_eq!(trial["fault"], name);
        let reason = trial["reason"].as_str().expect("a reason");
        assert!(reasons.contains(&reason), "{trial}");
        let number = |field: &str| trial[field].as_f64().expect("a number");
        let allowed = number("bound_ms") + number("noise_ms");
        assert!(number("hold_after_ms") <= allowed, "{trial}");
        assert!(number("peak_jerk") <= 3000.001 && number("largest_step_mrad") > 0.1);
        assert_eq!(trial["recovered"], true, "{trial}");
        // An arm host that was killed waits for an operator; so does the hold of a motion without a policy.
        let waits = name == "arm:kill" || mode != "policy";
        assert_eq!(trial["enabled"], waits, "{trial}");
    }
    let trial = drill(dir.path(), "panel:flood", "policy");
    assert!(trial["reason"].is_null(), "{trial}");
    assert!(
        trial["peak_jerk"].as_f64().expect("a number") > 100.0,
        "it moved: {trial}"
    );
}

/// A drill of the camera that stands still for a minute, once it does.
fn frozen(dir: &Path) -> (Child, String) {
    let file = cell_file(dir, |text| {
        text.replace("name = \"demo\"", "name = \"left-behind\"")
    });
    let child = Command::new(program())
        .args(["drill", "--real-time", "--fault", "camera:stop~60s"])
        .args(["--mode", "policy", "--repetitions", "1", "--cell"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let word = format!("tactus-drill-{}", child.id());
    let until = Instant::now() + Duration::from_secs(60);
    let stands = |(_, state, role): &(i32, char, String)| *state == 'T' && role == "camera";
    while !processes(&word).iter().any(stands) {
        assert!(
            Instant::now() < until,
            "no camera stands still: {:?}",
            processes(&word)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    (child, word)
}

#[test]
fn nothing_is_left_behind_however_the_drill_ends() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in [Signal::INT, Signal::KILL] {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut child, word) = frozen(dir.path());
        assert!(processes(&word).len() >= 4);
        let pid = Pid::from_raw(child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("signalled");
        let status = child.wait().expect("reaped");
        assert!(!status.success());
        assert_gone(&word);
        let folder = std::env::temp_dir().join(&word);
        if signal == Signal::INT {
            assert!(!folder.exists(), "its folder is removed");
        } else {
            std::fs::remove_dir_all(folder).expect("removed");
        }
    }
}

#[test]
fn a_real_arm_is_not_touched_without_a_word() {
    let dir = tempfile::tempdir().expect("a folder");
    let real = |text: String| {
        let (before, after) = text.split_once("[sim]").expect("a section");
        let (_, after) = after.split_once("\n\n").expect("another");
        before.to_owned() + after
    };
    let file = cell_file(dir.path(), real).display().to_string();
    for (more, expected) in [
        (&["all"][..], "confirm with --arm-is-clear"),
        (&["all", "--arm-is-clear"], "say with --instruction"),
        (
            &[
                "--fault",
                "device:kill",
                "--arm-is-clear",
                "--instruction",
                "wait",
            ],
            "the device of a real cell is not broken",
        ),
        (
            &[
                "--fault",
                "chunk:nan",
                "--arm-is-clear",
                "--instruction",
                "wait",
            ],
            "--real-time --list",
        ),
    ] {
        let mut args = vec!["drill", "--real-time", "--cell", &file];
        args.extend(more);
        let output = tactus(&args);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("tactus: ") && last.contains(expected),
            "{said}"
        );
    }
}
