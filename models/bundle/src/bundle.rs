//! Opening a bundle: a [`Bundle`] is a directory that was checked, byte by byte, against its manifest.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::BundleError,
    files,
    golden::GoldenCase,
    manifest::{Graph, GraphFile, Manifest},
    stats::Stats,
    validate,
};

/// Name of the manifest inside a bundle.
pub(crate) const MANIFEST: &str = "bundle.toml";
/// Name of the normalisation statistics inside a bundle.
pub(crate) const STATS: &str = "stats.json";

/// A checked bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    id: Arc<str>,
    manifest: Manifest,
    stats: Stats,
}

impl Bundle {
    /// Opens `dir`: reads the manifest, checks every field, the SHA-256 of every file, and the statistics.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong. Nothing of a bundle is used before all of it was checked.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, BundleError> {
        let dir = dir.as_ref().to_path_buf();
        let bytes = manifest_bytes(&dir)?;
        Self::of(dir, &bytes)
    }

    /// As [`Bundle::open`], with the bytes of the manifest.
    pub(crate) fn of(dir: PathBuf, bytes: &[u8]) -> Result<Self, BundleError> {
        let manifest = validate::manifest(utf8(MANIFEST, bytes)?)?;
        files::check(&dir, &manifest.files)?;
        let stats = Stats::parse(utf8(STATS, &read(&dir, STATS)?)?, &manifest)?;
        Ok(Self {
            id: files::sha256(bytes).into(),
            dir,
            manifest,
            stats,
        })
    }

    /// Directory of the bundle.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 of `bundle.toml`, hex. The manifest holds the SHA-256 of every other file, so this identifies them all.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What the policy is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Normalisation statistics.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The graphs of the bundle with the paths of their ONNX files, in the order they run.
    pub fn graph_paths(&self) -> Vec<(Graph, PathBuf)> {
        let path = |(graph, file): (Graph, &GraphFile)| (graph, self.dir.join(&file.file));
        self.manifest.graphs().map(path).collect()
    }

    /// Path of the tokenizer.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.dir.join(&self.manifest.prompt.tokenizer)
    }

    /// Path of a file that the manifest lists.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Bytes of the reference that a live cell is compared with, where the bundle has one.
    ///
    /// # Errors
    /// [`BundleError::Read`].
    pub fn reference(&self) -> Result<Option<Vec<u8>>, BundleError> {
        let file = self.manifest.reference.as_ref();
        file.map(|file| read(&self.dir, file)).transpose()
    }

    /// Reads every golden case, in manifest order.
    ///
    /// # Errors
    /// [`BundleError`] for the first case that cannot be read.
    pub fn golden(&self) -> Result<Vec<GoldenCase>, BundleError> {
        let case = |file: &String| GoldenCase::parse(file, &read(&self.dir, file)?);
        self.manifest.golden.iter().map(case).collect()
    }
}

/// Bytes of the manifest in `dir`.
pub(crate) fn manifest_bytes(dir: &Path) -> Result<Vec<u8>, BundleError> {
    match std::fs::read(dir.join(MANIFEST)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(BundleError::NotABundle { dir: dir.into() })
        }
        Err(source) => Err(BundleError::Read {
            file: MANIFEST.into(),
            source,
        }),
    }
}

pub(crate) fn read(dir: &Path, file: &str) -> Result<Vec<u8>, BundleError> {
    std::fs::read(dir.join(file)).map_err(|source| BundleError::Read {
        file: file.into(),
        source,
    })
}

pub(crate) fn utf8<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, BundleError> {
    std::str::from_utf8(bytes).map_err(|error| BundleError::Syntax {
        file: file.into(),
        reason: error.to_string(),
    })
}
