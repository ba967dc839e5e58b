//! `bundle_id` and `bundle_signers`: which bundles are let act in a cell.
//!
//! Decides what a bundle has to be: the one of an id, one that a trusted key signed, or both. Where the cell says neither, any
//! bundle does. Does not decide where it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tactus_bundle::{SignatureError, Signer, signature};

use super::{CellError, Check};

/// What a bundle has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vouched {
    /// Its id.
    pub id: Option<Arc<str>>,
    /// One of these signed it; empty: nobody has to.
    pub signers: Vec<Signer>,
}

/// Why a bundle is not let act.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is another one.
    #[error("{}: it is not the cell's bundle: expected id {expected} (`bundle_id`), got {actual}", dir.display())]
    Other {
        /// Its directory.
        dir: PathBuf,
        /// Id in the cell file.
        expected: Arc<str>,
        /// Its id.
        actual: String,
    },
    /// Nobody who is trusted signed it.
    #[error(transparent)]
    Unsigned(#[from] SignatureError),
}

impl Vouched {
    pub(super) fn read(
        id: Option<String>,
        signers: &[String],
        remote: bool,
        check: &Check<'_>,
    ) -> Result<Self, CellError> {
        if remote && (id.is_some() || !signers.is_empty()) {
            let expected = "neither of them: a remote server has no bundle to hold against it";
            return Err(check.error("bundle_id, bundle_signers", expected, "one"));
        }
        if let Some(id) = &id
            && !(id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        {
            let expected = "64 hexadecimal digits, as `tactus bundle inspect` says them";
            return Err(check.error("bundle_id", expected, id));
        }
        let signer = |text: &String| {
            let read = text.parse::<Signer>();
            read.map_err(|e| check.error("bundle_signers", &e.to_string(), text))
        };
        Ok(Self {
            id: id.map(Arc::from),
            signers: signers.iter().map(signer).collect::<Result<_, _>>()?,
        })
    }

    /// Lets the bundle of `id` in `dir` act, or says why not.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn let_act(&self, dir: &Path, id: &str) -> Result<(), Refused> {
        if let Some(expected) = self.id.as_ref().filter(|expected| ***expected != *id) {
            return Err(Refused::Other {
                dir: dir.into(),
                expected: Arc::clone(expected),
                actual: id.into(),
            });
        }
        if !self.signers.is_empty() {
            signature::vouched(dir, id, &self.signers)?;
        }
        Ok(())
    }
}
