//! A bundle of whichever family: opened by what its manifest says it is.

use std::{path::Path, sync::Arc};

use crate::{
    bundle::{Bundle, MANIFEST, manifest_bytes, utf8},
    direct::{self, DirectBundle},
    error::BundleError,
    outline::Outline,
    validate,
};

/// A checked bundle of one of the families.
#[derive(Debug, Clone)]
pub enum AnyBundle {
    /// A language model and a flow-matching head.
    Vla(Box<Bundle>),
    /// One graph from pictures and state to a chunk.
    Direct(Box<DirectBundle>),
}

impl AnyBundle {
    /// Opens `dir` as [`Bundle::open`] does, whatever its family.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, BundleError> {
        let dir = dir.as_ref();
        let bytes = manifest_bytes(dir)?;
        let family = validate::family(utf8(MANIFEST, &bytes)?)?;
        Ok(match family == direct::FAMILY {
            true => Self::Direct(Box::new(DirectBundle::of(dir, &bytes)?)),
            false => Self::Vla(Box::new(Bundle::of(dir.to_path_buf(), &bytes)?)),
        })
    }

    /// Directory of the bundle.
    pub fn dir(&self) -> &Path {
        match self {
            Self::Vla(bundle) => bundle.dir(),
            Self::Direct(bundle) => bundle.dir(),
        }
    }

    /// SHA-256 of `bundle.toml`, hex.
    pub fn id(&self) -> &Arc<str> {
        match self {
            Self::Vla(bundle) => bundle.id(),
            Self::Direct(bundle) => bundle.id(),
        }
    }

    /// What the policy says of itself.
    pub fn outline(&self) -> Outline {
        match self {
            Self::Vla(bundle) => bundle.manifest().into(),
            Self::Direct(bundle) => bundle.outline().clone(),
        }
    }

    /// Bytes of the reference that a live cell is compared with, where the bundle has one.
    ///
    /// # Errors
    /// [`BundleError::Read`].
    pub fn reference(&self) -> Result<Option<Vec<u8>>, BundleError> {
        match self {
            Self::Vla(bundle) => bundle.reference(),
            Self::Direct(bundle) => bundle.reference(),
        }
    }
}
