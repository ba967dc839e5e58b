//! What every message of rmw_zenoh carries beside its payload: 33 bytes, or the receiver may abort.
//!
//! ```text
//! bytes 0..8    sequence number, i64 little-endian, from 1
//! bytes 8..16   time of sending, i64 little-endian, nanoseconds since 1970
//! byte  16      16, the length of what follows
//! bytes 17..33  gid: XXH3-128 of the sender's liveliness token, little-endian
//! ```
//! A peer that cannot read an attachment throws inside one of Zenoh's callbacks, which ends its process. So an attachment is
//! made here and nowhere else: its fields are private, and what sends takes no bytes in its place.

use twox_hash::XxHash3_128;

/// Bytes of an attachment.
pub const BYTES: usize = 33;
/// Bytes of a gid.
const GID_BYTES: u8 = 16;

/// Who sends: known to others by the token that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gid([u8; GID_BYTES as usize]);

impl Gid {
    /// Of whoever holds the liveliness token `token`.
    pub fn of(token: &str) -> Self {
        Self(XxHash3_128::oneshot(token.as_bytes()).to_le_bytes())
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; GID_BYTES as usize] {
        self.0
    }
}

/// An attachment: there is no way to one that others cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    sequence: i64,
    unix_nanos: i64,
    gid: Gid,
}

/// Why bytes are no attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// There is none.
    #[error("no attachment: expected {BYTES} bytes")]
    None,
    /// Another length: that of Humble and of early versions of Jazzy, perhaps.
    #[error("attachment: expected {BYTES} bytes, got {actual}")]
    Length {
        /// How many there are.
        actual: usize,
    },
    /// The gid's length is not a gid's.
    #[error("attachment: field `gid`: expected a length of {GID_BYTES}, got {actual}")]
    Gid {
        /// What it says.
        actual: u8,
    },
    /// The sequence number is below 0.
    #[error("attachment: field `sequence_number`: expected 0 or more, got {actual}")]
    Sequence {
        /// What it says.
        actual: i64,
    },
}

impl Attachment {
    /// Of the message `sequence` (from 1; 0 counts as 1) of `gid`, sent at `unix_nanos` since 1970.
    pub fn new(sequence: u64, unix_nanos: u64, gid: Gid) -> Self {
        Self {
            sequence: i64::try_from(sequence.max(1)).unwrap_or(i64::MAX),
            unix_nanos: i64::try_from(unix_nanos).unwrap_or(i64::MAX),
            gid,
        }
    }

    /// Of the answer to the question that carried `self`: rmw_zenoh finds the question by its sequence number and gid.
    pub fn answer(&self, unix_nanos: u64) -> Self {
        Self {
            unix_nanos: i64::try_from(unix_nanos).unwrap_or(i64::MAX),
            ..*self
        }
    }

    /// Sequence number.
    pub fn sequence(&self) -> i64 {
        self.sequence
    }

    /// When it was sent, nanoseconds since 1970, on the sender's clock.
    pub fn unix_nanos(&self) -> i64 {
        self.unix_nanos
    }

    /// Who sent it; for an answer, who asked.
    pub fn gid(&self) -> Gid {
        self.gid
    }

    /// As it is sent.
    pub fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.unix_nanos.to_le_bytes());
        bytes[16] = GID_BYTES;
        bytes[17..].copy_from_slice(&self.gid.0);
        bytes
    }

    /// What came.
    ///
    /// # Errors
    /// [`AttachmentError`]: the message that carried it does not count.
    pub fn decode(bytes: Option<&[u8]>) -> Result<Self, AttachmentError> {
        let bytes = bytes.ok_or(AttachmentError::None)?;
        let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| AttachmentError::Length {
            actual: bytes.len(),
        })?;
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            i64::from_le_bytes(eight)
        };
        if bytes[16] != GID_BYTES {
            return Err(AttachmentError::Gid { actual: bytes[16] });
        }
        let sequence = number(0);
        if sequence < 0 {
            return Err(AttachmentError::Sequence { actual: sequence });
        }
        let mut gid = [0; GID_BYTES as usize];
        gid.copy_from_slice(&bytes[17..]);
        Ok(Self {
            sequence,
            unix_nanos: number(8),
            gid: Gid(gid),
        })
    }
}
