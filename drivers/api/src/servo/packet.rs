//! Packets of servo protocols, as bytes: what all of them share, and what each says of itself ([`Protocol`]). No IO.
//!
//! Feetech's protocol and Dynamixel's 2.0 have the same instructions with the same numbers, about registers that have
//! addresses; they differ in the frame around them, in its checksum, and in how wide addresses and counts are.

use super::register::Register;

/// Every servo listens to this id; none answers with it.
pub const BROADCAST: u8 = 0xFE;
/// Largest id of a servo.
pub const MAX_ID: u8 = 252;
/// Servos that one packet of ours may address.
pub const MAX_SERVOS: usize = 16;
/// Bytes of registers that one packet of ours may read or write per servo.
pub const MAX_DATA: usize = 40;

const PING: u8 = 0x01;
const READ: u8 = 0x02;
const WRITE: u8 = 0x03;
const SYNC_READ: u8 = 0x82;
const SYNC_WRITE: u8 = 0x83;

/// Room for the longest packet of ours: all servos written, each with a goal and what belongs to it.
const LONGEST: usize = 512;

/// Bytes ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }
}

impl Packet {
    /// Adds a byte. What would not fit is left out: callers check the number of servos when they are configured.
    pub fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// The bytes on the line.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

/// A status that came in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Who says so.
    pub id: u8,
    /// Its error byte, as it came.
    pub error: u8,
    data: [u8; MAX_DATA],
    count: usize,
}

impl Status {
    /// A status with these parameters; those that are beyond [`MAX_DATA`] are left out.
    pub fn new(id: u8, error: u8, parameters: impl IntoIterator<Item = u8>) -> Self {
        let mut status = Self {
            id,
            error,
            data: [0; MAX_DATA],
            count: 0,
        };
        for (place, byte) in status.data.iter_mut().zip(parameters) {
            *place = byte;
            status.count += 1;
        }
        status
    }

    /// What the servo was asked for.
    pub fn parameters(&self) -> &[u8] {
        &self.data[..self.count]
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// A status; so many bytes are done with.
    Status(Status, usize),
    /// Nothing that begins a status: so many bytes are to be skipped.
    Noise(usize),
    /// A frame whose checksum or length is wrong: so many bytes are to be skipped.
    Corrupt(usize),
    /// Too little to say.
    More,
}

/// What a protocol says of itself.
#[derive(Debug)]
pub struct Protocol {
    /// Addresses and counts take two bytes instead of one.
    pub wide: bool,
    /// Bytes around the parameters of a status.
    pub frame: usize,
    /// The packet of an instruction (its number) with parameters for servo `id`.
    pub packet: fn(u8, u8, &mut dyn Iterator<Item = u8>) -> Packet,
    /// Looks at the beginning of bytes for a status with at most so many parameters.
    pub scan: fn(&[u8], usize) -> Scan,
    /// What an error byte says about the instruction, where it was refused; not what it says about the servo.
    pub refusal: fn(u8) -> Option<&'static str>,
}

impl Protocol {
    fn number(&self, value: u16) -> impl Iterator<Item = u8> + use<> {
        let [low, high] = value.to_le_bytes();
        [Some(low), self.wide.then_some(high)].into_iter().flatten()
    }

    fn range(&self, address: u16, count: u8) -> impl Iterator<Item = u8> + use<> {
        self.number(address).chain(self.number(count.into()))
    }

    /// Asks servo `id` whether it is there.
    pub fn ping(&self, id: u8) -> Packet {
        (self.packet)(id, PING, &mut std::iter::empty())
    }

    /// Asks servo `id` for `count` bytes from `address` on.
    pub fn read(&self, id: u8, address: u16, count: u8) -> Packet {
        (self.packet)(id, READ, &mut self.range(address, count))
    }

    /// Sets bytes of servo `id` from `address` on.
    pub fn write(&self, id: u8, address: u16, data: &[u8]) -> Packet {
        let mut parameters = self.number(address).chain(data.iter().copied());
        (self.packet)(id, WRITE, &mut parameters)
    }

    /// Asks every servo of `ids`, to answer in this order, for `count` bytes from `address` on.
    pub fn sync_read(&self, address: u16, count: u8, ids: &[u8]) -> Packet {
        let mut parameters = self.range(address, count).chain(ids.iter().copied());
        (self.packet)(BROADCAST, SYNC_READ, &mut parameters)
    }

    /// Sets `N` bytes from `address` on of each servo. No servo answers.
    pub fn sync_write<const N: usize>(
        &self,
        address: u16,
        servos: impl IntoIterator<Item = (u8, [u8; N])>,
    ) -> Packet {
        let each = servos
            .into_iter()
            .flat_map(|(id, data)| [id].into_iter().chain(data));
        let mut parameters = self.range(address, N as u8).chain(each);
        (self.packet)(BROADCAST, SYNC_WRITE, &mut parameters)
    }

    /// Sets one register of servo `id`; `None` when the value does not fit.
    pub fn set(&self, id: u8, register: Register, value: i32) -> Option<Packet> {
        let data = register.bytes_of(value)?;
        Some(self.write(id, register.address, &data[..usize::from(register.bytes)]))
    }
}
