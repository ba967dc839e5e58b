//! The messages of a file, one by one, as they were written. Decides nothing about them.
//!
//! Reads up to where a file was cut, with no more memory than its largest record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use mcap::records::{MessageHeader, Record};
use mcap::{McapError, parse_record};
use tactus_types::{ClockId, Time};
use tactus_wire::{Delivery, Header, Message, Raw, WireError, decode};

use crate::RecordError;
use crate::walk::{Visit, walk};
use crate::write::Words;

/// All times of a file are of one clock; which one does not matter to a reader.
const CLOCK: ClockId = ClockId(0);

/// What a file says, in its order.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// A metadata record.
    Words(&'a str, &'a Words),
    /// A file inside the file: its name and its bytes.
    Attachment(&'a str, &'a [u8]),
    /// A message.
    Message(Recorded<'a>),
}

/// A message as it lies in a file.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Topic of its channel: the key that it came on; with `refused/` or `unreadable/` before it for what was refused.
    pub topic: &'a str,
    /// Name of its schema; empty for none.
    pub schema: &'a str,
    /// The low 32 bits of its publisher's number.
    pub sequence: u32,
    /// When what it says was true.
    pub captured_at: Time,
    /// When it was published.
    pub published_at: Time,
    /// Its bytes.
    pub data: &'a [u8],
}

impl Recorded<'_> {
    /// The message as a noun again; it counts as received when it was published.
    ///
    /// # Errors
    /// [`WireError`] for anything that may not become a noun.
    pub fn decode<M: Message>(&self) -> Result<Delivery<M>, WireError> {
        let header = Header {
            clock: CLOCK,
            captured_at: self.captured_at,
            published_at: self.published_at,
            seq: self.sequence.into(),
            source: String::new(),
            followed: None,
        };
        let raw = Raw {
            key: self.topic,
            attachment: Some(header.encode().into()),
            payload: self.data.into(),
            received_at: self.published_at,
        };
        decode(&raw, CLOCK)
    }
}

/// Gives everything that `file` tells to `take`, until it says that it has enough by returning `false`. Returns why the
/// reading ended before the file's regular end, if it is cut or damaged.
///
/// # Errors
/// [`RecordError`] when it cannot be read, or is no MCAP file from its first byte on.
pub fn read(
    file: &Path,
    take: impl FnMut(Told<'_>) -> bool,
) -> Result<Option<String>, RecordError> {
    let refused = |reason| RecordError::File {
        file: file.into(),
        action: "read it",
        reason,
    };
    let source = BufReader::with_capacity(1 << 18, File::open(file).map_err(refused)?);
    let mut reader = Reader {
        take,
        schemas: BTreeMap::new(),
        channels: BTreeMap::new(),
        enough: false,
    };
    let walked = walk(source, &mut reader).map_err(refused)?;
    walked.map_err(|reason| RecordError::Mcap {
        file: file.into(),
        reason,
    })
}

struct Reader<F> {
    take: F,
    schemas: BTreeMap<u16, String>,
    /// Topic and schema.
    channels: BTreeMap<u16, (String, String)>,
    enough: bool,
}

impl<F: FnMut(Told<'_>) -> bool> Visit for Reader<F> {
    fn record(&mut self, opcode: u8, data: &[u8]) -> Result<(), McapError> {
        let go_on = match parse_record(opcode, data)? {
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, header.name);
                true
            }
            Record::Channel(channel) => {
                let schema = self.schemas.get(&channel.schema_id).cloned();
                self.channels
                    .insert(channel.id, (channel.topic, schema.unwrap_or_default()));
                true
            }
            Record::Message { header, data } => self.message(&header, &data)?,
            Record::Metadata(metadata) => {
                (self.take)(Told::Words(&metadata.name, &metadata.metadata))
            }
            Record::Attachment { header, data, .. } => {
                (self.take)(Told::Attachment(&header.name, &data))
            }
            _ => true,
        };
        self.enough |= !go_on;
        Ok(())
    }

    fn enough(&self) -> bool {
        self.enough
    }
}

impl<F: FnMut(Told<'_>) -> bool> Reader<F> {
    fn message(&mut self, header: &MessageHeader, data: &[u8]) -> Result<bool, McapError> {
        let unknown = McapError::UnknownChannel(header.sequence, header.channel_id);
        let (topic, schema) = self.channels.get(&header.channel_id).ok_or(unknown)?;
        Ok((self.take)(Told::Message(Recorded {
            topic,
            schema,
            sequence: header.sequence,
            captured_at: Time::from_nanos(header.log_time),
            published_at: Time::from_nanos(header.publish_time),
            data,
        })))
    }
}
