//! The variables that are exchanged, as two tables, and their values as bytes.
//!
//! Registers 24 to 47 are the maker's for clients like this one; 0 to 23 are left to fieldbuses. Our program
//! (`follow.script`) reads and writes the same registers by the same numbers.

use crate::model::JOINTS;
use crate::modes::{RobotMode, Runtime, Safety};
use crate::rtde::{RtdeError, Variable, kind};

/// What comes with every state.
pub const OUTPUTS: [Variable; 11] = [
    ("actual_q", "VECTOR6D"),
    ("actual_qd", "VECTOR6D"),
    ("robot_mode", "INT32"),
    ("safety_status_bits", "UINT32"),
    ("runtime_state", "UINT32"),
    ("speed_scaling", "DOUBLE"),
    // The program's: which it is, what it does, the last command it read, periods without a new one, all periods.
    ("output_int_register_24", "INT32"),
    ("output_int_register_25", "INT32"),
    ("output_int_register_26", "INT32"),
    ("output_int_register_27", "INT32"),
    ("output_int_register_28", "INT32"),
];

/// What goes with every command: for which program it is, its number, the joint positions in rad.
pub const INPUTS: [Variable; 8] = [
    ("input_int_register_24", "INT32"),
    ("input_int_register_25", "INT32"),
    ("input_double_register_24", "DOUBLE"),
    ("input_double_register_25", "DOUBLE"),
    ("input_double_register_26", "DOUBLE"),
    ("input_double_register_27", "DOUBLE"),
    ("input_double_register_28", "DOUBLE"),
    ("input_double_register_29", "DOUBLE"),
];

/// What our program says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Which program it is: the session it was uploaded for.
    pub session: i32,
    /// What it does, see [`crate::program::Doing`].
    pub doing: i32,
    /// Number of the last command that it read.
    pub seen: i32,
    /// Periods that found no new command.
    pub late: i32,
    /// Periods.
    pub periods: i32,
}

/// One state of the controller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Joint positions, rad.
    pub q: [f64; JOINTS],
    /// Joint velocities, rad/s.
    pub qd: [f64; JOINTS],
    /// What the arm's motors do.
    pub mode: RobotMode,
    /// What the safety system says.
    pub safety: Safety,
    /// What the controller's program does.
    pub runtime: Runtime,
    /// Share of its speed that the controller runs programs at, 0 to 1.
    pub speed_scaling: f64,
    /// Our program.
    pub account: Account,
}

/// Values off the front of a payload.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn double(&mut self) -> Option<f64> {
        self.take().map(f64::from_be_bytes)
    }

    fn vector(&mut self) -> Option<[f64; JOINTS]> {
        let mut values = [0.0; JOINTS];
        for value in &mut values {
            *value = self.double()?;
        }
        Some(values)
    }

    fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn uint(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

impl Sample {
    /// Bytes of a state, its recipe's id included.
    pub const BYTES: usize = 1 + 2 * 48 + 3 * 4 + 8 + 5 * 4;

    /// From the payload of a data frame of [`OUTPUTS`].
    ///
    /// # Errors
    /// [`RtdeError::Payload`] of another length, [`RtdeError::Numbers`] where a value is NaN or infinite.
    pub fn read(payload: &[u8]) -> Result<Self, RtdeError> {
        let wrong = || RtdeError::Payload {
            kind: kind::DATA,
            expected: Self::BYTES,
            actual: payload.len(),
        };
        if payload.len() != Self::BYTES {
            return Err(wrong());
        }
        let mut reader = Reader(&payload[1..]);
        let mut read = || {
            Some(Self {
                q: reader.vector()?,
                qd: reader.vector()?,
                mode: RobotMode(reader.int()?),
                safety: Safety(reader.uint()?),
                runtime: Runtime(reader.uint()?),
                speed_scaling: reader.double()?,
                account: Account {
                    session: reader.int()?,
                    doing: reader.int()?,
                    seen: reader.int()?,
                    late: reader.int()?,
                    periods: reader.int()?,
                },
            })
        };
        let sample = read().ok_or_else(wrong)?;
        let mut numbers = sample
            .q
            .iter()
            .chain(&sample.qd)
            .chain([&sample.speed_scaling]);
        if numbers.all(|n| n.is_finite()) {
            Ok(sample)
        } else {
            Err(RtdeError::Numbers)
        }
    }
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Which program may follow it; 0: none, and the one that runs ends.
    pub session: i32,
    /// Its number: one above the last one's.
    pub number: i32,
    /// Joint positions, rad.
    pub q: [f64; JOINTS],
}

impl Wanted {
    /// Bytes of a whole frame.
    pub const BYTES: usize = 3 + 1 + 2 * 4 + 8 * JOINTS;

    /// The frame for the recipe `id` of [`INPUTS`].
    pub fn frame(&self, id: u8) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&(Self::BYTES as u16).to_be_bytes());
        bytes[2] = kind::DATA;
        bytes[3] = id;
        bytes[4..8].copy_from_slice(&self.session.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.number.to_be_bytes());
        for (at, q) in bytes[12..].chunks_exact_mut(8).zip(self.q) {
            at.copy_from_slice(&q.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtde;

    /// Bytes of a type, by the maker's table.
    fn width(word: &str) -> usize {
        match word {
            "VECTOR6D" => 48,
            "DOUBLE" => 8,
            _ => 4,
        }
    }

    #[test]
    fn lengths_are_those_of_the_tables() {
        let sum =
            |recipe: &[Variable]| -> usize { recipe.iter().map(|(_, word)| width(word)).sum() };
        assert_eq!(Sample::BYTES, 1 + sum(&OUTPUTS));
        assert_eq!(Wanted::BYTES, 4 + sum(&INPUTS));
    }

    #[test]
    fn a_state_is_read_in_the_table_s_order_and_nan_is_refused() {
        let mut payload = vec![1];
        for i in 0..12 {
            payload.extend_from_slice(&(0.1 * f64::from(i)).to_be_bytes());
        }
        for word in [7u32, 1, 2] {
            payload.extend_from_slice(&word.to_be_bytes());
        }
        payload.extend_from_slice(&0.5f64.to_be_bytes());
        for word in [9i32, 2, 1000, 3, 400] {
            payload.extend_from_slice(&word.to_be_bytes());
        }
        let sample = Sample::read(&payload).expect("legal");
        assert_eq!((sample.q[1], sample.qd[0]), (0.1, 0.1 * 6.0));
        assert_eq!(
            (sample.mode, sample.safety, sample.runtime),
            (RobotMode::RUNNING, Safety::NORMAL, Runtime::PLAYING)
        );
        let account = Account {
            session: 9,
            doing: 2,
            seen: 1000,
            late: 3,
            periods: 400,
        };
        assert_eq!((sample.speed_scaling, sample.account), (0.5, account));
        assert!(matches!(
            Sample::read(&payload[1..]),
            Err(RtdeError::Payload { .. })
        ));
        payload[1..9].copy_from_slice(&f64::NAN.to_be_bytes());
        assert_eq!(Sample::read(&payload), Err(RtdeError::Numbers));
    }

    #[test]
    fn a_command_is_one_frame() {
        let q = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let wanted = Wanted {
            session: 7,
            number: -2,
            q,
        };
        let bytes = wanted.frame(3);
        let (kind, payload, len) = rtde::cut(&bytes).expect("legal").expect("whole");
        assert_eq!((kind, payload[0], len), (b'U', 3, bytes.len()));
        assert_eq!(payload[1..9], [0, 0, 0, 7, 0xFF, 0xFF, 0xFF, 0xFE]);
        assert_eq!(payload[49..], 5f64.to_be_bytes());
    }
}
