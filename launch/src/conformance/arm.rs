//! What an arm driver has to keep. Moving checks turn one joint by [`TURN`] and back; they stop when the arm is where a
//! refused command wanted it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tactus_types::{ArmInfo, ClockId, Generation, JointState, JointVec, Time, Torque};
use tactus_wire::{
    Cell, DeviceCommand, Header, Message, Name, Nothing, Publisher, Qos, RawPublisher, Role,
    Session, Topic,
};

use super::Report;
use super::heard::{Heard, Stamp, numbers, rate, sound, times};

/// How long is listened.
const LISTEN: Duration = Duration::from_secs(2);
/// How long an answer or a token may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Time between commands.
const EVERY: Duration = Duration::from_millis(10);
/// How far one joint is turned, rad, and in which time.
const TURN: f64 = 0.08;
const TURN_IN: Duration = Duration::from_millis(1000);
/// How long it may take to come to rest there.
const SETTLE: Duration = Duration::from_millis(500);
/// How near the arm has to come, and how far it may stray, rad.
const NEAR: f64 = 0.03;
/// How far outside a joint's limits a command is that must not count, rad.
const BEYOND: f64 = 0.2;
/// How long torque may take.
const TORQUE_WITHIN: Duration = Duration::from_secs(2);

/// Whether `role` `name` holds its liveliness token.
///
/// # Errors
/// When the network cannot be used.
pub fn alive(
    session: &Session,
    cell: &Cell,
    role: Role,
    name: &Name,
) -> anyhow::Result<Result<String, String>> {
    let seen = Arc::new(AtomicU8::new(0));
    let (to, of) = (seen.clone(), name.clone());
    let _watch = session.watch_alive(cell, move |found, its, alive| {
        if found == role && *its == of {
            to.store(if alive { 1 } else { 2 }, Ordering::Relaxed);
        }
    })?;
    let until = Instant::now() + ANSWER;
    while seen.load(Ordering::Relaxed) == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(match seen.load(Ordering::Relaxed) {
        1 => Ok("held".into()),
        _ => Err(format!(
            "no token {}",
            cell.key(&Topic::Alive(role, name.clone()))
        )),
    })
}

/// A driver that is commanded.
struct Bench {
    states: Heard<JointState>,
    commands: Publisher<DeviceCommand>,
    raw: RawPublisher,
    clock: ClockId,
    session: Session,
    newest: JointState,
    tick: u64,
    joint: usize,
}

impl Bench {
    fn open(session: Session, cell: &Cell, name: &Name, joint: usize) -> anyhow::Result<Self> {
        let key = |topic: fn(Name) -> Topic| cell.key(&topic(name.clone()));
        let states = Heard::listen(&session, &key(Topic::DeviceState))?;
        let commands = session.publisher(&key(Topic::DeviceCommand))?;
        let raw = session.publisher_raw(&key(Topic::DeviceCommand), Qos::RealTime)?;
        let until = Instant::now() + ANSWER;
        let newest = loop {
            std::thread::sleep(EVERY);
            if let Some(state) = states.take().messages.pop() {
                break state.message;
            }
            anyhow::ensure!(Instant::now() < until, "no joint state within {ANSWER:?}");
        };
        Ok(Self {
            states,
            commands,
            raw,
            clock: session.clock().id(),
            session,
            newest,
            tick: 0,
            joint,
        })
    }

    fn look(&mut self) {
        if let Some(state) = self.states.take().messages.pop() {
            self.newest = state.message;
        }
    }

    /// A command to where `joint` is at `angle` and the others are at `q`.
    fn to(&mut self, q: &JointVec, angle: f64, opening: f64, torque: Torque) -> DeviceCommand {
        self.tick += 1;
        DeviceCommand {
            epoch: self.newest.epoch,
            tick: self.tick,
            q: JointVec::from_fn(q.len(), |i| if i == self.joint { angle } else { q[i] }),
            dq: JointVec::zeros(q.len()),
            opening,
            generation: Generation::default(),
            torque,
        }
    }

    fn angle(&self) -> f64 {
        self.newest
            .q
            .iter()
            .nth(self.joint)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// Turns the joint from `from` to `to` in `within`, and stays there until `lasts` is over; or stops sending on the way.
    fn turn(
        &mut self,
        rest: &JointState,
        (from, to): (f64, f64),
        within: Duration,
        lasts: Duration,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let opening = rest.opening.clamp(0.0, 1.0);
        while begun.elapsed() < lasts {
            let u = (begun.elapsed().as_secs_f64() / within.as_secs_f64()).min(1.0);
            let s = u * u * u * (10.0 - 15.0 * u + 6.0 * u * u);
            let command = self.to(&rest.q, from + s * (to - from), opening, Torque::Keep);
            self.commands.put(&command)?;
            std::thread::sleep(EVERY);
            self.look();
        }
        Ok(())
    }

    /// Sends `bad` as often as a control loop would, until the arm goes where it says or half a second is over. Whether
    /// the arm stayed.
    fn refused(
        &mut self,
        rest: &JointState,
        mut bad: impl FnMut(&mut Self, f64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<String, String>> {
        let from = self.angle();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            bad(self, from + TURN)?;
            std::thread::sleep(EVERY);
            self.look();
            let moved = self.angle() - from;
            if moved.abs() > NEAR {
                // Back in command, before it goes further.
                let here = self.angle();
                self.turn(rest, (here, from), TURN_IN, TURN_IN)?;
                return Ok(Err(format!("the arm moved by {moved:.3} rad")));
            }
        }
        // The driver holds by itself now: tell it that somebody is there.
        self.turn(rest, (from, from), EVERY, 6 * EVERY)?;
        Ok(Ok("the arm stayed where it was".into()))
    }
}

/// Checks the device `name` of `cell`; `open` opens another session.
///
/// # Errors
/// When the network cannot be used.
pub fn check(
    session: Session,
    open: impl Fn() -> anyhow::Result<Session>,
    cell: &Cell,
    name: &Name,
    arm_is_clear: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let key = cell.key(&Topic::DeviceInfo(name.clone()));
    let info = match session.query::<Nothing, ArmInfo>(&key, &Nothing, ANSWER) {
        Ok(answer) => answer.message,
        Err(e) => return report.check("info", Err(e.to_string())),
    };
    report.check(
        "info",
        Ok(format!("{}, {} joints", info.model, info.joints.len())),
    )?;
    report.check("alive token", alive(&session, cell, Role::Device, name)?)?;
    let heard =
        Heard::<JointState>::listen(&session, &cell.key(&Topic::DeviceState(name.clone())))?;
    std::thread::sleep(LISTEN);
    let stream = heard.take();
    drop(heard);
    report.check("joint states", sound(&stream))?;
    let Some(last) = stream.messages.last().map(|d| d.message) else {
        return Ok(());
    };
    let stamps: Vec<Stamp> = stream.messages.iter().map(Stamp::from).collect();
    let captured: Vec<Time> = stamps.iter().map(|s| s.captured).collect();
    report.check("rate", rate(&captured, info.state_rate_hz))?;
    report.check("time stamps", times(&stamps))?;
    report.check("counter", numbers(&stamps))?;
    let states: Vec<&JointState> = stream.messages.iter().map(|d| &d.message).collect();
    report.check("positions", positions(&states, &info))?;
    if !arm_is_clear {
        for name in MOVING {
            report.skip(name, "moves the arm: confirm with --arm-is-clear")?;
        }
        return Ok(());
    }
    let joint = roomiest(&last.q, &info);
    let mut bench = Bench::open(session, cell, name, joint)?;
    moving(&mut bench, &info, report)?;
    let Bench { session, .. } = bench;
    drop(session);
    // An arm host that was restarted counts its ticks anew.
    std::thread::sleep(deadline(&info) + Duration::from_millis(100));
    let mut bench = Bench::open(open()?, cell, name, joint)?;
    let rest = bench.newest;
    let from = bench.angle();
    let to = toward(from, &info, joint);
    bench.turn(&rest, (from, to), TURN_IN, TURN_IN + SETTLE)?;
    report.check("reconnect", near(bench.angle(), to))?;
    bench.turn(&rest, (to, from), TURN_IN, TURN_IN + SETTLE)
}

/// The moving checks, in their order.
const MOVING: [&str; 13] = [
    "torque",
    "follows",
    "other epoch",
    "old tick",
    "fewer joints",
    "not finite",
    "limits",
    "opening",
    "late",
    "other clock",
    "random bytes",
    "watchdog",
    "reconnect",
];

fn deadline(info: &ArmInfo) -> Duration {
    Duration::try_from_secs_f64(info.command_deadline_secs).unwrap_or_default()
}

/// The joint that is furthest from its limits.
fn roomiest(q: &JointVec, info: &ArmInfo) -> usize {
    let room = |i: usize| {
        let limit = info.limits.get(i);
        limit.map_or(0.0, |l| (q[i] - l.lower).min(l.upper - q[i]))
    };
    (0..q.len().min(info.limits.len()))
        .max_by(|a, b| room(*a).total_cmp(&room(*b)))
        .unwrap_or(0)
}

/// [`TURN`] from `from`, towards the middle of the joint's range.
fn toward(from: f64, info: &ArmInfo, joint: usize) -> f64 {
    let middle = info
        .limits
        .get(joint)
        .map_or(0.0, |l| (l.lower + l.upper) / 2.0);
    if from > middle {
        from - TURN
    } else {
        from + TURN
    }
}

fn near(actual: f64, wanted: f64) -> Result<String, String> {
    let said = format!(
        "{:.3} rad from where it was told to go",
        (actual - wanted).abs()
    );
    if (actual - wanted).abs() <= NEAR {
        Ok(said)
    } else {
        Err(said)
    }
}

/// Whether every state is a position of the arm, of one epoch.
fn positions(states: &[&JointState], info: &ArmInfo) -> Result<String, String> {
    let n = info.joints.len();
    for state in states {
        if state.q.len() != n {
            return Err(format!("{} joints, {n} declared", state.q.len()));
        }
        for (i, l) in info.limits.iter().enumerate() {
            let q = state.q[i];
            if !(l.lower - 0.2..=l.upper + 0.2).contains(&q) {
                let joint = info.joints.get(i).cloned().unwrap_or_default();
                return Err(format!(
                    "joint `{joint}` at {q:.3} rad, {} to {} declared",
                    l.lower, l.upper
                ));
            }
        }
        if info.gripper && !(-0.1..=1.1).contains(&state.opening) {
            return Err(format!("opening {:.3}, expected 0 to 1", state.opening));
        }
    }
    match states.first().zip(states.last()) {
        Some((a, b)) if a.epoch != b.epoch => Err("the epoch changed by itself".into()),
        _ => Ok("all of this arm, of one epoch".into()),
    }
}

fn moving(bench: &mut Bench, info: &ArmInfo, report: &mut Report) -> anyhow::Result<()> {
    let before = bench.newest;
    if info.torque_switch && !before.torque {
        let until = Instant::now() + TORQUE_WITHIN;
        let opening = before.opening.clamp(0.0, 1.0);
        while !bench.newest.torque && Instant::now() < until {
            let angle = bench.angle();
            let command = bench.to(&before.q, angle, opening, Torque::On);
            bench.commands.put(&command)?;
            std::thread::sleep(EVERY);
            bench.look();
        }
        let moved = bench.newest.q.zip(&before.q, |a, b| a - b).max_abs();
        report.check(
            "torque",
            match (bench.newest.torque, moved < NEAR) {
                (true, true) => Ok("on, and the arm stayed".into()),
                (true, false) => Err(format!("the arm moved by {moved:.3} rad")),
                (false, _) => Err(format!("not on within {TORQUE_WITHIN:?}")),
            },
        )?;
        if !bench.newest.torque {
            return Ok(());
        }
    } else {
        report.add("torque", "pass", "on already".into())?;
    }
    let rest = bench.newest;
    let from = bench.angle();
    let to = toward(from, info, bench.joint);
    bench.turn(&rest, (from, to), TURN_IN, TURN_IN + SETTLE)?;
    report.check("follows", near(bench.angle(), to))?;
    bench.turn(&rest, (to, from), TURN_IN, TURN_IN + SETTLE)?;
    refusals(bench, &rest, info, report)?;
    watchdog(bench, &rest, info, report)
}

/// Commands that must not count. Each wants the joint [`TURN`] further.
fn refusals(
    bench: &mut Bench,
    rest: &JointState,
    info: &ArmInfo,
    report: &mut Report,
) -> anyhow::Result<()> {
    let opening = rest.opening.clamp(0.0, 1.0);
    let edited = |edit: fn(&mut DeviceCommand)| {
        move |bench: &mut Bench, to: f64| -> anyhow::Result<()> {
            let mut command = bench.to(&rest.q, to, opening, Torque::Keep);
            edit(&mut command);
            Ok(bench.commands.put(&command)?)
        }
    };
    let epoch = bench.refused(rest, edited(|c| c.epoch ^= 1))?;
    report.check("other epoch", epoch)?;
    // Newer commands of the same pose between them keep the driver from beginning anew.
    let tick = bench.refused(rest, |bench, to| {
        let here = bench.to(&rest.q, to - TURN, opening, Torque::Keep);
        bench.commands.put(&here)?;
        let mut old = bench.to(&rest.q, to, opening, Torque::Keep);
        old.tick = here.tick.saturating_sub(1);
        Ok(bench.commands.put(&old)?)
    })?;
    report.check("old tick", tick)?;
    let joints = bench.refused(
        rest,
        edited(|c| c.q = JointVec::from_fn(c.q.len() - 1, |i| c.q[i])),
    )?;
    report.check("fewer joints", joints)?;
    let joint = bench.joint;
    let nan = bench.refused(rest, |bench, to| {
        let mut command = bench.to(&rest.q, to, opening, Torque::Keep);
        let other = usize::from(joint == 0).min(command.q.len() - 1);
        command.q[other] = f64::NAN;
        Ok(bench.commands.put(&command)?)
    })?;
    report.check("not finite", nan)?;
    let (lower, upper) = (
        info.limits.get(joint).map_or(0.0, |l| l.lower),
        info.limits.get(joint).map_or(0.0, |l| l.upper),
    );
    let limits = bench.refused(rest, |bench, _| {
        let beyond = if bench.angle() > (lower + upper) / 2.0 {
            upper + BEYOND
        } else {
            lower - BEYOND
        };
        let command = bench.to(&rest.q, beyond, opening, Torque::Keep);
        Ok(bench.commands.put(&command)?)
    })?;
    report.check("limits", limits)?;
    report.check("opening", bench.refused(rest, edited(|c| c.opening = 2.0))?)?;
    let stamped = |late: Duration, foreign: bool| {
        move |bench: &mut Bench, to: f64| -> anyhow::Result<()> {
            let command = bench.to(&rest.q, to, opening, Torque::Keep);
            let now = bench.session.clock().now();
            let header = Header {
                clock: ClockId(bench.clock.0 ^ u64::from(foreign)),
                captured_at: now.before(late),
                published_at: now.before(late),
                seq: bench.tick,
                source: "conformance".into(),
                followed: None,
            };
            Ok(bench.raw.put(Some(&header.encode()), &command.encode())?)
        }
    };
    let late = bench.refused(rest, stamped(Duration::from_secs(3), false))?;
    report.check("late", late)?;
    let clock = bench.refused(rest, stamped(Duration::ZERO, true))?;
    report.check("other clock", clock)?;
    let mut random = tactus_host::Random(1);
    let bytes = bench.refused(rest, |bench, _| {
        let bytes: Vec<u8> = (0..40).map(|_| random.bits() as u8).collect();
        Ok(bench.raw.put(Some(&bytes), &bytes)?)
    })?;
    report.check("random bytes", bytes)
}

/// A driver that hears nothing any more holds.
fn watchdog(
    bench: &mut Bench,
    rest: &JointState,
    info: &ArmInfo,
    report: &mut Report,
) -> anyhow::Result<()> {
    let from = bench.angle();
    let to = toward(from, info, bench.joint);
    // Falls silent in the middle of a turn.
    bench.turn(rest, (from, to), 2 * TURN_IN, TURN_IN)?;
    let half = bench.angle();
    std::thread::sleep(deadline(info) + Duration::from_millis(300));
    bench.look();
    let rests = bench.angle();
    std::thread::sleep(Duration::from_millis(500));
    bench.look();
    let later = bench.angle();
    let (drift, after) = ((rests - half).abs(), (later - rests).abs());
    let seen =
        format!("{drift:.3} rad after the last command, {after:.4} rad in the half second after");
    let fell = info.torque_switch && !bench.newest.torque;
    report.check(
        "watchdog",
        match (drift < NEAR && after < 0.005, fell) {
            (_, true) => Err("torque went off by itself".into()),
            (true, false) => Ok(seen),
            (false, false) => Err(seen),
        },
    )?;
    let here = bench.angle();
    bench
        .turn(rest, (here, from), TURN_IN, TURN_IN + SETTLE)
        .context("back to where it began")
}
