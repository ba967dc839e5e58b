//! A minute of following at 500 Hz, alone on the machine: nothing times out, hardly a period is late. Ten minutes with
//! `./tests/run --long`.

mod emulator;
mod shell;

use std::time::{Duration, Instant};

use emulator::{Controller, Options, PLAYING};
use shell::Shell;
use tactus_ur::Model;

/// Minutes that are tried.
const TRIES: usize = 3;

fn session(time: Duration) {
    let realtime = match shell::punctual() {
        true => "SCHED_FIFO",
        false => "no real-time scheduling granted",
    };
    let controller = Controller::start(Options::default());
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.enable();
    let home = shell.goal;
    let (states, cycles, slips) = {
        let world = controller.world();
        (shell.arm.counts().states, world.cycles, world.slips)
    };
    let began = Instant::now();
    let mut latencies = Vec::new();
    let mut worst = 0.0f64;
    let (mut t, mut step) = (0.0, 0.0);
    let (mut ticked, mut gap, mut age) = (began, Duration::ZERO, Duration::ZERO);
    while began.elapsed() < time {
        // A tick's worth at most, as an arm host that was late does it.
        t += step;
        for (i, goal) in shell.goal.iter_mut().enumerate() {
            let phase = std::f64::consts::TAU * t / (4.0 + i as f64);
            *goal = home[i] + 0.3 * (1.0 - phase.cos());
        }
        shell.tick();
        step = ticked.elapsed().as_secs_f64().min(0.002);
        gap = gap.max(ticked.elapsed());
        ticked = Instant::now();
        age = age.max(shell.clock.now().since(shell.state.captured_at));
        if !shell.state.torque {
            let doing = controller.world().ints_out[25];
            let counts = shell.arm.counts();
            panic!(
                "ended after {:?}: the program says {doing}; {counts:?}; ticks <= {gap:?} apart, states <= {age:?} old",
                began.elapsed()
            );
        }
        let q = shell.state.q;
        let lag = (0..6)
            .map(|i| (q[i] - shell.goal[i]).abs())
            .fold(0.0, f64::max);
        worst = worst.max(lag);
    }
    let elapsed = began.elapsed().as_secs_f64();
    let counts = shell.arm.counts();
    let world = controller.world();
    let late = counts.late as f64 / counts.periods as f64;
    println!(
        "{elapsed:.0} s, {realtime}: {:.1} states/s, {:.1} controller cycles/s ({} slipped), {} periods, {} late ({:.3} %), lag <= {worst:.3} rad, largest step {:.4} rad, ticks <= {gap:?} apart, states <= {age:?} old",
        (counts.states - states) as f64 / elapsed,
        (world.cycles - cycles) as f64 / elapsed,
        world.slips - slips,
        counts.periods,
        counts.late,
        100.0 * late,
        world.leap
    );
    assert!(t > 0.8 * time.as_secs_f64() && worst > 0.01, "it has moved");
    assert_eq!(
        (world.runtime, world.programs, world.dropped),
        (PLAYING, 1, 0)
    );
    assert!(
        counts.periods as f64 > 400.0 * time.as_secs_f64(),
        "{counts:?}"
    );
    // Cycles that the emulated controller itself slipped are the machine's, and stand apart in what was printed.
    let slipped = (world.slips - slips) as f64 / counts.periods as f64;
    assert!(late <= 0.005 + slipped, "{counts:?}");
    drop(world);

    // From a command to the first state in which the arm has moved.
    for k in 0..40 {
        shell.rest(Duration::from_millis(150 + k));
        let from = shell.state.q[0];
        shell.goal[0] += 0.01;
        let said = Instant::now();
        shell.until("it moves", Duration::from_secs(1), |s| {
            (s.state.q[0] - from).abs() > 2e-5
        });
        latencies.push(said.elapsed());
    }
    latencies.sort();
    println!(
        "command -> state: median {:?}, longest {:?}",
        latencies[20], latencies[39]
    );
    assert!(latencies[20] < Duration::from_millis(20));
}

#[test]
fn a_minute_at_500_hz_without_a_timeout_and_hardly_a_late_period() {
    // A machine that is busy with other things, or does not let this process run, makes one minute fall short; code that
    // is wrong makes every one.
    let minute = || session(Duration::from_secs(60));
    for _ in 1..TRIES {
        if std::panic::catch_unwind(minute).is_ok() {
            return;
        }
    }
    minute();
}

#[test]
#[ignore = "ten minutes; ./tests/run --long"]
fn long_ten_minutes_at_500_hz_without_a_timeout_and_hardly_a_late_period() {
    session(Duration::from_secs(600));
}
