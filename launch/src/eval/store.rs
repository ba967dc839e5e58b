//! What trials leave beside their outcome: pictures of the scene, recordings; in `trials/` of the evaluation's folder.
//!
//! Decides what they are called, by number and attempt only, so that no name tells the policy. The results file holds the
//! hash of each, which the report looks at.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};
use tactus_eval::plan::sha256_hex;
use tactus_eval::trial::Kept;

const FOLDER: &str = "trials";

/// Where trials leave files.
pub struct Store {
    dir: PathBuf,
    recorded: bool,
}

impl Store {
    /// In the evaluation's folder `dir`; with `recorded`, recordings too.
    pub fn open(dir: &Path, recorded: bool) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let folder = dir.join(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
        Ok(Self { dir, recorded })
    }

    /// Those of one attempt at the trial at `place` of the order.
    pub fn of(&self, place: u64, attempt: u32) -> TrialFiles {
        TrialFiles {
            dir: self.dir.clone(),
            stem: format!("{FOLDER}/{:04}.{attempt}", place + 1),
            recorded: self.recorded,
        }
    }
}

/// Files of one attempt.
pub struct TrialFiles {
    dir: PathBuf,
    stem: String,
    recorded: bool,
}

impl TrialFiles {
    /// Keeps a picture, `first` or `last`.
    pub fn picture(&self, which: &str, jpeg: &[u8]) -> anyhow::Result<Kept> {
        let name = format!("{}-{which}.jpg", self.stem);
        let file = self.dir.join(&name);
        let written = File::create(&file).and_then(|mut open| {
            open.write_all(jpeg)?;
            open.sync_all()
        });
        written.with_context(|| format!("picture {}", file.display()))?;
        Ok(Kept {
            file: name,
            sha256: sha256_hex(jpeg),
        })
    }

    /// Where the recording goes, if there is to be one.
    pub fn recording(&self) -> Option<PathBuf> {
        self.recorded
            .then(|| self.dir.join(format!("{}.mcap", self.stem)))
    }

    /// The recording, once it is whole.
    pub fn recorded(&self) -> anyhow::Result<Option<Kept>> {
        let Some(file) = self.recording() else {
            return Ok(None);
        };
        let said = || format!("recording {}", file.display());
        let mut open = File::open(&file).with_context(said)?;
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match open.read(&mut buffer).with_context(said)? {
                0 => break,
                n => digest.update(&buffer[..n]),
            }
        }
        let hash = digest.finalize();
        Ok(Some(Kept {
            file: format!("{}.mcap", self.stem),
            sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }))
    }
}
