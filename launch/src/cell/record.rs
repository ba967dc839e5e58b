//! `[record]`: the black box of a cell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecord {
    black_box: bool,
    seconds: f64,
    folder: Option<PathBuf>,
}

/// The black box of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRecord {
    /// `tactus run` keeps one.
    pub black_box: bool,
    /// How far it reaches back.
    pub window: Duration,
    /// Where its files go; by default a folder of the system's for such things.
    pub folder: Option<PathBuf>,
}

impl RawRecord {
    /// `directory` is what its paths are relative to.
    pub(super) fn read(self, check: &Check<'_>, directory: &Path) -> Result<CellRecord, CellError> {
        let Self {
            black_box,
            seconds,
            folder,
        } = self;
        Ok(CellRecord {
            black_box,
            window: check.secs("record.seconds", seconds)?,
            folder: folder.map(|folder| directory.join(folder)),
        })
    }
}
