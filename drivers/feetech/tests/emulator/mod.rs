//! Emulated STS3215 servos on a pseudo-terminal: what the driver is tested on. Shares no code with the driver.
//!
//! The line with its rate, its adapter and its faults is `serial_line`. A servo moves towards its goal at 4.7 rad/s while it
//! has torque, and stays without. A goal written without torque switches torque on: the worst that firmware might do.
#![allow(dead_code, reason = "each user takes its own part")]

#[path = "../../../api/tests/serial_line/mod.rs"]
mod serial_line;

use std::time::Duration;

use serial_line::{Emulated, World, collided};

/// Servos on a line.
pub type ServoBus = serial_line::SerialBus<Servo>;

const BAUDS: [u32; 8] = [
    1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200,
];
const BROADCAST: u8 = 254;
const SPEED_TICKS_PER_SEC: f64 = 3063.0;

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

impl Emulated for Servo {
    fn id(&self) -> u8 {
        self.memory[5]
    }

    fn plugged(&mut self) -> &mut bool {
        &mut self.plugged
    }

    /// RAM is as at the factory.
    fn start(&mut self) {
        self.memory = self.eeprom;
        self.memory[40] = 0;
        self.memory[41] = 0;
        let limit = self.word(16);
        self.set(48, limit);
        self.memory[55] = 1;
        self.set(42, self.present() as u16);
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

    fn first_instruction(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        first_instruction(bytes)
    }

    fn answers(world: &mut World<Self>, instruction: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)> {
        answers(world, instruction, baud)
    }
}

fn frame(id: u8, alarms: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFF, 0xFF, id, data.len() as u8 + 2, alarms];
    frame.extend(data);
    let sum: u32 = frame[2..].iter().map(|b| u32::from(*b)).sum();
    frame.push(!(sum as u8));
    frame
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
fn answers(world: &mut World<Servo>, instruction: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)> {
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
    if id == BROADCAST {
        out
    } else {
        collided(&world.faults, out)
    }
}

fn read(servo: &Servo, address: u8, count: u8) -> Vec<u8> {
    let from = usize::from(address).min(128);
    let to = (from + usize::from(count)).min(128);
    frame(servo.id(), servo.alarms, &servo.memory[from..to])
}
