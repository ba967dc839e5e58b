//! A part of a recording, or all of it that can be read, as a new file: whole, with an index, in the old one's order.
//!
//! What a file says of itself (metadata, files inside it) and what processes said of themselves (infos) is in every part.
//! Decides which message belongs to a part: by its capture time.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use tactus_types::{ClockId, Time};
use tactus_wire::Cell;

use crate::intake::is_info;
use crate::read::{Recorded, Told, read};
use crate::write::{ABOUT, COUNTS, Words};
use crate::{Entry, Kind, McapFile, RecordError};

/// Name of the metadata record that says which part of what a file is.
pub const PART: &str = "tactus.part";
/// Name under which the counts of the file that a part is of stand in it.
const COUNTS_OF_ALL: &str = "tactus.counts.of_all";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Messages, infos from before it included.
    pub messages: u64,
    /// Their payloads, bytes.
    pub bytes: u64,
    /// Messages of schemas that are not known here; they are not in the part.
    pub foreign: u64,
    /// Why the reading of the old file ended before its regular end.
    pub cut: Option<String>,
}

/// What stands at the beginning of a part.
#[derive(Default)]
struct Beginning {
    metadata: Vec<(String, Words)>,
    attachments: Vec<(String, Vec<u8>)>,
    /// The newest info of each topic from before the part.
    infos: BTreeMap<String, Entry>,
}

/// Writes what `file` has captured from `from` to before `until` to `out`, which must not exist; what is cut off or
/// damaged at its end is left out. Nothing is changed in `file`.
///
/// # Errors
/// [`RecordError`] when `file` cannot be read or `out` not written; nothing is left of `out` then.
pub fn cut(file: &Path, from: Time, until: Time, out: &Path) -> Result<Part, RecordError> {
    let beginning = beginning(file, from)?;
    let refused = |action| {
        move |reason| RecordError::File {
            file: out.into(),
            action,
            reason,
        }
    };
    let sink = File::create_new(out).map_err(refused("create it"))?;
    let written = write(file, &beginning, (from, until), sink, out).and_then(|(part, sink)| {
        sink.sync_all().map_err(refused("write it"))?;
        Ok(part)
    });
    if written.is_err()
        && let Err(e) = std::fs::remove_file(out)
    {
        tracing::error!("{}: cannot remove it: {e}", out.display());
    }
    written
}

fn beginning(file: &Path, from: Time) -> Result<Beginning, RecordError> {
    let mut found = Beginning::default();
    read(file, |told| {
        match told {
            Told::Words(name, words) => found.metadata.push((name.into(), words.clone())),
            Told::Attachment(name, data) => found.attachments.push((name.into(), data.to_vec())),
            Told::Message(message) => {
                if message.captured_at < from
                    && is_info_topic(message.topic)
                    && let Some(entry) = entry(&message)
                {
                    found.infos.insert(message.topic.into(), entry);
                }
            }
        }
        true
    })?;
    Ok(found)
}

fn write(
    file: &Path,
    beginning: &Beginning,
    (from, until): (Time, Time),
    sink: File,
    out: &Path,
) -> Result<(Part, File), RecordError> {
    let nothing = Words::new();
    let about = beginning.metadata.iter().find(|(name, _)| name == ABOUT);
    let about = about.map_or(&nothing, |(_, words)| words);
    let clock = about
        .get("clock")
        .and_then(|clock| u64::from_str_radix(clock.rsplit(' ').next()?, 16).ok());
    let clock = ClockId(clock.unwrap_or_default());
    let version = env!("CARGO_PKG_VERSION");
    let mut mcap = McapFile::begin(sink, out, clock, version, about.clone())?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut part_of = Words::new();
    part_of.insert("of".into(), name.into_owned());
    part_of.insert("from_nanos".into(), from.as_nanos().to_string());
    part_of.insert("until_nanos".into(), until.as_nanos().to_string());
    mcap.note(PART, part_of)?;
    for (name, words) in beginning.metadata.iter().filter(|(name, _)| name != ABOUT) {
        let name = if name == COUNTS { COUNTS_OF_ALL } else { name };
        mcap.note(name, words.clone())?;
    }
    for (name, data) in &beginning.attachments {
        mcap.attach(name, "application/octet-stream", from, data)?;
    }
    for info in beginning.infos.values() {
        mcap.write_at(info, from)?;
    }
    let mut part = Part::default();
    let mut failed = None;
    part.cut = read(file, |told| {
        let Told::Message(message) = told else {
            return true;
        };
        if !(from..until).contains(&message.captured_at) {
            return true;
        }
        let written = match entry(&message) {
            Some(entry) => mcap.write(&entry),
            None => {
                part.foreign += 1;
                Ok(())
            }
        };
        failed = written.err();
        failed.is_none()
    })?;
    if let Some(e) = failed {
        return Err(e);
    }
    (part.messages, part.bytes) = (mcap.messages(), mcap.bytes());
    Ok((part, mcap.finish()?))
}

/// A recorded message as it can be written again; `None` when its schema is not ours.
fn entry(message: &Recorded<'_>) -> Option<Entry> {
    let (key, kind) = if let Some(key) = message.topic.strip_prefix("unreadable/") {
        (key, Kind::Unreadable)
    } else {
        let schema = known(message.schema)?;
        match message.topic.strip_prefix("refused/") {
            Some(key) => (key, Kind::Refused(schema)),
            None => (message.topic, Kind::Sound(schema)),
        }
    };
    Some(Entry {
        key: key.into(),
        kind,
        captured_at: message.captured_at,
        published_at: message.published_at,
        received_at: message.published_at,
        seq: message.sequence.into(),
        source: "".into(),
        payload: message.data.into(),
    })
}

/// `schema` as this program calls it.
fn known(schema: &str) -> Option<&'static str> {
    crate::intake::SCHEMAS.into_iter().find(|s| *s == schema)
}

fn is_info_topic(topic: &str) -> bool {
    let cell = topic
        .split('/')
        .nth(1)
        .and_then(|name| Cell::new(name).ok());
    cell.and_then(|cell| cell.topic(topic).ok())
        .is_some_and(|topic| is_info(&topic))
}
