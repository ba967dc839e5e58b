//! From record to record through an MCAP file of any origin: an opcode, a length, a body. Decides where a file is cut.
//!
//! DIFFERENCE: the library's readers are not used for this. They refuse what is damaged, and of a chunk whose records are
//! longer than it some of them panic (0.26, `sans_io/linear_reader.rs`, where the rest of a chunk is counted down). Its parser of
//! records panics where an attachment ends before its checksum (0.26, `read.rs`): that is looked at before.

use std::io::Read;

use mcap::records::op;
use mcap::{MAGIC, McapError};

/// Longest record that is looked at, bytes; the largest message of the wire has 16 MiB.
const MAX_RECORD: u64 = 64 << 20;

/// What looks at records.
pub(crate) trait Visit {
    /// Takes a record: header, schema, channel, message, metadata or attachment.
    ///
    /// # Errors
    /// [`McapError`] when it cannot be what it says; the walk ends there.
    fn record(&mut self, opcode: u8, data: &[u8]) -> Result<(), McapError>;

    /// Whether it has seen enough.
    fn enough(&self) -> bool {
        false
    }
}

/// Walks through `source`. The outer error is the source's, the inner one says that it is no MCAP file; `Ok(Some(why))`
/// that it is cut or damaged there.
pub(crate) fn walk(
    source: impl Read,
    visit: &mut impl Visit,
) -> std::io::Result<Result<Option<String>, McapError>> {
    let mut walk = Walk {
        source,
        buffer: Vec::new(),
    };
    match walk.body(MAGIC.len() as u64) {
        Ok(magic) if magic == MAGIC => {}
        Ok(_) | Err(End::Cut(_)) => return Ok(Err(McapError::BadMagic)),
        Err(End::Source(e)) => return Err(e),
    }
    match walk.records(visit, None) {
        Ok(()) => Ok(Ok(None)),
        Err(End::Cut(why)) => Ok(Ok(Some(why))),
        Err(End::Source(e)) => Err(e),
    }
}

/// Why a walk through a file ended before the file did.
enum End {
    /// The file is cut or damaged here.
    Cut(String),
    /// It cannot be read any more.
    Source(std::io::Error),
}

impl From<McapError> for End {
    fn from(error: McapError) -> Self {
        Self::Cut(error.to_string())
    }
}

/// Whether `body` is long enough for what it says: two times, name, media type, length, that many bytes, checksum.
fn is_an_attachment(body: &[u8]) -> Option<()> {
    let (_, mut rest) = body.split_at_checked(16)?;
    for _ in 0..2 {
        let (len, text) = rest.split_first_chunk()?;
        rest = text.get(u32::from_le_bytes(*len) as usize..)?;
    }
    let (len, data) = rest.split_first_chunk()?;
    let (_, checksum) = data.split_at_checked(u64::from_le_bytes(*len).try_into().ok()?)?;
    checksum.first_chunk::<4>().map(|_| ())
}

/// Walks from record to record: an opcode, a length, a body. Believes no length before the bytes are there.
struct Walk<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: Read> Walk<R> {
    /// Gives every record to `visit`: up to the footer, or all of a chunk with `left` bytes of records.
    fn records(&mut self, visit: &mut impl Visit, mut left: Option<u64>) -> Result<(), End> {
        while left != Some(0) && !visit.enough() {
            let (opcode, len) = self.opcode_and_length()?;
            if let Some(left) = &mut left {
                let rest = left.checked_sub(9).and_then(|left| left.checked_sub(len));
                *left = rest.ok_or(McapError::UnexpectedEoc)?;
            }
            match opcode {
                op::CHUNK if left.is_none() => self.chunk(visit, len)?,
                op::HEADER
                | op::SCHEMA
                | op::CHANNEL
                | op::MESSAGE
                | op::METADATA
                | op::ATTACHMENT => {
                    let body = self.body(len)?;
                    if opcode == op::ATTACHMENT {
                        is_an_attachment(body).ok_or(McapError::UnexpectedEof)?;
                    }
                    visit.record(opcode, body)?;
                }
                // Indexes and whatever else there is are no business of ours, and are not even parsed.
                _ => self.skip(len)?,
            }
            if opcode == op::FOOTER && left.is_none() {
                let end = self.body(MAGIC.len() as u64)?;
                return if end == MAGIC {
                    Ok(())
                } else {
                    Err(McapError::BadMagic.into())
                };
            }
        }
        Ok(())
    }

    fn chunk(&mut self, visit: &mut impl Visit, len: u64) -> Result<(), End> {
        // Times, sizes, checksum: 28 bytes; the name of the compression; the length of the records.
        let mut head = self.body(28 + 4)?.to_vec();
        let name = head.last_chunk().map_or(0, |len| u32::from_le_bytes(*len));
        head.extend_from_slice(self.body(u64::from(name) + 8)?);
        if name > 0 {
            let compression = head.get(32..head.len() - 8).unwrap_or_default();
            let compression = String::from_utf8_lossy(compression).into_owned();
            return Err(McapError::UnsupportedCompression(compression).into());
        }
        let compressed_size = head.last_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        let padding = len
            .checked_sub(head.len() as u64)
            .and_then(|rest| rest.checked_sub(compressed_size))
            .ok_or(McapError::BadChunkLength {
                header: compressed_size,
                available: len,
            })?;
        self.records(visit, Some(compressed_size))?;
        if visit.enough() {
            return Ok(());
        }
        self.skip(padding)
    }

    fn opcode_and_length(&mut self) -> Result<(u8, u64), End> {
        let head = self.body(9)?;
        match head.split_first_chunk() {
            Some(([opcode], len)) => {
                let len = len.try_into().map_or(0, u64::from_le_bytes);
                Ok((*opcode, len))
            }
            None => Err(McapError::UnexpectedEof.into()),
        }
    }

    /// The next `len` bytes.
    fn body(&mut self, len: u64) -> Result<&[u8], End> {
        if len > MAX_RECORD {
            return Err(End::Cut(format!(
                "a record of {len} bytes: expected at most {MAX_RECORD}"
            )));
        }
        self.buffer.clear();
        let read = self.source.by_ref().take(len).read_to_end(&mut self.buffer);
        match read {
            Ok(read) if read as u64 == len => Ok(&self.buffer),
            Ok(_) => Err(McapError::UnexpectedEof.into()),
            Err(e) => Err(End::Source(e)),
        }
    }

    fn skip(&mut self, len: u64) -> Result<(), End> {
        let skipped = std::io::copy(&mut self.source.by_ref().take(len), &mut std::io::sink());
        match skipped {
            Ok(skipped) if skipped == len => Ok(()),
            Ok(_) => Err(McapError::UnexpectedEof.into()),
            Err(e) => Err(End::Source(e)),
        }
    }
}
