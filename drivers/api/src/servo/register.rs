//! Registers of servos: a name, a place, a width, and how a negative number looks. Tables of them are the drivers'
//! ([`registers`](crate::registers)).

/// How negative numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// There are none.
    None,
    /// This bit is the sign, those below it the magnitude.
    Bit(u8),
    /// Two's complement over the register's width.
    Twos,
}

/// One register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Its name in the manual's words.
    pub name: &'static str,
    /// Its address.
    pub address: u16,
    /// Its bytes: 1, 2 or 4, little-endian.
    pub bytes: u8,
    /// How it says less than zero.
    pub sign: Sign,
}

impl Register {
    /// The value in `data`, which begins at address `from`; `None` when it is not in there.
    pub fn get(&self, data: &[u8], from: u16) -> Option<i32> {
        let at = usize::from(self.address.checked_sub(from)?);
        let bytes = data.get(at..at + usize::from(self.bytes))?;
        let mut raw = [0; 4];
        raw[..bytes.len()].copy_from_slice(bytes);
        let raw = u32::from_le_bytes(raw);
        Some(match self.sign {
            Sign::None => i32::try_from(raw).unwrap_or(i32::MAX),
            Sign::Bit(bit) => {
                let magnitude = (raw & ((1 << bit) - 1)) as i32;
                if raw >> bit & 1 == 1 {
                    -magnitude
                } else {
                    magnitude
                }
            }
            Sign::Twos => {
                let spare = 32 - 8 * u32::from(self.bytes);
                (raw << spare) as i32 >> spare
            }
        })
    }

    /// The bytes of `value`, of which the register has the first [`Register::bytes`]; `None` when it does not fit.
    pub fn bytes_of(&self, value: i32) -> Option<[u8; 4]> {
        let bits = 8 * u32::from(self.bytes);
        let raw = match self.sign {
            Sign::None => u32::try_from(value).ok()?,
            Sign::Bit(bit) => {
                let magnitude = value.unsigned_abs();
                if magnitude >> bit != 0 {
                    return None;
                }
                magnitude | u32::from(value < 0) << bit
            }
            Sign::Twos => {
                let spare = 32 - bits;
                if (value << spare) >> spare != value {
                    return None;
                }
                value as u32 & (u32::MAX >> spare)
            }
        };
        (bits == 32 || raw >> bits == 0).then_some(raw.to_le_bytes())
    }
}

/// A table of registers: `NAME = address, bytes;`, with `, sign BIT` or `, twos` where there are negative numbers. Makes a
/// constant of each, and `TABLE` of all of them.
#[macro_export]
macro_rules! registers {
    (@sign) => { $crate::servo::Sign::None };
    (@sign sign $bit:literal) => { $crate::servo::Sign::Bit($bit) };
    (@sign twos) => { $crate::servo::Sign::Twos };
    ($($(#[$doc:meta])* $name:ident = $address:literal, $bytes:literal $(, $kind:ident $($bit:literal)?)?;)*) => {
        $($(#[$doc])* pub const $name: $crate::servo::Register = $crate::servo::Register {
            name: stringify!($name),
            address: $address,
            bytes: $bytes,
            sign: $crate::registers!(@sign $($kind $($bit)?)?),
        };)*
        /// All of them, by address.
        pub const TABLE: &[$crate::servo::Register] = &[$($name),*];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(bytes: u8, sign: Sign) -> Register {
        Register {
            name: "R",
            address: 100,
            bytes,
            sign,
        }
    }

    #[test]
    fn numbers_have_a_sign_bit_or_two_s_complement_or_neither() {
        for (bytes, sign, value, raw) in [
            (2, Sign::Bit(15), -5, Some([0x05, 0x80])),
            (2, Sign::Bit(11), -12, Some([0x0C, 0x08])),
            (2, Sign::Bit(11), 2047, Some([0xFF, 0x07])),
            (2, Sign::Bit(11), 2048, None),
            (2, Sign::Bit(15), -70_000, None),
            (2, Sign::Twos, -2, Some([0xFE, 0xFF])),
            (2, Sign::Twos, 32_768, None),
            (1, Sign::Twos, -1, Some([0xFF, 0x00])),
            (1, Sign::Twos, 127, Some([0x7F, 0x00])),
            (1, Sign::None, 256, None),
            (2, Sign::None, -1, None),
        ] {
            let register = register(bytes, sign);
            let bytes = register.bytes_of(value);
            assert_eq!(bytes.map(|b| [b[0], b[1]]), raw, "{register:?} {value}");
            if let Some(bytes) = bytes {
                assert_eq!(register.get(&bytes, 100), Some(value), "{register:?}");
            }
        }
        let wide = register(4, Sign::Twos);
        for value in [i32::MIN, -1_044_479, -1, 0, 1, i32::MAX] {
            let bytes = wide.bytes_of(value).expect("fits");
            assert_eq!(bytes, value.to_le_bytes());
            assert_eq!(wide.get(&bytes, 100), Some(value));
        }
    }

    #[test]
    fn a_register_is_found_where_it_lies() {
        let register = register(2, Sign::None);
        assert_eq!(register.get(&[0, 0, 7, 1], 98), Some(0x107));
        assert_eq!(register.get(&[0, 0, 7], 98), None);
        assert_eq!(register.get(&[7, 1], 101), None);
    }
}
