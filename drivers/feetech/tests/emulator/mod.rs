//! Emulated STS3215 servos on a pseudo-terminal: what the driver is tested on. Shares no code with the driver.
//!
//! Time is real: every byte takes its ten bits on the line, servos pause before they answer, and what they say reaches the
//! host when the adapter's latency timer fires (1 ms) or its buffer is full (62 bytes). Faults: corrupt, cut and lost
//! replies, echoed instructions, servos that leave, two servos with one id. A pseudo-terminal has no baud rate of its own,
//! but keeps the one that the host asked for; a servo set to another does not understand.
//!
//! A servo moves towards its goal at 4.7 rad/s while it has torque, and stays without. A goal written without torque
//! switches torque on: the worst that firmware might do.
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

const BAUDS: [u32; 8] = [
    1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200,
];
const BROADCAST: u8 = 254;
const SPEED_TICKS_PER_SEC: f64 = 3063.0;
const LATENCY_TIMER: Duration = Duration::from_millis(1);
const ADAPTER_BUFFER: usize = 62;

/// One servo: its memory, and where its shaft is.
#[derive(Clone)]
pub struct Servo {
    pub memory: [u8; 128],
    eeprom: [u8; 128],
    /// Of the shaft, ticks of its encoder.
    pub encoder: f64,
    velocity: f64,
    pub plugged: bool,
    pub alarms: u8,
    pending: Option<(u8, Vec<u8>)>,
}

impl Servo {
    /// A servo as LeRobot leaves it, its shaft in the middle.
    pub fn new(id: u8) -> Self {
        let mut servo = Self {
            memory: [0; 128],
            eeprom: [0; 128],
            encoder: 2047.0,
            velocity: 0.0,
            plugged: true,
            alarms: 0,
            pending: None,
        };
        for (address, value) in [
            (0, 3),
            (1, 10),
            (5, id),
            (8, 1),
            (13, 70),
            (14, 80),
            (15, 40),
        ] {
            servo.memory[address] = value;
        }
        for (address, value) in [(21, 16), (22, 32), (36, 80), (55, 1), (85, 254)] {
            servo.memory[address] = value;
        }
        for (address, value) in [(3, 777), (9, 0), (11, 4095), (16, 1000), (28, 500)] {
            servo.set(address, value);
        }
        servo.eeprom = servo.memory;
        servo.start();
        servo
    }

    /// With a calibration in its EEPROM.
    pub fn calibrated(mut self, homing_offset: i32, min: u16, max: u16) -> Self {
        let sign = if homing_offset < 0 { 1 << 11 } else { 0 };
        self.set(31, homing_offset.unsigned_abs() as u16 | sign);
        self.set(9, min);
        self.set(11, max);
        self.eeprom = self.memory;
        self.encoder = f64::from((i32::from(min) + i32::from(max)) / 2 + homing_offset);
        self.start();
        self
    }

    pub fn with(mut self, address: usize, value: u8) -> Self {
        self.memory[address] = value;
        self.eeprom[address] = value;
        self
    }

    /// Power comes: RAM is as at the factory.
    fn start(&mut self) {
        self.memory = self.eeprom;
        self.memory[40] = 0;
        self.memory[41] = 0;
        let limit = self.word(16);
        self.set(48, limit);
        self.memory[55] = 1;
        self.set(42, self.present() as u16);
    }

    pub fn id(&self) -> u8 {
        self.memory[5]
    }

    pub fn word(&self, address: usize) -> u16 {
        u16::from_le_bytes([self.memory[address], self.memory[address + 1]])
    }

    pub fn set(&mut self, address: usize, value: u16) {
        self.memory[address..address + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn torque(&self) -> bool {
        self.memory[40] == 1
    }

    pub fn homing_offset(&self) -> i32 {
        let raw = self.word(31);
        let magnitude = i32::from(raw & 0x7FF);
        if raw & 0x800 == 0 {
            magnitude
        } else {
            -magnitude
        }
    }

    /// Position as the host sees it.
    pub fn present(&self) -> i32 {
        (self.encoder.round() as i32 - self.homing_offset()).rem_euclid(4096)
    }

    fn advance(&mut self, secs: f64) {
        self.velocity = 0.0;
        if self.torque() && secs > 0.0 {
            let (min, max) = (self.word(9), self.word(11));
            let goal = f64::from(self.word(42).clamp(min, max.max(min)));
            let way = goal - (self.encoder - f64::from(self.homing_offset()));
            let step = way.clamp(-SPEED_TICKS_PER_SEC * secs, SPEED_TICKS_PER_SEC * secs);
            self.encoder += step;
            self.velocity = step / secs;
        }
        let signed = |value: f64, bit: u16| {
            let magnitude = value.abs().round() as u16;
            if value < 0.0 {
                magnitude | bit
            } else {
                magnitude
            }
        };
        self.set(56, self.present() as u16);
        self.set(58, signed(self.velocity, 1 << 15));
        self.set(60, signed(self.velocity / 30.0, 1 << 10));
        self.memory[62] = 74;
        self.memory[63] = 31;
        self.memory[65] = self.alarms;
        self.memory[66] = u8::from(self.velocity != 0.0);
    }

    fn write(&mut self, address: u8, data: &[u8]) {
        for (at, byte) in (usize::from(address)..).zip(data) {
            let read_only = at < 5 || (56..80).contains(&at) || at >= 128;
            if read_only {
                continue;
            }
            self.memory[at] = *byte;
            if !(40..80).contains(&at) && self.memory[55] == 0 {
                self.eeprom[at] = *byte;
            }
            if at == 42 {
                self.memory[40] = 1;
            }
            if at == 40 {
                // Torque clears an overload, and so does letting go.
                self.alarms &= !0x20;
            }
        }
    }
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
    /// A servo that is not there silences those behind it in a sync read.
    pub chain_breaks: bool,
    /// Two servos of one id answer one after the other, instead of over each other.
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

pub struct World {
    pub servos: Vec<Servo>,
    pub faults: Faults,
    pub seen: Seen,
    random: u64,
}

impl World {
    pub fn servo(&mut self, id: u8) -> &mut Servo {
        let servo = self.servos.iter_mut().find(|s| s.id() == id);
        servo.expect("a servo of this id")
    }

    /// Its cable comes out, and with it the power.
    pub fn unplug(&mut self, id: u8) {
        self.servo(id).plugged = false;
    }

    pub fn plug(&mut self, id: u8) {
        let servo = self.servo(id);
        servo.start();
        servo.plugged = true;
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

/// One bus at a time in a process: tests that watch real time are alone with the machine's cores.
static ALONE: Mutex<()> = Mutex::new(());

/// A running bus.
pub struct ServoBus {
    _alone: MutexGuard<'static, ()>,
    world: Arc<Mutex<World>>,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ServoBus {
    /// Servos on a new pseudo-terminal.
    pub fn start(servos: Vec<Servo>) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
            .name("servo-bus".into())
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

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ServoBus {
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

fn frame(id: u8, alarms: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFF, 0xFF, id, data.len() as u8 + 2, alarms];
    frame.extend(data);
    let sum: u32 = frame[2..].iter().map(|b| u32::from(*b)).sum();
    frame.push(!(sum as u8));
    frame
}

/// The USB adapter and the wire behind it.
struct Adapter {
    master: File,
    _end: File,
    world: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
    started: Instant,
    moved: Instant,
    wire_free: Instant,
}

impl Adapter {
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
            while let Some((instruction, used)) = first_instruction(&incoming) {
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
            for (delay, reply) in answers(&mut world, instruction, baud) {
                let reply = world.spoil(reply);
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

/// The first whole instruction in `bytes`, and how many bytes end with it.
fn first_instruction(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let start = bytes
        .windows(3)
        .position(|w| w[0] == 0xFF && w[1] == 0xFF && w[2] != 0xFF)?;
    let length = usize::from(*bytes.get(start + 3)?);
    let end = start + 4 + length;
    let whole = bytes.get(start..end)?;
    let sum: u32 = whole[2..].iter().map(|b| u32::from(*b)).sum();
    if sum as u8 != 0xFF || length < 2 {
        // Skips the header and looks on.
        let (found, used) = first_instruction(&bytes[start + 2..])?;
        return Some((found, used + start + 2));
    }
    Some((whole.to_vec(), end))
}

/// What the servos say to `instruction`, each after its pause.
fn answers(world: &mut World, instruction: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)> {
    let id = instruction[2];
    let parameters = &instruction[5..instruction.len() - 1];
    let hears = |servo: &Servo| {
        servo.plugged
            && BAUDS
                .get(usize::from(servo.memory[6]))
                .is_some_and(|b| *b == baud)
    };
    let delay = |servo: &Servo| Duration::from_micros(2 * u64::from(servo.memory[7]));
    let addressed = |servo: &Servo| hears(servo) && (servo.id() == id || id == BROADCAST);
    let mut out: Vec<(Duration, Vec<u8>)> = Vec::new();
    match (instruction[4], parameters) {
        (0x01, []) => {
            for servo in world.servos.iter().filter(|s| addressed(s)) {
                out.push((delay(servo), frame(servo.id(), servo.alarms, &[])));
            }
        }
        (0x02, [address, count]) => {
            for servo in world
                .servos
                .iter()
                .filter(|s| addressed(s) && id != BROADCAST)
            {
                out.push((delay(servo), read(servo, *address, *count)));
            }
        }
        (0x03, [address, data @ ..]) => {
            for servo in world.servos.iter_mut().filter(|s| addressed(s)) {
                servo.write(*address, data);
                if id != BROADCAST {
                    out.push((delay(servo), frame(id, servo.alarms, &[])));
                }
            }
        }
        (0x04, [address, data @ ..]) => {
            for servo in world.servos.iter_mut().filter(|s| addressed(s)) {
                servo.pending = Some((*address, data.to_vec()));
                if id != BROADCAST {
                    out.push((delay(servo), frame(id, servo.alarms, &[])));
                }
            }
        }
        (0x05, []) => {
            for servo in world.servos.iter_mut().filter(|s| addressed(s)) {
                if let Some((address, data)) = servo.pending.take() {
                    servo.write(address, &data);
                }
            }
        }
        (0x82, [address, count, ids @ ..]) => {
            world.seen.sync_reads += 1;
            for id in ids {
                let servo = world.servos.iter().find(|s| s.id() == *id && hears(s));
                match servo {
                    Some(servo) => out.push((delay(servo), read(servo, *address, *count))),
                    None if world.faults.chain_breaks => break,
                    None => {}
                }
            }
        }
        (0x83, [address, count, rest @ ..]) if *count > 0 => {
            world.seen.sync_writes += 1;
            for each in rest.chunks_exact(usize::from(*count) + 1) {
                for servo in world
                    .servos
                    .iter_mut()
                    .filter(|s| s.id() == each[0] && hears(s))
                {
                    servo.write(*address, &each[1..]);
                }
            }
        }
        _ => {}
    }
    let one_id = out.len() > 1 && id != BROADCAST;
    if one_id && !world.faults.in_turn {
        // Over each other: a low bit wins.
        let longest = out.iter().map(|(_, f)| f.len()).max().unwrap_or(0);
        let at = |i: usize| {
            out.iter()
                .filter_map(|(_, f)| f.get(i))
                .fold(0xFF, |a, b| a & b)
        };
        let collided = (0..longest).map(at).collect();
        return vec![(out[0].0, collided)];
    }
    out
}

fn read(servo: &Servo, address: u8, count: u8) -> Vec<u8> {
    let from = usize::from(address).min(128);
    let to = (from + usize::from(count)).min(128);
    frame(servo.id(), servo.alarms, &servo.memory[from..to])
}
