//! Every way a bundle can be unusable. Each error names the file, and what was expected and found in it.

use std::path::PathBuf;

/// Why a directory cannot be used as a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no bundle at all.
    #[error("{}: not a bundle: expected a directory holding `bundle.toml`", dir.display())]
    NotABundle {
        /// Directory that was asked for.
        dir: PathBuf,
    },
    /// A file could not be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// File, relative to the bundle.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not what its format demands: a syntax error, an unknown or a missing field.
    #[error("{file}: {reason}")]
    Syntax {
        /// File, relative to the bundle.
        file: String,
        /// What the parser said, with the line where it knows it.
        reason: String,
    },
    /// A field holds a value this runtime cannot use.
    #[error("{file}: field `{field}`: expected {expected}, got {actual}")]
    Field {
        /// File, relative to the bundle.
        file: String,
        /// Path of the field, for example `camera[1].width`.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// A file that the manifest names is not there.
    #[error("{file}: file is missing: `{field}` of bundle.toml names it")]
    Missing {
        /// File, relative to the bundle.
        file: String,
        /// Field of the manifest that names it.
        field: String,
    },
    /// A file's bytes are not those the manifest was written for.
    #[error(
        "{file}: file was changed: expected SHA-256 {expected} (`files` of bundle.toml), got {actual}"
    )]
    Changed {
        /// File, relative to the bundle.
        file: String,
        /// SHA-256 in the manifest, hex.
        expected: String,
        /// SHA-256 of the file, hex.
        actual: String,
    },
    /// A file is in the directory but not in the manifest.
    #[error(
        "{file}: file is not listed in `files` of bundle.toml: expected every file to be listed"
    )]
    Unlisted {
        /// File, relative to the bundle.
        file: String,
    },
    /// A tensor of a golden case is not what its reader needs.
    #[error("{file}: tensor `{tensor}`: expected {expected}, got {actual}")]
    Golden {
        /// File, relative to the bundle.
        file: String,
        /// Key of the tensor.
        tensor: String,
        /// Type, shape or presence that was expected.
        expected: String,
        /// What it is.
        actual: String,
    },
}

impl BundleError {
    /// A [`BundleError::Field`] of `bundle.toml`.
    pub(crate) fn manifest(
        field: impl Into<String>,
        expected: impl Into<String>,
        actual: impl std::fmt::Display,
    ) -> Self {
        Self::Field {
            file: crate::bundle::MANIFEST.into(),
            field: field.into(),
            expected: expected.into(),
            actual: actual.to_string(),
        }
    }
}
