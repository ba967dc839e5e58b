//! Two simulated arms that one policy moves, as real processes over loopback (`tactus run` of a file with `[[pair]]`).
//!
//! The policy (`pair/circles.onnx`, by `pair/make.py`) leads two joints of each arm round a circle, wrapped here by `bundle wrap`. Its
//! cameras play pictures of noise. What holds: both arms play the same step of the same chunk at the same time of the cell; what
//! holds one arm holds the other, by name; both come back together, or not at all; and what does not fit is refused before there is
//! an arm host.

mod cell;
mod twins;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cell::{program, tactus};
use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, FaultKind, Source, Time};
use tactus_wire::ModeWord;
use twins::*;

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
