//! An emulated Robotiq 2F on a pseudo-terminal. Shares no code with the driver; its frames are those of the manual, and
//! `test_pymodbus.py` runs the driver on a Modbus server that is not ours.
//!
//! As the manual has it: it does nothing before its activation, which moves its fingers through their whole stroke; fingers
//! stop at what they meet, and its status says so. What the manual does not say is taken so: it forgets its activation with its
//! power.
#![allow(dead_code, reason = "each user takes its own part")]

#[path = "../../../api/tests/serial_line/mod.rs"]
mod serial_line;

use std::time::Duration;

use serial_line::{Emulated, World, collided};

/// A gripper on a line.
pub type GripperBus = serial_line::SerialBus<Fingers>;

/// Positions per second at full speed: the stroke of 85 mm at 150 mm/s.
const SPEED: f64 = 450.0;
/// Seconds that an activation takes here.
pub const ACTIVATION: f64 = 0.4;

#[derive(Clone)]
pub struct Fingers {
    id: u8,
    pub plugged: bool,
    pub out: [u8; 6],
    /// 0 open to 255 closed.
    pub position: f64,
    /// They meet something there, when closing.
    pub object: Option<f64>,
    pub fault: u8,
    activating: Option<f64>,
    pub active: bool,
    /// How far they have moved in all.
    pub moved: f64,
    met: u8,
}

impl Fingers {
    pub fn new(id: u8) -> Self {
        Self {
            id,
            plugged: true,
            out: [0; 6],
            position: 100.0,
            object: None,
            fault: 0,
            activating: None,
            active: false,
            moved: 0.0,
            met: 3,
        }
    }

    pub fn activated(mut self) -> Self {
        self.active = true;
        self.out[0] = 1;
        self
    }

    fn status(&self) -> [u8; 6] {
        let stage = match (self.active, self.activating) {
            (true, _) => 3,
            (false, Some(_)) => 1,
            (false, None) => 0,
        };
        let following = self.out[0] & 9 == 9;
        let first = self.out[0] & 9 | stage << 4 | if following { self.met << 6 } else { 0 };
        let position = self.position.round() as u8;
        [first, 0, self.fault, self.out[3], position, 0]
    }

    fn write(&mut self, data: &[u8]) {
        self.out.copy_from_slice(data);
        match data[0] & 1 {
            0 => {
                self.active = false;
                self.activating = None;
                self.fault = 0;
            }
            _ if !self.active && self.activating.is_none() => self.activating = Some(ACTIVATION),
            _ => {}
        }
    }
}

impl Emulated for Fingers {
    fn id(&self) -> u8 {
        self.id
    }

    fn plugged(&mut self) -> &mut bool {
        &mut self.plugged
    }

    fn start(&mut self) {
        let (id, position) = (self.id, self.position);
        *self = Self {
            position,
            object: self.object,
            moved: self.moved,
            ..Self::new(id)
        };
    }

    fn advance(&mut self, secs: f64) {
        let before = self.position;
        if let Some(left) = self.activating {
            let left = left - secs;
            // Closed half the time, then open.
            self.position = if left > ACTIVATION / 2.0 { 230.0 } else { 3.0 };
            self.activating = (left > 0.0).then_some(left);
            self.active = left <= 0.0;
        } else if self.active && self.out[0] & 8 != 0 && self.fault == 0 {
            let goal = f64::from(self.out[3]).clamp(3.0, 230.0);
            let pace = (0.1 + 0.9 * f64::from(self.out[4]) / 255.0) * SPEED * secs;
            let mut to = self.position + (goal - self.position).clamp(-pace, pace);
            self.met = if (to - goal).abs() < 0.5 { 3 } else { 0 };
            if let Some(object) = self.object
                && to >= object
                && goal > object
            {
                to = object;
                self.met = 2;
            }
            self.position = to;
        }
        self.moved += (self.position - before).abs();
    }

    /// A request is read or write of holding registers.
    fn first_instruction(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        let length = match *bytes.get(1)? {
            0x03 => 8,
            0x10 => 9 + usize::from(*bytes.get(6)?),
            // Rubbish, as at another rate: none of it is a request.
            _ => return Some((vec![], bytes.len())),
        };
        Some((bytes.get(..length)?.to_vec(), length))
    }

    fn answers(world: &mut World<Self>, request: &[u8], baud: u32) -> Vec<(Duration, Vec<u8>)> {
        if baud != 115_200 || request.len() < 8 || crc(request) != 0 {
            return vec![];
        }
        let address = u16::from_be_bytes([request[2], request[3]]);
        let mut out = Vec::new();
        for fingers in world
            .servos
            .iter_mut()
            .filter(|f| f.plugged && f.id == request[0])
        {
            let mut reply = match (request[1], address) {
                (0x03, 0x07D0) => [&[fingers.id, 0x03, 6], &fingers.status()[..]].concat(),
                (0x10, 0x03E8) => {
                    fingers.write(&request[7..13]);
                    request[..6].to_vec()
                }
                (function, _) => vec![fingers.id, function | 0x80, 0x02],
            };
            let sum = crc(&reply).to_le_bytes();
            reply.extend(sum);
            out.push((Duration::from_micros(500), reply));
        }
        collided(&world.faults, out)
    }
}

fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xA001
            } else {
                crc >> 1
            }
        })
    })
}
