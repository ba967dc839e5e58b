//! What a file holds: channels, counts, times, gaps, metadata. Reads from the start to the end, or to where the file was
//! cut; needs no index, and no more memory than the largest record.
//!
//! Made for files of any origin: hostile lengths and bytes end the reading, with what was found so far.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

use mcap::records::{MessageHeader, Record, op};
use mcap::{MAGIC, McapError, parse_record};
use tactus_types::Time;
use tactus_wire::Cell;

use crate::continuity::Continuity;
use crate::write::{ABOUT, Words};
use crate::{RecordError, intake};

/// Longest record that is looked at, bytes; the largest message of the wire has 16 MiB.
const MAX_RECORD: u64 = 64 << 20;
/// Most channels and metadata records that are reported.
const MAX_LISTED: usize = 65_536;

/// One channel of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelReport {
    /// Its topic.
    pub topic: String,
    /// Name of its schema; empty for none.
    pub schema: String,
    /// Messages.
    pub messages: u64,
    /// Their payloads, bytes.
    pub bytes: u64,
    /// Capture time of the earliest and the latest.
    pub times: Option<(Time, Time)>,
    /// Longest time between two neighbours.
    pub longest_pause: Duration,
    /// What the numbers say; `None` where they do not count the channel's messages: the arm host passes on every other of
    /// the device's states under their own numbers, infos are also answers, a refused message has none to trust.
    pub continuity: Option<Continuity>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Channels, by topic.
    pub channels: Vec<ChannelReport>,
    /// Metadata records, in the file's order.
    pub metadata: Vec<(String, Words)>,
    /// Program that wrote it.
    pub library: String,
    /// Why the reading ended before the file's regular end: it was cut, or is damaged.
    pub cut: Option<String>,
}

impl Report {
    /// Messages of all channels.
    pub fn messages(&self) -> u64 {
        self.channels.iter().map(|c| c.messages).sum()
    }

    /// Capture time of the earliest and the latest message.
    pub fn times(&self) -> Option<(Time, Time)> {
        let times = self.channels.iter().filter_map(|c| c.times);
        times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// What has to be added to the file's times to get Unix time, where the file says so.
    pub fn unix_offset(&self) -> Option<Duration> {
        let (_, about) = self.metadata.iter().find(|(name, _)| name == ABOUT)?;
        let nanos = about.get("unix_offset_nanos")?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

/// Reads `file` to its end, or to where it was cut.
///
/// # Errors
/// [`RecordError`] when it cannot be read, or is no MCAP file from its first byte on.
pub fn inspect(file: &Path) -> Result<Report, RecordError> {
    let refused = |reason| RecordError::File {
        file: file.into(),
        action: "read it",
        reason,
    };
    let source = BufReader::new(File::open(file).map_err(refused)?);
    let report = read(source).map_err(refused)?;
    match report {
        Ok(report) => Ok(report),
        Err(reason) => Err(RecordError::Mcap {
            file: file.into(),
            reason,
        }),
    }
}

/// As [`inspect`]; the outer error is the source's, the inner one says that it is no MCAP file.
///
/// DIFFERENCE: the library's readers are not used for this. They refuse what is damaged, and of a chunk whose records are
/// longer than it some of them panic (0.26, `sans_io/linear_reader.rs`, where the rest of a chunk is counted down).
fn read(source: impl Read) -> std::io::Result<Result<Report, McapError>> {
    let mut walk = Walk {
        source,
        buffer: Vec::new(),
    };
    match walk.body(MAGIC.len() as u64) {
        Ok(magic) if magic == MAGIC => {}
        Ok(_) | Err(End::Cut(_)) => return Ok(Err(McapError::BadMagic)),
        Err(End::Source(e)) => return Err(e),
    }
    let mut found = Found::default();
    match walk.records(&mut found, None) {
        Ok(()) => {}
        Err(End::Cut(why)) => found.cut = Some(why),
        Err(End::Source(e)) => return Err(e),
    }
    Ok(Ok(found.report()))
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

/// Walks from record to record: an opcode, a length, a body. Believes no length before the bytes are there.
struct Walk<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: Read> Walk<R> {
    /// Gives every record to `found`: up to the footer, or all of a chunk with `left` bytes of records.
    fn records(&mut self, found: &mut Found, mut left: Option<u64>) -> Result<(), End> {
        while left != Some(0) {
            let (opcode, len) = self.opcode_and_length()?;
            if let Some(left) = &mut left {
                let rest = left.checked_sub(9).and_then(|left| left.checked_sub(len));
                *left = rest.ok_or(McapError::UnexpectedEoc)?;
            }
            match opcode {
                op::CHUNK if left.is_none() => self.chunk(found, len)?,
                op::HEADER | op::SCHEMA | op::CHANNEL | op::MESSAGE | op::METADATA => {
                    found.record(opcode, self.body(len)?)?;
                }
                // Attachments, indexes and whatever else there is are no business of ours, and are not even parsed.
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

    fn chunk(&mut self, found: &mut Found, len: u64) -> Result<(), End> {
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
        self.records(found, Some(compressed_size))?;
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

#[derive(Default)]
struct Found {
    library: String,
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, Channel>,
    metadata: Vec<(String, Words)>,
    cut: Option<String>,
}

struct Channel {
    report: ChannelReport,
    last_time: Option<Time>,
}

impl Found {
    fn record(&mut self, opcode: u8, data: &[u8]) -> Result<(), McapError> {
        match parse_record(opcode, data)? {
            Record::Header(header) => self.library = header.library,
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, header.name);
            }
            Record::Channel(channel) => {
                let schema = self.schemas.get(&channel.schema_id).cloned();
                self.channels.entry(channel.id).or_insert_with(|| Channel {
                    report: ChannelReport {
                        schema: schema.unwrap_or_default(),
                        messages: 0,
                        bytes: 0,
                        times: None,
                        longest_pause: Duration::ZERO,
                        continuity: counts(&channel.topic).then(Continuity::default),
                        topic: channel.topic,
                    },
                    last_time: None,
                });
            }
            Record::Message { header, data } => {
                let channel = self.channels.get_mut(&header.channel_id);
                let unknown = McapError::UnknownChannel(header.sequence, header.channel_id);
                channel.ok_or(unknown)?.message(&header, data.len());
            }
            Record::Metadata(metadata) if self.metadata.len() < MAX_LISTED => {
                self.metadata.push((metadata.name, metadata.metadata));
            }
            _ => {}
        }
        Ok(())
    }

    fn report(self) -> Report {
        let mut channels: Vec<ChannelReport> =
            self.channels.into_values().map(|c| c.report).collect();
        channels.sort_by(|a, b| a.topic.cmp(&b.topic));
        Report {
            channels,
            metadata: self.metadata,
            library: self.library,
            cut: self.cut,
        }
    }
}

impl Channel {
    fn message(&mut self, header: &MessageHeader, len: usize) {
        let report = &mut self.report;
        report.messages += 1;
        report.bytes += len as u64;
        let at = Time::from_nanos(header.log_time);
        report.times = Some(match report.times {
            Some((first, last)) => (first.min(at), last.max(at)),
            None => (at, at),
        });
        if let Some(last) = self.last_time.replace(at) {
            report.longest_pause = report.longest_pause.max(at.since(last));
        }
        let Some(continuity) = &mut report.continuity else {
            return;
        };
        // The low 32 bits of the header's number; at 1 kHz they begin anew after 50 days, which looks like a restart.
        let seq = u64::from(header.sequence);
        continuity.take(seq, Time::from_nanos(header.publish_time));
    }
}

/// Whether the numbers of an MCAP topic count its messages; those of refused messages are not to be trusted.
fn counts(topic: &str) -> bool {
    let cell = topic
        .split('/')
        .nth(1)
        .and_then(|name| Cell::new(name).ok());
    cell.and_then(|cell| cell.topic(topic).ok())
        .is_some_and(|topic| intake::counts(&topic))
}
