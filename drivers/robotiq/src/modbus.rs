//! Modbus RTU on a line: registers written and read, asked again when the reply is corrupt, cut or missing.
//!
//! The frames are those of the crate `rmodbus`; what counts as a reply, how long it may take and when to ask again is decided
//! here. An echo of the request (many RS-485 adapters send it back) is dropped.

use std::io;
use std::time::{Duration, Instant};

use rmodbus::client::ModbusRequest;
use rmodbus::{ErrorKind, ModbusProto};
use tactus_drivers_api::Line;

use crate::registers::COUNT;

/// What a reply may take beyond its time on the line: USB both ways, the gripper, the scheduler of this machine.
const TURNAROUND: Duration = Duration::from_millis(40);
/// After a failure the line has to be quiet for this long, so that no late reply is taken for another. Longer than 3.5
/// characters at any rate, which is what ends a frame.
const QUIET: Duration = Duration::from_millis(5);
/// A line that never is gets asked all the same after so long.
const QUIET_WITHIN: Duration = Duration::from_millis(50);
/// Times that something is asked.
const ATTEMPTS: usize = 3;
/// Bytes of a reply that says what is wrong.
const EXCEPTION: usize = 5;

/// Why a device cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ModbusError {
    /// The port failed: unplugged, for example.
    #[error("the port failed: {reason}")]
    Line {
        /// What the system said.
        reason: io::Error,
    },
    /// Nothing came.
    #[error("no answer: is it powered, and are baud rate and slave id right?")]
    Silent,
    /// Something came, and none of it was a whole reply.
    #[error("only garbled answers: is the baud rate right, and the cable good?")]
    Garbled,
    /// It understood and would not.
    #[error("it refused: {what}")]
    Refused {
        /// Why, in the protocol's words.
        what: String,
    },
}

impl From<io::Error> for ModbusError {
    fn from(reason: io::Error) -> Self {
        Self::Line { reason }
    }
}

/// One device on a line.
pub struct Modbus {
    line: Box<dyn Line>,
    baud: u32,
    slave: u8,
}

impl std::fmt::Debug for Modbus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modbus")
            .field("slave", &self.slave)
            .finish_non_exhaustive()
    }
}

impl Modbus {
    /// Device `slave` on `line`, which runs at `baud` bits per second.
    pub fn new(line: Box<dyn Line>, baud: u32, slave: u8) -> Self {
        Self { line, baud, slave }
    }

    /// Writes three registers from `address` on.
    ///
    /// # Errors
    /// [`ModbusError`].
    pub fn write(&mut self, address: u16, registers: [u16; 3]) -> Result<(), ModbusError> {
        let (mut request, mut bytes) = self.request();
        let made = request.generate_set_holdings_bulk(address, &registers, &mut bytes);
        made.map_err(refused)?;
        // Slave, function, address, count, checksum.
        let reply = self.ask(&bytes, 8, |reply| request.parse_ok(reply))?;
        match reply[2..6] == bytes[2..6] {
            true => Ok(()),
            false => Err(ModbusError::Garbled),
        }
    }

    /// Reads three registers from `address` on.
    ///
    /// # Errors
    /// [`ModbusError`].
    pub fn read(&mut self, address: u16) -> Result<[u16; 3], ModbusError> {
        let (mut request, mut bytes) = self.request();
        let made = request.generate_get_holdings(address, COUNT, &mut bytes);
        made.map_err(refused)?;
        // Slave, function, count of bytes, the bytes, checksum.
        let reply = self.ask(&bytes, 5 + 2 * usize::from(COUNT), |reply| {
            request.parse_ok(reply)
        })?;
        let mut registers = Vec::new();
        request.parse_u16(&reply, &mut registers).map_err(refused)?;
        registers.try_into().map_err(|_| ModbusError::Garbled)
    }

    fn request(&self) -> (ModbusRequest, Vec<u8>) {
        let request = ModbusRequest::new(self.slave, ModbusProto::Rtu);
        (request, Vec::new())
    }

    /// Sends `request` until a reply of `length` bytes came that `check` accepts.
    fn ask(
        &mut self,
        request: &[u8],
        length: usize,
        check: impl Fn(&[u8]) -> Result<(), ErrorKind>,
    ) -> Result<Vec<u8>, ModbusError> {
        let mut garbled = false;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                let mut late = [0; 64];
                let until = Instant::now() + QUIET_WITHIN;
                while self.line.receive(&mut late, QUIET)? > 0 && Instant::now() < until {}
            }
            self.line.discard()?;
            self.line.send(request)?;
            let reply = self.receive(request, length)?;
            if reply.is_empty() {
                continue;
            }
            match check(&reply) {
                Ok(()) if reply.len() == length => return Ok(reply),
                Ok(()) | Err(ErrorKind::FrameBroken | ErrorKind::FrameCRCError) => garbled = true,
                Err(e) if reply.len() == EXCEPTION => return Err(refused(e)),
                Err(_) => garbled = true,
            }
        }
        Err(match garbled {
            true => ModbusError::Garbled,
            false => ModbusError::Silent,
        })
    }

    /// What came in answer to `request`, at most `length` bytes, its echo taken off.
    fn receive(&mut self, request: &[u8], length: usize) -> Result<Vec<u8>, ModbusError> {
        let bytes = 2 * request.len() + length;
        let on_the_line =
            Duration::from_nanos(10_000_000_000 * bytes as u64 / u64::from(self.baud.max(1)));
        let until = Instant::now() + on_the_line + TURNAROUND;
        let mut reply: Vec<u8> = Vec::new();
        let mut echo_possible = true;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut incoming = [0; 64];
            let n = self.line.receive(&mut incoming, left)?;
            reply.extend(&incoming[..n]);
            if echo_possible && reply.len() >= request.len() {
                if reply.starts_with(request) {
                    reply.drain(..request.len());
                }
                echo_possible = false;
            }
            // A reply as long as its request is one only if it is not the beginning of an echo.
            let echo = echo_possible && request.starts_with(&reply);
            let exception = reply.len() == EXCEPTION && reply[1] & 0x80 != 0;
            if !echo && (exception || reply.len() >= length) {
                reply.truncate(length);
                return Ok(reply);
            }
            if n == 0 && Instant::now() >= until {
                return Ok(reply);
            }
        }
    }
}

fn refused(e: ErrorKind) -> ModbusError {
    ModbusError::Refused {
        what: e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::registers::{ACTIVATE, IN, OUT, go_to};

    fn hex(text: &str) -> Vec<u8> {
        let bytes = text.split_whitespace();
        bytes
            .map(|b| u8::from_str_radix(b, 16).expect("hex"))
            .collect()
    }

    /// A line on which each request is followed by what is said next.
    #[derive(Clone, Default)]
    struct Script {
        said: Arc<Mutex<VecDeque<Vec<u8>>>>,
        sent: Arc<Mutex<Vec<Vec<u8>>>>,
        waiting: Vec<u8>,
    }

    impl Line for Script {
        fn discard(&mut self) -> io::Result<()> {
            self.waiting.clear();
            Ok(())
        }
        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.sent.lock().expect("unpoisoned").push(bytes.into());
            let next = self.said.lock().expect("unpoisoned").pop_front();
            self.waiting.extend(next.unwrap_or_default());
            Ok(())
        }
        fn receive(&mut self, into: &mut [u8], within: Duration) -> io::Result<usize> {
            let n = self.waiting.len().min(into.len()).min(3);
            into[..n].copy_from_slice(&self.waiting[..n]);
            self.waiting.drain(..n);
            if n == 0 {
                std::thread::sleep(within.min(Duration::from_millis(5)));
            }
            Ok(n)
        }
        fn set_baud(&mut self, _: u32) -> io::Result<()> {
            Ok(())
        }
    }

    fn modbus(said: &[&str]) -> (Modbus, Script) {
        let script = Script {
            said: Arc::new(Mutex::new(said.iter().map(|s| hex(s)).collect())),
            ..Script::default()
        };
        (Modbus::new(Box::new(script.clone()), 115_200, 9), script)
    }

    fn sent(script: &Script) -> Vec<Vec<u8>> {
        script.sent.lock().expect("unpoisoned").clone()
    }

    const CONFIRMED: &str = "09 10 03 E8 00 03 01 30";
    const OPEN: &str = "09 03 06 F9 00 00 00 0D 00 56 4C";

    /// Requests and replies printed in Robotiq's manual.
    #[test]
    fn frames_are_those_of_the_manual() {
        let (mut device, script) = modbus(&[CONFIRMED, CONFIRMED, CONFIRMED, OPEN]);
        device.write(OUT, ACTIVATE).expect("confirmed");
        device.write(OUT, go_to(255, 255, 255)).expect("confirmed");
        device.write(OUT, go_to(0, 255, 255)).expect("confirmed");
        assert_eq!(device.read(IN).expect("said"), [0xF900, 0, 0x0D00]);
        let wanted = [
            "09 10 03 E8 00 03 06 01 00 00 00 00 00 72 E1",
            "09 10 03 E8 00 03 06 09 00 00 FF FF FF 42 29",
            "09 10 03 E8 00 03 06 09 00 00 00 FF FF 72 19",
            "09 03 07 D0 00 03 04 0E",
        ];
        assert_eq!(sent(&script), wanted.map(hex));
    }

    #[test]
    fn spoilt_replies_are_asked_for_again() {
        let echo = "09 03 07 D0 00 03 04 0E";
        for spoilt in [
            "",
            "09 03 06 F9 00 00 00",
            "09 03 06 F9 00 00 01 0D 00 56 4C",
            echo,
        ] {
            let (mut device, script) = modbus(&[spoilt, OPEN]);
            assert_eq!(
                device.read(IN).expect("said"),
                [0xF900, 0, 0x0D00],
                "{spoilt}"
            );
            assert_eq!(sent(&script).len(), 2, "{spoilt}");
        }
        let both = format!("{echo} {OPEN}");
        let (mut device, script) = modbus(&[&both]);
        assert_eq!(device.read(IN).expect("said"), [0xF900, 0, 0x0D00]);
        assert_eq!(sent(&script).len(), 1, "an echo is no reply");
    }

    /// A line on which something always comes.
    struct Babble;

    impl Line for Babble {
        fn discard(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, into: &mut [u8], _: Duration) -> io::Result<usize> {
            into[0] = 0x55;
            Ok(1)
        }
        fn set_baud(&mut self, _: u32) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_never_falls_silent_is_given_up() {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        let ask = move || {
            let read = Modbus::new(Box::new(Babble), 115_200, 9).read(IN);
            let _ = done.send(read.expect_err("no reply").to_string());
        };
        let thread = std::thread::Builder::new().spawn(ask);
        thread.expect("a thread");
        let error = result
            .recv_timeout(Duration::from_secs(10))
            .expect("given up");
        assert!(error.contains("garbled"), "{error}");
    }

    #[test]
    fn silence_rubbish_and_refusals_are_told_apart() {
        let error = |said: &[&str]| modbus(said).0.read(IN).expect_err("none").to_string();
        assert!(error(&[]).contains("no answer"));
        assert!(error(&["12 34 56", "12", "00 00 00 00 00 00 00 00 00 00 00"]).contains("garbled"));
        // Another slave's reply, whole: 0A instead of 09.
        assert!(error(&["0A 03 06 F9 00 00 00 0D 00 42 BC"]).contains("garbled"));
        // Exception 2: no such register.
        let refusal = error(&["09 83 02 41 33"]);
        assert!(refusal.contains("refused"), "{refusal}");
    }
}
