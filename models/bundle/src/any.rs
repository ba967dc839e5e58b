//! A bundle of whichever family: opened by what its manifest says it is.

use std::{path::Path, sync::Arc};

use crate::{bundle::Bundle, error::BundleError, outline::Outline};

/// A checked bundle of one of the families.
#[derive(Debug, Clone)]
pub enum AnyBundle {
    /// A language model and a flow-matching head.
    Vla(Box<Bundle>),
}

impl AnyBundle {
    /// Opens `dir` as [`Bundle::open`] does, whatever its family.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, BundleError> {
        Ok(Self::Vla(Box::new(Bundle::open(dir)?)))
    }

    /// Directory of the bundle.
    pub fn dir(&self) -> &Path {
        match self {
            Self::Vla(bundle) => bundle.dir(),
        }
    }

    /// SHA-256 of `bundle.toml`, hex.
    pub fn id(&self) -> &Arc<str> {
        match self {
            Self::Vla(bundle) => bundle.id(),
        }
    }

    /// What the policy says of itself.
    pub fn outline(&self) -> Outline {
        match self {
            Self::Vla(bundle) => bundle.manifest().into(),
        }
    }

    /// Bytes of the reference that a live cell is compared with, where the bundle has one.
    ///
    /// # Errors
    /// [`BundleError::Read`].
    pub fn reference(&self) -> Result<Option<Vec<u8>>, BundleError> {
        match self {
            Self::Vla(bundle) => bundle.reference(),
        }
    }
}
