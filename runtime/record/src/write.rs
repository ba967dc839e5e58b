//! Entries to MCAP: payloads byte for byte, one channel per key, schemas embedded, and records that say what the file is.
//!
//! `log_time` is the capture time and `publish_time` the time of publishing, both nanoseconds of the cell's clock
//! (`CLOCK_MONOTONIC` of one boot of one host); `sequence` is the low 32 bits of the header's counter. The metadata
//! record `tactus` names the clock and what has to be added to get Unix time.
//!
//! A refused message lies on a channel `refused/<key>` of its own, so that no reader stumbles over it on the key's
//! channel: with its schema where it is at least protobuf of it, else `unreadable/<key>` without any.
//!
//! The file is a row of chunks, each written in one piece: whatever happens to the writer, the chunks before it can be
//! read. Nothing is compressed; pictures are JPEG already.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mcap::records::{MessageHeader, Metadata};
use mcap::write::NoSeek;
use mcap::{Attachment, McapError, WriteOptions, Writer};
use tactus_types::{ClockId, Time};
use tactus_wire::{Name, descriptor_set};

use crate::{Entry, Kind, RecordError, date};

/// Name of the metadata record that says what a file is.
pub const ABOUT: &str = "tactus";
/// Name of the metadata record with what was counted.
pub const COUNTS: &str = "tactus.counts";
/// Name of the metadata record with what the cell was configured with: hashes and versions.
pub const CONFIGURATION: &str = "tactus.configuration";
/// Name of the metadata record with the reasons of a black-box file.
pub const REASONS: &str = "tactus.reasons";

/// Metadata.
pub type Words = BTreeMap<String, String>;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The cell.
    pub cell: Name,
    /// Version of Tactus.
    pub version: String,
    /// Clock of every time in the file.
    pub clock: ClockId,
    /// What has to be added to its times to get Unix time, as the wall clock stood when the recorder started.
    pub unix_offset: Duration,
}

impl About {
    /// `at` as a date in UTC.
    pub fn date(&self, at: Time) -> String {
        date::readable(self.unix_offset + at.since(Time::ZERO))
    }

    /// As metadata, with why the file is written and the bundle if it is known.
    pub fn words(&self, why: &str, bundle_id: Option<&str>, at: Time) -> Words {
        let mut words = Words::new();
        for (what, value) in [
            ("cell", self.cell.to_string()),
            ("tactus_version", self.version.clone()),
            ("why", why.to_owned()),
            (
                "clock",
                format!("CLOCK_MONOTONIC of boot {:016x}", self.clock.0),
            ),
            ("unix_offset_nanos", self.unix_offset.as_nanos().to_string()),
            ("written_at", self.date(at)),
            ("written_at_nanos", at.as_nanos().to_string()),
        ] {
            words.insert(what.into(), value);
        }
        if let Some(id) = bundle_id {
            words.insert("bundle_id".into(), id.to_owned());
        }
        words
    }
}

/// An MCAP file that is being written.
pub struct McapFile<W: Write> {
    writer: Writer<NoSeek<BufWriter<W>>>,
    file: PathBuf,
    clock: ClockId,
    channels: HashMap<(Arc<str>, Kind), u16>,
    messages: u64,
    bytes: u64,
}

impl<W: Write> McapFile<W> {
    /// Begins a file in `sink`, with `about` as its first record; errors call it `file`.
    ///
    /// # Errors
    /// [`RecordError::Mcap`] when the sink refuses.
    pub fn begin(
        sink: W,
        file: &Path,
        clock: ClockId,
        version: &str,
        about: Words,
    ) -> Result<Self, RecordError> {
        let options = WriteOptions::new()
            .compression(None)
            // A chunk is gathered in memory and written in one piece.
            .disable_seeking(true)
            .library(format!("tactus/{version} {}", mcap::LIBRARY_IDENTIFIER));
        let writer = options.create(NoSeek::new(BufWriter::new(sink)));
        let mut this = Self {
            writer: writer.map_err(failed(file))?,
            file: file.into(),
            clock,
            channels: HashMap::new(),
            messages: 0,
            bytes: 0,
        };
        this.note(ABOUT, about)?;
        this.flush()?;
        Ok(this)
    }

    /// Adds a metadata record.
    ///
    /// # Errors
    /// [`RecordError::Mcap`].
    pub fn note(&mut self, name: &str, metadata: Words) -> Result<(), RecordError> {
        let name = name.to_owned();
        let written = self.writer.write_metadata(&Metadata { name, metadata });
        written.map_err(failed(&self.file))
    }

    /// Adds a whole file, called `name`.
    ///
    /// # Errors
    /// [`RecordError::Mcap`].
    pub fn attach(
        &mut self,
        name: &str,
        media_type: &str,
        at: Time,
        data: &[u8],
    ) -> Result<(), RecordError> {
        let attached = self.writer.attach(&Attachment {
            log_time: at.as_nanos(),
            create_time: 0,
            name: name.into(),
            media_type: media_type.into(),
            data: Cow::Borrowed(data),
        });
        attached.map_err(failed(&self.file))
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`RecordError::Mcap`].
    pub fn write(&mut self, entry: &Entry) -> Result<(), RecordError> {
        self.write_at(entry, entry.captured_at)
    }

    /// Adds a message that counts as logged at `log_time`: an info from long before the file began.
    ///
    /// # Errors
    /// [`RecordError::Mcap`].
    pub fn write_at(&mut self, entry: &Entry, log_time: Time) -> Result<(), RecordError> {
        let channel_id = match self.channels.get(&(entry.key.clone(), entry.kind)) {
            Some(id) => *id,
            None => self.channel(entry)?,
        };
        let header = MessageHeader {
            channel_id,
            sequence: entry.seq as u32,
            log_time: log_time.as_nanos(),
            publish_time: entry.published_at.as_nanos(),
        };
        let written = self.writer.write_to_known_channel(&header, &entry.payload);
        written.map_err(failed(&self.file))?;
        self.messages += 1;
        self.bytes += entry.payload.len() as u64;
        Ok(())
    }

    fn channel(&mut self, entry: &Entry) -> Result<u16, RecordError> {
        let (topic, schema) = match entry.kind {
            Kind::Sound(schema) => (entry.key.to_string(), Some(schema)),
            Kind::Refused(schema) => (format!("refused/{}", entry.key), Some(schema)),
            Kind::Unreadable => (format!("unreadable/{}", entry.key), None),
        };
        let mut metadata = Words::new();
        metadata.insert("clock".into(), format!("{:016x}", self.clock.0));
        if !entry.source.is_empty() {
            metadata.insert("source".into(), entry.source.to_string());
        }
        let schema = schema.and_then(|name| Some((name, descriptor_set(name)?)));
        let id = match schema {
            Some((name, descriptors)) => self
                .writer
                .add_schema(name, "protobuf", &descriptors)
                .and_then(|schema| {
                    self.writer
                        .add_channel(schema, &topic, "protobuf", &metadata)
                }),
            // No known encoding: readers leave such messages alone.
            None => self.writer.add_channel(0, &topic, "", &metadata),
        };
        let id = id.map_err(failed(&self.file))?;
        self.channels.insert((entry.key.clone(), entry.kind), id);
        Ok(id)
    }

    /// Ends the chunk and hands everything to the system: what was written so far survives this process.
    ///
    /// # Errors
    /// [`RecordError::Mcap`].
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.writer.flush().map_err(failed(&self.file))
    }

    /// Messages written.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Their payloads, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes index and footer, and gives the sink back.
    ///
    /// # Errors
    /// [`RecordError::Mcap`].
    pub fn finish(mut self) -> Result<W, RecordError> {
        self.writer.finish().map_err(failed(&self.file))?;
        let buffered = self.writer.into_inner().into_inner();
        buffered
            .into_inner()
            .map_err(|e| failed(&self.file)(McapError::Io(e.into_error())))
    }
}

fn failed(file: &Path) -> impl FnOnce(McapError) -> RecordError {
    move |reason| RecordError::Mcap {
        file: file.into(),
        reason,
    }
}
