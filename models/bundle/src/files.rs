//! Whether the files of a directory are exactly those the manifest was written for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{bundle::MANIFEST, error::BundleError, signature::SIGNATURE};

/// Checks that every listed file is there with its SHA-256, and that no other file is but a signature.
pub(crate) fn check(dir: &Path, files: &BTreeMap<String, String>) -> Result<(), BundleError> {
    unlisted(dir, "", files)?;
    for (file, expected) in files {
        let actual = match sha256_of_file(&dir.join(file)) {
            Ok(digest) => digest,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(BundleError::Missing {
                    file: file.clone(),
                    field: "files".into(),
                });
            }
            Err(source) => {
                return Err(BundleError::Read {
                    file: file.clone(),
                    source,
                });
            }
        };
        if actual != *expected {
            let (file, expected) = (file.clone(), expected.clone());
            return Err(BundleError::Changed {
                file,
                expected,
                actual,
            });
        }
    }
    Ok(())
}

/// Walks the real directories below `dir`; a link to a directory counts as a file, and so as unlisted.
fn unlisted(dir: &Path, prefix: &str, files: &BTreeMap<String, String>) -> Result<(), BundleError> {
    let at = |name: &str| match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    };
    let read = |source| BundleError::Read {
        file: at(""),
        source,
    };
    let mut entries = std::fs::read_dir(dir.join(prefix))
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(read)?;
    // The same stranger is named on every machine.
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let file = at(&entry.file_name().to_string_lossy());
        if entry.file_type().map_err(read)?.is_dir() {
            unlisted(dir, &file, files)?;
        } else if file != MANIFEST && file != SIGNATURE && !files.contains_key(&file) {
            return Err(BundleError::Unlisted { file });
        }
    }
    Ok(())
}

/// SHA-256 of a file as lower-case hex, read in pieces.
fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(n) => hash.update(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// SHA-256 of bytes as lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_that_of_fips_180() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }
}
