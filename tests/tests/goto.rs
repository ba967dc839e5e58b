//! Motions to a pose, and torque: real processes over loopback, as an operator gives the orders.

mod cell;

use std::process::{Command, Stdio};
use std::time::Duration;

use cell::{Cell, arm, program, tactus};
use rustix::process::{Pid, Signal, kill_process};
use tactus_types::{Applied, ArmInfo, Source, Torque};
use tactus_wire::{Delivery, ModeOrder, ModeWord, Nothing, Topic};

const WAIT: Duration = Duration::from_secs(5);
const HOME: [f64; 6] = [0.0, -0.13, 1.83, 0.0, 1.44, 0.0];

/// The demo cell, with sluggish bounds (a busy machine is not what is tested here) and changed by `edit`.
fn cell(edit: impl Fn(String) -> String) -> Cell {
    Cell::start(|text| {
        let text = text
            .replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ");
        edit(text)
    })
}

/// `tactus WORDS` for this cell: success, stdout, stderr.
fn verb(cell: &Cell, verb: &[&str], words: &[&str]) -> (bool, String, String) {
    let file = cell.file.display().to_string();
    let common = ["--cell", &file, "--connect", &cell.endpoint];
    let output = tactus(&[verb, &common[..], words].concat());
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (
        output.status.success(),
        said(&output.stdout),
        said(&output.stderr),
    )
}

fn goto(cell: &Cell, pose: &str, words: &[&str]) -> (bool, String, String) {
    verb(cell, &["arm", "goto", pose], words)
}

fn order(cell: &Cell, words: &[&str]) -> (bool, String, String) {
    verb(cell, &["order"], words)
}

fn mode_is(cell: &Cell, word: ModeWord) -> bool {
    cell.mode().is_some_and(|m| m.mode == word)
}

fn measured(cell: &Cell) -> tactus_types::JointState {
    *cell
        .states
        .lock()
        .expect("unpoisoned")
        .last()
        .expect("a state")
}

/// The commands so far.
fn commands(cell: &Cell) -> Vec<Applied> {
    cell.applied.lock().expect("unpoisoned").clone()
}

fn info(cell: &Cell) -> ArmInfo {
    let key = cell.wire.key(&Topic::ArmInfo(arm()));
    let info: Delivery<ArmInfo> = cell.session.query(&key, &Nothing, WAIT).expect("an answer");
    info.message
}

#[test]
fn an_arm_goes_where_it_is_told_inside_its_limits_and_nowhere_else() {
    let cell = cell(|text| {
        let start = "start = [0.5, -0.13, 1.83, 0.0, 1.44, 0.0]\n\n[schedule]";
        text.replace(
            "settle_ms = 200 ",
            "start_tolerance_rad = 0.05\nsettle_ms = 200 ",
        )
        .replacen("[schedule]", start, 1)
    });
    let (done, _, said) = goto(&cell, "home", &[]);
    assert!(
        !done && said.contains("`goto` is not possible in mode `boot`"),
        "{said}"
    );
    assert!(order(&cell, &["enable"]).0);
    let (done, _, said) = goto(&cell, "0,2.5,0,0,0,0", &[]);
    let why = "joint `shoulder_pitch`: expected -1.3 to 2 rad, got 2.5";
    assert!(!done && said.contains(why), "{said}");
    let (done, _, said) = goto(&cell, "0,0", &[]);
    assert!(!done && said.contains("expected 6 joints, got 2"), "{said}");
    let (done, _, said) = goto(&cell, "nowhere", &[]);
    assert!(!done && said.contains("home, start"), "{said}");
    assert!(
        commands(&cell)
            .iter()
            .all(|a| a.command.setpoint.source == Source::Hold)
    );

    let (done, result, said) = verb(
        &cell,
        &["arm", "home"],
        &["--speed", "0.5", "--opening", "0.25"],
    );
    assert!(
        done && result.contains("mode: ready, at home"),
        "{result} {said}"
    );
    let at = measured(&cell);
    for (q, home) in at.q.iter().zip(HOME) {
        assert!((q - home).abs() < 0.02, "{at:?}");
    }
    assert!((at.opening - 0.25).abs() < 0.05, "{at:?}");
    assert!(
        cell.modes
            .lock()
            .expect("unpoisoned")
            .iter()
            .any(|m| m.mode == ModeWord::Goto)
    );
    let limits = info(&cell).limits;
    let path: Vec<Applied> = commands(&cell)
        .into_iter()
        .filter(|a| a.command.setpoint.source == Source::Goto)
        .collect();
    assert!(path.len() > 50, "{} commands", path.len());
    for a in &path {
        assert!(
            !a.command.clamped_by.any(),
            "the limiter had nothing to do: {a:?}"
        );
        for ((q, dq), l) in a.command.q.iter().zip(a.command.dq.iter()).zip(&limits) {
            assert!((l.lower..=l.upper).contains(q) && dq.abs() <= 0.501 * l.velocity);
        }
    }

    // An episode does not start here.
    let (done, _, said) = order(&cell, &["start", "pick up the red cube"]);
    let why = "episodes start at 0.5 within 0.05 rad";
    assert!(
        !done && said.contains("`base_yaw` is at") && said.contains(why),
        "{said}"
    );
    let (done, _, said) = goto(&cell, "start", &["--speed", "1"]);
    assert!(done, "{said}");
    cell.wait("the episode starts", WAIT, || {
        order(&cell, &["start", "pick up the red cube"]).0
    });
    let (done, _, said) = goto(&cell, "home", &[]);
    assert!(
        !done && said.contains("not possible in mode `policy`"),
        "{said}"
    );
}

#[test]
fn a_hold_ends_a_motion_and_so_does_the_death_or_interruption_of_whoever_wanted_it() {
    let cell = cell(|text| text);
    let file = cell.file.display().to_string();
    let away = "1.5,0.6,1.2,0.5,0.5,1.0";
    // Slow enough to be caught under way.
    let args = [
        "arm",
        "goto",
        away,
        "--cell",
        &file,
        "--connect",
        &cell.endpoint,
        "--speed",
        "0.05",
    ];
    let begin = || {
        let mut command = Command::new(program());
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().expect("starts");
        cell.wait("the arm moves", WAIT, || {
            let last = cell.applied.lock().expect("unpoisoned").last().copied();
            let moves = |a: Applied| {
                a.command.setpoint.source == Source::Goto && a.command.dq.max_abs() > 0.05
            };
            mode_is(&cell, ModeWord::Goto) && last.is_some_and(moves)
        });
        child
    };
    let end = |child: std::process::Child| {
        let output = child.wait_with_output().expect("reaped");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let rests = || {
        cell.wait("it holds", WAIT, || mode_is(&cell, ModeWord::Hold));
        cell.wait("it rests", WAIT, || {
            let last = cell.applied.lock().expect("unpoisoned").last().copied();
            last.is_some_and(|a| {
                a.command.setpoint.source == Source::Hold && a.command.dq.max_abs() < 1e-6
            })
        });
        let reason = cell.mode().expect("a mode").reason;
        cell.release();
        assert!(
            order(&cell, &["enable"]).1.contains("mode: ready"),
            "no episode to resume"
        );
        reason
    };
    assert!(order(&cell, &["enable"]).0);

    let child = begin();
    assert!(cell.order_without_lease(&ModeOrder::Hold).accepted);
    let (code, said) = end(child);
    assert!(
        code == Some(1) && said.contains("hold: an operator asked for it"),
        "{code:?} {said}"
    );
    assert!(rests().contains("operator"));

    let child = begin();
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    kill_process(pid, Signal::INT).expect("interrupted");
    let (code, said) = end(child);
    assert!(
        code == Some(1) && said.contains("hold: an operator asked for it"),
        "{code:?} {said}"
    );
    rests();

    let child = begin();
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    kill_process(pid, Signal::KILL).expect("killed");
    end(child);
    let reason = rests();
    assert!(
        reason.contains("the lease of `goto-") && reason.contains("expired"),
        "{reason}"
    );

    let child = begin();
    let (done, mode, said) = order(&cell, &["stop"]);
    assert!(done && mode == "mode: stopped", "{said}");
    let (code, said) = end(child);
    assert!(
        code == Some(1) && said.contains("stopped"),
        "{code:?} {said}"
    );
}

#[test]
fn torque_goes_off_only_by_an_order_and_on_only_where_the_arm_is() {
    // Without brakes it falls.
    let cell = cell(|text| text.replace("variation = true ", "brakes = false\nvariation = true "));
    assert!(order(&cell, &["enable"]).0);
    let (done, _, said) = order(&cell, &["torque-off"]);
    assert!(!done && said.contains("has no brakes and falls"), "{said}");
    let before = measured(&cell);
    let (done, mode, said) = order(&cell, &["torque-off", "--arm-is-supported"]);
    assert!(done && mode == "mode: boot", "{mode} {said}");
    cell.wait("it is limp and falls", WAIT, || {
        let now = measured(&cell);
        !now.torque && now.q.zip(&before.q, |a, b| a - b).max_abs() > 0.1
    });
    // The command goes with it, so that nothing jumps.
    cell.wait("it lies", Duration::from_secs(20), || {
        let states = cell.states.lock().expect("unpoisoned");
        let mut last = states.iter().rev().take(250);
        last.all(|s| s.dq.max_abs() < 0.01)
    });
    let (done, _, said) = goto(&cell, "home", &[]);
    assert!(!done && said.contains("mode `boot`"), "{said}");
    let lying = measured(&cell);
    let (done, mode, said) = order(&cell, &["enable"]);
    assert!(done && mode == "mode: ready", "{mode} {said}");
    let now = measured(&cell);
    assert!(
        now.torque && now.q.zip(&lying.q, |a, b| a - b).max_abs() < 0.02,
        "{lying:?} {now:?}"
    );
    let said_off = |a: &&Applied| a.command.torque == Torque::Off;
    let off = commands(&cell);
    let (first, last) = (off.iter().find(said_off), off.iter().rfind(said_off));
    let span = last.zip(first).map(|(last, first)| last.at.since(first.at));
    assert!(
        span.is_some_and(|s| s < Duration::from_millis(500)),
        "said while switching only: {span:?}"
    );
    let (done, _, said) = goto(&cell, "home", &["--speed", "0.5"]);
    assert!(done, "{said}");
}
