//! A human takes over, commands and hands back: real processes over loopback, in real time. As any wire client does it, and as
//! `tactus teleop` does with the keys of a terminal. (With a leader arm: `leader.rs`.)

mod cell;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::{Cell, arm, program};
use tactus_types::{
    Applied, ArmInfo, Clock, FaultKind, JointVec, LeaseId, OperatorSetpoint, Rank, Reference,
    Source, Time,
};
use tactus_wire::{
    Authority, Delivery, ModeOrder, ModeReport, ModeWord, MonotonicClock, Nothing, Said, Topic,
};

const WAIT: Duration = Duration::from_secs(10);
/// Of the demo cell's control loop.
const PERIOD: Duration = Duration::from_millis(2);
/// Of the leases of [`Cell::acquire`].
const TTL: Duration = Duration::from_secs(2);
/// `arm.operator_limit_ms`, its default.
const OPERATOR_LIMIT: Duration = Duration::from_millis(100);

/// One at a time: what watches real time is alone with the machine's cores.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread(run: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    let named = std::thread::Builder::new().name("teleop-test".into());
    named.spawn(run).expect("a thread")
}

/// The demo cell, patient with a busy machine, which is not what is tested here; of the operator's silence only where `slow`.
fn sim_cell(slow: bool) -> Cell {
    Cell::start(|text| {
        let text = text
            .replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ");
        match slow {
            true => text.replace(
                "settle_ms = 200 ",
                "operator_limit_ms = 1500\nsettle_ms = 200 ",
            ),
            false => text,
        }
    })
}

fn is(cell: &Cell, word: ModeWord) -> bool {
    cell.mode().is_some_and(|m| m.mode == word)
}

fn commands(cell: &Cell) -> Vec<Applied> {
    cell.applied.lock().expect("unpoisoned").clone()
}

fn last(cell: &Cell) -> Applied {
    let applied = cell.applied.lock().expect("unpoisoned");
    *applied.last().expect("a command")
}

/// A leader in someone's hand, read a hundred times a second and published by a thread of its own, as any wire client does.
struct Hand {
    /// Where it is, and since when it swings around that, if it does.
    at: Arc<Mutex<(JointVec, Option<Instant>)>>,
    /// Nanoseconds of the last reading that was sent.
    sent_at: Arc<AtomicU64>,
    lease: LeaseId,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hand {
    fn start(cell: &Cell, lease: LeaseId, from: JointVec, opening: f64) -> Self {
        let key = cell.session.setpoint_key(&cell.wire, &arm());
        let publisher = cell
            .session
            .publisher::<OperatorSetpoint>(&key)
            .expect("declared");
        let at = Arc::new(Mutex::new((from, None::<Instant>)));
        let (sent_at, stop) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let hand = (at.clone(), sent_at.clone(), stop.clone());
        let clock = MonotonicClock::new().expect("a clock");
        let reading = thread(move || {
            let (at, sent_at, stop) = hand;
            for sequence in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (from, since) = *at.lock().expect("unpoisoned");
                let turn = since.map_or(0.0, |since| 2.5 * since.elapsed().as_secs_f64());
                let captured_at = clock.now();
                let setpoint = OperatorSetpoint {
                    lease,
                    sequence,
                    captured_at,
                    q: JointVec::from_fn(from.len(), |i| {
                        from[i] + 0.08 * turn.sin() / (1.0 + i as f64)
                    }),
                    opening,
                    engaged: true,
                };
                publisher.put(&setpoint).expect("sent");
                sent_at.store(captured_at.as_nanos(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self {
            at,
            sent_at,
            lease,
            stop,
            thread: Some(reading),
        }
    }

    /// Brings it to `q`.
    fn bring(&self, q: JointVec) {
        *self.at.lock().expect("unpoisoned") = (q, None);
    }

    /// Swings it around where it is, slowly.
    fn swing(&self) {
        self.at.lock().expect("unpoisoned").1 = Some(Instant::now());
    }

    /// Lets go of everything; says when it was last read.
    fn fall_silent(mut self) -> Time {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("once");
        thread.join().expect("no panic");
        Time::from_nanos(self.sent_at.load(Ordering::Relaxed))
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Orders the take-over, as soon as the arm host has heard a setpoint.
fn take_over(cell: &Cell, authority: &Authority, reference: Reference) {
    let until = Instant::now() + WAIT;
    loop {
        let order = ModeOrder::TakeOver { reference };
        let reply = authority.order(&order, true, WAIT).expect("an answer");
        if reply.accepted {
            return;
        }
        assert!(
            reply.message.contains("setpoints of the operator are") && Instant::now() < until,
            "{} in {:?}",
            reply.message,
            cell.mode().map(|m| m.mode)
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// SplitMix64: which moment.
fn random(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// One take-over, on the arm host's clock.
#[derive(Debug)]
struct Takeover {
    lease: LeaseId,
    holder: String,
    handed_back: Time,
}

#[test]
fn a_human_takes_over_at_random_moments_and_hands_back() {
    let _alone = alone();
    let cell = sim_cell(true);
    let clock = MonotonicClock::new().expect("a clock");
    cell.start_episode(7301);
    let mut all = Vec::new();
    for k in 0..10u64 {
        cell.wait("the policy commands", WAIT, || {
            is(&cell, ModeWord::Policy) && last(&cell).command.setpoint.source == Source::Policy
        });
        std::thread::sleep(Duration::from_millis(150 + (1200.0 * random(k)) as u64));
        let reference = Reference::ALL[(k % 3) as usize];
        let holder = format!("human-{k}");
        let authority = cell.acquire(&holder, Rank::Teleop).expect("over a policy");
        let command = last(&cell).command;
        // A leader is brought to the arm by hand; the arm comes to one that waits elsewhere, where nothing is in its way; a
        // clutch may be anywhere.
        let base = command.q[0];
        let hand = JointVec::from_fn(command.q.len(), |i| match (reference, i) {
            (Reference::Slide, 0) => base - 0.25_f64.copysign(base),
            (Reference::Clutch, _) => command.q[i] - 0.9,
            _ => command.q[i],
        });
        let hand = Hand::start(
            &cell,
            authority.lease(),
            hand,
            command.opening.clamp(0.0, 1.0),
        );
        take_over(&cell, &authority, reference);
        cell.wait(&format!("human {k} commands ({reference:?})"), WAIT, || {
            if reference == Reference::Leader && is(&cell, ModeWord::Align) {
                // Wherever it has braked to meanwhile.
                hand.bring(last(&cell).command.q);
            }
            is(&cell, ModeWord::Teleop) && last(&cell).command.setpoint.source == Source::Teleop
        });
        hand.swing();
        std::thread::sleep(Duration::from_millis(
            300 + (700.0 * random(100 + k)) as u64,
        ));
        let handed_back = clock.now();
        let lease = hand.lease;
        let reply = authority.order(&ModeOrder::HandBack, false, WAIT);
        let reply = reply.expect("an answer");
        assert!(reply.accepted, "{}", reply.message);
        all.push(Takeover {
            lease,
            holder,
            handed_back,
        });
        drop(authority);
        hand.fall_silent();
        cell.wait("the policy goes on", WAIT, || is(&cell, ModeWord::Policy));
    }
    std::thread::sleep(Duration::from_millis(300));
    let key = cell.wire.key(&Topic::ArmInfo(arm()));
    let info: Delivery<ArmInfo> = cell.session.query(&key, &Nothing, WAIT).expect("an answer");
    let (commands, modes) = (
        commands(&cell),
        cell.modes.lock().expect("unpoisoned").clone(),
    );

    // In the arm host's own words. Periods are counted in ticks: a control thread that the machine wakes late makes up for
    // the ticks that it missed, and hands their commands over late; so what the clock says is judged over all of them.
    let mut silent_after = Vec::new();
    for takeover in &all {
        let ours = |m: &&ModeReport| {
            let holder = m.lease.as_ref().map(|by| &*by.holder);
            holder == Some(takeover.holder.as_str())
        };
        let first = modes.iter().find(ours).expect("the lease is reported");
        assert_eq!(first.mode, ModeWord::Hold, "{takeover:?}: {}", first.reason);
        assert!(
            modes
                .iter()
                .filter(ours)
                .all(|m| m.mode != ModeWord::Policy)
        );
        let began = commands.iter().position(|a| a.at == first.since);
        let began = began.expect("the command of the tick that granted it");
        let before = commands[began - 1].command;
        assert_eq!(before.setpoint.source, Source::Policy);
        assert_eq!(before.tick + 1, commands[began].command.tick);
        let until = commands.partition_point(|a| a.at < takeover.handed_back);
        let ours = &commands[began..until];
        let late = ours
            .iter()
            .filter(|a| a.command.setpoint.source == Source::Policy);
        assert_eq!(late.count(), 0, "{takeover:?}");
        assert!(
            ours.iter()
                .any(|a| a.command.setpoint.source == Source::Teleop)
        );
        let expires = first.lease.as_ref().expect("ours").expires;
        silent_after.push(commands[began].at.since(expires.before(TTL)));
    }
    silent_after.sort_unstable();
    assert!(
        silent_after[4] <= PERIOD,
        "lease to the first command that is not the policy's: {silent_after:?}"
    );
    assert_eq!(
        all.iter()
            .map(|t| t.lease.0)
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        10
    );
    let labels = check_labels(&commands, &modes);
    let (step, jerk) = check_limits(&commands, &info.message);
    println!(
        "10 takeovers: lease to the first command that is not the policy's {:?} (median), {:?} (most); {labels} labels; largest step {:.2} mrad, peak jerk {jerk:.0} rad/s^3",
        silent_after[4],
        silent_after[9],
        1e3 * step,
    );

    // Once more, and then nothing: the arm holds, and nobody but an operator ends that.
    let limit = Duration::from_millis(1500);
    let authority = cell.acquire("mute", Rank::Teleop).expect("over a policy");
    let command = last(&cell).command;
    let hand = Hand::start(&cell, authority.lease(), command.q, 0.5);
    take_over(&cell, &authority, Reference::Clutch);
    cell.wait("the human commands", WAIT, || is(&cell, ModeWord::Teleop));
    let silent = hand.fall_silent();
    cell.wait("the arm holds", WAIT, || is(&cell, ModeWord::Hold));
    let held = cell.mode().expect("a mode");
    assert_eq!(held.fault, Some(FaultKind::OperatorLost), "{held:?}");
    let after = held.since.since(silent);
    println!("silence to hold: {after:?} of {limit:?}");
    assert!(
        after >= limit && after < limit + Duration::from_millis(150),
        "{after:?}"
    );
    std::thread::sleep(Duration::from_millis(700));
    assert!(
        is(&cell, ModeWord::Hold),
        "although this cell resumes by itself"
    );
    assert!(
        authority
            .order(&ModeOrder::Enable, false, WAIT)
            .expect("an answer")
            .accepted
    );
    cell.wait("the policy goes on", WAIT, || is(&cell, ModeWord::Policy));
}

/// Every command is said to be of who was in command: by the mode in force when it was applied.
fn check_labels(commands: &[Applied], modes: &[ModeReport]) -> usize {
    let mut checked = 0;
    let mut changes: Vec<(Time, ModeWord)> = Vec::new();
    for report in modes {
        if changes
            .last()
            .is_none_or(|(since, _)| report.since > *since)
        {
            changes.push((report.since, report.mode));
        }
    }
    for pair in changes.windows(2) {
        let [(from, mode), (until, _)] = pair else {
            continue;
        };
        for applied in commands.iter().filter(|a| a.at >= *from && a.at < *until) {
            let source = applied.command.setpoint.source;
            let theirs = match mode {
                ModeWord::Policy => matches!(source, Source::Policy | Source::Hold),
                ModeWord::Goto => matches!(source, Source::Goto | Source::Hold),
                ModeWord::Align => matches!(source, Source::Align | Source::Hold),
                ModeWord::Teleop => source == Source::Teleop,
                ModeWord::Boot | ModeWord::Ready | ModeWord::Hold | ModeWord::Stopped => {
                    source == Source::Hold
                }
            };
            assert!(theirs, "{source:?} in mode {mode} at {:?}", applied.at);
            checked += 1;
        }
    }
    checked
}

/// Position, velocity, acceleration and jerk of every command from tick to tick; the largest step and jerk.
fn check_limits(commands: &[Applied], info: &ArmInfo) -> (f64, f64) {
    let h = PERIOD.as_secs_f64();
    let (mut step, mut jerk, mut pairs) = (0.0f64, 0.0f64, 0);
    for pair in commands.windows(2) {
        let [a, b] = [pair[0].command, pair[1].command];
        // A gap in the record: another tick, or another world.
        if b.tick != a.tick + 1 || b.epoch != a.epoch {
            continue;
        }
        pairs += 1;
        for (i, l) in info.limits.iter().enumerate() {
            let inside = |what, actual: f64, limit: f64| {
                assert!(
                    actual.abs() <= limit * 1.0001 + 1e-6,
                    "{what} {actual} of joint {i} above {limit} at tick {}: {:?} to {:?}",
                    b.tick,
                    a.setpoint.source,
                    b.setpoint.source
                );
            };
            assert!((l.lower - 1e-6..=l.upper + 1e-6).contains(&b.q[i]));
            inside("velocity", (b.q[i] - a.q[i]) / h, l.velocity);
            inside("acceleration", b.ddq[i], l.acceleration);
            inside("jerk", (b.ddq[i] - a.ddq[i]) / h, l.jerk);
            step = step.max((b.q[i] - a.q[i]).abs());
            jerk = jerk.max(((b.ddq[i] - a.ddq[i]) / h).abs());
        }
    }
    assert!(pairs > 2000, "{pairs} pairs of ticks");
    (step, jerk)
}

#[test]
fn a_client_that_falls_silent_ends_in_a_hold_within_the_shipped_bound() {
    let _alone = alone();
    let cell = sim_cell(false);
    assert!(cell.order(&ModeOrder::Enable).accepted);
    cell.release();
    let authority = cell.acquire("mute", Rank::Teleop).expect("free");
    let hand = Hand::start(&cell, authority.lease(), last(&cell).command.q, 0.5);
    take_over(&cell, &authority, Reference::Clutch);
    let silent = hand.fall_silent();
    cell.wait("the arm holds", WAIT, || {
        cell.mode()
            .is_some_and(|m| m.fault == Some(FaultKind::OperatorLost))
    });
    let after = cell.mode().expect("a mode").since.since(silent);
    println!("silence to hold: {after:?} of {OPERATOR_LIMIT:?}");
    assert!(
        after < OPERATOR_LIMIT + Duration::from_millis(100),
        "{after:?}"
    );
}

#[test]
fn the_keys_of_a_terminal_take_over_jog_and_hand_back() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    let _alone = alone();
    let cell = sim_cell(true);
    assert!(cell.order(&ModeOrder::Enable).accepted);
    cell.release();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let size = Winsize {
        ws_row: 30,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).expect("a size");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let open = || {
        let mut options = std::fs::File::options();
        let path = Path::new(name.to_str().expect("a path"));
        options
            .read(true)
            .write(true)
            .open(path)
            .expect("the terminal")
    };
    let file = cell.file.display().to_string();
    let mut child = Command::new(program())
        .args([
            "teleop",
            "--cell",
            &file,
            "--connect",
            &cell.endpoint,
            "--source",
            "keyboard",
            "--rate",
            "200",
        ])
        .stdin(open())
        .stdout(open())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut keys = std::fs::File::from(master);
    let mut screen = keys.try_clone().expect("two ends");
    let seen = Arc::<Mutex<String>>::default();
    let to = seen.clone();
    // Ends with the terminal.
    thread(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = screen.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..n]);
            to.lock().expect("unpoisoned").push_str(&text);
        }
    });
    let shown = |text: &str| seen.lock().expect("unpoisoned").contains(text);
    cell.wait("the view is there", 2 * WAIT, || {
        shown("tactus teleop: keyboard") && shown("ready")
    });

    let setpoints = Arc::<Mutex<Vec<u64>>>::default();
    let to = setpoints.clone();
    let _subscriber = cell
        .session
        .subscribe(
            &cell.wire.said_to(&arm(), Said::Setpoint),
            move |m: Result<Delivery<OperatorSetpoint>, _>| {
                if let Ok(delivery) = m {
                    let sequence = delivery.message.sequence;
                    to.lock().expect("unpoisoned").push(sequence);
                }
            },
        )
        .expect("subscribed");
    let mut press = |key: &[u8]| keys.write_all(key).expect("it listens");
    press(b"\r");
    cell.wait("the human commands", WAIT, || is(&cell, ModeWord::Teleop));
    let before = last(&cell).command.q;
    for _ in 0..8 {
        press(b"e");
        std::thread::sleep(Duration::from_millis(40));
    }
    std::thread::sleep(Duration::from_millis(500));
    let after = last(&cell).command;
    let moved = after.q.zip(&before, |a, b| a - b).max_abs();
    println!("eight steps up: {moved:.3} rad on the joint that moved most");
    // About 0.4 s at a tenth of a metre a second.
    assert!((0.02..0.6).contains(&moved), "{moved}");
    assert!(
        after.dq.max_abs() < 1e-3,
        "a step ends by itself: {after:?}"
    );
    assert_eq!(after.setpoint.source, Source::Teleop);
    let (from, since) = (setpoints.lock().expect("unpoisoned").len(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let sent = setpoints.lock().expect("unpoisoned").clone();
    let rate_hz = (sent.len() - from) as f64 / since.elapsed().as_secs_f64();
    println!("{rate_hz:.0} setpoints a second");
    assert!((150.0..=205.0).contains(&rate_hz), "{rate_hz}");
    assert!(
        sent.windows(2).all(|pair| pair[0] < pair[1]),
        "they grow strictly"
    );
    press(&[0x7f]);
    cell.wait("handed back", WAIT, || is(&cell, ModeWord::Ready));

    // Leaving in command lets go first, and the arm holds until an operator says otherwise.
    press(b"\r");
    cell.wait("the human commands", WAIT, || is(&cell, ModeWord::Teleop));
    press(&[0x03]);
    cell.wait("the arm holds", WAIT, || is(&cell, ModeWord::Hold));
    let until = Instant::now() + WAIT;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = child.try_wait().expect("a child");
    let _ = child.kill();
    assert!(ended.is_some_and(|s| s.success()), "{ended:?}");
    assert!(
        shown("left while in command"),
        "{}",
        seen.lock().expect("unpoisoned")
    );
    assert!(cell.order(&ModeOrder::Enable).accepted);
}
