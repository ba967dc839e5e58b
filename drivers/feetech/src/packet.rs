//! Packets of the STS and SMS series: what goes out, byte by byte, and what is found in what comes in. No IO.
//!
//! ```text
//! instruction  FF FF id length instruction parameters.. checksum
//! status       FF FF id length error       parameters.. checksum
//! ```
//! `length` counts what follows it; `checksum` is the complement of the sum from `id` on. Registers of two bytes are
//! little-endian. Negative numbers are a sign bit and a magnitude ([`signed`]), not two's complement, and the place of the
//! sign bit differs from register to register.
//!
//! Source: Feetech's protocol manual for STS and SMS servos; the bytes in the tests are those of Feetech's own Python SDK.

/// Every servo listens to this id; none answers with it.
pub const BROADCAST: u8 = 0xFE;
/// Largest id of a servo.
pub const MAX_ID: u8 = 252;
/// Servos that one packet of ours may address.
pub const MAX_SERVOS: usize = 16;
/// Bytes of registers that one packet of ours may read or write per servo.
pub const MAX_DATA: usize = 32;

const PING: u8 = 0x01;
const READ: u8 = 0x02;
const WRITE: u8 = 0x03;
const SYNC_READ: u8 = 0x82;
const SYNC_WRITE: u8 = 0x83;

/// Bytes around the parameters of any packet.
pub const FRAME: usize = 6;
/// The longest legal packet: its length byte is one byte, and 255 is not a length.
const LONGEST: usize = 258;

/// An instruction, ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Packet {
    fn new(id: u8, instruction: u8, parameters: impl IntoIterator<Item = u8>) -> Self {
        let mut packet = Self {
            bytes: [0xFF; LONGEST],
            length: 5,
        };
        packet.bytes[2] = id;
        packet.bytes[4] = instruction;
        // What would not fit is left out: callers check the number of servos and bytes when they are configured.
        for byte in parameters.into_iter().take(LONGEST - FRAME) {
            packet.bytes[packet.length] = byte;
            packet.length += 1;
        }
        packet.bytes[3] = (packet.length - 3) as u8;
        packet.bytes[packet.length] = checksum(&packet.bytes[2..packet.length]);
        packet.length += 1;
        packet
    }

    /// Asks servo `id` whether it is there.
    pub fn ping(id: u8) -> Self {
        Self::new(id, PING, [])
    }

    /// Asks servo `id` for `count` bytes from `address` on.
    pub fn read(id: u8, address: u8, count: u8) -> Self {
        Self::new(id, READ, [address, count])
    }

    /// Sets bytes of servo `id` from `address` on.
    pub fn write(id: u8, address: u8, data: &[u8]) -> Self {
        Self::new(id, WRITE, [address].into_iter().chain(data.iter().copied()))
    }

    /// Asks every servo of `ids`, to answer in this order, for `count` bytes from `address` on.
    pub fn sync_read(address: u8, count: u8, ids: impl IntoIterator<Item = u8>) -> Self {
        Self::new(
            BROADCAST,
            SYNC_READ,
            [address, count].into_iter().chain(ids),
        )
    }

    /// Sets `N` bytes from `address` on of each servo. No servo answers.
    pub fn sync_write<const N: usize>(
        address: u8,
        servos: impl IntoIterator<Item = (u8, [u8; N])>,
    ) -> Self {
        let each = servos
            .into_iter()
            .flat_map(|(id, data)| [id].into_iter().chain(data));
        Self::new(
            BROADCAST,
            SYNC_WRITE,
            [address, N as u8].into_iter().chain(each),
        )
    }

    /// The bytes on the line.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Complement of the sum of `body`, which begins with the id.
pub fn checksum(body: &[u8]) -> u8 {
    !body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

/// What a servo says of itself in every status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Alarms(pub u8);

impl Alarms {
    const NAMES: [(u8, &str); 6] = [
        (0, "voltage out of range"),
        (1, "encoder"),
        (2, "overheating"),
        (3, "overcurrent"),
        (4, "angle"),
        (5, "overload"),
    ];
    /// Those after which a servo no longer does what it is told: it weakens itself or cannot measure.
    pub const DISABLING: Self = Self(0b10_1110);

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::fmt::Display for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = Self::NAMES
            .iter()
            .filter(|(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        match names.is_empty() {
            true => write!(f, "alarm {:#04x}", self.0),
            false => f.write_str(&names.join(", ")),
        }
    }
}

/// A status that came in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// Who says so.
    pub id: u8,
    /// What it complains of.
    pub alarms: Alarms,
    /// What it was asked for.
    pub parameters: &'a [u8],
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan<'a> {
    /// A status; so many bytes are done with.
    Status(Status<'a>, usize),
    /// Nothing that begins a status: so many bytes are to be skipped.
    Noise(usize),
    /// A frame whose checksum or length is wrong: so many bytes are to be skipped.
    Corrupt(usize),
    /// Too little to say.
    More,
}

/// Looks at the beginning of `bytes` for a status with at most `longest` parameters.
pub fn scan(bytes: &[u8], longest: usize) -> Scan<'_> {
    let header = bytes.windows(2).position(|pair| pair == [0xFF, 0xFF]);
    match header {
        Some(0) => {}
        Some(noise) => return Scan::Noise(noise),
        // A last byte may be half a header.
        None if bytes.last() == Some(&0xFF) && bytes.len() > 1 => {
            return Scan::Noise(bytes.len() - 1);
        }
        None if bytes.is_empty() || bytes == [0xFF] => return Scan::More,
        None => return Scan::Noise(bytes.len()),
    }
    let (Some(&id), Some(&length)) = (bytes.get(2), bytes.get(3)) else {
        return match bytes.get(2) {
            Some(0xFF) => Scan::Noise(1),
            _ => Scan::More,
        };
    };
    if id == 0xFF {
        return Scan::Noise(1);
    }
    let length = usize::from(length);
    if id > MAX_ID || length < 2 || length - 2 > longest {
        return Scan::Corrupt(2);
    }
    let Some(frame) = bytes.get(..length + 4) else {
        return Scan::More;
    };
    if checksum(&frame[2..length + 3]) != frame[length + 3] {
        return Scan::Corrupt(2);
    }
    let status = Status {
        id,
        alarms: Alarms(frame[4]),
        parameters: &frame[5..length + 3],
    };
    Scan::Status(status, length + 4)
}

/// `raw` with its sign in bit `sign`.
pub fn signed(raw: u16, sign: u8) -> i32 {
    let magnitude = i32::from(raw & ((1 << sign) - 1));
    if raw >> sign & 1 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

/// `value` with its sign in bit `sign`; `None` when it does not fit.
pub fn raw_of(value: i32, sign: u8) -> Option<u16> {
    let magnitude = u16::try_from(value.unsigned_abs()).ok()?;
    let bit = 1u16 << sign;
    (magnitude < bit).then_some(if value < 0 {
        magnitude | bit
    } else {
        magnitude
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
            .collect()
    }

    /// What feetech-servo-sdk 1.0.0 puts on the line for the same calls.
    #[test]
    fn instructions_are_those_of_the_vendor_s_sdk() {
        let goals = (1..=6).map(|id| (id, (1000 + u16::from(id)).to_le_bytes()));
        for (packet, wanted) in [
            (Packet::ping(3), "ffff030201f9"),
            (
                Packet::sync_read(56, 2, 1..=6),
                "fffffe0a82380201020304050626",
            ),
            (
                Packet::sync_write(42, goals),
                "fffffe16832a0201e90302ea0303eb0304ec0305ed0306ee0390",
            ),
            (
                Packet::read(4, 56, 2),
                "ffff040402380 2bb".replace(' ', "").as_str(),
            ),
            (Packet::write(5, 40, &[1]), "ffff0504032801ca"),
        ]
        .map(|(p, w)| (p, w.to_owned()))
        {
            assert_eq!(packet.bytes(), hex(&wanted), "{wanted}");
        }
    }

    #[test]
    fn a_status_is_found_behind_noise_and_told_from_an_echo() {
        let status = hex("ffff0104 00f407ff".replace(' ', "").as_str());
        let wanted = Status {
            id: 1,
            alarms: Alarms(0),
            parameters: &[0xF4, 0x07],
        };
        assert_eq!(scan(&status, 2), Scan::Status(wanted, 8));
        let noisy = [&[0x00, 0xFF, 0x12][..], &status].concat();
        assert_eq!(scan(&noisy, 2), Scan::Noise(3));
        let stuttered = [&[0xFF][..], &status].concat();
        assert_eq!(scan(&stuttered, 2), Scan::Noise(1));
        // An echoed sync read is for nobody: no servo has the broadcast id.
        let echo = Packet::sync_read(56, 2, 1..=6);
        assert_eq!(scan(echo.bytes(), 2), Scan::Corrupt(2));
        for cut in 0..status.len() {
            assert!(matches!(scan(&status[..cut], 2), Scan::More), "{cut}");
        }
        let mut bad = status.clone();
        bad[5] ^= 0x10;
        assert_eq!(scan(&bad, 2), Scan::Corrupt(2));
        assert_eq!(scan(&status, 1), Scan::Corrupt(2));
    }

    #[test]
    fn alarms_have_names() {
        assert_eq!(
            Alarms(0b10_0001).to_string(),
            "voltage out of range, overload"
        );
        assert_eq!(Alarms(0x80).to_string(), "alarm 0x80");
        assert!(Alarms(0b1).and(Alarms::DISABLING).is_none());
    }

    #[test]
    fn numbers_have_a_sign_bit_and_not_two_s_complement() {
        assert_eq!((signed(0x8005, 15), signed(5, 15)), (-5, 5));
        assert_eq!(
            (raw_of(-12, 11), raw_of(2047, 11)),
            (Some(0x80C), Some(2047))
        );
        assert_eq!((raw_of(2048, 11), raw_of(-70_000, 15)), (None, None));
    }

    proptest! {
        #[test]
        fn signs_round_trip(value in -2047..=2047i32) {
            prop_assert_eq!(raw_of(value, 11).map(|raw| signed(raw, 11)), Some(value));
        }

        /// Whatever comes in, the scan goes forward or waits for no more than the longest status.
        #[test]
        fn a_scan_always_ends(bytes in proptest::collection::vec(prop_oneof![Just(0xFFu8), any::<u8>()], 0..80)) {
            let mut rest = &bytes[..];
            loop {
                match scan(rest, 8) {
                    Scan::Status(_, n) | Scan::Noise(n) | Scan::Corrupt(n) => {
                        prop_assert!(n > 0 && n <= rest.len());
                        rest = &rest[n..];
                    }
                    Scan::More => {
                        prop_assert!(rest.len() < 8 + FRAME);
                        break;
                    }
                }
            }
        }
    }
}
