//! The results file: lines that are only ever added, each carrying the hash of the one before.
//!
//! ```text
//! {"hash":"<64 hex>","prev":"<64 hex>","entry":{"kind":"ended",...}}
//! ```
//! `hash` is the SHA-256 of `prev`, a line feed, and the entry as it stands there; the first `prev` is 64 zeros. A line
//! that is changed, taken out or put in breaks the chain; lines taken off the end are missed by `trials.head`, which
//! says how many there are and what the last hash is. This is a seal, not a signature: who rewrites both files
//! goes undetected, unless the last hash stands somewhere else, as it does in a report.
//!
//! **Crashes.** A line is on the disk (fsync) before [`Journal::append`] returns. A process killed in the middle of a line
//! leaves one without its end: it was never acknowledged, and is taken off when the file is opened again. A disk that is full
//! in the middle of a line is the same: what had been written of it is taken off at once. The head is written after the
//! line and may be one line behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::plan::sha256_hex;
use crate::trial::Entry;

/// Name of the results file in an evaluation's folder.
pub const RESULTS: &str = "trials.jsonl";
/// Name of the file that says how many lines there are.
pub const HEAD: &str = "trials.head";

const HASH: usize = 64;
const BEFORE_HASH: &str = "{\"hash\":\"";
const BEFORE_PREV: &str = "\",\"prev\":\"";
const BEFORE_ENTRY: &str = "\",\"entry\":";

/// The results of one evaluation.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    head: PathBuf,
    open: Option<File>,
    entries: Vec<Entry>,
    last_hash: String,
    /// Bytes of whole lines.
    length: u64,
    torn: bool,
}

impl Journal {
    /// Opens or creates the results in `dir` for writing, alone.
    ///
    /// # Errors
    /// [`JournalError`]: unreadable, edited, cut at the end, or being written by another process.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let file = dir.join(RESULTS);
        let fail = |source| JournalError::Read {
            file: file.clone(),
            source,
        };
        let mut open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(fail)?;
        match open.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy { file }),
            Err(TryLockError::Error(source)) => return Err(JournalError::Read { file, source }),
        }
        let mut bytes = Vec::new();
        open.read_to_end(&mut bytes).map_err(fail)?;
        let mut journal = Self::parse(dir, &bytes)?;
        journal.open = Some(open);
        if journal.torn {
            journal.cut_off()?;
        }
        Ok(journal)
    }

    /// Reads the results in `dir`, for a report; nothing is changed.
    ///
    /// # Errors
    /// As [`Journal::open`], but others may be writing.
    pub fn read(dir: &Path) -> Result<Self, JournalError> {
        let file = dir.join(RESULTS);
        let bytes = std::fs::read(&file).map_err(|source| JournalError::Read { file, source })?;
        Self::parse(dir, &bytes)
    }

    fn parse(dir: &Path, bytes: &[u8]) -> Result<Self, JournalError> {
        let file = dir.join(RESULTS);
        let head = dir.join(HEAD);
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let mut journal = Self {
            file: file.clone(),
            head: head.clone(),
            open: None,
            entries: Vec::new(),
            last_hash: "0".repeat(HASH),
            length: whole as u64,
            torn: whole < bytes.len(),
        };
        let lines = || bytes[..whole].split_inclusive(|b| *b == b'\n');
        let head = Head::read(&head)?;
        let mut seen = None;
        for (i, bytes) in lines().enumerate() {
            let edited = |what: String| JournalError::Edited {
                file: file.clone(),
                line: i + 1,
                what,
            };
            let line = std::str::from_utf8(bytes).map_err(|_| edited("not text".into()))?;
            let (hash, entry) =
                chained(line, &journal.last_hash).map_err(|what| edited(what.into()))?;
            let entry = serde_json::from_str(entry).map_err(|e| edited(e.to_string()))?;
            journal.last_hash = hash.to_owned();
            journal.entries.push(entry);
            if head.as_ref().is_some_and(|head| head.lines == i + 1) {
                seen = Some(journal.last_hash.clone());
            }
        }
        let lines = journal.entries.len();
        let Some(head) = head else {
            // The head is first written after the first line.
            return if lines <= 1 {
                Ok(journal)
            } else {
                Err(JournalError::Edited {
                    file,
                    line: lines,
                    what: format!("{HEAD} is missing"),
                })
            };
        };
        if lines < head.lines {
            return Err(JournalError::Short {
                file,
                expected: head.lines,
                actual: lines,
            });
        }
        if seen.as_ref() != Some(&head.hash) || lines > head.lines + 1 {
            return Err(JournalError::Edited {
                file,
                line: head.lines,
                what: format!("{HEAD} says {} lines up to hash {}", head.lines, head.hash),
            });
        }
        Ok(journal)
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Hash of the last line: with it, all of them are fixed.
    pub fn last_hash(&self) -> &str {
        &self.last_hash
    }

    /// Whether the last line had been cut off by a crash.
    pub fn was_torn(&self) -> bool {
        self.torn
    }

    /// Where it lies.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Adds a line and returns once it is on the disk.
    ///
    /// # Errors
    /// [`JournalError::Write`]: nothing was added, and all lines before are whole.
    pub fn append(&mut self, entry: Entry) -> Result<(), JournalError> {
        let fail = |source| JournalError::Write {
            file: self.file.clone(),
            source,
        };
        let text = serde_json::to_string(&entry).map_err(|e| fail(e.into()))?;
        let hash = link(&self.last_hash, &text);
        let line = format!(
            "{BEFORE_HASH}{hash}{BEFORE_PREV}{}{BEFORE_ENTRY}{text}}}\n",
            self.last_hash
        );
        let length = self.length;
        let written = match &mut self.open {
            Some(file) => file
                .seek(SeekFrom::Start(length))
                .and_then(|_| file.write_all(line.as_bytes()))
                .and_then(|()| file.sync_data()),
            None => Err(std::io::Error::other("opened for reading only")),
        };
        if let Err(source) = written {
            // Whether this succeeds or not: the line has no end, or is not acknowledged by the head.
            let error = JournalError::Write {
                file: self.file.clone(),
                source,
            };
            self.cut_off()?;
            return Err(error);
        }
        self.length += line.len() as u64;
        self.last_hash = hash;
        self.entries.push(entry);
        let head = Head {
            lines: self.entries.len(),
            hash: self.last_hash.clone(),
        };
        head.write(&self.head)
            .map_err(|source| JournalError::Write {
                file: self.head.clone(),
                source,
            })
    }

    /// Takes off what follows the last whole line.
    fn cut_off(&mut self) -> Result<(), JournalError> {
        let Some(file) = &mut self.open else {
            return Ok(());
        };
        let cut = file.set_len(self.length).and_then(|()| file.sync_data());
        cut.map_err(|source| JournalError::Write {
            file: self.file.clone(),
            source,
        })
    }
}

fn link(prev: &str, entry: &str) -> String {
    sha256_hex(format!("{prev}\n{entry}").as_bytes())
}

/// Hash and entry of a line that follows `prev`.
fn chained<'a>(line: &'a str, prev: &str) -> Result<(&'a str, &'a str), &'static str> {
    let form = "not of the form of a line";
    let rest = line.strip_prefix(BEFORE_HASH).ok_or(form)?;
    let (hash, rest) = rest.split_at_checked(HASH).ok_or(form)?;
    let rest = rest.strip_prefix(BEFORE_PREV).ok_or(form)?;
    let (before, rest) = rest.split_at_checked(HASH).ok_or(form)?;
    let rest = rest.strip_prefix(BEFORE_ENTRY).ok_or(form)?;
    let entry = rest.strip_suffix("}\n").ok_or(form)?;
    if before != prev {
        return Err("it does not follow the line before");
    }
    if hash != link(prev, entry) {
        return Err("its hash does not fit what it says");
    }
    Ok((hash, entry))
}

/// How many lines there are, and the hash of the last.
struct Head {
    lines: usize,
    hash: String,
}

impl Head {
    fn read(file: &Path) -> Result<Option<Self>, JournalError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(JournalError::Read {
                    file: file.into(),
                    source,
                });
            }
        };
        let mut words = text.split_whitespace();
        let head = words.next().and_then(|lines| {
            Some(Self {
                lines: lines.parse().ok()?,
                hash: words.next()?.to_owned(),
            })
        });
        head.map(Some).ok_or_else(|| JournalError::Edited {
            file: file.into(),
            line: 1,
            what: "expected a number of lines and a hash".into(),
        })
    }

    /// Whole or not at all.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        let new = file.with_extension("head.new");
        let mut open = File::create(&new)?;
        writeln!(open, "{} {}", self.lines, self.hash)?;
        open.sync_data()?;
        std::fs::rename(&new, file)
    }
}

#[cfg(test)]
mod tests;
