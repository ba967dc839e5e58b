//! What a file holds: channels, counts, times, gaps, metadata. Reads from the start to the end, or to where the file was
//! cut; needs no index, and no more memory than the largest record.
//!
//! Made for files of any origin: hostile lengths and bytes end the reading, with what was found so far.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

use mcap::records::{MessageHeader, Record};
use mcap::{McapError, parse_record};
use tactus_types::Time;
use tactus_wire::Cell;

use crate::continuity::Continuity;
use crate::walk::{Visit, walk};
use crate::write::{ABOUT, Words};
use crate::{RecordError, intake};

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
    /// Files inside it and their sizes, bytes.
    pub attachments: Vec<(String, u64)>,
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

fn read(source: impl Read) -> std::io::Result<Result<Report, McapError>> {
    let mut found = Found::default();
    Ok(walk(source, &mut found)?.map(|cut| {
        found.cut = cut;
        found.report()
    }))
}

#[derive(Default)]
struct Found {
    library: String,
    schemas: BTreeMap<u16, String>,
    channels: BTreeMap<u16, Channel>,
    metadata: Vec<(String, Words)>,
    attachments: Vec<(String, u64)>,
    cut: Option<String>,
}

struct Channel {
    report: ChannelReport,
    last_time: Option<Time>,
}

impl Visit for Found {
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
            Record::Attachment { header, data, .. } if self.attachments.len() < MAX_LISTED => {
                self.attachments.push((header.name, data.len() as u64));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Found {
    fn report(self) -> Report {
        let mut channels: Vec<ChannelReport> =
            self.channels.into_values().map(|c| c.report).collect();
        channels.sort_by(|a, b| a.topic.cmp(&b.topic));
        Report {
            channels,
            metadata: self.metadata,
            attachments: self.attachments,
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
