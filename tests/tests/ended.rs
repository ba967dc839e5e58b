//! What happens to a moving arm when its cell is ended, in order or by the death of `tactus run`: it brakes, keeps its
//! torque, and the device leaves after the arm host that brakes it.

mod cell;

use std::time::{Duration, Instant};

use cell::Cell;
use rustix::process::{Signal, kill_process};
use tactus_types::{Source, Torque};

/// When each of `roles` was gone, in the order in which they went.
fn gone(pids: &[(&'static str, i32)], within: Duration) -> Vec<&'static str> {
    let runs = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|s| !s.contains(") Z "))
    };
    let until = Instant::now() + within;
    let mut gone = Vec::new();
    while gone.len() < pids.len() {
        for (role, pid) in pids {
            if !gone.contains(role) && !runs(*pid) {
                gone.push(*role);
            }
        }
        assert!(Instant::now() < until, "only {gone:?} have ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    gone
}

fn end(signal: Signal, seed: u64) {
    let cell = Cell::start(|text| text);
    cell.start_episode(seed);
    let pids = ["engine", "camera", "arm", "sim"].map(|role| (role, cell.pid(role).expect("runs")));
    let before = cell.applied.lock().expect("unpoisoned").len();
    kill_process(cell.run_pid(), signal).expect("signalled");
    let order = gone(&pids, Duration::from_secs(10));
    let place = |role| order.iter().position(|r| *r == role).expect("went");
    if signal == Signal::INT {
        // Without a supervisor nobody keeps this order, and the arm host needs neither.
        assert!(
            place("engine") < place("arm") && place("camera") < place("arm"),
            "{order:?}"
        );
    }
    assert!(place("arm") < place("sim"), "{order:?}");

    let applied = cell.applied.lock().expect("unpoisoned");
    let after = &applied[before..];
    assert!(after.iter().all(|a| a.command.torque == Torque::Keep));
    let last = after.last().expect("commands").command;
    assert_eq!(last.setpoint.source, Source::Hold);
    let states = cell.states.lock().expect("unpoisoned");
    let state = *states.last().expect("states");
    assert!(
        state.torque && state.dq.max_abs() < 0.06,
        "the arm rests: {state:?}"
    );
    assert!(
        last.dq.max_abs() < 0.011,
        "and so does its command: {last:?}"
    );
}

#[test]
fn by_ctrl_c() {
    end(Signal::INT, 7201);
}

#[test]
fn by_the_death_of_whoever_supervises() {
    end(Signal::KILL, 7202);
}
