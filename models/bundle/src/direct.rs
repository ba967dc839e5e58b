//! Bundles of the `direct` family: one graph from pictures and state to a chunk, whoever exported it (ACT, Diffusion Policy, ..).
//!
//! Decides whether such a directory is one that this runtime understands, and is the one that its manifest says. What an
//! input is named, how it is laid out and in which units it counts is declared here; `tactus bundle wrap` writes it.
//!
//! ```text
//! bundle.toml          what the graph takes and makes (`raw.rs` lists every field)
//! stats.json           as of every bundle, in the units of the training data
//! graphs/*             the ONNX file, and the files that it keeps its weights in
//! golden/*.safetensors perhaps: an observation and what the policy's own framework made of it
//! ```

pub mod manifest;
mod raw;
mod units;
mod validate;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    bundle::{MANIFEST, STATS, read, utf8},
    error::BundleError,
    files,
    golden::GoldenCase,
    outline::Outline,
    stats::Stats,
};
use manifest::DirectManifest;
pub use units::is_gripper;

/// Family in the manifest.
pub(crate) const FAMILY: &str = "direct";

/// A checked bundle of the `direct` family.
#[derive(Debug, Clone)]
pub struct DirectBundle {
    dir: PathBuf,
    id: Arc<str>,
    manifest: DirectManifest,
    stats: Stats,
}

impl DirectBundle {
    /// Opens `dir` as [`crate::Bundle::open`] does; `bytes` are those of its manifest.
    pub(crate) fn of(dir: &Path, bytes: &[u8]) -> Result<Self, BundleError> {
        let manifest = validate::manifest(utf8(MANIFEST, bytes)?)?;
        files::check(dir, &manifest.files)?;
        let text = read(dir, STATS)?;
        let (state, action) = (&manifest.outline.state, &manifest.outline.action);
        let raw = Stats::columns(utf8(STATS, &text)?, state, action)?;
        let stats = units::in_si(raw, &manifest)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            id: files::sha256(bytes).into(),
            manifest,
            stats,
        })
    }

    /// Opens `dir`, which has to be of this family.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, BundleError> {
        let dir = dir.as_ref();
        Self::of(dir, &read(dir, MANIFEST)?)
    }

    /// Directory of the bundle.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 of `bundle.toml`, hex.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What the graph takes and makes.
    pub fn manifest(&self) -> &DirectManifest {
        &self.manifest
    }

    /// What the policy says of itself.
    pub fn outline(&self) -> &Outline {
        &self.manifest.outline
    }

    /// Statistics of state and action in SI: what a normalised 0 means and a 1 adds, rad or opening; a scale may be below 0.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Path of the ONNX file.
    pub fn graph_path(&self) -> PathBuf {
        self.dir.join(&self.manifest.graph.file)
    }

    /// Bytes of the reference that a live cell is compared with, where the bundle has one.
    ///
    /// # Errors
    /// [`BundleError::Read`].
    pub fn reference(&self) -> Result<Option<Vec<u8>>, BundleError> {
        let file = self.manifest.reference.as_ref();
        file.map(|file| read(&self.dir, file)).transpose()
    }

    /// Reads every golden case, in manifest order; there may be none.
    ///
    /// # Errors
    /// [`BundleError`] for the first case that cannot be read.
    pub fn golden(&self) -> Result<Vec<GoldenCase>, BundleError> {
        let case = |file: &String| GoldenCase::parse(file, &read(&self.dir, file)?);
        self.manifest.golden.iter().map(case).collect()
    }
}
