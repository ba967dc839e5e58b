//! Emulated Dynamixel X servos on a pseudo-terminal: what the driver is tested on. Shares no code with the driver.
//!
//! The line with its rate, its adapter and its faults is `serial_line`. A servo moves towards its goal at its no-load speed
//! while it has torque, and stays without. As the e-Manual has it: EEPROM is refused while torque is on; a servo obeys its
//! secondary id without answering to it; the bus watchdog stops a servo with torque that hears nothing, and its goals are
//! refused until the watchdog is set to 0; a hardware error switches torque off and only power clears it. What the e-Manual
//! does not say is taken at its worst: after a cleared watchdog the old goal counts again, and multi-turn positions are
//! forgotten at power-off.
#![allow(dead_code, reason = "each user takes its own part")]

#[path = "../../../api/tests/serial_line/mod.rs"]
mod serial_line;

use std::time::{Duration, Instant};

use serial_line::{Emulated, World, collided};

/// Servos on a line.
pub type ServoBus = serial_line::SerialBus<Servo>;

const BROADCAST: u8 = 254;
const HEADER: [u8; 4] = [0xFF, 0xFF, 0xFD, 0x00];

fn baud_of(index: u8) -> u32 {
    match index {
        0 => 9_600,
        1 => 57_600,
        2 => 115_200,
        n => 1_000_000 * (u32::from(n) - 2),
    }
}

/// One servo: its memory, and where its shaft is.
#[derive(Clone)]
pub struct Servo {
    pub memory: [u8; 160],
    eeprom: [u8; 160],
    /// Of the shaft, ticks over all turns, before it is turned around and shifted.
    pub shaft: f64,
    /// Turns that were forgotten at power-off, ticks.
    forgotten: f64,
    velocity: f64,
    pub plugged: bool,
    heard: Instant,
    tripped_at: Option<f64>,
    /// Ticks per second.
    pub speed: f64,
    pending: Option<(usize, Vec<u8>)>,
}

impl Servo {
    /// A servo as LeRobot leaves it, its shaft in the middle.
    pub fn new(id: u8, model: u16) -> Self {
        let mut servo = Self {
            memory: [0; 160],
            eeprom: [0; 160],
            shaft: 2048.0,
            forgotten: 0.0,
            velocity: 0.0,
            plugged: true,
            heard: Instant::now(),
            tripped_at: None,
            // No load, revolutions per minute, to ticks per second.
            speed: match model {
                1060 => 61.0,
                1020 => 46.0,
                1120 => 30.0,
                _ => 103.0,
            } / 60.0
                * 4096.0,
            pending: None,
        };
        for (address, value) in [(6, 45), (7, id), (8, 3), (9, 0), (11, 4), (12, 255)] {
            servo.memory[address] = value;
        }
        for (address, value) in [(13, 2), (31, 80), (63, 52), (68, 2)] {
            servo.memory[address] = value;
        }
        servo.set(0, 2, i32::from(model));
        servo.set(36, 2, 885);
        let limit = match model {
            1190 | 1200 => 1750,
            1020 => 1193,
            1120 => 2047,
            _ => 0,
        };
        servo.set(38, 2, limit);
        servo.set(48, 4, 4095);
        servo.eeprom = servo.memory;
        servo.start();
        servo
    }

    /// With a calibration in its EEPROM, its shaft in the middle of the range.
    pub fn calibrated(mut self, homing_offset: i32, min: i32, max: i32) -> Self {
        self.set(20, 4, homing_offset);
        self.set(52, 4, min);
        self.set(48, 4, max);
        self.eeprom = self.memory;
        self.go_to((min + max) / 2);
        self.start();
        self
    }

    pub fn with(mut self, address: usize, bytes: usize, value: i32) -> Self {
        self.set(address, bytes, value);
        self.eeprom[address..address + bytes]
            .copy_from_slice(&self.memory[address..address + bytes]);
        self
    }

    /// Moves its shaft to where a host reads `position`.
    pub fn go_to(&mut self, position: i32) {
        let ticks = f64::from(position - self.get(20, 4));
        self.shaft = if self.reversed() {
            4096.0 - ticks
        } else {
            ticks
        } + self.forgotten;
        self.refresh();
    }

    pub fn get(&self, address: usize, bytes: usize) -> i32 {
        let mut raw = [0; 4];
        raw[..bytes].copy_from_slice(&self.memory[address..address + bytes]);
        i32::from_le_bytes(raw)
    }

    pub fn set(&mut self, address: usize, bytes: usize, value: i32) {
        self.memory[address..address + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }

    pub fn id(&self) -> u8 {
        self.memory[7]
    }

    pub fn torque(&self) -> bool {
        self.memory[64] == 1
    }

    pub fn goal(&self) -> i32 {
        self.get(116, 4)
    }

    fn reversed(&self) -> bool {
        self.memory[10] & 1 == 1
    }

    /// Position as the host sees it.
    pub fn present(&self) -> i32 {
        let seen = self.shaft - self.forgotten;
        let turned = if self.reversed() { 4096.0 - seen } else { seen };
        turned.round() as i32 + self.get(20, 4)
    }

    fn refresh(&mut self) {
        let position = self.present();
        self.set(132, 4, position);
        // 0.229 turns per minute.
        let sign = if self.reversed() { -1.0 } else { 1.0 };
        let velocity = (sign * self.velocity / 4096.0 * 60.0 / 0.229).round() as i32;
        self.set(128, 4, velocity);
        self.set(126, 2, velocity / 2);
        self.set(144, 2, 118);
        self.memory[146] = 33;
        self.memory[122] = u8::from(self.velocity != 0.0);
    }

    /// Something is wrong with it: its torque goes where its shutdown says so.
    pub fn fail(&mut self, errors: u8) {
        self.memory[70] |= errors;
        if errors & self.memory[63] != 0 {
            self.memory[64] = 0;
        }
    }

    fn error(&self) -> u8 {
        if self.memory[70] == 0 { 0 } else { 0x80 }
    }

    /// Looks whether it was told nothing for too long.
    fn listen(&mut self) {
        let limit = self.memory[98] as i8;
        if limit > 0
            && self.torque()
            && self.heard.elapsed() > Duration::from_millis(20 * limit as u64)
        {
            self.memory[98] = 0xFF;
            self.tripped_at = Some(self.shaft);
        }
    }

    /// The code of the refusal, or 0.
    fn write(&mut self, address: usize, data: &[u8]) -> u8 {
        let end = address + data.len();
        if end > 147 || address < 7 {
            return 7;
        }
        if address < 64 && self.torque() {
            return 7;
        }
        let goals = address < 120 && end > 100;
        if goals && self.memory[98] == 0xFF {
            return 4;
        }
        if address <= 64 && end > 64 && data[64 - address] == 1 && self.memory[70] != 0 {
            return 7;
        }
        for (at, byte) in (address..).zip(data) {
            let read_only = at == 70 || at >= 120;
            if !read_only {
                self.memory[at] = *byte;
                if at < 64 {
                    self.eeprom[at] = *byte;
                }
            }
        }
        if address <= 98 && end > 98 {
            self.tripped_at = None;
        }
        if address <= 11 && end > 11 {
            // A new mode has its own gains.
            self.set(80, 2, 0);
            self.set(82, 2, 0);
            self.set(84, 2, 800);
        }
        self.refresh();
        0
    }
}

impl Emulated for Servo {
    fn id(&self) -> u8 {
        self.memory[7]
    }

    fn plugged(&mut self) -> &mut bool {
        &mut self.plugged
    }

    /// RAM is as at the factory, and turns are forgotten: one is left.
    fn start(&mut self) {
        let id = self.memory[7];
        self.memory = self.eeprom;
        self.memory[7] = id;
        for (address, bytes, value) in [(80, 2, 0), (82, 2, 0), (84, 2, 800), (98, 1, 0)] {
            self.set(address, bytes, value);
        }
        self.memory[64] = 0;
        self.memory[68] = 2;
        self.memory[70] = 0;
        let limit = self.get(38, 2);
        self.set(102, 2, limit);
        self.tripped_at = None;
        self.forgotten = (self.shaft / 4096.0).floor() * 4096.0;
        self.refresh();
        let present = self.present();
        self.set(116, 4, present);
    }

    fn advance(&mut self, secs: f64) {
        self.listen();
        self.velocity = 0.0;
        if self.torque() && secs > 0.0 && self.tripped_at.is_none() {
            let goal = f64::from(self.goal() - self.get(20, 4));
            let goal = if self.reversed() { 4096.0 - goal } else { goal } + self.forgotten;
            let step = (goal - self.shaft).clamp(-self.speed * secs, self.speed * secs);
            self.shaft += step;
            self.velocity = step / secs;
        }
        self.refresh();
    }

    fn first_instruction(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        let start = bytes.windows(4).position(|w| w == HEADER)?;
        let length = usize::from(u16::from_le_bytes([
            *bytes.get(start + 5)?,
            *bytes.get(start + 6)?,
        ]));
        let end = start + 7 + length;
        if !(3..=600).contains(&length) {
            let (found, used) = Self::first_instruction(&bytes[start + 4..])?;
            return Some((found, used + start + 4));
        }
        let whole = bytes.get(start..end)?;
        if crc(&whole[..whole.len() - 2]).to_le_bytes() != whole[whole.len() - 2..] {
            let (found, used) = Self::first_instruction(&bytes[start + 4..])?;
            return Some((found, used + start + 4));
        }
        Some((whole.to_vec(), end))
    }

    fn answers(world: &mut World<Self>, instruction: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)> {
        answers(world, instruction, baud)
    }
}

/// CRC-16 by the bit, polynomial 8005.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc: u16 = 0;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x8005
            };
        }
    }
    crc
}

/// Puts an FD behind every FF FF FD, or takes it away.
fn stuffed(data: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in data {
        out.push(*byte);
        if out.ends_with(&[0xFF, 0xFF, 0xFD]) {
            out.push(0xFD);
        }
    }
    out
}

fn unstuffed(data: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut k = 0;
    while k < data.len() {
        out.push(data[k]);
        if data[..=k].ends_with(&[0xFF, 0xFF, 0xFD]) && data.get(k + 1) == Some(&0xFD) {
            k += 1;
        }
        k += 1;
    }
    out
}

fn status(id: u8, error: u8, data: &[u8]) -> Vec<u8> {
    let body = stuffed(&[&[0x55, error], data].concat());
    let mut frame = HEADER.to_vec();
    frame.push(id);
    frame.extend((body.len() as u16 + 2).to_le_bytes());
    frame.extend(body);
    let sum = crc(&frame).to_le_bytes();
    frame.extend(sum);
    frame
}

/// What the servos say to `instruction`, each after its pause.
fn answers(world: &mut World<Servo>, instruction: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)> {
    let id = instruction[4];
    let parameters = unstuffed(&instruction[8..instruction.len() - 2]);
    let hears = |servo: &Servo| servo.plugged && baud_of(servo.memory[8]) == baud;
    let delay = |servo: &Servo| Duration::from_micros(2 * u64::from(servo.memory[9]));
    let word = |at: usize| usize::from(u16::from_le_bytes([parameters[at], parameters[at + 1]]));
    // Its own id, or the one that it shadows; to that it says nothing.
    let obeys = |servo: &Servo, id: u8| {
        hears(servo) && (servo.id() == id || id == BROADCAST || servo.memory[12] == id && id < 253)
    };
    let says = |servo: &Servo| hears(servo) && servo.id() == id;
    for servo in world.servos.iter_mut().filter(|s| hears(s)) {
        servo.heard = Instant::now();
    }
    let mut out: Vec<(Duration, Vec<u8>)> = Vec::new();
    match (instruction[7], parameters.len()) {
        (0x01, 0) => {
            let asked = |s: &&Servo| says(s) || hears(s) && id == BROADCAST;
            for servo in world.servos.iter().filter(asked) {
                let data = [servo.memory[0], servo.memory[1], servo.memory[6]];
                out.push((delay(servo), status(servo.id(), servo.error(), &data)));
            }
        }
        (0x02, 4) => {
            for servo in world.servos.iter().filter(|s| says(s)) {
                out.push((delay(servo), read(servo, word(0), word(2))));
            }
        }
        (0x03, n) if n > 2 => {
            for servo in world.servos.iter_mut().filter(|s| obeys(s, id)) {
                let refused = servo.write(word(0), &parameters[2..]);
                if servo.id() == id {
                    out.push((delay(servo), status(id, servo.error() | refused, &[])));
                }
            }
        }
        (0x04, n) if n > 2 => {
            for servo in world.servos.iter_mut().filter(|s| obeys(s, id)) {
                servo.pending = Some((word(0), parameters[2..].to_vec()));
                if servo.id() == id {
                    out.push((delay(servo), status(id, servo.error(), &[])));
                }
            }
        }
        (0x05, 0) => {
            for servo in world.servos.iter_mut().filter(|s| obeys(s, id)) {
                if let Some((address, data)) = servo.pending.take() {
                    servo.write(address, &data);
                }
                if servo.id() == id {
                    out.push((delay(servo), status(id, servo.error(), &[])));
                }
            }
        }
        (0x08, 0) => {
            for servo in world.servos.iter_mut().filter(|s| obeys(s, id)) {
                servo.start();
                if servo.id() == id {
                    out.push((delay(servo), status(id, servo.error(), &[])));
                }
            }
        }
        (0x82, n) if n > 4 => {
            world.seen.sync_reads += 1;
            for id in &parameters[4..] {
                let servo = world.servos.iter().find(|s| s.id() == *id && hears(s));
                match servo {
                    Some(servo) => out.push((delay(servo), read(servo, word(0), word(2)))),
                    None if world.faults.chain_breaks => break,
                    None => {}
                }
            }
        }
        (0x83, n) if n > 4 => {
            world.seen.sync_writes += 1;
            for each in parameters[4..].chunks_exact(word(2) + 1) {
                for servo in world.servos.iter_mut().filter(|s| obeys(s, each[0])) {
                    servo.write(word(0), &each[1..]);
                }
            }
        }
        _ => {}
    }
    if id == BROADCAST {
        out
    } else {
        collided(&world.faults, out)
    }
}

fn read(servo: &Servo, address: usize, count: usize) -> Vec<u8> {
    let end = address + count;
    if end > 147 {
        return status(servo.id(), servo.error() | 7, &[]);
    }
    status(servo.id(), servo.error(), &servo.memory[address..end])
}
