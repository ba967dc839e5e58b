//! The folder of black-box files: names that sort by date, no half file under a whole file's name, and an end to growth.
//!
//! A file is written as `NAME.mcap.partial`, synced, and renamed. When there are too many of a cell's files, or they are
//! too large together, the oldest go; the newest stays in any case. Only files of exactly our naming are ever removed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tactus_wire::Name;

use crate::{RecordError, date};

/// Files that are kept.
const MAX_FILES: usize = 50;
/// What they may take together, bytes.
const MAX_BYTES: u64 = 2 << 30;

/// Ending of a file that is being written.
const PARTIAL: &str = ".partial";

/// Where a cell's black-box files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder; made when the first file is.
    pub path: PathBuf,
    /// The cell.
    pub cell: Name,
    /// Most files of the cell that are kept.
    pub max_files: usize,
    /// What they may take together, bytes.
    pub max_bytes: u64,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub file: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// Older files that were removed to make room.
    pub removed: Vec<PathBuf>,
}

impl Folder {
    /// `path`, for at most 50 files and 2 GiB of `cell`.
    pub fn new(path: PathBuf, cell: Name) -> Self {
        Self {
            path,
            cell,
            max_files: MAX_FILES,
            max_bytes: MAX_BYTES,
        }
    }

    /// Writes a file named after the cell, the date `unix` and `word`. `fill` writes its content and gives the file back.
    ///
    /// # Errors
    /// [`RecordError`] when the disk is full or anything else is wrong; nothing is left of the file then.
    pub fn store(
        &self,
        unix: Duration,
        word: &str,
        fill: impl FnOnce(File, &Path) -> Result<File, RecordError>,
    ) -> Result<Stored, RecordError> {
        let name = format!("{}-{}-{word}.mcap", self.cell, date::compact(unix));
        let file = self.path.join(&name);
        let partial = self.path.join(name + PARTIAL);
        std::fs::create_dir_all(&self.path).map_err(refused(&self.path, "make the folder"))?;
        let written = self.write(&partial, fill).and_then(|bytes| {
            std::fs::rename(&partial, &file).map_err(refused(&partial, "rename it"))?;
            Ok(bytes)
        });
        match written {
            Ok(bytes) => Ok(Stored {
                bytes,
                removed: self.trim(&file),
                file,
            }),
            Err(e) => {
                match std::fs::remove_file(&partial) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        tracing::error!("{}: cannot remove it: {e}", partial.display());
                    }
                    _ => {}
                }
                Err(e)
            }
        }
    }

    fn write(
        &self,
        partial: &Path,
        fill: impl FnOnce(File, &Path) -> Result<File, RecordError>,
    ) -> Result<u64, RecordError> {
        let file = File::create(partial).map_err(refused(partial, "create it"))?;
        let file = fill(file, partial)?;
        file.sync_all().map_err(refused(partial, "write it"))?;
        let metadata = file
            .metadata()
            .map_err(refused(partial, "ask for its size"))?;
        Ok(metadata.len())
    }

    /// Removes the oldest files beyond the bounds, but never `newest`; returns them. What cannot be removed is said.
    fn trim(&self, newest: &Path) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(e) => {
                tracing::warn!("{}: cannot list the folder: {e}", self.path.display());
                return Vec::new();
            }
        };
        let mut files: Vec<(PathBuf, u64)> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(|n| self.is_ours(n)))
            .filter(|entry| entry.path() != newest)
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len())))
            .collect();
        // Names sort by date: the oldest last, so that it can be popped.
        files.sort_by(|a, b| b.0.cmp(&a.0));
        let own = std::fs::metadata(newest).map_or(0, |m| m.len());
        let mut bytes = own + files.iter().map(|(_, size)| size).sum::<u64>();
        let mut removed = Vec::new();
        while files.len() + 1 > self.max_files || bytes > self.max_bytes {
            let Some((oldest, size)) = files.pop() else {
                break;
            };
            bytes -= size;
            match std::fs::remove_file(&oldest) {
                Ok(()) => removed.push(oldest),
                Err(e) => tracing::warn!("{}: cannot remove it: {e}", oldest.display()),
            }
        }
        removed
    }

    /// `CELL-DATE-WORD.mcap`, or the same being written by a process that died.
    fn is_ours(&self, name: &str) -> bool {
        let name = name.strip_suffix(PARTIAL).unwrap_or(name);
        name.strip_suffix(".mcap")
            .and_then(|rest| rest.strip_prefix(self.cell.as_str())?.strip_prefix('-'))
            .and_then(|rest| rest.split_once('-'))
            .is_some_and(|(date, word)| date::is_compact(date) && !word.is_empty())
    }
}

fn refused(file: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> RecordError {
    move |reason| RecordError::File {
        file: file.into(),
        action,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn folder(dir: &Path) -> Folder {
        Folder::new(dir.join("black-box"), Name::new("demo").expect("legal"))
    }

    fn stored(folder: &Folder, secs: u64, len: usize) -> Stored {
        let fill = |mut file: File, _: &Path| {
            file.write_all(&vec![0; len]).expect("written");
            Ok(file)
        };
        folder
            .store(Duration::from_secs(secs), "hold", fill)
            .expect("stored")
    }

    fn names(folder: &Folder) -> Vec<String> {
        let entries = std::fs::read_dir(&folder.path).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("an entry").file_name().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_and_nothing_that_is_not_ours() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut folder = folder(dir.path());
        folder.max_files = 3;
        stored(&folder, 0, 10);
        let others = [
            "demo-best.mcap",
            "demo-2-19700101T000000.000Z-hold.mcap",
            "demo-19700101T000000.000Z-hold.mcap.bak",
            "notes.txt",
        ];
        for other in others {
            std::fs::write(folder.path.join(other), "x").expect("written");
        }
        let left = "demo-19690101T000000.000Z-hold.mcap.partial";
        std::fs::write(folder.path.join(left), "x").expect("written");
        assert_eq!(stored(&folder, 1, 10).removed, [] as [PathBuf; 0]);
        let removed = stored(&folder, 2, 10).removed;
        assert_eq!(removed, [folder.path.join(left)]);
        stored(&folder, 3, 10);
        let kept = names(&folder);
        assert!(
            others.iter().all(|other| kept.iter().any(|k| k == other)),
            "{kept:?}"
        );
        let ours: Vec<&String> = kept.iter().filter(|name| folder.is_ours(name)).collect();
        assert_eq!(ours[0], "demo-19700101T000001.000Z-hold.mcap");
        assert_eq!(ours.len(), 3);
    }

    #[test]
    fn bytes_have_an_end_but_the_newest_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut folder = folder(dir.path());
        folder.max_bytes = 1000;
        stored(&folder, 0, 400);
        stored(&folder, 1, 400);
        assert_eq!(stored(&folder, 2, 400).removed.len(), 1);
        assert_eq!(stored(&folder, 3, 4000).removed.len(), 2);
        assert_eq!(names(&folder).len(), 1);
    }

    #[test]
    fn nothing_is_left_of_a_file_that_failed() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = folder(dir.path());
        let full = |mut file: File, path: &Path| {
            file.write_all(b"half").expect("written");
            Err(refused(path, "write it")(
                std::io::ErrorKind::StorageFull.into(),
            ))
        };
        let error = folder
            .store(Duration::ZERO, "hold", full)
            .expect_err("full");
        assert!(error.to_string().contains("cannot write it"), "{error}");
        assert_eq!(names(&folder), [] as [String; 0]);
        let file = dir.path().join("black-box");
        std::fs::remove_dir(&file).expect("empty");
        std::fs::write(&file, "a file where the folder should be").expect("written");
        let error = folder
            .store(Duration::ZERO, "hold", full)
            .expect_err("no folder");
        assert!(error.to_string().contains("make the folder"), "{error}");
    }
}
