//! Packets of the STS and SMS series: what goes out, byte by byte, and what is found in what comes in. No IO.
//!
//! ```text
//! instruction  FF FF id length instruction parameters.. checksum
//! status       FF FF id length error       parameters.. checksum
//! ```
//! `length` counts what follows it; `checksum` is the complement of the sum from `id` on. Registers of two bytes are
//! little-endian. Negative numbers are a sign bit and a magnitude, not two's complement, and the place of the sign bit differs
//! from register to register.
//!
//! Source: Feetech's protocol manual for STS and SMS servos; the bytes in the tests are those of Feetech's own Python SDK.

use tactus_drivers_api::servo::packet::{MAX_ID, Packet, Protocol, Scan, Status};
use tactus_drivers_api::servo::{AlarmTable, Alarms};

/// Bytes around the parameters of any packet.
const FRAME: usize = 6;

/// The protocol.
pub const PROTOCOL: Protocol = Protocol {
    wide: false,
    frame: FRAME,
    packet,
    scan,
    // The error byte is about the servo; an instruction that it does not like is not answered.
    refusal: |_| None,
};

fn packet(id: u8, instruction: u8, parameters: &mut dyn Iterator<Item = u8>) -> Packet {
    let mut packet = Packet::default();
    for byte in [0xFF, 0xFF, id, 0, instruction] {
        packet.push(byte);
    }
    for byte in parameters {
        packet.push(byte);
    }
    let length = packet.bytes().len() - 3;
    packet.bytes_mut()[3] = length as u8;
    packet.push(checksum(&packet.bytes()[2..]));
    packet
}

/// Complement of the sum of `body`, which begins with the id.
pub fn checksum(body: &[u8]) -> u8 {
    !body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

/// What a servo says of itself in every status.
pub const ALARMS: AlarmTable = AlarmTable {
    names: &[
        (0, "voltage out of range"),
        (1, "encoder"),
        (2, "overheating"),
        (3, "overcurrent"),
        (4, "angle"),
        (5, "overload"),
    ],
    disabling: 0b10_1110,
    voltage: 1,
};

/// What the error byte of a status says.
pub fn alarms(error: u8) -> Alarms {
    Alarms::new(error, &ALARMS)
}

/// Looks at the beginning of `bytes` for a status with at most `longest` parameters.
pub fn scan(bytes: &[u8], longest: usize) -> Scan {
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
    let status = Status::new(id, frame[4], frame[5..length + 3].iter().copied());
    Scan::Status(status, length + 4)
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
            (PROTOCOL.ping(3), "ffff030201f9"),
            (
                PROTOCOL.sync_read(56, 2, &[1, 2, 3, 4, 5, 6]),
                "fffffe0a82380201020304050626",
            ),
            (
                PROTOCOL.sync_write(42, goals),
                "fffffe16832a0201e90302ea0303eb0304ec0305ed0306ee0390",
            ),
            (
                PROTOCOL.read(4, 56, 2),
                "ffff040402380 2bb".replace(' ', "").as_str(),
            ),
            (PROTOCOL.write(5, 40, &[1]), "ffff0504032801ca"),
        ]
        .map(|(p, w)| (p, w.to_owned()))
        {
            assert_eq!(packet.bytes(), hex(&wanted), "{wanted}");
        }
    }

    #[test]
    fn a_status_is_found_behind_noise_and_told_from_an_echo() {
        let status = hex("ffff0104 00f407ff".replace(' ', "").as_str());
        let wanted = Status::new(1, 0, [0xF4, 0x07]);
        assert_eq!(scan(&status, 2), Scan::Status(wanted, 8));
        let noisy = [&[0x00, 0xFF, 0x12][..], &status].concat();
        assert_eq!(scan(&noisy, 2), Scan::Noise(3));
        let stuttered = [&[0xFF][..], &status].concat();
        assert_eq!(scan(&stuttered, 2), Scan::Noise(1));
        // An echoed sync read is for nobody: no servo has the broadcast id.
        let echo = PROTOCOL.sync_read(56, 2, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(scan(echo.bytes(), 2), Scan::Corrupt(2));
        for cut in 0..status.len() {
            assert!(matches!(scan(&status[..cut], 2), Scan::More), "{cut}");
        }
        let mut bad = status.clone();
        bad[5] ^= 0x10;
        assert_eq!(scan(&bad, 2), Scan::Corrupt(2));
        assert_eq!(scan(&status, 1), Scan::Corrupt(2));
    }

    proptest! {
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
