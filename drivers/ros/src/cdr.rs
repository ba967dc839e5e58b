//! Payloads: four bytes that name the encoding (XCDR1, little-endian), then the message's fields, each aligned to its size.
//!
//! The fields are `cdr-encoding`'s; this decides which encodings are taken (that one alone) and that nothing may be left over.

use byteorder::LittleEndian;
use serde::{Deserialize, Serialize};

use crate::error::RosError;

/// XCDR1, little-endian, no options.
const ENCODING: [u8; 4] = [0, 1, 0, 0];
/// Longest payload that is read, bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Bytes of padding that may follow a message.
const PADDING: usize = 3;

/// `message` as bytes.
///
/// # Errors
/// [`RosError::Bytes`], for what no sequence can hold.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, RosError> {
    let mut bytes = ENCODING.to_vec();
    match cdr_encoding::to_writer::<T, LittleEndian, _>(&mut bytes, message) {
        Ok(()) => Ok(bytes),
        Err(e) => Err(wrong::<T>(e.to_string())),
    }
}

/// The message that `bytes` are.
///
/// # Errors
/// [`RosError::Bytes`], for everything that is not wholly one.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, RosError> {
    if bytes.len() > MAX_BYTES {
        let reason = format!("expected at most {MAX_BYTES} bytes, got {}", bytes.len());
        return Err(wrong::<T>(reason));
    }
    let Some((encoding, fields)) = bytes.split_at_checked(ENCODING.len()) else {
        let reason = format!("expected a header of 4 bytes, got {} bytes", bytes.len());
        return Err(wrong::<T>(reason));
    };
    // The last two bytes are options: of no meaning here.
    if encoding[..2] != ENCODING[..2] {
        let reason = format!(
            "expected the encoding {:02x?}, got {:02x?}",
            &ENCODING[..2],
            &encoding[..2]
        );
        return Err(wrong::<T>(reason));
    }
    let read = cdr_encoding::from_bytes::<T, LittleEndian>(fields);
    let (message, used) = read.map_err(|e| wrong::<T>(e.to_string()))?;
    let left = fields.len().saturating_sub(used);
    if left > PADDING {
        return Err(wrong::<T>(format!("{left} bytes are left over")));
    }
    Ok(message)
}

fn wrong<T>(reason: String) -> RosError {
    let name = std::any::type_name::<T>();
    RosError::Bytes {
        ty: name.rsplit("::").next().unwrap_or(name),
        reason,
    }
}
