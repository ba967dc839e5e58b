//! Packets of protocol 2.0: what goes out, byte by byte, and what is found in what comes in. No IO.
//!
//! ```text
//! instruction  FF FF FD 00 id length(2) instruction       parameters.. crc(2)
//! status       FF FF FD 00 id length(2) 55          error parameters.. crc(2)
//! ```
//! `length` counts what follows it; numbers are little-endian, negative ones two's complement. The checksum is CRC-16 with
//! the polynomial 8005, nothing inverted or reflected, over all that precedes it. So that no parameters look like a header,
//! `FF FF FD` among them is followed by one more `FD`, which counts in `length` and is taken out on arrival.
//!
//! Source: ROBOTIS e-Manual, "Protocol 2.0"; the bytes in the tests are those of the vendor's SDK.

use tactus_drivers_api::servo::packet::{MAX_ID, Packet, Protocol, Scan, Status};
use tactus_drivers_api::servo::{AlarmTable, Alarms};

const HEADER: [u8; 4] = [0xFF, 0xFF, 0xFD, 0x00];
/// Header, id and length.
const PREAMBLE: usize = 7;
/// Bytes around the parameters of a status.
const FRAME: usize = 11;
const STATUS: u8 = 0x55;
/// In the error byte: [`HARDWARE_ERROR_STATUS`](crate::registers::HARDWARE_ERROR_STATUS) is not zero.
pub const ALERT: u8 = 0x80;

/// The protocol.
pub const PROTOCOL: Protocol = Protocol {
    wide: true,
    frame: FRAME,
    packet,
    scan,
    refusal,
};

/// What a servo complains of in its hardware error status.
pub const ALARMS: AlarmTable = AlarmTable {
    names: &[
        (0, "voltage out of range"),
        (2, "overheating"),
        (3, "encoder"),
        (4, "electrical shock"),
        (5, "overload"),
    ],
    disabling: 0b11_1100,
    voltage: 1,
};

/// What a hardware error status says.
pub fn alarms(status: i32) -> Alarms {
    Alarms::new(status as u8, &ALARMS)
}

fn refusal(error: u8) -> Option<&'static str> {
    match error & !ALERT {
        0 => None,
        1 => Some("it could not do it"),
        2 => Some("unknown instruction"),
        3 => Some("the instruction arrived corrupt"),
        4 => Some("value out of range"),
        5 => Some("data of another length"),
        6 => Some("value beyond a limit of the servo"),
        7 => Some(
            "the register cannot be written now: EEPROM while torque is on, or a goal after its bus watchdog",
        ),
        _ => Some("an error without a name"),
    }
}

/// Puts the extra byte behind what looks like a header.
struct Stuffing {
    last: [u8; 2],
}

impl Stuffing {
    /// Whether `byte` completes `FF FF FD`.
    fn completes(&mut self, byte: u8) -> bool {
        let completes = self.last == [0xFF, 0xFF] && byte == 0xFD;
        self.last = [self.last[1], byte];
        completes
    }
}

fn packet(id: u8, instruction: u8, parameters: &mut dyn Iterator<Item = u8>) -> Packet {
    let mut packet = Packet::default();
    for byte in HEADER.into_iter().chain([id, 0, 0, instruction]) {
        packet.push(byte);
    }
    let mut stuffing = Stuffing {
        last: [0, instruction],
    };
    for byte in parameters {
        packet.push(byte);
        if stuffing.completes(byte) {
            packet.push(0xFD);
        }
    }
    let length = packet.bytes().len() - PREAMBLE + 2;
    packet.bytes_mut()[5..PREAMBLE].copy_from_slice(&(length as u16).to_le_bytes());
    for byte in crc(packet.bytes()).to_le_bytes() {
        packet.push(byte);
    }
    packet
}

const fn crc_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x8005
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

static CRC: [u16; 256] = crc_table();

/// Checksum of `bytes`.
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let index = (crc >> 8) as u8 ^ byte;
        crc << 8 ^ CRC[usize::from(index)]
    })
}

/// Looks at the beginning of `bytes` for a status with at most `longest` parameters.
pub fn scan(bytes: &[u8], longest: usize) -> Scan {
    let header = bytes.windows(HEADER.len()).position(|four| four == HEADER);
    match header {
        Some(0) => {}
        Some(noise) => return Scan::Noise(noise),
        None => {
            // The last bytes may be the beginning of a header.
            let begun = (1..HEADER.len())
                .rev()
                .find(|n| bytes.ends_with(&HEADER[..*n]));
            return match bytes.len() - begun.unwrap_or(0) {
                0 => Scan::More,
                noise => Scan::Noise(noise),
            };
        }
    }
    let Some(&[id, low, high]) = bytes.get(4..PREAMBLE) else {
        return Scan::More;
    };
    let length = usize::from(u16::from_le_bytes([low, high]));
    // Two bytes more than an instruction without parameters has: what is shorter is an instruction, such as an echo.
    let stuffed = longest + longest / 3;
    if id > MAX_ID || length < 3 || length > stuffed + FRAME - PREAMBLE {
        return Scan::Corrupt(HEADER.len());
    }
    let end = PREAMBLE + length;
    let Some(frame) = bytes.get(..end) else {
        return Scan::More;
    };
    if crc(&frame[..end - 2]).to_le_bytes() != frame[end - 2..] {
        return Scan::Corrupt(HEADER.len());
    }
    match frame[PREAMBLE..end - 2] {
        [STATUS, error, ref parameters @ ..] => {
            let mut stuffing = Stuffing {
                last: [STATUS, error],
            };
            let mut extra = false;
            let parameters = parameters.iter().copied().filter(|byte| {
                let skip = std::mem::take(&mut extra) && *byte == 0xFD;
                extra = !skip && stuffing.completes(*byte);
                !skip
            });
            let status = Status::new(id, error, parameters);
            match status.parameters().len() <= longest {
                true => Scan::Status(status, end),
                // As long as a stuffed one may be, and not stuffed.
                false => Scan::Corrupt(HEADER.len()),
            }
        }
        // Somebody's instruction: ours, come back.
        _ => Scan::Noise(end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
            .collect()
    }

    fn status(id: u8, error: u8, parameters: &[u8]) -> Vec<u8> {
        let mut both = std::iter::once(error).chain(parameters.iter().copied());
        packet(id, STATUS, &mut both).bytes().to_vec()
    }

    /// What dynamixel-sdk 4.1.0 puts on the line for the same calls. The last: what its `addStuffing` makes of the packet,
    /// with its checksum; `txPacket` of this version forgets that and sends the packet as it was.
    #[test]
    fn instructions_are_those_of_the_vendor_s_sdk() {
        let goals = (1..=6).map(|id| (id, [0xE8 + id, 0x03, 0, 0]));
        for (packet, wanted) in [
            (PROTOCOL.ping(3), "fffffd00030300011ae6"),
            (PROTOCOL.read(4, 132, 4), "fffffd0004070002840004000345"),
            (PROTOCOL.write(5, 64, &[1]), "fffffd000506000340000198e2"),
            (
                PROTOCOL.write(5, 20, &(-12i32).to_le_bytes()),
                "fffffd00050900031400f4fffffffb15",
            ),
            (
                PROTOCOL.sync_write(116, goals),
                "fffffd00fe2500837400040001e903000002ea03000003eb03000004ec03000005ed03000006ee030000eb4f",
            ),
            (
                PROTOCOL.sync_read(126, 21, &[1, 2, 3, 4, 5, 6]),
                "fffffd00fe0d00827e0015000102030405065fc7",
            ),
            (
                PROTOCOL.write(1, 116, &[0xFF, 0xFF, 0xFD, 0x00]),
                "fffffd00010a00037400fffffdfd0021e7",
            ),
        ] {
            assert_eq!(packet.bytes(), hex(wanted), "{wanted}");
        }
    }

    #[test]
    fn a_status_is_found_behind_noise_and_told_from_an_echo() {
        // The e-Manual's example: servo 1 says its position is 166.
        let position = hex("FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0");
        let wanted = Status::new(1, 0, [0xA6, 0, 0, 0]);
        assert_eq!(scan(&position, 4), Scan::Status(wanted, 15));
        assert_eq!(position, status(1, 0, &[0xA6, 0, 0, 0]));
        let noisy = [&[0x00, 0xFF, 0x12][..], &position].concat();
        assert_eq!(scan(&noisy, 4), Scan::Noise(3));
        let stuttered = [&[0xFF][..], &position].concat();
        assert_eq!(scan(&stuttered, 4), Scan::Noise(1));
        let echo = PROTOCOL.read(1, 132, 4);
        assert_eq!(scan(echo.bytes(), 4), Scan::Noise(14));
        let echo = PROTOCOL.sync_read(132, 4, &[1, 2]);
        assert_eq!(scan(echo.bytes(), 4), Scan::Corrupt(4));
        for cut in 0..position.len() {
            assert_eq!(scan(&position[..cut], 4), Scan::More, "{cut}");
        }
        for bit in 32..position.len() * 8 {
            let mut bad = position.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(scan(&bad, 4), Scan::Status(..)), "{bit}");
        }
        assert_eq!(scan(&position, 2), Scan::Corrupt(4));
    }

    #[test]
    fn what_looks_like_a_header_is_stuffed_and_comes_back_as_it_was() {
        let written = PROTOCOL.write(1, 116, &[0xFF, 0xFF, 0xFD, 0x00]);
        assert_eq!(&written.bytes()[5..7], [10, 0]);
        assert_eq!(&written.bytes()[10..15], [0xFF, 0xFF, 0xFD, 0xFD, 0x00]);
        let data = [0xFF, 0xFF, 0xFD, 0xFD, 0xFF, 0xFF, 0xFD];
        let said = status(7, 0x80, &data);
        assert_eq!(said.len(), 11 + 7 + 2);
        assert_eq!(
            scan(&said, 7),
            Scan::Status(Status::new(7, 0x80, data), said.len())
        );
    }

    #[test]
    fn refusals_have_words_and_an_alert_is_none() {
        assert_eq!((refusal(0), refusal(ALERT)), (None, None));
        assert!(refusal(0x84).is_some_and(|w| w.contains("range")));
        assert_eq!(alarms(0x21).to_string(), "voltage out of range, overload");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_heard(data in proptest::collection::vec(prop_oneof![Just(0xFFu8), Just(0xFDu8), any::<u8>()], 0..32)) {
            let said = status(9, 0, &data);
            prop_assert_eq!(scan(&said, data.len()), Scan::Status(Status::new(9, 0, data), said.len()));
        }

        /// More than was asked for is no answer, though a stuffed answer of that length would be.
        #[test]
        fn a_longer_status_is_not_heard(data in proptest::collection::vec(prop_oneof![Just(0xFFu8), Just(0xFDu8), any::<u8>()], 9..32)) {
            prop_assert_eq!(scan(&status(9, 0, &data), 8), Scan::Corrupt(HEADER.len()));
        }

        /// Whatever comes in, the scan goes forward or waits for no more than the longest status.
        #[test]
        fn a_scan_always_ends(bytes in proptest::collection::vec(prop_oneof![Just(0xFFu8), Just(0xFDu8), Just(0u8), any::<u8>()], 0..120)) {
            let mut rest = &bytes[..];
            loop {
                match scan(rest, 8) {
                    Scan::Status(_, n) | Scan::Noise(n) | Scan::Corrupt(n) => {
                        prop_assert!(n > 0 && n <= rest.len());
                        rest = &rest[n..];
                    }
                    Scan::More => {
                        prop_assert!(rest.len() < 8 + 2 + FRAME);
                        break;
                    }
                }
            }
        }
    }
}
