//! Where a calibration file came from: its last line, a comment in YAML and TOML alike, holds an id, the date and the SHA-256
//! of all that stands before it.
//!
//! Decides what the line looks like and whether a file is still as it was made. A file without it is somebody else's (ROS,
//! Kalibr, a person) and has only its hash.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::CalibrationError;

const MARK: &str = "# tactus-calibration ";

/// Provenance of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// `cal-` and the first twelve digits of the hash.
    pub id: String,
    /// When it was made, seconds of Unix time.
    pub made_unix_secs: u64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

/// SHA-256 of `bytes`, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `body` with its seal. `made` is the date as people read it.
pub fn sealed(body: &str, made_unix_secs: u64, made: &str) -> String {
    let sha256 = sha256(body.as_bytes());
    let id = &sha256[..12];
    format!("{body}{MARK}id=cal-{id} unix={made_unix_secs} sha256={sha256} made {made}\n")
}

/// The seal of the file `path` with this `text`; `None` where there is none.
///
/// # Errors
/// [`CalibrationError::Edited`] when the content is another than was sealed, [`CalibrationError::File`] for a broken seal.
pub fn open(path: &Path, text: &str) -> Result<Option<Seal>, CalibrationError> {
    let Some(at) = text.rfind(MARK) else {
        return Ok(None);
    };
    let (body, line) = text.split_at(at);
    let word = |key: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(key))
    };
    let (Some(id), Some(unix), Some(expected)) = (word("id="), word("unix="), word("sha256="))
    else {
        return Err(CalibrationError::File {
            path: path.into(),
            reason: "its last line is no seal: expected id=, unix= and sha256=".into(),
        });
    };
    let actual = sha256(body.as_bytes());
    if actual != expected || text[at..].trim_end().contains('\n') {
        return Err(CalibrationError::Edited {
            path: path.into(),
            expected: expected.into(),
            actual,
        });
    }
    Ok(Some(Seal {
        id: id.into(),
        made_unix_secs: unix.parse().unwrap_or(0),
        sha256: actual,
    }))
}

/// Writes `text` to `path` whole or not at all: a file that was there stays until the new one is on the disk.
///
/// # Errors
/// [`CalibrationError::File`] with what the system says.
pub fn replace(path: &Path, text: &[u8]) -> Result<(), CalibrationError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|e| {
        // What is left of it says nothing that the error does not.
        std::fs::remove_file(&beside).unwrap_or(());
        CalibrationError::File {
            path: path.into(),
            reason: e.to_string(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_and_an_edited_file_is_refused() {
        let path = Path::new("front.yaml");
        let text = sealed("a: 1\n", 1_795_253_701, "2026-11-21 09:35:01.000 UTC");
        let seal = open(path, &text).expect("legal").expect("sealed");
        assert_eq!(seal.made_unix_secs, 1_795_253_701);
        assert_eq!(seal.id, format!("cal-{}", &seal.sha256[..12]));
        assert_eq!(open(path, "a: 1\n").expect("legal"), None);
        for edited in [text.replace("a: 1", "a: 2"), format!("{text}b: 3\n")] {
            let error = open(path, &edited).expect_err("edited").to_string();
            assert!(error.contains("it was edited"), "{error}");
        }
        assert!(open(path, "a: 1\n# tactus-calibration id=x\n").is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("f.yaml");
        replace(&file, b"old").expect("written");
        replace(&file, b"new").expect("written");
        assert_eq!(std::fs::read(&file).expect("there"), b"new");
        assert!(replace(&dir.path().join("none/f.yaml"), b"x").is_err());
        let left = std::fs::read_dir(dir.path()).expect("there").count();
        assert_eq!(left, 1, "nothing is left beside it");
    }
}
