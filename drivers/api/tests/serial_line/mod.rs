//! A modelled half-duplex serial line on a pseudo-terminal, and emulated devices on it: what drivers are tested on.
//!
//! Time is real: every byte takes its ten bits on the line, devices pause before they answer, and what they say reaches the
//! host when the adapter's latency timer fires (1 ms) or its buffer is full (62 bytes). Faults: corrupt, cut and lost
//! replies, echoed instructions, devices that leave, two devices with one id. A pseudo-terminal has no baud rate of its own,
//! but keeps the one that the host asked for; what a device at another one makes of it is the device's.
//!
//! What the devices are (protocol, registers, motion) is said by who includes this file ([`Emulated`]).
#![allow(dead_code, reason = "each user takes its own part")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

const LATENCY_TIMER: Duration = Duration::from_millis(1);
const ADAPTER_BUFFER: usize = 62;

/// One device on the line.
pub trait Emulated: Send + Sized + 'static {
    fn id(&self) -> u8;

    /// Whether its cable is in.
    fn plugged(&mut self) -> &mut bool;

    /// Power comes.
    fn start(&mut self);

    /// Time passes.
    fn advance(&mut self, secs: f64);

    /// The first whole instruction in `bytes`, and how many bytes end with it.
    fn first_instruction(bytes: &[u8]) -> Option<(Vec<u8>, usize)>;

    /// What the devices say to `instruction`, each after its pause.
    fn answers(world: &mut World<Self>, instruction: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)>;
}

/// What goes wrong.
#[derive(Clone, Default)]
pub struct Faults {
    /// Share of replies with a bit turned around.
    pub corrupt: f64,
    /// Share of replies that are cut.
    pub cut: f64,
    /// Share of replies that are lost.
    pub lost: f64,
    /// Share of instructions that come back.
    pub echo: f64,
    /// A device that is not there silences those behind it in a reply of many.
    pub chain_breaks: bool,
    /// Two devices of one id answer one after the other, instead of over each other.
    pub in_turn: bool,
}

/// What the emulator did.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    pub instructions: u64,
    pub sync_reads: u64,
    pub sync_writes: u64,
    pub spoilt: u64,
}

pub struct World<D> {
    pub servos: Vec<D>,
    pub faults: Faults,
    pub seen: Seen,
    random: u64,
}

impl<D: Emulated> World<D> {
    pub fn servo(&mut self, id: u8) -> &mut D {
        let servo = self.servos.iter_mut().find(|s| s.id() == id);
        servo.expect("a device of this id")
    }

    /// Its cable comes out, and with it the power.
    pub fn unplug(&mut self, id: u8) {
        *self.servo(id).plugged() = false;
    }

    pub fn plug(&mut self, id: u8) {
        let servo = self.servo(id);
        servo.start();
        *servo.plugged() = true;
    }

    fn happens(&mut self, share: f64) -> bool {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let happens = (self.random >> 11) as f64 / ((1u64 << 53) as f64) < share;
        self.seen.spoilt += u64::from(happens);
        happens
    }

    fn spoil(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.happens(self.faults.lost) {
            return vec![];
        }
        if self.happens(self.faults.cut) {
            let keep = self.random as usize % frame.len();
            frame.truncate(keep);
            return frame;
        }
        if self.happens(self.faults.corrupt) {
            let bit = self.random as usize % (frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        frame
    }
}

/// Answers of several devices to one question that was for one: over each other, where a low bit wins, unless they take
/// turns.
pub fn collided(faults: &Faults, answers: Vec<(Duration, Vec<u8>)>) -> Vec<(Duration, Vec<u8>)> {
    if answers.len() < 2 || faults.in_turn {
        return answers;
    }
    let longest = answers.iter().map(|(_, f)| f.len()).max().unwrap_or(0);
    let at = |i: usize| {
        answers
            .iter()
            .filter_map(|(_, f)| f.get(i))
            .fold(0xFF, |a, b| a & b)
    };
    vec![(answers[0].0, (0..longest).map(at).collect())]
}

/// One line at a time in a process, but for those of one test: tests that watch real time are alone with the machine's cores.
static ALONE: Mutex<()> = Mutex::new(());

/// A running line.
pub struct SerialBus<D> {
    _alone: Option<MutexGuard<'static, ()>>,
    world: Arc<Mutex<World<D>>>,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Emulated> SerialBus<D> {
    /// Devices on a new pseudo-terminal.
    pub fn start(servos: Vec<D>) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self::run(servos, Some(alone))
    }

    /// The same, on a second line of the test that has the first.
    pub fn beside(servos: Vec<D>) -> Self {
        Self::run(servos, None)
    }

    fn run(servos: Vec<D>, alone: Option<MutexGuard<'static, ()>>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let path = PathBuf::from(name.to_str().expect("a path"));
        // Kept open: without a host the other end would fail.
        let end = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("the host's end");
        let mut raw = tcgetattr(&end).expect("a terminal");
        raw.make_raw();
        tcsetattr(&end, OptionalActions::Now, &raw).expect("raw");
        let world = Arc::new(Mutex::new(World {
            servos,
            faults: Faults::default(),
            seen: Seen::default(),
            random: 0x9E37_79B9_7F4A_7C15,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let adapter = Adapter {
            master: File::from(master),
            _end: end,
            world: world.clone(),
            stop: stop.clone(),
            started: Instant::now(),
            moved: Instant::now(),
            wire_free: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("serial-bus".into())
            .spawn(move || adapter.run())
            .expect("a thread");
        Self {
            _alone: alone,
            world,
            path,
            stop,
            thread: Some(thread),
        }
    }

    /// The host's end.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn world(&self) -> MutexGuard<'_, World<D>> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Drop for SerialBus<D> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn line_time(bytes: usize, baud: u32) -> Duration {
    Duration::from_nanos(10_000_000_000 * bytes as u64 / u64::from(baud))
}

/// The USB adapter and the wire behind it.
struct Adapter<D> {
    master: File,
    _end: File,
    world: Arc<Mutex<World<D>>>,
    stop: Arc<AtomicBool>,
    started: Instant,
    moved: Instant,
    wire_free: Instant,
}

impl<D: Emulated> Adapter<D> {
    fn run(mut self) {
        // Hardware is not late because the machine is busy; where this is permitted, neither is this thread.
        let _ = rustix::process::nice(-15);
        let mut incoming: Vec<u8> = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            if !matches!(poll(&mut fds, Some(&wait)), Ok(n) if n > 0) {
                continue;
            }
            let mut buffer = [0; 512];
            match self.master.read(&mut buffer) {
                Ok(n) => incoming.extend(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            while let Some((instruction, used)) = D::first_instruction(&incoming) {
                incoming.drain(..used);
                self.serve(&instruction);
            }
        }
    }

    fn baud(&self) -> u32 {
        tcgetattr(&self.master).map_or(0, |t| t.input_speed())
    }

    /// Carries one instruction to the servos and their replies back, in the time it takes.
    fn serve(&mut self, instruction: &[u8]) {
        let baud = self.baud().max(1);
        // One instruction after the other, and none while a servo talks.
        let start = self.wire_free.max(Instant::now());
        let mut wire_free = start + line_time(instruction.len(), baud);
        let mut outgoing: Vec<(Instant, u8)> = Vec::new();
        {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let echo = world.faults.echo;
            if world.happens(echo) {
                outgoing.extend(instruction.iter().map(|b| (wire_free, *b)));
            }
            let secs = self.moved.elapsed().as_secs_f64();
            self.moved = Instant::now();
            for servo in &mut world.servos {
                servo.advance(secs);
            }
            world.seen.instructions += 1;
            for (delay, reply) in D::answers(&mut world, instruction, baud) {
                let reply = if reply.is_empty() {
                    reply
                } else {
                    world.spoil(reply)
                };
                wire_free += delay;
                for byte in reply {
                    wire_free += line_time(1, baud);
                    outgoing.push((wire_free, byte));
                }
            }
        }
        self.wire_free = wire_free;
        // The adapter hands bytes over when its timer fires, or when its buffer is full.
        let mut rest = &outgoing[..];
        while let Some((first, _)) = rest.first() {
            let since = first.saturating_duration_since(self.started);
            let ticks = since.as_micros() / LATENCY_TIMER.as_micros() + 1;
            let timer = self.started + LATENCY_TIMER * ticks as u32;
            let n = rest
                .iter()
                .take_while(|(at, _)| *at <= timer)
                .count()
                .min(ADAPTER_BUFFER);
            let at = if n == ADAPTER_BUFFER {
                rest[n - 1].0
            } else {
                timer
            };
            let chunk: Vec<u8> = rest[..n].iter().map(|(_, byte)| *byte).collect();
            rest = &rest[n..];
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if self.master.write_all(&chunk).is_err() {
                return;
            }
        }
    }
}
